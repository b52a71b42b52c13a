"""Moving a platform's account from one client to another (R5.2-15).

Rules
- An account that one client had is connected for another only with a second person's approval: an operator of the new
  client asks, an admin approves within a day, and one consent uses the approval up.
- Whoever approves names client, login and account; a request for anything else is not approved.
- The answer to a request is the same whether or not anybody had the account, so nobody learns about another client.

It may not end the existing grant: the present client's operator disconnects the account.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from byokeep.core.errors import NotFound, Rejected
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, ClientId
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb
from byokeep.kernel import approvals
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.approvals import Approval
from byokeep.kernel.command import command
from byokeep.tenancy.clients import require_active

_LOGIN: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_EXTERNAL: Final = re.compile(r"[!-~]{1,256}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRequest:
    """Which account goes to which client.

    Args:
        login: As `byokeep account logins` lists it; ids are valid within one login.
        external_id: The platform's id of the account.
    """

    client_id: ClientId
    login: str
    external_id: str

    @property
    def scope(self) -> str:
        """The exact text that an approval is for."""
        return f"transfer:{self.client_id}:{self.login}:{self.external_id}"


async def request_transfer(app: BrokerApp, actor: Actor, wish: TransferRequest, reason: str) -> Approval:
    """Ask for an account to move to a client. There is one live request for it: asking again returns that one.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Rejected: ``bad_login``, ``bad_account``, ``bad_reason``, ``client_not_active``.
    """
    moved = EventName.ACCOUNT_TRANSFERRED
    asking = command(app, actor, Verb.TRANSFER_REQUEST, client_id=wish.client_id, refused_as=moved, on_client=True)
    async with asking as tx:
        check_reason(reason, example="account_was_sold")
        _check(wish)
        await require_active(tx, wish.client_id)
        transfer = approvals.TRANSFER_ACCOUNT
        made = await approvals.ask(tx, app, actor.id, action=transfer, scope=wish.scope, epoch=0, reason=reason)
        if not made.repeated:
            await tx.append(event(actor, wish.client_id, wish.login, made.id, Outcome.INTENDED, reason=reason))
    return made


async def approve_transfer(app: BrokerApp, actor: Actor, request_id: UUID, wish: TransferRequest) -> Approval:
    """Approve, as the second person, that an account moves to a client.

    Args:
        wish: What the approver means to approve; it must equal what was asked for.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``, also if it does not.
        Denied: As :func:`byokeep.kernel.approvals.give`.
        Rejected: ``bad_login``, ``bad_account``.
    """
    moved = EventName.ACCOUNT_TRANSFERRED
    client_id = wish.client_id
    async with command(app, actor, Verb.TRANSFER_APPROVE, client_id=client_id, object_id=request_id) as tx:
        _check(wish)
        asked = await approvals.find(tx, request_id, approvals.TRANSFER_ACCOUNT)
        if asked.scope != wish.scope:
            raise NotFound("not_found")
    async with command(
        app, actor, Verb.TRANSFER_APPROVE, client_id=client_id, object_id=request_id, denied_as=moved, on_client=True
    ) as tx:
        await approvals.give(tx, actor, asked, scope=wish.scope, epoch=0)
        await tx.append(event(actor, wish.client_id, wish.login, request_id, Outcome.OK))
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
