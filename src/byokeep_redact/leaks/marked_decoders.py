"""Which parts of a layer are worth decoding: nearly none of most files, and the scanner's time goes there alone.

Decoding every long word of a log at every phase costs more than all the rest. Text that was encoded has a mark that
chance rarely makes (groups of base64 in a row of which each stands for printable text, pairs of hex digits from 20 to
7f), and so has packed data. Parts with a mark are cut out, whole words at a time, and only they are decoded; parts
that are one value spread over lines or a list of characters are put together. hyperscan finds the marks where it is
installed, `re` where it is not, and they find the same. Rule: a part is cut out too often rather than not at all.
"""

from __future__ import annotations

import base64
import importlib
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final

from byokeep_redact.decoders import Layer, decoded, listed
from byokeep_redact.encoded_patterns import Engine, Squeezed

_ANY: Final = rb"[A-Za-z0-9+/_-]"
# Four characters that stand for three bytes below 0x80, the first of them printable.
_TEXT: Final = rb"[I-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589]" + _ANY
_PACKED: Final = rb"H4sI|[BRhx][+-]LC[A-D]|fiw[g-j]|eJ[wxyz0-5]|eN[opqrs]|eA[EFG]|UEsDB|KLUv|Qlpo|_Td6W|/Td6W"
_ESCAPE: Final = (
    rb"%[0-9A-Fa-f]{2}|[\\](?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|/)|(?:[\\][0-7]{3}){2}"
    rb"|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|amp|lt|gt|quot);"
)
MARKS: Final = (
    rb"(?:%b){5}" % _TEXT,
    rb"(?:%b)%b{16}" % (_PACKED, _ANY),
    rb"(?:[2-7][0-9A-Fa-f][ :,-]?){12}",
    _ESCAPE,
    rb"\x00[\x20-\x7e]\x00[\x20-\x7e]\x00",
    rb"(?:[A-P][A-Z2-7]{7}){3}",
    rb"(?:(?:,[ \t\r\n]*| )(?:[3-9][0-9]|1[0-2][0-9]|0[xX][0-9A-Fa-f]{2}|\"[0-9]+\":[ ]?[0-9]{2,3})){8}"
    rb"|(?:-[2-7][0-9A-Fa-f]){10}",
)
_BASE32: Final = re.compile(rb"[A-Z2-7]{24,}")
_GAP: Final = b"\xff\xff\xff"
_SPREAD: Final = (
    rb"[A-Za-z0-9_+/-]{20}[\\]?\r?\n[ \t]{0,32}[A-Za-z0-9_+/-]{8}",
    rb"(?:['\x22][\x21-\x7e]['\x22][ ,\r\n\t]{1,8}){12}",
)
_JOINT: Final = re.compile(
    rb"[\\]?\r?\n[ \t]{0,32}|(?<=['\"]),?[ \r\n\t]{0,8}(?=['\"])|['\"](?=.['\"])|(?<=['\"].)['\"]", re.DOTALL
)
_BEFORE, _AFTER = 256, 256  # bytes around a mark, so that the name before a value is with it
_LONGEST_MARK: Final = 72
_BETWEEN: Final = b" \x01 "
_WORD: Final = bytes(
    65 if chr(code) in "\r\n%\\&#;=+/-_:" or (code < 128 and chr(code).isalnum()) else 32 for code in range(256)
)
_SPREAD_WORD: Final = bytes(
    65 if chr(code) in "\r\n\t \\+/-_'\"," or (code < 128 and chr(code).isalnum()) else 46 for code in range(256)
)

_Part = tuple[int, int]


class Marks:
    """Finds patterns; says where a match ends. "auto" takes hyperscan when it is installed."""

    def __init__(self, patterns: tuple[bytes, ...], engine: Engine = "auto") -> None:
        self._compiled = [re.compile(pattern) for pattern in patterns]
        self._database: Any = None
        if engine == "grams":
            return
        try:
            library = importlib.import_module("hyperscan")
        except ImportError:
            if engine == "hyperscan":
                raise
            return
        self._database = _database(patterns)
        self._scratch = library.Scratch(self._database)

    def parts(self, data: bytes, part: Callable[[int], _Part]) -> list[_Part]:
        """Return the parts of `data` around marks, in order, apart. `part` makes one from a mark's end."""
        found: list[_Part] = []

        def seen(_number: int, _start: int, end: int, _flags: int, _context: object) -> None:
            if not found or end > found[-1][1]:
                found.append(part(end))

        if self._database is not None:
            self._database.scan(data, match_event_handler=seen, scratch=self._scratch)
            return _merged(found)
        for compiled in self._compiled:
            own: list[_Part] = []
            at = 0
            while match := compiled.search(data, at):
                own.append(part(match.end()))
                at = max(match.end(), own[-1][1] - _LONGEST_MARK)
            found += own
        return _merged(sorted(found))


