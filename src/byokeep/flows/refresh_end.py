"""How a grant ends that can not be renewed: told at once, the account off, the platform closed for the client.

Rules
- Grant, lanes, the way back, journal, record and alert change in one transaction, under the platform's exclusive lock:
  when it is committed no act that saw the platform open is uncommitted.
- Nothing is deleted: the stored tokens stay, for whoever looks into it.

It may not decide that a grant has ended.
"""

from __future__ import annotations

from typing import Final

from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.reenable import Cause
from byokeep.flows import refresh_book
from byokeep.flows.reenabling import lose
from byokeep.flows.refresh_book import HOLD, Grant, Renewal
from byokeep.flows.refresher_app import RefresherApp
from byokeep.flows.refusal import raise_alert
from byokeep.flows.scopes import client_scopes, hold_open
from byokeep.ports import Query

_LOCK: Final = Query("switch_lock_exclusive", lambda _: None)
_ENDED: Final = Query("refresh_ended", lambda row: int(row["version"]))
_LANES_OFF: Final = Query("refresh_lanes_off", lambda row: row["id"])


async def give_up(
    app: RefresherApp, grant: Grant, renewal: Renewal, lost_by: Cause, *, reason: str, **more: FieldValue
) -> None:
    """End a grant: a person must log in again.

    Args:
        renewal: As it is to be written: closed, or broken.
        reason: A code; stands on the grant, the record and the alert.
        more: Further fields of the record.

    Raises:
        Unavailable: The database; nothing has changed then, and the journal is still open.
    """
    platform, actor = grant.provider.value, app.system()
    name = EventName.CHAIN_BROKEN if lost_by is Cause.CHAIN_BROKEN else EventName.REAUTH_NEEDED
    async with app.db.begin(client_id=grant.client_id) as tx:
        await hold_open(tx, client_scopes(grant.client_id))
        await tx.all(_LOCK, scope=f"client:{grant.client_id}:platform:{platform}")
        await tx.maybe(HOLD, client_id=grant.client_id, account_id=grant.account_id)
        await lose(tx, app, actor, grant.client_id, platform, lost_by, account_id=grant.account_id)
        await tx.all(_ENDED, client_id=grant.client_id, account_id=grant.account_id, reason=reason)
        await tx.all(_LANES_OFF, client_id=grant.client_id, account_id=grant.account_id)
        await refresh_book.move(tx, app, grant, renewal, reason=reason)
        await raise_alert(tx, app, actor, reason=f"account_{reason}", client_id=grant.client_id,
                          object_id=grant.account_id)  # fmt: skip
        await tx.append(
            refresh_book.event(app, name, Outcome.FAILED, grant, renewal, reason=reason, version=grant.version, **more)
        )
