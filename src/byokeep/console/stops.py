"""The kill switch: what is stopped, what a stop would stop, the stop itself, and its release by two people. Break
glass: requested, approved by another person, reviewed and closed; the history shows what was opened and read.

Rules
- Before a stop, a person sees what it stops, by name, and sends the form of that page. A stop needs nothing more.
- A release has two places: one for whoever asks, one for another who approves. Both need a fresh sign-in
  (:data:`byokeep.core.policy.FRESH`).
- The page of break glass opens nothing: the token goes to the holder's own command at the store, so that no browser has
  it. The page shows that command only to whoever asked.
- Request and approval are in two places, as are review and close.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.lists import paged
from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.scopes import in_words
from byokeep.console.visit import Visitor
from byokeep.core.errors import Rejected
from byokeep.core.model import PLATFORMS, Lane, Provider
from byokeep.core.policy import Verb
from byokeep.core.ref import given_id
from byokeep.http.request import whole_number
from byokeep.tenancy import clients
from byokeep.tenancy.scopes import scope_from_name

_PARTS = ("client_id", "platform", "lane")


def add(console: Console) -> None:
    """Add the pages."""

    async def kill(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        said = await console.ask(who, "GET", "/v1/switches")
        engaged = [one for one in said["switches"] if one["closed"]]
        let = next((one["scope"] for one in said["switches"]
                    if one["scope"] == asked.get("released") and not one["closed"]), None)  # fmt: skip
        scopes = {one["scope"] for one in (*engaged, *said["requests"])} | ({let} if let else set())
        parts = {name: asked[name] for name in _PARTS if asked.get(name)}
        seen, error = None, None
        if "look" in asked:
            try:
                seen = await console.ask(who, "POST", "/v1/switches/preview", parts)
                scopes.add(seen["scope"])
            except Rejected as refusal:
                error = refusal
        ids = {UUID(one["by"]) for one in engaged} | {UUID(one["requested_by"]) for one in said["requests"]}
        ids |= {UUID(job["runner_id"]) for job in seen["jobs"]} if seen else set()
        ids |= {UUID(job["client_id"]) for job in seen["jobs"]} if seen else set()
        return await console.form(
            request, error, "kill.html", who=who, let=let, asked=asked, parts=parts, seen=seen,
            engaged=[one | {"ask": _of(one["scope"]), "cuts": scope_from_name(one["scope"]).cuts_store}
                     for one in engaged],
            waiting={one["scope"]: one for one in said["requests"]}, me=str(who.actor.id),
            words=await in_words(console.app, who.actor, sorted(scopes)),
            names={str(one): name for one, name in (await clients.names_of(console.app, who.actor, ids)).items()},
            clients=await clients.list_clients(console.app, who.actor), platforms=sorted(PLATFORMS), lanes=list(Lane),
            may_ask=who.may(Verb.SWITCH_REQUEST_OPEN), may_stop=who.may(Verb.SWITCH_CLOSE),
            may_let=who.may(Verb.SWITCH_APPROVE_OPEN),
        )  # fmt: skip

    def post(path: str, sends: str) -> None:
        async def switched(_: Request, who: Visitor, given: dict[str, str]) -> Response:
            await console.ask(who, "POST", sends, {name: text for name, text in given.items() if text})
            return RedirectResponse("/console/kill", 303, HEADERS)

        switched.__name__ = path.rpartition("/")[2]
        console.post(path, switched, *_PARTS, "reason", stops=True)

    console.asking("/kill", kill, *_PARTS, "look", "released")
    post("/kill/stop", "/v1/switches/close")
    post("/kill/release", "/v1/switches/open-requests")
    _glass(console)


def _of(name: str) -> dict[str, Any]:
    """Return the parts of a switch's name, as a form sends them."""
    scope = scope_from_name(name)
    return {"client_id": scope.client_id or "", "platform": scope.platform or "", "lane": scope.lane or ""}


AT: Final = "/console/break-glass"
_ONE: Final = "/v1/breakglass/{grant_id}"
_ACTS: Final = ("approve", "deny", "revoke", "misused", "review", "close")
_OPEN: Final = ("requested", "approved", "open", "to_review", "to_close")


def _glass(console: Console) -> None:
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
