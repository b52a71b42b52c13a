"""Usage of a credential: how calls are named, how they ended, and when an hour is unusual.

Rules
- A tool's name comes from the program, not from a person. What could be a secret is refused (R11.2-2).
- The statistics are robust: the median of the days before, and their median distance from it. One odd day moves
  neither.
- Few days give no verdict: unknown is not usual.

It may not look anything up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from byokeep.core.errors import Rejected
from byokeep.core.plain_text import refuse_secret

DAYS: Final = 28  # how many days before are compared, at the same hour
LEAST_DAYS: Final = 7
LEAST_ABOVE: Final = 20  # a few more than few means nothing
SPREADS: Final = 6  # how many usual distances above the median
_AS_DEVIATION: Final = 1.4826  # turns a median distance into a standard deviation
_TOOL: Final = re.compile(r"[a-z][a-z0-9_.]{0,63}\Z")


class CallResult(StrEnum):
    """How a call ended; ``unknown`` = nobody knows."""

    OK = "ok"
    DENIED = "denied"
    LIMITED = "limited"
    FAILED = "failed"
    UNKNOWN = "unknown"


def check_tool(name: str) -> str:
    """Accept a tool's name, such as ``responses.create``, and return it.

    Raises:
        Rejected: ``bad_tool``, ``secret_like_content``.
    """
    refuse_secret("tool", name)
    if not _TOOL.match(name):
        raise Rejected(
            "bad_tool", next_step="Use up to 64 lower-case letters, digits, _ and dots, starting with a letter."
        )
    return name


def result_of(status: int) -> CallResult:
    """Return what an HTTP status says about a call."""
    if 200 <= status < 400:
        return CallResult.OK
    return {401: CallResult.DENIED, 403: CallResult.DENIED, 429: CallResult.LIMITED}.get(status, CallResult.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class HourCompared:
    """The number in one hour, compared with the same hour on the days before.

    Attributes:
        measure: ``leases``, ``permits``, ``calls`` or ``calls_failed``.
        days: How many days there are to compare with.
        median: The median of their numbers.
        deviation: The median of their distances from that.
    """

    measure: str
    number: int
    days: int
    median: float
    deviation: float

    @property
    def above(self) -> int:
        """The number above which an hour is unusual."""
        return round(self.median + max(SPREADS * _AS_DEVIATION * self.deviation, self.median, LEAST_ABOVE))

    @property
    def verdict(self) -> str:
        """``usual``, ``unusual``, or ``unknown`` if there is too little to compare with."""
        if self.days < LEAST_DAYS:
            return "unknown"
        return "unusual" if self.number > self.above else "usual"

    @property
    def words(self) -> str:
        """The verdict as a sentence."""
        what = self.measure.replace("calls_failed", "failed calls")
        if self.verdict == "unknown":
            return f"{self.number} {what}; only {self.days} of {LEAST_DAYS} days to compare with"
        return f"{self.number} {what}; at this hour usually about {self.median:g}, more than {self.above} is unusual"
