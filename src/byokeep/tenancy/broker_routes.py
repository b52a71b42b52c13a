"""Routes of people, machines, their sessions, passwords and tokens, of what needs a second admin, and of transfers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from byokeep.core.errors import Rejected
from byokeep.core.model import Actor, ClientId, Role
from byokeep.core.secret import Secret
from byokeep.http.openapi import PUBLIC, AtOffset, Reply, Routes, raw_body, refusals
from byokeep.http.request import Authenticator, Budget, Id, PathId, Strict, bearer, read_bytes, request_id
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.approvals import Approval
from byokeep.tenancy import clients, logins, operators, passkeys, sso, tokens
from byokeep.tenancy.attempt_brake import AttemptBrake
from byokeep.tenancy.clients import TransferRequest
from byokeep.tenancy.logins import PasswordCheck
from byokeep.tenancy.passkeys import Challenges, PasskeyCheck
from byokeep.tenancy.schemas import (
    SOURCE,
    ApiTokenReply,
    ApprovalReply,
    IssuedReply,
    SubjectReply,
    approval_out,
    issued_out,
)
from byokeep.tenancy.sso import SsoCheck
from byokeep.tenancy.tokens import Issued, Passkey, Subject, SubjectToken

CODES_PER_MINUTE: Final = 60  # tried from one address; a code has 256 random bits
CHALLENGES_PER_MINUTE: Final = 600  # from one address, which may be the reverse proxy's, and so everybody's
Word = Annotated[str, Field(max_length=64)]


Name = Annotated[str, Field(max_length=200)]
Said = Annotated[str, Field(max_length=8192, repr=False)]  # by a browser, of a passkey
Ids = Annotated[list[Id], Field(max_length=1000)]
Roles = Annotated[list[Literal["admin", "operator", "approver", "auditor"]], Field(max_length=4)]
MachineRoles = Annotated[list[Literal["dispatcher", "runner", "custodian"]], Field(max_length=1)]


class LoginBody(Strict):
    """Log in: name and password, or a code that the console made."""

    name: Name = ""
    password: Annotated[str, Field(max_length=256, repr=False)] = ""
    code: Annotated[str, Field(max_length=64, repr=False)] = ""


class ConsoleLoginBody(LoginBody):
    """Sign in to the console: name and password, or a code, or what a browser answers of a passkey.

    `browser` is the digest that the challenge was asked for with.
    """

    passkey: Said = ""
    browser: Annotated[str, Field(max_length=64)] = ""


class BrowserBody(Strict):
    """Ask for a challenge to sign in: a digest that is this browser's alone."""

    browser: Annotated[str, Field(min_length=64, max_length=64)]


class SsoBody(BrowserBody):
    """Begin a sign-in at the OpenID provider: the page that is wanted and, the first time, an invitation."""

    to: Annotated[str, Field(max_length=1000)] = ""
    invitation: Annotated[str, Field(max_length=128, repr=False)] = ""


class SsoAnswerBody(BrowserBody):
    """What the browser brought back from the OpenID provider."""

    state: Annotated[str, Field(max_length=128, repr=False)]
    code: Annotated[str, Field(max_length=4096, repr=False)] = ""
    issuer: Annotated[str, Field(max_length=512)] = ""
    error: Annotated[str, Field(max_length=256)] = ""


class SsoLogoutBody(Strict):
    """What the OpenID provider sent: a logout token."""

    token: Annotated[str, Field(max_length=16_384, repr=False)]


class SsoReply(Reply):
    """Where the browser goes."""

    address: str


class SsoIssuedReply(IssuedReply):
    """A new session, with its token; this once. `to`: the page that was wanted."""

    to: str


class PasskeyBody(Strict):
    """Add a passkey: its name, and what the browser answers."""

    name: Name
    passkey: Said


class PasskeyAskedReply(Reply):
    """What a browser is asked for a passkey: the options of WebAuthn, as JSON."""

    options: str


class PasskeyReply(Reply, of=Passkey, shows="id name created_at used_at", at=AtOffset):
    """A passkey."""


class OperatorBody(Strict):
    """Create a person."""

    name: Name
    roles: Roles
    clients: Ids = Field(default_factory=list)
    all_clients: bool = False


