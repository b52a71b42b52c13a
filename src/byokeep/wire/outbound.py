"""HTTP to servers that are not ours: where a secret may go, what may come back, and whether it left at all.

Rules
- The named host over HTTPS, or a loopback address where overriding is allowed. The address that a name led to is judged
  after connecting and before TLS: private, link-local and metadata addresses get no byte.
- No redirects, no proxies of the environment, no cookies, no compressed bodies; one deadline for the whole exchange,
  one bound for the body. The library's loggers write URLs and headers; they stay silent whatever logging is set up.
- A reply is status, a few headers and bytes. A name twice in a JSON object is refused: two readers would see two.

It may not retry, and no text of a reply gets into an error.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import ssl
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import httpx2

from byokeep.core.canonical import check_texts
from byokeep.core.errors import Rejected
from byokeep.core.secret import Secret

MAX_BODY: Final = 256 * 1024
KEPT_HEADERS: Final = frozenset({"retry-after", "x-rate-limit-reset", "content-type"})
_LOGGERS: Final = ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))
_NEXT_STEP: Final = "Remove the configured base URL, or point it at a loopback simulator outside production."


class _Nothing(logging.Filter):
    """Lets no record through."""

    def filter(self, record: logging.LogRecord) -> bool:
        return False


_NOTHING: Final = _Nothing()


def silence() -> None:
    """Keep the HTTP library out of every log. A filter survives a later ``dictConfig``; a level would not."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_NOTHING)


def new_outbound_client(*, trust: ssl.SSLContext | None = None) -> httpx2.AsyncClient:
    """Return a client for :func:`exchange`; the caller closes it.

    Args:
        trust: Certificates to trust; None for the system's.
    """
    silence()
    return httpx2.AsyncClient(
        verify=trust or ssl.create_default_context(),
        trust_env=False,
        follow_redirects=False,
        http2=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        timeout=httpx2.Timeout(10.0),
        limits=httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0),
    )


def is_loopback(host: str) -> bool:
    """Whether a host, as written, is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_allowed(address: str, *, loopback: bool) -> bool:
    """Whether a connection to this IP address may carry a secret."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    ip = mapped or ip
    if loopback:
        return ip.is_loopback
    return ip.is_global and not (ip.is_multicast or ip.is_loopback or ip.is_link_local or ip.is_reserved)


def loopback_base(base: str) -> str:
    """Accept the address of a simulator and return it without a slash at its end.

    Raises:
        Rejected: ``bad_base_url``, ``host_not_allowed``.
    """
    try:
        split = urlsplit(base)
        host, _ = split.hostname or "", split.port
    except ValueError:
        raise Rejected("bad_base_url", next_step=_NEXT_STEP) from None
    odd = not base.isascii() or not base.isprintable() or any(char in base for char in "\\ ?#@")
    if odd or split.scheme not in ("http", "https"):
        raise Rejected("bad_base_url", next_step=_NEXT_STEP)
    if not is_loopback(host):
        raise Rejected("host_not_allowed", next_step=_NEXT_STEP)
    return base.rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """A whole reply. The body may hold tokens, so it is wrapped."""

    status: int
    body: Secret
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotGot:
    """No whole reply.

    Args:
        sent: Whether bytes of the request may have reached the other side.
        status: Status of a reply whose body could not be taken.
    """

    sent: bool
    status: int | None = None


class _Watch:
    """Follows one request: refuses a far end where a secret may not go, and notes when bytes begin to leave.

    The HTTP library calls it for each of its steps (the ``trace`` extension).
    """

    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback
        self.sent = False

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Raise Rejected(``host_not_allowed``) for a new connection to an address that is not allowed."""
        if event.endswith("send_request_headers.started"):
            self.sent = True
        if event != "connection.connect_tcp.complete":
            return
        stream = info["return_value"]
        peer = stream.get_extra_info("server_addr")
        if isinstance(peer, tuple) and address_allowed(str(peer[0]), loopback=self._loopback):
            return
        await stream.aclose()
        raise Rejected("host_not_allowed", next_step=_NEXT_STEP)


async def exchange(
    http: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    headers: dict[str, str],
    content: bytes = b"",
    loopback: bool,
    connect_s: float = 10.0,
    deadline_s: float = 60.0,
) -> Got | NotGot:
    """Send one request and read its reply.

    Args:
        http: A client of :func:`new_outbound_client`.
        loopback: Whether the far end must be this machine; otherwise it must be a public address.
        connect_s: Seconds until the connection stands.
        deadline_s: Seconds for everything.

    Raises:
        Rejected: ``host_not_allowed``: nothing was sent.
    """
    silence()
    watch = _Watch(loopback=loopback)
    timeout = httpx2.Timeout(deadline_s, connect=min(connect_s, deadline_s))
    try:
        # Built bare, not by the client: the client's own headers, parameters and cookies have no place here.
        request = httpx2.Request(
            method,
            url,
            headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "byokeep", **headers},
            content=content or None,
            extensions={"timeout": timeout.as_dict(), "trace": watch},
        )
        async with asyncio.timeout(deadline_s):
            return await _sent(http, request)
    except (TimeoutError, httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL):
        return NotGot(sent=watch.sent)


async def _sent(http: httpx2.AsyncClient, request: httpx2.Request) -> Got | NotGot:
    response = await http.send(request, stream=True, auth=None, follow_redirects=False)
    body = bytearray()
    try:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            return NotGot(sent=True, status=response.status_code)
        async for chunk in response.aiter_raw():
            body += chunk[: MAX_BODY + 1 - len(body)]
            if len(body) > MAX_BODY:
                return NotGot(sent=True, status=response.status_code)
        kept = {name: response.headers[name][:100] for name in KEPT_HEADERS if name in response.headers}
        return Got(status=response.status_code, body=Secret(body), headers=kept)
    finally:
        body[:] = bytes(len(body))
        await response.aclose()


def strict_object(body: bytes) -> dict[str, Any] | None:
    """Return the body as a JSON object, None when it is none.

    It is none either when a name stands twice in an object, or a text is no Unicode or holds a NUL: what nobody can
    write down is not read.
    """
    try:
        document = json.loads(body, parse_constant=_refused, object_pairs_hook=_once)
        check_texts(document)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _refused(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")
