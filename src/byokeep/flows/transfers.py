"""An account of a platform goes from one client to another (R5.2-15).

Rules
- What one client had is connected for another only on a second person's word: an operator of the new client asks, an
  admin approves, within a day, and one consent uses it up.
- Who approves names client, login and account; a request for anything else is not approved.
- The answer to a request is the same whether anybody had the account or not: nobody learns of another client.

It may not end the grant that there is: the present client's operator disconnects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from byokeep.core.errors import Denied, Rejected
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, ClientId
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb
from byokeep.flows import approvals
from byokeep.flows.app import BrokerApp
from byokeep.flows.approvals import Approval
from byokeep.flows.clients import require_active
from byokeep.flows.permission import absent, permit, recorded_rejections
from byokeep.flows.refusal import record_refusal

_LOGIN: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_EXTERNAL: Final = re.compile(r"[!-~]{1,256}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRequest:
    """Which account goes to which client.

    Args:
        login: As `byokeep account logins` lists it; ids hold within one.
        external_id: The platform's id of the account.
    """

    client_id: ClientId
    login: str
    external_id: str

    @property
    def scope(self) -> str:
        """The one text that an approval is for."""
        return f"transfer:{self.client_id}:{self.login}:{self.external_id}"


async def request_transfer(app: BrokerApp, actor: Actor, wish: TransferRequest, reason: str) -> Approval:
    """Ask for an account to go to a client. There is one live request for it: asking again returns that one.

    Raises:
        Denied, NotFound: As :func:`byokeep.flows.permission.permit`.
        Rejected: ``bad_login``, ``bad_account``, ``bad_reason``, ``client_not_active``.
    """
    await permit(app, actor, Verb.TRANSFER_REQUEST, client_id=wish.client_id)
    async with recorded_rejections(app, actor, EventName.ACCOUNT_TRANSFERRED, client_id=wish.client_id):
        check_reason(reason, example="account_was_sold")
        _check(wish)
        async with app.db.begin(client_id=wish.client_id) as tx:
            await require_active(tx, wish.client_id)
            made = await approvals.ask(
                tx, app, actor, action=approvals.TRANSFER_ACCOUNT, scope=wish.scope, epoch=0, reason=reason
            )
            if made.repeated:
                return made
            await tx.append(event(actor, wish.client_id, wish.login, made.id, Outcome.INTENDED, reason=reason))
    return made


async def approve_transfer(app: BrokerApp, actor: Actor, request_id: UUID, wish: TransferRequest) -> Approval:
    """Let an account go to a client, as the second person.

    Args:
        wish: What the approver means to approve; it must be what was asked for.

    Raises:
        Denied, NotFound: As :func:`byokeep.flows.permission.permit`; ``not_found``, also for another wish.
        Denied: ``same_person``, ``approval_used``, ``approval_expired``.
        Rejected: ``bad_login``, ``bad_account``.
    """
    await permit(app, actor, Verb.TRANSFER_APPROVE, client_id=wish.client_id)
    _check(wish)
    async with app.db.begin(client_id=wish.client_id) as tx:
        asked = await approvals.find(tx, request_id, approvals.TRANSFER_ACCOUNT)
    if asked is None or asked.scope != wish.scope:
        raise await absent(app, actor, Verb.TRANSFER_APPROVE, request_id)
    try:
        if asked.requested_by == actor.id:
            raise Denied("same_person", next_step="Another admin must approve.")
        async with app.db.begin(client_id=wish.client_id) as tx:
            if await tx.maybe(UUID, "approval_give", id=request_id, approved_by=actor.id) is None:
                raise Denied("approval_used" if asked.in_time else "approval_expired", next_step="Ask again.")
            await tx.append(event(actor, wish.client_id, wish.login, request_id, Outcome.OK))
    except Denied as refusal:
        await record_refusal(
            app, actor, EventName.ACCOUNT_TRANSFERRED, refusal, client_id=wish.client_id, object_id=request_id
        )
        raise
    return asked


def event(
    actor: Actor, client_id: ClientId, login: str, approval: UUID, outcome: Outcome, *, reason: str = ""
) -> Event:
    """Return a record of a transfer; its object is the approval."""
    fields = {"login": login} | ({"reason": reason} if reason else {})
    return Event(
        name=EventName.ACCOUNT_TRANSFERRED, actor=actor, outcome=outcome, client_id=client_id, object_id=approval,
        fields=fields,
    )  # fmt: skip


def _check(wish: TransferRequest) -> None:
    if not _LOGIN.match(wish.login):
        raise Rejected("bad_login", next_step="See `byokeep account logins`.")
    if not _EXTERNAL.match(wish.external_id):
        raise Rejected("bad_account", next_step="Give the id as the platform shows it.")
