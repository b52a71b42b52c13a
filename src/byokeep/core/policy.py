"""Who may do what. The gate that every effect passes is :mod:`byokeep.core.gate`, and is named here too.

Rules
- A decision is no return value: the function returns ``None`` or raises. There is no boolean to forget.
- Default deny: a verb or role that is not named here is refused (R4.1-6).
- One authoriser for read, list, count, metadata and export of one object.

It may not look anything up.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from byokeep.core.errors import Denied, NotFound, Rejected
from byokeep.core.gate import GATE_VERSION, NEXT_STEPS, DenyReason, GateInput, check_effect, gate_schema
from byokeep.core.model import HUMAN_ROLES, MACHINE_ROLES, Actor, Role

__all__ = [
    "APPROVING",
    "FORBIDDEN_PAIRS",
    "GATE_VERSION",
    "GRANTS",
    "NEXT_STEPS",
    "DenyReason",
    "GateInput",
    "Verb",
    "authorise",
    "check_effect",
    "check_roles",
    "gate_schema",
]


class Verb(StrEnum):
    """Every operation that is authorised. ``key.read`` is held by nobody: values are read under leases."""

    CLIENT_CREATE = "client.create"
    CLIENT_LIST = "client.list"
    CLIENT_READ = "client.read"
    CLIENT_CHANGE = "client.change"
    ACCOUNT_REGISTER = "account.register"
    ACCOUNT_CONNECT = "account.connect"
    PROFILE_CREATE = "profile.create"
    PROFILE_WORK = "profile.work"
    PROFILE_CONFIRM = "profile.confirm"
    PROFILE_SHRED = "profile.shred"
    PROFILE_READ = "profile.read"
    APP_SET = "app.set"
    APP_READ = "app.read"
    REFRESHER_READ = "refresher.read"
    REFRESHER_GONE = "refresher.gone"
    KEY_WRITE = "key.write"
    KEY_LIST = "key.list"
    KEY_METADATA = "key.metadata"
    KEY_VERIFY = "key.verify"
    KEY_STATE = "key.state"
    KEY_READ = "key.read"
    SOP_READ = "sop.read"
    PROCEDURE_READ = "procedure.read"
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
    PLATFORM_CLOSE = "platform.close"
    PLATFORM_READ = "platform.read"
    CANARY_REQUEST = "canary.request"
    CANARY_APPROVE = "canary.approve"
    TRANSFER_REQUEST = "transfer.request"
    TRANSFER_APPROVE = "transfer.approve"
    EFFECT_SCHEDULE = "effect.schedule"
    EFFECT_LIST = "effect.list"
    EFFECT_MOVE = "effect.move"
    KEK_READ = "kek.read"
    KEK_ROTATE = "kek.rotate"
    KEK_CHECK = "kek.check"
    KEK_COMPROMISE = "kek.compromise"
    KEK_END = "kek.end"
    VAULT_OPEN = "vault_incident.open"
    VAULT_READ = "vault_incident.read"
    VAULT_STEP = "vault_incident.step"
    VAULT_CLOSE = "vault_incident.close"
    AUDIT_READ = "audit.read"
    AUDIT_RUN = "audit.run"
    AUDIT_HASH = "audit.hash"
    LEAK_FINGERPRINTS = "leak.fingerprints"
    ALERT_READ = "alert.read"
    SUBJECT_CREATE = "subject.create"
    SUBJECT_CHANGE = "subject.change"
    SUBJECT_READ = "subject.read"
    SUBJECT_APPROVE = "subject.approve"
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
        Verb.ACCOUNT_CONNECT: frozenset({_O}),
        Verb.PROFILE_CREATE: frozenset({_O}),
        Verb.PROFILE_WORK: frozenset({_O}),
        Verb.PROFILE_CONFIRM: frozenset({_O}),
        Verb.PROFILE_SHRED: frozenset({_P}),
        Verb.PROFILE_READ: frozenset({_A, _O, _P, _U}),
        Verb.APP_SET: frozenset({_A}),
        Verb.APP_READ: frozenset({_A, _O, _P, _U}),
        Verb.REFRESHER_READ: frozenset({_A, _O, _U}),
        Verb.REFRESHER_GONE: frozenset({_A}),
        Verb.KEY_WRITE: frozenset({_O}),
        Verb.KEY_LIST: frozenset({_O, _P, _U}),
        Verb.KEY_METADATA: frozenset({_O, _P, _U}),
        Verb.KEY_VERIFY: frozenset({_O}),
        Verb.KEY_STATE: frozenset({_O}),
        Verb.KEY_READ: frozenset(),
        Verb.SOP_READ: frozenset({_O, _P, _U}),
        Verb.PROCEDURE_READ: frozenset({_A, _O, _P, _U}),
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
        Verb.PLATFORM_CLOSE: frozenset({_A, _O, _P}),
        Verb.PLATFORM_READ: frozenset({_A, _O, _P, _U}),
        Verb.CANARY_REQUEST: frozenset({_O}),
        Verb.CANARY_APPROVE: frozenset({_P}),
        Verb.TRANSFER_REQUEST: frozenset({_O}),
        Verb.TRANSFER_APPROVE: frozenset({_A}),
        Verb.EFFECT_SCHEDULE: frozenset({_D}),
        Verb.EFFECT_LIST: frozenset({_O, _P, _U, _D}),
        Verb.EFFECT_MOVE: frozenset({_O}),
        Verb.KEK_READ: frozenset({_A, _O, _P, _U}),
        Verb.KEK_ROTATE: frozenset({_O}),
        Verb.KEK_CHECK: frozenset({_A, _O, _P, _U}),
        Verb.KEK_COMPROMISE: frozenset({_A, _O, _P}),
        Verb.KEK_END: frozenset({_P}),
        Verb.VAULT_OPEN: frozenset({_A, _O, _P}),
        Verb.VAULT_READ: frozenset({_A, _O, _P, _U}),
        Verb.VAULT_STEP: frozenset({_O}),
        Verb.VAULT_CLOSE: frozenset({_P}),
        Verb.AUDIT_READ: frozenset({_U}),
        Verb.AUDIT_RUN: frozenset({_U, _S}),
        Verb.AUDIT_HASH: frozenset({_U}),
        Verb.LEAK_FINGERPRINTS: frozenset({_U}),
        Verb.ALERT_READ: frozenset({_A, _O, _P, _U}),
        Verb.SUBJECT_CREATE: frozenset({_A}),
        Verb.SUBJECT_CHANGE: frozenset({_A}),
        Verb.SUBJECT_READ: frozenset({_A, _U}),
        Verb.SUBJECT_APPROVE: frozenset({_A}),
        Verb.TOKEN_ISSUE: frozenset({_A}),
        Verb.TOKEN_REVOKE: frozenset({_A}),
    }
)

# The second person's half of what takes two, and the first one's where an admin is the second: that admin may have made
# who asks. Who was given the role, or a credential, by one admin alone waits with it.
APPROVING: Final = frozenset(
    {
        Verb.SWITCH_APPROVE_OPEN,
        Verb.CANARY_APPROVE,
        Verb.TRANSFER_REQUEST,
        Verb.TRANSFER_APPROVE,
        Verb.PROFILE_SHRED,
        Verb.KEK_END,
        Verb.VAULT_CLOSE,
        Verb.SUBJECT_APPROVE,
    }
)

# Nobody may hold both sides: whoever runs jobs or approves does not write keys or policy (R4.1-12).
FORBIDDEN_PAIRS: Final = frozenset(
    {frozenset({_O, _P}), frozenset({_A, _P}), frozenset({_A, _O}), frozenset({_A, _U}), frozenset({_O, _U})}
)


def authorise(actor: Actor, verb: Verb, *, client_id: UUID | None = None) -> None:
    """Let a verb pass.

    Args:
        actor: From authentication.
        verb: What it wants to do.
        client_id: Whose object it is about; ``None`` for objects of the platform.

    Raises:
        Denied: ``not_permitted`` - no role of the actor holds the verb; ``approval_held`` - it may not approve yet.
        NotFound: ``not_found`` - the client is not one of the actor's; same answer as for a client that
            does not exist (S-OWASP-23).
    """
    holders = GRANTS.get(verb, frozenset())
    if not actor.roles & holders:
        named = ", ".join(sorted(role.value for role in holders))
        raise Denied("not_permitted", verb=verb.value, next_step=f"This takes one of the roles: {named or 'none'}.")
    if actor.held and verb in APPROVING:
        until = f"until {actor.held_until.astimezone(UTC):%Y-%m-%d %H:%M}Z" if actor.held_until else "for now"
        step = (
            f"Your approvals are held {until}. To end it sooner: `byokeep operator vouch {actor.name or 'NAME'}`, by an"
        )
        step += " admin, and a second admin approves."
        raise Denied("approval_held", verb=verb.value, next_step=step)
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
                "forbidden_role_pair", next_step="Give these two roles to two people.", first=first, second=second
            )
