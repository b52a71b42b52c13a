"""Connections of one role, kept warm, each used by one transaction at a time; one trip to the server; its failures.

Rules
- Every wait ends: two seconds for a free connection, two to connect, and :class:`PipelineWatch` cuts the connection of
  a trip that takes too long. The server limits what a caller may have forgotten: a statement, a lock wait, an idle
  transaction. Names resolve in our schemas only.
- Whoever asks a server that is down learns it at once. No background thread retries.
- A replaced login (:mod:`.logins`) takes effect at the next transaction, which gets a connection of the new one. The
  old one's connections end as they come back; a transaction under way goes on.
- A connection goes back only when it is outside a transaction; any other is discarded.
- The statements of a trip run one after the other. Each sees what was committed when its turn came, exactly as if sent
  one by one, and after the first failure none runs. Only this process and the server wait for each other less often.
  Each statement is prepared once per connection, on its first trip.
- Not knowing is Unavailable. A constraint that says "already there" is Conflict, one that says "not well-formed" is
  Rejected. A row policy, a missing grant or a refusal by the audit functions is Denied. The driver's text holds rows
  and parameters, so it is dropped together with the exception that carried it.

It may not hold a password (peer authentication, a client certificate or the driver's password file do), or decide what
belongs together: :mod:`.database` does.

Why not a pool from a library: each of those we measured either hides "no server" behind its own retries until the
caller's patience ends, or costs several times what the statements cost (docs/adr/0020).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import adapt
from psycopg.abc import PQGen, Transformer
from psycopg.adapt import PyFormat
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import dict_row
from psycopg.waiting import Ready, Wait

from byokeep.core.errors import ByokeepError, Conflict, Denied, Rejected, Unavailable, refusing

CONNECT_S: Final = 2  # seconds to connect, or to get a connection from a pool
OPTIONS: Final = (
    "-c timezone=UTC -c search_path=byokeep,procrastinate -c statement_timeout=5000 -c lock_timeout=3000"
    " -c idle_in_transaction_session_timeout=10000"
)


def address_of(url: str) -> dict[str, Any]:
    """Return the driver's arguments for a URL ``postgresql+psycopg://role@/database?host=...``. Raises Unavailable.

    If the URL's password file begins with a login of its role (:mod:`.logins`), that one logs in.
    """
    try:
        found = dict(conninfo_to_dict(f"postgresql://{url.partition('://')[2]}"))
    except psycopg.ProgrammingError:
        raise unavailable() from None
    logins = [login for login, _ in read_logins(Path(str(found.get("passfile") or os.devnull)))]
    found = {"hostaddr": "", "port": "5432", **found}  # not what a shell's PGHOSTADDR and PGPORT say
    return found | ({"user": logins[0]} if logins and logins[0].startswith(f"{found.get('user')}_") else {})


def read_logins(file: Path) -> list[tuple[str, bytes]]:
    """Return the logins that byokeep wrote to a password file, each with its line; an unreadable file holds none."""
    with contextlib.suppress(OSError):
        lines = file.read_bytes().splitlines()
        return [(login[1].decode("ascii"), line) for line in lines if (login := _LOGIN.match(line))]
    return []


def driver_arguments(url: str, application_name: str) -> dict[str, Any]:
    """Return the driver's arguments for a URL, with our limits on every wait."""
    every = {"connect_timeout": CONNECT_S, "options": OPTIONS, "application_name": application_name}
    return address_of(url) | every


