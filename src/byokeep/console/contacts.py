"""A client's contact persons at the portal: who is invited, inviting one, and ending one.

Rules
- The link of an invitation is shown only to whoever made it, on the page that answers.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.lists import given_id
from byokeep.console.pages import HEADERS, Console
from byokeep.console.visit import Visitor
from byokeep.core.errors import ByokeepError
from byokeep.core.model import ClientId
from byokeep.core.policy import Verb
from byokeep.http.request import whole_number
from byokeep.tenancy import clients, look

_PATH: Final = "/v1/clients/{client_id}/contacts"
_MAY: Final = {"invite": Verb.CONTACT_INVITE, "end": Verb.CONTACT_END}


def add(console: Console) -> None:
    """Add the pages."""

    async def about(request: Request, who: Visitor) -> dict[str, Any]:
        one = await clients.get_client(console.app, who.actor, ClientId(given_id(request.path_params["client_id"])))
        rows = (await console.ask(who, "GET", _PATH, ids={"client_id": one.id}))["contacts"]
        colour = await look.colour_of(console.app, one.id)
        may = {name: who.may(verb) for name, verb in _MAY.items()}
        return {
            "client": one,
            "rows": rows,
            "may": may,
            "colour": colour or look.USUAL,
            "given": {},
            "made": None,
            "link": "",
            "mails": True,
        }

    async def people_of_client(request: Request, who: Visitor) -> Response:
        return console.page(request, "contacts.html", who=who, error=None, **await about(request, who))

    async def invited(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        client_id = given_id(request.path_params["client_id"])
        try:
            body = {"name": given["name"].strip()[:200], "days": whole_number("days", given["days"] or "7")}
            made = await console.ask(who, "POST", _PATH, body, ids={"client_id": client_id})
        except ByokeepError as error:
            more = await about(request, who) | {"given": given}
            return await console.form(request, error, "contacts.html", who=who, **more)
        ours = request.headers.get("origin") or f"https://{request.headers.get('host', '')}"
        link = f"{made['portal'] or ours}/portal/invitation#{made['token']}"
        more = await about(request, who) | {"made": made["name"], "link": link, "mails": made["mails"]}
        return console.page(request, "contacts.html", who=who, error=None, **more)

    async def contact_ended(request: Request, who: Visitor, _given: dict[str, str]) -> Response:
        ids = {name: given_id(request.path_params[name]) for name in ("client_id", "contact_id")}
        await console.ask(who, "DELETE", "/v1/contacts/{contact_id}", ids={"contact_id": ids["contact_id"]})
        return RedirectResponse(f"/console/clients/{ids['client_id']}/contacts", 303, HEADERS)

    console.add("GET", "/clients/{client_id}/contacts", people_of_client)
    console.post("/clients/{client_id}/contacts", invited, "name", "days")

    async def coloured(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        client_id = ClientId(given_id(request.path_params["client_id"]))
        try:
            await look.set_colour(console.app, who.actor, client_id, given["colour"].strip())
        except ByokeepError as error:
            more = await about(request, who) | {"given": given}
            return await console.form(request, error, "contacts.html", who=who, **more)
        return RedirectResponse(f"/console/clients/{client_id}/contacts", 303, HEADERS)

    console.post("/clients/{client_id}/contacts/{contact_id}/end", contact_ended)
    console.post("/clients/{client_id}/colour", coloured, "colour")
