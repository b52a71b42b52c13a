"""One process, one port: every vendor under its own path prefix, the platforms and their websites, the controls.

The small platform under ``/platform`` is nobody's: it counts what was done on it. A new effect counts once. A repeat
with the same idempotency key returns the first effect. Reading an identity is never an effect.

Rules
- Loopback only: it answers anybody who reaches it.
- Each call is logged before it is answered, faults included.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from aiohttp import web

from byokeep_sim import issuing
from byokeep_sim.book import Book, BookFullError
from byokeep_sim.control import Control
from byokeep_sim.faults import FaultList
from byokeep_sim.federation import Federation, fields_of
from byokeep_sim.platforms import PLATFORMS
from byokeep_sim.platforms.oauth import is_loopback
from byokeep_sim.platforms.social import Social
from byokeep_sim.reply import SimAnswers, SimReply, ok, spoiled
from byokeep_sim.site import Site
from byokeep_sim.vendors import VENDORS, SimCall, Vendor

MAX_BODY: Final = 1024 * 1024
_STRANGER: Final = {"id": "stranger-1", "username": "stranger", "display_name": "Somebody Else"}
_PLATFORM: Final = "platform"
_PART: Final = r"[A-Za-z0-9_.-]{1,64}"
_PATH: Final = re.compile(rf"/(?P<platform>{_PART})/(?P<account>{_PART})/(?P<what>[a-z]+)(?:/(?P<id>{_PART}))?")
_KINDS: Final = {"posts": "publish", "comments": "comment", "messages": "dm", "likes": "engage"}
_CODES: Final = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "rate_limited"}


@dataclass(slots=True, kw_only=True)
class Sim:
    """A running simulator."""

    url: str
    book: Book
    faults: FaultList
    social: Social
    site: Site
    federation: Federation
    _runner: web.AppRunner = field(repr=False)

    def base_url(self, provider: str) -> str:
        """Return the base URL that stands for a vendor's host, or for ``https:/`` of a social platform's hosts.

        Raises:
            KeyError: Neither a vendor nor a platform has this name.
        """
        return f"{self.url}/{PLATFORMS[provider].name if provider in PLATFORMS else VENDORS[provider].name}"

    def site_url(self, platform: str) -> str:
        """Return the base URL that stands for ``https:/`` of a social platform's websites."""
        return f"{self.url}/web/{platform}"

    @property
    def platform_url(self) -> str:
        """Return the base URL of the platform that is nobody's."""
        return f"{self.url}/{_PLATFORM}"

    async def stop(self) -> None:
        """Close the port and drop open calls."""
        await self._runner.cleanup()


