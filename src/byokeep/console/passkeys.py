"""Passkeys on pages of the console and the portal: asking a browser for one, and adding and removing one's own.

Rules
- The broker makes the challenge and checks the answer; a page transports both. Passkeys need a script.
- What a browser is asked for is the reply to a form of ours, like everything that a page sends.

It may not read an answer.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.lists import given_id
from byokeep.console.pages import HEADERS, Pages
from byokeep.console.visit import Visitor, browser_of, form_of
from byokeep.tenancy.schemas import SOURCE


def add(pages: Pages) -> None:
    """Add the routes to which pages send forms."""
    console = pages.console
    site = console.site

    async def asked(request: Request) -> Response:
        await form_of(console.app, request, session=site.session)
        source = {SOURCE: request.client.host} if request.client else {}
        body = {"browser": browser_of(request, site.session)}
        return _options(await console.ask(None, "POST", f"{site.api}/session/passkey", body, headers=source))

    async def asked_to_add(request: Request, who: Visitor) -> Response:
        await form_of(console.app, request, session=site.session)
        return _options(await console.ask(who, "POST", f"{site.api}/passkeys/options"))

    async def added(request: Request, who: Visitor) -> Response:
        given = await form_of(console.app, request, "name", "passkey", session=site.session)
        await console.ask(who, "POST", f"{site.api}/passkeys", given)
        return RedirectResponse(f"{site.home}/you", 303, HEADERS)

    async def removed(request: Request, who: Visitor) -> Response:
        given = await form_of(console.app, request, "id", session=site.session)
        await console.ask(
            who, "DELETE", f"{site.api}/passkeys/{{passkey_id}}", ids={"passkey_id": given_id(given["id"])}
        )
        return RedirectResponse(f"{site.home}/you", 303, HEADERS)

    pages.add_open("POST", "/passkey", asked)
    pages.add("POST", "/passkeys/options", asked_to_add)
    pages.add("POST", "/passkeys", added)
    pages.add("POST", "/passkeys/remove", removed)


def _options(said: dict[str, str]) -> Response:
    return Response(said["options"], headers=HEADERS, media_type="application/json")
