"""The tasks of the queue and their timing.

Rules
- A task names a flow; it holds no sequence of its own.
- Only Unavailable is retried. The last attempt knows that it is the last, and records what it could not decide.
- A worker that stops without being told to has failed: its supervisor starts it again.
- A task whose worker died is taken over by another (no task is lost, none is trusted to run once).
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from procrastinate import App as Queue
from procrastinate import BaseRetryStrategy, JobContext, RetryDecision, RetryStrategy
from procrastinate.jobs import Job

from byokeep.audit.log import ClockWatch, check_heartbeat
from byokeep.core.errors import ByokeepError, Unavailable
from byokeep.core.model import ClientId
from byokeep.core.next_steps import wait_of
from byokeep.kernel import procedures
from byokeep.kernel.app import EVERY_MINUTE, WorkerApp
from byokeep.keys.onboard import sweep_orphans
from byokeep.keys.usage import watch_usage
from byokeep.keys.verify_key import Task, verify_key, waits
from byokeep.keys.webhooks import sweep_webhooks
from byokeep.operations import tasks as operations
from byokeep.operations.notify import NotifyApp
from byokeep.profiles import kek_tasks, tasks
from byokeep.profiles.kek import KekApp
from byokeep.profiles.login import ProfileApp
from byokeep.telemetry.log import get_log
from byokeep.telemetry.spans import span
from byokeep.worker import ports

TRIES: Final = 5
SETTLED_S: Final = 60.0  # seconds after the start of a worker
DEAD_S: Final = 60  # seconds without a sign of life after which a worker counts as dead
CONCURRENCY: Final = 8
_WAIT_BASE: Final = 2  # seconds before the second attempt; each wait is this many times the one before
_LONGEST_WAIT_S: Final = 60  # seconds before another attempt, after the last one that asks the provider
_USAGE_MINUTE: Final = 5  # of each ten


class _UntilRecorded(BaseRetryStrategy):
    """A verification is retried until its outcome is on record: nobody hears of a task that is given up.

    The last attempt that asks the provider records it itself, so whatever raises later is the database.
    """

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if not isinstance(exception, Unavailable):
            return None
        return RetryDecision(retry_in={"seconds": min(_WAIT_BASE ** (job.attempts + 1), _LONGEST_WAIT_S)})


def register(queue: Queue, app: WorkerApp) -> None:
    """Make the tasks known to a queue.

    Args:
        queue: Not yet opened.
        app: The worker's ports.
    """
    retry = RetryStrategy(max_attempts=TRIES - 1, exponential_wait=_WAIT_BASE, retry_exceptions={Unavailable})

    @queue.task(name="verify_key", retry=_UntilRecorded(), pass_context=True)
    async def verify(
        context: JobContext, *, client_id: str, ref_id: str, version: str, sop_id: str, job_id: str,
        request_id: str = "",
    ) -> None:  # fmt: skip
        attempts = context.job.attempts
        task = Task(
            client_id=ClientId(UUID(client_id)), ref_id=UUID(ref_id), version=int(version), sop_id=UUID(sop_id),
            job_id=UUID(job_id), request_id=UUID(request_id) if request_id else None,
        )  # fmt: skip
        ports.asked_by.set(task.request_id)
        with span("verify_key", sop=task.sop_id, ref=task.ref_id, version=task.version, request=request_id):
            try:
                result = await verify_key(app, task, last_attempt=attempts >= TRIES - 1)
            except Unavailable as error:
                if attempts < TRIES - 1:
                    await _tell(app, task, error, attempts)
                raise
        get_log().info("key_verification", tenant=task.client_id, ref=task.ref_id, sop=task.sop_id, outcome=result,
                       attempt=attempts + 1, request_id=task.request_id)  # fmt: skip

    @queue.task(name="procedure", retry=retry)
    async def go_on(*, run_id: str) -> None:
        with span("procedure", run=run_id):
            await procedures.resume(app, app.system(), UUID(run_id))

    _register_rounds(queue, app)


async def _tell(app: WorkerApp, task: Task, error: Unavailable, attempts: int) -> None:
    """Say on the run why it waits. If that fails now, the next attempt says it."""
    why = wait_of(str(error.fields.get("reason", error.code)), attempt=attempts + 2, of=TRIES,
                  wait_s=_WAIT_BASE ** (attempts + 1))  # fmt: skip
    with suppress(ByokeepError):
        await waits(app, task, why)


def _register_rounds(queue: Queue, app: WorkerApp) -> None:
    """Register what is done every minute, by whichever worker is first."""

    def every_minute(
        name: str, work: Callable[[], Awaitable[Any]], told: Callable[[int], object] | None = None, *,
        alone: bool = True, now: Callable[[int], bool] = lambda _: True,
    ) -> None:  # fmt: skip
        """Declare a round: what tells of a count that it returns, whether one waits for another, and if it is due."""

        @queue.periodic(cron=EVERY_MINUTE)
        @queue.task(name=name, queueing_lock=name, lock=name if alone else None)
        async def one_round(timestamp: int) -> None:
            if now(timestamp):
                with span(name, epoch=timestamp):
                    done = await work()
                if told and done:
                    told(done)

    every_minute(
        "sweep_orphans", lambda: sweep_orphans(app), lambda many: get_log().warning("orphans_destroyed", count=many)
    )
    every_minute(
        "sweep_webhooks", lambda: sweep_webhooks(app),
        lambda many: get_log().info("webhook_secrets_destroyed", count=many),
    )  # fmt: skip
    every_minute("go_on_with_procedures", lambda: procedures.go_on(app), alone=False)
    # It reads weeks; a missed hour is looked at ten minutes later.
    every_minute("watch_usage", lambda: watch_usage(app), now=lambda at: at // 60 % 10 == _USAGE_MINUTE)
    watch, began = ClockWatch(app), time.monotonic()
    every_minute("look_at_clock", watch.look)
    # Here and not in the broker, which makes them: a dead broker cannot say so (S-TLOG-10). After the whole stack has
    # rested the newest is old; the broker gets a moment for the next before anybody is called.
    every_minute(
        "watch_checkpoints", lambda: check_heartbeat(app), alone=False,
        now=lambda _: time.monotonic() - began >= SETTLED_S,
    )  # fmt: skip
    # No lock: a worker that died in this very task would never release it.
    every_minute("retry_stalled", lambda: take_up_again(queue), alone=False)


async def take_up_again(queue: Queue) -> int:
    """Give the tasks of dead workers to others; returns how many. One ends if the same waits, as scheduled ones do."""
    stalled = list(await queue.job_manager.get_stalled_jobs(seconds_since_heartbeat=DEAD_S))
    for job in stalled:
        get_log().warning("task_taken_up_again", task=job.task_name)
        await queue.job_manager.retry_job(job)
    return len(stalled)


async def run(
    queue: Queue, app: WorkerApp, profiles: ProfileApp | None, keys: KekApp, notify: NotifyApp, *,
    ready: Callable[[], object],
) -> None:  # fmt: skip
    """Run tasks until SIGTERM or SIGINT; tasks under way get ten seconds.

    Args:
        queue: Not yet opened; it is closed at the end.
        app: The worker's ports.
        profiles: Its ports for browser profiles; None if it cannot look after any.
        keys: Its ports for the keys that guard these.
        notify: Its ports for messages to people.
        ready: Called when the queue is open.
    """
    register(queue, app)
    kek_tasks.register(queue, keys)
    operations.register(queue, notify, profiles=profiles is not None)
    if profiles is not None:
        tasks.register(queue, profiles)
    async with queue.open_async():
        ready()
        await work(queue)


async def work(queue: Queue) -> None:
    """Run the tasks of an opened queue until SIGTERM or SIGINT; a second one ends the process.

    Raises:
        Unavailable: ``worker_stopped``: the queue gave up by itself, as when its database session was ended.
            A process that was not told to end has failed, so its supervisor starts it again.
    """
    running = asyncio.create_task(queue.run_worker_async(
        concurrency=CONCURRENCY, delete_jobs="successful", shutdown_graceful_timeout=10, install_signal_handlers=False,
    ))  # fmt: skip
    loop, told = asyncio.get_running_loop(), list[int]()
    ends = (signal.SIGTERM, signal.SIGINT)

    def stop(number: int) -> None:
        told.append(number)
        for one in ends:
            loop.remove_signal_handler(one)
        running.cancel()

    for number in ends:
        loop.add_signal_handler(number, stop, number)
    try:
        await running
    except asyncio.CancelledError:
        if not told:
            raise
        return
    raise Unavailable("worker_stopped", next_step="The worker lost its queue. Read its log, and start it again.")
