"""A job says that an account's access token has expired: the renewal is made due, once for that token.

Rules
- Who asks names the version it saw. Only if that is still the current one a renewal becomes due, so that many who
  saw the same expired token cause one renewal.
- A job asks for the accounts of the platforms that it declared, while it may lease at all.

It may not renew: ``byokeep refresher`` does.
"""

from __future__ import annotations

from uuid import UUID

from byokeep.core.errors import NotFound, Rejected
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import PLATFORMS, Actor
from byokeep.core.policy import DenyReason, Verb
from byokeep.jobs.lease import deny
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.locate import client_for
from byokeep.tenancy.scopes import client_scopes, hold_open, require_open


async def ask_renewal(app: BrokerApp, actor: Actor, job_id: UUID, secret: str, version: int) -> bool:
    """Make a renewal due; False when there is a newer token than the one that was seen, or it is due already.

    Args:
        secret: ``platform/account``.
        version: Of the access token that was seen to be expired.

    Raises:
        Rejected: ``bad_secret_name``.
        NotFound: No such job or account for this runner.
        Denied: ``job_not_open``, ``not_declared``, ``grant_not_live``, ``client_not_active``, ``switch_closed``, ...
    """
    platform, _, account = secret.partition("/")
    if platform not in PLATFORMS or not account:
        raise Rejected("bad_secret_name", next_step="Name a platform and an account, like x/acme.")
    client_id = await client_for(app, actor, Verb.LEASE_USE, "job", job_id)
    scopes = client_scopes(client_id)
    async with app.db.begin(client_id=client_id) as tx:
        await hold_open(tx, scopes)
        row = await tx.one(
            dict, "renewal_facts", client_id=client_id, job_id=job_id, platform=platform, account=account,
            scopes=scopes,
            installation_id=app.installation_id,
        )  # fmt: skip
        if row["runner_id"] != actor.id or row["account_id"] is None:
            raise NotFound("not_found")
        require_open(row)
        if row["client_active"] is not True:
            raise deny(DenyReason.CLIENT_NOT_ACTIVE)
        if row["job_open"] is not True:
            raise deny(DenyReason.JOB_NOT_OPEN)
        if row["declared"] is not True:
            raise deny(DenyReason.PLATFORM_NOT_DECLARED)
        if row["live"] is not True:
            raise deny(DenyReason.GRANT_NOT_LIVE)
        if (
            await tx.maybe(UUID, "renewal_due", client_id=client_id, account_id=row["account_id"], version=version)
            is None
        ):
            return False
        await tx.append(
            Event(
                name=EventName.REFRESH_ASKED, actor=actor, outcome=Outcome.OK, client_id=client_id,
                object_id=row["account_id"],
                fields={"platform": platform, "account": str(row["account_id"]), "job": str(job_id),
                        "version": version},
            )
        )  # fmt: skip
    return True
