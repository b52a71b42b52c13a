"""What every process of ours sets on itself and on its children before it works.

Rules
- No core dumps, not readable by other processes of the same user, no inherited environment beyond a short list:
  a value cannot leak through a dump, ``/proc/PID/mem`` or an environment (S-OWASP-8, S-OWASP-9).
- What only a living process may say stands in a file that it holds (:func:`hold`): the kernel lets go when it dies,
  however it died, and no number that somebody else may get anew is asked.
- Whoever starts something waits while it gets somewhere, for however long (:class:`Progress`): a busy machine is slow,
  not broken.
- A child dies with its parent (Linux): a killed supervisor leaves nothing running that holds the data. What it says
  stands in a file of its owner's alone. It is ended politely, and killed when it does not obey.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final, TypeVar

WORKER_READY: Final = "worker.ready"  # in the log directory; workers that have started hold it
_FIRST: Final = -10  # niceness
T = TypeVar("T")
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
STALL_S: Final = 60.0  # seconds without any change after which something does not start any more
_PROC: Final = Path("/proc")
_POLL_S: Final = 0.01
_KILLED_S: Final = 5.0  # seconds for which the kernel is waited for
_CPU_STEP_S: Final = 0.5  # less CPU than this is what being asked costs
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_libc: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def clean_environment(**extra: str) -> dict[str, str]:
    """Return the environment for a child: a short list of ours plus ``extra`` (names of files, never values)."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | extra


