"""References to keys: show them, change their state, list everything that is kept, and show a key's history.

Rules
- What is shown says where a key is and what state it has, never its value.
- A change of state follows the one table in :mod:`byokeep.core.keystate`, and leaves a row and a record. A provider's
  key that is called compromised ends the jobs that declared it. Where it ends a key, a new one that waits beside it is
  taken back.
- Nobody can ask for a state that only the service may set (a verified key becomes active).
- What could not be compared with the store counts as unknown, never as ok (R2.3-8).
- A key's history comes from the audit log, not from the tables (S-OWASP-10). A lease counts as access, because its
  holder could read the value. The request is recorded before anything is read.
- Leak fingerprints: the digests are in the database, and their key is in the store. Only this process reads both, and
  it keeps neither (docs/adr/0019-fingerprints-of-live-values.md). A live value without any is named, never skipped.
- A stored key always has a due date (R1.3-3), by a named rule (R5.1-5). A client's wish counts within the published
  range; high risk shortens it.

It may not see a value: a value stored before there were fingerprints gets none until it is replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Any, Final, TypeVar
from uuid import UUID

from byokeep.audit.disclosure import MAX_RECORDS, RecordWindow, said_in
from byokeep.core.errors import ByokeepError, Conflict, Integrity, Rejected, Unavailable
from byokeep.core.events import EventName
from byokeep.core.incident import IncidentKind, IncidentSource
from byokeep.core.keystate import LIVE, KeyState, check_transition
from byokeep.core.model import API_PROVIDERS, Actor, ClientId, CredentialRef, Provider, Risk, Role, SecretKind
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb, require_proof
from byokeep.core.procedure import Run
from byokeep.core.ref import AppRef, SecretRef, parse
from byokeep.kernel import incidents, procedures
from byokeep.kernel.app import App, ServiceLimits, WebApp
from byokeep.kernel.command import command, find, open_alert, record
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row, Shape, reader
from byokeep.tenancy.clients import MAX_ROWS, scope_of
from byokeep_redact.fingerprint import VERSION

T = TypeVar("T")
Place = TypeVar("Place", SecretRef, AppRef)
_AT_ONCE: Final = 8  # questions to the store in flight
LEAK_SUSPECTED: Final = "suspected_leak"  # why a key is paused, and the jobs that hold it end


def ref_from(row: Row) -> CredentialRef:
    """Build the noun from a row of ``credential_ref``."""
    return reader(CredentialRef)({**row, "candidate": row["candidate_version"]})


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

    ``store`` is ``present``, ``missing``, ``destroyed`` or ``unknown``; ``destroyed``: a worker put on record that it
    destroyed this version, as the playbook of a leaked key does.
    """

    ref: CredentialRef
    client_name: str
    owner: str | None
    last_leased_at: datetime | None
    destroyed: bool
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
        ref=ref_from(row), client_name=row["client_name"], owner=row["owner"], last_leased_at=row["last_leased_at"],
        destroyed=row["destroyed"],
    )  # fmt: skip


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
        await record(tx, actor, EventName.KEY_LISTED, client_id=client_id, count=len(found))
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
        await record(
            tx, actor, EventName.KEY_READ_METADATA, client_id=ref.client_id, object_id=ref.id, version=ref.version
        )
    return ref


async def value_mark(app: App, ref: CredentialRef) -> str:
    """Return the beginning of the keyed digest of the value that a reference pins; empty: there is none on record.

    Equal values have equal marks here and nowhere else; nothing of a value can be told from one.
    """
    async with app.db.begin(client_id=ref.client_id) as tx:
        found = await tx.maybe(str, "fingerprint_get", ref_id=ref.id, version=ref.version)
    return "" if found is None else sha256(found.encode()).hexdigest()[:12]


