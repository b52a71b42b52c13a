"""Routes of ``byokeep web`` for accounts, our apps at the platforms, consents, and the machines that renew tokens.

Rules
- What a platform sent back comes in as a raw body and is read without a model, so that no message can repeat a code.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BeforeValidator, Field

from byokeep.accounts import accounts, connect
from byokeep.accounts.accounts import AccountState, Refresher
from byokeep.accounts.connect import ConsentAnswer
from byokeep.accounts.model import Connection, OurApp, PlatformAccount
from byokeep.core.errors import Rejected
from byokeep.core.identity import shown, spelt
from byokeep.core.model import Actor, ClientId, Lane, LanePolicy, Provider
from byokeep.core.plain_text import is_session
from byokeep.core.secret import Secret
from byokeep.http.openapi import TEXT, Reply, Routes, describe, parameters, raw_body, refusals
from byokeep.http.request import (
    MAX_BODY,
    Authenticator,
    Budget,
    PathId,
    Strict,
    parse_object,
    query_of,
    read_bytes,
    shape,
    spend,
)
from byokeep.kernel.app import WebApp

Shown = Annotated[str, Field(max_length=1200)]
Said = Annotated[str | None, BeforeValidator(lambda name: None if name is None else shown(name))]


class AccountBody(Strict):
    """Register an account."""

    platform: Annotated[str, Field(max_length=32)]
    account: Annotated[str, Field(max_length=200)]
    username: Annotated[str, Field(max_length=200)]
    display_name: Annotated[str, Field(max_length=200)]


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


class AccountStateReply(
    AccountReply,
    of=AccountState,
    shows="profile login external_id state reason=grant_reason policy purposes said_username said_display_name"
    " reauth_at renewed_at=obtained_at token_ends_at next_renewal_at=due_at verified_at superseded_at next",
):
    """An account and how it stands; names of the platform as people may see them."""

    profile: Annotated[UUID | None, BeforeValidator(lambda one: one and one.id)]
    said_username: Said
    said_display_name: Said


class AccountStatesReply(Reply):
    """A client's accounts and how they stand."""

    accounts: list[AccountStateReply]


