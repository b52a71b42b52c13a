"""HTTP of every call that leaves a process of ours: connections, deadlines, bounds, and the names of failures.

Rules
- No redirects, cookies, environment proxies or unpacked bodies. Certificates are always checked.
- A body is read up to a limit. A failure becomes a code, and its text is dropped.
- To a server that is not ours (:class:`Outbound`) a secret goes over HTTPS to the named host, or to a loopback address
  where overriding is allowed. The addresses that a name resolves to are judged before connecting: private, link-local
  and metadata addresses get no byte. There is one deadline for the whole exchange, one limit for the body, and one
  connection per request, so that none is sent twice. A reply is status, a few headers and bytes.

It may not retry, or interpret a body: only the caller knows whether an act may be repeated and what a reply means.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from byokeep.core.errors import Rejected, Unavailable, refusing
from byokeep.core.secret import Secret
from byokeep.wire.address import is_loopback

PIECE: Final = 1 << 16
MOST_TOLD: Final = 1 << 16  # bytes of what a process says about its state


class TooLarge(Exception):
    """A reply is longer than its limit."""


class CaFileUnreadable(OSError):
    """The PEM file of the issuer to trust cannot be read, or is not one."""


class Transport:
    """A pool of connections, opened with the first call; after :meth:`close` it may be used again.

    Args:
        socket: Path of a Unix socket; None for TCP.
        ca_file: PEM file of the only issuer to trust; default: the system's.
        connections: Maximum of open connections.
        trust: What checks certificates instead.
    """

    def __init__(
        self, socket: str | None = None, *, ca_file: Path | None = None, connections: int = 100,
        trust: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self._socket, self._ca_file, self._connections = socket, ca_file, connections
        self._session: aiohttp.ClientSession | None = None
        self._trust, self._context = trust, trust

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def request(
        self, method: str, url: str | URL, *, headers: Mapping[str, str], within: float | aiohttp.ClientTimeout,
        data: bytes | AsyncIterator[bytes] | None = None, watch: object = None,
    ) -> aiohttp.client._RequestContextManager:  # fmt: skip
        """Return the reply of one request as a context manager.

        Args:
            url: Already percent-encoded.
            within: Seconds for the whole exchange, or finer deadlines.
            watch: What identifies this request to the session's traces.

        Raises:
            CaFileUnreadable: The call is one over TLS, and whom to trust cannot be read.
        """
        if self._session is None or self._session.closed:
            self._session, self._context = self._open(), self._trust
        timeout = within if isinstance(within, aiohttp.ClientTimeout) else aiohttp.ClientTimeout(total=within)
        url = url if isinstance(url, URL) else URL(url, encoded=True)
        return self._session.request(
            method, url, data=data, headers=headers, allow_redirects=False, timeout=timeout, trace_request_ctx=watch,
            ssl=self._trusted() if url.scheme == "https" else True,
        )  # fmt: skip

    async def exchange(
        self, method: str, url: str | URL, *, headers: Mapping[str, str], within: float | aiohttp.ClientTimeout,
        most: int, data: bytes | None = None,
    ) -> tuple[int, bytes, Mapping[str, str]]:  # fmt: skip
        """Return status, body and headers of a reply of at most ``most`` bytes. Raises TooLarge, and as aiohttp."""
        async with self.request(method, url, headers=headers, within=within, data=data) as reply:
            return reply.status, await read_body(reply, most), reply.headers

    def _open(self) -> aiohttp.ClientSession:
        if self._socket is not None:
            return new_session(aiohttp.UnixConnector(self._socket, limit=self._connections))
        return new_session(aiohttp.TCPConnector(limit=self._connections))

    def _trusted(self) -> ssl.SSLContext:
        """Return what checks certificates. To read the system's takes 10 ms, which a call over plain HTTP is spared."""
        if self._context is None:
            try:
                self._context = trusting(self._ca_file)
            except OSError:
                raise CaFileUnreadable from None
        return self._context


