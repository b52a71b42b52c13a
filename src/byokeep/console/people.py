"""People and machines, what each may do and until when, and the search over names.
A client's contact persons at the portal: who is invited, inviting one, and ending one.

Rules
- Only :mod:`byokeep.core.policy` says what a role may do.
- A token is shown by its dates; no token, and no part of one, can be shown again.
- The link of an invitation is shown only to whoever made it, on the page that answers.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.lists import exported_as, paged
from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.visit import Visitor
from byokeep.core.errors import NotFound
from byokeep.core.model import ClientId, Role
from byokeep.core.policy import Verb
from byokeep.core.ref import given_id
from byokeep.http.request import whole_number
from byokeep.operations import lists
from byokeep.tenancy import clients, look, operators, tokens
from byokeep.tenancy.sso import linked_at
from byokeep.tenancy.tokens import Subject

SOON: Final = timedelta(days=14)  # as in the due list


def add(console: Console) -> None:
    """Add the pages."""

    def ends(one: Subject) -> str:
        """Return the state of somebody's token: it ends soon, there is none, or nothing to report."""
        if one.token_until is None:
            return "no_token"
        return "due" if one.token_until - console.app.clock.now() < SOON else ""

    async def people(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        shown = paged(await lists.people_of(console.app, who.actor, asked), asked, "/console/people")
        ids = {client for one in shown["rows"] for client in one.clients}
        return console.page(
            request, "people.html", who=who, asked=asked, ends=ends,
            roles=[role for role in Role if role != "system"],
            names=await clients.names_of(console.app, who.actor, ids), export=exported_as("people", asked), **shown,
        )  # fmt: skip

    async def person(request: Request, who: Visitor) -> Response:
        about = given_id(request.path_params["subject_id"])
        one = next((it for it in await operators.list_subjects(console.app, who.actor) if it.id == about), None)
        if one is None:
            raise NotFound("not_found")
        held = await tokens.list_tokens(console.app, who.actor, about)
        ids = set(one.clients) | ({one.created_by} if one.created_by else set())
        return console.page(
            request, "person.html", who=who, one=one, tokens=held, ends=ends,
            may=sorted(verb.value.split(".", 1) for verb in Verb if verb.roles & one.roles),
            sso=console.app.limits.sso, ends_links=who.may(Verb.TOKEN_REVOKE) or one.id == who.actor.id,
            names=await clients.names_of(console.app, who.actor, ids),
            linked_at=(await linked_at(console.app, about)).get(about),
        )  # fmt: skip

    async def search(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        word = asked.get("find", "").strip()[:256]
        kinds = [kind for kind, verb in clients.KINDS.items() if who.may(verb)]
        found, near = await clients.find_named(console.app, who.actor, kinds, word) if word else ([], [])
        rows: list[dict[str, Any]] = [
            {"one": one, "href": _href(one.kind, str(one.id), who)} for one in [*found, *near]
        ]
        return console.page(
            request, "search.html", who=who, word=word, rows=rows, exact=bool(found), kinds=kinds, most=clients.NEAR
        )

    console.asking("/people", people, "find", "kind", "role", "page")
    console.add("GET", "/people/{subject_id}", person)
    console.asking("/search", search, "find")
    _contacts(console)


def _href(kind: str, about: str, who: Visitor) -> str:
    """Return the page of something with a name, if this visitor may see one; empty = there is none."""
    if kind in ("client", "incident"):
        return f"/console/{kind}s/{about}"
    if kind == "key" and who.may(Verb.KEY_HISTORY):
        return f"/console/used/{about}?since=24h"
    if kind in ("operator", "machine") and who.may(Verb.SUBJECT_READ):
        return f"/console/people/{about}"
    return ""


_PATH: Final = "/v1/clients/{client_id}/contacts"
_MAY: Final = {"invite": Verb.CONTACT_INVITE, "end": Verb.CONTACT_END}


def _contacts(console: Console) -> None:
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