async def change_state(app: App, actor: Actor, ref_id: UUID, *, to: KeyState, reason: str) -> CredentialRef:
    """Move a reference to another key state.

    Args:
        to: The new state. ``active`` may only be returned to from ``suspended``; ``destroyed`` is a matter of
            destruction in the store and cannot be claimed.
        reason: A code, ``[a-z][a-z0-9_]*``.

    Raises:
        Denied, NotFound: As :func:`get_ref`.
        Rejected: ``key_state``, ``bad_reason``, ``state_by_proof_only``.
        Unauthenticated: ``step_up_required``: to serve it again takes a fresh proof.
        Conflict: ``state_moved``: somebody else changed it meanwhile; ``rotation_in_flight``: its rotation paused it.
    """
    ref = await get_ref(app, actor, ref_id, Verb.KEY_STATE)
    undone: Run | None = None
    async with command(
        app, actor, Verb.KEY_STATE, client_id=ref.client_id, object_id=ref_id, refused_as=EventName.KEY_STATE_CHANGED,
        on_client=True,
    ) as tx:  # fmt: skip
        if to is KeyState.ACTIVE:
            require_proof(actor)
        check_reason(reason, example="suspected_leak")
        ref = await tx.one(ref_from, "ref_lock_row", client_id=ref.client_id, id=ref_id)
        check_transition(KeyState(ref.state), to)
        if to is KeyState.DESTROYED or (to is KeyState.ACTIVE and ref.state == KeyState.PRE_ACTIVATION):
            raise Rejected("state_by_proof_only", next_step="Verify the key, or destroy it in the store.")
        if to is KeyState.ACTIVE:
            paused = await tx.maybe(dict, "rotation_paused", client_id=ref.client_id, ref_id=ref_id)
            if paused is not None:
                step = f"Its rotation serves it again with the new key: `byokeep rotate status {paused['id']}`."
                raise Conflict("rotation_in_flight", next_step=step, run=paused["id"])
        leaked = to is KeyState.COMPROMISED and ref.kind is SecretKind.PROVIDER_API_KEY
        ended = await _end_holders(tx, ref) if leaked and ref.state != KeyState.PRE_ACTIVATION else None
        moved = await move(tx, app, actor, ref, to=to, reason=reason, ended=ended)
        await tell_of_client(tx, app, actor, ref.client_id, ref.id)
        if leaked:
            await incidents.opened(
                tx, app, actor, IncidentKind.SUSPECTED_LEAK, client_id=ref.client_id, source=IncidentSource.PERSON,
                object_kind="key", object_id=ref.id, alert="key_leak_suspected",
            )  # fmt: skip
        if to in (KeyState.DEACTIVATED, KeyState.COMPROMISED):
            undone = await _end_rotation(tx, app, actor, ref)
    if undone is not None:
        with suppress(Unavailable):  # the workers come by it
            await procedures.wake(app, undone)
    return moved


async def _end_rotation(tx: Tx, app: App, actor: Actor, ref: CredentialRef) -> Run | None:
    """Begin to take back the new key that waits beside one that serves nobody any more: else it lives on, forgotten.

    None: there is none. An emergency rotation, and one that has cut over, go on to the end of the old key.
    """
    run = await tx.maybe(Run, "rotation_open", client_id=ref.client_id, ref_id=ref.id)
    if run is None or run.state not in ("running", "failed") or "cutover" in run.evidence:
        return None
    procedure = app.procedures[run.procedure]
    return await procedures.undo(tx, actor, procedure, run) if procedure.may_end(run) else None


async def _end_holders(tx: Tx, ref: CredentialRef) -> int:
    """End the jobs that may hold a key which leaked; of a retired one those that were given it before that."""
    moves = await tx.all(Transition, "transitions_list", client_id=ref.client_id, limit=None)
    until = max((one.at for one in moves if (one.ref_id, one.state_to) == (ref.id, KeyState.DEACTIVATED)), default=None)
    return await end_jobs(tx, ref, LEAK_SUSPECTED, given=until is not None, until=until)


async def end_jobs(
    tx: Tx, ref: CredentialRef, reason: str, *, given: bool = False, until: datetime | None = None
) -> int:
    """End the open jobs that declared a provider's key; returns how many.

    Args:
        tx: Has not yet appended to the audit log: whoever ends a job locks it before the client's chain.
        reason: A code, for the jobs.
        given: Only those that were given it, ``until`` then.
    """
    about = {"client_id": ref.client_id, "provider": ref.provider.value, "reason": reason}
    return await tx.one(int, "rotation_end_jobs", **about, given=given, until=until)


