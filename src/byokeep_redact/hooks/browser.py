"""Keep what a browser produces without its secrets: covered screenshots, redacted HAR and storage state documents.

A document says where its credentials stand: they are masked there, whatever they look like, and while the engine
redacts the rest it knows them, so what is repeated in an address or a body is masked as well. Everything else that a
browser records or keeps is refused by `admit_artifact`, which recognises a file by its content, never by its name.

Rules
- In a document names remain and values go; redacting twice changes nothing. In doubt a name says credential.
- Refused is what cannot be looked into (encrypted, damaged, over the limits), and a video, in which nobody covered
  anything. `plain` says only that a file is none of these: what else it may hold is for the leak search to say.
- An element of a page is covered if it is a field for secrets, or if its text shows one; the innermost is chosen. What
  pixels show is not known, so pictures whose names say "QR", "OTP" or the like are covered as well. A picture is kept
  only if nothing new turned up between covering and taking it, and has pixels and no more.
- Values never go into the page; its texts come out and are searched here. Chromium only: closed shadow roots are seen
  through its own protocol.

It may not start a browser, and imports Playwright for types only.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import io
import json
import os
import re
import secrets
import struct
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, cast

from byokeep_redact import engine
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.errors import Rejected
from byokeep_redact.known import KnownValueRefused
from byokeep_redact.mask import MASKED

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_MASK: Final = re.compile(MASKED.pattern.decode())
_WORDS: Final = {
    name: frozenset(words)
    for table in tomllib.loads(files("byokeep_redact.hooks").joinpath("browser.toml").read_text("utf-8")).values()
    for name, words in table.items()
}
_ELEMENT_NAMES: Final = ("name", "id", "aria-label", "placeholder", "data-testid", "ng-model", "formcontrolname")


@lru_cache(maxsize=8192)
def is_credential(name: str) -> bool:
    """True when `name` (any case or style: `X-Api-Key`, `accessToken`, `csrf_token`) is a name for a credential."""
    words = [word.lower() for word in _WORD.findall(_MASK.sub("", name[:200]))]  # a mask says `cookie` and is none
    joined = "".join(words)
    if not words or joined in _WORDS["public"]:
        return False
    if not _WORDS["credential"].isdisjoint((*words, joined)) or joined.endswith(
        ("token", "secret", "password", "sessionid")
    ):
        return True
    return any(word in ("key", "keys") and words[at - 1] in _WORDS["before_key"] for at, word in enumerate(words) if at)


def is_secret_element(attributes: Mapping[str, str]) -> bool:
    """True when a page element with these attributes takes or holds a password, one-time code, token or the like."""
    if attributes.get("type", "").lower() == "password":
        return True
    if not _WORDS["autocomplete"].isdisjoint(attributes.get("autocomplete", "").lower().split()):
        return True
    return any(is_credential(attributes.get(name, "")) for name in _ELEMENT_NAMES)


MOST_VALUES: Final = 4000
_FORM: Final = re.compile(r"[^\s=&{}<>\"]{1,200}=[^\s&{}<>\"]*(?:&[^\s=&{}<>\"]{1,200}=[^\s&{}<>\"]*)*")
_FORM_FIELD: Final = re.compile(r"(=)([^&]+)")


def redact_document(document: Any, redactor: Redactor | None = None) -> Any:
    """Return a parsed JSON document with its credentials masked. Raises RedactionFailed."""
    redactor = redactor or engine.default()
    by_place = _ByPlace(redactor)
    with _failing_closed("document_not_redacted"):
        masked = by_place.node(document, "")
        with known_during(redactor, by_place.values):
            return redactor.value(masked)


@contextmanager
def _failing_closed(code: str = "picture_not_taken") -> Iterator[None]:
    """Let whatever goes wrong out as RedactionFailed with a code, and nothing of what was worked on."""
    try:
        yield
    except RedactionFailed:
        raise
    except Exception:  # a defect here must let nothing raw through
        raise RedactionFailed(code) from None


@contextmanager
def known_during(redactor: Redactor, values: Mapping[str, str]) -> Iterator[list[str]]:
    """Let the redactor know `values` (each with its kind) during the block; give those too weak to be known.

    Raises ValueError when there are more than MOST_VALUES.
    """
    if len(values) > MOST_VALUES:
        raise ValueError("too_many_credentials")
    weak = []
    with ExitStack() as held:
        for value, kind in values.items():
            try:
                held.enter_context(redactor.register(value, kind))
            except KnownValueRefused:
                weak.append(value)
        yield weak


class _ByPlace:
    """Masks what is a credential by where it stands, and remembers it in `values`."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.values: dict[str, str] = {}

    def _mask(self, kind: str, value: Any) -> Any:
        text = str(value)
        raw = text.encode("utf-8", "surrogatepass")
        if value is None or isinstance(value, bool) or not text or self._redactor.is_mask(raw):
            return value
        if text[0] not in "{[":  # pieces of a document's punctuation would be found everywhere
            self.values[text] = kind
        return self._redactor.mask_of(raw, kind)

    def node(self, node: Any, key: str) -> Any:
        """Return the value at `key` of its parent with everything in it handled."""
        low = key.lower()
        if isinstance(node, dict | list) and low in _WORDS["stores"]:
            return self._stored(node)
        if isinstance(node, dict):
            return self._mapping(node, low)
        if isinstance(node, list):
            return [self.node(item, key) for item in node]
        if is_credential(key):
            return self._mask("field", node)
        return self._posted(node) if low == "postdata" and isinstance(node, str) else node

    def _mapping(self, node: dict[str, Any], place: str) -> dict[str, Any]:
        out = {key: self.node(item, key) for key, item in node.items()}
        name, value, text = node.get("name"), node.get("value"), node.get("text")
        if isinstance(name, str) and isinstance(value, str):
            if place == "cookies" or not _WORDS["cookie_marks"].isdisjoint(node):
                out["value"] = self._mask("cookie", value)
            elif place == "params" or name.lower() in _WORDS["parameters"] or is_credential(name):
                out["value"] = self._mask("field", value)
        if place == "postdata" and isinstance(text, str):
            out["text"] = self._posted(text)
        if node.get("encoding") == "base64" and isinstance(text, str) and not _is_text(text):
            out["text"] = ""
        return out

    def _stored(self, node: Any) -> Any:
        """Mask every text and number below a store; what names things stays."""
        if isinstance(node, list):
            return [self._stored(item) for item in node]
        if not isinstance(node, dict):
            return self._mask("storage", node)
        return {
            name: item if name.lower() in _WORDS["store_names"] else self._stored(item) for name, item in node.items()
        }

    def _posted(self, text: str) -> str:
        """Leave JSON to the engine; of a form keep the names alone, and of any other body nothing."""
        if text.lstrip()[:1] in ("{", "["):
            return text
        if not _FORM.fullmatch(text):
            return str(self._mask("field", text))
        return _FORM_FIELD.sub(lambda found: found[1] + self._mask("field", found[2]), text)


