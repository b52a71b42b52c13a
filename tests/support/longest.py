"""What takes longest: such files come first, so that in the end no process of a run works alone.

Single tests of a second or more without engines carry the marker ``slow``, which `make test-fast` leaves out. Those of
three seconds or more with engines carry ``long``: `make test` leaves them to `make test-long` (ADR 0100). The only test
that asserts some requirement or notices some planted fault is never long, so `make test` alone leaves none out.

`.venv/bin/python -m pytest --jobs 4 --note-longest` writes `tests/longest.txt` anew.
"""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILE, FAULTS = TESTS / "longest.txt", TESTS / "mutants" / "faults.toml"
FOLDERS = ("e2e", "faults", "leak", "closed", "contract", "flows", "unit")  # by how long a file of each takes
_NOTED_S = 5
_SLOW_S, _LONG_S = 1, 3  # in a run of everything, where four share two cores


def read() -> dict[str, int]:
    """Seconds of the long files, by path below ``tests``, and of the slow and long tests, by path and function."""
    rows = (line.split() for line in FILE.read_text().splitlines())
    return {path: int(seconds) for seconds, path in rows}


def sort(items: list[pytest.Item]) -> None:
    """Put the longest files first, and the others by their folder; mark what is slow and what is long.

    The tests of a file come in its order, whatever order they are asked for in: some share a stack.
    """
    noted = read()
    places = {path: str(path.relative_to(TESTS)) for path in {item.path for item in items}}
    order = {path: (-noted.get(place, 0), FOLDERS.index(place.partition("/")[0])) for path, place in places.items()}
    items.sort(key=lambda item: (order[item.path], item.location[1] or 0))
    left = _left_to_the_long_run(items, noted)
    for item in items:
        if (function := _function(item.nodeid)) in left:
            item.add_marker(pytest.mark.long)
        elif function in noted and not item.get_closest_marker("engines"):
            item.add_marker(pytest.mark.slow)


def _left_to_the_long_run(items: list[pytest.Item], noted: dict[str, int]) -> set[str]:
    """Long functions but those that alone assert a requirement or notice a fault; of several, the quickest stays."""
    asserting, left = defaultdict[str, set[str]](set), set[str]()
    for item in items:
        function = _function(item.nodeid)
        if noted.get(function, 0) >= _LONG_S and item.get_closest_marker("engines"):
            left.add(function)
        if not item.get_closest_marker("campaign"):
            for row in (row for marker in item.iter_markers("req") for row in marker.args):
                asserting[row].add(function)
    faults = tomllib.loads(FAULTS.read_text())["fault"]
    noticing = [{_function(name) for name in fault["tests"]} for fault in faults if "tests" in fault]
    for functions in (*(asserting[row] for row in sorted(asserting)), *noticing):
        if functions <= left:
            left.remove(min(functions, key=lambda name: (noted[name], name)))
    return left


def note(reports: list[pytest.TestReport]) -> None:
    """Write down how long each file of a whole run took, and each function of which one test is slow or long.

    What a function takes is its longest test's time, without what is made before it: one of a hundred short ones is
    quick, and so is the first of those that share a stack.
    """
    files, functions = Counter[str](), Counter[str]()
    for report in reports:
        name = _function(report.nodeid)
        files[name.partition("::")[0]] += report.duration
        if report.when == "call" and report.duration >= (_LONG_S if "engines" in report.keywords else _SLOW_S):
            functions[name] = max(functions[name], report.duration)
    rows = [f"{seconds:.0f} {path}\n" for path, seconds in files.most_common() if seconds >= _NOTED_S]
    rows += [f"{seconds:.0f} {name}\n" for name, seconds in functions.most_common()]
    FILE.write_text("".join(rows))


def _function(nodeid: str) -> str:
    return nodeid.partition("[")[0].removeprefix("tests/")
