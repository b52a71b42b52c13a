"""Who a caller is, and the lists of people, machines and tokens. Logins and passwords are the broker's."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from byokeep.core.model import Actor
from byokeep.flows import operators, tokens
from byokeep.flows.app import WebApp
from byokeep.http.body import PathId, no_query
from byokeep.http.people import at_out, subject_out, token_out
from byokeep.http.token import Authenticator, caller


def sessions(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the route that tells a caller who it is."""
    routes = APIRouter(prefix="/v1", tags=["sessions"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))

    @routes.get("/self")
    async def me(actor: Actor = who) -> dict[str, Any]:
        """Tell a caller who it is, and who issued credentials of it lately."""
        clients = None if actor.clients is None else sorted(str(client) for client in actor.clients)
        given = await tokens.issued_by_others(app, actor)
        return {
            "id": str(actor.id), "name": actor.name, "roles": sorted(role.value for role in actor.roles),
            "clients": clients,
            "approvals_held": actor.held, "held_until": at_out(actor.held_until),
            "issued_by_others": [{"kind": one.kind, "by": one.by, "at": at_out(one.at)} for one in given],
        }  # fmt: skip

    return routes


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return what people are asked about here; whoever makes or changes one does so at the broker."""
    routes = APIRouter(prefix="/v1", tags=["people"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))

    @routes.get("/operators")
    async def list_subjects(actor: Actor = who) -> dict[str, Any]:
        """List people and machines."""
        return {"operators": [subject_out(found) for found in await operators.list_subjects(app, actor)]}

    async def list_tokens(subject_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """List live tokens, without the tokens."""
        return {"tokens": [token_out(found) for found in await tokens.list_tokens(app, actor, subject_id)]}

    for room in ("operators", "machines"):
        path = f"/{room}/{{subject_id}}/tokens"
        routes.add_api_route(path, list_tokens, methods=["GET"], name=f"tokens_{room}")

    return routes
