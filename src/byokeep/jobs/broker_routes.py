"""Routes of jobs, leases, effects, scheduled effects, and the release of kill switches.

Rules
- A login token is in the reply of its lease and nowhere else.
- On a full disk, what stops something still works; what starts something is refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from byokeep.accounts import recovery
from byokeep.core.errors import Rejected
from byokeep.core.exchange import Exchange
from byokeep.core.gate import gate_schema
from byokeep.core.model import Actor, Client, ClientId, DeclaredJob, Lane, LeaseKind
from byokeep.core.usage import CallResult
from byokeep.http.emergency import Emergency
from byokeep.http.openapi import AtOffset, Reply, Routes, describe, refusals
from byokeep.http.request import Authenticator, Id, PathId, Strict, caller, instant, json_body
from byokeep.jobs import calls, dry_runs, effect, jobs, lease, scheduled, switches
from byokeep.jobs.dry_runs import JobTemplate
from byokeep.jobs.kill_routes import JobReply, OpenRequestReply, ScopeBody, SwitchReply, Word, kill_router
from byokeep.jobs.lease import IssuedLease, PinnedSecret
from byokeep.jobs.scheduled import ScheduledEffect
from byokeep.jobs.switches import Switch
from byokeep.kernel.app import BrokerApp
from byokeep.tenancy import clients
from byokeep.tenancy.schemas import ClientReply
from byokeep.tenancy.scopes import parse_scope

Time = Annotated[str, Field(max_length=40)]
Words = Annotated[list[Word], Field(max_length=16)]


class JobBody(Strict):
    """Open a job. Lists left out are empty: undeclared = none."""

    client_id: Id
    runner_id: Id
    kind: Literal["use", "custody"] = "use"
    secrets: Words = Field(default_factory=list)
    platforms: Words = Field(default_factory=list)
    lanes: Words = Field(default_factory=list)
    effects: Words = Field(default_factory=list)
    ttl_s: int | None = None


class TemplateBody(Strict):
    """Register what a client's regular job declares, its effects excepted."""

    runner_id: Id
    secrets: Words
    platforms: Words = Field(default_factory=list)
    lanes: Words = Field(default_factory=list)


class DryRunBody(Strict):
    """Try a rotation's new key with a registered template."""

    client_id: Id
    template: Word
    rotation: Id


class BlockedBody(Strict):
    """Say why a job could not go on."""

    reason: Word


class LeaseUse(Strict):
    """How often a lease was used: attempts to log in, and to read each declared secret."""

    lease_id: Id
    logins: int
    reads: dict[Word, int]


class UseBody(Strict):
    """Tell how often leases were used."""

    leases: Annotated[list[LeaseUse], Field(min_length=1, max_length=100)]


class CallBody(Strict):
    """A call that a job made with a secret; ``args`` is the SHA-256 of its arguments, or empty."""

    id: Id
    secret: Word
    tool: Annotated[str, Field(max_length=64)]
    outcome: Literal["ok", "denied", "limited", "failed", "unknown"]
    args: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?\z")] = ""
    age_ms: Annotated[int, Field(ge=0)]


class CallsBody(Strict):
    """Tell of calls; ``total`` = how many there were, once no more are made under the lease."""

    calls: Annotated[list[CallBody], Field(max_length=100)]
    total: Annotated[int, Field(ge=0)] | None = None


class RenewalBody(Strict):
    """Say that an account's access token has expired: its name in the lease, and the version that was seen."""

    secret: Annotated[str, Field(max_length=96)]
    version: int


class PermitBody(Strict):
    """Ask for one effect; version 1 of the gate's request."""

    version: int
    effect: Word
    platform: Word
    account: Word
    lane: Word
    idempotency_key: Word


class CloseBody(Strict):
    """Say how an act ended."""

    outcome: Literal["done", "failed"]


class SeenBody(Strict):
    """What a platform said about an account; null = nothing usable, which is never a match.

    In the lane ``browser`` a null name is one that the website does not show; there the id decides.
    """

    lease_id: Id
    lane: Literal["api", "browser"] = "api"
    id: Annotated[str, Field(max_length=256)] | None = None
    username: Annotated[str, Field(max_length=256)] | None = None
    display_name: Annotated[str, Field(max_length=256)] | None = None


