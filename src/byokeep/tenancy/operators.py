"""Who may do what: people and machines, their roles, states and assignments.

Rules
- Nobody can change their own roles, state or assignments. The last admin cannot be removed (R4.1-12).
- A request for roles that one person may not hold together is refused as a whole.
- Creating a machine, an approver or an admin, or widening a machine's assignment, takes two people once two admins can
  sign in: one asks, another approves. One person can narrow rights, and no session of the database keeps that waiting
  (:mod:`.blockers`).
- One admin can stop another at once, with an alert. For a day the stopped admin still counts as one, and one person can
  undo it.
- A change takes effect at the next call: authentication reads roles each time. A disabled subject's tokens end.
- A fresh installation has no identity at all. :func:`bootstrap` creates the first admin, once (S-ASVS-23).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import Conflict, Denied, NotFound, Rejected
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Actor, Role
from byokeep.core.plain_text import check_name, check_not_reserved
from byokeep.core.policy import Verb, authorise_every_client, check_roles
from byokeep.core.secret import Secret
from byokeep.kernel import approvals
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.approvals import Approval
from byokeep.kernel.command import command, open_alert, unblocked
from byokeep.kernel.ports import Tx
from byokeep.tenancy import tokens
from byokeep.tenancy.clients import refuse_twin
from byokeep.tenancy.tokens import Subject

BOOTSTRAP_S: Final = 24 * 3600
FIRST_ADMIN: Final = "first-admin"
_ONE_PERSON: Final = frozenset({Role.OPERATOR, Role.AUDITOR})  # what one admin can give alone


async def bootstrap(app: BrokerApp) -> Secret:
    """Create the first admin and return its invitation, which sets a password, once, within 24 hours.

    Raises:
        Conflict: ``already_set_up``: there already is an identity.
    """
    actor = app.system()
    async with app.db.begin(every_client=True) as tx:
        await tx.all(None, "subject_lock")
        if await tx.one(int, "subject_count"):
            raise Conflict("already_set_up", next_step="Ask an admin for a token.")
        first = _new(app, FIRST_ADMIN, frozenset({Role.ADMIN}), frozenset(), all_clients=True, machine=False)
        admin = await tokens.put(tx, app, actor, first, new=True)
        issued = await tokens.new_token(tx, app, actor, admin, kind="invitation", life_s=BOOTSTRAP_S)
    return issued.value


async def recover(app: BrokerApp, name: str) -> Secret | Approval:
    """Return an invitation for an admin who is locked out. Whoever has the host's own credentials may ask.

    If another admin can sign in, it needs their approval: the request is returned, and calling again collects the
    invitation. A request that nobody answers for the length of a hold passes, because they may be locked out as well.
    An admin whom another stopped within the last day is an admin again, without asking that other.

    Raises:
        NotFound: ``no_such_admin``: there is no admin of that name.
    """
    host = app.system()
    async with app.db.begin(every_client=True) as tx:
        await tx.all(None, "subject_lock")
        admin = next((one for one in await tx.all(Subject, "subjects_list") if one.name == name), None)
        stopped = admin is not None and _counts_on(app, admin)
        if admin is not None and stopped:
            back = replace(admin, state="active", roles=frozenset({Role.ADMIN}))
            admin = await tokens.put(tx, app, host, back, new=False, reason="change")
        if admin is None or not _is_admin(admin):
            raise NotFound("no_such_admin", next_step="Name an active admin, such as first-admin.")
        if not stopped and (asked := await _ask_to_recover(tx, app, admin)) is not None:
            return asked
        await open_alert(tx, app, None, reason="admin_recovered", key=f"recovered/{admin.id}", object_id=admin.id)
        issued = await tokens.new_token(tx, app, host, admin, kind="invitation", life_s=BOOTSTRAP_S)
    return issued.value


async def _ask_to_recover(tx: Tx, app: BrokerApp, admin: Subject) -> Approval | None:
    """Return the request that another admin must still approve; None if it may go on."""
    host, hold_s = app.system(), app.limits.approval_hold_s
    if not await tx.one(int, "admins_others", id=admin.id):
        return None
    scope, epoch = f"recover:{admin.id}", admin.record_seq or 0
    if await approvals.collect(tx, host, action=approvals.ISSUE_TOKEN, scope=scope, epoch=epoch) is not None:
        return None
    what = f"let the admin {admin.name} in again, which somebody asks for on the host"
    request = await approvals.ask(
        tx, app, host.id, action=approvals.ISSUE_TOKEN, scope=scope, epoch=epoch, asked=tokens.asked(admin, what),
        reason="recover", life_s=hold_s + approvals.LIFE_S,
    )  # fmt: skip
    if (request.expires_at - app.clock.now()).total_seconds() <= approvals.LIFE_S:
        return None
    if not request.repeated:
        await tx.append(tokens.intended(host, admin))
        await open_alert(tx, app, None, reason="admin_recovery_asked", object_id=admin.id)
    return request


async def create_subject(
    app: BrokerApp, actor: Actor, *, name: str, roles: frozenset[Role], clients: frozenset[UUID], all_clients: bool,
    machine: bool,
) -> Subject | Approval:  # fmt: skip
    """Create a person, or a dispatcher, runner or custodian, without any credential, or ask if it takes two people.

    Raises:
        Denied: ``not_permitted``.
        Rejected: As :func:`byokeep.core.policy.check_roles`; ``bad_name`` and similar; ``unknown_client``.
        Conflict: The name is taken; ``name_like_another``: it reads like that of another person or machine.
    """
    event = EventName.MACHINE_CREATED if machine else EventName.OPERATOR_CREATED
    async with command(app, actor, Verb.SUBJECT_CREATE, refused_as=event) as tx:
        check_not_reserved(name)
        check_name("name", name)
        check_roles(roles, machine=machine)
        await tx.all(None, "subject_lock")
        refuse_twin(name, await tx.all(str, "subject_names"))
        await tokens.require_clients(tx, clients)
        wanted = _new(app, name, roles, clients, all_clients=all_clients, machine=machine)
        if await _takes_two(tx, app, None, wanted):
            return await _ask(tx, app, actor, None, wanted, reason="create")
        return await _apply(tx, app, actor, None, wanted)


async def list_subjects(app: App, actor: Actor) -> list[Subject]:
    """Return whom the actor may see, people first.

    :func:`byokeep.tenancy.tokens.seen_by` decides who may be seen.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.SUBJECT_READ) as tx:
        every = await tx.all(Subject, "subjects_list")
    return [it for one in every if (it := tokens.seen_by(actor, one)) is not None]


