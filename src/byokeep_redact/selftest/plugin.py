"""The pytest plugin: ``--secrets-leak`` runs the leak self-test, ``--secrets-leak-watch`` watches a project's tests.

Rules
- Without its flags it imports nothing, adds no item and costs nothing.
- Asked for and not run is a failure: a selection that leaves no part of the pack ends the session with an error.
- Under xdist the pack runs once; the workers share its result.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from byokeep_redact.selftest.pack import Result
    from byokeep_redact.selftest.runner import Setup

_NODE: Final = "secrets-leak"
_CONTROLS: Final = "controls"
_WATCH: Final = "secrets-leak-watch"
_TABLE: Final = "secrets_leak_table"
_result: Final = pytest.StashKey["Result"]()
_seen: Final[list[pytest.TestReport]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flags and settings."""
    group = parser.getgroup("secrets-leak", "does this project leak secrets?")
    group.addoption("--secrets-leak", action="store_true", help="run the leak pack against this project's logging")
    group.addoption("--secrets-leak-full", action="store_true", help="the same, every sample through every sink (slow)")
    group.addoption("--secrets-leak-seed", default="", metavar="SEED", help="repeat the samples of an earlier run")
    group.addoption(
        "--secrets-leak-watch", action="store_true", help="fail a test when a secret stands in what it wrote and logged"
    )
    parser.addini("secrets_leak_setup", "module:function that sets up logging and redaction", default="")
    parser.addini("secrets_leak_register", "module:function that is given a live value (str)", default="")
    parser.addini("secrets_leak_corpus", "TOML file with samples of this project's own secrets", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker is; start watching when asked to; refuse settings that name nothing."""
    config.addinivalue_line("markers", "secrets_leak: a part of the leak pack")
    if config.getoption("secrets_leak_watch"):
        _start_watch(config, every_test=True)
    if _asked(config) and not hasattr(config, "workerinput") and (faults := _pack().faults(_project(config))):
        raise pytest.UsageError("\n".join(faults))


def _pack() -> Any:
    return importlib.import_module("byokeep_redact.selftest.pack")


def _asked(config: pytest.Config) -> bool:
    return bool(config.getoption("secrets_leak") or config.getoption("secrets_leak_full"))


def _start_watch(config: pytest.Config, *, every_test: bool) -> None:
    if config.getoption("capture") == "no" or not config.pluginmanager.hasplugin("logging"):
        raise pytest.UsageError("secrets-leak-watch sees nothing without capturing: drop `-s` and `-p no:logging`")
    if not config.pluginmanager.hasplugin(_WATCH):
        watch = importlib.import_module("byokeep_redact.selftest.watch").StreamWatch(every_test=every_test)
        config.pluginmanager.register(watch, _WATCH)


@pytest.fixture
def secrets_leak_watch(request: pytest.FixtureRequest) -> None:
    """Watch this test: it fails when a secret stands in what it wrote and logged. For ``pytest.mark.usefixtures``."""
    _start_watch(request.config, every_test=False)


class _Leak(Exception):
    """A part of the pack did not pass; the text says why."""


class _Part(pytest.Item):
    """One class of samples, or the controls."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.add_marker("secrets_leak")

    def runtest(self) -> None:
        """Evaluate this class by the run that all classes share."""
        result = _shared_result(self.config)
        if self.name != _CONTROLS:
            if result.verdict(self.name) == "absent":
                pytest.skip("not available: no library that this class needs is installed")
            if result.verdict(self.name) == "slow":
                warnings.warn(pytest.PytestWarning(result.failure(self.name)), stacklevel=1)
            elif result.verdict(self.name) != "clean":
                raise _Leak(result.failure(self.name))
            return
        self.user_properties.append((_TABLE, _pack().table(result)))
        if why := result.doubts():
            raise _Leak("\n".join([f"the pack proves nothing (seed {result.seed})", *why]))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show why, without a traceback."""
        return str(excinfo.value) if isinstance(excinfo.value, _Leak) else super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the part."""
        return self.config.rootpath, None, f"{_NODE}: {self.name}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the pack behind the project's own tests."""
    if _asked(config):
        plan, own = _pack().runner, config.getini("secrets_leak_corpus")
        groups = [group for group in plan.GROUPS if own or group != plan.OWN]
        items += [_Part.from_parent(session, name=name, nodeid=f"{_NODE}::{name}") for name in (*groups, _CONTROLS)]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the parts that ran; under xdist the reports come from the workers."""
    if report.when == "call" and report.nodeid.startswith(f"{_NODE}::"):
        _seen.append(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that was to run the pack and ran none of it."""
    config = session.config
    if _asked(config) and not _seen and not config.getoption("collectonly") and not hasattr(config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the counts per class and the seed."""
    if not _asked(config) or config.getoption("collectonly"):
        return
    terminalreporter.section("secrets-leak")
    tables = [text for report in _seen for name, text in report.user_properties if name == _TABLE]
    missing = "the controls were not selected" if _seen else "no part of the pack was run"
    for line in (str(tables[0]) if tables else missing).split("\n"):
        terminalreporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of xdist the result: the pack runs once, before they do."""
    if _asked(node.config):
        node.workerinput[_NODE] = _shared_result(node.config).to_json()


def _shared_result(config: pytest.Config) -> Result:
    """Return the run of this session; the first who asks runs it."""
    if _result not in config.stash:
        given = getattr(config, "workerinput", {}).get(_NODE)
        config.stash[_result] = _pack().Result.from_json(given) if given else _pack().run(_project(config))
    return config.stash[_result]


def _project(config: pytest.Config) -> Setup:
    corpus = str(config.getini("secrets_leak_corpus"))
    project: Setup = _pack().runner.Setup(
        setup=str(config.getini("secrets_leak_setup")),
        register=str(config.getini("secrets_leak_register")),
        corpus=str(config.rootpath / corpus) if corpus else "",
        root=config.rootpath,
        full=bool(config.getoption("secrets_leak_full")),
        seed=str(config.getoption("secrets_leak_seed")),
    )
    return project
