"""The pool: connections of one role, kept warm, each used by one transaction at a time.

Rules
- Nobody waits without end: two seconds for a free connection, two to connect.
- A server that is away is felt at once by who asks, not by a thread that tries again in the background.
- A connection goes back only when it stands outside a transaction; any other is thrown away.

Why not a pool from a library: each of those we measured either hides "no server" behind its own retries until the
caller's patience ends, or costs several times what the statements cost (docs/adr/0020).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from byokeep.adapters.postgres.failures import busy, translate
from byokeep.adapters.postgres.session import CONNECT_S, driver_arguments
from byokeep.adapters.postgres.trip import PipelineConnection
from byokeep.core.errors import ByokeepError

_IDLE: Final = TransactionStatus.IDLE


class Connections:
    """At most ``size`` connections to ``url`` (a SQLAlchemy URL)."""

    def __init__(self, url: str, *, size: int, name: str) -> None:
        self._arguments: dict[str, Any] = driver_arguments(url, name)
        self._free = asyncio.Semaphore(size)
        self._idle: list[PipelineConnection] = []
        self._closed = False

    async def take(self) -> tuple[PipelineConnection, bool]:
        """Return a connection, and whether it is a new one; one that lay idle may have died meanwhile.

        Raises:
            Unavailable: ``database_busy``: none was free in time; ``database_unavailable``: there is no server.
        """
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection, False
        try:
            return await self._connect(), True
        except BaseException:
            self._free.release()
            raise

    def give(self, connection: PipelineConnection) -> None:
        """Take a connection back; one inside a transaction, or broken, is thrown away."""
        self._free.release()
        if not self._closed and not connection.closed and connection.pgconn.transaction_status == _IDLE:
            self._idle.append(connection)
        else:
            _throw_away(connection)

    def drop(self, connection: PipelineConnection) -> None:
        """Throw a connection away without asking its server anything."""
        self._free.release()
        _throw_away(connection)

    async def close(self) -> None:
        """Close what lies idle, and the others as they come back."""
        self._closed = True
        while self._idle:
            _throw_away(self._idle.pop())

    async def _wait(self) -> None:
        late = False
        try:
            await asyncio.wait_for(self._free.acquire(), CONNECT_S)
        except TimeoutError:
            late = True
        if late:
            raise busy()

    async def _connect(self) -> PipelineConnection:
        failure: ByokeepError
        try:
            return await PipelineConnection.connect(
                **self._arguments, autocommit=True, row_factory=dict_row, cursor_factory=psycopg.AsyncCursor
            )
        except (psycopg.Error, OSError) as error:
            failure = translate(error)
        raise failure


def _throw_away(connection: PipelineConnection) -> None:
    with contextlib.suppress(psycopg.Error):
        connection.pgconn.finish()
