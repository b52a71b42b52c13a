"""Processes that hang for a while: stopped whole before the test goes on, and continued after it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path


def stop(*pids: int) -> None:
    """SIGSTOP processes, and return once none of their threads can run any more.

    A signal is only queued by kill(2): on a busy machine a server still answered what was asked a moment later.
    """
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + 10
    while not all(map(_stopped, pids)):
        assert time.monotonic() < until, "a process runs on in spite of SIGSTOP"
        time.sleep(0.002)


@contextlib.contextmanager
def hung(*pids: int) -> Iterator[None]:
    """Stop processes for the time of a block; those that have ended by then are left alone."""
    stop(*pids)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _stopped(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return all(thread.read_text().rpartition(")")[2].split()[0] in "TtZX" for thread in threads)
    return False  # a thread ended meanwhile: look again
