"""A process that has rooms and works in them, for tests that kill it. Run as a program.

Arguments: ``private`` or a place; a file with the canary. Prints its room and guard, then writes until killed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from byokeep.adapters.ephemeral.rooms import Rooms, prepare


def main(place: str, canary_file: str) -> None:
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