async def change_subject(
    app: BrokerApp, actor: Actor, subject_id: UUID, *, roles: frozenset[Role] | None = None, state: str | None = None,
    clients: frozenset[UUID] | None = None, all_clients: bool | None = None,
) -> Subject | Approval:  # fmt: skip
    """Change roles, state or assignments, or ask for it if it takes two people; disabling ends all tokens.

    ``None`` leaves a thing as it is. Taking away an admin's access or role raises an alert.

    Raises:
        Denied: ``not_permitted``, ``own_rights``: it is the actor itself.
        NotFound: ``not_found``.
        Rejected: ``forbidden_role_pair`` and similar, ``bad_state``, ``unknown_client``, ``nothing_to_change``.
        Conflict: ``last_admin``.
    """
    async with _changing(app, actor, subject_id, opened=unblocked(app)) as tx:
        if subject_id == actor.id:
            raise Denied("own_rights", next_step="Another admin changes yours.")
        if state not in (None, "active", "disabled"):
            raise Rejected("bad_state", next_step="active or disabled.")
        if roles is None and state is None and clients is None and all_clients is None:
            raise Rejected("nothing_to_change", next_step="Name roles, state, clients or all_clients.")
        await tx.all(None, "subject_lock")
        before = await tx.one(Subject, "subject_get", id=subject_id)
        wanted = replace(
            before, roles=before.roles if roles is None else roles, state=state or before.state,
            all_clients=before.all_clients if all_clients is None else all_clients,
            clients=before.clients if clients is None else clients,
        )  # fmt: skip
        return await _change(tx, app, actor, before, wanted)


def _changing(
    app: BrokerApp, actor: Actor, subject_id: UUID, *, opened: AbstractAsyncContextManager[Tx] | None = None
) -> AbstractAsyncContextManager[Tx]:
    changed = EventName.OPERATOR_CHANGED
    return command(app, actor, Verb.SUBJECT_CHANGE, object_id=subject_id, refused_as=changed, opened=opened)


async def ask_to_end_hold(app: BrokerApp, actor: Actor, subject_id: UUID) -> Approval:
    """Ask a second admin to vouch for a person whose approvals are held.

    Raises:
        Denied: ``not_permitted``, ``own_rights``.
        NotFound: ``not_found``.
        Conflict: ``not_held``.
    """
    async with _changing(app, actor, subject_id) as tx:
        if subject_id == actor.id:
            step = "Another admin asks, and a second one approves; or wait for its end."
            raise Denied("own_rights", next_step=step)
        await tx.all(None, "subject_lock")
        subject = await tx.one(Subject, "subject_get", id=subject_id)
        if subject.held_until is None or subject.held_until <= app.clock.now():
            raise Conflict("not_held", next_step="This person's approvals are not held.")
        return await _ask(tx, app, actor, subject, subject, reason="vouch")


