"""In what order the files of tests run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support import longest


def test_each_file_that_is_noted_is_there() -> None:
    """A row about a file or test that was renamed or removed fails here; the longest stands first."""
    noted = longest.read()
    for marked in (False, True):
        rows = {name: seconds for name, seconds in noted.items() if ("::" in name) is marked}
        assert len(rows) > 50
        assert [name for name in rows if not _is_there(*name.partition("::"))] == []
        assert list(rows.values()) == sorted(rows.values(), reverse=True)


def _is_there(path: str, _: str, function: str) -> bool:
    file = longest.TESTS / path
    return file.is_file() and (not function or f"def {function}(" in file.read_text())


def test_what_takes_long_is_left_out_of_some_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function is as slow as its slowest test; many quick tests do not make it slow, and with engines it may take
    more. What alone asserts a requirement, or notices a planted fault, is never long; of several, the quickest stays.
    """

    def told(name: str, duration: float, when: str = "call", **keywords: int) -> Any:
        return SimpleNamespace(nodeid=f"tests/{name}", duration=duration, when=when, keywords=keywords)

    monkeypatch.setattr(longest, "FILE", tmp_path / "noted")
    monkeypatch.setattr(longest, "FAULTS", tmp_path / "faults")
    longest.FAULTS.write_text('fault = [{tests = ["tests/flows/test_c.py::test_7[one]"]}, {}]')
    quick = [told(f"unit/test_b.py::test_quick[{number}]", 0.9) for number in range(7)]
    slow = [told("unit/test_a.py::test_slow[short]", 0.1), told("unit/test_a.py::test_slow[long]", 7.0)]
    engines = [told(f"flows/test_c.py::test_{seconds}", seconds, engines=1) for seconds in (2, 7, 8, 9, 10)]
    longest.note([*quick, *slow, *engines, told("flows/test_c.py::test_2", 60, "setup", engines=1)])
    assert {name: seconds for name, seconds in longest.read().items() if "::" in name} == {
        "unit/test_a.py::test_slow": 7,
        **{f"flows/test_c.py::test_{seconds}": seconds for seconds in (7, 8, 9, 10)},
    }
    items = [
        _Item("unit/test_a.py::test_slow[short]"),
        _Item("unit/test_b.py::test_quick[1]"),
        _Item("flows/test_c.py::test_2", marks=["engines"]),
        _Item("flows/test_c.py::test_7", marks=["engines"]),
        _Item("flows/test_c.py::test_8", marks=["engines"], rows=["R1", "R2"]),
        _Item("flows/test_c.py::test_9", marks=["engines"], rows=["R1"]),
        _Item("flows/test_c.py::test_10", marks=["engines"], rows=["R3"]),
        _Item("faults/test_d.py::test_at_random", marks=["campaign"], rows=["R3"]),
    ]
    longest.sort(cast("Any", items))
    assert {item.location[0].partition("::")[2]: item.marks[-1:] for item in items} == {
        "test_slow[short]": ["slow"], "test_quick[1]": [], "test_2": ["engines"], "test_7": ["engines"],
        "test_8": ["engines"], "test_9": ["long"], "test_10": ["engines"], "test_at_random": ["campaign"],
    }  # fmt: skip


class _Item:
    """What is used of a test.

    Args:
        name: File below ``tests``, and function.
        number: Which test of its file.
        marks: The markers that it has.
        rows: The requirements that it asserts.
    """

    def __init__(self, name: str, number: int = 0, *, marks: Sequence[str] = (), rows: Sequence[str] = ()) -> None:
        self.nodeid, self.path, self.number = f"tests/{name}", longest.TESTS / name.partition("::")[0], number
        self.location = (name, number, "")
        self.marks, self.rows = [*marks], rows

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks.append(mark.name)

    def get_closest_marker(self, name: str) -> bool:
        return name in self.marks

    def iter_markers(self, name: str) -> list[pytest.Mark]:
        return [pytest.Mark(name, (*self.rows,), {}, _ispytest=True)] if name == "req" else []


def test_the_longest_files_come_first() -> None:
    """What is noted comes in its order, then the rest, a folder at a time; the tests of a file in its order."""
    first, second, *_ = longest.read()
    mixed = [("unit/test_a.py", 1), (second, 1), ("e2e/test_x.py", 2), (first, 2), ("e2e/test_x.py", 1), (first, 1)]
    items = [_Item(path, number) for path, number in mixed]
    longest.sort(cast("Any", items))
    assert [(str(item.path.relative_to(longest.TESTS)), item.number) for item in items] == [
        (first, 1), (first, 2), (second, 1), ("e2e/test_x.py", 1), ("e2e/test_x.py", 2), ("unit/test_a.py", 1),
    ]  # fmt: skip
