"""The closed vocabulary of audit events.

Rules
- An event not listed here can not be recorded; the database refuses it too.
- A field not listed for an event can not be recorded. Fields are ids, enums, integers, times and digests,
  never free text, never a value, never a value's unkeyed hash (R1.2-6, S-TLOG-11).
- Names are ``subject.verb_past``; retired names stay, marked retired.

It may not know how records are stored or signed: that is :mod:`byokeep.core.audit`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from byokeep.core.model import Actor


class Outcome(StrEnum):
    """How the operation ended, as far as this event knows."""

    INTENDED = "intended"
    OK = "ok"
    DENIED = "denied"
    REJECTED = "rejected"
    FAILED = "failed"


class EventName(StrEnum):
    """Everything that can be put on record."""

    INSTALLED = "installation.created"
    STARTED = "service.started"
    CONFIG_CHANGED = "config.changed"

    LOGIN = "session.login"
    LOGOUT = "session.logout"
    TOKEN_ISSUED = "token.issued"  # noqa: S105 - an event name
    TOKEN_REVOKED = "token.revoked"  # noqa: S105 - an event name
    OPERATOR_CREATED = "operator.created"
    OPERATOR_CHANGED = "operator.changed"
    MACHINE_CREATED = "machine.created"
    MACHINE_CHANGED = "machine.changed"
    ACCESS = "access.decided"

    CLIENT_CREATED = "client.created"
    CLIENT_ENROLLED = "client.enrolled"
    CLIENT_SUSPENDED = "client.suspended"
    CLIENT_RESUMED = "client.resumed"
    ACCOUNT_REGISTERED = "account.registered"
    ACCOUNT_IDENTIFIED = "account.identified"

    KEY_WRITE = "key.write"
    KEY_STORED = "key.stored"
    KEY_VERIFIED = "key.verified"
    KEY_LEAK_CHECKED = "key.leak_checked"
    KEY_ONBOARDED = "client_key_onboarded"
    KEY_ONBOARDING_FAILED = "client_key_onboarding_failed"
    KEY_STATE_CHANGED = "key.state_changed"
    KEY_LISTED = "key.listed"
    KEY_READ_METADATA = "key.metadata_read"
    KEY_DESTROYED = "key.destroyed"
    KEY_SHARED_VALUE = "key.shared_value_found"
    ORPHAN_FOUND = "key.orphan_found"
    ORPHAN_DESTROYED = "key.orphan_destroyed"

    JOB_OPENED = "job.opened"
    JOB_CLOSED = "job.closed"
    JOB_EXPIRED = "job.expired"
    LEASE_ISSUED = "lease.issued"
    PERMIT_ISSUED = "permit.issued"
    PERMIT_CLOSED = "permit.closed"
    PERMIT_UNKNOWN = "permit.unknown"

    SWITCH_CLOSED = "switch.closed"
    SWITCH_CUT_OFF = "switch.store_cut_off"
    SWITCH_OPEN_REQUESTED = "switch.open_requested"
    SWITCH_OPENED = "switch.opened"

    AUDIT_READ = "audit.read"
    AUDIT_EXPORTED = "audit.exported"
    AUDIT_VERIFIED = "audit.verified"
    AUDIT_RECONCILED = "audit.reconciled"
    AUDIT_HASHED = "audit.hashed"
    AUDIT_DEVICE = "audit.device_changed"
    CHECKPOINT_SIGNED = "checkpoint.signed"
    EVIDENCE_SIGNED = "evidence.signed"
    EVIDENCE_READ = "evidence.read"
    ALERT_RAISED = "alert.raised"
    ALERT_CLOSED = "alert.closed"


FieldValue = str | int
# Lower-case tokens, ids, digests, paths of the ref grammar and RFC 3339 times fit; prose, e-mail, keys do not.
_VALUE: Final = re.compile(r"[a-z0-9][a-zA-Z0-9_.:/,+-]{0,127}\Z")

FIELDS: Final[frozenset[str]] = frozenset(
    {
        "provider", "purpose", "kind", "path", "version", "state_from", "state_to", "reason", "rule", "due_at",
        "risk", "verification", "endpoint", "http_status", "latency_ms", "account_hash", "attempts",
        "lines", "spans", "sources", "found", "store_request", "sop", "job", "lease", "permit", "ref",
        "secrets", "effects", "platforms", "lanes", "runner", "role", "roles", "subject", "token",
        "expires_at", "effect", "platform", "account", "lane", "scope", "epoch", "took_us", "entities",
        "idempotency", "verb", "route", "surface", "chain", "size", "count", "rows", "root", "digest", "checkpoint",
        "device", "request", "severity", "alert", "component", "environment", "installation", "schema",
        "first_seq", "last_seq", "jwt_iat", "jwt_exp",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened or is about to.

    Raises:
        ValueError: A field outside the vocabulary, or a value that could be prose or a secret.
    """

    name: EventName
    actor: Actor
    outcome: Outcome
    client_id: UUID | None = None
    object_id: UUID | None = None
    fields: Mapping[str, FieldValue] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for name, value in self.fields.items():
            if name not in FIELDS:
                raise ValueError(f"audit field {name} is not in the vocabulary")
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ValueError(f"audit field {name} must be text or an integer")
            if isinstance(value, str) and value and not _VALUE.match(value):
                raise ValueError(f"audit field {name} holds text that the record may not carry")
            if isinstance(value, int) and abs(value) >= 2**53:
                raise ValueError(f"audit field {name} is too large for canonical JSON")
