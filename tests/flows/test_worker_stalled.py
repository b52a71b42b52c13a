"""Tasks of a worker that died are done by another, whatever waits beside them."""

from __future__ import annotations

from byokeep.adapters.postgres.database import build_app
from byokeep.worker.tasks import take_up_again
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
