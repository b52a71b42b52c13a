"""Ways in which an application splits, wraps or misplaces a value without meaning to.

Each takes a logger, the mark of the sample (it must come out) and the value; what it does is what real code did.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Way = Callable[[logging.Logger, str, str], None]


@dataclass(frozen=True, slots=True)
class _Settings:
    name: str
    token: str


class _Answer:
    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return f"<Answer {self._text!r}>"


def _halves(value: str) -> tuple[str, str]:
    middle = len(value) // 2
    return value[:middle], value[middle:]


def _quoted(value: str) -> str:
    return "".join(f"%{byte:02X}" for byte in value.encode())


def _two_arguments(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%s parts %s %s", mark, *_halves(value))


def _joined_arguments(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%s whole %s%s", mark, *_halves(value))


def _two_fields(log: logging.Logger, mark: str, value: str) -> None:
    first, second = _halves(value)
    log.error("%s %s", mark, {"part_a": first, "part_b": second})


def _two_lines(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%s\n%s\n%s", mark, *_halves(value))


def _nested(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%s %s", mark, {"a": [{"b": ({"c": [{"d": {"e": value}}]},)}]})


def _characters(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%s %s", mark, list(value))


def _bytes(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%s %r %r", mark, value.encode(), bytearray(value.encode()))


def _json_in_string(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%s %s", mark, json.dumps({"body": json.dumps({"inner": json.dumps([value])})}))


def _url(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%s https://api.example.com/?state=%s", mark, _quoted(value))


def _url_twice(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%s https://api.example.com/?state=%s", mark, urllib.parse.quote(_quoted(value)))


def _key_name(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%s %s", mark, {value: 1, "other": {value: None}})


def _named_arguments(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%(mark)s %(text)s", {"mark": mark, "text": value})


def _data_class(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%s %s", mark, _Settings("live", value))


def _object(log: logging.Logger, mark: str, value: str) -> None:
    log.error("%s %s", mark, [_Answer(value)])


def _bad_format(log: logging.Logger, mark: str, value: str) -> None:
    log.error(f"{mark} %s %s %d", value)  # noqa: G004 - a wrong call: logging prints its arguments to stderr
    log.error("%s", mark)


def _cause(log: logging.Logger, mark: str, value: str) -> None:
    try:
        try:
            raise LookupError(value)
        except LookupError as error:
            raise RuntimeError("outer") from error
    except RuntimeError:
        log.exception("%s", mark)


def _context(log: logging.Logger, mark: str, value: str) -> None:
    try:
        try:
            raise LookupError(value)
        except LookupError:
            int(value)
    except ValueError:
        log.exception("%s", mark)


def _note(log: logging.Logger, mark: str, value: str) -> None:
    try:
        error = RuntimeError("outer")
        error.add_note(value)
        raise error
    except RuntimeError:
        log.exception("%s", mark)


def _group(log: logging.Logger, mark: str, value: str) -> None:
    try:
        raise ExceptionGroup("several", [KeyError(value), ValueError("other")])
    except ExceptionGroup:
        log.exception("%s", mark)


def _thread_name(log: logging.Logger, mark: str, value: str) -> None:
    def fail() -> None:
        raise RuntimeError(mark)

    thread = threading.Thread(target=fail, name=value)
    thread.start()
    thread.join()


def _task_name(log: logging.Logger, mark: str, value: str) -> None:
    async def fail() -> None:
        raise RuntimeError(mark)

    async def run() -> None:
        task = asyncio.create_task(fail(), name=value)
        await asyncio.wait({task})
        del task
        gc.collect()  # nobody asked for the result: asyncio says so, with the task's name

    asyncio.run(run())


def _logger_name(log: logging.Logger, mark: str, value: str) -> None:
    log.getChild(value).error("%s", mark)


WAYS: Final[dict[str, Way]] = {
    "two-arguments": _two_arguments, "joined-arguments": _joined_arguments, "two-fields": _two_fields,
    "two-lines": _two_lines, "nested-6": _nested, "list-of-chars": _characters, "bytes": _bytes,
    "json-in-string": _json_in_string, "url-encoded": _url, "url-encoded-twice": _url_twice, "key-name": _key_name,
    "named-arguments": _named_arguments, "dataclass": _data_class, "object-repr": _object, "bad-format": _bad_format,
    "exception-cause": _cause, "exception-context": _context, "exception-note": _note, "exception-group": _group,
    "thread-name": _thread_name, "task-name": _task_name, "logger-name": _logger_name,
}  # fmt: skip