class MachineBody(Strict):
    """Create a machine."""

    name: Name
    role: Literal["dispatcher", "runner", "custodian"]
    clients: Ids = Field(default_factory=list)
    all_clients: bool = False


class ChangeBody(Strict):
    """Change a person or a machine; what is left out stays."""

    roles: Roles | MachineRoles | None = None
    state: Literal["active", "disabled"] | None = None
    clients: Ids | None = None
    all_clients: bool | None = None


class TokenBody(Strict):
    """Issue a token."""

    days: int = 30
    overlap_s: int = 0


class WaitingReply(Reply):
    """It waits for a second admin."""

    waiting: ApprovalReply


class ApprovalsReply(Reply):
    """What waits for a second admin."""

    approvals: list[ApprovalReply]


def router(app: BrokerApp, auth: Authenticator) -> APIRouter:
    """Return the routes of people and machines."""
    routes = Routes("people", auth, 403, 409)
    waits = refusals() | {202: {"model": WaitingReply}}

    @routes.post("/operators", status_code=201, response_model=SubjectReply, responses=waits)
    async def create_operator(actor: Actor, body: OperatorBody) -> Response:
        """Create a person, without any credential; 202 with the request where it takes a second admin."""
        made = await operators.create_subject(
            app, actor, name=body.name, roles=frozenset(Role(role) for role in body.roles),
            clients=frozenset(body.clients), all_clients=body.all_clients, machine=False,
        )  # fmt: skip
        return _made(made, 201)

    @routes.post("/machines", status_code=201, response_model=SubjectReply, responses=waits)
    async def create_machine(actor: Actor, body: MachineBody) -> Response:
        """Create a dispatcher, runner or custodian, without any credential; 202 where it takes a second admin."""
        made = await operators.create_subject(
            app, actor, name=body.name, roles=frozenset({Role(body.role)}), clients=frozenset(body.clients),
            all_clients=body.all_clients, machine=True,
        )  # fmt: skip
        return _made(made, 201)

    async def change(subject_id: PathId, actor: Actor, body: ChangeBody) -> Response:
        """Change roles, state or clients; holds for the next call. 202 where it takes a second admin."""
        changed = await operators.change_subject(
            app, actor, subject_id,
            roles=None if body.roles is None else frozenset(Role(role) for role in body.roles),
            state=body.state, clients=None if body.clients is None else frozenset(body.clients),
            all_clients=body.all_clients,
        )  # fmt: skip
        return _made(changed, 200)

    for room in ("operators", "machines"):
        routes.add_api_route(
            f"/{room}/{{subject_id}}", change, methods=["PATCH"], name=f"change_{room}",
            response_model=SubjectReply, responses=waits,
        )  # fmt: skip

    _approvals(routes, app)
    return routes


def _approvals(routes: Routes, app: BrokerApp) -> None:
    @routes.post("/operators/{subject_id}/vouch", status_code=202, response_model=WaitingReply)
    async def vouch(subject_id: PathId, actor: Actor) -> dict[str, Any]:
        """Ask a second admin to end the hold on a person's approvals."""
        return {"waiting": approval_out(await operators.ask_to_end_hold(app, actor, subject_id))}

    @routes.get("/approvals", response_model=ApprovalsReply)
    async def list_approvals(actor: Actor) -> dict[str, Any]:
        """List what waits for a second admin."""
        return {"approvals": [approval_out(one) for one in await operators.list_approvals(app, actor)]}

    @routes.post("/approvals/{request_id}/approve", response_model=SubjectReply)
    async def approve(request_id: PathId, actor: Actor) -> Subject:
        """Do what another admin asked for, as the second person."""
        return await operators.approve(app, actor, request_id)


