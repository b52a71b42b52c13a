"""Which files of tests take longest: they come first, so that in the end no process of a run works alone.

`make test PYTEST_ARGS=--note-longest` writes `tests/longest.txt` anew.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILE = TESTS / "longest.txt"
FOLDERS = ("e2e", "faults", "leak", "closed", "contract", "flows", "unit")  # by how long a file of each takes
_NOTED_S = 5


def read() -> dict[str, int]:
    """Seconds of the long files, by path below ``tests``."""
    rows = (line.split() for line in FILE.read_text().splitlines())
    return {path: int(seconds) for seconds, path in rows}


def sort(items: list[pytest.Item]) -> None:
    """Put the longest files first, and the others by their folder."""
    noted = read()
    places = {path: str(path.relative_to(TESTS)) for path in {item.path for item in items}}
    order = {path: (-noted.get(place, 0), FOLDERS.index(place.partition("/")[0])) for path, place in places.items()}
    items.sort(key=lambda item: order[item.path])


def note(reports: list[pytest.TestReport]) -> None:
    """Write down how long each file of a whole run took."""
    took = Counter[str]()
    for report in reports:
        took[report.nodeid.partition("::")[0].removeprefix("tests/")] += report.duration
    rows = [f"{seconds:.0f} {path}\n" for path, seconds in took.most_common() if seconds >= _NOTED_S]
    FILE.write_text("".join(rows))
