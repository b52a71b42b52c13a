"""What the refresher opens at the store for one account, and puts away: a lease, the tokens of a grant, a part of it.

Rules
- A lease is of a job of its own, which is closed with it; nothing stands open between two accounts.
- Tokens are wiped at the end, whatever happened.
- The secret of an app goes with that app's id alone.

It may not ask a platform anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from byokeep.accounts.apps import OurApp
from byokeep.accounts.connections import OAuthGrant
from byokeep.accounts.refresher_app import AccountCustody, AppAt, PlatformMore, RefresherApp
from byokeep.core.errors import ByokeepError, Denied, NotFound
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.jobs.jobs import custody_job
from byokeep.wire.tokens import unpack_tokens

_KEPT: Final = 10  # versions that the store keeps of a place


@asynccontextmanager
async def held(app: RefresherApp, client_id: ClientId, provider: Provider) -> AsyncIterator[AccountCustody]:
    """Hold a custody lease of a job of its own.

    Raises:
        ByokeepError: There is no custodian, or the broker gives none.
    """
    job = custody_job(app, app.custodian, client_id, provider.value)
    async with job as job_id, app.custodian.open(job_id) as custody:
        yield custody


@asynccontextmanager
async def opened(app: RefresherApp, grant: OAuthGrant) -> AsyncIterator[tuple[AccountCustody, PlatformMore, TokenSet]]:
    """Hold the tokens of a grant, and its platform; they are wiped at the end.

    Raises:
        Denied: ``app_changed``: the grant is another app's; nothing of ours may be shown for it.
        ByokeepError: Not to be had.
    """
    async with app.db.begin(client_id=grant.client_id) as tx:
        ours = await tx.one(OurApp, "app_get", login=grant.login)
    if ours.app_id != grant.app_id:
        raise Denied("app_changed", next_step="Connect the account again under the new app.", login=grant.login)
    async with held(app, grant.client_id, grant.provider) as custody:
        place = SecretRef(grant.client_id, grant.provider, SecretPart.TOKENS, grant.account_id)
        packed = await _newest(custody, place, grant.version)
        try:
            tokens = unpack_tokens(packed)
        finally:
            packed.wipe()
        version, secret = ours.secret_version, None
        try:
            if version:
                secret = await custody.app_secret(grant.provider, grant.login, version)
            at = AppAt(login=grant.login, app_id=grant.app_id, redirect_uri=ours.redirect_uri, secret_version=version)
            yield custody, app.platform(at, secret), tokens
        finally:
            tokens.wipe()
            if secret is not None:
                secret.wipe()


def is_gone(error: ByokeepError) -> bool:
    """Whether the store says that a version is not there any more; it calls a destroyed one unavailable."""
    return isinstance(error, NotFound) or error.code == "secret_version_gone"


async def _newest(custody: AccountCustody, place: SecretRef, pinned: int) -> Secret:
    """Read the newest version that is there; one that was written and never recorded may have been destroyed again."""
    newest = await custody.newest(place)
    for version in range(newest, pinned, -1):
        try:
            return await custody.read(place, version)
        except ByokeepError as error:
            if not is_gone(error):
                raise
    return await custody.read(place, min(newest, pinned))


async def burn(custody: AccountCustody, place: SecretRef) -> None:
    """Destroy every version that the store keeps of a place."""
    newest = await custody.newest(place)
    if newest:
        await custody.destroy(place, list(range(max(1, newest - _KEPT + 1), newest + 1)))
