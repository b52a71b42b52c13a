"""Closes the gate by itself when the database is not the one that it was.

Rules
- A log that does not continue what stands outside engages the global kill switch; two people release it, and their word
  makes the database as it stands the new base (:mod:`.rebase`).
- It is engaged once, not in each round: a request to release stays what it was asked for.
- What stands outside and is missing inside is done again before the first lease of a start (:mod:`.withdrawals`).

It may not release anything.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, TypeVar

from byokeep.audit import rebase
from byokeep.core.errors import Integrity, Unavailable
from byokeep.jobs import switches, withdrawals
from byokeep.kernel.alarm import raise_alert
from byokeep.kernel.app import BrokerApp
from byokeep.tenancy.scopes import GLOBAL, scope_from_name

T = TypeVar("T")
# A place that is gone or was moved tells nothing of the database: an alert, and the next checkpoint covers the gap.
_OF_THE_PLACE: Final = frozenset({"file_replaced", "not_our_file"})


async def at_start(app: BrokerApp) -> None:
    """Look at everything once, before anything is served.

    Raises:
        Unavailable: It could not be looked at; nothing may be served then.
    """
    with suppress(Integrity):  # the gate is closed then, and people are told
        await closing(app, rebase.look(app))
    await withdrawals.hold(app)


async def closing(app: BrokerApp, work: Awaitable[T]) -> T:
    """Do what compares the database with what stands outside; close the gate if they do not fit.

    Raises:
        What ``work`` raises; Unavailable: the gate could not be closed.
    """
    try:
        return await work
    except Integrity as error:
        if error.code not in _OF_THE_PLACE:
            await _close(app)
        raise


async def _close(app: BrokerApp) -> None:
    if (
        await app.db.read(
            lambda row: row["closed"] and row["reason"] == rebase.REASON, "switch_read", {"scope": GLOBAL}
        )
    ) == [True]:
        return
    with suppress(Unavailable):  # the row is closed; the broker goes on telling the store
        await switches.engage(app, app.system(), scope_from_name(GLOBAL), rebase.REASON)
    await raise_alert(app, reason=rebase.REASON, key=rebase.REASON, severity="critical")
