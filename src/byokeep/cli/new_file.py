"""Files that a person names on the command line for a command to write: results, tokens, reports.

Rules
- Every command writes them through :func:`new_file`; a house rule of the tree enforces that.
- An existing file stays, unless the command was told to replace it. No directory is made for a file that a person
  named, and what is written is closed to others.
- The command knows whether the file can be written before it asks for what cannot be asked for twice.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from byokeep.cli.api import fetch, run
from byokeep.cli.terminal import clean, show
from byokeep.core.errors import Rejected, refusing
from byokeep.core.secret import Secret
from byokeep.kernel.durable_write import draft, durable_write

_BLOCK: Final = 4096  # bytes; a full disk takes an empty file
_NOT_BEGUN: Final = (
    "Nothing was done. {}: check that its directory exists and is yours, and that the disk has free space."
)
_LOST: Final = (
    "The content is lost. {}: check the directory and the free space on its disk, then run the command again."
)


def new_file(path: Path, *, replace: bool | None = None, ours: bool = False) -> Callable[[bytes | Secret], None]:
    """Return a function that writes a file whole or not at all, once it is known that the file can be written.

    Args:
        path: As the caller named it.
        replace: Whether an existing file may be replaced; None = the command has no option for it.
        ours: The place is the program's own: its directory is created if it is missing.

    Returns:
        A function that takes the content, or a token, which gets a line of its own.

    Raises:
        Rejected: ``file_exists``, ``cannot_write_file``; the latter from the function, too.
    """
    if not replace:
        refuse_existing(path, otherwise="" if replace is None else ", or give --replace to replace what it holds")
    with _or_say(_NOT_BEGUN, path):
        if ours:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as tried:
            tried.write(bytes(_BLOCK))
        if path.is_dir():
            raise IsADirectoryError

    def write(content: bytes | Secret) -> None:
        with _or_say(_LOST, path):
            plain = content if isinstance(content, bytes) else content.reveal() + b"\n"
            durable_write(path, plain, only_new=not replace)

    return write


def new_directory(path: Path, *, mode: int) -> None:
    """Make a directory that a person named; its parent must exist. Raises Rejected as :func:`new_file`."""
    refuse_existing(path)
    with _or_say(_NOT_BEGUN, path):
        path.mkdir(mode)


def fetch_to(file: Path, method: str, path: str, **sent: Any) -> None:
    """Ask the server for something and store its answer, as it came, in a new file. Raises as :func:`new_file`."""
    new_file(file)
    with _or_say(_LOST, file), draft(file, only_new=True) as out:

        def take(piece: bytes) -> None:
            with _or_say(_LOST, file):  # a full disk is no fault of the server
                out.write(piece)

        run(fetch(method, path, take=take, **sent))
        size = out.tell()
    show({"file": str(file), "bytes": size})


def refuse_existing(path: Path, *, otherwise: str = "") -> None:
    """Refuse a name that already exists. Raises Rejected: ``file_exists``."""
    if os.path.lexists(path):
        there = f"{clean(str(path))} exists already, and nothing was done."
        raise Rejected("file_exists", next_step=f"{there} Name another{otherwise}.")


def _or_say(step: str, path: Path) -> AbstractContextManager[None]:
    return refusing("cannot_write_file", Rejected, on=OSError, next_step=step.format(clean(str(path))))
