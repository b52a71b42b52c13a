"""What people see of KEKs and ask for: their state, a rotation, a comparison, an end, a compromise.

Rules
- A worker does what needs OpenBao. What it did is on record with the name of whoever asked.
- A version with dependents is not ended (R6.1-8); the refusal says how many. Ending it takes a different person from
  the one who stopped it from protecting.
- A compromise needs one person, at once. It marks every key that the version ever wrapped. Its plan is done when none
  of them is left (S-NIST-16).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from byokeep.core.errors import Conflict, NotFound, Rejected
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.kek import rotation_due, urgency
from byokeep.core.keystate import KeyState, check_transition
from byokeep.core.model import Actor, ClientId
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb
from byokeep.kernel.app import App
from byokeep.kernel.asking import digest_of
from byokeep.kernel.command import command, open_alert, record
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.profiles import kek, profiles
from byokeep.profiles.kek import Dependent, Kek, KekMove, Rotation
from byokeep.profiles.profiles import Profile
from byokeep.sealing.generation import Generation
from byokeep.tenancy.clients import require_active, scope_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownKek(Kek):
    """A version as people see it.

    Attributes:
        urgency: Of the newest version's rotation: empty, ``due`` or ``overdue``.
        check: The result of the last comparison with its holder; ``unknown`` if there was none, or it failed.
    """

    due_at: datetime
    urgency: str
    check: str
    checked_at: datetime | None


# A version, every key that it ever wrapped and that is not destroyed, and how many it ever wrapped.
KekPlan: TypeAlias = tuple[Kek, list[Dependent], int]


async def status(app: App, actor: Actor) -> tuple[list[ShownKek], list[Rotation]]:
    """Return the versions of the actor's clients' keys, and the rotations, those under way first.

    Raises:
        Denied: ``not_permitted``.
    """
    ids = scope_of(actor)
    async with command(app, actor, Verb.KEK_READ) as tx:
        rows = await tx.all(Kek, "keks_list", ids=ids, kek_id=None, limit=None)
        rotations = await tx.all(Rotation, "kek_rotations", ids=ids, kek_id=None, open=False, limit=100)
        checks = {row["kek_id"]: row for row in await tx.all(dict, "kek_last_check", ids=ids)}
    newest = {row.kek_id: row.version for row in rows if row.state is not KeyState.PRE_ACTIVATION}
    return [_shown(app, row, checks.get(row.kek_id), newest.get(row.kek_id)) for row in rows], rotations


def _shown(app: App, row: Kek, check: Row | None, newest: int | None) -> ShownKek:
    due_at = rotation_due(row.made_at, app.limits.kek_rotation_days, row.protect_until)
    return ShownKek(
        **{name: getattr(row, name) for name in Kek.__dataclass_fields__}, due_at=due_at,
        urgency=urgency(row.now, due_at, row.protect_until) if row.version == newest else "",
        check="unknown" if check is None else str(check["cause"] or "unknown"),
        checked_at=None if check is None else check["at"],
    )  # fmt: skip


async def history(app: App, actor: Actor, kek_id: str, version: int) -> tuple[Kek, list[KekMove]]:
    """Return a version and its moves. Raises Denied; NotFound."""
    found = await _find(app, actor, Verb.KEK_READ, kek_id, version)
    moves = {"kek_id": kek_id, "version": version}
    return found, await app.db.read(KekMove, "kek_transitions", moves, every_client=True)


async def dependents(app: App, actor: Actor, kek_id: str, version: int | None = None) -> list[Dependent]:
    """Return what depends on a version, or on all versions of a key: artifacts, tenants, profiles, accounts (R9.2-2).

    Raises:
        Denied: ``not_permitted``.
        NotFound: No such key for this actor.
    """
    found = await _find(app, actor, Verb.KEK_READ, kek_id, version)
    hang = {"holder": found.holder, "kek_id": kek_id, "version": version, "exposed": False, "limit": None}
    return await app.db.read(Dependent, "kek_dependents", {**hang, "ids": scope_of(actor)}, every_client=True)


async def ask_rotation(app: App, actor: Actor, client_id: ClientId, *, reason: str, past: int | None = None) -> int:
    """Ask for the next version of a client's key; a worker makes it. Returns the version before it, 0 = none.

    Args:
        past: The newest version that OpenBao has and no row stands for: each such version counts as compromised.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Rejected: ``bad_reason``, ``client_not_active``; ``bad_kek_version``: ``past`` is not above the newest
            version that became active.
        Conflict: ``kek_rotation_under_way``; ``kek_rotate_waiting``.
    """
    async with command(app, actor, Verb.KEK_ROTATE, client_id=client_id) as tx:
        check_reason(reason, example="scheduled")
        return await hand_rotation(tx, actor, client_id, reason=reason, past=past)


async def hand_rotation(tx: Tx, actor: Actor, client_id: ClientId, *, reason: str, past: int | None = None) -> int:
    """Do as :func:`ask_rotation` does, in the caller's transaction and under its permission."""
    await require_active(tx, client_id)
    found = await _of_client(tx, client_id)
    expected = 0 if found is None else found.version
    if past is not None:
        if past <= expected:
            raise Rejected("bad_kek_version", next_step="Name a version that has no row in `byokeep kek status`.",
                           newest=expected)  # fmt: skip
        expected = past
    elif found is not None and await kek.held_up(tx, found):
        raise Conflict("kek_rotation_under_way", next_step="Wait until its rewrap ends: `byokeep kek status`.")
    await hand_on(tx, actor, kek.ROTATE_TASK, Verb.KEK_ROTATE, client_id, expected=str(expected), reason=reason)
    return expected


