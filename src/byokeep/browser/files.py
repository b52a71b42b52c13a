"""The full packing: which files of a user-data-dir a profile is made of, and whether they can be packed at all.

Rules
- An allow-list: what is not named here is left out, and on the way back refused. Left out on purpose: caches (pages in
  clear text), history, saved passwords, autofill, open tabs, crash reports, locks.
- A directory whose last run did not end cleanly is not packed: its cookies may never have been written.
- Every cookie must be of the form that travels (`v10`); one locked to somebody's keyring is silently lost elsewhere.
- Files only: a link, a socket or a file that somebody else can reach too is refused.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from byokeep.browser import processes
from byokeep.browser.preferences import SINGLETONS, ended_cleanly
from byokeep.core.errors import Conflict, Integrity, Rejected

MOST_FILES: Final = 20_000
MOST_BYTES: Final = 1024 * 1024 * 1024
COOKIES: Final = ("Default/Cookies", "Default/Network/Cookies")
_FILES: Final = frozenset(
    {*COOKIES, "Last Version", "Default/Preferences", "Default/Secure Preferences", "Default/Network/TransportSecurity",
     "Default/TransportSecurity"}
)  # fmt: skip
# Folders whose whole content is kept. Worker scripts stay with the registrations: one without its script is dropped by
# the browser, and the site's worker with it.
_FOLDERS: Final = (
    "Default/Local Storage/leveldb/",
    "Default/IndexedDB/",
    "Default/WebStorage/",
    "Default/Service Worker/Database/",
    "Default/Service Worker/ScriptCache/",
)
# Names that are no content wherever they stand, and the caches inside kept folders.
_NEVER: Final = re.compile(r"(?:^|/)(?:LOCK|LOG|LOG\.old|CacheStorage(?:/.*)?|[^/]*-journal|[^/]*-wal|[^/]*-shm)\Z")
_PLAIN: Final = re.compile(r"[A-Za-z0-9._@+^&=, ~%{}\[\]()#!$'-]{1,200}\Z")
_PORTABLE: Final = b"v10"
_ROWS: Final = "SELECT CAST(substr(encrypted_value, 1, 3) AS BLOB), length(value), is_persistent FROM cookies"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileEntry:
    """A file to pack. ``path`` is relative, with forward slashes; ``size`` in bytes; ``mode`` is always 0600."""

    path: str
    size: int
    mode: int = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What there is to pack, sorted by path, and how many cookies are in it."""

    entries: tuple[ProfileEntry, ...]
    cookies: int
    session_only: int

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the relative paths."""
        return tuple(one.path for one in self.entries)

    @property
    def size(self) -> int:
        """Return the sum of sizes in bytes."""
        return sum(one.size for one in self.entries)


def contents(directory: Path) -> Contents:
    """Return what of a closed browser's directory is packed.

    Raises:
        Conflict: ``profile_in_use``; ``not_closed_cleanly``: the last run was killed, or left its lock behind.
        Rejected: ``cookie_not_portable``; ``profile_too_large``; ``profile_odd_file``: a link or another strange file.
        Integrity: ``profile_damaged``: the cookies can not be read.
    """
    if processes.of_directory(directory):
        raise Conflict("profile_in_use", next_step="Close the browser first.")
    if not ended_cleanly(directory):
        raise Conflict("not_closed_cleanly", next_step="Open the profile, look whether it is logged in, close it.")
    entries = tuple(sorted(_kept_files(directory), key=lambda one: one.path))
    found = Contents(entries=entries, **_cookies(directory))
    if len(entries) > MOST_FILES or found.size > MOST_BYTES:
        raise Rejected("profile_too_large", files=len(entries), bytes=found.size)
    return found


def is_kept(path: str) -> bool:
    """Whether a file of this relative path belongs to a packed profile; asked of an archive before it is unpacked."""
    parts = PurePosixPath(path).parts
    if not parts or path != "/".join(parts) or not all(_PLAIN.match(one) and one not in (".", "..") for one in parts):
        return False
    inside = path in _FILES or any(path.startswith(folder) for folder in _FOLDERS)
    return inside and not _NEVER.search(path)


def unpacked(directory: Path) -> None:
    """Look at a directory that was just unpacked; what does not belong there is refused, what is missing is made.

    Raises:
        Integrity: ``profile_damaged``: a file that no packing writes, a link, or cookies that can not be read.
        Rejected: ``cookie_not_portable``.
    """
    for name in SINGLETONS:
        (directory / name).unlink(missing_ok=True)
    directory.chmod(0o700)
    for place, status in _walk(directory):
        path = place.relative_to(directory).as_posix()
        if stat.S_ISDIR(status.st_mode):
            place.chmod(0o700)
        elif stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and is_kept(path):
            place.chmod(0o600)
        else:
            raise Integrity("profile_damaged")
    _cookies(directory)


def _kept_files(directory: Path) -> Iterator[ProfileEntry]:
    for place, status in _walk(directory):
        path = place.relative_to(directory).as_posix()
        if stat.S_ISDIR(status.st_mode) or not is_kept(path):
            continue
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != os.geteuid():
            raise Rejected("profile_odd_file")
        yield ProfileEntry(path=path, size=status.st_size)


def _walk(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield everything below, folders before what is in them; links are named and never followed."""
    waiting = [directory]
    while waiting:
        with os.scandir(waiting.pop()) as found:
            for one in found:
                status = one.stat(follow_symlinks=False)
                yield Path(one.path), status
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(Path(one.path))


def _cookies(directory: Path) -> dict[str, int]:
    """Count the cookies, and those without an end; all must be of the form that travels."""
    total = passing = 0
    for name in COOKIES:
        place = directory / name
        if not place.exists():
            continue
        if place.is_symlink():
            raise Rejected("profile_odd_file")
        journal = place.with_name(place.name + "-journal")
        if journal.exists() and journal.stat().st_size:
            # A transaction that was cut off; the journal is not packed, so its rows would be neither old nor new.
            raise Conflict("not_closed_cleanly", next_step="Open the profile, look whether it is logged in, close it.")
        for prefix, plain, lasting in _rows(place):
            if prefix != _PORTABLE and (prefix or plain):
                raise Rejected("cookie_not_portable", next_step="Log in again in a browser that byokeep started.")
            total, passing = total + 1, passing + (not lasting)
    return {"cookies": total, "session_only": passing}


def _rows(place: Path) -> list[tuple[bytes, int, int]]:
    try:
        address = place.absolute().as_uri() + "?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as database:
            if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError
            rows = database.execute(_ROWS)
            return [(bytes(prefix), plain, lasting) for prefix, plain, lasting in rows]
    except (sqlite3.Error, TypeError):
        raise Integrity("profile_damaged") from None
