"""A small process beside a room that others could still see after a kill: it wipes the room when its owner is gone.

Rules
- Run as a program of its own, with nothing of its owner in memory: the standard library only, no environment.
- The end of its standard input is its sign. The kernel gives it however the owner ends; no signal but the last one
  keeps it from wiping. A byte before the end says that the owner has wiped; without one it stays a while and wipes what
  comes back.

It may not read what it wipes.

A file system in memory that only this process and its children see, and that dies with the last of them.

Rules
- Called first in a process that has one thread: a mount namespace is entered by the whole process or not at all.
  A child tries it before, so a system that allows half of it leaves this process as it was.
- Nothing that is mounted here is seen outside, and no path outside leads here. No process has to be alive to clean up.
- As root the memory is kept out of swap; without root the kernel does not offer that.

It is mounted over shared memory, which exists everywhere, so the path is a plain one, and what a browser shares with
its own processes there is private too. A path through ``/proc/PID/root`` would lead there as well, but Chromium
resolves its links first, finds nothing, and silently uses a directory of the user's home instead.

Rooms: directories in memory for one plain profile each.

Rules
- A place is memory or it is refused (``no_memory_backed_place``); 0700, ours, no link.
- A room is wiped when its block ends. When its owner is killed: in a private place the kernel frees it with the last
  process of the namespace; in a shared one its guard wipes it at once; if the guard was killed too, the next
  :meth:`Rooms.sweep` of any process of this user does, at a start and then at least once a minute (:mod:`.sweeping`).
- A room is somebody's while its lock is held, by its owner or by its guard. Locks die with processes, numbers do not.

Sweeps rooms for as long as a process has some: what a killed owner and its killed guard left is gone in a minute.

Rules
- At least once a minute, by every process that has rooms; a sweep that failed is told, and the next one comes.
- It works in a thread: wiping may take seconds, and a kill switch waits for nobody.

It may not decide whose a room is: locks do.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import re
import resource
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from byokeep.core.errors import Unavailable
from byokeep.process import clean_environment

_ZEROS = bytes(1 << 20)
_TRIES = 200
_PAUSE_S = 0.05
_AFTER_A_KILL_S = 20  # seconds in which what was started there has ended


def wipe(room: str) -> bool:
    """Overwrite and remove a room; returns whether nothing of it is left.

    It loses its name first, so that whoever still works in it makes nothing new under the old one.
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
        while True:  # ENXIO ends it: no more bytes; holes are passed over, for filling them would take memory
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
    # Killed without a word: what the owner started there closes only now, and makes its directories anew under the old
    # name. A browser does.
    until = time.monotonic() + (0 if told else _AFTER_A_KILL_S)
    while time.monotonic() < until:
        time.sleep(_PAUSE_S)
        if os.path.lexists(room):
            gone = wipe(room)
    return 0 if gone else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))


PLACE: Final = Path("/dev/shm")  # noqa: S108 - what is mounted there is ours alone
SWAPPED: Final = 3  # what this file ends with, run as a program, when the memory may go to swap
_NEW_NAMESPACE: Final = 0x0002_0000
_NEW_USER: Final = 0x1000_0000
_PRIVATE: Final = (1 << 14) | (1 << 18)  # MS_REC | MS_PRIVATE
_BARE: Final = 2 | 4 | 8  # MS_NOSUID | MS_NODEV | MS_NOEXEC
_GET_DUMPABLE, _SET_DUMPABLE = 3, 4


def enter(mebibytes: int) -> Path | None:
    """Give this process a file system in memory and return its path.

    Args:
        mebibytes: How much it may hold.

    Returns:
        None when the system does not let us: more than one thread, no such right, no such kernel. Nothing has changed
        then.
    """
    if sys.platform != "linux" or sum(1 for _ in Path("/proc/self/task").iterdir()) != 1:  # it would be a thread's
        return None
    child = os.fork()
    if child == 0:
        os._exit(0 if _entered(mebibytes) else 1)
    _, status = os.waitpid(child, 0)
    return PLACE if status == 0 and _entered(mebibytes) else None


