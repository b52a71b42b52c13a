"""Runbook 7.3: the vault of browser profiles is suspected compromised. Opened, looked at, closed.

Rules
- A scope is named: one client, or everybody. A client that nobody knows is refused, never everybody (R7.3-2).
- Opening makes every profile of the scope due for a new key at once (R6.1-6); closing takes no mark off.
- Closed is what has all its evidence: each of the five steps on record, and nothing left of any (R7.3-7).
- One open incident for a scope: a second one would call done what the first has not.

It may not open a browser lane: two people do, and only once the new profiles are proved.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from byokeep.core.errors import Conflict, Denied, NotFound, Rejected
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb
from byokeep.core.profile import ProfileState, living
from byokeep.core.vault_incident import (
    EVIDENCED,
    WINDOW,
    IncidentCause,
    IncidentStep,
    SessionEnd,
    check_order,
    left,
    look_at,
    window,
)
from byokeep.kernel.app import App
from byokeep.kernel.command import command, open_alert, permit, recorded
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.profiles import profiles
from byokeep.tenancy.clients import MAX_ROWS, scope_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An incident. ``client_id`` None: everybody. ``assumed``: nobody knew since when, so 72 hours are looked at."""

    id: UUID
    client_id: ClientId | None
    cause: IncidentCause
    step: IncidentStep
    since: datetime
    opened_by: UUID
    opened_at: datetime
    closed_at: datetime | None
    closed_by: UUID | None

    @property
    def assumed(self) -> bool:
        """Whether ``since`` was assumed."""
        return abs(self.opened_at - self.since - WINDOW).total_seconds() < 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One profile on one platform, and how far it got. ``keys``: of the old profile, all and those destroyed."""

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
    validate_state: str | None
    old_busy: bool
    new_busy: bool

    @property
    def lost(self) -> bool:
        """Whether the new profile is of no use any more, so that another one must take its place."""
        return self.new_state is not None and not living(ProfileState(self.new_state))

    @property
    def recreated(self) -> bool:
        """Whether a new profile stands in its place that a person logged in to afresh."""
        stands = self.new_profile_id is not None and not self.lost
        return stands and self.fresh_login and (self.new_generation or 0) > 0

    @property
    def keys_gone(self) -> bool:
        """Whether every key that the old profile was ever sealed with was called compromised and then destroyed."""
        return self.keys > 0 and self.keys == self.keys_destroyed

    @property
    def proved(self) -> bool:
        """Whether the new profile showed the right account, and a wrong one was told from it."""
        valid = self.new_state == "valid" and self.new_generation == self.new_validated
        return valid and self.identity_at is not None and self.wrong_account_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProof:
    """The record of a step that was done: where it stands in the audit trail."""

    stage: str
    chain: UUID
    seq: int
    at: datetime
    by: UUID
    hash_hex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentState:
    """An incident with everything that belongs to it. ``missing``: steps without a record."""

    incident: Incident
    items: tuple[Item, ...]
    evidence: tuple[IdentityProof, ...]
    missing: tuple[str, ...]


def _proof(row: Row) -> IdentityProof:
    return IdentityProof(
        stage=row["stage"], chain=row["chain"], seq=row["seq"], at=row["at"], by=row["actor_id"],
        hash_hex=bytes(row["hash"]).hex(),
    )  # fmt: skip


async def open_incident(
    app: App, actor: Actor, *, client_id: ClientId | None, everybody: bool, cause: str, since: datetime | None
) -> IncidentState:
    """Open an incident for a client or for everybody; all profiles of the scope are due from now on.

    Args:
        client_id: Whose profiles; None only together with ``everybody``.
        everybody: Of all clients, said in so many words.
        cause: One of :class:`byokeep.core.vault_incident.IncidentCause`.
        since: Since when others may have had access; None = not known, 72 hours are assumed.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``: no such client.
        Rejected: ``scope_missing``, ``unknown_cause``, ``bad_since``; ``nothing_sealed``: there is nothing to lead out.
        Conflict: ``incident_open``: one of this scope, or of a wider or narrower one, is not closed.
    """
    await permit(app, actor, Verb.VAULT_OPEN, client_id=client_id)
    async with recorded(app, actor, Verb.VAULT_OPEN, object_id=client_id, refused_as=EventName.VAULT_INCIDENT_OPENED):
        if (client_id is None) != everybody:
            raise Rejected("scope_missing", next_step="Name one client, or say that it is about everybody.")
        if cause not in set(IncidentCause):
            raise Rejected("unknown_cause", next_step="Use one of: " + ", ".join(IncidentCause) + ".")
        if everybody and actor.clients is not None:
            raise Denied("not_permitted", next_step="People who are assigned to all clients open it for everybody.")
        begin, assumed = window(since, app.clock.now())
        async with app.db.begin(every_client=True) as tx:
            if client_id is not None and await tx.maybe(ClientId, "switch_client_known", client_id=client_id) is None:
                raise NotFound("not_found")
            await tx.all(None, "vault_lock")
            other = await tx.all(Incident, "vault_open_ones", client_id=client_id)
            if other:
                raise Conflict("incident_open", next_step=f"Go on with that one: {look_at(other[0].id)}.",
                               incident=other[0].id)  # fmt: skip
            made = await tx.one(
                Incident,
                "vault_open",
                id=app.ids.uuid(),
                client_id=client_id,
                cause=cause,
                since=begin,
                opened_by=actor.id,
            )
            covered = await tx.all(ClientId, "vault_cover", incident_id=made.id, client_id=client_id)
            if not covered:  # with nothing to check, every step would pass
                raise Rejected("nothing_sealed", next_step="No profile of this scope was ever sealed; `byokeep kill`.")
            clients = (
                [client_id]
                if client_id
                else await tx.all(lambda row: ClientId(row["id"]), "clients_list", ids=None, limit=MAX_ROWS)
            )
            for one in clients:
                await profiles.mark_due(tx, actor, one, incident=made.id)
            said: dict[str, FieldValue] = {
                "incident": str(made.id), "cause": cause, "since": profiles.stamp(begin), "count": len(covered),
            }  # fmt: skip
            said |= {"reason": "since_assumed"} if assumed else {}
            await tx.append(_event(EventName.VAULT_INCIDENT_OPENED, actor, made, **said))
            await open_alert(tx, app, actor, reason="vault_incident_opened", client_id=client_id, object_id=made.id)
            return await _state(tx, app, made)


async def look(app: App, actor: Actor, incident_id: UUID, verb: Verb = Verb.VAULT_READ) -> IncidentState:
    """Return an incident with its items and its evidence.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``.
    """
    async with command(app, actor, verb, object_id=incident_id) as tx:
        found = await tx.one(Incident, "vault_get", id=incident_id)
        if found.client_id is None and actor.clients is not None:
            raise NotFound("not_found")
    await permit(app, actor, verb, client_id=found.client_id)
    async with app.db.begin(every_client=True) as tx:
        return await _state(tx, app, found)


async def list_incidents(app: App, actor: Actor) -> list[Incident]:
    """Return the incidents of the actor's clients, open ones first.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.VAULT_READ) as tx:
        return await tx.all(Incident, "vault_list", ids=scope_of(actor), limit=MAX_ROWS)


