"""What a worker does with a key-encryption key: makes it, rotates it, compares it with OpenBao, ends old versions.

Rules
- A version has its row before OpenBao makes it, and protects nothing before the row says active (S-NIST-13), which
  it does when the version was confirmed (:func:`confirm`). Which key it is stands in the row from then on; the
  versions of an older installation get it at the first check that finds nothing wrong with them.
- Each step can be cut anywhere and begun again: what OpenBao shows and what the rows say tell where it stood.
- A version that was made, taken away, exchanged or opened up outside is a finding with an alert, and is not worked
  around.
- An old version is ended only when nothing hangs on it (R6.1-8); its row stays, as its tombstone.

It may not move a wrapped key: :mod:`.kek_rewrap` does.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.kek import DEK_BYTES, TRANSIT, KekFault, KekScope, KekStatus, KeyContext, check_provider, unusable
from byokeep.core.kek_life import OPENS, Difference, KekFinding, KnownVersion, differences, follows
from byokeep.core.key_periods import may_protect
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, ClientId
from byokeep.core.secret import Secret
from byokeep.kernel.app import App
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import Tx
from byokeep.profiles import kek_book
from byokeep.profiles.kek_app import KekApp, custody_of
from byokeep.profiles.kek_book import Kek, Rotation
from byokeep.profiles.kek_rewrap import hand_out

if TYPE_CHECKING:
    from byokeep.sealing.transit import TransitKeys

UNCONFIRMED: Final = "kek_unconfirmed"
_TWICE: Final = 2


async def compared(app: App, keys: TransitKeys, scope: KekScope) -> KekStatus:
    """Return the KEK as OpenBao shows it; another key in the place of one of our versions is a fault of that version.

    What a version was made with stands in its row (its ``identity``), written when it was confirmed and never again: a
    name is anybody's who has rights there. A version that ended is not compared: that it is back is its own finding.
    """
    status = await keys.versions(scope)
    pins = {row.version: row.identity for row in await _rows(app, status.kek_id) if row.state is not KeyState.DESTROYED}
    return replace(status, versions=tuple(
        replace(one, fault=KekFault.FOREIGN)
        if one.fault is None and (pins.get(one.number) or one.identity) != one.identity else one
        for one in status.versions
    ))  # fmt: skip


async def prepare(app: App, actor: Actor, keys: TransitKeys, client_id: ClientId, *, owner: str = "operations") -> Kek:
    """Return the version that may protect a client's new keys, making the first one if there is none.

    Raises:
        Rejected: ``key_state``, ``key_period_over``; a code of :class:`byokeep.core.kek.KekFault`.
        Integrity: ``kek_unknown_outside``: the holder has a version that nobody here made; ``kek_unconfirmed``.
        Unavailable: The holder.
    """
    scope = KekScope(environment=app.environment, client_id=client_id)
    for _ in range(_TWICE):  # somebody else may be making it in this moment
        status = await compared(app, keys, scope)
        if status.faults:
            raise unusable(status.faults[0])
        try:
            kek = await _usable(app, actor, keys, scope, status, owner)
        except Conflict as error:
            if error.code not in ("kek_version_moved", "key_moved"):
                raise
            continue
        may_protect(kek.state, kek.now, kek.periods)
        return kek
    raise Unavailable("kek_busy", next_step="Somebody else works on this key; try again.")


async def _usable(app: App, actor: Actor, keys: TransitKeys, scope: KekScope, status: KekStatus, owner: str) -> Kek:
    rows = await _rows(app, status.kek_id)
    pending = next((row for row in rows if row.state is KeyState.PRE_ACTIVATION), None)
    if not status.newest and not any(row for row in rows if row is not pending):
        return await _make(app, actor, keys, scope, status, owner)
    if pending is not None and pending.version == status.newest == 1:  # made, and cut before it was activated
        return await _activate(app, actor, keys, scope, pending)
    known = next((row for row in rows if row.version == status.newest and row is not pending), None)
    if known is None and pending is not None:  # a rotation was cut; until it goes on nothing is protected
        raise Conflict("kek_version_moved", expected=pending.version, newest=status.newest)
    if known is None:
        await _alarm(app, actor, status.kek_id, scope.client_id, status.newest, KekFinding.UNKNOWN)
        raise Integrity(KekFinding.UNKNOWN.value,
            next_step="Somebody made a version outside; see `byokeep kek status`.",
                        version=status.newest)  # fmt: skip
    return known


async def _make(app: App, actor: Actor, keys: TransitKeys, scope: KekScope, status: KekStatus, owner: str) -> Kek:
    async with app.db.begin(client_id=scope.client_id) as tx:
        await tx.all(None, "kek_lock", kek_id=status.kek_id)
        kek = await kek_book.announce(tx, app, actor, kek_id=status.kek_id, version=1, client_id=scope.client_id,
                                      owner=owner)  # fmt: skip
    await keys.rotate(scope, expected=0)
    return await _activate(app, actor, keys, scope, kek)


async def _activate(app: App, actor: Actor, keys: TransitKeys, scope: KekScope, kek: Kek) -> Kek:
    identity = await confirm(app, actor, keys, scope, kek)
    async with app.db.begin(client_id=scope.client_id) as tx:
        await tx.all(None, "kek_lock", kek_id=kek.kek_id)
        now = await kek_book.held(tx, kek_id=kek.kek_id, version=kek.version)
        if now.state is KeyState.PRE_ACTIVATION:
            await kek_book.pin(tx, now, identity)
            await kek_book.move(tx, app, actor, now, to=KeyState.ACTIVE, reason="made")
            await tx.append(kek_book.event(EventName.KEK_MADE, actor, now, Outcome.OK, **kek_book.made_fields(now)))
        return await kek_book.held(tx, kek_id=kek.kek_id, version=kek.version)


async def confirm(app: App, actor: Actor, keys: TransitKeys, scope: KekScope, made: Kek) -> str:
    """Return the identity of an announced version when a throw-away key goes there and back (SP 800-57 part 1, 7.1).

    What goes through is random, belongs to no profile, guards nothing and is wiped. It must have been wrapped by the
    announced version, come back as it was, and come back for no other profile.

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
        raise unusable(shown.fault)
    if shown is not None and await _confirmed(app, keys, scope, made):
        return shown.identity
    async with app.db.begin(every_client=True) as tx:
        await open_alert(tx, app, actor, reason=UNCONFIRMED, client_id=scope.client_id, object_id=scope.client_id,
                          key=f"{UNCONFIRMED}:{made.kek_id}:{made.version}")  # fmt: skip
    raise Integrity(UNCONFIRMED, next_step="Seal nothing until somebody has looked at OpenBao.",
                    version=made.version)  # fmt: skip


