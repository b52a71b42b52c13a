"""The console in a real Chromium, for a person with a keyboard; each page judged by axe-core, in each theme and width.

Use it with ``pytest_plugins`` that name it beside what ``tests.support.web`` needs, and the fixture ``screen``.
"""

from __future__ import annotations

import contextlib
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

JUDGES = Path(__file__).parent / "pages"
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
        await self.ask(self.axe + "; 0")
        for theme in ("light", "dark"):
            await self.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            for width in SIZES:
                await self.page.set_viewport_size({"width": width, "height": 800})
                if place := os.environ.get("BYOKEEP_SHOTS"):
                    await self.page.screenshot(path=f"{place}/{name}-{theme}-{width}.png", full_page=True)
                faults += [f"{name} {theme} {width}: {one}" for one in await self._faults()]
        return faults

    async def look(self, name: str, path: str) -> list[str]:
        """Go to a page, and judge it."""
        reply = await self.page.goto(self.url + path)
        return await self.judged(name) if reply and reply.ok else [f"{name} is refused"]

    async def reach(self, role: str, name: str, *, most: int = 90) -> None:
        """Go by the Tab key to what has this role and name."""
        aim = self.page.get_by_role(role, name=name, exact=True).first  # type: ignore[arg-type]
        await aim.wait_for()
        for _ in range(most):
            if await aim.evaluate("one => one === document.activeElement"):
                return
            await self.page.keyboard.press("Tab")
        raise AssertionError(f"{name} is not reached")

    async def press(self, name: str, *, role: str = "button") -> None:
        """Reach a button or link by the keyboard and press it; returns when the next page is there."""
        await self.reach(role, name)
        async with self.page.expect_navigation():
            await self.page.keyboard.press("Enter")

    async def write(self, name: str, text: str) -> None:
        """Reach a field by the keyboard and type."""
        await self.reach("textbox", name)
        await self.page.keyboard.press("Control+A")
        await self.page.keyboard.type(text)

    async def choose(self, name: str, first_letters: str) -> None:
        """Reach a list by the keyboard, and choose by typing how the entry begins."""
        await self.reach("combobox", name)
        await self.page.keyboard.type(first_letters)

    async def swept(self, *values: bytes) -> None:
        """No value is in the markup, in a field, in the address or in what the browser keeps of the page."""
        fields = "[...document.querySelectorAll('input,textarea')].map(one => one.value).join()"
        kept = "JSON.stringify([location.href, document.title, history.state, window.name])"
        seen = await self.page.content() + str(await self.ask(fields)) + str(await self.ask(kept))
        assert [value for value in values if value.decode()[8:40] in seen] == []

    async def ask(self, expression: str) -> object:
        """What the page itself says; the protocol asks, for the page's own policy lets no script run."""
        session = await self.page.context.new_cdp_session(self.page)
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        said = (await session.send("Runtime.evaluate", asked))["result"]["value"]
        await session.detach()
        return said

    async def _faults(self) -> list[str]:
        found: Any = await self.ask(f"axe.run({json.dumps(RULES)})")
        over: Any = await self.ask("document.documentElement.scrollWidth - innerWidth")
        assert len(found["passes"]) > 15
        faults = [f"{one['id']}: {node['html'][:90]}" for one in found["violations"] for node in one["nodes"]]
        return faults + ([f"{over} pixels wider than the window"] if over > 0 else [])


@contextlib.asynccontextmanager
async def screen_on(desk: Desk, axe: str) -> AsyncIterator[Screen]:
    """A browser before a desk's console."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(on_loopback(desk))
        browser = await stack.enter_async_context(fresh())
        page = await browser.context.new_page()
        made = Screen(desk, page, url, axe)

        def heard(message: ConsoleMessage) -> None:
            made.said.append(message.text)

        page.on("console", heard)
        yield made


@pytest.fixture
async def screen(desk: Desk, axe: str) -> AsyncIterator[Screen]:
    async with screen_on(desk, axe) as made:
        yield made
