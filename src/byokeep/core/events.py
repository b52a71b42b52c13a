"""The closed vocabulary of audit events.

Rules
- An event that is not listed here cannot be recorded. The database refuses it, too.
- A field that is not listed for an event cannot be recorded. Fields are ids, enums, integers, times and digests: never
  free text, never a value, never a value's unkeyed hash (R1.2-6, S-TLOG-11).
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


_KEY: Final = "provider version sop job path"
_SUBJECT: Final = "subject token kind roles rights digest life_s"
_PASSKEY: Final = "subject passkey digest"
_ACCOUNT: Final = "platform login account sop job version"
_RENEWAL: Final = f"{_ACCOUNT} journal base attempts cause http_status latency_ms due_at store_request"
_SCHEDULED: Final = "platform account lane effect idempotency due_at"
_PROFILE: Final = "profile generation sop job work"
_GLASS: Final = "run ticket"  # of a grant of break glass
_GLASS_GIVEN: Final = "component scope life_s jwt_iat jwt_exp accessor wrap_accessor wrap_mark"
_VAULT_KEY: Final = "holder kek kek_version dek"


class EventName(StrEnum):
    """Every event that can be recorded, each with the fields that its record may have.

    Attributes:
        fields: Names of the fields. Any event may also give a ``reason``, a code of ours.
    """

    fields: frozenset[str]

    def __new__(cls, name: str, fields: str = "") -> EventName:
        """Make an event from its name and its fields."""
        made = str.__new__(cls, name)
        made._value_ = name
        made.fields = frozenset(fields.split()) | {"reason"}
        return made

    INSTALLED = "installation.created", "installation environment"
    CONFIG_CHANGED = "config.changed", "component"

    LOGIN = "session.login", f"{_SUBJECT} passkey sso"
    LOGOUT = "session.logout", _SUBJECT
    TOKEN_ISSUED = "token.issued", _SUBJECT
    TOKEN_REVOKED = "token.revoked", _SUBJECT
    PASSKEY_ADDED = "passkey.added", _PASSKEY
    PASSKEY_REMOVED = "passkey.removed", _PASSKEY
    SSO_LINKED = "sso.linked", "subject digest"
    SSO_UNLINKED = "sso.unlinked", "subject digest"
    OPERATOR_CREATED = "operator.created", _SUBJECT
    OPERATOR_CHANGED = "operator.changed", _SUBJECT
    MACHINE_CREATED = "machine.created", _SUBJECT
    MACHINE_CHANGED = "machine.changed", _SUBJECT
    ACCESS = "access.decided", "verb route task"

    CLIENT_CREATED = "client.created", "risk"
    CLIENT_ENROLLED = "client.enrolled", "job lease"
    CLIENT_SUSPENDED = "client.suspended", "risk"
    CLIENT_RESUMED = "client.resumed", "risk"
    CLIENT_LOOK_SET = "client.look_set"
    ACCOUNT_REGISTERED = "account.registered", "platform lanes"
    ACCOUNT_IDENTIFIED = "account.identified", "platform job lease"

    KEY_WRITE = "key.write", _KEY
    KEY_STORED = "key.stored", f"{_KEY} rule risk due_at store_request mode"
    KEY_ADMIN_STORED = "key.admin_stored", f"{_KEY} store_request"
    KEY_VERIFIED = "key.verified", f"{_KEY} verification endpoint http_status latency_ms attempts account_hash"
    KEY_LEAK_CHECKED = "key.leak_checked", f"{_KEY} verification sources lines spans found"
    KEY_ONBOARDED = "client_key_onboarded", _KEY
    KEY_ONBOARDING_FAILED = "client_key_onboarding_failed", _KEY
    KEY_PINNED = "key.pinned", f"{_KEY} from_version"
    KEY_ROTATION = (
        "key.rotation",
        "run stage provider version from_version mode cause endpoint http_status account_hash count failed took_s "
        "pinned_at stopped_at provider_key job grace_s",
    )
    KEY_STATE_CHANGED = "key.state_changed", "state_from state_to version count"
    KEY_INTERVAL_SET = "key.interval_set", "days from_days due_at from_due_at"
    KEY_LISTED = "key.listed", "count"
    KEY_READ_METADATA = "key.metadata_read", "version"
    KEY_DESTROYED = "key.destroyed", _KEY
    KEY_SHARED_VALUE = "key.shared_value_found", "ref count version"
    ORPHAN_FOUND = "key.orphan_found", _KEY
    ORPHAN_DESTROYED = "key.orphan_destroyed", _KEY

    PLATFORM_APP_SET = "platform_app.set", "login app version path store_request"
    CONNECTION_STARTED = "connection.started", f"{_ACCOUNT} connection purposes path store_request"
    CONNECTION_ANSWERED = "connection.answered", f"{_ACCOUNT} connection path store_request"
    CONNECTED = "platform_connected", f"{_ACCOUNT} connection account_id"
    CONNECT_FAILED = "platform_connect_failed", f"{_ACCOUNT} connection cause code_points http_status missing"
    TOKENS_STORED = "tokens.stored", f"{_ACCOUNT} connection path due_at reauth_at store_request"
    ACCOUNT_VERIFIED = (
        "account.verified",
        f"{_ACCOUNT} connection verification cause http_status endpoint expected_id observed_id count newest "
        "missing wider",
    )
    ACCOUNT_QUARANTINED = "account.quarantined", f"{_ACCOUNT} connection cause code_points expected_id observed_id"
    ACCOUNT_DRIFTED = "account.name_changed", f"{_ACCOUNT} count"
    DRIFT_CONFIRMED = "account.name_confirmed", _ACCOUNT
    LANES_SET = "account.lanes_set", f"{_ACCOUNT} lanes"
    ACCOUNT_TRANSFERRED = "account.transferred", "login"
    REFRESH_STARTED = "tokens.refresh_started", _RENEWAL
    REFRESHED = "tokens.refreshed", _RENEWAL
    REFRESH_FAILED = "tokens.refresh_failed", _RENEWAL
    REFRESH_ASKED = "tokens.refresh_asked", _ACCOUNT
    CHAIN_BROKEN = "tokens.chain_broken", _RENEWAL
    REAUTH_NEEDED = "account.reauth_needed", f"{_RENEWAL} reauth_at"
    GRANT_REVOKED = "grant.revoked", f"{_ACCOUNT} verification"
    REFRESHER_GONE = "refresher.declared_gone", "count"
    PLATFORM_CLOSED = "platform.closed", f"{_ACCOUNT} cause way"
    PLATFORM_STEPPED = "platform.reenabling_stepped", f"{_ACCOUNT} stage cause number count way missing"
    EFFECT_SCHEDULED = "effect.scheduled", _SCHEDULED
    EFFECT_HELD = "effect.held", _SCHEDULED
    EFFECT_MISSED = "effect.missed", _SCHEDULED
    EFFECT_REQUEUED = "effect.requeued", _SCHEDULED
    EFFECT_CANCELLED = "effect.cancelled", _SCHEDULED
    WEBHOOK_STORED = "webhook_secret.stored", f"{_KEY} store_request"
    WEBHOOK_RETIRED = "webhook_secret.retired", _KEY

    PROFILE_CREATED = "profile.created", f"{_PROFILE} packing platforms accounts replaces"
    PROFILE_WORK_ASKED = "profile.work_asked", f"{_PROFILE} kind incident"
    PROFILE_WORK_ENDED = "profile.work_ended", f"{_PROFILE} kind incident result cause"
    PROFILE_CONFIRMED = "profile.confirmed", f"{_PROFILE} platform account expected_id observed_id"
    PROFILE_OPENED = "profile.opened", f"{_PROFILE} kind epoch lease"
    PROFILE_OPENING_ENDED = "profile.opening_ended", f"{_PROFILE} kind epoch cause"
    PROFILE_SEAL = "profile.seal", f"{_PROFILE} {_VAULT_KEY} epoch path"
    PROFILE_SEALED = (
        "profile.sealed",
        f"{_PROFILE} {_VAULT_KEY} epoch path version store_request blob_digest size manifest browser due_at",
    )
    PROFILE_VALIDATED = (
        "profile.validated",
        f"{_PROFILE} platform account verification cause expected_id observed_id screenshot endpoint browser",
    )
    PROFILE_QUARANTINED = "profile.quarantined", f"{_PROFILE} platform account cause expected_id observed_id"
    PROFILE_RESTORED = "profile.restored", f"{_PROFILE} number"
    PROFILE_DUE = "profile.due", f"{_PROFILE} cause due_at incident"
    PROFILE_RETIRED = "profile.retired", f"{_PROFILE} cause incident"
    PROFILE_SHREDDED = "profile.shredded", f"{_PROFILE} {_VAULT_KEY} count cause incident"
    PROFILE_ONBOARDED = "browser_profile_created", _PROFILE
    PROFILE_ONBOARDING_FAILED = "browser_profile_creation_failed", f"{_PROFILE} cause"
    DEK_CHANGED = "dek.state_changed", f"{_PROFILE} {_VAULT_KEY} state_from state_to incident"
    KEK_MADE = "kek.made", f"{_VAULT_KEY} algorithm bits owner purpose protect_until process_until"
    KEK_ROTATED = "kek.rotated", f"{_VAULT_KEY} from_version rotation count"
    KEK_REWRAPPED = "kek.rewrapped", f"{_VAULT_KEY} from_version rotation profile generation version store_request"
    KEK_ROTATION_DONE = "kek.rotation_done", f"{_VAULT_KEY} from_version rotation count"
    KEK_CHANGED = "kek.state_changed", f"{_VAULT_KEY} state_from state_to"
    KEK_CHECKED = "kek.checked", f"{_VAULT_KEY} count found cause"
    VAULT_INCIDENT_OPENED = "vault_incident.opened", "incident cause since count"
    VAULT_INCIDENT_STEPPED = "vault_incident.stepped", "incident stage count"
    VAULT_INCIDENT_SESSION = "vault_incident.session_ended", "incident profile platform verification"
    VAULT_INCIDENT_CLOSED = "vault_incident.closed", "incident count"
    INCIDENT_OPENED = "incident.opened", "incident kind severity source since about platform noticed_at"
    INCIDENT_STEPPED = "incident.stepped", "incident stage epoch cause version way rotation"
    INCIDENT_CHANGED = "incident.changed", "incident stage severity digest run"
    INCIDENT_CLOSED = "incident.closed", "incident severity"
    PROCEDURE_STARTED = "procedure.started", "run procedure incident"
    PROCEDURE_STEPPED = "procedure.stepped", "run stage count version cause provider digest"
    PROCEDURE_APPROVED = "procedure.approved", "run stage"
    PROCEDURE_UNDONE = "procedure.undone", "run stage count version cause"
    PROCEDURE_ENDED = "procedure.ended", "run"

    JOB_OPENED = "job.opened", "kind runner secrets platforms lanes effects expires_at template rotation version"
    JOB_TEMPLATE_SET = "job.template_set", "template runner secrets platforms lanes state"
    JOB_SEALING = "job.sealing", "kind runner profile"
    JOB_CLOSED = "job.closed", "kind runner"
    JOB_EXPIRED = "job.expired", "kind runner"
    LEASE_ISSUED = "lease.issued", "job lease kind secrets versions jwt_iat jwt_exp"
    LEASE_USE_TOLD = "lease.use_told", "logins reads"
    CALLS_TOLD = "lease.calls_told", "job count"
    PERMIT_ISSUED = "permit.issued", "job lease effect platform account lane idempotency"
    PERMIT_CLOSED = "permit.closed", "job lease"
    PERMIT_UNKNOWN = "permit.unknown", "job lease"

    SWITCH_CLOSED = "switch.closed", "scope epoch count"
    SWITCH_CUT_OFF = "switch.store_cut_off", "scope epoch took_us entities"
    SWITCH_OPEN_REQUESTED = "switch.open_requested", "scope epoch"
    SWITCH_OPENED = "switch.opened", "scope epoch"

    GLASS_REQUESTED = "breakglass.requested", f"{_GLASS} scope life_s digest"
    GLASS_APPROVED = "breakglass.approved", f"{_GLASS} digest"
    GLASS_DENIED = "breakglass.denied", _GLASS
    GLASS_ISSUED = "breakglass.issued", f"{_GLASS} {_GLASS_GIVEN}"
    GLASS_UNWRAPPED = "breakglass.unwrapped", f"{_GLASS} store_request"
    GLASS_MISUSED = "breakglass.misused", f"{_GLASS} cause count store_request"
    GLASS_USED = "breakglass.used", f"{_GLASS} count path store_request"
    GLASS_REVOKED = "breakglass.revoked", f"{_GLASS} cause"
    GLASS_EXPIRED = "breakglass.expired", f"{_GLASS} cause"
    GLASS_REVIEWED = "breakglass.reviewed", f"{_GLASS} count failed cause"
    GLASS_CLOSED = "breakglass.closed", _GLASS
    GLASS_DRILLED = "breakglass.drilled", f"{_GLASS} cause component"

    AUDIT_READ = "audit.read", "chain count"
    AUDIT_EXPORTED = "audit.exported", "chain first_seq last_seq count"
    AUDIT_VERIFIED = "audit.verified", "size count rows"
    AUDIT_RECONCILED = "audit.reconciled", "rows count found since until"
    AUDIT_HASHED = "audit.hashed", ""
    LEAK_FINGERPRINTS_READ = "leaks.fingerprints_read", "count unknown"
    CHECKPOINT_SIGNED = "checkpoint.signed", "epoch size count root"
    EVIDENCE_SIGNED = "evidence.signed", "sop version provider"
    EXPOSURE_REPORTED = "exposure.reported", "digest since until count found verification provider incident"
    DUE_LISTED = "due.listed", "count digest"
    LIST_EXPORTED = "list.exported", "kind count digest"
    LEAKS_SCANNED = "leaks.scanned", "result sources found unknown live excluded known digest"
    CHECKLIST_SHOWN = "checklist.shown", "checklist period digest count failed"
    CHECKLIST_TICKED = "checklist.ticked", "checklist period item verification cause ticket digest"
    CHECKLIST_SIGNED = "checklist.signed", "checklist period digest count failed"
    ACCESS_REVIEWED = "access.reviewed", "last_seq count digest"
    DUE_STARTED = "due.started", "kind due_at"
    BACKUP_CREATED = "backup.created", "backup digest size count"
    BACKUP_VERIFIED = "backup.verified", "backup digest"
    BACKUP_REMOVED = "backup.removed", "backup digest count"
    BACKUP_RESTORED = "backup.restored", "backup epoch count found"
    DRILL_COMPLETED = "drill.completed", "drill backup digest seed rto_s rpo_s stage"
    NOTIFIED = "notification.sent", "target count"
    ALERT_RAISED = "alert.raised", "alert chain severity"
    ALERT_ACKNOWLEDGED = "alert.acknowledged", "alert"
    ALERT_CLOSED = "alert.closed", "alert"


# What an installation records while nobody does anything. Lists for people count these and do not show them.
HEARTBEATS: Final = frozenset({EventName.CHECKPOINT_SIGNED, EventName.AUDIT_RECONCILED})

FieldValue = str | int
# Fits lower-case tokens, ids, digests, paths of the ref grammar and RFC 3339 times; not prose, e-mail or keys.
_VALUE: Final = re.compile(r"[a-z0-9][a-zA-Z0-9_.:/,+-]{0,127}\Z")

# Only the database sets these: digests of the rows that the record's transaction changed, of the record's object and of
# the reference to its tokens (ADR 0039).
ROW_FIELDS: Final = frozenset({"row", "tokens_row"})
FIELDS: Final = frozenset[str]().union(*(event.fields for event in EventName)) | ROW_FIELDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened or is about to happen.

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
            if name not in self.name.fields:
                raise ValueError(f"audit field {name} is not in the vocabulary of {self.name.value}")
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ValueError(f"audit field {name} must be text or an integer")
            if isinstance(value, str) and value and not _VALUE.match(value):
                raise ValueError(f"audit field {name} holds text that the record may not carry")
            if isinstance(value, int) and abs(value) >= 2**53:
                raise ValueError(f"audit field {name} is too large for canonical JSON")
