"""Traces and HARs in a zip: read member by member within limits, and written anew.

Rules: nothing of the old archive is copied but what a walk has handled; limits hold for what comes out, not for what
the archive says of itself; names that lead elsewhere, links, doubles and encrypted members refuse the whole archive.
"""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from byokeep_redact.hooks.browser.bodies import stored, text_of
from byokeep_redact.hooks.browser.fields import Walk

_PIECE: Final = 1 << 18
_LINES: Final = (".trace", ".network", ".jsonl")
_DOCUMENTS: Final = (".har", ".stacks")
_PICTURES: Final = (".jpeg", ".jpg", ".png", ".webp", ".gif")
_PICTURE_EVENT: Final = "screencast-frame"


class OverLimit(ValueError):
    """More than the limits allow; `code` says of what."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class RecordingLimits:
    """Bounds of one artifact, in bytes and members."""

    document: int = 64 << 20  # of a file or member that is parsed as a whole
    line: int = 16 << 20
    opened: int = 1 << 30  # of all members together
    members: int = 20_000


def bounded(source: Path, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes. Raises OverLimit, OSError."""
    with source.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OverLimit("artifact_too_large")
    return data


def json_lines(
    lines: IO[bytes], write: Callable[[bytes], object], walk: Walk, limits: RecordingLimits, *, pictures: bool = True
) -> None:
    """Handle a file of one JSON document a line. Raises ValueError for a line that is none, OverLimit."""
    while line := lines.readline(limits.line + 1):
        if len(line) > limits.line:
            raise OverLimit("artifact_line_too_long")
        if not line.strip():
            continue
        event: Any = json.loads(line)
        if not pictures and isinstance(event, dict) and event.get("type") == _PICTURE_EVENT:
            continue
        text = json.dumps(walk.node(event), ensure_ascii=False, separators=(",", ":"))
        write(text.encode("utf-8", "surrogatepass") + b"\n")


def rewrite(source: Path, out: IO[bytes], walk: Walk, limits: RecordingLimits, *, keep_pictures: bool) -> None:
    """Handle every member of the zip `source` and write those that may stay to `out`.

    Raises ValueError (zipfile.BadZipFile among them) for an archive that is refused, OverLimit.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        work = _Members(old, new, walk, limits, keep_pictures)
        # What names the media types of the others comes first.
        for info in sorted(work.checked(), key=lambda info: not info.filename.endswith(_LINES + _DOCUMENTS)):
            work.member(info)


@dataclass(slots=True)
class _Members:
    old: zipfile.ZipFile
    new: zipfile.ZipFile
    walk: Walk
    limits: RecordingLimits
    keep_pictures: bool
    opened: int = 0

    def checked(self) -> list[zipfile.ZipInfo]:
        members = self.old.infolist()
        if len(members) > self.limits.members:
            raise OverLimit("artifact_too_many_members")
        names = set()
        for info in members:
            path = PurePosixPath(info.filename)
            link = stat.S_ISLNK(info.external_attr >> 16)
            outside = path.is_absolute() or ".." in path.parts or "\\" in info.filename or "\0" in info.orig_filename
            if outside or link or info.flag_bits & 1 or info.filename in names:
                raise ValueError("bad_archive")
            names.add(info.filename)
        if sum(info.file_size for info in members) > self.limits.opened:
            raise OverLimit("artifact_too_large")
        return [info for info in members if not info.is_dir()]

    def member(self, info: zipfile.ZipInfo) -> None:
        own = info.filename.startswith("src/")  # sources are named by where they are
        name = self.walk.handling.text(info.filename) if own else self.walk.renamed(info.filename)
        if name.endswith(_PICTURES) and not self.keep_pictures:
            self.walk.handling.dropped("picture")
            return
        with self.old.open(info) as member:
            if name.endswith(_LINES):
                with self.new.open(_entry(name, info), "w", force_zip64=True) as out:
                    counted = _Counted(member, self)
                    json_lines(counted, out.write, self.walk, self.limits, pictures=self.keep_pictures)  # type: ignore[arg-type]
                return
            data = self.read(member)
        handled = self._document(data) if name.endswith(_DOCUMENTS) else self._stored(info.filename, data)
        if handled is not None:
            self.new.writestr(_entry(name, info), handled)

    def read(self, member: IO[bytes]) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := member.read(_PIECE):
            pieces.append(piece)
            size += len(piece)
            self.count(len(piece))
            if size > self.limits.document:
                raise OverLimit("artifact_too_large")
        return b"".join(pieces)

    def count(self, size: int) -> None:
        self.opened += size
        if self.opened > self.limits.opened:
            raise OverLimit("artifact_too_large")

    def _document(self, data: bytes) -> bytes:
        document = self.walk.node(json.loads(data))
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")

    def _stored(self, name: str, data: bytes) -> bytes | None:
        path = PurePosixPath(name)
        media = self.walk.mimes.get(path.name) or self.walk.mimes.get(name) or ""
        if path.parts[0] == "src" and (text := text_of(data)) is not None:
            return self.walk.string(text).encode("utf-8", "surrogatepass")
        return stored(self.walk, data, media)


class _Counted:
    """A member read line by line, counted against the limit of all members."""

    def __init__(self, member: IO[bytes], members: _Members) -> None:
        self._member, self._members = member, members

    def readline(self, size: int) -> bytes:
        line = self._member.readline(size)
        self._members.count(len(line))
        return line


def _entry(name: str, info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """A new entry: name and time of the old one, no comment, no extra field."""
    entry = zipfile.ZipInfo(name, info.date_time)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    return entry
