"""The hooks into :mod:`logging` and loguru: every record of every logger, before any handler sees it.

Rules
- Records are cleaned where loggers hand them out and again after a handler's own filters; the text a formatter makes of
  a record is cleaned once more. So it does not matter who set up which handler when, or whether loggers propagate.
- The arguments are cleaned in their places, for formatters of access logs take them apart one by one. Number and types
  stay; a number that must not be shown becomes zero. What only the whole line shows to be a secret (`password=%s`) is
  in no argument either.
- No line is lost: a record that cannot be cleaned, or that no longer suits its formatter, is written as what is left.
- Handlers that want an exception get one without frames and without its text; loguru's becomes text below the message.
- A message that does not fit its arguments is written as it is, cleaned; it is not dumped on standard error.
"""

from __future__ import annotations

import copy
import importlib
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any, Final, cast
from weakref import WeakSet

from byokeep_redact.hooks.wall import REDACTION_ERROR, PatchingHook, Told, Wall, one_line, shown
from byokeep_redact.mask import MASKS

_DATA: Final = (str, bytes, list, tuple, Mapping, int, float, complex)
_EMPTY: Final = (bool, int, float, complex, bytes)
Args = tuple[Any, ...] | Mapping[str, Any]
Original = Callable[..., Any]


def told(clean: str, args: Args) -> str:
    """Return a template that gives this text with arguments of that number, whatever they are."""
    return clean.replace("%", "%%") + ("" if isinstance(args, Mapping) else "%.0s" * len(args))


def named(wall: Wall, args: Args) -> Args:
    """Return arguments without the text under names that say secret, `{authorization}i` too. Raises RedactionFailed."""
    if not isinstance(args, Mapping):
        return args
    hidden = {n: wall.named(n, item) for n, item in args.items() if isinstance(item, str) and wall.secret_name(n)}
    return _typed(args, {**args, **hidden}) if hidden else args


def cleaned(wall: Wall, args: Args) -> Args:
    """Return arguments without secrets, each in its place and of its type. Raises RedactionFailed."""
    if isinstance(args, Mapping):
        kept: dict[str, Any] = {
            name: _lined(item) for name, item in wall.value({n: _plain(item) for n, item in args.items()}).items()
        }
        if len(kept) != len(args):
            raise ValueError("names_lost")
        return _typed(args, {n: _alike(item, new) for (n, new), item in zip(kept.items(), args.values(), strict=True)})
    plain = tuple(_plain(item) for item in args)
    new = wall.value(plain)
    if not isinstance(new, tuple) or len(new) != len(args):  # read as one value: bytes in numbers
        new = tuple(wall.value(item) for item in plain)
    return tuple(_alike(item, _lined(part)) for item, part in zip(args, new, strict=True))


def shown_in(wall: Wall, clean: str, args: Args) -> Args:
    """Return cleaned arguments without those that the clean line shows less often: it tells that they hold a secret."""
    items = args.values() if isinstance(args, Mapping) else args
    line, given = MASKS.sub("\0", clean), "\n".join(MASKS.sub("", str(item)) for item in items)

    def kept(item: Any) -> Any:
        if item is None or (isinstance(item, int | float | complex) and str(item) in clean):
            return item
        text = MASKS.sub("", str(item))
        if not text or _words(text, line) >= _words(text, given):
            return item
        return _alike(item, wall.redactor.mask_of(shown(item).encode("utf-8", "surrogatepass"), "secret"))

    if isinstance(args, Mapping):
        return _typed(args, {name: kept(item) for name, item in args.items()})
    return tuple(map(kept, args))


def _words(text: str, where: str) -> int:
    """Return how often a text stands somewhere, not as part of a word, as short ones do by chance."""
    pieces = pairwise(f"\0{where}\0".split(text))
    return sum(not (left or text)[-1].isalnum() and not (right or text)[0].isalnum() for left, right in pieces)


def _alike(item: object, new: Any) -> Any:
    """Return what stands for an argument, as a number or as bytes if the argument was one."""
    return type(item)() if type(item) in _EMPTY and type(new) is not type(item) else new


def _typed(args: Mapping[str, Any], kept: dict[str, Any]) -> Mapping[str, Any]:
    """Return named arguments as a mapping of the type they came in, which may look names up in a way of its own."""
    if type(args) is dict or not isinstance(args, dict) or getattr(args, "__dict__", None):
        return kept
    made = cast(dict[str, Any], copy.copy(args))
    made.clear()
    made.update(kept)
    return made


