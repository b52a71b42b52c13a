"""The broker's routes of contact persons, and of their sessions at the portal.

Rules
- Operators invite over the API. What the portal needs has no route at ``web``: the portal forwards its visitors' calls.
- Whoever asks for a code is answered before anything is looked up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from byokeep.core.errors import ByokeepError, Conflict, NotFound, RateLimited
from byokeep.core.model import Actor, ClientId
from byokeep.http.openapi import PUBLIC, Reply, Routes, refusals
from byokeep.http.request import Authenticator, Budget, PathId, Strict, bearer, request_id
from byokeep.kernel.app import BrokerApp
from byokeep.tenancy import contacts, logins, passkeys
from byokeep.tenancy.attempt_brake import AttemptBrake
from byokeep.tenancy.authenticate import authenticate
from byokeep.tenancy.broker_routes import Said, let_in, on, passkey_routes, source_of
from byokeep.tenancy.contacts import Contact, Invitation, Mail
from byokeep.tenancy.passkeys import Challenges, PasskeyCheck
from byokeep.tenancy.schemas import IssuedReply
from byokeep.tenancy.tokens import Issued

INVITATIONS_PER_MINUTE: Final = 60  # tried from one address; an invitation has 256 random bits
_MOST_MAILS: Final = 20  # being sent at once


class InviteBody(Strict):
    """Invite a person of a client's: for whom, and for how many days it works."""

    name: Annotated[str, Field(max_length=200)] = ""
    days: int = contacts.INVITE_DAYS


_SHOWN: Final = "id client_id name address state created_at created_by invited_until signed_in_at"


class ContactReply(Reply, of=Contact, shows=_SHOWN):
    """A person of a client's."""


class InvitedReply(ContactReply):
    """A new contact person, with the token of the invitation; this once.

    ``portal`` is the address at which people open the portal; empty = no setting names it. ``mails``: whether codes are
    mailed here, without which nobody redeems it.
    """

    token: Annotated[str, Field(repr=False)]
    portal: str
    mails: bool


class ContactsReply(Reply):
    """A client's contact persons."""

    contacts: list[ContactReply]


class InvitationBody(Strict):
    """An invitation."""

    invitation: Annotated[str, Field(max_length=64, repr=False)]


class ProveBody(InvitationBody):
    """Ask for the code that redeems an invitation, at one's address."""

    address: Annotated[str, Field(max_length=320)]


class RedeemBody(ProveBody):
    """Redeem an invitation with the code that was mailed; codes are mailed to the address from then on."""

    code: Annotated[str, Field(max_length=32, repr=False)]


class AddressBody(Strict):
    """Ask for a code."""

    address: Annotated[str, Field(max_length=320)]


class CodeAskedReply(Reply):
    """A code was asked for, and was mailed if the address is anybody's; ``mails``: whether codes are mailed here."""

    address: str
    mails: bool


class PortalLoginBody(Strict):
    """Sign in to the portal: with a code that was mailed to the address, or with what a browser answers of a passkey.

    `browser` is the digest that the challenge was asked for with.
    """

    address: Annotated[str, Field(max_length=320)] = ""
    code: Annotated[str, Field(max_length=32, repr=False)] = ""
    passkey: Said = ""
    browser: Annotated[str, Field(max_length=64)] = ""


class InvitationReply(Reply, of=Invitation, shows="client invited_by expires_at"):
    """What an invitation says; ``mails``: whether codes are mailed here, without which nobody redeems it."""

    mails: bool


def router(app: BrokerApp, auth: Authenticator, mails_now: Callable[[], bool]) -> APIRouter:
    """Return the routes of contact persons."""
    routes = Routes("contacts", auth, 403)

    @routes.post("/clients/{client_id}/contacts", status_code=201, response_model=InvitedReply, responses=refusals(409))
    async def invite(client_id: PathId, actor: Actor, body: InviteBody) -> dict[str, Any]:
        """Invite a person of a client's to the portal; the token of the invitation is shown this once."""
        made, issued = await contacts.invite(app, actor, ClientId(client_id), name=body.name, days=body.days)
        told = {"invited_until": issued.token.expires_at, "token": issued.text, "portal": app.limits.console_origin}
        return ContactReply.fields(made) | told | {"mails": mails_now()}

    @routes.get("/clients/{client_id}/contacts", response_model=ContactsReply)
    async def list_contacts(client_id: PathId, actor: Actor) -> dict[str, Any]:
        """List a client's contact persons, the newest first."""
        return {"contacts": await contacts.list_contacts(app, actor, ClientId(client_id))}

    @routes.delete("/contacts/{contact_id}", response_model=ContactReply)
    async def end(contact_id: PathId, actor: Actor) -> Contact:
        """End a contact person with its invitation and sessions, now and for good."""
        return await contacts.end_contact(app, actor, contact_id)

    return routes


def portal(
    app: BrokerApp, mail: Mail, mails_now: Callable[[], bool], check: PasskeyCheck | None = None
) -> APIRouter:  # fmt: skip
    """Return the routes to which the portal forwards its visitors' calls. ``check``: ``None`` = passkeys are off."""
    own: Authenticator = partial(authenticate, app, portal=True)
    routes, door, given = Routes("portal", own, prefix="/v1/portal"), _Door(app, mail, mails_now), Challenges(app.clock)
    _invitations(routes, app, door)
    _sessions(routes, app, door, check, given)
    passkey_routes(routes, app, check, given)
    return routes


