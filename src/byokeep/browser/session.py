"""A session taken out of a running browser, and put into another.

Rules
- Taking one out is the last thing done with a browser: it walks the working tab through the origins, answered by an
  empty page of ours. No byte goes to the network, no script of a site runs, and its service workers are passed by.
- What Playwright would leave out or change in silence refuses the portable packing, and so does what is too much of it:
  both are looked at inside the page (:mod:`byokeep.browser.weighing`) before anything is brought here.
- Taken is what tabs were at, and frames of the same sites. Frames of others (advertisements) are emptied instead, so
  that they can not fill a profile.
- A session goes into a clean browser alone, and into one tab: sessionStorage belongs to :attr:`Running.page`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from byokeep.browser.launch import Running, same_site
from byokeep.browser.portable import MOST_BYTES, PortableState, state_of
from byokeep.browser.weighing import weighed
from byokeep.core.errors import ByokeepError, Conflict, Rejected, Unavailable

if TYPE_CHECKING:
    from playwright.async_api import Page, Route, StorageState

_MOST_ORIGINS: Final = 200
_EMPTY: Final = "<!doctype html><title></title>"
_TAB: Final = "() => Object.keys(sessionStorage).map(name => ({name, value: sessionStorage.getItem(name)}))"
_FILL_TAB: Final = "items => { for (const one of items) sessionStorage.setItem(one.name, one.value); }"


async def taken(running: Running, *, also: Iterable[str] = ()) -> PortableState:
    """Return the session of a running browser.

    Args:
        also: Origins that hold something without having been visited in this run: those of the last packing.

    Raises:
        Rejected: ``state_not_portable``, ``state_too_large``, with the origin and what was found there;
            ``too_many_origins``.
        Unavailable: ``browser_failed``.
    """
    own = {*running.visited, *also}
    foreign = {one for one in running.framed - own if not any(map(partial(same_site, one), own))}
    origins = sorted({*own, *running.framed} - foreign)
    if len(origins) > _MOST_ORIGINS:
        raise Rejected("too_many_origins", next_step="Pack the whole profile instead.", origins=len(origins))
    async with _failing("browser_failed"):
        tabs: dict[str, list[dict[str, str]]] = {}
        weight = 0
        await emptied(running.page, foreign)
        async with _empty_pages(running.page) as visit:
            for origin in origins:
                await visit(origin)
                weight += await weighed(running.page, origin, most=MOST_BYTES - weight)
                tabs[origin] = await running.page.evaluate(_TAB)
        said = await running.context.storage_state(indexed_db=True)
        return state_of(cast("list[dict[str, Any]]", said["cookies"]), _origins(said, tabs))


async def restored(running: Running, state: PortableState) -> None:
    """Put a session into a browser that holds none; cookies that have run out meanwhile are left out.

    Raises:
        Conflict: ``profile_not_clean``: something is in it already.
        Unavailable: ``browser_failed``.
    """
    async with _failing("browser_failed"):
        if await running.context.cookies() or running.visited or running.framed:
            raise Conflict("profile_not_clean", next_step="Restore into a new directory.")
        document = state.for_browser()
        now = time.time()
        document["cookies"] = [one for one in document["cookies"] if one["expires"] == -1 or one["expires"] > now]
        await running.context.set_storage_state(cast("StorageState", document))
        async with _empty_pages(running.page) as visit:
            for one in state.origins:
                if one["sessionStorage"]:
                    await visit(one["origin"])
                    await running.page.evaluate(_FILL_TAB, one["sessionStorage"])


async def emptied(page: Page, origins: Iterable[str]) -> None:
    """Leave nothing stored for these origins. Raises playwright.async_api.Error."""
    session: Any = await page.context.new_cdp_session(page)
    for origin in sorted(origins):
        await session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    await session.detach()


def _origins(said: Any, tabs: dict[str, list[dict[str, str]]]) -> list[dict[str, Any]]:
    found = {one["origin"]: {**one, "sessionStorage": tabs.get(one["origin"], [])} for one in said["origins"]}
    for origin, items in tabs.items():
        if items and origin not in found:
            found[origin] = {"origin": origin, "localStorage": [], "indexedDB": [], "sessionStorage": items}
    return list(found.values())


@contextlib.asynccontextmanager
async def _empty_pages(page: Page) -> AsyncIterator[Any]:
    """Give a function that takes `page` to an origin without asking the network."""

    async def empty(route: Route) -> None:
        await route.fulfill(body=_EMPTY, content_type="text/html")

    async def visit(origin: str) -> None:
        await page.goto(origin + "/", wait_until="load")

    # A service worker would answer instead of us, with a page of the site and its scripts.
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    await session.send("Network.setBypassServiceWorker", {"bypass": True})
    await page.route("**/*", empty)
    try:
        yield visit
        await page.goto("about:blank")
    finally:
        await page.unroute("**/*", empty)
        await session.send("Network.setBypassServiceWorker", {"bypass": False})
        await session.detach()


@contextlib.asynccontextmanager
async def _failing(code: str) -> AsyncIterator[None]:
    try:
        yield
    except ByokeepError:
        raise
    except Exception:  # Playwright's words hold addresses and values of the page
        raise Unavailable(code) from None
