"""Triggers: the marks by which the redactor tells that a text has others inside, and what stands in the marked runs.

Only marked runs are undone, so that a record without any costs nothing. A mark says little: a run is decoded at each
phase at which text begins, a packed stream is opened as far as it goes.
Rule: what cannot be undone to its end (a bomb, too many layers) is reported as a run to be masked.
"""

from __future__ import annotations

import binascii
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from byokeep_redact import decoders
from byokeep_redact.decoders import ANY64, MASK64, Layer, Piece, inflated, mask, pasted

DEPTH: Final = 4
_STREAM_BYTES: Final = 1 << 20
_MOST_STREAMS: Final = 256  # marks of packed data in one text; the rest of such a text is masked unread
_FIRST: Final = 64  # of a stream: enough to tell most chance marks from streams; a multiple of 4
_LARGEST: Final = 1 << 16
_LEADS: Final = {b"H": 0, b"e": 0, b"f": 2}  # bytes of the first group before the stream, by its mark's letter; else 1
_GAP: Final = b"\n\n\xff\n\n"  # between pieces: no shape goes over it, nor does a known value without its separators


@dataclass(frozen=True)
class Groups:
    """So many groups in a row, each of one letter of each of `classes`: all places of a text are tried at once.

    The letters of a text are one long number with a bit for each class in each byte, so that a few shifts take the time
    for which `re` gets past some bytes.
    """

    classes: tuple[bytes, ...]
    times: int

    @property
    def pattern(self) -> bytes:
        """The same as an expression."""
        return b"(?:%b){%d}" % (b"".join(self.classes), self.times)

    @cached_property
    def _table(self) -> bytes:
        kinds = [re.compile(kind) for kind in dict.fromkeys(self.classes)]
        return bytes(sum(1 << n for n, kind in enumerate(kinds) if kind.match(bytes([code]))) for code in range(256))

    @cached_property
    def _shifts(self) -> tuple[int, ...]:
        kinds = list(dict.fromkeys(self.classes))
        return tuple(8 * place + kinds.index(kind) for place, kind in enumerate(self.classes))

    def stands_in(self, data: bytes) -> bool:
        """Return whether `pattern` is found in `data`."""
        letters = int.from_bytes(data.translate(self._table), "little")
        groups = _ONES if len(data) <= _ONES_SIZE else int.from_bytes(b"\1" * len(data), "little")
        for shift in self._shifts:
            groups &= letters >> shift
        size, done = 8 * len(self.classes), 1
        while groups and done < self.times:
            more = min(done, self.times - done)
            groups &= groups >> size * more
            done += more
        return groups != 0


_ONES_SIZE: Final = 1 << 12
_ONES: Final = int.from_bytes(b"\1" * _ONES_SIZE, "little")
_HEX: Final = rb"[0-9A-Fa-f]"
_PRINT: Final = rb"[I-Za-f]"  # a first letter of base64 whose byte is printable and below 0x80
# Each stands for text: bytes below 0x80 of which the first ones are printable, in letters of one byte or of two.
_TEXT64: Final = Groups((_PRINT, rb"[C-HS-Xi-ny-z0-3]", rb"[ABEFIJMNQRUVYZcdghklopstwx014589]", ANY64), 4)
_WIDE64: Final = Groups((_PRINT, b"[AQgw]", b"[AB]", ANY64, b"A", b"[C-H]", b"[AEIMQUYcgkosw048]", b"A"), 2)
_TEXT16: Final = Groups((b"[2-7]", _HEX), 12)
_WIDE16: Final = Groups((b"[2-7]", _HEX, b"0", b"0"), 6)

# The marks, in the subset that hyperscan reads too; the name says which of the functions below takes them up. The
# choices of a name are looked for one by one, for `re` is quick where it knows the first letter.
TRIGGERS: Final[dict[str, tuple[bytes | Groups, ...]]] = {
    "escape": (
        rb"%(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})",
        rb"\\(?:u[0-9A-Fa-f]{4}|[ux]\{[0-9A-Fa-f]|U00[0-9A-Fa-f]{6}|x[0-9A-Fa-f]{2}|[0-7]{3}|[nrtbf/\"'\\])",
        rb"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31};)",
        decoders.COLOUR,
    ),
    "wide": (decoders.WIDE,),
    "text": (_TEXT64, _WIDE64, _TEXT16, _WIDE16),
    "packed": decoders.PACKED64,
    "base32": (Groups((b"[A-Z2-7]",), 20),),
    "packed16": tuple(head + rb"[0-9A-Fa-f]{32}" for head in decoders.PACKED16),
    "stream": (rb"\x1f\x8b\x08", rb"x[\x01\x5e\x9c\xda]"),
    "spread": (decoders.IN_UTF16, decoders.IN_UTF8),
    "dump": decoders.DUMPS,
}


