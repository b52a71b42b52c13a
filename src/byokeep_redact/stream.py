"""The stream filter: bytes go in as they come, come out redacted, and nothing waits for a newline that does not come.

Whole lines are redacted together and passed on. A secret may stand over several (a PEM block, wrapped base64, a folded
header), so lines that could go on are held until the thing ends or the writer pauses. When it pauses inside a line, all
of it is passed on but the last word, which may be the first half of a secret; the line so far is looked at again with
what follows, so that a value is known by its name however late it comes. What is held is bounded: of a line that never
ends whole words are passed on, and a word that never ends is left out.

Rules: what could not be redacted is dropped and `redaction_error` stands in its place; no byte is passed on before it
was looked at with all that is held around it.
"""

from __future__ import annotations

import os
import re
import select
from collections import Counter
from collections.abc import Callable
from typing import Final

from byokeep_redact.engine import RedactionFailed, Redactor, Span
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
    rb"(?:[A-Za-z0-9_+/=.~%\\-]{16}|[:=,;\\({\[\"']|(?i:bearer|basic|dpop|token))[ \t]{0,64}\r?\n\Z"
)
_LAST_WORD: Final = re.compile(rb"[^\s:?>\])}!]{%d,}\Z" % _WORD)
_END_OF_WORD: Final = re.compile(rb"[\s,;)\]}>]")
_BEGIN: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,64}-----")


class StreamFilter:
    """Redacts one stream. `counts` are masks by kind, `failures` pieces that were dropped.

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
        self.counts: Counter[str] = Counter()
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
        passed = self._masked(data, base, cut, [span for span in spans if base < span.end and span.start < cut])
        self._held = data[cut:]
        self._context = self._going_on(data, cut)
        return passed

    def _masked(self, data: bytes, at: int, cut: int, spans: list[Span]) -> bytes:
        parts: list[bytes] = []
        for span in spans:
            parts += (data[at : max(at, span.start)], self._redactor.write(span))
            at = span.end
            self.counts[span.kind] += 1
        parts.append(data[at:cut])
        return b"".join(parts)

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