def _entered(mebibytes: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if not _separated(libc) or libc.mount(b"none", b"/", None, _PRIVATE, None):
        return False
    size = f"size={mebibytes}m,nr_inodes={mebibytes * 256},mode=0700"
    return any(
        libc.mount(b"byokeep", os.fsencode(PLACE), b"tmpfs", _BARE, options.encode()) == 0
        for options in (f"{size},noswap", size)
    )


def _separated(libc: ctypes.CDLL) -> bool:
    if libc.unshare(_NEW_NAMESPACE) == 0:
        return True
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_NEW_NAMESPACE | _NEW_USER):
        return False
    # We stay who we are: files here and outside belong to the same user as before. A process that nobody may look into
    # may not write these files of its own either; there is nothing to see yet.
    maps = {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
    hardened = libc.prctl(_GET_DUMPABLE, 0, 0, 0, 0) != 1
    libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)
    try:
        for name, text in maps.items():
            Path("/proc/self", name).write_text(text)
    except OSError:
        return False
    finally:
        if hardened:
            libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    return True


def kept_out_of_swap(place: Path) -> bool:
    """Whether what is mounted at a place never goes to swap; False when it can not be told."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    found = [line.split()[-1].split(",") for line in lines if line.split()[4] == str(place)]
    return bool(found) and "noswap" in found[-1]


if __name__ == "__main__":  # whether it could be entered here, asked by a process that does not want to
    if enter(1) is None:
        sys.exit(1)
    sys.exit(0 if kept_out_of_swap(PLACE) else SWAPPED)


_IN_MEMORY: Final = frozenset({0x0102_1994, 0x8584_58F6})  # tmpfs, ramfs
_ROOM: Final = re.compile(r"(\.dead-)*[0-9a-f]{16}")
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def prepare(place: Path | None, mebibytes: int) -> Rooms:
    """Return the rooms of this process. Called first, while the process has one thread.

    Args:
        place: A directory in memory; ``None`` = a private one where the system lets us, else one in shared memory.
        mebibytes: How much a private place may hold.

    Raises:
        Unavailable: ``no_memory_backed_place``.
    """
    shared = shared_place()
    if place is not None:
        return Rooms(place, private=False, beside=shared)
    if os.geteuid() == 0:
        # Without root the kernel gives it only together with a user namespace, in which a worker reaches no database.
        outside = os.open(PLACE, _DIRECTORY)  # what runners of this user leave there is ours to sweep
        private = enter(mebibytes)
        if private is not None:
            return Rooms(private, private=True, beside=Path(f"/proc/self/fd/{outside}", shared.name))
        os.close(outside)
    return Rooms(shared, private=False)


def shared_place() -> Path:
    """Return where rooms of this user lie when nobody named a place and the system gives no private one."""
    return PLACE / f"byokeep-rooms-{os.geteuid()}"


def foreseen(place: Path | None) -> tuple[str, ...]:
    """Return the codes of what would be weaker than it could be, without a room: those of ``Rooms.warnings``.

    Raises:
        Unavailable: ``no_memory_backed_place``.
    """
    command = [sys.executable, "-I", "-S", __file__]
    asked = place is None and os.geteuid() == 0
    entered = subprocess.run(command, check=False, env=clean_environment()).returncode if asked else 1
    if entered in (0, SWAPPED):
        return ("swap_is_on",) if entered and _swaps() else ()
    if not in_memory(place or PLACE):
        raise _no_place()
    return ("swap_is_on", "room_without_limit") if _swaps() else ("room_without_limit",)


class Room:
    """One directory. ``path`` is a plain path, good for this process and its children."""

    def __init__(self, path: Path, watching: subprocess.Popen[bytes] | None) -> None:
        self.path = path
        self._watching = watching

    def must_be_guarded(self) -> None:
        """Raise Unavailable(``room_unguarded``) when its guard has gone: a kill now would leave it for the sweep."""
        if self._watching is not None and self._watching.poll() is not None:
            raise Unavailable("room_unguarded", next_step="Nothing was put there; try again.")


class Rooms:
    """All rooms of one place.

    Args:
        place: A directory in memory; made when missing.
        private: Whether nobody outside this process and its children sees it, so that no guard is needed.
        beside: Another place of this user that is swept too; it need not be there.

    Attributes:
        warnings: Codes of what is weaker here than it could be: ``swap_is_on``, ``room_without_limit``.

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
        weaker = {"swap_is_on": _swaps() and not kept_out_of_swap(place), "room_without_limit": not private}
        self.warnings = tuple(code for code, holds in weaker.items() if holds)
        with suppress(Unavailable):  # whoever keeps rooms sweeps again
            self.sweep()

    @contextmanager
    def open(self) -> Iterator[Room]:
        """Yield an empty room; wipes it at the end.

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
            wipe(str(path))
            if lock >= 0:
                os.close(lock)
            raise Unavailable("no_room", next_step="Free memory, or see `byokeep doctor`.") from None
        try:
            yield Room(path, watching)
        finally:
            gone = wipe(str(path))
            os.close(lock)
            if watching is not None:
                watching.communicate(b".")  # with the word that it is wiped: it need not stay
            if not gone:
                raise Unavailable("room_not_wiped", next_step="Something still writes there; end it.")

    def sweep(self) -> int:
        """Wipe the rooms that nobody has; returns how many. Safe at any time, in any process of this user.

        Raises:
            Unavailable: ``rooms_not_swept``: it could not be looked, or one is not gone.
        """
        beside = () if self._beside is None or not _ours(self._beside) else (self._beside,)
        left, wiped = [], 0
        try:
            for place in (self._place, *beside):
                left += _nobody_s(place)
            wiped = sum(wipe(str(path)) for path, _ in left)
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
    """Keep a sweep from taking a room between its making and its lock."""
    lock = os.open(place, _DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _nobody_s(place: Path) -> list[tuple[Path, int]]:
    """Take the locks of the rooms whose lock is free, so that they are nobody else's now."""
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
    """Whether its name is that of a room, or of one whose wiping was cut off: a browser shares memory beside them."""
    return _ROOM.fullmatch(path.name) is not None


