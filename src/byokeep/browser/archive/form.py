"""The form of a profile archive: a table of everything in it, then the files' bytes in that order.

Rules
- A link, a device, a pipe or a hole can not be written down in this form. That, and the table in front, is why it is
  no tar: a reader knows all names and the sum of all lengths before the first byte of a file arrives, so it refuses the
  whole archive before it has written anything; and no name is too long for a header (tar needs extensions for that).
- Entries are sorted by the parts of their paths, each once, each directory before what is in it. There is one way to
  write a set of files, so a reader compares: what it was given must be what it would write.
- No times, no owners, no modes: directories are 0700 and files 0600.

It may not touch a file.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from byokeep.core.errors import Rejected

MAGIC: Final = b"byokeep-profile/1\n"
HEAD: Final = len(MAGIC) + 4  # the magic, then the length of the table
_ENTRY: Final = 11  # kind, length of the path, length of the file
_LONGEST_PATH: Final = 1024  # bytes
_LONGEST_PART: Final = 255  # bytes
_DEEPEST: Final = 32
Kind = Literal["D", "F"]


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bounds of an archive: entries, bytes of its table, bytes of all files together."""

    entries: int = 50_000
    table: int = 8 << 20
    content: int = 2 << 30


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """A directory (D) or a file (F): its path below the root, with slashes, and its length in bytes."""

    kind: Kind
    path: str
    size: int = 0


def refused(reason: str) -> Rejected:
    """Return the error for an archive that is not taken; ``reason`` is a constant of ours."""
    return Rejected("archive_refused", next_step="Quarantine this profile and make it anew.", reason=reason)


def check(entries: Sequence[ArchiveEntry], limits: ArchiveLimits) -> None:
    """Let pass what may be written and read.

    Raises:
        Rejected: ``archive_refused`` with the reason.
    """
    if len(entries) > limits.entries:
        raise refused("too_many_entries")
    if sum(entry.size for entry in entries) > limits.content:
        raise refused("too_large")
    directories, folded = {""}, set()
    for entry in entries:
        _check_path(entry.path)
        if entry.kind == "D" and entry.size:
            raise refused("directory_with_content")
        if entry.path.rpartition("/")[0] not in directories:
            raise refused("no_such_directory")
        if entry.kind == "D":
            directories.add(entry.path)
        # Two names that some file system takes for one.
        folded.add(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", entry.path).casefold()))
    if any(one.path.split("/") >= two.path.split("/") for one, two in pairwise(entries)):
        raise refused("not_in_order")
    if len(folded) != len(entries):
        raise refused("names_clash")


def _check_path(path: str) -> None:
    parts = path.split("/")
    if len(path.encode()) > _LONGEST_PATH or len(parts) > _DEEPEST:
        raise refused("path_too_long")
    for part in parts:
        if part in ("", ".", "..") or len(part.encode()) > _LONGEST_PART:
            raise refused("bad_path")
        # Chromium's locks name a host and a process; one of another machine would be believed.
        if part.casefold().startswith("singleton"):
            raise refused("lock_of_a_browser")
        if "\\" in part or any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in part):
            raise refused("bad_path")


def write_head(entries: Iterable[ArchiveEntry]) -> bytes:
    """Return what stands before the files' bytes."""
    table = bytearray()
    for entry in entries:
        path = entry.path.encode()
        table += entry.kind.encode() + len(path).to_bytes(2, "big") + entry.size.to_bytes(8, "big") + path
    return MAGIC + len(table).to_bytes(4, "big") + table


def table_length(head: bytes, limits: ArchiveLimits) -> int:
    """Return the table's length from the first HEAD bytes. Raises Rejected(``archive_refused``)."""
    if not head.startswith(MAGIC):
        raise refused("not_an_archive")
    length = int.from_bytes(head[len(MAGIC) : HEAD], "big")
    if length > limits.table:
        raise refused("too_many_entries")
    return length


def read_table(table: bytes, limits: ArchiveLimits) -> list[ArchiveEntry]:
    """Return the entries of a table. Raises Rejected(``archive_refused``)."""
    found: list[ArchiveEntry] = []
    at = 0
    while at < len(table):
        kind, ends = table[at : at + 1], at + _ENTRY + int.from_bytes(table[at + 1 : at + 3], "big")
        if ends > len(table) or kind not in (b"D", b"F"):
            raise refused("bad_table")
        try:
            path = table[at + _ENTRY : ends].decode()
        except UnicodeDecodeError:
            raise refused("bad_path") from None
        size = int.from_bytes(table[at + 3 : at + _ENTRY], "big")
        found.append(ArchiveEntry("D" if kind == b"D" else "F", path, size))
        if len(found) > limits.entries:
            raise refused("too_many_entries")
        at = ends
    check(found, limits)
    return found
