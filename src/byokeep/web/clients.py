"""Routes of clients and their platform accounts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request

from byokeep.accounts import accounts
from byokeep.accounts.model import PlatformAccount
from byokeep.core.model import Actor, Client, ClientId, Lane, Risk, Role
from byokeep.http.body import PathId, json_body, no_query
from byokeep.http.clients import ClientReply
from byokeep.http.openapi import describe, refusals
from byokeep.http.token import Authenticator, caller
from byokeep.kernel.app import WebApp
from byokeep.keys import refs
from byokeep.tenancy import clients
from byokeep.web.limits import Budget
from byokeep.web.schemas import AccountBody, AccountReply, ClientBody, ClientsReply, ExportReply, LanesBody


def spend(request: Request, budget: Budget, actor: Actor, client_id: ClientId) -> None:
    """Take one write from a client's budget; who is not assigned to it, or writes nothing, can not use it up.

    Raises:
        RateLimited: ``too_many_requests``.
    """
    request.scope["state"]["tenant"] = client_id
    if Role.OPERATOR in actor.roles and (actor.clients is None or client_id in actor.clients):
        budget.spend(str(client_id))


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes of clients."""
    routes = APIRouter(
        prefix="/v1/clients", tags=["clients"], dependencies=[Depends(no_query)], responses=refusals(403)
    )
    who = Depends(caller(auth))
    client_body = Depends(json_body(ClientBody))

    @routes.post(
        "", status_code=201, response_model=ClientReply, openapi_extra=describe(ClientBody), responses=refusals(409)
    )
    async def create(actor: Actor = who, body: ClientBody = client_body) -> Client:
        """Create a client; enrolling brings it to life."""
        return await clients.create_client(app, actor, name=body.name, risk=Risk(body.risk))

    @routes.get("", response_model=ClientsReply)
    async def list_all(actor: Actor = who) -> dict[str, Any]:
        """List the caller's clients."""
        return {"clients": await clients.list_clients(app, actor)}

    @routes.get("/{client_id}", response_model=ClientReply)
    async def get(client_id: PathId, actor: Actor = who) -> Client:
        """Look at a client."""
        return await clients.get_client(app, actor, ClientId(client_id))

    @routes.get("/{client_id}/export", response_model=ExportReply)
    async def export(client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Give out everything known of a client's keys, without a value: to move to another store."""
        one = ClientId(client_id)
        found = await refs.list_refs(app, actor, one)
        return {
            "client": await clients.get_client(app, actor, one), "refs": found,
            "transitions": await refs.transitions(app, actor, one),
            "accounts": await accounts.list_accounts(app, actor, one),
        }  # fmt: skip

    return routes


def account_router(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes of platform accounts."""
    routes = APIRouter(
        prefix="/v1/clients", tags=["accounts"], dependencies=[Depends(no_query)], responses=refusals(403, 409, 429)
    )
    who = Depends(caller(auth))
    account_body = Depends(json_body(AccountBody))
    lanes_body = Depends(json_body(LanesBody))

    @routes.post(
        "/{client_id}/accounts", status_code=201, response_model=AccountReply, openapi_extra=describe(AccountBody)
    )
    async def register(
        request: Request, client_id: PathId, actor: Actor = who, body: AccountBody = account_body
    ) -> PlatformAccount:
        """Register an account and the identity it must show."""
        spend(request, writes, actor, ClientId(client_id))
        return await accounts.register_account(
            app, actor, ClientId(client_id), platform=body.platform, account=body.account, username=body.username,
            display_name=body.display_name,
        )  # fmt: skip

    @routes.post(
        "/{client_id}/accounts/{platform}/{account}/lanes",
        response_model=AccountReply,
        openapi_extra=describe(LanesBody),
    )
    async def lanes(
        request: Request, client_id: PathId, platform: str, account: str, actor: Actor = who,
        body: LanesBody = lanes_body,
    ) -> PlatformAccount:  # fmt: skip
        """Set which lanes may be used with an account."""
        spend(request, writes, actor, ClientId(client_id))
        return await accounts.set_lanes_by_hand(
            app, actor, ClientId(client_id), platform=platform, account=account,
            lanes=frozenset(Lane(lane) for lane in body.lanes),
        )  # fmt: skip

    return routes
