"""A place away from this host that gets each backup: a directory that is mounted here, or a bucket.

Rules
- A file appears there once and whole, or not at all. It is read back and compared before it counts.
- How long the place itself keeps versions, and who may remove them, is up to its object lock or its mounts.

It may not open a backup, or believe what a place says about one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from byokeep.kernel.durable_write import draft

PIECE: Final = 1 << 20


class BackupPlace(Protocol):
    """Where whole files are kept by name. Every call raises OSError, or a ByokeepError of its adapter."""

    def put(self, name: str, file: Path, look: Callable[[], None] = lambda: None) -> None:
        """Write a file that does not exist yet. ``look`` is called before each piece; if it raises, nothing stays."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield the content under a name."""

    def names(self) -> list[str]:
        """Return the names of what is there."""

    def told(self, name: str) -> str:
        """Return how people name a file there."""

    def held(self, name: str) -> bool:
        """Whether the place keeps a file for now, whoever wants it gone."""

    def remove(self, name: str) -> None:
        """Remove a file, as far as the place lets anybody."""

    def probe(self) -> None:
        """Raise unless a file could be written there now."""


class Directory:
    """A directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, name: str, file: Path, look: Callable[[], None] = lambda: None) -> None:
        """Copy a file. Raises FileExistsError: it already exists."""
        with draft(self.path / name, only_new=True) as out, file.open("rb") as content:
            while piece := content.read(PIECE):
                look()
                out.write(piece)

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a file."""
        with (self.path / name).open("rb") as content:
            while piece := content.read(PIECE):
                yield piece

    def names(self) -> list[str]:
        """Return the files; a missing directory has none."""
        with contextlib.suppress(FileNotFoundError):
            return [path.name for path in self.path.iterdir()]  # a glob would pass over what cannot be read
        return []

    def has(self, name: str, size: int) -> bool:
        """Whether a file of that size is there, itself and not a link."""
        with contextlib.suppress(OSError):
            found = (self.path / name).lstat()
            return stat.S_ISREG(found.st_mode) and found.st_size == size
        return False

    def told(self, name: str) -> str:
        """Return the path."""
        return str(self.path / name)

    def held(self, name: str) -> bool:
        """Return False: a directory holds nothing back."""
        return False

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.path / name).unlink(missing_ok=True)

    def probe(self) -> None:
        """Check that it exists and is writable."""
        if not (self.path.is_dir() and os.access(self.path, os.W_OK | os.X_OK)):
            raise OSError


def digest_of(place: BackupPlace, name: str, look: Callable[[], None]) -> str:
    """Read a file back from a place; return its SHA-256. ``look`` is called before each piece."""
    digest = hashlib.sha256()
    for piece in place.pieces(name):
        look()
        digest.update(piece)
    return digest.hexdigest()
