"""Encoded patterns: every byte form that a piece of a canary can take in one encoding, and two engines that search.

The haystack is squeezed first (white space, NUL, colon and backslash out), so that UTF-16 text, wrapped base64 and
separated hex become their plain forms. Both engines only name candidates; one verifier decides, so they find the same.
Rule: no engine may decide alone, and an engine that is missing is never replaced by "nothing found".
"""

from __future__ import annotations

import base64
import importlib
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from byokeep_redact.canary import FRAGMENT_BYTES, Canary

Engine = Literal["auto", "grams", "hyperscan"]

SQUEEZED_OUT = b"\r\n\t \0:\\"
_BLOCK = 1 << 16
_PAD = b"\xff" * 16


class Squeezed:
    """A haystack without separators, padded for the engines, that can say where a byte came from.

    `out` are the separators; `block` is the grain, in bytes, of the map back to the original.
    """

    def __init__(self, data: bytes, out: bytes = SQUEEZED_OUT, block: int = _BLOCK) -> None:
        self._origin = data
        self._out = out
        self._block = block
        text = data.translate(None, out)
        self.size = len(text)
        self.padded = text + _PAD
        self._ends: list[int] = []

    def origin(self, position: int) -> int:
        """Return the offset in the original of squeezed byte `position`."""
        if self.size == len(self._origin):
            return position
        if not self._ends:
            total = 0
            for at in range(0, len(self._origin), self._block):
                total += len(self._origin[at : at + self._block].translate(None, self._out))
                self._ends.append(total)
        block = bisect_right(self._ends, position)
        start = block * self._block
        wanted = position - (self._ends[block - 1] if block else 0)
        low, high = start, min(start + self._block, len(self._origin)) - 1
        while low < high:
            middle = (low + high) // 2
            if len(self._origin[start : middle + 1].translate(None, self._out)) > wanted:
                high = middle
            else:
                low = middle + 1
        return low


@dataclass(frozen=True, slots=True)
class EncodedForm:
    """One canary in one encoding. `cuts` are the [start, end) parts of `text` that each stand for 12 of its bytes."""

    label: str
    encoding: str
    text: bytes
    cuts: tuple[tuple[int, int], ...]

    @property
    def shortest(self) -> int:
        """The length of the shortest cut, in bytes."""
        return min(end - start for start, end in self.cuts)


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """A form seen at [start, end) of the squeezed haystack."""

    start: int
    end: int
    label: str
    encoding: str


