"""How a grant ends that can not be renewed or is not what it was: told at once, the account off, the platform closed.

Rules
- Grant, lanes, the way back, journal, record and alert change in one transaction, under the platform's exclusive lock:
  when it is committed no act that saw the platform open is uncommitted.
- Nothing is deleted: the stored tokens stay, for whoever looks into it.

It may not decide that a grant has ended.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from byokeep.accounts import refresh_book
from byokeep.accounts.refresh_book import RenewableGrant, Renewal
from byokeep.accounts.refresher_app import RefresherApp
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.model import ClientId, Provider
from byokeep.core.reenable import RecoveryCause
from byokeep.jobs.reenabling import lose
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import Tx
from byokeep.tenancy.scopes import client_scopes, hold_open

SUPERSEDED: Final = "superseded"


async def close_for(
    tx: Tx,
    app: RefresherApp,
    client_id: ClientId,
    account_id: UUID,
    provider: Provider,
    lost_by: RecoveryCause,
    *,
    reason: str,
) -> None:
    """Let a grant end in the caller's transaction: a person must log in again, and nothing acts there until then.

    Args:
        tx: Has not appended to the audit trail yet; the locks of :func:`hold` are in it.
        reason: A code; stands on the grant and the alert.
    """
    await lose(tx, app, app.system(), client_id, provider.value, lost_by, account_id=account_id)
    await tx.all(int, "refresh_ended", client_id=client_id, account_id=account_id, reason=reason)
    await tx.all(UUID, "refresh_lanes_off", client_id=client_id, account_id=account_id)
    await open_alert(tx, app, app.system(), reason=f"account_{reason}", client_id=client_id, object_id=account_id)


async def lose_permission(app: RefresherApp, grant: RenewableGrant, renewal: Renewal) -> bool:
    """End a grant whose renewal, which is on record, brought less than its purposes need; False: it was over already.

    Raises:
        Unavailable: The database; nothing has changed then.
    """
    async with app.db.begin(client_id=grant.client_id) as tx:
        held = await hold(tx, grant.client_id, grant.account_id, grant.provider)
        if held is None or held.state != "live":
            return False
        reason = RecoveryCause.MISSING_SCOPE.value
        await close_for(
            tx, app, grant.client_id, grant.account_id, grant.provider, RecoveryCause.MISSING_SCOPE, reason=reason
        )
        said = refresh_book.event(
            app, EventName.REAUTH_NEEDED, Outcome.FAILED, held, renewal, reason=reason, version=held.version
        )
        await tx.append(said)
    return True


async def hold(tx: Tx, client_id: ClientId, account_id: UUID, provider: Provider) -> RenewableGrant | None:
    """Take the locks under which a grant ends, in the order of everybody; returns the grant as it stands now."""
    await hold_open(tx, client_scopes(client_id))
    await tx.all(None, "switch_lock_exclusive", scope=f"client:{client_id}:platform:{provider.value}")
    return await tx.maybe(RenewableGrant, "refresh_grant_hold", client_id=client_id, account_id=account_id)


async def give_up(
    app: RefresherApp,
    grant: RenewableGrant,
    renewal: Renewal,
    lost_by: RecoveryCause,
    *,
    reason: str,
    **more: FieldValue,
) -> str:
    """End a grant: a person must log in again. Returns the reason; empty when a person has ended it already, and
    nothing was written.

    A token that is refused after a consent which may have ended it was not stolen: its reason is ``superseded``.

    Args:
        renewal: As it is to be written: closed, or broken.
        reason: A code; stands on the grant, the record and the alert.
        more: Further fields of the record.

    Raises:
        Unavailable: The database; nothing has changed then, and the journal is still open.
    """
    name = EventName.CHAIN_BROKEN if lost_by is RecoveryCause.CHAIN_BROKEN else EventName.REAUTH_NEEDED
    async with app.db.begin(client_id=grant.client_id) as tx:
        now = await hold(tx, grant.client_id, grant.account_id, grant.provider)
        if not await refresh_book.goes_on(tx, grant, renewal.journal.base):
            return ""
        if (
            lost_by in (RecoveryCause.COMPROMISED, RecoveryCause.REVOKED)
            and now is not None
            and now.superseded_at is not None
        ):
            lost_by, reason = RecoveryCause.REVOKED, SUPERSEDED
        await close_for(tx, app, grant.client_id, grant.account_id, grant.provider, lost_by, reason=reason)
        await refresh_book.move(tx, app, grant, renewal, reason=reason)
        await tx.append(
            refresh_book.event(app, name, Outcome.FAILED, grant, renewal, reason=reason, version=grant.version, **more)
        )
    return reason