def state_router(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes of platform accounts; ``where`` in a path is a platform or a login."""
    routes = Routes("accounts", auth, 403, prefix="/v1/clients/{client_id}/accounts")

    @routes.post("", status_code=201, response_model=AccountReply, responses=refusals(409, 429))
    async def register(request: Request, client_id: PathId, actor: Actor, body: AccountBody) -> PlatformAccount:
        """Register an account and the identity it must show."""
        spend(request, writes, actor, ClientId(client_id))
        return await accounts.register_account(
            app, actor, ClientId(client_id), platform=body.platform, account=body.account, username=body.username,
            display_name=body.display_name,
        )  # fmt: skip

    @routes.get("", response_model=AccountStatesReply)
    async def list_accounts(client_id: PathId, actor: Actor) -> dict[str, Any]:
        """List a client's accounts and how they stand."""
        return {"accounts": await accounts.list_states(app, actor, ClientId(client_id))}

    @routes.get("/{where}/{account}", response_model=AccountStateReply)
    async def get(client_id: PathId, where: str, account: str, actor: Actor) -> AccountState:
        """Look at an account."""
        return await accounts.get_state(app, actor, ClientId(client_id), where=where, account=account)

    @routes.post("/{where}/{account}/lane", response_model=AccountStateReply, responses=refusals(409, 429))
    async def lane(
        request: Request, client_id: PathId, where: str, account: str, actor: Actor, body: PolicyBody
    ) -> AccountState:
        """Set an account's lane policy: exactly one word."""
        spend(request, writes, actor, ClientId(client_id))
        return await accounts.set_policy(
            app, actor, ClientId(client_id), where=where, account=account, policy=LanePolicy(body.policy)
        )

    return routes


def acts(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes that ask for something to be done about an account."""
    routes = Routes("accounts", auth, 403, 409, 429, prefix="/v1/clients/{client_id}/accounts")

    @routes.post("/{where}/{account}/verify", status_code=202, response_model=AccountStateReply)
    async def verify(request: Request, client_id: PathId, where: str, account: str, actor: Actor) -> AccountState:
        """Ask for an identity check now."""
        spend(request, writes, actor, ClientId(client_id))
        return await accounts.ask_look(app, actor, ClientId(client_id), where=where, account=account)

    @routes.post("/{where}/{account}/confirm-name", response_model=AccountStateReply)
    async def confirm_name(
        request: Request, client_id: PathId, where: str, account: str, actor: Actor, body: ConfirmNamesBody
    ) -> AccountState:
        """Make the names that the platform says now the expected ones."""
        spend(request, writes, actor, ClientId(client_id))
        return await accounts.confirm_name(
            app, actor, ClientId(client_id), where=where, account=account, username=body.username,
            display_name=body.display_name,
        )  # fmt: skip

    @routes.post(
        "/{where}/{account}/disconnect", response_model=AccountStateReply,
        openapi_extra=describe(DisconnectBody, required=False),
    )  # fmt: skip
    async def disconnect(request: Request, client_id: PathId, where: str, account: str, actor: Actor) -> AccountState:
        """Stop the use of an account and end its grant; ``{"also": true}`` where others may end with it."""
        spend(request, writes, actor, ClientId(client_id))
        raw = await read_bytes(request, limit=MAX_BODY)  # an empty body means no more than the path
        also = bool(raw) and shape(DisconnectBody, parse_object(raw)).also
        return await accounts.disconnect(app, actor, ClientId(client_id), where=where, account=account, also=also)

    return routes


MAX_SECRET: Final = 4 * 1024  # bytes
MAX_ANSWER: Final = 16 * 1024  # bytes
_FIELDS: Final = frozenset({"state", "binding", "redirect", "code", "iss", "error"})
_NEEDED: Final = ("state", "binding", "redirect")
Word = Annotated[str, Field(max_length=32)]


class ConnectBody(Strict):
    """Begin to connect an account; without purposes it is for what it was for before."""

    purposes: Annotated[list[Word], Field(max_length=4)] | None = None
    pick: Annotated[str, Field(max_length=256)] | None = None


class LoginReply(Reply):
    """A way to log in at a platform, and what it can do."""

    login: Annotated[str, Field(validation_alias="id")]
    platform: Annotated[Provider, Field(validation_alias="provider")]
    name: Annotated[str, Field(validation_alias="published_name")]
    oauth: Annotated[Literal["code", "none"], BeforeValidator(lambda has: "code" if has else "none")]
    lanes: list[Lane]
    purposes: list[str]
    why: Annotated[str, Field(validation_alias="why_no_oauth")]


class LoginsReply(Reply):
    """The ways to log in at platforms."""

    logins: list[LoginReply]


class AppReply(Reply, of=OurApp, shows="login platform=provider app_id redirect_uri secret_version set_at set_by"):
    """Our app at a login; never its secret."""


class AppsReply(Reply):
    """Our apps at the platforms."""

    apps: list[AppReply]


class StartedReply(
    Reply, of=Connection, shows="connection=id sop=sop_id account_id authorize_url binding redirect_uri expires_at"
):
    """A consent as it begins, this once with its address and binding."""

    authorize_url: Annotated[str, Field(repr=False)]
    binding: Annotated[str, Field(repr=False)]


def _offered(lines: tuple[str, ...]) -> list[dict[str, str]]:
    return [dict(zip(("id", "name"), line.split(" ", 1), strict=True)) for line in lines]


class OfferedReply(Reply):
    """An account that a login opens."""

    id: str
    name: str


class ConnectionReply(
    Reply,
    of=Connection,
    shows="connection=id client_id account_id sop=sop_id login purposes state reason code_points held_as offered"
    " started_by started_at expires_at ended_at",
):
    """A consent: where it stands, and why it ended."""

    code_points: Annotated[str, BeforeValidator(spelt)]
    offered: Annotated[list[OfferedReply], BeforeValidator(_offered)]


def app_routes(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes of logins and of our apps at them."""
    routes = Routes("accounts", auth, 403)

    @routes.get("/logins", response_model=LoginsReply)
    async def logins(actor: Actor) -> dict[str, Any]:
        """List the ways to log in at platforms, and what each can do."""
        return {"logins": await connect.list_logins(app, actor)}

    @routes.get("/apps", response_model=AppsReply)
    async def list_apps(actor: Actor) -> dict[str, Any]:
        """List our apps at the platforms; never a secret."""
        return {"apps": await connect.list_apps(app, actor)}

    @routes.put(
        "/apps/{login}", response_model=AppReply, responses=refusals(409),
        openapi_extra=raw_body() | parameters({"app_id": TEXT, "redirect_uri": TEXT}, required=True),
    )  # fmt: skip
    async def set_app(request: Request, login: str, actor: Actor) -> OurApp:
        """Name our app at a login; the whole body is its secret, empty for a public app."""
        given = query_of(request, "app_id", "redirect_uri")
        if set(given) != {"app_id", "redirect_uri"}:
            raise Rejected("bad_request", next_step="Name app_id and redirect_uri.")
        raw = await _body(request, MAX_SECRET)
        return await connect.set_app(
            app, actor, login=login, app_id=given["app_id"], redirect_uri=given["redirect_uri"],
            secret=Secret(raw) if raw else None, session=is_session(raw),
        )  # fmt: skip

    return routes


def consent_routes(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes of consents."""
    routes = Routes("accounts", auth, 403, prefix="/v1/clients/{client_id}")

    @routes.post(
        "/logins/{login}/accounts/{account}/connect", status_code=201, response_model=StartedReply,
        responses=refusals(409, 429),
    )  # fmt: skip
    async def begin(
        request: Request, client_id: PathId, login: str, account: str, actor: Actor, body: ConnectBody
    ) -> dict[str, Any]:
        """Begin to connect an account; the address and the binding are for the caller alone."""
        spend(request, writes, actor, ClientId(client_id))
        made, url, binding = await connect.start(
            app, actor, ClientId(client_id), login=login, account=account, purposes=body.purposes, wanted=body.pick
        )
        return StartedReply.fields(made, authorize_url=url, binding=binding)

    @routes.post(
        "/connections/{connection_id}/answer", response_model=ConnectionReply, openapi_extra=raw_body(),
        responses=refusals(409, 429),
    )  # fmt: skip
    async def answer(request: Request, client_id: PathId, connection_id: PathId, actor: Actor) -> Connection:
        """Bring what the platform sent back with the person's browser."""
        spend(request, writes, actor, ClientId(client_id))
        said = read_answer(await _body(request, MAX_ANSWER))
        return await connect.answer(app, actor, ClientId(client_id), connection_id, said)

    @routes.get("/connections/{connection_id}", response_model=ConnectionReply)
    async def look(client_id: PathId, connection_id: PathId, actor: Actor) -> Connection:
        """Look at a consent: where it stands, and why it ended."""
        return await connect.look(app, actor, ClientId(client_id), connection_id)

    return routes


async def _body(request: Request, limit: int) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/octet-stream":
        raise Rejected("unsupported_media_type", next_step="Send the body as application/octet-stream.")
    return await read_bytes(request, limit=limit)


def read_answer(raw: bytes) -> ConsentAnswer:
    """Read an answer: known fields of a form, each once.

    Raises:
        Rejected: ``bad_answer``; nothing of it is repeated.
    """
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=8)
    except ValueError:
        pairs = []
    given = dict(pairs)
    if len(given) != len(pairs) or not set(given) <= _FIELDS or not all(given.get(name) for name in _NEEDED):
        raise Rejected("bad_answer", next_step="Start the connection again.")
    return ConsentAnswer(
        state=given["state"], binding=given["binding"], redirect=given["redirect"], code=given.get("code"),
        iss=given.get("iss"), error="error" in given, refused=given.get("error") == "access_denied",
    )  # fmt: skip


class GoneBody(Strict):
    """Say why a machine will not come back."""

    reason: Annotated[str, Field(max_length=63)]


class RefresherReply(Reply, of=Refresher, shows="owner renewals oldest_at newest_at gone"):
    """A machine that has renewals of tokens under way."""


class RefreshersReply(Reply):
    """The machines that have renewals of tokens under way."""

    refreshers: list[RefresherReply]


class GoneReply(Reply):
    """How many renewals another machine takes up."""

    owner: UUID
    renewals: int


def refresher_routes(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = Routes("accounts", auth, 403, prefix="/v1/refreshers")

    @routes.get("", response_model=RefreshersReply)
    async def list_refreshers(actor: Actor) -> dict[str, Any]:
        """List the machines that have renewals of tokens under way."""
        return {"refreshers": await accounts.list_refreshers(app, actor)}

    @routes.post("/{owner}/gone", response_model=GoneReply, responses=refusals(409))
    async def gone(owner: PathId, actor: Actor, body: GoneBody) -> dict[str, Any]:
        """Say that a machine will not come back; another takes up its renewals."""
        return {"owner": owner, "renewals": await accounts.declare_gone(app, actor, owner, body.reason)}

    return routes
