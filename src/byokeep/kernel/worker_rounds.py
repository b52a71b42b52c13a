"""The worker's regular rounds as other processes see them: late rounds raise an alert.

Rules
- The check does not run in a worker: a worker that is gone, or whose rounds are kept out of the queue, cannot report
  it.
- A round is late if the queue accepted none of its kind for five minutes. A waiting round keeps the next one out, so a
  round that never starts or never ends is late as well.
- The check reads the queue's own table, which only the worker's role can write, and uses the database's clock.

It may not start or repeat a round.
"""

from __future__ import annotations

from typing import Final

from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import tell_state
from byokeep.kernel.ports import Database
from byokeep.kernel.rows import Row

# `profile_care` is due only where there are profiles: not every worker can look after them.
WORKER_ROUNDS: Final = (
    "deliver_notifications", "due_round", "go_on_with_procedures", "kek_care", "look_at_clock", "profile_care",
    "retry_stalled", "sweep_orphans", "sweep_webhooks", "watch_checkpoints", "watch_usage",
)  # fmt: skip
LATE_S: Final = 300.0


async def late_rounds(db: Database) -> dict[str, bool]:
    """Return the rounds that are late, by name, and whether the queue ever took them. Raises Unavailable."""
    asked = {"rounds": list(WORKER_ROUNDS), "late_s": LATE_S}
    rows: list[Row] = await db.read(dict, "rounds_late", asked, every_client=True)
    return {row["round"]: row["begun"] for row in rows}


async def watch_worker(app: BrokerApp) -> None:
    """Raise the alert ``worker_rounds_late`` while a round is late. Raises Unavailable."""
    await tell_state(app, await late_rounds(app.db), reason="worker_rounds_late", key="state/worker_rounds")
