"""Runbook 7.3: the vault of browser profiles may be compromised. A procedure of five steps and a close.

Rules
- A scope is named: one client, or everybody. An unknown client is refused and never means everybody (R7.3-2).
- Opening an incident makes every profile of the scope due for a new key at once (R6.1-6). Closing it removes no mark.
- If the artifact store was exposed, the browser lane of each account is switched off at once, and each profile goes to
  a worker to be sealed under a new key, one by one. A refused one stays listed, and is tried again with step 1.
- A scope has one open incident: a second one would call done what the first has not.
- Each call does what can be done now. When nothing is left, the step is done and recorded. Otherwise the rest is listed
  and nothing is called done. Calls can be repeated.
- The browser lane of each account goes off with its old profile. Opening the switch alone lets nothing act with the new
  profile: a person must also set the lane for it.
- All of this happens while the browser lane is off. If the lane is opened again, the procedure stops where it is.
- A session is ended only when its old cookie was refused afterwards, or when a person says that they ended it.
- Old keys are first marked compromised and then destroyed, on a second person's word. One that was destroyed before
  that, as retention does, is gone as well. Rewrapping an old key leaves it where it was, and counts for nothing
  (R7.3-5).
- An incident closes only with all its evidence: each of the five steps on record, and nothing left of any (R7.3-7).

It may not run a browser: workers do, and people log in. It may not open a browser lane: two people do, and only after
the new profiles are proved.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from byokeep.core import profile as life
from byokeep.core import vault_incident as rules
from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, Rejected
from byokeep.core.events import EventName, Outcome
from byokeep.core.incident import OF_VAULT, IncidentSource
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb
from byokeep.core.procedure import Fields, Procedure, Run, Step
from byokeep.core.profile import ProfileState, ProfileTask, living
from byokeep.core.vault_incident import BY_HAND, ENDED, IncidentCause, IncidentStep, SessionEnd, look_at
from byokeep.kernel import incidents
from byokeep.kernel.app import App
from byokeep.kernel.command import command, find, open_alert, permit, record, recorded
from byokeep.kernel.ports import Tx
from byokeep.kernel.procedures import StepRecord, insert_run, passed, status_of
from byokeep.profiles import kek, openings, profiles
from byokeep.profiles.profiles import Profile
from byokeep.sealing.generation import Generation
from byokeep.tenancy.clients import MAX_ROWS, scope_of


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultIncident(Run):
    """An incident and its run, under one id. ``client_id`` None: everybody."""

    cause: IncidentCause
    since: datetime

    @property
    def step(self) -> IncidentStep:
        """How far it has got."""
        return next((step for step in reversed(IncidentStep) if step in self.evidence), IncidentStep.OPENED)

    @property
    def assumed(self) -> bool:
        """Whether nobody knew since when, so that the last 72 hours are assumed."""
        return abs(self.started_at - self.since - rules.WINDOW).total_seconds() < 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One profile on one platform, and how far it has got.

    Attributes:
        keys: How many the old profile had; ``keys_destroyed``: how many of these are destroyed.
        exposed: The store was exposed, and its browser lane is not off yet or no worker has its rekey yet.
    """

    incident_id: UUID
    client_id: ClientId
    profile_id: UUID
    platform: str
    session: SessionEnd
    session_by: UUID | None
    session_at: datetime | None
    new_profile_id: UUID | None
    key_destroyed_at: datetime | None
    identity_at: datetime | None
    wrong_account_at: datetime | None
    profile_state: str
    generation: int
    new_state: str | None
    new_generation: int | None
    new_validated: int | None
    fresh_login: bool
    keys: int
    keys_destroyed: int
    logout_state: str | None
    shred_state: str | None
    old_busy: bool
    new_busy: bool
    exposed: bool

    @property
    def at(self) -> dict[str, object]:
        """Its profile's rows."""
        return {"incident_id": self.incident_id, "client_id": self.client_id, "profile_id": self.profile_id}

    @property
    def lost(self) -> bool:
        """Whether the new profile can no longer be used, so that another one must take its place."""
        return self.new_state is not None and not living(ProfileState(self.new_state))

    @property
    def recreated(self) -> bool:
        """Whether a new profile has taken its place and a person has logged in to it afresh."""
        stands = self.new_profile_id is not None and not self.lost
        return stands and self.fresh_login and (self.new_generation or 0) > 0

    @property
    def keys_gone(self) -> bool:
        """Whether every key that ever sealed the old profile is destroyed on record."""
        return self.keys > 0 and self.keys == self.keys_destroyed

    @property
    def proved(self) -> bool:
        """Whether the new profile showed the right account, and a wrong account was told from it."""
        valid = self.new_state == "valid" and self.new_generation == self.new_validated
        return valid and self.identity_at is not None and self.wrong_account_at is not None

    @property
    def to_do(self) -> str:
        """What a person must do about it now; empty if nothing."""
        if self.session in BY_HAND:
            return "end_session_by_hand"
        if self.exposed and not self.old_busy:
            return "lane_off_again"
        if self.session is SessionEnd.PENDING:
            return "wait_for_worker" if self.old_busy else ""
        if self.lost:
            return "make_another"
        if self.new_profile_id is not None and not self.recreated:
            return "confirm_login" if self.new_busy else "log_in"
        if self.shred_state == "waiting":
            return "approve_destruction"
        return "wait_for_worker" if self.old_busy or self.new_busy else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultIncidentState:
    """An incident with everything that belongs to it. ``missing``: steps without a record."""

    incident: VaultIncident
    items: tuple[Item, ...]
    evidence: tuple[StepRecord, ...]
    missing: tuple[str, ...]


