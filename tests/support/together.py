"""Runs the files of tests in several processes (``--jobs``), each forked from the one that has collected them all.

To read and collect the tests takes a quarter of a minute of a processor, which each process of its own would need.
Each file goes to whoever is free: what comes first to most, what comes last to the others. The files that take longest
come first and mostly wait for their servers, so somebody computes meanwhile. The first process starts nothing and
reports.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support import disk

_PROCESS = "process-"
_OTHERS = 4  # each fourth process begins with what comes last


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the number of processes."""
    parser.addoption("--jobs", type=int, default=1, help="in how many processes the files of tests are run")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run all files, where more than one process was asked for. A process that dies fails its test, and the run."""
    config = session.config
    jobs = config.getoption("jobs")
    if jobs < 2 or config.option.collectonly or session.testsfailed:
        return None
    assert threading.active_count() == 1
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "a fork would lose a thread of a library's"
    if disk.TEMPORARY not in config.rootpath.parents:
        disk.files_in_memory()
    files = [[*of] for _, of in groupby(session.items, key=lambda item: item.path)]
    left, running = deque(range(len(files))), _begun(config, files, jobs)
    while running:
        for one in wait([*running]):
            assert isinstance(one, Connection)
            _hear(session, one, running, left)
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
    assert not left, "no process was left for all files"
    return True


def shared(places: pytest.TempPathFactory) -> Path:
    """A folder of this run that all its processes share."""
    base = places.getbasetemp()
    return base.parent if base.name.startswith(_PROCESS) else base


def _begun(config: pytest.Config, files: list[list[pytest.Item]], jobs: int) -> dict[Connection, tuple[int, str]]:
    """Fork the processes; gives for each where it is heard, its number, and the test that it runs: none as yet."""
    config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one for all
    running = dict[Connection, tuple[int, str]]()
    for number in range(min(jobs, len(files))):
        ours, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            for one in (ours, *running):
                one.close()
            _work(config, files, theirs, number)
        theirs.close()
        running[ours] = pid, ""
    return running


def _hear(
    session: pytest.Session, one: Connection, running: dict[Connection, tuple[int, str]], left: deque[int]
) -> None:
    """Take one message of a process, or its end."""
    config, (pid, test) = session.config, running[one]
    try:
        told, said = one.recv()
    except (EOFError, ConnectionResetError):
        del running[one]
        _, status = os.waitpid(pid, 0)
        if status:
            _died(config, test, os.waitstatus_to_exitcode(status))
        return
    if told == "asks":
        with suppress(BrokenPipeError):  # it died: the next look sees that
            ended = not left or session.shouldfail or session.shouldstop
            one.send(None if ended else left.pop() if said else left.popleft())
    elif told == "begins":
        running[one] = pid, said
    elif told == "report":
        report = config.hook.pytest_report_from_serializable(config=config, data=said)
        config.hook.pytest_runtest_logreport(report=report)
    else:
        config.hook.pytest_warning_recorded.call_historic(kwargs=said)


def _died(config: pytest.Config, test: str, code: int) -> None:
    """Tell that a process died, as a failure of the test that it ran."""
    said = f"its process ended with {code}: none of its file's other tests was run"
    report = pytest.TestReport(test or "tests", ("", None, test), {}, "failed", said, "call")
    config.hook.pytest_runtest_logreport(report=report)


class _Telling:
    """Tells the first process what a reporter would print."""

    def __init__(self, config: pytest.Config, end: Connection) -> None:
        self._config, self._end = config, end

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._end.send(("begins", nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._end.send(("report", data))

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, when: str, nodeid: str) -> None:
        if when != "runtest":  # known: those of the collection are told to whoever comes later, too
            return
        said = f"{warning_message.category.__name__}: {warning_message.message}"
        plain = warnings.WarningMessage(said, UserWarning, warning_message.filename, warning_message.lineno)
        self._end.send(("warning", {"warning_message": plain, "when": when, "nodeid": nodeid, "location": None}))


def _handed(files: list[list[pytest.Item]], end: Connection, *, last: bool) -> Iterator[pytest.Item]:
    """The tests of one file after the other, as long as there are some: the first that are left, or the last."""
    while True:
        end.send(("asks", last))
        if (number := end.recv()) is None:
            return
        yield from files[number]


def _work(config: pytest.Config, files: list[list[pytest.Item]], end: Connection, number: int) -> NoReturn:
    """Run what is handed out, and end. What lasts a session is kept from file to file: the next test is known."""
    code = 1
    try:
        plugins: Any = config.pluginmanager
        plugins.unregister(name="terminalreporter")
        plugins.register(_Telling(config, end))
        capture = plugins.getplugin("capturemanager")
        capture.stop_global_capturing()  # all would write into one file
        capture.start_global_capturing()
        places: Any = config._tmp_path_factory  # type: ignore[attr-defined]
        places._basetemp = places.getbasetemp() / f"{_PROCESS}{number}"
        places._basetemp.mkdir(mode=0o700)
        handed = _handed(files, end, last=number % _OTHERS == _OTHERS - 1)
        item = next(handed, None)
        while item is not None:
            following = next(handed, None)
            config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            item = following
        capture.stop_global_capturing()
        code = 0
    except BaseException:
        with suppress(BaseException):
            capture.stop_global_capturing()
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