def _is_text(encoded: str) -> bool:
    try:
        base64.b64decode(encoded, validate=True).decode("utf-8")
    except ValueError:
        return False
    return True


_MOST_BYTES: Final = 64 << 20
_HEAD: Final = 1 << 20
_MEMBERS: Final = 20_000
_NESTED: Final = 3
_CREDENTIAL_TABLE: Final = re.compile(
    rb"CREATE TABLE\s*[\"'\[`]?(?:(?:moz_)?cookies|logins|credit_cards|autofill|token_service|webappsstore2"
    rb"|local_storage)\b", re.IGNORECASE,
)  # fmt: skip
_LEVELDB_END: Final = bytes.fromhex("57fb808b247547db")
_SQLITE: Final = b"SQLite format 3\0"
_SQLITE_SIDE: Final = (bytes.fromhex("d9d505f920a163d7"), bytes.fromhex("377f0682"), bytes.fromhex("377f0683"))
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
_PNG: Final = b"\x89PNG\r\n\x1a\n"
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


def classify_artifact(source: Path | bytes, nested: int = 0) -> ArtifactKind:
    """Return what a file, or its content, is. A file that cannot be read is `unreadable`, not an error.

    `nested` counts the archives around the source.
    """
    try:
        data = source if isinstance(source, bytes) else _content(source)
    except OSError:
        return ArtifactKind.UNREADABLE
    if data.startswith((_PNG, _JPEG)):
        return ArtifactKind.PICTURE
    if data.startswith(_MATROSKA) or data[4:8] == b"ftyp":
        return ArtifactKind.VIDEO
    if len(data) > _MOST_BYTES:
        return ArtifactKind.UNREADABLE
    if data.startswith(_SQLITE):
        return ArtifactKind.PROFILE if _CREDENTIAL_TABLE.search(data.replace(b"\0", b"")) else ArtifactKind.PLAIN
    if data.startswith(_SQLITE_SIDE):
        return ArtifactKind.PROFILE
    zipped = data[:4] in (b"PK\x03\x04", b"PK\x05\x06") or zipfile.is_zipfile(io.BytesIO(data))
    if zipped or data[:2] == b"\x1f\x8b" or data[257:262] == b"ustar":
        return _archive(data, zipped=zipped, nested=nested)
    if data.endswith(_LEVELDB_END) or (b"\0" in data and _STORED_ITEM.search(data[:_HEAD])):
        return ArtifactKind.PROFILE
    return ArtifactKind.COOKIES if _PICKLED_COOKIES.match(data[:_HEAD]) else _text(data)


