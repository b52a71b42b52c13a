"""Raise an alert: one open row for each key, counted up when it happens again.

Rules
- An alert names a reason and ids, never a value; the first of a kind is put on record.
- It has its own transaction: what went wrong has usually rolled back its own.
- What tells of a state, an outage, has a key that begins with ``state/``: the round that sees the end of it closes it,
  on record. What tells of an event stays open until a person has looked.

It may not replace the error: the caller still raises.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from byokeep.core.events import Event, EventName, Outcome
from byokeep.flows.app import App, BrokerApp
from byokeep.ports import Tx

Severity = Literal["info", "warning", "critical"]


async def raise_alert(
    app: App, *, reason: str, key: str, severity: Severity, client_id: UUID | None = None, object_id: UUID | None = None
) -> None:
    """Open an alert, or count up the open one with the same ``key``.

    Raises:
        Unavailable: The database did not take it.
    """
    async with app.db.begin(every_client=True) as tx:
        await alert_in(tx, app, reason=reason, key=key, severity=severity, client_id=client_id, object_id=object_id)


async def alert_in(
    tx: Tx, app: App, *, reason: str, key: str, severity: Severity, client_id: UUID | None, object_id: UUID | None,
    at: datetime | None = None,
) -> None:  # fmt: skip
    """The same within a transaction of the caller's; ``at``: when it happened, if not just now."""
    alert, count = await tx.one(
        lambda row: (UUID(str(row["id"])), int(row["count"])), "audit_alert", id=app.ids.uuid(), client_id=client_id,
        object_id=object_id, reason=reason, severity=severity,
        dedup_key=key, at=at,
    )  # fmt: skip
    if count == 1:
        # On the platform's chain: the client an alert speaks of may be one that an intruder made up.
        await tx.append(
            Event(
                name=EventName.ALERT_RAISED, actor=app.system(), outcome=Outcome.OK,
                object_id=object_id or client_id,
                fields={"alert": str(alert), "reason": reason, "severity": severity},
            )
        )  # fmt: skip


async def state_over(app: BrokerApp, key: str) -> None:
    """Close what was raised of a state that is over.

    Args:
        app: The broker.
        key: As it was raised; it begins with ``state/``.

    Raises:
        Unavailable: The database did not take it.
    """
    if not await app.db.read(UUID, "alert_open_of", {"key": key}, every_client=True):
        return
    async with app.db.begin(every_client=True) as tx:
        for row in await tx.all(dict, "alert_over", key=key, by=app.installation_id):
            await tx.append(
                Event(
                    name=EventName.ALERT_CLOSED, actor=app.system(), outcome=Outcome.OK,
                    object_id=row["object_id"] or row["client_id"],
                    fields={"alert": str(row["id"]), "reason": row["reason"]},
                )
            )  # fmt: skip
