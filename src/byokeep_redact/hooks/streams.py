"""Descriptors that clean what is written to them: a child's standard error, this process's own, faulthandler's.

Rules
- What a descriptor is given passes a :class:`~byokeep_redact.stream.StreamFilter` with the live values of this process.
- Bytes that cannot be cleaned are dropped; ``redaction_error`` is written in their place.
- A crash report is read by a child, for this process is dead by then. It knows shapes only; such a report names
  files, functions and threads, never what they hold.

It may not keep what passes.
"""

from __future__ import annotations

import atexit
import faulthandler
import io
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Thread
from typing import Any, Final

from byokeep_redact.engine import Redactor, default
from byokeep_redact.stream import CHUNK, IDLE_S, StreamFilter, pump, write_all

_WAIT_S: Final = 1.0  # a grandchild that outlives the child may hold the pipe open
_EXIT_S: Final = 30.0  # a process that ends waits so long for a reader that takes nothing
_STEP_S: Final = 0.05
_PIECE: Final = select.PIPE_BUF  # bytes of which a slow reader is seen to take some
_READER: Final = "from byokeep_redact.hooks.streams import clean; clean(0, 2)"


def clean(source: int, target: int, redactor: Redactor | None = None) -> None:
    """Copy one descriptor to another until its end, cleaned. Raises OSError when either fails."""
    through = StreamFilter(default() if redactor is None else redactor)
    pump(source, partial(write_all, target), through, lambda: False)


