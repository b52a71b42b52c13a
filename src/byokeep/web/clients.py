"""Routes of clients and their platform accounts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from byokeep.core.model import Actor, ClientId, Lane, Risk, Role
from byokeep.flows import account_state, accounts, clients, refs
from byokeep.flows.app import WebApp
from byokeep.http.body import PathId, describe, json_body, no_query
from byokeep.http.token import Authenticator, caller
from byokeep.web.limits import Budget
from byokeep.web.words import (
    AccountBody,
    ClientBody,
    LanesBody,
    account_out,
    client_out,
    ref_out,
    transition_out,
)


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
    routes = APIRouter(prefix="/v1/clients", tags=["clients"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))
    client_body = Depends(json_body(ClientBody))

    @routes.post("", status_code=201, openapi_extra=describe(ClientBody))
    async def create(actor: Actor = who, body: ClientBody = client_body) -> JSONResponse:
        """Create a client; enrolling brings it to life."""
        return JSONResponse(
            client_out(await clients.create_client(app, actor, name=body.name, risk=Risk(body.risk))), 201
        )

    @routes.get("")
    async def list_all(actor: Actor = who) -> dict[str, Any]:
        """List the caller's clients."""
        return {"clients": [client_out(found) for found in await clients.list_clients(app, actor)]}

    @routes.get("/{client_id}")
    async def get(client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Look at a client."""
        return client_out(await clients.get_client(app, actor, ClientId(client_id)))

    @routes.post("/{client_id}/suspend")
    async def suspend(client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Stop all work for a client."""
        return client_out(await clients.suspend_client(app, actor, ClientId(client_id)))

    @routes.post("/{client_id}/resume")
    async def resume(client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Let a suspended client's work go on."""
        return client_out(await clients.resume_client(app, actor, ClientId(client_id)))

    @routes.get("/{client_id}/export")
    async def export(client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Give out everything known of a client's keys, without a value: to move to another store."""
        one = ClientId(client_id)
        found = [ref_out(ref) for ref in await refs.list_refs(app, actor, one)]
        return {
            "client": client_out(await clients.get_client(app, actor, one)),
            "refs": found,
            "transitions": [transition_out(change) for change in await refs.transitions(app, actor, one)],
            "accounts": [account_out(account) for account in await accounts.list_accounts(app, actor, one)],
        }

    return routes


def account_router(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes of platform accounts."""
    routes = APIRouter(prefix="/v1/clients", tags=["accounts"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))
    account_body = Depends(json_body(AccountBody))
    lanes_body = Depends(json_body(LanesBody))

    @routes.post("/{client_id}/accounts", status_code=201, openapi_extra=describe(AccountBody))
    async def register(
        request: Request, client_id: PathId, actor: Actor = who, body: AccountBody = account_body
    ) -> JSONResponse:
        """Register an account and the identity it must show."""
        spend(request, writes, actor, ClientId(client_id))
        made = await accounts.register_account(
            app, actor, ClientId(client_id), platform=body.platform, account=body.account, username=body.username,
            display_name=body.display_name,
        )  # fmt: skip
        return JSONResponse(account_out(made), 201)

    @routes.post("/{client_id}/accounts/{platform}/{account}/lanes", openapi_extra=describe(LanesBody))
    async def lanes(
        request: Request, client_id: PathId, platform: str, account: str, actor: Actor = who,
        body: LanesBody = lanes_body,
    ) -> dict[str, Any]:  # fmt: skip
        """Set which lanes may be used with an account."""
        spend(request, writes, actor, ClientId(client_id))
        return account_out(
            await account_state.set_lanes_by_hand(
                app,
                actor,
                ClientId(client_id),
                platform=platform,
                account=account,
                lanes=frozenset(Lane(lane) for lane in body.lanes),
            )
        )

    return routes
