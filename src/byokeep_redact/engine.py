"""The redactor: finds secrets in text by two walls, known values first and shapes second, and puts masks over them.

A long text is read in pages of whole lines. A record is looked at once by cheap marks (`prefilter`); only one that sets
a mark off is read closely: as it is, and as every text it turns into when its encodings are taken off. What is found is
masked, and what is left between masks is read again by itself, so that redacting redacted text changes nothing.
Rules: a redactor that fails raises RedactionFailed, which names nothing of the text; what could not be read to the end
is masked; both engines find candidates and the same code decides, so they give the same result.
"""

from __future__ import annotations

import re
import sys
import threading
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import groupby
from typing import Any, Final

from byokeep_redact.automaton import Engine
from byokeep_redact.checks import Read
from byokeep_redact.decoders import Layer
from byokeep_redact.errors import ByokeepError
from byokeep_redact.known import KnownValues, Registration
from byokeep_redact.mask import MASKED, Mask, truncated
from byokeep_redact.prefilter import NOTHING, Candidate, Prefilter, confirmed
from byokeep_redact.rules import Rules, default_rules
from byokeep_redact.secret import Secret
from byokeep_redact.structures import Told, redacted
from byokeep_redact.triggers import DEPTH, escaped, hidden, inner, shorter

RawSpan = tuple[int, int, str, str, str]
"""Start, end, kind, rule and fingerprint (empty for a shape), as found: spans may overlap."""


def covers(spans: list[tuple[int, int]], start: int, end: int) -> bool:
    """Return whether the last of sorted spans that starts no later covers [start, end): another one might, too."""
    at = bisect_right(spans, (start, sys.maxsize))
    return at > 0 and spans[at - 1][1] >= end


def has_longer_line(data: bytes, limit: int) -> bool:
    """Return whether a line of `data` is longer than `limit`, by looking for one line end in each such stretch."""
    start = 0
    while len(data) - start > limit:
        end = data.rfind(b"\n", start, start + limit + 1)
        if end < 0:
            return True
        start = end + 1
    return False


