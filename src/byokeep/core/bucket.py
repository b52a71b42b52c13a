"""Token buckets: how often something may happen, counted for each key separately.

Rules
- No key can use up another's tokens. The number of keys is bounded; the oldest is forgotten first.
- Time is passed in, so that tests need not wait.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MAX_KEYS: Final = 10_000


class Buckets:
    """A token bucket for each key, which starts full.

    Args:
        per_minute: How many tokens are added a minute.
        size: How many a full bucket holds; default ``per_minute``.
    """

    def __init__(self, *, per_minute: int, size: int | None = None) -> None:
        self._per_s = per_minute / 60
        self._size = float(size or per_minute)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """Take one token; returns 0.0, or the seconds until there is one.

        Args:
            now: Monotonic time in seconds.
        """
        left, then = self._left.pop(key, (self._size, now))
        left = min(self._size, left + max(0.0, now - then) * self._per_s)
        fits = left >= 1
        self._left[key] = (left - 1 if fits else left, now)
        if len(self._left) > MAX_KEYS:
            self._left.popitem(last=False)
        return 0.0 if fits else (1 - left) / self._per_s
