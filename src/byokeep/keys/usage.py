"""How credentials are used: by hour, by key, and whether an hour is unusual.

Rules
- There is no second ledger: leases and permits are read from the record, along with the calls that runners reported.
- What is missing is unknown, never zero: hours without one of our checkpoints, and the calls of a lease whose holder
  has not reported how many there were.
- An hour is compared, once it has ended, with the same hour of the days before (:mod:`byokeep.core.usage`). An unusual
  hour raises one alert per client, provider and measure, and opens an incident. It is reported only once, even if
  somebody has closed the alert. Trouble with one client does not hold up another.
- Looking is itself recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, Rejected
from byokeep.core.events import EventName
from byokeep.core.incident import IncidentKind, IncidentSource
from byokeep.core.model import Actor, ClientId, CredentialRef
from byokeep.core.policy import Verb
from byokeep.core.usage import DAYS, LEAST_ABOVE, HourCompared
from byokeep.jobs.lease import told
from byokeep.kernel import incidents
from byokeep.kernel.app import App, WorkerApp
from byokeep.kernel.command import command, open_alert, record
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import NO_COLUMN, Row
from byokeep.keys.refs import get_ref
from byokeep.keys.usage_parts import Parts, ToldCalls, parts
from byokeep.tenancy.clients import scope_of

KEPT_DAYS: Final = 35  # for which calls are kept one by one (functions.sql, calls_forget)
LONGEST: Final = timedelta(days=93)
MOST_HOURS: Final = 20_000
MOST_UNTOLD: Final = 10_000
MOST_USES: Final = 500
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One use of a key.

    Attributes:
        what: ``lease``, ``custody`` (a lease of one of our own workers), ``permit`` or ``call``.
        runner_id: Who held the lease.
        tool: Of a call, what was called; of a permit, the effect.
        outcome: ``ok``, ``denied``, ``limited``, ``failed`` or ``unknown``.
        args_digest: Of a call: equal arguments have equal digests within a client.
        reads: Of a lease, how often its holder says that it read the key; None = it has not said.
    """

    at: datetime
    what: str
    id: UUID
    job_id: UUID
    lease_id: UUID
    runner_id: UUID
    actor_name: str | None
    tool: str
    outcome: str
    args_digest: str | None
    reads: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageGap:
    """A time in which something is unknown.

    Attributes:
        why: ``not_running``: no checkpoint says that the installation ran; ``not_told``, ``job_open``,
            ``calls_missing``: what was called under this lease; ``not_kept``: calls that were forgotten by age.
    """

    since: datetime
    until: datetime
    why: str
    lease_id: UUID | None = None
    job_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsage:
    """What used a key, newest first, what is unknown, how many uses are left and where they begin."""

    ref: CredentialRef
    uses: tuple[Use, ...]
    gaps: tuple[UsageGap, ...]
    left: int
    next: datetime | None


