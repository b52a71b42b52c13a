"""Transactions, the one way to the database; the named statements they run, and the tasks they leave in the queue.

Rules
- A transaction is opened for one client, for every client by name, or for none; the row policies hold it to that.
- Every wait ends. A hung server costs a caller three seconds and the connection, never a thread of ours.
- A block that swallowed a failed statement does not commit: leaving it raises the failure again.
- No append, no action: an audit record, the rows it is about and the tasks that follow commit together.
- Append to a client's chain before the platform's: the chains stay locked until commit.
- What needs no answer of its own travels with what follows: the opening and the locks with the first question, the
  commit with the last write. Their order, and what each statement sees, is as if they went alone.
- All SQL that is not a migration is in ``sql/*.sql``. A file opens with a comment saying what it is about, a statement
  with ``-- name: lower_snake``. Parameters are ``:name`` binds; text is never put together. A name exists once.
- The queue is procrastinate on the same PostgreSQL. Arguments of tasks are ids: the queue prints them, and a constraint
  of its table refuses anything else. What a task raises reaches the queue's log as one of our errors, without its text.

It may not hold SQL or define tasks: the worker does that.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeVar, Unpack
from uuid import UUID

import psycopg
from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision
from procrastinate.app import WorkerOptions
from procrastinate.connector import Notify
from procrastinate.exceptions import UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from procrastinate.periodic import PeriodicDeferrer, TaskAtTime
from procrastinate.tasks import Task
from procrastinate.worker import Worker
from psycopg.pq import TransactionStatus

from byokeep.adapters.postgres.connections import (
    Answers,
    Asked,
    Connections,
    PipelineConnection,
    PipelineWatch,
    Rows,
    driver_arguments,
    translate,
    travel,
    unavailable,
)
from byokeep.core.audit import canonical_payload
from byokeep.core.errors import ByokeepError, Integrity, NotFound, Unavailable
from byokeep.core.events import Event
from byokeep.kernel.ports import Receipt
from byokeep.kernel.rows import Shape, reader

T = TypeVar("T")
_STATEMENT: Final = re.compile(r": ([a-z][a-z0-9_]{1,62})\s*\n(.+)\Z", re.DOTALL)
_BIND: Final = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")


@cache
def load() -> Mapping[str, str]:
    """Return every packaged statement by name, its binds in the driver's spelling.

    Raises:
        ValueError: A file breaks the rules above.
    """
    folder = resources.files("byokeep.adapters.postgres").joinpath("sql")
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return parse((entry.name, entry.read_text(encoding="utf-8")) for entry in files)


def parse(files: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Return the statements of (file name, content) pairs. Raises ValueError as :func:`load`."""
    found: dict[str, str] = {}
    for file, content in files:
        head, *blocks = re.split(r"^[ \t]*-- name", content, flags=re.MULTILINE)
        if not head.startswith("-- ") or _without_comments(head):
            raise ValueError(f"{file}: it opens with a comment that says what it is about, and nothing else")
        for block in blocks:
            named = _STATEMENT.match(block)
            statement = _without_comments(named[2]) if named else ""
            if named is None or not statement or ";" in statement:
                raise ValueError(f"{file}: a name of lower_snake, and one statement, follow each `-- name`")
            if named[1] in found:
                raise ValueError(f"{file}: {named[1]} exists already")
            found[named[1]] = _BIND.sub(r"%(\1)s", statement.replace("%", "%%"))
    return MappingProxyType(found)


def _without_comments(text: str) -> str:
    lines = [line for line in text.splitlines() if not line.strip().startswith("--")]
    return "\n".join(lines).strip().removesuffix(";").rstrip()


_CONNECTIONS: Final = 4
_PATIENCE_S: Final = 30.0  # seconds; the worker ends if the queue's connections fail for longer
_WAKE: Final = '{"type": "job_inserted", "job_id": 0}'


class _Waking(PsycopgConnector):
    """The queue's connector. A notification wakes its worker and says nothing else: any role may send one.

    The queue itself would let a notification stop a task or the worker. Here only its row stops a task.
    """

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Listen on channels until cancelled."""

        async def wake(*, channel: str, payload: str) -> None:
            del payload
            await on_notification(channel=channel, payload=_WAKE)

        await super().listen_notify(on_notification=wake, channels=channels)


class _GivingWay(JobManager):
    """The queue's tasks. Two of one key may not wait at once: one that is to be done again ends if the same waits.

    The queue itself would leave it as one that is being worked on, which holds its lock for good.
    """

    async def retry_job(self, job: Job, *args: Any, **more: Any) -> None:
        """Let a task wait again, or end it."""
        try:
            await super().retry_job(job, *args, **more)
        except UniqueViolation:
            await self.finish_job(job, status=Status.FAILED, delete_job=True)


class _Clock(PeriodicDeferrer):
    """When rounds come. The queue itself would begin none until a clock that ran ahead has come as far again, and after
    a leap each that it passed over.
    """

    def get_previous_tasks(self, at: float) -> Iterable[TaskAtTime]:
        """Return the rounds that are due."""
        self.last_defers = {key: last for key, last in self.last_defers.items() if 0 <= at - last <= self.max_delay}
        return super().get_previous_tasks(at)


class _Worker(Worker):
    async def _periodic_deferrer(self) -> None:
        await _Clock(self.app.periodic_registry, **self.app.periodic_defaults).worker()


class _NoFailure(BaseRetryStrategy):
    """A task's own retries, and another one for each that its worker's stop cut."""

    def __init__(self, own: BaseRetryStrategy) -> None:
        self._own = own

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, Unavailable) and exception.code == "worker_stopped":
            return RetryDecision(retry_in={"seconds": 1})
        return self._own.get_retry_decision(exception=exception, job=job)


class _Queue(App):
    def _register_task(self, task: Task[Any, Any, Any]) -> None:
        task.retry_strategy = task.retry_strategy and _NoFailure(task.retry_strategy)
        super()._register_task(task)

    def _worker(self, **given: Unpack[WorkerOptions]) -> Worker:
        options: WorkerOptions = {**self.worker_defaults, **given}
        return _Worker(app=self, **options)


def build_app(url: str) -> App:
    """Return the queue of a role (the worker's, where tasks run), not yet opened.

    Args:
        url: URL of the database.
    """
    quiet()
    connector = _Waking(
        kwargs=lambda: driver_arguments(url, "byokeep-queue"), min_size=1, max_size=_CONNECTIONS, timeout=_PATIENCE_S
    )
    app = _Queue(connector=connector, worker_defaults=_WORKER)
    app.job_manager = _GivingWay(connector)
    return app


def quiet() -> None:
    """Keep the running commentary of the queue and the driver, arguments included, out of every log."""
    for name in ("procrastinate", "psycopg", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.WARNING)


async def own_errors_only(call_next: Callable[[], Awaitable[Any]], _context: Any, _worker: Any) -> Any:
    """Run a task. What it raises is ours, or becomes ``task_failed`` with only the exception's class."""
    try:
        return await call_next()
    except ByokeepError as error:
        failure = error
        failure.__cause__ = failure.__context__ = None
    except (Exception, asyncio.CancelledError) as error:
        failure = Unavailable("task_failed", error=type(error).__name__)
        # Its worker ends, and the queue would never give it to another; or else what it waited for was cancelled.
        if isinstance(error, asyncio.CancelledError) and (task := asyncio.current_task()) and task.cancelling():
            failure = Unavailable("worker_stopped")
    raise failure.with_traceback(None)


# A commit wakes the worker; the poll is for what was committed before the worker listened.
_WORKER: Final[WorkerOptions] = {"worker_middleware": [own_errors_only], "fetch_job_polling_interval": 2.0}


_CAN_ROLL_BACK: Final = frozenset({TransactionStatus.INTRANS, TransactionStatus.INERROR})
_IN_DOUBT: Final = frozenset({TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN})
_OUTDATED: Final = frozenset({"0A000", "26000"})  # what was prepared no longer fits the schema, or is gone
_OURS: Final = "BK"  # raised by our own functions, also at a commit: nothing was committed then
_POOL: Final = 10
_BEGIN: Final[Asked] = ("BEGIN", None)
_COMMIT: Final[Asked] = ("COMMIT", None)
_ROLLBACK: Final[Asked] = ("ROLLBACK", None)
_TASK: Final = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_ID: Final = re.compile(r"[a-z0-9_:./-]{1,128}\Z")
_SCOPE: Final = "open_scope"
_READING: Final = "open_reading"
_DEFER: Final = "task_deferred"


class PostgresDatabase:
    """:class:`byokeep.kernel.ports.Database` on a pool of connections of one role.

    Args:
        url: URL, ``postgresql+psycopg://role@/database?host=...``.
        pool_size: Maximum of connections.
        statements: Named statements; default: the packaged ones.
    """

    def __init__(self, url: str, *, pool_size: int = _POOL, statements: Mapping[str, str] | None = None) -> None:
        quiet()
        self._queries = load() if statements is None else statements
        # The driver autocommits; a transaction sends BEGIN together with its first statement.
        self._connections = Connections(url, size=pool_size, name="byokeep")

    @asynccontextmanager
    async def begin(
        self, *, client_id: UUID | None = None, every_client: bool = False
    ) -> AsyncIterator[PostgresTransaction]:
        """Open a transaction; leaving the block commits, an exception rolls back.

        The server hears of it with the first statement, so a server that is down is noticed there.

        Args:
            client_id: The client whose rows are visible and writable.
            every_client: All clients' rows, for lists, sweeps and audits across clients. Without either, no client's
                rows can be seen or written.

        Raises:
            Unavailable: ``database_unavailable``, ``database_busy``, ``commit_outcome_unknown``.
            ValueError: Both scopes at once.
        """
        transaction = await self._open(client_id, every_client, reads=False)
        try:
            yield transaction
        except BaseException:
            await transaction.undo()
            raise
        await transaction.commit()

    async def read(
        self, shape: Shape[T], statement: str, params: Mapping[str, object], *, client_id: UUID | None = None,
        every_client: bool = False,
    ) -> list[T]:  # fmt: skip
        """Run one statement in a read-only transaction of its own, in one trip; the trip is the transaction.

        Raises:
            Unavailable: ``database_unavailable``, ``database_busy``.
            ValueError: Both scopes at once.
        """
        transaction = await self._open(client_id, every_client, reads=True)
        try:
            return await transaction.last(shape, statement, **params)
        finally:
            await transaction.undo()

    async def ping(self) -> None:
        """Raise Unavailable unless the database answers a transaction."""
        await self.read(None, "clock_now", {})

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def _open(self, client_id: UUID | None, every_client: bool, *, reads: bool) -> PostgresTransaction:
        if client_id is not None and every_client:
            raise ValueError("one client or every client, not both")
        shown = {"client_id": "" if client_id is None else str(client_id), "scope": "all" if every_client else ""}
        opening: list[Asked] = [(self._queries[_READING], shown)] if reads else [_BEGIN]
        if not reads and (client_id is not None or every_client):
            opening.append((self._queries[_SCOPE], shown))
        connection, new = await self._connections.take()
        return PostgresTransaction(connection, self._connections, self._queries, opening=opening, new=new, reads=reads)


class PostgresTransaction:
    """:class:`byokeep.kernel.ports.Tx`; made by :class:`PostgresDatabase` only."""

    def __init__(
        self, connection: PipelineConnection, pool: Connections, statements: Mapping[str, str], *, opening: list[Asked],
        new: bool, reads: bool,
    ) -> None:  # fmt: skip
        self._connection: PipelineConnection | None = connection  # None = given back
        self._pool = pool
        self._statements = statements
        self._opening = len(opening)
        self._waiting = opening
        self._new = new
        self._reads = reads
        self._begun = False
        self._failure: ByokeepError | None = None

    @property
    def pid(self) -> int:
        """Return the server's number for this session, from the driver; 0 if the transaction has ended."""
        return 0 if self._connection is None or self._connection.closed else self._connection.info.backend_pid

    async def one(self, shape: Shape[T], statement: str, /, **params: object) -> T:
        """Return the only row. Raises NotFound(``not_found``), Integrity(``not_unique``)."""
        rows = await self.all(shape, statement, **params)
        if not rows:
            raise NotFound("not_found")
        if len(rows) > 1:
            raise Integrity("not_unique", query=statement)
        return rows[0]

    async def maybe(self, shape: Shape[T], statement: str, /, **params: object) -> T | None:
        """Return the row or None. Raises Integrity(``not_unique``)."""
        rows = await self.all(shape, statement, **params)
        if len(rows) > 1:
            raise Integrity("not_unique", query=statement)
        return rows[0] if rows else None

    async def all(self, shape: Shape[T], statement: str, /, **params: object) -> list[T]:
        """Return all rows; a statement without rows gives an empty list.

        Raises:
            Conflict: ``conflict`` with ``constraint``: the row is there already.
            Rejected: ``constraint_violated`` with ``constraint``; ``value_not_accepted``.
            Denied: ``database_denied``: a row policy or a missing grant; ``audit_refused``.
            Integrity: ``row_unreadable``.
            Unavailable: ``database_unavailable``, ``database_busy``.
        """
        return list(map(reader(shape), await self._send(self._asked(statement, params))))

    async def ahead(self, statement: str, /, **params: object) -> None:
        """Keep a statement to go first on the next trip; its rows are ignored."""
        self._waiting.append(self._asked(statement, params))

    async def append(self, event: Event, *, commit: bool = False) -> Receipt:
        """Append to the chain of ``event.client_id``, or the platform's; with ``commit``, commit as well.

        Raises:
            Denied: ``audit_refused`` with ``rule``: this process may not write this event.
            Unavailable: As :meth:`all`.
        """
        ask = self.last if commit else self.all
        (receipt,) = await ask(
            Receipt, "audit_append", chain=event.client_id, event=event.name, actor=event.actor.id,
            object=event.object_id, request=event.actor.request_id, outcome=event.outcome,
            payload=canonical_payload(event),
        )  # fmt: skip
        return receipt

    async def defer(self, task: str, *, delay_s: float = 0, key: str = "", lock: str = "", **ids: str) -> bool:
        """Enqueue a task that exists only if this transaction commits. Only one with the same ``key`` waits at a time;
        only one with the same ``lock`` runs at a time.

        Returns:
            False if one with this ``key`` already waits, so that nothing was enqueued.

        Raises:
            ValueError: An argument could be more than an id.
        """
        if not _TASK.match(task) or any(not _ID.match(value) for value in (*ids.values(), key or "-", lock or "-")):
            raise ValueError("tasks take ids only")
        at = datetime.now(UTC) + timedelta(seconds=delay_s) if delay_s else None
        asked = {"task": task, "key": key or None, "lock": lock or None, "ids": json.dumps(ids), "at": at}
        return bool(await self._send(self._asked(_DEFER, asked)))

    async def last(self, shape: Shape[T], statement: str, /, **params: object) -> list[T]:
        """Do as :meth:`all` does, and commit with it. Also raises Unavailable: ``commit_outcome_unknown``."""
        return list(map(reader(shape), await self._send(self._asked(statement, params), ends=True)))

    async def commit(self) -> None:
        """Commit; for :meth:`PostgresDatabase.begin`."""
        if self._failure is not None:
            await self.undo()
            raise self._failure
        if self._connection is None:  # a statement ended it
            return
        if not self._begun and len(self._waiting) == self._opening:  # nothing was asked
            self._give()
            return
        try:
            await self._send(ends=True)
        finally:
            await self.undo()

    async def undo(self) -> None:
        """Roll back what is not committed, or drop a connection that cannot; for :meth:`PostgresDatabase.begin`."""
        if self._connection is None:
            return
        if self._connection.pgconn.transaction_status not in _CAN_ROLL_BACK:
            self._give()  # outside a transaction it goes back, any other is discarded
            return
        try:
            with PipelineWatch(self._connection):
                answers = await travel(self._connection, [_ROLLBACK])
            if answers.error is None:
                self._give()
                return
        except psycopg.Error:
            pass
        except BaseException:
            self._drop()
            raise
        self._drop()

    def _asked(self, statement: str, params: Mapping[str, object]) -> Asked:
        return self._statements[statement], {name: _plain(value) for name, value in params.items()}

    async def _send(self, *asked: Asked, ends: bool = False) -> Rows:
        """Send what waits, what is asked, and the commit if it ends, in one trip; returns the rows of what was asked.

        An idle connection may have died with a server that is back by now, or have prepared for a schema that has grown
        since. Retrying on another one is safe if nothing was begun and only reading was to be committed.
        """
        if self._failure is not None:
            raise self._failure
        first = len(self._waiting)
        trip = [*self._waiting, *asked, *([_COMMIT] if ends and not self._reads else [])]
        self._waiting = []
        while True:
            connection = self._held()
            watch, answers, failure = PipelineWatch(connection), Answers(), None
            try:
                with watch:
                    answers = await travel(connection, trip)
            except psycopg.Error as error:
                failure = unavailable() if watch.expired else translate(error)
            if answers.error is not None:
                failure = translate(answers.error)
            if failure is None:
                break
            outdated = answers.error is not None and answers.error.sqlstate in _OUTDATED
            again = not self._begun and not self._new and (self._reads or not ends)
            if not again or not (connection.closed or outdated) or watch.expired:
                refused = answers.error is not None and (answers.error.sqlstate or "").startswith(_OURS)
                at_commit = len(answers.rows) == len(trip) - 1 and not refused
                in_doubt = ends and not self._reads and (at_commit or _in_doubt(connection))
                self._fail(failure, drop=outdated or in_doubt, in_doubt=in_doubt)
            self._drop()
            try:
                self._connection, self._new = await self._pool.take()
            except ByokeepError as error:
                self._failure = error
                raise
        self._begun = True
        if ends:
            self._give()
        return answers.rows[first] if asked else []

    def _fail(self, failure: ByokeepError, *, drop: bool, in_doubt: bool) -> NoReturn:
        """Keep the failure, so that the block cannot commit, and raise it outside the driver's exception."""
        if drop:
            self._drop()
        if in_doubt:
            failure = Unavailable("commit_outcome_unknown", next_step="Check whether it happened before you try again.")
        self._failure = failure
        raise failure

    def _held(self) -> PipelineConnection:
        if self._connection is None:
            raise RuntimeError("the transaction has ended: nothing may follow")
        return self._connection

    def _give(self) -> None:
        connection, self._connection = self._held(), None
        self._pool.give(connection)

    def _drop(self) -> None:
        connection, self._connection = self._held(), None
        self._pool.drop(connection)


def _in_doubt(connection: PipelineConnection) -> bool:
    """Whether what was sent may have been done without our being told."""
    return connection.closed or connection.pgconn.transaction_status in _IN_DOUBT


def _plain(value: object) -> object:
    """Return what the driver should store for one of our types."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, frozenset | set):
        return sorted(_plain(item) for item in value)  # type: ignore[type-var]
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
