"""Routes for runbook 7.2: close a client's platform, look at it, and bring it back in stages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from byokeep.accounts import recovery
from byokeep.accounts.recovery import PlatformState
from byokeep.core.model import Actor, ClientId
from byokeep.core.reenable import RecoveryCause, Reenable, Stage
from byokeep.http.emergency import Emergency
from byokeep.http.openapi import AtOffset, Reply, Routes, refusals
from byokeep.http.request import Authenticator, Id, PathId, Strict, caller
from byokeep.jobs.kill_routes import OpenRequestReply, Word
from byokeep.kernel.app import BrokerApp


class LostBody(Strict):
    """Say that a client lost a platform, and why."""

    client_id: Id
    platform: Word
    cause: Word


class CanaryBody(Strict):
    """Ask for the canary of a platform to begin; ``open`` is what somebody asks who wants to skip it."""

    client_id: Id
    platform: Word
    reason: Word
    stage: Literal["canary", "open"] = "canary"


StageName = Annotated[str, Field(json_schema_extra={"enum": [*map(str, Stage), "unknown"]})]


CauseName = Annotated[str, Field(json_schema_extra={"enum": [*map(str, RecoveryCause)]})]


class StageReply(Reply, of=Reenable, shows="platform stage cause way number of acts taken done"):
    """Where a platform of a client stands on its way back."""

    platform: str
    stage: StageName
    cause: CauseName
    of: int


class PlatformReply(Reply):
    """A platform that was lost; one that cannot be read is ``unknown`` and closed, and nothing else is said of it."""

    platform: str
    stage: StageName
    cause: CauseName | None = None
    way: int | None = None
    number: int | None = None
    of: int | None = None
    acts: int | None = None
    taken: int | None = None
    done: int | None = None
    changed_at: AtOffset


class PlatformsReply(Reply):
    """The platforms that a client lost at some time, and the canaries that wait for an approver."""

    platforms: list[PlatformReply]
    requests: list[OpenRequestReply]


def stage_out(platform: str, state: Reenable) -> dict[str, Any]:
    """Return where a platform stands on its way back."""
    return StageReply.fields(state, platform=platform, of=len(state.stages))


def platform_out(one: PlatformState) -> dict[str, Any]:
    """Return a platform that was lost; one that cannot be read is closed."""
    state = {"platform": one.platform, "stage": "unknown"} if one.state is None else stage_out(one.platform, one.state)
    return state | {"changed_at": one.changed_at}


def router(app: BrokerApp, auth: Authenticator, emergency: Emergency) -> APIRouter:
    """Return the routes."""
    routes = Routes("incidents", auth, 403)
    who_stops = Depends(caller(emergency.admitting(auth)))

    @routes.get("/clients/{client_id}/platforms", response_model=PlatformsReply, response_model_exclude_unset=True)
    async def list_platforms(client_id: PathId, actor: Actor) -> dict[str, Any]:
        """List the platforms that a client lost at some time, and the canaries that wait for an approver."""
        found, waiting = await recovery.list_platforms(app, actor, ClientId(client_id))
        return {"platforms": [platform_out(one) for one in found], "requests": waiting}

    @routes.post("/platforms/close", response_model=StageReply, responses=refusals(404, 409))
    async def close(*, actor: Actor = who_stops, body: LostBody) -> dict[str, Any]:
        """Close a platform for a client: acknowledged when no act on it can start any more."""
        state = await emergency.stopping(
            lambda: recovery.close_platform(app, actor, ClientId(body.client_id), body.platform, body.cause)
        )
        return stage_out(body.platform, state)

    @routes.post(
        "/platforms/canary-requests", status_code=201, response_model=OpenRequestReply,
        responses=refusals(404, 409) | {200: {"model": OpenRequestReply}},
    )  # fmt: skip
    async def request_canary(actor: Actor, body: CanaryBody) -> Response:
        """Ask for the canary; another person must approve. 200 with the request that waits already, if one does."""
        waiting = await recovery.request_canary(
            app, actor, ClientId(body.client_id), body.platform, body.reason, stage=body.stage
        )
        return OpenRequestReply.answer(waiting, 200 if waiting.repeated else 201)

    @routes.post("/platforms/canary-requests/{request_id}/approve", response_model=StageReply, responses=refusals(409))
    async def approve_canary(request_id: PathId, actor: Actor) -> dict[str, Any]:
        """Begin the canary as the second person."""
        platform, state = await recovery.approve_canary(app, actor, request_id)
        return stage_out(platform, state)

    return routes
