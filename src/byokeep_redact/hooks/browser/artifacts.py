"""Which files of a browser may be kept: those that are no recording, or a document that was redacted.

Rules
- A file is recognised by its content, never by its name.
- Refused is what cannot be looked into (encrypted, damaged, over the limits), and a video, in which nobody covered
  anything. `plain` says only that a file is none of these: what else it may hold is for the leak search to say.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, Final

from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.errors import Rejected
from byokeep_redact.hooks.browser.documents import WORDS, redact_document

_MOST_BYTES: Final = 64 << 20
_HEAD: Final = 1 << 20
_ALL: Final = 4  # times so many bytes in an archive with all archives inside
_MEMBERS: Final = 20_000
_NESTED: Final = 3
_CREDENTIAL_TABLE: Final = re.compile(
    rb"CREATE TABLE\s*[\"'\[`]?(?:(?:moz_)?cookies|logins|credit_cards|autofill|token_service|webappsstore2"
    rb"|local_storage)\b", re.IGNORECASE,
)  # fmt: skip
_LEVELDB_END: Final = bytes.fromhex("57fb808b247547db")
_SQLITE: Final = b"SQLite format 3\0"
_SQLITE_SIDE: Final = (bytes.fromhex("d9d505f920a163d7"), bytes.fromhex("377f0682"), bytes.fromhex("377f0683"))
# What is packed in another way than zip, gzip and tar: zstd, bzip2, xz, LZ4 (Firefox's sessions too), 7z, RAR.
_PACKED: Final = re.compile(
    rb"\x28\xb5\x2f\xfd|BZh[1-9]1AY&SY|\xfd7zXZ\0|\x04\x22\x4d\x18|mozLz4|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07"
)
_STORED_ITEM: Final = re.compile(rb"_https?://[^\s\0]{1,200}\0|META:https?://|map-\d+-|namespace-[0-9a-f_]{36}")
_PICKLED_COOKIES: Final = re.compile(
    rb"\A\x80[\x02-\x05].*(?:httpOnly|sameSite|http\.cookiejar|RequestsCookieJar)", re.DOTALL
)
# A line of the Netscape form, a header line, the start of the LWP form.
_COOKIE_FILE: Final = re.compile(
    r"^(?:(?:#HttpOnly_)?[^\s#][^\t\n]*\t(?:TRUE|FALSE)\t[^\t\n]*\t(?:TRUE|FALSE)\t-?\d*\t[^\t\n]*\t"
    r"|(?i:set-cookie3?|cookie2?):[ \t]*\S+?=|#LWP-Cookies)", re.MULTILINE,
)  # fmt: skip
_HAR_HEAD: Final = re.compile(r'\A\s*\{\s*"log"\s*:\s*\{')
_CDP: Final = re.compile(r"(?:Network|Storage|DOMStorage|Fetch|Runtime|Page|IndexedDB)\.[a-z]\w+\Z")
_MATROSKA: Final = bytes.fromhex("1a45dfa3")
PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"


class ArtifactKind(StrEnum):
    """What a file was recognised as."""

    PLAIN = "plain"
    PICTURE = "picture"
    VIDEO = "video"
    HAR = "har"
    TRACE = "trace"
    CDP_LOG = "cdp_log"
    STORAGE_STATE = "storage_state"
    COOKIES = "cookies"
    PROFILE = "profile"
    UNREADABLE = "unreadable"


_HARMLESS: Final = (ArtifactKind.PLAIN, ArtifactKind.PICTURE)
_REDACTABLE: Final = (ArtifactKind.HAR, ArtifactKind.STORAGE_STATE)


def admit_artifact(source: Path, redactor: Redactor | None = None) -> ArtifactKind:
    """Let a file pass as an artifact, and return what it is. Raises Rejected(`raw_browser_artifact`), field `kind`."""
    kind = classify_artifact(source)
    if kind in _HARMLESS or (kind in _REDACTABLE and _is_redacted(source, redactor)):
        return kind
    raise Rejected(
        "raw_browser_artifact", next_step="Keep a masked screenshot or a redacted HAR or storage state.", kind=kind
    )


def _is_redacted(source: Path, redactor: Redactor | None) -> bool:
    try:
        document = json.loads(source.read_bytes().decode("utf-8-sig"))
        return bool(redact_document(document, redactor) == document)
    except (OSError, ValueError, RecursionError, RedactionFailed):
        return False  # could not be checked


def classify_artifact(source: Path | bytes, nested: int = 0, seen: Counter[str] | None = None) -> ArtifactKind:
    """Return what a file, or its content, is. A file that cannot be read is `unreadable`, not an error.

    `nested` counts the archives around the source, and `seen` the bytes that came out of them so far.
    """
    try:
        data = source if isinstance(source, bytes) else _content(source)
    except OSError:
        return ArtifactKind.UNREADABLE
    if data.startswith((PNG, _JPEG)):
        return ArtifactKind.PICTURE
    if data.startswith(_MATROSKA) or data[4:8] == b"ftyp":
        return ArtifactKind.VIDEO
    seen = Counter() if seen is None else seen
    seen["bytes"] += len(data)
    if len(data) > _MOST_BYTES or seen["bytes"] > _ALL * _MOST_BYTES or _PACKED.match(data):
        return ArtifactKind.UNREADABLE
    if data.startswith(_SQLITE):
        return ArtifactKind.PROFILE if _CREDENTIAL_TABLE.search(data.replace(b"\0", b"")) else ArtifactKind.PLAIN
    if data.startswith(_SQLITE_SIDE):
        return ArtifactKind.PROFILE
    zipped = data[:4] in (b"PK\x03\x04", b"PK\x05\x06") or zipfile.is_zipfile(io.BytesIO(data))
    if zipped or data[:2] == b"\x1f\x8b" or data[257:262] == b"ustar":
        return _archive(data, nested, seen, zipped=zipped)
    if data.endswith(_LEVELDB_END) or (b"\0" in data and _STORED_ITEM.search(data[:_HEAD])):
        return ArtifactKind.PROFILE
    return ArtifactKind.COOKIES if _PICKLED_COOKIES.match(data[:_HEAD]) else _text(data)


def _content(source: Path) -> bytes:
    """Read one byte more than the limit at most, and do not wait for a pipe."""
    handle = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        return file.read(_MOST_BYTES + 1)


def _archive(data: bytes, nested: int, seen: Counter[str], *, zipped: bool) -> ArtifactKind:
    """Look at everything in an archive; the first member that is not harmless says what the archive is."""
    if nested >= _NESTED:
        return ArtifactKind.UNREADABLE
    try:
        if zipped:
            return _zip(data, nested, seen)
        if data[257:262] == b"ustar":
            return _first(_tar_members(data), nested, seen)
        with gzip.open(io.BytesIO(data)) as stream:
            return classify_artifact(stream.read(_MOST_BYTES + 1), nested + 1, seen)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError, RuntimeError, ValueError):
        return ArtifactKind.UNREADABLE  # encrypted, damaged, of an unknown method, or too large to look into


def _zip(data: bytes, nested: int, seen: Counter[str]) -> ArtifactKind:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if any(info.filename.endswith((".trace", ".network")) for info in members):
            return ArtifactKind.TRACE
        # No more comes out of a member than it says of itself.
        if len(members) > _MEMBERS or sum(info.file_size for info in members) > _MOST_BYTES:
            return ArtifactKind.UNREADABLE
        return _first(((info.filename, archive.read(info)) for info in members), nested, seen)


def _tar_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            if member.size > _MOST_BYTES:
                raise tarfile.TarError
            content = archive.extractfile(member) if member.isreg() else None
            yield member.name, content.read() if content else b""


def _first(members: Iterator[tuple[str, bytes]], nested: int, seen: Counter[str]) -> ArtifactKind:
    for name, content in members:
        path = PurePosixPath(name)
        if path.name in WORDS["files"] or not WORDS["folders"].isdisjoint(path.parts):
            return ArtifactKind.PROFILE
        if (kind := classify_artifact(content, nested + 1, seen)) not in _HARMLESS:
            return kind
    return ArtifactKind.PLAIN


def _text(data: bytes) -> ArtifactKind:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = data.decode(encoding, "replace")
    if _COOKIE_FILE.search(text):
        return ArtifactKind.COOKIES
    if text[:_HEAD].lstrip()[:1] not in ("{", "["):
        return ArtifactKind.PLAIN
    try:
        return _document(json.loads(text))
    except ValueError:
        return _lines(text)
    except RecursionError:
        return ArtifactKind.UNREADABLE


def _lines(text: str) -> ArtifactKind:
    """Recognise one document a line, or a document that was cut off."""
    for line in text.splitlines()[:2000]:
        try:
            if (kind := _document(json.loads(line))) is not ArtifactKind.PLAIN:
                return kind
        except (ValueError, RecursionError):
            continue
    cut_off = _HAR_HEAD.match(text) or '"httpOnly"' in text
    return ArtifactKind.UNREADABLE if cut_off else ArtifactKind.PLAIN


def _document(document: Any) -> ArtifactKind:
    if isinstance(document, list):
        if document and all(_is_cookie(item) for item in document):
            return ArtifactKind.COOKIES
        kinds = (_document(item) for item in document if isinstance(item, dict))
        return next((kind for kind in kinds if kind is not ArtifactKind.PLAIN), ArtifactKind.PLAIN)
    if not isinstance(document, dict):
        return ArtifactKind.PLAIN
    log, cookies, origins = document.get("log"), document.get("cookies"), document.get("origins")
    if isinstance(log, dict) and isinstance(log.get("entries"), list):
        return ArtifactKind.HAR
    if isinstance(origins, list) and (isinstance(cookies, list) or "localStorage" in str(origins)):
        return ArtifactKind.STORAGE_STATE
    if isinstance(cookies, list) and any(_is_cookie(item) for item in cookies):
        return ArtifactKind.COOKIES
    if isinstance(document.get("method"), str) and _CDP.match(document["method"]) and "params" in document:
        return ArtifactKind.CDP_LOG
    return ArtifactKind.PLAIN


def _is_cookie(item: Any) -> bool:
    marked = isinstance(item, dict) and not {"domain", "httpOnly", "hostOnly"}.isdisjoint(item)
    return marked and {"name", "value"} <= item.keys()
