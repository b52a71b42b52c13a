"""What travels together to a real server: it has to be as if each statement had gone alone."""

# ruff: noqa: S608 - statements are put together from made-up ids
from __future__ import annotations

import asyncio
import contextlib
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.postgres import embedded
from byokeep.adapters.postgres.connections import Connections
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.core.errors import ByokeepError, Conflict, Denied, Rejected, Unavailable
from byokeep.core.events import EventName
from byokeep.tenancy.scopes import lock_key
from tests.support.hang import hung
from tests.support.postgres import FreshDatabase, fresh_database, running_postgres, statements
from tests.support.postgres_rows import OPERATOR, event, installation_sql

pytest_plugins = ["tests.support.postgres_fixtures"]

OWN = """
-- name: client_add
INSERT INTO byokeep.client (id, name, created_by) VALUES (:id, :name, :by)
-- name: client_names
SELECT name FROM byokeep.client ORDER BY name
-- name: name_of
SELECT name FROM byokeep.client WHERE id = :id
-- name: rename
UPDATE byokeep.client SET name = :name WHERE id = :id RETURNING id
-- name: divide
SELECT 1 / CAST(:by AS int) AS quotient
-- name: percent
SELECT '100%' AS said, :number % 7 AS rest, CAST(:number AS bigint) AS number
-- name: everything_of
SELECT * FROM byokeep.client WHERE id = :id
-- name: sleep
SELECT pg_sleep(:seconds) IS NULL AS slept
-- name: backend
SELECT pg_backend_pid() AS pid
"""


@contextlib.asynccontextmanager
async def opened(
    database: FreshDatabase, role: str = "byokeep_web", pool_size: int = 4
) -> AsyncIterator[PostgresDatabase]:
    made = PostgresDatabase(database.url(role), pool_size=pool_size, statements=statements(OWN))
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def web(shared_postgres: FreshDatabase) -> AsyncIterator[PostgresDatabase]:
    shared_postgres.sql("GRANT UPDATE (name) ON byokeep.client TO byokeep_web")  # a row to change and to wait for
    async with opened(shared_postgres) as database:
        yield database


async def add(database: PostgresDatabase, name: str) -> UUID:
    made = uuid4()
    async with database.begin(client_id=made) as tx:
        await tx.last(dict, "client_add", id=made, name=name, by=OPERATOR)
    return made


async def names(database: PostgresDatabase) -> list[str]:
    return await database.read(str, "client_names", {}, every_client=True)


@pytest.mark.parametrize("again", [0, 1, 2])
async def test_postgres_question_sees_what_was_committed_while_its_lock_waited(
    web: PostgresDatabase, again: int
) -> None:
    """A lock and the question behind it travel together; the question is answered as of when the lock was granted."""
    client, scope = await add(web, f"Open {again}"), f"client:{uuid4()}"

    async def ask() -> str:
        async with web.begin(client_id=client) as tx:
            await tx.ahead("switch_lock_shared", keys=[lock_key("global"), lock_key(scope)])
            return await tx.one(lambda row: str(row["name"]), "name_of", id=client)

    async with web.begin(client_id=client) as tx:
        await tx.all(dict, "switch_lock_exclusive", scope=scope)
        asking = asyncio.create_task(ask())
        await asyncio.sleep(0.2)
        assert not asking.done()
        await tx.one(dict, "rename", id=client, name=f"Closed {again}")
    assert await asking == f"Closed {again}"
    assert await ask() == f"Closed {again}"


async def test_postgres_and_flows_name_the_same_lock(shared_postgres: FreshDatabase) -> None:
    """The key of a scope is the same number here and in the database, negative ones included."""
    scopes = ["global", *(f"client:{UUID(int=number)}:lane:api" for number in range(8))]
    found = [int(shared_postgres.sql(f"SELECT byokeep.scope_lock_key('{scope}')")) for scope in scopes]
    assert found == [lock_key(scope) for scope in scopes]
    assert min(found) < 0 < max(found)


