"""The processes of a browser, found by the directory it works on.

Rules
- A process belongs to a browser if the directory stands in its arguments, or if one that does is above it.
- Ending means: no process left, seen by looking again; SIGKILL, for one that was asked has had its chance.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from byokeep.core.errors import Unavailable
from byokeep.process import pids, running

_OPTION: Final = "--user-data-dir="
_LOOK_EVERY_S: Final = 0.05
_GONE_WITHIN_S: Final = 10.0


def of_directory(directory: Path) -> frozenset[int]:
    """Return the ids of all living processes of the browser on `directory`."""
    wanted = os.path.realpath(directory)
    return _with_children(lambda found: os.path.realpath(found) == wanted)


def under(root: Path) -> frozenset[int]:
    """Return the ids of all living processes of browsers on directories under `root`: what a crash left running."""
    beginning = os.path.realpath(root) + os.sep
    return _with_children(lambda found: os.path.realpath(found).startswith(beginning))


async def end_all(find: Callable[[], frozenset[int]]) -> int:
    """Kill what `find` finds until it finds nothing; return how many were killed.

    Raises:
        Unavailable: ``browser_not_ended``: something still runs after ten seconds.
    """
    ended: set[int] = set()
    clock = asyncio.get_running_loop()
    until = clock.time() + _GONE_WITHIN_S
    while found := await asyncio.to_thread(find):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended |= found
        if clock.time() > until:
            raise Unavailable("browser_not_ended", next_step="End it by hand; until then its profile stays locked.")
        await asyncio.sleep(_LOOK_EVERY_S)
    return len(ended)


async def gone(directory: Path, *, within_s: float) -> bool:
    """Whether no process of the browser on `directory` is left before `within_s` seconds are over."""
    clock = asyncio.get_running_loop()
    until = clock.time() + within_s
    while await asyncio.to_thread(of_directory, directory):
        if clock.time() > until:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)
    return True


def _with_children(named: Callable[[str], bool]) -> frozenset[int]:
    living = [one for pid in pids() if (one := running(pid)) is not None]
    found = {one.pid for one in living if (directory := _directory(one.arguments)) and named(directory)}
    # Playwright makes the browser the leader of a group of its own; helpers stay in it even when their parent is gone.
    groups = {one.group for one in living if one.pid in found and one.group == one.pid}
    found |= {one.pid for one in living if one.group in groups}
    while more := {one.pid for one in living if one.parent in found} - found:
        found |= more
    return frozenset(found - {os.getpid()})


def _directory(arguments: Iterable[bytes]) -> str:
    for argument in map(os.fsdecode, arguments):
        # A helper process shows its arguments as one text, parted by blanks.
        at = argument.find(_OPTION)
        if at == 0 or (at > 0 and argument[at - 1] == " "):
            rest = argument[at + len(_OPTION) :]
            return rest if at == 0 and " --" not in rest else rest.partition(" --")[0]
    return ""
