"""Routes of transfers: an account of a platform goes to another client, on two people's word."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from byokeep.broker.schemas import TransferBody, TransferOfBody, TransferReply
from byokeep.core.model import Actor, ClientId
from byokeep.http.body import PathId, json_body, no_query
from byokeep.http.openapi import describe, refusals
from byokeep.http.token import Authenticator, caller
from byokeep.kernel.app import BrokerApp
from byokeep.tenancy import transfers
from byokeep.tenancy.transfers import TransferRequest


def router(app: BrokerApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(
        prefix="/v1/accounts", tags=["accounts"], dependencies=[Depends(no_query)], responses=refusals(403, 409)
    )
    who = Depends(caller(auth))
    ask_body, approve_body = Depends(json_body(TransferBody)), Depends(json_body(TransferOfBody))

    @routes.post(
        "/transfers", status_code=201, response_model=TransferReply, openapi_extra=describe(TransferBody),
        responses=refusals(404) | {200: {"model": TransferReply}},
    )  # fmt: skip
    async def ask(request: Request, actor: Actor = who, body: TransferBody = ask_body) -> Response:
        """Ask for an account to go to a client; an admin must approve. 200 with the request that waits, if one does."""
        request.scope["state"]["tenant"] = body.client_id
        made = await transfers.request_transfer(app, actor, _wish(body), body.reason)
        return TransferReply.answer(made, 200 if made.repeated else 201)

    @routes.post(
        "/transfers/{request_id}/approve", response_model=TransferReply, openapi_extra=describe(TransferOfBody)
    )
    async def approve(
        request: Request, request_id: PathId, actor: Actor = who, body: TransferOfBody = approve_body
    ) -> Response:
        """Let it go, as the second person; client, login and account must be those that were asked for."""
        request.scope["state"]["tenant"] = body.client_id
        return TransferReply.answer(await transfers.approve_transfer(app, actor, request_id, _wish(body)), 200)

    return routes


def _wish(body: TransferOfBody) -> TransferRequest:
    return TransferRequest(client_id=ClientId(body.client_id), login=body.login, external_id=body.account)
