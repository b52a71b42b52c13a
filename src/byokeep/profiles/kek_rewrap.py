"""A rotation's second half: every wrapped key is moved to the new version of its key-encryption key (R6.1-8).

Rules
- A blob is not touched. The record of a generation is written anew, by compare-and-set, with the same key wrapped under
  the new version; then its row follows. Until it does, the old record stays and opens: nothing is ever unreadable.
- A profile that somebody has open waits, for a seal may be on its way and must not lose its place.
- Cut anywhere, it is begun again from the rows: what was written and not recorded is written once more, and what is
  left over of that is destroyed a while after the rotation ended.
- A rotation is done when no row is left on an older version. Nothing else ends it.

It may not open a wrapped key: OpenBao moves it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, Integrity, NotFound
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, ClientId
from byokeep.core.record_room import check_rewrap
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import parse_record
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import Tx, Written
from byokeep.profiles.kek_app import KekApp, KekCustody, custody_of
from byokeep.profiles.kek_book import Rotation, check_protect
from byokeep.profiles.profiles import Opening
from byokeep.sealing.generation import Generation, altered, check_same
from byokeep.sealing.store import context_of, wrapped_of

TASK: Final = "kek_rewrap"
TIDY_TASK: Final = "kek_tidy"
BATCH: Final = 200  # profiles of one task
AT_ONCE: Final = 8
TOGETHER: Final = 16  # profiles whose rows follow in one transaction: a client's records are appended one after another
TIDY_AFTER_S: Final = 900.0  # seconds after which nobody reads by a row that was read before the rotation ended


@dataclass(frozen=True, slots=True, kw_only=True)
class RewrapBatch:
    """What one go at a client's profiles came to."""

    moved: int
    waiting: int
    blocked: int


async def hand_out(tx: Tx, rotation: Rotation, actor: Actor) -> int:
    """Hand each client that has something on older versions to a worker; returns how many clients."""
    behind = await tx.all(
        ClientId, "kek_clients_behind", holder=rotation.holder, kek_id=rotation.kek_id, below=rotation.to_version
    )
    for client_id in behind:
        await queue(tx, rotation.id, client_id, actor)
    if not behind:
        await _end(tx, actor, rotation)
    return len(behind)


async def queue(tx: Tx, rotation_id: UUID, client_id: UUID, actor: Actor) -> None:
    """Hand one client of a rotation to a worker."""
    await tx.defer(
        TASK, key=f"{TASK}:{rotation_id}:{client_id}", rotation_id=str(rotation_id), client_id=str(client_id),
        asked_by=str(actor.id),
    )  # fmt: skip


async def rewrap(
    app: KekApp, actor: Actor, rotation_id: UUID, client_id: ClientId, *, limit: int = BATCH
) -> RewrapBatch:
    """Move up to ``limit`` profiles of a client; hands itself on while it gets somewhere, and ends the rotation.

    Raises:
        Unavailable: OpenBao or database; it is taken up again.
        Denied: The client's switch is closed.
        Rejected: As :func:`byokeep.profiles.kek_book.check_protect`: the new version may protect nothing any more.
    """
    async with app.db.begin(every_client=True) as tx:
        rotation = await tx.one(Rotation, "kek_rotation_get", id=rotation_id)
        if rotation.state == "done":
            return RewrapBatch(moved=0, waiting=0, blocked=0)
        behind = await tx.all(
            lambda row: (UUID(str(row["id"])), bool(row["open"])), "kek_profiles_behind", client_id=client_id,
            holder=rotation.holder, kek_id=rotation.kek_id,
            below=rotation.to_version, limit=limit,
        )  # fmt: skip
        await check_protect(tx, app, holder=rotation.holder, kek_id=rotation.kek_id, version=rotation.to_version)
    free = [profile_id for profile_id, is_open in behind if not is_open]
    outcomes: list[int] = []
    if free:
        async with custody_of(app, actor, client_id) as custody:
            outcomes = await _all(app, actor, custody, rotation, client_id, free)
    moved, blocked = sum(one for one in outcomes if one > 0), sum(1 for one in outcomes if one < 0)
    async with app.db.begin(every_client=True) as tx:
        now = await tx.one(Rotation, "kek_rotation_get", id=rotation_id)
        if not now.remaining:
            await _end(tx, actor, now)
        elif moved and len(behind) == limit:
            await queue(tx, rotation_id, client_id, actor)
    return RewrapBatch(moved=moved, waiting=len(behind) - len(free), blocked=blocked)


