"""Decoders: the texts that are inside a text, one encoding further in, and where in it each of their bytes came from.

Escapes of all kinds (URL, JSON and C, HTML) come off in one pass. The scanner (`marked`) cuts out the marked parts of a
file and decodes those at every phase; the search for known values (`decoded`) decodes all of it. What the redactor
undoes is in `triggers`.
Rules: every layer can say where in its parent a byte came from, outward to whole escapes and runs; the scanner cuts out
too much rather than too little.
"""

from __future__ import annotations

import binascii
import html
import re
import string
import sys
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Final

from byokeep_redact.automaton import HS_DOTALL, shared

COLOUR: Final = rb"\x1b(?:\[[0-9;:?]{0,24}[A-Za-z]|\([0-9A-Z])"
_ESCAPE = re.compile(
    rb"%(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})"
    rb"|\\(?:u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[ux]\{[0-9A-Fa-f]{1,6}\}"
    rb"|U00[0-9A-Fa-f]{6}|x[0-9A-Fa-f]{2}|[0-7]{3}|[nrtbf/\"'\\])"
    rb"|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});?|" + COLOUR
)
_ESCAPE_NAMES = {b"%": "url", b"\\": "json", b"&": "html", b"\x1b": "terminal"}
_COLOURS = 96  # bytes of them that are looked back over
_COLOURED_END = re.compile(rb"(?:%b)+\Z" % COLOUR)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
# A line's end inside an escape, or between two, and what is quickly found of it.
_NEXT_LINE = re.compile(rb"\n[ \t]{0,8}[0-9A-Fa-fuUxX#{};%&\\]")
_CUT = re.compile(
    rb"(?:(%(?:[0-9A-Fa-f]?|u[0-9A-Fa-f]{0,3})|&(?:#(?:[0-9]{0,7}|[xX][0-9A-Fa-f]{0,6}))?"
    rb"|\\(?:u[0-9A-Fa-f]{0,3}|[ux]\{[0-9A-Fa-f]{0,6}|U[0-9A-Fa-f]{0,7}|x[0-9A-Fa-f]?|[0-7]{0,2}))"
    rb"|([0-9A-Fa-f};])(?=\s{1,18}(?:%[0-9A-Fa-f]|\\[uUx0-7]|&#)))[ \t]{0,8}\r?\n[ \t]{0,8}(?=[0-9A-Fa-fuUxX#{};%&\\])"
)
_NEAR = 1 << 9  # bytes around what is undone
_LONGEST_MARK = 64  # bytes by which it is known
_LONGEST_CUT = 20  # bytes of it before its line's end
_WIDE_RUNS = (b"AN" * 16, b"ANNN" * 12)
_WIDE_MASK = bytes(78 if code == 0 else 65 if 32 <= code < 127 else 32 for code in range(256))