async def list_approvals(app: BrokerApp, actor: Actor) -> list[Approval]:
    """Return the requests that wait for a second admin.

    Raises:
        Denied: ``not_permitted``, also for an auditor of only some clients: requests name all people and clients.
    """
    async with command(app, actor, Verb.SUBJECT_READ) as tx:
        if Role.ADMIN not in actor.roles:
            authorise_every_client(actor, Verb.SUBJECT_READ)
        return await approvals.waiting(tx, *approvals.OF_PEOPLE)


async def approve(app: BrokerApp, actor: Actor, approval_id: UUID) -> Subject:
    """Do what another admin asked for, as the second person; whoever asked for a machine's token then collects it.

    Raises:
        Denied: ``not_permitted``, ``approval_held``, ``same_person``, ``own_rights``, ``approval_expired``,
            ``approval_used``, ``approval_changed``.
        NotFound: ``not_found``.
        Conflict: As :func:`create_subject`, for what was made meanwhile.
    """
    async with command(app, actor, Verb.SUBJECT_APPROVE, object_id=approval_id) as tx:
        approval = await approvals.find(tx, approval_id, *approvals.OF_PEOPLE)
    changed = EventName.OPERATOR_CHANGED
    using = command(app, actor, Verb.SUBJECT_APPROVE, object_id=approval_id, denied_as=changed, opened=unblocked(app))
    async with using as tx:
        await tx.all(None, "subject_lock")
        wish = _read(approval)
        if wish.id == actor.id:
            raise Denied("own_rights", next_step="Another admin approves yours.")
        before = await tx.maybe(Subject, "subject_get", id=wish.id)
        wanted = wish if before is None else replace(
            before, roles=wish.roles, state=wish.state, all_clients=wish.all_clients, clients=wish.clients
        )  # fmt: skip
        epoch = wanted.record_seq or 0
        if approval.action == approvals.ISSUE_TOKEN:  # whoever asked collects it, so that nobody else sees it
            await approvals.give(tx, actor, approval, scope=approval.scope, epoch=epoch)
            await tx.append(tokens.intended(actor, wanted))
            return wanted
        if before is None:  # as when it was asked for
            refuse_twin(wish.name, await tx.all(str, "subject_names"))
        await approvals.use(tx, actor, approval, scope=_scope(wanted), epoch=epoch)
        return await _apply(tx, app, actor, before, wanted, approval=approval.id, reason=approval.reason)


async def _change(tx: Tx, app: BrokerApp, actor: Actor, before: Subject, wanted: Subject) -> Subject | Approval:
    machine = before.kind == "machine"
    check_roles(wanted.roles, machine=machine)
    if machine and wanted.roles != before.roles:
        raise Rejected("role_is_fixed", next_step="Create another machine identity for another role.")
    await tokens.require_clients(tx, wanted.clients)
    await _keep_an_admin(tx, before, wanted)
    if await _takes_two(tx, app, before, wanted):
        return await _ask(tx, app, actor, before, wanted, reason="change")
    return await _apply(tx, app, actor, before, wanted)


async def _apply(
    tx: Tx, app: BrokerApp, actor: Actor, before: Subject | None, wanted: Subject, *,
    approval: UUID | None = None, reason: str = "",
) -> Subject:  # fmt: skip
    if before is not None and _is_admin(before) and not _is_admin(wanted):
        await tokens.tell_of_stopped(tx, app, actor, before.id)
    changed = await tokens.put(tx, app, actor, wanted, new=before is None, approval=approval, reason=reason)
    if wanted.state != "active":
        await tokens.revoke_all(tx, actor, wanted.id)
        await tokens.unlink(tx, actor, wanted.id)
    elif before is not None and wanted.roles != before.roles:
        await tokens.revoke_all(tx, actor, wanted.id, kind="session")
    return changed


def staying(subject: Subject, given: frozenset[Role], governed: frozenset[Role]) -> frozenset[Role]:
    """Return the roles that the groups at the provider leave somebody; empty: none.

    Roles that a group gives stay, and so do those that no group could give. If none is left, the groups give what one
    admin can give alone; only the auditor's role, if that is among it.
    """
    kept = subject.roles & given | subject.roles - governed
    return kept or given & {Role.AUDITOR} or given & _ONE_PERSON


