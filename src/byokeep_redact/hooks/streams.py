"""Streams: bytes go in as they come and come out redacted, and descriptors that clean what is written to them.

Whole lines are redacted together and passed on. A secret may stand over several (a PEM block, wrapped base64, a folded
header), so lines that could go on are held until the thing ends or the writer pauses. When it pauses inside a line, all
of it is passed on but the last word, which may be the first half of a secret; the line so far is looked at again with
what follows, so that a value is known by its name however late it comes. What is held is bounded: of a line that never
ends whole words are passed on, and a word that never ends is left out.

Rules
- What could not be redacted is dropped and ``redaction_error`` stands in its place; no byte is passed on before it was
  looked at with all that is held around it. Nothing that passes is kept.
- A crash report is read by a child, for this process is dead by then. It knows shapes only; such a report names files,
  functions and threads, never what they hold.
"""

from __future__ import annotations

import atexit
import faulthandler
import io
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Thread
from typing import Any, Final

from byokeep_redact.engine import RedactionFailed, Redactor, default
from byokeep_redact.mask import truncated

ERROR: Final = b"redaction_error\n"
HELD: Final = 1 << 18  # bytes held at most
IDLE_S: Final = 0.1  # a writer silent for so long has paused
CHUNK: Final = 1 << 16
_CONTEXT: Final = 1 << 12  # bytes passed on that are looked at again
_PEM: Final = 1 << 15  # bytes in which a PEM block must end
_WORD: Final = 4  # the shortest last word that is held
_LOOK_BACK: Final = 64  # lines

_OPEN_LINE: Final = re.compile(
    rb"(?:[A-Za-z0-9_+/=.~%\\&#;{}-]{16}|[:=,;\\({\[\"']|(?i:bearer|basic|dpop|token)"
    rb"|%[0-9A-Fa-fu]{1,5}%?|\\[uUx0-7][0-9A-Fa-f{}]{0,9}|&#[0-9A-Fa-fx]{0,8}&?)[ \t]{0,64}\r?\n\Z"
)
_LAST_WORD: Final = re.compile(rb"[^\s:?>\])}!]{%d,}\Z" % _WORD)
_END_OF_WORD: Final = re.compile(rb"[\s,;)\]}>]")
_BEGIN: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,64}-----")