async def close(app: App, actor: Actor, incident_id: UUID) -> IncidentState:
    """Close an incident, as a second person, when all its evidence is there. Due marks stay.

    Raises:
        Denied: ``not_permitted``; ``same_person``: who opened it does not close it.
        NotFound: As :func:`look`.
        Conflict: ``vault_out_of_order``; ``evidence_missing``; ``vault_step_left``.
    """
    state = await look(app, actor, incident_id, Verb.VAULT_CLOSE)
    closed = EventName.VAULT_INCIDENT_CLOSED
    async with recorded(app, actor, Verb.VAULT_CLOSE, object_id=incident_id, refused_as=closed):
        if state.incident.opened_by == actor.id:
            raise Denied("same_person", next_step="Another approver must close it.")
        async with app.db.begin(every_client=True) as tx:
            now = await held(tx, incident_id)
            if not check_order(now.step, IncidentStep.CLOSED, incident=now.id):
                return await _state(tx, app, now)
            state = await _state(tx, app, now)
            if state.missing:
                raise Conflict("evidence_missing", missing=", ".join(state.missing),
                               incident=now.id, next_step=f"See {look_at(now.id)}.")  # fmt: skip
            undone = [one for one in state.items if not (one.recreated and one.keys_gone and one.proved)]
            if undone:
                raise left(IncidentStep.VALIDATED, len(undone), incident=now.id)
            await move(tx, now, IncidentStep.CLOSED, by=actor.id)
            await tx.append(
                _event(EventName.VAULT_INCIDENT_CLOSED, actor, now, incident=str(now.id), count=len(state.items))
            )
    return await look(app, actor, incident_id)


async def held(tx: Tx, incident_id: UUID) -> Incident:
    """Return an incident, held until the transaction ends. Raises NotFound."""
    found = await tx.maybe(Incident, "vault_hold", id=incident_id)
    if found is None:
        raise NotFound("not_found")
    return found


async def move(tx: Tx, incident: Incident, to: IncidentStep, *, by: UUID) -> None:
    """Move an incident on. Raises Conflict(``incident_moved``): somebody else was first."""
    if await tx.maybe(UUID, "vault_move", id=incident.id, step=to.value, step_from=incident.step.value, by=by) is None:
        raise Conflict("incident_moved", next_step=f"Look again: {look_at(incident.id)}.", incident=incident.id)


async def stepped(tx: Tx, actor: Actor, incident: Incident, step: IncidentStep, *, count: int) -> None:
    """Put on record that a step is done, and move on. Raises as :func:`move`."""
    await move(tx, incident, step, by=actor.id)
    said: dict[str, FieldValue] = {"incident": str(incident.id), "stage": step.value, "count": count}
    await tx.append(_event(EventName.VAULT_INCIDENT_STEPPED, actor, incident, **said))


async def _state(tx: Tx, app: App, incident: Incident) -> IncidentState:
    items = await tx.all(Item, "vault_items", incident_id=incident.id)
    evidence = await tx.all(
        _proof, "vault_steps_on_record", chain=incident.client_id or app.installation_id, incident_id=incident.id
    )
    told = {one.stage for one in evidence}
    missing = tuple(step.value for step in EVIDENCED if step.value not in told)
    return IncidentState(incident=incident, items=tuple(items), evidence=tuple(evidence), missing=missing)


def _event(name: EventName, actor: Actor, about: Incident, **fields: FieldValue) -> Event:
    return Event(
        name=name, actor=actor, outcome=Outcome.OK, client_id=about.client_id, object_id=about.id, fields=fields
    )
