"""Alerts as people see them: list and close.

Rules
- An alert names a reason and ids, never a value.
- An alert of a client is for those assigned to it; one of the platform for those who see every client.
- Closing is an act with a name behind it; it is recorded.
- Whom an alert is about does not close it, nor who did to another what it tells of, nor a person whose approvals are
  held: that one may have made them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, Denied, NotFound
from byokeep.core.events import EventName
from byokeep.core.model import Actor, Role
from byokeep.core.policy import Verb
from byokeep.kernel.app import App
from byokeep.kernel.command import command
from byokeep.kernel.ports import Tx
from byokeep.kernel.record import record
from byokeep.kernel.rows import reader
from byokeep.tenancy.clients import MAX_ROWS, scope_of

_MAY_CLOSE: Final = frozenset({Role.ADMIN, Role.OPERATOR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something a person must look at.

    Attributes:
        count: How often it happened since it was opened.
        code_points: Of a look-alike, the characters that give it away (``0456,0430``); else empty.
    """

    id: UUID
    client_id: UUID | None
    object_id: UUID | None
    reason: str
    severity: str
    count: int
    opened_at: datetime
    closed_at: datetime | None
    closed_by: UUID | None
    code_points: str


_DONE_TO_ANOTHER: Final = frozenset({"credentials_of_another_issued", "admin_stopped"})
_REMINDERS: Final = frozenset({"machine_token_ends", "person_token_ends"})  # no act of anybody: whoever it is may close


async def list_alerts(app: App, actor: Actor) -> tuple[list[Alert], int]:
    """Return the open alerts that concern the actor, critical ones first, then by when they last happened, and how many
    more there are.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.ALERT_READ) as tx:
        found = await tx.all(
            lambda row: (reader(Alert)(row), int(row["total"])), "alerts_open", ids=scope_of(actor), limit=MAX_ROWS
        )
    return [alert for alert, _ in found], found[0][1] - len(found) if found else 0


async def close_alert(app: App, actor: Actor, alert_id: UUID) -> Alert:
    """Close an alert.

    Raises:
        Denied: ``not_permitted``, ``same_person``: it is about the actor, or tells of what the actor did.
        NotFound: ``not_found``, also for an alert that does not concern the actor.
        Conflict: ``alert_closed``.
    """
    async with command(app, actor, Verb.ALERT_READ, object_id=alert_id) as tx:
        if not actor.roles & _MAY_CLOSE:
            raise Denied("not_permitted", next_step="An operator or an admin closes alerts.")
        alert = await tx.one(Alert, "alert_get", id=alert_id)
        if not _concerns(actor, alert):
            raise NotFound("not_found")
        if await _own(tx, actor, alert):
            step = "It is about you or what you did, or your approvals are held: another admin closes it."
            raise Denied("same_person", next_step=step)
        closed = await tx.maybe(Alert, "alert_close", id=alert_id, closed_by=actor.id)
        if closed is None:
            raise Conflict("alert_closed", next_step="Nothing to do.", alert=alert_id)
        said = {"alert": str(alert_id), "reason": closed.reason}
        await record(tx, actor, EventName.ALERT_CLOSED, said, client_id=closed.client_id, object_id=closed.object_id)
    return closed


async def _own(tx: Tx, actor: Actor, alert: Alert) -> bool:
    if alert.object_id == actor.id and alert.reason not in _REMINDERS:
        return True
    return alert.reason in _DONE_TO_ANOTHER and (
        actor.held
        or await tx.one(bool, "alert_caused_by", id=str(alert.id), actor_id=actor.id, object_id=alert.object_id)
    )


def _concerns(actor: Actor, alert: Alert) -> bool:
    return actor.clients is None or (alert.client_id is not None and alert.client_id in actor.clients)