async def _confirmed(app: App, keys: TransitKeys, scope: KekScope, made: Kek) -> bool:
    own, other = (_context(app, scope) for _ in range(2))
    probe = Secret(secrets.token_bytes(DEK_BYTES))
    try:
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
    finally:
        probe.wipe()


def _context(app: App, scope: KekScope) -> KeyContext:
    """Of a profile that there is not."""
    return KeyContext(environment=app.environment, client_id=scope.client_id, profile_id=app.ids.uuid())


async def rotate(app: KekApp, actor: Actor, client_id: ClientId, *, expected: int, reason: str) -> Rotation | None:
    """Make the version after ``expected``; the older one opens only from then on, and its wrapped keys begin to move.

    Args:
        client_id: Whose key, or any client of a key that guards all.
        expected: The version that was active when it was asked for; 0 = the first is made.
        reason: A code.

    Returns:
        The rotation; None for the first version, and when this was done before.

    Raises:
        Rejected: A code of :class:`byokeep.core.kek.KekFault`: a new version would hide what was done outside.
        Conflict: ``kek_version_moved``, ``kek_rotation_under_way``.
        Integrity: ``kek_unconfirmed``: as :func:`confirm`.
        Unavailable: The holder.
    """
    scope = KekScope(environment=app.environment, client_id=client_id)
    async with custody_of(app, actor, client_id) as custody:
        keys = custody.keys
        status = await compared(app, keys, scope)
        if status.faults:
            raise unusable(status.faults[0])
        if not status.newest:
            await prepare(app, actor, keys, client_id, owner=app.kek_owner)
            return None
        made = await _announced(app, actor, scope, status, expected)
        if made is None:
            return None
        if status.newest < made.version or status.min_encryption < made.version:
            await keys.rotate(scope, expected=made.version - 1)
        identity = await confirm(app, actor, keys, scope, made)
    async with app.db.begin(client_id=client_id) as tx:
        await kek_book.pin(tx, made, identity)
        return await _turn(tx, app, actor, made, reason=reason)


