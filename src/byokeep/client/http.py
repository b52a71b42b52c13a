"""Calls to the broker and the way to the store, and what the broker is told about the attempts there.

One connection pool each, one deadline, errors by code.

Rules
- Redirects are not followed. Cookies, and proxies of the environment, are not used. Bodies are bounded.
- A problem document becomes the same error class here, with its code and safe fields; its text is dropped.
- A busy broker has done nothing: the same call is made again, at most ``BUSY_ATTEMPTS`` times.
- Any other retry follows only Unavailable, and is bounded, spaced and jittered (R1.5-6).
- Every attempt at the store is counted before it is made. If the store's own log has more than was told, it was
  somebody else (ADR 0038). A lease is told once, when it can no longer be used: its holder closed it, or its tokens are
  dead at the store. Those of one process are told together, within ``TELL_EVERY_S``, without making anybody wait for a
  secret.
- A busy broker is told again for an hour while the process lives: even a late telling exposes one made in its name.
  When the process's connection ends, it tells for at most ``TELL_FOR_S``.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import aiohttp

from byokeep.client.calls import CallLog
from byokeep.client.settings import ClientSettings, parse_address
from byokeep.client.view import SwitchView, now
from byokeep.core.canonical import read_json
from byokeep.core.errors import KINDS, ByokeepError, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp
from byokeep.wire.transport import Transport, failing, read_body

__all__ = ["Broker", "Tally", "end", "error_from", "now"]
TELL_EVERY_S: Final = 0.5  # seconds between two tellings of a process
TELL_AFTER_S: Final = 6.0  # seconds after its issue at which a lease's tokens are dead at the store
FORGET_AFTER_S: Final = 3600.0  # seconds for which a broker that does not listen is told again
MAX_KEPT: Final = 10_000  # leases waiting to be told, a few MB; the oldest are dropped first
REST_S: Final = 10.0  # seconds between two tellings to a broker that has not listened for long
TELL_FOR_S: Final = 10.0  # seconds that an ending process has to tell what is left
TELL_ATTEMPTS: Final = 10
TOGETHER: Final = 100  # leases in one telling


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end. Raises what it failed with; who is cancelled meanwhile is cancelled."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


@dataclass(slots=True)
class _Use:
    token: Secret
    since: float
    due: float
    logins: int = 0
    reads: Counter[str] = field(default_factory=Counter)


class Tally:
    """The counts of one process's leases, which are told to ``broker``."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._uses: dict[str, _Use] = {}
        self._telling: asyncio.Task[None] | None = None

    def attempt(self, lease_id: str, token: Secret, secret: str, asked_at: float) -> None:
        """Count a login that is about to be made, and the one read that follows it.

        Args:
            lease_id: The lease it is made under.
            token: The holder's token.
            secret: The lease's name for the secret.
            asked_at: When the lease was asked for, as of :data:`now`.
        """
        use = self._uses.setdefault(lease_id, _Use(token, asked_at, asked_at + TELL_AFTER_S))
        while len(self._uses) > MAX_KEPT:
            del self._uses[next(iter(self._uses))]
        use.logins += 1
        use.reads[secret.partition("/")[0]] += 1
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._keep_telling())

    def over(self, lease_id: str) -> None:
        """Note that a lease's holder no longer uses it."""
        if (use := self._uses.get(lease_id)) is not None:
            use.due = now()

    async def close(self) -> None:
        """Tell every lease that is left. While the broker cannot be told, this takes up to ``TELL_FOR_S``."""
        if self._telling is not None:
            await end(self._telling)
        with suppress(ByokeepError, TimeoutError):
            async with asyncio.timeout(TELL_FOR_S):
                await self._broker.persist(lambda: self._tell(float("inf")), attempts=TELL_ATTEMPTS)

    def stop(self) -> None:
        """Tell no more."""
        if self._telling is not None:
            self._telling.cancel()

    async def _keep_telling(self) -> None:
        pause_s = TELL_EVERY_S
        while self._uses:
            await asyncio.sleep(pause_s)
            try:
                await self._tell(now())
                pause_s = TELL_EVERY_S
            except ByokeepError:
                pause_s = min(2 * pause_s, REST_S)

    async def _tell(self, due: float) -> None:
        """Tell the leases that are due by then; raises Unavailable if some must be told again."""
        while together := self._next(due):
            said = [{"lease_id": one, "logins": use.logins, "reads": dict(use.reads)} for one, use in together.items()]
            token = next(iter(together.values())).token
            try:
                await self._broker.call("POST", "/v1/leases/use", token, {"leases": said})
            except Unavailable:
                for lease_id, use in together.items():
                    if now() - use.since >= FORGET_AFTER_S:
                        self._uses.pop(lease_id, None)
                raise
            except ByokeepError:
                pass  # the broker refuses it, and always will
            for lease_id in together:
                self._uses.pop(lease_id, None)

    def _next(self, due: float) -> dict[str, _Use]:
        """Return the due leases of one holder."""
        ready = {lease_id: use for lease_id, use in self._uses.items() if use.due <= due}
        holder = next((use.token for use in ready.values()), None)
        mine = [lease_id for lease_id, use in ready.items() if use.token is holder][:TOGETHER]
        return {lease_id: ready[lease_id] for lease_id in mine}


