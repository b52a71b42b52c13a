"""A picture from outside, taken apart and written again, so that only its pixels are passed on.

Rules
- Only PNG is accepted. JPEG and WebP would need native code to decode, and every picture program can save a PNG.
- Each chunk's length and checksum, the sizes and the packed lines are checked before anything is kept, and unpacking is
  bounded by the size that the header names. What is not the picture (texts, animation) is dropped.
- The result is made by us: header, palette and transparency of exactly their size, and the lines packed again.
- It takes up to a second of one thread, so it is not for an event loop or a transaction.

It may not decode a pixel: browsers do that.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from byokeep.core.errors import Rejected

MOST_BYTES: Final = 131_072
MOST_SIDE: Final = 1024  # pixels
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # for each pixel, by colour type
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Files that are not PNG, by how they begin.
_OTHERS: Final = {b"\xff\xd8\xff": "JPEG", b"RIFF": "WebP", b"GIF8": "GIF", b"<svg": "SVG", b"<?xml": "SVG"}
_STEP: Final = (
    f"Take a PNG that is not interlaced, of at most {MOST_BYTES // 1024} KiB and {MOST_SIDE} pixels each way."
)


def rewritten(raw: bytes) -> bytes:
    """Return the same picture as a file made by us.

    Raises:
        Rejected: ``bad_picture``: it is not a PNG, or it is broken, interlaced, or too large.
    """
    made = b""
    try:
        if len(raw) <= MOST_BYTES and raw.startswith(_SIGNATURE):
            made = _rewritten(raw)
    except (struct.error, zlib.error, ValueError):
        made = b""
    if not made or len(made) > MOST_BYTES:
        step = _STEP
        if kind := next((name for start, name in _OTHERS.items() if raw.startswith(start)), ""):
            step = f"Save this {kind} as a PNG."
        raise Rejected("bad_picture", next_step=step)
    return made


def size_of(made: bytes) -> tuple[int, int]:
    """Return the width and height, in pixels, of a file that :func:`rewritten` made."""
    width, height = struct.unpack_from(">II", made, len(_SIGNATURE) + 8)
    return width, height


def _rewritten(raw: bytes) -> bytes:
    found: dict[bytes, bytes] = {}
    at, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", raw, at)
        body = raw[at + 8 : at + 8 + length]
        (told,) = struct.unpack_from(">I", raw, at + 8 + length)
        if told != zlib.crc32(kind + body) or (kind in found and kind != b"IDAT") or (not found and kind != b"IHDR"):
            raise ValueError("not a PNG")
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT"):
            found[kind] = found.get(kind, b"") + body
        at += 12 + length
    width, height, depth, colour, packing, filtering, interlaced = struct.unpack(">IIBBBBB", found[b"IHDR"])
    palette, clear = (found.get(b"PLTE", b"") if colour == 3 else b""), found.get(b"tRNS", b"")
    fits = 0 < width <= MOST_SIDE and 0 < height <= MOST_SIDE and depth in _DEPTHS.get(colour, ())
    coloured = len(palette) % 3 == 0 and len(palette) <= 768 and (colour == 3) == bool(palette)
    coloured = coloured and len(clear) <= {0: 2, 2: 6, 3: len(palette) // 3}.get(colour, 0)
    if at != len(raw) or packing or filtering or interlaced or not fits or not coloured:
        raise ValueError("not a PNG that is taken")
    line = 1 + (width * depth * _SAMPLES[colour] + 7) // 8
    unpack = zlib.decompressobj()
    lines = unpack.decompress(found.get(b"IDAT", b""), line * height + 1)
    if len(lines) != line * height or not unpack.eof or unpack.unused_data or max(lines[::line]) > 4:
        raise ValueError("not the lines of this picture")
    parts = {b"IHDR": found[b"IHDR"], b"PLTE": palette, b"tRNS": clear, b"IDAT": zlib.compress(lines, 6)}
    return _SIGNATURE + b"".join(_chunk(kind, body) for kind, body in parts.items() if body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))
