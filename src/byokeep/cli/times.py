"""Times as people type them, as the API takes them."""

from __future__ import annotations

from datetime import UTC, datetime

from byokeep.core import times


def moment(text: str | None) -> str | None:
    """Return a moment for the API; see :func:`byokeep.core.times.moment`. Raises as it does."""
    at = times.moment(text or "", datetime.now(UTC))
    return at.isoformat(timespec="seconds") if at else None
