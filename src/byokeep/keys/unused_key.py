"""The end of a key that serves nobody and may be alive at its provider: a new one that its rotation gave up, and the
one that an incident called compromised; and the order of the steps of this and of each way to rotate.

Rules
- A rotation gives a new key up when it is aborted or rolled back, when another value takes its place, and when a leak
  takes the rotation's place.
- A value that the provider refuses, when it is taken away, needs no more. Any other is a task with a date, and an
  alert, until a call proves that the key is dead; then its value is destroyed.
- A worker revokes it where it can; else a person does, on the provider's page, or says on record that the key stays
  alive because it is meant for something else.
- A value that was brought again meanwhile is the new version's to look after.
- An emergency rotation whose key was called compromised or retired meanwhile goes on to the proof that it is dead:
  nothing is served under that reference again, so that no new value is waited for.

It may not end a key that serves or waits anywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from byokeep.core.errors import Conflict
from byokeep.core.events import EventName
from byokeep.core.model import Actor
from byokeep.core.policy import Verb
from byokeep.core.procedure import Fields, Procedure, Run, Step
from byokeep.kernel import procedures
from byokeep.kernel.app import App, WorkerApp
from byokeep.kernel.ports import Tx
from byokeep.keys import mint, old_version, rotation, rotation_steps
from byokeep.keys.refs import ref_from
from byokeep.keys.rotation import DEAD, STAYS_ALIVE, KeyRotation


async def _dropped(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """As :func:`old_version.dropped`; what may be alive at the provider gets a run of its own to end it."""
    if run.version in (0, *run.old):
        return await old_version.dropped(app, actor, run)
    about = rotation.unused_id(run.id, run.version)
    async with app.db.begin(client_id=run.client_id) as tx:
        ref = await tx.one(ref_from, "ref_get", id=run.object_id)
        begun: Run | None = await tx.maybe(Run, "procedure_get", id=about)
    if ref.version == run.version and ref.state not in rotation.OVER:  # there was no way back
        return await old_version.dropped(app, actor, run)
    if begun is None:
        note = await rotation_steps.asked(app, run, run.version)
        if note is None or note.status in DEAD:
            return await old_version.dropped(app, actor, run)
        async with app.db.begin(client_id=run.client_id) as tx:
            begun = await rotation.left_alive(tx, app, actor, run, run.version, alive=True)
    fields = await old_version.dropped(app, actor, run, keep=True)
    if begun is not None:
        await procedures.wake(app, begun)
    return fields


async def end_leaked(tx: Tx, app: App, actor: Actor, incident_id: UUID, ref_id: UUID) -> Run:
    """Begin to end the key of a reference that serves nobody any more, or return what was begun for this incident.

    It is not left alive for jobs that hold it. The caller holds the incident and wakes the run.
    """
    ref = await tx.one(ref_from, "ref_get", id=ref_id)
    if (run := await tx.maybe(Run, "procedure_get", id=rotation.unused_id(incident_id, ref.version))) is not None:
        return run
    open_ = await rotation.in_flight(tx, ref.client_id, ref_id)
    if open_ is not None and open_.overlaps:  # which of the two leaked nobody knows
        await rotation.end_old_now(tx, app, actor, open_)
    facts = {"pinned_at": rotation.stamp(datetime.fromtimestamp(0, UTC))}
    at = ref.client_id, ref_id, ref.provider.value, ref.version
    return await rotation.end_unused(tx, app, actor, incident_id, *at, facts=facts)


def _unless_kept(act: Callable[..., Awaitable[Fields | None]]) -> Callable[..., Awaitable[Fields | None]]:
    """Do a step unless a person said that the key stays alive, or the reference has its value again."""

    async def done(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
        async with app.db.begin(every_client=True) as tx:
            again = await tx.all(UUID, "fingerprint_serves", ref_id=run.object_id, version=run.from_version)
        if run.object_id in again:
            return {"cause": "brought_again"}
        if await rotation.accepted(app, run, STAYS_ALIVE):
            return {"cause": STAYS_ALIVE}
        return await act(app, actor, run)

    return done


async def _revoked(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """As of an old key, unless somebody has ended it at the provider already."""
    note = await rotation_steps.asked(app, run, run.from_version)
    if note is not None and note.status in DEAD:
        return {"cause": "dead_already", "from_version": run.from_version}
    try:
        return await old_version.revoked(app, actor, run)
    except Conflict as error:
        if note is not None or error.code != "revoke_by_hand":
            raise
    return await old_version.proved_dead(app, actor, run, run.from_version)  # its value is gone


async def _taken_back(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """As :func:`mint.take_back`; without an administrator's key people are told, and the key gets a run of its own. So
    does one that serves elsewhere.
    """
    try:
        return await mint.take_back(app, actor, run)
    except Conflict as error:
        if error.code not in ("admin_key_missing", mint.SERVES_ELSEWHERE):
            raise
        if error.code == "admin_key_missing":
            await old_version.not_ended(app, actor, run, error)
    return await _dropped(app, actor, run)


def _unless_over(step: Step) -> Step:
    """Pass a step towards a new value when the reference is over; a run of its own ends a value that waited there."""
    act, apply = step.act, step.apply

    async def done(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
        async with app.db.begin(client_id=run.client_id) as tx:
            over = await _is_over(tx, run)
        if not over:
            return None if act is None else await act(app, actor, run)
        if step.name == "cutover":
            await _dropped(app, actor, run)
        return {"provider": run.provider.value, "from_version": run.from_version, "cause": "reference_ended"}

    async def applied(tx: Tx, actor: Actor, run: KeyRotation) -> Fields:
        if apply is None or await _is_over(tx, run):
            return {}
        return await apply(tx, actor, run)

    return replace(step, act=done, apply=None if apply is None else applied)


async def _is_over(tx: Tx, run: KeyRotation) -> bool:
    return (await tx.one(ref_from, "ref_get", id=run.object_id)).state in rotation.OVER


def _of_versions(run: Run, fields: Mapping[str, Any]) -> bool:
    """Whether a record speaks of the versions that the row goes by."""
    return all(fields[name] == run.facts.get(name) for name in ("version", "from_version") if name in fields)


_step: Final = partial(Step, evidence=EventName.KEY_ROTATION)
_CREATE: Final = _step(
    name="create", act=rotation_steps.created, undo=_dropped, verb=Verb.KEY_WRITE, proves=_of_versions
)
_VERIFY: Final = _step(name="verify", act=rotation_steps.verified)
_CUT: Final = _step(
    name="cutover", act=rotation_steps.cutting, apply=rotation_steps.pin, undo=rotation_steps.unpin, proves=_of_versions
)
_REVOKE: Final = _step(name="revoke", act=old_version.revoked, proves=_of_versions)
_END: Final = (_step(name="prove_dead", act=old_version.dead), _step(name="destroy", act=old_version.destroyed))
_STOP: Final = _step(name="stop", act=rotation_steps.stopped, undo=rotation_steps.serve_old, verb=Verb.KEY_WRITE)
_SERVE: Final = _step(name="serve", act=rotation_steps.served)
ROTATE_KEY: Final = Procedure(
    name=rotation.ROTATE, shape=KeyRotation, verb=Verb.KEY_WRITE, abortable=lambda run: not run.facts.get("leaked"),
    no_return="revoke", ends=rotation.may_go_back, look=rotation.look,
    steps=(_CREATE, _VERIFY, _step(name="rehearse", act=rotation_steps.rehearsed), _CUT,
           _step(name="soak", act=rotation_steps.soaked, wait=rotation.grace_of), _REVOKE, *_END),
)  # fmt: skip
# A worker makes the new key.
ROTATE_KEY_MINTED: Final = replace(
    ROTATE_KEY, name=rotation.MINTED,
    steps=(_step(name="create", act=mint.minted, undo=_taken_back, alone=True),
           _step(name="verify", act=mint.verified), *ROTATE_KEY.steps[2:]),
)  # fmt: skip
# Where a new key ends the old one at once: nobody gets it while the client makes another one.
ROTATE_KEY_CUTOVER: Final = replace(
    ROTATE_KEY, name=rotation.CUTOVER, no_return="cutover", steps=(_STOP, _CREATE, _VERIFY, _CUT, _SERVE, *_END)
)
# It leaked: served to nobody from now on, revoked, and then replaced. What was begun is not taken back.
ROTATE_KEY_LEAKED: Final = replace(
    ROTATE_KEY, name=rotation.LEAKED, abortable=False,
    steps=(_STOP, replace(_REVOKE, act=mint.revoked), *map(_unless_over, (_CREATE, _VERIFY, _CUT, _SERVE)), *_END),
)  # fmt: skip
END_UNUSED_KEY: Final = Procedure(
    name=rotation.UNUSED, shape=KeyRotation, verb=Verb.KEY_WRITE, look=rotation.look,
    steps=(_step(name="revoke", act=_unless_kept(_revoked)),
           _step(name="prove_dead", act=_unless_kept(old_version.dead)), _END[1]),
)  # fmt: skip
