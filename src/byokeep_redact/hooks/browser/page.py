"""A live page: what is covered before a picture is taken, what its console says, what its context has to be known for.

Rules: values never go into the page; its texts come out and are searched here. A picture is kept only if nothing new
turned up between covering and taking it. What pixels of images and canvases show is not known, so those whose names say
"QR", "OTP" or the like are covered as well. Chromium only: closed shadow roots are seen through its own protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from byokeep_redact import engine
from byokeep_redact.engine import RedactionFailed, Redactor
from byokeep_redact.hooks.browser.fields import Walk
from byokeep_redact.hooks.browser.files import (
    Scrubbed,
    failing_closed,
    raw_room,
    scrub_file,
    write_scrubbed,
    write_whole,
)
from byokeep_redact.hooks.browser.handling import Learn, Policy, Scrub, learned
from byokeep_redact.hooks.browser.pictures import strip_picture
from byokeep_redact.hooks.browser.snapshot import COVERED_FIELDS, SnapshotText, find

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, CDPSession, ConsoleMessage, Frame, Locator, Page, WebError

MARK: Final = "data-byokeep-covered"
# Nothing of a covered element is painted, not even what overflows its box; the cover itself is Playwright's.
MASK_STYLE: Final = f"[{MARK}], {COVERED_FIELDS} {{ opacity: 0 !important; }}"
MASK_COLOR: Final = "#000000"
_TRIES: Final = 4


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
            await asyncio.to_thread(write_whole, target, picture)
        return marked
    except BaseException:
        await asyncio.to_thread(target.unlink, missing_ok=True)
        raise


async def take_picture(
    page: Page,
    redactor: Redactor | None = None,
    *,
    full_page: bool = False,
    region: Locator | None = None,
    also: str = "",
) -> tuple[bytes, int]:
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
                    picture = strip_picture(taken)
                    if picture is None:
                        raise ValueError("not_a_picture")
                    return picture, marked
                marked += appeared
            raise RedactionFailed("page_kept_changing")
        finally:
            await _unmark(page)


async def _photograph(page: Page, full_page: bool, region: Locator | None, also: str) -> bytes:
    covers = _locators(page) + ([frame.locator(also) for frame in page.frames] if also else [])
    style = MASK_STYLE + (f" {also} {{ opacity: 0 !important; }}" if also else "")
    if region is not None:
        return await region.screenshot(type="png", mask=covers, mask_color=MASK_COLOR, style=style)
    return await page.screenshot(type="png", full_page=full_page, mask=covers, mask_color=MASK_COLOR, style=style)


async def save_storage_state(context: BrowserContext, target: Path, redactor: Redactor | None = None) -> None:
    """Write the storage state of `context` with names and no values. Raises RedactionFailed."""
    async with _failing_closed():
        state = await context.storage_state(indexed_db=True)
        await asyncio.to_thread(write_scrubbed, state, target, redactor)


async def save_trace(
    context: BrowserContext, target: Path, redactor: Redactor | None = None, *, policy: Policy | None = None
) -> Scrubbed:
    """Stop tracing `context` and write the scrubbed trace. Raises RedactionFailed.

    While it records, Playwright keeps the raw trace in `traces_dir` of the launched browser: give a `raw_room` there.
    """
    async with _failing_closed(), known_to(context, redactor):
        with raw_room() as room:
            raw = room / "trace.zip"
            await context.tracing.stop(path=raw)
            return await asyncio.to_thread(scrub_file, raw, target, redactor, policy=policy)


@contextlib.asynccontextmanager
async def recorded(
    browser: Browser, target: Path, redactor: Redactor | None = None, **options: Any
) -> AsyncIterator[BrowserContext]:
    """Give a new context of `browser` whose traffic ends up as a scrubbed HAR at `target` when it is closed.

    `options` are those of `browser.new_context`. Raises RedactionFailed at the end.
    """
    with raw_room() as room:
        raw = room / "traffic.har"
        context = await browser.new_context(record_har_path=raw, **options)
        closed = asyncio.Event()
        context.on("close", lambda _: closed.set())
        try:
            yield context
        finally:
            async with _failing_closed(), contextlib.AsyncExitStack() as held:
                if not closed.is_set():
                    await held.enter_async_context(known_to(context, redactor))
                    await context.close()
                await asyncio.to_thread(scrub_file, raw, target, redactor)


@contextlib.asynccontextmanager
async def known_to(context: BrowserContext, redactor: Redactor | None = None) -> AsyncIterator[int]:
    """Let the redactor know the cookies and stored values of `context` for as long as the block runs.

    With this, everything the process writes meanwhile is free of them, whatever hook it goes through. Gives how many
    values are known; those too weak to be searched for are not among them.
    """
    async with _failing_closed():
        seen = Learn()
        Walk(seen).node(await context.storage_state(indexed_db=True))
    with ExitStack() as held:
        scrub = held.enter_context(learned(redactor or engine.default(), seen.values, Policy()))
        yield scrub.known


def watch(
    context: BrowserContext, sink: Callable[[dict[str, str]], None], redactor: Redactor | None = None
) -> Callable[[], None]:
    """Hand console messages and uncaught errors of all pages to `sink`, redacted; return a function that stops it.

    A record that could not be redacted is dropped, and `{"event": "redaction_error"}` stands in its place.
    """
    known = redactor or engine.default()

    def record(event: str, level: str, text: str, url: str) -> None:
        try:
            walk = Walk(Scrub(known, Policy()))
            out = {"event": event, "level": level, "text": walk.string(text), "url": walk.string(url)}
        except Exception:  # fail closed: the record is dropped, whatever the defect
            out = {"event": "redaction_error"}
        sink(out)

    def console(message: ConsoleMessage) -> None:
        record("browser_console", message.type, message.text, str(message.location.get("url", "")))

    def error(raised: WebError) -> None:
        page = raised.page
        record("browser_error", "error", str(raised.error), page.url if page is not None else "")

    context.on("console", console)
    context.on("weberror", error)

    def stop() -> None:
        context.remove_listener("console", console)
        context.remove_listener("weberror", error)

    return stop


def _locators(page: Page) -> list[Locator]:
    return [frame.locator(f"[{MARK}], {COVERED_FIELDS}") for frame in page.frames]


async def _mark(page: Page, redactor: Redactor) -> int:
    """Mark what is not marked yet; return how many elements that were."""
    count = 0
    async with _sessions(page) as sessions:
        views = [await session.send("DOMSnapshot.captureSnapshot", {"computedStyles": []}) for _, session in sessions]
        for (place, session), found in zip(sessions, await asyncio.to_thread(_search, views, redactor), strict=True):
            await _set_marks(session, found)
            if found.nodes and place is not page:
                await _mark_owners(cast("Frame", place))
            count += len(found.nodes)
    return count


async def _mark_owners(frame: Frame) -> None:
    """A frame in a process of its own may be painted late, so it is covered as a whole, from the page around it."""
    inner: Frame | None = frame
    while inner is not None and inner.parent_frame is not None:
        owner = await inner.frame_element()
        await owner.evaluate(f"element => element.setAttribute({MARK!r}, '')")
        inner = inner.parent_frame


def _search(views: list[dict[str, Any]], redactor: Redactor) -> list[SnapshotText]:
    """What stands in a secret field of one frame is searched for in all."""
    seen = Learn()
    for view in views:
        find(view, MARK, learn=seen)
    with learned(redactor, seen.values, Policy()) as scrub:
        return [find(view, MARK, shows=lambda text: scrub.text(text) != text) for view in views]


async def _set_marks(session: CDPSession, found: SnapshotText) -> None:
    if not found.nodes:
        return
    await session.send("DOM.getDocument", {"depth": 0})
    pushed = await session.send("DOM.pushNodesByBackendIdsToFrontend", {"backendNodeIds": found.nodes})
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
    with failing_closed():
        yield
