"""The program that the embedded store is run from: known, and so that its memory is nobody's to read.

Rules
- What is run is a copy that its own user may execute and not read: the kernel calls the process of such a program not
  dumpable, so no other process of that user reads its memory or attaches to it (Linux).
- The copy is checked against :mod:`.pins` like the original, at each start.
- Root reads every file, so for root there is no copy; root reads all memory anyway.

It may not start anything.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from byokeep.adapters.openbao import pins
from byokeep.core.errors import Integrity, Unavailable


def program(binary: Path, pin: pins.ProgramPin, place: Path) -> Path:
    """Return the path to run, of a program that was checked already. Reads a copy's 200 MB.

    Args:
        binary: The ``bao`` program.
        pin: What it was known as.
        place: A private directory for the copy.

    Raises:
        Unavailable: ``openbao_copy_failed``.
        Integrity: ``openbao_binary_unknown``.
    """
    if sys.platform != "linux" or os.geteuid() == 0:
        return binary
    copy = place / f"bao-{pin.version}"
    try:
        if not _is_good(copy, pin):
            for old in place.glob("bao-*"):
                old.unlink()
            shutil.copyfile(binary, copy)
            if not _is_good(copy, pin):
                raise Integrity("openbao_binary_unknown")
        copy.chmod(0o111)
    except OSError:
        raise Unavailable("openbao_copy_failed", next_step="Let the home have 200 MB of free space.") from None
    return copy


def _is_good(copy: Path, pin: pins.ProgramPin) -> bool:
    if not copy.exists():
        return False
    copy.chmod(0o500)  # to read it, while nothing runs from it
    try:
        return pins.check_binary(copy, pin.sha256 if pin.version == "own" else "") == pin
    except Integrity:
        return False
