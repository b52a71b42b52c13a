"""What the broker does about tokens: close a platform and bring it back (runbook 7.2), make a renewal due for a job.

Rules
- One person closes a platform for a client, at once. Nobody opens it: a person's login, two checks and the acts of a
  canary do, in that order.
- *compromised*, *revoked* and *identity_mismatch* cast doubt on tokens or identities: each account that is connected
  there counts as lost, its lanes are off, and only its own login brings it back. After *lockout* and *missing_scope*
  what is connected stays connected. Grants are locked before the platform, as whoever ends a grant locks them.
- Closing a platform again counts anew: logins that were started before it no longer count.
- Two people begin the canary: an operator asks once the permissions have been checked, and an approver confirms within
  15 minutes, once, for exactly the state that was asked for.
- Whoever asks for a later stage than the next is refused with a conflict.
- A job that saw an expired token names its version. A renewal becomes due only if that is still the current version, so
  many jobs that saw the same token cause one renewal. A job may ask only while it may get a lease.

It may not log in anywhere or renew: that takes connecting the account again, or ``byokeep refresher``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from byokeep.core.errors import Conflict, Denied, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.gate import DenyReason, deny
from byokeep.core.model import PLATFORMS, Actor, ClientId, Provider
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb, authorise
from byokeep.core.reenable import CanaryStarted, Jump, RecoveryCause, Reenable, next_state
from byokeep.jobs.reenabling import lose, state_of, step
from byokeep.jobs.switches import DECISIONS_END_S
from byokeep.kernel import approvals
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.approvals import Approval
from byokeep.kernel.command import authorise_for, client_for, command, open_alert, permit, record, recorded
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.tenancy.scopes import client_scopes, hold_open, parse_scope, require_working, scope_from_name

OF_EVERY_ACCOUNT: Final = frozenset({RecoveryCause.COMPROMISED, RecoveryCause.REVOKED, RecoveryCause.IDENTITY_MISMATCH})
REASON: Final = "closed_by_person"
ASKED_MOST: Final = 6  # renewals an hour of one account, for jobs that say that its token has expired


async def hold(tx: Tx, client_id: UUID, platform: str, *, locked: bool) -> None:
    """Take the locks under which the accounts of a platform are marked lost.

    Args:
        locked: Wait for decisions in progress; False if the caller waits for them itself.
    """
    if locked:
        await tx.all(None, "switch_lock_exclusive", scope=f"client:{client_id}:platform:{platform}")
    await tx.all(UUID, "grants_hold", client_id=client_id, platform=platform)


async def put_out_of_use(tx: Tx, actor: Actor, client_id: UUID, platform: str, cause: RecoveryCause) -> int:
    """Make every connected account of a closed platform wait for its own login; returns how many there were.

    Args:
        tx: It has the locks of :func:`hold`, and the platform is closed.
        cause: As the person gave it.
    """
    await tx.all(str, "reenabling_said_again", client_id=client_id, platform=platform)
    if cause not in OF_EVERY_ACCOUNT:
        return 0
    lost = await tx.all(dict, "grants_doubted", client_id=client_id, platform=platform, reason=REASON)
    for one in lost:
        said = {"platform": platform, "login": one["login"], "version": one["version"], "reason": REASON}
        needed, account_id, outcome = EventName.REAUTH_NEEDED, one["account_id"], Outcome.FAILED
        said |= {"cause": cause.value}
        await record(tx, actor, needed, said, client_id=client_id, object_id=account_id, outcome=outcome)
    return len(lost)


# The causes that a person may give; the others are found by our own checks.
CAUSES: Final = (
    RecoveryCause.COMPROMISED, RecoveryCause.REVOKED, RecoveryCause.LOCKOUT, RecoveryCause.MISSING_SCOPE,
    RecoveryCause.IDENTITY_MISMATCH,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformState:
    """The state of a client's platform; ``state`` is None if its row cannot be read, which counts as closed."""

    platform: str
    state: Reenable | None
    changed_at: datetime


