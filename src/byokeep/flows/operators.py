"""Who may do what: people and machines, their roles, states and assignments.

Rules
- Nobody changes their own roles, state or assignments; the last admin can not be taken away (R4.1-12).
- Roles that must not meet in one hand are refused as a whole request.
- A change holds for the next call: authentication reads roles each time; a disabled subject's tokens end.
- A fresh installation has no identity at all. :func:`bootstrap` makes the first admin, once (S-ASVS-23).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, Denied, Rejected
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, Role
from byokeep.core.plain_text import check_name, check_not_reserved
from byokeep.core.policy import Verb, check_roles
from byokeep.core.secret import Secret
from byokeep.flows.app import WebApp
from byokeep.flows.clients import MAX_ROWS
from byokeep.flows.permission import absent, permit, recorded_rejections, refuse
from byokeep.flows.subjects import ADMINS_LEFT, COUNT, GET, INSERT, LIST, LOCK, UPDATE, Subject, assign
from byokeep.flows.tokens import new_token, revoke_all
from byokeep.ports import Tx

BOOTSTRAP_S: Final = 24 * 3600
FIRST_ADMIN: Final = "first-admin"


async def bootstrap(app: WebApp) -> Secret:
    """Create the first admin and return its token, which ends after 24 hours.

    Raises:
        Conflict: ``already_set_up``: there is an identity already.
    """
    actor = app.system()
    async with app.db.begin(every_client=True) as tx:
        await tx.all(LOCK)
        if await tx.one(COUNT):
            raise Conflict("already_set_up", next_step="Ask an admin for a token.")
        admin = await _insert(tx, app, actor, name=FIRST_ADMIN, roles=frozenset({Role.ADMIN}), machine=False,
                              all_clients=True)  # fmt: skip
        issued = await new_token(tx, app, actor, admin, kind="api", life_s=BOOTSTRAP_S)
    return issued.value


async def create_operator(
    app: WebApp,
    actor: Actor,
    *,
    name: str,
    roles: frozenset[Role],
    clients: frozenset[UUID] = frozenset(),
    all_clients: bool = False,
) -> Subject:
    """Create a person without any credential.

    Raises:
        Denied: ``not_permitted``.
        Rejected: As :func:`byokeep.core.policy.check_roles`; ``bad_name`` and its like; ``unknown_client``.
        Conflict: The name is taken.
    """
    return await _create(app, actor, name, roles, clients, all_clients=all_clients, machine=False)


async def create_machine(
    app: WebApp,
    actor: Actor,
    *,
    name: str,
    role: Role,
    clients: frozenset[UUID] = frozenset(),
    all_clients: bool = False,
) -> Subject:
    """Create a dispatcher, runner or custodian without any credential.

    Raises:
        As :func:`create_operator`.
    """
    return await _create(app, actor, name, frozenset({role}), clients, all_clients=all_clients, machine=True)


async def list_subjects(app: WebApp, actor: Actor) -> list[Subject]:
    """Return everybody.

    Raises:
        Denied: ``not_permitted``.
    """
    await permit(app, actor, Verb.SUBJECT_READ)
    async with app.db.begin(every_client=True) as tx:
        return await tx.all(LIST, limit=MAX_ROWS)


async def change_subject(
    app: WebApp,
    actor: Actor,
    subject_id: UUID,
    *,
    roles: frozenset[Role] | None = None,
    state: str | None = None,
    clients: frozenset[UUID] | None = None,
    all_clients: bool | None = None,
) -> Subject:
    """Change roles, state or assignments; ``None`` leaves a thing as it is. Disabling ends all tokens.

    Raises:
        Denied: ``not_permitted``, ``own_rights``: it is the actor itself.
        NotFound: ``not_found``.
        Rejected: ``forbidden_role_pair`` and its like, ``bad_state``, ``unknown_client``, ``nothing_to_change``.
        Conflict: ``last_admin``.
    """
    await permit(app, actor, Verb.SUBJECT_CHANGE)
    if subject_id == actor.id:
        error = Denied("own_rights", next_step="Another admin changes yours.")
        await refuse(app, actor, Verb.SUBJECT_CHANGE, error, object_id=subject_id)
        raise error
    async with recorded_rejections(app, actor, EventName.OPERATOR_CHANGED, object_id=subject_id):
        if state not in (None, "active", "disabled"):
            raise Rejected("bad_state", next_step="active or disabled.")
        if roles is None and state is None and clients is None and all_clients is None:
            raise Rejected("nothing_to_change", next_step="Name roles, state, clients or all_clients.")
        async with app.db.begin(every_client=True) as tx:
            await tx.all(LOCK)
            before = await tx.maybe(GET, id=subject_id)
            if before is not None:
                wanted = _Wanted(
                    roles=before.roles if roles is None else roles,
                    state=state or before.state,
                    all_clients=before.all_clients if all_clients is None else all_clients,
                )
                await _change(tx, actor, before, wanted)
                if clients is not None:
                    await assign(tx, subject_id, clients)
                return await tx.one(GET, id=subject_id)
    raise await absent(app, actor, Verb.SUBJECT_CHANGE, subject_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    roles: frozenset[Role]
    state: str
    all_clients: bool


async def _change(tx: Tx, actor: Actor, before: Subject, wanted: _Wanted) -> None:
    machine = before.kind == "machine"
    check_roles(wanted.roles, machine=machine)
    if machine and wanted.roles != before.roles:
        raise Rejected("role_is_fixed", next_step="Create another machine identity for another role.")
    was_admin = Role.ADMIN in before.roles and before.state == "active"
    is_admin = Role.ADMIN in wanted.roles and wanted.state == "active"
    if was_admin and not is_admin and not await tx.one(ADMINS_LEFT, id=before.id):
        raise Conflict("last_admin", next_step="Make somebody else an admin first.", subject=before.id)
    await tx.one(
        UPDATE, id=before.id, roles=sorted(role.value for role in wanted.roles), state=wanted.state,
        all_clients=wanted.all_clients,
    )  # fmt: skip
    if wanted.state != "active":
        await revoke_all(tx, actor, before.id)
    elif wanted.roles != before.roles:
        await revoke_all(tx, actor, before.id, kind="session")
    name = EventName.MACHINE_CHANGED if machine else EventName.OPERATOR_CHANGED
    await tx.append(_event(name, actor, before.id, wanted.roles))


async def _create(
    app: WebApp,
    actor: Actor,
    name: str,
    roles: frozenset[Role],
    clients: frozenset[UUID],
    *,
    all_clients: bool,
    machine: bool,
) -> Subject:
    await permit(app, actor, Verb.SUBJECT_CREATE)
    event = EventName.MACHINE_CREATED if machine else EventName.OPERATOR_CREATED
    async with recorded_rejections(app, actor, event):
        check_not_reserved("name", name)
        check_name("name", name)
        check_roles(roles, machine=machine)
        async with app.db.begin(every_client=True) as tx:
            await tx.all(LOCK)
            subject = await _insert(tx, app, actor, name=name, roles=roles, machine=machine, all_clients=all_clients)
            await assign(tx, subject.id, clients)
            return await tx.one(GET, id=subject.id)


async def _insert(
    tx: Tx, app: WebApp, actor: Actor, *, name: str, roles: frozenset[Role], machine: bool, all_clients: bool
) -> Subject:
    subject = await tx.one(
        INSERT, id=app.ids.uuid(), kind="machine" if machine else "operator", name=name,
        roles=sorted(role.value for role in roles), all_clients=all_clients, created_by=actor.id,
    )  # fmt: skip
    await tx.append(
        _event(EventName.MACHINE_CREATED if machine else EventName.OPERATOR_CREATED, actor, subject.id, roles)
    )
    return subject


def _event(name: EventName, actor: Actor, subject_id: UUID, roles: frozenset[Role]) -> Event:
    listed = ",".join(sorted(role.value for role in roles))
    return Event(
        name=name,
        actor=actor,
        outcome=Outcome.OK,
        object_id=subject_id,
        fields={"subject": str(subject_id), "roles": listed},
    )
