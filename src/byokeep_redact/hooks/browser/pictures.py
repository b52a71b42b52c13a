"""Pictures of a page in which every secret is covered.

Rules
- An element of a page is covered if it is a field for secrets, or if its text shows one; the innermost is chosen. What
  pixels show is not known, so pictures whose names say "QR", "OTP" or the like are covered as well. A picture is kept
  only if nothing new turned up between covering and taking it, and has pixels and no more.
- Values never go into the page; its texts come out and are searched here. Chromium only: closed shadow roots are seen
  through its own protocol.

It may not start a browser, and imports Playwright for types only.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from byokeep_redact import engine
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.hooks.browser.artifacts import PNG
from byokeep_redact.hooks.browser.documents import WORDS, failing_closed, is_secret_element, known_during

if TYPE_CHECKING:
    from playwright.async_api import CDPSession, Frame, Locator, Page

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
            if self._names[at] in WORDS["not_shown"] or parent in self._hidden:
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
        if name in WORDS["pictures"]:
            return any(_PICTURE_NAMES.search(attributes.get(member, "")) for member in _PICTURE_SAYS)
        return name in WORDS["fields"] and is_secret_element(attributes)

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
            gap = "" if self._types[node] != _ELEMENT or name in WORDS["inline"] or name.startswith("::") else "\n"
            out.append(gap)
            if self._types[node] == _TEXT and (node in self._painted or self._names[self._parents[node]] == "OPTION"):
                out.append(self._string(self._values[node]))
            out.append(self._generated.get(node, ""))
            if name in WORDS["fields"] and node in self._painted:
                attributes = self._attributes[node]
                out.append(self._typed.get(node) or attributes.get("value") or attributes.get("placeholder", ""))
            open_nodes.append(gap)
            open_nodes += reversed(self._children[node])
        return "".join(out)


def _pairs(rare: dict[str, Any]) -> list[tuple[int, int]]:
    """Chromium's sparse lists: positions and values apart."""
    return list(zip(rare["index"], rare["value"], strict=True))


MARK: Final = "data-byokeep-covered"
# Nothing of a covered element is painted, not even what overflows its box; the cover itself is Playwright's.
MASK_STYLE: Final = f"[{MARK}], {COVERED_FIELDS} {{ opacity: 0 !important; }}"
MASK_COLOR: Final = "#000000"
_TRIES: Final = 4
_SHORTEST_WORD: Final = 6
_TIDY_S: Final = 5.0  # seconds for a page to let go; one whose script never ends hears nothing
_PNG_KEPT: Final = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"sBIT"}


async def mask_selectors(page: Page, redactor: Redactor | None = None) -> list[Locator]:
    """Mark what must not be seen on `page`, in all frames and shadow roots, and return locators of it.

    They are for `page.screenshot(mask=..., style=MASK_STYLE)`: fields for passwords, codes and tokens; elements that
    show a live known value, a recognised shape, or what stands in one of those fields. `save_screenshot` does it all.
    Raises RedactionFailed.
    """
    with failing_closed():
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
        with failing_closed():
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
    with failing_closed():
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
    if not data.startswith(PNG):
        raise ValueError("not_a_picture")
    out, at, name = [PNG], len(PNG), b""
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
    with contextlib.suppress(TimeoutError):  # for all frames: the page chooses how many there are
        async with asyncio.timeout(_TIDY_S):
            for frame in page.frames:
                with contextlib.suppress(Exception):  # the frame left the page, and the marks in it with it
                    await frame.locator(f"[{MARK}]").evaluate_all(
                        f"all => all.forEach(one => one.removeAttribute({MARK!r}))"
                    )


async def _let_go(session: CDPSession) -> None:
    with contextlib.suppress(TimeoutError):  # what could not be searched has failed by itself
        async with asyncio.timeout(_TIDY_S):
            await session.detach()


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
            stack.push_async_callback(_let_go, session)
            opened.append((place, session))
        yield opened