_LOGIN: Final = re.compile(rb"\*:\*:\*:(byokeep_[a-z]+_[0-9a-f]{12}):[A-Za-z0-9_-]{43}\Z")
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
# Raised by objects/audit.sql, rows.sql and subjects.sql; class BK is ours.
_AUDIT_RULES: Final = MappingProxyType(
    {
        "BK001": "append_only", "BK002": "unknown_event", "BK003": "not_this_writer", "BK004": "payload_differs",
        "BK005": "row_unrecorded", "BK007": "not_yours",
    }
)  # fmt: skip
# What has the requested name, and where it is listed.
_WHERE_LISTED: Final = MappingProxyType(
    {
        "client_exists": "This name is taken: see `byokeep client list`. If it is enrolling: `byokeep client enroll`.",
        "operator_exists": "Another person or machine has this name: see `byokeep operator list`.",
        "account_exists": "The client has this account already: see `byokeep account list CLIENT`.",
        "break_glass_taken": "Only one at a time: review and close it before the next. See `byokeep breakglass list`.",
        "already_exists": "Another call created it first. Look it up, then try again if you still need to.",
    }
)
_BUSY: Final = frozenset({"55P03", "57014", "40P01", "40001"})  # lock or statement timeout, deadlock, serialization
_GONE: Final = frozenset({"08", "53", "57", "58"})


def unavailable() -> Unavailable:
    """Return the error for a database that did not answer, or not in time."""
    return Unavailable("database_unavailable", next_step="Try again. If it persists, check that PostgreSQL is running.")


def busy() -> Unavailable:
    """Return the error for a database that is working for others; it may answer the same question in a moment."""
    return Unavailable("database_busy", next_step="Try again in a moment.")


def translate(error: BaseException) -> ByokeepError:
    """Return our error for a driver's."""
    if isinstance(error, psycopg.OperationalError) and "unsupported startup parameter" in str(error):
        return Unavailable(
            "database_behind_pooler",
            next_step="This is PgBouncer or a similar pooler. Name PostgreSQL itself: byokeep keeps its own pool.",
        )
    if isinstance(error, psycopg.DataError) and not error.sqlstate:  # the driver's own word of a text with NUL in it
        return Rejected("value_not_accepted")
    if not isinstance(error, psycopg.Error) or not error.sqlstate:
        return unavailable()
    state, constraint = error.sqlstate, error.diag.constraint_name or ""
    if state in _AUDIT_RULES:
        return Denied("audit_refused", rule=_AUDIT_RULES[state])
    if state == "BK006":  # objects/subjects.sql
        return Denied("second_admin_needed", next_step="Ask for it. Another admin approves: `byokeep approve`.")
    if state in _BUSY:
        return busy()
    if state[:2] in _GONE:
        return unavailable()
    named = {"constraint": constraint} if _NAME.match(constraint) else {}
    if state in ("23505", "23P01"):
        code = {
            "client_name_uq": "client_exists", "subject_name_uq": "operator_exists",
            "platform_account_client_id_platform_account_uq": "account_exists",
            "procedure_run_break_glass_uq": "break_glass_taken",
        }.get(constraint, "already_exists")  # fmt: skip
        return Conflict(code, next_step=_WHERE_LISTED[code], **named)
    if state[:2] == "23":
        return Rejected("constraint_violated", **named)
    if state[:2] == "22":
        return Rejected("value_not_accepted")
    if state == "42501":
        return Denied("database_denied")
    return Unavailable("database_error", state=state)


CALL_S: Final = 3.2  # seconds a trip may take before its connection is cut; just over the lock timeout
_GRACE_S: Final = 0.05  # of these seconds: for an answer that came while the loop was busy
_PREPARED_MOST: Final = 400  # statements kept prepared by one connection; there are fewer names than that
_SYNC: Final = ExecStatus.PIPELINE_SYNC
_ROWS: Final = ExecStatus.TUPLES_OK
_DONE: Final = frozenset({ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK})
_ENCODING: Final = "utf-8"
_BIND: Final = re.compile(r"%(?:\(([a-z_][a-z0-9_]*)\)s|%)")

Rows: TypeAlias = list[dict[str, Any]]
# A statement and its parameters; None = sent as it is and not prepared, for BEGIN, COMMIT and ROLLBACK.
Asked: TypeAlias = tuple[str, Mapping[str, object] | None]
_Key: TypeAlias = tuple[bytes, tuple[int, ...]]


_Stamp: TypeAlias = tuple[int, int]  # of a password file: which one it is, and its time