def expressions(name: str) -> tuple[bytes, ...]:
    """Return the marks of a trigger as expressions."""
    return tuple(mark.pattern if isinstance(mark, Groups) else mark for mark in TRIGGERS[name])


_FOUND: Final = {name: re.compile(b"|".join(expressions(name))) for name in TRIGGERS}
_GROUPS64: Final = re.compile(rb"(?:%b{4})*?(?:%b|%b)" % (ANY64, _TEXT64.pattern, _WIDE64.pattern))
_RUN64: Final = b"A" * 20
_END: Final = re.compile(rb"[^A]")
# A run goes on in the next line only if that line holds nothing else: what follows a token is mostly another record.
_WRAP64: Final = re.compile(rb"[ \t]?\r?\n[ \t]?(?=%b+={0,2}(?:[\"'\r\n]|\Z))" % ANY64)
_MARK16: Final = re.compile(b"|".join(decoders.PACKED16))
_RUN16: Final = re.compile(
    rb"[0-9A-Fa-f]{24,}(?:[ \t]?\r?\n[ \t]?(?:[0-9A-Fa-f]{12,}|[0-9A-Fa-f]{2,}(?=[\r\n\"']|\Z)))*"
)
_STEPS16: Final = ((0, 2), (1, 2), (0, 4), (1, 4), (2, 4), (3, 4))  # text in single bytes, or in each second one
_PAIRS16: Final = b"A" * 12
_HIGH16: Final = mask(b"234567")
_LONG32: Final = 1 << 14  # letters; nobody writes more, and to decode more takes long
_RUN32: Final = re.compile(rb"[A-Z2-7]{20,}={0,6}")
_NOT64: Final = bytes(code for code in range(256) if MASK64[code] == 32)
Unread = list[tuple[int, int]]


def inner(
    layer: Layer, names: frozenset[str], covered: Callable[[int, int], bool], unread: Unread, most: int
) -> Iterator[Layer]:
    """Yield the layers inside `layer` for the triggers `names`.

    A run of which `covered` says that all of it is masked anyway is left alone; one that could not be undone to its end
    is put in `unread`, and so are those that come once `most` bytes and more were undone.
    """
    yield from shorter(layer, names)
    pieces: list[Piece] = []
    for piece in _pieces(layer, names, covered, unread):
        if most < 0:
            unread.append((piece.start, piece.end))
        else:
            pieces.append(piece)
            most -= len(piece.data)
    if pieces:
        yield pasted(layer, pieces, _GAP, "")


def shorter(layer: Layer, names: frozenset[str]) -> Iterator[Layer]:
    """Yield the layers inside `layer` that are always shorter than it: without its escapes, as single bytes."""
    if "escape" in names:
        yield from decoders.unescaped(layer)
    if "wide" in names:
        yield from decoders.narrowed(layer)


def hidden(layer: Layer, names: frozenset[str], covered: Callable[[int, int], bool]) -> Iterator[tuple[int, int]]:
    """Yield the runs of `layer` that `inner` would undo, `shorter` apart, for the last layer to be read."""
    unread: Unread = []
    yield from ((piece.start, piece.end) for piece in _pieces(layer, names, covered, unread))
    yield from unread


