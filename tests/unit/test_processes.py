"""What is known of other processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from byokeep.adapters.openbao import embedded
from byokeep.process import come_first, pids, program_in, running


def test_a_process_is_known_by_itself_and_a_zombie_has_ended(tmp_path: Path) -> None:
    """Parent, arguments with blanks, program and directory are its own; after its end nothing is, buried or not."""
    code = "import sys; sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code, "a b"], stdin=subprocess.PIPE, cwd=tmp_path)
    found = running(child.pid)
    assert found is not None
    assert (found.pid, found.parent, found.group) == (child.pid, os.getpid(), os.getpgid(child.pid))
    while program_in(child.pid) != (Path(sys.executable).resolve().name, tmp_path):
        time.sleep(0.01)
    assert found.arguments[1:4] == (b"-c", code.encode(), b"a b") or running(child.pid) is not None
    assert child.pid in pids()
    child.kill()
    while running(child.pid) is not None:
        time.sleep(0.01)
    assert child.pid in pids(), "it is not buried yet"
    child.wait()
    child.communicate()
    assert (running(child.pid), program_in(child.pid), child.pid in pids()) == (None, None, False)


def test_who_stops_things_is_served_first_where_that_is_allowed() -> None:
    """Process and session; without the right to, and for one that has ended, nothing happens."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as child:
        group, before = Path(f"/proc/{child.pid}/autogroup"), os.getpriority(os.PRIO_PROCESS, child.pid)
        come_first(child.pid)
        after = os.getpriority(os.PRIO_PROCESS, child.pid)
        assert after in (before, -10)
        assert after == -10 or os.geteuid() != 0
        if after == -10 and group.exists() and group.read_text().strip():
            assert group.read_text().split()[-1] == "-10"
        child.communicate(b"")
    come_first(child.pid)


def test_a_store_that_was_left_behind_is_known_by_what_it_runs_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two with our arguments are ended, whatever their numbers are; one of another home goes on, and so does one that
    is not ours to end, which keeps nobody from starting."""
    (tmp_path / "server").write_text("sleep 60")
    homes = [*["/home/one"] * 2, "/home/two"]
    left = [subprocess.Popen(["/bin/sh", *embedded._arguments(Path(home))], cwd=tmp_path) for home in homes]
    try:
        with monkeypatch.context() as strangers:
            strangers.setattr(os, "kill", _denied)
            embedded.end_leftovers(Path("/home/one"))
        assert [one.poll() for one in left] == [None] * 3
        embedded.end_leftovers(Path("/home/one"))
        assert [one.wait(5) for one in left[:2]] == [-signal.SIGTERM] * 2
        assert left[2].poll() is None
    finally:
        for one in left:
            one.kill()
            one.wait()


def _denied(_pid: int, _number: int) -> None:
    raise PermissionError
