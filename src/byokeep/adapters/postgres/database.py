"""Transactions: the one way to the database.

Rules
- A transaction is opened for one client, for every client by name, or for none; the row policies hold it to that.
- Every wait has an end. A server that hangs costs a caller three seconds and the connection, never a thread of ours.
- A block that swallowed a failed statement does not commit: leaving it raises the failure again.
- No append, no action: an audit record, the rows it speaks of and the tasks that follow commit together.
- Append to a client's chain before the platform's: the chains stay locked until commit.

It may not hold SQL: statements are named in ``sql/*.sql``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, TypeVar
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus

from byokeep.adapters.postgres import queries
from byokeep.adapters.postgres.connections import Connection, Connections
from byokeep.adapters.postgres.failures import translate, unavailable
from byokeep.adapters.postgres.queue import Enqueuer
from byokeep.core.audit import canonical_payload
from byokeep.core.errors import ByokeepError, Integrity, NotFound, Unavailable
from byokeep.core.events import Event
from byokeep.ports import Query, Receipt, Row

T = TypeVar("T")

CALL_S: Final = 3.2  # seconds a statement may take before its connection is cut; just over the lock timeout
_GRACE_S: Final = 0.05  # of them: for an answer that came while the loop was busy elsewhere
_CAN_ROLL_BACK: Final = frozenset({TransactionStatus.INTRANS, TransactionStatus.INERROR})
_POOL: Final = 10
_TASK: Final = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_ID: Final = re.compile(r"[a-z0-9_:./-]{1,128}\Z")


def _receipt(row: Row) -> Receipt:
    return Receipt(chain=row["chain"], seq=row["seq"], hash_hex=row["hash_hex"])


_APPEND: Final = Query("audit_append", _receipt)


class PostgresDatabase:
    """:class:`byokeep.ports.Database` on a pool of connections of one role.

    Args:
        url: SQLAlchemy URL, ``postgresql+psycopg://role@/database?host=...``.
        pool_size: Connections at most.
        statements: Named statements; the packaged ones unless given.
    """

    def __init__(self, url: str, *, pool_size: int = _POOL, statements: Mapping[str, str] | None = None) -> None:
        self._queries = queries.load() if statements is None else statements
        self._enqueuer = Enqueuer()
        # The driver commits by itself; begin() sends BEGIN together with the client's scope in one round trip.
        self._connections = Connections(url, size=pool_size, name="byokeep")

    @asynccontextmanager
    async def begin(
        self, *, client_id: UUID | None = None, every_client: bool = False
    ) -> AsyncIterator[PostgresTransaction]:
        """Open a transaction; leaving the block commits, an exception rolls back.

        Args:
            client_id: The client whose rows are visible and writable.
            every_client: All clients' rows, for lists, sweeps and audits across clients. Without either, no client's
                rows can be seen or written.

        Raises:
            Unavailable: ``database_unavailable``, ``database_busy``, ``commit_outcome_unknown``.
            ValueError: Both scopes at once.
        """
        connection = await self._open(_opening(client_id, every_client))
        transaction = PostgresTransaction(connection, self._connections, self._queries, self._enqueuer)
        try:
            yield transaction
        except BaseException:
            await transaction.undo()
            raise
        await transaction.commit()

    async def ping(self) -> None:
        """Raise Unavailable unless the database answers a transaction."""
        async with self.begin():
            pass

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def _open(self, opening: str) -> Connection:
        failure: ByokeepError
        while True:
            connection, new = await self._connections.take()
            watch = _Watch(connection)
            try:
                with watch:
                    await connection.execute(opening)
                return connection
            except psycopg.Error as error:
                failure = translate(error)
                died = connection.closed and not watch.expired
                self._connections.drop(connection)
            except BaseException:
                self._connections.drop(connection)
                raise
            # An idle one may have died with a server that is back by now: nothing was begun, so another is safe.
            if new or not died:
                break
        raise failure


class PostgresTransaction:
    """:class:`byokeep.ports.Tx`; made by :meth:`PostgresDatabase.begin` only."""

    def __init__(
        self, connection: Connection, pool: Connections, statements: Mapping[str, str], enqueuer: Enqueuer
    ) -> None:
        self._connection = connection
        self._pool = pool
        self._statements = statements
        self._enqueuer = enqueuer
        self._failure: ByokeepError | None = None

    async def one(self, query: Query[T], **params: object) -> T:
        """Return the only row. Raises NotFound(``not_found``), Integrity(``not_unique``)."""
        rows = await self.all(query, **params)
        if not rows:
            raise NotFound("not_found")
        if len(rows) > 1:
            raise Integrity("not_unique", query=query.name)
        return rows[0]

    async def maybe(self, query: Query[T], **params: object) -> T | None:
        """Return the row or None. Raises Integrity(``not_unique``)."""
        rows = await self.all(query, **params)
        if len(rows) > 1:
            raise Integrity("not_unique", query=query.name)
        return rows[0] if rows else None

    async def all(self, query: Query[T], **params: object) -> list[T]:
        """Return all rows; a statement without rows gives none.

        Raises:
            Conflict: ``conflict`` with ``constraint``: the row is there already.
            Rejected: ``constraint_violated`` with ``constraint``; ``value_not_accepted``.
            Denied: ``database_denied``: a row policy or a missing grant; ``audit_refused``.
            Unavailable: ``database_unavailable``, ``database_busy``.
        """
        statement = self._statements[query.name]
        rows = await self._run(statement, {name: _plain(value) for name, value in params.items()})
        return [query.into(row) for row in rows]

    async def append(self, event: Event) -> Receipt:
        """Append to the chain of ``event.client_id``, or the platform's, in this transaction.

        Raises:
            Denied: ``audit_refused`` with ``rule``: this process may not write this event.
            Unavailable: As :meth:`all`.
        """
        return await self.one(
            _APPEND,
            chain=event.client_id,
            event=event.name,
            actor=event.actor.id,
            object=event.object_id,
            request=event.actor.request_id,
            outcome=event.outcome,
            payload=canonical_payload(event),
        )

    async def defer(self, task: str, *, delay_s: float = 0, key: str = "", **ids: str) -> None:
        """Enqueue a task that exists only if this transaction commits. With a ``key``, one waits at a time.

        Raises:
            ValueError: An argument that could be more than an id.
        """
        if not _TASK.match(task) or any(not _ID.match(value) for value in (*ids.values(), *([key] if key else []))):
            raise ValueError("tasks take ids only")
        at = datetime.now(UTC) + timedelta(seconds=delay_s) if delay_s else None
        try:
            with _Watch(self._connection):
                await self._enqueuer.enqueue(self._connection, task, ids, key=key, at=at)
            return
        except psycopg.Error as error:
            self._failure = translate(error)
        raise self._failure

    async def commit(self) -> None:
        """Commit; for :meth:`PostgresDatabase.begin`."""
        if self._failure is not None:
            await self.undo()
            raise self._failure
        try:
            with _Watch(self._connection):
                await self._connection.execute("COMMIT")
            self._pool.give(self._connection)
            return
        except psycopg.Error:
            self._pool.drop(self._connection)
        except BaseException:
            self._pool.drop(self._connection)
            raise
        raise Unavailable("commit_outcome_unknown", next_step="Look whether it happened before trying again.")

    async def undo(self) -> None:
        """Roll back, or drop a connection that can not; for :meth:`PostgresDatabase.begin`."""
        if self._connection.pgconn.transaction_status not in _CAN_ROLL_BACK:
            self._pool.drop(self._connection)
            return
        try:
            with _Watch(self._connection):
                await self._connection.execute("ROLLBACK")
            self._pool.give(self._connection)
            return
        except psycopg.Error:
            self._pool.drop(self._connection)
        except BaseException:
            self._pool.drop(self._connection)
            raise

    async def _run(self, statement: str, params: Mapping[str, object]) -> list[dict[str, Any]]:
        watch = _Watch(self._connection)
        try:
            with watch:
                cursor = await self._connection.execute(statement, params)
                return await cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            failure = unavailable() if watch.expired else translate(error)
        # Raised out here, so that the driver's exception is not even a context of ours.
        self._failure = failure
        raise failure


class _Watch:
    """Cuts a connection's socket when time is up: the driver then sees its end at once, whatever the server does.

    Cancelling instead would make the driver ask the hung server to cancel, and wait for that. When time is up because
    this process did not come round to its loop, an answer that lies there meanwhile is taken first.
    """

    def __init__(self, connection: Connection) -> None:
        self.expired = False
        self._descriptor = -1 if connection.closed else connection.fileno()

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(CALL_S - _GRACE_S, self._due, loop)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _due(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(_GRACE_S, self._cut)

    def _cut(self) -> None:
        self.expired = True
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._descriptor)) as end:
            end.shutdown(socket.SHUT_RDWR)


def _opening(client_id: UUID | None, every_client: bool) -> str:
    if client_id is not None and every_client:
        raise ValueError("one client or every client, not both")
    if every_client:
        return "BEGIN; SET LOCAL byokeep.scope = 'all'"
    if client_id is not None:
        return f"BEGIN; SET LOCAL byokeep.client_id = '{UUID(int=client_id.int)}'"
    return "BEGIN"


def _plain(value: object) -> object:
    """What the driver should store for a noun of ours."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, frozenset | set):
        return sorted(_plain(item) for item in value)  # type: ignore[type-var]
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
