"""Passkeys on pages of the console and the portal: asking a browser for one, and adding and removing one's own.

Rules
- The broker makes the challenge and checks the answer; a page transports both. Passkeys need a script.
- What a browser is asked for is the reply to a form of ours, like everything that a page sends.

It may not read an answer.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.pages import HEADERS, Console
from byokeep.console.visit import Visitor, browser_of, form_of
from byokeep.core.ref import given_id


def add(console: Console) -> None:
    """Add the routes to which pages send forms."""
    site = console.site

    async def asked(request: Request) -> Response:
        await form_of(console.app, request, session=site.session)
        body = {"browser": browser_of(request, site.session)}
        return _options(await console.ask(request, "POST", f"{site.api}/session/passkey", body))

    async def asked_to_add(_: Request, who: Visitor, _given: dict[str, str]) -> Response:
        return _options(await console.ask(who, "POST", f"{site.api}/passkeys/options"))

    async def added(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        await console.ask(who, "POST", f"{site.api}/passkeys", given)
        return RedirectResponse(f"{site.home}/you", 303, HEADERS)

    async def removed(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        await console.ask(
            who, "DELETE", f"{site.api}/passkeys/{{passkey_id}}", ids={"passkey_id": given_id(given["id"])}
        )
        return RedirectResponse(f"{site.home}/you", 303, HEADERS)

    console.add_open("POST", "/passkey", asked)
    console.post("/passkeys/options", asked_to_add)
    console.post("/passkeys", added, "name", "passkey")
    console.post("/passkeys/remove", removed, "id")


def _options(said: dict[str, str]) -> Response:
    return Response(said["options"], headers=HEADERS, media_type="application/json")
