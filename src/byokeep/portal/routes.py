"""The portal's routes, and here: invitations, signing in and out, and how its pages look.

Rules
- An invitation is after the ``#`` of its link, which no browser sends: a script of ours moves it from the address into
  the form, or somebody pastes the link. Looking at an invitation changes nothing; a POST redeems it.
- Whoever asks for a code is shown the same page, whether or not the address is anybody's.
- The broker makes a session: what comes back goes into the cookie and nowhere else.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from byokeep.console.pages import HEADERS, Console, Send
from byokeep.console.passkeys import add as add_passkeys
from byokeep.console.visit import PageSet, Visitor, browser_of, cookie_of, form_of
from byokeep.core import png
from byokeep.core.errors import ByokeepError, Conflict, NotFound, RateLimited, Rejected, Unauthenticated
from byokeep.http.emergency import Emergency
from byokeep.http.request import Authenticator, Budget, query_of
from byokeep.kernel.app import WebApp
from byokeep.portal import accounts, keys
from byokeep.portal.keys import SESSION, client_of
from byokeep.tenancy import look, passkeys
from byokeep.tenancy.authenticate import authenticate

HOME: Final = "/portal"
_NO_SCRIPT: Final = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none';"
_HEADERS: Final = HEADERS | {
    "Content-Security-Policy": f"{_NO_SCRIPT} frame-ancestors 'none'; require-trusted-types-for 'script';"
    " trusted-types 'none'",
    "Referrer-Policy": "strict-origin",  # a platform's answer is in an address
}
_INVITATION: Final = re.compile(r"bko_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
SITE: Final = PageSet(home=HOME, session=SESSION, package="byokeep.portal", nav=(), headers=_HEADERS, api="/v1/portal")
_LOGO: Final = '.own .brand::before {{ content: ""; aspect-ratio: {} / {}; background-image: url("/portal/logo.png") }}'


def router(app: WebApp, send: Send, writes: Budget, emergency: Emergency) -> Console:
    """Return the routes of the portal."""
    auth: Authenticator = partial(authenticate, app, portal=True)
    console = Console(app, auth, send, writes, emergency, SITE)
    _invitations(console)
    _sessions(console)
    add_passkeys(console)
    _look(console)
    for part in (keys, accounts):
        part.add(console)
    return console


async def _opened(console: Console, request: Request, token: str) -> Response:
    """Let somebody in with a new session; the browser's earlier one ends."""
    if cookie_of(request, SESSION):
        with suppress(ByokeepError):
            before = await console.visitor(request, used=False)
            await console.ask(before, "DELETE", "/v1/portal/session")
    return console.with_session(HOME, token)


def _invitations(console: Console) -> None:
    async def shown(request: Request, link: str, address: str = "", error: ByokeepError | None = None) -> Response:
        """Show what an invitation says, and ask for the address."""
        found = _INVITATION.search(link)
        token = found[0] if found else ""
        said = await console.ask(request, "POST", "/v1/portal/invitation", {"invitation": token})
        return await console.form(request, error, "invited.html", invitation=said, link=token, address=address)

    async def invitation(request: Request) -> Response:
        if request.url.query:
            step = "An invitation stands behind the # of its link. Ask whoever invited you for another one."
            raise Unauthenticated("bad_invitation", next_step=step)
        return _scripted(console.page(request, "invitation.html"))

    async def looked_at(request: Request) -> Response:
        return await shown(request, (await form_of(console.app, request, "link", session=SESSION))["link"])

    async def prove(request: Request) -> Response:
        given = await form_of(console.app, request, "link", "address", session=SESSION)
        body = {"invitation": given["link"][:64], "address": given["address"][:320]}
        try:
            path = "/v1/portal/invitation/code"
            asked = await console.ask(request, "POST", path, body)
        except (Rejected, RateLimited, Conflict) as error:
            return await shown(request, given["link"], given["address"], error)
        return console.page(request, "code.html", error=None, link=given["link"][:64], **asked)

    async def redeem(request: Request) -> Response:
        given = await form_of(console.app, request, "link", "address", "code", session=SESSION)
        link, address = given["link"][:64], given["address"][:320]
        body = {"invitation": link, "address": address, "code": given["code"][:32]}
        try:
            path = "/v1/portal/invitation/redeem"
            issued = await console.ask(request, "POST", path, body)
        except (Unauthenticated, Rejected, RateLimited) as error:
            if error.code == "bad_invitation":
                raise
            return await console.form(request, error, "code.html", link=link, address=address, mails=True)
        return await _opened(console, request, issued["token"])

    console.add_open("GET", "/invitation", invitation)
    console.add_open("POST", "/invitation", looked_at)
    console.add_open("POST", "/invitation/code", prove)
    console.add_open("POST", "/invitation/accept", redeem)


