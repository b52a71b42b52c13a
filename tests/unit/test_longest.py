"""In what order the files of tests run."""

from __future__ import annotations

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


def test_what_takes_a_second_without_an_engine_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function is as slow as its slowest test; with an engine, or by many quick tests, it is not."""

    def told(name: str, duration: float, **keywords: int) -> Any:
        return SimpleNamespace(nodeid=f"tests/{name}", duration=duration, keywords=keywords)

    monkeypatch.setattr(longest, "FILE", tmp_path / "noted")
    quick = [told(f"unit/test_b.py::test_quick[{number}]", 0.9) for number in range(7)]
    slow = [told("unit/test_a.py::test_slow[short]", 0.1), told("unit/test_a.py::test_slow[long]", 2.0)]
    longest.note([*quick, *slow, told("flows/test_c.py::test_engine", 9.0, engines=1)])
    assert longest.read() == {"flows/test_c.py": 9, "unit/test_b.py": 6, "unit/test_a.py::test_slow": 2}
    items = [_Item(name) for name in ("unit/test_a.py::test_slow[short]", "unit/test_b.py::test_quick[1]")]
    longest.sort(cast("Any", items))
    assert {item.nodeid: item.marks for item in items} == {
        "tests/unit/test_a.py::test_slow[short]": ["slow"], "tests/unit/test_b.py::test_quick[1]": [],
    }  # fmt: skip


class _Item:
    """What is used of a test.

    Args:
        name: File below ``tests``, and function.
        number: Which test of its file.
    """

    def __init__(self, name: str, number: int = 0) -> None:
        self.nodeid, self.path, self.number = f"tests/{name}", longest.TESTS / name.partition("::")[0], number
        self.location = (name, number, "")
        self.marks: list[str] = []

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks.append(mark.name)


def test_the_longest_files_come_first() -> None:
    """What is noted comes in its order, then the rest, a folder at a time; the tests of a file in its order."""
    first, second, *_ = longest.read()
    mixed = [("unit/test_a.py", 1), (second, 1), ("e2e/test_x.py", 2), (first, 2), ("e2e/test_x.py", 1), (first, 1)]
    items = [_Item(path, number) for path, number in mixed]
    longest.sort(cast("Any", items))
    assert [(str(item.path.relative_to(longest.TESTS)), item.number) for item in items] == [
        (first, 1), (first, 2), (second, 1), ("e2e/test_x.py", 1), ("e2e/test_x.py", 2), ("unit/test_a.py", 1),
    ]  # fmt: skip
