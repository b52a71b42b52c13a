"""The kill switches as the kill process pushes them: one stream of server-sent events for all leases of a process.

Rules
- A kill ends the leases of its client the moment it is heard. After a kill of a platform or lane no permit for it is
  valid. Without a view from the last ``FRESH_S`` a permit lives no longer than that.
- A view only takes away. What lets a runner go on is the broker's own word, every few seconds
  (:mod:`byokeep.client.lease`): without the stream a kill is heard then, and without the broker a lease runs out.
- A stream that is silent for ``FRESH_S`` is dropped and reopened. So is one that this process did not read for as long:
  what waited there may be as old as the pause, so it takes away and gives nothing.
- Each connection shows the token of the newest lease that is held. One that was refused as ended is not shown again.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from byokeep.client.settings import parse_address
from byokeep.core.canonical import read_json
from byokeep.core.errors import ByokeepError, Denied, Unauthenticated, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.transport import Transport, failing

if TYPE_CHECKING:
    from byokeep.client.lease import HeldLease


def _boot_clock() -> Callable[[], float]:
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None:
        return time.monotonic
    return lambda: time.clock_gettime(clock)


now: Final = _boot_clock()  # seconds on a clock that also runs while the machine sleeps
FRESH_S: Final = 5.0  # seconds without a beat after which nothing is known; the server sends one each second
_PAUSES_S: Final = (0.5, 30.0)  # seconds before a stream is reopened: the first, and the longest
_LINE: Final = b"data: "
_ENDED: Final = Unauthenticated.http_status
_PROBLEM: Final = "application/problem+json"


class SwitchView:
    """Follows the switches while a lease is held.

    Args:
        address: The kill process's, or the broker's.
        ca_file: PEM of its issuer; None = the system's.
    """

    def __init__(self, address: str, *, ca_file: Path | None) -> None:
        socket, self._base = parse_address(address)
        self._transport = Transport(socket, ca_file=ca_file)
        self._leases: dict[HeldLease, Secret | None] = {}  # None = its token has ended
        self._engaged: frozenset[str] = frozenset()
        self._heard_at = 0.0
        self._following: asyncio.Task[None] | None = None

    def hold(self, lease: HeldLease, token: Secret) -> None:
        """End ``lease`` together with its client's kill switch, until :meth:`release`."""
        self._leases[lease] = token
        if self._following is None or self._following.done() or self._following.cancelling():
            self._following = asyncio.create_task(self._follow())

    def release(self, lease: HeldLease) -> None:
        """Forget a lease."""
        self._leases.pop(lease, None)
        if not self._leases and self._following is not None:
            self._following.cancel()

    def allows(self, scopes: frozenset[str], since: float) -> bool:
        """Whether an act that the broker let pass at ``since`` may still begin: for ``FRESH_S``, and longer while these
        switches are heard to be released.
        """
        if now() - since < FRESH_S and since >= self._heard_at:
            return True
        return now() - self._heard_at < FRESH_S and scopes.isdisjoint(self._engaged)

    async def close(self) -> None:
        """Close the stream."""
        try:
            if self._following is not None:
                self._following.cancel()
                await asyncio.wait({self._following})
        finally:
            await self._transport.close()

    async def _follow(self) -> None:
        pause_s, longest_s = _PAUSES_S
        while (token := next((one for one in reversed(self._leases.values()) if one is not None), None)) is not None:
            try:
                await self._read(token)
                pause_s = _PAUSES_S[0]
            except Unauthenticated:
                self._leases = {lease: None if one is None or one.matches(token) else one
                                for lease, one in self._leases.items()}  # fmt: skip
            except ByokeepError:
                pause_s = min(2 * pause_s, longest_s)
            await asyncio.sleep(pause_s * (0.5 + secrets.randbelow(1000) / 1000))

    async def _read(self, token: Secret) -> None:
        """Read one stream; returns when it ends after it was heard.

        Raises:
            Unauthenticated: The token has ended.
            Unavailable: The stream was not heard.
        """
        within = aiohttp.ClientTimeout(total=None, sock_connect=FRESH_S, sock_read=FRESH_S)
        headers, heard = {"Authorization": "Bearer " + token.reveal().decode("ascii")}, False
        with suppress(Unavailable), failing("view_away", "view_away", "view_away", "view_away"):
            async with self._transport.request(
                "GET", self._base + "/v1/switches/stream", headers=headers, within=within
            ) as reply:
                if reply.status == _ENDED and reply.content_type == _PROBLEM:  # another form is a proxy's
                    raise Unauthenticated("bad_token")
                read_at = now()
                async for line in reply.content:
                    fresh, read_at = now() - read_at <= FRESH_S, now()
                    if reply.status == 200 and line.startswith(_LINE):
                        heard = True
                        self._take(line[len(_LINE) :], fresh=fresh)
                    if not fresh:
                        return
        if not heard:
            raise Unavailable("view_away")

    def _take(self, raw: bytes, *, fresh: bool) -> None:
        try:
            found: Any = read_json(raw)
            engaged = {str(one["scope"]): str(one["reason"]) for one in found["engaged"]}
        except (ValueError, TypeError, KeyError):
            return
        if fresh:
            self._engaged, self._heard_at = frozenset(engaged), now()
        for lease in list(self._leases):
            for scope in ("global", f"client:{lease.client_id}"):
                if scope in engaged:
                    lease.stop(_refusal(scope, engaged[scope]))


def _refusal(scope: str, reason: str) -> Denied:
    step = f"Kill switch {scope} is engaged. An operator asks to release it, and an approver approves."
    with suppress(ValueError):  # a text that no error may carry
        return Denied("switch_closed", next_step=step, scope=scope, reason=reason)
    return Denied("switch_closed")
