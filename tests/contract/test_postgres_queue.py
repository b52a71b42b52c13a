"""The queue on a real server: a task exists only when its transaction committed, and its log says nothing foreign."""

# ruff: noqa: S608 - statements are put together from names of columns
from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import psycopg
import pytest
from procrastinate import App, RetryStrategy

from byokeep.adapters.postgres.database import PostgresDatabase, build_app, quiet
from byokeep.core.errors import Rejected, Unavailable
from byokeep.kernel.worker_rounds import WORKER_ROUNDS
from tests.support.postgres import FreshDatabase, statements
from tests.support.queue import known, rounds_of

pytest_plugins = ["tests.support.postgres_fixtures"]

DENIED = psycopg.errors.InsufficientPrivilege.sqlstate


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
    waiting = "SELECT args ->> 'run_id' FROM procrastinate.procrastinate_jobs ORDER BY id"

    def of(run: str) -> dict[str, str]:
        return {"run_id": run, "key": f"procedure:{run}", "lock": f"procedure:{run}"}

    async def lose() -> None:
        async with database.begin() as tx:
            await tx.defer("procedure", **of("lost"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await lose()
    assert postgres.sql(waiting) == ""
    async with database.begin() as tx:
        assert await tx.defer("procedure", **of("first"))
        assert not await tx.defer("procedure", **of("first"))
        assert await tx.defer("procedure", **of("last"))
    assert postgres.sql(waiting).splitlines() == ["first", "last"]


async def test_postgres_worker_puts_off_a_task(postgres: FreshDatabase) -> None:
    """A worker leaves a task for later; what people ask for is for now."""
    worker = PostgresDatabase(postgres.url("byokeep_worker"), statements=statements())
    async with worker.begin() as tx:
        await tx.defer("verify_key", ref_id="last", delay_s=60)
    await worker.close()
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


async def test_postgres_a_task_that_is_to_be_retried_gives_way_to_the_same_that_waits(postgres: FreshDatabase) -> None:
    """It ends, so that its lock is free for the one that waits."""
    database = PostgresDatabase(postgres.url("byokeep_worker"), statements=statements())
    ran: list[str] = []

    async def hand_on() -> None:
        async with database.begin() as tx:
            assert await tx.defer("procedure", key="procedure:x", lock="procedure:x", run_id="x")

    async def go_on(run_id: str) -> None:
        ran.append(run_id)
        if len(ran) == 1:
            await hand_on()
            raise Unavailable("store_unreachable")

    await hand_on()
    app = build_app(postgres.url("byokeep_worker"))
    app.task(name="procedure", retry=RetryStrategy(retry_exceptions={Unavailable}))(go_on)
    async with app.open_async():
        await app.run_worker_async(wait=False, install_signal_handlers=False, listen_notify=False)
        await app.run_worker_async(wait=False, install_signal_handlers=False, listen_notify=False)
    await database.close()
    assert ran == ["x", "x"]
    assert postgres.sql("SELECT status FROM procrastinate.procrastinate_jobs") == "succeeded"


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


RUN, CLIENT = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
# What web puts in, as its code does: the task, its key and lock, its arguments.
SHAPES: dict[str, tuple[str | None, str | None, dict[str, str]]] = {
    "procedure": (f"procedure:{RUN}", f"procedure:{RUN}", {"run_id": RUN}),
    "verify_key": (None, None, {"client_id": CLIENT}),
    "profile_work": (None, None, {"client_id": CLIENT}),
    "kek_rewrap": (*[f"kek_rewrap:{RUN}:{CLIENT}"] * 2, {"rotation_id": RUN, "client_id": CLIENT}),
    **{name: (*[f"{name}:{CLIENT}"] * 2, {"client_id": CLIENT}) for name in ("kek_rotate", "kek_check")},
    "kek_end": (f"kek_end:{CLIENT}:7", f"kek_end:{CLIENT}", {"client_id": CLIENT, "version": "7"}),
}
BY_BROKER = {"procedure"}


def put(postgres: FreshDatabase, role: str, **row: object) -> str:
    """Put a row into the queue as a role and take it back; returns the refusal's SQLSTATE, or nothing."""
    row = {"queue_name": "default", "priority": 0, "args": "{}", **row}
    names, places = ", ".join(row), ", ".join("%s" for _ in row)
    with psycopg.connect(postgres.conninfo(role)) as connection:
        connection.execute("SET search_path = procrastinate")
        try:
            connection.execute(
                f"INSERT INTO procrastinate_jobs ({names}) VALUES ({places}) RETURNING id".encode(), list(row.values())
            )
        except psycopg.Error as refused:
            return refused.sqlstate or "gone"
        finally:
            connection.rollback()
    return ""


def of(task: str) -> dict[str, object]:
    key, lock, args = SHAPES[task]
    more = {"queueing_lock": key, "lock": lock, "priority": int(bool(lock))}
    return {"task_name": task, "args": json.dumps(args), **more}


def test_postgres_web_and_broker_put_in_what_people_ask_for(postgres: FreshDatabase) -> None:
    """Every task that comes by no clock, in its shape and for now; nothing of the clock's, and no key of another."""
    queue = known(postgres.url("byokeep_worker"))
    rounds = rounds_of(queue)
    assert rounds == set(WORKER_ROUNDS)
    asked = {name for name in queue.tasks if "builtin_tasks" not in name and name not in rounds}
    assert asked == set(SHAPES)
    for role in ("byokeep_web", "byokeep_broker"):
        for task in asked:
            may = role == "byokeep_web" or task in BY_BROKER
            assert put(postgres, role, **of(task)) == ("" if may else DENIED), (role, task)
        for name, task in queue.tasks.items():
            if name not in asked:
                called = name.replace("builtin:", "")  # the queue puts one more before it for each app of this process
                for key in (None, task.queueing_lock, f"procedure:{RUN}"):
                    assert put(postgres, role, task_name=called, queueing_lock=key, lock=key) == DENIED, (role, name)
        for wrong in (
            *({"queueing_lock": task.queueing_lock} for name, task in queue.tasks.items() if name in rounds),
            {"lock": "kek_care"}, {"queueing_lock": None}, {"lock": None, "priority": 0}, {"priority": 2},
            {"queue_name": "other"}, {"scheduled_at": "2099-01-01"}, {"scheduled_at": "2000-01-01"},
            {"status": "doing"}, {"status": "succeeded"}, {"attempts": 1}, {"id": 7}, {"worker_id": 1},
            {"abort_requested": True}, {"args": json.dumps({"run_id": CLIENT})}, {"args": "{}"},
        ):  # fmt: skip
            assert put(postgres, role, **{**of("procedure"), **wrong}) == DENIED, (role, wrong)
        with psycopg.connect(postgres.conninfo(role), autocommit=True) as connection:
            for statement in (
                "INSERT INTO procrastinate.procrastinate_events (job_id, type) VALUES (1, 'succeeded')",
                "UPDATE procrastinate.procrastinate_jobs SET scheduled_at = '2099-01-01'",
                "DELETE FROM procrastinate.procrastinate_jobs",
                "INSERT INTO procrastinate.procrastinate_periodic_defers (task_name, defer_timestamp) VALUES ('x', 1)",
                "SELECT procrastinate.procrastinate_defer_jobs_v1('{}')",
                "SELECT setval('procrastinate.procrastinate_jobs_id_seq', 1)",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())


async def test_postgres_a_notification_only_wakes_a_worker(postgres: FreshDatabase) -> None:
    """Any role may notify: no word of it stops a worker or the task that it is at."""
    began, go_on = asyncio.Event(), asyncio.Event()
    ended: list[str] = []

    async def verify_key(ref_id: str) -> None:
        began.set()
        await go_on.wait()
        ended.append(ref_id)

    async with worker(postgres, verify_key) as app:
        number = await app.configure_task("verify_key").defer_async(ref_id="one")
        await asyncio.wait_for(began.wait(), 60)
        with psycopg.connect(postgres.conninfo("byokeep_auditor"), autocommit=True) as anybody:
            for word in (f'{{"type": "abort_job_requested", "job_id": {number}}}', "x", "[]", "{}", ""):
                for channel in ("procrastinate_any_queue_v1", "procrastinate_queue_v1#default"):
                    anybody.execute("SELECT pg_notify(%s, %s)", [channel, word])
        await app.configure_task("verify_key").defer_async(ref_id="two")
        waiting = "SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE status = 'doing'"
        await until(lambda: postgres.sql(waiting) == "2")
        go_on.set()
        await until(lambda: sorted(ended) == ["one", "two"])
