"""What a worker does with a key-encryption key: makes it, rotates it, moves what it wraps, compares it, ends versions.

Rules
- A version has its row before OpenBao makes it. It protects nothing until the row says active (S-NIST-13), which
  happens when the version is confirmed (:func:`confirm`). From then on the row also says which key it is. Versions of
  an older installation get this at the first check that finds nothing wrong with them.
- The second half of a rotation moves every wrapped key to the new version (R6.1-8); OpenBao does it, and no blob is
  touched. The record of a generation is rewritten by compare-and-set, with the same key wrapped under the new version;
  then its row follows. Until then the old record stays and opens, so nothing is ever unreadable. A profile that
  somebody has open waits. A rotation is done when no row is left on an older version, and only then.
- Each step can be cut anywhere and begun again: OpenBao and the rows show where it stood. A round every minute hands on
  what a dead worker left. What a rotation left over is destroyed a while after it ended, with the hourly comparison.
- A version that was made, removed, replaced, or made exportable or deletable outside is a finding with an alert.
  Nobody works around it. Each key is compared with OpenBao at least once an hour, so that it is noticed in time
  (R9.2-2).
- A version that no row stands for is passed only if a person names it: it is entered as compromised, and the next one
  is made. Nothing is ever protected by it.
- An old version is ended only when nothing depends on it (R6.1-8). Its row stays, as its tombstone.
- A rotation that is due is reported once; one that is overdue, for as long as it lasts (R6.1-7).
- What a worker does because a person asked is on record with that person as its actor, and is done only if that
  person's record says so (:mod:`byokeep.kernel.asking`). Only Unavailable is retried.

It may not open a wrapped key of a profile.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from procrastinate import App as Queue
from procrastinate import RetryStrategy

from byokeep.core import kek as rules
from byokeep.core.errors import ByokeepError, Conflict, Integrity, NotFound, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.kek import TRANSIT, Difference, KekFault, KekFinding, KekScope, KekStatus, KeyContext
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, ClientId, Role
from byokeep.core.policy import Verb
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import FULL, check_seal, parse_record
from byokeep.core.secret import Secret
from byokeep.kernel.app import EVERY_MINUTE, App
from byokeep.kernel.asking import digest_of, require_asked
from byokeep.kernel.command import open_alert, record
from byokeep.kernel.ports import Tx, Written
from byokeep.profiles import kek
from byokeep.profiles.kek import Kek, KekApp, ProfileCustody, Rotation, check_protect, custody_of
from byokeep.profiles.kek_requests import hand_rotation
from byokeep.profiles.profiles import Opening
from byokeep.profiles.vault_check import Stray, check_vault
from byokeep.sealing.generation import Generation, altered, check_same, context_of, wrapped_of
from byokeep.telemetry.log import get_log
from byokeep.telemetry.spans import span

if TYPE_CHECKING:
    from byokeep.sealing.transit import TransitKeys

Rewritten = tuple[Generation, Written]  # a rewritten record whose row has not followed yet
BATCH: Final = 200  # profiles of one task
AT_ONCE: Final = 8
TOGETHER: Final = 16  # profiles whose rows follow in one transaction: a client's records are appended one after another
TIDY_AFTER_S: Final = 900.0  # seconds; by then nobody still uses a row read before the rotation ended


async def hand_out(tx: Tx, rotation: Rotation, actor: Actor) -> int:
    """Give a worker each client that has something on older versions; returns how many clients."""
    behind = await tx.all(ClientId, "kek_clients_behind", **rotation.older)
    for client_id in behind:
        await kek.queue_rewrap(tx, rotation.id, client_id, actor)
    if not behind:
        await _end(tx, actor, rotation)
    return len(behind)


async def rewrap(app: KekApp, actor: Actor, rotation_id: UUID, client_id: ClientId, *, limit: int = BATCH) -> int:
    """Move up to ``limit`` profiles of a client; returns how many keys. It queues itself again while it makes progress,
    and ends the rotation.

    Raises:
        Unavailable: OpenBao or the database; it is retried.
        Denied: The client's switch is closed.
        Rejected: As :func:`byokeep.profiles.kek.check_protect`: the new version may protect nothing any more.
    """
    async with app.db.begin(every_client=True) as tx:
        rotation = await tx.one(Rotation, "kek_rotation_get", id=rotation_id)
        if rotation.state == "done":
            return 0
        behind = await tx.all(dict, "kek_profiles_behind", client_id=client_id, **rotation.older, limit=limit)
        await check_protect(tx, app, holder=rotation.holder, kek_id=rotation.kek_id, version=rotation.to_version)
    free = sorted(row["id"] for row in behind if not row["open"])  # in the order in which `compromise` locks their rows
    moved = 0
    if free:
        async with custody_of(app, actor, client_id) as custody:
            moved = await _all(app, actor, custody, rotation, client_id, free)
    async with app.db.begin(every_client=True) as tx:
        now = await tx.one(Rotation, "kek_rotation_get", id=rotation_id)
        if not now.remaining:
            await _end(tx, actor, now)
        elif moved and len(behind) == limit:
            await kek.queue_rewrap(tx, rotation_id, client_id, actor)
    return moved


async def _all(
    app: KekApp, actor: Actor, custody: ProfileCustody, rotation: Rotation, client_id: ClientId, profile_ids: list[UUID]
) -> int:
    """Move profiles in parallel; returns how many keys were moved."""
    slots, moved = asyncio.Semaphore(AT_ONCE), 0

    async def one(profile_id: UUID) -> list[Rewritten]:
        async with slots:
            return await _write(app, actor, custody, rotation, client_id, profile_id)

    for start in range(0, len(profile_ids), TOGETHER):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(profile_id)) for profile_id in profile_ids[start : start + TOGETHER]]
        written = [move for task in tasks for move in task.result()]
        async with app.db.begin(client_id=client_id) as tx:
            late = [move for move in written if not await _keep(tx, actor, rotation, *move)]
        for row, put in late:  # whoever opens the profile would take it for a record that was put back
            await custody.destroy(ProfileRef(row.client_id, row.profile_id), [put.version])
        moved += len(written) - len(late)
    return moved


async def _write(
    app: KekApp, actor: Actor, custody: ProfileCustody, rotation: Rotation, client_id: ClientId, profile_id: UUID
) -> list[Rewritten]:
    """Rewrite every record of a profile, up to one that cannot be, which alerts; returns the rewritten ones."""
    async with app.db.begin(client_id=client_id) as tx:
        held = await tx.maybe(Opening, "opening_of", client_id=client_id, profile_id=profile_id)
        if held is not None and held.open:  # since the batch was chosen
            return []
        about = {"client_id": client_id, "profile_id": profile_id}
        rows = await tx.all(Generation, "kek_generations_behind", **about, **rotation.older)
    moved: list[Rewritten] = []
    cas = max((row.record_version for row in rows), default=0)  # as a rule the newest; the store says when it is not
    stays = min((row.record_version for row in rows), default=0)
    for row in rows:
        try:
            written = await _rewritten(app, custody, rotation, row, cas, stays)
        except (Integrity, NotFound, Conflict) as error:
            if error.code == "stale_version":
                break  # a seal was first; it is looked at again
            if isinstance(error, Conflict) and error.code != FULL:
                raise
            async with app.db.begin(client_id=client_id) as tx:
                await open_alert(tx, app, actor, reason="kek_rewrap_blocked", client_id=client_id, object_id=profile_id,
                                 key=f"kek_rewrap_blocked:{row.dek_id}:{error.code}")  # fmt: skip
            break
        moved.append((row, written))
        cas = written.version
    return moved


async def _rewritten(
    app: KekApp, custody: ProfileCustody, rotation: Rotation, row: Generation, cas: int, stays: int
) -> Written:
    ref = ProfileRef(row.client_id, row.profile_id)
    before = parse_record(await custody.read(ref, row.record_version))
    check_same(before, row, app.environment)
    if before.kek_version != row.kek_version:
        raise altered()
    fresh = await custody.keys.rewrap(wrapped_of(before), context_of(before.manifest))
    if fresh.kek_version != rotation.to_version:
        raise Conflict("kek_version_moved", expected=rotation.to_version, newest=fresh.kek_version)
    after = replace(before, wrapped_dek=fresh.ciphertext, kek=fresh.key_ref, kek_version=fresh.kek_version)
    check_seal(newest=cas, stays=stays, rotates=True)
    try:
        return await custody.write(ref, after.canonical, cas=cas)
    except Conflict as error:
        if error.code != "stale_version":
            raise
    cas = await custody.newest(ref)
    check_seal(newest=cas, stays=stays, rotates=True)
    return await custody.write(ref, after.canonical, cas=cas)


async def _keep(tx: Tx, actor: Actor, rotation: Rotation, row: Generation, written: Written) -> bool:
    """Let the row follow its record, on record; False if another worker's row did, or the key is destroyed."""
    done = await tx.maybe(
        int, "kek_rewrapped", **row.at, dek_id=row.dek_id, from_version=row.kek_version, base=row.record_version,
        kek_version=rotation.to_version, record_version=written.version, rotation=rotation.id,
    )  # fmt: skip
    if done is None:
        return False
    await record(
        tx, actor, EventName.KEK_REWRAPPED, client_id=row.client_id, object_id=row.profile_id, holder=row.holder,
        kek=row.kek_id, kek_version=rotation.to_version, dek=row.dek_id, from_version=row.kek_version,
        rotation=rotation.id, profile=row.profile_id, generation=row.generation, version=written.version,
        store_request=written.request_id,
    )  # fmt: skip
    return True


