"""What a break-glass grant is: who may see what, for how long, and why. Pure rules.

Rules
- Its scope is one client, or one provider or platform of that client, read-only. A drill reads a marker of ours.
- What is approved is a digest over all of it: a different scope, time, reason, ticket or holder is a different grant.

It may not look anything up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Rejected
from byokeep.core.events import EventName
from byokeep.core.model import Provider
from byokeep.core.policy import Verb
from byokeep.core.procedure import Procedure, Run, Step

EVERYTHING: Final = "all"
DRILL: Final = "drill"
MARKER: Final = "kv/data/platform/breakglass-drill"  # what a drill reads
KIND: Final = "breakglass"  # of the signed claims
MAX_LIFE_S: Final = 3600
WRAPPED: Final = timedelta(minutes=5)  # in which the holder unwraps
REQUEST_S: Final = 900  # seconds in which it is approved and opened
INTERRUPTED: Final = timedelta(seconds=60)  # of an opening that was begun, and that nobody finished
REVIEW_WITHIN: Final = timedelta(hours=24)
DRILL_EVERY: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant(Run):
    """A run with what its records say. ``digest`` is of what was asked for; times are the database's.

    ``lapses_at``: until when a request is approved and opened. ``gaps_accepted``: its review passed without a part of
    the store's log. ``misused``: on record, by the store's log or the holder's word.
    """

    ticket: str
    digest: str
    accessor: str
    wrap_accessor: str
    wrap_mark: str
    approval_id: UUID | None
    approval_scope: str | None
    approved_by: UUID | None
    approval_used_at: datetime | None
    lapses_at: datetime | None
    approval_in_time: bool
    approver_able: bool
    holder_able: bool
    begun_at: datetime | None
    issued_at: datetime | None
    expires_at: datetime | None
    ended_at: datetime | None
    gaps_accepted: bool
    misused: bool
    looked_at: datetime

    @property
    def holder(self) -> UUID:
        """Who asked for it, and alone opens it."""
        return self.started_by

    @property
    def scope(self) -> str:
        """What it opens: ``all``, a provider or platform, or ``drill``."""
        return str(self.facts["scope"])

    @property
    def life_s(self) -> int:
        """Seconds that it lives from its issue."""
        return int(self.facts["life_s"])

    @property
    def cause(self) -> str:
        """Why it was asked for, a code."""
        return str(self.facts["cause"])

    @property
    def status(self) -> str:
        """``requested``, ``approved``, ``open``, ``to_review``, ``to_close``, ``closed``, or why it came to nothing."""
        if self.closed_at is not None:
            return "closed" if self.state == "complete" else self.reason
        stages = (("review", "to_close"), ("end", "to_review"), ("issue", "open"))
        done = next((status for step, status in stages if step in self.evidence), "")
        return done or ("approved" if self.approved_by else "requested")


def of(run_id: UUID) -> str:
    """Return the command that shows a grant."""
    return f"`byokeep breakglass show {run_id}`"


_ISSUE: Final = Step(name="issue", evidence=EventName.GLASS_ISSUED)
_END: Final = Step(name="end", after="issue")
BREAK_GLASS: Final = Procedure(
    name="break_glass",
    steps=(_ISSUE, _END, Step(name="review", evidence=EventName.GLASS_REVIEWED, after="end"),
           Step(name="close", evidence=EventName.GLASS_CLOSED, after="review")),
    verb=Verb.GLASS_REQUEST, look=of,
)  # fmt: skip
BREAK_GLASS_DRILL: Final = Procedure(name="break_glass_drill", steps=(_ISSUE, _END), verb=Verb.GLASS_REQUEST, look=of)


def secrets_of(scope: str) -> list[str]:
    """Return what the claims of a grant name."""
    return [provider.value for provider in Provider] if scope == EVERYTHING else [scope]


def digest_of(*, client_id: UUID, holder: UUID, scope: str, life_s: int, cause: str, ticket: str) -> str:
    """Return what is approved, as one word."""
    said = [str(client_id), str(holder), scope, life_s, cause, ticket]
    return "d" + sha256(canonical_json(said)).hexdigest()[:39]


def check_life(life_s: int) -> int:
    """Return a duration that is allowed. Raises Rejected: ``bad_duration``."""
    if not 1 <= life_s <= MAX_LIFE_S:
        raise Rejected("bad_duration", next_step=f"Give 1 to {MAX_LIFE_S} seconds, such as 15m.", maximum_s=MAX_LIFE_S)
    return life_s