def whole_characters(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Widen a span so that it does not cut a UTF-8 character."""
    for _ in range(3):
        if start > 0 and data[start] & 0xC0 == 0x80:
            start -= 1
        if end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
    return start, end


PAGE: Final = 1 << 12
_OVER: Final = 1 << 13
_PLAIN: Final = 4  # pages taken at once where no record starts, so that less is read twice
_LEAST_CUT: Final = 1 << 10
_PEEK: Final = 20
_LINE: Final = re.compile(rb"[^\n]*\n|[^\n]+")
_TAIL: Final = 1 << 10
# A line of what may have begun before it.
_GOES_ON: Final = re.compile(rb"[ \t]?(?:[A-Za-z0-9+/=_-]+|-----END [A-Z0-9 ]{1,40}-----)[ \t]?\r?\n?")
# How a new record plainly starts; no wrapped or folded value goes on like that.
_RECORD: Final = re.compile(
    rb"\n(?=[{\[]|-----BEGIN |[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]"
    rb"|[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:|[0-9]{1,3}(?:\.[0-9]{1,3}){3} )"
)


def pages(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, limit): spans that start in [start, end) are wanted, data[start:limit] is to be read."""
    size = len(data)
    start = 0
    while start < size:
        if size - start <= PAGE:
            yield start, size, size
            return
        end, limit = _page_end(data, start, size)
        yield start, end, limit
        start = end


def _page_end(data: bytes, start: int, size: int) -> tuple[int, int]:
    last = start + PAGE
    for near in (last - _TAIL, start):
        ends = [found.end() for found in _RECORD.finditer(data, near, last + _PEEK) if start < found.end() <= last]
        if ends:
            return ends[-1], ends[-1]
    last = start + _PLAIN * PAGE
    at = data.rfind(b"\n", start + 1, last)
    if at < 0:
        at = data.find(b"\n", last)
        if at < 0:
            return size, size
    end = at + 1
    over = data.rfind(b"\n", end, end + _OVER)
    if over < 0:
        over = data.find(b"\n", end)
    return end, size if over < 0 else over + 1


def groups(data: bytes, marked: Callable[[int, int], bool]) -> Iterator[tuple[int, int]]:
    """Yield the [start, end) of each part of `data` to be read closely. `marked` says whether it sets anything off.

    The parts are disjoint and in order.
    """
    if len(data) < _LEAST_CUT:
        yield 0, len(data)
        return
    lines = [line.span() for line in _LINE.finditer(data)]
    chosen = [marked(start, end) for start, end in lines]
    taken = list(chosen)
    for number, hit in enumerate(chosen):
        if not hit:
            continue
        if number and not _RECORD.match(data, lines[number][0] - 1):
            taken[number - 1] = True
        if number + 1 < len(lines) and not _RECORD.match(data, lines[number + 1][0] - 1):
            taken[number + 1] = True
    for number, line in enumerate(lines[1:], 1):
        taken[number] = taken[number] or (taken[number - 1] and _GOES_ON.fullmatch(data, *line) is not None)
    for hit, run in groupby(range(len(lines)), key=taken.__getitem__):
        numbers = list(run)
        start, end = lines[numbers[0]][0], lines[numbers[-1]][1]
        if hit or (len(numbers) > 1 and marked(start, end)):
            yield start, end


LEAST_LINE: Final = 1 << 10
LEAST_TEXT: Final = 8  # what is shorter holds no secret: a value is longer, and so is a name with a value
_MOST_MASKS: Final = 1000  # in a page
_MOST_CHECKED: Final = 1 << 16  # bytes of one value; a longer one is masked without being looked into
MASK_STARTS: Final = b"[redacted:"
_MARK_ROOM: Final = 40
_NAMES_KEPT: Final = 4096
_HEX: Final = "9f86d081884c7d659a2feaa0c55ad015"  # a secret after some names, and nothing by itself
_WORK: Final = 8  # decoded text may come to this many times the text it was in, and so may what is read between masks
_WORK_LEAST: Final = 1 << 16


class RedactionFailed(ByokeepError):
    """The record could not be redacted and must be dropped."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A secret at [start, end) of the input. `rule` is the rule, or `known/<form>` of a known value."""

    start: int
    end: int
    kind: str
    rule: str
    mark: str


class Redactor:
    """Redacts text, bytes and structures. Safe to use from many threads.

    Args:
        rules: Shapes; the packaged ones unless given.
        key: Key of the fingerprints in masks, at least 16 bytes; drawn afresh unless given.
        engine: The prefilter. "auto" takes hyperscan where it is installed; the results are the same.
        max_line: Bytes (characters for `text`) of one line or record; the rest is cut off and marked.

    Raises:
        RuleError: The rules cannot be used.
        ImportError: `engine` is "hyperscan" and it is not installed.
        ValueError: `key` is too short or `max_line` below 1024.
    """

    def __init__(
        self, rules: Rules | None = None, *, key: bytes | None = None, engine: Engine = "auto", max_line: int = 1 << 20
    ) -> None:
        if max_line < LEAST_LINE:
            raise ValueError("max_line_too_short")
        self.rules = default_rules() if rules is None else rules
        self.mask = Mask(key)
        self._prefilter = Prefilter(self.rules, engine)
        self.known = KnownValues(self.mask.fingerprint)
        self.max_line = max_line
        self._plain_names: dict[int, tuple[int, ...]] = {}
        self.failures = 0
        self._counts: Counter[str] = Counter()
        self._counting = threading.RLock()  # a signal handler may log in the middle of it

    @property
    def counts(self) -> dict[str, int]:
        """Masks written so far, by kind."""
        with self._counting:
            return dict(self._counts)

    def register(self, value: Secret | bytes | bytearray | str, kind: str = "secret") -> Registration:
        """Make a value known; see KnownValues.register."""
        registration = self.known.register(value, kind)
        self._plain_names = {}  # a name that was harmless may be that value; a check under way fills the old set
        return registration

    def warm(self) -> None:
        """Start hyperscan now rather than after some hundred records. Takes a second; nothing without hyperscan."""
        self._prefilter.warm()

    def find(self, data: bytes) -> list[Span]:
        """Return the secrets in `data`: disjoint, in order. Raises RedactionFailed."""
        try:
            return list(self._spans(data))
        except Exception:
            raise self._failed() from None

    def text(self, text: str) -> str:
        """Return `text` with every secret masked; the same object if there is none. Raises RedactionFailed."""
        try:
            data = text.encode("utf-8", "surrogatepass")
            if len(data) > self.max_line:
                return self._shortened(data).decode("utf-8", "replace")
            if self.clean(data):
                return text
            spans = list(self._spans(data))
            return self.masked(data, spans).decode("utf-8", "surrogatepass") if spans else text
        except Exception:
            raise self._failed() from None

    def clean(self, data: bytes) -> bool:
        """Return whether nothing in `data`, up to a page of it, calls for reading it closely."""
        return len(data) <= PAGE and not self._prefilter.scan(data) and not self.known.search(data)

    def data(self, data: bytes) -> bytes:
        """Return `data` with every secret masked and lines over `max_line` bytes cut. Raises RedactionFailed."""
        try:
            if has_longer_line(data, self.max_line):
                return b"\n".join(
                    self._shortened(line) if len(line) > self.max_line else self.masked(line, list(self._spans(line)))
                    for line in data.split(b"\n")
                )
            return self.masked(data, list(self._spans(data)))
        except Exception:
            raise self._failed() from None

    def value(self, value: Any, told: Told | None = None) -> Any:
        """Return a structure with every secret masked: keys, leaves, and values split over several of them.

        An object of a type that is not known becomes the text that `told` returns for it, else its type's name. Raises
        RedactionFailed.
        """
        try:
            return redacted(self, value, told)
        except Exception:
            raise self._failed() from None

    def plain_names(self, names: tuple[Any, ...]) -> tuple[int, ...] | None:
        """Return which of these names of fields, by number, say of some values that they are secrets, as `key` does.

        None: one is a secret, says it of all values, or may name another. Remembered by hash alone.
        """
        plain, known = self._plain_names, hash(names)
        if known in plain:
            return plain[known]
        if not all(type(one) is str and one.lower() != "value" and not self.rules.secret_name(one) for one in names):
            return None
        if not self.clean("\n".join(names).encode("utf-8", "surrogatepass")):
            return None
        weak = tuple(
            n for n, name in enumerate(names) if not self.clean(f"{name}={_HEX}".encode("utf-8", "surrogatepass"))
        )
        if len(plain) >= _NAMES_KEPT:
            plain.clear()
        plain[known] = weak
        return weak

    def is_mask(self, data: bytes) -> bool:
        """Return whether `data` is a mask and nothing else."""
        return MASKED.fullmatch(data) is not None and not self.known.search(data)

    def mask_of(self, value: bytes, kind: str) -> str:
        """Return the mask of a value that is a secret for certain, and count it."""
        with self._counting:
            self._counts[kind] += 1
        return self.mask.of(value, kind).decode("ascii")

    def write(self, span: Span) -> bytes:
        """Return the mask for a span that `find` returned."""
        return b"[redacted:%b:%b]" % (span.kind.encode(), span.mark.encode())

    def masked(self, data: bytes, spans: Sequence[Span], start: int = 0, end: int | None = None) -> bytes:
        """Return data[start:end] with masks over spans that `find` returned, and count these."""
        if not spans:
            return data[start:end]
        parts: list[bytes] = []
        for span in spans:
            parts += (data[start : span.start], self.write(span))
            start = span.end
        parts.append(data[start:end])
        with self._counting:
            self._counts.update(span.kind for span in spans)
        return b"".join(parts)

    def _failed(self) -> RedactionFailed:
        with self._counting:
            self.failures += 1
        return RedactionFailed("redaction_failed", next_step="Drop the record and report the failure.")

    def _shortened(self, data: bytes) -> bytes:
        """Return the masked start of a long line, itself no longer than a line, and how much of it was left out."""
        size = len(data)
        keep = self.max_line - _MARK_ROOM
        while True:
            data = data[:keep]
            out = self.masked(data, list(self._spans(data)))
            if len(out) <= self.max_line - _MARK_ROOM:
                return out + truncated(size - len(data))
            keep -= max(len(out) - len(data), _MARK_ROOM)
            if keep <= 0:
                return truncated(size)

    def _spans(self, data: bytes) -> Iterator[Span]:
        """Yield the spans of `data`, page by page."""
        at = 0
        for start, end, limit in pages(data):
            if at >= end:
                continue
            first = max(at, start)
            page = data[first:limit]
            numbers = self._prefilter.scan(page)
            if not numbers and not self.known.search(page):
                continue
            for span in sorted(self._closely(page, numbers)):
                if first + span.start >= end:
                    break
                at = first + span.end
                yield replace(span, start=first + span.start, end=at) if first else span

    def _closely(self, data: bytes, numbers: Sequence[int]) -> Iterator[Span]:
        """Yield the spans of a page in which the prefilter named the rules `numbers`.

        What lies between two masks, old or new, is read by itself; all of it is masked where there is no end of that.
        """
        todo, left = list(self._between_masks(data)), max(_WORK_LEAST, _WORK * len(data))
        while todo:
            start, end = todo.pop()
            if end - start < LEAST_TEXT:
                continue
            part = data[start:end]
            seen = numbers if len(part) == len(data) else self._prefilter.scan(part)
            if not seen and not self.known.search(part):
                continue
            left -= len(part)
            whole = [Span(start, end, "unread", "unread", self.mask.fingerprint(part))]
            spans = self._read(part, start, seen) if left >= 0 else whole
            at = start
            for span in spans:
                yield span
                todo.append((at, span.start))
                at = span.end
            if spans:
                todo.append((at, end))

    def _between_masks(self, data: bytes) -> Iterator[tuple[int, int]]:
        start = 0
        for mask in MASKED.finditer(data) if MASK_STARTS in data else ():
            if self.known.search(mask[0]):
                continue
            yield start, mask.start()
            start = mask.end()
        yield start, len(data)

    def _read(self, data: bytes, base: int, numbers: Sequence[int]) -> list[Span]:
        """Return the disjoint spans of a text without masks, `base` added to their offsets.

        `numbers` is what the prefilter named in it.
        """
        raw = [(start, end, hit.kind, f"known/{hit.form}", hit.mark) for start, end, hit in self.known.search(data)]
        readings: dict[bytes, Candidate] = {}  # by text, for the lines of a page come again and again

        def reading(start: int, end: int) -> Candidate:
            part = data[start:end]
            if part not in readings:
                readings[part] = self._reading(part, numbers if len(part) == len(data) else None)
            return readings[part]

        for start, end in groups(data, lambda start, end: reading(start, end) is not NOTHING):
            found = self._layers(data[start:end], reading(start, end))
            raw += ((start + s, start + e, kind, rule, mark) for s, e, kind, rule, mark in found)
        return self._disjoint(data, raw, base)

    def _reading(self, data: bytes, numbers: Sequence[int] | None = None) -> Candidate:
        numbers = self._prefilter.scan(data) if numbers is None else numbers
        return confirmed(self.rules, numbers, data) if numbers else NOTHING

    def _layers(self, data: bytes, reading: Candidate) -> Iterator[RawSpan]:
        """Yield what the shapes find in a text, and both walls in the texts inside it."""
        left = max(_WORK_LEAST, _WORK * len(data))
        layers = [Layer(data, 0, lambda at: at)]
        while layers:
            layer = layers.pop()
            if layer.depth:
                reading = self._reading(layer.data)
                for start, end, hit in self.known.search(layer.data):
                    yield (*layer.origin(start, end), hit.kind, f"known/{hit.form}", hit.mark)
            shapes = self._by_shape(layer.data, reading) if reading.matches else []
            for found in shapes:
                yield (*layer.origin(found[0], found[1]), *found[2:])
            triggers = reading.triggers
            if not triggers:
                continue
            covered = partial(covers, sorted(found[:2] for found in shapes))
            unread: list[tuple[int, int]] = []
            deeper: Iterable[Layer] = ()
            if layer.depth < DEPTH and left >= 0:
                deeper = inner(layer, triggers, covered, unread, left)
            else:
                unread += hidden(layer, triggers, covered)
                if left < 0:
                    unread += escaped(layer, triggers)
                else:
                    deeper = shorter(layer, triggers)
            for one in deeper:
                left -= len(one.data)
                layers.append(one)
            for start, end in unread:
                yield (*layer.origin(start, end), "unread", "unread", "")

    def _by_shape(self, data: bytes, reading: Candidate) -> list[RawSpan]:
        """Return what the rules find. A match whose value is covered by an earlier rule is not looked at again.

        Where a rule matches without end, all from its first match on is masked rather than looked at.
        """
        spans: list[RawSpan] = []
        seen, read = list[tuple[int, int]](), Read()
        for rule, matches, all_of_them in reading.matches:
            if not all_of_them:
                spans.append((matches[0].start(), len(data), rule.kind, rule.name, ""))
                continue
            for match in matches:
                start, end = rule.whole(match)
                if start < 0 or covers(seen, start, end):
                    continue
                if end - start > _MOST_CHECKED:
                    spans.append((start, end, rule.kind, rule.name, ""))
                    continue
                for start, end in self.rules.secrets(rule, match, rule.spans(match, read)):
                    spans.append((start, end, rule.kind, rule.name, ""))
                    insort(seen, (start, end))
        return spans

    def _disjoint(self, data: bytes, raw: list[RawSpan], base: int) -> list[Span]:
        """Merge what overlaps, and everything when there is no end of it, so that masks cannot swell a line.

        A known value names the whole; of two shapes the first does.
        """
        merged: list[list[Any]] = []
        for first, last_end, kind, rule, mark in sorted(raw):
            if not 0 <= first < last_end <= len(data):
                raise ValueError("span_outside")  # a place worked out wrongly would show what it should hide
            start, end = whole_characters(data, first, last_end)
            if merged and start < merged[-1][1]:
                last = merged[-1]
                last[1] = max(last[1], end)
                if mark and not last[4]:
                    last[2:] = kind, rule, mark
            else:
                merged.append([start, end, kind, rule, mark])
        if len(merged) > _MOST_MASKS:
            merged = [[merged[0][0], merged[-1][1], *merged[0][2:]]]
        return [
            Span(base + start, base + end, kind, rule, mark or self.mask.fingerprint(data[start:end]))
            for start, end, kind, rule, mark in merged
        ]


@lru_cache(maxsize=1)
def default() -> Redactor:
    """Return the redactor of this process, which hooks use and leases register with. Raises RuleError."""
    return Redactor()