@dataclass(slots=True)
class _Desk:
    """Takes every call that is not a control and not for a social platform or a website."""

    book: Book
    faults: FaultList
    federation: Federation
    chance: random.Random

    async def vendor(self, request: web.Request) -> web.StreamResponse:
        vendor = VENDORS.get(request.match_info["provider"])
        path = "/" + request.match_info["tail"]
        key = _presented(vendor, request) if vendor else ""
        await self.book.record(request, vendor.name if vendor else "", key)
        if vendor is None:
            return web.json_response({"error": "no such vendor"}, status=404)
        fault = self.faults.take(vendor.name, request.method, path)
        lower = {name.lower(): value for name, value in request.headers.items()}
        if self.federation.serves(vendor.name, request.method, path):
            known_by = await self.federation.keys(vendor.name, request)
            swap = partial(self.federation.answer, vendor.name, lower, *known_by)
            return await spoiled(request, fault, SimAnswers(swap, swap, vendor.error, ""), self.chance)
        over = self.federation.refuses(vendor.name, key, lower)
        known = None if over else self.book.keys.find(vendor.name, key)
        own = {name for name, _ in vendor.key_headers}
        issues = issuing.route(vendor, request.method, path)
        body = await fields_of(request) if issues[0] else {}

        def answer(account: str = known.account if known else "") -> SimReply:
            if issues[0]:
                admin = issuing.presented(request.headers)
                return issuing.answer(self.book, vendor, issues, admin, body, request.query)
            call = SimCall(
                route=vendor.route(request.method, path),
                state=self.book.state_of(known) if known else "unknown",
                key=key,
                account=account,
                headers=lower,
                seq=self.book.log.seen,
                both_credentials="authorization" in request.headers and "authorization" not in own and bool(key),
            )
            return vendor.answer(call)

        answers = SimAnswers(answer, lambda: answer(_STRANGER["id"]), vendor.error, key)
        return await spoiled(request, fault, answers, self.chance)

    async def platform(self, request: web.Request) -> web.StreamResponse:
        path = "/" + request.match_info["tail"]
        _, _, token = request.headers.get("Authorization", "").rpartition(" ")
        await self.book.record(request, _PLATFORM, token)
        once = request.headers.get("Idempotency-Key", "")[:200]
        fault = self.faults.take(_PLATFORM, request.method, path)
        answers = SimAnswers(lambda: self._acted(request.method, path, once), lambda: ok(_STRANGER), _error, token)
        return await spoiled(request, fault, answers, self.chance)

    def _acted(self, method: str, path: str, once: str) -> SimReply:
        """Answer one call of the platform; a POST or DELETE that succeeds is one effect."""
        found, effects = _PATH.fullmatch(path), self.book.effects
        if found is None:
            return _error(404)
        platform, account, what, target = found.groups()
        if method == "GET" and what == "identity" and target is None:
            return ok(self.book.accounts.get(platform, account))
        if method == "POST" and what in _KINDS and target is None:
            kind, status = _KINDS[what], 201
        elif method == "DELETE" and what == "posts" and target is not None:
            kind, status = "delete", 200
        else:
            return _error(404)
        effect = effects.replay(platform, account, kind, once)
        post = effects.posts.get(target or "")
        if (
            kind == "delete"
            and effect is None
            and (post is None or (post.platform, post.account) != (platform, account))
        ):
            return _error(404)
        replayed = effect is not None
        if effect is None:
            try:
                effect = effects.add(platform, account, kind, once)
            except BookFullError:
                return _error(507, "too_many_accounts")
        effects.posts.pop(target or "", None)
        body = {"id": effect.id, "kind": effect.kind, "replayed": replayed}
        return SimReply(status=200 if replayed else status, body=body)


def _error(status: int, code: str = "") -> SimReply:
    return SimReply(status=status, body={"error": {"code": code or _CODES.get(status, "error")}})


def _presented(vendor: Vendor, request: web.Request) -> str:
    for name, prefix in vendor.key_headers:
        value = request.headers.get(name, "")
        if value[: len(prefix)].lower() == prefix.lower() and value[len(prefix) :]:
            return value[len(prefix) :].strip()
    return request.query.get(vendor.table.get("key_query", ""), "")


async def start(host: str = "127.0.0.1", port: int = 0, *, seed: int = 0) -> Sim:
    """Start a simulator in the running event loop.

    Args:
        host: A loopback address.
        port: TCP port, 0 for a free one.
        seed: Makes garbage answers repeatable.

    Raises:
        ValueError: The host is not a loopback address.
        OSError: The port is taken.
    """
    if not is_loopback(host):
        raise ValueError("the simulator listens on loopback addresses only")
    book = Book()
    cases = {name: frozenset(map(str, one.cases)) for name, one in PLATFORMS.items()}
    faults = FaultList(targets=frozenset({*VENDORS, _PLATFORM, *PLATFORMS}), cases=cases)
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    social, site, federation = Social(book, faults, chance), Site(book), Federation(book)
    desk = _Desk(book=book, faults=faults, federation=federation, chance=chance)
    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes([*Control(book, faults, social, site, federation).routes(), *site.routes()])
    app.router.add_route("*", f"/{{platform:{'|'.join(PLATFORMS)}}}/{{host:[a-z0-9.-]+}}{{tail:/.*}}", social.handle)
    app.router.add_route("*", f"/{_PLATFORM}/{{tail:.*}}", desk.platform)
    app.router.add_route("*", "/{provider}/{tail:.*}", desk.vendor)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    name, number, *_ = runner.addresses[0]
    url = f"http://[{name}]:{number}" if ":" in name else f"http://{name}:{number}"
    return Sim(url=url, book=book, faults=faults, social=social, site=site, federation=federation, _runner=runner)
