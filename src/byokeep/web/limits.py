"""How often somebody may call: budgets for each client's writes.

Rules
- A budget belongs to one key; nobody can use up another's (S-OWASP-25, S-ASVS-8).
- Counts live in this process and are bounded in number; restarting forgets them.
"""

from __future__ import annotations

from byokeep.core.bucket import Buckets
from byokeep.core.errors import RateLimited
from byokeep.kernel.ports import Clock


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
