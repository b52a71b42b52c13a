"""A sink that takes an archive chunk by chunk and shows its files only when all of it was good.

Rules
- Nothing is written before the whole table was read and found harmless; nothing but what the table says is written.
- It writes beside the target, into a directory of its own; ``commit`` renames it there in one step. Until then, and
  after any error, there is no target, and leaving the block without a commit removes everything.
- It holds the table and one chunk in memory.

It may not decide whether bytes are authentic: who feeds it commits only after the last one was.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from byokeep.browser.archive.form import HEAD, ArchiveEntry, ArchiveLimits, read_table, refused, table_length
from byokeep.core.errors import Conflict, Integrity, Unavailable

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Unpack:
    """An archive on its way into ``target``, which must not be there yet.

    ``with Unpack(target) as sink: sink.write(chunk); ...; sink.commit()``

    Raises (each call):
        Rejected: ``archive_refused`` with a reason.
        Conflict: ``target_exists``.
        Unavailable: ``no_room_to_unpack``: the place is full or can not be written.
    """

    def __init__(self, target: Path, limits: ArchiveLimits | None = None) -> None:
        self._target, self._limits = target, limits or ArchiveLimits()
        self._staging = target.parent / f".{secrets.token_hex(8)}.unpacking"
        self._head = bytearray()
        self._needed = HEAD
        self._entries: list[ArchiveEntry] | None = None
        self._files: Iterator[ArchiveEntry] = iter(())
        self._fd, self._left = -1, 0
        self._done = False
        if os.path.lexists(target):
            raise Conflict("target_exists", next_step="Unpack into a new place.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.abort()

    def write(self, chunk: bytes | memoryview) -> int:
        """Take the next bytes; returns how many, which is all."""
        if self._done:
            raise ValueError("this archive was committed or aborted")
        view = memoryview(chunk).cast("B")
        try:
            rest = view
            while rest:
                rest = rest[self._take(rest) :]
        except OSError as error:
            self.abort()
            raise Unavailable("no_room_to_unpack", next_step="See room_mebibytes.", errno=error.errno or 0) from None
        except BaseException:
            self.abort()
            raise
        return len(view)

    def commit(self) -> None:
        """Make the files visible at the target.

        Raises:
            Integrity: ``archive_incomplete``: not every byte has come. Nothing is visible, and nothing is left.
        """
        if self._done:
            raise ValueError("this archive was committed or aborted")
        try:
            if self._entries is None or self._left or next(self._files, None) is not None:
                raise Integrity("archive_incomplete", next_step="Quarantine this profile.")
            if os.path.lexists(self._target):
                raise Conflict("target_exists", next_step="Unpack into a new place.")
            self._staging.rename(self._target)
            self._done = True
        except OSError as error:
            raise Unavailable("no_room_to_unpack", errno=error.errno or 0) from None
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove what was written; nothing to do after a commit."""
        self._close()
        if not self._done:
            self._done = True
            shutil.rmtree(self._staging, ignore_errors=True)

    def _take(self, view: memoryview) -> int:
        if self._entries is None:
            return self._take_head(view)
        if not self._left:
            raise refused("more_than_announced")
        taken = os.write(self._fd, view[: self._left])
        self._left -= taken
        if not self._left:
            self._next_file()
        return taken

    def _take_head(self, view: memoryview) -> int:
        taken = min(len(view), self._needed - len(self._head))
        self._head += view[:taken]
        if len(self._head) == self._needed == HEAD:
            self._needed += table_length(bytes(self._head), self._limits)
        if len(self._head) == self._needed:
            self._begin(read_table(bytes(self._head[HEAD:]), self._limits))
        return taken

    def _begin(self, entries: list[ArchiveEntry]) -> None:
        self._entries, self._head = entries, bytearray()
        self._staging.mkdir(mode=0o700)
        for entry in entries:
            if entry.kind == "D":
                (self._staging / entry.path).mkdir(mode=0o700)
        self._files = iter([entry for entry in entries if entry.kind == "F"])
        self._next_file()

    def _next_file(self) -> None:
        """Open the next file that has bytes; empty ones on the way are made."""
        self._close()
        for entry in self._files:
            self._fd = os.open(self._staging / entry.path, _NEW, 0o600)
            self._left = entry.size
            if self._left:
                return
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