def child_setup(*, death_signal: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """Return a function to run in a child between fork and exec.

    Args:
        death_signal: What the kernel sends the child when its parent dies (Linux only).
    """
    parent = os.getpid()

    def setup() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:  # the parent died before the line above
                os._exit(1)

    return setup


def spawn(
    command: Sequence[str], log: Path, *, env: Mapping[str, str], death_signal: signal.Signals = signal.SIGTERM,
    **more: Any,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start a program in a session of its own. Called in the thread with which the program ends.

    Args:
        command: The program and its arguments.
        log: Takes what it says; made closed to others, one of an earlier build too.
        env: Its environment.
        death_signal: As for :func:`child_setup`.
        more: As which user and where, for :class:`subprocess.Popen`; default as we.

    Raises:
        OSError: Not started.
    """
    with descriptor(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as handle:
        os.fchmod(handle, 0o600)
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=handle, stderr=handle, env=env, start_new_session=True,
            preexec_fn=child_setup(death_signal=death_signal), **more,  # noqa: PLW1509
        )  # fmt: skip


async def end(process: subprocess.Popen[bytes], within_s: float, *, politely: signal.Signals = signal.SIGTERM) -> None:
    """End a child, by force after ``within_s``; return when it is gone."""
    process.send_signal(politely)  # to one that has ended nothing is sent
    for wait_s in (within_s, _KILLED_S):
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return
            await asyncio.sleep(_POLL_S)
        process.kill()


async def to_its_end(work: Coroutine[Any, Any, T], *, hurry: Callable[[], None] = lambda: None) -> T:
    """Wait for work that must not be left half done, also when we are cancelled meanwhile: that is raised after it.

    Args:
        work: What is waited for.
        hurry: Called when we are cancelled, so that the work ends soon.
    """
    task, cancelled = asyncio.ensure_future(work), None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
            hurry()
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # it is looked at: what we raise says more
    raise cancelled


async def apart(work: Callable[[], T]) -> T:
    """Do something in a thread that keeps no process from its end, as what asks a mount that hangs would."""
    done = Future[T]()
    done.set_running_or_notify_cancel()  # whoever waits may be cancelled, what is done may not

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)


class Progress:
    """Tells a slow start from one that got stuck: it goes on while anything that is looked at changes.

    Args:
        stall_s: Seconds without a change after which it is stuck.
        clock: Seconds that only grow.
    """

    def __init__(self, *, stall_s: float = STALL_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.stall_s = stall_s
        self._clock = clock
        self._began = self._changed = clock()
        self._last: tuple[object, ...] = ()

    @property
    def took_s(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    def goes_on(self, *facts: object) -> bool:
        """Note what is seen now; return False when nothing has changed for ``stall_s``."""
        if facts != self._last:
            self._last, self._changed = facts, self._clock()
        return self._clock() - self._changed < self.stall_s


@dataclass(frozen=True, slots=True)
class LivingProcess:
    """A process that has not ended, as Linux's /proc shows it to everybody."""

    pid: int
    parent: int
    group: int
    cpu_s: float
    arguments: tuple[bytes, ...]


def running(pid: object) -> LivingProcess | None:
    """Return a process; None when it ended. A zombie holds nothing and has ended: whoever started it buries it."""
    place = _PROC / str(pid)
    try:
        status = (place / "stat").read_text("latin-1").rpartition(")")[2].split()
        arguments = (place / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    if status[0] in ("Z", "X"):
        return None
    cpu_s = (int(status[11]) + int(status[12])) / os.sysconf("SC_CLK_TCK")
    return LivingProcess(int(place.name), int(status[1]), int(status[2]), cpu_s, tuple(arguments))


def pids() -> list[int]:
    """Return the ids of all processes; none where there is no /proc."""
    return [int(place.name) for place in _PROC.iterdir() if place.name.isdigit()] if _PROC.is_dir() else []


def living_processes() -> list[LivingProcess]:
    """Return all processes that have not ended."""
    return [one for one in map(running, pids()) if one is not None]


def below(*over: int, among: Sequence[LivingProcess] | None = None) -> list[int]:
    """Return the processes that these started, and those that they did, without the ones that have ended."""
    living, found = living_processes() if among is None else among, list(over)
    for parent in found:
        found += [one.pid for one in living if one.parent == parent]
    return found[len(over) :]


def adopt_orphans() -> None:
    """Become the parent of what our children leave behind, so that :func:`below` names it (Linux only)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def program_in(pid: int) -> tuple[str, Path] | None:
    """Return the name of a process's program and the directory it works in; None where we may not look, or no more."""
    place = _PROC / str(pid)
    try:
        return (place / "exe").readlink().name.removesuffix(" (deleted)"), (place / "cwd").readlink()
    except OSError:
        return None


def work_of(pid: int | None) -> int:
    """Return the CPU that a process has used, in steps of half a second; 0 where nobody can tell."""
    found = running(pid)
    return int(found.cpu_s / _CPU_STEP_S) if found else 0


def size_of(*files: Path) -> int:
    """Return how many bytes stand in the files that there are."""
    return sum(file.stat().st_size for file in files if file.exists())


@contextmanager
def descriptor(file: Path, flags: int) -> Iterator[int]:
    """Yield a descriptor of a file, which is 0600 if it is made here. A link is not followed. Raises OSError."""
    handle = os.open(file, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def alone(file: Path, refusal: Exception) -> Iterator[None]:
    """Hold a lock on a file of its own, or on a directory; raise ``refusal`` if another process holds it."""
    with descriptor(file, os.O_RDONLY if file.is_dir() else os.O_RDWR | os.O_CREAT) as lock:
        try:
            hold(lock)
        except OSError:
            raise refusal from None
        yield


def hold(handle: int) -> None:
    """Hold an open file until it is closed or this process dies. Raises OSError: another holds it."""
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def say_ready(file: Path) -> None:
    """Hold a file, beside others that do the same work, for as long as this process lives: it has started."""
    with suppress(OSError):  # its work does not depend on who is told
        handle = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_SH)  # only a look can be in the way, for a moment


def is_held(file: Path, *, shared: bool = False) -> bool:
    """Whether a living process holds a file; one that is gone, or is no file of ours, is held by nobody.

    Args:
        file: The file.
        shared: Several may hold it side by side, as :func:`say_ready` does.
    """
    try:
        with descriptor(file, os.O_RDONLY | os.O_NONBLOCK) as handle:
            fcntl.flock(handle, (fcntl.LOCK_EX if shared else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False


def is_what_it_says(file: Path) -> bool | None:
    """Whether a file ``{anything}-{sha256}.{ending}`` holds what its name says; None when it cannot be read."""
    try:
        with descriptor(file, os.O_RDONLY | os.O_NONBLOCK) as handle, open(handle, "rb", closefd=False) as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == file.stem.rpartition("-")[2]
    except OSError as error:
        return None if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES) else False


def come_first(pid: int | None = None) -> None:
    """Let a process be served before others where the machine is busy; without the right to (root) it stays in line.

    Niceness counts within a session alone where the kernel shares time out between sessions, and each of ours has its
    own: so the session is put first as well.

    Args:
        pid: Which; default this one.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid or 0, _FIRST)
    with suppress(OSError):
        (_PROC / str(pid or "self") / "autogroup").write_text(str(_FIRST))


def harden() -> None:
    """Turn off core dumps and same-user memory reads for this process. Servers call it first; so do `job run`, work on
    backups, and whatever reads a value with :func:`byokeep.cli.intake.read_secret`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _libc is not None:
        _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
