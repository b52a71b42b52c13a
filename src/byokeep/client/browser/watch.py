"""Asks again and again whether the browser may stay open, and closes it when it may not (R7.3-1).

Rules
- A no closes it at once; a silence of the broker's life does too, for a kill switch may be what nobody could tell.
- Asked to close it has ``CLOSE_S``; then its processes are killed. So from the switch to the last process it takes less
  than five seconds: one to ask, one to hear, the rest to close.
- The block is cancelled after the browser is gone, and ends with what the broker said.

It may not hand over a browser that was stopped: who begins one late is stopped as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

from byokeep.browser import processes
from byokeep.browser.launch import Running
from byokeep.client.browser.opening import ProfileOpening
from byokeep.client.tally import now
from byokeep.core.errors import ByokeepError, Unavailable

CLOSE_S: Final = 1.5


class OpeningWatch:
    """Whether it may go on. ``stopped`` is why not, ``killed`` whether the browser had to be killed."""

    def __init__(self, opening: ProfileOpening) -> None:
        self.stopped: ByokeepError | None = None
        self.killed = False
        self._opening = opening
        self._running: Running | None = None
        self._may_until = now() + opening.life_s
        self._over = False

    def guard(self, running: Running) -> None:
        """Name the browser that is to be closed. Raises what it was stopped for, if it was."""
        self._running = running
        if self.stopped is not None:
            raise self.stopped

    def finish(self) -> None:
        """Ask no more: the browser is closed, and the opening is about to end."""
        self._over = True

    async def until_stopped(self) -> bool:
        """Return when the browser was closed because it must be; False when it was over before."""
        while True:
            await asyncio.sleep(self._opening.beat_s)
            stopped = await self._asked()
            if self._over:
                return False
            if stopped is not None:
                self.stopped = stopped
                await self._close()
                return True

    async def _asked(self) -> ByokeepError | None:
        """Ask once; returns why it must be closed."""
        asked_at = now()
        try:
            self._may_until = asked_at + await self._opening.beat()
        except Unavailable as error:
            return error if now() + self._opening.beat_s >= self._may_until else None
        except ByokeepError as error:
            return error
        return None

    async def _close(self) -> None:
        running = self._running
        if running is None:
            return
        with suppress(Exception):  # it crashed, or does not answer: what follows looks for itself
            await asyncio.wait_for(running.context.close(), CLOSE_S)
        find = partial(processes.of_directory, running.start.directory)
        if not await processes.gone(running.start.directory, within_s=0.2):
            self.killed = await processes.end_all(find) > 0


@asynccontextmanager
async def watched(opening: ProfileOpening) -> AsyncIterator[OpeningWatch]:
    """Run a block for as long as the broker lets the opening go on.

    Raises:
        ByokeepError: Why it was stopped, whatever the block raised by then.
    """
    watch = OpeningWatch(opening)
    scope = asyncio.timeout(None)
    asking = asyncio.create_task(_then(watch.until_stopped, lambda: scope.reschedule(0)))
    try:
        async with scope:
            yield watch
    except BaseException:
        if watch.stopped is not None:
            await asyncio.wait({asking})  # the browser is gone before anybody hears of it
            raise watch.stopped from None
        raise
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking


async def _then(work: Callable[[], Awaitable[bool]], after: Callable[[], None]) -> None:
    if await work():
        with suppress(RuntimeError):  # the block is over already
            after()
