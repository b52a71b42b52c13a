"""Machines that renew tokens, as people see them: who has renewals under way, and that one will not come back.

Rules
- A machine's slots can be read on that machine alone. While it may come back nobody touches what it has under way.
- A person says that it is gone, with a reason, on record; the renewals are then taken up by another machine, which asks
  the platform once more or reports the chain as broken. None is dropped.
- One that began a renewal within minutes is not gone.

It may not end a renewal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from byokeep.core.errors import Conflict, NotFound
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import Actor
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb
from byokeep.kernel.app import WebApp
from byokeep.kernel.command import command


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresher:
    """A machine that has renewals under way; ``gone`` = a person said so, and nobody has taken them up yet."""

    owner: UUID
    renewals: int
    oldest_at: datetime
    newest_at: datetime
    gone: bool


async def list_refreshers(app: WebApp, actor: Actor) -> list[Refresher]:
    """Return the machines that have renewals under way.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.REFRESHER_READ) as tx:
        return await tx.all(
            lambda row: Refresher(**{n: row[n] for n in Refresher.__dataclass_fields__}), "refreshers_list"
        )


async def declare_gone(app: WebApp, actor: Actor, owner: UUID, reason: str) -> int:
    """Say that a machine will not come back, so that another takes up its renewals; returns how many there are.

    Args:
        owner: Of its slots, as :func:`list_refreshers` returns it.
        reason: A code, ``[a-z][a-z0-9_]*``.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``: it has nothing under way.
        Rejected: ``bad_reason``.
        Conflict: ``refresher_alive``: it began a renewal within the last 15 minutes.
    """
    gone = EventName.REFRESHER_GONE
    async with command(app, actor, Verb.REFRESHER_GONE, object_id=owner, refused_as=gone) as tx:
        check_reason(reason, example="machine_lost")
        fresh = await tx.all(bool, "refresher_gone", owner=owner)
        if not fresh:
            raise NotFound("not_found", next_step="See `byokeep account refreshers`.")
        if any(fresh):
            raise Conflict("refresher_alive", next_step="Stop it, wait 15 minutes, and say it again.")
        said: dict[str, FieldValue] = {"count": len(fresh), "reason": reason}
        await tx.append(Event(name=gone, actor=actor, outcome=Outcome.OK, object_id=owner, fields=said))
    return len(fresh)