_OPEN: Final[dict[str, Any]] = {"openapi_extra": PUBLIC, "responses": refusals(429)}


class _Door:
    """What all visitors share: the brakes on guessing, and the mails that are being sent."""

    def __init__(self, app: BrokerApp, mail: Mail, mails_now: Callable[[], bool]) -> None:
        self.mail, self.mails_now = mail, mails_now
        self.tries = Budget(app.clock, per_minute=INVITATIONS_PER_MINUTE)
        self.codes, self.asks = AttemptBrake(app.clock), AttemptBrake(app.clock)
        self._mails: set[asyncio.Task[None]] = set()

    def has_room(self) -> None:
        """Raise RateLimited(``too_many_requests``), whoever it is for, if too many mails are being sent."""
        if len(self._mails) >= _MOST_MAILS:
            raise RateLimited("too_many_requests", next_step="Wait, then try again.", retry_after_s=5)

    def later(self, sending: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Mail something after the caller is answered; there was room."""
        task = asyncio.create_task(_quietly(sending()))
        self._mails.add(task)
        task.add_done_callback(self._mails.discard)

    def let_in(self, request: Request, issued: Issued, address: str) -> dict[str, Any]:
        """Return a new session; forget the failed attempts for the address."""
        for brake, name in ((self.codes, address), (self.asks, contacts.mailbox(address))):
            brake.succeeded(name, source_of(request))
        return let_in(request, issued)


def _invitations(routes: Routes, app: BrokerApp, door: _Door) -> None:
    @routes.post("/invitation", response_model=InvitationReply, **_OPEN)
    async def look(request: Request, body: InvitationBody) -> dict[str, Any]:
        """Tell what an invitation is for; nothing changes."""
        door.tries.spend(source_of(request))
        return InvitationReply.fields(await contacts.look(app, body.invitation), mails=door.mails_now())

    @routes.post(
        "/invitation/code", status_code=202, response_model=CodeAskedReply, openapi_extra=PUBLIC,
        responses=refusals(409, 429),
    )  # fmt: skip
    async def prove(request: Request, body: ProveBody) -> dict[str, Any]:
        """Mail the code that redeems an invitation to an address, so that its holder shows who reads mails there."""
        address = contacts.checked_address(body.address)
        door.tries.spend(source_of(request))
        if not door.mails_now():
            raise Conflict("no_mail_server", next_step="No code can be mailed here. Tell the agency that invited you.")
        door.has_room()  # before a code is made and the try counted
        door.asks.attempt(contacts.mailbox(address), source_of(request))
        letter = await contacts.prove(app, shown=body.invitation, address=address, request_id=request_id(request))
        door.later(partial(contacts.send, app, door.mail, letter))
        return {"address": address, "mails": True}

    @routes.post("/invitation/redeem", status_code=201, response_model=IssuedReply, **_OPEN)
    async def redeem(request: Request, body: RedeemBody) -> dict[str, Any]:
        """Use an invitation up with the code that was mailed, and open a session of the portal."""
        address, source = contacts.checked_address(body.address), source_of(request)
        door.tries.spend(source)
        door.codes.attempt(address, source)
        issued = await contacts.redeem(
            app, shown=body.invitation, address=address, code=body.code, request_id=request_id(request)
        )
        return door.let_in(request, issued, address)


def _sessions(
    routes: Routes, app: BrokerApp, door: _Door, check: PasskeyCheck | None, given: Challenges
) -> None:  # fmt: skip
    @routes.post("/code", status_code=202, response_model=CodeAskedReply, **_OPEN)
    async def ask(request: Request, body: AddressBody) -> dict[str, Any]:
        """Ask for a code; the answer is the same for an address that is nobody's."""
        address = contacts.checked_address(body.address, stored=True)
        door.has_room()  # before the try is counted
        door.asks.attempt(contacts.mailbox(address), source_of(request))
        door.later(partial(contacts.mail_code, app, door.mail, address=address, request_id=request_id(request)))
        return {"address": address, "mails": door.mails_now()}

    @routes.post("/session", status_code=201, response_model=IssuedReply, **_OPEN)
    async def sign_in(request: Request, body: PortalLoginBody) -> dict[str, Any]:
        """Sign in with a code that was mailed, or a passkey; the session ends after 8 hours or 30 idle minutes."""
        if body.passkey:
            if not given.waits(passkeys.place_of(body.browser)):  # a browser that was asked may answer
                door.tries.spend(source_of(request))
            issued = await passkeys.sign_in(
                app, on(check), given, said=body.passkey, browser=body.browser, request_id=request_id(request),
                portal=True,
            )  # fmt: skip
            return let_in(request, issued)
        address, source = contacts.checked_address(body.address, stored=True), source_of(request)
        door.codes.attempt(address, source)  # spelt as it is looked up: another spelling is not another name
        issued = await contacts.sign_in(app, address=address, code=body.code, request_id=request_id(request))
        return door.let_in(request, issued, address)

    @routes.delete("/session", status_code=204)
    async def sign_out(request: Request, actor: Actor) -> Response:
        """End the session whose token is shown."""
        with suppress(NotFound):
            await logins.log_out(app, actor, bearer(request))
        return Response(status_code=204)


async def no_mail(_address: str, _title: str, _body: str) -> str:
    """Send nothing, because no mail server is set up."""
    return "no_target"


async def _quietly(sending: Coroutine[Any, Any, None]) -> None:
    with suppress(ByokeepError):  # nobody waits for it; what could not be recorded was not sent
        await sending
