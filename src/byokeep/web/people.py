"""Who a caller is, and the lists of people, machines and tokens. Logins and passwords are the broker's."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BeforeValidator

from byokeep.core.model import Actor, Role
from byokeep.http.body import PathId, no_query
from byokeep.http.openapi import refusals
from byokeep.http.people import ApiTokenReply, SubjectReply
from byokeep.http.reply import At, Reply
from byokeep.http.token import Authenticator, caller
from byokeep.kernel.app import WebApp
from byokeep.tenancy import operators, tokens


class GivenReply(Reply):
    """A credential of the caller that somebody else issued."""

    kind: str
    by: str
    at: At


class SelfReply(Reply):
    """Who calls; ``clients`` is null for all of them."""

    id: UUID
    name: str
    roles: Annotated[list[Role], BeforeValidator(sorted)]
    clients: list[UUID] | None
    approvals_held: bool
    held_until: At | None
    issued_by_others: list[GivenReply]


class SubjectsReply(Reply):
    """People and machines."""

    operators: list[SubjectReply]


class TokensReply(Reply):
    """Live tokens, without the tokens."""

    tokens: list[ApiTokenReply]


def sessions(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the route that tells a caller who it is."""
    routes = APIRouter(prefix="/v1", tags=["sessions"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))

    @routes.get("/self", response_model=SelfReply)
    async def me(actor: Actor = who) -> dict[str, Any]:
        """Tell a caller who it is, and who issued credentials of it lately."""
        return {
            "id": actor.id, "name": actor.name, "roles": actor.roles,
            "clients": None if actor.clients is None else sorted(actor.clients), "approvals_held": actor.held,
            "held_until": actor.held_until, "issued_by_others": await tokens.issued_by_others(app, actor),
        }  # fmt: skip

    return routes


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return what people are asked about here; whoever makes or changes one does so at the broker."""
    routes = APIRouter(prefix="/v1", tags=["people"], dependencies=[Depends(no_query)], responses=refusals(403))
    who = Depends(caller(auth))

    @routes.get("/operators", response_model=SubjectsReply)
    async def list_subjects(actor: Actor = who) -> dict[str, Any]:
        """List people and machines."""
        return {"operators": await operators.list_subjects(app, actor)}

    async def list_tokens(subject_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """List live tokens, without the tokens."""
        return {"tokens": await tokens.list_tokens(app, actor, subject_id)}

    for room in ("operators", "machines"):
        routes.add_api_route(
            f"/{room}/{{subject_id}}/tokens", list_tokens, methods=["GET"], name=f"tokens_{room}",
            response_model=TokensReply,
        )  # fmt: skip

    return routes