def _plain(item: object) -> object:
    """Return data as it is and the text of everything else."""
    if isinstance(item, _DATA):
        return item
    try:
        return str(item)
    except Exception:  # a broken object must not take the record with it
        return shown(item)


def _lined(item: object) -> object:
    return one_line(item) if isinstance(item, str) else item


_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_NAMES: Final = (
    "name", "levelname", "threadName", "processName", "taskName", "funcName", "module", "filename", "pathname",
)  # fmt: skip
# Of a record without anything of its own: how many fields it has, which are text, and what its arguments may be.
_FIELDS: Final = len(logging.makeLogRecord({}).__dict__)
_NAMED: Final = tuple(name for name in _NAMES if name != "filename" and name in logging.makeLogRecord({}).__dict__)
_LONG: Final = 1 << 14  # characters of a message that is not read together with its parts
_SIMPLE: Final = frozenset({str, int, float, bool, type(None)})


class LoggingHook(PatchingHook):
    """Puts the wall between loggers and handlers."""

    def __init__(self, wall: Wall) -> None:
        super().__init__(wall)
        self._cleaned: WeakSet[logging.LogRecord] = WeakSet()
        self._changed: WeakSet[logging.LogRecord] = WeakSet()

    def place(self) -> None:
        """Take the choke points of the module."""
        self._take(logging.Logger, "callHandlers", self._call_handlers)
        self._take(logging.Handler, "handle", self._handle)
        self._take(logging.Handler, "format", self._format)
        self._take(logging.Handler, "handleError", self._handle_error)
        self._take(logging.Formatter, "formatException", self._format_exception)

    def clean(self, record: logging.LogRecord) -> None:
        """Take the secrets out of a record, in place; one that cannot be cleaned keeps its place and level alone."""
        try:
            if self._quiet(record):
                return
            self._names(record)
            self._message(record)
            self._exception(record)
        except Exception:  # better no record than a raw one
            _blank(record)
        self._changed.add(record)

    def _quiet(self, record: logging.LogRecord) -> bool:
        """Whether a plain record holds no secret, at the cost of one look; ``False`` = look closely."""
        fields, args = record.__dict__, record.args
        if len(fields) > _FIELDS or record.exc_info or record.stack_info or type(record.msg) is not str:
            return False
        parts = [str(fields[name]) for name in _NAMED]
        if args:
            if type(args) is not tuple or not _SIMPLE.issuperset(map(type, args)):
                return False
            parts += [str(item) for item in args]
        try:
            said = record.getMessage()
        except Exception:  # the message does not fit its arguments
            return False
        if len(said) > _LONG:
            return False
        parts += [record.msg, said]
        text = "\n".join(parts)
        return "".join(parts).isprintable() and self._wall.text(text) is text

    def _names(self, record: logging.LogRecord) -> None:
        found = {name: record.__dict__[name] for name in _NAMES if isinstance(record.__dict__.get(name), str)}
        extra = {name: item for name, item in record.__dict__.items() if name not in _STANDARD and not _passes(item)}
        clean = self._wall.value(found | extra)
        for name in found:
            record.__dict__[name] = one_line(clean[name])
        if extra:
            for name in extra:
                del record.__dict__[name]
            record.__dict__.update({name: item for name, item in clean.items() if name not in found})

    def _message(self, record: logging.LogRecord) -> None:
        wall = self._wall
        if isinstance(record.msg, Mapping) and not record.args:  # structlog's, on its way to its own formatter
            record.msg = wall.value(record.msg)
            return
        if record.args:
            record.args = named(wall, record.args)
        try:
            said = record.getMessage()
        except Exception:  # the message does not fit its arguments
            said = f"{record.msg} [arguments that do not fit: {shown(record.args)}]"
            record.msg, record.args = wall.line(said), ()
            return
        clean = wall.line(said)
        if isinstance(record.args, tuple | Mapping) and record.args:
            record.msg, record.args = self._by_parts(record.msg, record.args, clean)
        else:
            record.msg, record.args = clean, ()

    def _by_parts(self, msg: object, args: Args, clean: str) -> tuple[str, Any]:
        """Return message and arguments of which both the parts and the whole are clean; the whole is `clean`."""
        wall, kept = self._wall, cleaned(self._wall, args)
        template = wall.line(msg) if isinstance(msg, str) else ""
        with suppress(Exception):  # a part has become text where the template wants an object of its type
            if template % kept == clean:
                return template, kept
        return told(clean, kept), shown_in(wall, clean, kept)

    def _exception(self, record: logging.LogRecord) -> None:
        wall, found = self._wall, record.exc_info
        if found and isinstance(found[1], BaseException):
            if not isinstance(found[1], Told):
                told = wall.told(found[1])
                record.exc_info, record.exc_text = (type(told), told, None), told.report
        elif record.exc_text:
            record.exc_text = wall.text(record.exc_text)
        if record.stack_info:
            record.stack_info = wall.text(record.stack_info)

    def _call_handlers(self, original: Original, logger: logging.Logger, record: logging.LogRecord) -> None:
        self.clean(record)
        self._cleaned.add(record)
        original(logger, record)

    def _handle(self, _original: Original, handler: logging.Handler, record: logging.LogRecord) -> Any:
        passed: Any = handler.filter(record)
        if passed:
            record = passed if isinstance(passed, logging.LogRecord) else record
            if handler.filters or record not in self._cleaned:
                self.clean(record)
            handler.acquire()
            try:
                handler.emit(record)
            finally:
                handler.release()
        return passed

    def _format(self, original: Original, handler: logging.Handler, record: logging.LogRecord) -> str:
        try:
            text = original(handler, record)
        except Exception:
            if record not in self._changed:
                raise
            text = f"{record.levelname} {record.getMessage()}"  # without what its formatter wants of it
        return self._wall.or_error(lambda: self._wall.text(text))

    def _format_exception(self, original: Original, formatter: logging.Formatter, found: Any) -> str:
        error = found[1] if isinstance(found, tuple) else None
        if isinstance(error, Told):
            return error.report
        return self._wall.or_error(lambda: self._wall.text(original(formatter, found)))

    def _handle_error(self, _original: Original, _handler: logging.Handler, _record: logging.LogRecord) -> None:
        if logging.raiseExceptions and sys.stderr:
            error, stack = sys.exc_info()[1], "".join(traceback.format_stack(limit=8))
            sys.stderr.write(self._wall.or_error(lambda: self._dump(error, stack), end="\n"))

    def _dump(self, error: BaseException | None, stack: str) -> str:
        said = self._wall.report(error) if error is not None else ""
        return self._wall.text(f"--- Logging error ---\n{said}\nCall stack:\n{stack}")


