"""The newest look at the engaged kill switches, for everybody who follows it.

Rules
- One look a beat, however many follow, and one at once when a switch was engaged here.
- A look that failed is no view: nobody is woken, and whoever follows knows by the silence.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final
from uuid import UUID

BEAT_S: Final = 1.0  # a follower who heard nothing for five of them has no view any more


@dataclass(frozen=True, slots=True)
class Engaged:
    """One engaged switch."""

    scope: str
    client_id: UUID | None
    reason: str


class Views:
    """Hands each new view to everybody who waits for the next one."""

    def __init__(self) -> None:
        self.due = asyncio.Event()  # set = look at once
        self._turn: asyncio.Future[list[Engaged]] | None = None

    def publish(self, engaged: list[Engaged]) -> None:
        """Wake everybody who waits."""
        turn, self._turn = self._turn, None
        if turn is not None and not turn.done():
            turn.set_result(engaged)

    async def next(self) -> list[Engaged]:
        """Return the next view."""
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._turn)