def sessions(
    app: BrokerApp, auth: Authenticator, passwords: PasswordCheck, check: PasskeyCheck | None = None,
    elsewhere: SsoCheck | None = None, *, console: bool = True,
) -> APIRouter:  # fmt: skip
    """Return the routes of sessions and passwords; break glass on the host has none of the console's.

    Args:
        check: ``None`` = passkeys are off.
        elsewhere: ``None`` = there is no OpenID provider.
        console: Whether to include the console's routes.
    """
    routes = Routes("sessions", auth)
    brake = AttemptBrake(app.clock)

    async def with_password(request: Request, name: str, password: str, kind: str) -> dict[str, Any]:
        source = source_of(request)
        brake.attempt(name, source)
        issued = await logins.log_in(
            app, passwords, name=name, password=Secret(password), request_id=request_id(request), kind=kind
        )
        brake.succeeded(name, source)
        return let_in(request, issued)

    codes = Budget(app.clock, per_minute=CODES_PER_MINUTE)

    @routes.post("/session", status_code=201, response_model=IssuedReply, openapi_extra=PUBLIC, responses=refusals(429))
    async def log_in(request: Request, body: LoginBody) -> dict[str, Any]:
        """Log in with name and password, or with a code of the console; the session ends after 8 hours."""
        whole = not (body.name or body.password) if body.code else body.model_fields_set >= {"name", "password"}
        if not whole:
            raise Rejected("bad_request", next_step="Send a code, or a name and a password.")
        if not body.code:
            return await with_password(request, body.name, body.password, "session")
        codes.spend(source_of(request))
        issued = await logins.redeem_code(app, shown=body.code, request_id=request_id(request), kind="cli")
        return let_in(request, issued)

    if console:
        given = Challenges(app.clock)
        _console_sessions(routes, app, with_password, check, given, codes)
        _sso(routes, app, auth, elsewhere, given)

    @routes.delete("/session", status_code=204, responses=refusals(404))
    async def log_out(request: Request, actor: Actor) -> Response:
        """Log out: end the session whose token is shown."""
        await logins.log_out(app, actor, bearer(request))
        return Response(status_code=204)

    @routes.put("/operators/{subject_id}/password", status_code=204, openapi_extra=raw_body(), responses=refusals(403))
    async def set_password(request: Request, subject_id: PathId, actor: Actor) -> Response:
        """Set one's own password; the whole body is the password. One's sessions end."""
        raw = await read_bytes(request, limit=logins.MAX_PASSWORD + 1)
        await logins.set_password(app, passwords, actor, subject_id, password=Secret(raw), length=len(raw))
        return Response(status_code=204)

    return routes


def _console_sessions(
    routes: Routes, app: BrokerApp, with_password: Callable[[Request, str, str, str], Awaitable[dict[str, Any]]],
    check: PasskeyCheck | None, given: Challenges, codes: Budget,
) -> None:  # fmt: skip
    passkey_routes(routes, app, check, given)

    @routes.post(
        "/session/console", status_code=201, response_model=IssuedReply, openapi_extra=PUBLIC, responses=refusals(429)
    )
    async def sign_in(request: Request, body: ConsoleLoginBody) -> dict[str, Any]:
        """Open a session of the console, by a passkey, name and password, or a code.

        It ends after 8 hours or 30 idle minutes. Whoever has a passkey uses that: 401 `passkey_needed`.
        """
        if [bool(body.code), bool(body.passkey), bool(body.name or body.password)].count(True) != 1:
            raise Rejected("bad_request", next_step="Send a code, or a passkey, or a name and a password.")
        if body.name or body.password:
            return await with_password(request, body.name, body.password, "console")
        if body.code or not given.waits(passkeys.place_of(body.browser)):  # a browser that was asked may answer
            codes.spend(source_of(request))
        if body.code:
            issued = await logins.redeem_code(app, shown=body.code, request_id=request_id(request))
        else:
            issued = await passkeys.sign_in(
                app, on(check), given, said=body.passkey, browser=body.browser, request_id=request_id(request)
            )
        return let_in(request, issued)

    @routes.post("/session/code", status_code=201, response_model=IssuedReply, responses=refusals(403))
    async def make_code(actor: Actor) -> dict[str, Any]:
        """Make a code that signs its owner in to the console, once, within two minutes; shown this once.

        In a session of the console it is one for the command line, and takes a fresh proof.
        """
        return issued_out(await logins.issue_code(app, actor))

    @routes.delete("/sessions", status_code=204)
    async def log_out_everywhere(actor: Actor) -> Response:
        """End all one's sessions, of the command line and of the console."""
        await logins.log_out_everywhere(app, actor)
        return Response(status_code=204)


