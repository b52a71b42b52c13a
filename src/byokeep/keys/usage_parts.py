"""Parts of a usage report: what was refused and why, which jobs used what, and what providers counted themselves.

Rules
- What a provider did not report is unknown, never zero: a count says how many of the span's buckets it covers.
- A cost is the provider's own figure, in millionths of a US dollar. Prices are never guessed.
- Each part is limited, and says how many rows did not fit.

It may not look at another client than the statement was given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from byokeep.core.canonical import parse_canonical
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import NO_COLUMN, reader

MOST: Final = 200  # rows of a part


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedUse:
    """How often a lease or permit was refused for one reason; a lease is of no one ``provider``."""

    client_id: UUID
    what: str
    provider: str
    reason: str
    number: int
    last_at: datetime


class ToldCalls:
    """Calls of which runners told; where some did not, a zero is not known to be one."""

    __slots__ = ()
    calls: int
    calls_failed: int
    untold: int

    @property
    def told_calls(self) -> int | None:
        """The calls that were told of; None = there may have been some, and nobody said."""
        return self.calls or (None if self.untold else 0)

    @property
    def told_failed(self) -> int | None:
        """As :attr:`told_calls`, of those that failed."""
        return None if self.told_calls is None else self.calls_failed


@dataclass(slots=True, kw_only=True)
class JobUse(ToldCalls):
    """What one job used of one provider; ``untold`` = leases of whose calls some are unknown."""

    client_id: UUID
    job_id: UUID
    runner_id: UUID
    provider: str
    leases: int
    permits: int
    calls: int
    calls_failed: int
    first_at: datetime
    last_at: datetime
    untold: int = field(default=0, metadata=NO_COLUMN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCount:
    """What a provider counted for a client's whole account in a span.

    Attributes:
        unit: ``requests`` or ``tokens``.
        told, buckets: Of how many hours or days it told, and how many there are.
        cost_micro: Millionths of a US dollar; None = it does not tell.
    """

    client_id: UUID
    provider: str
    unit: str
    number: int
    told: int
    buckets: int
    cost_micro: int | None
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts; ``more_refused`` and ``more_jobs`` rows did not fit."""

    refused: tuple[RefusedUse, ...]
    more_refused: int
    jobs: tuple[JobUse, ...]
    more_jobs: int
    counted: tuple[ProviderCount, ...]


async def parts(tx: Tx, asked: Mapping[str, Any], untold: Iterable[Mapping[str, Any]]) -> Parts:
    """Return the parts of a span.

    Args:
        asked: As of the statement ``usage_hours``.
        untold: Rows of the statement ``usage_untold``.
    """
    gaps = Counter((row["client_id"], row["job_id"], row["provider"]) for row in untold)
    refused = await tx.all(_row(RefusedUse), "usage_refused", **asked, limit=MOST)
    jobs = await tx.all(_row(JobUse), "usage_jobs", **asked, limit=MOST)
    for one, _ in jobs:
        one.untold = gaps[one.client_id, one.job_id, one.provider]
    told = await tx.all(dict, "usage_counted", **asked, limit=MOST)
    counted = (_counted(row, asked["since"], asked["until"]) for row in told)
    return Parts(
        refused=tuple(one for one, _ in refused), more_refused=_more(refused), jobs=tuple(one for one, _ in jobs),
        more_jobs=_more(jobs), counted=tuple(counted),
    )  # fmt: skip


def _row(shape: Any) -> Any:
    return lambda row: (reader(shape)(row), int(row["total"]))


def _more(rows: Sequence[tuple[Any, int]]) -> int:
    return rows[0][1] - len(rows) if rows else 0


def _counted(row: Mapping[str, Any], since: datetime, until: datetime) -> ProviderCount:
    said: Any = parse_canonical(row["told"].encode())
    width, at = timedelta(seconds=said["width_s"]), datetime.fromisoformat
    buckets = sum(since - width < at(one) < until for one in said["buckets"])
    inside = [many for _, when, many in said["rows"] if since - width < at(when) < until]
    cost = [many for _, when, many in said.get("cost", ()) if since - width < at(when) < until]
    return ProviderCount(
        client_id=row["client_id"], provider=row["provider"], unit=said["unit"], number=sum(inside), told=buckets,
        buckets=max(buckets, -(-(until - since) // width)), cost_micro=sum(cost) if "cost" in said else None,
        asked_at=at(said["asked_at"]),
    )  # fmt: skip
