"""Private files: written whole or not at all, readable by their owner alone.

It may not follow a link or widen a mode.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from byokeep.core.errors import Unavailable


def private_dir(path: Path) -> Path:
    """Create ``path`` with mode 0700, or check that it is a directory of ours closed to others.

    Raises:
        Unavailable: ``directory_unsafe``.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Unavailable("directory_unsafe", next_step="chmod 700 it, and let this process's user own it.")
    return path


def write_private(path: Path, content: bytes, *, only_new: bool = False) -> None:
    """Write ``content`` to ``path`` with mode 0600, atomically, and have the disk hold it on return.

    Raises:
        FileExistsError: ``only_new`` and the file is there.
        OSError: The disk said no.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if only_new:
            os.link(draft, path)
        else:
            draft.replace(path)
        sync_dir(path.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


def read_private(path: Path) -> bytes:
    """Return a private file's content.

    Raises:
        Unavailable: ``credentials_missing``, ``credentials_unsafe`` (a link, another owner, or open to others).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unavailable("credentials_missing") from None
    except OSError:
        raise Unavailable("credentials_unsafe") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise Unavailable("credentials_unsafe", next_step="chmod 600 it, and let this process's user own it.")
        return file.read(1 << 16)


def sync_dir(path: Path) -> None:
    """Have the disk hold a directory's entries."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
