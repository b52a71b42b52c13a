"""The rollback of a rotation: its old version is pinned, or served, again.

Rules
- The provider is asked first, and only a key that it reports as live serves again. A leaked key, or one whose
  revocation has begun, never does.
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
from byokeep.kernel.app import WorkerApp
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import CheckOutcome, OutcomeStatus
from byokeep.keys import administration, rotation, rotation_steps
from byokeep.keys.refs import ref_from
from byokeep.keys.rotation import ALIVE, DEAD, KeyRotation

_REFUSED: Final = DEAD | {OutcomeStatus.FORBIDDEN, OutcomeStatus.LEAKED}  # such a key serves nobody again
_ASKED_AGAIN: Final = {
    Unavailable: "This is retried automatically.",
    Conflict: "The provider could not be asked. Resume the run when it answers.",
}


async def unpin(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """Pin the old version again, if the provider says that it is alive."""
    if "pinned_at" not in run.facts:
        return {"cause": "not_cut_over"}
    if (note := await _alive(app, actor, run)) is None:
        return {"cause": "old_key_dead", "version": run.version}
    facts = run.facts
    was = {"risk": facts["was_risk"], "created_by": UUID(facts["was_created_by"]),
           "rotation_due_at": datetime.fromisoformat(facts["was_due_at"]),
           "created_at": datetime.fromisoformat(facts["was_created_at"]),
           "expires_at": datetime.fromisoformat(at) if (at := facts.get("was_expires_at")) else None}  # fmt: skip
    async with app.db.begin(client_id=run.client_id) as tx:
        ref = await tx.one(ref_from, "ref_lock_row", **run.at)
        await rotation.require_open(tx, run)
        if ref.state in rotation.OVER:
            return {"version": run.version, "cause": "reference_ended"}
        back = await tx.maybe(
            ref_from, "ref_pin_back", **run.at, version=run.from_version, from_version=run.version,
            verified=note.verified, **was,
        )  # fmt: skip
        if back is not None:
            await rotation_steps.say_alive(tx, actor, run, note)
            await rotation.note_pin(tx, actor, run, run.from_version, run.version)
    return {"version": run.from_version, "cause": "pinned_again"}


async def _alive(app: WorkerApp, actor: Actor, run: KeyRotation) -> CheckOutcome | None:
    """Ask the provider whether the old version may serve again; None: it is ended, and people are told.

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
        code = "old_key_not_proved" if unknown else "rollback_impossible"
        async with app.db.begin(client_id=run.client_id) as tx:
            await open_alert(tx, app, actor, reason=code, client_id=run.client_id, object_id=run.object_id)
    if note is not None and unknown:
        tries = await administration.not_answered(
            app, actor, run, "ask", "old_key_not_proved", version=run.from_version
        )
        error = Unavailable if tries < administration.CALLS else Conflict
        raise error("old_key_not_proved", next_step=_ASKED_AGAIN[error], status=note.status.value)
    return None


async def serve_old(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """Serve the old version again, if its provider says that it is alive."""
    if (note := await _alive(app, actor, run)) is None:
        return {"cause": "old_key_dead", "version": run.from_version}
    serves = await rotation_steps.serve(app, actor, run, note)
    return {"cause": "serves_again" if serves else "reference_ended", "version": run.from_version}
