"""Binds a file to the place where it was written, so that a copy of it is recognised as one.

Rules
- A bound file ends with a digest over its text and what a copy cannot carry along: the machine's id, and the number and
  birth time of the file itself and of files beside it. A restart or a reboot changes none of them.
- Anything that does not add up (absent, torn, a link, a second name, another machine) is not bound. It fails closed.

It cannot recognise a copy made below the files: of a whole disk or virtual machine, with the same machine id.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from byokeep.adapters.files.append import usable
from byokeep.kernel.durable_write import draft

_DOMAIN: Final = "byokeep-binding/1"
_MACHINE_IDS: Final = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_HERE: Final = -100  # AT_FDCWD
_NO_FOLLOW: Final = 0x100  # AT_SYMLINK_NOFOLLOW
_BIRTH: Final = 0x800  # STATX_BTIME
_LONGEST: Final = 4096  # bytes of a bound file


def write_bound(file: Path, text: str, *, beside: Sequence[Path] = ()) -> None:
    """Write ``text`` and its binding, whole or not at all, mode 0600.

    Args:
        file: Where to write; its directory must exist.
        text: ASCII lines, each with its line end.
        beside: Files made in the same place and never replaced while this one lives.

    Raises:
        Unavailable: ``file_unusable``.
    """
    with usable(), draft(file) as out:
        # A rename keeps the draft's number and birth time, so the draft can hold its own.
        out.write(f"{text}{_digest(text, [Path(out.name), *beside])}\n".encode("ascii"))


def read_bound(file: Path, *, beside: Sequence[Path] = ()) -> tuple[str, bool]:
    """Return the text of a bound file, and whether it is where it was written; ``("", False)`` if unreadable."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as source:
            whole = source.read(_LONGEST).decode("ascii")
        head, _, last = whole.removesuffix("\n").rpartition("\n")
        text = f"{head}\n"
        return text, last == _digest(text, [file, *beside])
    except (OSError, UnicodeDecodeError):
        return "", False


def _digest(text: str, files: Sequence[Path]) -> str:
    parts = [_DOMAIN, _machine(), *(_identity(file) for file in files), text]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _machine() -> str:
    for place in _MACHINE_IDS:
        with suppress(OSError, UnicodeDecodeError):
            if found := place.read_text("ascii").strip():
                return found
    return ""


def _identity(file: Path) -> str:
    """Return a file's number, birth time and count of names; not the device's number, which a reboot may change."""
    found = file.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError("not a file")
    return f"{found.st_ino}:{_birth(file, found)}:{found.st_nlink}"


def _birth(file: Path, found: os.stat_result) -> str:
    """Return when a file was created; empty if the system does not say. A fresh disk may repeat a number alone."""
    if sys.platform != "linux":
        return str(getattr(found, "st_birthtime", ""))
    answer = ctypes.create_string_buffer(256)  # struct statx
    try:
        failed = ctypes.CDLL(None, use_errno=True).statx(_HERE, os.fsencode(file), _NO_FOLLOW, _BIRTH, answer)
    except AttributeError:  # an old libc
        return ""
    if failed or not ctypes.c_uint32.from_buffer(answer).value & _BIRTH:
        return ""
    return f"{ctypes.c_int64.from_buffer(answer, 80).value}.{ctypes.c_uint32.from_buffer(answer, 88).value}"
