"""Searches the logs and spans of a time span for an exact value, in whatever encoding it may stand there.

Rules
- Every source is read to its end or the search is not readable; a source that is not there is not readable.
- A line counts when its own time says that it is of the span; all from a little before it on is searched, counted or
  not, and nothing older: the cost follows what was written, not what the logs have grown to.
- Counts leave, nothing else: no line, no place in a line.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from byokeep.core.secret import Secret
from byokeep.jobs.worker_app import LeakCount
from byokeep_redact.canary import Canary
from byokeep_redact.search import Sweep

TAIL: Final = 64 << 20  # bytes of a source that are looked at
EARLIER: Final = timedelta(seconds=10)  # lines of several writers may stand in another order than their times
_CLOSE: Final = 1 << 16  # bytes: no need to look closer than this
_TIMES: Final = ("at", "@timestamp", "time", "timestamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFiles:
    """Where the processes write.

    Attributes:
        logs: Log files, one JSON object a line where they are ours.
        spans: Span files, one JSON object a line.
        flush: Called before a search, so that what this process holds back is written.
    """

    logs: Sequence[Path]
    spans: Sequence[Path]
    flush: Callable[[], None] = lambda: None

    async def search(self, value: Secret, since: datetime) -> LeakCount:
        """Search everything written since a time; raises nothing, an unreadable source says so in the count."""
        self.flush()
        return await asyncio.to_thread(self._search, value, since)

    def _search(self, value: Secret, since: datetime) -> LeakCount:
        try:
            sweep = Sweep([Canary("value", value.reveal())])
        except ValueError:  # too short to be searched for
            return LeakCount(sources=0, lines=0, spans=0, found=0, readable=False)
        counts = {"lines": 0, "spans": 0}
        found, readable = 0, bool(self.logs and self.spans)
        for kind, paths in (("lines", self.logs), ("spans", self.spans)):
            for path in paths:
                tail = _tail(path, since)
                if tail is None:
                    readable = False
                    continue
                tail = tail[_begin(tail, since - EARLIER) :]
                report = sweep.scan_bytes(tail, source=path.name)
                found += len(report.findings)
                readable = readable and not report.unreadable
                counts[kind] += _lines_since(tail, since)
        return LeakCount(
            sources=len(self.logs) + len(self.spans), lines=counts["lines"], spans=counts["spans"], found=found,
            readable=readable,
        )  # fmt: skip


def _tail(path: Path, since: datetime) -> bytes | None:
    """Return the end of a file that holds everything since a time, None when that cannot be had."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL))
            data = file.read()
    except OSError:
        return None
    if size <= TAIL:
        return data
    first = next((at for line in data.splitlines()[1:] if (at := _time_of(line)) is not None), None)
    return data if first is not None and first < since else None


def _begin(data: bytes, since: datetime) -> int:
    """Return where the lines since a time begin, or a little before; 0 for lines without times.

    So a search costs what was written since, not what all the logs have grown to.
    """
    low, high = 0, len(data)  # what stands at low is older than since, or is the very beginning
    while high - low > _CLOSE:
        middle = (low + high) // 2
        start = data.find(b"\n", middle, high) + 1
        at = _first_time(data, start, high) if start else None
        if at is not None and at < since:
            low = start
        else:
            high = middle
    return low


def _first_time(data: bytes, start: int, end: int) -> datetime | None:
    while 0 <= start < end:
        stop = data.find(b"\n", start, end)
        if stop < 0:
            return None
        if (at := _time_of(data[start:stop])) is not None:
            return at
        start = stop + 1
    return None


def _lines_since(data: bytes, since: datetime) -> int:
    return sum(1 for line in data.splitlines() if (at := _time_of(line)) is not None and at >= since)


def _time_of(line: bytes) -> datetime | None:
    try:
        said: Any = json.loads(line)
        if not isinstance(said, dict):
            return None
        if isinstance(ended := said.get("end_ns"), int):
            return datetime.fromtimestamp(ended / 1e9, UTC)
        text = next((said[name] for name in _TIMES if isinstance(said.get(name), str)), None)
        at = None if text is None else datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    except (ValueError, OverflowError, OSError):
        return None
    return at if at is not None and at.tzinfo is not None else None