def _platform(row: Row) -> PlatformState:
    state = None
    with suppress(Integrity):
        state = state_of(row)
    return PlatformState(platform=row["platform"], state=state, changed_at=row["changed_at"])


async def close_platform(app: BrokerApp, actor: Actor, client_id: ClientId, platform: str, cause: str) -> Reenable:
    """Close a platform for a client. Returns when no act on it can start, and its accounts are out of use.

    Args:
        cause: One of ``CAUSES``.

    Raises:
        Rejected: ``unknown_platform``, ``no_way_back``, ``unknown_cause``.
        NotFound: The client is not one of the actor's.
        Unavailable: The database. After ``database_busy`` the platform may be closed and its accounts not yet out of
            use: close it again.
    """
    authorise(actor, Verb.PLATFORM_CLOSE, client_id=client_id)
    _check_platform(platform)
    if cause not in CAUSES:
        raise Rejected("unknown_cause", next_step="Use one of: " + ", ".join(CAUSES) + ".")
    try:
        return await _close(app, actor, client_id, platform, RecoveryCause(cause), locked=True)
    except Unavailable as error:
        if error.code != "database_busy":
            raise
    # Whoever holds the scope's lock must not block a close. The answer waits until earlier decisions have ended.
    state = await _close(app, actor, client_id, platform, RecoveryCause(cause), locked=False)
    await asyncio.sleep(DECISIONS_END_S)
    async with app.db.begin(client_id=client_id) as tx:
        await hold(tx, client_id, platform, locked=False)
        await put_out_of_use(tx, actor, client_id, platform, RecoveryCause(cause))
    return state


async def _close(
    app: BrokerApp, actor: Actor, client_id: ClientId, platform: str, cause: RecoveryCause, *, locked: bool
) -> Reenable:
    async with app.db.begin(client_id=client_id) as tx:
        await tx.one(UUID, "switch_client_known", client_id=client_id)
        if locked:
            await hold(tx, client_id, platform, locked=True)
        state = await lose(tx, app, actor, client_id, platform, cause, locked=locked)
        if locked:
            await put_out_of_use(tx, actor, client_id, platform, cause)
        return state


async def list_platforms(
    app: BrokerApp, actor: Actor, client_id: ClientId
) -> tuple[list[PlatformState], list[Approval]]:
    """Return the platforms that a client has ever lost, and the canaries that wait for an approver."""
    await authorise_for(app, actor, Verb.PLATFORM_READ, client_id)
    async with app.db.begin(client_id=client_id) as tx:
        await tx.one(UUID, "switch_client_known", client_id=client_id)
        return await tx.all(_platform, "reenabling_list", client_id=client_id), await tx.all(
            Approval, "canary_requests_live", client_id=client_id
        )


async def request_canary(
    app: BrokerApp, actor: Actor, client_id: ClientId, platform: str, reason: str,
    *, stage: Literal["canary", "open"] = "canary",
) -> Approval:  # fmt: skip
    """Ask for the canary to begin. A state has one live request: asking again returns that one.

    Args:
        stage: The stage that is wanted; only the next one is possible.

    Raises:
        Conflict: ``reenable_out_of_order``: the step before it is not done, or it is a jump; ``platform_not_lost``.
        Rejected: ``unknown_platform``, ``no_way_back``, ``bad_reason``.
        NotFound: The client is not one of the actor's.
    """
    await authorise_for(app, actor, Verb.CANARY_REQUEST, client_id)
    _check_platform(platform)
    check_reason(reason, example="account_is_ours_again")
    async with app.db.begin(client_id=client_id) as tx:
        await tx.one(UUID, "switch_client_known", client_id=client_id)
        row = await tx.maybe(dict, "reenabling_hold", client_id=client_id, platform=platform)
        if row is None:
            raise Conflict("platform_not_lost", next_step="Nothing to do: this platform was never closed.")
        state = state_of(row)
        next_state(state, Jump() if stage == "open" else CanaryStarted())
        request = await approvals.ask(
            tx, app, actor.id, action=approvals.START_CANARY, scope=parse_scope(client_id, platform, None).name,
            epoch=state.revision, reason=reason, life_s=approvals.SHORT_S,
        )  # fmt: skip
        if request.repeated:
            return request
        said = {"platform": platform, "stage": state.stage.value, "way": state.way, "number": state.number}
        stepped, about, outcome = EventName.PLATFORM_STEPPED, request.id, Outcome.INTENDED
        await record(tx, actor, stepped, said, reason=reason, client_id=client_id, object_id=about, outcome=outcome)
    return request


