"""References to keys: look at them, change their state, list everything that is kept.

Rules
- What is shown says where a key is and how it stands, never what it is.
- A change of state follows the one table of :mod:`byokeep.core.keystate`, and leaves a row and a record.
- A state that only the service may decide (a verified key becomes active) can not be asked for.
- What could not be compared with the store counts as unknown, never as fine (R2.3-8).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, Integrity, Rejected
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.keystate import KeyState, check_transition
from byokeep.core.model import (
    API_PROVIDERS,
    Actor,
    ClientId,
    CredentialRef,
    Environment,
    Provider,
    RefId,
    Risk,
    SecretKind,
    Verification,
)
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb
from byokeep.core.ref import SecretRef, parse
from byokeep.kernel.app import App, WebApp
from byokeep.kernel.command import command, find
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row, Shape
from byokeep.tenancy.clients import MAX_ROWS, scope_of

T = TypeVar("T")
_AT_ONCE: Final = 8  # questions to the store in flight


def ref_from(row: Row) -> CredentialRef:
    """Build the noun from a row of ``credential_ref``."""
    return CredentialRef(
        id=RefId(row["id"]),
        client_id=ClientId(row["client_id"]),
        provider=Provider(row["provider"]),
        kind=SecretKind(row["kind"]),
        purpose=row["purpose"],
        environment=Environment(row["environment"]),
        secret_ref=row["secret_ref"],
        version=row["version"],
        state=row["state"],
        verification=Verification(row["verification"]),
        risk=Risk(row["risk"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
        rotation_due_at=row["rotation_due_at"],
        expires_at=row["expires_at"],
        candidate=row["candidate_version"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change of state that happened."""

    id: UUID
    client_id: UUID
    ref_id: UUID
    state_from: str
    state_to: str
    reason: str
    at: datetime
    by: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryItem:
    """One key: class, tenant, owner, state, age, due, last use; and whether the store holds the pinned version.

    ``store`` is ``present``, ``missing`` or ``unknown``.
    """

    ref: CredentialRef
    client_name: str
    owner: str | None
    last_leased_at: datetime | None
    store: str = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """Versions in the store that no record explains."""

    client_id: ClientId
    provider: Provider
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Everything kept. ``result`` is ``match``, ``findings`` or ``unknown`` (the store could not be asked)."""

    result: str
    items: tuple[InventoryItem, ...]
    orphans: tuple[Orphan, ...]


def _item(row: Row) -> InventoryItem:
    return InventoryItem(
        ref=ref_from(row), client_name=row["client_name"], owner=row["owner"], last_leased_at=row["last_leased_at"]
    )


async def list_refs(app: App, actor: Actor, client_id: ClientId) -> list[CredentialRef]:
    """Return a client's references, old ones too.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    return await listed(app, actor, client_id, ref_from, "refs_list")


async def listed(app: App, actor: Actor, client_id: ClientId, shape: Shape[T], statement: str) -> list[T]:
    """Return what a client has of one kind; the look is on record. Raises as :func:`list_refs`."""
    async with command(app, actor, Verb.KEY_LIST, client_id=client_id) as tx:
        found = await tx.all(shape, statement, client_id=client_id, limit=MAX_ROWS)
        fields = {"count": len(found)}
        await tx.append(
            Event(name=EventName.KEY_LISTED, actor=actor, outcome=Outcome.OK, client_id=client_id, fields=fields)
        )
    return found


async def get_ref(app: App, actor: Actor, ref_id: UUID, verb: Verb = Verb.KEY_METADATA) -> CredentialRef:
    """Return one reference.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``, also for another client's.
    """
    return await find(app, actor, verb, ref_from, "ref_get", ref_id)


async def read_ref(app: App, actor: Actor, ref_id: UUID) -> CredentialRef:
    """Return one reference to somebody who looks at it; the look is on record before it is shown.

    Raises:
        Denied, NotFound: As :func:`get_ref`.
    """
    ref = await get_ref(app, actor, ref_id)
    async with app.db.begin(client_id=ref.client_id) as tx:
        await tx.append(
            Event(name=EventName.KEY_READ_METADATA, actor=actor, outcome=Outcome.OK, client_id=ref.client_id,
                  object_id=ref.id, fields={"version": ref.version})
        )  # fmt: skip
    return ref


