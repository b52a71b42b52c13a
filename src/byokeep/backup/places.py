"""A place away from this host that gets each backup: a directory that is mounted here, or a bucket.

Rules
- A file appears there once and whole, or not at all. What stands there is read back and compared before it counts.
- How long the place itself keeps versions, and who may remove them, is its own: its object lock, its mounts.

It may not open a backup, nor believe what a place says of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from byokeep.kernel.durable_write import draft

PIECE: Final = 1 << 20


class BackupPlace(Protocol):
    """Where whole files are kept by name. Every call raises OSError, or a ByokeepError of its adapter."""

    def put(self, name: str, file: Path) -> None:
        """Write a file that is not there yet."""
        ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield what stands under a name."""
        ...

    def names(self) -> list[str]:
        """Return what there is."""
        ...

    def told(self, name: str) -> str:
        """Return how people name a file there."""
        ...

    def held(self, name: str) -> bool:
        """Whether the place keeps a file for now, whoever wants it gone."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, as far as the place lets anybody."""
        ...

    def probe(self) -> None:
        """Raise unless a file could be written there now."""
        ...


class Directory:
    """A directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, name: str, file: Path) -> None:
        """Copy a file. Raises FileExistsError: it is there."""
        with draft(self.path / name, only_new=True) as out, file.open("rb") as content:
            shutil.copyfileobj(content, out, PIECE)

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a file."""
        with (self.path / name).open("rb") as content:
            while piece := content.read(PIECE):
                yield piece

    def names(self) -> list[str]:
        """Return the files; a directory that is not there has none."""
        return [path.name for path in self.path.glob("*")]

    def has(self, name: str, size: int) -> bool:
        """Whether a file of that size stands there, itself and not a link."""
        with contextlib.suppress(OSError):
            found = (self.path / name).lstat()
            return stat.S_ISREG(found.st_mode) and found.st_size == size
        return False

    def told(self, name: str) -> str:
        """Return the path."""
        return str(self.path / name)

    def held(self, name: str) -> bool:
        """Return False: a directory lets go."""
        return False

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.path / name).unlink(missing_ok=True)

    def probe(self) -> None:
        """Look whether it is there and writable."""
        if not (self.path.is_dir() and os.access(self.path, os.W_OK | os.X_OK)):
            raise OSError


def digest_of(place: BackupPlace, name: str) -> str:
    """Read back what stands at a place; return its SHA-256."""
    digest = hashlib.sha256()
    for piece in place.pieces(name):
        digest.update(piece)
    return digest.hexdigest()
