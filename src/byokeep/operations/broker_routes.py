"""What only the broker can make: the due list as a signed document, and checklists, whose probes need the store."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from byokeep.core.model import Actor, ClientId
from byokeep.http.openapi import Reply, Routes, answers, refusals
from byokeep.http.request import Authenticator, Id, Strict, time_of
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.probes import ProbeOutcome
from byokeep.operations import checklist, due, lists
from byokeep.operations.checklist import FilledChecklist
from byokeep.operations.checks import Checklist, NewAccess, UnusedGrant
from byokeep.operations.due import DueItem, DueKind

_JSON: Final = "application/json"
_SIGNED: Final = {"type": "object"}  # as of evidence: a statement in an envelope


class DueBody(Strict):
    """Which part of the list; as of the list itself."""

    client_id: Id | None = None
    kind: DueKind | None = None
    until: Annotated[str, Field(max_length=40)] = ""


class ListBody(Strict):
    """Which list, and its filter as the page of the console has it in its address."""

    list: Annotated[str, Field(max_length=40)]
    asked: Annotated[dict[str, Annotated[str, Field(max_length=200)]], Field(max_length=20, default_factory=dict)]


class FillBody(Strict):
    """Which checklist."""

    checklist: Annotated[Checklist, Field(strict=False)]


class SignBody(FillBody):
    """What was seen, and where each item that is not ok is dealt with; ``period``: the present one, if it is named."""

    seen: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    period: Annotated[date | None, Field(strict=False)] = None
    tickets: Annotated[dict[str, Annotated[str, Field(max_length=100)]], Field(max_length=20, default_factory=dict)]


class CheckedReply(Reply, of=ProbeOutcome, shows="name state code figures next_step"):
    """An item: ok, failed or unknown, what was counted or measured, and what to do."""


class LateItemReply(
    Reply, of=DueItem, shows="due_at state days kind name client client_id item provider cause command"
):  # fmt: skip
    """Something with a date, as the due list has it."""


class NewAccessReply(
    Reply, of=NewAccess, shows="at kind event client_id object_id what by readers"
):  # fmt: skip
    """A path, role or grant that came since the last review; the readers are machines that get its client's values."""


class UnusedGrantReply(Reply, of=UnusedGrant, shows="kind name client client_id item since command"):
    """A key, machine or person that nobody used for 90 days."""


class ChecklistReply(Reply, of=FilledChecklist, shows="checklist period made_at digest signed_at signed_by all_ok"):
    """A checklist as it stands; the digest names it for whoever signs it off."""

    all_ok: bool
    items: list[CheckedReply]
    due: list[LateItemReply]
    access: list[NewAccessReply]
    unused: list[UnusedGrantReply]


def router(app: BrokerApp, auth: Authenticator) -> APIRouter:
    """Return the route."""
    routes = Routes("operations", auth, 403)

    @routes.post("/due/sign", response_class=Response, responses=answers(_JSON, _SIGNED) | refusals(404))
    async def sign(actor: Actor, body: DueBody) -> Response:
        """Sign the due list as it stands; who asked is on record."""
        signed = await due.sign_due(
            app, actor, client_id=None if body.client_id is None else ClientId(body.client_id), kind=body.kind,
            until=time_of("until", body.until) if body.until else None,
        )  # fmt: skip
        return Response(signed, media_type=_JSON)

    @routes.post("/lists/sign", response_class=Response, responses=answers(_JSON, _SIGNED) | refusals(404))
    async def sign_list(actor: Actor, body: ListBody) -> Response:
        """Sign a list as it stands, with what it does not hold; who takes it is on record."""
        return Response(await lists.sign_list(app, actor, body.list, body.asked), media_type=_JSON)

    @routes.post("/checklists/fill", response_model=ChecklistReply)
    async def fill(actor: Actor, body: FillBody) -> FilledChecklist:
        """Ask every item of a checklist now; that it was shown is on record."""
        return await checklist.fill(app, actor, body.checklist)

    @routes.post("/checklists/sign", response_model=ChecklistReply, responses=refusals(409))
    async def sign_checklist(actor: Actor, body: SignBody) -> FilledChecklist:
        """Sign a checklist off as it was seen, if that is how it stands."""
        return await checklist.sign(
            app, actor, body.checklist, seen=body.seen, period=body.period, tickets=body.tickets
        )

    return routes