class PipelineConnection(psycopg.AsyncConnection[dict[str, Any]]):
    """A driver's connection that remembers what it has prepared."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepare_threshold = None  # the driver would discard our statements along with its own
        self.prepared: dict[_Key, bytes] = {}
        self.columns: dict[bytes, list[str]] = {}
        self.adapting: Transformer | None = None
        self.login: _Stamp | None = None


@dataclass(slots=True)
class Answers:
    """What came back: the rows of each statement that ran, and why the next one did not run."""

    rows: list[Rows] = field(default_factory=list)
    error: psycopg.Error | None = None


class PipelineWatch:
    """Cuts a connection's socket when time is up: the driver then sees its end at once, whatever the server does.

    Cancelling instead would make the driver ask the hung server to cancel, and wait for that. If time is up because
    this process did not get round to its loop, an answer that has arrived meanwhile is taken first.
    """

    def __init__(self, connection: PipelineConnection) -> None:
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


async def travel(connection: PipelineConnection, asked: Sequence[Asked]) -> Answers:
    """Run statements in one trip.

    Raises:
        psycopg.Error: The connection broke, or a parameter cannot be sent. What the server refused is in the answers.
    """
    async with connection.lock:
        return await connection.wait(_trip(connection, asked))


@dataclass(slots=True)
class _Query:
    """A statement in the server's spelling; ``params`` None = not to be prepared."""

    text: bytes
    params: Sequence[Any] | None = None
    types: tuple[int, ...] = ()
    formats: Sequence[Any] | None = None


@dataclass(slots=True)
class _Sent:
    """One command under way. One that prepares has ``name`` and ``key``; one that runs prepared has ``name`` only."""

    name: bytes
    key: _Key | None = None


def _trip(connection: PipelineConnection, asked: Sequence[Asked]) -> PQGen[Answers]:
    pgconn = connection.pgconn
    adapting = connection.adapting = connection.adapting or adapt.Transformer(connection)
    queries = [_query(adapting, *one) for one in asked]  # before anything is sent: a parameter may be refused
    pgconn.enter_pipeline_mode()
    sent = _send(connection, queries)
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    answers = Answers()
    for one in sent:
        while (result := (yield from _next(connection))) is not None:
            _take(connection, adapting, one, result, answers)
    if (yield from _next(connection)).status != _SYNC:  # type: ignore[union-attr]
        raise psycopg.OperationalError("out of step")
    pgconn.exit_pipeline_mode()
    return answers


def _query(adapting: Transformer, statement: str, params: Mapping[str, object] | None) -> _Query:
    text, names = _spelled(statement)
    if params is None:
        return _Query(text)
    if not params.keys() >= set(names):
        raise psycopg.ProgrammingError("a parameter is missing")
    sent = adapting.dump_sequence([params[name] for name in names], [PyFormat.AUTO] * len(names))
    return _Query(text, sent, adapting.types or (), adapting.formats)


