"""Who may do what. The gate for effects is :mod:`byokeep.core.gate`.

Rules
- A decision is not a return value: the function returns ``None`` or raises. There is no boolean to forget.
- Default deny: a verb or role that is not named here is refused (R4.1-6).
- One authoriser decides on read, list, count, metadata and export of an object.

It may not look anything up.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from byokeep.core.errors import Denied, NotFound, Rejected, Unauthenticated
from byokeep.core.model import HUMAN_ROLES, MACHINE_ROLES, Actor, Role

_O, _P, _U, _A = Role.OPERATOR, Role.APPROVER, Role.AUDITOR, Role.ADMIN
_D, _R, _C, _S = Role.DISPATCHER, Role.RUNNER, Role.CUSTODIAN, Role.SYSTEM
_T = Role.CONTACT  # of one client, and let in only by the portal (tenancy/authenticate.py)


class Verb(StrEnum):
    """Every operation that needs authorisation. Nobody holds ``key.read``: values are read under leases.

    Attributes:
        roles: Who may do it.
    """

    roles: frozenset[Role]

    def __new__(cls, name: str, *roles: Role) -> Verb:
        """Make a verb from its name and the roles that hold it."""
        made = str.__new__(cls, name)
        made._value_ = name
        made.roles = frozenset(roles)
        return made

    CLIENT_CREATE = "client.create", _A
    CLIENT_LIST = "client.list", _A, _O, _P, _U
    CLIENT_READ = "client.read", _A, _O, _P, _U, _T
    CLIENT_CHANGE = "client.change", _A
    CONTACT_INVITE = "contact.invite", _O
    CONTACT_READ = "contact.read", _A, _O, _P, _U
    CONTACT_END = "contact.end", _A, _O
    ACCOUNT_REGISTER = "account.register", _O
    ACCOUNT_CONNECT = "account.connect", _O, _T
    PROFILE_CREATE = "profile.create", _O
    PROFILE_WORK = "profile.work", _O
    PROFILE_CONFIRM = "profile.confirm", _O
    PROFILE_SHRED = "profile.shred", _P
    PROFILE_READ = "profile.read", _A, _O, _P, _U
    APP_SET = "app.set", _A
    APP_READ = "app.read", _A, _O, _P, _U
    REFRESHER_READ = "refresher.read", _A, _O, _U
    REFRESHER_GONE = "refresher.gone", _A
    KEY_WRITE = "key.write", _O, _T
    KEY_LIST = "key.list", _O, _P, _U, _T
    KEY_METADATA = "key.metadata", _O, _P, _U, _T
    KEY_HISTORY = "key.history", _O, _U, _T
    KEY_VERIFY = "key.verify", _O
    KEY_STATE = "key.state", _O, _T
    KEY_PURGE = "key.purge", _P
    KEY_READ = "key.read"
    SOP_READ = "sop.read", _O, _P, _U, _T
    PROCEDURE_READ = "procedure.read", _A, _O, _P, _U
    EVIDENCE_READ = "evidence.read", _O, _P, _U
    JOB_OPEN = "job.open", _D, _S
    JOB_READ = "job.read", _D, _R, _C, _O, _U
    JOB_CLOSE = "job.close", _D, _R, _C, _S
    LEASE_USE = "lease.use", _R
    LEASE_CUSTODY = "lease.custody", _C
    PERMIT = "permit.issue", _R
    SWITCH_READ = "switch.read", _A, _O, _P, _U, _D, _R, _T
    SWITCH_CLOSE = "switch.close", _A, _O, _P
    SWITCH_REQUEST_OPEN = "switch.request_open", _O
    SWITCH_APPROVE_OPEN = "switch.approve_open", _P
    PLATFORM_CLOSE = "platform.close", _A, _O, _P
    PLATFORM_READ = "platform.read", _A, _O, _P, _U
    CANARY_REQUEST = "canary.request", _O
    CANARY_APPROVE = "canary.approve", _P
    TRANSFER_REQUEST = "transfer.request", _O
    TRANSFER_APPROVE = "transfer.approve", _A
    EFFECT_SCHEDULE = "effect.schedule", _D
    EFFECT_LIST = "effect.list", _O, _P, _U, _D
    EFFECT_MOVE = "effect.move", _O
    KEK_READ = "kek.read", _A, _O, _P, _U
    KEK_ROTATE = "kek.rotate", _O
    KEK_CHECK = "kek.check", _A, _O, _P, _U
    KEK_COMPROMISE = "kek.compromise", _A, _O, _P
    KEK_END = "kek.end", _P
    VAULT_OPEN = "vault_incident.open", _A, _O, _P
    VAULT_READ = "vault_incident.read", _A, _O, _P, _U
    VAULT_STEP = "vault_incident.step", _O
    VAULT_CLOSE = "vault_incident.close", _P
    INCIDENT_OPEN = "incident.open", _A, _O, _P
    INCIDENT_READ = "incident.read", _A, _O, _P, _U
    INCIDENT_STEP = "incident.step", _O
    INCIDENT_CLOSE = "incident.close", _O, _P
    INCIDENT_LOWER = "incident.lower", _P
    GLASS_READ = "breakglass.read", _A, _O, _P, _U
    GLASS_REQUEST = "breakglass.request", _O
    GLASS_APPROVE = "breakglass.approve", _P
    GLASS_REVOKE = "breakglass.revoke", _A, _O, _P
    GLASS_REVIEW = "breakglass.review", _O, _P
    AUDIT_READ = "audit.read", _U
    AUDIT_RUN = "audit.run", _U, _S
    AUDIT_HASH = "audit.hash", _U
    LEAK_FINGERPRINTS = "leak.fingerprints", _U
    DUE_READ = "due.read", _A, _O, _P, _U
    CHECKLIST_READ = "checklist.read", _A, _O, _P, _U
    CHECKLIST_SIGN = "checklist.sign", _A, _O, _U
    SETTINGS_READ = "settings.read", _A, _U
    NOTIFY_TEST = "notify.test", _A, _O
    ALERT_READ = "alert.read", _A, _O, _P, _U
    SUBJECT_CREATE = "subject.create", _A
    SUBJECT_CHANGE = "subject.change", _A
    SUBJECT_READ = "subject.read", _A, _U
    SUBJECT_APPROVE = "subject.approve", _A
    TOKEN_ISSUE = "token.issue", _A
    TOKEN_REVOKE = "token.revoke", _A


GRANTS: Final[Mapping[Verb, frozenset[Role]]] = MappingProxyType({verb: verb.roles for verb in Verb})

# What the second person does of an act that takes two, and what the first does if an admin is the second: that admin
# may have created the first. Whoever got the role, or a credential, from one admin alone must wait with these.
_BY_ADMIN: Final = frozenset({Verb.TRANSFER_REQUEST, Verb.TRANSFER_APPROVE, Verb.SUBJECT_APPROVE})
APPROVING: Final = frozenset(verb for verb in Verb if verb.roles == {_P}) | _BY_ADMIN

# What a console session may do only if its person signed in within the last 5 minutes (S-ASVS-22): approve, release or
# open something, change who may do what, and take the record out of the house.
FRESH: Final = APPROVING | {
    Verb.SWITCH_REQUEST_OPEN, Verb.GLASS_REQUEST, Verb.SUBJECT_CREATE, Verb.SUBJECT_CHANGE, Verb.TOKEN_ISSUE,
    Verb.CONTACT_INVITE, Verb.AUDIT_RUN,
}  # fmt: skip

# Nobody may hold both roles of a pair: whoever runs jobs or approves does not write keys or policy (R4.1-12).
FORBIDDEN_PAIRS: Final = frozenset(
    {frozenset({_O, _P}), frozenset({_A, _P}), frozenset({_A, _O}), frozenset({_A, _U}), frozenset({_O, _U})}
)


def authorise(actor: Actor, verb: Verb, *, client_id: UUID | None = None) -> None:
    """Check that an actor may do something.

    Args:
        actor: From authentication.
        verb: What the actor wants to do.
        client_id: Whose object it is about; ``None`` for objects of the platform.

    Raises:
        Denied: ``not_permitted`` - no role of the actor holds the verb; ``approval_held`` - it may not approve yet.
        Unauthenticated: ``step_up_required`` - the person must have signed in within the last 5 minutes.
        NotFound: ``not_found`` - the client is not one of the actor's; same answer as for a client that does not exist
            (S-OWASP-23).
    """
    holders = GRANTS.get(verb, frozenset())
    if not actor.roles & holders:
        named = ", ".join(sorted(role.value for role in holders - {_T}))
        needed = f"This needs one of these roles: {named or 'none'}."
        if Role.INVITED in actor.roles:
            needed = "An invitation only sets a password: `byokeep operator password`, then `byokeep operator login`."
        raise Denied("not_permitted", verb=verb.value, next_step=needed)
    if actor.held and verb in APPROVING:
        until = f"until {actor.held_until.astimezone(UTC):%Y-%m-%d %H:%M}Z" if actor.held_until else "for now"
        step = (
            f"Your approvals are held {until}. To end it sooner: `byokeep operator vouch {actor.name or 'NAME'}`, run"
            " by an admin and approved by a second one."
        )
        raise Denied("approval_held", verb=verb.value, next_step=step)
    if verb in FRESH:
        require_proof(actor)
    if client_id is not None and actor.clients is not None and client_id not in actor.clients:
        raise NotFound("not_found")


def require_proof(actor: Actor) -> None:
    """Check that a person proved within the last 5 minutes who they are.

    A token that is not a browser session's passes, unless it is a session that a password opened for somebody who has a
    passkey.

    Raises:
        Unauthenticated: ``step_up_required``.
    """
    if not actor.proved:
        step = (
            "Sign in to the console again: that counts there for 5 minutes. On the command line:"
            " `byokeep operator login --browser`, which counts for 5 minutes, too."
        )
        raise Unauthenticated("step_up_required", next_step=step)


def authorise_every_client(actor: Actor, verb: Verb) -> None:
    """Check that an actor may do something that covers every client's records at once.

    Raises:
        Denied: ``not_permitted``, also for somebody who is assigned to only some clients.
    """
    authorise(actor, verb)
    if actor.clients is not None:
        raise Denied("not_permitted", next_step="It covers every client: somebody assigned to all must run it.")


def check_roles(roles: frozenset[Role], *, machine: bool) -> None:
    """Accept a set of roles for one identity.

    Raises:
        Rejected: ``no_roles``, ``wrong_kind_of_role``, ``one_role_per_machine`` or ``forbidden_role_pair``.
    """
    if not roles:
        raise Rejected("no_roles", next_step="Name at least one role.")
    if roles - (MACHINE_ROLES if machine else HUMAN_ROLES):
        raise Rejected("wrong_kind_of_role", next_step="Give people roles for people, and machines roles for machines.")
    if machine and len(roles) != 1:
        raise Rejected("one_role_per_machine", next_step="Create one machine identity for each role.")
    for pair in FORBIDDEN_PAIRS:
        if pair <= roles:
            first, second = sorted(role.value for role in pair)
            raise Rejected(
                "forbidden_role_pair", next_step="Give these two roles to two people.", first=first, second=second
            )
