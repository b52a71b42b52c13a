"""What every artifact passes on its way in and out, whatever store is behind.

Rules: the first bytes decide whether it is stored at all; length and SHA-256 are taken of what really passes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Final, TypeVar

from byokeep.core.artifact import StoredArtifact
from byokeep.core.envelope import MAGIC
from byokeep.core.errors import Integrity, Rejected

T = TypeVar("T")
PIECE: Final = 1 << 20  # bytes handed on at a time


class Passing:
    """Counts and digests the bytes of one artifact."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._size = 0

    def take(self, piece: bytes) -> bytes:
        """Count a piece and return it."""
        self._digest.update(piece)
        self._size += len(piece)
        return piece

    def found(self) -> StoredArtifact:
        """Return what has passed."""
        return StoredArtifact(size=self._size, sha256_hex=self._digest.hexdigest())

    def must_fit(self, expected: StoredArtifact) -> None:
        """Refuse more bytes than there may be. Raises Integrity(``artifact_altered``)."""
        if self._size > expected.size:
            raise Integrity("artifact_altered", next_step="Quarantine this profile; its stored bytes were changed.")

    def must_be(self, expected: StoredArtifact) -> None:
        """Compare at the end. Raises Integrity(``artifact_altered``)."""
        if self.found() != expected:
            raise Integrity("artifact_altered", next_step="Quarantine this profile; its stored bytes were changed.")


async def sealed_only(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield a stream in pieces of at most PIECE bytes, once it has shown that it begins as a sealed profile does.

    Raises:
        Rejected: ``not_sealed``: an archive, a database, a compressed file, anything else, or nothing.
    """
    start = b""
    shown = False
    async with aclosing(_closable(chunks)) as source:
        async for chunk in source:
            if shown:
                for piece in _pieces(chunk):
                    yield piece
                continue
            start += chunk
            if len(start) >= len(MAGIC):
                _must_be_sealed(start)
                shown = True
                for piece in _pieces(start):
                    yield piece
                start = b""
    if not shown:
        _must_be_sealed(start)


def _must_be_sealed(start: bytes) -> None:
    if not start.startswith(MAGIC):
        raise Rejected("not_sealed", next_step="Only sealed profiles are stored; nothing was written.")


def _pieces(chunk: bytes) -> Iterator[bytes]:
    if len(chunk) <= PIECE:
        yield chunk
        return
    for at in range(0, len(chunk), PIECE):
        yield chunk[at : at + PIECE]


async def _closable(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        # A source that stops early is told so, so that it lets go of its files.
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


async def in_thread(call: Callable[..., T], *args: object) -> T:
    """Run a blocking call in a thread. Who is cancelled waits for it: what it uses is still in use."""
    running = asyncio.ensure_future(asyncio.to_thread(call, *args))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise
