"""One process, one port: every vendor under its own path prefix, the platform, the controls.

Rules
- Loopback only: it answers anybody who reaches it.
- Each call is logged before it is answered, faults included.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from byokeep.sim import platform, spoil
from byokeep.sim.book import Book
from byokeep.sim.control import routes
from byokeep.sim.faults import FaultList
from byokeep.sim.reply import Call, Reply, Vendor
from byokeep.sim.vendors import VENDORS

MAX_BODY: Final = 1024 * 1024
_CREDENTIAL_HEADERS: Final = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie")
_STRANGER: Final = "stranger-1"


@dataclass(slots=True, kw_only=True)
class Sim:
    """A running simulator."""

    url: str
    book: Book
    faults: FaultList
    _runner: web.AppRunner = field(repr=False)

    def base_url(self, provider: str) -> str:
        """Return the base URL that stands for a vendor's host. Raises KeyError for an unknown vendor."""
        return f"{self.url}/{VENDORS[provider].name}"

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
        await self._log(request, vendor.name if vendor else "", key)
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
        await self._log(request, platform.NAME, token)
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

    def _call(self, vendor: Vendor, request: web.Request, path: str, key: str, account: str = "") -> Call:
        known = self.book.keys.find(vendor.name, key)
        found = vendor.route(request.method, path)
        own = {name for name, _ in vendor.key_headers}
        return Call(
            route=found.name if found else "",
            state=known.state if known else None,
            key=key,
            account=account or (known.account if known else ""),
            headers={name.lower(): value for name, value in request.headers.items()},
            seq=self.book.log.seen,
            both_credentials="authorization" in request.headers and "authorization" not in own and bool(key),
        )

    async def _log(self, request: web.Request, vendor: str, key: str) -> None:
        body = await request.read()
        credentials = [
            {"header": name, "hash": self.book.keys.digest(value)} for name, value in self._credentials(request)
        ]
        self.book.log.add(
            {
                "vendor": vendor,
                "method": request.method,
                "host": request.host[:255],
                "path": self._safe_path(request.path, key),
                "query_names": sorted(request.query.keys())[:50],
                "header_names": sorted({name.lower() for name in request.headers})[:100],
                "auth": credentials[0] if credentials else None,
                "other_auth": credentials[1:],
                "key_in_url": self._key_in_url(request, key),
                "body_length": len(body),
            }
        )

    def _credentials(self, request: web.Request) -> list[tuple[str, str]]:
        found = []
        for name, value in request.headers.items():
            bare = value.partition(" ")[2] if value.lower().startswith(("bearer ", "basic ")) else value
            if name.lower() in _CREDENTIAL_HEADERS or self.book.keys.is_known(bare):
                found.append((name.lower(), bare))
        return found[:10]

    def _key_in_url(self, request: web.Request, key: str) -> bool:
        values = [*request.path.split("/"), *request.query.values()]
        named = any(name.lower() in {"key", "api_key", "apikey", "access_token", "token"} for name in request.query)
        return named or any(v and self.book.keys.is_known(v) for v in values) or bool(key and key in request.path_qs)

    def _safe_path(self, path: str, key: str) -> str:
        parts = [
            "[key]" if part and (part == key or self.book.keys.is_known(part)) else part for part in path.split("/")
        ]
        return "/".join(parts)[:512]


def _answer(vendor: Vendor, call: Call) -> Reply:
    return vendor.answer(call) if call.route else vendor.error(404)


def _presented(vendor: Vendor, request: web.Request) -> str:
    for name, prefix in vendor.key_headers:
        value = request.headers.get(name, "")
        if value[: len(prefix)].lower() == prefix.lower() and value[len(prefix) :]:
            return value[len(prefix) :].strip()
    return request.query.get(vendor.key_query, "") if vendor.key_query else ""


def _checked_host(host: str) -> str:
    if host != "localhost" and not _is_loopback(host):
        raise ValueError("the simulator listens on loopback addresses only")
    return host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _application(desk: _Desk) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes(routes(desk.book, desk.faults))
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
    faults = FaultList(targets=frozenset({*VENDORS, platform.NAME}))
    desk = _Desk(book=book, faults=faults, chance=random.Random(seed))  # noqa: S311 - repeatable on purpose
    runner = web.AppRunner(_application(desk), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, _checked_host(host), port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return Sim(url=_url(runner.addresses), book=book, faults=faults, _runner=runner)


def described(sim: Sim) -> Mapping[str, str]:
    """Return the base URLs by vendor, for a terminal."""
    return {**{name: sim.base_url(name) for name in VENDORS}, platform.NAME: sim.platform_url}
