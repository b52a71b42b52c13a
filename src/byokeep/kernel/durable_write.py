"""Atomic file writes: a reader sees either the old content or all of the new, which is on the disk on return.

Rules
- The content is written beside its place, under a random name, until it is synced. A failure leaves the old content.
- Symbolic links are not followed. A new file is closed to others unless the caller says otherwise.

It may not give errors a code: only the caller knows what an unwritable file means.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def durable_write(path: Path, content: bytes, *, only_new: bool = False, mode: int = 0o600) -> None:
    """Write a file as :func:`draft` does."""
    with draft(path, only_new=only_new, mode=mode) as file:
        file.write(content)


@contextmanager
def draft(path: Path, *, only_new: bool = False, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Yield a file beside ``path`` that takes its place when the block ends, and is removed when it raises.

    Args:
        path: Its directory exists. A file that is there is replaced; inode and birth stay those of the draft.
        only_new: Refuse to replace a file.
        mode: Permissions; the umask applies.

    Raises:
        FileExistsError: ``only_new`` and the file is there.
        OSError: The disk said no.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with contextlib.ExitStack() as undo:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = undo.enter_context(open(beside, "xb", opener=lambda name, _: os.open(name, flags, mode)))
        undo.callback(beside.unlink, missing_ok=True)
        yield file
        file.flush()
        os.fsync(file.fileno())
        if only_new:
            os.link(beside, path)
        else:
            beside.replace(path)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Have the disk hold a directory's entries. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def overwrite(file: Path) -> None:
    """Write zeros over what a file holds, in its place, before it is removed. Raises OSError."""
    with file.open("r+b") as out:
        out.write(bytes(file.stat().st_size))
        out.flush()
        os.fsync(out.fileno())
