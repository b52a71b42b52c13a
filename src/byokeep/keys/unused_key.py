"""The end of a new key that serves nobody: its rotation was aborted or rolled back, and at its provider it is alive.

Rules
- A value that the provider refuses, when it is taken away, needs no more. Any other is a task with a date, and an
  alert, until a call proves that the key is dead; then its value is destroyed.
- A worker revokes it where it can; else a person does, on the provider's page, or says on record that the key stays
  alive because it is meant for something else.
- A value that was brought again meanwhile is the new version's to look after.

It may not end a key that serves or waits anywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final
from uuid import NAMESPACE_OID, UUID, uuid5

from byokeep.core.events import EventName
from byokeep.core.model import Actor
from byokeep.core.procedure import Fields, Procedure, Run, Step
from byokeep.kernel import procedures
from byokeep.kernel.app import WorkerApp
from byokeep.kernel.command import open_alert
from byokeep.kernel.record import record
from byokeep.keys import old_version, rotation
from byokeep.keys.refs import ref_from
from byokeep.keys.rotation import DEAD, STAYS_ALIVE, UNUSED, KeyRotation

ALERT: Final = "unused_key_alive"


async def _dropped(app: WorkerApp, actor: Actor, run: Run) -> Fields | None:
    """As :func:`rotation.dropped`; what may be alive at the provider gets a run of its own to end it."""
    found = rotation.of(run)
    if found.version in (0, *found.old):
        return await rotation.dropped(app, actor, run)
    about = uuid5(NAMESPACE_OID, f"{UNUSED}/{run.id}/{found.version}")
    async with app.db.begin(client_id=found.client_id) as tx:
        serves = (await tx.one(ref_from, "ref_get", id=found.object_id)).version == found.version
        begun: Run | None = await tx.maybe(Run, "procedure_get", id=about)
    if serves:  # there was no way back
        return await rotation.dropped(app, actor, run)
    if begun is None:
        note = await rotation.asked(app, found, found.version)
        if note is None or note.status in DEAD:
            return await rotation.dropped(app, actor, run)
        begun = await _begin(app, actor, found, about)
    fields = await rotation.dropped(app, actor, run, keep=True)
    await procedures.wake(app, begun)
    return fields


async def _begin(app: WorkerApp, actor: Actor, run: KeyRotation, about: UUID) -> Run:
    provider = run.provider.value
    facts: dict[str, Any] = {
        "provider": provider, "mode": run.mode, "from_version": run.version, "rotation": str(run.id),
        "pinned_at": rotation.stamp(app.clock.now()),  # whoever was given it until now may hold it
    }  # fmt: skip
    async with app.db.begin(client_id=run.client_id) as tx:
        begun: Run = await procedures.start(
            tx, app, actor, END_UNUSED_KEY, client_id=run.client_id, object_id=run.object_id, run_id=about, facts=facts
        )
        await record(
            tx, actor, EventName.KEY_ROTATION, client_id=run.client_id, object_id=run.object_id, run=about,
            stage="left_alive", provider=provider, version=run.version,
        )  # fmt: skip
        await open_alert(
            tx, app, actor, reason=ALERT, severity="warning", client_id=run.client_id, object_id=run.object_id
        )
    return begun


def _unless_kept(act: Callable[..., Awaitable[Fields | None]]) -> Callable[..., Awaitable[Fields | None]]:
    """Do a step unless a person said that the key stays alive, or the reference has its value again."""

    async def done(app: WorkerApp, actor: Actor, run: Run) -> Fields | None:
        found = rotation.of(run)
        async with app.db.begin(every_client=True) as tx:
            again = await tx.all(UUID, "fingerprint_serves", ref_id=run.object_id, version=found.from_version)
        if run.object_id in again:
            return {"cause": "brought_again"}
        if await rotation.accepted(app, found, STAYS_ALIVE):
            return {"cause": STAYS_ALIVE}
        return await act(app, actor, run)

    return done


async def _revoked(app: WorkerApp, actor: Actor, run: Run) -> Fields | None:
    """As of an old key, unless somebody has ended it at the provider already."""
    found = rotation.of(run)
    note = await rotation.asked(app, found, found.from_version)
    if note is not None and note.status in DEAD:
        return {"cause": "dead_already", "from_version": found.from_version}
    return await old_version.revoked(app, actor, run)


_EVENT: Final = EventName.KEY_ROTATION
END_UNUSED_KEY: Final = Procedure(
    name=UNUSED, verb=old_version.ROTATE_KEY.verb, look=old_version.ROTATE_KEY.look,
    steps=(
        Step(name="revoke", act=_unless_kept(_revoked), evidence=_EVENT),
        Step(name="prove_dead", act=_unless_kept(old_version.dead), evidence=_EVENT),
        Step(name="destroy", act=old_version.destroyed, evidence=_EVENT),
    ),
)  # fmt: skip


def _keeping(procedure: Procedure) -> Procedure:
    steps = (replace(step, undo=_dropped) if step.undo is rotation.dropped else step for step in procedure.steps)
    return replace(procedure, steps=tuple(steps))


ROTATE_KEY: Final = _keeping(old_version.ROTATE_KEY)
ROTATE_KEY_CUTOVER: Final = _keeping(old_version.ROTATE_KEY_CUTOVER)