class StreamFilter:
    """Redacts one stream. `failures` are pieces that were dropped.

    Args:
        redactor: Who finds and masks.
        held: Bytes held at most, at least 16 KiB.
    """

    def __init__(self, redactor: Redactor, *, held: int = HELD) -> None:
        self._redactor = redactor
        self._most = max(held, 4 * _CONTEXT)
        self._context = b""  # of the line or lines that go on; passed on already
        self._held = b""
        self._skipped = 0  # bytes of a word that is left out
        self.failures = 0

    def feed(self, data: bytes) -> bytes:
        """Take what the writer wrote; return what may be passed on."""
        self._held += data
        out: list[bytes] = []
        if self._skipped:
            out.append(self._skip())
        if cut := self._whole_lines():
            out.append(self._pass(cut))
        while len(self._held) > self._most:
            out.append(self._make_room())
        return b"".join(out)

    def pause(self) -> bytes:
        """The writer has paused: return all but what may be the first part of a secret."""
        stop = self._begun()
        tail = _LAST_WORD.search(self._held, max(0, len(self._held) - _CONTEXT))
        cut = min(stop, len(self._held) if tail is None else tail.start())
        return self._pass(cut) if cut else b""

    def end(self) -> bytes:
        """The writer has ended: return the rest."""
        if self._skipped:
            mark, self._skipped, self._held = truncated(self._skipped + len(self._held)), 0, b""
            return mark
        return self._pass(len(self._held)) if self._held else b""

    def _begun(self) -> int:
        """Return where a PEM block that has not ended begins; the end of what is held if there is none."""
        at = self._held.rfind(b"-----BEGIN ")
        if at < 0 or len(self._held) - at > _PEM or self._held.find(b"-----END ", at) >= 0:
            return len(self._held)
        return at

    def _whole_lines(self) -> int:
        """Return up to where lines are whole and the last one does not go on, 0 if there is no such place."""
        stop = self._begun()
        for _ in range(_LOOK_BACK):
            newline = max(self._held.rfind(b"\n", 0, stop), self._bare_return(stop))
            if newline < 0:
                return 0
            cut = newline + 1
            if self._held[cut : cut + 1] not in (b" ", b"\t") and not _OPEN_LINE.search(
                self._held, max(0, cut - 128), cut
            ):
                return cut
            stop = newline
        return 0

    def _bare_return(self, stop: int) -> int:
        """Return where the last carriage return before `stop` stands that is not part of a line end."""
        at = self._held.rfind(b"\r", 0, stop)
        return at if 0 <= at < len(self._held) - 1 and self._held[at + 1] != 10 else -1

    def _make_room(self) -> bytes:
        """Pass on whole words of what has become too long, or begin to leave out a word that has."""
        last = -1
        for last_word in _END_OF_WORD.finditer(self._held, 0, len(self._held) - _CONTEXT):
            last = last_word.end()
        if last > 0:
            return self._pass(last)
        self._skipped = len(self._held) - _CONTEXT
        self._held = self._held[self._skipped :]
        return self._skip()

    def _skip(self) -> bytes:
        """Leave out the rest of a word; return the mark that says so once it has ended."""
        end = _END_OF_WORD.search(self._held)
        if end is None:
            self._skipped += len(self._held)
            self._held = b""
            return b""
        mark = truncated(self._skipped + end.start())
        self._skipped, self._held, self._context = 0, self._held[end.start() :], b""
        return mark

    def _pass(self, cut: int) -> bytes:
        """Redact what is held up to `cut`, looking at all of it, and let go of it."""
        base = len(self._context)
        data = self._context + self._held
        try:
            spans = self._redactor.find(data)
        except RedactionFailed:
            self.failures += 1
            self._held, self._context = self._held[cut:], b""
            return ERROR
        cut += base
        for span in spans:
            if span.start < cut < span.end:
                cut = span.end  # to pass on a half of it, or to look for it again without its first half, is worse
        spans = [span for span in spans if base < span.end and span.start < cut]
        passed = self._redactor.masked(data, spans, base, cut)
        self._held = data[cut:]
        self._context = self._going_on(data, cut)
        return passed

    def _going_on(self, data: bytes, cut: int) -> bytes:
        """Return what stands before `cut` and goes on after it."""
        start = max(0, cut - _CONTEXT)
        if data[cut - 1 : cut] == b"\n":
            return data[start:cut] if _OPEN_LINE.search(data, max(0, cut - 128), cut) else b""
        return data[max(start, data.rfind(b"\n", 0, cut) + 1) : cut]


def pump(
    source: int,
    write: Callable[[bytes], None],
    through: StreamFilter,
    stop: Callable[[], bool],
    readable: Callable[[float], bool] | None = None,
) -> int:
    """Pass one descriptor through a filter until its end or until `stop()`; return the bytes read.

    Args:
        readable: Waits so many seconds for something to read, and says whether there is; default: `select`.

    Raises OSError when `source` cannot be read, and whatever `write` raises.
    """
    ready = readable or (lambda wait_s: bool(select.select([source], [], [], wait_s)[0]))
    size = 0
    idle = False
    while not stop():
        if not ready(IDLE_S):
            if not idle and (out := through.pause()):
                write(out)
            idle = True
            continue
        idle = False
        try:
            data = os.read(source, CHUNK)
        except BlockingIOError:
            continue
        if not data:
            break
        size += len(data)
        if out := through.feed(data):
            write(out)
    if out := through.end():
        write(out)
    return size


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data` to a descriptor, waiting where it would block. Raises OSError, BrokenPipeError among them."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


_WAIT_S: Final = 1.0  # a grandchild that outlives the child may hold the pipe open
_EXIT_S: Final = 30.0  # a process that ends waits so long for a reader that takes nothing
_STEP_S: Final = 0.05
_PIECE: Final = select.PIPE_BUF  # bytes of which a slow reader is seen to take some
_READER: Final = "from byokeep_redact.hooks.streams import clean; clean(0, 2)"


def clean(source: int, target: int) -> None:
    """Copy one descriptor to another until its end, cleaned. Raises OSError when either fails."""
    pump(source, partial(write_all, target), StreamFilter(default()), lambda: False)


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
