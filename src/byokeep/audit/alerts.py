"""Alerts as people see them: list, show, acknowledge and close one or many.

Rules
- An alert names a reason and ids, never a value.
- A client's alert is visible to those assigned to the client; an alert of the platform, to those who see every client.
- Closing is recorded with the person's name. So is acknowledging, which says who took the alert; it stays open.
- Some people may do neither: the person an alert is about, whoever did to another what it reports, and anybody whose
  approvals are held, who may have caused it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, Denied, NotFound, Rejected
from byokeep.core.events import EventName
from byokeep.core.model import Actor, Role
from byokeep.core.policy import Verb
from byokeep.kernel.app import App
from byokeep.kernel.command import command, record
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import reader
from byokeep.tenancy.clients import MAX_ROWS, scope_of

CLOSED_AT_ONCE: Final = 100
_MAY_CLOSE: Final = frozenset({Role.ADMIN, Role.OPERATOR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something a person must look at.

    Attributes:
        count: How often it happened since it was opened.
        code_points: Of a look-alike, the characters that give it away (``0456,0430``); else empty.
        acknowledged_by: Who took it, last.
    """

    id: UUID
    client_id: UUID | None
    object_id: UUID | None
    reason: str
    severity: str
    count: int
    opened_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    closed_by: UUID | None
    acknowledged_at: datetime | None
    acknowledged_by: UUID | None
    code_points: str


@dataclass(frozen=True, slots=True)
class AlertAct:
    """What people do about an alert: the statement, and its record."""

    statement: str
    event: EventName


CLOSE: Final = AlertAct("alert_close", EventName.ALERT_CLOSED)
ACKNOWLEDGE: Final = AlertAct("alert_acknowledge", EventName.ALERT_ACKNOWLEDGED)


_DONE_TO_ANOTHER: Final = frozenset({"credentials_of_another_issued", "admin_stopped"})
_REMINDERS: Final = frozenset({"machine_token_ends", "person_token_ends"})  # no act of anybody: whoever it is may close


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFilter:
    """Which alerts; what is left out fits everything. ``since`` and ``until`` are of their opening.

    Those that happened again at ``seen_until`` or later do not fit: whoever looked before has not seen that.
    """

    client_id: UUID | None = None
    reason: str = ""
    severity: str = ""
    since: datetime | None = None
    until: datetime | None = None
    seen_until: datetime | None = None


_ALL: Final = AlertFilter()


async def list_alerts(
    app: App, actor: Actor, wanted: AlertFilter = _ALL, *, history: bool = False
) -> tuple[list[Alert], int]:
    """Return alerts that concern the actor, and how many more there are.

    Args:
        history: Closed ones as well, newest first; else the open ones, critical first, then by when they last happened.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.ALERT_READ) as tx:
        return await _listed(tx, actor, wanted, history=history)


async def _listed(
    tx: Tx, actor: Actor, wanted: AlertFilter, *, history: bool, limit: int = MAX_ROWS, untaken: bool = False
) -> tuple[list[Alert], int]:
    found = await tx.all(
        lambda row: (reader(Alert)(row), int(row["total"])), "alerts_listed", ids=scope_of(actor), history=history,
        limit=limit, untaken=untaken, **asdict(wanted),
    )  # fmt: skip
    return [alert for alert, _ in found], found[0][1] - len(found) if found else 0


async def get_alert(app: App, actor: Actor, alert_id: UUID) -> Alert:
    """Return one alert, open or closed.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``, also for an alert that does not concern the actor.
    """
    async with command(app, actor, Verb.ALERT_READ, object_id=alert_id) as tx:
        return await _mine(tx, actor, alert_id)


async def _mine(tx: Tx, actor: Actor, alert_id: UUID) -> Alert:
    alert = await tx.one(Alert, "alert_get", id=alert_id)
    if actor.clients is not None and alert.client_id not in actor.clients:
        raise NotFound("not_found")
    return alert


async def close_alert(app: App, actor: Actor, alert_id: UUID, act: AlertAct = CLOSE) -> Alert:
    """Close an alert, or acknowledge it, in the place of whoever did before.

    Raises:
        Denied: ``not_permitted``, ``same_person``: it is about the actor, or tells of what the actor did.
        NotFound: ``not_found``, also for an alert that does not concern the actor.
        Conflict: ``alert_closed``; ``alert_taken``: it is closed, or the actor's already.
    """
    async with command(app, actor, Verb.ALERT_READ, object_id=alert_id) as tx:
        _check_role(actor)
        alert = await _mine(tx, actor, alert_id)
        if await _own(tx, actor, alert):
            step = (
                "It is about you or your own acts, or your approvals are held. Another operator or admin must close it."
            )
            raise Denied("same_person", next_step=step)
        if (done := await _done(tx, actor, alert, act)) is None:
            if act is ACKNOWLEDGE:
                raise Conflict("alert_taken", next_step="Nothing to do: it is yours, or closed.", alert=alert_id)
            raise Conflict("alert_closed", next_step="Nothing to do: it is already closed.", alert=alert_id)
    return done


async def close_alerts(app: App, actor: Actor, wanted: AlertFilter, act: AlertAct = CLOSE) -> tuple[list[Alert], int]:
    """Close the open alerts that fit, or acknowledge those that nobody has, each on record.

    Returns them, and how many that fit are left.

    Left are those that the actor may not close, and what is beyond the most that one call closes. What happens while
    they are closed, or did at ``seen_until`` or later, is not: nobody has seen it. Chains are taken in one order, the
    platform's last.

    Raises:
        Denied: ``not_permitted``.
        Rejected: ``filter_missing``: everything at once is not closed by forgetting a word.
    """
    async with command(app, actor, Verb.ALERT_READ) as tx:
        _check_role(actor)
        if replace(wanted, seen_until=None) == _ALL:
            raise Rejected("filter_missing", next_step="Give a reason, a severity, a client, or a time.")
        wanted = replace(wanted, seen_until=wanted.seen_until or app.clock.now())
        found, more = await _listed(tx, actor, wanted, history=False, limit=CLOSED_AT_ONCE, untaken=act is ACKNOWLEDGE)
        closed = []
        for alert in sorted(found, key=lambda one: (one.client_id is None, str(one.client_id), str(one.id))):
            if await _own(tx, actor, alert):
                continue
            if (done := await _done(tx, actor, alert, act, wanted.seen_until)) is not None:
                closed.append(done)
    return closed, more + len(found) - len(closed)


def _check_role(actor: Actor) -> None:
    if not actor.roles & _MAY_CLOSE:
        raise Denied("not_permitted", next_step="Only an operator or an admin can take and close alerts.")


async def _done(tx: Tx, actor: Actor, alert: Alert, act: AlertAct, seen_until: datetime | None = None) -> Alert | None:
    done = await tx.maybe(Alert, act.statement, id=alert.id, by=actor.id, seen_until=seen_until)
    if done is not None:
        said = {"alert": str(alert.id), "reason": done.reason}
        await record(tx, actor, act.event, said, client_id=done.client_id, object_id=done.object_id)
    return done


async def _own(tx: Tx, actor: Actor, alert: Alert) -> bool:
    if alert.object_id == actor.id and alert.reason not in _REMINDERS:
        return True
    return alert.reason in _DONE_TO_ANOTHER and (
        actor.held
        or await tx.one(bool, "alert_caused_by", id=str(alert.id), actor_id=actor.id, object_id=alert.object_id)
    )
