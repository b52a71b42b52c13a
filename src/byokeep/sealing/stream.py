"""The byte streams on both ends, what stands between them and the library, and what carries them over threads.

Rules
- An error of a stream is the stream's: the library would turn it into one of its own, so it is kept and raised again.
- Once something went wrong nothing more is written. The library ends a stream when its object goes away, and a blob
  that was given up must not be ended properly.

- A few pieces are read ahead and no more: verifying a blob and unpacking it take a core each, and memory does not grow
  when the user of the pieces is slow.
- Who leaves early waits until the reading has stopped: nothing reads a source that is closed.

It may not look at what passes.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from byokeep.core.errors import Unavailable

if TYPE_CHECKING:
    from byokeep.sealing.store import Source, Target

BUFFER: Final = 1024 * 1024  # bytes
_AHEAD: Final = 3  # pieces that are read ahead
_LOOK_S: Final = 0.2  # seconds between two looks whether the other side still takes
_UNDER_WAY: Final = 4  # pieces between a sealer and a store
T = TypeVar("T")


class Stop:
    """Tells work in another thread that nobody waits for it any more."""

    def __init__(self) -> None:
        self._told = threading.Event()

    def tell(self) -> None:
        """Ask the work to give up."""
        self._told.set()

    def check(self) -> None:
        """Give up if asked to.

        Raises:
            Unavailable: ``sealing_given_up``.
        """
        if self._told.is_set():
            raise Unavailable("sealing_given_up")


async def in_thread(work: Callable[[Stop], T]) -> T:
    """Run work in a thread. Who is cancelled waits until the work has given up: no sink changes behind its back."""
    stop = Stop()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.tell()
        while not running.done():
            try:
                await asyncio.wait({running})
            except asyncio.CancelledError:
                continue
        if not running.cancelled():
            running.exception()  # looked at, so that nobody reports it as forgotten
        raise


class OpeningStream:
    """A source as the library wants it: counts and digests what passes, and keeps the source's own error.

    Args:
        counted: Whether to take the SHA-256 of what passes.
        silent: Whether an error is kept and ends the stream, instead of being raised: one that passes through the
            library is never let go by it, nor what it holds. Who reads silently asks :meth:`took_failure`.
    """

    closed = False

    def __init__(self, source: Source, stop: Stop, *, counted: bool = False, silent: bool = False) -> None:
        self._source, self._stop, self._silent = source, stop, silent
        self._sha256 = hashlib.sha256() if counted else None
        self.size = 0
        self.failure: BaseException | None = None

    def took_failure(self) -> BaseException | None:
        """Return the source's own error and forget it: held here it would hold everything that it passed."""
        failure, self.failure = self.failure, None
        return failure

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = BUFFER) -> bytes:
        """Return 1 to ``size`` bytes, none at the end."""
        try:
            self._stop.check()
            data = self._source.read(size)
        except BaseException as error:
            self.failure = error
            if self._silent:
                return b""
            raise
        self.size += len(data)
        if self._sha256 is not None:
            self._sha256.update(data)
        return data

    def digest(self) -> bytes:
        """SHA-256 of what has passed."""
        return b"" if self._sha256 is None else self._sha256.digest()

    def close(self) -> None:
        """Who gave the source closes it."""


class Writing:
    """A target as the library wants it: counts and digests what passes, and falls silent when it is given up.

    An error is kept, not raised, for the reason that :class:`OpeningStream` gives; it tells the work to stop.
    """

    closed = False

    def __init__(self, target: Target, stop: Stop) -> None:
        self._target, self._stop = target, stop
        self._sha256 = hashlib.sha256()
        self.size = 0
        self.given_up = False
        self.failure: BaseException | None = None

    def took_failure(self) -> BaseException | None:
        """Return the target's own error and forget it."""
        failure, self.failure = self.failure, None
        return failure

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: bytes) -> int:
        """Pass ``data`` on, unless given up; returns its length in any case."""
        if self.given_up:
            return len(data)
        try:
            self._target.write(data)
        except BaseException as error:
            self.failure, self.given_up = error, True
            self._stop.tell()
            return len(data)
        self.size += len(data)
        self._sha256.update(data)
        return len(data)

    def digest(self) -> bytes:
        """SHA-256 of what has passed."""
        return self._sha256.digest()

    def close(self) -> None:
        """Who gave the target closes it."""


class Ahead:
    """Calls ``read`` in a thread of its own until it gives nothing; a block that must be left to end the thread.

    Args:
        read: Returns the next piece, at most ``size`` bytes, none at the end.
        size: Of a piece, bytes.
    """

    def __init__(self, read: Callable[[int], bytes], size: int) -> None:
        self._read, self._size = read, size
        self._pool = ThreadPoolExecutor(1, "sealing-ahead")
        self._ready: deque[Future[bytes]] = deque()
        self._over = threading.Event()

    def __enter__(self) -> Ahead:
        self._ready.extend(self._pool.submit(self._piece) for _ in range(_AHEAD))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._pool.shutdown(cancel_futures=True)
        # An error holds the frames it passed, they hold the decompressor, which holds this and which no garbage
        # collection sees: held here, the error would keep all of it, buffers included, for good.
        self._ready.clear()

    def read(self, size: int) -> bytes:
        """Return the next piece, none at the end. Raises what the reading raised, again and again."""
        piece = self._ready[0].result() if self._ready else b""
        if piece:
            self._ready.popleft()
            self._ready.append(self._pool.submit(self._piece))
        return piece

    def _piece(self) -> bytes:
        """Nothing is read after the end or an error: who reads on meets that again, for it stays the first in line."""
        if self._over.is_set():
            return b""
        try:
            piece = self._read(self._size)
        except BaseException:
            self._over.set()
            raise
        if not piece:
            self._over.set()
        return piece


class _Bridge:
    """Between a thread and the loop that made this; ``break_off`` frees the thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._broken = False

    def break_off(self) -> None:
        """Say that the other side is gone."""
        self._broken = True

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work in the loop, from the thread. Raises Unavailable(``stream_broken``)."""
        asked = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            if self._broken:
                asked.cancel()
                raise Unavailable("stream_broken")
            try:
                return asked.result(_LOOK_S)
            except NotYet:
                if asked.done():
                    raise


class DownloadStream(_Bridge):
    """A source that is read in a thread and fed by a stream."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return 1 to ``size`` bytes, none at the end. Raises what the stream raises."""
        while not self._rest:
            piece = self._wait(self._piece())
            if piece is None:
                return b""
            self._rest = piece
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    async def _piece(self) -> bytes | None:
        return await anext(self._chunks, None)


class UploadStream(_Bridge):
    """A target that is written in a thread and read as a stream: :meth:`chunks` is given to a store."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_UNDER_WAY)

    def write(self, data: bytes) -> int:
        """Pass a piece on. Raises Unavailable(``stream_broken``) when nobody takes any more."""
        self._wait(self._queue.put(bytes(data)))
        return len(data)

    async def finish(self) -> None:
        """Say that this was all."""
        if not self._broken:
            await self._queue.put(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what is written, to its end."""
        while (piece := await self._queue.get()) is not None:
            yield piece
