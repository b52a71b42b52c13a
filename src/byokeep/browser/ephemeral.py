"""Rooms: directories in memory for one plain profile each, swept for as long as a process has some.

Rules
- A place is memory or it is refused (``no_memory_backed_place``); 0700, ours, no link.
- A room is wiped when its block ends. If its owner is killed: in a private place the kernel frees it with the last
  process of the namespace (:mod:`.namespace`); in a shared one its guard wipes it at once (:mod:`.guard`). If the guard
  was killed too, the next sweep of any process of this user wipes it: at a start, and then at least once a minute.
- A sweep runs in a thread: wiping may take seconds, and a kill switch waits for nobody. A failed sweep is reported, and
  the next one comes.
- A room is in use while its owner or its guard holds its lock. Locks die with processes, numbers do not.

It may not read a profile.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import re
import resource
import secrets
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from byokeep.browser import guard, namespace
from byokeep.core.errors import Unavailable
from byokeep.process import clean_environment

_IN_MEMORY: Final = frozenset({0x0102_1994, 0x8584_58F6})  # tmpfs, ramfs
_ROOM: Final = re.compile(r"(\.dead-)*[0-9a-f]{16}")
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def prepare(place: Path | None, mebibytes: int) -> Rooms:
    """Return the rooms of this process. Call it first, while the process has one thread.

    Args:
        place: A directory in memory; ``None`` = a private one if the system allows it, else one in shared memory.
        mebibytes: How much a private place may hold.

    Raises:
        Unavailable: ``no_memory_backed_place``.
    """
    shared = shared_place()
    if place is not None:
        return Rooms(place, private=False, beside=shared)
    if os.geteuid() == 0:
        # Without root the kernel gives it only with a user namespace, in which a worker reaches no database.
        outside = os.open(namespace.PLACE, _DIRECTORY)  # we sweep what runners of this user leave there
        private = namespace.enter(mebibytes)
        if private is not None:
            return Rooms(private, private=True, beside=Path(f"/proc/self/fd/{outside}", shared.name))
        os.close(outside)
    return Rooms(shared, private=False)


def shared_place() -> Path:
    """Return where this user's rooms are if nobody named a place and the system gives no private one."""
    return namespace.PLACE / f"byokeep-rooms-{os.geteuid()}"


def foreseen(place: Path | None) -> tuple[str, ...]:
    """Return the codes of what would be weaker than possible, without making a room: those of ``Rooms.warnings``.

    Raises:
        Unavailable: ``no_memory_backed_place``.
    """
    command = [sys.executable, "-I", "-S", namespace.__file__]
    asked = place is None and os.geteuid() == 0
    entered = subprocess.run(command, check=False, env=clean_environment()).returncode if asked else 1
    if entered in (0, namespace.SWAPPED):
        return ("swap_is_on",) if entered and _swaps() else ()
    if not in_memory(place or namespace.PLACE):
        raise _no_place()
    return ("swap_is_on", "room_without_limit") if _swaps() else ("room_without_limit",)


class Room:
    """One directory. ``path`` is a plain path, valid for this process and its children."""

    def __init__(self, path: Path, watching: subprocess.Popen[bytes] | None) -> None:
        self.path = path
        self._watching = watching

    def must_be_guarded(self) -> None:
        """Raise Unavailable(``room_unguarded``) if its guard has gone: a kill now would leave it for the sweep."""
        if self._watching is not None and self._watching.poll() is not None:
            raise Unavailable("room_unguarded", next_step="Nothing was written there. Try again.")


