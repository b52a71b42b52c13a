"""A tab whose pages come from the network: no service worker and no cache of the profile answers for the platform.

Rules
- Whoever decides by a page (whose it is, whether it is logged in) loads and reads it in here: a full packing brings the
  service workers of its sites along, and one that was planted there could show any account.
- Passing them by is asked of the browser; that it did so is looked at. An answer of a worker to the page itself, to
  a worker thread of it, or in the name of the platform, makes the look worthless.

It does not say what may stand in storage: an honest page that builds itself from there shows what it finds.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.async_api import Page, Response

    from byokeep.platforms.website import SitePlace, Website


class SeenAnswers:
    """Who answered in a tab. ``by_worker``: a service worker did, where it counts."""

    def __init__(self, page: Page, website: Website, place: SitePlace) -> None:
        self.by_worker = False
        self._page, self._website, self._place = page, website, place

    def came(self, response: Response) -> None:
        """Note an answer."""
        if response.from_service_worker and self._counts(response):
            self.by_worker = True

    def _counts(self, response: Response) -> bool:
        found = self._place.host_and_path(response.url)
        if found is not None and found[0] in self._website.hosts:
            return True
        from playwright.async_api import Error  # noqa: PLC0415 - an extra, needed by this room alone

        try:
            return response.frame.parent_frame is None
        except Error:  # of no frame that is known
            return True


@contextlib.asynccontextmanager
async def from_network(page: Page, website: Website, place: SitePlace) -> AsyncIterator[SeenAnswers]:
    """Pass service workers and the HTTP cache by in a tab, for as long as the block runs. Blocks may be nested.

    Raises:
        playwright.async_api.Error: The tab is gone, or does not obey; nothing is known of its pages then.
    """
    from playwright.async_api import Error  # noqa: PLC0415 - an extra, needed by this room alone

    answers = SeenAnswers(page, website, place)
    session = await page.context.new_cdp_session(page)
    page.on("response", answers.came)
    try:
        await session.send("Network.enable")
        await session.send("Network.setBypassServiceWorker", {"bypass": True})
        await session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        yield answers
    finally:
        page.remove_listener("response", answers.came)
        with contextlib.suppress(Error):  # a tab that is gone needs nothing back
            await session.detach()
