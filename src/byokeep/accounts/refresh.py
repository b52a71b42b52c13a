"""Renews tokens before they end: which are due, one renewal for each at a time, and what a crash left.

Rules
- Each renewal is a task of its own that nothing cancels; whoever stops lets them end first.
- A renewal that can not be done now is looked at again after a pause that grows; the pause is this process's own, what
  the platform asked for stands in the database.
- Another machine's renewals are left alone, and people hear of those that do not end; once a person has said that it is
  gone they are ours.

It may not know how a renewal is done: that is :mod:`byokeep.accounts.refresh_step`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final
from uuid import UUID

from byokeep.accounts import refresh_book
from byokeep.accounts.refresh_book import RenewableGrant
from byokeep.accounts.refresh_step import Attempt
from byokeep.accounts.refresher_app import RefresherApp
from byokeep.core.errors import ByokeepError, Denied
from byokeep.kernel.command import open_alert
from byokeep.kernel.rows import Row

MOST: Final = 16  # renewals side by side
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
OVERDUE: Final = timedelta(minutes=10)


async def renew(app: RefresherApp, grant: RenewableGrant) -> str:
    """Renew one account's tokens if they are due and nobody else does; returns how it ended, as a code.

    Raises:
        ByokeepError: It can not be done now. The journal says how far it came, and it is taken up again.
    """
    login = app.logins.get(grant.login)
    if login is None or login.provider is not grant.provider:
        raise Denied("unknown_login", next_step="This version does not know the login of this account.")
    taken = await refresh_book.take(app, grant)
    if taken is None:
        return "not_due"
    held, renewal = taken
    async with app.custodian.open(renewal.job_id) as custody:
        attempt = Attempt(app, login, held, renewal, custody)
        ended = await attempt.go()
    with suppress(ByokeepError):  # an open job ends by itself
        await app.custodian.close(renewal.job_id)
    return ended


class Renewals:
    """The renewals of one process.

    Args:
        app: The refresher's ports.
        told: Called with the grant and how its renewal ended, as a code.
    """

    def __init__(self, app: RefresherApp, told: Callable[[RenewableGrant, str], None] = lambda _, __: None) -> None:
        self._app, self._told = app, told
        self._running: dict[tuple[UUID, UUID], asyncio.Task[None]] = {}
        self._pauses: dict[tuple[UUID, UUID], tuple[float, float]] = {}

    async def start_due(self) -> int:
        """Start what is due; returns how many. Raises Unavailable."""
        room = MOST - len(self._running)
        if room <= 0:
            return 0
        async with self._app.db.begin(every_client=True) as tx:
            due = await tx.all(
                RenewableGrant,
                "refresh_due",
                now=self._app.clock.now(),
                owner=self._app.owner,
                limit=room + len(self._pauses),
            )
        return self._start(due, room)

    async def resume(self) -> int:
        """Take up what was cut off here or left by a machine that is gone, and tell of others' that do not end.

        Returns:
            How many were started.

        Raises:
            Unavailable: The database.
        """
        async with self._app.db.begin(every_client=True) as tx:
            await tx.all(UUID, "refresh_take_over", owner=self._app.owner)
            found = await tx.all(
                RenewableGrant, "refresh_cut_off", owner=self._app.owner, limit=MOST + len(self._pauses)
            )
            foreign = await tx.all(dict, "refresh_foreign", owner=self._app.owner)
        started = self._start(found, MOST)
        for row in foreign:
            with suppress(Exception):  # one that can not be told of is looked at again, and hides no other one
                await self._tell_foreign(row)
        return started

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._running:
            await asyncio.wait(self._running.values())

    async def drain(self, within_s: float) -> int:
        """Wait for what is under way; returns how many did not end in time."""
        if self._running:
            await asyncio.wait(self._running.values(), timeout=within_s)
        return len(self._running)

    def _start(self, grants: list[RenewableGrant], room: int) -> int:
        started, now = 0, self._app.clock.monotonic()
        for grant in grants:
            if started >= room or grant.key in self._running or self._pauses.get(grant.key, (0.0, 0.0))[0] > now:
                continue
            self._running[grant.key] = asyncio.create_task(self._renew(grant))
            started += 1
        return started

    async def _renew(self, grant: RenewableGrant) -> None:
        try:
            ended = await renew(self._app, grant)
            self._pauses.pop(grant.key, None)
        except Exception as error:  # of any kind: it is told, and comes again
            ended = error.code if isinstance(error, ByokeepError) else f"failed_{type(error).__name__.lower()}"
            await self._overdue(grant, unforeseen=not isinstance(error, ByokeepError))
            pause_s = min(2 * self._pauses.get(grant.key, (0.0, FIRST_PAUSE_S / 2))[1], LONGEST_PAUSE_S)
            self._pauses[grant.key] = self._app.clock.monotonic() + pause_s, pause_s
        finally:
            self._running.pop(grant.key, None)
        self._told(grant, ended)

    async def _overdue(self, grant: RenewableGrant, *, unforeseen: bool) -> None:
        """Tell people of one that should be done by now; at once when nobody foresaw why it is not."""
        since = grant.due_at or grant.changed_at  # one that was ended is due no more, and has to give back
        if not unforeseen and self._app.clock.now() - since < OVERDUE:
            return
        with suppress(Exception):
            async with self._app.db.begin(client_id=grant.client_id) as tx:
                await open_alert(tx, self._app, self._app.system(), reason="renewal_overdue", severity="warning",
                                  client_id=grant.client_id, object_id=grant.account_id)  # fmt: skip

    async def _tell_foreign(self, row: Row) -> None:
        async with self._app.db.begin(client_id=row["client_id"]) as tx:
            await open_alert(tx, self._app, self._app.system(), reason="renewal_of_another_owner",
                              client_id=row["client_id"], object_id=row["account_id"])  # fmt: skip
