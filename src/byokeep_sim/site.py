"""The websites of the simulated platforms: what a person's browser sees, for the browser lane.

``https://HOST/PATH`` of a platform is ``URL/web/PLATFORM/HOST/PATH`` here: a login form, the person's own page (every
path that is no other), two buttons that act, logout, the service worker.

Rules
- Logged in means having both cookies, the lasting one and the one that lives with the browser, and both tokens that the
  page keeps, in localStorage and in IndexedDB. They are handed out once, at the login, and kept as salted hashes. A
  session that has ended never comes back, whatever is shown.
- Nothing of a session is in a page's source: the page asks for it, as real ones do. Each platform has its own place for
  an account in a page; ``pages/faces.toml`` shows it as the platforms' pages do, or as reports about them say.
- A lie is a complete page that a careless reader takes for the right account's. Lies are switched on under
  ``/_sim/site``.
- Pressing a button is an effect and counts; looking is not.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from html import escape
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from byokeep_sim.book import MOST, Book, must_fit
from byokeep_sim.faults import LONGEST_SECRET, Spec, changing
from byokeep_sim.platforms import PLATFORMS as APIS
from byokeep_sim.platforms.model import STRANGER
from byokeep_sim.reply import filled

PLATFORMS: Final = (*sorted(APIS), "skool")
LASTING, PASSING = "auth_token", "client_id"
MESSAGE, EMAIL, DRAFT = "Private: the offer is 40,000", "owner@acme.example", "a draft that nobody may see"
_MONTH_S: Final = 30 * 86_400
_TWINS: Final = str.maketrans({"a": "\u0430", "e": "\u0435", "o": "\u043e"})
_PAGES: Final = {one.name: one.read_text() for one in (Path(__file__).parent / "pages").iterdir() if one.is_file()}
_STRANGER: Final = {"id": STRANGER.id, "username": STRANGER.username, "display_name": STRANGER.display_name}


# How a page is wrong.
SiteLie = StrEnum(
    "SiteLie",
    "NONE TWO_ACCOUNTS HIDDEN AWAY CLEAR OTHER_HOST FRAME OTHER_ID LOOKALIKE SWAPPED CHALLENGE LOGIN EMPTY ERROR",
)


# What the logout button does: it ends the session, or only says so, or it is out of order.
Logout = StrEnum("Logout", "ENDS FEIGNED BROKEN")


@dataclass(slots=True, kw_only=True)
class SiteSession:
    """Somebody who has logged in. The hashes are of both cookies and both tokens, which are handed out once."""

    platform: str
    account: str
    cookies: tuple[str, str]
    tokens: tuple[str, str] | None = None
    live: bool = True


@dataclass(slots=True)
class SiteMemory:
    """Who may log in on the websites of one simulator, and who is logged in."""

    book: Book
    lies: dict[str, SiteLie] = field(default_factory=dict)
    logouts: dict[str, Logout] = field(default_factory=dict)
    logins: int = 0
    _passwords: dict[tuple[str, str], str] = field(default_factory=dict)
    _sessions: list[SiteSession] = field(default_factory=list)

    def put_account(self, platform: str, account: str, password: str) -> None:
        """Let an account log in with a password. Raises BookFullError."""
        must_fit(self._passwords, (platform, account), "accounts")
        self._passwords[platform, account] = self.book.keys.digest(password)

    def _issued(self) -> tuple[str, str]:
        return secrets.token_urlsafe(32), secrets.token_urlsafe(32)

    def _hashes(self, first: str, second: str) -> tuple[str, str]:
        return self.book.keys.digest(first), self.book.keys.digest(second)

    def log_in(self, platform: str, account: str, password: str) -> tuple[str, str] | None:
        """Return both cookies, None for a wrong password."""
        if not password or self._passwords.get((platform, account)) != self.book.keys.digest(password):
            return None
        issued = self._issued()
        self._sessions.append(SiteSession(platform=platform, account=account, cookies=self._hashes(*issued)))
        del self._sessions[:-MOST]
        self.logins += 1
        return issued

    def session(self, platform: str, lasting: str, passing: str) -> SiteSession | None:
        """Return the live session of both cookies."""
        wanted = (platform, self._hashes(lasting, passing), True)
        return next((one for one in self._sessions if (one.platform, one.cookies, one.live) == wanted), None)

    def hand_out(self, session: SiteSession) -> tuple[str, str] | None:
        """Return both tokens at the first visit, None at every other."""
        if session.tokens:
            return None
        issued = self._issued()
        session.tokens = self._hashes(*issued)
        return issued

    def knows(self, session: SiteSession, device: str, vault: str) -> bool:
        """Whether these are the session's tokens."""
        shown, kept = self._hashes(device, vault), session.tokens or ("", "")
        return hmac.compare_digest("".join(shown), "".join(kept))

    def end(self, platform: str, account: str) -> int:
        """End all sessions of an account, as a platform does; returns how many were alive."""
        found = [one for one in self._sessions if one.live and (one.platform, one.account) == (platform, account)]
        for one in found:
            one.live = False
        return len(found)

    def report(self) -> Mapping[str, Any]:
        """Return how many sessions are alive and ended, and the switches."""
        counts: dict[str, dict[str, dict[str, int]]] = {}
        for one in self._sessions:
            tally = counts.setdefault(one.platform, {}).setdefault(one.account, {"live": 0, "ended": 0})
            tally["live" if one.live else "ended"] += 1
        return {"sessions": counts, "logins": self.logins, "lies": self.lies, "logouts": self.logouts}


