"""Routes of jobs and leases."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from byokeep.accounts import recovery
from byokeep.broker.schemas import (
    AskedReply,
    BlockedBody,
    JobBody,
    JobReply,
    JobsReply,
    LeaseReply,
    MachineReply,
    RenewalBody,
    StatusReply,
    UseBody,
    ValidForReply,
    lease_out,
)
from byokeep.core.model import Actor, ClientId, DeclaredJob, LeaseKind
from byokeep.http.body import PathId, json_body, no_query
from byokeep.http.emergency import Emergency
from byokeep.http.openapi import describe, refusals
from byokeep.http.token import Authenticator, caller
from byokeep.jobs import jobs, lease
from byokeep.kernel.app import BrokerApp


def router(app: BrokerApp, auth: Authenticator, emergency: Emergency) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1", tags=["jobs"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))
    _jobs(routes, app, who, emergency)
    _leases(routes, app, who, emergency)
    return routes


def _jobs(routes: APIRouter, app: BrokerApp, who: Any, emergency: Emergency) -> None:
    blocked_body = Depends(json_body(BlockedBody))
    job_body = Depends(json_body(JobBody))

    @routes.post(
        "/jobs", status_code=201, response_model=JobReply, openapi_extra=describe(JobBody),
        responses=refusals(403, 404, 409),
    )  # fmt: skip
    async def open_job(request: Request, actor: Actor = who, body: JobBody = job_body) -> DeclaredJob:
        """Open a job for one client and one runner."""
        request.scope["state"]["tenant"] = body.client_id
        emergency.require_room()
        spec = jobs.JobSpec(
            client_id=ClientId(body.client_id), runner_id=body.runner_id, kind=LeaseKind(body.kind),
            secrets=tuple(body.secrets), platforms=tuple(body.platforms), lanes=tuple(body.lanes),
            effects=tuple(body.effects), ttl_s=body.ttl_s,
        )  # fmt: skip
        return await jobs.dispatch(app, actor, spec)

    @routes.get("/clients/{client_id}/jobs", response_model=JobsReply, responses=refusals(403))
    async def list_jobs(request: Request, client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """List a client's newest jobs."""
        request.scope["state"]["tenant"] = client_id
        return {"jobs": await jobs.list_jobs(app, actor, ClientId(client_id))}

    @routes.get("/jobs/{job_id}", response_model=JobReply, responses=refusals(403))
    async def read_job(job_id: PathId, actor: Actor = who) -> DeclaredJob:
        """Look at a job."""
        return await jobs.read_job(app, actor, job_id)

    @routes.post("/jobs/{job_id}/close", response_model=JobReply, responses=refusals(403))
    async def close_job(job_id: PathId, actor: Actor = who) -> DeclaredJob:
        """End a job."""
        return await jobs.close_job(app, actor, job_id)

    @routes.post(
        "/jobs/{job_id}/blocked", status_code=202, response_model=StatusReply, openapi_extra=describe(BlockedBody),
        responses=refusals(403),
    )  # fmt: skip
    async def blocked(job_id: PathId, actor: Actor = who, body: BlockedBody = blocked_body) -> dict[str, Any]:
        """Report that a job could not go on; people are told."""
        await jobs.report_blocked(app, actor, job_id, body.reason)
        return {"status": "told"}


def _leases(routes: APIRouter, app: BrokerApp, who: Any, emergency: Emergency) -> None:
    @routes.post("/jobs/{job_id}/leases", status_code=201, response_model=LeaseReply, responses=refusals(403, 409, 429))
    async def issue_lease(job_id: PathId, actor: Actor = who) -> JSONResponse:
        """Lease a job's secrets; the reply holds a login token for the store."""
        emergency.require_room()
        return JSONResponse(lease_out(await lease.issue_lease(app, actor, job_id)), 201)

    renewal_body = Depends(json_body(RenewalBody))

    @routes.post(
        "/jobs/{job_id}/renewals", status_code=202, response_model=AskedReply, openapi_extra=describe(RenewalBody),
        responses=refusals(403),
    )  # fmt: skip
    async def ask_renewal(job_id: PathId, actor: Actor = who, body: RenewalBody = renewal_body) -> dict[str, Any]:
        """Say that an account's access token has expired; a newer one comes with a later lease."""
        return {"asked": await recovery.ask_renewal(app, actor, job_id, body.secret, body.version)}

    @routes.get("/leases/{lease_id}", response_model=ValidForReply, responses=refusals(403))
    async def heartbeat(lease_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Ask whether a lease still holds, and for how long."""
        return {"valid_for_s": await lease.heartbeat(app, actor, lease_id)}

    use_body = Depends(json_body(UseBody))

    @routes.post(
        "/leases/use", response_model=StatusReply, openapi_extra=describe(UseBody), responses=refusals(403, 404)
    )
    async def tell_use(actor: Actor = who, body: UseBody = use_body) -> dict[str, Any]:
        """Tell how often leases were used, once they can be used no more; the store's log is held against it."""
        told = [lease.Telling(one.lease_id, one.logins, one.reads) for one in body.leases]
        await lease.tell(app, actor, told)
        return {"status": "told"}

    @routes.get("/self", response_model=MachineReply)
    async def me(actor: Actor = who) -> dict[str, Any]:
        """Tell a caller who it is."""
        return {"id": str(actor.id), "roles": sorted(actor.roles)}
