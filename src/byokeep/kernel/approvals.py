"""Requests of one person that another person approves.

Rules
- In ``scope`` a request says exactly what is asked for, and in ``epoch`` for which state of the object. Asking again
  for the same returns the waiting request.
- A request is approved once, in time, by somebody other than the requester, as the requester put it on record. The
  database itself refuses the same person.
- An approval is used in the transaction that does the act: if the act fails, the approval stays unused. Where it is
  given before that, it counts with the giver's record of the same transaction, never by its row alone.
- An act that shows a secret is approved by the second person and used by the requester: nobody else sees the secret.

It may not know what is approved: the calling flow does the act.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import Denied
from byokeep.core.model import Actor
from byokeep.kernel.app import App
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import NO_COLUMN

LIFE_S: Final = 86_400
MAX_ROWS: Final = 200
GIVE_RIGHTS: Final = "give_rights"
ISSUE_TOKEN: Final = "issue_token"  # noqa: S105 - an action
RELEASE_SWITCH: Final = "open_switch"
START_CANARY: Final = "start_canary"
TRANSFER_ACCOUNT: Final = "transfer_account"
PROCEDURE_STEP: Final = "procedure_step"
BREAK_GLASS: Final = "break_glass"
OF_PEOPLE: Final = (GIVE_RIGHTS, ISSUE_TOKEN)  # those that `byokeep approve` shows
SHORT_S: Final = 900  # seconds that a request in an incident lives


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A request. ``asked`` is what an approver is shown, as canonical JSON; ``repeated``: it was there already."""

    id: UUID
    action: str
    scope: str
    epoch: int
    reason: str
    requested_by: UUID
    expires_at: datetime
    asked: str = "{}"
    used_at: datetime | None
    approved_at: datetime | None
    used_by: str = ""
    in_time: bool
    repeated: bool = field(default=False, metadata=NO_COLUMN)


async def request(
    tx: Tx, app: App, actor: Actor, *, action: str, scope: str, epoch: int, asked: str, reason: str,
    life_s: int = LIFE_S,
) -> Approval:  # fmt: skip
    """Ask for something that another person must approve, or return the request for it that already waits.

    Raises:
        Denied: ``approval_held``: whoever issued this person's credentials may be the one who asks, and would approve.
    """
    if actor.held:
        step = "Your approvals are held, so you cannot ask for this. Another admin must ask."
        raise Denied("approval_held", next_step=step)
    return await ask(
        tx, app, actor.id, action=action, scope=scope, epoch=epoch, asked=asked, reason=reason, life_s=life_s
    )


async def ask(
    tx: Tx, app: App, by: UUID, *, action: str, scope: str, epoch: int, reason: str, asked: str | None = None,
    life_s: int = LIFE_S,
) -> Approval:  # fmt: skip
    """Ask for something, or return the request for the same that waits already and can be approved.

    Args:
        by: Who asks.
        epoch: The state of the thing; a request for another state is another request.
        asked: What an approver is shown, as canonical JSON.
        life_s: Seconds in which it can be approved.
    """
    await tx.all(None, "approval_lock", action=action, scope=scope)  # of two at once the second sees the first one's
    for one in await waiting(tx, action, scope=scope):
        if one.epoch == epoch and await tx.one(bool, "approval_asked", id=one.id):
            return replace(one, repeated=True)
    return await tx.one(
        Approval, "approval_ask", id=app.ids.uuid(), action=action, scope=scope, epoch=epoch, reason=reason,
        requested_by=by, life_s=life_s, asked=asked,
    )  # fmt: skip


async def find(tx: Tx, approval_id: UUID, *actions: str) -> Approval:
    """Return a request for one of these actions, whatever its outcome. Raises NotFound."""
    return await tx.one(Approval, "approval_get", id=approval_id, actions=list(actions))


async def waiting(tx: Tx, *actions: str, scope: str | None = None) -> list[Approval]:
    """Return the requests for some actions that somebody could approve now, oldest first; ``scope``: for it alone."""
    return await tx.all(Approval, "approvals_waiting", actions=list(actions), scope=scope, limit=MAX_ROWS)


async def use(tx: Tx, actor: Actor, approval: Approval, *, scope: str, epoch: int, look: str = "") -> None:
    """Approve a request as the second person and use it up.

    Args:
        tx: The transaction that does the act.
        scope: What the act would be now; it must be what was asked for.
        epoch: The state of the thing now; it must be the one that it was asked of.
        look: The command that shows whether the act was done, where the approval is used up before it.

    Raises:
        Denied: ``same_person``, ``approval_expired``, ``approval_used``, ``approval_changed``; ``approval_unrecorded``:
            the row is not what somebody put on record.
    """
    await _check(tx, actor, approval, scope=scope, epoch=epoch, look=look)
    if await tx.maybe(UUID, "approval_use", id=approval.id, approved_by=actor.id) is None:
        raise _used("It has just been approved or ended", look)


async def give(tx: Tx, actor: Actor, approval: Approval, *, scope: str, epoch: int) -> None:
    """Approve a request as the second person and leave its use to who asked. Raises as :func:`use`."""
    await _check(tx, actor, approval, scope=scope, epoch=epoch, look="")
    if await tx.maybe(UUID, "approval_give", id=approval.id, approved_by=actor.id) is None:
        raise _used("It has just been approved or ended", "")


async def collect(tx: Tx, actor: Actor, *, action: str, scope: str, epoch: int) -> UUID | None:
    """Use up the approval of what the actor asked for; None if there is none."""
    asked = {"action": action, "scope": scope, "epoch": epoch, "requested_by": actor.id}
    return next(iter(await tx.all(UUID, "approval_collect", **asked)), None)  # two may have been given for one wish


async def takes_two(tx: Tx) -> bool:
    """Whether more than one admin can sign in, so that what takes two takes two.

    Raises:
        Denied: ``second_admin_needed``: the other was stopped less than a day ago.
    """
    able, stopped_until = await tx.one(lambda row: (int(row["able"]), row["stopped_until"]), "admins_able")
    if able < 2 and stopped_until is not None:
        until = f"{stopped_until.astimezone(UTC):%Y-%m-%d %H:%M}Z"
        step = f"The other admin was stopped: enable them again, or do it alone after {until}."
        raise Denied("second_admin_needed", next_step=step)
    return bool(able > 1)


async def _check(tx: Tx, actor: Actor, approval: Approval, *, scope: str, epoch: int, look: str) -> None:
    if approval.requested_by == actor.id:
        raise Denied("same_person", next_step="Another person must approve.")
    if (done := approval.approved_at or approval.used_at) is not None:
        by = approval.used_by or "Somebody"
        raise _used(f"{by} approved it at {done.astimezone(UTC):%Y-%m-%d %H:%M}Z", look)
    if not approval.in_time:
        raise Denied("approval_expired", next_step="Ask again.")
    if (approval.scope, approval.epoch) != (scope, epoch):
        raise Denied("approval_changed", next_step="It has changed since it was asked for. Look, then ask again.")
    if not await tx.one(bool, "approval_asked", id=approval.id):
        step = "No record says that this was asked for. Ask again, and find out who can write to the database: runbook"
        step += " section 8.2."
        raise Denied("approval_unrecorded", next_step=step)


def _used(how: str, look: str) -> Denied:
    """Return the refusal of a request that another person just used, or that has just expired."""
    if look:
        return Denied("approval_used", next_step=f"{how}. If `{look}` does not show it done, ask again.")
    return Denied("approval_used", next_step=f"{how}. Nothing to do.")
