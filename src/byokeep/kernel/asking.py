"""A worker believes the record of a person's wish, not the task: anybody who can write to the queue can add a task.

Rules
- The process that hands a task on records, in the same transaction, what is asked for: the digest of the task with its
  arguments, or the row that the task names. The request id is among the arguments, so one record asks for one task.
- A worker does not do a task unless web wrote such a record, and unless the person who asked is active, is assigned to
  the client and holds the role now. Otherwise it raises an alert of the platform, because the client may be made up
  too.
- A task that the clock may start also passes with a worker's record, in the service's own name.

It may not decide what may be asked for, or by whom.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from uuid import UUID

from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Integrity
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Role
from byokeep.kernel.app import App
from byokeep.kernel.command import Said, plain, raise_alert


def digest_of(task: str, ids: Mapping[str, str]) -> str:
    """Return what stands in the record of a wish that this task, with these arguments, is to fulfil."""
    return sha256(canonical_json({"task": task, **ids})).hexdigest()


async def require_asked(
    app: App, client_id: UUID, object_id: UUID, *, by: UUID | None, roles: Iterable[Role], said: Mapping[str, Said],
    name: EventName = EventName.ACCESS, outcome: Outcome = Outcome.INTENDED, clock: bool = False,
) -> None:  # fmt: skip
    """Let a task pass if a person asked for it.

    Args:
        client_id: On whose chain it was asked.
        object_id: What the record is about.
        by: Who asked, as the task or its row says.
        roles: Who may ask for it.
        said: Fields that the record must have.
        clock: Whether the clock may have begun it.

    Raises:
        Integrity: ``not_asked_for``, with an alert.
        Unavailable: The database is away.
    """
    wanted: dict[str, object] = {
        "chain": client_id, "object_id": object_id, "by": by, "event": name.value, "outcome": outcome.value,
        "roles": [role.value for role in roles], "said": canonical_json(plain(said)).decode(),
        "clock": clock and by == app.installation_id,
    }  # fmt: skip
    if not await app.db.read(int, "asked_on_record", wanted, client_id=client_id):
        key = f"task_not_asked_for/{object_id}"
        await raise_alert(app, reason="task_not_asked_for", key=key, severity="critical", object_id=object_id)
        raise Integrity("not_asked_for", next_step="See the alert `task_not_asked_for`. If it was intended, ask again.")
