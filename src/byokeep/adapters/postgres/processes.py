"""The operating system's view of a PostgreSQL data directory: which processes work in it, and how they end.

Rules
- A process is ours when its working directory is the data directory and its program is ``postgres``.
- Nothing is signalled by name, and never by a number alone.

It may not start anything: that is :mod:`byokeep.adapters.postgres.embedded`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from byokeep.process import pids, program_in

POLL_S: Final = 0.01
_POLITE_S: Final = 5.0
_KILL_S: Final = 5.0


def pid_file(data: Path) -> list[str]:
    """Return the lines of ``postmaster.pid``: process id first, state eighth. Empty when there is none."""
    try:
        return [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
    except (OSError, UnicodeDecodeError):
        return []


def working_in(data: Path) -> list[int]:
    """Return the processes of the data directory: the server and its backends, even those without a parent.

    Backends make sessions of their own, so no process group holds them all. Without ``/proc`` only the server is
    found, by its pid file, and ``ps`` tells a number that belongs to somebody else by now from ours.
    """
    data = data.resolve()
    if everybody := pids():
        return sorted(pid for pid in everybody if pid != os.getpid() and program_in(pid) == ("postgres", data))
    lines = pid_file(data)
    if not lines or not lines[0].isdigit():
        return []
    shown = subprocess.run(["ps", "-o", "command=", "-p", lines[0]], capture_output=True, check=False).stdout
    return [int(lines[0])] if os.fsencode(data.parent) in shown else []


def send(pid: int, number: int) -> None:
    """Send a signal; a process that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_all(data: Path) -> None:
    """Kill every process of the data directory and wait until the kernel has dropped them."""
    deadline = time.monotonic() + _KILL_S
    while (left := working_in(data)) and time.monotonic() < deadline:
        for pid in left:
            send(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def end_leftovers(data: Path) -> None:
    """Stop a server whose owner is gone: politely for a moment, then for good."""
    left, lines = working_in(data), pid_file(data)
    if left and lines and lines[0].isdigit() and int(lines[0]) in left:
        send(int(lines[0]), signal.SIGINT)
        deadline = time.monotonic() + _POLITE_S
        while working_in(data) and time.monotonic() < deadline:
            time.sleep(POLL_S)
    kill_all(data)
