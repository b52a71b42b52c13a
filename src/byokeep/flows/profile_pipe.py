"""Between a library that reads and writes in a thread, and a store that speaks in streams of the loop.

Rules
- A few pieces are under way at a time: memory does not grow with what passes.
- What goes wrong on one side ends the other, with the first side's own error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Final, TypeVar

from byokeep.core.errors import Unavailable

T = TypeVar("T")
_UNDER_WAY: Final = 4  # pieces
_LOOK_S: Final = 0.2  # seconds between two looks whether the other side still takes


class Outlet:
    """A target that is written in a thread and read as a stream: :meth:`chunks` is given to a store."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_UNDER_WAY)
        self._broken = False

    def write(self, data: bytes) -> int:
        """Pass a piece on. Raises Unavailable(``stream_broken``) when nobody takes any more."""
        handed = asyncio.run_coroutine_threadsafe(self._queue.put(bytes(data)), self._loop)
        while True:
            if self._broken:
                handed.cancel()
                raise Unavailable("stream_broken")
            try:
                handed.result(_LOOK_S)
            except NotYet:
                if handed.done():
                    raise
                continue
            return len(data)

    async def finish(self) -> None:
        """Say that this was all."""
        if not self._broken:
            await self._queue.put(None)

    def break_off(self) -> None:
        """Say that nobody takes any more."""
        self._broken = True

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what is written, to its end."""
        while (piece := await self._queue.get()) is not None:
            yield piece


class Inlet:
    """A source that is read in a thread and fed by a stream."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks = chunks
        self._rest = b""
        self._broken = False

    def read(self, size: int) -> bytes:
        """Return 1 to ``size`` bytes, none at the end. Raises what the stream raises."""
        while not self._rest:
            piece = self._next()
            if piece is None:
                return b""
            self._rest = piece
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def break_off(self) -> None:
        """Say that nobody waits for it any more."""
        self._broken = True

    def _next(self) -> bytes | None:
        asked: Future[bytes | None] = asyncio.run_coroutine_threadsafe(self._piece(), self._loop)
        while True:
            if self._broken:
                asked.cancel()
                raise Unavailable("stream_broken")
            try:
                return asked.result(_LOOK_S)
            except NotYet:
                if asked.done():
                    raise

    async def _piece(self) -> bytes | None:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            return None