class Rooms:
    """All rooms of one place.

    Args:
        place: A directory in memory; created if missing.
        private: Whether nobody outside this process and its children sees it, so that no guard is needed.
        beside: Another place of this user that is swept too; it need not exist.

    Attributes:
        warnings: Codes of what is weaker here than possible: ``swap_is_on``, ``room_without_limit``.

    Raises:
        Unavailable: ``no_memory_backed_place``.
    """

    def __init__(self, place: Path, *, private: bool, beside: Path | None = None) -> None:
        self._place, self._private = place, private
        self._beside = None if beside == place else beside
        with suppress(OSError):
            place.mkdir(mode=0o700)
        if not _ours(place):
            raise _no_place()
        weaker = {"swap_is_on": _swaps() and not namespace.kept_out_of_swap(place), "room_without_limit": not private}
        self.warnings = tuple(code for code, holds in weaker.items() if holds)
        with suppress(Unavailable):  # whoever keeps rooms sweeps again
            self.sweep()

    @contextmanager
    def open(self) -> Iterator[Room]:
        """Yield an empty room; it is wiped at the end.

        Raises:
            Unavailable: ``no_room``: it could not be made; ``room_not_wiped``.
        """
        path = self._place / secrets.token_hex(8)
        lock, watching = -1, None
        try:
            with _alone(self._place):
                path.mkdir(mode=0o700)
                lock = os.open(path, _DIRECTORY)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            watching = None if self._private else _guard(path, lock)
        except (OSError, subprocess.SubprocessError):
            guard.wipe(str(path))
            if lock >= 0:
                os.close(lock)
            raise Unavailable("no_room", next_step="Free some memory, or see `byokeep doctor`.") from None
        try:
            yield Room(path, watching)
        finally:
            gone = guard.wipe(str(path))
            os.close(lock)
            if watching is not None:
                watching.communicate(b".")  # tells the guard that it is wiped and need not stay
            if not gone:
                raise Unavailable("room_not_wiped", next_step="A process still writes there. End it.")

    def sweep(self) -> int:
        """Wipe the rooms that nobody uses; returns how many. Safe at any time, in any process of this user.

        Raises:
            Unavailable: ``rooms_not_swept``: the place could not be read, or a room is not gone.
        """
        beside = () if self._beside is None or not _ours(self._beside) else (self._beside,)
        left, wiped = [], 0
        try:
            for place in (self._place, *beside):
                left += _nobody_s(place)
            wiped = sum(guard.wipe(str(path)) for path, _ in left)
        except OSError:
            raise _not_swept() from None
        finally:
            for _, lock in left:
                os.close(lock)
        if wiped < len(left):
            raise _not_swept()
        return wiped


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Keep a sweep from taking a room between its creation and its lock."""
    lock = os.open(place, _DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _nobody_s(place: Path) -> list[tuple[Path, int]]:
    """Take the locks of the rooms whose lock is free, so that nobody else has them."""
    taken = []
    with _alone(place):
        for path in filter(_is_room, place.iterdir()):
            with suppress(OSError):
                lock = os.open(path, _DIRECTORY)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:  # somebody has it
                    os.close(lock)
                else:
                    taken.append((path, lock))
    return taken


def _is_room(path: Path) -> bool:
    """Whether its name is a room's, or that of one whose wiping was cut off: browsers' shared memory is beside them."""
    return _ROOM.fullmatch(path.name) is not None


def _ours(place: Path) -> bool:
    """Whether it is a directory of only our user, and in memory."""
    try:
        found = place.lstat()
    except OSError:
        return False
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return ours and in_memory(place)


def in_memory(place: Path) -> bool:
    """Whether a path is in memory, as the kernel says; False if unknown."""
    answer = ctypes.create_string_buffer(256)
    try:
        failed = ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(place), answer)
    except (OSError, AttributeError):
        return False
    return not failed and (ctypes.c_long.from_buffer(answer).value & 0xFFFF_FFFF) in _IN_MEMORY


def _guard(path: Path, lock: int) -> subprocess.Popen[bytes]:
    """Start the guard of a room and wait until it watches."""
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, pass_fds=(lock,), env=clean_environment(), start_new_session=True, cwd="/",
    )  # fmt: skip
    with suppress(OSError, ProcessLookupError):
        resource.prlimit(started.pid, resource.RLIMIT_CORE, (0, 0))
    assert started.stdout is not None  # noqa: S101 - a pipe was asked for
    if started.stdout.read(1) != b"!":
        started.kill()
        started.communicate()
        raise OSError
    return started


def _swaps() -> bool:
    """Whether memory may be written to a disk; True if unknown."""
    try:
        return len(Path("/proc/swaps").read_text().splitlines()) > 1
    except OSError:
        return True


def _not_swept() -> Unavailable:
    return Unavailable("rooms_not_swept", next_step="A process still writes in a room that nobody owns. End it.")


def _no_place() -> Unavailable:
    text = "Plain profiles are kept only in memory: mount a tmpfs with mode 0700 for this user, and set room_dir to it."
    return Unavailable("no_memory_backed_place", next_step=text)


EVERY_S: Final = 20.0  # seconds; the promise is 60, including the wiping


@asynccontextmanager
async def swept(rooms: Rooms, told: Callable[[int, str], object] | None = None) -> AsyncIterator[None]:
    """Sweep again and again while the block runs. ``rooms`` itself made the first sweep.

    Args:
        rooms: This process's.
        told: Called with how many rooms were wiped and a code of what went wrong, if there is either.
    """
    sweeping = asyncio.create_task(_sweep(rooms, told))
    try:
        yield
    finally:
        sweeping.cancel()
        await asyncio.wait({sweeping})


async def _sweep(rooms: Rooms, told: Callable[[int, str], object] | None) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        wiped, code = 0, ""
        try:
            wiped = await asyncio.to_thread(rooms.sweep)
        except Unavailable as error:
            code = error.code
        if told is not None and (wiped or code):
            told(wiped, code)
