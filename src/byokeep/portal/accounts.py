"""A client's accounts on platforms: their state, connecting one again, ending one.

Rules
- An account is one that the agency registered; its owner consents at the platform, by the flow of ``byokeep account
  connect``. Meanwhile the binding of the consent is in a cookie of its own, and the answer is taken by a POST: what a
  platform sends back in an address is put on no page.
- If the platform sends the person back to a page that is not ours, they paste that page's address.
- Ending one is confirmed on a page of its own, and the agency's people are told.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.accounts import accounts, connect
from byokeep.accounts.accounts import AccountState
from byokeep.console.accounts import OPEN, answer_of
from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.visit import Visitor, cookie_of, keep
from byokeep.core.errors import Conflict, NotFound, Rejected
from byokeep.core.ref import given_id
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS
from byokeep.portal.keys import client_of, provider_name

CONSENT: Final = "__Host-byokeep-portal-consent"
BACK: Final = "/portal/connected"


def add(console: Console) -> None:
    """Add the pages."""
    _one(console)
    _consent(console)


async def _own(console: Console, request: Request, who: Visitor) -> AccountState:
    """Return the account in an address. Raises NotFound if it is not this client's."""
    about = given_id(request.path_params["account_id"])
    for one in await accounts.list_states(console.app, who.actor, client_of(who)):
        if one.id == about:
            return one
    raise NotFound("not_found")


def _login_of(one: AccountState) -> str:
    """Return the login by which an account is connected; empty = there is none."""
    fits = [it.id for it in PLATFORM_DESCRIPTORS.values() if it.provider == one.platform and it.oauth is not None]
    return one.login or (fits[0] if len(fits) == 1 else "")


def _one(console: Console) -> None:
    async def account(request: Request, who: Visitor) -> Response:
        one = await _own(console, request, who)
        return console.page(request, "account.html", who=who, one=one, named=provider_name, login=_login_of(one))

    async def sure(request: Request, who: Visitor, _: Any = None, error: Refusal | None = None) -> Response:
        one = await _own(console, request, who)
        return await console.form(request, error, "account-end.html", who=who, one=one, named=provider_name)

    async def done(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        one = await _own(console, request, who)
        await accounts.disconnect(
            console.app, who.actor, client_of(who), where=one.login or one.platform, account=one.account,
            also=bool(given["also"]),
        )  # fmt: skip
        return RedirectResponse(f"/portal/accounts/{one.id}", 303, HEADERS)

    console.add("GET", "/accounts/{account_id}", account)
    console.add("GET", "/accounts/{account_id}/end", sure)
    console.post("/accounts/{account_id}/end", done, "also", again=sure)


def _consent(console: Console) -> None:
    async def begin(request: Request, who: Visitor, _given: dict[str, str]) -> Response:
        one = await _own(console, request, who)
        at = {"login": _login_of(one), "account": one.account}
        begun, url, binding = await connect.start(console.app, who.actor, client_of(who), **at)
        ours = urlsplit(begun.redirect_uri).path == BACK
        reply = console.page(request, "consent.html", who=who, one=one, named=provider_name, begun=begun, url=url,
                             ours=ours)  # fmt: skip
        keep(reply, CONSENT, f"{begun.id}.{binding}")
        return reply

    async def back(request: Request) -> Response:  # a visit from elsewhere does not bring the session's cookies
        return console.page(request, "connected.html", error=None)

    async def answered(request: Request, who: Visitor, address: str) -> UUID:
        about, _, binding = cookie_of(request, CONSENT).partition(".")
        if not binding:
            raise Rejected("connection_over", next_step="Begin again from the page of the account.")
        connection_id = given_id(about)
        await connect.answer(console.app, who.actor, client_of(who), connection_id, answer_of(address, binding))
        return connection_id

    async def taken(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        ours = request.headers.get("origin") or f"https://{request.headers.get('host', '')}"
        try:
            connection_id = await answered(request, who, given["address"] or f"{ours}{BACK}?{request.url.query}")
        except (Rejected, Conflict) as error:  # not the refusal page, which leads back to the address it came from
            return await console.form(request, error, "connected.html", who=who)
        reply = RedirectResponse(f"/portal/connections/{connection_id}", 303, HEADERS)
        keep(reply, CONSENT, "")
        return reply

    async def ended(request: Request, who: Visitor) -> Response:
        about = given_id(request.path_params["connection_id"])
        one = await connect.look(console.app, who.actor, client_of(who), about)
        return console.page(
            request, "connection.html", who=who, one=one, over=one.state not in OPEN,
        )  # fmt: skip

    console.post("/accounts/{account_id}/connect", begin)
    console.add_open("GET", "/connected", back)
    console.post("/connected", taken, "address")
    console.add("GET", "/connections/{connection_id}", ended)
