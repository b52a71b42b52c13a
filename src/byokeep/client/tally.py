"""What was tried at the store under each lease, and how the broker is told of it.

Rules
- Every attempt is counted before it is made. More in the store's own log than was told is somebody else (ADR 0038).
- A lease is told of once, when it can be used no more: its holder closed it, or its tokens are dead at the store. Those
  of one process are told together, within ``TELL_EVERY_S``, and never in the way of who waits for a secret.
- A broker that is busy is told again for an hour while the process lives: a late word still gives away one that was
  told in its name. At the end of the process's connection it is told for ``TELL_FOR_S`` at most.

It may not hold a value.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from byokeep.core.errors import ByokeepError, Unavailable
from byokeep.core.secret import Secret

TELL_EVERY_S: Final = 0.5  # seconds between two tellings of a process
TELL_AFTER_S: Final = 6.0  # seconds after its issue a lease's tokens are dead at the store
FORGET_AFTER_S: Final = 3600.0  # seconds for which a broker that does not listen is told again
MAX_KEPT: Final = 10_000  # leases that wait to be told of, a few MB; the oldest go first
REST_S: Final = 10.0  # seconds between two tellings of a broker that does not listen for long
TELL_FOR_S: Final = 10.0  # seconds for which one that ends tells what is left
TELL_ATTEMPTS: Final = 10
TOGETHER: Final = 100  # leases in one telling

Call = Callable[[str, str, Secret, dict[str, Any]], Awaitable[Any]]
Persist = Callable[..., Awaitable[Any]]


def _boot_clock() -> Callable[[], float]:
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None:
        return time.monotonic
    return lambda: time.clock_gettime(clock)


now: Final = _boot_clock()  # seconds on a clock that also runs while the machine sleeps


@dataclass(slots=True)
class _Use:
    token: Secret
    since: float
    due: float
    logins: int = 0
    reads: Counter[str] = field(default_factory=Counter)


class Tally:
    """The counts of one process's leases.

    Args:
        call: Makes one call to the broker: method, path, token, body.
        persist: Tries an act again while it ends in Unavailable.
    """

    def __init__(self, call: Call, persist: Persist) -> None:
        self._call, self._persist = call, persist
        self._uses: dict[str, _Use] = {}
        self._telling: asyncio.Task[None] | None = None

    def attempt(self, lease_id: str, token: Secret, secret: str, asked_at: float) -> None:
        """Count one login that is about to be made, and the one read that follows it.

        Args:
            lease_id: Under which lease.
            token: Its holder's token.
            secret: What the lease calls the secret.
            asked_at: When the lease was asked for, of :data:`now`.
        """
        use = self._uses.setdefault(lease_id, _Use(token, asked_at, asked_at + TELL_AFTER_S))
        while len(self._uses) > MAX_KEPT:
            del self._uses[next(iter(self._uses))]
        use.logins += 1
        use.reads[secret.partition("/")[0]] += 1
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._keep_telling())

    def over(self, lease_id: str) -> None:
        """Say that a lease's holder uses it no more."""
        if (use := self._uses.get(lease_id)) is not None:
            use.due = now()

    async def close(self) -> None:
        """Tell of every lease that is left. While the broker cannot be told this takes up to ``TELL_FOR_S``."""
        if self._telling is not None:
            self._telling.cancel()
            with suppress(asyncio.CancelledError):
                await self._telling
        with suppress(ByokeepError, TimeoutError):
            async with asyncio.timeout(TELL_FOR_S):
                await self._persist(lambda: self._tell(float("inf")), attempts=TELL_ATTEMPTS)

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
        """Tell of the leases that are due by then; raises Unavailable when some are to be told of again."""
        while together := self._next(due):
            said = [{"lease_id": one, "logins": use.logins, "reads": dict(use.reads)} for one, use in together.items()]
            token = next(iter(together.values())).token
            try:
                await self._call("POST", "/v1/leases/use", token, {"leases": said})
            except Unavailable:
                for lease_id, use in together.items():
                    if now() - use.since >= FORGET_AFTER_S:
                        self._uses.pop(lease_id, None)
                raise
            except ByokeepError:
                pass  # it does not take it, and never will
            for lease_id in together:
                self._uses.pop(lease_id, None)

    def _next(self, due: float) -> dict[str, _Use]:
        """Leases of one holder that are due."""
        ready = {lease_id: use for lease_id, use in self._uses.items() if use.due <= due}
        holder = next((use.token for use in ready.values()), None)
        mine = [lease_id for lease_id, use in ready.items() if use.token is holder][:TOGETHER]
        return {lease_id: ready[lease_id] for lease_id in mine}
