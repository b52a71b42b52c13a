"""The queue's tasks about browser profiles: work that people asked for, and a round every minute.

Rules
- As in :mod:`byokeep.worker.tasks`. Work is not tried again by the queue: what came of it is on record, and people ask
  again; a worker that died is noticed by its silence.
"""

from __future__ import annotations

from uuid import UUID

from procrastinate import App as Queue

from byokeep.core.model import ClientId
from byokeep.profiles.profile_app import ProfileApp
from byokeep.profiles.profile_care import care
from byokeep.profiles.profile_do import do_work
from byokeep.profiles.profile_work import TASK
from byokeep.telemetry.log import get_log
from byokeep.telemetry.spans import span

_EVERY_MINUTE = "* * * * *"


def register(queue: Queue, app: ProfileApp) -> None:
    """Make the tasks known to a queue that is not yet opened."""

    @queue.task(name=TASK)
    async def profile_work(*, client_id: str, work_id: str) -> None:
        with span("profile_work", work=UUID(work_id)):
            result = await do_work(app, ClientId(UUID(client_id)), UUID(work_id))
        get_log().info("profile_work_ended", tenant=UUID(client_id), work=UUID(work_id), outcome=result)

    @queue.periodic(cron=_EVERY_MINUTE)
    @queue.task(name="profile_care", queueing_lock="profile_care", lock="profile_care")
    async def profile_care(timestamp: int) -> None:
        with span("profile_care", epoch=timestamp):
            done = await care(app)
        if done:
            get_log().info("profiles_cared_for", count=done)
