"""The route that names ids the caller already holds."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from byokeep.core.model import Actor
from byokeep.flows import names
from byokeep.flows.app import WebApp
from byokeep.http.body import Id, Strict, describe, json_body, no_query
from byokeep.http.token import Authenticator, caller


class NamesBody(Strict):
    """Ids of people, machines and clients."""

    ids: Annotated[list[Id], Field(max_length=300)]


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the route."""
    routes = APIRouter(prefix="/v1", tags=["names"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))
    names_body = Depends(json_body(NamesBody))

    @routes.post("/names", openapi_extra=describe(NamesBody))
    async def name(actor: Actor = who, body: NamesBody = names_body) -> dict[str, Any]:
        """Name people, machines and the caller's clients by their ids."""
        found = await names.names_of(app, actor, body.ids)
        return {"names": {str(one): text for one, text in found.items()}}

    return routes