async def change_state(app: App, actor: Actor, ref_id: UUID, *, to: KeyState, reason: str) -> CredentialRef:
    """Move a reference to another key state.

    Args:
        to: The new state. ``active`` may only be returned to from ``suspended``; ``destroyed`` is a matter of
            destruction in the store and can not be claimed.
        reason: A code, ``[a-z][a-z0-9_]*``.

    Raises:
        Denied, NotFound: As :func:`get_ref`.
        Rejected: ``key_state``, ``bad_reason``, ``state_by_proof_only``.
        Conflict: ``state_moved``: somebody else changed it meanwhile.
    """
    ref = await get_ref(app, actor, ref_id, Verb.KEY_STATE)
    async with command(
        app, actor, Verb.KEY_STATE, client_id=ref.client_id, object_id=ref_id, refused_as=EventName.KEY_STATE_CHANGED,
        on_client=True,
    ) as tx:  # fmt: skip
        check_reason(reason, example="suspected_leak")
        ref = await tx.one(ref_from, "ref_lock_row", client_id=ref.client_id, id=ref_id)
        check_transition(KeyState(ref.state), to)
        if to is KeyState.DESTROYED or (to is KeyState.ACTIVE and ref.state == KeyState.PRE_ACTIVATION):
            raise Rejected("state_by_proof_only", next_step="Verify the key, or destroy it in the store.")
        return await move(tx, app, actor, ref, to=to, reason=reason)


async def move(tx: Tx, app: App, actor: Actor, ref: CredentialRef, *, to: KeyState, reason: str) -> CredentialRef:
    """Change a state inside a caller's transaction: the row, its history and the record.

    Raises:
        Rejected: ``key_state``.
        Conflict: ``state_moved``.
    """
    check_transition(KeyState(ref.state), to)
    moved = await tx.maybe(
        ref_from, "ref_set_state", client_id=ref.client_id, id=ref.id, state_from=ref.state, state_to=to.value
    )
    if moved is None:
        raise Conflict("state_moved", next_step="Somebody changed it meanwhile: see `byokeep key show`.", ref=ref.id)
    await tx.one(
        UUID, "transition_insert", id=app.ids.uuid(), client_id=ref.client_id, ref_id=ref.id, state_from=ref.state,
        state_to=to.value, reason=reason, by=actor.id,
    )  # fmt: skip
    await tx.append(
        Event(
            name=EventName.KEY_STATE_CHANGED,
            actor=actor,
            outcome=Outcome.OK,
            client_id=ref.client_id,
            object_id=ref.id,
            fields={"state_from": ref.state, "state_to": to.value, "reason": reason, "version": ref.version},
        )
    )
    return moved


async def transitions(app: App, actor: Actor, client_id: ClientId) -> list[Transition]:
    """Return the history of states of a client's references.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    async with command(app, actor, Verb.KEY_METADATA, client_id=client_id) as tx:
        return await tx.all(Transition, "transitions_list", client_id=client_id, limit=MAX_ROWS)


async def inventory(app: WebApp, actor: Actor) -> Inventory:
    """List every key of the actor's clients and compare the rows with the store.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.KEY_LIST) as tx:
        items = await tx.all(_item, "inventory", ids=scope_of(actor), limit=MAX_ROWS)
        clients = await tx.all(lambda row: ClientId(row["id"]), "clients_list", ids=scope_of(actor), limit=MAX_ROWS)
        await tx.append(Event(name=EventName.KEY_LISTED, actor=actor, outcome=Outcome.OK, fields={"count": len(items)}))
    slots = asyncio.Semaphore(_AT_ONCE)
    places = [SecretRef(client, provider) for client in clients for provider in sorted(API_PROVIDERS)]
    places += sorted({_place(item) for item in items} - set(places), key=str)
    live = dict(zip(places, await asyncio.gather(*(_live(app, slots, place) for place in places)), strict=True))
    keys = [(place, versions) for place, versions in live.items() if place.part is None]
    orphans = [orphan for place, versions in keys if (orphan := await _orphan(app, place, versions))]
    compared = tuple(_compared(item, live[_place(item)]) for item in items)
    known = all(versions is not None for versions in live.values())
    bad = orphans or any(item.store == "missing" for item in compared)
    return Inventory(
        result="findings" if bad else "match" if known else "unknown", items=compared, orphans=tuple(orphans)
    )


def _place(item: InventoryItem) -> SecretRef:
    place = parse(item.ref.secret_ref)
    if not isinstance(place, SecretRef):
        raise Integrity("bad_secret_ref", ref=item.ref.id)
    return place


async def _live(app: WebApp, slots: asyncio.Semaphore, place: SecretRef) -> list[int] | None:
    async with slots:
        try:
            return await app.intake.live_versions(place)
        except ByokeepError:
            return None


async def _orphan(app: App, place: SecretRef, live: list[int] | None) -> Orphan | None:
    if not live:
        return None
    async with app.db.begin(client_id=place.client_id) as tx:
        known = set(await tx.all(int, "versions_on_record", client_id=place.client_id, provider=place.provider.value))
    strange = tuple(version for version in live if version not in known)
    return Orphan(client_id=place.client_id, provider=place.provider, versions=strange) if strange else None


def _compared(item: InventoryItem, live: list[int] | None) -> InventoryItem:
    gone = item.ref.state == KeyState.DESTROYED
    if live is None:
        store = "unknown"
    elif item.ref.version in live:
        store = "present"
    else:
        store = "destroyed" if gone else "missing"
    return InventoryItem(
        ref=item.ref,
        client_name=item.client_name,
        owner=item.owner,
        last_leased_at=item.last_leased_at,
        store=store,
    )
