"""Routes of our apps at the platforms and of consents: begin one, bring its answer, look at it.

Rules
- What a platform sent back comes in as a raw body and is read by hand: no model, so no message can repeat a code.
"""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from byokeep.core.errors import Rejected
from byokeep.core.identity import spelt
from byokeep.core.model import Actor, ClientId
from byokeep.core.secret import Secret
from byokeep.flows import apps, connect
from byokeep.flows.app import WebApp
from byokeep.flows.apps import OurApp
from byokeep.flows.connect import Answer, Started
from byokeep.flows.connections import Connection
from byokeep.http.body import PathId, Strict, describe, json_body, no_query, read_bytes
from byokeep.http.people import at_out
from byokeep.http.token import Authenticator, caller
from byokeep.ports import LoginInfo
from byokeep.web.clients import spend
from byokeep.web.limits import Budget
from byokeep.web.words import query_of

MAX_SECRET: Final = 4 * 1024  # bytes
MAX_ANSWER: Final = 16 * 1024  # bytes
_FIELDS: Final = frozenset({"state", "binding", "redirect", "code", "iss", "error"})
_NEEDED: Final = ("state", "binding", "redirect")
_RAW: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
Word = Annotated[str, Field(max_length=32)]


class ConnectBody(Strict):
    """Begin to connect an account; without purposes it is for what it was for before."""

    purposes: Annotated[list[Word], Field(max_length=4)] | None = None
    pick: Annotated[str, Field(max_length=256)] | None = None


def app_routes(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes of logins and of our apps at them."""
    routes = APIRouter(prefix="/v1", tags=["accounts"])
    who = Depends(caller(auth))

    @routes.get("/logins", dependencies=[Depends(no_query)])
    async def logins(actor: Actor = who) -> dict[str, Any]:
        """List the ways to log in at platforms, and what each can do."""
        return {"logins": [login_out(one) for one in await apps.list_logins(app, actor)]}

    @routes.get("/apps", dependencies=[Depends(no_query)])
    async def list_apps(actor: Actor = who) -> dict[str, Any]:
        """List our apps at the platforms; never a secret."""
        return {"apps": [app_out(one) for one in await apps.list_apps(app, actor)]}

    @routes.put("/apps/{login}", openapi_extra=_RAW)
    async def set_app(request: Request, login: str, actor: Actor = who) -> dict[str, Any]:
        """Name our app at a login; the whole body is its secret, empty for a public app."""
        given = query_of(request, "app_id", "redirect_uri")
        if set(given) != {"app_id", "redirect_uri"}:
            raise Rejected("bad_request", next_step="Name app_id and redirect_uri.")
        raw = await _body(request, MAX_SECRET)
        made = await apps.set_app(
            app, actor, login=login, app_id=given["app_id"], redirect_uri=given["redirect_uri"],
            secret=Secret(raw) if raw else None,
        )  # fmt: skip
        return app_out(made)

    return routes


def router(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes of consents."""
    routes = APIRouter(prefix="/v1/clients/{client_id}", tags=["accounts"], dependencies=[Depends(no_query)])
    who, body_ = Depends(caller(auth)), Depends(json_body(ConnectBody))

    @routes.post("/logins/{login}/accounts/{account}/connect", status_code=201, openapi_extra=describe(ConnectBody))
    async def begin(
        request: Request, client_id: PathId, login: str, account: str, actor: Actor = who, body: ConnectBody = body_
    ) -> JSONResponse:
        """Begin to connect an account; the address and the binding are for the caller alone."""
        spend(request, writes, actor, ClientId(client_id))
        begun = await connect.start(
            app, actor, ClientId(client_id), login=login, account=account, purposes=body.purposes, wanted=body.pick
        )
        return JSONResponse(started_out(begun), 201)

    @routes.post("/connections/{connection_id}/answer", openapi_extra=_RAW)
    async def answer(request: Request, client_id: PathId, connection_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Bring what the platform sent back with the person's browser."""
        spend(request, writes, actor, ClientId(client_id))
        said = read_answer(await _body(request, MAX_ANSWER))
        return connection_out(await connect.answer(app, actor, ClientId(client_id), connection_id, said))

    @routes.get("/connections/{connection_id}")
    async def look(client_id: PathId, connection_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Look at a consent: where it stands, and why it ended."""
        return connection_out(await connect.look(app, actor, ClientId(client_id), connection_id))

    return routes


async def _body(request: Request, limit: int) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/octet-stream":
        raise Rejected("unsupported_media_type", next_step="Send the body as application/octet-stream.")
    return await read_bytes(request, limit=limit)


def read_answer(raw: bytes) -> Answer:
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
    return Answer(
        state=given["state"], binding=given["binding"], redirect=given["redirect"], code=given.get("code"),
        iss=given.get("iss"), error="error" in given, refused=given.get("error") == "access_denied",
    )  # fmt: skip


def login_out(one: LoginInfo) -> dict[str, Any]:
    """Return the wire form of a login."""
    return {
        "login": one.id, "platform": one.provider.value, "name": one.name, "oauth": "code" if one.oauth else "none",
        "lanes": [lane.value for lane in one.lanes], "purposes": list(one.purposes), "why": one.why_not,
    }  # fmt: skip


def app_out(one: OurApp) -> dict[str, Any]:
    """Return the wire form of our app at a login."""
    return {
        "login": one.login, "platform": one.provider.value, "app_id": one.app_id, "redirect_uri": one.redirect_uri,
        "secret_version": one.secret_version, "set_at": at_out(one.set_at), "set_by": str(one.set_by),
    }  # fmt: skip


def started_out(begun: Started) -> dict[str, Any]:
    """Return the wire form of a consent as it begins, this once with its address and binding."""
    return {
        "connection": str(begun.id), "sop": str(begun.sop_id), "account_id": str(begun.account_id),
        "authorize_url": begun.url, "binding": begun.binding, "redirect_uri": begun.redirect_uri,
        "expires_at": at_out(begun.expires_at),
    }  # fmt: skip


def connection_out(one: Connection) -> dict[str, Any]:
    """Return the wire form of a consent."""
    return {
        "connection": str(one.id), "client_id": str(one.client_id), "account_id": str(one.account_id),
        "sop": str(one.sop_id), "login": one.login, "purposes": list(one.purposes), "state": one.state,
        "reason": one.reason, "code_points": spelt(one.code_points), "held_as": one.held_as,
        "offered": [dict(zip(("id", "name"), line.split(" ", 1), strict=True)) for line in one.offered],
        "started_by": str(one.started_by), "started_at": at_out(one.started_at),
        "expires_at": at_out(one.expires_at), "ended_at": at_out(one.ended_at),
    }  # fmt: skip
