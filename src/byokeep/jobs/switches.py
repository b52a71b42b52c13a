"""The kill switch: one person closes it at once, two people open it (runbook section 7).

Rules
- Closing takes an exclusive lock, then row, record and commit; at the same time the store disables the client's entity.
  It is acknowledged only when both are done and on record. If the store cannot be reached, the switch stays closed and
  the broker keeps trying. There is no trip to the database or the store that the answer does not need.
- No session of the database keeps a close waiting for long: it is ended (:mod:`.blockers`), by the kill process within
  a few hundredths of a second, by the broker after about one second.
- Opening: an operator asks, and another person approves within 15 minutes, once, for exactly the state that was seen
  (the epoch). Anything that happens in between voids the request.
- An entity is let in only if neither the global nor the client's own switch is closed. One that somebody else let in is
  disabled again within half a minute.

It may not judge why: a reason is a code.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from byokeep.audit import log
from byokeep.core.errors import ByokeepError, Conflict, Denied, Pending, Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.exchange import IDENTITY_LIFE_S
from byokeep.core.model import Actor, DeclaredJob, Lane
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb, authorise
from byokeep.core.vault_incident import look_at
from byokeep.kernel import approvals
from byokeep.kernel.app import App, BrokerApp, KillApp
from byokeep.kernel.approvals import Approval
from byokeep.kernel.command import (
    Ended,
    authorise_for,
    command,
    ending_blockers,
    open_alert,
    permit,
    raise_alert,
    record,
    record_params,
    recorded,
    state_over,
    tell_later,
)
from byokeep.kernel.incidents import require_let_go
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import NO_COLUMN, Row
from byokeep.tenancy.clients import scope_of
from byokeep.tenancy.scopes import (
    BROWSER_LANE,
    GLOBAL,
    STORE_WITHIN_S,
    Scope,
    client_scopes,
    hold_alone,
    hold_open,
    parse_scope,
    scope_from_name,
)

CUT_OFF_WITHIN_S: Final = 3.0  # seconds that the store has before the caller is told that the cut-off is pending
DECISIONS_END_S: Final = 3.2  # seconds after which a statement of a decision in progress has ended or was cut off
UNDER_WAY_S: Final = 5.0  # seconds for which a cut-off is left to whoever engaged the switch
_LOST_S: Final = 1.0  # seconds within which a lost session means that it was ended, not that the database hangs
WAIT_S: Final = 0.03  # seconds that a kill waits for a transaction that it stops anyway
COPIED: Final = "installation_copied"  # why a copy comes up closed
COPIED_KEY: Final = f"state/{COPIED}"  # key of the alert, which opening the switch ends
MOST_JOBS: Final = 500  # that a preview lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One kill switch. ``store_cut_off`` = the store refuses, too (global and client scopes)."""

    scope: str
    client_id: UUID | None
    closed: bool
    epoch: int
    reason: str
    by: UUID
    at: datetime
    store_cut_off: bool
    installation_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed(Switch):
    """A switch just engaged; for everything or a client, also the jobs that it ended and the entities to refuse.

    ``keyless``: providers that swap identity tokens. No call of ours revokes the tokens that they gave before, which
    live until ``keyless_until``.
    """

    jobs: int
    entities: list[str]
    keyless: list[str]
    keyless_until: datetime | None = field(default=None, metadata=NO_COLUMN)


@dataclass(frozen=True, slots=True)
class _Entity:
    client_id: UUID
    entity_id: str
    may_enter: bool
    cut_off: bool


def _entity(row: Row) -> _Entity:
    # Of a suspended one too: no lease is given for it, and at the store nothing but a switch keeps anybody out.
    enter = row["state"] in ("active", "suspended") and not row["own_closed"] and not row["global_closed"]
    return _Entity(row["client_id"], row["entity_id"], enter, row["cut_off"])


async def install(tx: Tx, app: BrokerApp) -> bool:
    """Create the global switch, open, once for a new installation; without it everything counts as closed.

    Returns:
        False if there already is one, even of another installation (a restored copy stays closed).
    """
    made = await tx.maybe(str, "switch_install", by=app.installation_id, installation_id=app.installation_id)
    return made is not None