async def _all(
    app: KekApp, actor: Actor, custody: KekCustody, rotation: Rotation, client_id: ClientId, profile_ids: list[UUID]
) -> list[int]:
    """Move profiles side by side; returns for each how many keys, -1 when one can not be moved."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(profile_id: UUID) -> tuple[list[_Moved], bool]:
        async with slots:
            return await _write(app, actor, custody, rotation, client_id, profile_id)

    outcomes: list[int] = []
    for start in range(0, len(profile_ids), TOGETHER):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(profile_id)) for profile_id in profile_ids[start : start + TOGETHER]]
        written = [task.result() for task in tasks]
        async with app.db.begin(client_id=client_id) as tx:
            for moves, blocked in written:
                kept = [await _keep(tx, actor, rotation, move) for move in moves]
                outcomes.append(-1 if blocked else sum(kept))
    return outcomes


@dataclass(frozen=True, slots=True)
class _Moved:
    """A record that was written anew; its row has not followed yet."""

    row: Generation
    kek_version: int
    written: Written


async def _write(
    app: KekApp, actor: Actor, custody: KekCustody, rotation: Rotation, client_id: ClientId, profile_id: UUID
) -> tuple[list[_Moved], bool]:
    """Write every record of a profile anew; returns what was, and whether one can not be: that raises an alert."""
    async with app.db.begin(client_id=client_id) as tx:
        held = await tx.maybe(Opening, "opening_of", client_id=client_id, profile_id=profile_id)
        if held is not None and held.open:  # since the batch was chosen
            return [], False
        rows = await tx.all(
            Generation, "kek_generations_behind", client_id=client_id, profile_id=profile_id,
            holder=rotation.holder,
            kek_id=rotation.kek_id, below=rotation.to_version,
        )  # fmt: skip
    moved: list[_Moved] = []
    cas = max((row.record_version for row in rows), default=0)  # as a rule the newest; the store says when it is not
    stays = min((row.record_version for row in rows), default=0)
    for row in rows:
        try:
            moved.append(await _rewritten(app, custody, rotation, row, cas, stays))
        except (Integrity, NotFound) as error:
            await _blocked(app, actor, row, error)
            return moved, True
        except Conflict as error:
            if error.code == "record_history_full":
                await _blocked(app, actor, row, error)
                return moved, True
            if error.code != "stale_version":
                raise
            break  # a seal was first; it is looked at again
        cas = moved[-1].written.version
    return moved, False


async def _rewritten(
    app: KekApp, custody: KekCustody, rotation: Rotation, row: Generation, cas: int, stays: int
) -> _Moved:
    ref = ProfileRef(row.client_id, row.profile_id)
    record = parse_record(await custody.read(ref, row.record_version))
    check_same(record, row, app.environment)
    if record.kek_version != row.kek_version:
        raise altered()
    fresh = await custody.keys.rewrap(wrapped_of(record), context_of(record.manifest))
    if fresh.kek_version != rotation.to_version:
        raise Conflict("kek_version_moved", expected=rotation.to_version, newest=fresh.kek_version)
    after = replace(record, wrapped_dek=fresh.ciphertext, kek=fresh.key_ref, kek_version=fresh.kek_version)
    try:
        check_rewrap(newest=cas, stays=stays)
        written = await custody.write(ref, after.canonical, cas=cas)
    except Conflict as error:
        if error.code != "stale_version":
            raise
        cas = await custody.newest(ref)
        check_rewrap(newest=cas, stays=stays)
        written = await custody.write(ref, after.canonical, cas=cas)
    return _Moved(row, fresh.kek_version, written)


async def _keep(tx: Tx, actor: Actor, rotation: Rotation, move: _Moved) -> bool:
    """Let the row follow its record, on record; False when another worker's did, or its key is destroyed."""
    row, written = move.row, move.written
    done = await tx.maybe(
        int, "kek_rewrapped", client_id=row.client_id, profile_id=row.profile_id, generation=row.generation,
        dek_id=row.dek_id,
        from_version=row.kek_version, base=row.record_version, kek_version=move.kek_version,
        record_version=written.version, rotation=rotation.id,
    )  # fmt: skip
    if done is None:
        return False
    await tx.append(
        Event(
            name=EventName.KEK_REWRAPPED, actor=actor, outcome=Outcome.OK, client_id=row.client_id,
            object_id=row.profile_id,
            fields={"holder": row.holder, "kek": row.kek_id, "kek_version": move.kek_version, "dek": str(row.dek_id),
                    "from_version": row.kek_version, "rotation": str(rotation.id), "profile": str(row.profile_id),
                    "generation": row.generation, "version": written.version, "store_request": written.request_id},
        )
    )  # fmt: skip
    return True


async def _blocked(app: KekApp, actor: Actor, row: Generation, error: ByokeepError) -> None:
    async with app.db.begin(client_id=row.client_id) as tx:
        await open_alert(
            tx, app, actor, reason="kek_rewrap_blocked", client_id=row.client_id, object_id=row.profile_id,
            key=f"kek_rewrap_blocked:{row.dek_id}:{error.code}",
        )  # fmt: skip


async def _end(tx: Tx, actor: Actor, rotation: Rotation) -> bool:
    """End a rotation that has nothing left; False when it has, or was ended before."""
    moved = await tx.maybe(int, "kek_rotation_end", id=rotation.id)
    if moved is None:
        return False
    await tx.append(
        Event(
            name=EventName.KEK_ROTATION_DONE, actor=actor, outcome=Outcome.OK, client_id=rotation.client_id,
            object_id=rotation.client_id,
            fields={"holder": rotation.holder, "kek": rotation.kek_id, "kek_version": rotation.to_version,
                    "from_version": rotation.from_version, "rotation": str(rotation.id), "count": moved},
        )
    )  # fmt: skip
    return True


async def tidy(app: KekApp, actor: Actor, client_id: ClientId, profile_ids: list[UUID]) -> int:
    """Destroy records that a rewrap replaced or left over; returns how many versions.

    A version is ours to destroy when no row stands for it and it holds a key that a row knows, under a version of the
    KEK that is not newer than the row's. Whatever else lies there is somebody else's business.
    """
    destroyed = 0
    async with custody_of(app, actor, client_id) as custody:
        for profile_id in profile_ids:
            async with app.db.begin(client_id=client_id) as tx:
                rows = await tx.all(
                    Generation, "generations_of", client_id=client_id, profile_id=profile_id, limit=1000
                )
            ref, known = ProfileRef(client_id, profile_id), {row.dek_id: row for row in rows}
            standing = {row.record_version for row in rows}
            strays = []
            for version in await custody.live_versions(ref):
                if version in standing:
                    continue
                try:
                    record = parse_record(await custody.read(ref, version))
                except (Integrity, NotFound):
                    continue
                row = known.get(record.dek_id)
                if row is not None and record.kek_version <= row.kek_version:
                    strays.append(version)
            if strays:
                await custody.destroy(ref, strays)
                destroyed += len(strays)
    return destroyed
