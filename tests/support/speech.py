"""Ways in which a Python program says a value it should not say, and what is needed to hear them."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import string
import sys
import threading
import traceback
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from byokeep_redact.canary import new_canary
from byokeep_redact.encodings import recoverable
from byokeep_redact.install import Installed, current, install

ROOT = Path(__file__).parents[2]


def opaque(size: int = 64) -> str:
    """A value without a vendor's shape: 64 random characters."""
    return "".join(secrets.choice(string.ascii_letters + string.digits + "-_") for _ in range(size))


def phrase() -> str:
    """A value that only those who know it recognise: made-up words."""
    return ".".join("".join(secrets.choice(part) for part in ("bdfgklmnprstvz", "aeiou") * 2) for _ in range(9))


def shaped() -> str:
    """A value with the shape of a vendor's key."""
    return new_canary("openai").decode()


def leaks(text: str, value: str) -> bool:
    """Whether any 12 characters in a row of the value can be got back from what was said."""
    return recoverable(text.encode("utf-8", "replace"), value.encode())


@contextmanager
def guarded(on: bool = True, *known: str) -> Iterator[Installed | None]:
    """The redactor on, with known values, or off; at the end it is as it was before."""
    before = current()
    if before is not None:
        before.uninstall()
    installed = install() if on else None
    held = [installed.redactor.register(value) for value in known] if installed else []
    try:
        yield installed
    finally:
        for registration in held:
            registration.forget()
        if installed is not None:
            installed.uninstall()
        if before is not None:
            install()


@dataclass
class Holder:
    """An object whose ``repr`` shows all of it."""

    api_thing: str


def _raise(value: str) -> None:
    inside = value
    raise ValueError(f"refused {inside}")


def _chain(value: str) -> None:
    try:
        _raise(value)
    except ValueError:
        raise RuntimeError("while handling") from KeyError(value)


def _exception(logger: logging.Logger, act: Callable[[str], None], value: str) -> None:
    try:
        act(value)
    except Exception:
        logger.exception("it failed")


def _only_local(value: str) -> None:
    kept = {"k": value}
    raise LookupError(f"no {len(kept)}")


def _thread(logger: logging.Logger, value: str) -> None:
    thread = threading.Thread(target=lambda: logger.warning("from a thread"), name=f"worker {value}")
    thread.start()
    thread.join()


def _half(value: str) -> tuple[str, str]:
    middle = len(value) // 2
    return value[:middle], value[middle:]


def _group(value: str) -> None:
    raise ExceptionGroup("several", [ValueError(value), TypeError(value)])


def _noted(value: str) -> None:
    error = ValueError("noted")
    error.add_note(f"with {value}")
    raise error


# How a value gets into a log record. Each is heard by a formatter that prints all of a record.
SAYINGS: dict[str, Callable[[logging.Logger, str], None]] = {
    "message": lambda log, value: log.warning("key " + value),  # noqa: G003 - what careless code does
    "argument": lambda log, value: log.warning("key %s", value),
    "repr argument": lambda log, value: log.warning("key %r", value),
    "bytes argument": lambda log, value: log.warning("key %s", value.encode()),
    "mapping": lambda log, value: log.warning("key %(a)s of %(b)d", {"a": value, "b": 7, "unused": value}),
    "unprinted argument": lambda log, value: log.warning("key %.1s", value),
    "object argument": lambda log, value: log.warning("key %s", Holder(value)),
    "error argument": lambda log, value: log.warning("failed: %s", ValueError(value)),
    "list argument": lambda log, value: log.warning("all %s", [1, {"deep": [value]}]),
    "no template": lambda log, value: log.warning({"body": value}),
    "exception": lambda log, value: _exception(log, _raise, value),
    "chain of causes": lambda log, value: _exception(log, _chain, value),
    "group": lambda log, value: _exception(log, _group, value),
    "note": lambda log, value: _exception(log, _noted, value),
    "local": lambda log, value: _exception(log, _only_local, value),
    "extra": lambda log, value: log.warning("done", extra={"ctx": value}),
    "nested extra": lambda log, value: log.warning("done", extra={"ctx": {"a": [{"b": (value,)}]}}),
    "extra's name": lambda log, value: log.warning("done", extra={value: 1}),
    "extra object": lambda log, value: log.warning("done", extra={"ctx": Holder(value)}),
    "thread's name": _thread,
    "logger's name": lambda log, value: log.getChild(value).warning("done"),
    "level's name": lambda log, value: log.handle(logging.makeLogRecord({"levelno": 30, "levelname": value})),
    "arguments that do not fit": lambda log, value: log.warning("key %s %s %d", value),  # noqa: PLE1206 - the fault it is about
    "too many arguments": lambda log, value: log.warning("key", value),  # noqa: PLE1205 - the fault it is about
}
# Forms that only a known value is recognised in.
EVASIONS: dict[str, Callable[[logging.Logger, str], None]] = {
    "two arguments": lambda log, value: log.warning("key %s%s", *_half(value)),
    "two fields": lambda log, value: log.warning("done", extra=dict(zip(("a", "b"), _half(value), strict=True))),
    "list of letters": lambda log, value: log.warning("key %s", list(value)),
    "hex": lambda log, value: log.warning("key %s", value.encode().hex()),
    "json in json": lambda log, value: log.warning("key %s", json.dumps(json.dumps({"v": value}))),
}


class Talkative(logging.Formatter):
    """Prints all of a record, locals of frames too."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [record.getMessage(), repr(record.args), repr(record.msg), repr(record.__dict__)]
        parts += [f"{name}={value!s}" for name, value in record.__dict__.items()]
        if record.exc_info and record.exc_info[1]:
            told = traceback.TracebackException(*record.exc_info, capture_locals=True)
            parts += [*told.format(), self.formatException(record.exc_info)]
        return " | ".join(parts)


async def program(body: str, value: str, *, on: bool, known: bool = True) -> str:
    """Run a program that finds the value in ``VALUE``; return all it printed. It must print REACHED by itself."""
    lines = ["import sys; VALUE = sys.stdin.readline().strip()"]
    if on:
        lines.append("import byokeep_redact; GUARD = byokeep_redact.install()")
        lines += ["GUARD.redactor.register(VALUE)"] if known else []
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "\n".join([*lines, body]), stdin=PIPE, stdout=PIPE, stderr=STDOUT,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(running.communicate(value.encode() + b"\n"), 60)
    except TimeoutError:
        running.kill()
        raise
    said = out.decode("utf-8", "replace")
    assert "REACHED" in said, said
    return said
