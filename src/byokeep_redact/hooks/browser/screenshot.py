"""Take a picture of a page with its secrets covered.

Rules: values never go into the page; its texts come out and are searched here. A picture is kept only if nothing new
turned up between covering and taking it. What pixels of images and canvases show is not known, so those whose names say
"QR", "OTP" or the like are covered as well. The file has pixels and no more. Chromium only: closed shadow roots are
seen through its own protocol. It may not start a browser, and imports Playwright for types only.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import struct
import zlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from byokeep_redact import engine
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.hooks.browser.document import known_during
from byokeep_redact.hooks.browser.snapshot import COVERED_FIELDS, nodes_to_cover

if TYPE_CHECKING:
    from playwright.async_api import CDPSession, Frame, Locator, Page

MARK: Final = "data-byokeep-covered"
# Nothing of a covered element is painted, not even what overflows its box; the cover itself is Playwright's.
MASK_STYLE: Final = f"[{MARK}], {COVERED_FIELDS} {{ opacity: 0 !important; }}"
MASK_COLOR: Final = "#000000"
_TRIES: Final = 4
_SHORTEST_WORD: Final = 6
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT: Final = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"sBIT"}


async def mask_selectors(page: Page, redactor: Redactor | None = None) -> list[Locator]:
    """Mark what must not be seen on `page`, in all frames and shadow roots, and return locators of it.

    They are for `page.screenshot(mask=..., style=MASK_STYLE)`: fields for passwords, codes and tokens; elements that
    show a live known value, a recognised shape, or what stands in one of those fields. `save_screenshot` does it all.
    Raises RedactionFailed.
    """
    async with _failing_closed():
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
        async with _failing_closed():
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
    async with _failing_closed():
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
    typed: dict[str, str] = {}
    for view in views:
        nodes_to_cover(view, MARK, typed=typed)
    with known_during(redactor, typed) as weak:
        words = _any_of(word for word in weak if len(word) >= _SHORTEST_WORD)

        def shows(text: str) -> bool:
            return redactor.text(text) != text or (words is not None and words.search(text) is not None)

        return [nodes_to_cover(view, MARK, shows=shows) for view in views]


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


@contextlib.asynccontextmanager
async def _failing_closed() -> AsyncIterator[None]:
    """Let whatever goes wrong out as RedactionFailed with a code, and nothing of what was worked on."""
    try:
        yield
    except RedactionFailed:
        raise
    except Exception:
        raise RedactionFailed("picture_not_taken") from None
