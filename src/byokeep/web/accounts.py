"""Routes of accounts: how they stand, through which lanes they may act, a look, a new name, an end."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from byokeep.accounts import accounts
from byokeep.accounts.accounts import AccountState
from byokeep.accounts.model import PlatformAccount
from byokeep.core.identity import shown
from byokeep.core.model import Actor, ClientId, Lane, LanePolicy
from byokeep.http.body import MAX_BODY, PathId, Strict, json_body, no_query, parse_object, read_bytes, shape
from byokeep.http.budget import Budget, spend
from byokeep.http.openapi import describe, refusals
from byokeep.http.reply import At, Reply
from byokeep.http.token import Authenticator, caller
from byokeep.kernel.app import WebApp

Shown = Annotated[str, Field(max_length=1200)]
_NEXT = {
    "not_connected": "connect",
    "needs_reauth": "connect",
    "unverified": "connect",
    "disconnected": "connect",
    "name_changed": "confirm-name",
}


class AccountBody(Strict):
    """Register an account."""

    platform: Annotated[str, Field(max_length=32)]
    account: Annotated[str, Field(max_length=200)]
    username: Annotated[str, Field(max_length=200)]
    display_name: Annotated[str, Field(max_length=200)]


class LanesBody(Strict):
    """Set an account's lanes."""

    lanes: Annotated[list[Literal["api", "browser"]], Field(max_length=2)]


class AccountReply(
    Reply,
    of=PlatformAccount,
    shows="id client_id platform account username display_name lanes identity identified_at created_at created_by",
):
    """An account of a platform."""


class PolicyBody(Strict):
    """Set an account's lane policy."""

    policy: Literal["api", "browser", "hybrid", "off"]


class DisconnectBody(Strict):
    """Disconnect an account, also where others end with it."""

    also: bool = False


class ConfirmNamesBody(Strict):
    """Confirm the names that a platform says."""

    username: Shown
    display_name: Shown


class AccountStateReply(AccountReply):
    """An account and how it stands; names of the platform as people may see them."""

    profile: UUID | None
    login: str | None
    external_id: str | None
    state: str
    reason: str
    policy: LanePolicy
    purposes: list[str]
    said_username: str | None
    said_display_name: str | None
    reauth_at: At | None
    renewed_at: At | None
    token_ends_at: At | None
    next_renewal_at: At | None
    verified_at: At | None
    superseded_at: At | None
    next: str


class AccountStatesReply(Reply):
    """A client's accounts and how they stand."""

    accounts: list[AccountStateReply]


def router(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes; ``where`` in a path is a platform or a login."""
    routes = APIRouter(
        prefix="/v1/clients/{client_id}/accounts", tags=["accounts"], dependencies=[Depends(no_query)],
        responses=refusals(403),
    )  # fmt: skip
    who, policy_body = Depends(caller(auth)), Depends(json_body(PolicyBody))

    @routes.get("", response_model=AccountStatesReply)
    async def list_accounts(client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """List a client's accounts and how they stand."""
        return {"accounts": [state_out(one) for one in await accounts.list_states(app, actor, ClientId(client_id))]}

    @routes.get("/{where}/{account}", response_model=AccountStateReply)
    async def get(client_id: PathId, where: str, account: str, actor: Actor = who) -> dict[str, Any]:
        """Look at an account."""
        return state_out(await accounts.get_state(app, actor, ClientId(client_id), where=where, account=account))

    @routes.post(
        "/{where}/{account}/lane", response_model=AccountStateReply, openapi_extra=describe(PolicyBody),
        responses=refusals(409, 429),
    )  # fmt: skip
    async def lane(
        request: Request, client_id: PathId, where: str, account: str, actor: Actor = who,
        body: PolicyBody = policy_body,
    ) -> dict[str, Any]:  # fmt: skip
        """Set an account's lane policy: exactly one word."""
        spend(request, writes, actor, ClientId(client_id))
        done = await accounts.set_policy(
            app, actor, ClientId(client_id), where=where, account=account, policy=LanePolicy(body.policy)
        )
        return state_out(done)

    return routes


def acts(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes that ask for something to be done about an account."""
    routes = APIRouter(
        prefix="/v1/clients/{client_id}/accounts", tags=["accounts"], dependencies=[Depends(no_query)],
        responses=refusals(403, 409, 429),
    )  # fmt: skip
    who, names_body = Depends(caller(auth)), Depends(json_body(ConfirmNamesBody))

    @routes.post("/{where}/{account}/verify", status_code=202, response_model=AccountStateReply)
    async def verify(
        request: Request, client_id: PathId, where: str, account: str, actor: Actor = who
    ) -> dict[str, Any]:
        """Ask for an identity check now."""
        spend(request, writes, actor, ClientId(client_id))
        return state_out(await accounts.ask_look(app, actor, ClientId(client_id), where=where, account=account))

    @routes.post(
        "/{where}/{account}/confirm-name", response_model=AccountStateReply, openapi_extra=describe(ConfirmNamesBody)
    )
    async def confirm_name(
        request: Request,
        client_id: PathId,
        where: str,
        account: str,
        actor: Actor = who,
        body: ConfirmNamesBody = names_body,
    ) -> dict[str, Any]:
        """Make the names that the platform says now the expected ones."""
        spend(request, writes, actor, ClientId(client_id))
        done = await accounts.confirm_name(
            app, actor, ClientId(client_id), where=where, account=account, username=body.username,
            display_name=body.display_name,
        )  # fmt: skip
        return state_out(done)

    @routes.post(
        "/{where}/{account}/disconnect", response_model=AccountStateReply,
        openapi_extra=describe(DisconnectBody, required=False),
    )  # fmt: skip
    async def disconnect(
        request: Request, client_id: PathId, where: str, account: str, actor: Actor = who
    ) -> dict[str, Any]:
        """Stop the use of an account and end its grant; ``{"also": true}`` where others may end with it."""
        spend(request, writes, actor, ClientId(client_id))
        raw = await read_bytes(request, limit=MAX_BODY)  # none at all says no more than the path
        also = bool(raw) and shape(DisconnectBody, parse_object(raw)).also
        done = await accounts.disconnect(
            app, actor, ClientId(client_id), where=where, account=account, also=also
        )  # fmt: skip
        return state_out(done)

    return routes


def _next(one: AccountState) -> str:
    if one.state == "mismatch":  # what a job saw is looked at again; what we saw ourselves has ended the grant
        return "connect" if one.over else "verify"
    off = one.state == "connected" and one.policy is LanePolicy.OFF
    return _NEXT.get(one.state, "lane" if off else one.profile_next)


def state_out(one: AccountState) -> dict[str, Any]:
    """Return an account and how it stands."""
    return AccountReply.fields(one.account) | {
        "profile": one.profile_id, "login": one.login, "external_id": one.external_id, "state": one.state,
        "reason": one.reason, "policy": one.policy, "purposes": one.purposes,
        "said_username": None if one.said_username is None else shown(one.said_username),
        "said_display_name": None if one.said_display_name is None else shown(one.said_display_name),
        "reauth_at": one.reauth_at, "renewed_at": one.obtained_at,
        "token_ends_at": None if one.state == "disconnected" else one.access_ends_at,
        "next_renewal_at": one.due_at, "verified_at": one.verified_at, "superseded_at": one.superseded_at,
        "next": _next(one),
    }  # fmt: skip


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
