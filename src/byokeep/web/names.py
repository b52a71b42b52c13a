"""The route that names ids the caller already holds."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from byokeep.core.model import Actor
from byokeep.http.body import Id, Strict, json_body, no_query
from byokeep.http.openapi import describe, refusals
from byokeep.http.reply import Reply
from byokeep.http.token import Authenticator, caller
from byokeep.kernel.app import WebApp
from byokeep.tenancy import clients


class NamesBody(Strict):
    """Ids of people, machines and clients."""

    ids: Annotated[list[Id], Field(max_length=300)]


class NamesReply(Reply):
    """The names of the ids that are known to the caller."""

    names: dict[str, str]


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the route."""
    routes = APIRouter(prefix="/v1", tags=["names"], dependencies=[Depends(no_query)], responses=refusals(403))
    who = Depends(caller(auth))
    names_body = Depends(json_body(NamesBody))

    @routes.post("/names", response_model=NamesReply, openapi_extra=describe(NamesBody))
    async def name(actor: Actor = who, body: NamesBody = names_body) -> dict[str, Any]:
        """Name people, machines and the caller's clients by their ids."""
        found = await clients.names_of(app, actor, body.ids)
        return {"names": {str(one): text for one, text in found.items()}}

    return routes
