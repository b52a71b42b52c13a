"""Routes that stop things: the kill switches as a person engages them. The kill process serves only these.

Rules
- What stops something works on a full disk, too.

It may not release anything: only the broker does.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from byokeep.core.model import Actor, DeclaredJob
from byokeep.core.policy import Verb, authorise
from byokeep.http.emergency import Emergency
from byokeep.http.events import EVENTS, Events
from byokeep.http.openapi import AtOffset, Reply, Routes, answers, refusals
from byokeep.http.request import Authenticator, Id, Strict, caller
from byokeep.jobs import switches
from byokeep.jobs.switches import Killed, Preview, Switch
from byokeep.kernel.app import KillApp
from byokeep.kernel.approvals import Approval
from byokeep.tenancy.scopes import parse_scope

_TEXT: Final = {"type": "string"}
Word = Annotated[str, Field(max_length=64)]


class PreviewBody(Strict):
    """Name a switch, as to engage it."""

    client_id: Id | None = None
    platform: Word | None = None
    lane: Word | None = None


class ScopeBody(PreviewBody):
    """Name a switch: nothing = global, the browser lane, a client, a client's platform or lane; and a reason."""

    reason: Word


class JobReply(
    Reply,
    of=DeclaredJob,
    at=AtOffset,
    shows="id client_id dispatcher_id runner_id kind secrets platforms lanes effects state opened_at expires_at",
):
    """A job."""


class SwitchReply(Reply, of=Switch, shows="scope client_id closed epoch reason by at store_cut_off", at=AtOffset):
    """A kill switch."""


class KilledReply(
    Reply, of=Killed, at=AtOffset, shows="scope client_id closed epoch reason by at store_cut_off keyless keyless_until"
):
    """A kill switch engaged just now; and at which providers a token that was given before lives on, until when.

    No call of ours ends such a token: the client disables the rule or the account at the provider.
    """


class PreviewReply(Reply, of=Preview, shows="scope ends_jobs jobs more"):
    """What engaging a switch would stop."""

    jobs: list[JobReply]


class OpenRequestReply(Reply, of=Approval, at=AtOffset, shows="id scope epoch reason requested_by expires_at repeated"):
    """A request to open."""


class SwitchesReply(Reply):
    """The switches, and the requests to open them that wait for an approver."""

    switches: list[SwitchReply]
    requests: list[OpenRequestReply]


def kill_router(
    app: KillApp,
    auth: Authenticator,
    emergency: Emergency,
    *,
    follow: Authenticator | None = None,
    lane: tuple[KillApp, Authenticator] | None = None,
) -> Routes:
    """Return the routes.

    Args:
        follow: Authenticates whoever follows the switches, if ``auth`` is kept for those who stop something.
        lane: What a kill and its login use, if ``app`` and ``auth`` serve others.
    """
    routes = Routes("switches", auth, 403)
    kill_app, kill_auth = lane or (app, auth)
    who_stops = Depends(caller(emergency.admitting(kill_auth)))
    who_follows = Depends(caller(follow or auth))

    @routes.get("/switches", response_model=SwitchesReply)
    async def list_switches(actor: Actor) -> dict[str, Any]:
        """List the switches the caller may see, and the requests to open them that wait for an approver."""
        found = await switches.list_switches(app, actor)
        waiting = await switches.list_requests(app, actor)
        return {"switches": found, "requests": waiting}

    @routes.get("/switches/stream", response_class=StreamingResponse, responses=refusals(429) | answers(EVENTS, _TEXT))
    async def stream(actor: Actor = who_follows) -> StreamingResponse:
        """Follow the switches the caller may see: an event each second, and one at once when one is engaged."""
        authorise(actor, Verb.SWITCH_READ)
        return Events(app, actor)

    @routes.post("/switches/close", response_model=KilledReply, responses=refusals(404))
    async def close(*, actor: Actor = who_stops, body: ScopeBody) -> Response:
        """Kill: acknowledged when nothing can start any more, in the store as well."""
        scope = parse_scope(body.client_id, body.platform, body.lane)
        return KilledReply.answer(
            await emergency.stopping(lambda: switches.close(kill_app, actor, scope, body.reason)), 200
        )

    @routes.post("/switches/preview", response_model=PreviewReply, responses=refusals(404))
    async def preview(actor: Actor, body: PreviewBody) -> Preview:
        """Tell what a kill would stop; nothing is changed."""
        return await switches.preview(app, actor, parse_scope(body.client_id, body.platform, body.lane))

    return routes
