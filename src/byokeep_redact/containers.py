"""Compressed streams inside other bytes: found by their first bytes anywhere, opened as far as they go, within limits.

A stream that stops half way (cut off, or overwritten by a page header) gives what it held up to there. Rules: output is
bounded before it is made, never after; what is recognised but cannot be opened is reported as trouble.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, cast

import zstandard

_PIECE = 1 << 14
_MEMORY = 1 << 27
STRONG_MAGIC = re.compile(
    rb"\x1f\x8b\x08[\x00-\x1f]|PK\x03\x04|\x28\xb5\x2f\xfd|BZh[1-9]1AY&SY|\xfd7zXZ\x00", re.DOTALL
)
_MAGIC = re.compile(STRONG_MAGIC.pattern + rb"|x[\x01\x5e\x9c\xda]", re.DOTALL)
_ZIP_HEADER = struct.Struct("<4sHHHHHIIIHH")
_ZIP_SELF_EVIDENT = {0, 12, 93, 95}  # stored as it is, or as a stream with its own magic
_ZIP_METHODS = _ZIP_SELF_EVIDENT | {1, 2, 3, 4, 5, 6, 8, 9, 10, 14, 18, 19, 94, 96, 97, 98, 99}
_ZSTD_BLOCK = 1 << 17
_SHORTEST_OUTPUT = 12


@dataclass(frozen=True, slots=True)
class OpenedContainer:
    """A stream found at `at`: its name, what it held, and a trouble code when not all of it could be had."""

    name: str
    at: int
    data: bytes
    trouble: str | None = None


class Haystack:
    """A window of a longer input: bytes at hand, and a way to read on for streams that do not end in it."""

    def __init__(self, window: bytes, read_on: Callable[[int, int], bytes]) -> None:
        self.window = window
        self._read_on = read_on  # (offset from the window's start, size) -> bytes, empty at the end

    def read(self, at: int, size: int) -> bytes:
        """Return up to `size` bytes from offset `at` of the window, reading past its end where needed."""
        got = self.window[at : at + size]
        return got if len(got) == size else got + self._read_on(max(at, len(self.window)), size - len(got))

    def pieces(self, at: int) -> Iterator[bytes]:
        """Yield everything from offset `at` on."""
        while piece := self.read(at, _PIECE):
            yield piece
            at += len(piece)


class _Pipe(io.RawIOBase):
    """A haystack from one place on, as the file that the zstd reader asks for."""

    def __init__(self, haystack: Haystack, at: int) -> None:
        super().__init__()
        self._haystack, self._at = haystack, at

    def read(self, size: int = -1) -> bytes:
        piece = self._haystack.read(self._at, _PIECE if size < 0 else size)
        self._at += len(piece)
        return piece


def open_streams(haystack: Haystack, stop: int, room: Callable[[], int]) -> Iterator[OpenedContainer]:
    """Yield every stream that starts before `stop`. `room()` is how many bytes one stream may give, asked for each."""
    for match in _MAGIC.finditer(haystack.window):
        if match.start() >= stop:
            return
        opened = _open(match[0], haystack, match.start(), room())
        if opened is not None and (opened.trouble or len(opened.data) >= _SHORTEST_OUTPUT):
            yield opened


def open_bare_deflate(haystack: Haystack, at: int, room: int) -> OpenedContainer | None:
    """Open a raw deflate stream, which has no magic, at a place where one may begin.

    Only one that ends as it should or goes on for long counts, for any bytes can be the start of one.
    """
    head = haystack.window[at : at + 512]
    if len(head) < 5 or not _deflate_may_start(head):
        return None
    try:
        zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, 1 << 10)
    except zlib.error:
        return None
    data, trouble, whole = _inflate(haystack.pieces(at), -zlib.MAX_WBITS, room)
    if len(data) < _SHORTEST_OUTPUT or not (whole or trouble or len(data) >= 512):
        return None
    return OpenedContainer("deflate", at, data, trouble)


def _deflate_may_start(head: bytes) -> bool:
    kind = head[0] >> 1 & 3
    if kind == 0:
        return head[1] ^ head[3] == 0xFF and head[2] ^ head[4] == 0xFF
    return kind != 3


def _open(magic: bytes, haystack: Haystack, at: int, room: int) -> OpenedContainer | None:
    if magic[:2] == b"\x1f\x8b":
        data, trouble, _ = _inflate(haystack.pieces(at), 16 + zlib.MAX_WBITS, room)
        return OpenedContainer("gzip", at, data, trouble)
    if magic[:1] == b"x":
        data, trouble, _ = _inflate(haystack.pieces(at), zlib.MAX_WBITS, room)
        return OpenedContainer("zlib", at, data, trouble)
    if magic[:2] == b"PK":
        return _open_zip_member(haystack, at, room)
    if magic[:1] == b"\x28":
        return _open_zstd(haystack, at, room)
    if magic[:3] == b"BZh":
        return _open_block("bzip2", bz2.BZ2Decompressor(), haystack, at, room)
    return _open_block("xz", lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY), haystack, at, room)


def _inflate(pieces: Iterator[bytes], window_bits: int, room: int) -> tuple[bytes, str | None, bool]:
    """Return (output, trouble code or None, whether the stream ended as it should)."""
    stream = zlib.decompressobj(window_bits)
    out: list[bytes] = []
    for piece in pieces:
        rest = piece
        while rest:
            before = stream.copy()
            try:
                chunk = stream.decompress(rest, min(room, 1 << 20) + 1)
            except zlib.error:
                return b"".join([*out, *_salvage(before, rest[:room])]), None, False
            out.append(chunk)
            room -= len(chunk)
            if stream.eof:
                return b"".join(out), None, True
            if room < 0:
                return b"".join(out), "expansion_limit", False
            rest = stream.unconsumed_tail
    return b"".join(out), None, False


def _salvage(stream: zlib._Decompress, rest: bytes) -> Iterator[bytes]:
    """Give what a stream yields byte by byte up to the byte that breaks it."""
    for byte in rest:
        try:
            yield stream.decompress(bytes([byte]), 1 << 12)
        except zlib.error:
            return


def _open_zip_member(haystack: Haystack, at: int, room: int) -> OpenedContainer | None:
    header = haystack.read(at, _ZIP_HEADER.size)
    if len(header) < _ZIP_HEADER.size:
        return None
    _, version, flags, method, _, _, _, _, _, name_size, extra_size = _ZIP_HEADER.unpack(header)
    if version > 63 or method not in _ZIP_METHODS or not 0 < name_size <= 4096:
        return None
    if flags & 1:
        return OpenedContainer("zip", at, b"", "encrypted_zip_member")
    if method in _ZIP_SELF_EVIDENT:
        return None
    if method != 8:
        return OpenedContainer("zip", at, b"", "unknown_zip_method")
    start = at + _ZIP_HEADER.size + name_size + extra_size
    data, trouble, _ = _inflate(haystack.pieces(start), -zlib.MAX_WBITS, room)
    return OpenedContainer("zip", at, data, trouble)


def _open_zstd(haystack: Haystack, at: int, room: int) -> OpenedContainer | None:
    head = haystack.read(at, 32)
    try:
        frame = zstandard.get_frame_parameters(head)
        block_at = zstandard.frame_header_size(head)
    except zstandard.ZstdError:
        return None
    block = int.from_bytes(head[block_at : block_at + 3], "little")
    if block >> 1 & 3 == 3 or block >> 3 > _ZSTD_BLOCK:
        return None  # the magic by chance, as in a program that knows it
    if frame.dict_id or frame.window_size > _MEMORY:
        return OpenedContainer("zstd", at, b"", "zstd_needs_dictionary" if frame.dict_id else "memory_limit")
    out: list[bytes] = []
    opener = zstandard.ZstdDecompressor(max_window_size=_MEMORY)
    with opener.stream_reader(cast(IO[bytes], _Pipe(haystack, at)), read_across_frames=False) as reader:
        try:
            while chunk := reader.read(min(room + 1, 1 << 16)):
                out.append(chunk)
                room -= len(chunk)
                if room < 0:
                    return OpenedContainer("zstd", at, b"".join(out), "expansion_limit")
        except zstandard.ZstdError:
            pass  # not a frame after all, or one cut short: what came out so far is what there is
    return OpenedContainer("zstd", at, b"".join(out))


def _open_block(
    name: str, stream: bz2.BZ2Decompressor | lzma.LZMADecompressor, haystack: Haystack, at: int, room: int
) -> OpenedContainer:
    out: list[bytes] = []
    pieces = haystack.pieces(at)
    while not stream.eof:
        piece = next(pieces, b"") if stream.needs_input else b""
        if stream.needs_input and not piece:
            break
        try:
            chunk = stream.decompress(piece, min(room + 1, 1 << 20))
        except lzma.LZMAError as error:
            limited = "memory" in str(error).lower()
            return OpenedContainer(name, at, b"".join(out), "memory_limit" if limited else None)
        except OSError:
            break
        out.append(chunk)
        room -= len(chunk)
        if room < 0:
            return OpenedContainer(name, at, b"".join(out), "expansion_limit")
    return OpenedContainer(name, at, b"".join(out))
