"""Descriptors that clean what is written to them: a child's standard error, this process's own, faulthandler's.

Rules
- What a descriptor is given passes a :class:`~byokeep.redact.stream.StreamFilter` with the live values of this process.
- Bytes that can not be cleaned are dropped; ``redaction_error`` is written in their place.
- A crash report is read by a child, for this process is dead by then. It knows shapes only; such a report names
  files, functions and threads, never what they hold.

It may not keep what passes.
"""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Final

from byokeep.redact.engine import Redactor, default
from byokeep.redact.stream import CHUNK, StreamFilter, pump, write_all

_WAIT_S: Final = 1.0  # a grandchild that outlives the child may hold the pipe open
_READER: Final = "from byokeep.redact.hooks.streams import clean; clean(0, 2)"


def clean(source: int, target: int, redactor: Redactor | None = None) -> None:
    """Copy one descriptor to another until its end, cleaned. Raises OSError when either fails."""
    through = StreamFilter(default() if redactor is None else redactor)
    pump(source, partial(write_all, target), through, lambda: False)


@contextmanager
def filtered(target: int = 2, redactor: Redactor | None = None) -> Iterator[int]:
    """Give a descriptor for a child's ``stderr``; what is written to it comes out of ``target`` cleaned.

    Use: ``with filtered() as stderr: subprocess.run(command, stderr=stderr)``, or with asyncio's subprocesses. At the
    end of the block everything that was written has come out, unless a grandchild still holds the descriptor.
    """
    reader, writer = os.pipe()
    copy = Thread(target=_drain, args=(reader, target, redactor), name="redact-stream", daemon=True)
    copy.start()
    try:
        yield writer
    finally:
        os.close(writer)
        copy.join(_WAIT_S)


def _drain(reader: int, target: int, redactor: Redactor | None) -> None:
    try:
        clean(reader, target, redactor)
    except OSError:  # nobody reads the target; what is written is dropped, and nobody waits for it
        while os.read(reader, CHUNK):
            pass
    finally:
        os.close(reader)


class DescriptorHook:
    """Puts the filter before descriptors of this process, so before ``print``, C code and children too.

    Args:
        descriptors: Which, for example ``(1, 2)``.
        redactor: Who cleans.
    """

    def __init__(self, descriptors: Sequence[int], redactor: Redactor) -> None:
        self._descriptors, self._redactor = tuple(descriptors), redactor
        self._undo: list[Callable[[], None]] = []

    def place(self) -> None:
        """Route each through the filter."""
        for descriptor in self._descriptors:
            self._route(descriptor)

    def remove(self) -> None:
        """Give them back, after everything written so far has come out."""
        while self._undo:
            self._undo.pop()()

    def _route(self, descriptor: int) -> None:
        kept = os.dup(descriptor)
        held = filtered(kept, self._redactor)
        os.dup2(held.__enter__(), descriptor)

        def undo() -> None:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            os.dup2(kept, descriptor)
            held.__exit__(None, None, None)
            os.close(kept)

        self._undo.append(undo)


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
