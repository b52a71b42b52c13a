"""Routes of the machines that renew tokens: who has renewals under way, and that one will not come back."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import Field

from byokeep.accounts import accounts
from byokeep.core.model import Actor
from byokeep.http.body import PathId, Strict, json_body, no_query
from byokeep.http.openapi import describe, refusals
from byokeep.http.reply import At, Reply
from byokeep.http.token import Authenticator, caller
from byokeep.kernel.app import WebApp


class GoneBody(Strict):
    """Say why a machine will not come back."""

    reason: Annotated[str, Field(max_length=63)]


class RefresherReply(Reply):
    """A machine that has renewals of tokens under way."""

    owner: UUID
    renewals: int
    oldest_at: At
    newest_at: At
    gone: bool


class RefreshersReply(Reply):
    """The machines that have renewals of tokens under way."""

    refreshers: list[RefresherReply]


class GoneReply(Reply):
    """How many renewals another machine takes up."""

    owner: UUID
    renewals: int


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(
        prefix="/v1/refreshers", tags=["accounts"], dependencies=[Depends(no_query)], responses=refusals(403)
    )
    who, body_ = Depends(caller(auth)), Depends(json_body(GoneBody))

    @routes.get("", response_model=RefreshersReply)
    async def list_refreshers(actor: Actor = who) -> dict[str, Any]:
        """List the machines that have renewals of tokens under way."""
        return {"refreshers": await accounts.list_refreshers(app, actor)}

    @routes.post("/{owner}/gone", response_model=GoneReply, openapi_extra=describe(GoneBody), responses=refusals(409))
    async def gone(owner: PathId, actor: Actor = who, body: GoneBody = body_) -> dict[str, Any]:
        """Say that a machine will not come back; another takes up its renewals."""
        return {"owner": owner, "renewals": await accounts.declare_gone(app, actor, owner, body.reason)}

    return routes