async def test_postgres_lock_is_held_until_the_last_write_is_committed(web: PostgresDatabase) -> None:
    """Who ends with a write holds its locks until that is committed: whoever waited for them sees it."""
    client, scope = uuid4(), f"client:{uuid4()}"
    held = asyncio.Event()

    async def act() -> None:
        async with web.begin(client_id=client) as tx:
            await tx.ahead("switch_lock_shared", keys=[lock_key(scope)])
            assert await tx.all(str, "client_names") == []
            held.set()
            await asyncio.sleep(0.2)
            await tx.last(dict, "client_add", id=client, name="Acted", by=OPERATOR)

    acting = asyncio.create_task(act())
    await held.wait()
    async with web.begin(client_id=client) as tx:
        await tx.all(dict, "switch_lock_exclusive", scope=scope)
        assert await tx.all(str, "client_names") == ["Acted"]
    await acting


async def test_postgres_waiting_lock_fails_with_what_follows(web: PostgresDatabase) -> None:
    """A lock that is not granted in time fails the statement behind it, which has not run; nothing commits."""
    scope, made = f"client:{uuid4()}", uuid4()

    async def act() -> None:
        async with web.begin(client_id=made) as tx:
            await tx.ahead("switch_lock_shared", keys=[lock_key(scope)])
            await tx.last(dict, "client_add", id=made, name="Without its lock", by=OPERATOR)

    async with web.begin() as tx:
        await tx.all(dict, "switch_lock_exclusive", scope=scope)
        with pytest.raises(Unavailable, match="database_busy"):
            await act()
    assert "Without its lock" not in await names(web)
    await act()
    assert "Without its lock" in await names(web)


async def test_postgres_statement_that_ends_commits_and_nothing_follows(web: PostgresDatabase) -> None:
    """It is committed inside the block, whatever happens there afterwards; a further statement is refused."""
    made = uuid4()

    async def go_on() -> None:
        async with web.begin(client_id=made) as tx:
            await tx.last(dict, "client_add", id=made, name="Ended", by=OPERATOR)
            assert "Ended" in await names(web)
            await tx.all(str, "client_names")

    with pytest.raises(RuntimeError, match="nothing may follow"):
        await go_on()
    assert "Ended" in await names(web)
    assert await asyncio.gather(*(names(web) for _ in range(8))) == [await names(web)] * 8


async def test_postgres_statement_that_ends_and_fails_changes_nothing(web: PostgresDatabase) -> None:
    """A refused last write takes the writes before it along, says why as always, and spoils no connection."""
    await add(web, "There already")
    made = uuid4()

    async def twice(name: str) -> None:
        async with web.begin(every_client=True) as tx:
            await tx.all(dict, "client_add", id=made, name="Taken along", by=OPERATOR)
            await tx.last(dict, "client_add", id=uuid4(), name=name, by=OPERATOR)

    for _ in range(8):
        with pytest.raises(Conflict, match="client_name_uq") as refused:
            await twice("There already")
        assert refused.value.__context__ is None
        with pytest.raises(Rejected, match="client_name_ck"):
            await twice("<b>")
    assert "Taken along" not in await names(web)
    await twice("Good")
    assert {"Taken along", "Good"} <= set(await names(web))


async def test_postgres_reading_may_not_write_and_stays_in_its_scope(web: PostgresDatabase) -> None:
    """A question of its own sees one client's rows, or all by name, or none; a write in it is refused."""
    mine, other = await add(web, "Mine alone"), await add(web, "Of others")
    assert await web.read(str, "client_names", {}, client_id=mine) == ["Mine alone"]
    assert await web.read(lambda row: str(row["name"]), "name_of", {"id": other}, client_id=mine) == []
    assert await web.read(str, "client_names", {}) == []
    with pytest.raises(Unavailable, match="database_error"):
        await web.read(dict, "client_add", {"id": uuid4(), "name": "Written", "by": OPERATOR}, every_client=True)
    with pytest.raises(ValueError, match="not both"):
        await web.read(str, "client_names", {}, client_id=mine, every_client=True)
    assert await web.read(str, "client_names", {}) == [], "no scope is left behind on the connection"
    assert "Written" not in await names(web)