async def _end(tx: Tx, actor: Actor, rotation: Rotation) -> None:
    """End a rotation that has nothing left and has not ended already."""
    moved = await tx.maybe(int, "kek_rotation_end", id=rotation.id)
    if moved is not None:
        await record(
            tx, actor, EventName.KEK_ROTATION_DONE, client_id=rotation.client_id, object_id=rotation.client_id,
            holder=rotation.holder, kek=rotation.kek_id, kek_version=rotation.to_version,
            from_version=rotation.from_version, rotation=rotation.id, count=moved,
        )  # fmt: skip


async def check_places(app: KekApp, actor: Actor, client_id: ClientId) -> list[Stray]:
    """Compare a client's places, and destroy the records there that a rewrap replaced, once nobody uses them.

    Raises:
        Unavailable: As :func:`check_vault`.
    """
    found, replaced = await check_vault(app, actor, client_id)
    about = {"client_id": client_id, "after_s": TIDY_AFTER_S}
    if replaced and await app.db.read(ClientId, "keks_to_tidy", about, every_client=True):
        async with custody_of(app, app.system(), client_id) as custody:
            for ref, versions in replaced.items():
                await custody.destroy(ref, versions)
    return found


UNCONFIRMED: Final = "kek_unconfirmed"
_TRIES_TO_MAKE: Final = 3  # and the last one finds it