async def open_incident(
    app: App, actor: Actor, *, client_id: ClientId | None, everybody: bool, cause: str, since: datetime | None
) -> VaultIncidentState:
    """Open an incident for a client or for everybody; all profiles of the scope are due from now on.

    Args:
        client_id: Whose profiles; None only with ``everybody``.
        everybody: All clients' profiles, said explicitly.
        cause: One of :class:`byokeep.core.vault_incident.IncidentCause`.
        since: Since when others may have had access; None = not known, 72 hours are assumed.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``: no such client.
        Rejected: ``scope_missing``, ``unknown_cause``, ``bad_since``; ``nothing_sealed``: there is nothing to recover.
        Conflict: ``incident_open``: an incident of this scope, or of a wider or narrower one, is not closed.
    """
    await permit(app, actor, Verb.VAULT_OPEN, client_id=client_id)
    async with recorded(app, actor, Verb.VAULT_OPEN, object_id=client_id, refused_as=EventName.VAULT_INCIDENT_OPENED):
        if (client_id is None) != everybody:
            raise Rejected("scope_missing", next_step="Give one client, or everybody.")
        if cause not in set(IncidentCause):
            raise Rejected("unknown_cause", next_step="Use one of: " + ", ".join(IncidentCause) + ".")
        if everybody and actor.clients is not None:
            raise Denied("not_permitted", next_step="Only people of all clients can open it for everybody.")
        begin, assumed = rules.window(since, app.clock.now())
        async with app.db.begin(every_client=True) as tx:
            if client_id is not None and await tx.maybe(ClientId, "switch_client_known", client_id=client_id) is None:
                raise NotFound("not_found")
            await tx.all(None, "vault_lock")
            other = await tx.all(VaultIncident, "vault_open_ones", client_id=client_id)
            if other:
                raise Conflict("incident_open", next_step=f"Continue with that one: {look_at(other[0].id)}.",
                               incident=other[0].id)  # fmt: skip
            made_id = app.ids.uuid()
            await insert_run(tx, app, actor, PROCEDURE, client_id=client_id, object_id=made_id, run_id=made_id)
            made = await tx.one(VaultIncident, "vault_open", id=made_id, client_id=client_id, cause=cause, since=begin)
            covered = await tx.all(ClientId, "vault_cover", incident_id=made.id, client_id=client_id)
            if not covered:  # with nothing to check, every step would pass
                raise Rejected("nothing_sealed", next_step="No such profile was ever sealed. Use `byokeep kill`.")
            clients = (
                [client_id]
                if client_id
                else await tx.all(lambda row: ClientId(row["id"]), "clients_list", ids=None)
            )
            for one in clients:
                await profiles.mark_due(tx, actor, one, incident=made.id)
            await incidents.opened(
                tx, app, actor, OF_VAULT[IncidentCause(cause)], client_id=client_id, source=IncidentSource.PERSON,
                object_kind="vault", began_at=since, incident_id=made_id,
            )  # fmt: skip
            await record(
                tx, actor, EventName.VAULT_INCIDENT_OPENED, client_id=client_id, object_id=made.id, incident=made.id,
                cause=cause, since=begin, count=len(covered), reason="since_assumed" if assumed else None,
            )  # fmt: skip
            await open_alert(tx, app, actor, reason="vault_incident_opened", client_id=client_id, object_id=made.id)
            items = await tx.all(Item, "vault_items", incident_id=made.id)
        for _, own in groupby(items, key=lambda one: one.profile_id):
            await _guard(app, actor, list(own))
        async with app.db.begin(every_client=True) as tx:
            return await _state(tx, app, made)


