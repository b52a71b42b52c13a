"""Asks for a renewal before its time: whoever held an access token that a platform refused.

Rules
- It marks the grant as due and does nothing else: the refresher renews, once, whoever else asks.
- Only who saw the version that is pinned may ask: a newer one is the answer already.
- It hurries no renewal that failed before, and none of a token that has just come.

It may not talk to a platform.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, ClientId
from byokeep.flows.app import App
from byokeep.flows.refresh_book import grant_from
from byokeep.ports import Query

_ASK: Final = Query("refresh_ask", grant_from)


async def ask_fresh(app: App, actor: Actor, *, client_id: ClientId, account_id: UUID, seen_version: int) -> bool:
    """Mark an account's tokens as due.

    Args:
        actor: Whose token was refused; the caller has found out that it may speak for the account.
        seen_version: The version of the access token that was refused.

    Returns:
        False when nothing was changed: it is due already, was renewed since, or is not renewed at all.

    Raises:
        Unavailable: The database.
    """
    async with app.db.begin(client_id=client_id) as tx:
        grant = await tx.maybe(_ASK, client_id=client_id, account_id=account_id, seen=seen_version, now=app.clock.now())
        if grant is None:
            return False
        fields = {"platform": grant.provider.value, "login": grant.login, "account": str(account_id),
                  "version": grant.version}  # fmt: skip
        await tx.append(
            Event(name=EventName.REFRESH_ASKED, actor=actor, outcome=Outcome.OK, client_id=client_id,
                  object_id=account_id, fields=fields)
        )  # fmt: skip
    return True
