"""Answered consents under way in one process: each is a task of its own, so that a slow platform holds up no other one.

Rules
- The oldest answer first: a code may live for thirty seconds.
- So many at once, and of them half for one login at most: who asks a platform that does not answer waits for it alone.
- What fails in one is its own (:mod:`.apart`); nothing that was taken is cut off by a round's end.

It may not know how a consent is finished: :mod:`.connect_finish` does.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from byokeep.accounts import connections
from byokeep.accounts.apart import each
from byokeep.accounts.connect_finish import finish
from byokeep.accounts.connections import Connection
from byokeep.accounts.refresher_app import RefresherApp

MOST: Final = 16  # consents that are finished side by side
SHARE: Final = MOST // 2  # of these, for one login


class ConsentTasks:
    """What this process has taken and not finished.

    Args:
        app: The refresher's ports.
    """

    def __init__(self, app: RefresherApp) -> None:
        self._app = app
        self._running: dict[asyncio.Task[None], str] = {}

    async def start_answered(self) -> int:
        """Take the consents that were answered and begin to finish them; returns how many.

        Raises:
            Unavailable: The database is away.
        """
        started = 0
        while len(self._running) < MOST:
            full = [login for login, count in Counter(self._running.values()).items() if count >= SHARE]
            async with self._app.db.begin(every_client=True) as tx:
                one = await tx.maybe(connections.Connection, "connection_take", full=full)
            if one is None:
                break
            task = asyncio.create_task(self._finish(one))
            self._running[task] = one.login
            task.add_done_callback(self._running.pop)
            started += 1
        return started

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._running:
            await asyncio.wait(self._running)

    async def drain(self, within_s: float) -> int:
        """Wait for what is under way; returns how many did not end in time."""
        if self._running:
            await asyncio.wait(self._running, timeout=within_s)
        return len(self._running)

    async def _finish(self, one: Connection) -> None:
        await each(self._app, self._app.apart, "consent_finish", [one], lambda taken: finish(self._app, taken))
