"""Small file systems and full ones."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