def passkey_routes(routes: Routes, app: BrokerApp, check: PasskeyCheck | None, given: Challenges) -> None:
    """Add the routes of passkeys, for those whom ``routes`` let in."""
    budget = Budget(app.clock, per_minute=CHALLENGES_PER_MINUTE)

    @routes.post(
        "/session/passkey", status_code=201, response_model=PasskeyAskedReply, openapi_extra=PUBLIC,
        responses=refusals(429),
    )  # fmt: skip
    async def ask_to_sign_in(request: Request, body: BrowserBody) -> dict[str, str]:
        """Return what a browser is asked to sign in with a passkey: once, within five minutes."""
        budget.spend(source_of(request))
        return {"options": passkeys.ask_to_sign_in(app, on(check), given, body.browser)}

    @routes.post("/passkeys/options", status_code=201, response_model=PasskeyAskedReply, responses=refusals(403))
    async def ask_to_add(actor: Actor) -> dict[str, str]:
        """Return what the browser of a session is asked for a new passkey."""
        return {"options": await passkeys.ask_to_add(app, on(check), given, actor)}

    @routes.post("/passkeys", status_code=201, response_model=PasskeyReply, responses=refusals(403))
    async def add(actor: Actor, body: PasskeyBody) -> Response:
        """Add a passkey of one's own; one's other sessions end."""
        made = await passkeys.add(app, on(check), given, actor, said=body.passkey, name=body.name)
        return PasskeyReply.answer(made, 201)

    @routes.delete("/passkeys/{passkey_id}", status_code=204, responses=refusals(403, 404))
    async def remove(passkey_id: PathId, actor: Actor) -> Response:
        """Remove a passkey of one's own; one's other sessions end."""
        await passkeys.remove(app, actor, passkey_id)
        return Response(status_code=204)


def _sso(routes: Routes, app: BrokerApp, auth: Authenticator, check: SsoCheck | None, given: Challenges) -> None:
    budget = Budget(app.clock, per_minute=CHALLENGES_PER_MINUTE)

    def there() -> SsoCheck:
        if check is None:
            raise Rejected("sso_off", next_step="Sign in with a password or a passkey; how to set it up: docs/sso.md.")
        return check

    @routes.post(
        "/session/sso", status_code=201, response_model=SsoReply, openapi_extra=PUBLIC, responses=refusals(429)
    )
    async def begin_sso(request: Request, body: SsoBody) -> dict[str, str]:
        """Return where a browser goes to sign in at the OpenID provider; it comes back within five minutes."""
        budget.spend(source_of(request))
        invited = await auth(body.invitation, request_id(request)) if body.invitation else None
        return {"address": await sso.begin(app, there(), given, browser=body.browser, to=body.to, invited=invited)}

    @routes.post(
        "/session/sso/answer", status_code=201, response_model=SsoIssuedReply, openapi_extra=PUBLIC,
        responses=refusals(409, 429),
    )  # fmt: skip
    async def end_sso(request: Request, body: SsoAnswerBody) -> dict[str, Any]:
        """Open a session of the console for who signed in there."""
        if not given.waits(sso.place_of(body.browser)):  # a browser that was asked may answer
            budget.spend(source_of(request))
        said = sso.Said(state=body.state, code=body.code, issuer=body.issuer, error=body.error)
        issued, to = await sso.sign_in(
            app, there(), given, said=said, browser=body.browser, request_id=request_id(request)
        )
        return let_in(request, issued) | {"to": to}

    @routes.post("/session/sso/logout", status_code=204, openapi_extra=PUBLIC, responses=refusals(429))
    async def log_out_sso(request: Request, body: SsoLogoutBody) -> Response:
        """End the sessions of whoever logged out at the OpenID provider; nobody is told whether it was anybody."""
        budget.spend(source_of(request))
        await sso.log_out(app, there(), token=body.token, request_id=request_id(request))
        return Response(status_code=204)

    @routes.delete("/operators/{subject_id}/link", status_code=204, responses=refusals(403, 404))
    async def end_link(subject_id: PathId, actor: Actor) -> Response:
        """End the link to the OpenID provider, one's own or, as an admin, somebody's; their other sessions end."""
        await sso.end_link(app, actor, subject_id)
        return Response(status_code=204)


