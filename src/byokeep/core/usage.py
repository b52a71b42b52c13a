"""Usage of a credential: what a call is called, how it ended, and when an hour is unusual.

Rules
- A tool's name is a word of the program, not of a person: what could be a secret is refused (R11.2-2).
- Robust statistics: the middle of the days before, and how far they usually lie from it. One odd day moves neither.
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

DAYS: Final = 28  # before, in which the same hour is looked at
LEAST_DAYS: Final = 7
LEAST_ABOVE: Final = 20  # a few more of few is nothing
SPREADS: Final = 6  # usual distances above the middle
_AS_DEVIATION: Final = 1.4826  # a median distance as a standard deviation
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
    """Return what an HTTP status says of a call."""
    if 200 <= status < 400:
        return CallResult.OK
    return {401: CallResult.DENIED, 403: CallResult.DENIED, 429: CallResult.LIMITED}.get(status, CallResult.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class HourCompared:
    """The number of one hour beside those of the same hour on days before.

    Attributes:
        measure: ``leases``, ``permits``, ``calls`` or ``calls_failed``.
        days: How many days there are to compare with.
        median: The middle one of their numbers.
        deviation: The middle one of their distances from it.
    """

    measure: str
    number: int
    days: int
    median: float
    deviation: float

    @property
    def above(self) -> int:
        """What is more than this is unusual."""
        return round(self.median + max(SPREADS * _AS_DEVIATION * self.deviation, self.median, LEAST_ABOVE))

    @property
    def verdict(self) -> str:
        """``usual``, ``unusual``, or ``unknown``: there is too little to compare with."""
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
