"""The console in a real Chromium, for a person with a keyboard; axe-core judges pages, narrow or wide, light or dark.

Use it with ``pytest_plugins`` that name it beside what ``tests.support.web`` needs, and the fixture ``screen``.

Chromium's headless shell is the same engine without what surrounds a page, for half of the processor time. Where it is
not installed, where pictures are taken, and before ``fresh().context``, pages are seen in the whole browser.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zlib import crc32

import pytest
from playwright.async_api import Browser, BrowserContext, CDPSession, ConsoleMessage, Dialog, Error, Page

from byokeep.browser import launch
from tests.support import markup
from tests.support.browser_site import CHEAP
from tests.support.console import PASSWORD, named, on_loopback
from tests.support.web import Desk
from tests.support.website import fresh

judges = markup.judges
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], "resultTypes": ["violations"]}
THEMES, SIZES = ("light", "dark"), (320, 1280, 1920)
# How many stops of the Tab key an element is away: up to the page's end if it is behind; none, if it is gone.
AWAY = """one => {
  if (!one.isConnected) return null;
  const now = document.activeElement, groups = new Set();
  if (one === now) return 0;
  const stops = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter(
    it => it.tabIndex >= 0 && !it.matches(":disabled") && it.checkVisibility({visibilityProperty: true})
      && (it.type !== "radio" || it.checked || !it.form?.querySelector(`[name="${it.name}"]:checked`)
        && !groups.has(it.name) && groups.add(it.name)));
  const at = stops.indexOf(now), to = stops.indexOf(one);
  return to > at ? to - at : Math.max(1, stops.length - at);
}"""

# How much wider than the window the page is; narrow, how many lists go on beyond the edge; how many cells of lists do
# not say what they are and in which column.
SHAPE = """[document.documentElement.scrollWidth - innerWidth,
  [...document.querySelectorAll(".wide")].filter(one => innerWidth <= 600 && one.scrollWidth > one.clientWidth).length,
  [...document.querySelectorAll(".wide td")].filter(one => one.role !== "cell" || one.dataset.label !==
    one.closest("table").tHead.rows[0].cells[one.cellIndex].textContent.trim()).length]"""


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
    cdp: CDPSession
    said: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    who: str = ""
    sessions: dict[str, list[Any]] = field(default_factory=dict)

    async def sign_in(self, who: str = "operator", path: str = "/console") -> None:
        """Somebody signs in to go to a page."""
        name = await named(self.desk, self.desk.people[who])
        await self.page.goto(f"{self.url}/console/sign-in?next={quote(path, safe='')}")
        await self.page.get_by_label("Name").fill(name)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.keyboard.press("Enter")
        await self.page.wait_for_url(lambda url: "sign-in" not in url)
        self.who = who

    async def sits_down(self, who: str, path: str) -> None:
        """Somebody takes their turn at the browser, with the session they had or a new one, and goes to a page."""
        context = self.page.context
        self.sessions[self.who] = await context.cookies()
        await context.clear_cookies()
        if who in self.sessions:
            await context.add_cookies(self.sessions[who])  # type: ignore[arg-type]
            self.who = who
            await self.page.goto(self.url + path)
        if who not in self.sessions or "sign-in" in self.page.url:
            await self.sign_in(who, path)

    async def judged(self, name: str, *, thoroughly: bool = False) -> list[str]:
        """What is wrong with the page that is shown, at each width; by axe-core narrow or wide in one theme, for a look
        of it costs a fifth of a second: which by the page's name. It looks at each size in both themes `thoroughly`, as
        the walk of every page does, and where pictures are taken."""
        faults, place = [], os.environ.get("BYOKEEP_SHOTS")
        drawn = crc32(name.encode()) % 4
        for at, width in enumerate(SIZES):
            await self.page.set_viewport_size({"width": width, "height": 800})
            for theme in THEMES if place or thoroughly else [THEMES[drawn % 2]]:
                await self.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                if place:
                    await self.page.screenshot(path=f"{place}/{name}-{theme}-{width}.png", full_page=True)
                judged = await self.faults(axe=bool(place) or thoroughly or at == drawn // 2)
                faults += [f"{name} {theme} {width}: {one}" for one in judged]
        return faults

    async def look(self, name: str, path: str) -> list[str]:
        """Go to a page, and judge it."""
        reply = await self.page.goto(self.url + path)
        return await self.judged(name) if reply and reply.ok else [f"{name} is refused"]

    async def reach(self, role: str, name: str, *, most: int = 90) -> None:
        """Go by the Tab key to what has this role and name, which may come only now. The page says how many stops it is
        away, and so often the key is pressed before one looks where one is."""
        found, pressed, until = "", 0, time.monotonic() + 30  # kept: to look for it through all of a page takes long
        while pressed < most and time.monotonic() < until:
            away: int | None = None
            with contextlib.suppress(Error):  # the page goes on by itself
                found = found or await self.found(role, name)
                asked = {"functionDeclaration": f"function () {{ return ({AWAY})(this); }}", "objectId": found}
                away = (await self.cdp.send("Runtime.callFunctionOn", asked))["result"].get("value") if found else None
            if away == 0:
                return
            if away is None:
                found = ""
                await asyncio.sleep(0.05)
                continue
            away = min(away, most - pressed)
            await asyncio.gather(*(self.page.keyboard.press("Tab") for _ in range(away)))
            pressed += away
        raise AssertionError(f"no {role} {name!r} is reached")

    async def found(self, role: str, name: str) -> str:
        """The first with this role and name, as Chromium tells a screen reader; nothing, if there is none yet."""
        document = (await self.cdp.send("Runtime.evaluate", {"expression": "document"}))["result"]["objectId"]
        asked = {"objectId": document, "role": role, "accessibleName": name}
        for node in (await self.cdp.send("Accessibility.queryAXTree", asked))["nodes"]:
            one = {"backendNodeId": node["backendDOMNodeId"]}
            return str((await self.cdp.send("DOM.resolveNode", one))["object"]["objectId"])
        return ""

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
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        said = await self.cdp.send("Runtime.evaluate", asked)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def faults(self, *, axe: bool = True) -> list[str]:
        """What is wrong with the page as it is now."""
        shape: Any = await self.ask(SHAPE)
        said = ("pixels wider than the window", "lists go on beyond the edge", "cells without their column")
        faults = [f"{many} {what}" for many, what in zip(shape, said, strict=True) if many > 0]
        if axe:
            if not await self.ask("'axe' in window"):
                await self.ask(self.axe + "; 0")
            found: Any = await self.ask(f"axe.run({json.dumps(RULES)})")
            assert len(found["passes"]) > 15
            faults += [f"{one['id']}: {node['html'][:90]}" for one in found["violations"] for node in one["nodes"]]
        return faults


@contextlib.contextmanager
def cheap() -> Iterator[None]:
    """Browsers that only show pages compile no script to machine code, for a page is left before that pays, and keep a
    frame for the next page of its site."""
    with pytest.MonkeyPatch.context() as patch:
        for name, more in (("switches", CHEAP), ("off", ["RenderDocument"])):
            patch.setitem(launch._CHROMIUM, name, [*launch._CHROMIUM[name], *more])
        yield


@pytest.fixture(scope="module")
async def shell() -> AsyncIterator[Browser]:
    """The browser of all tests of a module."""
    kept = os.environ.get("BYOKEEP_SHOTS") or os.environ.get("BYOKEEP_PICTURES")
    with cheap():
        async with fresh(bare=not kept) as running:
            assert running.context.browser is not None
            yield running.context.browser


@pytest.fixture
async def context(shell: Browser) -> AsyncIterator[BrowserContext]:
    """What a person who comes to a browser finds: nobody's cookies, storage, cache and history."""
    async with await shell.new_context(accept_downloads=False) as made:
        yield made


@contextlib.asynccontextmanager
async def screen_on(
    desk: Desk, axe: str, context: BrowserContext, *, lasting: bool = False
) -> AsyncIterator[Screen]:  # fmt: skip
    """A browser before a desk's console."""
    async with on_loopback(desk, lasting=lasting) as url, context:
        page = await context.new_page()
        cdp = await context.new_cdp_session(page)
        made = Screen(desk, page, url, axe, cdp)

        def heard(message: ConsoleMessage) -> None:
            made.said.append(message.text)

        def broken(told: dict[str, Any]) -> None:
            if told["issue"]["code"] == "ContentSecurityPolicyIssue":
                made.breaches.append(json.dumps(told["issue"]["details"]["contentSecurityPolicyIssueDetails"]))

        def asked(dialog: Dialog) -> None:
            made.breaches.append(f"dialog: {dialog.type}")

        page.on("console", heard)
        page.on("dialog", asked)
        cdp.on("Audits.issueAdded", broken)
        await cdp.send("Audits.enable")
        yield made


@pytest.fixture
async def screen(desk: Desk, axe: str, context: BrowserContext) -> AsyncIterator[Screen]:
    async with screen_on(desk, axe, context, lasting=True) as made:
        yield made
