"""The closed catalogue of log events: what a line may be called and which fields it may carry.

Rules
- An event that is not listed is written as ``unlisted_event`` without its fields; a field that is not listed for its
  event is dropped. Both are counted, and a test reads every call of the program, so neither is ever released.
- No bodies, headers, messages or whole objects: a field is an id, a code, a figure or a template of ours.
- docs/events.md shows the same to people; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

REQUIRED: Final = ("actor", "tenant", "request_id", "outcome")  # stand on every line; null where there is none
UNLISTED: Final = "unlisted_event"
REDACTION_ERROR: Final = "redaction_error"

_FIELDS: Final = {
    "process_started": "version",
    "process_stopped": "",
    "request": "method route status took_ms code error count",
    "identity_call": "provider status took_ms attempt",
    "key_verification": "ref sop attempt",
    "orphans_destroyed": "count",
    "profile_work_ended": "work",
    "profiles_cared_for": "count",
    "rooms_swept": "count code",
    "kek_rotated": "",
    "kek_rewrapped": "count",
    "kek_checked": "count",
    "kek_ended": "count",
    "keks_cared_for": "count",
    "webhook_secrets_destroyed": "count",
    "renewal": "provider ref version",
    "renewals_cut_off": "count",
    "consents_cut_off": "count",
    "task_taken_up_again": "task",
    "child_started": "component pid url",
    "child_died": "component exit_code",
    "part_died": "component",
    "part_not_started": "component code",
    "tokens_not_renewed": "code",
    "audit_device_unhealthy": "component reason",
    "round_failed": "component code error",
    "account_step_failed": "code component ref tenant",
    "cut_off_finished": "count",
    "cut_off_pending": "code",
    "disk_reserve_given_back": "size",
    "disk_reserve_kept": "code",
    "library_log": "logger place error",
    "loose_output": "size",
    "uncaught_error": "error",
    UNLISTED: "",
    REDACTION_ERROR: "",
}
EVENTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {name: frozenset(fields.split()) for name, fields in _FIELDS.items()}
)
# Attributes of spans follow a list of their own: ids and figures of a task.
SPAN_FIELDS: Final = frozenset(
    {"job", "provider", "version", "count", "sop", "ref", "epoch", "route", "request", "work"}
)
