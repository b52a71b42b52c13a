"""Routes of the side-effect gate: permits, identity, its published schema."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from byokeep.broker.schemas import CloseBody, GateReply, IdentityReply, PermitBody, PermitReply, SeenBody, StateReply
from byokeep.core.errors import Rejected
from byokeep.core.model import Actor, ClientId, Lane
from byokeep.core.policy import gate_schema
from byokeep.http.body import PathId, json_body, no_query
from byokeep.http.emergency import Emergency
from byokeep.http.openapi import describe, refusals
from byokeep.http.token import Authenticator, caller
from byokeep.jobs import effect
from byokeep.kernel.app import BrokerApp


async def _wish(request: Request) -> effect.EffectRequest | None:
    """Read a wish; None when it can not be understood: the gate answers that itself, with a denial."""
    try:
        body = await json_body(PermitBody)(request)
    except Rejected:
        return None
    return effect.EffectRequest(**body.model_dump())


def router(app: BrokerApp, auth: Authenticator, emergency: Emergency) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1", tags=["effects"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))
    close_body = Depends(json_body(CloseBody))
    seen_body = Depends(json_body(SeenBody))
    wish_body = Depends(_wish)

    @routes.get("/gate/schema", response_model=GateReply, openapi_extra={"security": [{}, {"bearer": []}]})
    async def schema(request: Request) -> dict[str, Any]:
        """Return the gate's schema: inputs, effects, lanes, reasons. Public; a shown credential must be good."""
        if "authorization" in request.headers:
            await caller(auth)(request)
        return gate_schema()

    @routes.post(
        "/leases/{lease_id}/permits", status_code=201, response_model=PermitReply, openapi_extra=describe(PermitBody),
        responses=refusals(403, 409),
    )  # fmt: skip
    async def issue_permit(
        lease_id: PathId, actor: Actor = who, wish: effect.EffectRequest | None = wish_body
    ) -> JSONResponse:
        """Ask for leave to cause one effect."""
        emergency.require_room()
        permit = await effect.issue_permit(app, actor, lease_id, wish)
        return JSONResponse(
            {"permit_id": str(permit.id), "expires_at": permit.expires_at.isoformat(), "ttl_s": permit.ttl_s}, 201
        )

    @routes.post(
        "/permits/{permit_id}/close", response_model=StateReply, openapi_extra=describe(CloseBody),
        responses=refusals(403, 409),
    )  # fmt: skip
    async def close_permit(permit_id: PathId, actor: Actor = who, body: CloseBody = close_body) -> dict[str, Any]:
        """Say whether the effect happened."""
        return {"state": await effect.close_permit(app, actor, permit_id, body.outcome)}

    @routes.post(
        "/accounts/{client_id}/{platform}/{account}/identity", response_model=IdentityReply,
        openapi_extra=describe(SeenBody), responses=refusals(403),
    )  # fmt: skip
    async def report_identity(
        request: Request, client_id: PathId, platform: str, account: str, actor: Actor = who,
        body: SeenBody = seen_body,
    ) -> dict[str, Any]:  # fmt: skip
        """Report what the platform says about an account; the broker compares."""
        request.scope["state"]["tenant"] = client_id
        seen = effect.ObservedAccount(
            id=body.id, username=body.username, display_name=body.display_name, lane=Lane(body.lane)
        )
        return {
            "identity": await effect.report_identity(
                app, actor, ClientId(client_id), platform, account, body.lease_id, seen
            )
        }

    return routes
