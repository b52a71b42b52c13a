"""Routes of incidents that only the broker can serve: it reads the store's own log, and signs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import Field

from byokeep.core.errors import Unavailable
from byokeep.core.model import Actor
from byokeep.http.openapi import Reply, Routes, refusals
from byokeep.http.request import Authenticator, Id, Strict, time_of
from byokeep.incidents import exposure
from byokeep.incidents.exposure import ExposureRequest, ProviderFigure
from byokeep.kernel.app import BrokerApp

AT_ONCE: Final = 2
RETRY_AFTER_S: Final = 60
_Time = Annotated[str, Field(max_length=40)]


class FigureBody(Strict):
    """What the provider's own page counted for a model, hour by hour from ``since`` on; null = not known."""

    model: Annotated[str, Field(max_length=64)]
    since: _Time
    requests: Annotated[list[int | None], Field(max_length=3000)]


class ExposureBody(Strict):
    """What to report on: one key, account or profile, or else everything of a client; and in which span."""

    client_id: Id | None = None
    ref_id: Id | None = None
    account_id: Id | None = None
    profile_id: Id | None = None
    since: _Time = ""
    until: _Time = ""
    any_span: bool = False
    provider_usage: Annotated[list[FigureBody], Field(default_factory=list, max_length=100)]
    incident_id: Id | None = None


class ExposureReply(Reply):
    """A report, its digest as it stands on the client's record under ``seq``, and its signed form."""

    report: dict[str, Any]
    digest: str
    seq: int
    envelope: str


def router(app: BrokerApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes, room = Routes("incidents", auth, 403), asyncio.Semaphore(AT_ONCE)

    @routes.post("/exposure", response_model=ExposureReply, responses=refusals(404, 409))
    async def report(actor: Actor, body: ExposureBody) -> dict[str, Any]:
        """Report who could read a credential, who did and what was done with it; it is signed and on record."""
        figures = tuple(
            ProviderFigure(model=one.model, since=time_of("provider_usage", one.since), requests=tuple(one.requests))
            for one in body.provider_usage
        )
        span = {name: time_of(name, at) if at else None for name, at in (("since", body.since), ("until", body.until))}
        asked = ExposureRequest(**body.model_dump(exclude={"provider_usage"}) | span, figures=figures)
        if room.locked():
            step = f"The broker makes {AT_ONCE} reports at once, because each reads whole logs. Try again in a minute."
            raise Unavailable("broker_busy", next_step=step, limit=AT_ONCE, retry_after_s=RETRY_AFTER_S)
        async with room:
            made = await exposure.report(app, actor, asked)
        return ExposureReply.fields(made, envelope=made.envelope.decode())

    return routes