async def _guard(app: App, actor: Actor, own: list[Item]) -> None:
    """Switch the browser lane off for a profile of an exposed store, and have it sealed under a new key.

    What cannot be done now stays listed.
    """
    one = own[0]
    if not any(item.exposed for item in own):
        return
    with suppress(ByokeepError):
        async with app.db.begin(client_id=one.client_id) as tx:
            await openings.lanes_off_of(tx, actor, one.client_id, one.profile_id)
        await _work(app, actor, one, one.profile_id, ProfileTask.REKEY)


async def look(app: App, actor: Actor, incident_id: UUID, verb: Verb = Verb.VAULT_READ) -> VaultIncidentState:
    """Return an incident with its items and its evidence.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``.
    """
    found = await find(app, actor, verb, VaultIncident, "vault_get", incident_id)
    async with app.db.begin(every_client=True) as tx:
        return await _state(tx, app, found)


async def list_incidents(app: App, actor: Actor) -> list[VaultIncident]:
    """Return the incidents of the actor's clients, open ones first.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.VAULT_READ) as tx:
        return await tx.all(VaultIncident, "vault_list", ids=scope_of(actor), limit=MAX_ROWS)


async def close(app: App, actor: Actor, incident_id: UUID) -> VaultIncidentState:
    """Close an incident, as a second person, when all its evidence is there. Due marks stay.

    Raises:
        Denied: ``not_permitted``; ``same_person``: whoever opened it cannot close it.
        NotFound: As :func:`look`.
        Conflict: ``vault_out_of_order``; ``evidence_missing``; ``vault_step_left``.
    """
    state = await look(app, actor, incident_id, Verb.VAULT_CLOSE)
    closed = EventName.VAULT_INCIDENT_CLOSED
    async with recorded(app, actor, Verb.VAULT_CLOSE, object_id=incident_id, refused_as=closed):
        if state.incident.started_by == actor.id:
            raise Denied("same_person", next_step="Another approver must close it.")
        async with app.db.begin(every_client=True) as tx:
            now = await held(tx, incident_id)
            if not rules.check_order(now.step, IncidentStep.CLOSED, incident=now.id):
                return await _state(tx, app, now)
            state = await _state(tx, app, now)
            if state.missing:
                raise Conflict("evidence_missing", missing=", ".join(state.missing),
                               incident=now.id, next_step=f"See {look_at(now.id)}.")  # fmt: skip
            undone = [one for one in state.items if not (one.recreated and one.keys_gone and one.proved)]
            if undone:
                raise rules.left(IncidentStep.VALIDATED, len(undone), incident=now.id)
            await stepped(tx, actor, now, IncidentStep.CLOSED, count=len(state.items))
    return await look(app, actor, incident_id)


async def held(tx: Tx, incident_id: UUID) -> VaultIncident:
    """Return an incident, locked until the transaction ends. Raises NotFound."""
    found = await tx.maybe(VaultIncident, "vault_hold", id=incident_id)
    if found is None:
        raise NotFound("not_found")
    return found


async def stepped(tx: Tx, actor: Actor, incident: VaultIncident, step: IncidentStep, *, count: int) -> None:
    """Record that a step is done, and move on. Raises Conflict(``procedure_moved``): somebody else was first."""
    await passed(tx, actor, PROCEDURE, incident, PROCEDURE.step(step), {"count": count})


async def _state(tx: Tx, app: App, incident: VaultIncident) -> VaultIncidentState:
    items = await tx.all(Item, "vault_items", incident_id=incident.id)
    found = await status_of(tx, app, PROCEDURE, incident)
    steps = tuple(one for one in found.steps if one.name != IncidentStep.CLOSED)
    missing = tuple(name for name in found.missing if name != IncidentStep.CLOSED)
    return VaultIncidentState(incident=incident, items=tuple(items), evidence=steps, missing=missing)


_DONE_WITHOUT: Final = frozenset({"done", "failed", "expired", "cancelled"})


async def lane_off(app: App, actor: Actor, incident_id: UUID) -> VaultIncidentState:
    """Step 1: check that the browser lane of the scope is off and that no job still has a browser open.

    After an exposure of the store it also handles the profiles that were left over when the incident was opened.

    Raises:
        Denied, NotFound: As :func:`byokeep.profiles.incident.look`.
        Conflict: ``lane_not_off``; ``browsers_still_open`` with the count.
    """
    return await _advance(
        app, actor, incident_id, IncidentStep.LANE_OFF, partial(_guard, app, actor), lambda _: True,
        again=lambda one: one.exposed,
    )  # fmt: skip


async def sessions(app: App, actor: Actor, incident_id: UUID) -> VaultIncidentState:
    """Step 2: have workers log out of every platform. A person ends the sessions that workers cannot.

    Raises:
        Denied, NotFound: As :func:`byokeep.profiles.incident.look`.
        Conflict: ``vault_out_of_order``; ``lane_not_off``.
    """

    async def end(own: list[Item]) -> None:
        pending = [one for one in own if one.session is SessionEnd.PENDING]
        if not pending or own[0].old_busy:
            return
        gone = own[0].profile_state == ProfileState.SHREDDED  # as two people had agreed before
        if not gone and own[0].logout_state not in _DONE_WITHOUT:
            await _work(app, actor, own[0], own[0].profile_id, ProfileTask.LOGOUT)
            return
        for one in pending:  # the work ended and could not say what became of this one
            await told(app, actor, incident_id, one.client_id, one.profile_id, one.platform, SessionEnd.FAILED)

    return await _advance(app, actor, incident_id, IncidentStep.SESSIONS_ENDED, end, _session_ended)


def _session_ended(one: Item) -> bool:
    return one.session in ENDED


async def told(
    app: App, actor: Actor, incident_id: UUID, client_id: ClientId, profile_id: UUID, platform: str, ended: SessionEnd
) -> None:
    """Record what became of a session. If a person must end it, this opens an alert (R7.3-3)."""
    at = {"incident_id": incident_id, "client_id": client_id, "profile_id": profile_id, "platform": platform}
    async with app.db.begin(client_id=client_id) as tx:
        if await _kept(tx, actor, at, ended, out_of=[SessionEnd.PENDING]) and ended in BY_HAND:
            await open_alert(
                tx, app, actor, reason="session_to_end_by_hand", client_id=client_id, object_id=profile_id,
                key=f"session_to_end_by_hand:{incident_id}:{profile_id}:{platform}",
            )  # fmt: skip


async def end_by_hand(app: App, actor: Actor, incident_id: UUID, profile_id: UUID, platform: str) -> VaultIncidentState:
    """State, as the person who did it, that a session was ended at its platform.

    Raises:
        Denied, NotFound: As :func:`byokeep.profiles.incident.look`; ``not_found``: not in this incident.
        Conflict: ``nothing_to_end``: it was ended, or no worker has tried yet; ``vault_out_of_order``.
    """
    async with _step(app, actor, incident_id):
        now, items = await _begin(app, incident_id, IncidentStep.SESSIONS_ENDED)
        found = next((one for one in items if (one.profile_id, one.platform) == (profile_id, platform)), None)
        if found is None:
            raise NotFound("not_found")
        async with app.db.begin(client_id=found.client_id) as tx:
            at = found.at | {"platform": platform}
            kept = await _kept(tx, actor, at, SessionEnd.ENDED_BY_HAND, out_of=sorted(BY_HAND), by=actor.id)
            if not kept or now is None:
                raise Conflict("nothing_to_end", next_step="Let a worker try first: `byokeep incident vault sessions`.")
        await _done_when(app, actor, incident_id, IncidentStep.SESSIONS_ENDED, _session_ended)
    return await look(app, actor, incident_id)


async def _kept(
    tx: Tx, actor: Actor, at: dict[str, Any], ended: SessionEnd, *, out_of: list[SessionEnd], by: UUID | None = None
) -> bool:
    """Record what became of a session; False if its state was none of ``out_of``."""
    if await tx.maybe(str, "vault_session", **at, session=ended.value, by=by, from_states=out_of) is None:
        return False
    await record(
        tx, actor, EventName.VAULT_INCIDENT_SESSION, outcome=Outcome.OK if ended in ENDED else Outcome.FAILED,
        client_id=at["client_id"], object_id=at["profile_id"], incident=at["incident_id"], profile=at["profile_id"],
        platform=at["platform"], verification=ended,
    )  # fmt: skip
    return True


async def recreate(app: App, actor: Actor, incident_id: UUID) -> VaultIncidentState:
    """Step 3: retire every profile and make a new one in its place. People then log in to the new ones afresh (R7.3-4).

    Raises:
        Denied, NotFound: As :func:`byokeep.profiles.incident.look`.
        Conflict: ``vault_out_of_order``; ``lane_not_off``; ``work_under_way``.

    A new profile that was destroyed meanwhile is replaced at any step; the replacement must be proved as well.
    """

    async def replace(own: list[Item]) -> None:
        one = own[0]
        if one.new_profile_id is not None and not one.lost:
            return
        if one.new_profile_id is None and one.old_busy:
            raise Conflict("work_under_way", next_step="Wait until it ends: `byokeep profile show`.",
                           profile=one.profile_id)  # fmt: skip
        async with app.db.begin(client_id=one.client_id) as tx:
            old = await profiles.locked(tx, one.client_id, one.new_profile_id or one.profile_id)
            await openings.lanes_off_of(tx, actor, one.client_id, old.id)
            if life.living(old.state):
                await profiles.retire(tx, actor, old, cause="incident", incident=incident_id)
            accounts = [(account.platform.value, account.account) for account in old.accounts]
            made = await profiles.insert(
                tx, app, actor, one.client_id, accounts=accounts, packing=old.packing, replaces=old.id
            )
            await tx.all(str, "vault_replaced", **one.at, new_profile_id=made.id)

    return await _advance(
        app, actor, incident_id, IncidentStep.RECREATED, replace, lambda one: one.recreated, again=lambda one: one.lost
    )


async def rekey(app: App, actor: Actor, incident_id: UUID) -> VaultIncidentState:
    """Step 4: mark every key of the old profiles compromised, and ask for their destruction (R7.3-5).

    Raises:
        Denied, NotFound: As :func:`byokeep.profiles.incident.look`.
        Conflict: ``vault_out_of_order``; ``lane_not_off``.
    """

    async def destroy(own: list[Item]) -> None:
        one = own[0]
        if one.key_destroyed_at is not None:
            return
        async with app.db.begin(client_id=one.client_id) as tx:
            if one.keys_gone:
                await tx.all(str, "vault_key_gone", **one.at)
                return
            about = {"client_id": one.client_id, "profile_id": one.profile_id}
            for row in await tx.all(Generation, "generations_of", **about, limit=10_000):
                await kek.compromise_key(tx, app, actor, row, reason="vault_incident", incident=incident_id)
        if not one.old_busy and one.profile_state != ProfileState.SHREDDED:  # one that was cut off is finished later
            await _work(app, actor, one, one.profile_id, ProfileTask.SHRED)

    return await _advance(
        app, actor, incident_id, IncidentStep.REKEYED, destroy, lambda one: one.keys_gone and one.recreated
    )


async def approve_destruction(app: App, actor: Actor, incident_id: UUID) -> VaultIncidentState:
    """Approve, as a second person, that workers destroy the old profiles of an incident with their keys.

    Raises:
        Denied: ``not_permitted``; ``same_person``.
        NotFound: As :func:`byokeep.profiles.incident.look`.
        Conflict: ``nothing_to_confirm``.
    """
    await look(app, actor, incident_id, Verb.VAULT_CLOSE)
    waiting = await app.db.read(profiles.Work, "vault_shreds", {"incident_id": incident_id}, every_client=True)
    if not waiting:
        raise Conflict("nothing_to_confirm", next_step="An operator must ask first: `byokeep incident vault rekey`.")
    for one in waiting:
        if one.asked_by == actor.id:
            raise Denied("same_person", next_step="Another approver must confirm.")
        async with app.db.begin(client_id=one.client_id) as tx:
            profile = await profiles.locked(tx, one.client_id, one.profile_id)
            await profiles.agree(tx, actor, profile, one)
    return await look(app, actor, incident_id)


async def validate(app: App, actor: Actor, incident_id: UUID) -> VaultIncidentState:
    """Step 5: prove every new profile, and that a wrong account would be told from the right one (R7.3-6).

    Raises:
        Denied, NotFound: As :func:`byokeep.profiles.incident.look`.
        Conflict: ``vault_out_of_order``; ``lane_not_off``; ``new_profile_gone``: another must take its place first.
    """

    def none_lost(items: list[Item]) -> None:
        if any(one.lost for one in items):
            step = f"Create another one (`byokeep incident vault recreate {incident_id}`), then log in to it."
            raise Conflict("new_profile_gone", next_step=step)

    async def prove(own: list[Item]) -> None:
        new = own[0].new_profile_id
        if new is not None and not own[0].new_busy and not all(one.proved for one in own):
            await _work(app, actor, own[0], new, ProfileTask.VALIDATE)

    return await _advance(
        app, actor, incident_id, IncidentStep.VALIDATED, prove, lambda one: one.proved,
        again=lambda one: not one.proved, before=none_lost,
    )  # fmt: skip


async def _advance(
    app: App, actor: Actor, incident_id: UUID, step: IncidentStep, act: Callable[[list[Item]], Awaitable[None]],
    done: Callable[[Item], bool], *, again: Callable[[Item], bool] = lambda _: False,
    before: Callable[[list[Item]], None] = lambda _: None,
) -> VaultIncidentState:  # fmt: skip
    """Do what can be done now of a step, profile by profile, and call it done when nothing of it is left.

    ``before`` refuses before anything is done.
    """
    async with _step(app, actor, incident_id):
        now, items = await _begin(app, incident_id, step, again=again)
        if now is not None:
            before(items)
        refused: ByokeepError | None = None
        for _, own in groupby(items if now is not None else (), key=lambda one: one.profile_id):
            try:
                await act(list(own))
            except (Conflict, Rejected) as error:  # it holds up no other profile
                refused = refused or error
        await _done_when(app, actor, incident_id, step, done)
        if refused is not None:
            raise refused
    return await look(app, actor, incident_id)


@asynccontextmanager
async def _step(app: App, actor: Actor, incident_id: UUID) -> AsyncIterator[None]:
    await look(app, actor, incident_id, Verb.VAULT_STEP)
    stepping = EventName.VAULT_INCIDENT_STEPPED
    async with recorded(app, actor, Verb.VAULT_STEP, object_id=incident_id, refused_as=stepping):
        yield


async def _begin(
    app: App, incident_id: UUID, step: IncidentStep, *, again: Callable[[Item], bool] = lambda _: False
) -> tuple[VaultIncident | None, list[Item]]:
    """Return the incident and its items. The incident is None if the step is done and ``again`` finds nothing to do."""
    async with app.db.begin(every_client=True) as tx:
        now = await held(tx, incident_id)
        items = await tx.all(Item, "vault_items", incident_id=incident_id)
        due = rules.check_order(now.step, step, incident=now.id)
        if not due and (now.closed_at is not None or not any(again(one) for one in items)):
            return None, items
        await _must_be_off(tx, app, now)
    return now, items


async def _done_when(
    app: App, actor: Actor, incident_id: UUID, step: IncidentStep, done: Callable[[Item], bool]
) -> None:
    """Call a step done if nothing of it is left; what is left stays listed."""
    async with app.db.begin(every_client=True) as tx:
        now = await held(tx, incident_id)
        items = await tx.all(Item, "vault_items", incident_id=incident_id)
        if rules.check_order(now.step, step, incident=now.id) and all(done(one) for one in items):
            await _must_be_off(tx, app, now)
            await stepped(tx, actor, now, step, count=len(items))


async def _must_be_off(tx: Tx, app: App, incident: VaultIncident) -> None:
    asked = {"client_id": incident.client_id}
    if not await tx.one(bool, "vault_lane_off", **asked, installation_id=app.installation_id):
        scope = "--lane browser" if incident.client_id is None else f"--client {incident.client_id} --lane browser"
        raise Conflict("lane_not_off", next_step=f"Close it: byokeep kill on {scope}")
    still = await tx.one(int, "vault_still_open", **asked)
    if still:
        raise Conflict("browsers_still_open", next_step="Wait some seconds, then check who still has one open.",
                       count=still)  # fmt: skip


async def _work(app: App, actor: Actor, one: Item, profile_id: UUID, kind: ProfileTask) -> None:
    async with app.db.begin(client_id=one.client_id) as tx:
        profile = await tx.one(Profile, "profile_get", client_id=one.client_id, id=profile_id)
        await profiles.insert_work(tx, app, actor, profile, kind, incident=one.incident_id)


def _leads(
    flow: Callable[[App, Actor, UUID], Awaitable[VaultIncidentState]],
) -> Callable[..., Awaitable[Fields | None]]:
    """Adapt a flow to a procedure's step. The flow itself records the step once nothing of it is left."""

    async def act(app: App, actor: Actor, run: Run) -> None:
        await flow(app, actor, run.id)

    return act


_FLOWS: Final = {
    IncidentStep.LANE_OFF: lane_off, IncidentStep.SESSIONS_ENDED: sessions, IncidentStep.RECREATED: recreate,
    IncidentStep.REKEYED: rekey, IncidentStep.VALIDATED: validate,
}  # fmt: skip
PROCEDURE: Final = Procedure(
    name="profile_incident", verb=Verb.VAULT_OPEN, run_field="incident", look=look_at,
    steps=(
        *(Step(name=name, act=_leads(flow), verb=Verb.VAULT_STEP, evidence=EventName.VAULT_INCIDENT_STEPPED)
          for name, flow in _FLOWS.items()),
        Step(name=IncidentStep.CLOSED, act=_leads(close), verb=Verb.VAULT_CLOSE,
             evidence=EventName.VAULT_INCIDENT_CLOSED),
    ),
)  # fmt: skip