class _Copy(Thread):
    """Copies what is written to :attr:`writer` to another descriptor, cleaned, until all writers have closed it."""

    def __init__(self, target: int, redactor: Redactor | None) -> None:
        super().__init__(name="redact-stream", daemon=True)
        self._reader, self.writer = os.pipe()
        self._target, self._redactor = target, redactor
        self._ends = False
        self._waits: tuple[list[int], list[int]] | None = None  # for a writer, or for the reader; else it works
        self._moves = 0  # how often such a call came back with something done

    def run(self) -> None:
        """Copy. When nobody reads the target, what is written is dropped, and nobody waits for it."""
        try:
            through = StreamFilter(default() if self._redactor is None else self._redactor)
            pump(self._reader, self._write, through, self._done, self._readable)
        except OSError:
            while not self._done():
                if self._readable(IDLE_S) and not os.read(self._reader, CHUNK):
                    break
        finally:
            os.close(self._reader)

    def wait(self, stuck_s: float) -> None:
        """Wait for the end, as long as something moves or is being cleaned, however slowly.

        Steps are counted, not seconds: a machine that stands still loses nothing.
        """
        quiet = moves = 0
        while self.is_alive() and quiet * _STEP_S < stuck_s:
            self.join(_STEP_S)
            quiet = quiet + 1 if moves == self._moves and self._stuck() else 0
            moves = self._moves

    def _stuck(self) -> bool:
        """Whether it waits for others, and not only for its turn."""
        waits = self._waits
        try:
            return waits is not None and not any(select.select(*waits, [], 0))
        except OSError:
            return False  # it has just ended

    def end(self) -> None:
        """End when all that was written has been copied, whoever still holds the writer."""
        self._ends = True

    def _done(self) -> bool:
        ends = self._ends  # asked first: what was written before the end was said is seen below
        return ends and not self._readable(0)

    def _readable(self, wait_s: float) -> bool:
        self._waits = [self._reader], []
        ready = bool(select.select([self._reader], [], [], wait_s)[0])
        self._moves += ready
        self._waits = None
        return ready

    def _write(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            self._waits = [], [self._target]
            write_all(self._target, data[start : start + _PIECE])
            self._moves += 1
            self._waits = None


@contextmanager
def filtered(target: int = 2, redactor: Redactor | None = None) -> Iterator[int]:
    """Give a descriptor for a child's ``stderr``; what is written to it comes out of ``target`` cleaned.

    Use: ``with filtered() as stderr: subprocess.run(command, stderr=stderr)``, or with asyncio's subprocesses. At the
    end of the block everything that was written has come out, unless a grandchild still holds the descriptor.
    """
    copy = _Copy(target, redactor)
    copy.start()
    try:
        yield copy.writer
    finally:
        os.close(copy.writer)
        copy.wait(_WAIT_S)


class _LastWords(io.TextIOBase):
    """Stands for a standard stream while the interpreter ends, when no thread can clean what is printed any more."""

    def __init__(self, descriptor: int, redactor: Redactor) -> None:
        self._descriptor, self._through = descriptor, StreamFilter(redactor)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Write what is clean of a text."""
        write_all(self._descriptor, self._through.feed(text.encode("utf-8", "backslashreplace")))
        return len(text)

    def flush(self) -> None:
        """Write all but what may be the first part of a secret; at the very end all of it."""
        write_all(self._descriptor, self._through.end() if sys.is_finalizing() else self._through.pause())


class DescriptorHook:
    """Puts the filter before descriptors of this process, so before ``print``, C code and children too.

    At the end of the process all that was written comes out; what is printed after that is cleaned as it is printed.
    A process that was forked writes to the filter of the one that placed it.

    Args:
        descriptors: Which, for example ``(1, 2)``.
        redactor: Who cleans.
    """

    def __init__(self, descriptors: Sequence[int], redactor: Redactor) -> None:
        self._descriptors, self._redactor = tuple(descriptors), redactor
        self._routes: list[tuple[int, int, _Copy]] = []  # descriptor, what it was, who copies
        self._process = 0

    def place(self) -> None:
        """Route each through the filter."""
        self._process = os.getpid()
        atexit.register(self._last)
        for descriptor in self._descriptors:
            _flush()
            kept = os.dup(descriptor)
            copy = _Copy(kept, self._redactor)
            copy.start()
            os.dup2(copy.writer, descriptor)
            os.close(copy.writer)
            self._routes.append((descriptor, kept, copy))

    def remove(self) -> None:
        """Give them back, after everything written so far has come out."""
        atexit.unregister(self._last)
        self._give_back()
        while self._routes:
            _, kept, copy = self._routes.pop()
            copy.wait(_WAIT_S)
            if not copy.is_alive():  # else a child still writes to it
                os.close(kept)

    def _give_back(self) -> None:
        _flush()
        for descriptor, kept, _ in self._routes:
            os.dup2(kept, descriptor)

    def _last(self) -> None:
        """Let all out that was written: the interpreter ends, and the threads that copy with it."""
        if os.getpid() != self._process:
            return
        self._give_back()
        for name in ("stdout", "stderr"):
            if (descriptor := _descriptor_of(getattr(sys, name))) in self._descriptors:
                setattr(sys, name, _LastWords(descriptor, self._redactor))
        for _, _, copy in self._routes:
            copy.end()
        for _, _, copy in self._routes:
            copy.wait(_EXIT_S)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # none, closed, or nobody reads it
            stream.flush()


def _descriptor_of(stream: Any) -> int:
    """Return the descriptor of a stream, -1 when it has none."""
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return -1


class FaultHook:
    """Routes :mod:`faulthandler`'s report of a crash through a child that cleans it."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._was_on = False

    def place(self) -> None:
        """Start the child and enable faulthandler with its pipe."""
        self._was_on = faulthandler.is_enabled()
        self._child = subprocess.Popen([sys.executable, "-P", "-c", _READER], stdin=subprocess.PIPE)
        if self._child.stdin is not None:
            faulthandler.enable(file=self._child.stdin.fileno(), all_threads=True)

    def remove(self) -> None:
        """Disable it, or point it at standard error where it was on before; end the child."""
        if self._child is None:
            return
        faulthandler.disable()
        if self._was_on and sys.stderr is not None:
            faulthandler.enable()
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._child.wait(timeout=5)
        self._child = None
