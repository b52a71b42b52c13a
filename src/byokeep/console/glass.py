"""Break glass: requested, approved by another person, reviewed and closed; the history shows what was opened and read.

Rules
- The page opens nothing: the token goes to the holder's own command at the store, so that no browser has it. The page
  shows that command only to whoever asked.
- Request and approval are in two places, as are review and close.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.lists import paged
from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.visit import Visitor
from byokeep.core.errors import Rejected
from byokeep.core.model import Provider
from byokeep.core.policy import Verb
from byokeep.core.ref import given_id
from byokeep.http.request import whole_number
from byokeep.tenancy import clients

AT: Final = "/console/break-glass"
_ONE: Final = "/v1/breakglass/{grant_id}"
_ACTS: Final = ("approve", "deny", "revoke", "misused", "review", "close")
_OPEN: Final = ("requested", "approved", "open", "to_review", "to_close")


def add(console: Console) -> None:
    """Add the pages."""

    async def break_glass(
        request: Request, who: Visitor, asked: dict[str, str], error: Refusal | None = None
    ) -> Response:
        given, asked = (asked, {}) if error else ({}, asked)
        said = await console.ask(who, "GET", "/v1/breakglass")
        found = [one for one in said["grants"] if asked.get("client", one["client_id"]) == one["client_id"]
                 and asked.get("state", "all") in ("all", "open" if one["status"] in _OPEN else "over")]  # fmt: skip
        more = paged(found, asked, AT)
        ids = {UUID(one[name]) for one in more["rows"] for name in ("client_id", "holder")}
        return await console.form(
            request, error, "break-glass.html", who=who, given=given, asked=asked, drills=said,
            scopes=[*Provider, "drill", "all"],
            taken=next((one for one in said["grants"] if one["status"] in _OPEN), None), still=_OPEN,
            clients=await clients.list_clients(console.app, who.actor), asks=who.may(Verb.GLASS_REQUEST),
            names=await clients.names_of(console.app, who.actor, ids), uuid=UUID, **more,
        )  # fmt: skip

    async def asked_for(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        minutes = whole_number("minutes", given["minutes"] or None)
        if minutes is None:
            raise Rejected("bad_duration", next_step="Give 1 to 60 minutes.")
        body = {"client_id": str(given_id(given["client"])), "life_s": minutes * 60}
        made = await console.ask(
            who, "POST", "/v1/breakglass", body | {name: given[name].strip() for name in ("scope", "reason", "ticket")}
        )
        return RedirectResponse(f"{AT}/{made['id']}", 303, HEADERS)

    async def grant(request: Request, who: Visitor) -> Response:
        about = given_id(request.path_params["grant_id"])
        one = await console.ask(who, "GET", _ONE, ids={"grant_id": about})
        ids = {UUID(one[name]) for name in ("client_id", "holder", "approved_by", "closed_by") if one[name]}
        return console.page(
            request, "grant.html", who=who, one=one, mine=one["holder"] == str(who.actor.id), uuid=UUID,
            names=await clients.names_of(console.app, who.actor, ids), lets=who.may(Verb.GLASS_APPROVE),
            ends=who.may(Verb.GLASS_REVOKE), reviews=who.may(Verb.GLASS_REVIEW),
        )  # fmt: skip

    async def acted(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        about, act = given_id(request.path_params["grant_id"]), given["act"]
        if act not in _ACTS:
            raise Rejected("bad_request", next_step="Send the form as the page does.")
        body: dict[str, Any] | None = {"accept_gaps": bool(given["accept_gaps"])} if act == "review" else None
        await console.ask(who, "POST", f"{_ONE}/{act}", body, ids={"grant_id": about})
        return RedirectResponse(f"{AT}/{about}", 303, HEADERS)

    console.asking("/break-glass", break_glass, "client", "state", "page")
    console.post("/break-glass", asked_for, "client", "scope", "reason", "ticket", "minutes", again=break_glass)
    console.add("GET", "/break-glass/{grant_id}", grant)
    console.post("/break-glass/{grant_id}", acted, "act", "accept_gaps")
