"""Transactions on a real server: what commits, what does not, and how long a caller waits for a server that is gone."""

# ruff: noqa: S608 - statements are put together from made-up ids
from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.postgres import embedded
from byokeep.adapters.postgres.database import PostgresDatabase, parse
from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from byokeep.core.audit import GENESIS, canonical_payload, chain_hash
from byokeep.core.errors import ByokeepError, Conflict, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.events import EventName
from byokeep.kernel.rows import Row
from byokeep.tenancy.scopes import lock_key
from tests.support.hang import hung
from tests.support.postgres import FreshDatabase, fresh_database, running_postgres, statements
from tests.support.postgres_rows import INSTALLATION, OPERATOR, event, installation_sql

pytest_plugins = ["tests.support.postgres_fixtures"]

OWN = """
-- name: echo
SELECT CAST(:word AS text) AS word, CAST(:words AS text[]) AS words, CAST(:id AS uuid) AS id, now() AS at
-- name: many
SELECT number FROM generate_series(1, :count) AS number
-- name: client_add
INSERT INTO byokeep.client (id, name, created_by) VALUES (:id, :name, :by)
-- name: client_names
SELECT name FROM byokeep.client ORDER BY name
-- name: lock_client
SELECT id FROM byokeep.client WHERE id = :id FOR UPDATE
-- name: divide
SELECT 1 / CAST(:by AS int) AS quotient
-- name: sleep
SELECT pg_sleep(:seconds) IS NULL AS slept
-- name: jobs
SELECT id FROM procrastinate.procrastinate_jobs
"""


class Word(StrEnum):
    A = "a-word"


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
        await tx.all(dict, "client_add", id=made, name=name, by=OPERATOR)
    return made


async def names(database: PostgresDatabase) -> list[str]:
    async with database.begin(every_client=True) as tx:
        return await tx.all(str, "client_names")


async def test_postgres_rows_come_back_as_nouns(web: PostgresDatabase) -> None:
    """Enums, sets, tuples and ids go in as they are; rows come back as what the query names, times in UTC."""

    def noun(row: Row) -> tuple[object, ...]:
        return row["word"], row["words"], row["id"], row["at"].utcoffset()

    async with web.begin() as tx:
        made = await tx.one(noun, "echo", word=Word.A, words=frozenset({"b", Word.A}), id=OPERATOR)
        assert made == ("a-word", ["a-word", "b"], OPERATOR, datetime.now(UTC).utcoffset())
        assert await tx.maybe(dict, "many", count=0) is None
        assert len(await tx.all(dict, "many", count=3)) == 3
        with pytest.raises(NotFound, match="not_found"):
            await tx.one(dict, "many", count=0)
        for reader in (tx.one, tx.maybe):
            with pytest.raises(Integrity, match="not_unique"):
                await reader(dict, "many", count=2)


async def test_postgres_block_is_one_transaction(web: PostgresDatabase) -> None:
    """Leaving the block commits, an exception in it rolls everything back and comes out as it was."""
    await add(web, "Kept")

    async def lose() -> None:
        async with web.begin(every_client=True) as tx:
            await tx.all(dict, "client_add", id=uuid4(), name="Lost", by=OPERATOR)
            assert "Lost" in await tx.all(str, "client_names")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await lose()
    assert "Kept" in await names(web)
    assert "Lost" not in await names(web)


async def test_postgres_swallowed_failure_does_not_commit(web: PostgresDatabase) -> None:
    """A block that catches a failed statement and goes on raises it again instead of pretending to have committed."""
    await add(web, "Twice")

    async def go_on() -> None:
        async with web.begin(every_client=True) as tx:
            await tx.all(dict, "client_add", id=uuid4(), name="Beside it", by=OPERATOR)
            with contextlib.suppress(Conflict):
                await tx.all(dict, "client_add", id=uuid4(), name="Twice", by=OPERATOR)

    with pytest.raises(Conflict, match="client_name_uq"):
        await go_on()
    assert "Beside it" not in await names(web)


async def test_postgres_after_a_failure_nothing_is_sent(web: PostgresDatabase) -> None:
    """The first statement cannot be sent, so nothing was begun: a second one of the block would commit by itself."""

    async def go_on() -> None:
        async with web.begin(every_client=True) as tx:
            try:
                await tx.all(dict, "client_add", id=uuid4(), name="no\0text", by=OPERATOR)
            except ByokeepError as error:
                first.append(error)
            await tx.all(dict, "client_add", id=uuid4(), name="By itself", by=OPERATOR)

    first = list[ByokeepError]()
    with pytest.raises(ByokeepError) as failed:
        await go_on()
    assert failed.value is first[0]
    assert "By itself" not in await names(web)


