"""Routes of sessions and passwords, and the lists of people, machines and tokens."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from byokeep.core.model import Actor
from byokeep.core.secret import Secret
from byokeep.flows import operators, tokens
from byokeep.flows.app import WebApp
from byokeep.flows.tokens import PasswordCheck
from byokeep.http.body import PathId, describe, json_body, no_query, read_bytes
from byokeep.http.people import at_out, issued_out, subject_out, token_out
from byokeep.http.problems import request_id
from byokeep.http.token import Authenticator, bearer, caller
from byokeep.web.limits import LoginBrake
from byokeep.web.words import LoginBody


def sessions(app: WebApp, auth: Authenticator, passwords: PasswordCheck, brake: LoginBrake) -> APIRouter:
    """Return the routes of sessions."""
    routes = APIRouter(prefix="/v1", tags=["sessions"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))
    login_body = Depends(json_body(LoginBody))

    @routes.post("/session", status_code=201, openapi_extra=describe(LoginBody))
    async def log_in(request: Request, body: LoginBody = login_body) -> JSONResponse:
        """Log in; the session ends after 8 hours."""
        source = request.client.host if request.client else "local"
        brake.attempt(body.name, source)
        issued = await tokens.log_in(
            app, passwords, name=body.name, password=Secret(body.password), request_id=request_id(request)
        )
        brake.succeeded(body.name, source)
        request.scope["state"]["actor"] = issued.token.subject_id
        return JSONResponse(issued_out(issued), 201)

    @routes.delete("/session", status_code=204)
    async def log_out(request: Request, actor: Actor = who) -> Response:
        """Log out: end the session whose token is shown."""
        await tokens.log_out(app, actor, bearer(request))
        return Response(status_code=204)

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


def router(app: WebApp, auth: Authenticator, passwords: PasswordCheck) -> APIRouter:
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

    @routes.put("/operators/{subject_id}/password", status_code=204)
    async def set_password(request: Request, subject_id: PathId, actor: Actor = who) -> Response:
        """Set one's own password; the whole body is the password. One's sessions end."""
        raw = await read_bytes(request, limit=tokens.MAX_PASSWORD + 1)
        await tokens.set_password(app, passwords, actor, subject_id, password=Secret(raw), length=len(raw))
        return Response(status_code=204)

    return routes
