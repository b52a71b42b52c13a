"""Routes of transfers: an account of a platform goes to another client, on two people's word."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from byokeep.broker.words import TransferBody, TransferOfBody, transfer_out
from byokeep.core.model import Actor, ClientId
from byokeep.flows import transfers
from byokeep.flows.app import BrokerApp
from byokeep.flows.transfers import Wish
from byokeep.http.body import PathId, describe, json_body
from byokeep.http.token import Authenticator, caller


def router(app: BrokerApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1/accounts", tags=["accounts"])
    who = Depends(caller(auth))
    ask_body, approve_body = Depends(json_body(TransferBody)), Depends(json_body(TransferOfBody))

    @routes.post("/transfers", status_code=201, openapi_extra=describe(TransferBody))
    async def ask(request: Request, actor: Actor = who, body: TransferBody = ask_body) -> JSONResponse:
        """Ask for an account to go to a client; an admin must approve. 200 with the request that waits, if one does."""
        request.scope["state"]["tenant"] = body.client_id
        made = await transfers.request_transfer(app, actor, _wish(body), body.reason)
        return JSONResponse(transfer_out(made), 200 if made.repeated else 201)

    @routes.post("/transfers/{request_id}/approve", openapi_extra=describe(TransferOfBody))
    async def approve(
        request: Request, request_id: PathId, actor: Actor = who, body: TransferOfBody = approve_body
    ) -> dict[str, Any]:
        """Let it go, as the second person; client, login and account must be those that were asked for."""
        request.scope["state"]["tenant"] = body.client_id
        return transfer_out(await transfers.approve_transfer(app, actor, request_id, _wish(body)))

    return routes


def _wish(body: TransferOfBody) -> Wish:
    return Wish(client_id=ClientId(body.client_id), login=body.login, external_id=body.account)
