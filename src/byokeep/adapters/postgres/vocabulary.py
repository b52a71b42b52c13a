"""Which database role may write which audit event: the closed vocabulary as the database knows it.

Rules
- Every event of :class:`byokeep.core.events.EventName` is here exactly once; a test compares with the database.
- A role is named for an event only when its process does that thing.

It may not decide what an actor may do: that is :mod:`byokeep.core.policy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from byokeep.core.events import EventName

_OWNER: Final = "byokeep_owner"
_WEB: Final = "byokeep_web"
_BROKER: Final = "byokeep_broker"
_WORKER: Final = "byokeep_worker"
_AUDITOR: Final = "byokeep_auditor"

_SERVICES: Final = (_WEB, _BROKER, _WORKER)
_BY_ROLES: Final[Mapping[tuple[str, ...], tuple[EventName, ...]]] = {
    (_OWNER, _WEB): (EventName.INSTALLED,),
    (_OWNER, *_SERVICES): (EventName.STARTED, EventName.CONFIG_CHANGED),
    _SERVICES: (
        EventName.DEK_CHANGED,
        EventName.ACCESS, EventName.ALERT_RAISED, EventName.AUDIT_DEVICE, EventName.JOB_OPENED,
        EventName.PROCEDURE_STEPPED, EventName.PROCEDURE_UNDONE, EventName.PROCEDURE_ENDED,
        EventName.LANES_SET, EventName.REFRESH_ASKED, EventName.PROFILE_DUE, EventName.PROFILE_QUARANTINED,
    ),
    (_WEB,): (
        EventName.CLIENT_CREATED, EventName.ACCOUNT_REGISTERED,
        EventName.KEY_LISTED, EventName.KEY_READ_METADATA, EventName.LEAK_FINGERPRINTS_READ,
        EventName.PLATFORM_APP_SET, EventName.CONNECTION_STARTED, EventName.CONNECTION_ANSWERED,
        EventName.DRIFT_CONFIRMED, EventName.WEBHOOK_STORED, EventName.WEBHOOK_RETIRED,
        EventName.REFRESHER_GONE,
        EventName.PROFILE_CREATED, EventName.PROFILE_WORK_ASKED, EventName.PROFILE_CONFIRMED,
        EventName.VAULT_INCIDENT_OPENED, EventName.VAULT_INCIDENT_CLOSED,
    ),
    (_WEB, _BROKER): (
        EventName.PROCEDURE_STARTED,
        EventName.ALERT_CLOSED,
        EventName.EVIDENCE_READ,
    ),
    (_WEB, _WORKER): (
        EventName.KEY_WRITE, EventName.KEY_STORED, EventName.KEY_STATE_CHANGED, EventName.KEY_DESTROYED,
        EventName.KEY_ONBOARDING_FAILED, EventName.KEY_SHARED_VALUE, EventName.CONNECT_FAILED,
        EventName.KEK_CHANGED, EventName.PROFILE_RETIRED,
        EventName.PROFILE_WORK_ENDED,
        EventName.VAULT_INCIDENT_STEPPED, EventName.VAULT_INCIDENT_SESSION,
    ),
    (_BROKER, _WORKER): (
        EventName.PLATFORM_CLOSED, EventName.PLATFORM_STEPPED, EventName.ACCOUNT_TRANSFERRED,
        EventName.REAUTH_NEEDED,
        EventName.PROFILE_OPENED, EventName.PROFILE_OPENING_ENDED, EventName.PROFILE_SEAL, EventName.PROFILE_SEALED,
    ),
    (_WORKER,): (
        EventName.PROFILE_VALIDATED, EventName.PROFILE_RESTORED,
        EventName.PROFILE_SHREDDED, EventName.PROFILE_ONBOARDED, EventName.PROFILE_ONBOARDING_FAILED,
        EventName.KEK_MADE, EventName.KEK_ROTATED, EventName.KEK_REWRAPPED, EventName.KEK_ROTATION_DONE,
        EventName.KEK_CHECKED,
        EventName.KEY_VERIFIED, EventName.KEY_LEAK_CHECKED, EventName.KEY_PINNED, EventName.KEY_ONBOARDED,
        EventName.ORPHAN_FOUND, EventName.ORPHAN_DESTROYED,
        EventName.CONNECTED, EventName.TOKENS_STORED, EventName.ACCOUNT_VERIFIED, EventName.ACCOUNT_QUARANTINED,
        EventName.ACCOUNT_DRIFTED, EventName.REFRESH_STARTED, EventName.REFRESHED, EventName.REFRESH_FAILED,
        EventName.CHAIN_BROKEN, EventName.GRANT_REVOKED,
    ),
    (_BROKER,): (
        EventName.PROCEDURE_APPROVED,
        EventName.CLIENT_ENROLLED, EventName.CLIENT_SUSPENDED, EventName.CLIENT_RESUMED,
        EventName.LOGIN, EventName.LOGOUT, EventName.TOKEN_ISSUED, EventName.TOKEN_REVOKED,
        EventName.OPERATOR_CREATED, EventName.OPERATOR_CHANGED, EventName.MACHINE_CREATED, EventName.MACHINE_CHANGED,
        EventName.ACCOUNT_IDENTIFIED, EventName.LEASE_ISSUED, EventName.LEASE_USE_TOLD,
        EventName.PERMIT_ISSUED, EventName.PERMIT_CLOSED, EventName.PERMIT_UNKNOWN,
        EventName.JOB_CLOSED, EventName.JOB_EXPIRED, EventName.JOB_SEALING,
        EventName.SWITCH_CLOSED, EventName.SWITCH_CUT_OFF, EventName.SWITCH_OPEN_REQUESTED, EventName.SWITCH_OPENED,
        EventName.EFFECT_SCHEDULED, EventName.EFFECT_HELD, EventName.EFFECT_MISSED, EventName.EFFECT_REQUEUED,
        EventName.EFFECT_CANCELLED,
        EventName.AUDIT_HASHED, EventName.AUDIT_RECONCILED, EventName.CHECKPOINT_SIGNED, EventName.EVIDENCE_SIGNED,
    ),
    (_WEB, _BROKER, _AUDITOR): (EventName.AUDIT_READ, EventName.AUDIT_EXPORTED),
    (_WEB, _BROKER, _WORKER, _AUDITOR): (EventName.AUDIT_VERIFIED,),
}  # fmt: skip

WRITERS: Final[Mapping[EventName, tuple[str, ...]]] = MappingProxyType(
    {event: roles for roles, events in _BY_ROLES.items() for event in events}
)
