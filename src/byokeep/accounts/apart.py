"""Does one thing for many accounts so that none of them holds up another.

Rules
- What fails for one fails for that one alone, whatever was raised; only a cancellation ends the whole.
- Who failed is left alone for a pause that grows; the pause is this process's own, and who is in it takes no place in
  the next round.
- People hear at once of what nobody foresaw, and of what has a name when it happened for the third time in a row.

It may not know what is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar
from uuid import UUID

from byokeep.core.errors import ByokeepError
from byokeep.core.model import ClientId
from byokeep.kernel.app import App
from byokeep.kernel.command import open_alert

SIDE_BY_SIDE: Final = 4
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 3600.0
TOLD_AFTER: Final = 3  # failures in a row of a kind that has a name


class OfAccount(Protocol):
    """Anything that belongs to one account."""

    @property
    def client_id(self) -> ClientId:
        """Whose account."""

    @property
    def account_id(self) -> UUID:
        """Which account."""


T = TypeVar("T", bound=OfAccount)


@dataclass(frozen=True, slots=True)
class _Failed:
    times: int
    until: float


def _silent(_: str, __: OfAccount, ___: str) -> None:
    pass


@dataclass(slots=True)
class Apart:
    """Which accounts failed at what, in this process.

    Args:
        told: Called with what was done, the account and a code, for each failure.
    """

    told: Callable[[str, OfAccount, str], None] = _silent
    _failed: dict[tuple[str, UUID], _Failed] = field(default_factory=dict)

    def resting(self, what: str, now: float) -> list[UUID]:
        """Return the accounts that are left alone for now. ``now`` = monotonic seconds."""
        return [account for (name, account), one in self._failed.items() if name == what and one.until > now]

    def failed(self, what: str, account: UUID, now: float) -> int:
        """Note a failure; returns how many there were in a row."""
        self._failed = {k: v for k, v in self._failed.items() if v.until > now - 2 * LONGEST_PAUSE_S}
        before = self._failed.get((what, account))
        times = 1 if before is None else before.times + 1
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(times - 1, 20), LONGEST_PAUSE_S)
        self._failed[what, account] = _Failed(times, now + pause_s)
        return times

    def worked(self, what: str, account: UUID) -> None:
        """Forget what failed before."""
        self._failed.pop((what, account), None)


async def each(app: App, apart: Apart, what: str, found: Sequence[T], act: Callable[[T], Awaitable[object]]) -> int:
    """Do something for each of ``found``, some side by side; returns how many there were.

    Args:
        what: A code; the alert about a failure is ``WHAT_failed``.
    """
    room = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one_of(one: T) -> None:
        async with room:
            try:
                await act(one)
            except Exception as error:  # of any kind: it is this account's alone
                await _note(app, apart, what, one, error)
            else:
                apart.worked(what, one.account_id)

    await asyncio.gather(*(one_of(one) for one in found))
    return len(found)


async def _note(app: App, apart: Apart, what: str, one: OfAccount, error: Exception) -> None:
    known = isinstance(error, ByokeepError)
    code = error.code if isinstance(error, ByokeepError) else f"failed_{type(error).__name__.lower()}"
    times = apart.failed(what, one.account_id, app.clock.monotonic())
    apart.told(what, one, code)
    if known and times < TOLD_AFTER:
        return
    with suppress(Exception):  # the log has it
        async with app.db.begin(client_id=one.client_id) as tx:
            await open_alert(
                tx, app, app.system(), reason=f"{what}_failed", client_id=one.client_id, object_id=one.account_id
            )
