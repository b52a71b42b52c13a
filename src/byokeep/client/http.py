"""Calls to the broker and the way to the store: one connection pool each, one deadline, errors by code.

Rules
- Redirects are not followed, cookies and proxies of the environment not used, bodies are bounded.
- A problem document becomes the same error class here, with its code and safe fields; its text is dropped.
- A broker that is busy has done nothing: the same call is made again, ``BUSY_ATTEMPTS`` times at most.
- Any other retry follows only Unavailable; it is bounded, spaced, and jittered (R1.5-6).
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Final, TypeVar

import aiohttp

from byokeep.client.settings import ClientSettings, parse_address
from byokeep.client.tally import Tally
from byokeep.core.errors import (
    KINDS,
    ByokeepError,
    Conflict,
    Denied,
    NotFound,
    RateLimited,
    Rejected,
    Unauthenticated,
    Unavailable,
)
from byokeep.core.secret import Secret
from byokeep.core.strict_json import read_json
from byokeep.wire.bao_http import BaoHttp
from byokeep.wire.transport import Transport, failing, read_body

T = TypeVar("T")
MAX_BODY: Final = 256 * 1024  # bytes of a reply
PIECE: Final = 1 << 18  # bytes of a stream at a time
STREAM_SILENCE: Final = 10  # deadlines that a stream may be silent for
_OK: Final = 200
FIRST_PAUSE_S: Final = 0.05
LAST_PAUSE_S: Final = 1.0
BUSY_ATTEMPTS: Final = 20
_BY_STATUS: Final[dict[int, type[ByokeepError]]] = {
    400: Rejected, 401: Unauthenticated, 403: Denied, 404: NotFound, 405: Rejected, 409: Conflict, 413: Rejected,
    415: Rejected, 422: Rejected, 429: RateLimited,
}  # fmt: skip
_FIELDS: Final = ("permit", "provider", "retry_after_s", "field", "epoch", "scope", "max_s", "request_id", "since",
                  "incident", "job", "limit")  # fmt: skip
_STEP: Final = re.compile(r"[A-Za-z0-9 .,;:/`<>'=_{}()&@-]{0,200}\Z")


class Broker:
    """The broker as the SDK sees it.

    Args:
        settings: Address, deadline, attempts.

    Attributes:
        tally: What was done at the store under the leases of this process.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._socket, self._base = parse_address(settings.broker_url)
        self._transport = Transport(self._socket, ca_file=settings.broker_ca_file)
        self._stores: dict[str, BaoHttp] = {}
        self.tally = Tally(self.call, self.persist)

    @property
    def settings(self) -> ClientSettings:
        """Of this process."""
        return self._settings

    async def close(self) -> None:
        """Tell what was done at the store, and close all connections, those to the store too."""
        await self.tally.close()
        while self._stores:
            await self._stores.popitem()[1].close()
        await self._transport.close()

    def store(self, address: str) -> BaoHttp:
        """Return the connections to a store, shared by all leases of this process.

        Raises:
            Rejected: ``bad_store_address``, ``store_address_insecure``.
        """
        if address not in self._stores:
            settings = self._settings
            self._stores[address] = BaoHttp(address, ca_file=settings.store_ca_file, timeout_s=settings.timeout_s)
        return self._stores[address]

    async def call(
        self, method: str, path: str, token: Secret, body: Mapping[str, Any] | None = None,
        *, timeout_s: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Make one call; return the reply's object.

        Args:
            method: HTTP method.
            path: Path of the route; ids in it are ours.
            token: The caller's token.
            body: JSON object.
            timeout_s: Another deadline than the setting.

        Raises:
            ByokeepError: As the broker answered; ``broker_unreachable``, ``broker_timeout``, ``broker_garbage``;
                ``broker_busy`` when it still was after every attempt.
        """
        for _ in range(BUSY_ATTEMPTS - 1):
            try:
                return await self._call(method, path, token, body, timeout_s=timeout_s)
            except Unavailable as error:
                if error.code != "broker_busy":
                    raise
            await asyncio.sleep(LAST_PAUSE_S * (0.5 + secrets.randbelow(1000) / 1000))
        return await self._call(method, path, token, body, timeout_s=timeout_s)

    async def _call(
        self, method: str, path: str, token: Secret, body: Mapping[str, Any] | None, *, timeout_s: float | None
    ) -> dict[str, Any]:
        headers = _headers(token)
        data = None
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode()
            headers["Content-Type"] = "application/json"
        with _failing():
            status, raw, _ = await self._transport.exchange(
                method, self._base + path, headers=headers, within=timeout_s or self._settings.timeout_s,
                most=MAX_BODY, data=data,
            )  # fmt: skip
        return _decode(status, raw)

    async def download(self, path: str, token: Secret) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a reply as they come; nothing of it is kept, and the reader bounds it.

        Raises:
            ByokeepError: As :meth:`call`; ``broker_timeout`` when nothing comes for the deadline's length.
        """
        with _failing():
            async with self._stream("GET", path, _headers(token)) as reply:
                if reply.status != _OK:
                    _decode(reply.status, await read_body(reply, MAX_BODY))
                    raise Unavailable("broker_garbage")
                async for chunk in reply.content.iter_chunked(PIECE):
                    yield chunk

    async def upload(self, path: str, token: Secret, chunks: AsyncIterator[bytes]) -> dict[str, Any]:
        """Send bytes as they come; return the reply's object. Not tried again: what was sent is gone.

        Raises:
            ByokeepError: As :meth:`call`, and what ``chunks`` raises.
        """
        headers = _headers(token) | {"Content-Type": "application/octet-stream"}
        passing = _Passing(chunks)
        try:
            with _failing():
                async with self._stream("PUT", path, headers, passing.through()) as reply:
                    return _decode(reply.status, await read_body(reply, MAX_BODY))
        except ByokeepError:
            if passing.failed is not None:  # the library names its own error for it
                raise passing.failed from None
            raise

    def _stream(
        self, method: str, path: str, headers: Mapping[str, str], data: AsyncIterator[bytes] | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Make a call without a deadline for the whole, but one for each silence: the broker may have to write."""
        within = aiohttp.ClientTimeout(
            total=None, sock_connect=self._settings.timeout_s, sock_read=STREAM_SILENCE * self._settings.timeout_s
        )
        return self._transport.request(method, self._base + path, headers=headers, within=within, data=data)

    async def persist(self, act: Callable[[], Awaitable[T]], *, attempts: int | None = None) -> T:
        """Try an act again while it ends in Unavailable, at most ``attempts`` times in all; by default the setting's.

        Raises:
            ByokeepError: The last Unavailable, or at once what is no Unavailable.
        """
        pause = FIRST_PAUSE_S
        attempts = attempts or self._settings.attempts
        for attempt in range(1, attempts + 1):
            try:
                return await act()
            except Unavailable as error:
                if attempt == attempts:
                    raise
                told = error.fields.get("retry_after_s")
                wait = min(float(told), LAST_PAUSE_S) if isinstance(told, int) else pause
            await asyncio.sleep(wait * (0.5 + secrets.randbelow(1000) / 1000))
            pause = min(pause * 2, LAST_PAUSE_S)
        raise Unavailable("no_attempts")


class _Passing:
    """Passes a stream on and remembers what it raised."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self.failed: BaseException | None = None
        self._chunks = chunks

    async def through(self) -> AsyncIterator[bytes]:
        """Yield the chunks."""
        try:
            async for chunk in self._chunks:
                yield chunk
        except Exception as error:
            self.failed = error
            raise


def _failing() -> AbstractContextManager[None]:
    return failing(
        "broker_unreachable", "broker_timeout", "broker_tls_failed", "broker_garbage",
        "See that the broker runs and is reachable from here.",
    )  # fmt: skip


def _headers(token: Secret) -> dict[str, str]:
    return {"Authorization": "Bearer " + token.reveal().decode("ascii")}


def _decode(status: int, raw: bytes) -> dict[str, Any]:
    try:
        document = read_json(raw) if raw else {}
    except ValueError:
        document = None
    if 200 <= status < 300 and isinstance(document, dict):
        return document
    if not isinstance(document, dict):
        document = {}
        if status not in _BY_STATUS:
            raise Unavailable("broker_garbage")
    raise error_from(status, document)


def error_from(status: int, document: Mapping[str, Any]) -> ByokeepError:
    """Rebuild the error that a broker named; what does not look like ours becomes Unavailable or its status's class."""
    name = str(document.get("type", "")).removeprefix("urn:byokeep:problem:")
    kind = KINDS.get(name) or _BY_STATUS.get(status, Unavailable)
    fields = {field: document[field] for field in _FIELDS if isinstance(document.get(field), str | int)}
    step = document.get("next_step")
    try:
        return kind(
            str(document.get("code", "")), next_step=step if isinstance(step, str) and _STEP.match(step) else "",
            **fields,
        )  # fmt: skip
    except ValueError:
        return kind("broker_garbage")
