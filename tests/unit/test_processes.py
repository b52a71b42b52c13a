"""What is known of other processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from byokeep.process import come_first, is_running, pids, program_in, running


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
    assert is_running(child.pid)
    child.kill()
    while is_running(child.pid):
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
