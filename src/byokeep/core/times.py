"""Times as people type them: a span such as 24h, a day, or a moment such as 2026-01-31T12:00:00Z."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from byokeep.core.errors import Rejected

_SPAN: Final = re.compile(r"([0-9]{1,7})([smhdw])\Z")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}\Z")


def seconds(text: str) -> int:
    """Return the length of a span in seconds.

    Raises:
        Rejected: ``bad_span``.
    """
    parts = _SPAN.match(text)
    if parts is None:
        raise Rejected("bad_span", next_step="Write a number and a unit, such as 24h.")
    return int(parts[1]) * _UNITS[parts[2]]


def moment(text: str, now: datetime, *, end: bool = False) -> datetime | None:
    """Return the moment that somebody typed: UTC unless it has a zone; a span means that long ago, empty no bound.

    Args:
        end: Take a day to mean its end.

    Raises:
        Rejected: ``bad_time``.
    """
    if not text:
        return None
    try:
        if _SPAN.match(text):
            return now - timedelta(seconds=seconds(text))
        at = datetime.fromisoformat(text) + timedelta(days=end and _DAY.match(text) is not None)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        step = "Write an age (30m, 24h, 7d), a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z."
        raise Rejected("bad_time", next_step=step) from None
