"""A service worker that was planted in a profile: it lives on in the full packing, and decides nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import CDPSession, Page

from byokeep.browser.identify import IdentityOutcome, PageIdentity, identify
from byokeep.browser.launch import Running, running
from byokeep.browser.rooms import ProfileRoom, RoomBrowser
from byokeep.browser.rooms import RoomSite as Known
from byokeep.core.errors import Rejected
from byokeep.core.manifest import ExpectedAccount, Packing
from byokeep.core.model import Provider
from byokeep.platforms.website import SitePlace
from tests.support.loopback import answering
from tests.support.website import fresh, room, site_of, start_in

TRUE, FORGED = "999", "104"
# Every way in which the honest page learns whose it is, the forged answer of which is the other account.
LIES = """
self.addEventListener('install', event => self.skipWaiting());
self.addEventListener('activate', event => event.waitUntil(clients.claim()));
self.addEventListener('fetch', event => {
  const at = new URL(event.request.url).pathname, lie = (body, type) =>
    event.respondWith(new Response(body, {headers: {'Content-Type': type}}));
  if (event.request.mode === 'navigate' && at.endsWith('/settings')) lie(FORGED_PAGE, 'text/html');
  else if (at.endsWith('/who')) lie('104', 'text/plain');
  else if (at.endsWith('/who.js')) lie("window.told = '104'", 'text/javascript');
});
"""
DATA = '{"props": {"pageProps": {"self": {"id": ID, "name": "a", "first_name": "A", "last_name": "B"}}}}'
PAGE = "<!doctype html><div id=card style='width:200px;height:20px'>who</div>"
SCRIPT = """<script>const put = id => {
  const data = document.createElement('script'); data.id = '__NEXT_DATA__'; data.type = 'application/json';
  data.textContent = JSON.stringify({props: {pageProps: {self: {id, name: 'a', first_name: 'A', last_name: 'B'}}}});
  document.body.append(data); };</script>"""
# How the honest page says whose it is: in itself, by a call, by a script, by a thread, by a frame of its own.
WAYS = {
    "page": f"<script id=__NEXT_DATA__ type=application/json>{DATA.replace('ID', json.dumps(TRUE))}</script>",
    "fetch": SCRIPT + "<script>fetch('who').then(reply => reply.text()).then(put)</script>",
    "script": SCRIPT + "<script src=who.js></script><script>put(window.told)</script>",
    "frame": SCRIPT + "<iframe src=who></iframe><script>document.querySelector('iframe').onload = event => "
    "put(event.target.contentDocument.body.innerText)</script>",
    "thread": SCRIPT + "<script>new Worker('thread.js').onmessage = event => put(event.data)</script>",
}


@dataclass
class Server:
    """A platform that is honest, with what it was asked for."""

    base: str = ""
    way: str = "page"
    asked: list[str] = field(default_factory=list)

    @property
    def place(self) -> SitePlace:
        return SitePlace(base=self.base + "/web/skool")

    async def answer(self, request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2]
        self.asked.append(name)
        scripts = {
            "sw.js": LIES.replace("FORGED_PAGE", json.dumps(PAGE + WAYS["page"].replace(TRUE, FORGED))),
            "who.js": f"window.told = '{TRUE}'",
            "thread.js": "fetch('who').then(reply => reply.text()).then(id => postMessage(id))",
        }
        if name in scripts:
            return web.Response(text=scripts[name], content_type="text/javascript")
        if name == "who":
            return web.Response(text=TRUE, content_type="text/html")
        return web.Response(text=PAGE + WAYS[self.way], content_type="text/html")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[Server]:
    found = Server()
    async with answering(found.answer) as found.base:
        yield found


@pytest.fixture
def place() -> Iterator[Path]:
    with room() as found:
        yield found


async def planted(browser: Running, server: Server) -> None:
    """Register the worker that lies, and see that it does."""
    page = browser.page
    await page.goto(server.place.at("https://www.skool.com/elsewhere"))
    await page.evaluate(
        "navigator.serviceWorker.register('sw.js').then(() => navigator.serviceWorker.ready).then(() => 1)"
    )
    await page.wait_for_function("navigator.serviceWorker.controller !== null")
    await lies(browser, server)


async def lies(browser: Running, server: Server) -> None:
    await browser.page.goto(server.place.at(site_of().page))
    assert FORGED in await browser.page.locator("#__NEXT_DATA__").inner_text()


async def seen(browser: Running, server: Server) -> PageIdentity:
    return await identify(browser.page, site_of(), server.place)


def account(seen: PageIdentity) -> str:
    assert seen.face is not None, seen
    return seen.face.account_id


@pytest.mark.parametrize(
    "way", ["fetch", "frame", *(pytest.param(way, marks=pytest.mark.campaign) for way in ("page", "script"))]
)
async def test_a_worker_of_a_full_profile_says_nothing_about_the_account(server: Server, place: Path, way: str) -> None:
    """Packed and opened elsewhere, the worker is still there and lies; the look says whom the server means."""
    server.way = "page"
    for name in ("a", "b"):
        (place / name).mkdir(mode=0o700)
    first = ProfileRoom(place / "a", Packing.FULL, {})
    async with first.browser() as browser:
        await planted(browser.running, server)
        await browser.pack()
    second = ProfileRoom(place / "b", Packing.FULL, {})
    sink = second.sink
    with first.content() as source:
        while part := source.read(1 << 16):
            sink.write(memoryview(part))
        sink.commit()
    server.way = way
    async with second.browser() as browser:
        server.asked.clear()
        assert account(await seen(browser.running, server)) == TRUE
        assert "settings" in server.asked
        await lies(browser.running, server)  # for whoever uses the page afterwards it still works
        assert account(await seen(browser.running, server)) == TRUE  # as before leaving


async def test_what_a_worker_answers_to_a_thread_of_the_page_is_no_match(server: Server) -> None:
    """A thread's calls are not the tab's; if a worker answers them, the look is worth nothing."""
    server.way = "thread"
    async with fresh() as browser:
        assert account(await seen(browser, server)) == TRUE
        await planted_quietly(browser, server)
        found = await seen(browser, server)
    assert (found.outcome, found.why) == (IdentityOutcome.AMBIGUOUS, "service_worker") or account(found) == TRUE


async def planted_quietly(browser: Running, server: Server) -> None:
    server.way = "page"
    await planted(browser, server)
    server.way = "thread"


async def test_a_worker_that_can_not_be_passed_by_is_no_match(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the browser lets a worker answer in spite of all, the account is not read from what it said."""
    server.way = "page"
    async with fresh() as browser:
        await planted(browser, server)
        ask = browser.context.new_cdp_session

        async def deaf(page: Page) -> CDPSession:
            session = await ask(page)
            send = session.send

            async def heard(method: str, parameters: dict[str, object] | None = None) -> object:
                return None if method == "Network.setBypassServiceWorker" else await send(method, parameters)

            monkeypatch.setattr(session, "send", heard)
            return session

        monkeypatch.setattr(browser.context, "new_cdp_session", deaf)
        found = await seen(browser, server)
        assert (found.outcome, found.why) == (IdentityOutcome.AMBIGUOUS, "service_worker")


async def test_the_picture_is_of_a_page_from_the_network(server: Server, place: Path) -> None:
    """What a worker put up between the look and the picture is not photographed as the expected account's."""
    server.way = "page"
    known = {Provider.SKOOL: Known(website=site_of(), place=server.place)}
    async with running(start_in(place)) as browser:
        await planted(browser, server)  # the forged page is up
        (place / "r").mkdir(mode=0o700)
        inside = RoomBrowser(browser, ProfileRoom(place / "r", Packing.FULL, known), known, ())
        forged = ExpectedAccount(
            platform=Provider.SKOOL, account=FORGED, account_id=FORGED, username="a", display_name="A B"
        )
        with pytest.raises(Rejected, match="account_not_proven"):
            await inside.prove(forged)
        assert (await inside.look(forged)).verdict == "mismatch"
