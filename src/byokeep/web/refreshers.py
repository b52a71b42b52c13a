"""Routes of the machines that renew tokens: who has renewals under way, and that one will not come back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from byokeep.core.model import Actor
from byokeep.flows import refreshers
from byokeep.flows.app import WebApp
from byokeep.http.body import PathId, Strict, describe, json_body, no_query
from byokeep.http.people import at_out
from byokeep.http.token import Authenticator, caller


class GoneBody(Strict):
    """Say why a machine will not come back."""

    reason: Annotated[str, Field(max_length=63)]


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1/refreshers", tags=["accounts"], dependencies=[Depends(no_query)])
    who, body_ = Depends(caller(auth)), Depends(json_body(GoneBody))

    @routes.get("")
    async def list_refreshers(actor: Actor = who) -> dict[str, Any]:
        """List the machines that have renewals of tokens under way."""
        found = await refreshers.list_refreshers(app, actor)
        return {
            "refreshers": [
                {
                    "owner": str(one.owner), "renewals": one.renewals, "oldest_at": at_out(one.oldest_at),
                    "newest_at": at_out(one.newest_at), "gone": one.gone,
                }
                for one in found
            ]
        }  # fmt: skip

    @routes.post("/{owner}/gone", openapi_extra=describe(GoneBody))
    async def gone(owner: PathId, actor: Actor = who, body: GoneBody = body_) -> dict[str, Any]:
        """Say that a machine will not come back; another takes up its renewals."""
        return {"owner": str(owner), "renewals": await refreshers.declare_gone(app, actor, owner, body.reason)}

    return routes