_BASE64_RUN = 20
_HEX_RUN = 24
_SHORTEST_LIST = 12
_NUMBER = rb"(?:0[xX][0-9A-Fa-f]{1,2}|[0-9]{1,3})"
_INDEX = rb"\"[0-9]{1,6}\":[ ]?"  # as JavaScript writes a typed array
_LISTED = re.compile(
    rb"(?:%b(?:[,;][ \t\r\n]{0,40}|[ ]{1,4})){%d,}%b|[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){%d,}"
    rb"|(?:%b[0-9]{1,3},[ \t\r\n]{0,40}){%d,}%b[0-9]{1,3}"
    % (_NUMBER, _SHORTEST_LIST - 1, _NUMBER, _SHORTEST_LIST - 1, _INDEX, _SHORTEST_LIST - 1, _INDEX)
)
_ONE_OF_LIST = re.compile(rb"(?<!\")[0-9A-Fa-fxX]+(?![0-9\"])")
_DEFLATE_BYTES = 30  # below this a run is a trace id or a UUID, too short for a compressed key, and there are very many
TO_STANDARD = bytes.maketrans(b"-_", b"+/")
ANY64: Final = rb"[A-Za-z0-9+/_-]"
# How base64 of gzip begins, by the letters of the first group that are the head's alone, and of zlib.
PACKED64: Final = (rb"H4sI", rb"[BRhx][+-]LC[A-D]", rb"fiw[g-j]", rb"e(?:A[E-H]|F[4-7]|J[w-z]|N[o-r])")
PACKED16: Final = (rb"1[fF]8[bB]08", rb"78(?:01|5[eE]|9[cC]|[dD][aA])")  # the same in hex
WIDE: Final = rb"\x00[\x20-\x7e]\x00(?:\x00\x00)?[\x20-\x7e]\x00"  # of UTF-16 and UTF-32
# How gzip and zlib begin where each byte has become a letter, as of bytes that somebody took for Latin-1.
IN_UTF16: Final = rb"(?:\x1f\x00\x8b\x00\x08|x\x00[\x01\x5e\x9c\xda])\x00"
IN_UTF8: Final = rb"(?:\x1f\xc2\x8b\x08|x(?:\xc2\x9c|\xc3\x9a|[\x01\x5e][\x00-\x7f]{0,16}[\xc2\xc3][\x80-\xbf]))"
_AS_LETTERS: Final = re.compile(
    rb"%b(?:.\x00)*|%b(?:[\x00-\x7f]|[\xc2\xc3][\x80-\xbf])*" % (IN_UTF16, IN_UTF8), re.DOTALL
)
# Marks of dumps: the first 16 MiB in whatever columns, the rest in those that are usual. `re` must know a first letter.
DUMPS: Final = (
    rb"00[0-9A-Fa-f]{6}: (?:[0-9A-Fa-f]{2}){1,16} ",
    rb"00[0-9A-Fa-f]{4,6}  ?(?:[0-9A-Fa-f]{2} ){3}",
    rb"0: (?:[0-9A-Fa-f]{2}){1,4} [0-9A-Fa-f]{2}",
    rb"0  ?(?:[0-9A-Fa-f]{2} ){3}",
)
_DUMP_MARKS: Final = tuple(map(re.compile, DUMPS))
# A line of xxd, or of hexdump -C or od -t x1: where its bytes stand, the bytes, and those that can be printed.
_ROW: Final = re.compile(
    rb"[0-9A-Fa-f]{6,8}(?:: ((?:(?:[0-9A-Fa-f]{2}){1,16} )+)[^\r\n]{0,80}"
    rb"|((?: {1,2}[0-9A-Fa-f]{2})+) *(?:[|>][^\r\n]{0,80}|(?=[\r\n]|\Z)))"
)
_NEXT_ROW: Final = 160  # bytes between two rows of one dump, as of a log's own start of a line
_LETTER_HEADS: Final = re.compile(rb"[\x1fx](?:\x00[\x8b\x01\x5e\x9c\xda]|\xc2[\x8b\x9c]|\xc3\x9a|[\x01\x5e])")


def mask(characters: bytes) -> bytes:
    """Return the table that turns these characters into A and all others into blanks."""
    return bytes(65 if code in characters else 32 for code in range(256))


MASK64: Final = mask((string.ascii_letters + string.digits + "+/-_").encode())
_MASK64_LINES: Final = bytes(10 if code in b"\r\n" else MASK64[code] for code in range(256))
MASK16: Final = mask(string.hexdigits.encode())


def runs(masked: bytes, least: int) -> Iterator[tuple[int, int]]:
    """Yield [start, end) of each run of at least `least` characters in a text that was put through `mask`."""
    at, run = 0, b"A" * least
    while (start := masked.find(run, at)) >= 0:
        at = masked.find(b" ", start)
        at = len(masked) if at < 0 else at
        yield start, at


SQUEEZED_OUT = b"\r\n\t \0:\\"
_BLOCK = 1 << 11  # bytes: the grain of the map back to the original
_PAD = b"\xff" * 16