class PlanBody(Strict):
    """Announce something to be done; ``due_at`` is an RFC 3339 time with its zone."""

    client_id: Id
    platform: Word
    account: Word
    lane: Word
    effect: Word
    idempotency_key: Word
    due_at: Time


class RequeueBody(Strict):
    """Put something announced back, with a new time."""

    due_at: Time


class StatusReply(Reply):
    """It was taken note of."""

    status: Literal["told", "ended", "sealing"]


class ValidForReply(Reply):
    """For how long a lease or an opening holds."""

    valid_for_s: int


class JobsReply(Reply):
    """A client's newest jobs of each kind."""

    jobs: list[JobReply]


class StoreReply(Reply):
    """Where to log in, and as what for each secret."""

    address: str
    roles: dict[str, str]


class ExchangeReply(Reply, of=Exchange, shows="url headers body form life_s"):
    """How a keyless credential is swapped: `$token` in `body` stands for the identity token at `identity`, `$name` for
    an id that the pinned place holds.
    """

    identity: str


class PinReply(Reply):
    """Where a secret is; of a browser profile, which generation, too; of a keyless credential, how it is swapped."""

    path: str
    version: int
    profile_id: UUID | None = None
    generation: int | None = None
    blob_key: str | None = None
    exchange: ExchangeReply | None = None


class LeaseReply(Reply, of=IssuedLease, at=AtOffset, shows="lease_id kind jwt store secrets expires_at life_s epoch"):
    """A lease, with its login token."""

    jwt: Annotated[str, Field(repr=False)]
    store: StoreReply
    secrets: dict[str, PinReply]


class PermitReply(Reply, of=effect.IssuedPermit, at=AtOffset, shows="permit_id=id expires_at ttl_s"):
    """Leave to cause one effect."""


class StateReply(Reply):
    """What it is now."""

    state: str


class AskedReply(Reply):
    """Whether a renewal was asked for, or was already."""

    asked: bool


class IdentityReply(Reply):
    """How what a platform said compares with what is expected."""

    identity: str


class GateReply(Reply):
    """The gate's schema (docs/spec/gate.md)."""

    version: int
    inputs: list[str]
    effects: list[str]
    lanes: list[str]
    deny_reasons: dict[str, str]
    default: str


class MachineReply(Reply, of=Actor, shows="id roles token_since token_until"):
    """Who calls, and from when to when its token works."""


class ScheduledReply(
    Reply,
    of=ScheduledEffect,
    at=AtOffset,
    shows="id client_id platform account lane effect due_at state reason created_at created_by changed_at",
):
    """Something announced to be done later."""


class ScheduledListReply(Reply):
    """What a client has announced."""

    effects: list[ScheduledReply]


class TemplateReply(
    Reply, of=JobTemplate, shows="client_id name runner_id secrets platforms lanes set_at set_by ended_at"
):
    """What a client's regular job declares, for dry runs of new keys."""


class TemplatesReply(Reply):
    """A client's job templates."""

    templates: list[TemplateReply]


def lease_out(grant: IssuedLease) -> dict[str, Any]:
    """Return the wire form of a lease as :class:`LeaseReply` describes it; built by hand because it is a hot path."""
    return {
        "lease_id": str(grant.lease_id),
        "kind": grant.kind.value,
        "jwt": grant.jwt,
        "store": {"address": grant.store_address, "roles": dict(grant.roles)},
        "secrets": {name: _pin_out(pin) for name, pin in grant.secrets.items()},
        "expires_at": grant.expires_at.isoformat(),
        "life_s": grant.life_s,
        "epoch": grant.epoch,
    }


def _pin_out(pin: PinnedSecret) -> dict[str, Any]:
    found: dict[str, Any] = {"path": pin.path, "version": pin.version}
    if pin.profile_id is not None:
        found |= {"profile_id": str(pin.profile_id), "generation": pin.generation, "blob_key": pin.blob_key}
    if (exchange := pin.exchange) is not None:
        said = {"url": exchange.url, "headers": dict(exchange.headers), "body": dict(exchange.body)}
        found["exchange"] = said | {"form": exchange.form, "life_s": exchange.life_s, "identity": pin.identity}
    return found


