"""The console's routes, and here: signing in and out, and the page of one's own session.

Rules
- The broker does the sign-in: it checks the password or the code, slows down guessing, records, and makes the session.
  What comes back goes into the cookie and nowhere else. Each sign-in is a new session, and the one before ends.
- Step-up is signing in again, on the same page, which knows the name.
- Looking redeems nothing: a GET shows, a POST acts.

It may not check a password or a code.
"""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console import (
    accounts,
    attention,
    clients,
    explore,
    incidents,
    keys,
    lists,
    live,
    operations,
    people,
    stops,
    timeline,
    usage,
)
from byokeep.console.pages import HEADERS, SIGN_IN, Console, Send
from byokeep.console.passkeys import add as add_passkeys
from byokeep.console.visit import HOME, Visitor, browser_of, form_of, next_page, visitor_of
from byokeep.core.errors import ByokeepError, NotFound, RateLimited, Unauthenticated
from byokeep.core.ref import given_id
from byokeep.http.emergency import Emergency
from byokeep.http.request import Authenticator, Budget, query_of, read_bytes
from byokeep.kernel.app import WebApp
from byokeep.tenancy import tokens
from byokeep.tenancy.passkeys import mine
from byokeep.tenancy.sso import REDIRECT, linked_at


def router(app: WebApp, auth: Authenticator, send: Send, writes: Budget, emergency: Emergency) -> Console:
    """Return the routes of the console."""
    console = Console(app, auth, send, writes, emergency)
    _sessions(console)
    _sso(console)
    add_passkeys(console)
    for part in (
        attention, clients, keys, accounts, stops, lists, live, timeline, explore, people, incidents, operations, usage,
    ):  # fmt: skip
        part.add(console)
    console.file("style.css", "text/css")
    console.file("live.js", "text/javascript")
    console.file("passkey.js", "text/javascript")
    console.file("icon.svg", "image/svg+xml")
    return console


def _sessions(console: Console) -> None:
    async def sign_in(request: Request) -> Response:
        where = next_page(query_of(request, "next").get("next", HOME))
        return await _asked(console, request, await _known(console, request), where)

    async def signed_in(request: Request) -> Response:
        given = await form_of(console.app, request, "name", "password", "code", "passkey", "next")
        before = await _known(console, request)
        body = {name: given[name] for name in ("name", "password", "code", "passkey")}
        body["browser"] = browser_of(request) if given["passkey"] else ""
        try:
            issued = await console.ask(request, "POST", "/v1/session/console", body)
        except (Unauthenticated, RateLimited) as error:
            return await _asked(console, request, before, next_page(given["next"]), error)
        return await _entered(console, issued["token"], next_page(given["next"]), before)

    async def sign_out(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        if given["everywhere"]:
            await console.ask(who, "DELETE", "/v1/sessions")
        else:
            await _end(console, who)
        return console.with_session(SIGN_IN, "")

    async def you(request: Request, who: Visitor, code: str = "") -> Response:
        given = await tokens.issued_by_others(console.app, who.actor)
        return console.page(
            request, "you.html", who=who, given=given, passkeys=await mine(console.app, who.actor),
            origin=console.app.limits.console_origin, sso=console.app.limits.sso,
            linked_at=(await linked_at(console.app, who.actor.id)).get(who.actor.id), code=code,
        )  # fmt: skip

    async def code_made(request: Request, who: Visitor, _given: dict[str, str]) -> Response:
        return await you(request, who, (await console.ask(who, "POST", "/v1/session/code"))["token"])

    console.add_open("GET", "/sign-in", sign_in)
    console.add_open("POST", "/sign-in", signed_in)
    console.post("/sign-out", sign_out, "everywhere")
    console.add("GET", "/you", you)
    console.post("/you/code", code_made)


def _sso(console: Console) -> None:
    async def begin_sso(request: Request) -> Response:
        given = await form_of(console.app, request, "next", "invitation")
        body = {"browser": browser_of(request), "to": next_page(given["next"]), "invitation": given["invitation"]}
        try:
            said = await console.ask(request, "POST", "/v1/session/sso", body)
        except ByokeepError as error:
            if not error.on_record:
                raise
            return await _asked(console, request, await _known(console, request), body["to"], error)
        # A page leads there, because a form of ours may not be sent or redirected elsewhere.
        return console.page(request, "sso.html", to=said["address"], sso=console.app.limits.sso)

    async def back(request: Request) -> Response:
        asked = request.query_params
        found = {name: "".join(asked.getlist(name)) for name in ("state", "code", "iss", "error")}
        if request.headers.get("sec-fetch-site") == "cross-site":
            # The browser withholds our cookies: one more step, from a page of ours, which sets none in their place.
            reply = console.page(request, "hop.html", to=f"{REDIRECT}?{urlencode(found)}")
            del reply.headers["set-cookie"]
        else:
            reply = console.page(request, "sso-back.html", found=found, sso=console.app.limits.sso)
        reply.headers["Referrer-Policy"] = "strict-origin"  # the code is in the address
        return reply

    async def end_sso(request: Request) -> Response:
        given = await form_of(console.app, request, "state", "code", "iss", "error")
        before = await _known(console, request)
        body = {"browser": browser_of(request), "issuer": given.pop("iss"), **given}
        try:
            issued = await console.ask(request, "POST", "/v1/session/sso/answer", body)
        except ByokeepError as error:
            if not error.on_record:
                raise
            return await _asked(console, request, before, HOME, error)
        return await _entered(console, issued["token"], next_page(issued["to"]), before)

    async def logged_out(request: Request) -> Response:
        """What the provider itself sends. It is told nothing but whether it was taken."""
        try:
            sent = dict(parse_qsl((await read_bytes(request)).decode("ascii", "replace"), max_num_fields=20))
            body = {"token": sent.get("logout_token", "")}
            await console.ask(request, "POST", "/v1/session/sso/logout", body)
        except (ByokeepError, ValueError):
            return Response(status_code=400, headers=HEADERS)
        return Response(status_code=200, headers=HEADERS)

    async def link_ended(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        about = given_id(given["id"])
        await console.ask(who, "DELETE", "/v1/operators/{subject_id}/link", ids={"subject_id": about})
        return RedirectResponse(f"{HOME}/you" if about == who.actor.id else f"{HOME}/people/{about}", 303, HEADERS)

    console.post("/sso/unlink", link_ended, "id")
    console.add_open("POST", "/sso/begin", begin_sso)
    console.add_open("POST", "/sso/logout", logged_out)
    console.add_open("GET", "/sso", back)
    console.add_open("POST", "/sso", end_sso)


async def _known(console: Console, request: Request) -> Visitor | None:
    with suppress(Unauthenticated):
        return await visitor_of(console.app, console.auth, request)
    return None


async def _asked(
    console: Console, request: Request, who: Visitor | None, to: str, error: ByokeepError | None = None
) -> Response:
    """Return the page to sign in, or to sign in again, with what was wrong."""
    limits = console.app.limits
    return await console.form(
        request, error, "sign-in.html", who=who, to=to, origin=limits.console_origin, sso=limits.sso
    )


async def _entered(console: Console, token: str, to: str, before: Visitor | None) -> Response:
    """Give the browser a new session, which replaces the one before."""
    if before is not None:
        with suppress(ByokeepError):  # what cannot be ended now expires
            await _end(console, before)
    return console.with_session(to, token)


async def _end(console: Console, who: Visitor) -> None:
    """End a session; one that has already ended is fine."""
    with suppress(NotFound, Unauthenticated):
        await console.ask(who, "DELETE", "/v1/session")
