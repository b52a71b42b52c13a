"""What is this file: something a browser records or keeps, and so full of credentials, or not?

Rules: told by content, never by name. A dump of cookies or of a profile is refused as an artifact; a recording is to be
put aside until it is scrubbed; what cannot be looked into (encrypted, over the limits) is put aside, too, and so
is a video, in which nobody covered anything. `plain` says only that it is none of these: what else it may hold is for
the leak search to say.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, Final

from byokeep_redact.hooks.browser.jar import HEADER, NETSCAPE

_LOOKED_AT: Final = 64 << 20
_HEAD: Final = 1 << 20
_MEMBERS: Final = 20_000
_NESTED: Final = 3
_STATE_FILES: Final = frozenset(
    (
        "Cookies",
        "Login Data",
        "Web Data",
        "cookies.sqlite",
        "logins.json",
        "key4.db",
        "SingletonLock",
        "Account Web Data",
    )
)
_STATE_FOLDERS: Final = frozenset(("Local Storage", "Session Storage", "IndexedDB"))
_CREDENTIAL_TABLES: Final = frozenset(
    ("cookies", "moz_cookies", "logins", "credit_cards", "autofill", "token_service", "webappsstore2", "local_storage")
)
_LEVELDB_END: Final = bytes.fromhex("57fb808b247547db")
_SQLITE: Final = b"SQLite format 3\0"
_SQLITE_SIDE: Final = (bytes.fromhex("d9d505f920a163d7"), bytes.fromhex("377f0682"), bytes.fromhex("377f0683"))
_STORED_ITEM: Final = re.compile(rb"_https?://[^\s\0]{1,200}\0|META:https?://|map-\d+-|namespace-[0-9a-f_]{36}")
_PICKLED_COOKIES: Final = re.compile(
    rb"\A\x80[\x02-\x05].*(?:httpOnly|sameSite|http\.cookiejar|RequestsCookieJar)", re.DOTALL
)
_HAR_HEAD: Final = re.compile(r'\A\s*\{\s*"log"\s*:\s*\{')
_CDP: Final = re.compile(r"(?:Network|Storage|DOMStorage|Fetch|Runtime|Page|IndexedDB)\.[a-z]\w+\Z")
_MATROSKA: Final = bytes.fromhex("1a45dfa3")
_PICTURE: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


class FieldKind(StrEnum):
    """What an artifact was recognised as."""

    PLAIN = "plain"
    PICTURE = "picture"
    VIDEO = "video"
    HAR = "har"
    HAR_ZIP = "har_zip"
    TRACE = "trace"
    CDP_LOG = "cdp_log"
    STORAGE_STATE = "storage_state"
    COOKIE_LIST = "cookie_list"
    COOKIE_JAR = "cookie_jar"
    COOKIE_DATABASE = "cookie_database"
    WEB_STORAGE = "web_storage"
    PROFILE = "profile"
    UNREADABLE = "unreadable"


class FieldVerdict(StrEnum):
    """What to do with an artifact that somebody wants to keep as it is."""

    ALLOW = "allow"
    QUARANTINE = "quarantine"
    REFUSE = "refuse"


_VERDICTS: Final = {
    FieldKind.PLAIN: FieldVerdict.ALLOW, FieldKind.PICTURE: FieldVerdict.ALLOW,
    FieldKind.HAR: FieldVerdict.QUARANTINE, FieldKind.HAR_ZIP: FieldVerdict.QUARANTINE,
    FieldKind.TRACE: FieldVerdict.QUARANTINE,
    FieldKind.CDP_LOG: FieldVerdict.QUARANTINE, FieldKind.VIDEO: FieldVerdict.QUARANTINE,
    FieldKind.UNREADABLE: FieldVerdict.QUARANTINE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Artifact:
    """A kind, and what it means for keeping the file as it is."""

    kind: FieldKind

    @property
    def verdict(self) -> FieldVerdict:
        """What is not known to be harmless is refused."""
        return _VERDICTS.get(self.kind, FieldVerdict.REFUSE)


def classify_artifact(source: Path | bytes) -> Artifact:
    """Look at a file or at bytes and say what they are. An unreadable file is `unreadable`, not an error."""
    return Artifact(kind_of(source))


def kind_of(source: Path | bytes, nested: int = 0) -> FieldKind:
    """Return the kind alone; `nested` counts the containers around it."""
    try:
        data, whole = (source, True) if isinstance(source, bytes) else _start_of(source)
    except OSError:
        return FieldKind.UNREADABLE
    if not data:
        return FieldKind.PLAIN
    if data.startswith(_PICTURE):
        return FieldKind.PICTURE
    if data.startswith(_MATROSKA) or data[4:8] == b"ftyp":
        return FieldKind.VIDEO
    if data.startswith(_SQLITE):
        return _database(source)
    if data.startswith(_SQLITE_SIDE):
        return FieldKind.COOKIE_DATABASE
    if data[:2] == b"\x1f\x8b" or _is_tar(data):
        return _unpacked(data, nested)
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06") or zipfile.is_zipfile(io.BytesIO(data)):
        return _zipped(source, nested)
    if data.endswith(_LEVELDB_END) or (b"\0" in data and _STORED_ITEM.search(data[:_HEAD])):
        return FieldKind.WEB_STORAGE
    if _PICKLED_COOKIES.match(data[:_HEAD]):
        return FieldKind.COOKIE_JAR
    return _text(data, whole=whole)


def _start_of(source: Path) -> tuple[bytes, bool]:
    handle = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        data = file.read(_LOOKED_AT + 1)
    return data[:_LOOKED_AT], len(data) <= _LOOKED_AT


def _database(source: Path | bytes) -> FieldKind:
    """The tables that a database has, asked from SQLite, opened so that nothing is written or followed."""
    try:
        if isinstance(source, bytes):
            opened = sqlite3.connect(":memory:")
            opened.deserialize(source)
        else:
            opened = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            tables = {str(name).lower() for (name,) in opened.execute("SELECT name FROM sqlite_master LIMIT 10000")}
        finally:
            opened.close()
    except (sqlite3.Error, OverflowError):
        return FieldKind.UNREADABLE
    return FieldKind.PLAIN if _CREDENTIAL_TABLES.isdisjoint(tables) else FieldKind.COOKIE_DATABASE


def _is_tar(data: bytes) -> bool:
    return data[257:262] == b"ustar"


def _unpacked(data: bytes, nested: int) -> FieldKind:
    if nested >= _NESTED:
        return FieldKind.UNREADABLE
    if _is_tar(data):
        return _tar(data, nested)
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            inner = stream.read(_LOOKED_AT + 1)
    except (OSError, EOFError, zlib.error):
        return FieldKind.UNREADABLE
    return FieldKind.UNREADABLE if len(inner) > _LOOKED_AT else kind_of(inner, nested + 1)


def _tar(data: bytes, nested: int) -> FieldKind:
    def members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() and member.size <= _LOOKED_AT else None
            yield member.name, content.read(_LOOKED_AT) if content else b""

    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            return _worst(members(archive), nested)
    except (tarfile.TarError, OSError, EOFError):
        return FieldKind.UNREADABLE


def _zipped(source: Path | bytes, nested: int) -> FieldKind:
    if nested >= _NESTED:
        return FieldKind.UNREADABLE
    left = _LOOKED_AT

    def members(archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
        nonlocal left
        for info in archive.infolist():
            with archive.open(info) as member:
                content = member.read(left + 1)
            left -= len(content)
            if left < 0:
                raise zipfile.BadZipFile
            yield info.filename, content

    try:
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
            names = archive.namelist()
            if any(name.endswith((".trace", ".network")) for name in names):
                return FieldKind.TRACE
            if any(name.endswith(".har") for name in names):
                return FieldKind.HAR_ZIP
            return _worst(members(archive), nested) if len(names) <= _MEMBERS else FieldKind.UNREADABLE
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError):
        return FieldKind.UNREADABLE  # encrypted, damaged, of an unknown method, or too large to look into


def _worst(members: Iterator[tuple[str, bytes]], nested: int) -> FieldKind:
    """The kind of the worst thing in an archive."""
    order = (FieldVerdict.ALLOW, FieldVerdict.QUARANTINE, FieldVerdict.REFUSE)
    worst = FieldKind.PLAIN
    for name, content in members:
        path = PurePosixPath(name)
        if path.name in _STATE_FILES or not _STATE_FOLDERS.isdisjoint(path.parts):
            return FieldKind.PROFILE
        kind = kind_of(content, nested + 1) if content else FieldKind.PLAIN
        if order.index(Artifact(kind).verdict) > order.index(Artifact(worst).verdict):
            worst = kind
    return worst


def _text(data: bytes, *, whole: bool) -> FieldKind:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = data.decode(encoding, "replace")
    head = text[:_HEAD]
    if NETSCAPE.search(text) or HEADER.search(text) or head.startswith("#LWP-Cookies"):
        return FieldKind.COOKIE_JAR
    start = head.lstrip()[:1]
    if start not in ("{", "["):
        return FieldKind.PLAIN
    if not whole:
        return FieldKind.HAR if _HAR_HEAD.match(head) else FieldKind.UNREADABLE
    try:
        return _document(json.loads(text))
    except ValueError:
        return _lines(text)
    except RecursionError:
        return FieldKind.UNREADABLE


def _lines(text: str) -> FieldKind:
    """A document a line, or a document that was cut off."""
    found = FieldKind.PLAIN
    for line in text.splitlines()[:2000]:
        try:
            kind = _document(json.loads(line))
        except (ValueError, RecursionError):
            continue
        if kind is not FieldKind.PLAIN:
            found = kind if found in (FieldKind.PLAIN, kind) else FieldKind.UNREADABLE
    if found is FieldKind.PLAIN and (_HAR_HEAD.match(text[:_HEAD]) or '"httpOnly"' in text):
        return FieldKind.UNREADABLE
    return found


def _document(document: Any) -> FieldKind:
    if isinstance(document, list):
        if document and all(_is_cookie(item) for item in document):
            return FieldKind.COOKIE_LIST
        kinds = {_document(item) for item in document if isinstance(item, dict)} - {FieldKind.PLAIN}
        return kinds.pop() if len(kinds) == 1 else FieldKind.UNREADABLE if kinds else FieldKind.PLAIN
    if not isinstance(document, dict):
        return FieldKind.PLAIN
    log = document.get("log")
    if isinstance(log, dict) and isinstance(log.get("entries"), list):
        return FieldKind.HAR
    cookies, origins = document.get("cookies"), document.get("origins")
    if isinstance(origins, list) and (
        isinstance(cookies, list) or any("localStorage" in str(item) for item in origins)
    ):
        return FieldKind.STORAGE_STATE
    if isinstance(cookies, list) and any(_is_cookie(item) for item in cookies):
        return FieldKind.COOKIE_LIST
    if isinstance(document.get("method"), str) and _CDP.match(document["method"]) and "params" in document:
        return FieldKind.CDP_LOG
    return FieldKind.PLAIN


def _is_cookie(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and {"name", "value"} <= item.keys()
        and not {"domain", "httpOnly", "hostOnly"}.isdisjoint(item)
    )