async def compared(app: App, keys: TransitKeys, scope: KekScope) -> KekStatus:
    """Return the KEK as OpenBao shows it. Another key in the place of one of our versions is a fault of that version.

    A version's row holds the ``identity`` it was made with, written once, when it was confirmed: anybody with rights
    there can use a name. A version that ended is not compared: that it is back is a finding of its own.
    """
    status = await keys.versions(scope)
    pins = {row.version: row.identity for row in await _rows(app, status.kek_id) if row.state is not KeyState.DESTROYED}
    return replace(status, versions=tuple(
        replace(one, fault=KekFault.FOREIGN)
        if one.fault is None and (pins.get(one.number) or one.identity) != one.identity else one
        for one in status.versions
    ))  # fmt: skip


async def prepare(app: App, actor: Actor, keys: TransitKeys, client_id: ClientId) -> Kek:
    """Return the version that may protect a client's new keys, making the first one if there is none.

    Raises:
        Rejected: ``key_state``, ``key_period_over``; a code of :class:`byokeep.core.kek.KekFault`.
        Integrity: ``kek_unknown_outside``: the holder has a version that was not made here; ``kek_unconfirmed``.
        Unavailable: The holder.
    """
    scope = KekScope(environment=app.environment, client_id=client_id)
    for _ in range(_TRIES_TO_MAKE):  # somebody else may be making it at this moment
        status = await compared(app, keys, scope)
        if status.faults:
            raise rules.unusable(status.faults[0])
        rows = await _rows(app, status.kek_id)
        pending = next((row for row in rows if row.state is KeyState.PRE_ACTIVATION), None)
        known = next((row for row in rows if row.version == status.newest and row is not pending), None)
        if known is not None:
            rules.may_protect(known.state, known.now, known.periods)
            return known
        if (status.newest or rows) and (pending is None or pending.version < status.newest):
            await _alarm(app, actor, client_id, KekFinding.UNKNOWN, f"{status.kek_id}:{status.newest}")
            step = "Find out who made this version, then `byokeep kek rotate CLIENT --past VERSION`: docs/keys.md."
            raise Integrity(KekFinding.UNKNOWN.value, next_step=step, version=status.newest)
        try:
            if pending is not None and pending.version > 1:  # a rotation was cut; until it goes on nothing is protected
                raise Conflict("kek_version_moved", expected=pending.version, newest=status.newest)
            await _make(app, actor, keys, status, client_id, expected=0, reason="made")
        except Conflict as error:
            if error.code not in ("kek_version_moved", "key_moved"):
                raise
    raise Unavailable("kek_busy", next_step="Somebody else is working on this key. Try again.")


