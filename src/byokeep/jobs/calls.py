"""What a runner tells of the calls that its job made with a credential.

Rules
- It is the runner's word: it shows how a credential was used, and nothing is decided by it.
- A call is told of under the lease of whoever tells it, for a secret of that lease; the same id twice is one call.
- How many there were is said once, on record. Without that, or with some missing, the calls of a lease are unknown.
- Arguments come as a digest; what is kept is a keyed digest of it, which nobody outside can guess at (S-TLOG-11).

It may not hold up a job: it takes no lock and opens no switch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from byokeep.core.errors import NotFound, Rejected
from byokeep.core.events import EventName
from byokeep.core.model import Actor
from byokeep.core.policy import Verb
from byokeep.core.usage import CallResult, check_tool
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import recorded
from byokeep.kernel.locate import client_for
from byokeep.kernel.record import record

MOST_CALLS: Final = 100_000  # of one lease
OLDEST_MS: Final = 86_400_000  # a job lives no longer


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call. ``age_ms`` = how long ago; ``args`` = SHA-256 of its arguments, hex, or empty."""

    id: UUID
    secret: str
    tool: str
    outcome: CallResult
    args: str
    age_ms: int


async def tell_calls(
    app: BrokerApp, actor: Actor, lease_id: UUID, calls: Sequence[ToolCall], total: int | None
) -> None:
    """Put calls down, and how many there were when the holder is done with its lease.

    Raises:
        NotFound: Not this runner's lease.
        Rejected: ``bad_tool``, ``secret_like_content``, ``too_many_calls``; nothing was put down.
    """
    client_id = await client_for(app, actor, Verb.LEASE_USE, "lease", lease_id)
    async with recorded(app, actor, Verb.LEASE_USE, client_id=client_id, object_id=lease_id):
        for call in calls:
            check_tool(call.tool)
        async with app.db.begin(client_id=client_id) as tx:
            lease = await tx.one(dict, "calls_lease", client_id=client_id, lease_id=lease_id)
            if lease["runner_id"] != actor.id:
                raise NotFound("not_found")
            if lease["told"] + len(calls) > MOST_CALLS or (total or 0) > MOST_CALLS:
                raise Rejected("too_many_calls", next_step="Report fewer under one lease.", maximum=MOST_CALLS)
            key = app.token_key
            await tx.all(
                UUID, "calls_insert", client_id=client_id, lease_id=lease_id, ids=[one.id for one in calls],
                providers=[one.secret for one in calls], tools=[one.tool for one in calls],
                outcomes=[one.outcome.value for one in calls],
                args=[key(f"args/{client_id}/{one.args}".encode()).hex() if one.args else "" for one in calls],
                ages_s=[min(one.age_ms, OLDEST_MS) / 1000 for one in calls],
            )  # fmt: skip
            done = {"client_id": client_id, "lease_id": lease_id, "count": total}
            if total is not None and await tx.maybe(UUID, "calls_done", **done) is not None:
                await record(
                    tx, actor, EventName.CALLS_TOLD, client_id=client_id, object_id=lease_id, job=str(lease["job_id"]),
                    count=total,
                )  # fmt: skip