async def follow(
    tx: Tx, app: BrokerApp, subject: Subject, roles: frozenset[Role], *, clients: frozenset[UUID], all_clients: bool
) -> Subject:
    """Apply what a person's groups at the provider give, in the caller's transaction; returns the person afterwards.

    Args:
        roles: The roles left to them (:func:`staying`); without any they are disabled.
        clients, all_clients: What the groups give; an id that is not a client's gives nothing.

    Raises:
        Conflict: ``last_admin``.
    """
    known = frozenset(await tx.all(UUID, "subject_clients_known", clients=sorted(clients))) if clients else clients
    wanted = replace(subject, roles=roles, clients=known, all_clients=all_clients)
    if not roles:
        wanted = replace(subject, state="disabled")
    if wanted == subject:
        return subject
    await _keep_an_admin(tx, subject, wanted)
    return await _apply(tx, app, app.system(), subject, wanted, reason="groups")


async def _takes_two(tx: Tx, app: App, before: Subject | None, wanted: Subject) -> bool:
    """Whether a role, or a machine's client, is given that takes two admins; the database checks this, too.

    Raises:
        Denied: ``second_admin_needed``: it takes two, and the other was stopped less than a day ago.
    """
    had = before.roles if before is not None and before.state == "active" else frozenset()
    if before is not None and _counts_on(app, before):
        had |= {Role.ADMIN}
    gains = wanted.state == "active" and bool(wanted.roles - _ONE_PERSON - had)
    if before is not None and before.kind == "machine" and not before.all_clients:  # by a client, active or not
        gains = gains or wanted.all_clients or bool(wanted.clients - before.clients)
    return gains and await approvals.takes_two(tx)


async def _keep_an_admin(tx: Tx, before: Subject, wanted: Subject) -> None:
    if _is_admin(before) and not _is_admin(wanted) and not await tx.one(int, "admins_left", id=before.id):
        raise Conflict("last_admin", next_step="Make somebody else an admin first.", subject=before.id)


def _is_admin(one: Subject) -> bool:
    return Role.ADMIN in one.roles and one.state == "active"


def _counts_on(app: App, one: Subject) -> bool:
    """Whether another admin stopped this one so recently that they still count as an admin."""
    return one.admin_until is not None and one.admin_until > app.clock.now()


async def _ask(
    tx: Tx, app: BrokerApp, actor: Actor, before: Subject | None, wanted: Subject, *, reason: str
) -> Approval:
    held = before is not None and before.held_until is not None and before.held_until > app.clock.now()
    approval = await approvals.request(
        tx, app, actor, action=approvals.GIVE_RIGHTS, scope=_scope(wanted), epoch=wanted.record_seq or 0,
        asked=tokens.asked(wanted, in_words(before, wanted, held=held)), reason=reason,
    )  # fmt: skip
    if not approval.repeated:
        await tx.append(tokens.subject_event(actor, wanted, Outcome.INTENDED, new=before is None, reason=reason))
    return approval


def in_words(before: Subject | None, wanted: Subject, *, held: bool) -> str:
    """Return what an approver is asked for, as a sentence, with the ids of clients.

    Args:
        before: The account as it is; None = it is created.
        wanted: The account as it will be.
        held: Whether its approvals are held: whatever a second admin approves ends that.
    """
    if before is None:
        return f"create the {'machine' if wanted.kind == 'machine' else 'person'} {wanted.name} ({_roles(wanted)})"
    of: dict[str, Callable[[Subject], str]] = {"roles": _roles, "clients": _clients, "state": lambda one: one.state}
    changes = [f"{name} {said(before)} -> {said(wanted)}" for name, said in of.items() if said(before) != said(wanted)]
    ends = [f"ends the hold on {wanted.name}"] if held else []
    if not changes:
        return f"vouch for {wanted.name}: {'; '.join(ends)}"
    return f"change {wanted.name}: {'; '.join(changes + ends)}"


def _roles(one: Subject) -> str:
    return ", ".join(sorted(role.value for role in one.roles)) or "none"


def _clients(one: Subject) -> str:
    return "all" if one.all_clients else ", ".join(sorted(str(client) for client in one.clients)) or "none"


def _scope(wanted: Subject) -> str:
    return f"rights:{wanted.id}:{wanted.rights}"


def _read(approval: Approval) -> Subject:
    said: dict[str, Any] = parse_canonical(approval.asked.encode())  # type: ignore[assignment]
    return Subject(
        id=UUID(said["subject"]), kind=said["kind"], name=said["name"],
        roles=frozenset(Role(role) for role in said["roles"]), state=said["state"],
        all_clients=bool(said["all_clients"]), clients=frozenset(UUID(client) for client in said["clients"]),
    )  # fmt: skip


def _new(
    app: App, name: str, roles: frozenset[Role], clients: frozenset[UUID], *, all_clients: bool, machine: bool
) -> Subject:
    return Subject(
        id=app.ids.uuid(), kind="machine" if machine else "operator", name=name, roles=roles, state="active",
        all_clients=all_clients, clients=clients,
    )  # fmt: skip
