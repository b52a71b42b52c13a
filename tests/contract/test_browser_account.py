"""Whose account a real Chromium is logged in as: lies are caught, the picture shows nothing else, logout is proven."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from socket import gethostname
from typing import Any
from unittest.mock import AsyncMock, Mock
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio
from multidict import CIMultiDict
from playwright.async_api import Page, expect

from byokeep.adapters.files.profile_notes import ProofFiles
from byokeep.browser.handoff import TAKEN, handed_over, host_of
from byokeep.browser.identify import IdentityOutcome, PageIdentity, _settled, identify, look, photographed
from byokeep.browser.launch import Running
from byokeep.browser.rooms import ProfileRoom, RoomBrowser, RoomSite
from byokeep.browser.session import logged_out, restored, taken
from byokeep.core.errors import Conflict, Rejected, Unavailable
from byokeep.core.identity import Face, IdentityVerdict, Why
from byokeep.core.manifest import BROWSER_APP, ExpectedAccount, Packing
from byokeep.core.model import Provider
from byokeep.core.vault_incident import SessionEnd
from byokeep.kernel.ports import Window
from byokeep.platforms.website import SitePlace, websites
from byokeep_sim.site import DRAFT, EMAIL, MESSAGE, SiteLie
from tests.support.pixels import read_png
from tests.support.reading import plain, read
from tests.support.social import fingerprint_of
from tests.support.website import ACME, Site, expected, fresh, site_of, site_with_acme

LOOPS = "<title>x</title><script>addEventListener('load', () => setTimeout(() => { for (;;) {} }, 100))</script>"
TOLD: dict[str, Any] = {
    "facts": {"client": "Müller & <b>Sons</b>", "profile": "018f", "account": "x/acme"},
    "then": "byokeep profile confirm 018f x/ACCOUNT",
}
# A lie, and what the page of it comes to. None of them is a match.
CAUGHT = {
    SiteLie.TWO_ACCOUNTS: (IdentityOutcome.AMBIGUOUS, "several_accounts"),
    SiteLie.HIDDEN: (IdentityOutcome.AMBIGUOUS, "not_shown"),
    SiteLie.AWAY: (IdentityOutcome.AMBIGUOUS, "not_shown"),
    SiteLie.CLEAR: (IdentityOutcome.AMBIGUOUS, "not_shown"),
    SiteLie.OTHER_HOST: (IdentityOutcome.AMBIGUOUS, "other_host"),
    SiteLie.FRAME: (IdentityOutcome.AMBIGUOUS, "nothing_there"),
    SiteLie.OTHER_ID: (IdentityOutcome.IDENTIFIED, ""),
    SiteLie.LOOKALIKE: (IdentityOutcome.IDENTIFIED, ""),
    SiteLie.SWAPPED: (IdentityOutcome.AMBIGUOUS, "page_changes"),
    SiteLie.CHALLENGE: (IdentityOutcome.CHALLENGE, ""),
    SiteLie.LOGIN: (IdentityOutcome.LOGGED_OUT, ""),
    SiteLie.EMPTY: (IdentityOutcome.AMBIGUOUS, "nothing_there"),
    SiteLie.ERROR: (IdentityOutcome.UNREACHABLE, "status"),
}


def port_of(window: Window) -> int | None:
    """The port that the person's tunnel ends at."""
    return urlsplit(window.address).port


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site() -> AsyncIterator[Site]:
    async with site_with_acme() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser(site: Site) -> AsyncIterator[Running]:
    """One browser, logged in everywhere."""
    async with fresh() as started:
        for platform in websites():
            await site.log_in(started.page, platform)
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def other() -> AsyncIterator[Running]:
    """One for logins that end."""
    async with fresh(bare=True) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def viewed() -> AsyncIterator[Running]:
    """One that somebody sees through the viewer."""
    async with fresh() as started:
        yield started


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byokeep.browser.identify.READ_S", 1.0)
    monkeypatch.setattr("byokeep.browser.session._TAKEN_S", 1.0)


async def seen_with(browser: Running, site: Site, lie: SiteLie, platform: str) -> PageIdentity:
    await site.lie(lie, platform=platform)
    try:
        return await identify(browser.page, site_of(platform), site.place(platform))
    finally:
        await site.lie(platform=platform)