class Squeezed:
    """A haystack without separators, padded for the engines, that can say where a byte came from.

    `out` are the separators.
    """

    def __init__(self, data: bytes, out: bytes = SQUEEZED_OUT) -> None:
        self._origin = data
        self._out = out
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
            for at in range(0, len(self._origin), _BLOCK):
                total += len(self._origin[at : at + _BLOCK].translate(None, self._out))
                self._ends.append(total)
        block = bisect_right(self._ends, position)
        start = block * _BLOCK
        wanted = position - (self._ends[block - 1] if block else 0)
        low, high = start, min(start + _BLOCK, len(self._origin)) - 1
        while low < high:
            middle = (low + high) // 2
            if len(self._origin[start : middle + 1].translate(None, self._out)) > wanted:
                high = middle
            else:
                low = middle + 1
        return low


@dataclass(frozen=True, slots=True)
class Layer:
    """Bytes to search, and how they came out of their parent (None for the input itself).

    `locate` maps a position here to one in the parent (for the input: to an offset in it), `reach` a range to all of
    the parent that made it; `name_at` names the encoding. `deflate_at` are the places where a raw deflate stream may
    begin; no stream goes on over one of `ends`, the ends of pieces that stand apart in the parent.
    """

    data: bytes
    depth: int
    locate: Callable[[int], int]
    name_at: Callable[[int, int], str] = field(default=lambda _at, _size: "")
    parent: Layer | None = None
    deflate_at: tuple[int, ...] = ()
    reach: Callable[[int, int], tuple[int, int]] | None = None
    ends: tuple[int, ...] = ()

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Return the [start, end) of the input that [start, end) of this layer came from, nothing cut short."""
        layer = self
        while layer.parent is not None:
            start, end = layer.reach(start, end) if layer.reach else (layer.locate(start), layer.locate(end - 1) + 1)
            layer = layer.parent
        return start, end

    def chain(self, at: int, size: int) -> tuple[int, list[str]]:
        """Return (offset in the input, encodings from the outside in) of `size` bytes at `at`."""
        names: list[str] = []
        layer: Layer | None = self
        while layer is not None:
            if name := layer.name_at(at, size):
                names.append(name)
            at, layer = layer.locate(at), layer.parent
        return at, names[::-1]


def decoded(layer: Layer) -> Iterator[Layer]:
    """Yield each view of `layer`, one level deeper."""
    yield from _decoded(layer)
    yield from _gathered(layer)


def _gathered(layer: Layer) -> Iterator[Layer]:
    """Yield what stands in pieces that are no words: packed data as letters, the rows of dumps."""
    for name, pieces in (("letters", together(layer.data)), ("dump", dumped(layer.data))):
        if found := list(pieces):
            yield pasted(layer, found, _WIDE_GAP, name)


def _decoded(layer: Layer) -> Iterator[Layer]:
    data = layer.data
    yield from unescaped(_near(layer, lambda start, end: _ESCAPE.search(data, start, end) is not None))
    if b"\0" in data:
        wide = data.translate(_WIDE_MASK)
        yield from narrowed(_near(layer, lambda start, end: any(wide.find(run, start, end) >= 0 for run in _WIDE_RUNS)))
    yield from _all_base64(layer)
    yield from _all_hex(layer)


def _near(layer: Layer, within: Callable[[int, int], bool]) -> Layer:
    """Return the layer without what is far from all that is to be undone: there a view would only show it again.

    What is near is whole words, for a packed text is nothing without its end.
    """
    size, words, parts, last = len(layer.data), layer.data.translate(_WORD), list[tuple[int, int]](), 0
    for at in range(0, size, _NEAR):
        if at + 2 * _NEAR > last and within(at, at + _NEAR + _LONGEST_MARK):
            start = max(words.rfind(b" ", last, max(last, at - _NEAR)) + 1, last)
            if parts and start == last:
                start = parts.pop()[0]
            last = words.find(b" ", min(at + 2 * _NEAR, size))
            last = size if last < 0 else last
            parts.append((start, last))
    if parts == [(0, size)]:
        return layer
    return pasted(layer, [Piece(layer.data[at:end], at, end, 1) for at, end in parts], _BETWEEN, "", deeper=0)


class _Replacements(dict[bytes, bytes]):
    """What each escape stands for; worked out once per escape."""

    def __missing__(self, escape: bytes) -> bytes:
        value = self[escape] = _meaning(escape)
        return value


def _meaning(escape: bytes) -> bytes:
    kind, rest = escape[:1], escape[1:]
    if kind == b"\x1b":
        return b""
    if kind == b"%":
        return _character(int(rest.lstrip(b"u"), 16), escape)
    if rest[:1] == b"#":
        digits = rest[1:].rstrip(b";")
        return _character(int(digits[1:], 16) if digits[:1] in b"xX" else int(digits), escape)
    if kind == b"&":
        return html.unescape(escape.decode("ascii")).encode("utf-8", "replace")
    if len(escape) == 12:  # the two halves of one character
        return escape.decode("unicode-escape").encode("utf-16", "surrogatepass").decode("utf-16").encode()
    if rest[:1] in (b"u", b"U", b"x") and len(rest) > 1:
        return _character(int(rest[1:].strip(b"{}"), 16), escape)
    if rest[:1].isdigit():
        return bytes([int(rest, 8) & 0xFF])
    return _LETTERS.get(rest, rest)


def _character(code: int, escape: bytes) -> bytes:
    """A code below 256 is that byte (escaped binary), a higher one UTF-8 text, an impossible one stays as it is."""
    if code < 256:
        return bytes([code])
    return chr(code).encode("utf-8", "replace") if code <= sys.maxunicode else escape


def unescaped(layer: Layer) -> Iterator[Layer]:
    """Yield the layer with its URL, JSON, C and HTML escapes and its colours taken off, if it has any."""
    data = layer.data
    if not (b"%" in data or b"\\" in data or b"&" in data or b"\x1b" in data):
        return
    yield from _uncut(layer)
    table = _Replacements()
    out = _ESCAPE.sub(lambda match: table[match[0]], data)
    if len(out) == len(data):
        return
    here: list[int] = []
    there: list[int] = []

    def locate(at: int) -> int:
        if not here:
            here.append(0)
            there.append(0)
            gained = 0
            for match in _ESCAPE.finditer(data):
                gained += len(match[0]) - len(table[match[0]])
                here.append(match.end() - gained)
                there.append(match.end())
        nearest = bisect_right(here, at) - 1
        return there[nearest] + at - here[nearest]

    def name_at(at: int, size: int) -> str:
        match = _ESCAPE.search(data, locate(at), locate(at + size))
        return _ESCAPE_NAMES[match[0][:1]] if match else ""

    def reach(start: int, end: int) -> tuple[int, int]:
        """All of the last escape, but not the colours after it: what follows a mask would have those of the mask."""
        first, last = locate(start), locate(end)
        after = _COLOURED_END.search(data, max(first, last - _COLOURS), last)
        return first, after.start() if after else last

    yield Layer(out, layer.depth + 1, locate, name_at, layer, reach=reach)


def _uncut(layer: Layer) -> Iterator[Layer]:
    """Yield the layer without the line ends between and inside escapes, if there are any."""
    pieces, at = [], 0
    for line in _NEXT_LINE.finditer(layer.data):
        if cut := _CUT.search(layer.data, max(at, line.start() - _LONGEST_CUT), line.end() + _LONGEST_CUT):
            end = cut.end(cut.lastindex or 0)
            pieces.append(Piece(layer.data[at:end], at, end, 1))
            at = cut.end()
    if pieces:
        pieces.append(Piece(layer.data[at:], at, len(layer.data), 1))
        yield replace(pasted(layer, pieces, b"", ""), reach=None)


def narrowed(layer: Layer) -> Iterator[Layer]:
    """Yield UTF-16 and UTF-32 as single bytes (the patterns need no help with it, but what is encoded inside does)."""
    data = layer.data
    if b"\0" not in data or not any(run in masked for masked in [data.translate(_WIDE_MASK)] for run in _WIDE_RUNS):
        return
    narrow = Squeezed(data, b"\0")
    text = narrow.padded[: narrow.size]
    yield Layer(text, layer.depth + 1, narrow.origin, lambda _at, _size: "utf16", layer)


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that [start, end) of a text decodes to, `ratio` bytes there to one here; 0: all to the start."""

    data: bytes
    start: int
    end: int
    ratio: float = 0