def _content(source: Path) -> bytes:
    """Read one byte more than the limit at most, and do not wait for a pipe."""
    handle = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        return file.read(_MOST_BYTES + 1)


def _archive(data: bytes, *, zipped: bool, nested: int) -> ArtifactKind:
    """Look at everything in an archive; the first member that is not harmless says what the archive is."""
    if nested >= _NESTED:
        return ArtifactKind.UNREADABLE
    try:
        if zipped:
            return _zip(data, nested)
        if data[257:262] == b"ustar":
            return _first(_tar_members(data), nested)
        with gzip.open(io.BytesIO(data)) as stream:
            return classify_artifact(stream.read(_MOST_BYTES + 1), nested + 1)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError, RuntimeError, ValueError):
        return ArtifactKind.UNREADABLE  # encrypted, damaged, of an unknown method, or too large to look into


def _zip(data: bytes, nested: int) -> ArtifactKind:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if any(info.filename.endswith((".trace", ".network")) for info in members):
            return ArtifactKind.TRACE
        # No more comes out of a member than it says of itself.
        if len(members) > _MEMBERS or sum(info.file_size for info in members) > _MOST_BYTES:
            return ArtifactKind.UNREADABLE
        return _first(((info.filename, archive.read(info)) for info in members), nested)


def _tar_members(data: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            if member.size > _MOST_BYTES:
                raise tarfile.TarError
            content = archive.extractfile(member) if member.isreg() else None
            yield member.name, content.read() if content else b""


def _first(members: Iterator[tuple[str, bytes]], nested: int) -> ArtifactKind:
    for name, content in members:
        path = PurePosixPath(name)
        if path.name in _WORDS["files"] or not _WORDS["folders"].isdisjoint(path.parts):
            return ArtifactKind.PROFILE
        if (kind := classify_artifact(content, nested + 1)) not in _HARMLESS:
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


COVERED_FIELDS: Final = (
    "input[type=password i], [autocomplete~=one-time-code i], [autocomplete~=current-password i],"
    " [autocomplete~=new-password i]"
)
_PICTURE_NAMES: Final = re.compile(
    r"(?:^|[^a-z])(?:qr|qrcode|otp|totp|2fa|mfa|secret|barcode|recovery)(?:[^a-z]|$)|qr-?code", re.I
)
_PICTURE_SAYS: Final = ("id", "class", "alt", "aria-label", "title", "data-testid")
_ELEMENT, _TEXT = 1, 3


class _SnapshotDocument:
    """One document of a page as Chromium took it down; a node is known by its index."""

    def __init__(self, document: dict[str, Any], strings: list[str]) -> None:
        self._strings = strings
        nodes, layout = document["nodes"], document["layout"]
        self._parents: list[int] = nodes["parentIndex"]
        self._types: list[int] = nodes["nodeType"]
        self._names = [self._string(at) for at in nodes["nodeName"]]
        self._values: list[int] = nodes["nodeValue"]
        self._ids: list[int] = nodes["backendNodeId"]
        self._attributes = [
            {self._string(name).lower(): self._string(text) for name, text in zip(one[::2], one[1::2], strict=False)}
            for one in nodes["attributes"]
        ]
        self._shadow = {at: self._string(kind) for at, kind in _pairs(nodes["shadowRootType"])}
        typed = (pair for member in ("textValue", "inputValue") for pair in _pairs(nodes[member]))
        self._typed = {at: self._string(text) for at, text in typed}
        pseudo = {at for at, _ in _pairs(nodes["pseudoType"])}
        self._painted = {at: self._string(text) for at, text in zip(layout["nodeIndex"], layout["text"], strict=True)}
        self._generated = {
            at: text for at, text in self._painted.items() if at in pseudo or self._names[at][:2] == "::"
        }
        self._children: list[list[int]] = [[] for _ in self._parents]
        self._hidden: set[int] = set()
        for at, parent in enumerate(self._parents):
            if parent >= 0:
                self._children[parent].append(at)
            if self._names[at] in _WORDS["not_shown"] or parent in self._hidden:
                self._hidden.add(at)
        self._fields = [at for at in range(len(self._parents)) if self._must_cover(at)]

    def _string(self, at: int) -> str:
        return self._strings[at] if at >= 0 else ""

    def typed(self) -> dict[str, str]:
        """Return what stands in fields for secrets, each text with its kind."""
        texts = (self._typed.get(at) or self._attributes[at].get("value") for at in self._fields)
        return {text: "password" for text in texts if text}

    def to_cover(self, shows: Callable[[str], bool]) -> list[int]:
        """Return the backend ids of the nodes that must be covered and carry no mark yet.

        The fields come first, then whatever still shows a secret.
        """
        marked = {at for at, attributes in enumerate(self._attributes) if MARK in attributes}
        covered = set(marked)
        for at in self._fields:
            if at in self._painted:
                self._cover(at, covered)
        for at, parent in enumerate(self._parents):
            if parent < 0:
                self._innermost(at, covered, shows)
        return [self._ids[at] for at in covered - marked]

    def _must_cover(self, at: int) -> bool:
        name, attributes = self._names[at], self._attributes[at]
        if name in _WORDS["pictures"]:
            return any(_PICTURE_NAMES.search(attributes.get(member, "")) for member in _PICTURE_SAYS)
        return name in _WORDS["fields"] and is_secret_element(attributes)

    def _cover(self, at: int, covered: set[int]) -> None:
        """Cover the node itself if it can be, else the nearest around it that can."""
        while at >= 0 and not self._can_be_covered(at):
            at = self._parents[at]
        if at < 0:
            raise ValueError("nothing_to_cover")
        covered.add(at)

    def _can_be_covered(self, at: int) -> bool:
        """Options and what has `display: contents` are painted by others; a closed shadow root lets no selector in."""
        name = self._names[at]
        element = self._types[at] == _ELEMENT and name[:2] != "::" and name not in ("OPTION", "OPTGROUP")
        return element and at in self._painted and self._shadow.get(at, "open") == "open"

    def _innermost(self, root: int, covered: set[int], shows: Callable[[str], bool]) -> None:
        """Post-order without recursion: a page may be nested deeper than Python's stack."""
        if not shows(self._text(root, covered)):
            return
        # Indices are in document order, so children come after their parents.
        for at in range(len(self._parents) - 1, root - 1, -1):
            if at not in self._hidden and at not in covered and shows(self._text(at, covered)):
                self._cover(at, covered)

    def _text(self, at: int, covered: set[int]) -> str:
        """The text of a node and all below it that is not covered, in order; blocks stand on lines of their own."""
        out: list[str] = []
        open_nodes: list[int | str] = [at]
        while open_nodes:
            node = open_nodes.pop()
            if isinstance(node, str):
                out.append(node)
                continue
            name = self._names[node]
            if node in covered or node in self._hidden:
                continue
            gap = "" if self._types[node] != _ELEMENT or name in _WORDS["inline"] or name.startswith("::") else "\n"
            out.append(gap)
            if self._types[node] == _TEXT and (node in self._painted or self._names[self._parents[node]] == "OPTION"):
                out.append(self._string(self._values[node]))
            out.append(self._generated.get(node, ""))
            if name in _WORDS["fields"] and node in self._painted:
                attributes = self._attributes[node]
                out.append(self._typed.get(node) or attributes.get("value") or attributes.get("placeholder", ""))
            open_nodes.append(gap)
            open_nodes += reversed(self._children[node])
        return "".join(out)


def _pairs(rare: dict[str, Any]) -> list[tuple[int, int]]:
    """Chromium's sparse lists: positions and values apart."""
    return list(zip(rare["index"], rare["value"], strict=True))


if TYPE_CHECKING:
    from playwright.async_api import CDPSession, Frame, Locator, Page

MARK: Final = "data-byokeep-covered"
# Nothing of a covered element is painted, not even what overflows its box; the cover itself is Playwright's.
MASK_STYLE: Final = f"[{MARK}], {COVERED_FIELDS} {{ opacity: 0 !important; }}"
MASK_COLOR: Final = "#000000"
_TRIES: Final = 4
_SHORTEST_WORD: Final = 6
_PNG_KEPT: Final = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"sBIT"}