@pytest.mark.parametrize("platform", sorted(websites()))
async def test_each_platforms_account_is_read(browser: Running, site: Site, platform: str) -> None:
    """The account is identified, the first fingerprint is that of the platform, and nothing was done."""
    before = await site.effects()
    seen = await identify(browser.page, site_of(platform), site.place(platform))
    assert seen.outcome is IdentityOutcome.IDENTIFIED, seen
    assert seen.face is not None
    assert fingerprint_of(seen.face, app_id=BROWSER_APP) == expected(platform)
    assert seen.compared(expected(platform)).verdict is IdentityVerdict.MATCH
    other = seen.compared(expected(platform, id="9" * 10))
    assert (other.verdict, other.why) == (IdentityVerdict.MISMATCH, Why.OTHER_ID)
    assert await site.effects() == before


async def test_a_page_whose_script_never_ends_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser asks such a page without end; it is as one that is not there, and there is no picture of it."""
    monkeypatch.setattr("byokeep.browser.identify.READ_S", 0.01)
    monkeypatch.setattr("byokeep.browser.identify.PROVE_S", 0.01)
    busy, place = AsyncMock(), site.place("linkedin")
    busy.on = busy.remove_listener = lambda *_: None
    busy.evaluate = lambda *_: asyncio.Event().wait()
    assert (await look(busy, site_of("linkedin"), place)).outcome is IdentityOutcome.UNREACHABLE
    monkeypatch.setattr("byokeep.browser.identify.READ_S", 9.0)
    with pytest.raises(Unavailable, match="proof_failed"):
        await photographed(busy, site_of("linkedin"), place, expected("linkedin"))


async def test_a_browser_whose_page_loops_for_ever_is_told_and_closed(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A real one, which answers nothing for such a tab: look, picture and packing end, and so does the browser."""
    for limit in ("identify.READ_S", "identify._HEARD_S", "session._STEP_S"):
        monkeypatch.setattr(f"byokeep.browser.{limit}", 2.0)
    at = (site_of(), site.place())
    async with asyncio.timeout(120):
        async with fresh(bare=True) as one:
            await one.context.route("**/*", lambda route: route.fulfill(body=LOOPS, content_type="text/html"))
            assert await identify(one.page, *at) == PageIdentity(outcome=IdentityOutcome.UNREACHABLE, why="no_page")
            assert (await look(one.page, *at)).outcome is IdentityOutcome.UNREACHABLE
            known = {Provider.SKOOL: RoomSite(website=at[0], place=at[1])}
            inside = RoomBrowser(one, ProfileRoom(tmp_path, Packing.FULL, known), known, ())
            asked = ExpectedAccount(
                platform=Provider.SKOOL, account="acme", account_id=ACME["id"], username=None, display_name=None
            )
            for hung in (photographed(one.page, *at, expected()), inside.prove(asked)):
                with pytest.raises(Unavailable, match="proof_failed"):
                    await hung
            with pytest.raises(Unavailable, match="browser_failed"):
                await taken(one)


async def test_a_page_that_loops_as_one_leaves_it_keeps_no_session_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its session is not packed, and that is told."""
    monkeypatch.setattr("byokeep.browser.session._STEP_S", 2.0)
    leaving = "<title>x</title><script>sessionStorage.setItem('a', 'b');"
    leaving += "addEventListener('pagehide', () => { for (;;) {} })</script>"
    async with asyncio.timeout(120):
        async with fresh(bare=True) as one:
            await one.context.route("**/*", lambda route: route.fulfill(body=leaving, content_type="text/html"))
            await one.page.goto(site_of().page)
            one.page.set_default_navigation_timeout(2000)
            with pytest.raises(Unavailable, match="browser_failed"):
                await taken(one)


@pytest.mark.parametrize("busy", ["first", "second"])
async def test_a_page_that_is_busy_for_one_of_two_looks_is_nobodys(busy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose it is cannot be said: it is not told as another account's."""
    unreachable = PageIdentity(outcome=IdentityOutcome.UNREACHABLE, why="no_page")
    face = Face(account_id="1", username=None, display_name=None)
    known = PageIdentity(outcome=IdentityOutcome.IDENTIFIED, face=face)
    looks = [unreachable, known] if busy == "first" else [known, unreachable]
    monkeypatch.setattr("byokeep.browser.identify.look", AsyncMock(side_effect=looks))
    monkeypatch.setattr("byokeep.browser.identify.QUIET_S", 0.0)
    assert await _settled(Mock(), site_of(), Mock()) == unreachable


