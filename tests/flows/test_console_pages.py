"""The console in a real Chromium: each page in both themes, narrow and wide, judged by axe-core and its own policy."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import ConsoleMessage, Page

from tests.support import npm
from tests.support.console import PASSWORD, named, on_loopback
from tests.support.web import Desk
from tests.support.website import fresh

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]

JUDGES = Path(__file__).parents[1] / "support" / "pages"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
SIZES = (320, 1280, 1920)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = npm.installed(JUDGES, tmp_path_factory.mktemp("console"), "judges the console with axe-core")
    return (place / "node_modules/axe-core/axe.min.js").read_text()


@dataclass
class Screen:
    """A person at a browser; ``said`` is what Chromium says of the pages: each breach of their policy among it."""

    desk: Desk
    page: Page
    url: str
    axe: str
    said: list[str] = field(default_factory=list)

    async def sign_in(self, who: str = "operator") -> None:
        name = await named(self.desk, self.desk.people[who])
        await self.page.goto(f"{self.url}/console/sign-in")
        await self.page.get_by_label("Name").fill(name)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_url(lambda url: "sign-in" not in url)

    async def judged(self, name: str) -> list[str]:
        """What is wrong with the page that is shown, in both themes and at each width."""
        faults = []
        for theme in ("light", "dark"):
            await self.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            for width in SIZES:
                await self.page.set_viewport_size({"width": width, "height": 800})
                if place := os.environ.get("BYOKEEP_SHOTS"):
                    await self.page.screenshot(path=f"{place}/{name}-{theme}-{width}.png", full_page=True)
                faults += [f"{name} {theme} {width}: {one}" for one in await self._faults()]
        return faults

    async def ask(self, expression: str) -> object:
        """What the page itself says; the protocol asks, for the page's own policy lets no script run."""
        session = await self.page.context.new_cdp_session(self.page)
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        said = (await session.send("Runtime.evaluate", asked))["result"]["value"]
        await session.detach()
        return said

    async def _faults(self) -> list[str]:
        await self.ask(self.axe + "; 0")
        found: Any = await self.ask(f"axe.run({json.dumps(RULES)})")
        over: Any = await self.ask("document.documentElement.scrollWidth - innerWidth")
        assert len(found["passes"]) > 15
        faults = [f"{one['id']}: {node['html'][:90]}" for one in found["violations"] for node in one["nodes"]]
        return faults + ([f"{over} pixels wider than the window"] if over > 0 else [])


@pytest.fixture
async def screen(desk: Desk, axe: str) -> AsyncIterator[Screen]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(on_loopback(desk))
        browser = await stack.enter_async_context(fresh())
        page = await browser.context.new_page()
        made = Screen(desk, page, url, axe)

        def heard(message: ConsoleMessage) -> None:
            made.said.append(message.text)

        page.on("console", heard)
        yield made


@pytest.mark.req("S-ASVS-17")
async def test_the_pages_of_a_session(screen: Screen) -> None:
    """Signing in, being refused, oneself, signing out: nothing against them, with the keyboard alone."""
    page = screen.page
    await page.goto(f"{screen.url}/console")
    assert page.url.endswith("/console/sign-in?next=%2Fconsole")
    faults = await screen.judged("sign-in")
    await page.get_by_label("Name").fill("nobody")
    await page.get_by_label("Password").fill("wrong wrong wrong")
    await page.keyboard.press("Enter")
    await page.get_by_role("alert").wait_for()
    faults += await screen.judged("sign-in-refused")
    await screen.sign_in()
    await page.goto(f"{screen.url}/console/you")
    faults += await screen.judged("you")
    await page.goto(f"{screen.url}/console/sign-in?next=/console/you")
    faults += await screen.judged("prove")
    await page.goto(f"{screen.url}/console/you")
    assert await screen.ask("localStorage.length + sessionStorage.length") == 0
    assert await screen.ask("indexedDB.databases().then(found => found.length)") == 0
    assert await screen.ask("caches.keys().then(found => found.length)") == 0
    assert await screen.ask("document.cookie") == ""
    await page.get_by_role("button", name="Sign out", exact=True).focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/console/sign-in")
    await page.go_back()
    assert "Signing out" not in await page.content()
    assert faults == []
    assert [one for one in screen.said if "401" not in one and "Clear-Site-Data" not in one] == []
