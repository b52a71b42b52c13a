"""The rounds of the refresher: answered consents at once, due renewals, what a crash cut off, what ends soon.

Rules
- A round that fails is logged and comes again. It never ends the process or stops another round. People are told of one
  that keeps failing.
- A failure for one account is logged, and is not a failure of the round.
- Neither the end of a round nor SIGTERM interrupts a renewal or a consent: each is a task of its own.
- Clocks that disagree stop renewals and nothing else.

It may not contain a procedure: those are flows.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from byokeep.accounts.connect_finish import ConsentTasks
from byokeep.accounts.maintenance import remind, tend
from byokeep.accounts.model import OAuthGrant, OfAccount
from byokeep.accounts.refresh import Renewals
from byokeep.accounts.refresher_app import Apart, RefresherApp
from byokeep.audit.log import ClockWatch
from byokeep.core.errors import ByokeepError
from byokeep.kernel.command import open_alert
from byokeep.telemetry.log import get_log

DRAIN_S: Final = 90.0  # time that running renewals get after SIGTERM
DUE_S: Final = 1.0
RESUME_S: Final = 5.0
REMIND_S: Final = 60.0
CONNECT_S: Final = 0.5  # a code may live for thirty seconds
CARE_S: Final = 2.0
TOLD_AFTER: Final = 5  # failures of a round in a row, and again after each as many


@dataclass(frozen=True, slots=True)
class Round:
    """Something that is done repeatedly."""

    name: str
    every_s: float
    act: Callable[[], Awaitable[int]]


def rounds(app: RefresherApp, renewals: Renewals, consents: ConsentTasks) -> list[Round]:
    """Return the rounds of this process."""
    watch = ClockWatch(app)

    async def renew() -> int:
        return await renewals.start_due() if await watch.look() else 0

    return [
        Round("connect", CONNECT_S, consents.start_answered), Round("care", CARE_S, partial(tend, app)),
        Round("resume", RESUME_S, renewals.resume), Round("renew", DUE_S, renew),
        Round("remind", REMIND_S, partial(remind, app)),
    ]  # fmt: skip


async def run(app: RefresherApp, *, stop: asyncio.Event | None = None, drain_s: float = DRAIN_S) -> None:
    """Run the rounds until SIGTERM or SIGINT, then let running tasks end.

    Args:
        app: The refresher's ports.
        stop: Ends the rounds as a signal would; with it, signals are not handled.
        drain_s: Seconds that running tasks get.
    """
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = replace(app, apart=Apart(_failed))
    renewals, consents = Renewals(app, _told), ConsentTasks(app)
    tasks = [asyncio.create_task(go_round(app, one, stop)) for one in rounds(app, renewals, consents)]
    await stop.wait()
    until = app.clock.monotonic() + drain_s
    await asyncio.wait(tasks, timeout=drain_s)
    left = await renewals.drain(max(until - app.clock.monotonic(), 0.0))
    if left:
        get_log().warning("renewals_cut_off", count=left)
    if left := await consents.drain(max(until - app.clock.monotonic(), 0.0)):
        get_log().warning("consents_cut_off", count=left)
    for task in tasks:
        task.cancel()


def _told(grant: OAuthGrant, ended: str) -> None:
    get_log().info("renewal", tenant=grant.client_id, ref=grant.account_id, provider=grant.provider.value,
                   version=grant.version, outcome=ended)  # fmt: skip


def _failed(what: str, one: OfAccount, code: str) -> None:
    get_log().error("account_step_failed", component=what, tenant=one.client_id, ref=one.account_id, code=code)


async def go_round(app: RefresherApp, one: Round, stop: asyncio.Event) -> None:
    """Repeat one round until ``stop``, whatever it raises."""
    failures = 0
    while not stop.is_set():
        try:
            await one.act()
            failures = 0
        except Exception as error:
            failures += 1
            code = error.code if isinstance(error, ByokeepError) else f"failed_{type(error).__name__.lower()}"
            get_log().error("round_failed", component=one.name, code=code)
            if failures % TOLD_AFTER == 0:
                await _tell(app, one)
        try:
            async with asyncio.timeout(one.every_s):
                await stop.wait()
        except TimeoutError:
            continue


async def _tell(app: RefresherApp, one: Round) -> None:
    with suppress(Exception):  # the log has it
        async with app.db.begin(every_client=True) as tx:
            await open_alert(tx, app, app.system(), reason="round_failed", key=f"round/{one.name}")
