"""When a key is due for rotation, and by which rule.

Rules
- A stored key always has a due date (R1.3-3); no caller can leave it out or set it freely (R3.2-5).
- A client's wish counts inside the published range; high risk shortens whatever was wished for.
- The rule that decided is named, so that the record says why the date is what it is (R5.1-5).

It may not know the time: the caller passes the store-time in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from byokeep.core.errors import Rejected
from byokeep.core.model import Risk

MIN_DAYS: Final = 30
MAX_DAYS: Final = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationDue:
    """The due date (UTC) and the rule behind it: a lower-case token such as ``provider_default_90d``."""

    due_at: datetime
    rule: str


def rotation_due(
    *,
    stored_at: datetime,
    provider_days: int,
    risk: Risk,
    preference_days: int | None,
    min_days: int = MIN_DAYS,
    max_days: int = MAX_DAYS,
) -> RotationDue:
    """Derive a due date (runbook 6.1).

    Args:
        stored_at: Aware UTC time from which the days count.
        provider_days: The provider's own default in days; more than ``max_days`` counts as ``max_days``.
        risk: The key's risk class; high means ``min_days``.
        preference_days: What the client wishes, in days; ``None`` = no wish.
        min_days, max_days: The published range, in days.

    Raises:
        Rejected: ``rotation_days_out_of_range``, naming the range.
    """
    if preference_days is not None and not min_days <= preference_days <= max_days:
        raise Rejected(
            "rotation_days_out_of_range",
            next_step=f"Ask for {min_days} to {max_days} days.",
            minimum=min_days,
            maximum=max_days,
        )
    if risk is Risk.HIGH:
        days, rule = min_days, "risk_high"
    elif preference_days is not None:
        days, rule = preference_days, "client_preference"
    else:
        days, rule = max(1, min(provider_days, max_days)), "provider_default"
    return RotationDue(due_at=stored_at + timedelta(days=days), rule=f"{rule}_{days}d")