async def test_a_page_that_begins_to_loop_while_it_is_photographed_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the picture left in it stays there: the tab hears nothing any more, and is closed."""

    async def hangs(page: Page, *_: Any) -> bytes:
        await page.evaluate("setTimeout(() => { for (;;) {} }, 0)")
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr("byokeep_redact.hooks.browser.pictures._photograph", hangs)
    monkeypatch.setattr("byokeep_redact.hooks.browser.pictures._TIDY_S", 0.5)
    monkeypatch.setattr("byokeep.browser.identify.PROVE_S", 3.0)
    monkeypatch.setattr("byokeep.browser.identify.READ_S", 9.0)
    async with asyncio.timeout(60):
        async with fresh(bare=True) as one:
            await site.log_in(one.page)
            await identify(one.page, site_of(), site.place())
            with pytest.raises(Unavailable, match="proof_failed"):
                await photographed(one.page, site_of(), site.place(), expected())


@pytest.mark.parametrize("lie", sorted(CAUGHT))
async def test_every_lie_of_a_page_is_caught(browser: Running, site: Site, lie: SiteLie) -> None:
    """A page that a careless reader takes for the account's is never a match, and says by a word what it is."""
    seen = await seen_with(browser, site, lie, "linkedin")
    assert (seen.outcome, seen.why) == CAUGHT[lie]
    comparison = seen.compared(expected("linkedin"))
    assert comparison.verdict is IdentityVerdict.MISMATCH


@pytest.mark.parametrize(
    "lie", [SiteLie.TWO_ACCOUNTS, SiteLie.OTHER_ID, SiteLie.SWAPPED, SiteLie.FRAME, SiteLie.CHALLENGE, SiteLie.LOGIN]
)
async def test_lies_are_caught_where_the_account_stands_in_data(browser: Running, site: Site, lie: SiteLie) -> None:
    """The same holds for platforms whose pages carry the account as JSON."""
    seen = await seen_with(browser, site, lie, "skool")
    assert seen.compared(expected("skool")).verdict is IdentityVerdict.MISMATCH


async def test_a_changed_name_is_drift_and_not_a_match(browser: Running, site: Site) -> None:
    """The id decides; the same id under another name waits for a person."""
    seen = await identify(browser.page, site_of(), site.place())
    assert seen.compared(expected(display_name="Acme Bread")).verdict is IdentityVerdict.DRIFT


async def test_a_simulators_address_is_no_platforms_page(browser: Running, site: Site) -> None:
    """Without an override a page of this machine is another host, whatever it shows."""
    await identify(browser.page, site_of(), site.place())
    from byokeep.browser.identify import look

    assert (await look(browser.page, site_of(), SitePlace())).why == "other_host"
    with pytest.raises(Rejected):
        SitePlace(base="https://elsewhere.example").at(site_of().page)


async def test_a_dead_platform_is_unreachable(browser: Running) -> None:
    """No answer is an outcome of its own, and a mismatch."""
    seen = await identify(browser.page, site_of(), SitePlace(base="http://127.0.0.1:9"))
    assert seen.outcome is IdentityOutcome.UNREACHABLE
    assert seen.compared(expected()).why is Why.COULD_NOT_CHECK


async def test_the_picture_shows_the_region_alone(browser: Running, site: Site) -> None:
    """A PNG of pixels alone, with its hash, the size of the region; taken of the right account only."""
    await identify(browser.page, site_of(), site.place())
    box = await browser.page.locator("#card").bounding_box()
    proof = await photographed(browser.page, site_of(), site.place(), expected())
    picture = read_png(proof.picture)
    assert box is not None
    assert abs(picture.width - box["width"]) <= 1
    assert abs(picture.height - box["height"]) <= 1
    assert proof.sha256 == hashlib.sha256(proof.picture).hexdigest()
    assert len(picture.region(0, 0, picture.width, picture.height)) > 2  # the name is painted
    assert chunks_of(proof.picture) <= {b"IHDR", b"IDAT", b"IEND", b"sRGB", b"PLTE", b"tRNS"}
    for text in (EMAIL, MESSAGE, DRAFT, site.password):
        assert text.encode() not in proof.picture
    with pytest.raises(Rejected) as caught:
        await photographed(browser.page, site_of(), site.place(), expected(id="1"))
    assert caught.value.code == "account_not_proven"