async def test_postgres_errors_carry_codes_only(web: PostgresDatabase) -> None:
    """A refusal names the constraint and nothing that was sent; the driver's exception is not even its context."""
    await add(web, "Only one")
    canary = "sk-proj-canarycanarycanarycanary"
    for wanted, code, values in (
        (Conflict, "client_exists constraint=client_name_uq", {"id": uuid4(), "name": "Only one", "by": OPERATOR}),
        (Rejected, "constraint_violated constraint=client_name_ck", {"id": uuid4(), "name": canary, "by": OPERATOR}),
        (Rejected, "value_not_accepted", {"id": canary, "name": "Fine", "by": OPERATOR}),
        (Rejected, "value_not_accepted", {"id": uuid4(), "name": "no\0text", "by": OPERATOR}),
    ):
        with pytest.raises(wanted) as refused:
            async with web.begin(every_client=True) as tx:
                await tx.all(dict, "client_add", **values)
        assert str(refused.value) == code
        assert refused.value.__cause__ is None
        assert refused.value.__context__ is None
    with pytest.raises(ByokeepError, match="value_not_accepted"):
        async with web.begin() as tx:
            await tx.one(dict, "divide", by=0)


async def test_postgres_waiting_for_a_lock_ends(web: PostgresDatabase) -> None:
    """Who waits for a row that somebody else holds is told Unavailable after three seconds, and may try again."""
    held = await add(web, "Held")
    async with web.begin(client_id=held) as tx:
        await tx.one(dict, "lock_client", id=held)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="database_busy"):
            async with asyncio.timeout(60), web.begin(client_id=held) as other:
                await other.one(dict, "lock_client", id=held)
        assert time.monotonic() - began > 2.5
    async with web.begin(client_id=held) as tx:
        await tx.one(dict, "lock_client", id=held)


async def test_postgres_cancelled_caller_leaves_no_lock(web: PostgresDatabase) -> None:
    """A caller that is cancelled in the middle of a statement leaves a usable pool and no transaction behind."""

    async def linger() -> None:
        async with web.begin() as tx:
            await tx.all(dict, "sleep", seconds=2.5)

    lingering = [asyncio.create_task(linger()) for _ in range(8)]
    await asyncio.sleep(0.1)
    for task in lingering:
        task.cancel()
    await asyncio.gather(*lingering, return_exceptions=True)
    assert all(task.cancelled() for task in lingering)
    await asyncio.gather(*(web.ping() for _ in range(8)))


async def test_postgres_full_pool_is_busy_not_stuck(shared_postgres: FreshDatabase) -> None:
    """When every connection is taken a caller is told so, though none is ever given back."""
    async with opened(shared_postgres, pool_size=1) as database, database.begin():
        with pytest.raises(Unavailable, match="no_connection_free"):
            await asyncio.wait_for(database.ping(), 60)


async def test_postgres_chain_without_gaps(shared_postgres: FreshDatabase) -> None:
    """Sixteen writers on one chain make one chain: no gap, no fork, each hash over the one before."""
    with contextlib.suppress(Unavailable):
        shared_postgres.sql(installation_sql())
    chain, writers, each = uuid4(), 16, 10
    async with opened(shared_postgres, "byokeep_broker", pool_size=writers) as database:

        async def write() -> list[tuple[int, str, bytes]]:
            made = []
            for _ in range(each):
                said = event(chain)
                async with database.begin(client_id=chain) as tx:
                    receipt = await tx.append(said)
                made.append((receipt.seq, receipt.hash_hex, canonical_payload(said)))
            return made

        receipts = sorted(
            made for written in await asyncio.gather(*(write() for _ in range(writers))) for made in written
        )
        async with database.begin() as tx:
            assert (await tx.append(event(None, EventName.CHECKPOINT_SIGNED))).chain == INSTALLATION
    assert [seq for seq, _, _ in receipts] == list(range(1, writers * each + 1))
    rows = shared_postgres.sql(
        "SELECT seq, (extract(epoch FROM at) * 1000000)::bigint, writer, encode(payload, 'hex'), encode(hash, 'hex')"
        f" FROM byokeep.audit_record WHERE chain = '{chain}' ORDER BY seq"
    ).splitlines()
    before = GENESIS
    for row, (seq, hash_hex, payload) in zip(rows, receipts, strict=True):
        number, at_us, writer, stored, stored_hash = row.split("|")
        before = chain_hash(prev=before, chain=chain, seq=seq, at_us=int(at_us), writer=writer, payload=payload)
        assert (int(number), stored_hash, bytes.fromhex(stored)) == (seq, hash_hex, payload)
        assert before.hex() == stored_hash, "the core computes the hash that the database stored"


async def test_postgres_append_dies_with_its_transaction(shared_postgres: FreshDatabase) -> None:
    """A record of a transaction that rolled back leaves no gap: the next one takes its number."""
    chain = uuid4()
    async with opened(shared_postgres, "byokeep_broker") as database:

        async def lose() -> None:
            async with database.begin(client_id=chain) as tx:
                assert (await tx.append(event(chain))).seq == 1
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await lose()
        async with database.begin(client_id=chain) as tx:
            assert [(await tx.append(event(chain))).seq for _ in range(2)] == [1, 2]


