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
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from byokeep.core.errors import Denied, NotFound, Rejected
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, Role
from byokeep.core.policy import Verb
from byokeep.flows.app import BrokerApp
from byokeep.flows.explain import VALUE, Finding, Known, LeaseRow, Request, as_uuid, explain
from byokeep.flows.locate import client_for
from byokeep.flows.refusal import record_refusal
from byokeep.ports import Query, Row

TOLD_WITHIN: Final = timedelta(seconds=25)  # of its issue a lease is told of: dead after 6 s, a beat, 10 s of attempts
MOST: Final = 10_000  # logins, or reads of one secret, of one lease
_MOST_TOLD: Final = 2  # different tellings of one lease: the second is an alert, more say nothing new
_HELD: Final = Query("lease_of_holder", lambda row: row)


async def tell(app: BrokerApp, actor: Actor, lease_id: UUID, logins: int, reads: Mapping[str, int]) -> None:
    """Put on record what a lease's holder counted; the same once more is no second record.

    Args:
        app: The broker.
        actor: The runner or custodian whose lease it is.
        lease_id: The lease; it may be over.
        logins: How often it tried to log in.
        reads: Declared secret -> how often it tried to read it.

    Raises:
        NotFound: No such lease for this runner.
        Rejected: ``bad_count``.
        Unavailable: The database.
    """
    if any(not 0 <= count <= MOST for count in (logins, *reads.values())) or len(reads) > 32:
        raise Rejected("bad_count", next_step=f"Counts from 0 to {MOST}.", maximum=MOST)
    try:
        verb = Verb.LEASE_CUSTODY if Role.CUSTODIAN in actor.roles else Verb.LEASE_USE
        client_id = await client_for(app, actor, verb, "lease", lease_id)
    except Denied as refusal:
        await record_refusal(app, actor, EventName.ACCESS, refusal, client_id=None, object_id=lease_id)
        raise
    async with app.db.begin(client_id=client_id) as tx:
        lease = await tx.maybe(_HELD, client_id=client_id, id=lease_id, runner_id=actor.id)
        if lease is None:
            raise NotFound("not_found")
        counted = ",".join(str(reads.get(secret, 0)) for secret in lease["secrets"])
        before = set(lease["told"])
        if len(before) < _MOST_TOLD and f"{logins} {counted}" not in before:
            await tx.append(
                Event(
                    name=EventName.LEASE_USE_TOLD, actor=actor, outcome=Outcome.OK, client_id=client_id,
                    object_id=lease_id, fields={"logins": logins, "reads": counted},
                )
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


def surplus(requests: Iterable[Request], known: Known, after: datetime, until: datetime) -> list[Finding]:
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


def _compare(lease: LeaseRow, logins: list[datetime], reads: Mapping[tuple[UUID, str], int]) -> Finding | None:
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
    return Finding(reason=reason, severity=severity, at=max(logins, default=lease.issued_at), client_id=lease.client_id,
                   lease_id=lease.id, count=len(logins))  # fmt: skip