def jobs_router(app: BrokerApp, auth: Authenticator, emergency: Emergency) -> APIRouter:
    """Return the routes."""
    routes = Routes("jobs", auth)

    @routes.post("/jobs", status_code=201, response_model=JobReply, responses=refusals(403, 404, 409))
    async def open_job(actor: Actor, body: JobBody) -> DeclaredJob:
        """Open a job for one client and one runner."""
        emergency.require_room()
        spec = jobs.JobSpec(
            client_id=ClientId(body.client_id), runner_id=body.runner_id, kind=LeaseKind(body.kind),
            secrets=tuple(body.secrets), platforms=tuple(body.platforms), lanes=tuple(body.lanes),
            effects=tuple(body.effects), ttl_s=body.ttl_s,
        )  # fmt: skip
        return await jobs.dispatch(app, actor, spec)

    @routes.get("/clients/{client_id}/jobs", response_model=JobsReply, responses=refusals(403))
    async def list_jobs(client_id: PathId, actor: Actor) -> dict[str, Any]:
        """List a client's newest jobs."""
        return {"jobs": await jobs.list_jobs(app, actor, ClientId(client_id))}

    @routes.get("/jobs/{job_id}", response_model=JobReply, responses=refusals(403))
    async def read_job(job_id: PathId, actor: Actor) -> DeclaredJob:
        """Look at a job."""
        return await jobs.read_job(app, actor, job_id)

    @routes.post("/jobs/{job_id}/close", response_model=JobReply, responses=refusals(403))
    async def close_job(job_id: PathId, actor: Actor) -> DeclaredJob:
        """End a job."""
        return await jobs.close_job(app, actor, job_id)

    @routes.post("/jobs/{job_id}/blocked", status_code=202, response_model=StatusReply, responses=refusals(403))
    async def blocked(job_id: PathId, actor: Actor, body: BlockedBody) -> dict[str, Any]:
        """Report that a job could not go on; people are told."""
        await jobs.report_blocked(app, actor, job_id, body.reason)
        return {"status": "told"}

    _dry_runs(routes, app, emergency)
    _leases(routes, app, emergency)
    return routes


def _dry_runs(routes: Routes, app: BrokerApp, emergency: Emergency) -> None:
    place = "/clients/{client_id}/job-templates"

    @routes.put(place + "/{name}", response_model=TemplateReply, responses=refusals(403))
    async def set_template(client_id: PathId, name: str, actor: Actor, body: TemplateBody) -> JobTemplate:
        """Register a job template, or replace it: rotations of its keys need a dry run from now on."""
        emergency.require_room()
        spec = jobs.JobSpec(
            client_id=ClientId(client_id), runner_id=body.runner_id, kind=LeaseKind.USE, secrets=tuple(body.secrets),
            platforms=tuple(body.platforms), lanes=tuple(body.lanes),
        )  # fmt: skip
        return await dry_runs.set_template(app, actor, name, spec)

    @routes.delete(place + "/{name}", response_model=TemplateReply, responses=refusals(403))
    async def end_template(client_id: PathId, name: str, actor: Actor) -> JobTemplate:
        """End a job template: no rotation asks for a dry run of it any more."""
        return await dry_runs.end_template(app, actor, ClientId(client_id), name)

    @routes.get(place, response_model=TemplatesReply, responses=refusals(403))
    async def list_templates(client_id: PathId, actor: Actor) -> dict[str, Any]:
        """List a client's job templates."""
        return {"templates": await dry_runs.list_templates(app, actor, ClientId(client_id))}

    @routes.post("/jobs/dry-runs", status_code=201, response_model=JobReply, responses=refusals(403, 404, 409))
    async def open_dry_run(actor: Actor, body: DryRunBody) -> DeclaredJob:
        """Open a dry run: a job that is given a rotation's new key before its cutover, and no permit."""
        emergency.require_room()
        return await dry_runs.open_dry_run(app, actor, ClientId(body.client_id), body.template, body.rotation)


