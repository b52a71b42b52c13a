"""Routes of clients, of people and machines, and of the names behind ids. The broker has logins and passwords."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from byokeep.core import png
from byokeep.core.model import Actor, Client, ClientId, Risk
from byokeep.http.openapi import At, Reply, Routes, raw_body, refusals
from byokeep.http.request import Authenticator, Budget, Id, PathId, Strict, read_bytes, spend
from byokeep.kernel.app import WebApp
from byokeep.tenancy import clients, look, operators, sso, tokens
from byokeep.tenancy.clients import Named
from byokeep.tenancy.schemas import ApiTokenReply, ClientReply, SubjectReply
from byokeep.tenancy.tokens import Given

Name = Annotated[str, Field(max_length=200)]


class ClientBody(Strict):
    """Create a client."""

    name: Name
    risk: Literal["standard", "high"] = "standard"


class ColourBody(Strict):
    """The colour of a client's pages: six hex digits after ``#``."""

    colour: Annotated[str, Field(max_length=16)]


class LogoReply(Reply):
    """The logo of a client's pages: its length as it is kept, 0 = it has none."""

    client: UUID
    bytes: int


class ColourReply(Reply):
    """The colour of a client's pages."""

    client: UUID
    colour: str


class ClientsReply(Reply):
    """The caller's clients."""

    clients: list[ClientReply]


class GivenReply(Reply, of=Given, shows="kind by at"):
    """A credential of the caller that somebody else issued."""


class SelfReply(Reply, of=Actor, shows="id name roles clients approvals_held=held held_until token_since token_until"):
    """Who calls, and from when to when the token works that was shown; ``clients`` is null for all of them."""

    issued_by_others: list[GivenReply]
    linked_at: At | None


class ListedReply(SubjectReply):
    """A person or machine, and since when it signs in elsewhere."""

    linked_at: At | None


class SubjectsReply(Reply):
    """People and machines."""

    operators: list[ListedReply]


class TokensReply(Reply):
    """Live tokens, without the tokens."""

    tokens: list[ApiTokenReply]


def sessions(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the route that tells a caller who it is."""
    routes = Routes("sessions", auth)

    @routes.get("/self", response_model=SelfReply)
    async def me(actor: Actor) -> dict[str, Any]:
        """Tell a caller who it is, who issued credentials of it lately, and since when it signs in elsewhere."""
        others, since = await tokens.issued_by_others(app, actor), await sso.linked_at(app, actor.id)
        return SelfReply.fields(actor, issued_by_others=others, linked_at=since.get(actor.id))

    return routes


def people(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes that read people and machines; creating and changing them is for the broker."""
    routes = Routes("people", auth, 403)

    @routes.get("/operators", response_model=SubjectsReply)
    async def list_subjects(actor: Actor) -> dict[str, Any]:
        """List people and machines."""
        found = await operators.list_subjects(app, actor)
        since = await sso.linked_at(app)
        return {"operators": [ListedReply.fields(one, linked_at=since.get(one.id)) for one in found]}

    async def list_tokens(subject_id: PathId, actor: Actor) -> dict[str, Any]:
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


class FindBody(Strict):
    """A name, and the kinds of things that are meant."""

    kinds: Annotated[
        list[Literal["account", "client", "incident", "job", "key", "machine", "operator", "profile"]],
        Field(min_length=1),
    ]
    name: Annotated[str, Field(min_length=1, max_length=256)]


class NamedReply(Reply, of=Named, shows="id kind name"):
    """Something with a name."""


class FoundReply(Reply):
    """What a name stands for; more than one = it is ambiguous. ``near`` = names like it, when it stands for none."""

    found: list[NamedReply]
    near: list[NamedReply]


def names(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the route."""
    routes = Routes("names", auth, 403)

    @routes.post("/names", response_model=NamesReply)
    async def name(actor: Actor, body: NamesBody) -> dict[str, Any]:
        """Name people, machines and the caller's clients by their ids."""
        found = await clients.names_of(app, actor, body.ids)
        return {"names": {str(one): text for one, text in found.items()}}

    @routes.post("/names/find", response_model=FoundReply)
    async def find(actor: Actor, body: FindBody) -> dict[str, Any]:
        """Find the ids that a name stands for, or names like it when it stands for none."""
        found, near = await clients.find_named(app, actor, list(dict.fromkeys(body.kinds)), body.name)
        return {"found": found, "near": near}

    return routes


def clients_router(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes of clients. ``writes``: the budget a minute that one client's writes share."""
    routes = Routes("clients", auth, 403, prefix="/v1/clients")

    @routes.post("", status_code=201, response_model=ClientReply, responses=refusals(409))
    async def create(actor: Actor, body: ClientBody) -> Client:
        """Create a client; enrolling brings it to life."""
        return await clients.create_client(app, actor, name=body.name, risk=Risk(body.risk))

    @routes.get("", response_model=ClientsReply)
    async def list_all(actor: Actor) -> dict[str, Any]:
        """List the caller's clients."""
        return {"clients": await clients.list_clients(app, actor)}

    @routes.get("/{client_id}", response_model=ClientReply)
    async def get(client_id: PathId, actor: Actor) -> Client:
        """Look at a client."""
        return await clients.get_client(app, actor, ClientId(client_id))

    @routes.put("/{client_id}/colour", response_model=ColourReply)
    async def colour(client_id: PathId, actor: Actor, body: ColourBody) -> dict[str, Any]:
        """Give a client's pages of the portal a colour on which white words are easy to read."""
        return {"client": client_id, "colour": await look.set_colour(app, actor, ClientId(client_id), body.colour)}

    @routes.put("/{client_id}/logo", response_model=LogoReply, openapi_extra=raw_body(), responses=refusals(429))
    async def logo(request: Request, client_id: PathId, actor: Actor) -> dict[str, Any]:
        """Give a client's pages of the portal a logo, a PNG; the whole body is the file. Empty: it is taken away."""
        spend(request, writes, actor, ClientId(client_id))
        raw = await read_bytes(request, limit=png.MOST_BYTES + 1)
        return {"client": client_id, "bytes": await look.set_logo(app, actor, ClientId(client_id), raw)}

    return routes
