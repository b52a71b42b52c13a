"""End the database sessions that block a kill, a withdrawal or the broker's watch.

Rules
- Only sessions that hold, or queue for, what this very transaction waits for are ended, and only after a second: an
  ordinary transaction has ended by then. A kill waits a few hundredths of a second: it would have refused the sessions
  that it ends. The database's function enforces both.
- People are notified afterwards, which holds nothing up.

It may be used only to stop and to watch: whoever starts something waits like everybody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from byokeep.core.errors import ByokeepError
from byokeep.kernel.app import App
from byokeep.kernel.ports import Tx

PATIENCE_S: Final = 1.0  # the lock timeout is three times as long
_AGAIN_S: Final = 0.4
Ended = list[asyncio.Task[int]]  # of each watch, how many sessions it ended


@asynccontextmanager
async def ending_blockers(app: App, tx: Tx, ended: Ended, *, patience_s: float = PATIENCE_S) -> AsyncIterator[None]:
    """End the sessions that keep ``tx`` waiting in the block.

    Args:
        app: Its database lends another connection.
        tx: The transaction that must not wait.
        ended: Takes the watch; :func:`how_many` awaits it. The block does not, for what it stops is stopped by then.
        patience_s: How long it waits first. The database makes sure that the broker waits for half a second at least.
    """
    over = asyncio.Event()
    ended.append(asyncio.create_task(_watch(app, tx, over, patience_s)))
    try:
        yield
    finally:
        over.set()


async def how_many(ended: Ended) -> int:
    """Return how many sessions were ended, once every watch is over."""
    return sum(await asyncio.gather(*ended))


async def _watch(app: App, waits: Tx, over: asyncio.Event, pause_s: float) -> int:
    count = 0
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await over.wait()
                return count
        with suppress(ByokeepError):
            async with app.db.begin() as tx:
                count += sum(await tx.all(int, "end_blockers", waiting=waits.pid))
        pause_s = min(pause_s, _AGAIN_S)
