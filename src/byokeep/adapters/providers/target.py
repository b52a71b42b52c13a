"""Decides where a key may be sent, and checks the request that carries it.

Rules
- The provider's own host over HTTPS; or, where overriding is allowed, a loopback address.
- Names are judged twice: as written, and by the addresses that they lead to.
- The key stands in one header, the provider's; anywhere else the request is refused before it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from byokeep.adapters.providers.descriptor import ProviderDescriptor
from byokeep.core.errors import Rejected
from byokeep.wire.address import is_loopback
from byokeep.wire.outbound import NEXT_STEP


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
    loopback = is_loopback(host, named=True)
    if not loopback and host != descriptor.host:
        raise Rejected("host_not_allowed", next_step=NEXT_STEP, provider=descriptor.provider)
    if loopback and not allow_loopback:
        raise Rejected("host_not_allowed", next_step=NEXT_STEP, provider=descriptor.provider)
    if scheme != "https" and not loopback:
        raise Rejected("insecure_scheme", next_step=NEXT_STEP, provider=descriptor.provider)
    query = f"?{urlencode(descriptor.query)}" if descriptor.query else ""
    return ProviderTarget(url=base.rstrip("/") + descriptor.path + query, loopback=loopback)


def _parts(base: str, provider: str) -> tuple[str, str]:
    try:
        split = urlsplit(base)
        host, _ = split.hostname or "", split.port
    except ValueError:
        raise Rejected("bad_base_url", next_step=NEXT_STEP, provider=provider) from None
    odd = not base.isascii() or not base.isprintable() or "\\" in base or " " in base
    if odd or not host or "@" in split.netloc or split.query or split.fragment or "?" in base or "#" in base:
        raise Rejected("bad_base_url", next_step=NEXT_STEP, provider=provider)
    if split.scheme not in ("http", "https"):
        raise Rejected("insecure_scheme", next_step=NEXT_STEP, provider=provider)
    return host, split.scheme


def guard(descriptor: ProviderDescriptor, url: str, headers: Mapping[str, str], key: bytes) -> None:
    """Refuse a request that carries the key anywhere but in the provider's header.

    Raises:
        Rejected: ``secret_in_url``, ``secret_in_wrong_place``.
    """
    if key in url.encode() or quote(key, safe="") in url:
        raise Rejected("secret_in_url", provider=descriptor.provider)
    carriers = [name.lower() for name, value in headers.items() if key in value.encode()]
    if carriers != [descriptor.auth_header]:
        raise Rejected("secret_in_wrong_place", provider=descriptor.provider)
