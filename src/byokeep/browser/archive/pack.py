"""Files of a directory as a stream that somebody pulls.

Rules
- Only plain files and directories, reached through directories: a link anywhere below the root is refused, and so is a
  file with a second name (it may be one of another place), a pipe, a socket, a device.
- A file that is not as long as when the table was made, or that was changed meanwhile, ends the stream with an error.
- A read copies the bytes once, from the file into the buffer of who reads.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from byokeep.browser.archive.form import ArchiveEntry, ArchiveLimits, check, refused, write_head
from byokeep.core.errors import Conflict, Unavailable

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would wait for a writer
_State = tuple[int, int, int, int]


class Pack(io.RawIOBase):
    """The archive of some files below a root, to be read once.

    Args:
        root: A directory.
        paths: Relative paths of files and directories; the directories they lie in come along.
        limits: Of the archive.

    Raises:
        Rejected: ``archive_refused``: a name or a kind of file that no archive has, or too much.
        Conflict: ``profile_changed``: a file is not there, or another one than when the table was made.
        Unavailable: ``profile_unreadable``.
    """

    def __init__(self, root: Path, paths: Iterable[str], limits: ArchiveLimits | None = None) -> None:
        super().__init__()
        self._root = self._fd = -1
        try:
            self._root = os.open(root, _DIRECTORY)
            self._states: dict[str, _State] = {}
            entries = [self._entry(path) for path in sorted(_with_parents(paths), key=lambda path: path.split("/"))]
        except BaseException as error:
            self.close()
            raise _ours(error) from None
        try:
            check(entries, limits or ArchiveLimits())
        except BaseException:
            self.close()
            raise
        self.entries = entries
        head = write_head(entries)
        self.size = len(head) + sum(entry.size for entry in entries)
        self._waiting = memoryview(head)
        self._files = iter([entry for entry in entries if entry.kind == "F"])
        self._current: ArchiveEntry | None = None
        self._left = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one file reaches; 0 at the end."""
        view = memoryview(buffer).cast("B")
        if not len(view):
            return 0
        if self._waiting:
            taken = min(len(view), len(self._waiting))
            view[:taken] = self._waiting[:taken]
            self._waiting = self._waiting[taken:]
            return taken
        try:
            return self._from_files(view)
        except OSError as error:
            raise _ours(error) from None

    def close(self) -> None:
        """Let go of the files."""
        for name in ("_fd", "_root"):
            if getattr(self, name, -1) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)
        super().close()

    def _from_files(self, view: memoryview) -> int:
        while not self._left:
            if self._current is not None:
                self._end_file(self._current)
            self._current = next(self._files, None)
            if self._current is None:
                return 0
            self._fd = self._open(self._current.path, _FILE)
            self._left = self._current.size
            if _state(os.fstat(self._fd)) != self._states[self._current.path]:
                raise Conflict("profile_changed", next_step="Close the browser first.")
        taken = os.readv(self._fd, [view[: self._left]])
        if not taken:
            raise Conflict("profile_changed", next_step="Close the browser first.")
        self._left -= taken
        return taken

    def _end_file(self, entry: ArchiveEntry) -> None:
        changed = _state(os.fstat(self._fd)) != self._states[entry.path]
        os.close(self._fd)
        self._fd = -1
        if changed:
            raise Conflict("profile_changed", next_step="Close the browser first.")

    def _entry(self, path: str) -> ArchiveEntry:
        fd = self._open(path, _FILE)
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
        if stat.S_ISDIR(found.st_mode):
            return ArchiveEntry("D", path)
        if not stat.S_ISREG(found.st_mode):
            raise refused("special_file")
        if found.st_nlink != 1:
            raise refused("hard_link")
        self._states[path] = _state(found)
        return ArchiveEntry("F", path, found.st_size)

    def _open(self, path: str, flags: int) -> int:
        """Open part by part, so that no link is followed on the way."""
        *way, name = path.split("/")
        at = os.dup(self._root)
        try:
            for part in way:
                found = os.open(part, _DIRECTORY, dir_fd=at)
                os.close(at)
                at = found
            return os.open(name, flags, dir_fd=at)
        finally:
            os.close(at)


def _with_parents(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        parts = path.split("/")
        if "" in parts or "." in parts or ".." in parts:
            raise refused("bad_path")
        found.update("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    return found


def _state(found: os.stat_result) -> _State:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_nlink


def _ours(error: BaseException) -> BaseException:
    if not isinstance(error, OSError):
        return error
    if isinstance(error, FileNotFoundError):
        return Conflict("profile_changed", next_step="Close the browser first.")
    # ELOOP: a link; ENOTDIR: a link or a file on the way; ENXIO: a socket.
    if isinstance(error, NotADirectoryError) or error.errno in (errno.ELOOP, errno.ENXIO):
        return refused("special_file")
    return Unavailable("profile_unreadable", errno=error.errno or 0)