def escaped(layer: Layer, names: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Yield all from the first mark of what `shorter` would undo to the end, for a text whose escapes have no end."""
    for name in names & {"escape", "wide"}:
        if found := _FOUND[name].search(layer.data):
            yield found.start(), len(layer.data)


def _pieces(
    layer: Layer, names: frozenset[str], covered: Callable[[int, int], bool], unread: Unread
) -> Iterator[Piece]:
    if "text" in names or "packed" in names:
        yield from _from_base64(layer.data, covered, unread)
    if "text" in names or "packed16" in names:
        yield from _from_hex(layer.data)
    if "base32" in names:
        yield from _from_base32(layer.data, unread)
    if "stream" in names:
        yield from _from_streams(layer.data, unread)
    if "spread" in names:
        yield from decoders.together(layer.data)
    if "dump" in names:
        yield from decoders.dumped(layer.data)


def _from_base64(data: bytes, covered: Callable[[int, int], bool], unread: Unread) -> Iterator[Piece]:
    for start, end in _runs64(data):
        if covered(start, end):
            continue
        text = data[start:end].translate(None, _NOT64)
        for phase in range(4):
            if _GROUPS64.match(text, phase):
                yield Piece(_base64(text[phase:]), start, end)
        for opened, _, _, whole in _streams(text, "packed", _base64):
            if not whole:
                unread.append((start, end))
            if opened:
                yield Piece(opened, start, end)


def _runs64(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the [start, end) of runs of base64 letters, wrapped ones whole."""
    mask = data.translate(MASK64)
    at = 0
    while (start := mask.find(_RUN64, at)) >= 0:
        at = start
        while True:
            found = _END.search(mask, at)
            end = found.start() if found else len(mask)
            more = _WRAP64.match(data, end) if end - at >= len(_RUN64) else None
            if more is None:
                break
            at = more.end()
        at = end
        yield start, end


def _base64(text: bytes) -> bytes:
    text = text[: len(text) - 1] if len(text) % 4 == 1 else text
    return binascii.a2b_base64(text.translate(decoders.TO_STANDARD) + b"=" * (-len(text) % 4))


def _from_hex(data: bytes) -> Iterator[Piece]:
    """Yield what hex of text and of packed data stands for, as databases and dumps show it, wrapped runs whole."""
    for run in _RUN16.finditer(data):
        text = run[0].translate(None, b" \t\r\n")
        high = text.translate(_HIGH16)
        phases = {mark.start() % 2 for mark in _MARK16.finditer(text)}
        phases |= {at % 2 for at, step in _STEPS16 if _PAIRS16 in high[at::step]}
        for phase in sorted(phases):
            yield Piece(binascii.unhexlify(text[phase : len(text) - (len(text) - phase) % 2]), *run.span())


def _from_base32(data: bytes, unread: Unread) -> Iterator[Piece]:
    for run in _RUN32.finditer(data):
        text = run[0].rstrip(b"=")
        if len(text) > _LONG32:
            unread.append(run.span())
            continue
        for phase in range(8):
            yield Piece(decoders.base32(text[phase:]), run.start(), run.end())


def _from_streams(data: bytes, unread: Unread) -> Iterator[Piece]:
    for opened, start, end, whole in _streams(data, "stream", bytes):
        if not whole:
            unread.append((start, len(data)))
        if opened:
            yield Piece(opened, start, end)


def _streams(text: bytes, mark: str, read: Callable[[bytes], bytes]) -> Iterator[tuple[bytes, int, int, bool]]:
    """Yield what each marked stream held, its [start, end) in the text, and whether that was all.

    `read` returns the bytes that a piece of the text stands for. After too many marks the rest is one unread stream.
    """
    at = tries = 0
    while found := _FOUND[mark].search(text, at):
        at = found.start() + 1  # the next mark may begin in this one
        lead = _LEADS.get(found[0][:1], 1) if mark == "packed" else 0
        start = found.start() - (0, 1, 3)[lead]  # where the group begins: a mark has the letters that are known
        if start < 0:
            continue
        tries += 1
        if tries > _MOST_STREAMS:
            yield b"", start, at, False
            return
        opened, end, behind = _inflated(text, start, read, lead)
        yield opened, start, end, len(opened) < _STREAM_BYTES
        at = max(at, behind)


def _inflated(source: bytes, start: int, read: Callable[[bytes], bytes], skip: int) -> tuple[bytes, int, int]:
    """Open a stream piece by piece; return what came out, at most _STREAM_BYTES, its end, and where to search on.

    `read` returns the bytes that a piece of the source stands for; `skip` of them come before the stream. A stream
    that breaks gives what stood before the break; the search goes on in the piece that broke it.
    """
    out = bytearray()
    stream = None
    at = end = start
    size = _FIRST
    while len(out) < _STREAM_BYTES and at < len(source):
        piece = read(source[at : at + size])
        end = min(at + size, len(source))
        if stream is None:
            stream = zlib.decompressobj(31 if piece[skip : skip + 1] == b"\x1f" else 15)
        else:
            skip = 0
        opened, broken = inflated(stream, piece[skip:], _STREAM_BYTES)
        if broken:
            return bytes(out) + opened, end, at if out else start
        out += opened
        if stream.eof:  # the next one may begin in the same piece, and in the letter that this one ends in
            taken, per = 4 * (len(piece) - len(stream.unused_data)), len(read(b"AAAA"))
            return bytes(out), at - -taken // per, at + taken // per
        at = end
        size = min(size * 2, _LARGEST)
    return bytes(out), end, at if out else start
