"""Reads OpenBao's audit files: JSON lines into :class:`~byokeep.kernel.ports.StoreEntry`, allow-listed fields only.

Rules
- Strict: a whole line that is no entry makes the file unreadable; nothing is skipped in silence.
- A crash or a full disk can tear a line. Torn at the end of the file: not there yet. Torn in the middle, with a whole
  entry behind it: an entry of kind ``torn`` stands for what was lost, and the other device's file has it.
- A line has a bound; a file may be of any size and is searched from ``since`` on.

It may not keep what it read, and may not put any of it into an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from byokeep.core.errors import Unavailable
from byokeep.kernel.ports import HASHED_NAME, StoreEntry

MAX_LINE: Final = 64 << 20  # bytes; a request may have 32 MiB, and each short string in it becomes a hash
LOGIN_PATHS: Final = frozenset({"auth/lease/cel/login", "auth/lease/login"})
ENTITY_PATH: Final = "identity/entity/id/"
NAMED_PATH: Final = f"transit/keys/{HASHED_NAME}"
_START: Final = b'{"time":"'
_SLACK: Final = timedelta(seconds=5)  # entries of parallel requests are not strictly in order
_SMALL: Final = 1 << 20  # bytes below which a file is read from its start


@dataclass(frozen=True, slots=True)
class EntryBatch:
    """Entries of a stretch of a file, and the offset behind the last whole line."""

    entries: list[StoreEntry]
    offset: int


def first_offset(path: Path, since: datetime) -> int:
    """Return an offset at a line start with every entry at or after ``since`` behind it. Raises Unavailable."""
    wanted = since - _SLACK
    with _opened(path) as file:
        low, high = 0, os.fstat(file.fileno()).st_size
        while high - low > _SMALL:
            middle = (low + high) // 2
            file.seek(middle)
            file.readline(MAX_LINE)
            start, line = file.tell(), file.readline(MAX_LINE)
            if start >= high or not line.endswith(b"\n"):
                high = middle
                continue
            if _entries("", line, None)[-1].at < wanted:
                low = start
            else:
                high = middle
        return low


def first_time(path: Path) -> datetime | None:
    """Return when the first entry of a file was written; None when there is no file, no entry or no time in it."""
    try:
        with path.open("rb") as file:
            return _entries("", file.readline(MAX_LINE), None)[0].at
    except (OSError, Unavailable):
        return None


def batches(path: Path, device: str, offset: int, size: int = 1 << 22) -> Iterator[EntryBatch]:
    """Yield the whole lines from ``offset`` on, about ``size`` bytes at a time. Raises Unavailable."""
    with _opened(path) as file:
        file.seek(offset)
        last: datetime | None = None
        while True:
            found: list[StoreEntry] = []
            until, line = offset + size, b""
            while offset < until:
                line = file.readline(MAX_LINE)
                if not line.endswith(b"\n"):
                    break  # the end, or the last line, still being written
                found += _entries(device, line, last)
                last = found[-1].at
                offset += len(line)
            yield EntryBatch(found, offset)
            if offset < until:
                if len(line) == MAX_LINE:
                    raise Unavailable("store_audit_unreadable", device=device)
                return


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError:
        raise Unavailable("store_audit_unreadable") from None


def _entries(device: str, line: bytes, last: datetime | None) -> list[StoreEntry]:
    """Parse one line: one entry, or a torn one and the entry that was written behind it."""
    try:
        return [_entry(device, line)]
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        pass
    start = line.rfind(_START)
    if start > 0:
        try:
            whole = _entry(device, line[start:])
            return [_torn(device, last or whole.at), whole]
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            pass
    raise Unavailable("store_audit_unreadable", device=device)


def _entry(device: str, line: bytes) -> StoreEntry:
    document = json.loads(line)
    request, auth = document["request"], document.get("auth") or {}
    answered = (document.get("response") or {}).get("auth") or {}
    headers, data = request.get("headers") or {}, request.get("data") or {}
    path, operation = _text(request.get("path")), _text(request.get("operation"))
    said = (document.get("response") or {}).get("data") or {}
    at = datetime.fromisoformat(document["time"])
    if at.tzinfo is None or document["type"] not in ("request", "response"):
        raise ValueError
    return StoreEntry(
        device=device,
        request_id=_text(request["id"]),
        at=at,
        kind=document["type"],
        operation=operation,
        path=path,
        entity_id=_text(auth.get("entity_id") or answered.get("entity_id")),
        lease_header=_text(next(iter(headers.get("x-byokeep-lease") or []), "")),
        login_jwt_hash=_text(data.get("jwt")) if path in LOGIN_PATHS else "",
        status_error=bool(document.get("error")) or set(said) == {"error"},  # the store's two ways to refuse
        remote=_text(request.get("remote_address")),
        lets_in=operation == "update" and path.startswith(ENTITY_PATH) and data.get("disabled") is not True,
        name_hash=_text(said.get("name")) if path == NAMED_PATH and operation == "read" else "",
    )


def _torn(device: str, at: datetime) -> StoreEntry:
    return StoreEntry(
        device=device,
        request_id="",
        at=at,
        kind="torn",
        operation="",
        path="",
        entity_id="",
        lease_header="",
        login_jwt_hash="",
        status_error=True,
        remote="",
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError
    return value