async def set_interval(app: App, actor: Actor, ref_id: UUID, *, days: int, reason: str) -> CredentialRef:
    """Choose after how many days a key is to be rotated, for its present value and for later ones (runbook 6.1).

    The days count from when the value came. What is overdue already stays so.

    Args:
        days: Within the published range; a key of high risk, or whose next value is, has its least days and no
            others.
        reason: A code, ``[a-z][a-z0-9_]*``.

    Raises:
        Denied, NotFound: As :func:`get_ref`.
        Rejected: ``rotation_days_out_of_range``, ``bad_reason``, ``risk_decides``, ``nothing_serves``.
    """
    ref = await get_ref(app, actor, ref_id, Verb.KEY_WRITE)
    async with command(
        app, actor, Verb.KEY_WRITE, client_id=ref.client_id, object_id=ref_id, refused_as=EventName.KEY_INTERVAL_SET,
        on_client=True,
    ) as tx:  # fmt: skip
        check_reason(reason, example="client_wish")
        row = await tx.one(dict, "ref_lock_row", client_id=ref.client_id, id=ref_id)
        ref = ref_from(row)
        due = rotation_due(app.limits, ref.created_at, days, ref.risk, preference_days=days)
        if Risk.HIGH in (ref.risk, row["candidate_risk"]) and days != app.limits.rotation_min_days:
            step = f"A high-risk key is always rotated every {app.limits.rotation_min_days} days."
            raise Rejected("risk_decides", next_step=step)
        chosen = await tx.maybe(
            ref_from, "ref_set_interval", client_id=ref.client_id, id=ref_id, days=days, due_at=due.due_at
        )
        if chosen is None or ref.kind is not SecretKind.PROVIDER_API_KEY:
            raise Rejected("nothing_serves", next_step="Choose an interval for a provider's key that is in use.")
        await record(
            tx, actor, EventName.KEY_INTERVAL_SET, client_id=ref.client_id, object_id=ref_id, reason=reason, days=days,
            from_days=ref.rotation_days, due_at=chosen.rotation_due_at, from_due_at=ref.rotation_due_at,
        )  # fmt: skip
        return chosen


async def tell_of_client(tx: Tx, app: App, actor: Actor, client_id: UUID, about: UUID) -> None:
    """Open an alert when it was a client's own person who ended the use of something: the agency did not do it."""
    if Role.CONTACT in actor.roles:
        await open_alert(
            tx, app, actor, reason="client_revoked", severity="warning", client_id=client_id, object_id=about
        )


async def move(
    tx: Tx, app: App, actor: Actor, ref: CredentialRef, *, to: KeyState, reason: str, ended: int | None = None
) -> CredentialRef:
    """Change a state inside a caller's transaction: the row, its history and the record.

    Args:
        ended: How many jobs it ended, if it ends any.

    Raises:
        Rejected: ``key_state``.
        Conflict: ``state_moved``.
    """
    check_transition(KeyState(ref.state), to)
    moved = await tx.maybe(
        ref_from, "ref_set_state", client_id=ref.client_id, id=ref.id, state_from=ref.state, state_to=to.value
    )
    if moved is None:
        raise Conflict("state_moved", next_step="Somebody changed it meanwhile. See `byokeep key show`.", ref=ref.id)
    await tx.one(
        UUID, "transition_insert", id=app.ids.uuid(), client_id=ref.client_id, ref_id=ref.id, state_from=ref.state,
        state_to=to.value, reason=reason, by=actor.id,
    )  # fmt: skip
    await record(
        tx, actor, EventName.KEY_STATE_CHANGED, client_id=ref.client_id, object_id=ref.id, state_from=ref.state,
        state_to=to.value, reason=reason, version=ref.version, count=ended,
    )  # fmt: skip
    return moved


async def exported(app: App, actor: Actor, client_id: ClientId) -> list[InventoryItem]:
    """Return all of a client's references, old ones too, with whose they are and their last use; the look is on record.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    async with command(app, actor, Verb.KEY_LIST, client_id=client_id) as tx:
        found = await tx.all(_item, "inventory", ids=[client_id], limit=None)
        await record(tx, actor, EventName.KEY_LISTED, client_id=client_id, count=len(found))
    return found


async def transitions(app: App, actor: Actor, client_id: ClientId) -> list[Transition]:
    """Return the history of states of a client's references.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    async with command(app, actor, Verb.KEY_METADATA, client_id=client_id) as tx:
        return await tx.all(Transition, "transitions_list", client_id=client_id, limit=None)


async def inventory(app: WebApp, actor: Actor) -> Inventory:
    """List every key of the actor's clients and compare the rows with the store.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.KEY_LIST) as tx:
        items = await tx.all(_item, "inventory", ids=scope_of(actor), limit=None)
        clients = await tx.all(lambda row: ClientId(row["id"]), "clients_list", ids=scope_of(actor))
        await record(tx, actor, EventName.KEY_LISTED, count=len(items))
    places = [SecretRef(client, provider) for client in clients for provider in sorted(API_PROVIDERS)]
    places += sorted({_place(item) for item in items} - set(places), key=str)
    live = await live_at(app, places)
    keys = [(place, versions) for place, versions in live.items() if place.part is None]
    orphans = [orphan for place, versions in keys if (orphan := await orphan_of(app, place, versions))]
    compared = tuple(_compared(item, live[_place(item)]) for item in items)
    known = all(versions is not None for versions in live.values())
    bad = orphans or any(item.store == "missing" for item in compared)
    return Inventory(
        result="findings" if bad else "match" if known else "unknown", items=compared, orphans=tuple(orphans)
    )


def _place(item: InventoryItem) -> SecretRef:
    return _parsed(item.ref.secret_ref, item.ref.id)


def _parsed(secret_ref: str, ref_id: UUID) -> SecretRef:
    place = parse(secret_ref)
    if not isinstance(place, SecretRef):
        raise Integrity("bad_secret_ref", ref=ref_id)
    return place


async def live_at(app: WebApp, places: Iterable[Place]) -> dict[Place, list[int] | None]:
    """Return the versions that the store holds of places; None: it cannot be asked."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def look(place: Place) -> tuple[Place, list[int] | None]:
        async with slots:
            try:
                return place, await app.intake.live_versions(place)
            except ByokeepError:
                return place, None

    return dict(await asyncio.gather(*map(look, places)))