async def confirm(app: App, actor: Actor, keys: TransitKeys, scope: KekScope, made: Kek) -> str:
    """Return the identity of an announced version once a throw-away key passes both ways (SP 800-57 part 1, 7.1).

    That key is random, belongs to no profile, guards nothing and is wiped. It must have been wrapped by the
    announced version, come back unchanged, and come back for no other profile.

    Args:
        keys: Under a custody lease of the scope's client.
        made: The row of the version, announced and not active.

    Raises:
        Integrity: ``kek_unconfirmed``: it wraps under another version, loses what it was given, or does not tell one
            profile from another; an alert is raised beside it.
        Rejected: A code of :class:`byokeep.core.kek.KekFault`.
        Unavailable, Denied: OpenBao; nothing is known.
    """
    shown = {one.number: one for one in (await compared(app, keys, scope)).versions}.get(made.version)
    if shown is not None and shown.fault is not None:
        raise rules.unusable(shown.fault)
    if shown is not None and await _confirmed(app, keys, scope, made):
        return shown.identity
    await _alarm(app, actor, scope.client_id, UNCONFIRMED, f"{made.kek_id}:{made.version}")
    raise Integrity(UNCONFIRMED, next_step="Seal nothing until somebody has looked at OpenBao.", version=made.version)


async def _confirmed(app: App, keys: TransitKeys, scope: KekScope, made: Kek) -> bool:
    own, other = (  # of profiles that there are not
        KeyContext(environment=app.environment, client_id=scope.client_id, profile_id=app.ids.uuid()) for _ in range(2)
    )
    with Secret(secrets.token_bytes(rules.DEK_BYTES)) as probe:
        wrapped = await keys.wrap(probe, own)
        if (wrapped.kek_id, wrapped.kek_version) != (made.kek_id, made.version):
            return False
        try:
            back = await keys.unwrap(wrapped, own)
        except Integrity:
            return False
        same = back.matches(probe)
        back.wipe()
        if not same:
            return False
        try:
            (await keys.unwrap(wrapped, other)).wipe()
        except Integrity:
            return True
        return False


async def rotate(app: KekApp, actor: Actor, client_id: ClientId, *, expected: int, reason: str) -> Rotation | None:
    """Make the version after ``expected``. From then on the older ones only open, and their wrapped keys begin to move.

    Args:
        client_id: Whose key; any client for a key that guards all.
        expected: The version that was active when it was asked for; 0 = make the first. One that OpenBao has made and
            no row stands for, because whoever asked named it: it counts as compromised, and those before it.
        reason: A code.

    Returns:
        The rotation; None for the first version, and if this was done before.

    Raises:
        Rejected: A code of :class:`byokeep.core.kek.KekFault`: a new version would hide what was done outside.
        Conflict: ``kek_version_moved``, ``kek_rotation_under_way``.
        Integrity: ``kek_unconfirmed``: as :func:`confirm`.
        Unavailable: The holder.
    """
    scope = KekScope(environment=app.environment, client_id=client_id)
    async with custody_of(app, actor, client_id) as custody:
        status = await compared(app, custody.keys, scope)
        if status.faults:
            raise rules.unusable(status.faults[0])
        if not status.newest:
            await prepare(app, actor, custody.keys, client_id)
            return None
        return await _make(app, actor, custody.keys, status, client_id, expected=expected, reason=reason)