@pytest.mark.req("R5.3-18")
async def test_nobody_reads_more_in_the_picture_than_the_name(browser: Running, site: Site, tmp_path: Path) -> None:
    """As it is kept, by its hash: recognition reads the account, and of message, address, draft, cookies not a word."""
    await identify(browser.page, site_of(), site.place())
    cookies = [one["value"] for one in await browser.context.cookies()]
    words = [word for text in (EMAIL, MESSAGE, DRAFT) for word in text.split() if len(word) > 3]
    await browser.page.evaluate("document.body.style.zoom = 3")
    shown = read(await browser.page.screenshot(full_page=True))
    assert [word for word in words if plain(word) not in shown] == [], "it can not be read where it stands open"
    wide = replace(site_of(), proof=replace(site_of().proof, region="body"))
    for website in (site_of(), wide):
        proof = await photographed(browser.page, website, site.place(), expected())
        name = await ProofFiles(tmp_path).keep(UUID(int=1), UUID(int=2), 1, proof)
        kept = (tmp_path / name).read_bytes()
        assert hashlib.sha256(kept).hexdigest() == proof.sha256
        assert proof.sha256 in name
        assert chunks_of(kept) <= {b"IHDR", b"IDAT", b"IEND", b"sRGB", b"PLTE", b"tRNS"}
        seen = read(kept)
        assert plain(ACME["display_name"]) in seen
        assert not [word for word in words if plain(word) in seen]
        assert not [value for value in cookies if plain(value) in seen or value.encode() in kept]
    await browser.page.evaluate("document.body.style.zoom = 1")
    await browser.page.evaluate("history.replaceState(null, '', location.pathname.replace('settings', 'inbox'))")
    with pytest.raises(Rejected, match="page_not_allowed"):
        await photographed(browser.page, site_of(), site.place(), expected())


async def test_covered_parts_of_a_wide_region_are_black(browser: Running, site: Site) -> None:
    """Messages, the e-mail address and typed text are covered where the region holds them; no pixel of them shows."""
    website = site_of()
    wide = replace(website, proof=replace(website.proof, region="body"))
    await identify(browser.page, website, site.place())
    boxes = [await browser.page.locator(one).bounding_box() for one in (".message", ".email", "#text")]
    picture = read_png((await photographed(browser.page, wide, site.place(), expected())).picture)
    origin = await browser.page.locator("body").bounding_box()
    assert origin is not None
    for box in boxes:
        assert box is not None
        inside = picture.region(box["x"] - origin["x"], box["y"] - origin["y"], box["width"], box["height"])
        assert inside == {b"\0\0\0"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("history.replaceState(null, '', location.pathname.replace('settings', 'inbox'))", "page_not_allowed"),
        ("document.getElementById('card').remove()", "region_not_found"),
        ("document.getElementById('card').style.opacity = 0", "region_not_found"),
        ("document.getElementById('card').append(document.querySelector('.message').textContent)", "proof_would_show"),
        ("document.getElementById('card').append(document.getElementById('text').value)", "proof_would_show"),
        ("document.getElementById('card').append('write to jane@acme.example')", "proof_would_show"),
        ("document.getElementById('who').innerHTML = ''", "account_not_proven"),
        ("document.body.append(Object.assign(document.createElement('input'), {type: 'password'}))",
         "account_not_proven"),
    ],
)  # fmt: skip
async def test_no_picture_of_anything_else(browser: Running, site: Site, change: str, code: str) -> None:
    """Another page, no region, a message or an address in the open, an account that is not proven: no picture."""
    await identify(browser.page, site_of(), site.place())
    await browser.page.evaluate(change)
    with pytest.raises(Rejected) as caught:
        await photographed(browser.page, site_of(), site.place(), expected())
    assert caught.value.code == code


def chunks_of(png: bytes) -> set[bytes]:
    at, found = 8, set()
    while at < len(png):
        size, name = struct.unpack_from(">I4s", png, at)
        found.add(name)
        at += 12 + size
    return found


