"""Ends a session at the platform, and proves it by use.

Rules
- An answer of the platform proves nothing: `revoked` is said only when the old session, put back, is refused.
- A refusal proves nothing either, unless the same session, put back in the same way, was let in just before: what was
  restored in part, or is worn out by being shown, is refused although it lives on. It is shown twice beforehand.
- Each time it is put back as a profile is opened (:func:`byokeep.browser.session.restored`), into a browser
  that holds nothing, in a new tab, and looked at with service workers passed by.
- Where a platform has no logout that we know, or it can not be proven, that is what is said; a person acts then.
- Whatever came of it, nothing of the session is left in this browser.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from byokeep.browser.identify import IdentityOutcome, identify, look
from byokeep.browser.launch import Running
from byokeep.browser.network import from_network
from byokeep.browser.portable import PortableState
from byokeep.browser.session import emptied, restored
from byokeep.core.errors import Conflict, Unavailable
from byokeep.platforms.website import SitePlace, Website

if TYPE_CHECKING:
    from playwright.async_api import Page

_STEP_S: Final = 15.0
_TAKEN_S: Final = 5.0
_SHOWN_BEFORE: Final = 2


class LogoutResult(StrEnum):
    """What became of the session: refused when shown again; no way to end it; not proven."""

    REVOKED = "revoked"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"


async def logged_out(running: Running, website: Website, place: SitePlace, session: PortableState) -> LogoutResult:
    """End `session`, which was taken out of this browser, and clear the browser.

    Raises:
        Unavailable: ``browser_not_cleared``: something may be left; close it and wipe its directory.
    """
    ended = LogoutResult.FAILED
    try:
        if website.logout is None:
            ended = LogoutResult.UNSUPPORTED
        elif await _ended(running, website, place, session):
            ended = LogoutResult.REVOKED
    finally:
        await _cleared(running, session)
    return ended


async def _ended(running: Running, website: Website, place: SitePlace, session: PortableState) -> bool:
    """Whether the session was let in before the way out, and is refused after it."""
    from playwright.async_api import Error  # noqa: PLC0415 - an extra, needed by this room alone

    try:
        for _ in range(_SHOWN_BEFORE):
            if await _shown(running, website, place, session) is not IdentityOutcome.IDENTIFIED:
                return False
        # Only a plain "log in" is a refusal.
        return (
            await _left(running.page, website, place)
            and await _shown(running, website, place, session) is IdentityOutcome.LOGGED_OUT
        )
    except (Error, Conflict, Unavailable):
        return False


async def _shown(running: Running, website: Website, place: SitePlace, session: PortableState) -> IdentityOutcome:
    """Put the session into the browser as an opening does, and say what the platform makes of it."""
    await _cleared(running, session)
    await restored(running, session)
    return (await identify(running.page, website, place)).outcome


async def _left(page: Page, website: Website, place: SitePlace) -> bool:
    """Go the way out; whether every step of it was there."""
    from playwright.async_api import Error  # noqa: PLC0415 - an extra, needed by this room alone

    logout = website.logout
    if logout is None:
        return False
    try:
        async with from_network(page, website, place):
            await page.goto(place.at(logout.page), wait_until="load", timeout=_STEP_S * 1000)
            for selector in logout.clicks:
                await page.locator(selector).click(timeout=_STEP_S * 1000)
            # A click returns before its request has left; the page says when the site has taken it.
            until = asyncio.get_running_loop().time() + _TAKEN_S
            while (await look(page, website, place)).outcome is not IdentityOutcome.LOGGED_OUT:
                if asyncio.get_running_loop().time() > until:
                    break
                await asyncio.sleep(0.1)
    except Error:
        return False
    return True


async def _cleared(running: Running, session: PortableState) -> None:
    """Leave nothing in the browser: no cookie, no storage, no tab that ran a page."""
    try:
        page = await running.context.new_page()
        for old in running.context.pages:
            if old is not page:
                await old.close()
        await running.context.clear_cookies()
        await emptied(page, {*running.visited, *running.framed, *session.visited()})
        if await running.context.cookies():
            raise Unavailable("browser_not_cleared")
        running.visited.clear()
        running.framed.clear()
    except Unavailable:
        raise
    except Exception:  # whatever it was: it is not known to be gone
        raise Unavailable("browser_not_cleared") from None
