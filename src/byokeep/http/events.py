"""The engaged kill switches as a stream of server-sent events, for leases and for pages of the console.

Rules
- What is sent is :mod:`byokeep.kernel.views`: one view per beat, of what its reader may see.
- A stream ends within five seconds of its token, and after ten minutes, when the caller shows its token again.

It may not look anything up except whether tokens live, and of which clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from byokeep.core.errors import ByokeepError
from byokeep.core.model import Actor
from byokeep.kernel.app import KillApp, WebApp

EVENTS: Final = "text/event-stream"
_FOLLOWED_FOR_S: Final = 600.0


class Events(StreamingResponse):
    """One view per beat, until the token that was shown ends or must be shown again.

    Args:
        first: What is sent at the beginning.
        last: What is sent when the token has ended.
    """

    def __init__(self, app: KillApp | WebApp, actor: Actor, *, first: str = "", last: str = "") -> None:
        self._app, self._actor, self._first, self._last = app, actor, first, last
        self._token = actor.token_id or actor.id
        super().__init__(self._events(), media_type=EVENTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. Raises RateLimited (:meth:`byokeep.kernel.views.Views.followed`)."""
        with self._app.views.followed(self._token, self._actor.clients):
            await super().__call__(scope, receive, send)

    async def _events(self) -> AsyncIterator[str]:
        clock, views = self._app.clock, self._app.views
        until = clock.monotonic() + _FOLLOWED_FOR_S
        if self._first:
            yield self._first
        while clock.monotonic() < until:
            view = await views.next()
            try:
                if not await views.lives(self._token, clock.monotonic(), self._living):
                    if self._last:
                        yield self._last
                    return
            except ByokeepError:
                continue
            yield view.event(views.clients(self._token, self._actor.clients))

    async def _living(self, tokens: list[UUID]) -> dict[UUID, frozenset[UUID] | None]:
        rows = await self._app.db.read(dict, "auth_living", {"ids": tokens}, every_client=True)
        return {row["id"]: None if row["all_clients"] else frozenset(row["clients"]) for row in rows}
