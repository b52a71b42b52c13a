"""The console in a real Chromium: axe-core judges each page, narrow or wide, light or dark; so does its own policy."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import pytest

from byokeep.core.errors import Unavailable
from byokeep.kernel.command import raise_alert
from tests.support.console import hostile
from tests.support.screen import Screen

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.screen",
]  # fmt: skip


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
    await page.set_viewport_size({"width": 375, "height": 700})
    menu = await page.locator("nav[aria-label=Pages]").bounding_box()
    assert menu is not None
    assert menu["height"] < 60, "on a phone it leaves room for the page"
    await page.goto(screen.url + str(await page.locator("nav[aria-label=Pages] a").last.get_attribute("href")))
    current = await page.locator("nav[aria-label=Pages] [aria-current]").bounding_box()
    assert current is not None
    assert current["x"] + current["width"] <= 375, "and shows which page this is"
    await page.goto(f"{screen.url}/console/sign-in?next=/console/you")
    faults += await screen.judged("prove")
    await page.goto(f"{screen.url}/console/you")
    assert await screen.ask("localStorage.length + sessionStorage.length") == 0
    assert await screen.ask("indexedDB.databases().then(found => found.length)") == 0
    assert await screen.ask("caches.keys().then(found => found.length)") == 0
    assert await screen.ask("document.cookie") == ""
    await page.get_by_role("button", name="Sign out", exact=True).focus()
    async with page.expect_response("**/console/sign-out") as reply:
        await page.keyboard.press("Enter")
    assert await (await reply.value).header_value("Clear-Site-Data") == '"cache", "storage"'
    await page.wait_for_url("**/console/sign-in")
    await page.go_back()
    assert "Signing out" not in await page.content()
    assert faults == []
    assert [one for one in screen.said if "401" not in one and "Clear-Site-Data" not in one] == []


async def test_the_pages_of_the_agency(screen: Screen) -> None:
    """Empty and full, with names that no check lets in: nothing against them, nothing runs, nothing is too wide."""
    page, desk, faults = screen.page, screen.desk, []
    await screen.sign_in()

    async def look(name: str, path: str) -> None:
        faults.extend(await screen.judged(name) if (await page.goto(screen.url + path)).ok else [f"{name} is refused"])  # type: ignore[union-attr]

    for name, path in (("attention", ""), ("clients", "/clients"), ("alerts", "/alerts"), ("approvals", "/approvals"),
                       ("procedures", "/procedures")):  # fmt: skip
        await look(f"empty-{name}", f"/console{path}")
    client, _ = await hostile(desk)
    await desk.stand.job(UUID(client))
    for number in range(60):
        await desk.stand.client() if number < 5 else None
        await raise_alert(
            desk.stand.app, reason="kill_panic", key=f"{number}", severity="critical", client_id=UUID(client)
        )
    assert (await desk.put(UUID(client), desk.canary()))[0] == 202
    await desk.work()
    run = next(one for one in (await desk.call("GET", "/v1/procedures", "operator"))[1]["procedures"] if one["steps"])
    desk.sql("UPDATE byokeep.credential_ref SET created_at = now() - interval '99 days',"
             " rotation_due_at = now() - interval '9 days'")  # fmt: skip
    await desk.call("POST", "/v1/switches/close", "operator", {"client_id": client, "platform": "x", "reason": "leak"})
    await desk.call("POST", "/v1/switches/open-requests", "operator",
                    {"client_id": client, "platform": "x", "reason": "cause_removed"})  # fmt: skip
    assert (await desk.call("POST", f"/v1/clients/{client}/contacts", "operator", {}))[0] == 201
    for name, path in (
        ("attention", ""), ("clients", "/clients"), ("client", f"/clients/{client}"), ("alerts", "/alerts"),
        ("alerts-last", "/alerts?severity=critical&page=2"), ("due", "/due?days=90"), ("approvals", "/approvals"),
        ("contacts", f"/clients/{client}/contacts"),
        ("procedures", "/procedures"), ("procedure", f"/procedures/{run['id']}"),
        ("kill", "/kill"), ("kill-look", f"/kill?look=1&client_id={client}"),
    ):  # fmt: skip
        await look(name, f"/console{path}")
        assert await page.title() != "run"
    await page.goto(f"{screen.url}/console/clients/{UUID(int=7)}")
    faults += await screen.judged("refused")
    assert await page.locator("#waits").is_hidden(), "who approves nothing is told of nothing"
    await page.context.clear_cookies()
    await screen.sign_in("approver")
    await page.get_by_role("link", name="Approvals1 to decide").wait_for()
    faults += await screen.judged("waits")
    assert faults == []
    assert [one for one in screen.said if "404" not in one] == []


async def test_a_stop_with_the_keyboard_alone(screen: Screen) -> None:
    """From the first page to the stop by Tab, Enter and typed letters; what it stops is shown before."""
    page, desk = screen.page, screen.desk
    client = await desk.stand.client("openai")
    await desk.stand.job(client)
    await screen.sign_in()

    await page.keyboard.press("/")  # alone it is a letter: who dictates would set it off (WCAG 2.1.4)
    assert await screen.ask("document.activeElement.id") == ""
    await page.keyboard.press("Control+/")
    await page.keyboard.type("a/b")
    assert await page.get_by_label("Search names", exact=True).input_value() == "a/b"
    assert await screen.ask("document.activeElement.id") == "names"
    await page.keyboard.press("Control+k")
    offered = page.get_by_role("dialog").get_by_role("link")
    assert "New client" not in await offered.all_inner_texts(), "an admin does that"
    faults = await screen.judged("actions")
    await page.keyboard.type("acme")
    await page.get_by_text("Enter: search names").wait_for()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/search?find=acme")
    await page.keyboard.press("Control+k")
    await page.keyboard.type("STOP")
    await page.get_by_text("Enter: Stop a client").wait_for()
    assert await offered.all_inner_texts() == ["Stop a client", "Release a stop"]
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/kill")
    assert faults == []
    await screen.reach("combobox", "Client")
    await page.keyboard.press("ArrowDown")
    await screen.reach("button", "See what it would stop")
    await page.keyboard.press("Enter")
    await page.get_by_text("1 running job").wait_for()
    await screen.reach("textbox", "Reason, as a code")
    await page.keyboard.type("suspected_leak")
    await page.keyboard.press("Enter")
    await page.get_by_text("suspected leak, by").wait_for()
    engaged = desk.sql("SELECT scope || ' ' || reason FROM byokeep.switch WHERE closed")
    assert engaged == f"client:{client} suspected_leak"
    assert desk.sql("SELECT count(*) FROM byokeep.job WHERE state = 'open'") == "0"


# A tab that is opened behind another one, and looked at seven seconds later.
_BEHIND = """
let hidden = true;
const now = performance.now.bind(performance);
performance.now = () => now() + 7000;
Object.defineProperty(document, "hidden", { get: () => hidden });
window.seen = () => { hidden = false; document.dispatchEvent(new Event("visibilitychange")); };
"""


async def test_a_page_says_what_happened_after_it_was_loaded(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop and its end, an audit that is not proved, and silence: the page says so by itself, and is stale then."""
    page, desk = screen.page, screen.desk
    desk.sql("UPDATE byokeep.installation SET store_recorded_at = clock_timestamp() + interval '1 hour'")
    await screen.sign_in()
    live = page.locator("#live")
    await page.get_by_text("are followed live").wait_for()
    assert await live.inner_text() == ""
    top = await page.evaluate("document.querySelector('main').getBoundingClientRect().top")
    assert (await desk.call("POST", "/v1/switches/close", "operator", {"lane": "browser", "reason": "leak"}))[0] == 200
    await live.get_by_text("1 kill switch is engaged.").wait_for()
    assert await page.evaluate("document.querySelector('main').getBoundingClientRect().top") == top, "nothing moves"
    await live.get_by_text("was engaged or released after this page was loaded").wait_for()
    desk.sql("UPDATE byokeep.installation SET store_recorded_at = clock_timestamp() - interval '1 minute'")
    await live.get_by_text("not proved to record").wait_for()
    faults = await screen.judged("live")
    real, away, broken = desk.web.db.read, True, False

    async def read(shape: Any, statement: str, *given: Any, **more: Any) -> Any:
        nonlocal broken
        if away and statement == "switch_engaged":
            broken = not broken
            raise KeyError("engaged") if broken else Unavailable("database_unreachable")
        return await real(shape, statement, *given, **more)

    monkeypatch.setattr(desk.web.db, "read", read)
    began = time.monotonic()
    await live.get_by_text("This page is stale").wait_for()
    assert time.monotonic() - began < 10
    assert (await page.title()).startswith("Stale: ")
    faults += await screen.judged("stale")
    away = False
    await page.get_by_text("are followed live").wait_for()
    assert not (await page.title()).startswith("Stale: ")
    behind = await page.context.new_page()
    await behind.add_init_script(_BEHIND)
    await behind.goto(page.url)
    await behind.evaluate("seen()")
    await behind.get_by_text("loaded some time before it was followed").wait_for()
    await behind.close()
    desk.sql("UPDATE byokeep.api_token SET revoked_at = clock_timestamp() WHERE kind = 'console'")
    await live.get_by_text("Your session has ended").wait_for()
    assert "token_reuse" not in desk.stand.alerts()
    assert faults == []
    assert screen.said == []
