"""Routes of sessions, people, machines and tokens."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from byokeep.core.model import Actor, Role
from byokeep.core.secret import Secret
from byokeep.flows import operators, tokens
from byokeep.flows.app import WebApp
from byokeep.flows.tokens import PasswordCheck
from byokeep.http.body import PathId, describe, json_body, no_query, read_bytes
from byokeep.http.problems import request_id
from byokeep.http.token import Authenticator, bearer, caller
from byokeep.web.limits import LoginBrake
from byokeep.web.words import (
    ChangeBody,
    LoginBody,
    MachineBody,
    OperatorBody,
    TokenBody,
    issued_out,
    subject_out,
    token_out,
)


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
        return JSONResponse(issued_out(issued), 201)

    @routes.delete("/session", status_code=204)
    async def log_out(request: Request, actor: Actor = who) -> Response:
        """Log out: end the session whose token is shown."""
        await tokens.log_out(app, actor, bearer(request))
        return Response(status_code=204)

    @routes.get("/self")
    async def me(actor: Actor = who) -> dict[str, Any]:
        """Tell a caller who it is."""
        clients = None if actor.clients is None else sorted(str(client) for client in actor.clients)
        return {"id": str(actor.id), "roles": sorted(role.value for role in actor.roles), "clients": clients}

    return routes


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes of people and machines."""
    routes = APIRouter(prefix="/v1", tags=["people"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))
    operator_body = Depends(json_body(OperatorBody))
    machine_body = Depends(json_body(MachineBody))
    change_body = Depends(json_body(ChangeBody))

    @routes.post("/operators", status_code=201, openapi_extra=describe(OperatorBody))
    async def create_operator(actor: Actor = who, body: OperatorBody = operator_body) -> JSONResponse:
        """Create a person, without any credential."""
        made = await operators.create_operator(
            app, actor, name=body.name, roles=frozenset(Role(role) for role in body.roles),
            clients=frozenset(body.clients), all_clients=body.all_clients,
        )  # fmt: skip
        return JSONResponse(subject_out(made), 201)

    @routes.post("/machines", status_code=201, openapi_extra=describe(MachineBody))
    async def create_machine(actor: Actor = who, body: MachineBody = machine_body) -> JSONResponse:
        """Create a dispatcher, runner or custodian, without any credential."""
        made = await operators.create_machine(
            app, actor, name=body.name, role=Role(body.role), clients=frozenset(body.clients),
            all_clients=body.all_clients,
        )  # fmt: skip
        return JSONResponse(subject_out(made), 201)

    @routes.get("/operators")
    async def list_subjects(actor: Actor = who) -> dict[str, Any]:
        """List people and machines."""
        return {"operators": [subject_out(found) for found in await operators.list_subjects(app, actor)]}

    async def change(subject_id: PathId, actor: Actor = who, body: ChangeBody = change_body) -> dict[str, Any]:
        """Change roles, state or clients; holds for the next call."""
        changed = await operators.change_subject(
            app, actor, subject_id,
            roles=None if body.roles is None else frozenset(Role(role) for role in body.roles),
            state=body.state, clients=None if body.clients is None else frozenset(body.clients),
            all_clients=body.all_clients,
        )  # fmt: skip
        return subject_out(changed)

    for room in ("operators", "machines"):
        routes.add_api_route(
            f"/{room}/{{subject_id}}", change, methods=["PATCH"], name=f"change_{room}",
            openapi_extra=describe(ChangeBody),
        )  # fmt: skip

    return routes


def credentials(app: WebApp, auth: Authenticator, passwords: PasswordCheck) -> APIRouter:
    """Return the routes of tokens and passwords."""
    routes = APIRouter(prefix="/v1", tags=["credentials"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))
    token_body = Depends(json_body(TokenBody))

    async def issue(subject_id: PathId, actor: Actor = who, body: TokenBody = token_body) -> JSONResponse:
        """Issue a token, shown this once; older ones end after `overlap_s`."""
        issued = await tokens.issue_token(app, actor, subject_id, days=body.days, overlap_s=body.overlap_s)
        return JSONResponse(issued_out(issued), 201)

    async def list_tokens(subject_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """List live tokens, without the tokens."""
        return {"tokens": [token_out(found) for found in await tokens.list_tokens(app, actor, subject_id)]}

    for room in ("operators", "machines"):
        path = f"/{room}/{{subject_id}}/tokens"
        routes.add_api_route(
            path, issue, methods=["POST"], status_code=201, name=f"issue_{room}", openapi_extra=describe(TokenBody)
        )
        routes.add_api_route(path, list_tokens, methods=["GET"], name=f"tokens_{room}")

    @routes.put("/operators/{subject_id}/password", status_code=204)
    async def set_password(request: Request, subject_id: PathId, actor: Actor = who) -> Response:
        """Set a password; the whole body is the password. Sessions of its owner end."""
        raw = await read_bytes(request, limit=tokens.MAX_PASSWORD + 1)
        await tokens.set_password(app, passwords, actor, subject_id, password=Secret(raw), length=len(raw))
        return Response(status_code=204)

    @routes.delete("/tokens/{token_id}")
    async def revoke(token_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """End a token now."""
        return token_out(await tokens.revoke_token(app, actor, token_id))

    return routes
