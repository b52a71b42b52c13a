"""Log lines of a closed catalogue: UTC time, level, event, process, actor, tenant, request, outcome, listed fields.

Rules
- ``event`` is a constant of the program, listed in ``events.toml``; there is no message text. An unlisted event is
  written as ``unlisted_event`` without its fields. A field that is not listed for its event is dropped. Both are
  counted, and a test reads every call of the program, so neither is ever released. docs/events.md shows the list.
- No bodies, headers, messages or whole objects. Values are ids, enums, integers and short tokens; anything else becomes
  its type's name.
- The redactor comes after the list: a value that passes the list but has a secret's shape, or is a known secret, does
  not pass the redactor. It guards this whole process, including its libraries and crashes. Without its rules nothing is
  configured.
- If writing fails the record is dropped and counted: logs may be lost, work may not (see G-17 in the runbook's gaps).
- What is printed past the log (by a library, a child, a forgotten ``print``) is taken off standard output and error,
  counted in bytes, and dropped. The streams are given back at the end, so that a command can still print its own error.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import structlog

from byokeep.core.errors import ByokeepError
from byokeep_redact.engine import default
from byokeep_redact.hooks.structlog import StructlogWall
from byokeep_redact.hooks.wall import REDACTION_ERROR, Wall
from byokeep_redact.install import install

REQUIRED: Final = ("actor", "tenant", "request_id", "outcome")  # on every line; null if there is none
UNLISTED: Final = "unlisted_event"

_TABLE: Final = tomllib.loads(Path(__file__).with_name("events.toml").read_text("utf-8"))
EVENTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {name: frozenset(fields.split()) for name, fields in _TABLE.items()}
)
# Attributes of spans have a list of their own: ids and figures of a task.
SPAN_FIELDS: Final = frozenset(
    {"job", "provider", "version", "count", "sop", "ref", "epoch", "route", "request", "run", "work"}
)


_NOWHERE: Final = structlog.wrap_logger(structlog.ReturnLogger(), processors=[])
_TOKEN: Final = re.compile(r"[A-Za-z0-9_.:/{}+ -]{0,160}\Z")
dropped_fields = 0
dropped_records = 0
_process = "unnamed"


def _allow_list(_: object, __: str, record: MutableMapping[str, Any]) -> Mapping[str, Any]:
    front = {"at": record["timestamp"], "level": record["level"]}
    try:
        return front | _listed(record)
    except Exception:  # better no line than a raw one
        return _not_redacted(front)


def _not_redacted(record: Mapping[str, Any]) -> dict[str, Any]:
    global dropped_fields
    dropped_fields += 1
    return {"at": record["at"], "level": record["level"]} | _empty(REDACTION_ERROR)


def _listed(record: Mapping[str, Any]) -> dict[str, Any]:
    global dropped_fields
    name = record["event"]
    event = name if isinstance(name, str) and name in EVENTS else UNLISTED
    line = _empty(event)
    for field, value in record.items():
        if field in EVENTS[event] or (field in REQUIRED and event != UNLISTED):
            line[field] = _plain(value)
        elif field not in {"timestamp", "level", "event"}:
            dropped_fields += 1
    if event != name:
        dropped_fields += 1
    return line


def _empty(event: str) -> dict[str, Any]:
    return {"event": event, "process": _process} | dict.fromkeys(REQUIRED)


def _plain(value: object) -> str | int | float | None:
    if value is None or isinstance(value, int | float):
        return value
    text = str(value) if isinstance(value, str | UUID) else None
    return text if text is not None and _TOKEN.match(text) else f"<{type(value).__name__}>"


_FOR_A_GROUP: Final = stat.S_ISGID | stat.S_IRWXG
FULL: Final = 64 << 20  # bytes after which a new log begins; a leak check reads as many


class Lossy:
    """A log file that loses lines rather than work: what the disk does not take is dropped and counted.

    A full one replaces the one before, NAME``.1``. Several processes may write to one file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._opened()
        self._lock = Lock()
        self._torn = False

    def _opened(self) -> int:
        # A directory made for a group is shared by processes of several users: spans by all, and the worker reads all.
        shared = self._path.parent.stat().st_mode & _FOR_A_GROUP == _FOR_A_GROUP
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW * shared
        try:
            log = os.open(self._path, flags, 0o600)
        except PermissionError:
            if not shared:
                raise
            time.sleep(0.05)  # another user's process may have made it, and not opened it to the group yet
            log = os.open(self._path, flags, 0o600)
        if shared and os.fstat(log).st_uid == os.geteuid():
            os.fchmod(log, 0o660)
        return log

    def _begin_anew(self) -> None:
        with self._lock:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # the first process that shares the file moves it
            try:
                at = self._path.stat() if self._path.exists() else None
                if at and os.path.samestat(at, os.fstat(self._descriptor)) and at.st_size >= FULL:
                    self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                fresh = self._opened()  # after the move: if that fails for each line, none is left open
                os.dup2(fresh, self._descriptor, inheritable=False)  # another thread may be writing to it
                os.close(fresh)
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def write(self, text: str) -> None:
        """Add a line."""
        global dropped_records
        line = ("\n" + text if self._torn else text).encode()
        try:
            if os.fstat(self._descriptor).st_size >= FULL:
                self._begin_anew()
            written = os.write(self._descriptor, line)
        except OSError:
            dropped_records += 1
            return
        self._torn = written < len(line)
        dropped_records += self._torn

    def flush(self) -> None:
        """Do nothing: nothing is held back."""