def held(version: int, live: list[int] | None, *, gone: str = "missing") -> str:
    """Return whether the store holds a version: ``present``, ``gone`` or ``unknown``."""
    return "unknown" if live is None else "present" if version in live else gone


async def orphan_of(app: App, place: SecretRef, live: list[int] | None) -> Orphan | None:
    """Return those of the live versions of a client's secret at a provider that no record explains, if there are any.

    Of a signing secret or an administrator's key the versions before the one on record are what it replaced.
    """
    if not live:
        return None
    async with app.db.begin(client_id=place.client_id) as tx:
        at = {"client_id": place.client_id, "provider": place.provider.value}
        if place.part is None:
            known = set(await tx.all(int, "versions_on_record", **at))
        else:
            rows = await tx.all(lambda row: int(row["version"]), "webhook_refs", **at, purpose=place.part.value)
            known = set(range(max(rows, default=0) + 1))
    strange = tuple(version for version in live if version not in known)
    return Orphan(client_id=place.client_id, provider=place.provider, versions=strange) if strange else None


def _compared(item: InventoryItem, live: list[int] | None) -> InventoryItem:
    over = item.ref.state in (KeyState.COMPROMISED, KeyState.DEACTIVATED) and item.destroyed
    gone = "destroyed" if over or item.ref.state == KeyState.DESTROYED else "missing"
    return replace(item, store=held(item.ref.version, live, gone=gone))


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """A record about the key: its place in the client's chain, what it says, and the name of who acted."""

    seq: int
    at: datetime
    actor_name: str | None
    said: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseHolder:
    """Somebody who held leases that could read the key."""

    actor: UUID
    name: str | None
    leases: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHistory:
    """The answer. The summary covers the whole window; ``entries`` are its newest records, newest first."""

    ref: CredentialRef
    holders: tuple[LeaseHolder, ...]
    last_used_at: datetime | None
    last_rotated_at: datetime | None
    refused: int
    entries: tuple[HistoryEntry, ...]


def _entry(row: Row) -> HistoryEntry:
    return HistoryEntry(seq=row["seq"], at=row["at"], actor_name=row["name"], said=said_in(row))


