"""Routes of what is to be done later."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from byokeep.broker.words import PlanBody, RequeueBody, announced_out
from byokeep.core.errors import Rejected
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb
from byokeep.flows import scheduled
from byokeep.flows.app import BrokerApp
from byokeep.flows.permission import on_record
from byokeep.http.body import PathId, describe, json_body
from byokeep.http.emergency import Emergency
from byokeep.http.token import Authenticator, caller


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Rejected("bad_due_at", next_step="Write the time with its zone, like 2026-03-01T09:00:00Z.")
    return found


def router(app: BrokerApp, auth: Authenticator, emergency: Emergency) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1", tags=["effects"])
    who = Depends(caller(auth))
    plan_body, requeue_body = Depends(json_body(PlanBody)), Depends(json_body(RequeueBody))

    @routes.post("/effects/scheduled", status_code=201, openapi_extra=describe(PlanBody))
    async def schedule(request: Request, actor: Actor = who, body: PlanBody = plan_body) -> JSONResponse:
        """Announce something to be done at a later time."""
        request.scope["state"]["tenant"] = body.client_id
        emergency.require_room()
        plan = scheduled.Plan(
            client_id=ClientId(body.client_id), platform=body.platform, account=body.account, lane=body.lane,
            effect=body.effect, idempotency_key=body.idempotency_key, due_at=_time(body.due_at),
        )  # fmt: skip
        made = await on_record(app, actor, Verb.EFFECT_SCHEDULE, body.client_id, scheduled.schedule(app, actor, plan))
        return JSONResponse(announced_out(made), 201)

    @routes.get("/clients/{client_id}/effects/scheduled")
    async def list_scheduled(request: Request, client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """List what a client has announced."""
        request.scope["state"]["tenant"] = client_id
        listed = scheduled.list_scheduled(app, actor, ClientId(client_id))
        found = await on_record(app, actor, Verb.EFFECT_LIST, client_id, listed)
        return {"effects": [announced_out(one) for one in found]}

    @routes.post("/clients/{client_id}/effects/scheduled/{effect_id}/requeue", openapi_extra=describe(RequeueBody))
    async def requeue(
        request: Request, client_id: PathId, effect_id: PathId, actor: Actor = who, body: RequeueBody = requeue_body
    ) -> dict[str, Any]:
        """Put something announced back, with a new time."""
        request.scope["state"]["tenant"] = client_id
        put = scheduled.requeue(app, actor, ClientId(client_id), effect_id, _time(body.due_at))
        return announced_out(await on_record(app, actor, Verb.EFFECT_MOVE, client_id, put))

    @routes.post("/clients/{client_id}/effects/scheduled/{effect_id}/cancel")
    async def cancel(
        request: Request, client_id: PathId, effect_id: PathId, actor: Actor = who
    ) -> dict[str, Any]:  # fmt: skip
        """Call something announced off."""
        request.scope["state"]["tenant"] = client_id
        off = scheduled.cancel(app, actor, ClientId(client_id), effect_id)
        return announced_out(await on_record(app, actor, Verb.EFFECT_MOVE, client_id, off))

    return routes
