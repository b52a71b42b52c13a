"""Consents that came to nothing are ended and cleared away: what they left in the store, and what they were shown.

Rules
- A consent whose finisher died is ended, and what it had stored without a record is destroyed.
- Of one that ended before the platform was asked code and verifier are destroyed, unless a newer one of the account is
  under way: that one does.
- The accounts that a person was given to choose from are nobody's after a day, and are forgotten.
- What fails for one account holds up no other one.

It may not ask a platform anything.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final
from uuid import UUID

from byokeep.accounts import connections
from byokeep.accounts.accounts import PlatformAccount
from byokeep.accounts.apart import each
from byokeep.accounts.connect_custody import burn, held
from byokeep.accounts.connections import Connection, OAuthGrant
from byokeep.accounts.refresher_app import RefresherApp
from byokeep.core.errors import ByokeepError
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.kernel.command import open_alert

TAKEN_FOR_S: Final = 300  # seconds after which somebody who took an answer is taken for dead


async def sweep_lost(app: RefresherApp, *, taken_for_s: int = TAKEN_FOR_S) -> int:
    """End consents that nobody will finish, and destroy what they left in the store."""
    async with app.db.begin(every_client=True) as tx:
        resting = app.apart.resting("consent_sweep", app.clock.monotonic())
        lost = await tx.all(connections.Connection, "connections_lost", taken_for_s=taken_for_s, resting=resting)
    return await each(app, app.apart, "consent_sweep", lost, lambda one: _end_lost(app, one))


async def _end_lost(app: RefresherApp, one: Connection) -> None:
    actor = app.system(one.request_id)
    async with app.db.begin(client_id=one.client_id) as tx:
        account = await tx.one(PlatformAccount, "account_of", client_id=one.client_id, id=one.account_id)
        grant = await tx.maybe(OAuthGrant, "grant_of", client_id=one.client_id, account_id=one.account_id)
        to, reason = ("expired", "not_answered") if one.state == "started" else ("failed", "interrupted")
        if not await connections.end(tx, actor, one, account, to=to, reason=reason):
            return
    parts = [SecretPart.CODE, SecretPart.VERIFIER]
    if one.state == "taken" and (grant is None or grant.state == "revoked"):
        parts += [SecretPart.TOKENS, SecretPart.ACCESS]  # written, perhaps, and never on record
    try:
        async with held(app, one.client_id, account.platform) as custody:
            for part in parts:
                await burn(custody, SecretRef(one.client_id, account.platform, part, account.id))
    except ByokeepError:
        if SecretPart.TOKENS not in parts:
            return  # worthless by itself: a code is over within minutes, a verifier opens nothing without its code
        async with app.db.begin(client_id=one.client_id) as tx:
            await open_alert(
                tx, app, actor, reason="orphan_not_destroyed", client_id=one.client_id, object_id=account.id
            )


async def sweep_left(app: RefresherApp) -> int:
    """Destroy code and verifier of consents that ended before anybody used them; returns how many consents."""
    async with app.db.begin(every_client=True) as tx:
        left = await tx.all(
            connections.Connection,
            "connections_left",
            resting=app.apart.resting("consent_clear", app.clock.monotonic()),
        )

    async def clear(one: Connection) -> None:
        with suppress(ByokeepError):  # they open nothing by themselves, and come again while the job is open
            await _clear_left(app, one)

    return await each(app, app.apart, "consent_clear", left, clear)


async def _clear_left(app: RefresherApp, one: Connection) -> None:
    async with app.db.begin(client_id=one.client_id) as tx:
        account = await tx.one(PlatformAccount, "account_of", client_id=one.client_id, id=one.account_id)
        # A consent that begins writes its verifier under this lock: what is destroyed here is not its.
        await tx.all(
            None, "connect_lock", client_id=one.client_id, platform=account.platform.value, account=account.account
        )
        if not await tx.all(Connection, "connections_of", client_id=one.client_id, account_id=one.account_id):
            async with app.custodian.open(one.job_id) as custody:
                for part in (SecretPart.CODE, SecretPart.VERIFIER):
                    await burn(custody, SecretRef(one.client_id, account.platform, part, account.id))
    await app.custodian.close(one.job_id)


async def forget_offered(app: RefresherApp) -> int:
    """Forget the accounts that consents of yesterday opened and nobody picked; returns how many consents."""
    async with app.db.begin(every_client=True) as tx:
        return len(await tx.all(UUID, "connections_forget"))
