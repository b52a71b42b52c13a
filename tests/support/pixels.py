"""The pixels of a screenshot: 8-bit RGB or RGBA without interlace, which is what Chromium writes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Pixels:
    """Rows of pixels; each pixel is 3 or 4 bytes."""

    width: int
    height: int
    size: int
    rows: tuple[bytes, ...]

    def region(self, x: float, y: float, width: float, height: float) -> set[bytes]:
        """The colours (red, green, blue) inside a box, one pixel in from its edges."""
        lines = self.rows[int(y) + 1 : int(y + height) - 1]
        across = range(int(x) + 1, int(x + width) - 1)
        return {line[at * self.size : at * self.size + 3] for line in lines for at in across}


def differing(first: Pixels, second: Pixels) -> list[tuple[int, int]]:
    """The rows that differ in two pictures, each with how many of its bytes do."""
    assert (first.width, first.height, first.size) == (second.width, second.height, second.size)
    return [
        (at, sum(left != right for left, right in zip(one, other, strict=True)))
        for at, (one, other) in enumerate(zip(first.rows, second.rows, strict=True))
        if one != other
    ]


def read_png(data: bytes) -> Pixels:
    """Decode a PNG."""
    at, packed, header = 8, b"", b""
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + 8 + size]
        header = content if name == b"IHDR" else header
        packed += content if name == b"IDAT" else b""
        at += 12 + size
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    assert (depth, interlace) == (8, 0)
    size = {2: 3, 6: 4}[colour]
    raw, step, rows = zlib.decompress(packed), width * size + 1, []
    above = bytearray(width * size)
    for start in range(0, height * step, step):
        above = _unfiltered(raw[start], bytearray(raw[start + 1 : start + step]), above, size)
        rows.append(bytes(above))
    return Pixels(width, height, size, tuple(rows))


def _unfiltered(kind: int, line: bytearray, above: bytearray, size: int) -> bytearray:
    if kind == 0:
        return line
    for at in range(len(line)):
        left = line[at - size] if at >= size else 0
        up, corner = above[at], above[at - size] if at >= size else 0
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) // 2
        else:
            near = left + up - corner
            guess = min((left, up, corner), key=lambda value: abs(near - value))
        line[at] = (line[at] + guess) & 0xFF
    return line


def png(width: int, height: int, *, extra: bytes = b"", lines: bytes = b"", **header: int) -> bytes:
    """A grey picture as a file; ``extra`` chunks stand before its lines, which are packed as they are given."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))

    given = {"depth": 8, "colour": 0, "packing": 0, "filtering": 0, "interlaced": 0} | header
    lines = lines or b"".join(b"\0" + bytes(width) for _ in range(height))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *given.values()))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