async def mask_selectors(page: Page, redactor: Redactor | None = None) -> list[Locator]:
    """Mark what must not be seen on `page`, in all frames and shadow roots, and return locators of it.

    They are for `page.screenshot(mask=..., style=MASK_STYLE)`: fields for passwords, codes and tokens; elements that
    show a live known value, a recognised shape, or what stands in one of those fields. `save_screenshot` does it all.
    Raises RedactionFailed.
    """
    with _failing_closed():
        await _mark(page, redactor or engine.default())
        return _locators(page)


async def save_screenshot(
    page: Page, target: Path, redactor: Redactor | None = None, *, full_page: bool = False
) -> int:
    """Take a picture of `page` with all secrets covered, without metadata; return how many elements were marked.

    Raises RedactionFailed, and then nothing stands at `target`: the page could not be searched, or kept changing.
    """
    try:
        picture, marked = await take_picture(page, redactor, full_page=full_page)
        with _failing_closed():
            await asyncio.to_thread(_write, target, picture)
        return marked
    except BaseException:
        await asyncio.to_thread(target.unlink, missing_ok=True)
        raise


async def take_picture(
    page: Page, redactor: Redactor | None = None, *, full_page: bool = False, region: Locator | None = None,
    also: str = "",
) -> tuple[bytes, int]:  # fmt: skip
    """Return a PNG of `page` with all secrets covered, without metadata, and how many elements were marked.

    region: one element, of which alone the picture is taken. also: a CSS selector of what is covered besides.
    Raises RedactionFailed: the page could not be searched, or kept changing.
    """
    redactor = redactor or engine.default()
    with _failing_closed():
        marked = await _mark(page, redactor)
        try:
            for _ in range(_TRIES):
                taken = await _photograph(page, full_page, region, also)
                appeared = await _mark(page, redactor)
                if not appeared:
                    return strip_png(taken), marked
                marked += appeared
            raise RedactionFailed("page_kept_changing")
        finally:
            await _unmark(page)