async def _announced(app: KekApp, actor: Actor, scope: KekScope, status: KekStatus, expected: int) -> Kek | None:
    async with app.db.begin(every_client=True) as tx:
        await tx.all(None, "kek_lock", kek_id=status.kek_id)
        rows = await kek_book.versions(tx, kek_id=status.kek_id)
        newest = max((row for row in rows if row.state is not KeyState.PRE_ACTIVATION), key=lambda row: row.version)
        if newest.version > expected:
            return None
        if await kek_book.under_way(tx, kek_id=status.kek_id):
            raise Conflict("kek_rotation_under_way", next_step="Let its rewrap end first: `byokeep kek status`.")
        if status.newest not in (expected, expected + 1) or newest.version != expected:
            raise Conflict("kek_version_moved", expected=expected, newest=status.newest)
        if status.newest == expected + 1 and not any(row.version == status.newest for row in rows):
            await open_alert(tx, app, actor, reason=KekFinding.UNKNOWN.value, client_id=newest.client_id,
                              object_id=scope.client_id)  # fmt: skip
            raise Conflict("kek_version_moved", expected=expected, newest=status.newest)
        return await kek_book.announce(
            tx, app, actor, kek_id=status.kek_id, version=expected + 1, client_id=scope.client_id, owner=app.kek_owner,
        )  # fmt: skip


async def _turn(tx: Tx, app: KekApp, actor: Actor, made: Kek, *, reason: str) -> Rotation | None:
    """The new version protects, the older ones open only, and a rotation begins: all in one."""
    await tx.all(None, "kek_lock", kek_id=made.kek_id)
    now = await kek_book.held(tx, kek_id=made.kek_id, version=made.version)
    if now.state is not KeyState.PRE_ACTIVATION:
        return None
    await kek_book.move(tx, app, actor, now, to=KeyState.ACTIVE, reason=reason)
    await tx.append(kek_book.event(EventName.KEK_MADE, actor, now, Outcome.OK, **kek_book.made_fields(now)))
    for old in await kek_book.versions(tx, kek_id=made.kek_id):
        if old.version < made.version and old.state in (KeyState.ACTIVE, KeyState.SUSPENDED):
            await kek_book.move(tx, app, actor, old, to=KeyState.DEACTIVATED, reason="rotated")
    rotation = await tx.one(
        kek_book.Rotation, "kek_rotation_start", id=app.ids.uuid(), client_id=made.client_id, holder=TRANSIT,
        kek_id=made.kek_id,
        from_version=made.version - 1, to_version=made.version, reason=reason, started_by=actor.id,
    )  # fmt: skip
    rotation = await tx.one(Rotation, "kek_rotation_get", id=rotation.id)
    await tx.append(
        kek_book.event(EventName.KEK_ROTATED, actor, now, from_version=made.version - 1, rotation=str(rotation.id),
                       count=rotation.remaining)
    )  # fmt: skip
    await hand_out(tx, rotation, actor)
    return rotation


async def check(app: KekApp, actor: Actor, client_id: ClientId) -> tuple[Difference, ...]:
    """Compare a client's KEK with its holder, and every key's moves with its row; findings are alerts and on record.

    Raises:
        Unavailable: The holder could not be asked; that is on record too, and nothing is known.
    """
    scope = KekScope(environment=app.environment, client_id=client_id)
    try:
        async with custody_of(app, actor, client_id) as custody:
            status = await compared(app, custody.keys, scope)
    except ByokeepError:
        await _could_not(app, actor, client_id)
        raise
    rows = await _rows(app, status.kek_id)
    await _pin(app, status, rows)
    found = list(differences(status, [KnownVersion(version=row.version, state=row.state) for row in rows]))
    found += [
        Difference(version=row.version, finding=KekFinding.HISTORY) for row in rows if not await _proved(app, row)
    ]
    async with app.db.begin(every_client=True) as tx:
        broken = await tx.all(dict, "deks_with_broken_history", ids=[client_id], limit=kek_book.MANY)
        for row in broken:
            await open_alert(tx, app, actor, reason="dek_history_broken", client_id=row["client_id"],
                              object_id=row["profile_id"], key=f"dek_history_broken:{row['dek_id']}")  # fmt: skip
    for one in found:
        await _alarm(app, actor, status.kek_id, client_id, one.version, one.finding)
    if rows:
        await _on_record(app, actor, rows[-1], found, len(rows), len(broken))
    return tuple(found)


async def _pin(app: KekApp, status: KekStatus, rows: list[Kek]) -> None:
    shown = {one.number: one.identity for one in status.versions if one.fault is None}
    for row in rows:
        if row.version in shown and not row.identity and row.state in OPENS:
            async with app.db.begin(client_id=row.client_id) as tx:
                await kek_book.pin(tx, row, shown[row.version])


async def _could_not(app: KekApp, actor: Actor, client_id: ClientId) -> None:
    async with app.db.begin(every_client=True) as tx:
        for row in (await kek_book.versions(tx, ids=[client_id]))[-1:]:
            failed = kek_book.event(EventName.KEK_CHECKED, actor, row, Outcome.FAILED, found=0, cause="unknown")
            await tx.append(failed)