T = TypeVar("T")
MAX_BODY: Final = 256 * 1024  # bytes of a reply
PIECE: Final = 1 << 18  # bytes of a stream at a time
STREAM_SILENCE: Final = 10  # deadlines for which a stream may be silent
_OK: Final = 200
FIRST_PAUSE_S: Final = 0.05
LAST_PAUSE_S: Final = 1.0
BUSY_ATTEMPTS: Final = 20
_OF_STATUS: Final = [KINDS[name] for name in ("unauthenticated", "denied", "not_found", "conflict", "rate_limited")]
_BY_STATUS: Final[dict[int, type[ByokeepError]]] = {
    **dict.fromkeys((400, 405, 413, 415, 422), Rejected), **{kind.http_status: kind for kind in _OF_STATUS},
}  # fmt: skip
_FIELDS: Final = ("permit", "provider", "retry_after_s", "field", "epoch", "scope", "max_s", "request_id", "since",
                  "incident", "job", "limit", "reason")  # fmt: skip
_STEP: Final = re.compile(r"[A-Za-z0-9 .,;:/`<>'=_{}()&@-]{0,400}\Z")


class Broker:
    """The broker as the SDK sees it.

    Args:
        settings: Address, deadline, attempts.

    Attributes:
        settings: This process's.
        tally: What was done at the store under this process's leases.
        calls: What its jobs called with their secrets.
        view: The kill switches, as they are pushed.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self._socket, self._base = parse_address(settings.broker_url)
        self._transport = Transport(self._socket, ca_file=settings.broker_ca_file)
        self._stores: dict[str, BaoHttp] = {}
        self.tally = Tally(self)
        self.calls = CallLog(self)
        self.view = SwitchView(
            settings.killswitch_url or settings.broker_url,
            ca_file=settings.killswitch_ca_file if settings.killswitch_url else settings.broker_ca_file,
        )

    async def close(self) -> None:
        """Tell what was done at the store and at providers, and close all connections, the store's included.

        Who is cut off meanwhile tells no more, and leaves neither a task nor a connection.
        """
        try:
            await self.view.close()
            await self.calls.close()
            await self.tally.close()
        finally:
            self.calls.stop()
            self.tally.stop()
            async with AsyncExitStack() as rest:
                rest.push_async_callback(self._transport.close)
                while self._stores:
                    rest.push_async_callback(self._stores.popitem()[1].close)

    def store(self, address: str) -> BaoHttp:
        """Return the connections to a store, shared by all leases of this process.

        Raises:
            Rejected: ``bad_store_address``, ``store_address_insecure``.
        """
        if address not in self._stores:
            settings = self.settings
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
            timeout_s: A deadline other than the setting.

        Raises:
            ByokeepError: As the broker answered; ``broker_unreachable``, ``broker_timeout``, ``broker_garbage``;
                ``broker_busy`` if it still was after every attempt.
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
                method, self._base + path, headers=headers, within=timeout_s or self.settings.timeout_s,
                most=MAX_BODY, data=data,
            )  # fmt: skip
        return _decode(status, raw)

    async def download(self, path: str, token: Secret) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a reply as they come. Nothing is kept; the reader bounds it.

        Raises:
            ByokeepError: As :meth:`call`; ``broker_timeout`` if nothing comes for the length of the deadline.
        """
        with _failing():
            async with self._stream("GET", path, _headers(token)) as reply:
                if reply.status != _OK:
                    _decode(reply.status, await read_body(reply, MAX_BODY))
                    raise Unavailable("broker_garbage")
                async for chunk in reply.content.iter_chunked(PIECE):
                    yield chunk

    async def upload(self, path: str, token: Secret, chunks: AsyncIterator[bytes]) -> dict[str, Any]:
        """Send bytes as they come; return the reply's object. Not retried: what was sent is gone.

        Raises:
            ByokeepError: As :meth:`call`, and what ``chunks`` raises.
        """
        headers = _headers(token) | {"Content-Type": "application/octet-stream"}
        failed: list[Exception] = []

        async def passing() -> AsyncIterator[bytes]:
            try:
                async for chunk in chunks:
                    yield chunk
            except Exception as error:
                failed.append(error)
                raise

        try:
            with _failing():
                async with self._stream("PUT", path, headers, passing()) as reply:
                    return _decode(reply.status, await read_body(reply, MAX_BODY))
        except ByokeepError:
            if failed:  # the library would raise its own error for it
                raise failed[0] from None
            raise

    def _stream(
        self, method: str, path: str, headers: Mapping[str, str], data: AsyncIterator[bytes] | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Make a call with no deadline for the whole, but one for each silence: the broker may have to write."""
        within = aiohttp.ClientTimeout(
            total=None, sock_connect=self.settings.timeout_s, sock_read=STREAM_SILENCE * self.settings.timeout_s
        )
        return self._transport.request(method, self._base + path, headers=headers, within=within, data=data)

    async def persist(self, act: Callable[[], Awaitable[T]], *, attempts: int | None = None) -> T:
        """Retry an act while it ends in Unavailable, at most ``attempts`` times in all; default: the setting's.

        Raises:
            ByokeepError: The last Unavailable, or any other error at once.
        """
        pause = FIRST_PAUSE_S
        attempts = attempts or self.settings.attempts
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


def _failing() -> AbstractContextManager[None]:
    return failing(
        "broker_unreachable", "broker_timeout", "broker_tls_failed", "broker_garbage",
        "Check that the broker is running and reachable from here.",
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
    raise error_from(status, document if isinstance(document, dict) else {})


def error_from(status: int, document: Mapping[str, Any]) -> ByokeepError:
    """Rebuild the error that a broker named; one that is not in its form is somebody's on the way there."""
    urn, _, name = str(document.get("type", "")).rpartition(":")
    if urn != "urn:byokeep:problem":
        return Unavailable("broker_garbage")
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