@pytest.mark.req("R7.3-3")
@pytest.mark.parametrize(
    ("platform", "logout", "ended"),
    [
        ("skool", "ends", SessionEnd.REVOKED),
        ("x", "ends", SessionEnd.REVOKED),
        ("skool", "feigned", SessionEnd.FAILED),
        pytest.param("skool", "broken", SessionEnd.FAILED, marks=pytest.mark.campaign),
        ("meta", "ends", SessionEnd.UNSUPPORTED),
    ],
)
async def test_a_logout_counts_when_the_old_session_is_refused(
    site: Site, other: Running, platform: str, logout: str, ended: SessionEnd
) -> None:
    """Revoked is said only when the platform refuses the old cookies; a page that says so proves nothing."""
    browser = other
    await site.log_in(browser.page, platform)
    await identify(browser.page, site_of(platform), site.place(platform))
    session = await taken(browser)
    await site.lie(logout=logout, platform=platform)
    try:
        assert await logged_out(browser, site_of(platform), site.place(platform), session, ACME["id"]) is ended
    finally:
        await site.lie(platform=platform)
    assert await browser.context.cookies() == []
    assert (await taken(browser, also=session.visited())).origins == ()
    browser.visited.clear()  # as empty as a new one
    await restored(browser, session)
    seen = await identify(browser.page, site_of(platform), site.place(platform))
    assert (seen.outcome is IdentityOutcome.LOGGED_OUT) is (ended is SessionEnd.REVOKED)
    await browser.context.clear_cookies()


class Person:
    """Somebody at the viewer: sees pictures, moves the mouse, types."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def click(self, x: float, y: float) -> None:
        for what in ("press", "release"):
            await self.socket.send_json({"mouse": what, "x": x, "y": y, "button": "left", "clickCount": 1})

    async def types(self, text: str) -> None:
        for char in text:
            await self.socket.send_json({"key": "down", "name": char, "text": char})
            await self.socket.send_json({"key": "up", "name": char})

    async def picture(self) -> dict[str, object]:
        said: dict[str, object] = json.loads(await asyncio.wait_for(self.socket.receive_str(), 60))
        return said


async def test_a_person_logs_in_through_the_viewer(site: Site, viewed: Running) -> None:
    """Pictures come, clicks and keys arrive, Done is told; afterwards it is the right account, typed by nobody else."""
    browser = viewed
    await browser.context.clear_cookies()
    async with handed_over(browser, site_of(), site.place(), **TOLD) as handoff:
        boxes = [await browser.page.locator(one).bounding_box() for one in ("#username", "#password", "#go")]
        places = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes if box is not None]
        assert f"-L {port_of(handoff)}:127.0.0.1:{port_of(handoff)} {gethostname()}" in handoff.instructions
        assert "token" not in repr(handoff)
        origin = {"Origin": f"http://127.0.0.1:{port_of(handoff)}"}
        async with site.http.get(handoff.address) as reply:
            page = await reply.text()
        told = "Now run: <code>byokeep profile confirm 018f x/ACCOUNT</code>"
        for shown in ("Müller &amp; &lt;b&gt;Sons&lt;/b&gt;", "x/acme", told):
            assert shown in page
        assert "<b>" not in page
        async with site.http.ws_connect(handoff.address + "view", headers=origin) as socket:
            person = Person(socket)
            first = await person.picture()
            assert first["picture"]
            assert (first["host"], first["tls"]) == (browser.page.url.split("/")[2], False)
            await person.click(*places[0])
            await person.types("acme")
            await person.click(*places[1])
            await person.types(site.password)
            assert not await handoff.done(0.05)
            await socket.send_str("{}")
            await socket.send_str("nonsense")
            await person.click(*places[2])
            await browser.page.wait_for_selector("body[data-ready]")
            await socket.send_json({"done": True})
            assert await handoff.done(60)
        seen = await identify(browser.page, site_of(), site.place())
        assert seen.compared(expected()).verdict is IdentityVerdict.MATCH


def test_of_an_address_the_person_sees_the_host_alone() -> None:
    """No path, no query, no user; a name in other letters can not pass for one in ours."""
    assert host_of("https://user:pw@www.x.com/login?token=secret#part") == ("www.x.com", True)
    assert host_of("http://127.0.0.1:8430/web/x/x.com/login") == ("127.0.0.1:8430", False)
    assert host_of("https://xn--pple-43d.com/") == ("xn--pple-43d.com", True)
    for odd in (
        "about:blank",
        "data:text/html,<b>x.com</b>",
        "https://x.com:port/",
        "https://\u0445.com/",
        "",
        "https://[::1",
    ):
        assert host_of(odd) == ("", False), odd


async def test_the_viewer_follows_a_window_that_opens(site: Site, viewed: Running) -> None:
    """A login that opens a window of its own is shown, and after it the page that opened it."""
    browser = viewed
    async with handed_over(browser, site_of(), site.place(), **TOLD) as handoff:
        origin = {"Origin": f"http://127.0.0.1:{port_of(handoff)}"}
        async with site.http.ws_connect(handoff.address + "view", headers=origin) as socket:
            person = Person(socket)
            async with browser.context.expect_page() as opening:
                await browser.page.evaluate("void window.open('about:blank', '_blank', 'width=300,height=200')")
            window = await opening.value
            await window.set_content("<input id=code style='position:fixed;left:0;top:0;width:200px;height:100px'>")
            for _ in range(100):  # until the keys arrive there
                await person.click(50, 50)
                await person.types("7")
                await asyncio.sleep(0.05)
                if await window.evaluate("document.getElementById('code').value"):
                    break
            assert "7" in await window.evaluate("document.getElementById('code').value")
            await window.close()
            box = await browser.page.locator("#username").bounding_box()
            assert box is not None
            for _ in range(100):
                await person.click(box["x"] + 5, box["y"] + 5)
                await person.types("8")
                await asyncio.sleep(0.05)
                if await browser.page.locator("#username").input_value():
                    break
            assert "8" in await browser.page.locator("#username").input_value()


async def test_the_viewer_lets_nobody_else_in(site: Site, viewed: Running) -> None:
    """Another token, another name of this machine, another page's socket and a second viewer are turned away."""
    async with handed_over(viewed, site_of(), site.place(), **TOLD) as handoff:
        base = f"http://127.0.0.1:{port_of(handoff)}"
        good = {"Origin": base}

        async def status(address: str, **headers: str) -> int:
            async with site.http.get(address, headers=headers) as reply:
                assert "no-store" in reply.headers.get("Cache-Control", "no-store")
                return reply.status

        assert await status(handoff.address) == 200
        assert await status(base + "/") == 404
        assert await status(base + "/" + "A" * 43 + "/") == 404
        assert await status(handoff.address, Host="evil.example") == 404
        async with site.http.ws_connect(handoff.address + "view", headers=good):
            async with site.http.ws_connect(handoff.address + "view", headers=good) as second:
                said = await asyncio.wait_for(second.receive(), 60)
            assert (said.type, said.data) == (aiohttp.WSMsgType.CLOSE, TAKEN)  # and no picture
        twice = [("Origin", base), ("Origin", "http://evil.example")]
        for origin in ({"Origin": "http://evil.example"}, {}, CIMultiDict(twice), CIMultiDict(twice[::-1])):
            with pytest.raises(aiohttp.WSServerHandshakeError) as foreign:
                await site.http.ws_connect(handoff.address + "view", headers=origin)
            assert foreign.value.status == 403
    with pytest.raises(aiohttp.ClientConnectionError):
        await site.http.get(handoff.address)


