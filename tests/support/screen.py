"""The console in a real Chromium, for a person with a keyboard; axe-core judges pages in both themes, at each width.

Use it with ``pytest_plugins`` that name it beside what ``tests.support.web`` needs, and the fixture ``screen``.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from playwright.async_api import ConsoleMessage, Dialog, Error, Page

from byokeep.browser.launch import _CHROMIUM, Running
from tests.support import markup
from tests.support.console import PASSWORD, named, on_loopback
from tests.support.web import Desk
from tests.support.website import fresh

judges = markup.judges
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], "resultTypes": ["violations"]}
THEMES, SIZES = ("light", "dark"), (320, 1280, 1920)


@pytest.fixture(scope="module")
def axe(judges: Path) -> Iterator[str]:
    """The text of axe-core; when the module is over, each page that it was sent must have been valid HTML."""
    markup.forget()
    yield (judges / "node_modules/axe-core/axe.min.js").read_text()
    assert markup.faults_of(judges, markup.SENT) == {}


@dataclass
class Screen:
    """A person at a browser; ``said`` is what Chromium says of the pages, ``breaches`` what their policy forbade."""

    desk: Desk
    page: Page
    url: str
    axe: str
    browser: Running
    said: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    judgements: int = 0

    async def sign_in(self, who: str = "operator") -> None:
        name = await named(self.desk, self.desk.people[who])
        await self.page.goto(f"{self.url}/console/sign-in")
        await self.page.get_by_label("Name").fill(name)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_url(lambda url: "sign-in" not in url)

    async def judged(self, name: str) -> list[str]:
        """What is wrong with the page that is shown, at each width; by axe-core narrow in one theme and wide in the
        other; themes and the two wide sizes take turns from page to page, for a look of it costs a fifth of a second.
        Where pictures are taken it looks at each size in both themes."""
        faults, place = [], os.environ.get("BYOKEEP_SHOTS")
        self.judgements += 1
        for at, width in enumerate(SIZES):
            await self.page.set_viewport_size({"width": width, "height": 800})
            turn = at == 0 or at == 1 + self.judgements % 2
            for theme in THEMES if place else [THEMES[(min(at, 1) + self.judgements) % 2]]:
                await self.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                if place:
                    await self.page.screenshot(path=f"{place}/{name}-{theme}-{width}.png", full_page=True)
                judged = await self.faults(axe=turn or bool(place))
                faults += [f"{name} {theme} {width}: {one}" for one in judged]
        return faults

    async def look(self, name: str, path: str) -> list[str]:
        """Go to a page, and judge it."""
        reply = await self.page.goto(self.url + path)
        return await self.judged(name) if reply and reply.ok else [f"{name} is refused"]

    async def reach(self, role: str, name: str, *, most: int = 90) -> None:
        """Go by the Tab key to what has this role and name."""
        aim = self.page.get_by_role(role, name=name, exact=True).first  # type: ignore[arg-type]
        await aim.wait_for()
        found = None  # kept: to look for a role through all of a page at each Tab takes long
        for _ in range(most):
            held = None
            with contextlib.suppress(Error):  # the page goes on by itself
                found = found or await aim.element_handle()
                held = await found.evaluate("one => one.isConnected ? one === document.activeElement : null")
            if held:
                return
            if held is None:
                found = None
                continue
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
        said = await session.send("Runtime.evaluate", asked)
        await session.detach()
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def faults(self, *, axe: bool = True) -> list[str]:
        """What is wrong with the page as it is now."""
        over: Any = await self.ask("document.documentElement.scrollWidth - innerWidth")
        faults = [f"{over} pixels wider than the window"] if over > 0 else []
        if axe:
            if not await self.ask("'axe' in window"):
                await self.ask(self.axe + "; 0")
            found: Any = await self.ask(f"axe.run({json.dumps(RULES)})")
            assert len(found["passes"]) > 15
            faults += [f"{one['id']}: {node['html'][:90]}" for one in found["violations"] for node in one["nodes"]]
        return faults


@contextlib.asynccontextmanager
async def screen_on(desk: Desk, axe: str) -> AsyncIterator[Screen]:
    """A browser before a desk's console."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(on_loopback(desk))
        with mock.patch.dict(_CHROMIUM, switches=[*_CHROMIUM["switches"], "--disable-gpu"]):  # a sixth of its start
            browser = await stack.enter_async_context(fresh())
        page = await browser.context.new_page()
        made = Screen(desk, page, url, axe, browser)

        def heard(message: ConsoleMessage) -> None:
            made.said.append(message.text)

        def broken(told: dict[str, Any]) -> None:
            if told["issue"]["code"] == "ContentSecurityPolicyIssue":
                made.breaches.append(json.dumps(told["issue"]["details"]["contentSecurityPolicyIssueDetails"]))

        def asked(dialog: Dialog) -> None:
            made.breaches.append(f"dialog: {dialog.type}")

        page.on("console", heard)
        page.on("dialog", asked)
        session = await page.context.new_cdp_session(page)
        session.on("Audits.issueAdded", broken)
        await session.send("Audits.enable")
        yield made


@pytest.fixture
async def screen(desk: Desk, axe: str) -> AsyncIterator[Screen]:
    async with screen_on(desk, axe) as made:
        yield made