async def _make(
    app: App, actor: Actor, keys: TransitKeys, status: KekStatus, client_id: ClientId, *, expected: int, reason: str
) -> Rotation | None:
    """Make the version after ``expected``: announce it, make it, confirm it, turn to it. A cut one continues."""
    scope = KekScope(environment=app.environment, client_id=client_id)
    made = await _announced(app, actor, scope, status, expected)
    if made is None:
        return None
    if actor.id == app.installation_id:  # whoever asked for a rotation that was cut does not end the old version alone
        actor = _in_name_of(made.changed_by, actor.request_id)
    if status.newest < made.version or status.min_encryption < made.version:
        await keys.rotate(scope, expected=expected)
    identity = await confirm(app, actor, keys, scope, made)
    async with app.db.begin(client_id=client_id) as tx:
        return await _turn(tx, app, actor, made, identity, reason=reason)


async def _announced(app: App, actor: Actor, scope: KekScope, status: KekStatus, expected: int) -> Kek | None:
    async with app.db.begin(every_client=True) as tx:
        await tx.all(None, "kek_lock", kek_id=status.kek_id)
        rows = await kek.versions(tx, kek_id=status.kek_id)
        last = next((row for row in reversed(rows) if row.state is not KeyState.PRE_ACTIVATION), None)
        newest = 0 if last is None else last.version
        if newest > expected:
            return None
        if newest < expected == status.newest:  # whoever asked named it
            await _count_as_compromised(tx, app, actor, scope, status, _states(rows))
            newest = expected
        elif last is not None and await kek.held_up(tx, last):
            raise Conflict("kek_rotation_under_way", next_step="Wait until its rewrap ends: `byokeep kek status`.")
        if status.newest not in (expected, expected + 1) or newest != expected:
            raise Conflict("kek_version_moved", expected=expected, newest=status.newest)
        if status.newest == expected + 1 and not any(row.version == status.newest for row in rows):
            await open_alert(tx, app, actor, reason=KekFinding.UNKNOWN.value, client_id=scope.client_id,
                             object_id=scope.client_id)  # fmt: skip
            raise Conflict("kek_version_moved", expected=expected, newest=status.newest)
        return await kek.announce(tx, app, actor, kek_id=status.kek_id, version=expected + 1, client_id=scope.client_id)


async def _count_as_compromised(
    tx: Tx, app: App, actor: Actor, scope: KekScope, status: KekStatus, ours: dict[int, KeyState]
) -> None:
    """Enter what somebody made at OpenBao, or what became of a version that was only announced, as compromised."""
    for number in sorted({one.number for one in status.versions} | set(ours)):
        if ours.get(number, KeyState.PRE_ACTIVATION) is KeyState.PRE_ACTIVATION:
            found = await kek.announce(tx, app, actor, kek_id=status.kek_id, version=number, client_id=scope.client_id)
            await kek.move(tx, app, actor, found, to=KeyState.COMPROMISED, reason=KekFinding.UNKNOWN.value)


async def _turn(tx: Tx, app: App, actor: Actor, made: Kek, identity: str, *, reason: str) -> Rotation | None:
    """In one transaction the new version protects, older ones only open, and a rotation begins (not for the first)."""
    now = await kek.held(tx, kek_id=made.kek_id, version=made.version)
    if now.state is not KeyState.PRE_ACTIVATION:
        return None
    await kek.pin(tx, now, identity)
    await kek.move(tx, app, actor, now, to=KeyState.ACTIVE, reason=reason)
    await kek.note(tx, EventName.KEK_MADE, actor, now, Outcome.OK, **kek.made_fields(now))
    if made.version == 1:
        return None
    for old in await kek.versions(tx, kek_id=made.kek_id):
        if old.version < made.version and old.state in (KeyState.ACTIVE, KeyState.SUSPENDED):
            await kek.move(tx, app, actor, old, to=KeyState.DEACTIVATED, reason="rotated")
    rotation = await tx.one(
        Rotation, "kek_rotation_start", id=app.ids.uuid(), client_id=made.client_id, holder=TRANSIT,
        kek_id=made.kek_id, from_version=made.version - 1, to_version=made.version, reason=reason, started_by=actor.id,
    )  # fmt: skip
    rotation = await tx.one(Rotation, "kek_rotation_get", id=rotation.id)
    await kek.note(tx, EventName.KEK_ROTATED, actor, now, from_version=made.version - 1,
                         rotation=rotation.id, count=rotation.remaining)  # fmt: skip
    await hand_out(tx, rotation, actor)
    return rotation


