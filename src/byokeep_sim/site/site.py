"""Answers a browser: login form, the person's own page, two buttons that act, logout, the service worker.

Rules
- Every path that is none of the below is the person's own page.
- A page of a lie is complete; what it lies about stands in :class:`byokeep_sim.site.memory.SiteLie`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from aiohttp import web

from byokeep_sim.asked import LONGEST_SECRET, guarded, needed, object_of
from byokeep_sim.book import Book
from byokeep_sim.faults import choice
from byokeep_sim.platforms import PLATFORMS as APIS
from byokeep_sim.platforms.people import STRANGER
from byokeep_sim.record import record
from byokeep_sim.site import pages
from byokeep_sim.site.memory import Logout, SiteLie, SiteMemory, SiteSession

PLATFORMS: Final = (*sorted(APIS), "skool")
LASTING, PASSING = "auth_token", "client_id"
_MONTH_S: Final = 30 * 86_400
_TWINS: Final = str.maketrans({"a": "\u0430", "e": "\u0435", "o": "\u043e"})
_HIDES: Final = {SiteLie.HIDDEN: "hidden", SiteLie.AWAY: "away", SiteLie.CLEAR: "clear"}
MESSAGE, EMAIL, DRAFT = "Private: the offer is 40,000", "owner@acme.example", "a draft that nobody may see"


class Site:
    """All websites of one simulator."""

    def __init__(self, book: Book) -> None:
        self.memory = SiteMemory(book)
        self._book = book

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the websites and of their switches."""
        place = f"/web/{{platform:{'|'.join(PLATFORMS)}}}/{{host:[a-z0-9.-]+}}"
        return [
            web.post(place + "/login", self._log_in),
            web.get(place + "/login", self._login_page),
            web.get(place + "/challenge", self._challenge_page),
            web.get(place + "/sw.js", self._worker),
            web.get(place + "/framed", self._framed),
            web.post(place + "/logout", self._log_out),
            web.get(place + "/{path:logout|m/logout/}", self._leave),
            web.post(place + "/api/device", self._device),
            web.get(place + "/api/self", self._self),
            web.post(place + "/api/{what:posts|likes}", self._act),
            web.get(place + "{tail:/.*|}", self._home),
            web.get("/_sim/site", self._report),
            web.post("/_sim/site", guarded(self._switch)),
            web.post("/_sim/site/accounts", guarded(self._put_account)),
            web.post("/_sim/site/end", guarded(self._end)),
        ]

    # What a browser asks for.

    async def _login_page(self, request: web.Request) -> web.Response:
        await self._record(request)
        return _html(pages.page(pages.LOGIN, root=_root(request), said=""))

    async def _log_in(self, request: web.Request) -> web.Response:
        await self._record(request)
        posted = await request.post()
        name, password = (str(posted.get(field, ""))[:LONGEST_SECRET] for field in ("username", "password"))
        issued = self.memory.log_in(_platform(request), name, password)
        if issued is None:
            return _html(pages.page(pages.LOGIN, root=_root(request), said="<p>Wrong name or password</p>"), 401)
        reply = web.Response(status=303, headers={"Location": _root(request) + "/home"})
        path = f"/web/{_platform(request)}/"
        reply.set_cookie(LASTING, issued.first, max_age=_MONTH_S, httponly=True, samesite="Lax", path=path)
        reply.set_cookie(PASSING, issued.second, httponly=True, samesite="Lax", path=path)
        return reply

    async def _home(self, request: web.Request) -> web.Response:
        await self._record(request)
        session, lie, root = self._session(request), self._lie(request), _root(request)
        if session is None:
            return web.Response(status=303, headers={"Location": root + "/login"})
        own = self._identity(session)
        if lie is SiteLie.CHALLENGE:
            return web.Response(status=303, headers={"Location": root + "/challenge"})
        if lie is SiteLie.LOGIN:
            return _html(pages.page(pages.LOGIN, root=root, said=f"Continue as {pages.face(session.platform, own)}"))
        if lie is SiteLie.EMPTY:
            return _html("<!doctype html><html><body></body></html>")
        if lie is SiteLie.ERROR:
            return _html(f"<!doctype html><html><body>{pages.face(session.platform, own)}</body></html>", 503)
        if lie is SiteLie.OTHER_HOST and request.host.startswith("127.0.0.1"):
            return web.Response(status=303, headers={"Location": _elsewhere(request) + "/framed"})
        return _html(pages.page(pages.HOME, root=root, message=MESSAGE, email=EMAIL, draft=DRAFT))

    async def _challenge_page(self, request: web.Request) -> web.Response:
        await self._record(request)
        session = self._session(request)
        shown = pages.face(session.platform, self._identity(session)) if session else ""
        return _html(pages.page(pages.CHALLENGE, root=_root(request), said=shown))

    async def _framed(self, request: web.Request) -> web.Response:
        """Another origin's page, without any login: it says what it is told to say."""
        await self._record(request)
        own = self._book.accounts.get(_platform(request), request.query.get("account", "acme")[:64])
        return _html(f"<!doctype html><html><body>{pages.face(_platform(request), own)}</body></html>")

    async def _worker(self, request: web.Request) -> web.Response:
        await self._record(request)
        return web.Response(text=pages.WORKER, content_type="text/javascript", headers={"Cache-Control": "no-cache"})

    async def _device(self, request: web.Request) -> web.Response:
        await self._record(request)
        session = self._session(request)
        issued = self.memory.hand_out(session) if session else None
        if issued is None:
            return web.json_response({}, status=403)
        return web.json_response({"device": issued.first, "vault": issued.second})

    async def _self(self, request: web.Request) -> web.Response:
        await self._record(request)
        session = self._known(request)
        if session is None:
            return web.json_response({}, status=401)
        return web.json_response(self._said(request, session))

    def _said(self, request: web.Request, session: SiteSession) -> dict[str, Any]:
        lie, own = self._lie(request), self._identity(session)
        stranger = {"id": STRANGER.id, "username": STRANGER.username, "display_name": STRANGER.display_name}
        said: dict[str, Any] = {"face": pages.face(session.platform, own), "card": pages.card(own)}
        if lie is SiteLie.TWO_ACCOUNTS:
            said["face"] += pages.face(session.platform, stranger)
        elif lie in _HIDES:
            said = {"face": f"<div class={_HIDES[lie]}>{said['face']}</div>", "card": pages.card(stranger)}
        elif lie is SiteLie.FRAME:
            said["face"] = f'<iframe src="{_elsewhere(request)}/framed?account={session.account}"></iframe>'
        elif lie is SiteLie.OTHER_ID:
            said["face"] = pages.face(session.platform, {**own, "id": stranger["id"]})
        elif lie is SiteLie.LOOKALIKE:
            said["face"] = pages.face(session.platform, {**own, "display_name": own["display_name"].translate(_TWINS)})
        elif lie is SiteLie.SWAPPED:
            said["then"] = pages.face(session.platform, stranger)
        return said

    async def _act(self, request: web.Request) -> web.Response:
        await self._record(request)
        session = self._known(request)
        if session is None:
            return web.json_response({}, status=401)
        kind = "publish" if request.match_info["what"] == "posts" else "engage"
        effect = self._book.effects.add(session.platform, session.account, kind, "")
        return web.json_response({"id": effect.id}, status=201)

    async def _leave(self, request: web.Request) -> web.Response:
        """Log out by an address alone, or ask once more where the platform does."""
        if _platform(request) == "x":
            await self._record(request)
            return _html(pages.page(pages.LEAVE, root=_root(request)))
        return await self._log_out(request)

    async def _log_out(self, request: web.Request) -> web.Response:
        await self._record(request)
        how = self.memory.logouts.get(_platform(request), Logout.ENDS)
        session = self._session(request)
        if how is Logout.BROKEN:
            return _html("<!doctype html><html><body>Try again later</body></html>", 500)
        if session is not None and how is Logout.ENDS:
            session.live = False
        reply = web.Response(status=303, headers={"Location": _root(request) + "/login"})
        for name in (LASTING, PASSING):
            reply.del_cookie(name, path=f"/web/{_platform(request)}/")
        return reply

    # What a test or a demo switches.

    async def _report(self, request: web.Request) -> web.Response:
        return web.json_response(self.memory.report())

    async def _switch(self, request: web.Request) -> web.Response:
        spec = await object_of(request, "platform", "lie", "logout")
        platform = choice(spec, "platform", PLATFORMS)
        self.memory.lies[platform] = SiteLie(choice(spec, "lie", tuple(SiteLie), SiteLie.NONE))
        self.memory.logouts[platform] = Logout(choice(spec, "logout", tuple(Logout), Logout.ENDS))
        return web.json_response({"lie": self.memory.lies[platform], "logout": self.memory.logouts[platform]})

    async def _put_account(self, request: web.Request) -> web.Response:
        spec = await object_of(request, "platform", "account", "password")
        platform, account = choice(spec, "platform", PLATFORMS), needed(spec, "account", 64)
        self.memory.put_account(platform, account, needed(spec, "password", LONGEST_SECRET))
        return web.json_response(self._book.accounts.get(platform, account))

    async def _end(self, request: web.Request) -> web.Response:
        spec = await object_of(request, "platform", "account")
        ended = self.memory.end(choice(spec, "platform", PLATFORMS), needed(spec, "account", 64))
        return web.json_response({"ended": ended})

    def _identity(self, session: SiteSession) -> dict[str, str]:
        return self._book.accounts.get(session.platform, session.account)

    def _lie(self, request: web.Request) -> SiteLie:
        return self.memory.lies.get(_platform(request), SiteLie.NONE)

    def _session(self, request: web.Request) -> SiteSession | None:
        shown = (request.cookies.get(name, "") for name in (LASTING, PASSING))
        return self.memory.session(_platform(request), *shown)

    def _known(self, request: web.Request) -> SiteSession | None:
        session = self._session(request)
        tokens = (request.headers.get(name, "") for name in ("X-Device", "X-Vault"))
        return session if session is not None and self.memory.knows(session, *tokens) else None

    async def _record(self, request: web.Request) -> None:
        await record(self._book, request, _platform(request), "")


def _platform(request: web.Request) -> str:
    return request.match_info["platform"]


def _root(request: web.Request) -> str:
    return f"/web/{_platform(request)}/{request.match_info['host']}"


def _elsewhere(request: web.Request) -> str:
    """The same simulator under its other name: to a browser that is another host."""
    port = re.sub(r"^.*:", "", request.host)
    return f"http://localhost:{port}{_root(request)}"


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers={"Cache-Control": "no-store"})
