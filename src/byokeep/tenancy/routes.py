"""Routes of clients, of people and machines, and of the names behind ids. Logins and passwords are the broker's."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BeforeValidator, Field

from byokeep.core.model import Actor, Client, ClientId, Risk, Role
from byokeep.http.openapi import describe, refusals
from byokeep.http.reply import At, Reply
from byokeep.http.request import Authenticator, Id, PathId, Strict, caller, json_body, no_query
from byokeep.kernel.app import WebApp
from byokeep.tenancy import clients, operators, tokens
from byokeep.tenancy.schemas import ApiTokenReply, ClientReply, SubjectReply
from byokeep.tenancy.tokens import Given

Name = Annotated[str, Field(max_length=200)]


class ClientBody(Strict):
    """Create a client."""

    name: Name
    risk: Literal["standard", "high"] = "standard"


class ClientsReply(Reply):
    """The caller's clients."""

    clients: list[ClientReply]


class GivenReply(Reply, of=Given, shows="kind by at"):
    """A credential of the caller that somebody else issued."""


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


def people(app: WebApp, auth: Authenticator) -> APIRouter:
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


class NamesBody(Strict):
    """Ids of people, machines and clients."""

    ids: Annotated[list[Id], Field(max_length=300)]


class NamesReply(Reply):
    """The names of the ids that are known to the caller."""

    names: dict[str, str]


def names(app: WebApp, auth: Authenticator) -> APIRouter:
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


def clients_router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes of clients."""
    routes = APIRouter(
        prefix="/v1/clients", tags=["clients"], dependencies=[Depends(no_query)], responses=refusals(403)
    )
    who = Depends(caller(auth))
    client_body = Depends(json_body(ClientBody))

    @routes.post(
        "", status_code=201, response_model=ClientReply, openapi_extra=describe(ClientBody), responses=refusals(409)
    )
    async def create(actor: Actor = who, body: ClientBody = client_body) -> Client:
        """Create a client; enrolling brings it to life."""
        return await clients.create_client(app, actor, name=body.name, risk=Risk(body.risk))

    @routes.get("", response_model=ClientsReply)
    async def list_all(actor: Actor = who) -> dict[str, Any]:
        """List the caller's clients."""
        return {"clients": await clients.list_clients(app, actor)}

    @routes.get("/{client_id}", response_model=ClientReply)
    async def get(client_id: PathId, actor: Actor = who) -> Client:
        """Look at a client."""
        return await clients.get_client(app, actor, ClientId(client_id))

    return routes