@lru_cache(maxsize=1024)
def _spelled(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with its binds as the server numbers them, and their names in that order."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] is None:
            return "%"
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return _BIND.sub(number, statement).encode(), tuple(names)


def _send(connection: PipelineConnection, queries: Sequence[_Query]) -> list[_Sent]:
    pgconn, prepared = connection.pgconn, connection.prepared
    new: dict[_Key, bytes] = {}
    sent = []
    for query in queries:
        if query.params is None:
            pgconn.send_query_params(query.text, None)
            sent.append(_Sent(b""))
            continue
        key = (query.text, query.types)
        name = prepared.get(key) or new.get(key) or b""
        if not name and len(prepared) + len(new) < _PREPARED_MOST:
            name = new[key] = b"byokeep_%d" % (len(prepared) + len(new))
            pgconn.send_prepare(name, query.text, param_types=query.types or None)
            sent.append(_Sent(name, key))
        if name:
            pgconn.send_query_prepared(name, query.params, param_formats=query.formats)
        else:
            pgconn.send_query_params(query.text, query.params, param_types=query.types, param_formats=query.formats)
        sent.append(_Sent(name))
    pgconn.pipeline_sync()
    return sent


def _next(connection: PipelineConnection) -> PQGen[PGresult | None]:
    """Return the next result; None = the command has no more."""
    pgconn = connection.pgconn
    while pgconn.is_busy():
        if (yield Wait.R):
            pgconn.consume_input()
    if pgconn.status == ConnStatus.BAD:
        raise psycopg.OperationalError("connection lost")
    return pgconn.get_result()


def _take(
    connection: PipelineConnection, adapting: Transformer, sent: _Sent, result: PGresult, answers: Answers
) -> None:
    status = result.status
    if status not in _DONE:
        if status == ExecStatus.FATAL_ERROR and answers.error is None:
            answers.error = psycopg.errors.error_from_result(result, encoding=_ENCODING)
    elif sent.key is not None:
        connection.prepared[sent.key] = sent.name
    else:
        answers.rows.append(_rows(connection, adapting, sent.name, result) if status == _ROWS else [])


def _rows(connection: PipelineConnection, adapting: Transformer, name: bytes, result: PGresult) -> Rows:
    columns = connection.columns.get(name)
    if columns is None:
        columns = [(result.fname(at) or b"").decode() for at in range(result.nfields)]
        if name:
            connection.columns[name] = columns
    adapting.set_pgresult(result)
    return adapting.load_rows(0, result.ntuples, lambda values: dict(zip(columns, values, strict=True)))


_IDLE: Final = TransactionStatus.IDLE


class Connections:
    """At most ``size`` connections to ``url`` (a URL of the settings)."""

    def __init__(self, url: str, *, size: int, name: str) -> None:
        self._url, self._name = url, name
        self._passfile = address_of(url).get("passfile")
        self._free = asyncio.Semaphore(size)
        self._idle: list[PipelineConnection] = []
        self._closed = False

    async def take(self) -> tuple[PipelineConnection, bool]:
        """Return a connection, and whether it is new; one that was idle may have died meanwhile.

        Raises:
            Unavailable: ``no_connection_free``: none became free in time; ``database_unavailable``: no server.
        """
        with refusing("no_connection_free", Unavailable, on=TimeoutError, next_step="Try again in a moment."):
            async with asyncio.timeout(CONNECT_S if self._free.locked() else None):
                await self._free.acquire()
        login = self._login()
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and (login is None or login == connection.login):
                return connection, False
            _throw_away(connection)
        try:
            return await self._connect(), True
        except BaseException:
            self._free.release()
            raise

    def give(self, connection: PipelineConnection) -> None:
        """Take a connection back. One that is inside a transaction, or broken, is discarded."""
        self._free.release()
        if not self._closed and not connection.closed and connection.pgconn.transaction_status == _IDLE:
            self._idle.append(connection)
        else:
            _throw_away(connection)

    def drop(self, connection: PipelineConnection) -> None:
        """Discard a connection without asking its server anything."""
        self._free.release()
        _throw_away(connection)

    async def close(self) -> None:
        """Close the idle connections, and the others as they come back."""
        self._closed = True
        while self._idle:
            _throw_away(self._idle.pop())

    def _login(self) -> _Stamp | None:
        """Return which password file there is now: no connection uses a replaced login any more."""
        if self._passfile is not None:
            with contextlib.suppress(OSError):
                found = os.stat(self._passfile)  # noqa: PTH116 - asked for each transaction
                return found.st_ino, found.st_mtime_ns
        return None

    async def _connect(self) -> PipelineConnection:
        failure: ByokeepError
        try:
            login = self._login()
            made = await PipelineConnection.connect(
                **driver_arguments(self._url, self._name), autocommit=True, row_factory=dict_row,
                cursor_factory=psycopg.AsyncCursor,
            )  # fmt: skip
            made.login = login
            return made
        except (psycopg.Error, OSError) as error:
            failure = translate(error)
            # The driver's frames hold what it opened, in a circle: a server that hung would have all of them connected
            # until the garbage collector comes, and in the end no room for another.
            traceback.clear_frames(error.__traceback__)
        raise failure


def _throw_away(connection: PipelineConnection) -> None:
    with contextlib.suppress(psycopg.Error):
        connection.pgconn.finish()
