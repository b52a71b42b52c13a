"""The queue on a real server: a task exists only when its transaction committed, and its log says nothing foreign."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import psycopg
import pytest
from procrastinate import App

from byokeep.adapters.postgres.database import PostgresDatabase, build_app, quiet
from byokeep.core.errors import Rejected
from tests.support.postgres import FreshDatabase, statements

pytest_plugins = ["tests.support.postgres_fixtures"]

WAITING = "SELECT task_name, args ->> 'ref_id' FROM procrastinate.procrastinate_jobs ORDER BY id"


@pytest.fixture(params=["byokeep_web", "byokeep_broker", "byokeep_worker"])
async def database(request: pytest.FixtureRequest, postgres: FreshDatabase) -> AsyncIterator[PostgresDatabase]:
    made = PostgresDatabase(postgres.url(request.param), statements=statements())
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def worker(
    postgres: FreshDatabase, task: Callable[..., Awaitable[None]], name: str = "verify_key"
) -> AsyncIterator[App]:
    app = build_app(postgres.url("byokeep_worker"))
    app.task(name=name)(task)
    async with app.open_async():
        running = asyncio.create_task(app.run_worker_async(install_signal_handlers=False, concurrency=2))
        try:
            yield app
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def test_postgres_task_lives_and_dies_with_its_transaction(
    database: PostgresDatabase, postgres: FreshDatabase
) -> None:
    """A rollback drops the task, a commit keeps it; a key that waits already is left out, the rest still commits."""

    async def lose() -> None:
        async with database.begin() as tx:
            await tx.defer("verify_key", ref_id="lost")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await lose()
    assert postgres.sql(WAITING) == ""
    async with database.begin() as tx:
        await tx.defer("verify_key", ref_id="first", key="sweep")
        await tx.defer("verify_key", ref_id="left-out", key="sweep")
        await tx.defer("verify_key", ref_id="last", delay_s=60)
    assert postgres.sql(WAITING).splitlines() == ["verify_key|first", "verify_key|last"]
    later = "SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE scheduled_at > now() + interval '50 s'"
    assert postgres.sql(later) == "1"


async def test_postgres_tasks_take_ids_only(postgres: FreshDatabase) -> None:
    """An argument that is no id is refused by our code, and by the table when code goes around it."""
    web = PostgresDatabase(postgres.url("byokeep_web"), statements=statements())
    for bad in ("sk-proj-ABCdef0123456789", "Bearer x", "a" * 129, "", "x\n"):
        with pytest.raises(ValueError, match="ids only"):
            async with web.begin() as tx:
                await tx.defer("verify_key", ref_id=bad)
    await web.close()
    insert = "INSERT INTO procrastinate.procrastinate_jobs (queue_name, task_name, args) VALUES ('default', 't', %s)"
    with psycopg.connect(postgres.conninfo("byokeep_worker"), autocommit=True) as connection:
        connection.execute("SET search_path = procrastinate")
        connection.execute(insert, (f'{{"ref_id": "{uuid4()}", "timestamp": 1}}',))
        for bad in ('{"a": "sk-ABC"}', '{"a": {"b": "c"}}', '{"a": ["b"]}', '["a"]', '{"a": "%s"}' % ("a" * 129)):
            with pytest.raises(psycopg.errors.CheckViolation, match="args_are_ids"):
                connection.execute(insert, (bad,))


async def test_postgres_worker_runs_what_was_committed(postgres: FreshDatabase) -> None:
    """A worker is woken by the commit, runs the task with its ids, and the task's own enqueueing works too."""
    seen: list[str] = []

    async def verify_key(ref_id: str) -> None:
        seen.append(ref_id)

    web = PostgresDatabase(postgres.url("byokeep_web"), statements=statements())
    async with worker(postgres, verify_key) as app:
        async with web.begin() as tx:
            await tx.defer("verify_key", ref_id="one")
        await until(lambda: seen == ["one"])
        await app.configure_task("verify_key").defer_async(ref_id="two")
        await until(lambda: seen == ["one", "two"])
    await web.close()
    ended = "SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE status = 'succeeded'"
    assert postgres.sql(ended) == "2"


async def test_postgres_queue_logs_no_foreign_text(postgres: FreshDatabase, caplog: pytest.LogCaptureFixture) -> None:
    """A task that fails with somebody else's words leaves its class in the log and not the words; ours stays whole."""
    canary = "canary-5d1e"
    caplog.set_level(logging.DEBUG)
    quiet()
    ran: list[str] = []

    async def fail(ref_id: str) -> None:
        ran.append(ref_id)
        if ref_id == "ours":
            raise Rejected("no_such_provider")
        try:
            raise ValueError(canary)
        except ValueError as cause:
            raise RuntimeError(f"token={canary}") from cause

    async with worker(postgres, fail, "fail") as app:
        await app.configure_task("fail").defer_async(ref_id="foreign")
        await app.configure_task("fail").defer_async(ref_id="ours")
        await until(
            lambda: postgres.sql("SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE status = 'failed'") == "2"
        )
    assert sorted(ran) == ["foreign", "ours"]
    text = caplog.text
    assert "task_failed error=RuntimeError" in text
    assert "no_such_provider" in text
    assert canary not in text
    assert all(
        record.levelno >= logging.WARNING for record in caplog.records if record.name.startswith("procrastinate")
    )
