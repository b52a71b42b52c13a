"""The worker's rounds over due work and notifications."""

from __future__ import annotations

from procrastinate import App as Queue

from byokeep.kernel.app import EVERY_MINUTE
from byokeep.operations import notify
from byokeep.operations.due import DueKind
from byokeep.operations.notify import NotifyApp
from byokeep.operations.starts import STARTERS, start_due
from byokeep.telemetry.log import get_log
from byokeep.telemetry.spans import span

_EVERY_TEN_SECONDS = "* * * * * */10"


def register(queue: Queue, app: NotifyApp, *, profiles: bool) -> None:
    """Make the rounds known to a queue that is not yet opened.

    Args:
        profiles: Whether this worker looks after browser profiles.
    """
    starters = {kind: starter for kind, starter in STARTERS.items() if profiles or kind is not DueKind.PROFILE}

    @queue.periodic(cron=EVERY_MINUTE)
    @queue.task(name="due_round", queueing_lock="due_round", lock="due_round")
    async def due_round(timestamp: int) -> None:
        with span("due_round", epoch=timestamp):
            begun = await start_due(app, starters)
            queued = await notify.remind(app, starters.keys())
        if begun:
            get_log().info("due_work_begun", count=begun)
        if queued:
            get_log().info("reminders_queued", count=queued)

    @queue.periodic(cron=_EVERY_TEN_SECONDS)
    @queue.task(name="deliver_notifications", queueing_lock="deliver_notifications", lock="deliver_notifications")
    async def deliver(timestamp: int) -> None:
        del timestamp
        sent = await notify.deliver(app)
        if sent:
            get_log().info("notifications_sent", count=sent)
