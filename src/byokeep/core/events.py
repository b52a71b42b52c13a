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
    KEY_PINNED = "key.pinned"
    KEY_STATE_CHANGED = "key.state_changed"
    KEY_LISTED = "key.listed"
    KEY_READ_METADATA = "key.metadata_read"
    KEY_DESTROYED = "key.destroyed"
    KEY_SHARED_VALUE = "key.shared_value_found"
    ORPHAN_FOUND = "key.orphan_found"
    ORPHAN_DESTROYED = "key.orphan_destroyed"

    PLATFORM_APP_SET = "platform_app.set"
    CONNECTION_STARTED = "connection.started"
    CONNECTION_ANSWERED = "connection.answered"
    CONNECTED = "platform_connected"
    CONNECT_FAILED = "platform_connect_failed"
    TOKENS_STORED = "tokens.stored"
    ACCOUNT_VERIFIED = "account.verified"
    ACCOUNT_QUARANTINED = "account.quarantined"
    ACCOUNT_DRIFTED = "account.name_changed"
    DRIFT_CONFIRMED = "account.name_confirmed"
    LANES_SET = "account.lanes_set"
    ACCOUNT_TRANSFERRED = "account.transferred"
    REFRESH_STARTED = "tokens.refresh_started"
    REFRESHED = "tokens.refreshed"
    REFRESH_FAILED = "tokens.refresh_failed"
    REFRESH_ASKED = "tokens.refresh_asked"
    CHAIN_BROKEN = "tokens.chain_broken"
    REAUTH_NEEDED = "account.reauth_needed"
    GRANT_REVOKED = "grant.revoked"
    REFRESHER_GONE = "refresher.declared_gone"
    PLATFORM_CLOSED = "platform.closed"
    PLATFORM_STEPPED = "platform.reenabling_stepped"
    EFFECT_SCHEDULED = "effect.scheduled"
    EFFECT_HELD = "effect.held"
    EFFECT_MISSED = "effect.missed"
    EFFECT_REQUEUED = "effect.requeued"
    EFFECT_CANCELLED = "effect.cancelled"
    WEBHOOK_STORED = "webhook_secret.stored"
    WEBHOOK_RETIRED = "webhook_secret.retired"

    PROFILE_CREATED = "profile.created"
    PROFILE_WORK_ASKED = "profile.work_asked"
    PROFILE_WORK_ENDED = "profile.work_ended"
    PROFILE_CONFIRMED = "profile.confirmed"
    PROFILE_OPENED = "profile.opened"
    PROFILE_OPENING_ENDED = "profile.opening_ended"
    PROFILE_SEAL = "profile.seal"
    PROFILE_SEALED = "profile.sealed"
    PROFILE_VALIDATED = "profile.validated"
    PROFILE_QUARANTINED = "profile.quarantined"
    PROFILE_RESTORED = "profile.restored"
    PROFILE_DUE = "profile.due"
    PROFILE_RETIRED = "profile.retired"
    PROFILE_SHREDDED = "profile.shredded"
    PROFILE_ONBOARDED = "browser_profile_created"
    PROFILE_ONBOARDING_FAILED = "browser_profile_creation_failed"
    DEK_CHANGED = "dek.state_changed"
    KEK_MADE = "kek.made"
    KEK_ROTATED = "kek.rotated"
    KEK_REWRAPPED = "kek.rewrapped"
    KEK_ROTATION_DONE = "kek.rotation_done"
    KEK_CHANGED = "kek.state_changed"
    KEK_CHECKED = "kek.checked"
    VAULT_INCIDENT_OPENED = "vault_incident.opened"
    VAULT_INCIDENT_STEPPED = "vault_incident.stepped"
    VAULT_INCIDENT_SESSION = "vault_incident.session_ended"
    VAULT_INCIDENT_CLOSED = "vault_incident.closed"
    PROCEDURE_STARTED = "procedure.started"
    PROCEDURE_STEPPED = "procedure.stepped"
    PROCEDURE_APPROVED = "procedure.approved"
    PROCEDURE_UNDONE = "procedure.undone"
    PROCEDURE_ENDED = "procedure.ended"

    JOB_OPENED = "job.opened"
    JOB_SEALING = "job.sealing"
    JOB_CLOSED = "job.closed"
    JOB_EXPIRED = "job.expired"
    LEASE_ISSUED = "lease.issued"
    LEASE_USE_TOLD = "lease.use_told"
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
    LEAK_FINGERPRINTS_READ = "leaks.fingerprints_read"
    AUDIT_DEVICE = "audit.device_changed"
    CHECKPOINT_SIGNED = "checkpoint.signed"
    EVIDENCE_SIGNED = "evidence.signed"
    EVIDENCE_READ = "evidence.read"
    ALERT_RAISED = "alert.raised"
    ALERT_CLOSED = "alert.closed"