class Site:
    """All websites of one simulator."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.memory = SiteMemory(self._book)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the websites and of their switches."""
        place = f"/web/{{platform:{'|'.join(PLATFORMS)}}}/{{host:[a-z0-9.-]+}}"
        pages = (
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
        )
        return [
            *(web.route(page.method, page.path, self._recorded(page.handler)) for page in pages),
            web.get("/_sim/site", self._report),
            changing("site", self._switch, "platform, lie, logout"),
            changing("site/accounts", self._put_account, "platform, account, password"),
            changing("site/end", self._end, "platform, account"),
        ]

    def _recorded(self, handler: Any) -> Any:
        async def answered(request: web.Request) -> web.StreamResponse:
            await self._book.record(request, _platform(request))
            answer: web.StreamResponse = await handler(request)
            return answer

        return answered

    # What a browser asks for.

    async def _login_page(self, request: web.Request) -> web.Response:
        return _page(request, "login", said="")

    async def _log_in(self, request: web.Request) -> web.Response:
        posted = await request.post()
        name, password = (str(posted.get(field, ""))[:LONGEST_SECRET] for field in ("username", "password"))
        issued = self.memory.log_in(_platform(request), name, password)
        if issued is None:
            return _page(request, "login", 401, said="<p>Wrong name or password</p>")
        reply = _to(_root(request) + "/home")
        path = f"/web/{_platform(request)}/"
        reply.set_cookie(LASTING, issued[0], max_age=_MONTH_S, httponly=True, samesite="Lax", path=path)
        reply.set_cookie(PASSING, issued[1], httponly=True, samesite="Lax", path=path)
        return reply

    async def _home(self, request: web.Request) -> web.Response:
        session, lie, root = self._session(request), self._lie(request), _root(request)
        if session is None:
            return _to(root + "/login")
        own = face(session.platform, self._identity(session))
        if lie is SiteLie.CHALLENGE:
            return _to(root + "/challenge")
        if lie is SiteLie.LOGIN:
            return _page(request, "login", said=f"Continue as {own}")
        if lie is SiteLie.EMPTY:
            return _bare("")
        if lie is SiteLie.ERROR:
            return _bare(own, 503)
        if lie is SiteLie.OTHER_HOST and request.host.startswith("127.0.0.1"):
            return _to(_elsewhere(request) + "/framed")
        return _page(request, "home", message=MESSAGE, email=EMAIL, draft=DRAFT)

    async def _challenge_page(self, request: web.Request) -> web.Response:
        session = self._session(request)
        return _page(request, "challenge", said=face(session.platform, self._identity(session)) if session else "")

    async def _framed(self, request: web.Request) -> web.Response:
        """Return another origin's page, without any login: it says what it is told to say."""
        own = self._book.accounts.get(_platform(request), request.query.get("account", "acme")[:64])
        return _bare(face(_platform(request), own))

    async def _worker(self, request: web.Request) -> web.Response:
        kept = {"Cache-Control": "no-cache"}
        return web.Response(text=_PAGES["sw.js"], content_type="text/javascript", headers=kept)

    async def _device(self, request: web.Request) -> web.Response:
        session = self._session(request)
        issued = self.memory.hand_out(session) if session else None
        if issued is None:
            return web.json_response({}, status=403)
        return web.json_response({"device": issued[0], "vault": issued[1]})

    async def _self(self, request: web.Request) -> web.Response:
        session = self._known(request)
        if session is None:
            return web.json_response({}, status=401)
        lie, own, platform = self._lie(request), self._identity(session), session.platform
        said = {"face": face(platform, own), "card": _card(own)}
        match lie:
            case SiteLie.TWO_ACCOUNTS:
                said["face"] += face(platform, _STRANGER)
            case SiteLie.HIDDEN | SiteLie.AWAY | SiteLie.CLEAR:
                said = {"face": f"<div class={lie}>{said['face']}</div>", "card": _card(_STRANGER)}
            case SiteLie.FRAME:
                said["face"] = f'<iframe src="{_elsewhere(request)}/framed?account={session.account}"></iframe>'
            case SiteLie.OTHER_ID:
                said["face"] = face(platform, {**own, "id": _STRANGER["id"]})
            case SiteLie.LOOKALIKE:
                said["face"] = face(platform, {**own, "display_name": own["display_name"].translate(_TWINS)})
            case SiteLie.SWAPPED:
                said["then"] = face(platform, _STRANGER)
        return web.json_response(said)

    async def _act(self, request: web.Request) -> web.Response:
        session = self._known(request)
        if session is None:
            return web.json_response({}, status=401)
        kind = "publish" if request.match_info["what"] == "posts" else "engage"
        effect = self._book.effects.add(session.platform, session.account, kind)
        return web.json_response({"id": effect.id}, status=201)

    async def _leave(self, request: web.Request) -> web.Response:
        """Log out by an address alone, or ask once more if the platform does."""
        return _page(request, "leave") if _platform(request) == "x" else await self._log_out(request)

    async def _log_out(self, request: web.Request) -> web.Response:
        how = self.memory.logouts.get(_platform(request), Logout.ENDS)
        session = self._session(request)
        if how is Logout.BROKEN:
            return _bare("Try again later", 500)
        if session is not None and how is Logout.ENDS:
            session.live = False
        reply = _to(_root(request) + "/login")
        for name in (LASTING, PASSING):
            reply.del_cookie(name, path=f"/web/{_platform(request)}/")
        return reply

    # What a test or a demo switches.

    async def _report(self, _: web.Request) -> web.Response:
        return web.json_response(self.memory.report())

    def _switch(self, spec: Spec) -> dict[str, Any]:
        platform = spec.choice("platform", PLATFORMS)
        self.memory.lies[platform] = SiteLie(spec.choice("lie", SiteLie, SiteLie.NONE))
        self.memory.logouts[platform] = Logout(spec.choice("logout", Logout, Logout.ENDS))
        return {"lie": self.memory.lies[platform], "logout": self.memory.logouts[platform]}

    def _put_account(self, spec: Spec) -> dict[str, str]:
        platform, account = spec.choice("platform", PLATFORMS), spec.needed("account", 64)
        self.memory.put_account(platform, account, spec.needed("password", LONGEST_SECRET))
        return self._book.accounts.get(platform, account)

    def _end(self, spec: Spec) -> dict[str, int]:
        return {"ended": self.memory.end(spec.choice("platform", PLATFORMS), spec.needed("account", 64))}

    def _identity(self, session: SiteSession) -> dict[str, str]:
        return self._book.accounts.get(session.platform, session.account)

    def _lie(self, request: web.Request) -> SiteLie:
        return self.memory.lies.get(_platform(request), SiteLie.NONE)

    def _session(self, request: web.Request) -> SiteSession | None:
        return self.memory.session(
            _platform(request), request.cookies.get(LASTING, ""), request.cookies.get(PASSING, "")
        )

    def _known(self, request: web.Request) -> SiteSession | None:
        session, headers = self._session(request), request.headers
        if session is None or not self.memory.knows(session, headers.get("X-Device", ""), headers.get("X-Vault", "")):
            return None
        return session