def _leases(routes: Routes, app: BrokerApp, emergency: Emergency) -> None:
    @routes.post("/jobs/{job_id}/leases", status_code=201, response_model=LeaseReply, responses=refusals(403, 409, 429))
    async def issue_lease(job_id: PathId, actor: Actor) -> JSONResponse:
        """Lease a job's secrets; the reply holds a login token for the store."""
        emergency.require_room()
        return JSONResponse(lease_out(await lease.issue_lease(app, actor, job_id)), 201)

    @routes.post("/jobs/{job_id}/renewals", status_code=202, response_model=AskedReply, responses=refusals(403))
    async def ask_renewal(job_id: PathId, actor: Actor, body: RenewalBody) -> dict[str, Any]:
        """Say that an account's access token has expired; a newer one comes with a later lease."""
        return {"asked": await recovery.ask_renewal(app, actor, job_id, body.secret, body.version)}

    @routes.get("/leases/{lease_id}", response_model=ValidForReply, responses=refusals(403))
    async def heartbeat(lease_id: PathId, actor: Actor) -> dict[str, Any]:
        """Ask whether a lease still holds, and for how long."""
        return {"valid_for_s": await lease.heartbeat(app, actor, lease_id)}

    @routes.post("/leases/{lease_id}/calls", response_model=StatusReply, responses=refusals(403))
    async def tell_calls(lease_id: PathId, actor: Actor, body: CallsBody) -> dict[str, Any]:
        """Tell of calls that were made with a lease's secrets, for people to see how a credential is used."""
        emergency.require_room()
        told = [calls.ToolCall(**one.model_dump() | {"outcome": CallResult(one.outcome)}) for one in body.calls]
        await calls.tell_calls(app, actor, lease_id, told, body.total)
        return {"status": "told"}

    @routes.post("/leases/use", response_model=StatusReply, responses=refusals(403, 404))
    async def tell_use(actor: Actor, body: UseBody) -> dict[str, Any]:
        """Tell how often leases were used, once they can be used no more; the store's log is held against it."""
        told = [lease.Telling(one.lease_id, one.logins, one.reads) for one in body.leases]
        await lease.tell(app, actor, told)
        return {"status": "told"}

    @routes.get("/self", response_model=MachineReply)
    async def me(actor: Actor) -> Actor:
        """Tell a caller who it is."""
        return actor


async def _wish(request: Request) -> effect.EffectRequest | None:
    """Read a request for a permit; None if it cannot be understood: the gate itself denies that."""
    try:
        body = await json_body(PermitBody)(request)
    except Rejected:
        return None
    return effect.EffectRequest(**body.model_dump())


def effects_router(app: BrokerApp, auth: Authenticator, emergency: Emergency) -> APIRouter:
    """Return the routes."""
    routes = Routes("effects", auth)
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
        lease_id: PathId, actor: Actor, wish: effect.EffectRequest | None = wish_body
    ) -> JSONResponse:
        """Ask for leave to cause one effect."""
        emergency.require_room()
        permit = await effect.issue_permit(app, actor, lease_id, wish)
        return JSONResponse(
            {"permit_id": str(permit.id), "expires_at": permit.expires_at.isoformat(), "ttl_s": permit.ttl_s}, 201
        )

    @routes.post("/permits/{permit_id}/close", response_model=StateReply, responses=refusals(403, 409))
    async def close_permit(permit_id: PathId, actor: Actor, body: CloseBody) -> dict[str, Any]:
        """Say whether the effect happened."""
        return {"state": await effect.close_permit(app, actor, permit_id, body.outcome)}

    @routes.post(
        "/accounts/{client_id}/{platform}/{account}/identity", response_model=IdentityReply, responses=refusals(403)
    )
    async def report_identity(
        client_id: PathId, platform: str, account: str, actor: Actor, body: SeenBody
    ) -> dict[str, Any]:
        """Report what the platform says about an account; the broker compares."""
        seen = effect.ObservedAccount(**body.model_dump(exclude={"lease_id"}) | {"lane": Lane(body.lane)})
        client = ClientId(client_id)
        return {"identity": await effect.report_identity(app, actor, client, platform, account, body.lease_id, seen)}

    return routes


