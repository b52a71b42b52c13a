"""The portal in a real Chromium, by the keyboard alone, judged by axe-core; and what is left there of a key."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

import pytest
from playwright.async_api import Error, Page

from tests.support.broker import POST
from tests.support.console import HOSTILE, hostile
from tests.support.pixels import png
from tests.support.portal import code_for, guest, invited
from tests.support.screen import Screen, cheap, screen_on
from tests.support.web import Desk
from tests.support.website import fresh

pytest_plugins = [
    "tests.support.postgres_fixtures",
    "tests.support.broker",
    "tests.support.web",
    "tests.support.screen",
]


@dataclass
class Hand:
    """Somebody without a mouse; ``seen`` is all that the pages held."""

    screen: Screen
    seen: str = ""

    @property
    def page(self) -> Page:
        return self.screen.page

    async def pick(self, name: str) -> None:
        """One of a group: Tab leads to the group, arrows within it."""
        aim = self.page.get_by_role("radio", name=name)
        for _ in range(60):
            if await self.page.locator("input[type=radio]:focus").count():
                break
            await self.page.keyboard.press("Tab")
        for _ in range(10):
            await self.page.keyboard.press("Space")
            if await aim.is_checked():
                return
            await self.page.keyboard.press("ArrowDown")
        raise AssertionError(f"{name} is not reached")

    async def press(self, role: str, name: str, typed: str = "") -> None:
        await self.screen.reach(role, name, most=60)
        if typed:
            await self.page.keyboard.type(typed)
        async with self.page.expect_navigation():
            await self.page.keyboard.press("Enter")
        await self.keep()

    async def keep(self) -> None:
        """Note what the page holds; one that loads itself again is asked until it stands."""
        for _ in range(50):
            with contextlib.suppress(Error):
                self.seen += await self.page.content() + self.page.url + await self.page.title()
                return
            await self.page.wait_for_timeout(50)
        raise AssertionError("the page does not stand still")


@pytest.mark.req("S-ASVS-14", "R11.1-3")
async def test_from_the_invitation_to_the_end_of_a_key_by_the_keyboard(desk: Desk, axe: str) -> None:
    """Each page in both themes and three widths has no fault; no page, address, history or storage holds a key.

    It is the whole browser that keeps nothing, with its history and all that fills in forms.
    """
    with cheap():
        async with fresh() as browser, screen_on(desk, axe, browser.context) as screen:
            await led(screen)


async def led(screen: Screen) -> None:
    """One key's life, of which nothing stays in the browser."""
    page, desk, faults = screen.page, screen.desk, []
    client = await desk.stand.client()
    link = (await invited(desk, client, name="Ada of Acme")).invited["token"]
    desk.stand.account(client, account="acme-shop")
    wrong, first, second = desk.canary("anthropic"), desk.canary("openai"), desk.canary("openai")
    hand = Hand(screen)
    pick, press, keep = hand.pick, hand.press, hand.keep
    asked: list[str] = []
    stored: list[str] = []
    page.on("response", lambda one: stored.append(f"{one.url}: {one.headers.get('cache-control')}"))
    policies: list[str] = []
    page.on("response", lambda one: policies.append(one.headers.get("content-security-policy", "")))
    page.on("request", lambda one: asked.append(one.url.partition("#")[0] + one.headers.get("referer", "")))
    await page.goto(f"{screen.url}/portal/invitation")
    faults += await screen.judged("portal-invitation")
    for before in (False, True):
        await page.goto(f"{screen.url}/portal/invitation#{link}", wait_until="commit")
        await page.get_by_label("What is your e-mail address?").wait_for()
        assert page.url == f"{screen.url}/portal/invitation"  # nothing stands behind it any more
        if not before:
            await page.go_back()
            assert page.url == f"{screen.url}/portal/invitation"
            assert await page.get_by_label("What is the link?").input_value() == ""
    faults += await screen.judged("portal-invited")
    await press("textbox", "What is your e-mail address?", "ada@client.example")
    faults += await screen.judged("portal-code")
    await press("textbox", "What is the code?", "AAAAA-AAAAA")
    faults += await screen.judged("portal-code-wrong")
    await press("textbox", "What is the code?", await code_for("ada@client.example"))
    await page.get_by_role("heading", name="Keys and accounts of").wait_for()
    faults += await screen.judged("portal-empty")
    await press("link", "Enter a key")
    faults += await screen.judged("portal-provider")
    await pick("OpenAI")
    await press("button", "Go on")
    faults += await screen.judged("portal-key")
    key = page.get_by_label("What is the key?")
    masks = {"type": "password", "autocomplete": "off", "spellcheck": "false", "name": "key"}
    assert {name: await key.get_attribute(name) for name in masks} == masks
    assert await page.locator("form:has(#key)").get_attribute("method") == "post"
    assert await page.locator("script").count() == 0  # neither ours nor anybody's
    inline = "(s => { try { s.text = 'document.title=1' } catch {}; document.body.append(s) })"
    await screen.ask(f"{inline}(document.createElement('script'))")
    assert await page.title() != "1"  # the policy lets nothing run that stands in the page
    await press("textbox", "What is the key?", wrong.decode())
    await page.get_by_text("It has the form of a key of anthropic").first.wait_for()
    assert await page.get_by_label("What is the key?").input_value() == ""
    faults += await screen.judged("portal-key-wrong")
    await press("textbox", "What is the key?", first.decode())
    await page.get_by_text("is being asked whether the key works").wait_for()
    await screen.ask("history.go(-2) || 1")  # what lies between is a form that was sent: the browser does not show it
    await page.wait_for_url("**/portal/keys/new?provider=openai")
    await keep()
    assert await key.input_value() == ""
    await page.reload()
    await keep()
    await screen.ask("history.go(2) || 1")
    await page.get_by_text("is being asked whether the key works").wait_for()
    faults += await screen.judged("portal-key-asked")
    await desk.work()
    await press("link", "Look again")
    await page.get_by_text("The key works.", exact=True).wait_for()
    faults += await screen.judged("portal-key-works")
    await press("link", "Replace it")
    await press("textbox", "What is the key?", second.decode())
    await page.get_by_text("A replacement is under way").first.wait_for()
    await desk.work()
    await page.reload()
    faults += await screen.judged("portal-replacing")
    await press("link", "End its use")
    faults += await screen.judged("portal-end")
    await pick("It should no longer be used")
    await press("button", "End its use")
    await page.get_by_role("heading", name="ended").wait_for()
    faults += await screen.judged("portal-ended")
    await press("link", "Keys and accounts")
    faults += await screen.judged("portal-home")
    await press("link", "acme-shop")
    faults += await screen.judged("portal-account")
    for _ in range(6):
        await page.go_back()
        await keep()
    third = desk.canary("google")
    faults += await the_rest(screen, hand, client, third)
    assert await screen.ask("localStorage.length + sessionStorage.length") == 0
    assert await screen.ask("document.cookie") == ""
    for value in (wrong, first, second, third):
        assert value.decode() not in hand.seen
    assert "Ada of Acme" in hand.seen  # the search finds what is there
    assert len(asked) > 20
    assert [one for one in stored if not one.endswith(": no-store")] == []  # no cache has a page
    assert not [one for one in asked if link in one]  # no address, and no referrer
    assert not [one for one in policies if "default-src 'none'" not in one or "unsafe" in one]  # nothing runs in a page
    assert faults == []