async def test_postgres_errors_and_types_do_not_spoil_what_is_prepared(web: PostgresDatabase) -> None:
    """Statements go on working after failures, and with numbers and texts of every size in the same place."""
    for _ in range(12):
        with pytest.raises(ByokeepError, match="value_not_accepted"):
            await web.read(lambda row: int(row["quotient"]), "divide", {"by": 0})
        assert await web.read(lambda row: int(row["quotient"]), "divide", {"by": 1}) == [1]
        for number in (1, 70_000, 2**40):
            found = await web.read(dict, "percent", {"number": number})
            assert found == [{"said": "100%", "rest": number % 7, "number": number}]
    with pytest.raises(Unavailable):
        await web.read(lambda row: int(row["quotient"]), "divide", {})


async def test_postgres_append_that_ends_is_one_record(shared_postgres: FreshDatabase) -> None:
    """A record that ends its transaction is committed with it, and one that is refused is not."""
    with contextlib.suppress(Unavailable):
        shared_postgres.sql(installation_sql())
    chain = uuid4()
    async with opened(shared_postgres, "byokeep_broker") as database:
        async with database.begin(client_id=chain) as tx:
            assert (await tx.append(event(chain), commit=True)).seq == 1

        async def not_ours() -> None:
            async with database.begin(client_id=chain) as tx:
                await tx.append(event(chain))
                await tx.append(event(chain, EventName.CLIENT_CREATED), commit=True)

        with pytest.raises(Denied, match="audit_refused rule=not_this_writer"):
            await not_ours()
    assert shared_postgres.sql(f"SELECT count(*) FROM byokeep.audit_record WHERE chain = '{chain}'") == "1"


async def test_postgres_cancelled_trip_gives_its_lock_back(web: PostgresDatabase) -> None:
    """A caller that is cancelled in the middle of a trip has its statement cancelled: nobody waits for its locks."""
    client = await add(web, "Cancelled")

    async def linger() -> None:
        async with web.begin(client_id=client) as tx:
            await tx.one(dict, "rename", id=client, name="Half done")
            await tx.all(dict, "sleep", seconds=30)

    lingering = asyncio.create_task(linger())
    await asyncio.sleep(0.2)
    lingering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lingering
    began = time.monotonic()
    async with web.begin(client_id=client) as tx:
        await tx.last(dict, "rename", id=client, name="Done")
    assert time.monotonic() - began < 25, "its statement went on to its end"
    assert "Half done" not in await names(web)


@pytest.fixture
def own_server() -> Iterator[FreshDatabase]:
    """A server that a test may hurt."""
    with running_postgres() as server:
        yield fresh_database(server)


async def test_postgres_dead_idle_connections_are_replaced_before_anything_is_begun(own_server: FreshDatabase) -> None:
    """After the server closed idle connections, the next question, block or ping works; in a block it is a failure."""
    async with opened(own_server, pool_size=3) as database:

        async def cut_off() -> None:
            async with contextlib.AsyncExitStack() as stack:
                blocks = [await stack.enter_async_context(database.begin()) for _ in range(3)]
                pids = [await tx.one(lambda row: int(row["pid"]), "backend") for tx in blocks]
            own_server.sql(f"SELECT pg_terminate_backend(pid) FROM unnest(ARRAY{pids}) AS pid")

        await cut_off()
        assert await names(database) == []
        await cut_off()
        async with database.begin(every_client=True) as tx:
            assert await tx.all(str, "client_names") == []
        await cut_off()
        await database.ping()

        async def in_the_middle() -> None:
            async with database.begin(every_client=True) as tx:
                own_server.sql(f"SELECT pg_terminate_backend({await tx.one(lambda row: int(row['pid']), 'backend')})")
                await tx.all(str, "client_names")

        with pytest.raises(Unavailable, match="database_unavailable"):
            await in_the_middle()