FieldValue = str | int
# Lower-case tokens, ids, digests, paths of the ref grammar and RFC 3339 times fit; prose, e-mail, keys do not.
_VALUE: Final = re.compile(r"[a-z0-9][a-zA-Z0-9_.:/,+-]{0,127}\Z")

_KEY: Final = "provider version sop job path"
_SUBJECT: Final = "subject token kind roles rights digest life_s"
_ACCOUNT: Final = "platform login account sop job version"
_RENEWAL: Final = f"{_ACCOUNT} journal base attempts cause http_status latency_ms due_at store_request"
_SCHEDULED: Final = "platform account lane effect idempotency due_at"
_PROFILE: Final = "profile generation sop job work"
_VAULT_KEY: Final = "holder kek kek_version dek"
_LISTED: Final[Mapping[EventName, str]] = {
    EventName.INSTALLED: "installation environment",
    EventName.STARTED: "component schema",
    EventName.CONFIG_CHANGED: "component",
    EventName.LOGIN: _SUBJECT,
    EventName.LOGOUT: _SUBJECT,
    EventName.TOKEN_ISSUED: _SUBJECT,
    EventName.TOKEN_REVOKED: _SUBJECT,
    EventName.OPERATOR_CREATED: _SUBJECT,
    EventName.OPERATOR_CHANGED: _SUBJECT,
    EventName.MACHINE_CREATED: _SUBJECT,
    EventName.MACHINE_CHANGED: _SUBJECT,
    EventName.ACCESS: "verb route",
    EventName.CLIENT_CREATED: "risk",
    EventName.CLIENT_ENROLLED: "job lease",
    EventName.CLIENT_SUSPENDED: "risk",
    EventName.CLIENT_RESUMED: "risk",
    EventName.ACCOUNT_REGISTERED: "platform lanes",
    EventName.ACCOUNT_IDENTIFIED: "platform job lease",
    EventName.KEY_WRITE: _KEY,
    EventName.KEY_STORED: f"{_KEY} rule risk due_at store_request",
    EventName.KEY_VERIFIED: f"{_KEY} verification endpoint http_status latency_ms attempts account_hash",
    EventName.KEY_LEAK_CHECKED: f"{_KEY} verification sources lines spans found",
    EventName.KEY_ONBOARDED: _KEY,
    EventName.KEY_ONBOARDING_FAILED: _KEY,
    EventName.KEY_PINNED: f"{_KEY} from_version",
    EventName.KEY_STATE_CHANGED: "state_from state_to version",
    EventName.KEY_LISTED: "count",
    EventName.KEY_READ_METADATA: "version",
    EventName.KEY_DESTROYED: _KEY,
    EventName.KEY_SHARED_VALUE: "ref count version",
    EventName.ORPHAN_FOUND: _KEY,
    EventName.ORPHAN_DESTROYED: _KEY,
    EventName.PLATFORM_APP_SET: "login app version path store_request",
    EventName.CONNECTION_STARTED: f"{_ACCOUNT} connection purposes path store_request",
    EventName.CONNECTION_ANSWERED: f"{_ACCOUNT} connection path store_request",
    EventName.CONNECTED: f"{_ACCOUNT} connection account_id",
    EventName.CONNECT_FAILED: f"{_ACCOUNT} connection cause code_points http_status missing",
    EventName.TOKENS_STORED: f"{_ACCOUNT} connection path due_at reauth_at store_request",
    EventName.ACCOUNT_VERIFIED: (
        f"{_ACCOUNT} connection verification cause http_status endpoint expected_id observed_id count newest missing"
        " wider"
    ),
    EventName.ACCOUNT_QUARANTINED: f"{_ACCOUNT} connection cause code_points expected_id observed_id",
    EventName.ACCOUNT_DRIFTED: f"{_ACCOUNT} count",
    EventName.DRIFT_CONFIRMED: _ACCOUNT,
    EventName.LANES_SET: f"{_ACCOUNT} lanes",
    EventName.ACCOUNT_TRANSFERRED: "login",
    EventName.REFRESH_STARTED: _RENEWAL,
    EventName.REFRESHED: _RENEWAL,
    EventName.REFRESH_FAILED: _RENEWAL,
    EventName.REFRESH_ASKED: _ACCOUNT,
    EventName.CHAIN_BROKEN: _RENEWAL,
    EventName.REAUTH_NEEDED: f"{_RENEWAL} reauth_at",
    EventName.GRANT_REVOKED: f"{_ACCOUNT} verification",
    EventName.REFRESHER_GONE: "count",
    EventName.PLATFORM_CLOSED: f"{_ACCOUNT} cause way",
    EventName.PLATFORM_STEPPED: f"{_ACCOUNT} stage cause number count way missing",
    EventName.EFFECT_SCHEDULED: _SCHEDULED,
    EventName.EFFECT_HELD: _SCHEDULED,
    EventName.EFFECT_MISSED: _SCHEDULED,
    EventName.EFFECT_REQUEUED: _SCHEDULED,
    EventName.EFFECT_CANCELLED: _SCHEDULED,
    EventName.WEBHOOK_STORED: f"{_KEY} store_request",
    EventName.WEBHOOK_RETIRED: _KEY,
    EventName.PROFILE_CREATED: f"{_PROFILE} packing platforms accounts replaces",
    EventName.PROFILE_WORK_ASKED: f"{_PROFILE} kind incident",
    EventName.PROFILE_WORK_ENDED: f"{_PROFILE} kind incident result cause",
    EventName.PROFILE_CONFIRMED: f"{_PROFILE} platform account expected_id observed_id",
    EventName.PROFILE_OPENED: f"{_PROFILE} kind epoch lease",
    EventName.PROFILE_OPENING_ENDED: f"{_PROFILE} kind epoch cause",
    EventName.PROFILE_SEAL: f"{_PROFILE} {_VAULT_KEY} epoch path",
    EventName.PROFILE_SEALED: (
        f"{_PROFILE} {_VAULT_KEY} epoch path version store_request blob_digest size manifest browser due_at"
    ),
    EventName.PROFILE_VALIDATED: (
        f"{_PROFILE} platform account verification cause expected_id observed_id screenshot endpoint browser"
    ),
    EventName.PROFILE_QUARANTINED: f"{_PROFILE} platform account cause expected_id observed_id",
    EventName.PROFILE_RESTORED: f"{_PROFILE} number",
    EventName.PROFILE_DUE: f"{_PROFILE} cause due_at incident",
    EventName.PROFILE_RETIRED: f"{_PROFILE} cause incident",
    EventName.PROFILE_SHREDDED: f"{_PROFILE} {_VAULT_KEY} count cause incident",
    EventName.PROFILE_ONBOARDED: _PROFILE,
    EventName.PROFILE_ONBOARDING_FAILED: f"{_PROFILE} cause",
    EventName.DEK_CHANGED: f"{_PROFILE} {_VAULT_KEY} state_from state_to incident",
    EventName.KEK_MADE: f"{_VAULT_KEY} algorithm bits owner purpose protect_until process_until",
    EventName.KEK_ROTATED: f"{_VAULT_KEY} from_version rotation count",
    EventName.KEK_REWRAPPED: f"{_VAULT_KEY} from_version rotation profile generation version store_request",
    EventName.KEK_ROTATION_DONE: f"{_VAULT_KEY} from_version rotation count",
    EventName.KEK_CHANGED: f"{_VAULT_KEY} state_from state_to",
    EventName.KEK_CHECKED: f"{_VAULT_KEY} count found cause",
    EventName.VAULT_INCIDENT_OPENED: "incident cause since count",
    EventName.VAULT_INCIDENT_STEPPED: "incident stage count",
    EventName.VAULT_INCIDENT_SESSION: "incident profile platform verification",
    EventName.VAULT_INCIDENT_CLOSED: "incident count",
    EventName.PROCEDURE_STARTED: "run procedure",
    EventName.PROCEDURE_STEPPED: "run stage count version cause",
    EventName.PROCEDURE_APPROVED: "run stage",
    EventName.PROCEDURE_UNDONE: "run stage count version cause",
    EventName.PROCEDURE_ENDED: "run",
    EventName.JOB_SEALING: "kind runner profile",
    EventName.JOB_OPENED: "kind runner secrets platforms lanes effects expires_at",
    EventName.JOB_CLOSED: "kind runner",
    EventName.JOB_EXPIRED: "kind runner",
    EventName.LEASE_ISSUED: "job lease kind secrets jwt_iat jwt_exp",
    EventName.LEASE_USE_TOLD: "logins reads",
    EventName.PERMIT_ISSUED: "job lease effect platform account lane idempotency",
    EventName.PERMIT_CLOSED: "job lease",
    EventName.PERMIT_UNKNOWN: "job lease",
    EventName.SWITCH_CLOSED: "scope epoch count",
    EventName.SWITCH_CUT_OFF: "scope epoch took_us entities",
    EventName.SWITCH_OPEN_REQUESTED: "scope epoch",
    EventName.SWITCH_OPENED: "scope epoch",
    EventName.AUDIT_READ: "chain count",
    EventName.AUDIT_EXPORTED: "chain first_seq last_seq count",
    EventName.AUDIT_VERIFIED: "size count rows",
    EventName.AUDIT_RECONCILED: "rows count found since until",
    EventName.AUDIT_HASHED: "",
    EventName.LEAK_FINGERPRINTS_READ: "count unknown",
    EventName.AUDIT_DEVICE: "device",
    EventName.CHECKPOINT_SIGNED: "epoch size count root",
    EventName.EVIDENCE_SIGNED: "sop version provider",
    EventName.EVIDENCE_READ: "sop",
    EventName.ALERT_RAISED: "alert chain severity",
    EventName.ALERT_CLOSED: "alert",
}
# Any event may also say why: ``reason`` is a code of ours.
FIELDS_OF: Final[Mapping[EventName, frozenset[str]]] = MappingProxyType(
    {name: frozenset(listed.split()) | {"reason"} for name, listed in _LISTED.items()}
)
# The database's own words, which no process can say: digests of the rows that the transaction of a record changed, of
# what the record is about and of the reference to its tokens (ADR 0039).
ROW_FIELDS: Final = frozenset({"row", "tokens_row"})
FIELDS: Final = frozenset[str]().union(*FIELDS_OF.values()) | ROW_FIELDS


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
            if name not in FIELDS_OF[self.name]:
                raise ValueError(f"audit field {name} is not in the vocabulary of {self.name.value}")
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ValueError(f"audit field {name} must be text or an integer")
            if isinstance(value, str) and value and not _VALUE.match(value):
                raise ValueError(f"audit field {name} holds text that the record may not carry")
            if isinstance(value, int) and abs(value) >= 2**53:
                raise ValueError(f"audit field {name} is too large for canonical JSON")
