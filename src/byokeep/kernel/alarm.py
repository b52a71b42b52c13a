"""Raise an alert: one open row per key, whose count rises when the same thing happens again.

Rules
- An alert names a reason and ids, never a value. It is put on record, unless the open row that it counts up already is.
- It has its own transaction, because the one that failed has usually been rolled back.
- An alert about a state, such as an outage, has a key that starts with ``state/``. The round that sees the state end
  closes it, on record. An alert about an event stays open until a person has looked.
- Nothing may block an alert of the broker: a session that holds the platform's chain, or the alert, is ended (ADR
  0034).

It may not replace the error: the caller still raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from byokeep.core.errors import ByokeepError
from byokeep.core.events import EventName
from byokeep.kernel.app import App, BrokerApp, KillApp
from byokeep.kernel.blockers import Ended, ending_blockers, how_many
from byokeep.kernel.command import Severity, open_alert
from byokeep.kernel.ports import Tx
from byokeep.kernel.record import record


async def raise_alert(
    app: App, *, reason: str, key: str, severity: Severity, client_id: UUID | None = None, object_id: UUID | None = None
) -> None:
    """Open an alert, or count up the open one with the same ``key``.

    Raises:
        Unavailable: The database did not take it.
    """
    async with unblocked(app) as tx:
        await open_alert(
            tx, app, None, reason=reason, key=key, severity=severity, client_id=client_id, object_id=object_id
        )


@asynccontextmanager
async def unblocked(app: App) -> AsyncIterator[Tx]:
    """A transaction for every client that nothing blocks for long; a session that does is ended, and reported in it.

    Only the broker and the kill process may end sessions. For any other process it is an ordinary transaction.
    """
    ended: Ended = []
    async with app.db.begin(every_client=True) as tx:
        if not isinstance(app, KillApp):
            yield tx
            return
        async with ending_blockers(app, tx, ended):
            yield tx
        if await how_many(ended):
            async with ending_blockers(app, tx, ended):
                await open_alert(tx, app, None, reason="audit_chain_held", key="audit/chain")


def tell_later(app: KillApp, scope: str, ended: Ended) -> None:
    """Raise the alert ``switch_lock_held`` if sessions were ended for this scope; a kill's answer does not wait for it.

    The app keeps the task, and its lifespan awaits it.
    """
    if ended:
        task = asyncio.create_task(_tell(app, scope, ended))
        app.telling.add(task)
        task.add_done_callback(app.telling.discard)


async def _tell(app: KillApp, scope: str, ended: Ended) -> None:
    if await how_many(ended):
        with suppress(ByokeepError):  # the switch holds, whoever keeps the alert out
            await raise_alert(app, reason="switch_lock_held", key=f"switch/{scope}", severity="critical")


async def tell_state(
    app: BrokerApp, lasts: object, *, reason: str, key: str, severity: Severity = "critical",
    object_id: UUID | None = None,
) -> None:  # fmt: skip
    """Raise the alert about a state while it lasts, and close it once it is over. Raises as these do."""
    if lasts:
        await raise_alert(app, reason=reason, key=key, severity=severity, object_id=object_id)
    else:
        await state_over(app, key)


async def state_over(app: BrokerApp, key: str) -> None:
    """Close the alert about a state that has ended.

    Args:
        app: The broker.
        key: As it was raised; it begins with ``state/``.

    Raises:
        Unavailable: The database did not take it.
    """
    if not await app.db.read(UUID, "alert_open_of", {"key": key}, every_client=True):
        return
    async with unblocked(app) as tx:
        await close_over(tx, app, "alert_over", key=key, by=app.installation_id)


async def close_over(tx: Tx, app: App, statement: str, **asked: object) -> None:
    """Close the alerts whose cause is gone, by the statement that finds them; each is on record."""
    for row in await tx.all(dict, statement, **asked):
        await record(
            tx, app.system(), EventName.ALERT_CLOSED, object_id=row["object_id"] or row["client_id"],
            alert=str(row["id"]), reason=row["reason"],
        )  # fmt: skip
