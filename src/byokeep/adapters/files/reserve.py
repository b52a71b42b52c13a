"""Disk space set aside, so that kill and revoke can still be recorded when the disk is full.

Rules
- The space is really allocated: a sparse file would reserve nothing.
- It is given back only in an emergency, and taken again as soon as there is room for twice as much.

It may not decide what an emergency is: the caller does, on ENOSPC or on too little free space.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from byokeep.adapters.files.append import usable
from byokeep.kernel.durable_write import sync_directory
from byokeep.process import descriptor

DEFAULT_BYTES: Final = 32 * 1024 * 1024  # two segments of the database's log
AUDIT_BYTES: Final = 4 * 1024 * 1024  # some thousand entries of the store's log


class DiskReserve:
    """One pre-allocated file.

    Args:
        path: The file, on the file system whose space it keeps.
        size: Bytes to keep.
    """

    def __init__(self, path: Path, *, size: int = DEFAULT_BYTES) -> None:
        self._path, self._size = path, size

    def held(self) -> int:
        """Return how many bytes are really set aside."""
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return 0
        return min(found.st_size, found.st_blocks * 512) if stat.S_ISREG(found.st_mode) else 0

    def hold(self) -> bool:
        """Set the space aside; False if there is not room for twice as much.

        Raises:
            Unavailable: ``file_unusable``.
        """
        if self.held() >= self._size:
            return True
        with usable():
            system = os.statvfs(self._path.parent)
            if system.f_bavail * system.f_frsize < 2 * self._size:
                return False
            with descriptor(self._path, os.O_WRONLY | os.O_CREAT) as fd:
                os.posix_fallocate(fd, 0, self._size)
                os.fsync(fd)
        return True

    def short(self) -> bool:
        """Return whether there is less room than the reserve keeps.

        Raises:
            Unavailable: ``file_unusable``.
        """
        with usable():
            system = os.statvfs(self._path.parent)
        return system.f_bavail * system.f_frsize < self._size

    def release(self) -> int:
        """Give the space back; returns how many bytes.

        Raises:
            Unavailable: ``file_unusable``.
        """
        held = self.held()
        with usable():
            self._path.unlink(missing_ok=True)
            sync_directory(self._path.parent)
        return held


class Reserves:
    """The reserves of all file systems that an act must be recorded on, as one.

    Args:
        home: The installation's; the first reserve is ``reserve.bin`` in it.
        audit_logs: Files that the store must append to.

    The embedded database and the store's logs get their own if they are on file systems of their own.
    """

    def __init__(self, home: Path, audit_logs: Iterable[Path]) -> None:
        self._parts: list[DiskReserve] = []
        seen: set[int] = set()
        places = [(home, DEFAULT_BYTES), (home / "postgres", DEFAULT_BYTES)]
        places += [(log.parent, AUDIT_BYTES) for log in audit_logs]
        for place, size in places:
            if place.is_dir() and place.stat().st_dev not in seen:
                seen.add(place.stat().st_dev)
                self._parts.append(DiskReserve(place / "reserve.bin", size=size))

    def hold(self) -> bool:
        """Set all of them aside; False if one has no room. Raises as :meth:`DiskReserve.hold`."""
        held = [part.hold() for part in self._parts]  # all are tried
        return all(held)

    def kept(self) -> bool:
        """Return whether every file is still there."""
        return all(part.held() for part in self._parts)

    def short(self) -> bool:
        """Return whether any file system is short. Raises as :meth:`DiskReserve.short`."""
        return any(part.short() for part in self._parts)

    def release(self) -> int:
        """Give back the reserves of the file systems that are short. Raises as :meth:`DiskReserve.release`."""
        return sum(part.release() for part in self._parts if part.short())