async def ask_rewrap(app: App, actor: Actor, client_id: ClientId) -> Rotation:
    """Hand what a rotation left on older versions to a worker once more.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Conflict: ``nothing_to_rewrap``.
    """
    async with command(app, actor, Verb.KEK_ROTATE, client_id=client_id) as tx:
        newest = await _of_client(tx, client_id)
        found = [] if newest is None else await kek.under_way(tx, kek_id=newest.kek_id)
        if not found:
            raise Conflict("nothing_to_rewrap", next_step="No rotation is under way: `byokeep kek status`.")
        await kek.queue_rewrap(tx, found[0].id, client_id, actor)
        await _asked(tx, actor, Verb.KEK_ROTATE, client_id)
    return found[0]


async def ask_check(app: App, actor: Actor, client_id: ClientId) -> None:
    """Ask for a comparison of a client's key with its holder; :func:`status` shows the result.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    async with command(app, actor, Verb.KEK_CHECK, client_id=client_id) as tx:
        await hand_on(tx, actor, kek.CHECK_TASK, Verb.KEK_CHECK, client_id)


async def ask_end(app: App, actor: Actor, kek_id: str, version: int, *, reason: str) -> Kek:
    """Ask, as a second person, to end an old version and those before it; a worker ends them at the holder.

    Raises:
        Denied: ``not_permitted``; ``same_person``: whoever stopped one of them from protecting cannot end it.
        NotFound: No such version for this actor.
        Rejected: ``bad_reason``; ``key_state``: it still protects.
        Conflict: ``kek_has_dependents`` with the count; ``kek_end_waiting`` with who asked in which request.
    """
    found = await _find(app, actor, Verb.KEK_END, kek_id, version)
    check_reason(reason, example="not_needed")
    said = _named(found, KeyState.DESTROYED)
    async with command(app, actor, Verb.KEK_END, refused_as=EventName.KEK_CHANGED, fields=said) as tx:
        await kek.refuse_dependents(tx, found.holder, kek_id, version)
        check_transition(found.state, KeyState.DESTROYED)
        await kek.require_another(tx, actor, kek_id, version)
        await hand_on(tx, actor, kek.END_TASK, Verb.KEK_END, found.client_id, kek_id=kek_id, holder=found.holder,
                       version=str(version), reason=reason)  # fmt: skip
    return found


async def compromise(app: App, actor: Actor, kek_id: str, version: int, *, reason: str) -> KekPlan:
    """Mark a version compromised: it protects nothing, every key it ever wrapped counts as seen, all are due.

    Raises:
        Denied: ``not_permitted``.
        NotFound: No such version for this actor.
        Rejected: ``bad_reason``; ``key_state``.
        Conflict: ``key_moved``.
    """
    found = await _find(app, actor, Verb.KEK_COMPROMISE, kek_id, version)
    check_reason(reason, example="artifact_store_exposure")
    said = _named(found, KeyState.COMPROMISED)
    # All of it: of a destroyed one it is said once.
    async with command(app, actor, Verb.KEK_COMPROMISE, refused_as=EventName.KEK_CHANGED, fields=said) as tx:
        now = await kek.held(tx, holder=found.holder, kek_id=kek_id, version=version)
        # The rows before the first record, as seals and rewraps take them: or each would wait for the other.
        await tx.all(UUID, "kek_guarded_hold", holder=found.holder, kek_id=kek_id)
        if now.state is KeyState.DESTROYED:
            await kek.compromised_late(tx, actor, now, reason=reason)
        elif now.state is not KeyState.COMPROMISED:
            await kek.move(tx, app, actor, now, to=KeyState.COMPROMISED, reason=reason)
        exposed = await tx.all(Generation, "kek_exposed", holder=found.holder, kek_id=kek_id, version=version)
        for row in exposed:
            await kek.compromise_key(tx, app, actor, row, reason=reason)
        for due in await tx.all(dict, "kek_profiles_due", deks=[row.dek_id for row in exposed]):
            profile = await tx.one(Profile, "profile_get", **due)
            await profiles.note(tx, EventName.PROFILE_DUE, actor, profile, cause="incident", due_at=profile.due_at)
        about = found.client_id
        await open_alert(tx, app, actor, reason="kek_compromised", client_id=about, object_id=about,
                         key=f"kek_compromised:{kek_id}:{version}")  # fmt: skip
    return await plan(app, actor, kek_id, version)


async def plan(app: App, actor: Actor, kek_id: str, version: int) -> KekPlan:
    """Return what a compromise of a version leaves to do, and how much it was; it is done when nothing is left.

    Raises:
        Denied, NotFound: As :func:`dependents`.
        Conflict: ``kek_not_compromised``.
    """
    one = await _find(app, actor, Verb.KEK_READ, kek_id, version)
    if one.compromised_at is None:
        raise Conflict("kek_not_compromised", next_step="See what depends on it: `byokeep kek dependents`.")
    async with app.db.begin(every_client=True) as tx:
        left = await tx.all(
            Dependent, "kek_dependents", holder=one.holder, kek_id=kek_id, version=version, exposed=True, ids=None,
            limit=None,
        )  # fmt: skip
        found = await tx.all(Generation, "kek_exposed", holder=one.holder, kek_id=kek_id, version=version)
    return one, left, len(found)


async def _find(app: App, actor: Actor, verb: Verb, kek_id: str, version: int | None) -> Kek:
    """Return a version, or the newest of a key, to somebody who may do ``verb`` with it."""
    async with command(app, actor, verb, object_id=app.installation_id) as tx:
        rows = await tx.all(Kek, "keks_list", ids=scope_of(actor), kek_id=kek_id, limit=None)
        rows = [row for row in rows if version is None or row.version == version]
        if not rows:
            raise NotFound("not_found")
    return rows[-1]


async def _of_client(tx: Tx, client_id: ClientId) -> Kek | None:
    """Return the version of a client's key that protects now, or did last."""
    rows = await kek.versions(tx, ids=[client_id])
    started = [row for row in rows if row.state is not KeyState.PRE_ACTIVATION]
    return max(started, key=lambda row: (row.made_at, row.version)) if started else None