def _platform(request: web.Request) -> str:
    return request.match_info["platform"]


def _root(request: web.Request) -> str:
    return f"/web/{_platform(request)}/{request.match_info['host']}"


def _elsewhere(request: web.Request) -> str:
    """Return the same simulator under its other name, which is another host to a browser."""
    port = re.sub(r"^.*:", "", request.host)
    return f"http://localhost:{port}{_root(request)}"


def _to(where: str) -> web.Response:
    return web.Response(status=303, headers={"Location": where})


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers={"Cache-Control": "no-store"})


def _bare(body: str, status: int = 200) -> web.Response:
    return _html(f"<!doctype html><html><body>{body}</body></html>", status)


def _page(request: web.Request, name: str, status: int = 200, **words: str) -> web.Response:
    text = _PAGES[f"{name}.html"].rstrip("\n").replace("ROOT", _root(request))
    for place, word in words.items():
        text = text.replace(place.upper(), word)
    return _html(text, status)


_FACES: Final[Mapping[str, Mapping[str, Any]]] = tomllib.loads(_PAGES["faces.toml"])


def face(platform: str, one: Mapping[str, str]) -> str:
    """Return how an account shows itself on a platform's page."""
    if platform not in _FACES:
        kept = {name: escape(value) for name, value in one.items()}
        return (
            f'<div class="account" data-account-id="{kept["id"]}"><b class="display-name">{kept["display_name"]}</b> '
            f'<span class="username">{kept["username"]}</span></div>'
        )
    shape = _FACES[platform]
    first, _, last = one["display_name"].partition(" ")
    shown = json.dumps(filled(shape["data"], {**one, "first": first, "last": last})).replace("<", "\\u003c")
    name = f"<p>{escape(one['display_name'])} (@{escape(one['username'])})</p>"
    return f"{shape['before']}{shown}{shape.get('after', '')}</script>{name}"


def _card(one: Mapping[str, str]) -> str:
    return f"{one['display_name']} (@{one['username']})"
