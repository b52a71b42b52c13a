"""A profile archive: its form (docs/spec/profile-archive.md), written from a directory and read into one.

Rules
- A table of everything, then the files' bytes in that order. The form cannot express a link, a device, a pipe or a
  hole. That, and the table in front, is why it is no tar: a reader knows all names and the sum of all lengths before
  the first byte of a file arrives, so it can refuse the whole archive before it has written anything. No name is too
  long for a header.
- Entries are sorted by the parts of their paths, each once, each directory before its content. There is one way to
  write a set of files, so a reader compares: what it was given must be what it would write.
- No times, no owners, no modes: directories are 0700 and files 0600.
- Plain files and directories are packed, reached through directories. A link anywhere below the root is refused, and so
  is a file with a second name, a pipe, a socket, a device. A file that changes meanwhile ends the stream with an error.
- Unpacking goes beside the target, into a directory of its own; ``commit`` renames it there in one step. Until then,
  and after any error, there is no target, and leaving the block without a commit removes everything. It holds the table
  and one chunk in memory.

It may not decide whether bytes are authentic: whoever feeds it commits only after the last one was.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from byokeep.core.errors import Conflict, Integrity, Rejected, Unavailable

MAGIC: Final = b"byokeep-profile/1\n"
HEAD: Final = len(MAGIC) + 4  # the magic, then the length of the table
_ENTRY: Final = 11  # kind, length of the path, length of the file
_LONGEST_PATH: Final = 1024  # bytes
_LONGEST_PART: Final = 255  # bytes
_DEEPEST: Final = 32
MOST_ENTRIES: Final = 50_000
MOST_TABLE: Final = 8 << 20  # bytes
MOST_CONTENT: Final = 2 << 30  # bytes of all files together
Kind = Literal["D", "F"]


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """A directory (D) or a file (F): its path below the root, with slashes, and its length in bytes."""

    kind: Kind
    path: str
    size: int = 0


def refused(reason: str) -> Rejected:
    """Return the error for an archive that is not accepted; ``reason`` is a constant of ours."""
    return Rejected("archive_refused", next_step="Quarantine this profile and create it again.", reason=reason)


def check(entries: Sequence[ArchiveEntry]) -> None:
    """Pass if these may be written and read.

    Raises:
        Rejected: ``archive_refused`` with the reason.
    """
    if len(entries) > MOST_ENTRIES:
        raise refused("too_many_entries")
    if sum(entry.size for entry in entries) > MOST_CONTENT:
        raise refused("too_large")
    directories, folded = {""}, set()
    for entry in entries:
        _check_path(entry.path)
        if entry.kind == "D" and entry.size:
            raise refused("directory_with_content")
        if entry.path.rpartition("/")[0] not in directories:
            raise refused("no_such_directory")
        if entry.kind == "D":
            directories.add(entry.path)
        # Two names that some file systems treat as one.
        folded.add(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", entry.path).casefold()))
    if any(one.path.split("/") >= two.path.split("/") for one, two in pairwise(entries)):
        raise refused("not_in_order")
    if len(folded) != len(entries):
        raise refused("names_clash")


def _check_path(path: str) -> None:
    parts = path.split("/")
    if len(path.encode()) > _LONGEST_PATH or len(parts) > _DEEPEST:
        raise refused("path_too_long")
    for part in parts:
        if part in ("", ".", "..") or len(part.encode()) > _LONGEST_PART:
            raise refused("bad_path")
        # Chromium's locks name a host and a process; it would believe one from another machine.
        if part.casefold().startswith("singleton"):
            raise refused("lock_of_a_browser")
        if "\\" in part or any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in part):
            raise refused("bad_path")


def write_head(entries: Iterable[ArchiveEntry]) -> bytes:
    """Return what comes before the files' bytes."""
    table = bytearray()
    for entry in entries:
        path = entry.path.encode()
        table += entry.kind.encode() + len(path).to_bytes(2, "big") + entry.size.to_bytes(8, "big") + path
    return MAGIC + len(table).to_bytes(4, "big") + table


def table_length(head: bytes) -> int:
    """Return the table's length from the first HEAD bytes. Raises Rejected(``archive_refused``)."""
    if not head.startswith(MAGIC):
        raise refused("not_an_archive")
    length = int.from_bytes(head[len(MAGIC) : HEAD], "big")
    if length > MOST_TABLE:
        raise refused("too_many_entries")
    return length


