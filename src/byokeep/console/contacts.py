"""A client's contact persons at the portal: who is invited, inviting one, and ending one.

Rules
- The link of an invitation is shown only to whoever made it, on the page that answers.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.visit import Visitor
from byokeep.core.model import ClientId
from byokeep.core.policy import Verb
from byokeep.core.ref import given_id
from byokeep.http.request import whole_number
from byokeep.tenancy import clients, look

_PATH: Final = "/v1/clients/{client_id}/contacts"
_MAY: Final = {"invite": Verb.CONTACT_INVITE, "end": Verb.CONTACT_END}


def add(console: Console) -> None:
    """Add the pages."""

    async def people_of_client(
        request: Request, who: Visitor, given: dict[str, str] | None = None, error: Refusal | None = None,
        **made: Any,
    ) -> Response:  # fmt: skip
        one = await clients.get_client(console.app, who.actor, ClientId(given_id(request.path_params["client_id"])))
        rows = (await console.ask(who, "GET", _PATH, ids={"client_id": one.id}))["contacts"]
        colour = await look.colour_of(console.app, one.id)
        return await console.form(
            request, error, "contacts.html", who=who, client=one, rows=rows, colour=colour or look.USUAL,
            may={name: who.may(verb) for name, verb in _MAY.items()}, given=given or {},
            **({"made": None, "link": "", "mails": True} | made),
        )  # fmt: skip

    async def invited(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        client_id = given_id(request.path_params["client_id"])
        body = {"name": given["name"].strip()[:200], "days": whole_number("days", given["days"] or "7")}
        made = await console.ask(who, "POST", _PATH, body, ids={"client_id": client_id})
        ours = request.headers.get("origin") or f"https://{request.headers.get('host', '')}"
        link = f"{made['portal'] or ours}/portal/invitation#{made['token']}"
        return await people_of_client(request, who, made=made["name"], link=link, mails=made["mails"])

    async def contact_ended(request: Request, who: Visitor, _given: dict[str, str]) -> Response:
        ids = {name: given_id(request.path_params[name]) for name in ("client_id", "contact_id")}
        await console.ask(who, "DELETE", "/v1/contacts/{contact_id}", ids={"contact_id": ids["contact_id"]})
        return RedirectResponse(f"/console/clients/{ids['client_id']}/contacts", 303, HEADERS)

    console.add("GET", "/clients/{client_id}/contacts", people_of_client)
    console.post("/clients/{client_id}/contacts", invited, "name", "days", again=people_of_client)

    async def coloured(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        client_id = ClientId(given_id(request.path_params["client_id"]))
        await look.set_colour(console.app, who.actor, client_id, given["colour"].strip())
        return RedirectResponse(f"/console/clients/{client_id}/contacts", 303, HEADERS)

    console.post("/clients/{client_id}/contacts/{contact_id}/end", contact_ended)
    console.post("/clients/{client_id}/colour", coloured, "colour", again=people_of_client)
