"""A logout that only looks like one: the session lives on at the platform, and `revoked` is never said of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from aiohttp import web

from byokeep.browser.identify import IdentityOutcome, identify
from byokeep.browser.launch import Running
from byokeep.browser.session import PortableState, _cleared, logged_out, restored, taken
from byokeep.core.vault_incident import SessionEnd
from byokeep.platforms.website import SitePlace
from tests.support.loopback import answering
from tests.support.website import fresh, site_of

# Where the page keeps its token; the packing does not carry the last one.
KEPT = {
    "sessionStorage": ("sessionStorage.getItem('t')", "sessionStorage.setItem('t', 'token-1')"),
    "localStorage": ("localStorage.getItem('t')", "localStorage.setItem('t', 'token-1')"),
    "cache": (
        "await (await caches.match('/t')).text()",
        "caches.open('c').then(one => one.put('/t', new Response('token-1')))",
    ),
}
PAGE = """<!doctype html><div id=card style='width:200px;height:20px'>who</div>
<button id=logout onclick="fetch('/end').then(() => { sessionStorage.clear(); localStorage.clear(); caches.delete('c');
  location.href = 'login'; })">out</button>
<script type=module>
  let token = ''; try { token = TOKEN; } catch {}
  const let_in = await (await fetch('/check?t=' + token)).json();
  if (!let_in) location.href = 'login';
  else {
    const data = document.createElement('script'); data.id = '__NEXT_DATA__'; data.type = 'application/json';
    data.textContent = JSON.stringify({props: {pageProps: {self: {id: '104', name: 'a', first_name: 'A'}}}});
    document.body.append(data);
  }
</script>"""


@dataclass
class Server:
    """A platform: where its page keeps the token, whether its logout ends anything, how often a token is good; and
    whether its page is empty after a logout."""

    base: str = ""
    kept: str = "sessionStorage"
    ends: bool = True
    uses_left: int = 100
    falls_silent: bool = False
    silent: bool = False
    asked: list[str] = field(default_factory=list)

    @property
    def place(self) -> SitePlace:
        return SitePlace(base=self.base + "/web/skool")

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/check":
            let_in = request.query.get("t") == "token-1" and self.uses_left > 0
            self.uses_left -= let_in
            return web.json_response(let_in)
        if request.path == "/end":
            self.uses_left = 0 if self.ends else self.uses_left
            self.silent = self.falls_silent
            return web.json_response({})
        if request.path.endswith("/login"):
            return web.Response(text="<!doctype html><input type=password>", content_type="text/html")
        page = "<!doctype html>" if self.silent else PAGE.replace("TOKEN", KEPT[self.kept][0])
        return web.Response(text=page, content_type="text/html")


@pytest_asyncio.fixture(loop_scope="session")
async def server() -> AsyncIterator[Server]:
    found = Server()
    async with answering(found.answer) as found.base:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Running]:
    """One for all cases: each leaves it as empty as a new one."""
    async with fresh(bare=True) as started:
        yield started


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byokeep.browser.identify.READ_S", 2.0)
    monkeypatch.setattr("byokeep.browser.session._TAKEN_S", 2.0)


async def logged_in(browser: Running, server: Server) -> PortableState:
    """What the person's login left, as it is packed."""
    await browser.page.goto(server.place.at(site_of().login))
    await browser.page.evaluate(KEPT[server.kept][1] + "; 1")
    assert await outcome(browser, server) is IdentityOutcome.IDENTIFIED
    return await taken(browser)


async def outcome(browser: Running, server: Server) -> IdentityOutcome:
    return (await identify(browser.page, site_of(), server.place)).outcome


@pytest.mark.parametrize(
    ("kept", "ends", "uses", "ended"),
    [
        ("sessionStorage", True, 100, SessionEnd.REVOKED),
        pytest.param("sessionStorage", False, 100, SessionEnd.FAILED, marks=pytest.mark.campaign),
        ("localStorage", True, 100, SessionEnd.REVOKED),
        ("localStorage", False, 100, SessionEnd.FAILED),
        ("cache", True, 100, SessionEnd.FAILED),
        pytest.param("cache", False, 100, SessionEnd.FAILED, marks=pytest.mark.campaign),
        ("localStorage", False, 2, SessionEnd.FAILED),  # good for the login and one look more
    ],
)
async def test_revoked_takes_a_copy_that_was_let_in(
    browser: Running, server: Server, kept: str, ends: bool, uses: int, ended: SessionEnd
) -> None:
    """A copy that is incomplete, or worn out by being shown, is refused too: that proves no end of the session."""
    server.kept, server.ends, server.uses_left = kept, ends, uses
    session = await logged_in(browser, server)
    assert await logged_out(browser, site_of(), server.place, session, "104") is ended
    assert await taken(browser, also=session.visited()) == PortableState((), ())
    if ended is SessionEnd.REVOKED or (not ends and uses == 100 and kept != "cache"):
        browser.visited.clear()  # the look at what is left was a visit
        await restored(browser, session)
        assert (await outcome(browser, server) is IdentityOutcome.LOGGED_OUT) is (ended is SessionEnd.REVOKED)
    await _cleared(browser, session)


@pytest.mark.req("R7.3-3")
async def test_a_page_that_says_nothing_after_a_logout_proves_no_end(browser: Running, server: Server) -> None:
    """The copy is neither let in nor plainly refused: the session may live on."""
    server.kept, server.ends, server.falls_silent = "localStorage", False, True
    session = await logged_in(browser, server)
    assert await logged_out(browser, site_of(), server.place, session, "104") is SessionEnd.FAILED
    server.silent = False
    browser.visited.clear()
    await restored(browser, session)
    assert await outcome(browser, server) is IdentityOutcome.IDENTIFIED
    await _cleared(browser, session)


async def test_a_second_platform_is_logged_out_in_the_same_browser(browser: Running, server: Server) -> None:
    """After one was ended the browser is as empty as a new one, and the next one is proven in it as well."""
    session = await logged_in(browser, server)
    assert await logged_out(browser, site_of("meta"), server.place, session, "104") is SessionEnd.UNSUPPORTED
    assert await logged_out(browser, site_of(), server.place, session, "104") is SessionEnd.REVOKED
    assert server.uses_left == 0


@pytest.mark.req("R7.3-3")
async def test_a_session_of_another_account_is_ended_and_proves_no_end_of_this_one(
    browser: Running, server: Server
) -> None:
    """It may be ours under another id. Whoever sealed it may as well have put another account there: that its session
    ended says nothing of the right one."""
    server.kept = "localStorage"
    session = await logged_in(browser, server)
    assert await logged_out(browser, site_of(), server.place, session, "105") is SessionEnd.FAILED
    assert server.uses_left == 0
    await _cleared(browser, session)