async def test_postgres_lost_answer_to_the_last_write_is_told_as_such(own_server: FreshDatabase) -> None:
    """A server that dies with the commit under way: unknown, not failed; for a question it is plain unavailable."""
    data = own_server.server._data
    async with opened(own_server) as database:
        made = uuid4()

        async def act() -> None:
            async with database.begin(client_id=made) as tx:
                await tx.all(str, "client_names")
                held.set()
                await asyncio.sleep(0.2)
                await tx.last(dict, "client_add", id=made, name="Perhaps", by=OPERATOR)

        held = asyncio.Event()
        acting = asyncio.create_task(act())
        await held.wait()
        stopped = embedded.working_in(data)
        with hung(*stopped):
            outcomes = await asyncio.gather(acting, names(database), return_exceptions=True)
        assert [str(outcome).partition(" ")[0] for outcome in outcomes] == [
            "commit_outcome_unknown", "database_unavailable",
        ]  # fmt: skip
        await database.ping()


async def test_postgres_schema_that_grows_under_a_running_process(shared_postgres: FreshDatabase) -> None:
    """A column that a later release adds is no failure for what is prepared: it is prepared anew."""
    async with opened(shared_postgres, pool_size=3) as database:
        client = await add(database, "Grown")
        for column in ("one_more", "and_another"):
            await asyncio.gather(
                *(database.read(dict, "everything_of", {"id": client}, client_id=client) for _ in range(3))
            )
            shared_postgres.sql(f"ALTER TABLE byokeep.client ADD COLUMN {column} text")
            try:
                for _ in range(4):
                    assert column in (await database.read(dict, "everything_of", {"id": client}, client_id=client))[0]
                async with database.begin(client_id=client) as tx:
                    assert column in await tx.one(dict, "everything_of", id=client)
            finally:
                shared_postgres.sql(f"ALTER TABLE byokeep.client DROP COLUMN {column}")


async def test_postgres_schema_that_grows_is_felt_once_in_the_middle_of_a_block(shared_postgres: FreshDatabase) -> None:
    """Where something was begun already it is one failure for each connection, which is not used again."""
    async with opened(shared_postgres, pool_size=1) as database:
        client = await add(database, "Grown in the middle")

        async def in_the_middle() -> None:
            async with database.begin(client_id=client) as tx:
                await tx.all(str, "client_names")
                await tx.one(dict, "everything_of", id=client)

        await in_the_middle()
        shared_postgres.sql("ALTER TABLE byokeep.client ADD COLUMN third text")
        try:
            with pytest.raises(Unavailable, match="database_error"):
                await in_the_middle()
            await in_the_middle()
        finally:
            shared_postgres.sql("ALTER TABLE byokeep.client DROP COLUMN third")


async def test_postgres_missing_row_of_a_last_write_is_no_write(web: PostgresDatabase) -> None:
    """A last write that matched nothing ends the transaction all the same, and says that there was no row."""
    async with web.begin(every_client=True) as tx:
        assert await tx.last(dict, "rename", id=uuid4(), name="Nobody") == []
        with pytest.raises(RuntimeError, match="nothing may follow"):
            await tx.all(dict, "client_names")
    await web.ping()


async def test_an_attempt_that_timed_out_leaves_no_connection() -> None:
    """The garbage collector does not have to come first: a server that hung would have no room for another."""
    ended = asyncio.Event()

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            pass
        ended.set()
        writer.close()

    with tempfile.TemporaryDirectory() as place:
        async with await asyncio.start_unix_server(hangs, f"{place}/.s.PGSQL.5432"):
            gc.disable()
            try:
                connections = Connections(f"postgresql+psycopg://somebody@/db?host={place}", size=1, name="test")
                with pytest.raises(Unavailable, match="database_unavailable"):
                    await connections.take()
                async with asyncio.timeout(1):
                    await ended.wait()
            finally:
                gc.enable()