async def _on_record(app: KekApp, actor: Actor, row: Kek, found: list[Difference], count: int, broken: int) -> None:
    cause = found[0].finding.value if found else "dek_history_broken" if broken else "match"
    async with app.db.begin(client_id=row.client_id) as tx:
        await tx.append(
            kek_book.event(EventName.KEK_CHECKED, actor, row, Outcome.FAILED if found or broken else Outcome.OK,
                           count=count, found=len(found) + broken, cause=cause)
        )  # fmt: skip


async def _proved(app: KekApp, row: Kek) -> bool:
    async with app.db.begin(every_client=True) as tx:
        moves = await tx.all(
            kek_book.KekMove,
            "kek_transitions",
            kek_id=row.kek_id,
            version=row.version,
        )
        records = await tx.one(int, "kek_moves_on_record", client_id=row.client_id, installation=app.installation_id,
                               kek_id=row.kek_id, version=row.version)  # fmt: skip
    steps = [(one.state_from, one.state_to) for one in moves]
    return records == len(moves) and follows(KeyState.PRE_ACTIVATION, steps, row.state.value)


async def end_versions(
    app: KekApp, actor: Actor, client_id: ClientId, *, kek_id: str, holder: str, version: int, reason: str
) -> int:
    """Let a version, and those before it, open nothing any more; returns how many rows became tombstones.

    Raises:
        Denied: ``same_person``.
        Conflict: ``kek_has_dependents`` with the count; ``kek_of_another_holder``.
        Rejected: ``key_state``; ``bad_kek_version``: the newest stays; ``kek_foreign``: another key is in its place.
        Unavailable: The holder; nothing was ended.
    """
    check_provider(holder)
    scope = KekScope(environment=app.environment, client_id=client_id)
    async with app.db.begin(every_client=True) as tx:  # once more: a version may have been moved since it was asked for
        await require_another(tx, actor, kek_id, version)
    await refuse_dependents(app, kek_id=kek_id, version=version)
    async with custody_of(app, actor, client_id) as custody:
        status = await compared(app, custody.keys, scope)
        if any(one.fault is KekFault.FOREIGN for one in status.versions if one.number <= version):
            raise unusable(KekFault.FOREIGN)  # ours would live on elsewhere, and its row would call it destroyed
        await custody.keys.retire(scope, below=version + 1)
    ended = 0
    for row in await _rows(app, kek_id):
        if row.version <= version and row.state is not KeyState.DESTROYED:
            async with app.db.begin(client_id=row.client_id) as tx:
                now = await kek_book.held(tx, kek_id=kek_id, version=row.version)
                await kek_book.move(tx, app, actor, now, to=KeyState.DESTROYED, reason=reason)
                ended += 1
    return ended


async def require_another(tx: Tx, actor: Actor, kek_id: str, version: int) -> None:
    """Let pass who stopped none of the versions that an end would take: the end is the second person's part.

    Raises:
        Denied: ``same_person``.
    """
    if actor.id in await tx.all(lambda row: UUID(str(row["by"])), "kek_stopped_by", kek_id=kek_id, version=version):
        raise Denied("same_person", next_step="Another approver must end it.", version=version)


async def refuse_dependents(app: KekApp, *, kek_id: str, version: int) -> None:
    """Let pass when nothing hangs on a version or one before it.

    Raises:
        Conflict: ``kek_has_dependents`` with the count.
    """
    async with app.db.begin(every_client=True) as tx:
        left = await tx.one(int, "kek_dependents_below", holder=TRANSIT, kek_id=kek_id, below=version + 1)
    if left:
        raise dependents_left(left, version)


def dependents_left(count: int, version: int) -> Conflict:
    """Return the refusal to end a version on which something hangs."""
    return Conflict("kek_has_dependents", next_step="Let a rewrap move them first: `byokeep kek rewrap`.",
                    dependents=count, version=version)  # fmt: skip


async def _alarm(app: App, actor: Actor, kek_id: str, client_id: UUID, version: int, finding: KekFinding) -> None:
    async with app.db.begin(every_client=True) as tx:
        await open_alert(tx, app, actor, reason=finding.value, client_id=client_id, object_id=client_id,
                          key=f"{finding.value}:{kek_id}:{version}")  # fmt: skip


async def _rows(app: App, kek_id: str) -> list[Kek]:
    async with app.db.begin(every_client=True) as tx:
        return await kek_book.versions(tx, kek_id=kek_id)
