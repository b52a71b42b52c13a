"""A proof that ages: what depends on it is refused before the first proof, and again once the proof is too old.

Rules
- Requiring a proof only reads a number in memory, so it costs a request nothing.
- What was never proved does not count as proved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from byokeep.core.errors import ByokeepError


@dataclass(slots=True)
class Freshness:
    """One proof.

    Args:
        believed_s: Seconds for which it holds.
        refusal: Makes the error that is raised without it.
        proved_at: Seconds of a clock that only grows.
    """

    believed_s: float
    refusal: Callable[[], ByokeepError]
    proved_at: float = float("-inf")

    def proved(self, at: float) -> None:
        """Note a proof; an older one changes nothing."""
        self.proved_at = max(self.proved_at, at)

    def require(self, now: float, *, for_s: float = 0.0) -> None:
        """Raise the refusal unless the proof holds now and for ``for_s`` seconds more."""
        if now - self.proved_at > self.believed_s - for_s:
            raise self.refusal()
