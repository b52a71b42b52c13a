"""What every test shares: how hypothesis searches, which tests need engines, and in what order files run.

Fixtures live beside their tests.
"""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

from tests.support import drivers, engines, forks, longest, together

engines_left_out = engines.engines_left_out
one_driver, own_drivers = drivers.one_driver, drivers.own_drivers
pytest_runtestloop = together.pytest_runtestloop

# The same examples on every run, so that a red run is red again; `make campaign` searches wider and at random.
settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("campaign", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs engines, before ``-m`` selects; what takes long comes first, so that none waits for it alone."""
    engines.mark(items)
    longest.sort(items)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the number of processes, and the word for a run whose durations are written down."""
    together.pytest_addoption(parser)
    parser.addoption("--note-longest", action="store_true", help="write tests/longest.txt anew")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write down which files took longest."""
    if terminalreporter.config.getoption("note_longest"):
        assert terminalreporter.config.option.markexpr == "not campaign", "a run of all tests notes what takes longest"
        longest.note([one for told in terminalreporter.stats.values() for one in told if hasattr(one, "duration")])


def pytest_collection() -> None:
    """Let the garbage collector wait: what a collection makes stays, and looking at it again and again is a sixth."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what stays to the end, thousands of tests and all the modules, and look
    seldom: a test makes applications of hundreds of routes, and to look after each 700 objects is a tenth of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*forks.SELDOM)
    gc.enable()
