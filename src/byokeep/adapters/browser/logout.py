"""Ends a session at the platform, and proves it by use.

Rules
- An answer of the platform proves nothing: `revoked` is said only when the old session, put back, is refused.
- Where a platform has no logout that we know, or it can not be proven, that is what is said; a person acts then.
- Whatever came of it, nothing of the session is left in this browser.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, cast

from byokeep.adapters.browser.identify import Outcome, identify, look
from byokeep.adapters.browser.launch import Running
from byokeep.adapters.browser.portable import State
from byokeep.adapters.platforms.website import SitePlace, Website
from byokeep.core.errors import Unavailable

if TYPE_CHECKING:
    from playwright.async_api import Page, StorageState

_STEP_S: Final = 15.0
_TAKEN_S: Final = 5.0


class Ended(StrEnum):
    """What became of the session: refused when shown again; no way to end it; not proven."""

    REVOKED = "revoked"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"


async def logged_out(running: Running, website: Website, place: SitePlace, session: State) -> Ended:
    """End `session`, which was restored into this browser, and clear the browser.

    Raises:
        Unavailable: ``browser_not_cleared``: something may be left; close it and wipe its directory.
    """
    from playwright.async_api import Error  # noqa: PLC0415 - an extra, needed by this room alone

    ended = Ended.FAILED
    try:
        if website.logout is None:
            ended = Ended.UNSUPPORTED
        elif await _left(running.page, website, place) and await _refused(running, website, place, session):
            ended = Ended.REVOKED
    except Error:
        ended = Ended.FAILED
    finally:
        await _cleared(running, session)
    return ended


async def _left(page: Page, website: Website, place: SitePlace) -> bool:
    """Go the way out; whether every step of it was there."""
    from playwright.async_api import Error  # noqa: PLC0415 - an extra, needed by this room alone

    logout = website.logout
    if logout is None:
        return False
    try:
        await page.goto(place.at(logout.page), wait_until="load", timeout=_STEP_S * 1000)
        for selector in logout.clicks:
            await page.locator(selector).click(timeout=_STEP_S * 1000)
        # A click returns before its request has left; the page says when the site has taken it.
        until = asyncio.get_running_loop().time() + _TAKEN_S
        while (await look(page, website, place)).outcome is not Outcome.LOGGED_OUT:
            if asyncio.get_running_loop().time() > until:
                break
            await asyncio.sleep(0.1)
    except Error:
        return False
    return True


async def _refused(running: Running, website: Website, place: SitePlace, session: State) -> bool:
    """Show the old session once more, cookies and all; only a plain "log in" is a refusal."""
    await running.page.goto("about:blank")
    await running.context.set_storage_state(cast("StorageState", session.for_browser()))
    return (await identify(running.page, website, place)).outcome is Outcome.LOGGED_OUT


async def _cleared(running: Running, session: State) -> None:
    try:
        await running.page.goto("about:blank")
        await running.context.clear_cookies()
        protocol: Any = await running.context.new_cdp_session(running.page)
        for origin in sorted({*running.visited, *session.visited()}):
            await protocol.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
        await protocol.detach()
        if await running.context.cookies():
            raise Unavailable("browser_not_cleared")
    except Unavailable:
        raise
    except Exception:  # whatever it was: it is not known to be gone
        raise Unavailable("browser_not_cleared") from None
