"""A simulated platform website, a person who logs in on it by hand, and a browser of ours on a directory in memory."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page

import byokeep_sim as simulator
from byokeep.browser import launch
from byokeep.browser.launch import Running, Start, new_directory, running
from byokeep.core.identity import Fingerprint
from byokeep.platforms.website import SitePlace, Website, websites
from tests.support.browser_site import engine

ACME = {"id": "104000000000001", "username": "acme.bakery", "display_name": "Acme Bakery"}


@dataclass
class Site:
    """A running simulator, and the person's password on all its websites."""

    sim: simulator.Sim
    http: aiohttp.ClientSession
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    before: int = 0  # effects that are not counted

    def place(self, platform: str = "skool") -> SitePlace:
        return SitePlace(base=self.sim.site_url(platform))

    async def tell(self, what: str, **spec: Any) -> Any:
        """Use a control; it must work."""
        async with self.http.post(f"{self.sim.url}/_sim/{what}", json=spec) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.json()

    async def show(self, what: str) -> Any:
        async with self.http.get(f"{self.sim.url}/_sim/{what}") as reply:
            return await reply.json()

    async def lie(self, lie: str = "none", logout: str = "ends", platform: str = "skool") -> None:
        await self.tell("site", platform=platform, lie=lie, logout=logout)

    async def effects(self) -> int:
        return int((await self.show("effects"))["total"]) - self.before

    async def log_in(self, page: Page, platform: str = "skool", account: str = "acme") -> None:
        """What the person does: opens the page, types name and password, waits for the own page."""
        website = site_of(platform)
        await page.goto(self.place(platform).at(website.login))
        await page.locator("#username").fill(account)
        await page.locator("#password").fill(self.password)
        await page.locator("#go").click()
        await page.wait_for_selector("body[data-ready]")


def site_of(platform: str = "skool") -> Website:
    return websites()[platform]


def expected(platform: str = "skool", **changes: str) -> Fingerprint:
    """What the account's own page of a platform tells of it."""
    told = {**ACME, **changes}
    names: dict[str, str | None] = {
        "username": told["username"] if platform in ("skool", "tiktok", "instagram", "linkedin") else None,
        "display_name": told["display_name"] if platform not in ("x", "youtube") else None,
    }
    return Fingerprint(account_id=told["id"], app_id="browser", **names)


@contextlib.asynccontextmanager
async def site_with_acme() -> AsyncIterator[Site]:
    sim = await simulator.start()
    try:
        async with aiohttp.ClientSession() as http:
            site = Site(sim, http)
            for platform in websites():
                await site.tell("accounts", platform=platform, account="acme", **ACME)
                await site.tell("site/accounts", platform=platform, account="acme", password=site.password)
            yield site
    finally:
        await sim.stop()


@contextlib.contextmanager
def room() -> Iterator[Path]:
    """A folder in memory with a short name, 0700, gone at the end."""
    place = Path(tempfile.mkdtemp(prefix="byk-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def start_in(place: Path, name: str = "p", **options: Any) -> Start:
    """How to start a browser on a directory of `place`, which is made if it is not there."""
    scratch = place / "s"
    for folder in (place / name, scratch):
        if not folder.exists():
            new_directory(folder)
    return Start(directory=place / name, scratch=scratch, **options)


@contextlib.asynccontextmanager
async def fresh(*, bare: bool = False, **options: Any) -> AsyncIterator[Running]:
    """A browser on a new directory; where pages alone are looked at, Chromium's headless shell, if it is installed."""
    async with contextlib.AsyncExitStack() as stack:
        place = stack.enter_context(room())
        with pytest.MonkeyPatch.context() as patch:
            if bare:
                patch.setattr(launch, "find_chromium", engine)
            browser = await stack.enter_async_context(running(start_in(place, **options)))
        yield browser