@lru_cache(maxsize=4)
def _database(patterns: tuple[bytes, ...]) -> Any:
    library = importlib.import_module("hyperscan")
    database = library.Database(mode=library.HS_MODE_BLOCK)
    numbers = list(range(len(patterns)))
    database.compile(expressions=list(patterns), ids=numbers, elements=len(patterns), flags=library.HS_FLAG_DOTALL)
    return database


def _merged(parts: list[_Part]) -> list[_Part]:
    merged: list[_Part] = []
    for start, end in sorted(parts):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


class MarkedDecoders:
    """Gives the layers inside a layer, as `decoded` does, from the marked parts of it alone."""

    def __init__(self, engine: Engine = "auto") -> None:
        self._marks = Marks(MARKS, engine)
        self._spread = Marks(_SPREAD, engine)

    def decoded(self, layer: Layer, _squeezed: Squeezed) -> Iterator[Layer]:
        """Yield each view of the marked parts, one level deeper than `layer`."""
        marked = self._marks.parts(layer.data, _around(layer.data, _WORD))
        if marked:
            cut = _cut(layer, marked)
            yield from decoded(cut, Squeezed(cut.data))
            yield from _from_base32(cut)
            yield from _from_lists(cut)
        spread = self._spread.parts(layer.data, _around(layer.data, _SPREAD_WORD))
        if spread:
            yield _put_together(layer, spread)


def _around(data: bytes, kinds: bytes) -> Callable[[int], _Part]:
    """Return what makes a part of a mark's end: the bytes around it, and the rest of the words they cut through."""
    mask = data.translate(kinds)
    gap = b" " if kinds is _WORD else b"."

    def part(end: int) -> _Part:
        first = mask.rfind(gap, 0, max(0, end - _BEFORE)) + 1
        last = mask.find(gap, min(len(data), end + _AFTER))
        return first, len(data) if last < 0 else last

    return part


def _cut(layer: Layer, parts: list[_Part]) -> Layer:
    """Make one layer, of the same depth, of parts of another."""
    starts = [0, *accumulate(end - start + len(_BETWEEN) for start, end in parts)]

    def locate(at: int) -> int:
        number = min(bisect_right(starts, at), len(parts)) - 1
        start, end = parts[number]
        return min(start + at - starts[number], end - 1)

    return Layer(_BETWEEN.join(layer.data[start:end] for start, end in parts), layer.depth, locate, parent=layer)


def _from_base32(layer: Layer) -> Iterator[Layer]:
    """Yield what the runs of base32 stand for, at all of their eight phases, as one layer."""
    pieces = []
    for run in _BASE32.finditer(layer.data):
        for phase in range(8):
            text = run[0][phase:]
            pieces.append((base64.b32decode(text[: len(text) // 8 * 8] + _tail(text)), run.start() + phase, 1.6))
    yield from _joined(layer, pieces, "base32")


def _from_lists(layer: Layer) -> Iterator[Layer]:
    """Yield the bytes that are written as lists of numbers, as one layer."""
    pieces = [(data, start, (end - start) / len(data)) for data, start, end in listed(layer.data)]
    yield from _joined(layer, pieces, "list")


def _joined(layer: Layer, pieces: list[tuple[bytes, int, float]], name: str) -> Iterator[Layer]:
    """Yield one layer of decoded pieces, each with its place and how many bytes there make one here."""
    starts = [0, *accumulate(len(data) + len(_GAP) for data, _, _ in pieces)]

    def locate(at: int) -> int:
        number = min(bisect_right(starts, at), len(pieces)) - 1
        _, start, ratio = pieces[number]
        return min(start + int((at - starts[number]) * ratio), len(layer.data) - 1)

    if pieces:
        yield Layer(_GAP.join(data for data, _, _ in pieces), layer.depth + 1, locate, lambda _at, _size: name, layer)


def _tail(text: bytes) -> bytes:
    """Return the last, short group of base32, filled up so that it decodes; nothing if it cannot be one."""
    rest = text[len(text) // 8 * 8 :]
    return rest + b"A" * (8 - len(rest)) if rest else b""


def _put_together(layer: Layer, parts: list[_Part]) -> Layer:
    """Make one layer of parts of another, without what stands between the pieces of one value."""
    texts: list[bytes] = []
    here: list[int] = []
    there: list[int] = []
    size = 0
    for start, end in parts:
        at = start
        for joint in _JOINT.finditer(layer.data, start, end):
            if joint.start() > at:
                texts.append(layer.data[at : joint.start()])
                here.append(size)
                there.append(at)
                size += joint.start() - at
            at = joint.end()
        texts += [layer.data[at:end], _BETWEEN]
        here.append(size)
        there.append(at)
        size += end - at + len(_BETWEEN)

    def locate(at: int) -> int:
        number = bisect_right(here, at) - 1
        return min(there[number] + at - here[number], len(layer.data) - 1)

    return Layer(b"".join(texts), layer.depth + 1, locate, lambda _at, _size: "split", layer)
