"""Routes of our apps at the platforms and of consents: begin one, bring its answer, look at it.

Rules
- What a platform sent back comes in as a raw body and is read by hand: no model, so no message can repeat a code.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BeforeValidator, Field

from byokeep.accounts import connect
from byokeep.accounts.connect import ConsentAnswer, Started
from byokeep.accounts.model import Connection, OurApp
from byokeep.core.errors import Rejected
from byokeep.core.identity import spelt
from byokeep.core.model import Actor, ClientId, Lane, Provider
from byokeep.core.secret import Secret
from byokeep.http.body import PathId, Strict, json_body, no_query, query_of, read_bytes
from byokeep.http.budget import Budget, spend
from byokeep.http.openapi import TEXT, describe, parameters, raw_body, refusals
from byokeep.http.reply import At, Reply
from byokeep.http.token import Authenticator, caller
from byokeep.kernel.app import WebApp

MAX_SECRET: Final = 4 * 1024  # bytes
MAX_ANSWER: Final = 16 * 1024  # bytes
_FIELDS: Final = frozenset({"state", "binding", "redirect", "code", "iss", "error"})
_NEEDED: Final = ("state", "binding", "redirect")
Word = Annotated[str, Field(max_length=32)]


class ConnectBody(Strict):
    """Begin to connect an account; without purposes it is for what it was for before."""

    purposes: Annotated[list[Word], Field(max_length=4)] | None = None
    pick: Annotated[str, Field(max_length=256)] | None = None


class LoginReply(Reply):
    """A way to log in at a platform, and what it can do."""

    login: Annotated[str, Field(validation_alias="id")]
    platform: Annotated[Provider, Field(validation_alias="provider")]
    name: str
    oauth: Annotated[Literal["code", "none"], BeforeValidator(lambda has: "code" if has else "none")]
    lanes: list[Lane]
    purposes: list[str]
    why: Annotated[str, Field(validation_alias="why_not")]


class LoginsReply(Reply):
    """The ways to log in at platforms."""

    logins: list[LoginReply]


class AppReply(Reply):
    """Our app at a login; never its secret."""

    login: str
    platform: Annotated[Provider, Field(validation_alias="provider")]
    app_id: str
    redirect_uri: str
    secret_version: int
    set_at: At
    set_by: UUID


class AppsReply(Reply):
    """Our apps at the platforms."""

    apps: list[AppReply]


class StartedReply(Reply):
    """A consent as it begins, this once with its address and binding."""

    connection: Annotated[UUID, Field(validation_alias="id")]
    sop: Annotated[UUID, Field(validation_alias="sop_id")]
    account_id: UUID
    authorize_url: Annotated[str, Field(validation_alias="url", repr=False)]
    binding: Annotated[str, Field(repr=False)]
    redirect_uri: str
    expires_at: At


class OfferedReply(Reply):
    """An account that a login opens."""

    id: str
    name: str


class ConnectionReply(Reply):
    """A consent: where it stands, and why it ended."""

    connection: UUID
    client_id: UUID
    account_id: UUID
    sop: UUID
    login: str
    purposes: list[str]
    state: str
    reason: str
    code_points: str
    held_as: str
    offered: list[OfferedReply]
    started_by: UUID
    started_at: At
    expires_at: At
    ended_at: At | None


def app_routes(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes of logins and of our apps at them."""
    routes = APIRouter(prefix="/v1", tags=["accounts"], responses=refusals(403))
    who = Depends(caller(auth))

    @routes.get("/logins", response_model=LoginsReply, dependencies=[Depends(no_query)])
    async def logins(actor: Actor = who) -> dict[str, Any]:
        """List the ways to log in at platforms, and what each can do."""
        return {"logins": await connect.list_logins(app, actor)}

    @routes.get("/apps", response_model=AppsReply, dependencies=[Depends(no_query)])
    async def list_apps(actor: Actor = who) -> dict[str, Any]:
        """List our apps at the platforms; never a secret."""
        return {"apps": await connect.list_apps(app, actor)}

    @routes.put(
        "/apps/{login}", response_model=AppReply, responses=refusals(409),
        openapi_extra=raw_body() | parameters({"app_id": TEXT, "redirect_uri": TEXT}, required=True),
    )  # fmt: skip
    async def set_app(request: Request, login: str, actor: Actor = who) -> OurApp:
        """Name our app at a login; the whole body is its secret, empty for a public app."""
        given = query_of(request, "app_id", "redirect_uri")
        if set(given) != {"app_id", "redirect_uri"}:
            raise Rejected("bad_request", next_step="Name app_id and redirect_uri.")
        raw = await _body(request, MAX_SECRET)
        return await connect.set_app(
            app, actor, login=login, app_id=given["app_id"], redirect_uri=given["redirect_uri"],
            secret=Secret(raw) if raw else None,
        )  # fmt: skip

    return routes


