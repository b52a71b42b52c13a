"""The ``byokeep`` command as a user runs it: another process (:mod:`.forks`), with pipes or a terminal of its own.

``Shell.run`` keeps everything that was printed, so that a later search can look at all of it. ``Watch`` looks at the
arguments and environments of all processes while something runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.forks import Begun, begun, forked
from tests.support.stack import environment

_PROGRAM = [sys.executable, "-m", "byokeep.cli"]
# Servers: how they start, and what they have loaded, is what is looked at.
_PARTS = ("web", "broker", "killswitch", "worker", "refresher")
_SERVERS = ("up", *_PARTS, "demo", "sim")


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document that ``--json`` promises."""
        return json.loads(self.out)

    @property
    def said(self) -> str:
        return self.out + self.err


@dataclass
class Shell:
    """Runs commands against one home.

    Args:
        home: The home.
        loaded: Whether servers and stacks that end by themselves are forked as well, and what demo and drill start.
        before: The command that runs its commands as somebody else.
    """

    home: Path
    ran: list[Ran] = field(default_factory=list)
    loaded: bool = False
    before: tuple[str, ...] = ()

    async def run(
        self, *words: str, token: Path | None = None, stdin: bytes | None = None, fds: Sequence[int] = (),
        within_s: float = 60.0, **variables: str,
    ) -> Ran:  # fmt: skip
        """Run ``byokeep WORDS`` to its end. Flags of the home and the token stand before a ``--``."""
        started, program = self.command(words, token), [*self.before, *_PROGRAM]
        plain = started[: len(program)] == program and "PYTHONPATH" not in variables
        part = self.loaded and words[0] in (*_PARTS, "up")
        forks = part or (self.loaded and words[0] == "demo") or words[0] not in _SERVERS
        if plain and not Watch.watching and forks:
            given = started[len(program) :], environment() | variables, stdin, within_s, "part" if part else "command"
            starts = self.loaded and words[0] in ("demo", "drill")
            how: dict[str, Any] = {"fds": fds, "starts": starts, "before": self.before}
            return self._keep(words, *await asyncio.to_thread(forked, *given, **how))
        process = await self.start(*words, token=token, stdin=stdin is not None, fds=fds, **variables)
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin), within_s)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        return self._keep(words, process.returncode, out, err)

    async def start(
        self, *words: str, token: Path | None = None, stdin: bool = False, fds: Sequence[int] = (), **variables: str
    ) -> asyncio.subprocess.Process:
        """Start ``byokeep WORDS``; the caller ends it."""
        return await asyncio.create_subprocess_exec(
            *self.command(words, token), stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment() | variables,
            pass_fds=tuple(fds),
        )  # fmt: skip

    async def begin(self, *words: str, token: Path | None = None, starts: bool = False, **variables: str) -> Begun:
        """Begin ``byokeep WORDS``, forked as what it starts, without input; :meth:`finish` waits for its end."""
        given = self.command(words, token)[len(self.before) + len(_PROGRAM) :], environment() | variables
        return await begun(*given, starts=starts, before=self.before)

    async def finish(self, process: asyncio.subprocess.Process | Begun, *words: str, within_s: float = 30.0) -> Ran:
        """Wait for a started command."""
        out, err = await asyncio.wait_for(process.communicate(), within_s)
        return self._keep(words, process.returncode, out, err)

    async def typed(self, *words: str, token: Path, prompt: str, text: str, within_s: float = 30.0) -> Ran:
        """Run a command on a terminal of its own and type a text when the prompt stands there."""
        ran = await asyncio.wait_for(asyncio.to_thread(self._on_terminal, words, token, prompt, text), within_s)
        self.ran.append(ran)
        return ran

    def command(self, words: Sequence[str], token: Path | None) -> list[str]:
        shared = ["--home", str(self.home), *(["--token-file", str(token)] if token else [])]
        at = list(words).index("--") if "--" in words else len(words)
        return [*self.before, *_PROGRAM, *words[:at], *shared, *words[at:]]

    def _keep(self, words: Sequence[str], code: int | None, out: bytes, err: bytes) -> Ran:
        ran = Ran(tuple(words), -1 if code is None else code, out.decode(), err.decode())
        self.ran.append(ran)
        return ran

    def _on_terminal(self, words: Sequence[str], token: Path, prompt: str, text: str) -> Ran:
        command, variables = self.command(words, token), environment() | {"TERM": "xterm", "COLUMNS": "80"}
        pid, terminal = pty.fork()
        if pid == 0:  # the child: the terminal is its controlling one
            with contextlib.suppress(BaseException):
                os.execve(sys.executable, command, variables)  # noqa: S606 - a fixed program
            os._exit(127)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, b"\x28\x00\x50\x00\x00\x00\x00\x00")  # 40 x 80
        shown = b""
        typed = False
        try:
            while chunk := _read(terminal):
                shown += chunk
                if not typed and prompt.encode() in shown:
                    os.write(terminal, text.encode() + b"\n")
                    typed = True
        finally:
            os.close(terminal)
            _, status = os.waitpid(pid, 0)
        assert typed, shown
        return Ran(tuple(words), os.waitstatus_to_exitcode(status), shown.decode(), "")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other side is gone
        return b""


@contextlib.contextmanager
def pipe_with(content: bytes) -> Iterator[int]:
    """A descriptor from which a child can read the content."""
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    try:
        yield reading
    finally:
        os.close(reading)


class Watch:
    """Looks at ``/proc/*/cmdline`` and ``environ`` of all processes, over and over, until it is stopped.

    Args:
        needles: What must not be there.
    """

    watching = 0  # how many do: a command that is not started by an interpreter's command line would hide from them

    def __init__(self, *needles: bytes) -> None:
        self.found: list[str] = []
        self.seen: set[bytes] = set()  # command lines of the processes that were looked at
        self._needles = needles
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        Watch.watching += 1
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        Watch.watching -= 1
        self._stop.set()
        self._thread.join()

    def saw(self, *words: str) -> bool:
        """Whether a process with these words in its command line was looked at."""
        return any(all(word.encode() in line for word in words) for line in self.seen)

    def _run(self) -> None:
        while not self._stop.is_set():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) != os.getpid():
                    self._look(entry)
            self._stop.wait(0.01)  # no command is over so soon, and what is watched needs the processor

    def _look(self, entry: Path) -> None:
        with contextlib.suppress(OSError):
            line, environ = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            self.seen.add(line)
            if any(needle in text for needle in self._needles for text in (line, environ)):
                self.found.append(entry.name)


async def ended(process: asyncio.subprocess.Process | Begun) -> None:
    """End a process that a failing test left."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
