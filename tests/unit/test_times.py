"""Times as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from byokeep.core.errors import Rejected
from byokeep.core.times import moment

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("", None), ("24h", NOW - timedelta(days=1)), ("2w", NOW - timedelta(days=14)),
        ("2026-02-01", datetime(2026, 2, 1, tzinfo=UTC)), ("2026-02-01T08:00", datetime(2026, 2, 1, 8, tzinfo=UTC)),
        ("2026-02-01T08:00+02:00", datetime(2026, 2, 1, 6, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_a_span_is_so_long_ago_and_what_names_no_zone_is_utc(text: str, means: datetime | None) -> None:
    """The same on the command line and in the console."""
    assert moment(text, NOW) == means


def test_a_day_that_ends_something_means_its_end() -> None:
    """A time of that day stays itself."""
    assert moment("2026-02-01", NOW, end=True) == datetime(2026, 2, 2, tzinfo=UTC)
    assert moment("2026-02-01T08:00Z", NOW, end=True) == datetime(2026, 2, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "24", "9999999w", "-1h", "9999-12-31"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """Beyond the calendar, too."""
    with pytest.raises(Rejected, match="bad_time"):
        moment(text, NOW, end=True)
