"""Tells people that a grant will end unless somebody logs in again, and of grants that nobody could renew for long.

Rules
- A platform's own number of days decides when; it is told once, as one alert that stays open.
- A grant whose tokens have not been renewed for :data:`IDLE_DAYS` is told of as well: platforms end idle ones silently.

It may not change a grant.
"""

from __future__ import annotations

from typing import Final

from byokeep.accounts.apart import each
from byokeep.accounts.refresh_book import RenewableGrant
from byokeep.accounts.refresher_app import RefresherApp
from byokeep.kernel.command import open_alert

IDLE_DAYS: Final = 120


async def remind(app: RefresherApp) -> int:
    """Raise the alerts that are due; returns how many grants they are about.

    Raises:
        Unavailable: The database.
    """
    now = app.clock.now()
    async with app.db.begin(every_client=True) as tx:
        found = await tx.all(RenewableGrant, "refresh_ends_soon", now=now, idle_days=IDLE_DAYS)

    async def tell(grant: RenewableGrant) -> None:
        soon = grant.alarm_at is not None and grant.alarm_at <= now
        async with app.db.begin(client_id=grant.client_id) as tx:
            reason = "account_reauth_due" if soon else "account_idle_reauth_due"
            await open_alert(
                tx, app, app.system(), reason=reason, severity="warning", client_id=grant.client_id,
                object_id=grant.account_id,
            )  # fmt: skip

    return await each(app, app.apart, "account_remind", found, tell)
