"""Routes of the kill switches and of what lets a client's work go on: enrolling, suspending, resuming."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from byokeep.broker.schemas import OpenRequestReply, ScopeBody, StateReply, SwitchesReply, SwitchReply
from byokeep.core.model import Actor, Client, ClientId
from byokeep.http.body import PathId, json_body, no_query
from byokeep.http.clients import ClientReply
from byokeep.http.emergency import Emergency
from byokeep.http.openapi import describe, refusals
from byokeep.http.token import Authenticator, caller
from byokeep.jobs import lease, switches
from byokeep.jobs.switches import Switch
from byokeep.kernel.app import BrokerApp
from byokeep.tenancy import clients
from byokeep.tenancy.scopes import parse_scope


def router(app: BrokerApp, auth: Authenticator, emergency: Emergency) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1", tags=["switches"], dependencies=[Depends(no_query)], responses=refusals(403))
    who, who_stops = Depends(caller(auth)), Depends(caller(emergency.admitting(auth)))
    scope_body = Depends(json_body(ScopeBody))

    @routes.get("/switches", response_model=SwitchesReply)
    async def list_switches(actor: Actor = who) -> dict[str, Any]:
        """List the switches the caller may see, and the requests to open them that wait for an approver."""
        found = await switches.list_switches(app, actor)
        waiting = await switches.list_requests(app, actor)
        return {"switches": found, "requests": waiting}

    @routes.post(
        "/switches/close", response_model=SwitchReply, openapi_extra=describe(ScopeBody), responses=refusals(404)
    )
    async def close(request: Request, actor: Actor = who_stops, body: ScopeBody = scope_body) -> Response:
        """Kill: acknowledged when nothing can start any more, in the store as well."""
        request.scope["state"]["tenant"] = body.client_id
        scope = parse_scope(body.client_id, body.platform, body.lane)
        return SwitchReply.answer(await emergency.stopping(lambda: switches.close(app, actor, scope, body.reason)), 200)

    @routes.post(
        "/switches/open-requests", status_code=201, response_model=OpenRequestReply,
        openapi_extra=describe(ScopeBody), responses=refusals(404, 409) | {200: {"model": OpenRequestReply}},
    )  # fmt: skip
    async def request_open(request: Request, actor: Actor = who, body: ScopeBody = scope_body) -> Response:
        """Ask to open a switch; another person must approve. 200 with the request that waits already, if one does."""
        request.scope["state"]["tenant"] = body.client_id
        scope = parse_scope(body.client_id, body.platform, body.lane)
        request_ = await switches.request_open(app, actor, scope, body.reason)
        return OpenRequestReply.answer(request_, 200 if request_.repeated else 201)

    @routes.post("/switches/open-requests/{request_id}/approve", response_model=SwitchReply, responses=refusals(409))
    async def approve_open(request_id: PathId, actor: Actor = who) -> Switch:
        """Open a switch as the second person."""
        return await switches.approve_open(app, actor, request_id)

    @routes.post("/clients/{client_id}/enroll", response_model=StateReply, responses=refusals(409))
    async def enroll_client(request: Request, client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Bring a new client to life at the store."""
        request.scope["state"]["tenant"] = client_id
        return {"state": await lease.enroll_client(app, actor, ClientId(client_id))}

    @routes.post("/clients/{client_id}/suspend", response_model=ClientReply, responses=refusals(409))
    async def suspend(request: Request, client_id: PathId, actor: Actor = who) -> Client:
        """Stop all work for a client."""
        request.scope["state"]["tenant"] = client_id
        return await clients.suspend_client(app, actor, ClientId(client_id))

    @routes.post("/clients/{client_id}/resume", response_model=ClientReply, responses=refusals(409))
    async def resume(request: Request, client_id: PathId, actor: Actor = who) -> Client:
        """Let a suspended client's work go on."""
        request.scope["state"]["tenant"] = client_id
        return await clients.resume_client(app, actor, ClientId(client_id))

    return routes