async def check(app: KekApp, actor: Actor, client_id: ClientId) -> tuple[Difference, ...]:
    """Compare a client's KEK with its holder, and every key's moves with its row. Findings are alerts, on record.

    Raises:
        Unavailable: The holder could not be asked. That is on record too; nothing is known.
    """
    scope = KekScope(environment=app.environment, client_id=client_id)
    try:
        async with custody_of(app, actor, client_id) as custody:
            status, rows = await _seen(app, custody.keys, scope)
    except ByokeepError:
        async with app.db.begin(every_client=True) as tx:
            for last in (await kek.versions(tx, ids=[client_id]))[-1:]:
                await kek.note(tx, EventName.KEK_CHECKED, actor, last, Outcome.FAILED, found=0, cause="unknown")
        raise
    await _pin(app, status, rows)
    found = list(rules.differences(status, _states(rows)))
    found += [
        Difference(version=row.version, finding=KekFinding.HISTORY) for row in rows if not await _proved(app, row)
    ]
    async with app.db.begin(every_client=True) as tx:
        broken = await tx.all(dict, "deks_with_broken_history", ids=[client_id], limit=None)
        for row in broken:
            await open_alert(tx, app, actor, reason="dek_history_broken", client_id=row["client_id"],
                              object_id=row["profile_id"], key=f"dek_history_broken:{row['dek_id']}")  # fmt: skip
    for one in found:
        await _alarm(app, actor, client_id, one.finding, f"{status.kek_id}:{one.version}")
    if rows:
        cause = found[0].finding.value if found else "dek_history_broken" if broken else "match"
        outcome = Outcome.FAILED if found or broken else Outcome.OK
        async with app.db.begin(client_id=rows[-1].client_id) as tx:
            await kek.note(tx, EventName.KEK_CHECKED, actor, rows[-1], outcome, count=len(rows),
                                 found=len(found) + len(broken), cause=cause)  # fmt: skip
    return tuple(found)


async def _seen(app: App, keys: TransitKeys, scope: KekScope) -> tuple[KekStatus, list[Kek]]:
    """Return what OpenBao shows, and the rows of the same time: a version made or ended meanwhile is no difference."""
    while True:
        before, status = _states(await _rows(app, scope.tenant_kek)), await compared(app, keys, scope)
        if _states(rows := await _rows(app, scope.tenant_kek)) == before:
            return status, rows


def _states(rows: list[Kek]) -> dict[int, KeyState]:
    return {row.version: row.state for row in rows}


async def _pin(app: KekApp, status: KekStatus, rows: list[Kek]) -> None:
    shown = {one.number: one.identity for one in status.versions if one.fault is None}
    for row in rows:
        if row.version in shown and not row.identity and row.state in rules.STILL_THERE:
            async with app.db.begin(client_id=row.client_id) as tx:
                await kek.pin(tx, row, shown[row.version])


async def _proved(app: KekApp, row: Kek) -> bool:
    at = {"kek_id": row.kek_id, "version": row.version}
    async with app.db.begin(every_client=True) as tx:
        moves = await tx.all(kek.KekMove, "kek_transitions", **at)
        records = await tx.one(int, "kek_moves_on_record", client_id=row.client_id, **at)
    steps = [(one.state_from, one.state_to) for one in moves]
    return records == len(moves) and rules.follows(KeyState.PRE_ACTIVATION, steps, row.state.value)