@dataclass(slots=True, kw_only=True)
class UsageHour(ToldCalls):
    """One hour of one client and provider; ``untold`` = leases of whose calls some are unknown."""

    client_id: UUID
    provider: str
    hour: datetime
    leases: int = 0
    permits: int = 0
    calls: int = 0
    calls_failed: int = 0
    untold: int = field(default=0, metadata=NO_COLUMN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedUsage(HourCompared):
    """The last whole hour of a client and provider beside the days before; ``ref_id`` = the key in use, if any."""

    client_id: UUID
    provider: str
    ref_id: UUID | None
    hour: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Hours in which something was used or is unknown, hours without a sign of life, the last one compared."""

    since: datetime
    until: datetime
    hours: tuple[UsageHour, ...]
    gaps: tuple[UsageGap, ...]
    compared: tuple[ComparedUsage, ...]
    parts: Parts


def _span(app: App, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    end = until or app.clock.now()
    start = since or end - timedelta(hours=24)
    if not timedelta() < end - start <= LONGEST:
        raise Rejected("bad_span", next_step=f"Give a span that ends after it begins, of at most {LONGEST.days} days.")
    return start, end


async def key_usage(
    app: App, actor: Actor, ref_id: UUID, *, since: datetime | None, until: datetime | None, limit: int
) -> KeyUsage:
    """Return what used one key in a span, by default the last 24 hours.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``, also for another client's.
        Rejected: ``bad_span``.
    """
    ref = await get_ref(app, actor, ref_id, Verb.KEY_HISTORY)
    start, end = _span(app, since, until)
    limit = max(1, min(limit, MOST_USES))
    span = {"since": start, "until": end, "provider": ref.provider.value}
    async with command(app, actor, Verb.KEY_HISTORY, client_id=ref.client_id, object_id=ref_id) as tx:
        await record(tx, actor, EventName.AUDIT_READ, client_id=ref.client_id, object_id=ref_id,
                     chain=str(ref.client_id), count=limit)  # fmt: skip
        rows = await tx.all(dict, "usage_of_key", client_id=ref.client_id, **span, limit=limit)
        untold = await tx.all(dict, "usage_untold", ids=[ref.client_id], **span, limit=MOST_UNTOLD)
        dark = await unseen(tx, start, end)
    gaps = [UsageGap(**{name: row[name] for name in ("since", "until", "why", "lease_id", "job_id")}) for row in untold]
    gaps = sorted(gaps + dark + forgotten(app, start), key=lambda one: one.since, reverse=True)
    left = rows[0]["total"] - len(rows) if rows else 0
    return KeyUsage(
        ref=ref, uses=tuple(_use(row, ref.provider.value) for row in rows), gaps=tuple(gaps), left=left,
        next=rows[-1]["at"] if left else None,
    )  # fmt: skip


def _use(row: Row, provider: str) -> Use:
    logins, reads = told(row) if row["what"] in ("lease", "custody") else (None, {})
    named = {name: row[name] for name in Use.__dataclass_fields__ if name != "reads"}
    return Use(**named, reads=None if logins is None else reads.get(provider, 0))


async def unseen(tx: Tx, start: datetime, end: datetime) -> list[UsageGap]:
    """Hours that are over and of which no checkpoint is left, joined where they follow each other."""
    gaps: list[UsageGap] = []
    for row in await tx.all(dict, "usage_unseen", since=start, until=end):
        if gaps and gaps[-1].until == row["since"]:
            gaps[-1] = UsageGap(since=gaps[-1].since, until=row["until"], why="not_running")
        else:
            gaps.append(UsageGap(since=row["since"], until=row["until"], why="not_running"))
    return gaps


def forgotten(app: App, start: datetime) -> list[UsageGap]:
    """The part of a span of which single calls are kept no more."""
    kept = app.clock.now() - timedelta(days=KEPT_DAYS)
    return [UsageGap(since=start, until=kept, why="not_kept")] if start < kept else []


async def usage(
    app: App, actor: Actor, client_id: ClientId | None, provider: str, since: datetime | None, until: datetime | None
) -> Usage:
    """Return the use of the actor's clients by hour, by default of the last 24 hours.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``: not one of the actor's clients.
        Rejected: ``bad_span``; ``too_many_hours``: nothing is cut silently.
    """
    async with command(app, actor, Verb.KEY_HISTORY, client_id=client_id) as tx:
        start, end = _span(app, since, until)
        ids = [client_id] if client_id else scope_of(actor)
        chain = str(client_id or app.installation_id)
        asked = {"ids": ids, "provider": provider, "since": start, "until": end}
        rows = await tx.all(UsageHour, "usage_hours", **asked, limit=MOST_HOURS + 1)
        untold = await tx.all(dict, "usage_untold", **asked, limit=MOST_UNTOLD + 1)
        if len(rows) > MOST_HOURS or len(untold) > MOST_UNTOLD:
            raise Rejected("too_many_hours", next_step="Give a client or a provider, or a shorter span.")
        gaps = await unseen(tx, start, end) + forgotten(app, start)
        compared = await _compared(tx, _whole_hour(app), ids, provider)
        others = await parts(tx, asked, untold)
        await record(tx, actor, EventName.AUDIT_READ, client_id=client_id, chain=chain, count=len(rows))
    hours = {(row.client_id, row.provider, row.hour): row for row in rows}
    for (client, of, hour), count in _by_hour(untold, start, end).items():
        at = hours.setdefault((client, of, hour), UsageHour(client_id=client, provider=of, hour=hour))
        at.untold = count
    ordered = sorted(hours.values(), key=lambda one: (one.hour, str(one.client_id), one.provider), reverse=True)
    return Usage(since=start, until=end, hours=tuple(ordered), gaps=tuple(gaps), compared=tuple(compared),
                 parts=others)  # fmt: skip


def _by_hour(untold: list[dict[str, Any]], start: datetime, end: datetime) -> dict[tuple[UUID, str, datetime], int]:
    """How many leases of each client and provider leave an hour unknown."""
    found: dict[tuple[UUID, str, datetime], int] = defaultdict(int)
    for row in untold:
        hour = max(row["since"], start).replace(minute=0, second=0, microsecond=0)
        while hour <= min(row["until"], end):
            found[row["client_id"], row["provider"], hour] += 1
            hour += _HOUR
    return found


def _whole_hour(app: App) -> datetime:
    return app.clock.now().replace(minute=0, second=0, microsecond=0) - _HOUR


async def _compared(tx: Tx, hour: datetime, ids: Sequence[UUID] | None, provider: str) -> list[ComparedUsage]:
    return await tx.all(
        ComparedUsage, "usage_compared", hour=hour, days=DAYS, above=LEAST_ABOVE, ids=ids, provider=provider
    )


async def watch_usage(app: WorkerApp) -> int:
    """Raise alerts for what was unusual in the last whole hour, and forget old calls; returns how many alerts.

    Raises:
        Unavailable: The database; the next round looks at the same hour again.
    """
    hour, raised = _whole_hour(app), 0
    async with app.db.begin(every_client=True) as tx:
        await tx.all(None, "calls_forget")
        found = await _compared(tx, hour, None, "")
    failed: ByokeepError | None = None
    for one in found:
        if one.verdict == "unusual":
            try:
                raised += await _tell_unusual(app, one)
            except ByokeepError as error:  # the others' turn does not depend on it
                failed = error
    if failed is not None:
        raise failed
    return raised


async def _tell_unusual(app: WorkerApp, one: ComparedUsage) -> bool:
    """Raise the alert of an unusual hour and open an incident of it, once; whether it was now."""
    key = f"usage_unusual:{one.client_id}/{one.provider}/{one.measure}"
    async with app.db.begin(client_id=one.client_id) as tx:
        if await tx.one(bool, "usage_told", key=key, since=one.hour + _HOUR):
            return False
        await open_alert(tx, app, app.system(), reason="usage_unusual", severity="warning", key=key,
                         client_id=one.client_id, object_id=one.ref_id)  # fmt: skip
        await incidents.opened(
            tx, app, app.system(), IncidentKind.USAGE_ANOMALY, client_id=one.client_id, source=IncidentSource.USAGE,
            object_kind="key" if one.ref_id else "", object_id=one.ref_id, began_at=one.hour,
        )  # fmt: skip
        return True