def _passes(item: object) -> bool:
    """Whether an extra stays the object it is: loggers, which structlog passes to its own formatter."""
    return isinstance(item, logging.Logger) or type(item).__module__.partition(".")[0] == "structlog"


def _blank(record: logging.LogRecord) -> None:
    level = record.levelno
    kept = {"levelno": level, "levelname": logging.getLevelName(level), "created": record.created}
    fresh = logging.LogRecord(REDACTION_ERROR, level, "", 0, REDACTION_ERROR, (), None)
    record.__dict__.clear()
    record.__dict__.update(fresh.__dict__ | kept | {"threadName": "", "processName": "", "taskName": None})


_LOGURU_TEXTS: Final = ("name", "function", "module")
_LOGURU_NAMED: Final = ("thread", "process")


class LoguruHook(PatchingHook):
    """Puts the wall before every sink."""

    def place(self) -> None:
        """Take the handlers' one entry."""
        self._take(importlib.import_module("loguru._handler").Handler, "emit", self._emit)

    def _emit(self, original: Original, handler: Any, record: dict[str, Any], *more: Any) -> None:
        try:
            record = self._clean(record)
        except Exception:  # better no record than a raw one
            record = record | {"message": REDACTION_ERROR, "exception": None, "extra": {}}
            record |= {name: _renamed(record[name], "") for name in _LOGURU_NAMED}
        original(handler, record, *more)

    def _clean(self, record: dict[str, Any]) -> dict[str, Any]:
        wall = self._wall
        message = wall.line(record["message"])
        error = record["exception"].value if record["exception"] else None
        if error is not None:
            message += "\n" + wall.report(error)
        texts = {name: wall.line(record[name]) for name in _LOGURU_TEXTS if isinstance(record[name], str)}
        named = {name: _renamed(record[name], wall.line(record[name].name)) for name in _LOGURU_NAMED}
        extra = wall.value(record["extra"])
        return record | texts | named | {"message": message, "exception": None, "extra": extra}


def _renamed(found: Any, name: str) -> Any:
    """Return loguru's own record of a thread or process under another name."""
    return type(found)(found.id, name)
