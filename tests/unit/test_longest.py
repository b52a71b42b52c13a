"""In what order the files of tests run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.support import longest


def test_each_file_that_is_noted_is_there() -> None:
    """A row about a file that was renamed or removed fails here; the longest stands first."""
    noted = longest.read()
    assert len(noted) > 50
    assert [path for path in noted if not (longest.TESTS / path).is_file()] == []
    assert list(noted.values()) == sorted(noted.values(), reverse=True)


def test_the_longest_files_come_first() -> None:
    """What is noted comes in its order, then the rest, a folder at a time; the tests of a file keep their order."""
    first, second, *_ = longest.read()
    mixed = [("unit/test_a.py", 1), (second, 1), ("e2e/test_x.py", 2), (first, 2), ("e2e/test_x.py", 1), (first, 1)]
    items: Any = [SimpleNamespace(path=longest.TESTS / path, number=number) for path, number in mixed]
    longest.sort(items)
    assert [(str(item.path.relative_to(longest.TESTS)), item.number) for item in items] == [
        (first, 2), (first, 1), (second, 1), ("e2e/test_x.py", 2), ("e2e/test_x.py", 1), ("unit/test_a.py", 1),
    ]  # fmt: skip
