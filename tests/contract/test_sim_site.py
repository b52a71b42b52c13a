"""The simulated websites without a browser: who is logged in, what counts, what ends a session."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from byokeep_sim.site import SiteLie
from tests.support.website import Site, site_with_acme


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with site_with_acme() as running:
        yield running


class Visitor:
    """Keeps cookies as a browser does, and the tokens of the page."""

    def __init__(self, site: Site, http: aiohttp.ClientSession) -> None:
        self.base, self.http = f"{site.sim.site_url('skool')}/www.skool.com", http
        self.tokens: dict[str, str] = {}

    async def ask(self, method: str, path: str, **more: object) -> int:
        async with self.http.request(
            method,
            self.base + path,
            headers=self.tokens,
            allow_redirects=False,
            **more,  # type: ignore[arg-type]
        ) as reply:
            if path == "/api/device" and reply.status == 200:
                said = await reply.json()
                self.tokens = {"X-Device": said["device"], "X-Vault": said["vault"]}
            return reply.status

    async def log_in(self, password: str) -> int:
        return await self.ask("POST", "/login", data={"username": "acme", "password": password})


@pytest.fixture
async def visitor(site: Site) -> AsyncIterator[Visitor]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        yield Visitor(site, http)


async def test_a_login_needs_the_password_and_a_page_both_cookies(site: Site, visitor: Visitor) -> None:
    """A wrong password gives nothing; without the cookie that lives with the browser nobody is logged in."""
    assert await visitor.log_in("wrong") == 401
    assert await visitor.ask("GET", "/settings") == 303
    assert await visitor.log_in(site.password) == 303
    assert await visitor.ask("GET", "/settings") == 200
    kinds = {one.key: bool(one["max-age"]) for one in visitor.http.cookie_jar}
    assert kinds == {"auth_token": True, "client_id": False}
    assert all(one["httponly"] for one in visitor.http.cookie_jar)
    visitor.http.cookie_jar.clear(lambda one: one.key == "client_id")
    assert await visitor.ask("GET", "/settings") == 303


async def test_tokens_are_handed_out_once_and_both_are_needed(site: Site, visitor: Visitor) -> None:
    """Who lost what the page kept is not the person any more, and can not press a button."""
    await visitor.log_in(site.password)
    assert await visitor.ask("GET", "/api/self") == 401
    assert await visitor.ask("POST", "/api/device") == 200
    assert await visitor.ask("POST", "/api/device") == 403
    assert await visitor.ask("GET", "/api/self") == 200
    assert [await visitor.ask("POST", f"/api/{what}") for what in ("posts", "likes")] == [201, 201]
    assert (await site.show("effects"))["by_platform"] == {"skool": {"acme": {"publish": 1, "engage": 1}}}
    del visitor.tokens["X-Vault"]
    assert await visitor.ask("POST", "/api/posts") == 401
    assert await site.effects() == 2


@pytest.mark.parametrize(("logout", "status", "lives"), [("ends", 303, 0), ("feigned", 303, 1), ("broken", 500, 1)])
async def test_what_the_logout_button_does(site: Site, visitor: Visitor, logout: str, status: int, lives: int) -> None:
    """It ends the session on the server, or only takes the cookies away, or is out of order."""
    await visitor.log_in(site.password)
    kept = {one.key: one.value for one in visitor.http.cookie_jar}
    await site.lie(logout=logout)
    assert await visitor.ask("POST", "/logout") == status
    assert await visitor.ask("GET", "/settings", cookies=kept) == (200 if lives else 303)
    assert (await site.show("site"))["sessions"]["skool"]["acme"] == {"live": lives, "ended": 1 - lives}


async def test_controls_refuse_what_they_do_not_know(site: Site, visitor: Visitor) -> None:
    """An unknown lie or platform is refused; a reset forgets sessions, passwords and lies; the log holds no value."""
    for spec in ({"platform": "skool", "lie": "odd"}, {"platform": "odd"}, {"platform": "skool", "odd": 1}):
        async with site.http.post(f"{site.sim.url}/_sim/site", json=spec) as reply:
            assert reply.status == 400
    await visitor.log_in(site.password)
    assert await site.tell("site/end", platform="skool", account="acme") == {"ended": 1}
    assert await visitor.ask("GET", "/settings") == 303
    await site.lie(SiteLie.EMPTY)
    log = str(await site.show("requests"))
    assert site.password not in log
    assert "auth_token=" not in log
    await site.tell("reset")
    assert await site.show("site") == {"sessions": {}, "logins": 0, "lies": {}, "logouts": {}}
    assert await visitor.log_in(site.password) == 401