async def the_rest(screen: Screen, hand: Hand, client: UUID, value: bytes) -> list[str]:
    """A provider that is not reached, who used a key, connecting, and signing in again; what is wrong with pages."""
    page, desk, press, faults = screen.page, screen.desk, hand.press, []
    desk.sim.faults.add({"provider": "google", "kind": "status", "status": 503, "times": 99})
    await page.goto(f"{screen.url}/portal/keys/new?provider=google")
    await press("textbox", "What is the key?", value.decode())
    await desk.work()
    await press("link", "Look again")
    await page.get_by_text("says nothing about the key").first.wait_for()
    assert await page.get_by_text("The key is not proved to work").count() == 0
    faults += await screen.judged("portal-key-unreachable")
    desk.sim.faults.clear()
    await desk.retry_now()
    await press("link", "Look again")
    await page.get_by_text("The key works.", exact=True).wait_for()
    await desk.stand.lease(await desk.stand.job(client, secrets=["google"]))
    await page.reload()
    await page.get_by_role("cell", name="was handed out to a job").wait_for()
    faults += await screen.judged("portal-key-used")
    await press("link", "Keys and accounts")
    await page.get_by_role("region", name="Used in the last 24 hours").get_by_role("cell", name="Google").wait_for()

    back = "http://127.0.0.1:8431/callback"
    secret = b"a-secret-that-is-made-up-0123456789"
    query = urlencode({"app_id": "app", "redirect_uri": back})
    assert (await desk.call("PUT", f"/v1/apps/x?{query}", "admin", raw=secret))[0] in (200, 201)
    await press("link", "acme-shop")
    await press("button", "Connect it")
    faults += await screen.judged("portal-consent")
    to = await page.get_by_role("link", name="Go to X").get_attribute("href") or ""
    state = parse_qs(urlsplit(to).query)["state"][0]
    field = "After you have consented: what is the address of the page that you came to?"
    await press("textbox", field, f"{back}?state={state}&code=a-code-made-up")
    await page.get_by_role("heading", name="The platform is being asked whose account it is").wait_for()

    await press("button", "Sign out")
    faults += await screen.judged("portal-sign-in")
    seen = len(POST)
    await press("textbox", "What is your e-mail address?", "ada@client.example")
    await press("textbox", "What is the code?", await code_for("ada@client.example", after=seen))
    await page.get_by_role("heading", name="Keys and accounts of").wait_for()
    return faults


