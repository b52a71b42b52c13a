"""One process, one port: every vendor under its own path prefix, the platform, the controls.

Rules
- Loopback only: it answers anybody who reaches it.
- Each call is logged before it is answered, faults included.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from byokeep_sim import platform, spoil
from byokeep_sim.book import Book
from byokeep_sim.control import routes
from byokeep_sim.faults import FaultList
from byokeep_sim.platforms import PLATFORMS
from byokeep_sim.platforms.control import social_routes
from byokeep_sim.platforms.oauth import is_loopback
from byokeep_sim.platforms.social import Social
from byokeep_sim.record import record
from byokeep_sim.reply import SimCall, SimReply, Vendor
from byokeep_sim.site import Site
from byokeep_sim.vendors import VENDORS

MAX_BODY: Final = 1024 * 1024
_STRANGER: Final = "stranger-1"


@dataclass(slots=True, kw_only=True)
class Sim:
    """A running simulator."""

    url: str
    book: Book
    faults: FaultList
    social: Social
    site: Site
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
        """Base URL of the platform."""
        return f"{self.url}/{platform.NAME}"

    async def stop(self) -> None:
        """Close the port and drop open calls."""
        await self._runner.cleanup()


@dataclass(slots=True)
class _Desk:
    """Takes every call that is not a control."""

    book: Book
    faults: FaultList
    chance: random.Random

    async def vendor(self, request: web.Request) -> web.StreamResponse:
        vendor = VENDORS.get(request.match_info["provider"])
        path = "/" + request.match_info["tail"]
        key = _presented(vendor, request) if vendor else ""
        await record(self.book, request, vendor.name if vendor else "", key)
        if vendor is None:
            return web.json_response({"error": "no such vendor"}, status=404)
        call = self._call(vendor, request, path, key)
        fault = self.faults.take(vendor.name, request.method, path)
        if fault is None:
            return spoil.plain(_answer(vendor, call))
        other = self._call(vendor, request, path, key, account=_STRANGER)
        return await spoil.spoiled(
            request,
            fault,
            answer=lambda: _answer(vendor, call),
            stranger=lambda: _answer(vendor, other),
            error=vendor.error,
            key=key,
            chance=self.chance,
        )

    async def platform(self, request: web.Request) -> web.StreamResponse:
        path = "/" + request.match_info["tail"]
        _, _, token = request.headers.get("Authorization", "").rpartition(" ")
        await record(self.book, request, platform.NAME, token)
        idempotency = request.headers.get("Idempotency-Key", "")[:200]
        call = platform.PlatformCall(method=request.method, path=path, idempotency_key=idempotency)
        fault = self.faults.take(platform.NAME, request.method, path)
        if fault is None:
            return spoil.plain(platform.answer(self.book, call))
        return await spoil.spoiled(
            request,
            fault,
            answer=lambda: platform.answer(self.book, call),
            stranger=lambda: platform.stranger(call),
            error=platform.error,
            key=token,
            chance=self.chance,
        )

    def _call(self, vendor: Vendor, request: web.Request, path: str, key: str, account: str = "") -> SimCall:
        known = self.book.keys.find(vendor.name, key)
        found = vendor.route(request.method, path)
        own = {name for name, _ in vendor.key_headers}
        return SimCall(
            route=found.name if found else "",
            state=known.state if known else None,
            key=key,
            account=account or (known.account if known else ""),
            headers={name.lower(): value for name, value in request.headers.items()},
            seq=self.book.log.seen,
            both_credentials="authorization" in request.headers and "authorization" not in own and bool(key),
        )


def _answer(vendor: Vendor, call: SimCall) -> SimReply:
    return vendor.answer(call) if call.route else vendor.error(404)


def _presented(vendor: Vendor, request: web.Request) -> str:
    for name, prefix in vendor.key_headers:
        value = request.headers.get(name, "")
        if value[: len(prefix)].lower() == prefix.lower() and value[len(prefix) :]:
            return value[len(prefix) :].strip()
    return request.query.get(vendor.key_query, "") if vendor.key_query else ""


def _checked_host(host: str) -> str:
    if not is_loopback(host):
        raise ValueError("the simulator listens on loopback addresses only")
    return host


def _application(desk: _Desk, social: Social, site: Site) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes([*routes(desk.book, desk.faults, social, site), *social_routes(social), *site.routes()])
    names = "|".join(PLATFORMS)
    app.router.add_route("*", f"/{{platform:{names}}}/{{host:[a-z0-9.-]+}}{{tail:/.*}}", social.handle)
    app.router.add_route("*", f"/{platform.NAME}/{{tail:.*}}", desk.platform)
    app.router.add_route("*", "/{provider}/{tail:.*}", desk.vendor)
    return app


def _url(addresses: list[Any]) -> str:
    host, port = addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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
    book = Book()
    cases = {name: frozenset(map(str, one.cases)) for name, one in PLATFORMS.items()}
    faults = FaultList(targets=frozenset({*VENDORS, platform.NAME, *PLATFORMS}), cases=cases)
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    social, site = Social(book, faults, chance), Site(book)
    desk = _Desk(book=book, faults=faults, chance=chance)
    runner = web.AppRunner(_application(desk, social, site), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, _checked_host(host), port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return Sim(url=_url(runner.addresses), book=book, faults=faults, social=social, site=site, _runner=runner)


def described(sim: Sim) -> Mapping[str, str]:
    """Return the base URLs by vendor, for a terminal."""
    return {**{name: sim.base_url(name) for name in (*VENDORS, *PLATFORMS)}, platform.NAME: sim.platform_url}
