"""People and machines, what each may do and until when, and the search over names.

Rules
- Only :mod:`byokeep.core.policy` says what a role may do.
- A token is shown by its dates; no token, and no part of one, can be shown again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from byokeep.console.lists import exported_as, paged
from byokeep.console.pages import Console
from byokeep.console.visit import Visitor
from byokeep.core.errors import NotFound
from byokeep.core.model import Role
from byokeep.core.policy import Verb
from byokeep.core.ref import given_id
from byokeep.operations import lists
from byokeep.tenancy import clients, operators, tokens
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


def _href(kind: str, about: str, who: Visitor) -> str:
    """Return the page of something with a name, if this visitor may see one; empty = there is none."""
    if kind in ("client", "incident"):
        return f"/console/{kind}s/{about}"
    if kind == "key" and who.may(Verb.KEY_HISTORY):
        return f"/console/used/{about}?since=24h"
    if kind in ("operator", "machine") and who.may(Verb.SUBJECT_READ):
        return f"/console/people/{about}"
    return ""
