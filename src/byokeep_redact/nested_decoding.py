"""What a text holds one encoding further in: only where a trigger says that something readable is there.

A text is not decoded at every place and phase: base64 of text, hex of text, base32, packed data and escapes each have a
mark that chance rarely makes, and only marked runs are undone. So a record without any costs nothing more.
Rules: what cannot be undone to the end (a bomb, too many layers) is reported as a run to be masked, never passed over;
every layer maps its bytes back to the text it came from, outward to whole escapes and whole runs.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Final

from byokeep_redact.decoders import Layer, narrowed, unescaped

DEPTH: Final = 4
_STREAM_BYTES: Final = 1 << 20
_MOST_STREAMS: Final = 256  # marks of packed data in one text; the rest of such a text is masked unread
_FIRST: Final = 64  # of a stream: enough to tell most chance marks from streams; a multiple of 4
_LARGEST: Final = 1 << 16
_LEADS: Final = {b"H": 0, b"e": 0, b"f": 2}  # bytes of other things before the stream, by the first letter of its mark
_GAP: Final = b"\n\n\xff\n\n"  # between pieces: no shape goes over it, nor does a known value without its separators

_ANY = rb"[A-Za-z0-9+/_-]"
# Four characters that decode to three bytes below 0x80 of which the first two are printable.
_TEXT_GROUP = rb"[I-Za-f][C-HS-Xi-ny-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589]" + _ANY
_WIDE_GROUP = rb"[I-Za-f][AQgw][AB]" + _ANY + rb"A[C-H][AEIMQUYcgkosw048]A"

# The marks, in the subset that hyperscan reads too; the name says which of the functions below takes them up.
TRIGGERS: Final[dict[str, bytes]] = {
    "escape": rb"%[0-9A-Fa-f]{2}|%u[0-9A-Fa-f]{4}"
    rb"|\\(?:u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]|U00[0-9A-Fa-f]{6}|x[0-9A-Fa-f]{2}|[0-7]{3}|[nrtbf/\"'\\])"
    rb"|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31};)|\x1b\[[0-9;:?]{0,24}[A-Za-z]",
    "wide": rb"\x00[\x20-\x7e]\x00[\x20-\x7e]\x00",
    # Shorter ones hold 12 bytes of a value only if encoded once, and those forms are known.
    "run": rb"%b{40}" % _ANY,
    "packed": rb"H4sI|[BRhx][+-]LC[A-D]|fiw[g-j]|eJ[wxyz0-5]|eN[opqrs]|eA[EFG]",
    "base32": rb"[A-Z2-7]{20}",
    "packed16": rb"(?:1[fF]8[bB]08|78(?:9[cC]|[dD][aA]))[0-9A-Fa-f]{40}",
    "stream": rb"\x1f\x8b\x08|x[\x01\x5e\x9c\xda]",
}
_FOUND: Final = {name: re.compile(pattern) for name, pattern in TRIGGERS.items()}
_TEXT16: Final = re.compile(rb"(?:[2-7][0-9A-Fa-f]){12}")
_TEXT64: Final = re.compile(rb"(?:%b){4}|(?:%b){2}" % (_TEXT_GROUP, _WIDE_GROUP))
_RUN64: Final = b"A" * 40
_PACKED64: Final = b"A" * 20
_LINE64: Final = 40
_END: Final = re.compile(rb"[^A]")
# A run goes on in the next line only if that line holds nothing else: what follows a token is mostly another record.
_WRAP64: Final = re.compile(rb"[ \t]?\r?\n[ \t]?(?=%b+={0,2}(?:[\"'\r\n]|\Z))" % _ANY)
_RUN16: Final = b"A" * 24
_HEX_STREAM: Final = re.compile(TRIGGERS["packed16"] + rb"[0-9A-Fa-f]*")
_MASK16: Final = bytes(65 if code in b"0123456789ABCDEFabcdef" else 32 for code in range(256))
_MASK_HIGH: Final = bytes(65 if code in b"234567" else 32 for code in range(256))
_PAIRS16: Final = b"A" * 12
_LONG32: Final = 1 << 14  # letters; nobody writes more, and to decode more takes long
_RUN32: Final = re.compile(rb"[A-Z2-7]{20,}={0,6}")
MASK64: Final = bytes(
    65 if code in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_" else 32 for code in range(256)
)
_NOT64: Final = bytes(
    sorted(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"))
)
_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class DecodedPiece:
    """Bytes that the run [start, end) of a text decodes to."""

    data: bytes
    start: int
    end: int


Unread = list[tuple[int, int]]


def holds_text(run: bytes) -> bool:
    """Return whether a run of base64 letters would be decoded, for it is base64 of text or hex of text."""
    return _TEXT64.search(run) is not None or holds_text16(run)


def holds_text16(run: bytes) -> bool:
    """Return whether a run would be decoded as hex of text."""
    text = run.translate(_MASK_HIGH)
    return _PAIRS16 in text[::2] or _PAIRS16 in text[1::2]


def inner(layer: Layer, names: frozenset[str], covered: Callable[[int, int], bool], unread: Unread) -> Iterator[Layer]:
    """Yield the layers inside `layer` for the triggers `names`.

    A run of which `covered` says that all of it is masked anyway is left alone; one that could not be undone to its end
    is put in `unread`.
    """
    if "escape" in names:
        yield from unescaped(layer)
    if "wide" in names:
        yield from narrowed(layer)
    if pieces := _pieces(layer, names, covered, unread):
        yield _joined(layer, pieces)


def hidden(layer: Layer, names: frozenset[str], covered: Callable[[int, int], bool]) -> Iterator[tuple[int, int]]:
    """Yield the runs of `layer` that `inner` would undo, escapes apart, for a layer that is the last one to be read."""
    unread: Unread = []
    yield from ((piece.start, piece.end) for piece in _pieces(layer, names, covered, unread))
    yield from unread


def escaped(layer: Layer) -> Iterator[tuple[int, int]]:
    """Yield all from the first escape of `layer` to its last, for a text whose escapes have no end."""
    found = _FOUND["escape"].search(layer.data)
    if found:
        yield found.start(), len(layer.data)


def _pieces(
    layer: Layer, names: frozenset[str], covered: Callable[[int, int], bool], unread: Unread
) -> list[DecodedPiece]:
    pieces: list[DecodedPiece] = []
    if "run" in names or "packed" in names:
        pieces += _from_base64(layer.data, _PACKED64 if "packed" in names else _RUN64, covered, unread)
    if "run" in names:
        pieces += _from_hex(layer.data)
    if "packed16" in names:
        pieces += _packed_in_hex(layer.data)
    if "base32" in names:
        pieces += _from_base32(layer.data, unread)
    if "stream" in names:
        pieces += _from_streams(layer.data, unread)
    return pieces


def _joined(layer: Layer, pieces: list[DecodedPiece]) -> Layer:
    starts = [0, *accumulate(len(piece.data) + len(_GAP) for piece in pieces)][:-1]

    def piece(at: int) -> DecodedPiece:
        return pieces[bisect_right(starts, at) - 1]

    def reach(start: int, end: int) -> tuple[int, int]:
        """Cover every piece touched: they stand here in the order in which they were found, not in that of the text."""
        touched = pieces[bisect_right(starts, start) - 1 : bisect_right(starts, end - 1)]
        return min(piece.start for piece in touched), max(piece.end for piece in touched)

    return Layer(
        _GAP.join(piece.data for piece in pieces),
        layer.depth + 1,
        lambda at: piece(at).start,
        parent=layer,
        reach=reach,
    )


def _from_base64(
    data: bytes, least: bytes, covered: Callable[[int, int], bool], unread: Unread
) -> Iterator[DecodedPiece]:
    tries = 0
    for start, end in _runs64(data, least):
        if covered(start, end):
            continue
        text = data[start:end].translate(None, _NOT64)
        for phase in sorted({found.start() % 4 for found in _TEXT64.finditer(text)}):
            yield DecodedPiece(_base64(text[phase:]), start, end)
        at = 0
        while found := _FOUND["packed"].search(text, at):
            at = found.end()
            lead = _LEADS.get(found[0][:1], 1)
            begin = found.start() - (lead == 2) * 2
            if begin < 0:
                continue
            tries += 1
            if tries > _MOST_STREAMS:
                unread.append((start, end))
                break
            opened, used = _inflated(partial(_letters, text, begin), lead)
            at = max(at, begin + used)
            if len(opened) >= _STREAM_BYTES:
                unread.append((start, end))
            if opened:
                yield DecodedPiece(opened, start, end)


def _runs64(data: bytes, least: bytes) -> Iterator[tuple[int, int]]:
    """Yield the [start, end) of runs of base64 letters, wrapped ones whole, as long as `least` at the least."""
    mask = data.translate(MASK64)
    at = 0
    while (start := mask.find(least, at)) >= 0:
        at = start
        while True:
            found = _END.search(mask, at)
            end = found.start() if found else len(mask)
            more = _WRAP64.match(data, end) if end - at >= _LINE64 else None
            if more is None:
                break
            at = more.end()
        at = end
        yield start, end


def _base64(text: bytes) -> bytes:
    text = text[: len(text) - 1] if len(text) % 4 == 1 else text
    return binascii.a2b_base64(text.translate(_TO_STANDARD) + b"=" * (-len(text) % 4))


def _from_hex(data: bytes) -> Iterator[DecodedPiece]:
    mask = data.translate(_MASK16)
    at = 0
    while (start := mask.find(_RUN16, at)) >= 0:
        found = _END.search(mask, start)
        at = found.start() if found else len(mask)
        run = data[start:at]
        for phase in sorted({found.start() % 2 for found in _TEXT16.finditer(run)}):
            text = run[phase:]
            yield DecodedPiece(binascii.unhexlify(text[: len(text) // 2 * 2]), start, at)


def _packed_in_hex(data: bytes) -> Iterator[DecodedPiece]:
    """Yield packed data that is written as hex, as databases show it; the layer it makes is opened like any other."""
    for run in _HEX_STREAM.finditer(data):
        yield DecodedPiece(binascii.unhexlify(run[0][: len(run[0]) // 2 * 2]), *run.span())


def _from_base32(data: bytes, unread: Unread) -> Iterator[DecodedPiece]:
    for run in _RUN32.finditer(data):
        text = run[0].rstrip(b"=")
        if len(text) > _LONG32:
            unread.append(run.span())
            continue
        for phase in range(8):
            part = text[phase:]
            yield DecodedPiece(base64.b32decode(part + b"A" * (-len(part) % 8)), run.start(), run.end())


def _from_streams(data: bytes, unread: Unread) -> Iterator[DecodedPiece]:
    at = tries = 0
    while found := _FOUND["stream"].search(data, at):
        start = found.start()
        tries += 1
        if tries > _MOST_STREAMS:
            unread.append((start, len(data)))
            return
        opened, used = _inflated(partial(_slice, data, start), 0)
        at = max(found.end(), start + used)
        if len(opened) >= _STREAM_BYTES:
            unread.append((start, len(data)))
        if opened:
            yield DecodedPiece(opened, start, at)


def _slice(data: bytes, base: int, start: int, end: int) -> bytes:
    return data[base + start : base + end]


def _letters(text: bytes, base: int, start: int, end: int) -> bytes:
    return _base64(text[base + start : base + end])


def _inflated(read: Callable[[int, int], bytes], skip: int) -> tuple[bytes, int]:
    """Open a stream piece by piece; return what came out, at most _STREAM_BYTES, and where in the source it ended.

    `read` returns the bytes that [start, end) of the source stands for; `skip` of them come before the stream. A stream
    that breaks gives what stood before the break.
    """
    out = bytearray()
    stream = None
    at, size = 0, _FIRST
    try:
        while len(out) < _STREAM_BYTES:
            piece = read(at, at + size)[skip:]
            skip = 0
            if not piece:
                break
            if stream is None:
                stream = zlib.decompressobj(31 if piece[:1] == b"\x1f" else 15)
            at += size
            out += stream.decompress(piece, _STREAM_BYTES)
            if stream.eof:
                break
            size = min(size * 2, _LARGEST)
    except zlib.error:
        pass
    return bytes(out), at if out else 0
