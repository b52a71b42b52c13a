"""Runs ``byokeep`` in processes forked from one that has read and compiled all of the program.

A command is a process of its own as ever, with its own streams, environment, directory and exit code; it is spared the
processor time that an interpreter needs to load the program: a third of a second, or most of one for a stack's own
processes (:func:`standing`). Those hash passwords at a token cost, too. Where arguments or the start itself are looked
at, an interpreter is started: by ``Shell.start`` and ``Shell.typed``, while a ``Watch`` looks, and by a ``Stack``.

``python -m tests.support.forks DESCRIPTOR KIND`` is the process that forks; KIND may be a program of the tests' own.
"""

from __future__ import annotations

import array
import asyncio
import atexit
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any
from unittest import mock

from byokeep import process as production

ROOT = Path(__file__).parents[2]
_LOADED = {
    "command": (
        "aiohttp",
        "byokeep.accounts.cli",
        "byokeep.backup.shares",
        "byokeep.client.verify",
        "byokeep.processes.doctor",
        "byokeep.processes.drill",
        "byokeep.processes.platform_secrets",
        "byokeep.processes.upgrade",
        "byokeep.profiles.cli",
        "byokeep_redact.hooks.streams",
        "byokeep_redact.leaks",
        "byokeep_redact.search",
    ),
    "part": ("byokeep.processes.serve", "byokeep.processes.supervisor"),
}
_STREAMS = 3
SELDOM = (400_000, 5, 10)  # objects and rounds between two looks of the garbage collector, in processes of the tests
# What waits until a new key of leases is signed with, the first of them as the others have it.
_WAITING = tuple(f"byokeep.{name}" for name in (
    "adapters.openbao.provisioning", "adapters.openbao.ports", "processes.drill_steps",
))  # fmt: skip
SETTLES_S = 3  # instead of two minutes
_SOON = "TEST_SOON_SETTLED"
MORE: dict[str, str] = {}  # of the environment of a stack's own processes, for what the tests themselves read of it
_PROGRAMS = ("byokeep.cli", "byokeep.processes.isolated")
_lock = threading.Lock()


