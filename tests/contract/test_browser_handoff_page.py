"""The page on which a person logs in by hand, in each of its states: axe-core finds nothing, its HTML is valid."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from byokeep.browser.handoff import handed_over
from byokeep.browser.launch import Running
from byokeep.core.errors import Conflict
from byokeep.kernel.ports import Window
from tests.support.markup import faults_of
from tests.support.website import Site, fresh, site_of, site_with_acme

pytest_plugins = ["tests.support.markup"]

STATES = ("live", "done", "second_viewer", "cancelled", "ended")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
TOLD: dict[str, Any] = {
    "facts": {"client": "Müller & <b>Sons</b>", "profile": "018f", "account": "x/acme"},
    "then": "byokeep profile confirm 018f x/ACCOUNT",
}


@dataclass(frozen=True)
class Judged:
    """A page in one state: its HTML, what axe-core has against it, and how many rules of axe-core held."""

    text: str
    violations: list[str]
    held: int


async def judged(page: Page, judges: Path) -> Judged:
    """The page as it is now. The protocol runs axe-core where the page's own policy allows no script."""
    session = await page.context.new_cdp_session(page)
    await session.send("Runtime.evaluate", {"expression": (judges / "node_modules/axe-core/axe.min.js").read_text()})
    ran = {"expression": f"axe.run({json.dumps(RULES)})", "awaitPromise": True, "returnByValue": True}
    found = (await session.send("Runtime.evaluate", ran))["result"]["value"]
    await session.detach()
    violations = [f"{one['id']}: {node['html'][:90]}" for one in found["violations"] for node in one["nodes"]]
    return Judged(await page.content(), violations, len(found["passes"]))


@dataclass(frozen=True)
class Desk:
    """A login on a server's browser, and the browser of the people who come to it."""

    site: Site
    server: Running
    viewers: Running

    def open(self) -> AbstractAsyncContextManager[Window]:
        return handed_over(self.server, site_of(), self.site.place(), **TOLD)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk() -> AsyncIterator[Desk]:
    async with site_with_acme() as site, fresh() as server, fresh(bare=True) as viewers:
        yield Desk(site, server, viewers)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def states(desk: Desk, judges: Path) -> dict[str, Judged]:
    """The page, taken through its states in a real Chromium."""
    seen = {}
    first, second = await desk.viewers.context.new_page(), await desk.viewers.context.new_page()

    async def is_now(state: str, page: Page, words: str) -> None:
        await expect(page.locator("#state")).to_contain_text(words)
        seen[state] = await judged(page, judges)

    async def stopped() -> None:
        async with desk.open() as handoff:
            await first.goto(handoff.address)
            await first.locator("#screen[src]").wait_for()
            await is_now("live", first, "press Done")
            await second.goto(handoff.address)
            await is_now("second_viewer", second, "Somebody else")
            raise Conflict("work_ended")

    with pytest.raises(Conflict):
        await stopped()
    await is_now("cancelled", first, "was cancelled")
    async with desk.open() as handoff:
        await first.goto(handoff.address)
        await first.locator("#screen[src]").wait_for()
        await first.locator("#done").click()
        await expect(first.locator("#then")).to_be_visible()
        await is_now("done", first, "you are done")
    await is_now("ended", first, "has ended")
    return seen


@pytest.mark.parametrize("state", STATES)
async def test_axe_finds_nothing(states: dict[str, Judged], state: str) -> None:
    """WCAG 2.1 at levels A and AA, and axe-core's own good practice."""
    assert states[state].violations == []
    assert states[state].held > 20


async def test_the_page_is_valid_html(states: dict[str, Judged], desk: Desk, judges: Path) -> None:
    """In each state, and as it is sent, before a browser mends what it reads."""
    async with desk.open() as handoff, desk.site.http.get(handoff.address) as reply:
        sent = await reply.text()
    assert faults_of(judges, {"sent": sent} | {state: seen.text for state, seen in states.items()}) == {}


async def test_the_keyboard_gets_to_the_server_and_back(desk: Desk) -> None:
    """Tab is the server's; the one key that is not leads to Done, which a key presses. What is over takes no focus."""
    page = await desk.viewers.context.new_page()
    async with desk.open() as handoff:
        await page.goto(handoff.address)
        await expect(page.locator("#desk")).to_be_focused()
        await expect(page.locator("#state")).to_contain_text("Ctrl+M")
        await desk.server.page.locator("#username").focus()
        await page.keyboard.type("acme")
        await expect(desk.server.page.locator("#username")).to_have_value("acme")
        await page.keyboard.press("Tab")
        await expect(desk.server.page.locator("#password")).to_be_focused()
        await expect(page.locator("#desk")).to_be_focused()
        await page.keyboard.press("Control+m")
        await expect(page.locator("#done")).to_be_focused()
        await page.keyboard.press("Enter")
        assert await handoff.done(60)
    await expect(page.locator("#done")).to_be_disabled()
    for _ in range(4):
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.id") == ""


async def test_what_was_typed_before_done_is_heard_before_it_counts(desk: Desk) -> None:
    """A page that is busy for a moment has the whole name, as of a person who types fast and presses Done."""
    page, shown = await desk.viewers.context.new_page(), desk.server.page
    async with desk.open() as handoff:
        await page.goto(handoff.address)
        await page.locator("#screen[src]").wait_for()
        await shown.set_content("<input>")
        await shown.locator("input").focus()
        await shown.evaluate("setTimeout(() => { for (const end = Date.now() + 500; Date.now() < end;) {} }, 0)")
        await page.locator("#desk").focus()
        await page.keyboard.type("acme")
        await page.locator("#done").click()
        assert await handoff.done(60)
        assert await shown.locator("input").input_value() == "acme"


async def test_a_tab_that_hears_nothing_keeps_nobody_from_looking(desk: Desk) -> None:
    """Its script never ends: what the person does there may be lost, but Done counts, the next tab is shown and hears,
    and whoever comes after that finds no other viewer."""
    page = await desk.viewers.context.new_page()
    async with fresh() as server, replace(desk, server=server).open() as handoff:
        await page.goto(handoff.address)
        await page.locator("#screen[src]").wait_for()
        await server.page.evaluate("setTimeout(() => { for (;;) {} }, 0)")
        await page.locator("#desk").click()
        await page.keyboard.type("acme")
        await page.locator("#done").click()
        assert await handoff.done(60)
        shown = await page.locator("#screen").get_attribute("src")
        other = await server.context.new_page()
        await other.goto("data:text/html,<input>")
        await other.locator("input").focus()
        await expect(page.locator("#screen")).not_to_have_attribute("src", str(shown), timeout=60_000)
        await page.locator("#desk").focus()
        await page.keyboard.type("acme")
        await expect(other.locator("input")).to_have_value("acme", timeout=60_000)
        await page.reload()
        await page.locator("#screen[src]").wait_for()