async def test_hostile_names_do_nothing_in_the_portal(screen: Screen) -> None:
    """Accounts named by no check of ours, and the corpus in each field: nothing runs, nothing is too wide."""
    page, desk, faults = screen.page, screen.desk, []
    client, _ = await hostile(desk)
    one = await guest(desk, UUID(client))
    for text in HOSTILE:
        for path, name in (
            ("/portal/sign-in", "address"),
            ("/portal/keys/new", "key"),
            ("/portal/invitation/accept", "link"),
        ):
            await one.get("/portal/keys/new?provider=openai" if name == "key" else "/portal/sign-in")
            fields = {name: text} | ({"provider": "openai"} if name == "key" else {})
            fields |= {"address": "ada@client.example"} if name == "link" else {}
            shown = await one.send(path, **fields)
            assert shown.status in (401, 422, 429), (path, text)
            assert "<script>document" not in shown.raw
            assert "<img src=x" not in shown.raw
    link = (await invited(desk, UUID(client))).invited["token"]
    await page.goto(f"{screen.url}/portal/invitation#{link}", wait_until="commit")
    for name, text in (("What is your e-mail address?", "eve@client.example"), ("What is the code?", "")):
        await page.get_by_label(name).fill(text or await code_for("eve@client.example"))
        await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Keys and accounts of").wait_for()
    assert await page.get_by_role("heading", name="Accounts", exact=True).count() == 1
    put = await desk.call("PUT", f"/v1/clients/{client}/logo", "operator", raw=png(400, 40))
    assert put[0] == 200, put
    await page.reload()
    faults += await screen.judged("portal-hostile")
    logo = "(one => [parseFloat(one.width), parseFloat(one.height)])(getComputedStyle({}, '::before'))"
    assert await screen.ask(logo.format("document.querySelector('.own .brand')")) == [160, 32]  # a wide one is no line
    await page.get_by_role("link", name="acme1", exact=True).click()
    faults += await screen.judged("portal-hostile-account")
    assert await page.title() != "run"
    assert faults == []
    assert screen.said == []
