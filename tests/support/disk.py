"""Small file systems and full ones."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

TEMPORARY: Final = Path("/tmp")
_ROOM: Final = 8 << 30  # bytes of memory that are free
_NEW_MOUNTS, _RECURSIVE_PRIVATE = 0x20000, 0x44000


def files_in_memory() -> None:
    """Mount memory over the temporary files, for this process and what it starts: it goes with the last of them.

    On some disks a new file costs half a millisecond of a processor, and a database has thirteen hundred. Where it is
    not allowed, or there is little memory, the files lie on the disk.
    """
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    libc = ctypes.CDLL(None, use_errno=True)
    if memory < _ROOM or libc.unshare(_NEW_MOUNTS) != 0:
        return
    if libc.mount(b"none", b"/", None, _RECURSIVE_PRIVATE, None) == 0:  # or others would see it, too
        libc.mount(b"tmpfs", bytes(TEMPORARY), b"tmpfs", 0, b"mode=1777")


@contextmanager
def on_disk() -> Iterator[Path]:
    """A directory that is not in memory, wherever the other files of the tests are."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        yield Path(place)


@contextmanager
def small_disk(path: Path, megabytes: int, *, mode: str = "0711") -> Iterator[Path]:
    """Mount a file system of a few megabytes; fails where that is not allowed."""
    path.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode={mode}", "tmpfs", str(path)]
    made = subprocess.run(command, check=False, capture_output=True)
    assert made.returncode == 0, "these tests mount small file systems: run them as root, with CAP_SYS_ADMIN"
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def filled(path: Path) -> Iterator[None]:
    """Use up the last byte of a file system; give the room back at the end."""
    filler = path / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    room = os.statvfs(path)
    assert room.f_bavail * room.f_frsize == 0, "the disk is not full, so nothing would be shown"
    try:
        yield
    finally:
        filler.unlink()
