"""What a page is told once it is loaded: engaged switches, whether the store's audit records, what waits for whom.

Rules
- There is one query a second for all pages open in this process, and none while none is open
  (:mod:`byokeep.kernel.views`). A failed query sends nothing, and the pages notice the silence.
- What waits for an approver is counted once, by one statement, when their page opens; nobody else asks for it. Their
  page of approvals says what it is (:func:`byokeep.console.lists.waiting`).
- An open page does not count as use of its session: that ends after 30 idle minutes, and the stream with it.
- Who may see which switch is decided as at the kill process, whose stream this is.

It may not keep a page from working without it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from byokeep.console.lists import APPROVED_BY
from byokeep.console.pages import ENDED, HEADERS, Console
from byokeep.console.visit import Visitor
from byokeep.core.errors import ByokeepError
from byokeep.core.policy import Verb, authorise
from byokeep.http.events import Events
from byokeep.kernel.app import RECORDED_FOR_S, WebApp
from byokeep.kernel.approvals import PROCEDURE_STEP
from byokeep.kernel.views import BEAT_S, Engaged
from byokeep.telemetry.log import get_log
from byokeep.tenancy.clients import scope_of

_ASKED_FOR_S: Final = 2.0  # a page that hears nothing for longer believes it is stale


async def keep_looking(app: WebApp) -> None:
    """Query once a beat while a page waits for it, forever."""
    asked = {"installation_id": app.installation_id}
    while True:
        if app.views.awaited:
            try:
                engaged = await app.db.read(Engaged, "switch_engaged", asked, every_client=True)
                recording = await app.db.read(
                    lambda row: row["recording"] is True, "store_recording", asked | {"holds_s": RECORDED_FOR_S}
                )
                app.views.publish(engaged, recording=recording == [True])
            except Exception as error:  # the next may succeed; if this task ended, every page would be stale
                if not isinstance(error, ByokeepError):
                    get_log().error("uncaught_error", error=type(error).__name__)
        await asyncio.sleep(BEAT_S)


async def _waits(console: Console, who: Visitor) -> str:
    """Return how much waits for this visitor's approval, once for each stream; nothing if they may approve nothing."""
    app = console.app
    actions = [action for verb, of in APPROVED_BY.values() if who.may(verb) for action in of]
    if not actions:
        return ""
    steps = [f"{one.name}/{step.name}" for one in app.procedures.values() for step in one.steps
             if step.approval is not None and who.may(step.approval)]  # fmt: skip
    asked = {"by": who.actor.id, "ids": scope_of(who.actor), "steps": steps,
             "actions": [*actions, PROCEDURE_STEP]}  # fmt: skip
    with suppress(ByokeepError, TimeoutError):
        async with asyncio.timeout(_ASKED_FOR_S):
            (number,) = await app.db.read(int, "approvals_number", asked, every_client=True)
            return f"event: waits\ndata: {number}\n\n"
    return ""


def add(console: Console) -> None:
    """Add the stream."""

    async def stream(_: Request, who: Visitor) -> Response:
        authorise(who.actor, Verb.SWITCH_READ)
        reply = Events(console.app, who.actor, first=await _waits(console, who), last=ENDED)
        reply.headers.update(HEADERS)
        return reply

    console.add("GET", "/live", stream, used=False)
