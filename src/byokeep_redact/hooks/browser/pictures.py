"""Pictures without what is not seen: text chunks, EXIF, comments, colour profiles, and whatever hangs on at the end.

Rules: known chunks are copied, everything else is left out; a picture that is not whole and well-formed is refused.
What the pixels show is decided when the picture is taken, by covering it (`page.py`).
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT: Final = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"sBIT"}
_JPEG: Final = b"\xff\xd8\xff"
_JPEG_DROPPED: Final = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # APP1..APP13, APP15, COM; APP0 (JFIF) and APP14 (Adobe) stay
_JPEG_BARE: Final = {0x01, *range(0xD0, 0xD8)}


def strip_picture(data: bytes) -> bytes | None:
    """Return a PNG or JPEG with its picture data alone, or None when `data` is neither.

    Raises ValueError for one that is damaged.
    """
    if data.startswith(_PNG):
        return _strip_png(data)
    if data.startswith(_JPEG):
        return _strip_jpeg(data)
    return None


def _strip_png(data: bytes) -> bytes:
    out, at, named = [_PNG], len(_PNG), b""
    while named != b"IEND":
        if len(data) < at + 12:
            raise ValueError("bad_picture")
        size, named = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + size]
        if len(chunk) != 12 + size or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise ValueError("bad_picture")
        if named in _PNG_KEPT:
            out.append(chunk if named not in (b"IDAT", b"IEND") or size or named == b"IEND" else b"")
        at += len(chunk)
    return b"".join(out)


def _strip_jpeg(data: bytes) -> bytes:
    out, at = [data[:2]], 2
    while True:
        if len(data) < at + 2 or data[at] != 0xFF:
            raise ValueError("bad_picture")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xD9:
            return b"".join([*out, data[at : at + 2]])
        if marker in _JPEG_BARE:
            out.append(data[at : at + 2])
            at += 2
            continue
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if size < 2 or len(data) < at + 2 + size:
            raise ValueError("bad_picture")
        if marker not in _JPEG_DROPPED:
            out.append(data[at : at + 2 + size])
        at += 2 + size
        if (
            marker == 0xDA
        ):  # start of scan: coded data runs on to the next marker that is neither a stuffed byte nor a restart
            end = _end_of_scan(data, at)
            out.append(data[at:end])
            at = end


def _end_of_scan(data: bytes, at: int) -> int:
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise ValueError("bad_picture")
        if data[at + 1] != 0 and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2
