"""A copy of an installation comes up closed: for all that its state says it may act, and so would its original.

Rules
- Who finds that the state is not where it was made closes everything before any process serves or renews.
- Closed is closed as by a person: on record, open jobs end, the store is cut off, and two people open it.
- A store that the copy only points at belongs to the original: it is left as it is.

It may not tell a copy from an original that was moved: a person knows.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import open_alert
from byokeep.tenancy.scopes import GLOBAL

REASON: Final = "installation_copied"


async def close_copy(app: BrokerApp, *, own_store: bool) -> bool:
    """Close the global switch of an installation that is not where it was made, and tell people.

    Args:
        app: The broker's ports, before it serves.
        own_store: Whether the store was copied with it; its entities are then disabled by the broker's next round.

    Returns:
        False when there is no switch yet: this is a first start, and everything counts as closed.

    Raises:
        Unavailable: The database; nothing may be started then.
    """
    async with app.db.begin(every_client=True) as tx:
        await tx.all(None, "switch_lock_exclusive", scope=GLOBAL)
        if await tx.maybe(lambda row: str(row["scope"]), "switch_read", scope=GLOBAL) is None:
            return False
        epoch = await tx.one(
            lambda row: int(row["epoch"]), "switch_close", scope=GLOBAL, client_id=None, reason=REASON,
            by=app.installation_id,
            installation_id=app.installation_id,
        )  # fmt: skip
        killed = await tx.all(UUID, "switch_kill_jobs", client_id=None)
        if not own_store:
            await tx.one(str, "switch_mark_cut_off", scope=GLOBAL, epoch=epoch)
        fields: dict[str, FieldValue] = {
            "scope": GLOBAL, "epoch": epoch, "reason": REASON, "count": len(killed),
        }  # fmt: skip
        await tx.append(Event(name=EventName.SWITCH_CLOSED, actor=app.system(), outcome=Outcome.OK, fields=fields))
        await open_alert(tx, app, None, reason=REASON, key=REASON)
    return True
