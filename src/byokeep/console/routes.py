"""The routes of the console; here: signing in and out, and the page of one's own session.

Rules
- Signing in is the broker's: it checks the password or the code, brakes guessing, records, and makes the session; what
  comes back goes into the cookie and nowhere else. Each sign-in is a new session, and the one before ends.
- Whoever must prove who they are again signs in again: the same page, which knows the name.
- Nothing is redeemed by looking: a GET shows, a POST does.

It may not check a password or a code.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console import (
    accounts,
    attention,
    clients,
    contacts,
    explore,
    glass,
    incidents,
    keys,
    lists,
    live,
    onboarding,
    operations,
    people,
    profiles,
    revocations,
    rotations,
    stops,
    timeline,
    usage,
)
from byokeep.console.pages import HEADERS, SIGN_IN, Console, Pages, Send
from byokeep.console.passkeys import add as add_passkeys
from byokeep.console.visit import HOME, SESSION, STRANGER, Visitor, browser_of, form_of, keep, next_page, visitor_of
from byokeep.core.errors import ByokeepError, NotFound, RateLimited, Unauthenticated
from byokeep.http.emergency import Emergency
from byokeep.http.request import STATUS, Authenticator, Budget, query_of
from byokeep.kernel.app import WebApp
from byokeep.tenancy import tokens
from byokeep.tenancy.passkeys import mine
from byokeep.tenancy.schemas import SOURCE

_FORGET: Final = {"Clear-Site-Data": '"cache", "storage"'}  # the cookie is taken away by itself


def router(app: WebApp, auth: Authenticator, send: Send, writes: Budget, emergency: Emergency) -> APIRouter:
    """Return the routes of the console."""
    pages = Pages(Console(app, auth, send, writes, emergency))
    _sessions(pages)
    add_passkeys(pages)
    _files(pages)
    for part in (
        attention, clients, contacts, onboarding, keys, rotations, accounts, profiles, stops, lists, live, timeline,
        explore, people, incidents, glass, operations, revocations, usage,
    ):  # fmt: skip
        part.add(pages)
    return pages


def _sessions(pages: Pages) -> None:
    console = pages.console
    origin = console.app.limits.console_origin

    async def known(request: Request) -> Visitor | None:
        with suppress(Unauthenticated):
            return await visitor_of(console.app, console.auth, request)
        return None

    async def sign_in(request: Request) -> Response:
        where = next_page(query_of(request, "next").get("next", HOME))
        return console.page(request, "sign-in.html", who=await known(request), to=where, error=None, origin=origin)

    async def signed_in(request: Request) -> Response:
        given = await form_of(console.app, request, "name", "password", "code", "passkey", "next")
        before = await known(request)
        body = {name: given[name] for name in ("name", "password", "code", "passkey")}
        body["browser"] = browser_of(request) if given["passkey"] else ""
        source = {SOURCE: request.client.host} if request.client else {}
        try:
            issued = await console.ask(None, "POST", "/v1/session/console", body, headers=source)
        except (Unauthenticated, RateLimited) as error:
            request.scope["state"]["code"] = error.code
            return console.page(
                request, "sign-in.html", status=STATUS.get(error.code, error.http_status), who=before,
                to=next_page(given["next"]), error=error, origin=origin,
            )  # fmt: skip
        if before is not None:
            with suppress(ByokeepError):  # what cannot be ended now ends by time
                await _end(console, before)
        reply = RedirectResponse(next_page(given["next"]), 303, HEADERS)
        keep(reply, SESSION, issued["token"])
        keep(reply, STRANGER, "")
        return reply

    async def sign_out(request: Request, who: Visitor) -> Response:
        given = await form_of(console.app, request, "everywhere")
        if given["everywhere"]:
            await console.ask(who, "DELETE", "/v1/sessions")
        else:
            await _end(console, who)
        reply = RedirectResponse(SIGN_IN, 303, HEADERS | _FORGET)
        keep(reply, SESSION, "")
        return reply

    async def you(request: Request, who: Visitor) -> Response:
        given = await tokens.issued_by_others(console.app, who.actor)
        return console.page(
            request, "you.html", who=who, given=given, passkeys=await mine(console.app, who.actor), origin=origin
        )

    pages.add_open("GET", "/sign-in", sign_in)
    pages.add_open("POST", "/sign-in", signed_in)
    pages.add("POST", "/sign-out", sign_out)
    pages.add("GET", "/you", you)


def _files(pages: Pages) -> None:
    def served(name: str, media: str) -> None:
        async def file(_: Request) -> Response:
            return Response(files("byokeep.console").joinpath(name).read_bytes(), headers=HEADERS, media_type=media)

        pages.add_open("GET", f"/{name}", file)

    served("style.css", "text/css")
    served("live.js", "text/javascript")
    served("passkey.js", "text/javascript")
    served("icon.svg", "image/svg+xml")


async def _end(console: Console, who: Visitor) -> None:
    """End a session; that it had ended already is what was wanted."""
    with suppress(NotFound, Unauthenticated):
        await console.ask(who, "DELETE", "/v1/session")
