"""Who may do what, and the gate every effect passes.

Rules
- A decision is no return value: the function returns ``None`` or raises. There is no boolean to forget.
- Default deny: a verb, role, lane, version or field that is not named here is refused (R4.1-6, R12-1).
- Everything the decision needs is passed in; an input that could not be read is passed as ``None`` and denies.
- One authoriser for read, list, count, metadata and export of one object.

It may not look anything up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from byokeep.core.errors import Denied, NotFound, Rejected
from byokeep.core.model import HUMAN_ROLES, MACHINE_ROLES, Actor, EffectKind, Lane, Role

GATE_VERSION: Final = 1


class Verb(StrEnum):
    """Every operation that is authorised. ``key.read`` is held by nobody: values are read under leases."""

    CLIENT_CREATE = "client.create"
    CLIENT_LIST = "client.list"
    CLIENT_READ = "client.read"
    CLIENT_CHANGE = "client.change"
    ACCOUNT_REGISTER = "account.register"
    KEY_WRITE = "key.write"
    KEY_LIST = "key.list"
    KEY_METADATA = "key.metadata"
    KEY_VERIFY = "key.verify"
    KEY_STATE = "key.state"
    KEY_READ = "key.read"
    SOP_READ = "sop.read"
    EVIDENCE_READ = "evidence.read"
    JOB_OPEN = "job.open"
    JOB_READ = "job.read"
    JOB_CLOSE = "job.close"
    LEASE_USE = "lease.use"
    LEASE_CUSTODY = "lease.custody"
    PERMIT = "permit.issue"
    SWITCH_READ = "switch.read"
    SWITCH_CLOSE = "switch.close"
    SWITCH_REQUEST_OPEN = "switch.request_open"
    SWITCH_APPROVE_OPEN = "switch.approve_open"
    AUDIT_READ = "audit.read"
    AUDIT_RUN = "audit.run"
    AUDIT_HASH = "audit.hash"
    LEAK_FINGERPRINTS = "leak.fingerprints"
    ALERT_READ = "alert.read"
    SUBJECT_CREATE = "subject.create"
    SUBJECT_CHANGE = "subject.change"
    SUBJECT_READ = "subject.read"
    TOKEN_ISSUE = "token.issue"  # noqa: S105 - a verb
    TOKEN_REVOKE = "token.revoke"  # noqa: S105 - a verb


_O, _P, _U, _A = Role.OPERATOR, Role.APPROVER, Role.AUDITOR, Role.ADMIN
_D, _R, _C, _S = Role.DISPATCHER, Role.RUNNER, Role.CUSTODIAN, Role.SYSTEM

GRANTS: Final[Mapping[Verb, frozenset[Role]]] = MappingProxyType(
    {
        Verb.CLIENT_CREATE: frozenset({_A}),
        Verb.CLIENT_LIST: frozenset({_A, _O, _P, _U}),
        Verb.CLIENT_READ: frozenset({_A, _O, _P, _U}),
        Verb.CLIENT_CHANGE: frozenset({_A}),
        Verb.ACCOUNT_REGISTER: frozenset({_O}),
        Verb.KEY_WRITE: frozenset({_O}),
        Verb.KEY_LIST: frozenset({_O, _P, _U}),
        Verb.KEY_METADATA: frozenset({_O, _P, _U}),
        Verb.KEY_VERIFY: frozenset({_O}),
        Verb.KEY_STATE: frozenset({_O}),
        Verb.KEY_READ: frozenset(),
        Verb.SOP_READ: frozenset({_O, _P, _U}),
        Verb.EVIDENCE_READ: frozenset({_O, _P, _U}),
        Verb.JOB_OPEN: frozenset({_D, _S}),
        Verb.JOB_READ: frozenset({_D, _R, _C, _O, _U}),
        Verb.JOB_CLOSE: frozenset({_D, _R, _C, _S}),
        Verb.LEASE_USE: frozenset({_R}),
        Verb.LEASE_CUSTODY: frozenset({_C}),
        Verb.PERMIT: frozenset({_R}),
        Verb.SWITCH_READ: frozenset({_A, _O, _P, _U, _D, _R}),
        Verb.SWITCH_CLOSE: frozenset({_A, _O, _P}),
        Verb.SWITCH_REQUEST_OPEN: frozenset({_O}),
        Verb.SWITCH_APPROVE_OPEN: frozenset({_P}),
        Verb.AUDIT_READ: frozenset({_U}),
        Verb.AUDIT_RUN: frozenset({_U, _S}),
        Verb.AUDIT_HASH: frozenset({_U}),
        Verb.LEAK_FINGERPRINTS: frozenset({_U}),
        Verb.ALERT_READ: frozenset({_A, _O, _P, _U}),
        Verb.SUBJECT_CREATE: frozenset({_A}),
        Verb.SUBJECT_CHANGE: frozenset({_A}),
        Verb.SUBJECT_READ: frozenset({_A, _U}),
        Verb.TOKEN_ISSUE: frozenset({_A}),
        Verb.TOKEN_REVOKE: frozenset({_A}),
    }
)

# Nobody may hold both sides: whoever runs jobs or approves does not write keys or policy (R4.1-12).
FORBIDDEN_PAIRS: Final = frozenset(
    {
        frozenset({_O, _P}),
        frozenset({_A, _P}),
        frozenset({_A, _O}),
        frozenset({_A, _U}),
        frozenset({_O, _U}),
    }
)


def authorise(actor: Actor, verb: Verb, *, client_id: UUID | None = None) -> None:
    """Let a verb pass.

    Args:
        actor: From authentication.
        verb: What it wants to do.
        client_id: Whose object it is about; ``None`` for objects of the platform.

    Raises:
        Denied: ``not_permitted`` - no role of the actor holds the verb.
        NotFound: ``not_found`` - the client is not one of the actor's; same answer as for a client that
            does not exist (S-OWASP-23).
    """
    holders = GRANTS.get(verb, frozenset())
    if not actor.roles & holders:
        named = ", ".join(sorted(role.value for role in holders))
        raise Denied("not_permitted", verb=verb.value, next_step=f"This takes one of the roles: {named or 'none'}.")
    if client_id is not None and actor.clients is not None and client_id not in actor.clients:
        raise NotFound("not_found")


def check_roles(roles: frozenset[Role], *, machine: bool) -> None:
    """Accept a set of roles for one identity.

    Raises:
        Rejected: ``no_roles``, ``wrong_kind_of_role``, ``one_role_per_machine`` or ``forbidden_role_pair``.
    """
    if not roles:
        raise Rejected("no_roles", next_step="Name at least one role.")
    if roles - (MACHINE_ROLES if machine else HUMAN_ROLES):
        raise Rejected("wrong_kind_of_role", next_step="People and machines hold different roles.")
    if machine and len(roles) != 1:
        raise Rejected("one_role_per_machine", next_step="Create one machine identity for each role.")
    for pair in FORBIDDEN_PAIRS:
        if pair <= roles:
            first, second = sorted(role.value for role in pair)
            raise Rejected(
                "forbidden_role_pair",
                next_step="Give these two roles to two people.",
                first=first,
                second=second,
            )


class DenyReason(StrEnum):
    """Every reason the gate can give (docs/spec/gate.md)."""

    BAD_REQUEST = "bad_request"
    UNKNOWN_VERSION = "unknown_version"
    SWITCH_CLOSED = "switch_closed"
    SWITCH_UNKNOWN = "switch_unknown"
    CLIENT_NOT_ACTIVE = "client_not_active"
    JOB_NOT_OPEN = "job_not_open"
    LEASE_EXPIRED = "lease_expired"
    LEASE_KIND = "lease_kind"
    EFFECT_NOT_DECLARED = "effect_not_declared"
    PLATFORM_NOT_DECLARED = "platform_not_declared"
    LANE_NOT_DECLARED = "lane_not_declared"
    LANE_NOT_ENABLED = "lane_not_enabled"
    CREDENTIAL_NOT_USABLE = "credential_not_usable"
    IDENTITY_UNPROVEN = "identity_unproven"
    IDENTITY_MISMATCH = "identity_mismatch"
    IDENTITY_STALE = "identity_stale"
    DRILL = "disaster_recovery_drill"
    GATE_ERROR = "gate_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateInput:
    """Schema v1 of the side-effect gate. ``None`` = could not be established, which denies.

    Attributes:
        version: Schema version the caller speaks.
        effect, platform, lane: What is wanted. Unknown names deny.
        switches_open: All scopes of the effect read as open, under lock.
        client_active: The tenant's state is active.
        job_open: The job is open and unexpired.
        lease_kind: ``use`` or ``custody``.
        lease_valid: The lease is this runner's, of this job, and unexpired.
        declared_effects, declared_platforms, declared_lanes: What the job declared.
        enabled_lanes: Lanes enabled for this account by a separate decision of an operator.
        credentials_usable: Every secret the job declared is active, verified and unexpired.
        identity: ``match``, ``mismatch``, ``unknown`` or ``unchecked``.
        identity_at: When the identity was last compared, UTC.
        now: The database's clock, UTC.
        identity_fresh_for: How old a comparison may be.
        drill: Whether this installation is a recovery drill.
    """

    version: int
    effect: str
    platform: str
    lane: str
    switches_open: bool | None
    client_active: bool | None
    job_open: bool | None
    lease_kind: str | None
    lease_valid: bool | None
    declared_effects: tuple[str, ...]
    declared_platforms: tuple[str, ...]
    declared_lanes: tuple[str, ...]
    enabled_lanes: tuple[str, ...]
    credentials_usable: bool | None
    identity: str | None
    identity_at: datetime | None
    now: datetime
    identity_fresh_for: timedelta
    drill: bool | None


def _deny(reason: DenyReason) -> Denied:
    return Denied(reason.value, next_step=NEXT_STEPS[reason])


def check_effect(gate: GateInput) -> None:
    """Let one effect pass (R1.5, R12-1).

    Raises:
        Denied: The code is a :class:`DenyReason`; the first that applies, most severe first.
    """
    if gate.version != GATE_VERSION:
        raise _deny(DenyReason.UNKNOWN_VERSION)
    if gate.effect not in set(EffectKind) or gate.lane not in set(Lane):
        raise _deny(DenyReason.BAD_REQUEST)
    if gate.drill is not False:
        raise _deny(DenyReason.DRILL)
    if gate.switches_open is not True:
        raise _deny(DenyReason.SWITCH_UNKNOWN if gate.switches_open is None else DenyReason.SWITCH_CLOSED)
    if gate.client_active is not True:
        raise _deny(DenyReason.CLIENT_NOT_ACTIVE)
    if gate.job_open is not True:
        raise _deny(DenyReason.JOB_NOT_OPEN)
    if gate.lease_kind != "use":
        raise _deny(DenyReason.LEASE_KIND)
    if gate.lease_valid is not True:
        raise _deny(DenyReason.LEASE_EXPIRED)
    _check_declared(gate)
    if gate.credentials_usable is not True:
        raise _deny(DenyReason.CREDENTIAL_NOT_USABLE)
    _check_identity(gate)


def _check_declared(gate: GateInput) -> None:
    if gate.effect not in gate.declared_effects:
        raise _deny(DenyReason.EFFECT_NOT_DECLARED)
    if gate.platform not in gate.declared_platforms:
        raise _deny(DenyReason.PLATFORM_NOT_DECLARED)
    if gate.lane not in gate.declared_lanes:
        raise _deny(DenyReason.LANE_NOT_DECLARED)
    if gate.lane not in gate.enabled_lanes:
        raise _deny(DenyReason.LANE_NOT_ENABLED)


def _check_identity(gate: GateInput) -> None:
    if gate.identity == "mismatch":
        raise _deny(DenyReason.IDENTITY_MISMATCH)
    if gate.identity != "match" or gate.identity_at is None:
        raise _deny(DenyReason.IDENTITY_UNPROVEN)
    age = gate.now - gate.identity_at
    # A comparison from the future means a clock that can not be trusted.
    if age > gate.identity_fresh_for or age < timedelta(seconds=-5):
        raise _deny(DenyReason.IDENTITY_STALE)


NEXT_STEPS: Final[Mapping[DenyReason, str]] = MappingProxyType(
    {
        DenyReason.BAD_REQUEST: "Name a published effect and lane; see /v1/gate/schema.",
        DenyReason.UNKNOWN_VERSION: "Speak gate version 1; see /v1/gate/schema.",
        DenyReason.SWITCH_CLOSED: "The kill switch is on. `byokeep kill status` tells since when and why.",
        DenyReason.SWITCH_UNKNOWN: "The kill switch could not be read, so it counts as on.",
        DenyReason.CLIENT_NOT_ACTIVE: "The client is not active; an admin can resume it.",
        DenyReason.JOB_NOT_OPEN: "The job has ended; ask the dispatcher for a new one.",
        DenyReason.LEASE_EXPIRED: "Ask for a new lease and check again before acting.",
        DenyReason.LEASE_KIND: "A custody lease may not cause effects; run this in a use job.",
        DenyReason.EFFECT_NOT_DECLARED: "Declare the effect when the job is opened.",
        DenyReason.PLATFORM_NOT_DECLARED: "Declare the platform when the job is opened.",
        DenyReason.LANE_NOT_DECLARED: "Declare the lane when the job is opened.",
        DenyReason.LANE_NOT_ENABLED: "An operator enables the lane with `byokeep account lanes`.",
        DenyReason.CREDENTIAL_NOT_USABLE: "There is no usable key; `byokeep key list CLIENT` shows its state.",
        DenyReason.IDENTITY_UNPROVEN: "Identify the account in this job before the first effect.",
        DenyReason.IDENTITY_MISMATCH: "The account is not the registered one. Stop and call an operator.",
        DenyReason.IDENTITY_STALE: "Identify the account again; the last proof is too old.",
        DenyReason.DRILL: "This installation runs a recovery drill and causes no effects.",
        DenyReason.GATE_ERROR: "The gate could not decide, so it denied. An alert was raised.",
    }
)


def gate_schema() -> dict[str, object]:
    """Return the published schema of the gate: version, inputs, reasons (R12-1)."""
    return {
        "version": GATE_VERSION,
        "inputs": [spec.name for spec in fields(GateInput)],
        "effects": [kind.value for kind in EffectKind],
        "lanes": [lane.value for lane in Lane],
        "deny_reasons": {reason.value: text for reason, text in NEXT_STEPS.items()},
        "default": "deny",
    }
