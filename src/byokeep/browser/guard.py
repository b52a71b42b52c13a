"""A small process beside a room that others could still see after a kill: it wipes the room when its owner is gone.

Rules
- It runs as a program of its own, with nothing of its owner in memory: only the standard library, no environment.
- The end of its standard input is its signal. The kernel gives it however the owner ends; no signal except SIGKILL
  keeps it from wiping. A byte before the end says that the owner has wiped. Without one it stays a while and wipes what
  comes back.

It may not read what it wipes.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
import time
from contextlib import suppress

_ZEROS = bytes(1 << 20)
_TRIES = 200
_PAUSE_S = 0.05
_AFTER_A_KILL_S = 20  # seconds within which everything started there has ended


def wipe(room: str) -> bool:
    """Overwrite and remove a room; returns whether nothing of it is left.

    It is renamed first, so that whoever still works in it creates nothing new under the old name.
    """
    dead = os.path.join(os.path.dirname(room), f".dead-{os.path.basename(room)}")  # noqa: PTH118, PTH119, PTH120
    with suppress(OSError):
        os.rename(room, dead)  # noqa: PTH104 - without pathlib this starts in half the time
    for _ in range(_TRIES):
        for place, _directories, files in os.walk(dead):
            for name in files:
                with suppress(OSError):
                    _overwrite(os.path.join(place, name))  # noqa: PTH118
        shutil.rmtree(dead, ignore_errors=True)
        if not os.path.lexists(dead):
            break
        time.sleep(_PAUSE_S)
    return not os.path.lexists(dead) and not os.path.lexists(room)


def _overwrite(file: str) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return
        at = 0
        while True:  # ENXIO ends it: no more bytes. Holes are skipped, because filling them would take memory
            at = os.lseek(fd, at, os.SEEK_DATA)
            ends = os.lseek(fd, at, os.SEEK_HOLE)
            while at < ends:
                at += os.pwrite(fd, _ZEROS[: ends - at], at)
    finally:
        os.close(fd)


def main(room: str) -> int:
    """Wait for the owner's end, then wipe."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    os.write(1, b"!")
    os.close(1)
    told = False
    while os.read(0, 4096):
        told = True
    gone = wipe(room)
    # Killed without a word: what the owner started there closes only now, and recreates its directories under the old
    # name. A browser does.
    until = time.monotonic() + (0 if told else _AFTER_A_KILL_S)
    while time.monotonic() < until:
        time.sleep(_PAUSE_S)
        if os.path.lexists(room):
            gone = wipe(room)
    return 0 if gone else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