def router(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes of consents."""
    routes = APIRouter(
        prefix="/v1/clients/{client_id}", tags=["accounts"], dependencies=[Depends(no_query)], responses=refusals(403)
    )
    who, body_ = Depends(caller(auth)), Depends(json_body(ConnectBody))

    @routes.post(
        "/logins/{login}/accounts/{account}/connect", status_code=201, response_model=StartedReply,
        openapi_extra=describe(ConnectBody), responses=refusals(409, 429),
    )  # fmt: skip
    async def begin(
        request: Request, client_id: PathId, login: str, account: str, actor: Actor = who, body: ConnectBody = body_
    ) -> Started:
        """Begin to connect an account; the address and the binding are for the caller alone."""
        spend(request, writes, actor, ClientId(client_id))
        return await connect.start(
            app, actor, ClientId(client_id), login=login, account=account, purposes=body.purposes, wanted=body.pick
        )

    @routes.post(
        "/connections/{connection_id}/answer", response_model=ConnectionReply, openapi_extra=raw_body(),
        responses=refusals(409, 429),
    )  # fmt: skip
    async def answer(request: Request, client_id: PathId, connection_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Bring what the platform sent back with the person's browser."""
        spend(request, writes, actor, ClientId(client_id))
        said = read_answer(await _body(request, MAX_ANSWER))
        return connection_out(await connect.answer(app, actor, ClientId(client_id), connection_id, said))

    @routes.get("/connections/{connection_id}", response_model=ConnectionReply)
    async def look(client_id: PathId, connection_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Look at a consent: where it stands, and why it ended."""
        return connection_out(await connect.look(app, actor, ClientId(client_id), connection_id))

    return routes


async def _body(request: Request, limit: int) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/octet-stream":
        raise Rejected("unsupported_media_type", next_step="Send the body as application/octet-stream.")
    return await read_bytes(request, limit=limit)


def read_answer(raw: bytes) -> ConsentAnswer:
    """Read an answer: fields of a form, each once and known.

    Raises:
        Rejected: ``bad_answer``; nothing of it is repeated.
    """
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=8)
    except ValueError:
        pairs = []
    given = dict(pairs)
    if len(given) != len(pairs) or not set(given) <= _FIELDS or not all(given.get(name) for name in _NEEDED):
        raise Rejected("bad_answer", next_step="Start the connection again.")
    return ConsentAnswer(
        state=given["state"], binding=given["binding"], redirect=given["redirect"], code=given.get("code"),
        iss=given.get("iss"), error="error" in given, refused=given.get("error") == "access_denied",
    )  # fmt: skip


def connection_out(one: Connection) -> dict[str, Any]:
    """Return a consent."""
    return {
        "connection": one.id, "client_id": one.client_id, "account_id": one.account_id, "sop": one.sop_id,
        "login": one.login, "purposes": one.purposes, "state": one.state, "reason": one.reason,
        "code_points": spelt(one.code_points), "held_as": one.held_as,
        "offered": [dict(zip(("id", "name"), line.split(" ", 1), strict=True)) for line in one.offered],
        "started_by": one.started_by, "started_at": one.started_at, "expires_at": one.expires_at,
        "ended_at": one.ended_at,
    }  # fmt: skip
