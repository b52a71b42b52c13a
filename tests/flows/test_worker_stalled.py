"""Tasks of a worker that died are done by another, whatever waits beside them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from types import SimpleNamespace

import pytest
from procrastinate import RetryStrategy
from procrastinate.exceptions import ConnectorException

from byokeep.adapters.postgres.database import build_app
from byokeep.core.errors import Unavailable
from byokeep.worker.tasks import take_up_again, work
from tests.support.postgres import FreshDatabase

pytest_plugins = ["tests.support.postgres_fixtures"]


async def test_a_dead_workers_tasks_are_taken_up_and_its_clock_tasks_ended(postgres: FreshDatabase) -> None:
    """A key's task waits again although a clock task of the same dead worker has a successor in the queue; so does one
    that has a key of its own and no successor, such as a procedure's or the rotation of a client's key."""
    queue = build_app(postgres.url("byokeep_worker"))
    async with queue.open_async():
        for name, lock in (("sweep_orphans", "sweep_orphans"), ("verify_key", None), ("procedure", "procedure:1")):
            await queue.configure_task(name, queueing_lock=lock, lock=lock).defer_async(timestamp="1")
        postgres.sql(
            "SET search_path = procrastinate;"
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '10 minutes');"
            "UPDATE procrastinate_jobs SET status = 'doing', worker_id = (SELECT max(id) FROM procrastinate_workers)"
        )
        await queue.configure_task("sweep_orphans", queueing_lock="sweep_orphans").defer_async(timestamp="2")
        assert await take_up_again(queue) == 3
        assert await take_up_again(queue) == 0
    left = postgres.sql("SELECT task_name, status FROM procrastinate.procrastinate_jobs ORDER BY 1")
    assert left == "procedure|todo\nsweep_orphans|todo\nverify_key|todo"


async def test_a_worker_that_loses_its_queue_has_failed_and_one_that_is_told_to_end_has_not(
    postgres: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the queue gives up by itself that is an error, so that the process is started again; a signal is none."""

    async def refused(**_: object) -> None:  # what the queue's own listener ends with when its login was ended
        raise ConnectorException

    for lost in (True, False):
        queue = build_app(postgres.url("byokeep_worker"))
        if lost:
            monkeypatch.setattr(queue.job_manager, "listen_for_jobs", refused)
        async with queue.open_async(), asyncio.timeout(30):
            working = asyncio.create_task(work(queue))
            if lost:
                with pytest.raises(Unavailable, match="worker_stopped"):
                    await working
                continue
            while not await queue.job_manager.connector.execute_query_all_async("SELECT id FROM procrastinate_workers"):
                await asyncio.sleep(0.05)
            os.kill(os.getpid(), signal.SIGTERM)
            await working


async def test_what_a_worker_that_is_told_to_end_has_not_finished_waits_for_another(postgres: FreshDatabase) -> None:
    """Its time is up and the task still asks a provider: as after a kill, it waits again, its last attempt too."""
    queue, begun = build_app(postgres.url("byokeep_worker")), asyncio.Event()

    @queue.task(name="verify_key", retry=RetryStrategy(max_attempts=1, retry_exceptions={Unavailable}))
    async def verify() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with queue.open_async(), asyncio.timeout(30):
        await verify.defer_async()
        postgres.sql("UPDATE procrastinate.procrastinate_jobs SET attempts = 1")
        working = asyncio.create_task(
            queue.run_worker_async(install_signal_handlers=False, shutdown_graceful_timeout=0.1)
        )
        await begun.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
    assert postgres.sql("SELECT status FROM procrastinate.procrastinate_jobs") == "todo"


async def test_rounds_come_again_once_a_clock_that_ran_ahead_is_set_right(
    postgres: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some minutes or a day ahead, and back: the next round comes at its time, and not each that was passed over."""
    queue, ahead_s, came = build_app(postgres.url("byokeep_worker")), 0.0, list[float]()
    clock = SimpleNamespace(time=lambda: time.time() + ahead_s)
    monkeypatch.setattr("procrastinate.periodic.time", clock)

    @queue.periodic(cron="* * * * * *")
    @queue.task(name="look_at_clock")
    async def look(timestamp: int) -> None:
        came.append(timestamp)

    async with queue.open_async():
        working = asyncio.create_task(queue.run_worker_async(install_signal_handlers=False))
        for ahead_s in (0.0, 120.0, 0.0, 86_400.0):  # noqa: B007 - the clock above reads it
            async with asyncio.timeout(30):
                while abs([0.0, *came][-1] - clock.time()) > 5:
                    await asyncio.sleep(0.05)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
