"""Reading on while what was read is used: verifying a blob and unpacking it take a core each.

Rules
- A few pieces ahead and no more: memory does not grow when the user of the pieces is slow.
- An error comes out where it would have without this, after the pieces before it.
- Who leaves early waits until the reading has stopped: nothing reads a source that is closed.

It may not look at what passes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

PIECES: Final = 3
_LOOK_S: Final = 0.05  # how often a reading that waits for room looks whether it should stop


class Ahead:
    """Calls ``read`` in a thread of its own until it gives nothing; a block that must be left to end the thread.

    Args:
        read: Returns the next piece, at most ``size`` bytes, none at the end.
        size: Of a piece, bytes.
    """

    def __init__(self, read: Callable[[int], bytes], size: int) -> None:
        self._read, self._size = read, size
        self._ready: queue.Queue[bytes | BaseException] = queue.Queue(PIECES)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sealing-ahead")
        self._ended: bytes | BaseException | None = None

    def __enter__(self) -> Ahead:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._left.set()
        self._thread.join()
        # An error holds the frames it passed, they hold the decompressor, which holds this and which no garbage
        # collection sees: held here, the error would keep all of it, buffers included, for good.
        self._ended, self._ready = b"", queue.Queue(PIECES)

    def read(self, size: int) -> bytes:
        """Return the next piece, none at the end. Raises what the reading raised."""
        piece = self._ready.get() if self._ended is None else self._ended
        if isinstance(piece, BaseException):
            self._ended = piece
            try:
                raise piece
            finally:
                del piece
        if not piece:
            self._ended = piece
        return piece

    def _run(self) -> None:
        while not self._left.is_set():
            try:
                piece = self._read(self._size)
            except BaseException as error:
                self._put(error)
                return
            self._put(piece)
            if not piece:
                return

    def _put(self, piece: bytes | BaseException) -> None:
        while not self._left.is_set():
            try:
                self._ready.put(piece, timeout=_LOOK_S)
            except queue.Full:
                continue
            break
