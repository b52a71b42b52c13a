"""Ends by time: jobs whose hour has come, permits nobody closed.

Rules
- Expiry is enforced by time wherever it is read; this only writes down what is so already. If it never ran, nothing
  would live longer (R4.1-3).
- A permit nobody closed is *unknown*, never done and never failed: a person looks.
"""

from __future__ import annotations

from uuid import UUID

from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.reenable import EffectResult
from byokeep.jobs.reenabling import ended as canary_ended
from byokeep.kernel.app import App
from byokeep.kernel.command import open_alert
from byokeep.kernel.rows import Row


def _pair(row: Row) -> tuple[UUID, UUID]:
    return row["id"], row["client_id"]


async def expire(app: App) -> tuple[int, int]:
    """Write down what has ended; returns (jobs expired, permits unknown). At most 500 of each at a time.

    Raises:
        Unavailable: The database; nothing is lost, the next run goes on.
    """
    async with app.db.begin(every_client=True) as tx:
        jobs = await tx.all(_pair, "job_expired")
        permits = await tx.all(_pair, "permit_overdue")
    actor = app.system()
    ended = unknown = 0
    for job_id, client_id in jobs:
        async with app.db.begin(client_id=client_id) as tx:
            if await tx.maybe(UUID, "job_expire", client_id=client_id, id=job_id) is None:
                continue
            await tx.append(
                Event(
                    name=EventName.JOB_EXPIRED, actor=actor, outcome=Outcome.OK, client_id=client_id, object_id=job_id
                )
            )
            ended += 1
    for permit_id, client_id in permits:
        async with app.db.begin(client_id=client_id) as tx:
            row = await tx.maybe(dict, "permit_unknown", client_id=client_id, id=permit_id)
            if row is None:
                continue
            if row["way"] is not None:  # nobody knows how an act of a canary ended: that closes the platform again
                told = EffectResult(ok=None, way=row["way"], number=row["stage"])
                await canary_ended(tx, app, actor, client_id, row["platform"], told)
            await open_alert(
                tx, app, actor, reason="permit_unknown", severity="warning", client_id=client_id, object_id=permit_id
            )
            await tx.append(
                Event(
                    name=EventName.PERMIT_UNKNOWN, actor=actor, outcome=Outcome.FAILED, client_id=client_id,
                    object_id=permit_id, fields={"job": str(row["job_id"]), "lease": str(row["lease_id"])},
                )
            )  # fmt: skip
            unknown += 1
    return ended, unknown