async def told(viewer: Page, words: str) -> None:
    """The viewer says so within two seconds, and nothing on it can be pressed any more."""
    await expect(viewer.locator("#state")).to_contain_text(words, timeout=2000)
    await expect(viewer.locator("#done")).to_be_disabled()
    await expect(viewer.locator("#done")).to_have_css("background-color", "rgb(51, 65, 85)")  # and looks so
    await expect(viewer.locator("#reload")).to_be_disabled()
    await expect(viewer.locator("body")).to_have_class("over")


async def cancelled_under(first: Page, second: Page, site: Site, browser: Running) -> None:
    """Two look at one login, which is cancelled then."""
    async with handed_over(browser, site_of(), site.place(), **TOLD) as handoff:
        await first.goto(handoff.address)
        await expect(first.locator("#state")).to_contain_text("press Done")
        await first.locator("#screen[src]").wait_for()
        await second.goto(handoff.address)
        await told(second, "Somebody else is at this browser")
        await expect(first.locator("#done")).to_be_enabled()
        raise Conflict("work_ended")


async def test_the_viewer_says_why_it_ends(site: Site, viewed: Running) -> None:
    """A login that is cancelled, one that is over, and a second viewer: each is told, and Done can not be pressed."""
    async with fresh(bare=True) as viewers:
        first, second = viewers.page, await viewers.context.new_page()
        with pytest.raises(Conflict):
            await cancelled_under(first, second, site, viewed)
        await told(first, "was cancelled")
        async with handed_over(viewed, site_of(), site.place(), **TOLD) as handoff:
            await first.goto(handoff.address)
            await expect(first.locator("#state")).to_contain_text("press Done")
        await told(first, "has ended")