@cache
def _server(kind: str, before: tuple[str, ...] = ()) -> socket.socket:
    """Start the process that forks, by what stands before it; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("BYOKEEP_")}
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "tests.support.forks", str(theirs.fileno()), kind], cwd=ROOT,
        pass_fds=[theirs.fileno()], env=kept | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def forked(
    words: Sequence[str], environment: Mapping[str, str], stdin: bytes | None, within_s: float, kind: str = "command",
    *, fds: Sequence[int] = (), starts: bool = False, cwd: Path | None = None, before: tuple[str, ...] = (),
) -> tuple[int, bytes, bytes]:  # fmt: skip
    """Run ``byokeep WORDS``; returns exit code, standard output and standard error. Blocking.

    Args:
        words, environment, stdin, within_s: What is run, on what, and for how long at most.
        kind: ``part`` for a server that ends by itself.
        fds: Descriptors of here that it has under the same numbers.
        starts: Whether what it starts of our programs is forked as well.
        cwd: Where it works; default here.
        before: The command that makes somebody else of whoever forks.

    Raises:
        TimeoutError: It took too long, and was killed.
    """
    pipes = [os.pipe() for _ in range(3)]
    (given, giving), *printed = pipes
    theirs = [given, *(writing for _, writing in printed)]
    sent = [*theirs, *fds, *([_server("part", before).fileno()] if starts else ())]
    answer = _ask(kind, words, environment, sent, fds=fds, cwd=cwd, before=before)
    for descriptor in theirs:
        os.close(descriptor)
    said: dict[int, bytes] = {}
    tasks = [threading.Thread(target=_read, args=(said, reading)) for reading, _ in printed]
    tasks.append(threading.Thread(target=_write, args=(giving, stdin or b"")))
    for task in tasks:
        task.start()
    with answer, answer.makefile("r") as lines:
        pid = int(lines.readline())  # what forks may still be loading: the time is the command's
        answer.settimeout(within_s)
        try:
            code = int(lines.readline())
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            for task in tasks:
                task.join(10)
    out, err = (said[reading] for reading, _ in printed)
    return code, out, err


class Begun:
    """A ``byokeep WORDS`` that goes on, without input: of :class:`asyncio.subprocess.Process` what tests use.

    Args:
        answer: Where its number is told, and in the end its exit code.
        stdout, stderr: What it prints.
    """

    def __init__(self, answer: socket.socket, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader) -> None:
        self._answer, self.stdout, self.stderr = answer.makefile("r"), stdout, stderr
        answer.close()
        self.pid = int(self._answer.readline())
        self.returncode: int | None = None

    async def communicate(self) -> tuple[bytes, bytes]:
        """Wait for its end; returns what it printed and nobody has read."""
        out, err = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, err

    async def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        if self.returncode is None:
            self.returncode = int(await asyncio.to_thread(self._answer.readline))
            self._answer.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)


async def begun(
    words: Sequence[str], environment: Mapping[str, str], *, starts: bool = False, before: tuple[str, ...] = ()
) -> Begun:
    """Begin ``byokeep WORDS`` in a forked process.

    Args:
        words, environment: What is run, and on what.
        starts, before: As :func:`forked` has them; what starts others is a server.
    """
    loop, readers, theirs = asyncio.get_running_loop(), list[asyncio.StreamReader](), list[int]()
    for _ in range(2):
        reading, printed = os.pipe()
        theirs.append(printed)
        readers.append(reader := asyncio.StreamReader())
        protocol = asyncio.StreamReaderProtocol(reader)
        await loop.connect_read_pipe(lambda made=protocol: made, os.fdopen(reading, "rb"))
    kind = "part" if starts else "command"
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        sent = [nothing.fileno(), *theirs, *([_server(kind, before).fileno()] if starts else ())]
        answer = await asyncio.to_thread(_ask, kind, words, environment, sent, before=before)
    for descriptor in theirs:
        os.close(descriptor)
    return await asyncio.to_thread(Begun, answer, *readers)


@contextmanager
def stopped(module: str, stdin: bytes) -> Iterator[IO[bytes]]:
    """Run ``python -m MODULE`` and kill it at the end of the block; gives what it prints.

    Args:
        module: Of ``tests``; read and compiled once.
        stdin: Shorter than what a pipe holds.
    """
    given, giving = os.pipe()
    reading, printed = os.pipe()
    with os.fdopen(reading, "rb") as said, _ask(module, (), dict(os.environ), [given, printed, 2]) as answer:
        os.close(given)
        os.close(printed)
        _write(giving, stdin)
        with answer.makefile("r") as lines:
            pid = int(lines.readline())
            try:
                yield said
            finally:
                os.kill(pid, signal.SIGKILL)
                lines.readline()


def _ask(
    kind: str, words: Sequence[str], environment: Mapping[str, str], streams: Sequence[int], module: str = "",
    *, fds: Sequence[int] = (), cwd: Path | None = None, before: tuple[str, ...] = (),
) -> socket.socket:  # fmt: skip
    """Let a process be forked; returns where its number is told, and in the end its exit code."""
    answer, reply = socket.socketpair()
    module = module or (_PROGRAMS[0] if kind in _LOADED else kind)
    said = {"words": words, "environment": environment, "cwd": str(cwd or Path.cwd()), "module": module}
    asked = json.dumps(said | {"fds": list(fds)}).encode()
    theirs = array.array("i", [reply.fileno(), *streams])
    with _lock:
        _server(kind, before).sendmsg([asked], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, theirs)])
    reply.close()
    return answer


class Part:
    """One of a stack's own processes, for the supervisor what :class:`subprocess.Popen` is.

    Args:
        command: An interpreter that runs one of ``_PROGRAMS``.
        stdin, stdout, stderr: As :func:`byokeep.process.spawn` gives them.
        env: Its environment.
        start_new_session, preexec_fn: Both are asked for, and the process that forks does the same.
    """

    def __init__(
        self, command: Sequence[str], *, stdin: int, stdout: int, stderr: int, env: Mapping[str, str],
        start_new_session: bool, preexec_fn: Callable[[], None],
    ) -> None:  # fmt: skip
        _, _, module, *words = command
        assert stdin == subprocess.DEVNULL
        assert (start_new_session, preexec_fn.__qualname__) == (True, "child_setup.<locals>.setup")
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
            self._answer = _ask("part", words, {**env, **MORE}, [nothing.fileno(), stdout, stderr], module)
        self._told = b""
        self.returncode: int | None = None
        self.pid = int(self._line() or b"")

    def _line(self, flags: int = 0) -> bytes | None:
        """Return the next line that was told; None when there is none yet."""
        while b"\n" not in self._told:
            try:
                self._told += (more := self._answer.recv(32, flags))
            except BlockingIOError:
                return None
            if not more:
                return str(-signal.SIGKILL).encode()  # whoever forks takes all of them along
        line, _, self._told = self._told.partition(b"\n")
        return line

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        if self.returncode is None and (line := self._line(socket.MSG_DONTWAIT)) is not None:
            self.returncode = int(line)
            self._answer.close()
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for the end. Blocking."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


@contextmanager
def standing() -> Iterator[None]:
    """Let :func:`byokeep.process.spawn` fork what it starts of ours; all that is its own stays as in production."""

    def started(command: Sequence[str], **how: Any) -> Part | subprocess.Popen[bytes]:
        ours = command[0] == sys.executable and command[2] in _PROGRAMS
        return Part(command, **how) if ours else subprocess.Popen(command, **how)

    named = SimpleNamespace(Popen=started, DEVNULL=subprocess.DEVNULL)
    with mock.patch.object(production, "subprocess", named):
        yield


def _read(said: dict[int, bytes], descriptor: int) -> None:
    with os.fdopen(descriptor, "rb") as stream:
        said[descriptor] = stream.read()


def _write(descriptor: int, content: bytes) -> None:
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as stream:
            stream.write(content)
    except BrokenPipeError:  # it reads no further
        return


def _load(kind: str) -> None:
    import byokeep.cli

    for one in pkgutil.iter_modules(byokeep.cli.__path__, "byokeep.cli."):
        if one.name != "byokeep.cli.__main__":
            import_module(one.name)
    for name in _LOADED.get(kind, (kind,)):
        import_module(name)
    if kind not in _LOADED:
        del sys.modules[kind]  # it is run as a program
    if kind == "command":
        from byokeep_redact.leaks import Scanner

        Scanner().scan_bytes(b" ", source="")  # which compiles what each scan searches with
    if kind == "part":
        from byokeep.adapters.passwords import Passwords
        from byokeep.processes import serve
        from byokeep.telemetry import log

        # Three people of a stack cost more than its start; real programs hash at the real cost, which a test reads.
        Passwords.__init__.__kwdefaults__.update(memory_kib=64, time_cost=1)

        for name in sorted({name for names in serve._OWN.values() for name in names}):
            import_module(name)
        log.warm()
    assert threading.active_count() == 1
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "a fork would lose a thread of a library's"


def _serve(asked: socket.socket, in_child: Callable[[], None]) -> dict[str, Any] | None:
    """Fork for each command, until nobody is there to ask: in a child it returns what to run, in the end ``None``."""
    ready = selectors.DefaultSelector()
    running, unburied = dict[int, tuple[int, socket.socket]](), dict[int, tuple[int, socket.socket]]()
    ready.register(asked, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fd in running:
                ready.unregister(key.fd)
                pid, reply = running.pop(key.fd)
                os.close(key.fd)
                ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
                assert ended is not None
                code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                with suppress(ConnectionError):  # nobody wants to know any more
                    reply.sendall(f"{code}\n".encode())
                ready.register(reply, selectors.EVENT_READ)
                unburied[reply.fileno()] = pid, reply
                continue
            if key.fd in unburied:  # who asked knows of the end, or has ended: until then the number is nobody else's
                pid, reply = unburied.pop(key.fd)
                ready.unregister(reply)
                reply.close()
                os.waitpid(pid, 0)
                continue
            message, descriptors, _, _ = socket.recv_fds(asked, 1 << 20, 16)
            if not message:
                return None
            reply, streams = socket.socket(fileno=descriptors[0]), descriptors[1:]
            pid = os.fork()
            if pid == 0:
                in_child()
                streams, more = streams[:_STREAMS], streams[_STREAMS:]
                for number, descriptor in enumerate(streams):
                    os.dup2(descriptor, number)
                others = (other for _, other in (*running.values(), *unburied.values()))
                for one in (ready, asked, reply, *others):
                    one.close()
            for descriptor in (*streams, *(running if pid == 0 else ())):
                os.close(descriptor)
            if pid == 0:
                return {**json.loads(message), "more": more}
            reply.sendall(f"{pid}\n".encode())
            handle = os.pidfd_open(pid)
            running[handle] = pid, reply
            ready.register(handle, selectors.EVENT_READ)


def _leave(end: SystemExit) -> None:
    """End as a program does, but for taking apart all that was loaded; returns where it would end otherwise."""
    if isinstance(end.code, int | None):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code or 0)


@contextmanager
def soon_settled() -> Iterator[None]:
    """Let a new key of leases be signed with after seconds, here and in what is forked: one node has it at once."""
    with ExitStack() as changed:
        changed.enter_context(mock.patch.dict(MORE, {_SOON: "1"}))
        import_module(_WAITING[0])
        for name in _WAITING:
            if name in sys.modules:
                changed.enter_context(mock.patch.object(sys.modules[name], "SETTLE_S", SETTLES_S))
        yield


def _skew(offset: Path) -> None:
    """Let this process's clock be ahead by as many seconds as a file says."""
    from datetime import UTC, datetime, timedelta

    from byokeep.adapters.system import SystemClock

    def now(self: SystemClock) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=int(offset.read_text() or 0))

    SystemClock.now = now  # type: ignore[method-assign]


