"""The current view of the engaged kill switches, for everybody who follows it.

Rules
- The switches are read once per beat, however many follow, and at once when a switch was engaged here.
- A failed read gives no view: nobody is woken, and followers notice the silence.
- A view is serialised once for all who may see the same.
- One token may follow over at most ``MOST_OF_TOKEN`` streams, and all together over ``MOST``. Every ``CHECK_EVERY_S``,
  one query finds the followers' tokens that have ended, so that a stream ends within five seconds of its token, and the
  clients of the others: what a runner does not hear of, it takes to be released.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from byokeep.core.errors import RateLimited

BEAT_S: Final = 1.0  # a follower who heard nothing for five of them has no view any more
CHECK_EVERY_S: Final = 3.0
MOST_OF_TOKEN: Final = 8
MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Engaged:
    """One engaged switch."""

    scope: str
    client_id: UUID | None
    reason: str


class View:
    """One look, as an event of a stream for each set of clients; ``more`` is what else it says to everybody."""

    def __init__(self, engaged: Sequence[Engaged], **more: bool) -> None:
        self._engaged, self._more, self._written = engaged, more, dict[frozenset[UUID] | None, str]()

    def event(self, clients: frozenset[UUID] | None) -> str:
        """Return what concerns everybody, and one of these clients; ``None`` = all."""
        if (text := self._written.get(clients)) is None:
            seen = [{"scope": one.scope, "reason": one.reason} for one in self._engaged
                    if clients is None or one.client_id is None or one.client_id in clients]  # fmt: skip
            text = self._written[clients] = f"event: engaged\ndata: {json.dumps({'engaged': seen} | self._more)}\n\n"
        return text


class Views:
    """Hands each new view to everybody who waits for the next one."""

    def __init__(self) -> None:
        self.due = asyncio.Event()  # set = look at once
        self._turn: asyncio.Future[View] | None = None
        self._following = Counter[UUID]()
        self._asked: frozenset[UUID] = frozenset()
        self._living = dict[UUID, frozenset[UUID] | None]()
        self._checked_at = float("-inf")

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for the next view."""
        return self._turn is not None

    def publish(self, engaged: list[Engaged], **more: bool) -> None:
        """Wake everybody who waits."""
        turn, self._turn = self._turn, None
        if turn is not None and not turn.done():
            turn.set_result(View(engaged, **more))

    @contextmanager
    def followed(self, token: UUID, clients: frozenset[UUID] | None) -> Iterator[None]:
        """Count a stream of a token while it lasts; ``clients``: those of the token as it begins, ``None`` = all.

        Raises:
            RateLimited: ``too_many_streams``.
        """
        if self._following[token] >= MOST_OF_TOKEN or self._following.total() >= MOST:
            step = "Follow the switches over one stream per process. Close streams that nobody reads."
            raise RateLimited("too_many_streams", next_step=step, retry_after_s=30)
        self._following[token] += 1
        self._living[token] = clients  # newer than the last check
        try:
            yield
        finally:
            self._following[token] -= 1
            if not self._following[token]:
                del self._following[token]

    async def lives(
        self, token: UUID, at: float, ask: Callable[[list[UUID]], Awaitable[Mapping[UUID, frozenset[UUID] | None]]]
    ) -> bool:
        """Whether a token has not ended, as of ``CHECK_EVERY_S`` ago at most.

        Args:
            token: Of a stream that lasts.
            at: Monotonic time in seconds.
            ask: Which of some tokens live, and the clients of each; ``None`` = all.
        """
        if at - self._checked_at >= CHECK_EVERY_S:
            self._checked_at, asked = at, list(self._following)
            try:
                self._asked, self._living = frozenset(asked), dict(await ask(asked))
            except BaseException:
                self._checked_at = float("-inf")  # not known: it is asked at the next beat
                raise
        return token not in self._asked or token in self._living

    def clients(self, token: UUID, then: frozenset[UUID] | None) -> frozenset[UUID] | None:
        """Return the clients of a token as of the last check; ``then`` = those of before, if there was none since."""
        return self._living.get(token, then)

    async def next(self) -> View:
        """Return the next view."""
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._turn)
