"""Private files: readable by their owner alone.

It may not follow a link or widen a mode.
"""

from __future__ import annotations

import os
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