def radix_cuts(starts: Iterable[int], shift: int, bits: int) -> tuple[int, list[tuple[int, int]]]:
    """Say which characters of a base64 (`bits` 6) or base32 (5) text depend on 12 given bytes alone.

    `starts` are the places of such bytes in a value that stands `shift` bytes into a group. Returns the first character
    that depends on the value alone, and the [start, end) of each part, counted from there.
    """
    first = -(-8 * shift // bits)
    return first, [
        (-(-8 * (shift + at) // bits) - first, 8 * (shift + at + FRAGMENT_BYTES) // bits - first) for at in starts
    ]


def _radix(pattern: bytes, shift: int, bits: int, encoded: bytes, name: str, label: str) -> EncodedForm:
    """A base64 or base32 form whose first byte stands `shift` bytes into a group, less the characters at its edges."""
    first, cuts = radix_cuts(range(len(pattern) - FRAGMENT_BYTES + 1), shift, bits)
    return EncodedForm(label, name, encoded[first : first + cuts[-1][1]], tuple(cuts))


def forms(canary: Canary) -> list[EncodedForm]:
    """Return every form of `canary` that is searched for as it is.

    Raises ValueError if fewer than 12 bytes are left when separators are taken out.
    """
    pattern, label = canary.searched, canary.label
    plain = pattern.translate(None, SQUEEZED_OUT)
    if len(plain) < FRAGMENT_BYTES:
        raise ValueError("canary_too_short")
    plain_cuts = tuple((at, at + FRAGMENT_BYTES) for at in range(len(plain) - FRAGMENT_BYTES + 1))
    hex_cuts = tuple((2 * at, 2 * (at + FRAGMENT_BYTES)) for at in range(len(pattern) - FRAGMENT_BYTES + 1))
    found = [
        EncodedForm(label, "raw", plain, plain_cuts),
        EncodedForm(label, "reversed", plain[::-1], plain_cuts),
        EncodedForm(label, "hex", pattern.hex().encode(), hex_cuts),
        EncodedForm(label, "hex-upper", pattern.hex().upper().encode(), hex_cuts),
    ]
    for shift in range(3):
        shifted = b"\0" * shift + pattern + b"\0" * 3
        standard = _radix(pattern, shift, 6, base64.b64encode(shifted), f"base64@{shift}", label)
        found.append(standard)
        url_safe = _radix(pattern, shift, 6, base64.urlsafe_b64encode(shifted), f"base64url@{shift}", label)
        if url_safe.text != standard.text:
            found.append(url_safe)
    for shift in range(5):
        encoded = base64.b32encode(b"\0" * shift + pattern + b"\0" * 5)
        found.append(_radix(pattern, shift, 5, encoded, f"base32@{shift}", label))
    return found


class _Engine(Protocol):
    def seeds(self, haystack: Squeezed) -> Iterator[tuple[int, int, int, int]]:
        """Yield (form index, offset in the form, offset in the haystack, length) of places where the two agree."""


class _Grams:
    """Looks up 4-byte words at every 8th place (8-byte words at every 16th for the long hex forms) in one set.

    A part of n bytes holds a whole g-byte word at a multiple of k whenever n >= g + k - 1, so 11 and 23 bytes suffice,
    and the time does not depend on the number of patterns.
    """

    _SAMPLES = 1024

    def __init__(self, table: Sequence[EncodedForm]) -> None:
        self._index: dict[int, dict[int, list[tuple[int, int]]]] = {4: defaultdict(list), 8: defaultdict(list)}
        for number, form in enumerate(table):
            size = 8 if form.shortest >= 23 else 4  # 23 = 8 + 16 - 1
            for at in range(len(form.text) - size + 1):
                word = int.from_bytes(form.text[at : at + size], sys.byteorder)
                self._index[size][word].append((number, at))
        self._words = {size: frozenset(index) for size, index in self._index.items()}

    def seeds(self, haystack: Squeezed) -> Iterator[tuple[int, int, int, int]]:
        data = haystack.padded
        whole = memoryview(data)[: len(data) // 16 * 16]
        for size, samples in ((4, whole.cast("I")[::2]), (8, whole.cast("Q")[::2])):
            index = self._index[size]
            words = self._words[size]
            for start in range(0, len(samples), self._SAMPLES):
                part = samples[start : start + self._SAMPLES]
                if words.isdisjoint(part):
                    continue
                for place in [at for at, word in enumerate(part, start) if word in words]:
                    for number, offset in index[samples[place]]:
                        yield number, offset, place * size * 2, size


class _Hyperscan:
    """The same nominations from a compiled multi-literal automaton.

    Literals are pieces of q bytes every k bytes of a form; a part of n = q + k - 1 bytes always holds one.
    """

    def __init__(self, table: Sequence[EncodedForm], library: Any) -> None:
        places: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
        for number, form in enumerate(table):
            step = form.shortest // 2
            size = form.shortest - step + 1
            for at in range(0, len(form.text) - size + 1, step):
                places[form.text[at : at + size]].append((number, at))
        self._places = list(places.items())
        expressions = ["".join(f"\\x{byte:02x}" for byte in text).encode() for text, _ in self._places]
        self._database = library.Database(mode=library.HS_MODE_BLOCK)
        self._database.compile(
            expressions=expressions, ids=list(range(len(expressions))), elements=len(expressions), flags=0
        )

    def seeds(self, haystack: Squeezed) -> Iterator[tuple[int, int, int, int]]:
        matches: list[tuple[int, int]] = []

        def seen(number: int, _start: int, end: int, _flags: int, _context: object) -> None:
            matches.append((number, end))

        self._database.scan(haystack.padded, match_event_handler=seen)
        for literal, end in matches:
            text, places = self._places[literal]
            for number, offset in places:
                yield number, offset, end - len(text), len(text)


class EncodedPatterns:
    """All forms of all canaries, ready to be searched. `engine` "auto" takes hyperscan when it is installed."""

    def __init__(self, canaries: Iterable[Canary], engine: Engine = "auto") -> None:
        self.table = [form for canary in canaries for form in forms(canary)]
        if not self.table:
            raise ValueError("no_canaries")
        self._prefilter: _Engine = _engine(self.table, engine)

    def search(self, haystack: Squeezed) -> list[Hit]:
        """Return every place where at least 12 bytes in a row of a canary stand, in order of place."""
        hits: set[Hit] = set()
        done: dict[tuple[int, int], int] = {}
        for number, offset, position, size in self._prefilter.seeds(haystack):
            form, base = self.table[number], position - offset
            if done.get((number, base), -1) >= position:
                continue
            left, right = _agree(form.text, offset, size, haystack, position)
            if any(left <= start and end <= right for start, end in form.cuts):
                hits.add(Hit(base + left, base + right, form.label, form.encoding))
                done[number, base] = base + right
        return sorted(hits)


def _engine(table: Sequence[EncodedForm], engine: Engine) -> _Engine:
    if engine == "grams":
        return _Grams(table)
    try:
        library = importlib.import_module("hyperscan")
    except ImportError:
        if engine == "hyperscan":
            raise
        return _Grams(table)
    return _Hyperscan(table, library)


def _agree(text: bytes, offset: int, size: int, haystack: Squeezed, position: int) -> tuple[int, int]:
    """Grow the seed while form and haystack agree; return the agreeing [left, right) of the form."""
    data, base = haystack.padded, position - offset
    left, right = offset, offset + size
    while left and base + left > 0 and data[base + left - 1] == text[left - 1]:
        left -= 1
    last = min(len(text), haystack.size - base)
    while right < last and data[base + right] == text[right]:
        right += 1
    return left, min(right, last)
