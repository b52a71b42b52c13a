"""Routes of break glass at the broker, which serves them even without ``web``.

Rules
- A wrapping token is in the reply to its opening, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from byokeep.breakglass import grants, watch
from byokeep.breakglass.model import DRILL, WRAPPED, Grant
from byokeep.breakglass.watch import GlassUse
from byokeep.core.model import Actor
from byokeep.http.emergency import Emergency
from byokeep.http.openapi import Reply, Routes, refusals
from byokeep.http.request import Authenticator, Id, PathId, Strict
from byokeep.kernel.app import BrokerApp

Word = Annotated[str, Field(max_length=64)]
_NEXT: Final = {
    "requested": "An approver approves it: `byokeep breakglass approve {id}`.",
    "approved": "The requester opens it, within 15 minutes of the request: `byokeep breakglass open {id} --save FILE`.",
    "drill_approved": "The requester runs it, within 15 minutes of the request: `byokeep breakglass drill {id}`.",
    "open": "End it as soon as you are done: `byokeep breakglass revoke {id}`.",
    "to_review": "Review what was done: `byokeep breakglass review {id}`.",
    "to_close": "An approver who did not review it closes it: `byokeep breakglass close {id}`.",
}


class GlassBody(Strict):
    """Ask for a grant; ``scope`` is ``all``, a provider or platform of the client, or ``drill``."""

    client_id: Id
    scope: Word = "all"
    reason: Word
    ticket: Word
    life_s: Annotated[int, Field(strict=True)] = 900


class ReviewBody(Strict):
    """Look at what was done; ``accept_gaps``: a part of the store's log is gone for good; who says so is on record."""

    accept_gaps: bool = False


class GlassUseReply(Reply, of=GlassUse, shows="at event outcome path store_request count"):
    """A request of the store under the grant, or ``count`` of one kind."""


class GlassReply(
    Reply, of=Grant,
    shows="id status client_id scope reason=cause ticket life_s holder approved_by started_at lapses_at issued_at"
    " expires_at ended_at gaps_accepted closed_at closed_by next_step",
):  # fmt: skip
    """A grant of break glass."""

    next_step: str


class GlassUsesReply(GlassReply):
    """A grant, and what was done with it."""

    uses: list[GlassUseReply]


class GlassListReply(Reply):
    """The grants, open ones first, and when a drill last proved that the door opens, the one on the host by itself."""

    grants: list[GlassReply]
    last_drill_at: datetime | None
    last_host_drill_at: datetime | None


class GlassOpenedReply(GlassReply):
    """An opened grant, with the wrapping token: unwrapped once, at the store, if made where and when this says."""

    wrapping_token: str
    wrapped_for_s: int
    wrapped_at: str
    creation_path: str
    store_address: str
    places: list[str]


_Act = Callable[[BrokerApp, Actor, UUID], Awaitable[Grant]]
_ACTS: Final[Mapping[str, _Act]] = {
    "approve": grants.approve, "deny": grants.deny, "revoke": watch.revoke, "misused": watch.misused,
    "close": grants.close,
}  # fmt: skip


def _serve(app: BrokerApp, routes: Routes, name: str, act: _Act) -> None:
    """Declare the route of an act that takes a grant and returns it."""

    async def serve(grant_id: PathId, actor: Actor) -> dict[str, Any]:
        return _out(await act(app, actor, grant_id))

    serve.__doc__ = (act.__doc__ or "").partition("\n")[0]
    serve.__name__ = f"{name}_grant"  # the name of a route is its operation's id, and one for all processes
    routes.post(f"/{{grant_id}}/{name}", response_model=GlassReply, responses=refusals(404, 409))(serve)


def router(app: BrokerApp, auth: Authenticator, room: Emergency) -> APIRouter:
    """Return the routes."""
    routes = Routes("breakglass", auth, 403, prefix="/v1/breakglass")

    @routes.post("", status_code=201, response_model=GlassReply, responses=refusals(404, 409))
    async def request(actor: Actor, body: GlassBody) -> dict[str, Any]:
        """Ask for a grant; one at a time."""
        room.require_room()
        return _out(await grants.request(app, actor, **body.model_dump()))

    @routes.get("", response_model=GlassListReply)
    async def list_(actor: Actor) -> dict[str, Any]:
        """List the grants, open ones first."""
        found, drilled = await grants.list_grants(app, actor)
        return {"grants": [_out(one) for one in found], "last_drill_at": drilled["at"],
                "last_host_drill_at": drilled["on_host_at"]}  # fmt: skip

    @routes.get("/{grant_id}", response_model=GlassUsesReply, responses=refusals(404))
    async def show(grant_id: PathId, actor: Actor) -> dict[str, Any]:
        """Show a grant and what was done with it."""
        return _with_uses(*await watch.show(app, actor, grant_id))

    @routes.post("/{grant_id}/open", response_model=GlassOpenedReply, responses=refusals(404, 409))
    async def open_(grant_id: PathId, actor: Actor) -> dict[str, Any]:
        """Give the holder the wrapping token, once."""
        room.require_room()
        opened = await grants.open_glass(app, actor, grant_id)
        return _out(opened.grant) | {
            "wrapping_token": opened.token, "wrapped_for_s": int(WRAPPED.total_seconds()),
            "wrapped_at": opened.wrapped_at,
            "creation_path": grants.CREATION_PATH, "store_address": app.store_address,
            "places": grants.places(opened.grant),
        }  # fmt: skip

    @routes.post("/{grant_id}/review", response_model=GlassUsesReply, responses=refusals(404, 409))
    async def review(grant_id: PathId, actor: Actor, body: ReviewBody) -> dict[str, Any]:
        """Look at everything that was done with a grant that is over."""
        return _with_uses(*await watch.review(app, actor, grant_id, accept_gaps=body.accept_gaps))

    for name, act in _ACTS.items():
        _serve(app, routes, name, act)
    return routes


def _out(grant: Grant) -> dict[str, Any]:
    drill = "drill_" if grant.scope == DRILL and grant.status == "approved" else ""
    step = _NEXT.get(drill + grant.status, "Nothing to do.").format(id=grant.id)
    if grant.gaps_accepted and grant.status == "to_close":
        step += " A part of the store's log is gone. What was done in that time is unknown."
    return GlassReply.fields(grant, next_step=step)


def _with_uses(grant: Grant, uses: Iterable[GlassUse]) -> dict[str, Any]:
    return _out(grant) | {"uses": list(uses)}
