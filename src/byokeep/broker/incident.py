"""Routes of runbook 7.2: a platform of a client is closed, looked at, and let back in stages."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from byokeep.accounts import recovery
from byokeep.broker.schemas import (
    CanaryBody,
    LostBody,
    OpenRequestReply,
    PlatformsReply,
    StageReply,
    platform_out,
    stage_out,
)
from byokeep.core.model import Actor, ClientId
from byokeep.http.body import PathId, json_body, no_query
from byokeep.http.emergency import Emergency
from byokeep.http.openapi import describe, refusals
from byokeep.http.token import Authenticator, caller
from byokeep.kernel.app import BrokerApp


def router(app: BrokerApp, auth: Authenticator, emergency: Emergency) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1", tags=["incidents"], dependencies=[Depends(no_query)], responses=refusals(403))
    who, who_stops = Depends(caller(auth)), Depends(caller(emergency.admitting(auth)))
    lost_body, canary_body = Depends(json_body(LostBody)), Depends(json_body(CanaryBody))

    @routes.get("/clients/{client_id}/platforms", response_model=PlatformsReply, response_model_exclude_unset=True)
    async def list_platforms(request: Request, client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """List the platforms that a client lost at some time, and the canaries that wait for an approver."""
        request.scope["state"]["tenant"] = client_id
        found, waiting = await recovery.list_platforms(app, actor, ClientId(client_id))
        return {"platforms": [platform_out(one) for one in found], "requests": waiting}

    @routes.post(
        "/platforms/close", response_model=StageReply, openapi_extra=describe(LostBody), responses=refusals(404, 409)
    )
    async def close(request: Request, actor: Actor = who_stops, body: LostBody = lost_body) -> dict[str, Any]:
        """Close a platform for a client: acknowledged when no act on it can start any more."""
        request.scope["state"]["tenant"] = body.client_id
        state = await emergency.stopping(
            lambda: recovery.close_platform(app, actor, ClientId(body.client_id), body.platform, body.cause)
        )
        return stage_out(body.platform, state)

    @routes.post(
        "/platforms/canary-requests", status_code=201, response_model=OpenRequestReply,
        openapi_extra=describe(CanaryBody), responses=refusals(404, 409) | {200: {"model": OpenRequestReply}},
    )  # fmt: skip
    async def request_canary(request: Request, actor: Actor = who, body: CanaryBody = canary_body) -> Response:
        """Ask for the canary; another person must approve. 200 with the request that waits already, if one does."""
        request.scope["state"]["tenant"] = body.client_id
        request_ = await recovery.request_canary(
            app, actor, ClientId(body.client_id), body.platform, body.reason, stage=body.stage
        )
        return OpenRequestReply.answer(request_, 200 if request_.repeated else 201)

    @routes.post("/platforms/canary-requests/{request_id}/approve", response_model=StageReply, responses=refusals(409))
    async def approve_canary(request_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Begin the canary as the second person."""
        platform, state = await recovery.approve_canary(app, actor, request_id)
        return stage_out(platform, state)

    return routes
