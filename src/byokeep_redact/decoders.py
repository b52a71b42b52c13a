"""Text encodings that can hide further encodings: each view of a layer is the same bytes with one of them taken off.

Escapes of all kinds (URL, JSON and C, HTML) come off in one pass, so that layers cost a line, not a tree. base64 and
hex runs are decoded at every phase and put behind one another: ten thousand trace ids cost one more layer, not ten
thousand. Rule: every view can say where in its parent a byte came from.
"""

from __future__ import annotations

import binascii
import html
import re
import string
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from byokeep_redact.encoded_patterns import Squeezed

_COLOUR = rb"\x1b\[[0-9;:?]{0,24}[A-Za-z]"
_ESCAPE = re.compile(
    rb"%(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})"
    rb"|\\(?:u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]{1,6}\}|U00[0-9A-Fa-f]{6}|x[0-9A-Fa-f]{2}|[0-7]{3}|[nrtbf/\"'\\])"
    rb"|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});?|" + _COLOUR
)
_ESCAPE_NAMES = {b"%": "url", b"\\": "json", b"&": "html", b"\x1b": "terminal"}
_COLOURS = 96  # bytes of them that are looked back over
_COLOURED_END = re.compile(rb"(?:%b)+\Z" % _COLOUR)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_WIDE_RUN = b"AN" * 16
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
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_BASE64_CHARS = (string.ascii_letters + string.digits + "+/-_").encode()
_BASE64_MASK = bytes(65 if code in _BASE64_CHARS else 10 if code in b"\r\n" else 32 for code in range(256))
_HEX_MASK = bytes(65 if code in string.hexdigits.encode() else 32 for code in range(256))


@dataclass(frozen=True, slots=True)
class Layer:
    """Bytes to search, and how they came out of their parent (None for the input itself).

    `locate` maps a position here to one in the parent (for the input: to an offset in it), `reach` a range to all of
    the parent that made it; `name_at` names the encoding. `deflate_at` are the places where a raw deflate stream may
    begin.
    """

    data: bytes
    depth: int
    locate: Callable[[int], int]
    name_at: Callable[[int, int], str] = field(default=lambda _at, _size: "")
    parent: Layer | None = None
    deflate_at: tuple[int, ...] = ()
    reach: Callable[[int, int], tuple[int, int]] | None = None

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


def decoded(layer: Layer, squeezed: Squeezed) -> Iterator[Layer]:
    """Yield each view of `layer`, one level deeper. `squeezed` is the layer's own squeezed form."""
    yield from unescaped(layer)
    yield from narrowed(layer)
    yield from _from_base64(layer)
    yield from _from_hex(layer, squeezed)


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


def narrowed(layer: Layer) -> Iterator[Layer]:
    """Yield UTF-16 text as single bytes (the patterns need no help with it, but what is encoded inside does)."""
    data = layer.data
    if b"\0" not in data or _WIDE_RUN not in data.translate(_WIDE_MASK):
        return
    narrow = data.translate(None, b"\0")

    def locate(at: int) -> int:
        low, high = at, len(data) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if middle + 1 - data.count(0, 0, middle + 1) > at else (middle + 1, high)
        return low

    yield Layer(narrow, layer.depth + 1, locate, lambda _at, _size: "utf16", layer)


def listed(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (bytes, start, end) of bytes that are written as numbers: `[115, 107]`, `[115 107]`, `0x73, 0x6b`, `73-6B`.

    A number that no byte has becomes 255.
    """
    for run in _LISTED.finditer(data):
        base = 16 if run[0][2:3] == b"-" else 10
        codes = [int(one, 16 if one[1:2] in b"xX" and len(one) > 2 else base) for one in _ONE_OF_LIST.findall(run[0])]
        yield bytes(min(code, 255) for code in codes), *run.span()


def _runs(mask: bytes, shortest: int) -> Iterator[tuple[int, int]]:
    at, run = 0, b"A" * shortest
    while (at := mask.find(run, at)) >= 0:
        end = mask.find(b" ", at)
        end = len(mask) if end < 0 else end
        yield at, end
        at = end


def _from_base64(layer: Layer) -> Iterator[Layer]:
    spans = list(_runs(layer.data.translate(_BASE64_MASK), _BASE64_RUN))
    runs = [layer.data[start:end].translate(_TO_STANDARD, b"\r\n") for start, end in spans]
    origins = [start for start, _ in spans]
    for phase in range(4) if runs else ():
        pieces = [run[phase:] + b"A" * (-(len(run) - phase) % 4) for run in runs]
        decoded = binascii.a2b_base64(b"////".join(pieces))
        sizes = [len(piece) // 4 * 3 for piece in pieces]
        yield _joined(layer, decoded, sizes, 3, _origins([at + phase for at in origins], 4 / 3), "base64")


def _from_hex(layer: Layer, squeezed: Squeezed) -> Iterator[Layer]:
    text = squeezed.padded[: squeezed.size]
    spans = list(_runs(text.translate(_HEX_MASK), _HEX_RUN))
    origins = [start for start, _ in spans]
    for phase in range(2) if spans else ():
        pieces = [text[start + phase : end - (end - start - phase) % 2] for start, end in spans]
        decoded = binascii.unhexlify(b"ff".join(pieces))
        sizes = [len(piece) // 2 for piece in pieces]
        spread = _spread(squeezed, _origins([at + phase for at in origins], 2.0))
        yield _joined(layer, decoded, sizes, 1, spread, "hex")


_Origin = Callable[[int, int], int]


def _origins(origins: list[int], ratio: float) -> _Origin:
    """Map (run number, offset in the decoded run) to a place in the run's text, of which `ratio` bytes make one."""
    return lambda run, at: origins[run] + int(at * ratio)


def _spread(squeezed: Squeezed, origin: _Origin) -> _Origin:
    """The same map for runs found in the squeezed text."""
    return lambda run, at: squeezed.origin(min(origin(run, at), squeezed.size - 1))


def _joined(layer: Layer, data: bytes, sizes: list[int], gap: int, origin: _Origin, name: str) -> Layer:
    """Make one layer of decoded runs of these sizes that stand `gap` bytes apart."""
    starts = [0, *accumulate(size + gap for size in sizes)][:-1]

    def locate(at: int) -> int:
        run = bisect_right(starts, at) - 1
        return min(origin(run, min(at - starts[run], sizes[run] - 1)), len(layer.data) - 1)

    deflate_at = tuple(start for start, size in zip(starts, sizes, strict=True) if size >= _DEFLATE_BYTES)
    return Layer(data, layer.depth + 1, locate, lambda _at, _size: name, layer, deflate_at)
