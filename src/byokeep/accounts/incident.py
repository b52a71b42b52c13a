"""A social account's token is revoked or compromised: runbook 7.2, the steps that people take here.

Rules
- One person closes a platform for a client, at once. Nobody opens it: a person's login, two checks and the acts of a
  canary do, in that order. Which accounts need that login, :mod:`byokeep.accounts.doubted` says.
- The canary is begun by two people: an operator asks when the permissions have been checked, an approver confirms
  within 15 minutes, once, for exactly the state that was asked for.
- Whoever asks for a later stage than the next is refused with a conflict.

It may not log in anywhere: connecting the account again does.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from byokeep.accounts import doubted
from byokeep.core.errors import Conflict, Denied, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import PLATFORMS, Actor, ClientId, Provider
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb, authorise
from byokeep.core.reenable import CanaryStarted, Jump, RecoveryCause, Reenable, next_state
from byokeep.jobs.reenabling import lose, state_of, step
from byokeep.jobs.switches import DECISIONS_END_S
from byokeep.kernel import approvals
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.approvals import Approval
from byokeep.kernel.command import command, permit, recorded
from byokeep.kernel.locate import authorise_for
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.tenancy.scopes import parse_scope, scope_from_name

# What a person may say of a platform; the other causes are what our own checks find.
CAUSES: Final = (
    RecoveryCause.COMPROMISED,
    RecoveryCause.REVOKED,
    RecoveryCause.LOCKOUT,
    RecoveryCause.MISSING_SCOPE,
    RecoveryCause.IDENTITY_MISMATCH,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformState:
    """Where a client's platform stands; ``state`` is None when its row can not be read, and then it is closed."""

    platform: str
    state: Reenable | None
    changed_at: datetime


def _platform(row: Row) -> PlatformState:
    try:
        state = state_of(row)
    except Integrity:
        return PlatformState(platform=row["platform"], state=None, changed_at=row["changed_at"])
    return PlatformState(platform=row["platform"], state=state, changed_at=row["changed_at"])


async def close_platform(app: BrokerApp, actor: Actor, client_id: ClientId, platform: str, cause: str) -> Reenable:
    """Close a platform for a client. Returns when no act on it can start any more, and its accounts are out of use.

    Args:
        cause: One of ``CAUSES``.

    Raises:
        Rejected: ``unknown_platform``, ``no_way_back``, ``unknown_cause``.
        NotFound: The client is not one of the actor's.
        Unavailable: The database. With ``database_busy`` the platform may be closed already and its accounts not be out
            of use yet: close it again.
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
    # Whoever holds the scope may not keep this out; the answer waits until what was decided before is over.
    state = await _close(app, actor, client_id, platform, RecoveryCause(cause), locked=False)
    await asyncio.sleep(DECISIONS_END_S)
    async with app.db.begin(client_id=client_id) as tx:
        await doubted.hold(tx, client_id, platform, locked=False)
        await doubted.put_out_of_use(tx, actor, client_id, platform, RecoveryCause(cause))
    return state


async def _close(
    app: BrokerApp, actor: Actor, client_id: ClientId, platform: str, cause: RecoveryCause, *, locked: bool
) -> Reenable:
    async with app.db.begin(client_id=client_id) as tx:
        await tx.one(UUID, "switch_client_known", client_id=client_id)
        if locked:
            await doubted.hold(tx, client_id, platform, locked=True)
        state = await lose(tx, app, actor, client_id, platform, cause, locked=locked)
        if locked:
            await doubted.put_out_of_use(tx, actor, client_id, platform, cause)
        return state


async def list_platforms(
    app: BrokerApp, actor: Actor, client_id: ClientId
) -> tuple[list[PlatformState], list[Approval]]:
    """Return the platforms that a client lost at some time, and the canaries that wait for an approver."""
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
        stage: What is wanted; nothing but the next stage can be had.

    Raises:
        Conflict: ``reenable_out_of_order``: a step before the one it follows, or a jump; ``platform_not_lost``.
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
            raise Conflict("platform_not_lost", next_step="This platform was never closed; there is nothing to do.")
        state = state_of(row)
        next_state(state, Jump() if stage == "open" else CanaryStarted())
        request = await approvals.ask(
            tx, app, actor, action=approvals.START_CANARY, scope=parse_scope(client_id, platform, None).name,
            epoch=state.revision, reason=reason, life_s=approvals.SHORT_S,
        )  # fmt: skip
        if request.repeated:
            return request
        await tx.append(_stepped(actor, client_id, platform, state, Outcome.INTENDED, request.id, reason))
    return request


async def approve_canary(app: BrokerApp, actor: Actor, request_id: UUID) -> tuple[str, Reenable]:
    """Begin the canary on a second person's word; returns the platform and where it stands.

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
        raise Denied("epoch_changed", next_step="The platform changed since; look at it and ask again.")
    state = await step(tx, app, actor, client_id, platform, CanaryStarted())
    if state is None:  # it is open: its revision would have changed
        raise Denied("epoch_changed", next_step="The platform changed since; look at it and ask again.")
    return state


def _stepped(
    actor: Actor, client_id: UUID, platform: str, state: Reenable, outcome: Outcome, object_id: UUID, reason: str
) -> Event:
    return Event(
        name=EventName.PLATFORM_STEPPED, actor=actor, outcome=outcome, client_id=client_id, object_id=object_id,
        fields={"platform": platform, "stage": state.stage.value, "way": state.way, "number": state.number,
                "reason": reason},
    )  # fmt: skip


def _check_platform(platform: str) -> None:
    if platform not in PLATFORMS:
        raise Rejected("unknown_platform", next_step="Use a published name, see `byokeep incident platform --help`.")
    if platform == Provider.SKOOL:
        raise Rejected("no_way_back", next_step="It has no login to come back by: use `byokeep kill on --platform`.")
