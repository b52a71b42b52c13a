"""The kill process as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from fastapi import FastAPI

from byokeep.core.errors import ByokeepError
from byokeep.http.emergency import Emergency
from byokeep.http.guard import Guard
from byokeep.http.openapi import server, take
from byokeep.http.request import Authenticator, ready
from byokeep.jobs.kill_routes import kill_router
from byokeep.jobs.switches import UNDER_WAY_S, cut_off_pending
from byokeep.kernel.app import KillApp
from byokeep.kernel.views import BEAT_S, Engaged
from byokeep.telemetry.log import get_log

RETRY_CUT_OFF_S: Final = 1.0  # seconds between two looks for a cut-off that the store has not confirmed


async def keep_cutting_off(app: KillApp) -> None:
    """Finish every cut-off that the store has not confirmed, forever; after a crash the first look is at once."""
    older_s = 0.0
    while True:
        try:
            if done := await cut_off_pending(app, older_s=older_s):
                get_log().warning("cut_off_finished", count=done)
        except Exception as error:  # whatever it is, the next look comes
            get_log().error("cut_off_pending", code=error.code if isinstance(error, ByokeepError) else "internal_error")
        older_s = UNDER_WAY_S
        await asyncio.sleep(RETRY_CUT_OFF_S)


async def keep_looking(app: KillApp) -> None:
    """Look at the switches once per beat, and at once after a kill, for everybody who follows them; forever."""
    asked = {"installation_id": app.installation_id}
    while True:
        app.views.due.clear()
        with suppress(Exception):  # whatever it is, the next look comes
            app.views.publish(await app.db.read(Engaged, "switch_engaged", asked, every_client=True))
        with suppress(TimeoutError):
            async with asyncio.timeout(BEAT_S):
                await app.views.due.wait()


@asynccontextmanager
async def cutting_off(app: KillApp) -> AsyncIterator[None]:
    """Run, beside the block, what a process that kills does by itself."""
    tasks = {asyncio.create_task(keep_cutting_off(app)), asyncio.create_task(keep_looking(app))}
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks | app.telling)
        for task in tasks:
            if not task.cancelled():
                task.result()


def create_app(
    app: KillApp, auth: Authenticator, emergency: Emergency, *, lane: tuple[KillApp, Authenticator] | None = None
) -> FastAPI:
    """Build the kill process's application.

    Args:
        app: Its ports.
        auth: Token and request id to actor (:func:`byokeep.tenancy.authenticate.authenticate`).
        emergency: What frees space on a full disk, so that a kill can be recorded.
        lane: ``app`` and ``auth`` over database connections of their own, for kills: none waits for a connection behind
            those who follow or list, or the round. ``None`` = they share.
    """

    async def readyz() -> dict[str, str]:
        """Database and store answer."""
        return await ready(database=app.db.ping(), store=app.store_health.probe())

    api = server("byokeep killswitch", app, ready=readyz, lifespan=lambda _: cutting_off(app))
    take(api, (kill_router(app, auth, emergency, lane=lane),))
    api.add_middleware(Guard)
    return api