def pasted(
    layer: Layer,
    pieces: list[Piece],
    gap: bytes,
    name: str,
    deeper: int = 1,
    deflated: bool = False,
    place: Callable[[int], int] | None = None,
) -> Layer:
    """Make one layer of pieces of another that stand a gap apart. `place` maps their offsets to those of the layer;
    where `deflated`, a raw deflate stream may begin with each."""
    starts = [0, *accumulate(len(piece.data) + len(gap) for piece in pieces)][:-1]

    def locate(at: int) -> int:
        number = bisect_right(starts, at) - 1
        piece = pieces[number]
        there = min(piece.start + int((at - starts[number]) * piece.ratio), piece.end - 1)
        return place(there) if place else there

    def reach(start: int, end: int) -> tuple[int, int]:
        """Cover every piece touched: they stand here in the order in which they were found, not in that of the text."""
        touched = pieces[bisect_right(starts, start) - 1 : bisect_right(starts, end - 1)]
        return min(piece.start for piece in touched), max(piece.end for piece in touched)

    deflate_at = tuple(
        start for start, piece in zip(starts, pieces, strict=True) if deflated and len(piece.data) >= _DEFLATE_BYTES
    )
    ends = tuple(start + len(piece.data) for start, piece in zip(starts, pieces, strict=True)) if gap else ()
    data, over = gap.join(piece.data for piece in pieces), None if place else reach
    return Layer(data, layer.depth + deeper, locate, lambda _at, _size: name, layer, deflate_at, over, ends)


