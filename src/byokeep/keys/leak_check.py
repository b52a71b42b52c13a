"""SOP 5.1 step 6: the exact value is searched in the logs and spans of its own onboarding.

Rules
- Nothing looked at is no pass: unreadable sources, zero lines or zero spans make the result unknown (R5.1-11).
- Only counts are kept.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from byokeep.core.errors import ByokeepError
from byokeep.core.events import FieldValue
from byokeep.core.secret import Secret
from byokeep.jobs.worker_app import LeakCount, WorkerApp

SLACK: Final = timedelta(seconds=5)  # between the database's clock and those that stamp log lines
_NOTHING: Final = LeakCount(sources=0, lines=0, spans=0, found=0, readable=False)


class LeakVerdict(StrEnum):
    """How a search ended."""

    PASS = "pass"  # noqa: S105 - a verdict
    FOUND = "found"
    UNKNOWN = "unknown"


async def search(app: WorkerApp, value: Secret, since: datetime) -> LeakCount:
    """Search everything written since the run began. A search that failed looked at nothing."""
    try:
        return await app.search_logs(value, since - SLACK)
    except ByokeepError:
        return _NOTHING


def verdict(count: LeakCount) -> LeakVerdict:
    """Judge a search; a find counts even when other sources were unreadable."""
    if count.found:
        return LeakVerdict.FOUND
    if count.readable and count.lines > 0 and count.spans > 0:
        return LeakVerdict.PASS
    return LeakVerdict.UNKNOWN


def fields(count: LeakCount) -> dict[str, FieldValue]:
    """Return what goes on record."""
    return {
        "sources": count.sources,
        "lines": count.lines,
        "spans": count.spans,
        "found": count.found,
        "verification": verdict(count).value,
    }
