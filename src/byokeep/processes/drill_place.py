"""Where a recovery drill works below the home, and how what it had there is removed.

Rules
- Keys and credentials are overwritten before they are removed. Removing ends within a time limit, done or not.
- A link in the place of the directory is refused: what it leads to is not ours.

It may not touch a drill that is under way, which holds the lock.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Final

from byokeep.core.errors import Conflict, Unavailable
from byokeep.kernel.durable_write import overwrite
from byokeep.process import alone, is_held

PLACE: Final = "drill"
LOCK: Final = "drill.lock"
RUNNING: Final = "Another drill is running here. Wait until it ends."
_SECRET_PLACES: Final = ("keys", "credentials")
_WITHIN_S: Final = 60.0
_PAUSE_S: Final = 0.1


def left_behind(home: Path) -> bool:
    """Whether a killed drill left what it restored, including keys in clear."""
    return os.path.lexists(home / PLACE) and not is_held(home / LOCK)


def clear(home: Path) -> None:
    """Remove what a killed drill left. Raises Unavailable(``drill_not_removed``)."""
    if left_behind(home):
        with contextlib.suppress(Conflict), alone(home / LOCK, Conflict("drill_running", next_step=RUNNING)):
            shred(home / PLACE)


def shred(place: Path, within_s: float = _WITHIN_S) -> None:
    """Overwrite a drill's keys and credentials, then remove all of it; a missing one is fine.

    Raises:
        Unavailable: ``drill_not_removed``: a link, or something that the system does not let us remove.
    """
    deadline, link = time.monotonic() + within_s, place.is_symlink()
    for file in [] if link else [one for name in _SECRET_PLACES for one in (place / "home" / name).glob("*")]:
        with contextlib.suppress(OSError):  # a full disk: it is removed all the same
            if file.is_file() and not file.is_symlink():
                overwrite(file)
    while os.path.lexists(place):  # an ended process may still be writing there
        if link or time.monotonic() > deadline:
            step = "Remove `drill` in the home by hand: it holds keys in clear."
            raise Unavailable("drill_not_removed", next_step=step)
        shutil.rmtree(place, ignore_errors=True)
        if place.exists():
            time.sleep(_PAUSE_S)