def _all_base64(layer: Layer) -> Iterator[Layer]:
    spans = list(runs(layer.data.translate(_MASK64_LINES), _BASE64_RUN))
    texts = [layer.data[start:end].translate(TO_STANDARD, b"\r\n") for start, end in spans]
    for phase in range(4) if spans else ():
        pieces = [
            Piece(binascii.a2b_base64(text[phase:] + b"A" * (-(len(text) - phase) % 4)), start + phase, end, 4 / 3)
            for text, (start, end) in zip(texts, spans, strict=True)
        ]
        yield pasted(layer, pieces, _WIDE_GAP, "base64", deflated=True)


def _all_hex(layer: Layer) -> Iterator[Layer]:
    squeezed = Squeezed(layer.data)
    text = squeezed.padded[: squeezed.size]
    spans = list(runs(text.translate(MASK16), _HEX_RUN))
    for phase in range(2) if spans else ():
        pieces = [
            Piece(binascii.unhexlify(text[start + phase : end - (end - start - phase) % 2]), start + phase, end, 2.0)
            for start, end in spans
        ]
        yield pasted(layer, pieces, b"\xff", "hex", deflated=True, place=squeezed.origin)


def together(data: bytes) -> Iterator[Piece]:
    """Yield packed data of which each byte had become a letter."""
    at = 0
    for head in () if data.isascii() and b"\0" not in data else _LETTER_HEADS.finditer(data):
        if head.start() >= at and (run := _AS_LETTERS.match(data, head.start())):
            at = run.end()
            wide = run[0][1:2] == b"\0"
            yield Piece(run[0][::2] if wide else run[0].decode().encode("latin-1"), *run.span())