def on(check: PasskeyCheck | None) -> PasskeyCheck:
    """Return what checks passkeys. Raises Rejected(``passkeys_off``)."""
    if check is None:
        step = "Set `console_origin` to the address that people open the console at: docs/console.md."
        raise Rejected("passkeys_off", next_step=step)
    return check


def let_in(request: Request, issued: Issued) -> dict[str, Any]:
    """Return a new session; its owner is whose request this is from now on, in the access log, too."""
    request.scope["state"]["actor"] = issued.token.subject_id
    return issued_out(issued)


def source_of(request: Request) -> str:
    """Return where a login comes from, as ``web`` saw it."""
    return request.headers.get(SOURCE, "")[:64] or (request.client.host if request.client else "local")


def credentials(app: BrokerApp, auth: Authenticator) -> APIRouter:
    """Return the routes of tokens."""
    routes = Routes("credentials", auth, 403)

    async def issue(subject_id: PathId, actor: Actor, body: TokenBody) -> Response:
        """Issue a token, shown this once; for another person, an invitation. Older ones end after `overlap_s`.

        202 with the request where a machine's takes a second admin: once approved, call again within the day.
        """
        issued = await tokens.issue_token(app, actor, subject_id, days=body.days, overlap_s=body.overlap_s)
        if isinstance(issued, Approval):
            return WaitingReply.answer({"waiting": approval_out(issued)}, 202)
        return IssuedReply.answer(issued_out(issued), 201)

    for room in ("operators", "machines"):
        routes.add_api_route(
            f"/{room}/{{subject_id}}/tokens", issue, methods=["POST"], status_code=201, name=f"issue_{room}",
            response_model=IssuedReply,
            responses=refusals(409) | {202: {"model": WaitingReply}},
        )  # fmt: skip

    @routes.delete("/tokens/{token_id}", response_model=ApiTokenReply)
    async def revoke(token_id: PathId, actor: Actor) -> SubjectToken:
        """End a token now."""
        return await tokens.revoke_token(app, actor, token_id)

    return routes


def _made(made: Subject | Approval, status: int) -> Response:
    if isinstance(made, Approval):
        return WaitingReply.answer({"waiting": approval_out(made)}, 202)
    return SubjectReply.answer(made, status)


class TransferOfBody(Strict):
    """Name an account of a platform and the client that it goes to."""

    client_id: Id
    login: Word
    account: Annotated[str, Field(max_length=256)]


class TransferBody(TransferOfBody):
    """Ask for an account of a platform to go to a client."""

    reason: Word


class TransferReply(Reply, of=Approval, shows="id reason requested_by expires_at repeated", at=AtOffset):
    """A transfer that was asked for."""


def transfers_router(app: BrokerApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = Routes("accounts", auth, 403, 409, prefix="/v1/accounts")

    @routes.post(
        "/transfers", status_code=201, response_model=TransferReply,
        responses=refusals(404) | {200: {"model": TransferReply}},
    )  # fmt: skip
    async def ask(actor: Actor, body: TransferBody) -> Response:
        """Ask for an account to go to a client; an admin must approve. 200 with the request that waits, if one does."""
        made = await clients.request_transfer(app, actor, _transfer(body), body.reason)
        return TransferReply.answer(made, 200 if made.repeated else 201)

    @routes.post("/transfers/{request_id}/approve", response_model=TransferReply)
    async def approve(request_id: PathId, actor: Actor, body: TransferOfBody) -> Response:
        """Let it go, as the second person; client, login and account must be those that were asked for."""
        return TransferReply.answer(await clients.approve_transfer(app, actor, request_id, _transfer(body)), 200)

    return routes


def _transfer(body: TransferOfBody) -> TransferRequest:
    return TransferRequest(client_id=ClientId(body.client_id), login=body.login, external_id=body.account)
