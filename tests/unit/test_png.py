"""A picture from outside: what is written of it, and what is refused."""

from __future__ import annotations

import struct
import zlib

import pytest

from byokeep.core import png
from byokeep.core.errors import Rejected
from tests.support.pixels import png as drawn


def text(body: bytes, kind: bytes = b"tEXt") -> bytes:
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_picture_is_written_anew_and_nothing_else_of_it() -> None:
    """Its size and lines are kept; a text in it, and how it was packed, are not; written again it is the same."""
    made = png.rewritten(drawn(40, 30, extra=text(b"<script>alert(1)</script>")))
    assert made == png.rewritten(drawn(40, 30)) == png.rewritten(made)
    assert (made[16:24], b"script" in made) == (struct.pack(">II", 40, 30), False)
    three = b"\0" + bytes(9)
    palette = drawn(3, 1, colour=2, lines=three, extra=text(bytes(768), b"PLTE"))
    assert png.rewritten(palette) == png.rewritten(drawn(3, 1, colour=2, lines=three))
    assert b"tRNS\0\7" in png.rewritten(drawn(3, 1, extra=text(b"\0\7", b"tRNS")))
    assert png.rewritten(drawn(3, 2, colour=6, lines=b"\4" + bytes(12) + b"\0" + bytes(12)))


GOOD = drawn(40, 30)
BAD = {
    "nothing": b"",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(100),
    "webp": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(50),
    "page before it": b"<html>" + GOOD,
    "page behind it": GOOD + b"<html>",
    "cut off": GOOD[:-6],
    "checksum": GOOD[:40] + bytes([GOOD[40] ^ 1]) + GOOD[41:],
    "no lines": drawn(40, 30, lines=b"x"),
    "too many lines": drawn(40, 30, lines=bytes(41 * 31)),
    "bomb": drawn(40, 30, lines=bytes(5_000_000)),
    "filter": drawn(40, 30, lines=b"\5" + bytes(41 * 30 - 1)),
    "wide": drawn(1025, 1),
    "no width": drawn(0, 1, lines=b"\0"),
    "interlaced": drawn(40, 30, interlaced=1),
    "packing": drawn(40, 30, packing=1),
    "depth": drawn(40, 30, depth=3),
    "kind": drawn(40, 30, colour=5),
    "no palette": drawn(40, 30, colour=3),
    "too long": drawn(4, 4, extra=text(bytes(131_072))),
    "clear": drawn(4, 4, extra=text(b"<script>alert(1)</script>", b"tRNS")),
    "clear twice": drawn(4, 1, colour=6, lines=bytes(17), extra=text(b"\0", b"tRNS")),
    "two heads": drawn(40, 30, extra=GOOD[8:33]),
    "head late": GOOD[:8] + text(b"a") + GOOD[8:],
}


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD)
def test_what_is_no_such_picture_is_refused(raw: bytes) -> None:
    """Another format, something before or behind it, broken, too large, and lines that are not those of its header."""
    with pytest.raises(Rejected) as refused:
        png.rewritten(raw)
    assert refused.value.code == "bad_picture"
    named = {"svg": "SVG", "jpeg": "JPEG", "webp": "WebP"}
    kinds = [kind for kind in named.values() if f"Save this {kind} as a PNG." in refused.value.next_step]
    assert kinds == [kind for name, kind in named.items() if BAD[name] == raw]
