"""What to do if the vault of browser profiles may be compromised (runbook 7.3): the steps and their order.

Rules
- There is one order: the lane is turned off, sessions are ended, profiles are recreated, old keys are destroyed, the
  new profiles are proved, and only then is the incident closed. A step is refused before the one that it follows is
  done (R7.3-7).
- A step is done when nothing of it is left. What is left is reported, and never counts as done.
- `unsupported` and `failed` are not success: a person ends these sessions and says so (R7.3-3).

It may not look anything up.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, Rejected

WINDOW: Final = timedelta(hours=72)  # how far back to look if nobody knows when it began


class IncidentCause(StrEnum):
    """Why it was opened."""

    SUSPECTED_LEAK = "suspected_leak"
    ARTIFACT_STORE_EXPOSURE = "artifact_store_exposure"
    RUNNER_COMPROMISE = "runner_compromise"
    ACCOUNT_LOCKOUT = "account_lockout"
    DRILL = "drill"


class IncidentStep(StrEnum):
    """How far it got, in order."""

    OPENED = "opened"
    LANE_OFF = "lane_off"
    SESSIONS_ENDED = "sessions_ended"
    RECREATED = "recreated"
    REKEYED = "rekeyed"
    VALIDATED = "validated"
    CLOSED = "closed"


class SessionEnd(StrEnum):
    """What became of a session at its platform."""

    PENDING = "pending"
    REVOKED = "revoked"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"
    ENDED_BY_HAND = "ended_by_hand"


ORDER: Final = tuple(IncidentStep)
ENDED: Final = frozenset({SessionEnd.REVOKED, SessionEnd.ENDED_BY_HAND})
BY_HAND: Final = frozenset({SessionEnd.UNSUPPORTED, SessionEnd.FAILED})


def look_at(incident: UUID | None = None) -> str:
    """Return the command that shows how far an incident has come; without its id, the one that finds it."""
    return f"`byokeep incident vault status {incident}`" if incident else "`byokeep incident vault list`"


def check_order(now: IncidentStep, wanted: IncidentStep, *, incident: UUID | None = None) -> bool:
    """Check that a step of an incident may be worked on; returns False if it is already done.

    Raises:
        Conflict: ``vault_out_of_order``: the step before it is not done.
    """
    if ORDER.index(now) >= ORDER.index(wanted):
        return False
    if ORDER.index(now) + 1 != ORDER.index(wanted):
        raise Conflict("vault_out_of_order", next_step=f"Do one step after the other: see {look_at(incident)}.",
                       step=now.value, wanted=wanted.value, **_named(incident))  # fmt: skip
    return True


def window(since: datetime | None, now: datetime) -> tuple[datetime, bool]:
    """Return since when the vault may have been open to others, and whether that is only assumed.

    Raises:
        Rejected: ``bad_since``: the time is in the future.
    """
    if since is None:
        return now - WINDOW, True
    if since > now:
        raise Rejected("bad_since", next_step="Give a time in the past, or leave it out: then 72 hours are assumed.")
    return since, False


def left(step: IncidentStep, count: int, *, incident: UUID | None = None) -> Conflict:
    """Return the refusal to count a step as done while something of it is left."""
    return Conflict("vault_step_left", next_step=f"See {look_at(incident)}, which lists what is left.",
                    step=step.value, left=count, **_named(incident))  # fmt: skip


def _named(incident: UUID | None) -> dict[str, UUID]:
    return {"incident": incident} if incident else {}
