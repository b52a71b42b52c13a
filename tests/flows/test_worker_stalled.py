"""Tasks of a worker that died are done by another, whatever waits beside them."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
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
