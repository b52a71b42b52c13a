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
import sys
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, cast

import zstandard

from byokeep_redact.decoders import inflated

_PIECE = 1 << 14
_CHUNK = 1 << 16  # bytes that come out of a stream at a time
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
    """A window of a longer input: bytes at hand, and a way to read on for streams that do not end in it.

    A stream ends at the next of `ends`: where pieces were pasted together, each could be read on to the last one.
    """

    def __init__(self, window: bytes, read_on: Callable[[int, int], bytes], ends: Sequence[int] = ()) -> None:
        self.window, self._ends = window, ends
        self._read_on = read_on  # (offset from the window's start, size) -> bytes, empty at the end

    def read(self, at: int, size: int) -> bytes:
        """Return up to `size` bytes from offset `at` of the window, reading past its end where needed."""
        got = self.window[at : at + size]
        return got if len(got) == size else got + self._read_on(max(at, len(self.window)), size - len(got))

    def end(self, at: int) -> int:
        """Return where a stream that begins at `at` must end."""
        number = bisect_right(self._ends, at)
        return self._ends[number] if number < len(self._ends) else sys.maxsize

    def pieces(self, at: int) -> Iterator[bytes]:
        """Yield everything from offset `at` to the end of a stream that begins there."""
        end = self.end(at)
        while piece := self.read(at, min(_PIECE, end - at)):
            yield piece
            at += len(piece)


class _Pipe(io.RawIOBase):
    """A haystack from one place on, as the file that the zstd reader asks for."""

    def __init__(self, haystack: Haystack, at: int) -> None:
        super().__init__()
        self._haystack, self._at, self._end = haystack, at, haystack.end(at)

    def read(self, size: int = -1) -> bytes:
        piece = self._haystack.read(self._at, min(_PIECE if size < 0 else size, self._end - self._at))
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
    head = haystack.window[at : min(at + 512, haystack.end(at))]
    if len(head) < 5 or not _deflate_may_start(head):
        return None
    try:
        zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, 1 << 10)
    except zlib.error:
        return None
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    opened = _gathered("deflate", at, _inflated(stream, haystack.pieces(at)), room)
    size = len(opened.data)
    return opened if size >= _SHORTEST_OUTPUT and (stream.eof or opened.trouble or size >= 512) else None


def _deflate_may_start(head: bytes) -> bool:
    kind = head[0] >> 1 & 3
    if kind == 0:
        return head[1] ^ head[3] == 0xFF and head[2] ^ head[4] == 0xFF
    return kind != 3


def _open(magic: bytes, haystack: Haystack, at: int, room: int) -> OpenedContainer | None:
    pieces = haystack.pieces(at)
    if magic[:2] == b"\x1f\x8b":
        return _gathered("gzip", at, _inflated(zlib.decompressobj(16 + zlib.MAX_WBITS), pieces), room)
    if magic[:1] == b"x":
        return _gathered("zlib", at, _inflated(zlib.decompressobj(), pieces), room)
    if magic[:2] == b"PK":
        return _open_zip_member(haystack, at, room)
    if magic[:1] == b"\x28":
        return _open_zstd(haystack, at, room)
    if magic[:3] == b"BZh":
        return _gathered("bzip2", at, _unblocked(bz2.BZ2Decompressor(), pieces), room)
    return _gathered("xz", at, _unblocked(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY), pieces), room)


def _gathered(name: str, at: int, chunks: Iterator[bytes], room: int) -> OpenedContainer:
    """Take what comes out of a stream, as far as it goes, until that is more than `room` bytes."""
    out = bytearray()
    trouble = None
    try:
        for chunk in chunks:
            out += chunk
            if len(out) > room:
                trouble = "expansion_limit"
                break
    except lzma.LZMAError as error:
        trouble = "memory_limit" if "memory" in str(error).lower() else None
    except (OSError, zstandard.ZstdError):
        pass  # not a stream after all, or one cut short: what came out so far is what there is
    return OpenedContainer(name, at, bytes(out[: room + 1]), trouble)


def _inflated(stream: zlib._Decompress, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        rest = piece
        while rest and not stream.eof:
            chunk, broken = inflated(stream, rest, _CHUNK)
            yield chunk
            if broken:
                return
            rest = stream.unconsumed_tail
        if stream.eof:
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
    return _gathered("zip", at, _inflated(zlib.decompressobj(-zlib.MAX_WBITS), haystack.pieces(start)), room)


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
    return _gathered("zstd", at, _unpacked(_Pipe(haystack, at)), room)


def _unpacked(source: _Pipe) -> Iterator[bytes]:
    opener = zstandard.ZstdDecompressor(max_window_size=_MEMORY)
    with opener.stream_reader(cast(IO[bytes], source), read_across_frames=False) as reader:
        while chunk := reader.read(_CHUNK):
            yield chunk


def _unblocked(stream: bz2.BZ2Decompressor | lzma.LZMADecompressor, pieces: Iterator[bytes]) -> Iterator[bytes]:
    while not stream.eof:
        piece = next(pieces, b"") if stream.needs_input else b""
        if stream.needs_input and not piece:
            return
        yield stream.decompress(piece, _CHUNK)
