"""How many requests of a kind are served at once, and how many may wait: what is more is refused at the door.

Rules
- A refused request has done nothing and asked nobody, so it may be sent again; the refusal names the limit and when.
- Only what starts work is counted. A kill, a heartbeat, a permit and the end of a job pass by the door.

It may not look at who asks.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from byokeep.core.errors import Unavailable
from byokeep.http.problems import problem, request_id

AT_ONCE: Final = 32  # more would only wait for a database connection, in front of heartbeats and permits
WAITING: Final = 96  # what is served within a second or two, before a caller gives up
RETRY_AFTER_S: Final = 1


class Door:
    """ASGI middleware. Put it inside the guard.

    Args:
        app: What it stands before.
        starting: Patterns of ``METHOD /path`` of the requests that are counted.
        at_once: How many of them are served side by side.
        waiting: How many more may wait.
    """

    def __init__(
        self, app: ASGIApp, starting: Sequence[re.Pattern[str]], *, at_once: int = AT_ONCE, waiting: int = WAITING
    ) -> None:
        self._app = app
        self._starting = tuple(starting)
        self._room = asyncio.Semaphore(at_once)
        self._here, self._most = 0, at_once + waiting
        self._step = f"The broker serves {at_once} of these at once and lets {waiting} wait: try again in a second."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not self._counts(f"{scope['method']} {scope['path']}"):
            await self._app(scope, receive, send)
            return
        if self._here >= self._most:
            busy = Unavailable("broker_busy", next_step=self._step, limit=self._most, retry_after_s=RETRY_AFTER_S)
            scope.setdefault("state", {})["code"] = busy.code
            await problem(busy, request_id(Request(scope)))(scope, receive, send)
            return
        self._here += 1
        try:
            async with self._room:
                await self._app(scope, receive, send)
        finally:
            self._here -= 1

    def _counts(self, asked: str) -> bool:
        return any(pattern.fullmatch(asked) for pattern in self._starting)