async def approve_canary(app: BrokerApp, actor: Actor, request_id: UUID) -> tuple[str, Reenable]:
    """Begin the canary on a second person's approval; returns the platform and its state.

    Raises:
        NotFound: No such request for this actor.
        Denied: ``same_person``, ``approval_expired``, ``approval_used``, ``epoch_changed``.
    """
    async with command(app, actor, Verb.CANARY_APPROVE, object_id=request_id) as tx:
        wish = await approvals.find(tx, request_id, approvals.START_CANARY)
    client_id = scope_from_name(wish.scope).client_id
    if client_id is None:
        raise NotFound("not_found")
    platform = wish.scope.rpartition(":")[2]
    await permit(app, actor, Verb.CANARY_APPROVE, client_id=client_id)
    trail = recorded(
        app, actor, Verb.CANARY_APPROVE, client_id=client_id, object_id=request_id, on_client=True,
        denied_as=EventName.PLATFORM_STEPPED, fields={"platform": platform},
    )  # fmt: skip
    async with trail, app.db.begin(client_id=client_id) as tx:
        return platform, await _begin(tx, app, actor, client_id, platform, wish)


async def _begin(tx: Tx, app: BrokerApp, actor: Actor, client_id: UUID, platform: str, wish: Approval) -> Reenable:
    seen = state_of(await tx.one(dict, "reenabling_hold", client_id=client_id, platform=platform))
    look = f"byokeep incident platform status {client_id}"
    await approvals.use(tx, actor, wish, scope=wish.scope, epoch=wish.epoch, look=look)
    if seen.revision != wish.epoch:
        raise Denied("epoch_changed", next_step="The platform has changed since. Look at it, then ask again.")
    state = await step(tx, app, actor, client_id, platform, CanaryStarted())
    if state is None:  # it is open, so its revision has changed
        raise Denied("epoch_changed", next_step="The platform has changed since. Look at it, then ask again.")
    return state


def _check_platform(platform: str) -> None:
    if platform not in PLATFORMS:
        raise Rejected("unknown_platform", next_step="Use a published name: `byokeep incident platform --help`.")
    if platform == Provider.SKOOL:
        raise Rejected(
            "no_way_back",
            next_step="This platform has no login to recover with. Use `byokeep kill on --platform` instead.",
        )


async def ask_renewal(app: BrokerApp, actor: Actor, job_id: UUID, secret: str, version: int) -> bool:
    """Make a renewal due; False if there is a newer token than the one that was seen, or a renewal is already due.

    That a token has expired is the runner's word, and each renewal may spend a one-time token. After ``ASKED_MOST`` of
    an account within an hour people are told, and its renewals come in their own time.

    Args:
        secret: ``platform/account``.
        version: Version of the access token that had expired.

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
        require_working(row)
        if row["declared"] is not True:
            raise deny(DenyReason.PLATFORM_NOT_DECLARED)
        if row["live"] is not True:
            raise deny(DenyReason.GRANT_NOT_LIVE)
        about = {"client_id": client_id, "object_id": row["account_id"]}
        at = {"client_id": client_id, "account_id": row["account_id"]}
        made = await tx.maybe(bool, "renewal_due", **at, version=version, most=ASKED_MOST)
        if made is False:
            await open_alert(tx, app, actor, reason="renewals_asked_often", severity="warning", **about)
        if not made:
            return False
        said = {"platform": platform, "account": row["account_id"], "job": job_id, "version": version}
        asked = EventName.REFRESH_ASKED
        await record(tx, actor, asked, said, **about)
    return True