async def end_versions(
    app: KekApp, actor: Actor, client_id: ClientId, *, kek_id: str, holder: str, version: int, reason: str
) -> int:
    """Make a version, and those before it, open nothing any more; returns how many rows became tombstones.

    Raises:
        Denied: ``same_person``.
        NotFound: ``not_found``, for a key that is not this client's.
        Conflict: ``kek_has_dependents`` with the count.
        Rejected: ``key_state``; ``bad_kek_version``: the newest stays; ``kek_foreign``: another key is in its place.
        Unavailable: The holder; nothing was ended.
    """
    scope = KekScope(environment=app.environment, client_id=client_id)
    # Whoever can write to the queue chooses the arguments of a task.
    if (holder, kek_id) != (TRANSIT, scope.tenant_kek):
        raise NotFound("not_found")
    async with app.db.begin(every_client=True) as tx:  # again: a version may have been moved since it was asked for
        await kek.require_another(tx, actor, kek_id, version)
        await kek.refuse_dependents(tx, holder, kek_id, version)
    async with custody_of(app, actor, client_id) as custody:
        status = await compared(app, custody.keys, scope)
        if any(one.fault is KekFault.FOREIGN for one in status.versions if one.number <= version):
            raise rules.unusable(KekFault.FOREIGN)  # ours would live on elsewhere, and its row would call it destroyed
        await custody.keys.retire(scope, below=version + 1)
    ended = 0
    for row in await _rows(app, kek_id):
        if row.version <= version and row.state is not KeyState.DESTROYED:
            async with app.db.begin(client_id=row.client_id) as tx:
                now = await kek.held(tx, kek_id=kek_id, version=row.version)
                await kek.move(tx, app, actor, now, to=KeyState.DESTROYED, reason=reason)
                ended += 1
    return ended


async def _alarm(app: App, actor: Actor, client_id: UUID, reason: str, place: str) -> None:
    async with app.db.begin(client_id=client_id) as tx:
        await open_alert(tx, app, actor, reason=str(reason), client_id=client_id, object_id=client_id,
                         key=f"{reason}:{place}")  # fmt: skip


async def _rows(app: App, kek_id: str) -> list[Kek]:
    return await app.db.read(Kek, "keks_list", {"ids": None, "kek_id": kek_id, "limit": None}, every_client=True)


CHECK_EVERY_S: Final = 3600
_AT_ONCE: Final = 50


async def care(app: KekApp) -> int:
    """Do everything that is due; returns how many acts.

    Raises:
        Unavailable: The database is away.
    """
    return await go_on(app) + await compare(app) + await tell_due(app)


async def go_on(app: KekApp) -> int:
    """Hand on cut and open rotations; returns how many clients."""
    handed = 0
    cut = await app.db.read(ClientId, "kek_rotations_cut", {"limit": _AT_ONCE}, every_client=True)
    for client_id in cut:
        with suppress(ByokeepError):  # it waits already, or its client is suspended
            async with app.db.begin(every_client=True) as tx:
                await hand_rotation(tx, app.system(), client_id, reason="cut_off")
            handed += 1
    async with app.db.begin(every_client=True) as tx:
        for rotation in await kek.under_way(tx):
            handed += await hand_out(tx, rotation, app.system())
    return handed


async def compare(app: KekApp) -> int:
    """Compare the keys that have not been compared for a while, and tidy up after their rotations; returns how many."""
    asked = {"within_s": CHECK_EVERY_S, "limit": _AT_ONCE}
    found = await app.db.read(ClientId, "keks_to_check", asked, every_client=True)
    for client_id in found:
        for act in (check, check_places):
            with suppress(ByokeepError):  # on record, and tried again
                await act(app, app.system(), client_id)
    return len(found)


async def tell_due(app: KekApp) -> int:
    """Raise alerts about rotations that are due or overdue; returns how many keys."""
    told = 0
    async with app.db.begin(every_client=True) as tx:
        rows = await kek.versions(tx)
        newest = {row.kek_id: row for row in rows if row.state is not KeyState.PRE_ACTIVATION}
        for row in newest.values():
            due_at = rules.rotation_due(row.made_at, app.limits.kek_rotation_days, row.protect_until)
            if how := rules.urgency(row.now, due_at, row.protect_until):
                told += 1
                await open_alert(
                    tx, app, app.system(), reason=f"kek_{how}", client_id=row.client_id, object_id=row.client_id,
                    severity="critical" if how == "overdue" else "warning", key=f"kek_{how}:{row.kek_id}:{row.version}",
                )  # fmt: skip
    return told