async def key_history(app: App, actor: Actor, ref_id: UUID, window: RecordWindow) -> KeyHistory:
    """Answer for one reference.

    Args:
        window: Which records; ``before`` pages through ``entries`` only.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``, also for another client's.
        Integrity: ``audit_record_unreadable``.
    """
    ref = await get_ref(app, actor, ref_id, Verb.KEY_HISTORY)
    limit = max(1, min(window.limit, MAX_RECORDS))
    async with app.db.begin(client_id=ref.client_id) as tx:
        await record(
            tx, actor, EventName.AUDIT_READ, client_id=ref.client_id, object_id=ref_id, chain=str(ref.client_id),
            count=limit,
        )  # fmt: skip
    asked = {"chain": ref.client_id, "ref_id": ref_id, "provider": ref.provider.value, "since": window.since,
             "until": window.until}  # fmt: skip
    async with app.db.begin(client_id=ref.client_id) as tx:
        return KeyHistory(
            ref=ref, holders=tuple(await tx.all(LeaseHolder, "history_holders", **asked)),
            entries=tuple(await tx.all(_entry, "history_records", **asked, before=window.before, limit=limit)),
            **await tx.one(dict, "history_marks", **asked),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveValue:
    """A live value: its digests (hex), or why it is not looked for: ``earlier_release``, ``too_weak``."""

    place: SecretRef
    ref_id: UUID
    version: int
    digests: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFingerprints:
    """Everything to look for.

    Attributes:
        key: What the digests were made with, 64 hex digits; for the caller, never for a log.
        watched: Values with digests: the pinned version of each live reference, and replaced ones that the store holds.
        unknown: Live references whose pinned version has none.
        replaced_unknown: How many replaced versions the store still holds that have none.
        all_clients: False when the actor is assigned to some clients only.
    """

    key: str = field(repr=False)
    watched: tuple[LiveValue, ...]
    unknown: tuple[LiveValue, ...]
    replaced_unknown: int
    all_clients: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    place: SecretRef
    ref_id: UUID
    pinned: int
    version: int | None
    digests: tuple[str, ...] | None
    keyless: bool


def _line(row: Row) -> _Line:
    return _Line(
        place=_parsed(row["secret_ref"], row["ref_id"]), ref_id=row["ref_id"], pinned=row["pinned"],
        version=row["version"], digests=None if row["digests"] is None else tuple(row["digests"]),
        keyless=row["keyless"],
    )  # fmt: skip


async def live_values(app: WebApp, actor: Actor) -> LiveFingerprints:
    """Return the fingerprints of every value that is live.

    Live are the references in the states of :data:`byokeep.core.keystate.LIVE`: their pinned version, whatever the
    store says, and every other version that the store still holds. Tokens of accounts are left out.

    Raises:
        Denied: ``not_permitted``.
        Unavailable: Store or database; nothing can be said then.
    """
    async with command(app, actor, Verb.LEAK_FINGERPRINTS) as tx:
        lines = await tx.all(_line, "leak_live", format=VERSION, states=sorted(LIVE), ids=scope_of(actor))
    refs = [list(group) for _, group in groupby(lines, key=lambda line: line.ref_id)]
    slots = asyncio.Semaphore(_AT_ONCE)
    held = await asyncio.gather(*(_held(app, slots, ref) for ref in refs))
    watched: list[LiveValue] = []
    unknown: list[LiveValue] = []
    replaced = 0
    for ref, versions in zip(refs, held, strict=True):
        known = {line.version: line.digests for line in ref}
        place, ref_id, pinned = ref[0].place, ref[0].ref_id, ref[0].pinned
        for version in sorted(versions):
            if digests := known.get(version):
                watched.append(LiveValue(place=place, ref_id=ref_id, version=version, digests=digests))
            elif version == pinned and ref[0].keyless:
                continue
            elif version == pinned:
                reason = "earlier_release" if known.get(version) is None else "too_weak"
                unknown.append(LiveValue(place=place, ref_id=ref_id, version=version, reason=reason))
            else:
                replaced += 1
    key = await app.scan_key.shown()
    async with app.db.begin(every_client=True) as tx:
        await record(tx, actor, EventName.LEAK_FINGERPRINTS_READ, count=len(watched), unknown=len(unknown))
    return LiveFingerprints(
        key=key, watched=tuple(watched), unknown=tuple(unknown), replaced_unknown=replaced,
        all_clients=actor.clients is None,
    )  # fmt: skip


async def _held(app: WebApp, slots: asyncio.Semaphore, ref: list[_Line]) -> set[int]:
    """Return the pinned version and those others of the reference that the store holds; asked only if there are any."""
    pinned = ref[0].pinned
    others = {line.version for line in ref if line.version is not None} - {pinned}
    if not others:
        return {pinned}
    async with slots:
        return {pinned} | others.intersection(await app.intake.live_versions(ref[0].place))


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationDue:
    """The due date (UTC) and the rule behind it: a lower-case token such as ``provider_default_90d``."""

    due_at: datetime
    rule: str


def rotation_due(
    limits: ServiceLimits, stored_at: datetime, provider_days: int, risk: Risk, *, preference_days: int | None = None
) -> RotationDue:
    """Derive a due date (runbook 6.1).

    Args:
        limits: The published range: high risk means its least days, and no default counts for more than its most.
        stored_at: Aware UTC time from which the days count.
        provider_days: The provider's own default in days.
        risk: The key's risk class.
        preference_days: What the client wishes, in days; ``None`` = no wish.

    Raises:
        Rejected: ``rotation_days_out_of_range``, naming the range.
    """
    min_days, max_days = limits.rotation_min_days, limits.rotation_max_days
    if preference_days is not None and not min_days <= preference_days <= max_days:
        step = f"Ask for {min_days} to {max_days} days."
        raise Rejected("rotation_days_out_of_range", next_step=step, minimum=min_days, maximum=max_days)
    if risk is Risk.HIGH:
        days, rule = min_days, "risk_high"
    elif preference_days is not None:
        days, rule = preference_days, "client_preference"
    else:
        days, rule = max(1, min(provider_days, max_days)), "provider_default"
    return RotationDue(due_at=stored_at + timedelta(days=days), rule=f"{rule}_{days}d")
