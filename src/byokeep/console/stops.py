"""The kill switch: what is stopped, what a stop would stop, the stop itself, and its release by two people.

Rules
- Before a stop, a person sees what it stops, by name, and sends the form of that page. A stop needs nothing more.
- A release has two places: one for whoever asks, one for another who approves. Both need a fresh sign-in
  (:data:`byokeep.core.policy.FRESH`).
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.pages import HEADERS, Console
from byokeep.console.scopes import in_words
from byokeep.console.visit import Visitor
from byokeep.core.errors import Rejected
from byokeep.core.model import PLATFORMS, Lane
from byokeep.core.policy import Verb
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


def _of(name: str) -> dict[str, Any]:
    """Return the parts of a switch's name, as a form sends them."""
    scope = scope_from_name(name)
    return {"client_id": scope.client_id or "", "platform": scope.platform or "", "lane": scope.lane or ""}