def trusting(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return what checks certificates, by one issuer or the system's; a file of the environment gets no session's keys.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.keylog_filename = None  # type: ignore[assignment]
    return context


def new_session(connector: aiohttp.BaseConnector, *traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
    """Return a session that remembers nothing and takes nothing from the environment."""
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False,
        headers={"Accept-Encoding": "identity"}, skip_auto_headers=("Accept", "User-Agent"), trace_configs=list(traces),
    )  # fmt: skip


async def read_body(reply: aiohttp.ClientResponse, most: int) -> bytes:
    """Return a body of at most ``most`` bytes. Raises TooLarge."""
    body = bytearray()
    async for chunk in reply.content.iter_chunked(PIECE):
        body += chunk
        if len(body) > most:
            raise TooLarge
    return bytes(body)


@contextmanager
def failing(unreachable: str, timeout: str, tls: str, large: str, step: str = "") -> Iterator[None]:
    """Give every failure of an exchange its code, and let our own errors pass. Raises Unavailable."""
    try:
        yield
        return
    except TooLarge:
        code = large
    except TimeoutError:
        code = timeout
    except aiohttp.ClientSSLError:
        code = tls
    except (aiohttp.ClientError, OSError, ValueError):
        code = unreachable
    raise Unavailable(code, next_step=step) from None


MAX_BODY: Final = 256 * 1024
KEPT_HEADERS: Final = frozenset({"retry-after", "x-rate-limit-reset", "content-type"})
NEXT_STEP: Final = "Remove the configured base URL, or point it at a loopback simulator outside production."


_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def address_allowed(address: str, *, loopback: bool) -> bool:
    """Whether a connection to this IP address may carry a secret.

    An IPv6 address that leads to an IPv4 one (NAT64, 6to4) is judged by that.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    if loopback:
        return ip.is_loopback
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.is_site_local:  # which is_global does not know
            return False
        ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.sixtofour or ip
    return ip.is_global and not (ip.is_multicast or ip.is_loopback or ip.is_link_local or ip.is_reserved)


def not_allowed() -> Rejected:
    """Return the refusal to send a secret to an address."""
    return Rejected("host_not_allowed", next_step=NEXT_STEP)


def loopback_base(base: str) -> str:
    """Accept a simulator's address and return it without a slash at the end.

    Raises:
        Rejected: ``bad_base_url``, ``host_not_allowed``.
    """
    with refusing("bad_base_url", Rejected, next_step=NEXT_STEP):
        split = urlsplit(base)
        host, _ = split.hostname or "", split.port
    odd = not base.isascii() or not base.isprintable() or any(char in base for char in "\\ ?#@")
    if odd or split.scheme not in ("http", "https"):
        raise Rejected("bad_base_url", next_step=NEXT_STEP)
    if not is_loopback(host, named=True):
        raise not_allowed()
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
        status: The status of a reply whose body could not be read.
    """

    sent: bool
    status: int | None = None


class _Judge(aiohttp.ThreadedResolver):
    """Resolves a name, and drops the addresses where a secret may not go: they are not even connected to."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        """Return what is left. Raises Rejected(``host_not_allowed``) if nothing is."""
        found = await super().resolve(host, port, family)
        found = [one for one in found if address_allowed(one["host"], loopback=host == "localhost")]
        if not found:
            raise not_allowed()
        return found


@dataclass(slots=True)
class Watch:
    """Follows one request. ``sent``: whether bytes of it may have left."""

    sent: bool = False


class Outbound(Transport):
    """Connections to servers that are not ours, each for one request: nothing is sent again over another."""

    def ask(
        self, method: str, url: str, *, headers: Mapping[str, str], loopback: bool, watch: Watch,
        within: aiohttp.ClientTimeout, data: bytes | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:  # fmt: skip
        """Return the reply of one request as a context manager.

        Args:
            loopback: Whether the far end must be this machine; otherwise it must be a public address.

        Raises:
            Rejected: ``host_not_allowed``, here or on entering: nothing was sent.
        """
        host = URL(url, encoded=True).host or ""
        numeric = ":" in host or host.replace(".", "").isdigit()  # the library connects to these without resolving
        if loopback is not is_loopback(host, named=True) or (numeric and not address_allowed(host, loopback=loopback)):
            raise not_allowed()
        own = {"accept": "application/json", "user-agent": "byokeep"}
        return self.request(method, url, headers={**own, **headers}, within=within, data=data, watch=watch)

    def _open(self) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_start.append(_once_only)
        trace.on_connection_create_end.append(_connected)
        return new_session(aiohttp.TCPConnector(resolver=_Judge(), force_close=True), trace)


async def _once_only(_: object, context: SimpleNamespace, __: object) -> None:
    if context.trace_request_ctx.sent:  # the library resends a GET whose connection broke; we do not
        raise aiohttp.ClientOSError("the connection broke")


async def _connected(_: object, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.sent = True


async def exchange(
    http: Outbound,
    method: str,
    url: str,
    *,
    headers: dict[str, str],
    content: bytes = b"",
    loopback: bool,
    deadline_s: float = 60.0,
) -> Got | NotGot:
    """Send one request and read its reply.

    Args:
        loopback: Whether the far end must be this machine; otherwise it must be a public address.
        deadline_s: Seconds for everything.

    Raises:
        Rejected: ``host_not_allowed``: nothing was sent.
    """
    watch, status = Watch(), None
    within = aiohttp.ClientTimeout(total=deadline_s, connect=min(10.0, deadline_s))
    asked = http.ask(method, url, headers=headers, data=content or None, loopback=loopback, watch=watch, within=within)
    try:
        async with asked as reply:
            if is_packed(reply):
                return NotGot(sent=True, status=reply.status)
            status = reply.status
            body = Secret(await read_body(reply, MAX_BODY))
            kept = {name: reply.headers[name][:100] for name in KEPT_HEADERS if name in reply.headers}
            return Got(status=reply.status, body=body, headers=kept)
    except TooLarge:
        return NotGot(sent=True, status=status)
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
        return NotGot(sent=watch.sent)


def is_packed(reply: aiohttp.ClientResponse) -> bool:
    """Whether a body came compressed although that was not asked for."""
    return reply.headers.get("content-encoding", "identity").lower() != "identity"