async def hand_on(tx: Tx, actor: Actor, task: str, verb: Verb, client_id: UUID, **more: str) -> None:
    """Hand something to a worker, recorded as asked for by this actor. One of a kind and client is done at a time.

    Raises:
        Conflict: ``kek_end_waiting`` and its like, with the request that waits; a second check joins the waiting one.
    """
    ids = {"client_id": str(client_id), "asked_by": str(actor.id), "request_id": str(actor.request_id), **more}
    lock = f"{task}:{client_id}"
    # One that is retried gives way to the same alone.
    key = f"{lock}:{more['version']}" if task == kek.END_TASK else lock
    handed = await tx.defer(task, delay_s=0, key=key, lock=lock, **ids)
    if not handed and task != kek.CHECK_TASK:
        last = await tx.maybe(dict, "kek_last_asked", chain=client_id, verb=verb.value) or {}
        raise Conflict(
            f"{task}_waiting", asked_by=last.get("actor_id"), request=last.get("request_id"),
            next_step="A worker has not yet done what was asked before. Look again: `byokeep kek status`.",
        )  # fmt: skip
    await _asked(tx, actor, verb, client_id, task=digest_of(task, ids))


async def _asked(tx: Tx, actor: Actor, verb: Verb, client_id: UUID, *, task: str | None = None) -> None:
    await record(tx, actor, EventName.ACCESS, outcome=Outcome.INTENDED, client_id=client_id, object_id=client_id,
                 verb=verb.value, task=task)  # fmt: skip


def _named(found: Kek, to: KeyState) -> dict[str, FieldValue]:
    return {
        "holder": found.holder, "kek": found.kek_id, "kek_version": found.version, "state_from": found.state.value,
        "state_to": to.value,
    }  # fmt: skip
