"""The byte streams on both ends, and what stands between them and the library.

Rules
- An error of a stream is the stream's: the library would turn it into one of its own, so it is kept and raised again.
- Once something went wrong nothing more is written. The library ends a stream when its object goes away, and a blob
  that was given up must not be ended properly.

It may not look at what passes.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from byokeep.core.errors import Unavailable
from byokeep.sealing.ports import Source, Target

BUFFER: Final = 1024 * 1024  # bytes
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