def read_table(table: bytes) -> list[ArchiveEntry]:
    """Return the entries of a table. Raises Rejected(``archive_refused``)."""
    found: list[ArchiveEntry] = []
    at = 0
    while at < len(table):
        kind, ends = table[at : at + 1], at + _ENTRY + int.from_bytes(table[at + 1 : at + 3], "big")
        if ends > len(table) or kind not in (b"D", b"F"):
            raise refused("bad_table")
        try:
            path = table[at + _ENTRY : ends].decode()
        except UnicodeDecodeError:
            raise refused("bad_path") from None
        size = int.from_bytes(table[at + 3 : at + _ENTRY], "big")
        found.append(ArchiveEntry("D" if kind == b"D" else "F", path, size))
        if len(found) > MOST_ENTRIES:
            raise refused("too_many_entries")
        at = ends
    check(found)
    return found


_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would wait for a writer
_State = tuple[int, int, int, int]


class Pack(io.RawIOBase):
    """The archive of some files below a root, to be read once.

    Args:
        root: A directory.
        paths: Relative paths of files and directories; their parent directories come along.

    Raises:
        Rejected: ``archive_refused``: a name or a kind of file that no archive has, or too much.
        Conflict: ``profile_changed``: a file is missing, or not the one it was when the table was made.
        Unavailable: ``profile_unreadable``.
    """

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        super().__init__()
        self._root = self._fd = -1
        try:
            self._root = os.open(root, _DIRECTORY)
            self._states: dict[str, _State] = {}
            entries = [self._entry(path) for path in sorted(_with_parents(paths), key=lambda path: path.split("/"))]
            check(entries)
        except BaseException as error:
            self.close()
            raise _ours(error) from None
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
        """Close the files."""
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
                raise _changed()
        taken = os.readv(self._fd, [view[: self._left]])
        if not taken:
            raise _changed()
        self._left -= taken
        return taken

    def _end_file(self, entry: ArchiveEntry) -> None:
        changed = _state(os.fstat(self._fd)) != self._states[entry.path]
        os.close(self._fd)
        self._fd = -1
        if changed:
            raise _changed()

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


def _changed() -> Conflict:
    return Conflict("profile_changed", next_step="Close the browser first.")


def _ours(error: BaseException) -> BaseException:
    if not isinstance(error, OSError):
        return error
    if isinstance(error, FileNotFoundError):
        return _changed()
    # ELOOP: a link; ENOTDIR: a link or a file on the way; ENXIO: a socket.
    if isinstance(error, NotADirectoryError) or error.errno in (errno.ELOOP, errno.ENXIO):
        return refused("special_file")
    return Unavailable("profile_unreadable", errno=error.errno or 0)


_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Unpack:
    """An archive on its way into ``target``, which must not exist yet.

    ``with Unpack(target) as sink: sink.write(chunk); ...; sink.commit()``

    Raises (each call):
        Rejected: ``archive_refused`` with a reason.
        Conflict: ``target_exists``.
        Unavailable: ``no_room_to_unpack``: the place is full or cannot be written.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._staging = target.parent / f".{secrets.token_hex(8)}.unpacking"
        self._head = bytearray()
        self._needed = HEAD
        self._entries: list[ArchiveEntry] | None = None
        self._files: Iterator[ArchiveEntry] = iter(())
        self._fd, self._left = -1, 0
        self._done = False
        if os.path.lexists(target):
            raise Conflict("target_exists", next_step="Unpack into a new directory.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.abort()

    def write(self, chunk: bytes | memoryview) -> int:
        """Take the next bytes; returns how many, which is all of them."""
        if self._done:
            raise ValueError("this archive was committed or aborted")
        view = memoryview(chunk).cast("B")
        try:
            rest = view
            while rest:
                rest = rest[self._take(rest) :]
        except OSError as error:
            self.abort()
            raise Unavailable("no_room_to_unpack", next_step="Raise room_mebibytes.", errno=error.errno or 0) from None
        except BaseException:
            self.abort()
            raise
        return len(view)

    def commit(self) -> None:
        """Make the files visible at the target.

        Raises:
            Integrity: ``archive_incomplete``: not every byte has arrived. Nothing is visible, and nothing is left.
        """
        if self._done:
            raise ValueError("this archive was committed or aborted")
        try:
            if self._entries is None or self._left or next(self._files, None) is not None:
                raise Integrity("archive_incomplete", next_step="Quarantine this profile.")
            if os.path.lexists(self._target):
                raise Conflict("target_exists", next_step="Unpack into a new directory.")
            self._staging.rename(self._target)
            self._done = True
        except OSError as error:
            raise Unavailable("no_room_to_unpack", errno=error.errno or 0) from None
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove what was written; after a commit this does nothing."""
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
            self._needed += table_length(bytes(self._head))
        if len(self._head) == self._needed:
            self._begin(read_table(bytes(self._head[HEAD:])))
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
        """Open the next file that has bytes; empty ones on the way are created."""
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