def _ours(place: Path) -> bool:
    """Whether it is a directory of our user alone, and memory."""
    try:
        found = place.lstat()
    except OSError:
        return False
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return ours and in_memory(place)


def in_memory(place: Path) -> bool:
    """Whether a path lies in memory, as the kernel tells; False when it can not be told."""
    answer = ctypes.create_string_buffer(256)
    try:
        failed = ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(place), answer)
    except (OSError, AttributeError):
        return False
    return not failed and (ctypes.c_long.from_buffer(answer).value & 0xFFFF_FFFF) in _IN_MEMORY


def _guard(path: Path, lock: int) -> subprocess.Popen[bytes]:
    """Start the guard of a room and wait until it watches."""
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
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
    """Whether memory may be written to a disk; yes when nobody can tell."""
    try:
        return len(Path("/proc/swaps").read_text().splitlines()) > 1
    except OSError:
        return True


def _not_swept() -> Unavailable:
    return Unavailable("rooms_not_swept", next_step="Something still writes in a room that is nobody's; end it.")


def _no_place() -> Unavailable:
    text = "Plain profiles lie in memory only: mount a tmpfs with mode 0700 for our user and name it in room_dir."
    return Unavailable("no_memory_backed_place", next_step=text)


EVERY_S: Final = 20.0  # the promise is 60, the wiping included


@asynccontextmanager
async def swept(rooms: Rooms, told: Callable[[int, str], object] | None = None) -> AsyncIterator[None]:
    """Sweep again and again while the block runs. The first sweep was made by ``rooms`` itself.

    Args:
        rooms: Of this process.
        told: Called with how many rooms were wiped and a code of what went wrong, when there is either.
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
