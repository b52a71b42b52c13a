"""Which releases of PostgreSQL lack no known fix, and refusing the others.

Rules
- A release is told by the server or by the program itself, never by the name of a directory.
- What cannot be told does not pass.

It may not fetch anything.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

from byokeep.core.errors import Rejected
from byokeep.kernel.ports import Database

Release = tuple[int, int]
MINIMUM: Final[dict[int, Release]] = {17: (17, 12), 18: (18, 6)}  # of each major release that we run on
WHEEL: Final[Release] = (18, 4)  # in the wheel that the lock file pins
_VERSION: Final = re.compile(r"postgres \(PostgreSQL\) (\d{2})\.(\d{1,3})")


def is_current(release: Release) -> bool:
    """Return whether a release is a minimum or a later one; one of a later major release is."""
    return release >= MINIMUM.get(release[0], MINIMUM[max(MINIMUM)])


def release_of(program: Path) -> Release | None:
    """Return the release that a ``postgres`` program names; None when it names none."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False, env={})
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.match(done.stdout)
    return (int(found[1]), int(found[2])) if found else None


async def release_of_server(db: Database) -> Release:
    """Return the release of a running server. Raises Unavailable: it does not answer."""
    [number] = await db.read(lambda row: int(row["number"]), "server_release", {})
    return number // 10_000, number % 10_000


async def require_release(db: Database) -> str:
    """Let pass a server of a current release; return which it is, and the least ones.

    Raises:
        Rejected: ``postgres_too_old``.
        Unavailable: It does not answer.
    """
    release = await release_of_server(db)
    needed = " or ".join(map(_text, sorted(MINIMUM.values(), reverse=True)))
    if not is_current(release):
        step = f"{_text(release)} lacks known fixes: upgrade PostgreSQL to {needed} or later."
        raise Rejected("postgres_too_old", next_step=step)
    return f"{_text(release)}, at least {needed} is needed"


def _text(release: Release) -> str:
    return ".".join(map(str, release))
