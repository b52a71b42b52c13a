"""The rollback of a rotation: its old version is pinned, or served, again.

Rules
- The provider is asked first, and only a key that it reports as live serves again. A leaked key, or one whose
  revocation has begun, never does. The new one goes on serving then, and unless the provider says that the old key is
  dead a run of its own ends it: whether it is alive nobody knows.
- The provider is asked a few times; then the run waits for a person, with an alert.

It may not withdraw the new version: :mod:`byokeep.keys.old_version` does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, Unavailable
from byokeep.core.model import Actor
from byokeep.core.procedure import Fields
from byokeep.kernel import procedures
from byokeep.kernel.app import WorkerApp
from byokeep.kernel.ports import CheckOutcome, OutcomeStatus
from byokeep.keys import administration, rotation, rotation_steps
from byokeep.keys.refs import ref_from
from byokeep.keys.rotation import ALIVE, DEAD, KeyRotation

_DEAD: Final = "old_key_dead"
_REFUSED: Final = DEAD | {OutcomeStatus.FORBIDDEN, OutcomeStatus.LEAKED}  # such a key serves nobody again
_ASKED_AGAIN: Final = {
    Unavailable: "This is retried automatically.",
    Conflict: "The provider could not be asked. Resume the run when it answers.",
}


async def unpin(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """Pin the old version again, if the provider says that it is alive."""
    if "pinned_at" not in run.facts:
        return {"cause": "not_cut_over"}
    note = await _asked(app, actor, run)
    if note is None or note.status not in ALIVE:
        if (cause := _ended(note)) != _DEAD:
            await _end_old(app, actor, run, leaked=note is not None and note.status is OutcomeStatus.LEAKED)
        return {"cause": cause, "version": run.version}
    facts = run.facts
    was = {"risk": facts["was_risk"], "created_by": UUID(facts["was_created_by"]),
           "rotation_due_at": datetime.fromisoformat(facts["was_due_at"]),
           "created_at": datetime.fromisoformat(facts["was_created_at"]),
           "expires_at": datetime.fromisoformat(at) if (at := facts.get("was_expires_at")) else None}  # fmt: skip
    async with app.db.begin(client_id=run.client_id) as tx:
        ref = await tx.one(ref_from, "ref_lock_row", **run.at)
        await rotation.require_open(tx, run)
        over = ref.state in rotation.OVER
        back = None if over else await tx.maybe(
            ref_from, "ref_pin_back", **run.at, version=run.from_version, from_version=run.version,
            verified=note.verified, **was,
        )  # fmt: skip
        if back is not None:
            await rotation_steps.say_alive(tx, actor, run, note)
            await rotation.note_pin(tx, actor, run, run.from_version, run.version)
    if over:
        await _end_old(app, actor, run)
        return {"version": run.version, "cause": "reference_ended"}
    return {"version": run.from_version, "cause": "pinned_again"}


def _ended(note: CheckOutcome | None) -> str:
    """Return why an old version does not serve again."""
    return _DEAD if note is not None and note.status in DEAD else "old_key_not_proved"


async def _end_old(app: WorkerApp, actor: Actor, run: KeyRotation, *, leaked: bool = False) -> None:
    """Begin the end of an old version that serves nobody again; one that leaked nobody may keep alive."""
    at = run.client_id, run.object_id, run.provider.value, run.from_version
    async with app.db.begin(client_id=run.client_id) as tx:
        facts = {"pinned_at": rotation.stamp(await rotation.pinned_at(tx, run))}
        facts |= {} if leaked else {"rotation": str(run.id)}
        begun = await rotation.end_unused(tx, app, actor, run.id, *at, facts=facts)
    await procedures.wake(app, begun)


async def _asked(app: WorkerApp, actor: Actor, run: KeyRotation) -> CheckOutcome | None:
    """Ask the provider whether the old version may serve again; None: it is not asked, for that was begun to be ended
    or is gone. People are told unless it is alive.

    Raises:
        Unavailable: ``old_key_not_proved``: nobody can tell now.
        Conflict: The same, asked :data:`byokeep.keys.administration.CALLS` times: a person is told, and it is asked
            again when they resume.
    """
    async with app.db.begin(client_id=run.client_id) as tx:
        ended = await rotation.is_leaked(tx, run) or await rotation.revocation_begun(tx, run)
    note = None if ended else await rotation_steps.asked(app, run, run.from_version)
    if note is not None and note.status in ALIVE:
        return note
    unknown = note is not None and note.status not in _REFUSED
    if note is None or not note.again:
        await administration.tell(app, actor, run, "old_key_not_proved" if unknown else "rollback_impossible")
    if note is not None and unknown:
        tries = await administration.not_answered(
            app, actor, run, "ask", "old_key_not_proved", version=run.from_version
        )
        error = Unavailable if tries < administration.CALLS else Conflict
        raise error("old_key_not_proved", next_step=_ASKED_AGAIN[error], status=note.status.value)
    return note


async def serve_old(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """Serve the old version again, if its provider says that it is alive."""
    note = await _asked(app, actor, run)
    if note is None or note.status not in ALIVE:
        return {"cause": _ended(note), "version": run.from_version}
    serves = await rotation_steps.serve(app, actor, run, note)
    return {"cause": "serves_again" if serves else "reference_ended", "version": run.from_version}