def strip_png(data: bytes) -> bytes:
    """Return a PNG with its known chunks alone: no text, EXIF, profile or tail. Raises ValueError for a damaged one."""
    if not data.startswith(_PNG):
        raise ValueError("not_a_picture")
    out, at, name = [_PNG], len(_PNG), b""
    while name != b"IEND":
        if len(data) < at + 12:
            raise ValueError("bad_picture")
        size, name = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + size]
        if len(chunk) != 12 + size or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise ValueError("bad_picture")
        if name in _PNG_KEPT:
            out.append(chunk)
        at += len(chunk)
    return b"".join(out)


def _write(target: Path, data: bytes) -> None:
    target.unlink(missing_ok=True)
    target.touch(0o600, exist_ok=False)
    target.write_bytes(data)


async def _photograph(page: Page, full_page: bool, region: Locator | None, also: str) -> bytes:
    covers = _locators(page) + ([frame.locator(also) for frame in page.frames] if also else [])
    style = MASK_STYLE + (f" {also} {{ opacity: 0 !important; }}" if also else "")
    if region is not None:
        return await region.screenshot(type="png", mask=covers, mask_color=MASK_COLOR, style=style)
    return await page.screenshot(type="png", full_page=full_page, mask=covers, mask_color=MASK_COLOR, style=style)


