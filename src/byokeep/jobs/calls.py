"""What a runner reports of the calls that its job made with a credential.

Rules
- It is only the runner's word: it shows how a credential was used, and decides nothing.
- A call is reported under the caller's own lease, for a secret of that lease. The same id twice is one call.
- The total is reported once, on record. Without it, or if some calls are missing, a lease's calls are unknown.
- Arguments come as a digest. What is stored is a keyed digest of that, at which nobody outside can guess (S-TLOG-11).

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
from byokeep.kernel.command import client_for, record, recorded

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
    """Store reported calls, and their total once the holder is done with its lease.

    Raises:
        NotFound: Not this runner's lease.
        Rejected: ``bad_tool``, ``secret_like_content``, ``too_many_calls``; nothing was stored.
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
