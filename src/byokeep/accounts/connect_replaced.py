"""Tokens that serve nobody any more although a consent gave them: what a later login replaced, and what came too late.

Rules
- What a login replaced is revoked at the platform when that login is on record, where to revoke it spares the new one;
  elsewhere nothing is faked: the record says ``unsupported``, and the end of the grant ends it.
- The end of a grant ends every pair that a login of it replaced. One that can not be proved to be dead leaves the end
  unconfirmed.
- Tokens that came after a person disconnected the account are revoked, proved by use; they were stored nowhere.

It may not decide that a grant has ended.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final
from uuid import UUID

from byokeep.accounts.accounts import PlatformAccount
from byokeep.accounts.connect_custody import is_gone
from byokeep.accounts.connections import Connection, OAuthGrant
from byokeep.accounts.refresh_over import REPLACED_LEFT
from byokeep.accounts.refresher_app import AccountCustody, Ending, Login, PlatformMore, RefresherApp, RevocationResult
from byokeep.core.errors import ByokeepError, Integrity
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.reenable import RecoveryCause
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.tokens import TokenSet
from byokeep.jobs import reenabling
from byokeep.kernel.command import open_alert
from byokeep.wire.tokens import unpack_tokens

_UNSUPPORTED: Final = "unsupported"


async def end_replaced(
    app: RefresherApp, login: Login, one: Connection, account: PlatformAccount, custody: AccountCustody,
    platform: PlatformMore, *, version: int,
) -> None:  # fmt: skip
    """End what a login replaced, on record; the login stands whatever comes of it.

    Args:
        version: Of the tokens that were replaced.
    """
    ended = None
    if login.revokes_alone:
        place = SecretRef(one.client_id, account.platform, SecretPart.TOKENS, account.id)
        try:
            ended = (await _revoke(app, login, custody, platform, place, version)).ended
        except ByokeepError:
            ended = RevocationResult.UNCONFIRMED
    dead = ended is RevocationResult.CONFIRMED
    said: dict[str, FieldValue] = {"verification": ended.value if ended else _UNSUPPORTED, "version": version}
    with suppress(ByokeepError):  # not on record then, and tried again when the grant ends
        async with app.db.begin(client_id=one.client_id) as tx:
            stolen = await reenabling.lost_by(tx, one.client_id, account.platform.value) is RecoveryCause.COMPROMISED
            if dead:
                await tx.one(UUID, "connection_replaces", client_id=one.client_id, id=one.id, version=0)
            elif ended is not None or stolen:
                await open_alert(
                    tx, app, app.system(one.request_id), reason=REPLACED_LEFT, severity="warning",
                    client_id=one.client_id, object_id=account.id,
                )  # fmt: skip
            await tx.append(_revoked(app, one, account, Outcome.OK if dead else Outcome.FAILED, "replaced", **said))


async def end_earlier(
    app: RefresherApp, grant: OAuthGrant, custody: AccountCustody, platform: PlatformMore
) -> tuple[Ending, bool]:
    """End what logins of a grant replaced, after its own pair is proved to be dead.

    Returns:
        What is known of all of them together, and whether to try again is of no use.
    """
    async with app.db.begin(client_id=grant.client_id) as tx:
        replaced = await tx.all(int, "connections_replaced", client_id=grant.client_id, account_id=grant.account_id)
    login = app.logins.get(grant.login)
    place = SecretRef(grant.client_id, grant.provider, SecretPart.TOKENS, grant.account_id)
    worst, useless = Ending(ended=RevocationResult.CONFIRMED), False
    for version in replaced:
        try:
            done = await _revoke(app, login, custody, platform, place, version)
        except ByokeepError as error:
            if not is_gone(error) and not isinstance(error, Integrity):
                raise
            if login is not None and login.revokes_all:
                continue
            done, useless = Ending(ended=RevocationResult.UNCONFIRMED), True
        if done.ended is not RevocationResult.CONFIRMED:
            worst = Ending(ended=RevocationResult.UNCONFIRMED, retry_after_s=done.retry_after_s)
    return worst, useless


async def give_back(
    app: RefresherApp, one: Connection, account: PlatformAccount, platform: PlatformMore, tokens: TokenSet
) -> None:
    """Revoke what a consent brought that a person disconnected meanwhile; nothing where nobody did."""
    with suppress(ByokeepError):  # the consent ends for what it failed of
        async with app.db.begin(client_id=one.client_id) as tx:
            now = await tx.one(Connection, "connection_get", client_id=one.client_id, id=one.id)
        if now.reason != "disconnected":
            return
        ended = (await platform.revoke(tokens)).ended
        async with app.db.begin(client_id=one.client_id) as tx:
            if ended is not RevocationResult.CONFIRMED:
                await open_alert(
                    tx, app, app.system(one.request_id), reason=f"revocation_{ended.value}", severity="warning",
                    client_id=one.client_id, object_id=account.id,
                )  # fmt: skip
            outcome = Outcome.FAILED if ended is RevocationResult.UNCONFIRMED else Outcome.OK
            await tx.append(_revoked(app, one, account, outcome, "came_too_late", verification=ended.value))


async def _revoke(
    app: RefresherApp, login: Login | None, custody: AccountCustody, platform: PlatformMore, place: SecretRef,
    version: int,
) -> Ending:  # fmt: skip
    """Revoke a version. Raises what :meth:`AccountCustody.read` does."""
    packed = await custody.read(place, version)
    try:
        pair = unpack_tokens(packed)
    finally:
        packed.wipe()
    try:
        done = await platform.revoke(pair)
    finally:
        pair.wipe()
    over = pair.access_expires_at is None or pair.access_expires_at <= app.clock.now()
    by_access = login is None or login.revokes_by_access
    if done.ended is RevocationResult.CONFIRMED and pair.refresh is not None and by_access and over:
        return Ending(
            ended=RevocationResult.UNCONFIRMED
        )  # the access token died by itself; of the other nothing is known
    return done


def _revoked(
    app: RefresherApp, one: Connection, account: PlatformAccount, outcome: Outcome, reason: str, **said: FieldValue
) -> Event:
    fields: dict[str, FieldValue] = {
        "platform": account.platform.value, "login": one.login, "account": str(account.id), "job": str(one.job_id),
        "sop": str(one.sop_id), "reason": reason,
    }  # fmt: skip
    return Event(
        name=EventName.GRANT_REVOKED, actor=app.system(one.request_id), outcome=outcome, client_id=one.client_id,
        object_id=account.id, fields=fields | said,
    )  # fmt: skip