async def close(app: KillApp, actor: Actor, scope: Scope, reason: str) -> Killed:
    """Stop a scope. Returns when no act can start; closing again renews the state and voids requests.

    Args:
        app: The kill process or the broker.
        actor: One operator, approver or admin.
        scope: What to stop.
        reason: A code, ``[a-z][a-z0-9_]*``.

    Raises:
        Rejected: ``bad_reason``.
        NotFound: The client is not one of the actor's.
        Pending: ``store_cut_off_pending`` - closed, recorded and effective here, but the store has not confirmed; the
            broker tries again until it does.
        Unavailable: ``database_unavailable``: nothing is served then either.
    """
    authorise(actor, Verb.SWITCH_CLOSE, client_id=scope.client_id)
    check_reason(reason, example="suspected_leak")
    return await engage(app, actor, scope, reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What engaging a switch would do.

    Attributes:
        scope: The switch.
        ends_jobs: Whether the jobs end for good; otherwise they go on, and their acts in the scope are refused.
        jobs: The open jobs of the clients that the actor may see.
        more: Whether there are more than these.
    """

    scope: str
    ends_jobs: bool
    jobs: list[DeclaredJob]
    more: bool


async def preview(app: App, actor: Actor, scope: Scope) -> Preview:
    """Return what :func:`close` would stop now; nothing is changed.

    Raises:
        NotFound: The client is not one of the actor's.
    """
    if scope.client_id is None:
        authorise(actor, Verb.SWITCH_CLOSE)
    else:
        await authorise_for(app, actor, Verb.SWITCH_CLOSE, scope.client_id)
    said = {"client_id": scope.client_id, "platform": scope.platform, "lane": scope.lane}
    asked = said | {"clients": scope_of(actor), "limit": MOST_JOBS + 1}
    found = await app.db.read(DeclaredJob, "switch_jobs", asked, every_client=True)
    return Preview(scope=scope.name, ends_jobs=scope.cuts_store, jobs=found[:MOST_JOBS], more=len(found) > MOST_JOBS)


async def tell_panic(app: KillApp, client_id: UUID | None) -> None:
    """Raise the alert that somebody cut off at the store without the kill process. Raises Unavailable."""
    key = f"kill_panic/{client_id or 'global'}"
    await raise_alert(app, reason="kill_panic", key=key, severity="critical", client_id=client_id)


async def engage(app: KillApp, actor: Actor, scope: Scope, reason: str) -> Killed:
    """:func:`close` without a person, for what the broker stops automatically. Raises the same."""
    ended = Ended()
    async with AsyncExitStack() as last:
        last.callback(tell_later, app, scope.name, ended)
        last.callback(app.views.due.set)  # whoever follows the switches is told now
        try:
            killed, cutting = await _closed_row(app, actor, scope, reason, ended)
        except Unavailable as error:
            if error.code != "database_busy":
                raise
            # Whoever holds the scope's lock must not block a kill: the row is closed without it, the store refuses, and
            # the answer waits until any decision that still read the row as open has ended.
            killed, cutting = await _close_row(app, actor, scope, reason, ended, locked=False)
            last.push_async_callback(asyncio.sleep, DECISIONS_END_S)
        switch: Switch = killed
        if scope.cuts_store:
            switch = await _cut_off(app, actor, scope, killed, cutting, len(killed.entities), ended)
    return _outliving(app, scope, replace(killed, **{one.name: getattr(switch, one.name) for one in fields(Switch)}))


def _outliving(app: KillApp, scope: Scope, killed: Killed) -> Killed:
    """Return ``killed`` with the providers whose tokens outlive it, and until when, assuming the last possible swap."""
    calls = scope.platform is None and scope.lane != Lane.BROWSER
    lives = {name: one.life_s for name, one in app.limits.exchanges.items() if calls and name in killed.keyless}
    until = killed.at + timedelta(seconds=IDENTITY_LIFE_S + max(lives.values())) if lives else None
    return replace(killed, keyless=sorted(lives), keyless_until=until)


_Cutting = asyncio.Task[int]  # microseconds until the store refused


async def _closed_row(app: KillApp, actor: Actor, scope: Scope, reason: str, ended: Ended) -> tuple[Killed, _Cutting]:
    """Close the row under its lock; try once more if the session was lost, since closing twice does no harm."""
    started = app.clock.monotonic()
    try:
        return await _close_row(app, actor, scope, reason, ended, locked=True)
    except Unavailable as error:
        lost = error.code in ("database_unavailable", "commit_outcome_unknown")
        if not lost or app.clock.monotonic() - started > _LOST_S:  # a database that hangs is not asked twice
            raise
    return await _close_row(app, actor, scope, reason, ended, locked=True)


async def _close_row(
    app: KillApp, actor: Actor, scope: Scope, reason: str, ended: Ended, *, locked: bool
) -> tuple[Killed, _Cutting]:
    async with app.db.begin(every_client=True) as tx, ending_blockers(app, tx, ended, patience_s=WAIT_S):
        if locked:
            await hold_alone(tx, scope)
        killed = await tx.one(  # NotFound: no such client
            Killed, "switch_close", scope=scope.name, client_id=scope.client_id, reason=reason, by=actor.id,
            installation_id=app.installation_id, cuts_store=scope.cuts_store, cut_off=False,
        )  # fmt: skip
        cutting = _cutting(app, killed.entities)
        await record(
            tx, actor, EventName.SWITCH_CLOSED, client_id=scope.client_id, scope=scope.name, epoch=killed.epoch,
            reason=reason, count=killed.jobs, commit=locked,
        )  # fmt: skip
        if not locked:
            await open_alert(
                tx, app, None, reason="switch_lock_held", key=f"switch/{scope.name}", client_id=scope.client_id
            )
    return killed, cutting


def _cutting(app: KillApp, entities: Sequence[str]) -> _Cutting:
    """Begin to make the store refuse, under the switch's lock, while the row becomes durable.

    If the row does not, the store is stricter than the row, and the reconciliation then engages the switch.
    """

    async def disable() -> int:
        started = app.clock.monotonic()
        await app.cutoff.disable(*entities)
        return int((app.clock.monotonic() - started) * 1_000_000)

    task = asyncio.create_task(disable())
    app.telling.add(task)
    task.add_done_callback(app.telling.discard)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved if the row was not closed
    return task


async def _cut_off(
    app: KillApp,
    actor: Actor,
    scope: Scope,
    switch: Switch,
    cutting: _Cutting,
    count: int,
    ended: Ended,
    *,
    mark: str = "switch_mark_cut_off",
) -> Switch:
    """Wait until the store refuses ``count`` entities, record that, and return the switch."""
    try:
        async with asyncio.timeout(CUT_OFF_WITHIN_S):
            event = Event(
                name=EventName.SWITCH_CUT_OFF, actor=actor, outcome=Outcome.OK, client_id=scope.client_id,
                fields={"scope": scope.name, "epoch": switch.epoch, "took_us": await cutting, "entities": count},
            )  # fmt: skip
            async with app.db.begin(every_client=True) as tx, ending_blockers(app, tx, ended, patience_s=WAIT_S):
                said = record_params(event)
                found = await tx.last(Switch, mark, scope=scope.name, epoch=switch.epoch, **said)
            if not found:
                [current] = await app.db.read(Switch, "switch_read", {"scope": scope.name}, every_client=True)
                return current
    except (TimeoutError, ByokeepError):
        raise Pending(
            "store_cut_off_pending",
            next_step="Engaged; store half still to come. No lease or permit passes, and it stays so; a token of the"
            " last seconds may still read. The store is tried each second: `byokeep kill status`.",
            scope=scope.name.replace(":", "/"), epoch=switch.epoch,
        ) from None  # fmt: skip
    return found[0]


async def cut_off_pending(app: KillApp, *, older_s: float = 0.0) -> int:
    """Retry every cut-off that the store has not confirmed; returns how many are now in force.

    Broker and kill process run it when they start and every second.

    Args:
        app: Either of them.
        older_s: Leave alone what was engaged in these last seconds: whoever engaged it is still working on it.

    Raises:
        Pending: ``store_cut_off_pending`` - at least one is still not in force.
    """
    pending = await app.db.read(Switch, "switch_pending_cut_off", {"older_s": older_s}, every_client=True)
    failed: Pending | None = None
    for switch in pending:
        scope, ended = scope_from_name(switch.scope), Ended()
        try:
            asked = {"client_id": scope.client_id, "opening": ""}
            entities = await app.db.read(_entity, "switch_entities", asked, every_client=True)
            found = [one.entity_id for one in entities]
            cutting = _cutting(app, found)
            await _cut_off(
                app, app.system(), scope, switch, cutting, len(found), ended, mark="switch_mark_cut_off_unheld"
            )
        except Pending as error:
            failed = error
        finally:
            tell_later(app, scope.name, ended)
    if failed is not None:
        raise failed
    return len(pending)


async def cut_off_again(app: BrokerApp) -> int:
    """Disable again each entity that a closed switch had cut off and somebody let in; returns how many.

    Each raises an alert. If the store does not let us look, they are disabled again without one; the reconciliation
    finds whoever changed an entity.

    Raises:
        Unavailable: Store or database; the next round tries again.
    """
    undone = 0
    asked = {"client_id": None, "opening": ""}
    found = await app.db.read(_entity, "switch_entities", asked, every_client=True)
    async for entity, disabled in _looked_at(app, [one for one in found if one.cut_off]):
        if disabled:
            continue
        async with app.db.begin(every_client=True) as tx, asyncio.timeout(STORE_WITHIN_S):
            await hold_open(tx, client_scopes(entity.client_id))  # so that nobody opens meanwhile
            now = await tx.one(_entity, "switch_entities", client_id=entity.client_id, opening="")
            if not now.cut_off:
                continue
            await app.cutoff.disable(entity.entity_id)
            if disabled is False:
                undone += 1
                key = f"cut_off/{entity.client_id}"
                await open_alert(tx, app, None, reason="cut_off_undone", key=key, client_id=entity.client_id)
    return undone


async def follow_store(app: BrokerApp) -> list[UUID | None]:
    """Engage the switch of whomever the store refuses and the database does not: the stricter of the two holds.

    So a kill survives a database that lost it. If the store refuses everybody, it was the global switch.

    Returns:
        Whose switches were engaged; None: the global one.

    Raises:
        Unavailable: Store or database, also ``cut_off_unreadable``: nobody knows, and nothing may be served.
    """
    asked, shut = {"client_id": None, "opening": ""}, []
    entities = await app.db.read(_entity, "switch_entities", asked, every_client=True)
    enter = [one for one in entities if one.may_enter]
    async for one, refused in _looked_at(app, enter):
        if refused is None:  # we may not look, so a kill that the database lost would be released
            step = "Update the store's set-up: `byokeep up`, or `byokeep init` for your own store."
            raise Unavailable("cut_off_unreadable", next_step=step)
        if refused:
            shut.append(one.client_id)
    every = bool(shut) and len(shut) == len(enter) and (len(shut) > 1 or len(entities) == 1)
    found: list[UUID | None] = [None] if every else [*shut]
    for client_id in found:
        with suppress(Pending):
            await engage(app, app.system(), parse_scope(client_id, None, None), "cut_off_unexplained")
        await raise_alert(
            app, reason="cut_off_unexplained", key=f"cut_off/{client_id or GLOBAL}", severity="critical",
            client_id=client_id,
        )  # fmt: skip
    return found


async def _looked_at(app: BrokerApp, found: Sequence[_Entity]) -> AsyncIterator[tuple[_Entity, bool | None]]:
    """Yield entities with whether the store refuses them. One that it does not know is left out: it lets nobody in."""
    for one in found:
        try:
            refused = await app.cutoff.disabled(one.entity_id)
        except Unavailable as error:
            if error.code != "entity_unknown":
                raise
            continue
        yield one, refused


async def request_open(app: BrokerApp, actor: Actor, scope: Scope, reason: str) -> Approval:
    """Ask for a closed switch to be opened. A state has one live request: asking again returns that one.

    Raises:
        NotFound: No such client for this actor.
        Denied: ``not_permitted``: only people of all clients can open the global switch.
        Conflict: ``switch_not_closed``.
        Rejected: ``bad_reason``.
    """
    authorise(actor, Verb.SWITCH_REQUEST_OPEN, client_id=scope.client_id)
    _must_reach(actor, scope)
    async with app.db.begin(every_client=True) as tx:
        switch = await tx.maybe(Switch, "switch_hold_row", scope=scope.name)
        if switch is None and scope.client_id is not None:
            await tx.one(UUID, "switch_client_known", client_id=scope.client_id)
        if switch is None or not switch.closed:
            raise Conflict("switch_not_closed", next_step="Nothing to do: this switch is already released.")
        check_reason(reason, example="incident_over")
        request = await approvals.ask(
            tx, app, actor.id, action=approvals.RELEASE_SWITCH, scope=scope.name, epoch=switch.epoch, reason=reason,
            life_s=approvals.SHORT_S,
        )  # fmt: skip
        if request.repeated:
            return request
        await record(
            tx, actor, EventName.SWITCH_OPEN_REQUESTED, client_id=scope.client_id, object_id=request.id,
            scope=scope.name, epoch=switch.epoch, reason=reason,
        )  # fmt: skip
    return request


async def approve_open(app: BrokerApp, actor: Actor, request_id: UUID) -> Switch:
    """Open a switch on a second person's approval.

    The approval is used up first, so that a crash cannot let it be used twice. Then, under the switch's exclusive lock,
    the store lets the entity in and the row opens. Whoever closes meanwhile waits for that and then wins.

    The same approval makes a database that lost records the new base of the log, before everything opens.

    Raises:
        NotFound: No such request for this actor.
        Integrity: The log cannot continue from this database; the switch is still closed.
        Denied: ``same_person``, ``approval_expired``, ``approval_used``, ``epoch_changed``, ``approval_changed``.
        Conflict: ``lease_key_suspect`` - an alert says that somebody else signed leases, and the key was not rotated
            since; ``cut_off_pending`` - the store has not confirmed the close yet; ``vault_incident_open`` - the
            browser lane stays off until the new profiles are proved (R7.3-6); ``incident_holds_kill``,
            ``rotation_not_complete`` - the playbook of a leaked key has not come that far (R7.1-10).
        Unavailable: The store or the database; the switch is still closed.
    """
    async with command(app, actor, Verb.SWITCH_APPROVE_OPEN, object_id=request_id) as tx:
        wish = await approvals.find(tx, request_id, approvals.RELEASE_SWITCH)
    scope = scope_from_name(wish.scope)
    await permit(app, actor, Verb.SWITCH_APPROVE_OPEN, client_id=scope.client_id)
    async with recorded(
        app, actor, Verb.SWITCH_APPROVE_OPEN, client_id=scope.client_id, object_id=request_id, on_client=True,
        denied_as=EventName.SWITCH_OPENED, fields={"scope": scope.name, "epoch": wish.epoch},
    ):  # fmt: skip
        _must_reach(actor, scope)
        await _use_approval(app, actor, scope, wish)
        if scope.name == GLOBAL:
            async with app.db.begin(every_client=True) as tx:
                await _as_asked(tx, app, wish)  # before the log accepts a loss that nobody approved
            await log.rebase(app, actor)
        switch = await _open(app, actor, scope, wish)
        if scope.name == GLOBAL:
            with suppress(Unavailable):  # then people close them by hand
                await state_over(app, log.KEY)
                await state_over(app, COPIED_KEY)
        return switch


def _must_reach(actor: Actor, scope: Scope) -> None:
    """Refuse to open everything for whoever is assigned to only some clients; such a person may still stop everything.
    """
    if scope.client_id is None and actor.clients is not None:
        raise Denied("not_permitted", next_step="Only people of all clients can release the global switch.")


async def _as_asked(tx: Tx, app: BrokerApp, wish: Approval) -> Switch:
    """Return the switch that an approval is for, still in the state that it was asked for."""
    seen = await tx.one(Switch, "switch_read", scope=wish.scope)
    if not seen.closed or seen.epoch != wish.epoch or seen.installation_id != app.installation_id:
        raise Denied("epoch_changed", next_step="The switch has changed since. Look at it, then ask again.")
    return seen


async def _use_approval(app: BrokerApp, actor: Actor, scope: Scope, wish: Approval) -> None:
    async with app.db.begin(every_client=True) as tx:
        await approvals.use(tx, actor, wish, scope=wish.scope, epoch=wish.epoch, look="byokeep kill status")
        await record(
            tx, actor, EventName.SWITCH_OPENED, outcome=Outcome.INTENDED, client_id=scope.client_id, object_id=wish.id,
            scope=scope.name, epoch=wish.epoch,
        )  # fmt: skip


async def _open(app: BrokerApp, actor: Actor, scope: Scope, wish: Approval) -> Switch:
    entered: list[str] = []
    try:
        # The commit is not cut off: nobody would know whether it happened.
        async with app.db.begin(every_client=True) as tx, asyncio.timeout(CUT_OFF_WITHIN_S):
            await hold_alone(tx, scope)
            seen = await _as_asked(tx, app, wish)
            if scope.name.endswith(BROWSER_LANE) and (
                on := await tx.maybe(UUID, "vault_covering", client_id=scope.client_id)
            ):
                step = f"Prove the new profiles first: {look_at(on)}."
                raise Conflict("vault_incident_open", next_step=step, incident=on)
            if scope.client_id is not None:
                await require_let_go(tx, app, actor, scope.client_id, scope.name)
            if scope.cuts_store and await tx.all(UUID, "switch_lease_key_suspect"):
                raise Conflict("lease_key_suspect", next_step="Somebody signed leases past us: first"
                               " `byokeep incident rotate-leases`, on the host, then ask again.")  # fmt: skip
            if scope.cuts_store and not seen.store_cut_off:
                raise Conflict("cut_off_pending", next_step="Wait until the store has confirmed that it is engaged.")
            if scope.cuts_store:
                entities = await tx.all(_entity, "switch_entities", client_id=scope.client_id, opening=scope.name)
                entered = [entity.entity_id for entity in entities if entity.may_enter]
                await app.cutoff.enable(*entered)
            switch = await tx.one(
                Switch, "switch_open", scope=scope.name, epoch=wish.epoch, reason=wish.reason, by=actor.id,
                installation_id=app.installation_id,
            )  # fmt: skip
            await record(
                tx, actor, EventName.SWITCH_OPENED, client_id=scope.client_id, object_id=wish.id, scope=scope.name,
                epoch=switch.epoch, reason=wish.reason,
            )  # fmt: skip
    except BaseException as error:
        # The row did not open, or nobody knows: the store must not allow more than the row.
        await asyncio.shield(_put_out(app, entered))
        if isinstance(error, TimeoutError):
            raise Unavailable("store_timeout", next_step="The switch is still engaged. Ask again.") from None
        raise
    return switch


async def _put_out(app: BrokerApp, entity_ids: list[str]) -> None:
    with suppress(ByokeepError):
        await app.cutoff.disable(*entity_ids)


async def list_requests(app: App, actor: Actor) -> list[Approval]:
    """Return the requests to open that an approver can approve now, for switches that the actor may see."""
    authorise(actor, Verb.SWITCH_READ)
    return await app.db.read(Approval, "switch_requests_live", {"clients": scope_of(actor)}, every_client=True)


async def list_switches(app: App, actor: Actor) -> list[Switch]:
    """Return the global switch and those of the actor's clients.

    Raises:
        Unavailable: ``switch_missing`` - there is no global switch, so everything counts as closed.
    """
    authorise(actor, Verb.SWITCH_READ)
    found = await app.db.read(Switch, "switch_list", {"clients": scope_of(actor)}, every_client=True)
    if not any(switch.scope == GLOBAL for switch in found):
        raise Unavailable("switch_missing", next_step="The global switch is missing, so everything counts as stopped.")
    return found