def dumped(data: bytes) -> Iterator[Piece]:
    """Yield the bytes of each hex dump, whose rows hold too little of a value to be found one by one."""
    rows = list[re.Match[bytes]]()
    for row in _ROW.finditer(data) if any(mark.search(data) for mark in _DUMP_MARKS) else ():
        if rows and row.start() - rows[-1].end() > _NEXT_ROW:
            yield _dump(rows)
            rows = []
        rows.append(row)
    if rows:
        yield _dump(rows)


def _dump(rows: list[re.Match[bytes]]) -> Piece:
    data = binascii.unhexlify(b"".join(row[1] or row[2] for row in rows).translate(None, b" "))
    start, end = rows[0].start(), rows[-1].end()
    return Piece(data, start, end, (end - start) / len(data))


_DIGITS32: Final = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789abcdefghijklmnopqrstuv")


def base32(text: bytes) -> bytes:
    """Return what letters of base32 stand for; those of a group that is cut off are filled up."""
    whole = text + b"A" * (-len(text) % 8)
    # The library's own reader, written in Python, takes five times as long.
    return int(b"0" + whole.translate(_DIGITS32), 32).to_bytes(len(whole) * 5 // 8, "big")


def inflated(stream: zlib._Decompress, piece: bytes, most: int) -> tuple[bytes, bool]:
    """Return what a stream gives for one more piece, at most so many bytes, and whether the piece broke it.

    Then it is all up to the byte that did, found by halves: a wrong checksum at the end takes nothing away.
    """
    before = stream.copy()
    try:
        return stream.decompress(piece, most), False
    except zlib.error:
        out = b""
    while len(piece) > 1:
        stream, half = before.copy(), len(piece) // 2
        try:
            out += stream.decompress(piece[:half])
            before, piece = stream, piece[half:]
        except zlib.error:
            piece = piece[:half]
    return out, True


@dataclass(frozen=True, slots=True)
class Seen:
    """What a detector saw at [start, end) of a layer; `names` are encodings that the detector itself saw through."""

    start: int
    end: int
    label: str
    names: tuple[str, ...] = ()
    kind: str = ""
    fingerprint: str = ""


# Four characters that stand for three bytes below 0x80, the first of them printable.
_TEXT: Final = rb"[I-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589]" + ANY64
_ESCAPE_MARK: Final = (
    rb"%(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})"
    rb"|[\\](?:u[0-9A-Fa-f]{4}|[ux]\{[0-9A-Fa-f]|U00[0-9A-Fa-f]{6}|x[0-9A-Fa-f]{2}|/)|(?:[\\][0-7]{3}){2}"
    rb"|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|amp|lt|gt|quot);|" + COLOUR
)
MARKS: Final = (
    rb"(?:%b){5}" % _TEXT,
    rb"(?:%b|UEsDB|KLUv|Qlpo|_Td6W|/Td6W)%b{16}" % (b"|".join(PACKED64), ANY64),
    rb"(?:[2-7][0-9A-Fa-f](?:00)?[ :,-]?){12}",
    rb"(?:%b|504[bB]0304|28[bB]52[fF]{2}[dD]|425[aA]68|[fF][dD]377[aA]58)[0-9A-Fa-f]{32}" % b"|".join(PACKED16),
    _ESCAPE_MARK,
    WIDE,
    rb"(?:[A-P][A-Z2-7]{7}){3}",
    rb"(?:(?:,[ \t\r\n]*| )(?:[3-9][0-9]|1[0-2][0-9]|0[xX][0-9A-Fa-f]{2}|\"[0-9]+\":[ ]?[0-9]{2,3})){8}"
    rb"|(?:-[2-7][0-9A-Fa-f]){10}",
)
_BASE32: Final = re.compile(rb"[A-Z2-7]{24,}")
_WIDE_GAP: Final = b"\xff\xff\xff"
_SPREAD: Final = (
    rb"[A-Za-z0-9_+/-]{20}[\\]?\r?\n[ \t]{0,32}[A-Za-z0-9_+/-]{8}",
    rb"(?:['\x22][\x21-\x7e]['\x22][ ,\r\n\t]{1,8}){12}",
)
_JOINT: Final = re.compile(
    rb"[\\]?\r?\n[ \t]{0,32}|(?<=['\"]),?[ \r\n\t]{0,8}(?=['\"])|['\"](?=.['\"])|(?<=['\"].)['\"]", re.DOTALL
)
_BEFORE, _AFTER = 256, 256  # bytes around a mark, so that the name before a value is with it
_BETWEEN: Final = b" \x01 "
_WORD: Final = bytes(
    65 if chr(code) in "\r\n%\\&#;=+/-_:" or (code < 128 and chr(code).isalnum()) else 32 for code in range(256)
)
_SPREAD_WORD: Final = bytes(
    65 if chr(code) in "\r\n\t \\+/-_'\"," or (code < 128 and chr(code).isalnum()) else 32 for code in range(256)
)

_Part = tuple[int, int]


def marked(layer: Layer) -> Iterator[Layer]:
    """Yield the layers inside a layer, as `decoded` does, from the marked parts of it alone, found by hyperscan.

    Packed data as letters and dumps have no word that a part could end with, so all of them is taken.
    """
    yield from _gathered(layer)
    parts = _around(MARKS, layer.data, _WORD)
    if parts:
        cut = pasted(layer, [Piece(layer.data[at:end], at, end, 1) for at, end in parts], _BETWEEN, "", deeper=0)
        yield from _decoded(cut)
        for pieces, name in ((_all_base32(cut.data), "base32"), (list(_listed(cut.data)), "list")):
            if pieces:
                yield pasted(cut, pieces, _WIDE_GAP, name)
    spread = _around(_SPREAD, layer.data, _SPREAD_WORD)
    if spread:
        yield pasted(layer, list(_split(layer.data, spread)), b"", "split")


def _around(patterns: tuple[bytes, ...], data: bytes, kinds: bytes) -> list[_Part]:
    """Return the parts of `data` around marks, in order, apart: bytes about, and the rest of the words they cut."""
    words = data.translate(kinds)
    found: list[_Part] = []

    def seen(_number: int, _start: int, end: int, _flags: int, _context: object) -> None:
        if not found or end > found[-1][1]:
            last = words.find(b" ", min(len(data), end + _AFTER))
            found.append((words.rfind(b" ", 0, max(0, end - _BEFORE)) + 1, len(data) if last < 0 else last))

    shared(patterns, HS_DOTALL).scan(data, seen)
    merged: list[_Part] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _listed(data: bytes) -> Iterator[Piece]:
    """Yield bytes that are written as numbers: `[115, 107]`, `[115 107]`, `0x73, 0x6b`, `73-6B`.

    A number that no byte has becomes 255.
    """
    for run in _LISTED.finditer(data):
        base = 16 if run[0][2:3] == b"-" else 10
        codes = [int(one, 16 if one[1:2] in b"xX" and len(one) > 2 else base) for one in _ONE_OF_LIST.findall(run[0])]
        start, end = run.span()
        yield Piece(bytes(min(code, 255) for code in codes), start, end, (end - start) / len(codes))


def _all_base32(data: bytes) -> list[Piece]:
    """Return what the runs of base32 stand for, at all of their eight phases."""
    return [
        Piece(base32(run[0][phase:]), run.start() + phase, run.end(), 1.6)
        for run in _BASE32.finditer(data)
        for phase in range(8)
    ]


def _split(data: bytes, parts: list[_Part]) -> Iterator[Piece]:
    """Yield parts of a text without what stands between the pieces of one value."""
    for start, end in parts:
        at = start
        for joint in _JOINT.finditer(data, start, end):
            if joint.start() > at:
                yield Piece(data[at : joint.start()], at, joint.start(), 1)
            at = joint.end()
        yield Piece(data[at:end] + _BETWEEN, at, max(end, at + 1), 1)