def _sessions(console: Console) -> None:
    origin = console.app.limits.console_origin

    async def asked(request: Request, address: str = "", error: ByokeepError | None = None) -> Response:
        return _scripted(await console.form(request, error, "sign-in.html", address=address, origin=origin))

    async def sign_in(request: Request) -> Response:
        query_of(request, "next")
        return await asked(request)

    async def ask_code(request: Request) -> Response:
        given = await form_of(console.app, request, "address", session=SESSION)
        try:
            body = {"address": given["address"][:320]}
            found = await console.ask(request, "POST", "/v1/portal/code", body)
        except (Rejected, RateLimited) as error:
            return await asked(request, given["address"], error)
        return console.page(request, "code.html", link="", address=given["address"], mails=found["mails"], error=None)

    async def signed_in(request: Request) -> Response:
        given = await form_of(console.app, request, "address", "code", "passkey", session=SESSION)
        body = {"address": given["address"][:320], "code": given["code"][:32], "passkey": given["passkey"]}
        body["browser"] = browser_of(request, SESSION) if given["passkey"] else ""
        try:
            issued = await console.ask(request, "POST", "/v1/portal/session", body)
        except (Unauthenticated, Rejected, RateLimited) as error:
            if given["passkey"]:
                return await asked(request, "", error)
            return await console.form(request, error, "code.html", link="", address=given["address"], mails=True)
        return await _opened(console, request, issued["token"])

    async def you(request: Request, who: Visitor) -> Response:
        mine = await passkeys.mine(console.app, who.actor)
        return _scripted(console.page(request, "you.html", who=who, passkeys=mine, origin=origin))

    async def sign_out(_: Request, who: Visitor, _given: dict[str, str]) -> Response:
        await console.ask(who, "DELETE", "/v1/portal/session")
        return console.with_session(SITE.sign_in, "")

    console.add_open("GET", "/sign-in", sign_in)
    console.add_open("POST", "/sign-in", ask_code)
    console.add_open("POST", "/code", signed_in)
    console.post("/sign-out", sign_out)
    console.add("GET", "/you", you)


def _look(console: Console) -> None:
    async def colours(_: Request, who: Visitor) -> Response:
        colour = await look.colour_of(console.app, client_of(who))
        text = f":root {{ --brand: {colour}; }}\n" if colour else ""
        if logo := await look.logo_of(console.app, client_of(who)):
            text += _LOGO.format(*png.size_of(logo))
        return Response(text, headers=HEADERS, media_type="text/css")

    async def logo(_: Request, who: Visitor) -> Response:
        found = await look.logo_of(console.app, client_of(who))
        if not found:
            raise NotFound("not_found")
        more = {"Content-Security-Policy": "sandbox; default-src 'none'", "X-Content-Type-Options": "nosniff"}
        return Response(found, headers=HEADERS | more, media_type="image/png")

    console.file("style.css", "text/css")
    console.file("invitation.js", "text/javascript")
    console.add("GET", "/colours.css", colours)
    console.add("GET", "/logo.png", logo)


def _scripted(reply: Response) -> Response:
    """Allow a page to run our scripts."""
    reply.headers["Content-Security-Policy"] = HEADERS["Content-Security-Policy"]
    return reply
