"""HTTP of every call that leaves a process of ours: connections, deadlines, bounds, and the names of failures.

Rules
- No redirects, cookies, proxies of the environment or unpacked bodies; certificates are always checked.
- A body is read up to a bound; a failure becomes a code, and its text is dropped.

It may not retry, nor read a body: whether an act may be repeated, and what a reply means, is known to the caller alone.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import aiohttp
from yarl import URL

from byokeep.core.errors import Unavailable

PIECE: Final = 1 << 16
MOST_TOLD: Final = 1 << 16  # bytes of what a process says of its state


class TooLarge(Exception):
    """A reply is longer than its bound."""


class CaFileUnreadable(OSError):
    """The PEM file of the issuer to trust cannot be read, or is none."""


class Transport:
    """A pool of connections, opened with the first call; after :meth:`close` it may be used again.

    Args:
        socket: Path of a Unix socket; None for TCP.
        ca_file: PEM file of the only issuer to trust; default the system's.
        connections: Upper bound of open connections.
    """

    def __init__(self, socket: str | None = None, *, ca_file: Path | None = None, connections: int = 100) -> None:
        self._socket, self._ca_file, self._connections = socket, ca_file, connections
        self._session: aiohttp.ClientSession | None = None

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
            url: Percent-encoded already.
            within: Seconds for the whole exchange, or finer deadlines.
            watch: What the traces of the session get to know this request by.
        """
        if self._session is None or self._session.closed:
            self._session = self._open()
        timeout = within if isinstance(within, aiohttp.ClientTimeout) else aiohttp.ClientTimeout(total=within)
        url = url if isinstance(url, URL) else URL(url, encoded=True)
        return self._session.request(
            method, url, data=data, headers=headers, allow_redirects=False, timeout=timeout, trace_request_ctx=watch
        )

    async def exchange(
        self, method: str, url: str | URL, *, headers: Mapping[str, str], within: float | aiohttp.ClientTimeout,
        most: int, data: bytes | None = None,
    ) -> tuple[int, bytes, Mapping[str, str]]:  # fmt: skip
        """Return status, body and headers of a reply of at most ``most`` bytes. Raises TooLarge, and as aiohttp."""
        async with self.request(method, url, headers=headers, within=within, data=data) as reply:
            return reply.status, await read_body(reply, most), reply.headers

    def _open(self) -> aiohttp.ClientSession:
        return new_session(self._connector())

    def _connector(self) -> aiohttp.BaseConnector:
        if self._socket is not None:
            return aiohttp.UnixConnector(self._socket, limit=self._connections)
        try:
            context = ssl.create_default_context(cafile=self._ca_file)
        except OSError:
            raise CaFileUnreadable from None
        return aiohttp.TCPConnector(ssl=context, limit=self._connections)


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
