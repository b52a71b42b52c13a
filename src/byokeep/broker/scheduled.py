"""Routes of what is to be done later."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Depends, Request

from byokeep.broker.schemas import PlanBody, RequeueBody, ScheduledListReply, ScheduledReply
from byokeep.core.errors import Rejected
from byokeep.core.model import Actor, ClientId
from byokeep.http.body import PathId, json_body, no_query
from byokeep.http.emergency import Emergency
from byokeep.http.openapi import describe, refusals
from byokeep.http.token import Authenticator, caller
from byokeep.jobs import scheduled
from byokeep.jobs.scheduled import ScheduledEffect
from byokeep.kernel.app import BrokerApp


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
    routes = APIRouter(prefix="/v1", tags=["effects"], dependencies=[Depends(no_query)], responses=refusals(403))
    who = Depends(caller(auth))
    plan_body, requeue_body = Depends(json_body(PlanBody)), Depends(json_body(RequeueBody))

    @routes.post(
        "/effects/scheduled", status_code=201, response_model=ScheduledReply, openapi_extra=describe(PlanBody),
        responses=refusals(404, 409),
    )  # fmt: skip
    async def schedule(request: Request, actor: Actor = who, body: PlanBody = plan_body) -> ScheduledEffect:
        """Announce something to be done at a later time."""
        request.scope["state"]["tenant"] = body.client_id
        emergency.require_room()
        plan = scheduled.EffectPlan(
            client_id=ClientId(body.client_id), platform=body.platform, account=body.account, lane=body.lane,
            effect=body.effect, idempotency_key=body.idempotency_key, due_at=_time(body.due_at),
        )  # fmt: skip
        return await scheduled.schedule(app, actor, plan)

    @routes.get("/clients/{client_id}/effects/scheduled", response_model=ScheduledListReply)
    async def list_scheduled(request: Request, client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """List what a client has announced."""
        request.scope["state"]["tenant"] = client_id
        return {"effects": await scheduled.list_scheduled(app, actor, ClientId(client_id))}

    @routes.post(
        "/clients/{client_id}/effects/scheduled/{effect_id}/requeue", response_model=ScheduledReply,
        openapi_extra=describe(RequeueBody), responses=refusals(409),
    )  # fmt: skip
    async def requeue(
        request: Request, client_id: PathId, effect_id: PathId, actor: Actor = who, body: RequeueBody = requeue_body
    ) -> ScheduledEffect:
        """Put something announced back, with a new time."""
        request.scope["state"]["tenant"] = client_id
        return await scheduled.requeue(app, actor, ClientId(client_id), effect_id, _time(body.due_at))

    @routes.post(
        "/clients/{client_id}/effects/scheduled/{effect_id}/cancel", response_model=ScheduledReply,
        responses=refusals(409),
    )  # fmt: skip
    async def cancel(request: Request, client_id: PathId, effect_id: PathId, actor: Actor = who) -> ScheduledEffect:
        """Call something announced off."""
        request.scope["state"]["tenant"] = client_id
        return await scheduled.cancel(app, actor, ClientId(client_id), effect_id)

    return routes