@asynccontextmanager
async def _told(app: KekApp, actor: Actor, client_id: ClientId) -> AsyncIterator[None]:
    """Raise an alert about a request that was refused at OpenBao: whoever asked has left by then."""
    try:
        yield
    except Unavailable:
        raise
    except ByokeepError as error:
        await _alarm(app, actor, client_id, "kek_not_moved", f"{client_id}:{error.code}")


_TRIES: Final = 5


def _in_name_of(person: UUID, request_id: UUID) -> Actor:
    """Return a person as a worker's actor, with no more rights than the worker has."""
    return Actor(id=person, roles=frozenset({Role.SYSTEM}), clients=None, request_id=request_id)


async def asked(app: KekApp, task: str, verb: Verb, **ids: str) -> Actor:
    """Return the person who asked for a task with these arguments.

    Raises:
        Integrity, Unavailable: As :func:`byokeep.kernel.asking.require_asked`.
    """
    client_id, by = UUID(ids["client_id"]), UUID(ids["asked_by"])
    said = {"verb": verb.value, "task": digest_of(task, ids)}
    await require_asked(app, client_id, client_id, by=by, roles=verb.roles, said=said, clock=task == kek.ROTATE_TASK)
    return _in_name_of(by, UUID(ids["request_id"]))


def register(queue: Queue, app: KekApp) -> None:
    """Make the tasks known to a queue that is not yet opened."""
    retry = RetryStrategy(max_attempts=_TRIES - 1, exponential_wait=2, retry_exceptions={Unavailable})
    # Without an end, for nobody hears of it: whoever asked has left, and no round would take it up.
    until_done = RetryStrategy(wait=2, linear_wait=10, retry_exceptions={Unavailable})

    @queue.task(name=kek.ROTATE_TASK, retry=until_done)
    async def rotate_task(**ids: str) -> None:
        client = ClientId(UUID(ids["client_id"]))
        with span("kek_rotate"):
            actor = await asked(app, kek.ROTATE_TASK, Verb.KEK_ROTATE, **ids)
            async with _told(app, actor, client):
                made = await rotate(app, actor, client, expected=int(ids["expected"]), reason=ids["reason"])
                get_log().info("kek_rotated", tenant=client, outcome="rotated" if made else "made")

    @queue.task(name=kek.REWRAP_TASK, retry=retry)
    async def rewrap_task(*, rotation_id: str, client_id: str, asked_by: str) -> None:
        del asked_by  # the rotation's row, which only workers write, says who asked for it
        client = ClientId(UUID(client_id))
        with span("kek_rewrap"):
            async with app.db.begin(every_client=True) as tx:
                rotation = await tx.one(Rotation, "kek_rotation_get", id=UUID(rotation_id))
            moved = await rewrap(app, _in_name_of(rotation.started_by, app.ids.uuid()), rotation.id, client)
        get_log().info("kek_rewrapped", tenant=client, count=moved)

    @queue.task(name=kek.CHECK_TASK, retry=retry)
    async def check_task(**ids: str) -> None:
        client = ClientId(UUID(ids["client_id"]))
        with span("kek_check"):
            actor = await asked(app, kek.CHECK_TASK, Verb.KEK_CHECK, **ids)
            strays = await check_places(app, actor, client)
            found = await check(app, actor, client)
        get_log().info("kek_checked", tenant=client, count=len(found) + len(strays))

    @queue.task(name=kek.END_TASK, retry=until_done)
    async def end_task(**ids: str) -> None:
        client = ClientId(UUID(ids["client_id"]))
        with span("kek_end"):
            actor = await asked(app, kek.END_TASK, Verb.KEK_END, **ids)
            async with _told(app, actor, client):
                about = {"kek_id": ids["kek_id"], "holder": ids["holder"], "reason": ids["reason"]}
                ended = await end_versions(app, actor, client, version=int(ids["version"]), **about)
                get_log().info("kek_ended", tenant=client, count=ended)

    @queue.periodic(cron=EVERY_MINUTE)
    @queue.task(name="kek_care", queueing_lock="kek_care", lock="kek_care")
    async def care_task(timestamp: int) -> None:
        with span("kek_care", epoch=timestamp):
            done = await care(app)
        if done:
            get_log().info("keks_cared_for", count=done)
