"""The time on the simulated platforms.

Rules
- It runs as fast as the real clock, from wherever it was moved to, or stands still.
- Lifetimes, rate windows and timestamps follow it; delays of faults do not, they are real seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import formatdate


@dataclass(slots=True)
class SimClock:
    """Seconds since 1970 on the platforms."""

    ahead_s: float = 0.0
    frozen_at: float | None = None

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        return self.frozen_at if self.frozen_at is not None else time.time() + self.ahead_s

    def move_to(self, moment: float) -> None:
        """Set the time, in seconds since 1970."""
        self.ahead_s = moment - time.time()
        if self.frozen_at is not None:
            self.frozen_at = moment

    def freeze(self, frozen: bool) -> None:
        """Stop the clock where it is, or let it run on from there."""
        now = self.now()
        self.frozen_at = now if frozen else None
        self.ahead_s = now - time.time()

    def reset(self) -> None:
        """Return to real time."""
        self.ahead_s, self.frozen_at = 0.0, None

    def http_date(self) -> str:
        """Return the time as an HTTP date."""
        return formatdate(self.now(), usegmt=True)
