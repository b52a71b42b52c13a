"""A process that has rooms and works in them, for tests that kill it. Run as a program.

Arguments: ``private`` or a place; a file with the canary. Prints its room and guard, then writes until killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from byokeep.browser.ephemeral import Rooms, prepare
from tests.support.hang import stop

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def owner(place: str, canary_file: Path) -> Iterator[tuple[subprocess.Popen[str], Path, int]]:
    """Start a process with a room; yields it, its room and its guard's number (0: none)."""
    command = [sys.executable, "-m", "tests.support.room_owner", place, str(canary_file)]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout
        room, watching, _warnings = started.stdout.readline().rstrip("\n").split(" ")
        yield started, Path(room), int(watching)
    finally:
        end(started)


def end(started: subprocess.Popen[str]) -> None:
    """Kill an owner and wait for its end."""
    started.kill()
    started.wait()
    if started.stdout:
        started.stdout.close()


def orphan(place: str, canary_file: Path) -> Path:
    """Leave a room whose owner and guard were killed together; returns it."""
    with owner(place, canary_file) as (process, room, watching):
        while not holds(room, canary_file):
            time.sleep(0.02)
        stop(watching)  # so that it cannot be the faster one
        process.kill()
        process.wait()
        os.kill(watching, signal.SIGKILL)
    return room


def holds(room: Path, canary_file: Path) -> bool:
    """Whether something plain lies there now, while its owner writes on."""
    for path in room.glob("*/*"):
        with suppress(OSError):
            if canary_file.read_bytes() in path.read_bytes():
                return True
    return False


def main(place: str, canary_file: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background passes it on ignored
    canary = Path(canary_file).read_bytes()
    rooms = prepare(None, 64) if place == "private" else Rooms(Path(place), private=False)
    with rooms.open() as room:
        guard = room._watching.pid if room._watching else 0
        sys.stdout.write(f"{room.path} {guard} {','.join(rooms.warnings)}\n")
        sys.stdout.flush()
        for number in range(1 << 30):
            directory = room.path / f"{number % 50}"
            directory.mkdir(exist_ok=True)
            (directory / f"{number % 1000}").write_bytes(canary * 50)


if __name__ == "__main__":
    main(*sys.argv[1:])
