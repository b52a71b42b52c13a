"""What takes longest: such files come first, so that in the end no process of a run works alone, and single tests of a
second or more carry the marker ``slow``, which `make test-fast` leaves out.

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
_SLOW_S = 1  # in a run of everything, where four share two cores


def read() -> dict[str, int]:
    """Seconds of the long files, by path below ``tests``, and of the slow tests, by path and function."""
    rows = (line.split() for line in FILE.read_text().splitlines())
    return {path: int(seconds) for seconds, path in rows}


def sort(items: list[pytest.Item]) -> None:
    """Put the longest files first, and the others by their folder; mark what is slow.

    The tests of a file come in its order, whatever order they are asked for in: some share a stack.
    """
    noted = read()
    places = {path: str(path.relative_to(TESTS)) for path in {item.path for item in items}}
    order = {path: (-noted.get(place, 0), FOLDERS.index(place.partition("/")[0])) for path, place in places.items()}
    items.sort(key=lambda item: (order[item.path], item.location[1] or 0))
    for item in items:
        if _function(item.nodeid) in noted:
            item.add_marker(pytest.mark.slow)


def note(reports: list[pytest.TestReport]) -> None:
    """Write down how long each file of a whole run took, and each function of which one test without engines is slow.

    What a function takes is its longest test's time: one of a hundred short ones is quick.
    """
    files, functions = Counter[str](), Counter[str]()
    for report in reports:
        name = _function(report.nodeid)
        files[name.partition("::")[0]] += report.duration
        if "engines" not in report.keywords:
            functions[name] = max(functions[name], report.duration)
    rows = [f"{seconds:.0f} {path}\n" for path, seconds in files.most_common() if seconds >= _NOTED_S]
    rows += [f"{seconds:.0f} {name}\n" for name, seconds in functions.most_common() if seconds >= _SLOW_S]
    FILE.write_text("".join(rows))


def _function(nodeid: str) -> str:
    return nodeid.partition("[")[0].removeprefix("tests/")
