"""A file of lines that only grows.

Rules
- A call either adds all of its lines durably or leaves the file as it was: a short write is cut back (ENOSPC).
- A crash leaves a torn last line; opening the file cuts it off. Nothing before it is ever rewritten.
- After a failed fsync nobody knows what is on the disk, so the object refuses to go on. A new one starts from the file.
- A file moved, replaced or truncated under us is noticed before the next line is added.

It may not know what a line means.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from byokeep.core.errors import Integrity, Unavailable, refusing
from byokeep.kernel.durable_write import sync_directory

_CHUNK: Final = 1 << 20
_NEXT: Final = "Free disk space, or fix the directory. Nothing was half written."


class AppendOnlyFile:
    """One file. Not thread-safe; processes exclude each other with :meth:`locked`.

    Args:
        path: The file; created with mode 0600 when missing. Its directory must exist.

    Raises:
        Integrity: ``not_our_file``: a link, another owner's file, or not a regular file.
        Unavailable: ``file_unusable`` with the operating system's error number.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._suspect = False
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with usable():
            self._fd = os.open(path, flags, 0o600)
        try:
            with usable():
                self._check_ours()
                with self.locked():
                    pass
                sync_directory(path.parent)
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out. What one of them was killed over is cut off: only a line that is whole counts."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            with usable():
                self._cut_torn_line()
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def size(self) -> int:
        """Return the file's size in bytes.

        Raises:
            Integrity: ``file_replaced``: the name no longer leads to this file.
            Unavailable: ``file_suspect`` after a failed sync.
        """
        if self._suspect:
            raise Unavailable("file_suspect", next_step="Restart the process: it starts from what is on the disk.")
        self._check_ours()
        return os.fstat(self._fd).st_size

    def lines(self, start: int = 0) -> Iterator[bytes]:
        """Yield whole lines, with their line ends, from byte ``start`` on."""
        rest, offset = b"", start
        while chunk := os.pread(self._fd, _CHUNK, offset):
            offset += len(chunk)
            found = (rest + chunk).split(b"\n")
            rest = found.pop()
            for line in found:
                yield line + b"\n"

    def tail(self, size: int) -> Iterator[bytes]:
        """Yield the whole lines, with their line ends, in the last ``size`` bytes; at least the last line."""
        end = self.size()
        start = max(0, end - size)
        if start:
            found = os.pread(self._fd, end - start, start).find(b"\n")
            while start and not 0 <= found < end - start - 1:  # a line longer than that
                start = max(0, start - size)
                found = os.pread(self._fd, end - start, start).find(b"\n") if start else -1
            start += found + 1
        yield from self.lines(start)

    def append(self, lines: Sequence[bytes]) -> int:
        """Add lines, given without line ends; return the file's new size.

        Raises:
            ValueError: A line holds a line end.
            Unavailable: ``file_unusable`` (nothing added), ``file_suspect`` (unknown what is on the disk).
        """
        if any(b"\n" in line for line in lines):
            raise ValueError("a line may not hold a line end")
        before = self.size()
        data = memoryview(b"".join(line + b"\n" for line in lines))
        with usable():
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                self._cut_back(before)
                raise
        self._sync()
        return os.fstat(self._fd).st_size

    def _cut_back(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError:
            self._suspect = True
            raise Unavailable("file_suspect") from None
        self._sync()

    def _sync(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError:
            self._suspect = True
            raise Unavailable("file_suspect") from None

    def _cut_torn_line(self) -> None:
        size = os.fstat(self._fd).st_size
        keep, offset = 0, size
        while offset and not keep:
            start = max(0, offset - _CHUNK)
            keep = start + os.pread(self._fd, offset - start, start).rfind(b"\n") + 1
            keep, offset = (0 if keep == start else keep), start
        if keep != size:
            self._cut_back(keep)

    def _check_ours(self) -> None:
        with refusing("file_replaced", on=OSError):
            named, opened = self._path.lstat(), os.fstat(self._fd)
        if not stat.S_ISREG(opened.st_mode) or opened.st_uid != os.geteuid() or opened.st_nlink != 1:
            raise Integrity("not_our_file")
        if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
            raise Integrity("file_replaced")


@contextmanager
def usable() -> Iterator[None]:
    """Turn an error of the operating system into ours: its number, never its text."""
    try:
        yield
    except OSError as error:
        raise Unavailable("file_unusable", next_step=_NEXT, errno=error.errno or 0) from None