def _locators(page: Page) -> list[Locator]:
    return [frame.locator(f"[{MARK}], {COVERED_FIELDS}") for frame in page.frames]


async def _mark(page: Page, redactor: Redactor) -> int:
    """Mark what is not marked yet; return how many elements that were."""
    count = 0
    async with _sessions(page) as sessions:
        views = [await session.send("DOMSnapshot.captureSnapshot", {"computedStyles": []}) for _, session in sessions]
        for (place, session), nodes in zip(sessions, await asyncio.to_thread(_search, views, redactor), strict=True):
            if nodes:
                await _set_marks(session, nodes)
                if place is not page:
                    await _mark_owners(cast("Frame", place))
            count += len(nodes)
    return count


async def _mark_owners(frame: Frame) -> None:
    """A frame in a process of its own may be painted late, so it is covered as a whole, from the page around it."""
    inner: Frame | None = frame
    while inner is not None and inner.parent_frame is not None:
        owner = await inner.frame_element()
        await owner.evaluate(f"element => element.setAttribute({MARK!r}, '')")
        inner = inner.parent_frame


def _search(views: list[dict[str, Any]], redactor: Redactor) -> list[list[int]]:
    """Return the nodes to cover of each frame. What stands in a secret field of one is searched for in all."""
    frames = [[_SnapshotDocument(document, view["strings"]) for document in view["documents"]] for view in views]
    typed = {text: kind for frame in frames for document in frame for text, kind in document.typed().items()}
    with known_during(redactor, typed) as weak:
        words = _any_of(word for word in weak if len(word) >= _SHORTEST_WORD)

        def shows(text: str) -> bool:
            return bool(text.strip()) and (redactor.text(text) != text or bool(words and words.search(text)))

        return [[node for document in frame for node in document.to_cover(shows)] for frame in frames]


def _any_of(words: Iterable[str]) -> re.Pattern[str] | None:
    either = "|".join(re.escape(word) for word in words)
    return re.compile(rf"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])") if either else None


async def _set_marks(session: CDPSession, nodes: list[int]) -> None:
    await session.send("DOM.getDocument", {"depth": 0})
    pushed = await session.send("DOM.pushNodesByBackendIdsToFrontend", {"backendNodeIds": nodes})
    for node in pushed["nodeIds"]:
        await session.send("DOM.setAttributeValue", {"nodeId": node, "name": MARK, "value": secrets.token_hex(4)})


async def _unmark(page: Page) -> None:
    for frame in page.frames:
        with contextlib.suppress(Exception):  # the frame left the page, and the marks in it with it
            await frame.locator(f"[{MARK}]").evaluate_all(f"all => all.forEach(one => one.removeAttribute({MARK!r}))")


@contextlib.asynccontextmanager
async def _sessions(page: Page) -> AsyncIterator[list[tuple[Page | Frame, CDPSession]]]:
    """A protocol session for the page, and one for each frame that lives in a process of its own."""
    async with contextlib.AsyncExitStack() as stack:
        opened: list[tuple[Page | Frame, CDPSession]] = []
        places: list[Page | Frame] = [page, *page.frames[1:]]
        for place in places:
            try:
                session = await page.context.new_cdp_session(place)
            except Exception as refused:
                if "separate CDP session" in str(refused):
                    continue  # it is part of its parent's view
                raise
            stack.push_async_callback(session.detach)
            opened.append((place, session))
        yield opened
