"""The kill switches as the kill process pushes them: one stream of server-sent events for all leases of a process.

Rules
- A kill ends the leases of its client the moment it is heard; of a platform or lane no permit lives any more. Without
  a view of the last ``FRESH_S`` a permit lives no longer than that.
- A view only takes away. What lets a runner go on is the broker's own word, every few seconds
  (:mod:`byokeep.client.lease`): without the stream a kill is heard then, and without the broker a lease runs out.
- A stream that is silent for ``FRESH_S`` is given up and opened anew.
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
from byokeep.core.errors import ByokeepError, Denied, Unavailable
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
FRESH_S: Final = 5.0  # seconds without a beat after which nothing is known any more; the server's is one second
_PAUSES_S: Final = (0.5, 30.0)  # before a stream is opened anew: the first, and the longest
_LINE: Final = b"data: "


class SwitchView:
    """Follows the switches while a lease is held.

    Args:
        address: Of the kill process, or of the broker.
        ca_file: PEM of its issuer; None = the system's.
    """

    def __init__(self, address: str, *, ca_file: Path | None) -> None:
        socket, self._base = parse_address(address)
        self._transport = Transport(socket, ca_file=ca_file)
        self._leases: set[HeldLease] = set()
        self._engaged: frozenset[str] = frozenset()
        self._heard_at = 0.0
        self._following: asyncio.Task[None] | None = None

    def hold(self, lease: HeldLease, token: Secret) -> None:
        """Let ``lease`` end with its client's kill switch, until :meth:`release`."""
        self._leases.add(lease)
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow(token))

    def release(self, lease: HeldLease) -> None:
        """Forget a lease."""
        self._leases.discard(lease)
        if not self._leases and self._following is not None:
            self._following.cancel()

    def allows(self, scopes: frozenset[str], since: float) -> bool:
        """Whether an act may still begin that the broker let pass at ``since``: its word is good for ``FRESH_S``, and
        beyond that while these switches are heard to be released."""
        if now() - since < FRESH_S and since >= self._heard_at:
            return True
        return now() - self._heard_at < FRESH_S and scopes.isdisjoint(self._engaged)

    async def close(self) -> None:
        """Close the stream."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        await self._transport.close()

    async def _follow(self, token: Secret) -> None:
        pause_s, longest_s = _PAUSES_S
        while True:
            try:
                await self._read(token)
                pause_s = _PAUSES_S[0]
            except ByokeepError:
                pause_s = min(2 * pause_s, longest_s)
            await asyncio.sleep(pause_s * (0.5 + secrets.randbelow(1000) / 1000))

    async def _read(self, token: Secret) -> None:
        """Take in one stream; returns when it ends after it was heard. Raises Unavailable: it was not."""
        within = aiohttp.ClientTimeout(total=None, sock_connect=FRESH_S, sock_read=FRESH_S)
        headers, heard = {"Authorization": "Bearer " + token.reveal().decode("ascii")}, False
        with suppress(Unavailable), failing("view_away", "view_away", "view_away", "view_away"):
            async with self._transport.request(
                "GET", self._base + "/v1/switches/stream", headers=headers, within=within
            ) as reply:
                async for line in reply.content:
                    if reply.status == 200 and line.startswith(_LINE):
                        heard = True
                        self._take(line[len(_LINE) :])
        if not heard:
            raise Unavailable("view_away")

    def _take(self, raw: bytes) -> None:
        try:
            found: Any = read_json(raw)
            engaged = {str(one["scope"]): str(one["reason"]) for one in found["engaged"]}
        except (ValueError, TypeError, KeyError):
            return
        self._engaged, self._heard_at = frozenset(engaged), now()
        for lease in list(self._leases):
            for scope in ("global", f"client:{lease.client_id}"):
                if scope in engaged:
                    lease.stop(_refusal(scope, engaged[scope]))


def _refusal(scope: str, reason: str) -> Denied:
    step = f"Kill switch {scope} is engaged; an operator asks to release it, an approver lets it."
    with suppress(ValueError):  # a word that no error may carry
        return Denied("switch_closed", next_step=step, scope=scope, reason=reason)
    return Denied("switch_closed")