async def test_postgres_scope_locks(shared_postgres: FreshDatabase) -> None:
    """Shared holders of a scope go side by side; who closes it waits for them, and newcomers wait for the closer."""
    done: list[str] = []
    async with opened(shared_postgres, "byokeep_broker") as database:

        async def close() -> None:
            async with database.begin() as tx:
                await tx.all(None, "switch_lock_exclusive", scope="client:a")
                done.append("closed")

        async def enter() -> None:
            async with database.begin() as tx:
                await tx.all(None, "switch_lock_shared", keys=[lock_key("client:a"), lock_key("global")])
                done.append("entered")

        async with database.begin() as first:
            assert (
                len(await first.all(None, "switch_lock_shared", keys=[lock_key("client:a"), lock_key("global")])) == 2
            )
            await enter()
            closer = asyncio.create_task(close())
            await asyncio.sleep(0.1)
            late = asyncio.create_task(enter())
            await asyncio.sleep(0.1)
            assert done == ["entered"]
        await asyncio.gather(closer, late)
        assert done == ["entered", "closed", "entered"]


@pytest.fixture
def own_server() -> Iterator[FreshDatabase]:
    """A server that a test may hurt."""
    with running_postgres() as server:
        yield fresh_database(server)


async def test_postgres_hung_server_is_unavailable(own_server: FreshDatabase) -> None:
    """A server that stops answering costs every caller about three seconds, wherever they are, and then heals."""
    data = own_server.server._data
    async with opened(own_server) as database:
        held = await add(database, "Before")

        async def in_the_middle() -> None:
            async with database.begin(client_id=held) as tx:
                await asyncio.sleep(0.2)
                await tx.all(str, "client_names")

        async def at_commit() -> None:
            async with database.begin(every_client=True) as tx:
                await tx.all(dict, "client_add", id=uuid4(), name="Never heard of", by=OPERATOR)
                await asyncio.sleep(0.2)

        callers = [asyncio.create_task(in_the_middle()), asyncio.create_task(at_commit())]
        await asyncio.sleep(0.1)
        stopped = embedded.working_in(data)
        with hung(*stopped):
            callers += [asyncio.create_task(database.ping()), asyncio.create_task(database.ping())]
            outcomes = await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), 60)
        assert all(type(outcome) is Unavailable for outcome in outcomes), outcomes
        assert str(outcomes[1]).startswith("commit_outcome_unknown")
        await database.ping()
        assert "Before" in await names(database)


async def test_postgres_kill_9_loses_no_acknowledged_record(own_server: FreshDatabase) -> None:
    """The server is killed under load and started again: every acknowledged record is there, and callers go on."""
    own_server.sql(installation_sql())
    acknowledged: dict[UUID, list[str]] = {uuid4(): [] for _ in range(8)}
    failures: list[ByokeepError] = []
    stop = asyncio.Event()
    server: EmbeddedPostgres = own_server.server
    async with opened(own_server, "byokeep_broker", pool_size=8) as database:

        async def load(chain: UUID) -> None:
            while not stop.is_set():
                try:
                    async with database.begin(client_id=chain) as tx:
                        receipt = await tx.append(event(chain))
                    acknowledged[chain].append(f"{receipt.seq}|{receipt.hash_hex}")
                except Unavailable as failure:
                    failures.append(failure)
                    await asyncio.sleep(0.05)

        loads = [asyncio.create_task(load(chain)) for chain in acknowledged]
        await asyncio.sleep(0.5)
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.sleep(0.1)
        before = {chain: len(receipts) for chain, receipts in acknowledged.items()}
        await server.stop()
        await server.start()
        await asyncio.sleep(0.7)
        stop.set()
        await asyncio.gather(*loads)
    assert failures, "the kill must have been felt"
    assert all(before.values()), "every chain must have been under load"
    for chain, receipts in acknowledged.items():
        assert len(receipts) > before[chain], "and go on after the restart"
        stored = own_server.sql(
            f"SELECT seq, encode(hash, 'hex') FROM byokeep.audit_record WHERE chain = '{chain}' ORDER BY seq"
        ).splitlines()
        assert set(receipts) <= set(stored)
        assert [int(row.split("|")[0]) for row in stored] == list(range(1, len(stored) + 1))


def test_postgres_loader_refuses_what_it_could_misread() -> None:
    """Doubled, nameless, empty and doubled-up statements, and files that do not say what they are, are refused."""
    good = "-- About.\n\n-- name: one_thing\n-- Why.\nSELECT :x::int, 7 % :y;\n"
    assert parse([("a.sql", good)])["one_thing"] == "SELECT %(x)s::int, 7 %% %(y)s"
    for bad in (
        "SELECT 1", "-- name: no_title\nSELECT 1", "-- About.\nSELECT 1", "-- About.\n-- name: empty\n",
        "-- About.\n-- name: two\nSELECT 1; SELECT 2", "-- About.\n-- name: Bad\nSELECT 1",
        "-- About.\n-- name: same\nSELECT 1\n-- name: same\nSELECT 2",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"b\.sql"):
            parse([("b.sql", bad)])
    with pytest.raises(ValueError, match="exists already"):
        parse([("a.sql", good), ("b.sql", good)])