class _Foreign(logging.Handler):
    """Keeps where a library logged and drops what it said."""

    def __init__(self, logger: structlog.typing.FilteringBoundLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        try:
            error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
            place = f"{record.module}:{record.lineno}"
            write = self._logger.warning if record.levelno >= logging.WARNING else self._logger.debug
            write("library_log", logger=record.name, place=place, error=error)
        except Exception:
            global dropped_fields
            dropped_fields += 1


def configure(process: str, *, path: Path | None = None, level: int = logging.INFO) -> None:
    """Send every log record of this process to ``path`` (created 0600) or standard error.

    Args:
        process: The name on each line.
        path: Log file; ``None`` = standard error.
        level: Lowest level kept. It does not affect audit.

    Raises:
        RuleError: There are no rules to redact by; the process must not start.
    """
    global _process
    install()
    _process = process
    stream: Any = sys.stderr
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        stream = Lossy(path)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _allow_list,
            StructlogWall(Wall(default()), one_line=False, failed=_not_redacted),
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    logger = structlog.get_logger()
    root = logging.getLogger()
    root.handlers[:] = [_Foreign(logger)]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False
    sys.excepthook = partial(_uncaught, path)


def _uncaught(path: Path | None, kind: type[BaseException], _value: object, _trace: object) -> None:
    """Log an uncaught exception by its type only; if the log is a file, whoever started us is told as well."""
    get_log().error("uncaught_error", error=kind.__name__)
    if path is not None and sys.stderr is not None:
        sys.stderr.write(f"byokeep: an unexpected {kind.__name__} ended this; see {path}\n")


def warm() -> None:
    """Start the redactor's automaton now, which takes a moment, and not in the middle of some request."""
    default().warm()


def get_log() -> structlog.typing.FilteringBoundLogger:
    """Return the logger. Use: ``get_log().info("process_started", version=__version__)``.

    Before :func:`configure`, as in a command, it goes nowhere: structlog's own default would print it whole.
    """
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger() if structlog.is_configured() else _NOWHERE
    return logger


def code_of(error: Exception) -> str:
    """Return what a line may say of an error: a code of ours, the system's number, or its type."""
    if isinstance(error, ByokeepError):
        return error.code
    return f"errno/{error.errno}" if isinstance(error, OSError) else f"internal/{type(error).__name__}"


_STREAMS: Final = (1, 2)
_WAIT_S: Final = 1.0  # a child that outlives us may hold the pipe open


@contextmanager
def no_loose_output() -> Iterator[None]:
    """Drop what this process and its children print, by file descriptor. Configure the log first."""
    kept = [os.dup(stream) for stream in _STREAMS]
    reader, writer = os.pipe()
    for stream in _STREAMS:
        os.dup2(writer, stream)
    os.close(writer)
    drain = Thread(target=_drain, args=(reader,), name="loose-output", daemon=True)
    drain.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, before in zip(_STREAMS, kept, strict=True):
            os.dup2(before, stream)
            os.close(before)
        drain.join(_WAIT_S)


def _drain(reader: int) -> None:
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while chunk := pipe.read(1 << 16):
            get_log().warning("loose_output", size=len(chunk))
