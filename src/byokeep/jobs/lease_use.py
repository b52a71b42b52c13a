"""What a lease's holder says that it did at the store, held against what the store's own log says.

Rules
- A holder counts before it tries, so what it tells is an upper bound: what the store did and it never saw is in it.
- It tells once, when the lease can be used no more; the job may be over by then. Each telling is a record, so nobody
  takes one back, and the least that was told counts.
- Something else told of the same lease: somebody else tells in the holder's name; an alert.
- More at the store than was told: somebody else has signed the lease's claims or has its token; an alert.
- Nothing told (a holder that was killed, or never reached us): nobody knows, so it is a warning. Silence never passes
  for "nothing more".
- An enrolment is ours: one login.

It may not decide whether a lease is given. It cannot know who told: whoever has the broker's identity can tell of a
lease whose holder never does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from byokeep.core.errors import NotFound, Rejected
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, ClientId, Role
from byokeep.core.policy import Verb
from byokeep.jobs.explain import VALUE, KnownToUs, LeaseRow, LogFinding, Request, as_uuid, explain
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.locate import client_for
from byokeep.kernel.rows import Row

TOLD_WITHIN: Final = timedelta(seconds=25)  # of its issue a lease is told of: dead after 6 s, then 10 s of attempts
MOST: Final = 10_000  # logins, or reads of one secret, of one lease
_MOST_TOLD: Final = 2  # different tellings of one lease: the second is an alert, more say nothing new


@dataclass(frozen=True, slots=True)
class Telling:
    """What a holder counted of one lease: attempts to log in, and to read each declared secret."""

    lease_id: UUID
    logins: int
    reads: Mapping[str, int]


async def tell(app: BrokerApp, actor: Actor, tellings: Sequence[Telling]) -> None:
    """Put on record what a holder counted of its leases; the same once more is no second record.

    Args:
        app: The broker.
        actor: The runner or custodian whose leases they are; they may be over.
        tellings: At most a hundred.

    Raises:
        NotFound: A lease is not this runner's, or there is none; the others are on record.
        Rejected: ``bad_count``; nothing is on record.
        Unavailable: The database.
    """
    for one in tellings:
        if any(not 0 <= count <= MOST for count in (one.logins, *one.reads.values())) or len(one.reads) > 32:
            raise Rejected("bad_count", next_step=f"Counts from 0 to {MOST}.", maximum=MOST)
    verb = Verb.LEASE_CUSTODY if Role.CUSTODIAN in actor.roles else Verb.LEASE_USE
    missing: NotFound | None = None
    of: dict[ClientId, list[Telling]] = {}
    for one in tellings:
        try:
            of.setdefault(await client_for(app, actor, verb, "lease", one.lease_id), []).append(one)
        except NotFound as error:
            missing = error
    for client_id, mine in of.items():
        async with app.db.begin(client_id=client_id) as tx:
            asked = {"ids": [one.lease_id for one in mine], "runner_id": actor.id}
            leases = {row["id"]: row for row in await tx.all(dict, "leases_of_holder", client_id=client_id, **asked)}
            for one in mine:
                if (lease := leases.get(one.lease_id)) is None:
                    missing = NotFound("not_found")
                elif (event := _new(actor, client_id, one, lease)) is not None:
                    await tx.append(event)
    if missing is not None:
        raise missing


def _new(actor: Actor, client_id: ClientId, said: Telling, lease: Row) -> Event | None:
    """The record of a telling that says something new of its lease."""
    counted = ",".join(str(said.reads.get(secret, 0)) for secret in lease["secrets"])
    before = set(lease["told"])
    if len(before) >= _MOST_TOLD or f"{said.logins} {counted}" in before:
        return None
    lease["told"].append(f"{said.logins} {counted}")
    return Event(
        name=EventName.LEASE_USE_TOLD, actor=actor, outcome=Outcome.OK, client_id=client_id, object_id=said.lease_id,
        fields={"logins": said.logins, "reads": counted},
    )  # fmt: skip


def told(row: Row) -> tuple[int | None, Mapping[str, int]]:
    """Return the least that was told of a lease: logins, and reads of each secret; ``None``: nothing was told."""
    tellings = row["told"] or []
    reads = [str(one.get("reads", "")).split(",") for one in tellings]
    return (
        min((_count(one.get("logins")) for one in tellings), default=None),
        {secret: min((_count(*said[place : place + 1]) for said in reads), default=0)
         for place, secret in enumerate(row["secrets"])},
    )  # fmt: skip


def _count(said: object = None) -> int:
    """A count as a record has it. What is none counts as nothing done: a forged one cannot stop the comparison."""
    return int(text) if (text := str(said)).isdecimal() else 0


def surplus(requests: Iterable[Request], known: KnownToUs, after: datetime, until: datetime) -> list[LogFinding]:
    """Return a finding for each lease issued in ``(after, until]`` of which the store did more than its holder told."""
    logins: dict[UUID, list[datetime]] = {}
    for (lease_id, _), times in known.logins.items():
        logins.setdefault(lease_id, []).extend(times)
    reads: Counter[tuple[UUID, str]] = Counter()
    for request in requests:
        value, named = VALUE.match(request.path), as_uuid(request.lease_header)
        if value is None or named is None or value.group(1) != "data" or request.operation != "read":
            continue
        if not request.refused and explain(request, known) is None:  # else it is a finding of its own
            reads[named, value.group(3)] += 1
    due = (lease for lease in known.leases.values() if after < lease.issued_at <= until)
    return [found for lease in due if (found := _compare(lease, logins.get(lease.id, []), reads))]


def _compare(lease: LeaseRow, logins: list[datetime], reads: Mapping[tuple[UUID, str], int]) -> LogFinding | None:
    said = 1 if lease.kind == "enroll" else lease.used_logins
    read = {secret: count for (lease_id, secret), count in reads.items() if lease_id == lease.id}
    reason, severity = "lease_use_surplus", "critical"
    if said is None:
        if not logins and not read:
            return None
        reason, severity = "lease_use_untold", "warning"
    elif len(logins) <= said and not (
        lease.kind == "use" and any(read[one] > lease.used_reads.get(one, 0) for one in read)
    ):
        return None
    return LogFinding(reason=reason, severity=severity, at=max(logins, default=lease.issued_at),
        client_id=lease.client_id,
                   lease_id=lease.id, count=len(logins))  # fmt: skip