def _time(text: str) -> datetime:
    step = "Write the time with its zone, like 2026-03-01T09:00:00Z."
    return instant(text, Rejected("bad_due_at", next_step=step))


def scheduled_router(app: BrokerApp, auth: Authenticator, emergency: Emergency) -> APIRouter:
    """Return the routes."""
    routes = Routes("effects", auth, 403)

    @routes.post("/effects/scheduled", status_code=201, response_model=ScheduledReply, responses=refusals(404, 409))
    async def schedule(actor: Actor, body: PlanBody) -> ScheduledEffect:
        """Announce something to be done at a later time."""
        emergency.require_room()
        plan = scheduled.EffectPlan(**body.model_dump() | {"due_at": _time(body.due_at)})
        return await scheduled.schedule(app, actor, plan)

    @routes.get("/clients/{client_id}/effects/scheduled", response_model=ScheduledListReply)
    async def list_scheduled(client_id: PathId, actor: Actor) -> dict[str, Any]:
        """List what a client has announced."""
        return {"effects": await scheduled.list_scheduled(app, actor, ClientId(client_id))}

    @routes.post(
        "/clients/{client_id}/effects/scheduled/{effect_id}/requeue", response_model=ScheduledReply,
        responses=refusals(409),
    )  # fmt: skip
    async def requeue(client_id: PathId, effect_id: PathId, actor: Actor, body: RequeueBody) -> ScheduledEffect:
        """Put something announced back, with a new time."""
        return await scheduled.move_by_person(app, actor, ClientId(client_id), effect_id, _time(body.due_at))

    @routes.post(
        "/clients/{client_id}/effects/scheduled/{effect_id}/cancel", response_model=ScheduledReply,
        responses=refusals(409),
    )  # fmt: skip
    async def cancel(client_id: PathId, effect_id: PathId, actor: Actor) -> ScheduledEffect:
        """Call something announced off."""
        return await scheduled.move_by_person(app, actor, ClientId(client_id), effect_id, None)

    return routes


def switches_router(app: BrokerApp, auth: Authenticator, emergency: Emergency, *, follow: Authenticator) -> APIRouter:
    """Return the routes; ``follow`` authenticates whoever follows the switches, so that a kill never waits for them."""
    routes = kill_router(app, auth, emergency, follow=follow)

    @routes.post(
        "/switches/open-requests", status_code=201, response_model=OpenRequestReply,
        responses=refusals(404, 409) | {200: {"model": OpenRequestReply}},
    )  # fmt: skip
    async def request_open(actor: Actor, body: ScopeBody) -> Response:
        """Ask to open a switch; another person must approve. 200 with the request that waits already, if one does."""
        scope = parse_scope(body.client_id, body.platform, body.lane)
        waiting = await switches.request_open(app, actor, scope, body.reason)
        return OpenRequestReply.answer(waiting, 200 if waiting.repeated else 201)

    @routes.post("/switches/open-requests/{request_id}/approve", response_model=SwitchReply, responses=refusals(409))
    async def approve_open(request_id: PathId, actor: Actor) -> Switch:
        """Open a switch as the second person."""
        return await switches.approve_open(app, actor, request_id)

    @routes.post("/clients/{client_id}/enroll", response_model=StateReply, responses=refusals(409))
    async def enroll_client(client_id: PathId, actor: Actor) -> dict[str, Any]:
        """Bring a new client to life at the store."""
        return {"state": await lease.enroll_client(app, actor, ClientId(client_id))}

    @routes.post("/clients/{client_id}/suspend", response_model=ClientReply, responses=refusals(409))
    async def suspend(client_id: PathId, actor: Actor) -> Client:
        """Stop all work for a client."""
        return await clients.suspend_client(app, actor, ClientId(client_id))

    @routes.post("/clients/{client_id}/resume", response_model=ClientReply, responses=refusals(409))
    async def resume(client_id: PathId, actor: Actor) -> Client:
        """Let a suspended client's work go on."""
        return await clients.resume_client(app, actor, ClientId(client_id))

    return routes
