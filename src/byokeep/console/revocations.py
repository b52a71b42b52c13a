"""Mass revocation: what it would cut off, by name; the cut; and how far ending each at its provider is, with its proof.

Rules
- Before anything is cut off, a person sees what it is and sends the form of that page. The form is bound to what was
  shown: if another set matches by then, nothing is cut off and the person looks again.
- An item that has not ended stays a person's task until somebody says, on record, that it was ended by hand.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.lists import hours_ago, paged
from byokeep.console.pages import HEADERS, Console
from byokeep.console.visit import Visitor
from byokeep.core.errors import Rejected
from byokeep.core.model import Provider
from byokeep.core.policy import Verb
from byokeep.core.ref import given_id
from byokeep.http.procedures import run_out
from byokeep.http.request import instant
from byokeep.incidents import mass_revoke
from byokeep.incidents.mass_revoke import RevocationItem, RevocationRequest
from byokeep.kernel import procedures
from byokeep.tenancy import clients

AT: Final = "/console/revocations"
_PARTS: Final = ("provider", "client", "runner", "reason", "incident")


def add(console: Console) -> None:
    """Add the pages."""

    async def revocations(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        seen, since = None, hours_ago(console, asked["hours"]) if "hours" in asked else None
        if "look" in asked:
            asked |= {"runner": await _runner(console, who, asked["runner"])} if "runner" in asked else {}
            seen = await mass_revoke.preview(console.app, who.actor, _wanted(asked, since))
        runs, left = await procedures.found_runs(
            console.app, who.actor, procedures.RunFilter(names=[mass_revoke.MASS_REVOKE.name])
        )
        more = paged(runs, {} if "look" in asked else asked, AT, more=left)
        names = await clients.names_of(console.app, who.actor, {run.started_by for run in more["rows"]})
        return console.page(
            request, "revocations.html", who=who, asked=asked, seen=seen, since=since, providers=list(Provider),
            clients=await clients.list_clients(console.app, who.actor), names=names, every=who.actor.clients is None,
            may=who.may(Verb.KEY_STATE), **more,
        )  # fmt: skip

    async def revoked(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        since = instant(given["since"], Rejected("bad_time", next_step="Look again.")) if given["since"] else None
        if not given["shown"]:
            raise Rejected("bad_request", next_step="Look first at what it would revoke, then send that page's form.")
        wanted = replace(_wanted(given, since), shown=given["shown"])
        begun = await mass_revoke.begin(console.app, who.actor, wanted)
        return RedirectResponse(f"{AT}/{begun.status.run.id}", 303, HEADERS)

    async def revocation(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        found = await mass_revoke.status(console.app, who.actor, given_id(request.path_params["run_id"]))
        wanted = [one for one in found.items if asked.get("state", _stands(one)) == _stands(one)]
        more = paged(wanted, asked, f"{AT}/{found.status.run.id}")
        ids = {it for one in more["rows"] for it in (one.settled_by,) if it} | {found.status.run.started_by}
        return console.page(
            request, "revocation.html", who=who, asked=asked, found=found, run=run_out(found.status), stands=_stands,
            states=sorted({_stands(one) for one in found.items}), may=who.may(Verb.KEY_STATE),
            names=await clients.names_of(console.app, who.actor, ids), **more,
        )  # fmt: skip

    async def settled(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        about = given_id(request.path_params["run_id"])
        await mass_revoke.settle(console.app, who.actor, about, given_id(given["object"]))
        return RedirectResponse(f"{AT}/{about}", 303, HEADERS)

    console.asking("/revocations", revocations, *_PARTS, "hours", "look", "page")
    console.post("/revocations", revoked, *_PARTS, "since", "shown")
    console.asking("/revocations/{run_id}", revocation, "state", "page")
    console.post("/revocations/{run_id}", settled, "object")


async def _runner(console: Console, who: Visitor, text: str) -> str:
    """Return the id of the machine that a text names.

    Raises:
        Rejected: ``unknown_name``.
    """
    with suppress(Rejected):
        return str(given_id(text))
    found, _ = await clients.find_named(console.app, who.actor, ["machine"], text.strip())
    if len(found) != 1:
        raise Rejected("unknown_name", next_step="No one machine is called that: search it by name, and use its id.")
    return str(found[0].id)


def _wanted(given: Any, since: datetime | None) -> RevocationRequest:
    def named(part: str) -> UUID | None:
        return given_id(given[part]) if given.get(part) else None

    return RevocationRequest(
        reason=given.get("reason", ""), provider=given.get("provider", ""), runner_id=named("runner"), since=since,
        client_id=named("client"), incident_id=named("incident"),
    )  # fmt: skip


def _stands(one: RevocationItem) -> str:
    return "ended by hand" if one.settled_by is not None else one.state
