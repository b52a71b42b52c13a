"""How often somebody may call: budgets for each client's writes, and brakes on guessing passwords.

Rules
- A budget belongs to one key; nobody can use up another's (S-OWASP-25, S-ASVS-8).
- A login is braked for its name and source together: failing on somebody's name elsewhere locks nobody out.
- Counts live in this process and are bounded in number; restarting forgets them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from byokeep.core.bucket import MAX_KEYS, Buckets
from byokeep.core.errors import RateLimited
from byokeep.ports import Clock

FREE_FAILURES: Final = 5
MAX_WAIT_S: Final = 900
LOGINS_PER_MINUTE: Final = 120  # of one source, all names together


class Budget:
    """A token bucket for each key.

    Args:
        per_minute: How many calls a minute; also how many at once.
    """

    def __init__(self, clock: Clock, *, per_minute: int) -> None:
        self._clock = clock
        self._buckets = Buckets(per_minute=per_minute)

    def spend(self, key: str) -> None:
        """Take one call from a key's budget.

        Raises:
            RateLimited: ``too_many_requests`` with ``retry_after_s``.
        """
        if wait := self._buckets.take(key, self._clock.monotonic()):
            raise RateLimited("too_many_requests", next_step="Wait, then go on.", retry_after_s=max(1, int(wait) + 1))


class LoginBrake:
    """Waits that double with each failed login of one name from one source."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources = Budget(clock, per_minute=LOGINS_PER_MINUTE)
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def check(self, name: str, source: str) -> None:
        """Let a login be tried.

        Raises:
            RateLimited: ``too_many_requests``.
        """
        self._sources.spend(source)
        count, free_at = self._failures.get((name, source), (0, 0.0))
        wait = free_at - self._clock.monotonic()
        if count >= FREE_FAILURES and wait > 0:
            raise RateLimited("too_many_requests", next_step="Wait, then try again.", retry_after_s=int(wait) + 1)

    def failed(self, name: str, source: str) -> None:
        """Count a failure."""
        count = self._failures.pop((name, source), (0, 0.0))[0] + 1
        wait = min(MAX_WAIT_S, 2 ** min(20, max(0, count - FREE_FAILURES + 1)))
        self._failures[name, source] = (count, self._clock.monotonic() + wait)
        if len(self._failures) > MAX_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, name: str, source: str) -> None:
        """Forget the failures."""
        self._failures.pop((name, source), None)