if __name__ == "__main__":
    import gc

    _load(sys.argv[2])
    gc.freeze()
    gc.set_threshold(*SELDOM)
    setup = production.child_setup()

    def as_part() -> None:
        os.setsid()
        setup()

    kind = sys.argv[2]
    command = _serve(socket.socket(fileno=int(sys.argv[1])), as_part if kind == "part" else lambda: None)
    if command is not None:
        os.environ.clear()
        os.environ.update(command["environment"])
        os.chdir(command["cwd"])
        for number, name in enumerate(("stdin", "stdout", "stderr")):  # these were made of what stood there before
            old = getattr(sys, name)
            kept = {"encoding": old.encoding, "errors": old.errors, "buffering": 1 if number == 2 else -1}
            setattr(sys, name, open(number, old.mode, closefd=False, **kept))  # noqa: SIM115
        tempfile.tempdir = None
        sys.argv[1:] = command["words"]
        if clock := os.environ.pop("TEST_CLOCK", ""):
            _skew(Path(clock))
        soon = os.environ.pop(_SOON, "")
        more, fds = command["more"], command["fds"]
        for descriptor, number in zip(more, fds, strict=False):
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
        starts = len(more) > len(fds)
        if starts:
            others = socket.socket(fileno=more[-1])
            _server = lambda *_: others  # type: ignore[assignment]  # noqa: E731
        try:
            with soon_settled() if soon else nullcontext(), standing() if starts else nullcontext():
                runpy.run_module(command["module"], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            _leave(end)
            raise
