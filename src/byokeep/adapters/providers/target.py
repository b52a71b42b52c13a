"""Decides where a key may be sent, and checks the request that carries it.

Rules
- The provider's own host over HTTPS; or, where overriding is allowed, a loopback address.
- Names are judged twice: as written, and by the address that the connection really has.
- The key stands in one header, the provider's; anywhere else the request is refused before it is sent.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import httpx2

from byokeep.adapters.providers.descriptor import ProviderDescriptor
from byokeep.core.errors import Rejected

_NEXT_STEP: Final = "Remove the configured base URL, or point it at a loopback simulator outside production."


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderTarget:
    """Where the identity call goes."""

    url: str
    loopback: bool


def resolve(descriptor: ProviderDescriptor, base_url: str | None, *, allow_loopback: bool) -> ProviderTarget:
    """Return the identity URL.

    Args:
        base_url: Configured override, None for the provider's own host.
        allow_loopback: Whether an override may be a loopback address; never in production.

    Raises:
        Rejected: ``bad_base_url``, ``insecure_scheme``, ``host_not_allowed``.
    """
    base = base_url or descriptor.base_url
    host, scheme = _parts(base, descriptor.provider)
    loopback = _is_loopback(host)
    if not loopback and host != descriptor.host:
        raise Rejected("host_not_allowed", next_step=_NEXT_STEP, provider=descriptor.provider)
    if loopback and not allow_loopback:
        raise Rejected("host_not_allowed", next_step=_NEXT_STEP, provider=descriptor.provider)
    if scheme != "https" and not loopback:
        raise Rejected("insecure_scheme", next_step=_NEXT_STEP, provider=descriptor.provider)
    query = f"?{urlencode(descriptor.query)}" if descriptor.query else ""
    return ProviderTarget(url=base.rstrip("/") + descriptor.path + query, loopback=loopback)


def _parts(base: str, provider: str) -> tuple[str, str]:
    try:
        split = urlsplit(base)
        host, _ = split.hostname or "", split.port
    except ValueError:
        raise Rejected("bad_base_url", next_step=_NEXT_STEP, provider=provider) from None
    odd = not base.isascii() or not base.isprintable() or "\\" in base or " " in base
    if odd or not host or "@" in split.netloc or split.query or split.fragment or "?" in base or "#" in base:
        raise Rejected("bad_base_url", next_step=_NEXT_STEP, provider=provider)
    if split.scheme not in ("http", "https"):
        raise Rejected("insecure_scheme", next_step=_NEXT_STEP, provider=provider)
    return host, split.scheme


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_allowed(address: str, *, loopback: bool) -> bool:
    """Whether a connection to this IP address may carry a key."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    ip = mapped or ip
    if loopback:
        return ip.is_loopback
    return ip.is_global and not (ip.is_multicast or ip.is_loopback or ip.is_link_local or ip.is_reserved)


class PeerCheck:
    """Refuses a new connection whose far end is not where a key may go, before a byte is sent.

    Set as the ``trace`` extension of a request: the HTTP library reports each connection as it is made.
    """

    def __init__(self, provider: str, *, loopback: bool) -> None:
        self._provider = provider
        self._loopback = loopback

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Close the connection and raise Rejected(``host_not_allowed``) when its address is not allowed."""
        if event != "connection.connect_tcp.complete":
            return
        stream = info["return_value"]
        peer = stream.get_extra_info("server_addr")
        if isinstance(peer, tuple) and address_allowed(str(peer[0]), loopback=self._loopback):
            return
        await stream.aclose()
        raise Rejected("host_not_allowed", next_step=_NEXT_STEP, provider=self._provider)


def guard(request: httpx2.Request, descriptor: ProviderDescriptor, key: bytes) -> None:
    """Refuse a request that carries the key anywhere but in the provider's header.

    Raises:
        Rejected: ``secret_in_url``, ``secret_in_wrong_place``, ``not_read_only``.
    """
    url = str(request.url).encode()
    if key in url or quote(key, safe="").encode() in url:
        raise Rejected("secret_in_url", provider=descriptor.provider)
    if request.method != "GET" or request.read():
        raise Rejected("not_read_only", provider=descriptor.provider)
    carriers = [name.lower() for name, value in request.headers.raw if key in value]
    if carriers != [descriptor.auth_header.encode()]:
        raise Rejected("secret_in_wrong_place", provider=descriptor.provider)
