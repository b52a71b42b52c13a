"""What a consent that was not kept may have done: a platform that keeps one grant has ended the earlier one of whoever
answered.

Rules
- The account that answered is known by its id, whichever client has it; each is marked in its own client.
- Where refresh tokens are one-time, nothing acts through it until a renewal has proved that it lives, which is due at
  once; people are told. Elsewhere it is looked at.
- Nobody hears the name of another client's account.

It may not end a grant: a renewal that is refused does that, and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from byokeep.accounts.accounts import PlatformAccount
from byokeep.accounts.connections import Connection
from byokeep.accounts.refresher_app import Login, RefresherApp
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, ClientId
from byokeep.core.refresh import ROTATING
from byokeep.kernel.command import open_alert
from byokeep.kernel.rows import Row

REASON: Final = "tokens_maybe_superseded"
Held = tuple[ClientId, UUID, str]


def _held(row: Row) -> Held:
    return ClientId(row["client_id"]), row["account_id"], str(row["account"])


async def suspect(
    app: RefresherApp, actor: Actor, one: Connection, login: Login, *, app_id: str, ids: Sequence[str]
) -> str:
    """Mark what lives of the accounts that answered a consent.

    Args:
        ids: Of the platform.

    Returns:
        This client's name of an account whose tokens may have ended, beside the one that was to be connected; empty
        when there is none, or it is another client's.

    Raises:
        Unavailable: The database.
    """
    ends, name = login.rules.model in ROTATING, ""
    async with app.db.begin(every_client=True) as tx:
        held = await tx.all(_held, "grants_answered", login=login.id, app_id=app_id, ids=list(ids))
    for client_id, account_id, account in held:
        async with app.db.begin(client_id=client_id) as tx:
            same = {"client_id": client_id, "account_id": account_id}
            if await tx.maybe(UUID, "grant_superseded", **same, ends=ends) is None or not ends:
                continue
            await tx.one(PlatformAccount, "account_seen", client_id=client_id, id=account_id, identity="unchecked")
            await tx.append(
                Event(name=EventName.ACCOUNT_VERIFIED, actor=actor, outcome=Outcome.FAILED, client_id=client_id,
                      object_id=account_id, fields={"verification": "unknown", "cause": "superseded",
                                                    "reason": REASON})
            )  # fmt: skip
            await open_alert(tx, app, actor, reason=REASON, client_id=client_id, object_id=account_id)
        if client_id == one.client_id and account_id != one.account_id:
            name = account
    return name
