"""What the broker does by itself, again and again: checkpoint, copy, reconciliation, probe, tombstones, expiry, clocks,
machines whose tokens end, a look at the worker's own rounds, at grants of break glass and at their role.

Rules
- Each round stands alone: one that fails is logged with its code and raises its alert, and the next comes on time.
- The span of a reconciliation begins where the last one ended. A process knows that by itself; a start reads it from
  the record (:mod:`byokeep.reconciliation.reconcile`). While none is on record for 90 s, leases and permits stop.
- An alert of an outage is closed by the round that sees its end. One of an event stays for a person.
- A device that cannot record is an alert within a minute (R8.2-2). While none is proved to, leases and intake stop
  (:mod:`byokeep.kernel.store_recording`). The disk reserve is held while there is room.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from byokeep.audit.disclosure import copy
from byokeep.audit.log import OVERDUE_KEY, ClockWatch, checkpoint
from byokeep.backup.backups import watch_backups
from byokeep.breakglass.watch import Seen, watch, watch_role
from byokeep.core.checkpoint import PERIOD_S
from byokeep.core.errors import ByokeepError
from byokeep.http.emergency import Emergency
from byokeep.jobs import gatekeep
from byokeep.jobs.gatekeep import closing
from byokeep.jobs.jobs import expire
from byokeep.jobs.scheduled import move_scheduled
from byokeep.jobs.switches import cut_off_again
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import raise_alert, state_over, tell_state
from byokeep.kernel.restored import watch_store_age
from byokeep.kernel.store_recording import probe
from byokeep.kernel.worker_rounds import LATE_S, watch_worker
from byokeep.operations.checklist import watch_checklists
from byokeep.operations.due import watch_ends
from byokeep.profiles.openings import keep_tombstones
from byokeep.reconciliation.reconcile import SETTLE, Reconciled, reconcile
from byokeep.telemetry.log import get_log
from byokeep.tenancy.tokens import watch_admins

# At first the store's log holds nothing yet that may be judged, and nothing read is an alarm. After the whole stack
# has rested the worker's rounds are late, and it gets as long to come up.
FIRST_S: Final = {"reconcile": SETTLE.total_seconds() + 2.0, "worker": LATE_S}
# For break glass on the host: what proves that an opening is recorded, and what ends a grant.
ON_HOST: Final = frozenset({"checkpoint", "probe", "store", "break_glass", "break_glass_role"})
# What somebody may have done to a device, or a store that answers and writes nothing; all else is an outage.
_TAMPERED: Final = frozenset({"missing", "unreadable", "inode_changed", "truncated", "not_written", "node_not_named"})


class Rounds:
    """The broker's own tasks.

    Args:
        app: Its ports.
        reserve: Disk space that the audit needs.
        only: Which of them; default: all.
    """

    def __init__(self, app: BrokerApp, reserve: Emergency, *, only: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._only = only
        self._reserve = reserve
        self._reconciled = Reconciled()
        self._glass: Seen = {}

    async def run(self) -> None:
        """Run all rounds until cancelled."""
        app = self._app
        with suppress(ByokeepError):  # otherwise the first round looks: a record later than this is somebody else's
            await self._reconciled.look(self._app)
        async with asyncio.TaskGroup() as group:
            for name, every_s, work in (  # seconds from the end of one to the next
                ("checkpoint", PERIOD_S, self._checkpoint),
                ("copy", 5, lambda: closing(app, copy(app))),
                ("reconcile", 20, self._reconcile),
                ("probe", 5, self._probe),
                ("cut_off", 20, lambda: cut_off_again(app)),
                ("store", 1, self._store),
                ("tombstones", 5, self._tombstones),
                ("expire", 5, lambda: expire(app)),
                ("scheduled", 5, lambda: move_scheduled(app)),
                ("reserve", 10, self._hold),
                ("clock", 10, ClockWatch(app).look),
                ("tokens", 3600, lambda: watch_ends(app)),
                ("backups", 3600, lambda: watch_backups(app)),
                ("checklists", 3600, lambda: watch_checklists(app)),
                ("admins", 3600, lambda: watch_admins(app)),
                ("store_age", 3600, lambda: watch_store_age(app)),
                ("worker", 60, lambda: watch_worker(app)),
                ("break_glass", 2, lambda: watch(app, self._glass)),
                ("break_glass_role", 3600, lambda: watch_role(app)),
            ):
                if not self._only or name in self._only:
                    group.create_task(self._every(name, every_s, work, FIRST_S.get(name, 0.0)))

    async def _checkpoint(self) -> None:
        await closing(self._app, checkpoint(self._app))
        await state_over(self._app, OVERDUE_KEY)

    async def _reconcile(self) -> None:
        since, now = await self._reconciled.look(self._app), self._app.clock.now()
        if now - SETTLE <= since <= now:
            return
        unknown = since > now  # installed by a clock that ran ahead: nothing is compared until then
        if not unknown:
            found = await reconcile(self._app, self._app.system(), since=since, own=self._reconciled)
            unknown = found.state == "unknown"
        await tell_state(self._app, unknown, reason="reconcile_unknown", key="state/reconcile", severity="warning")

    async def _probe(self) -> None:
        devices = await probe(self._app)
        if not devices:
            await raise_alert(self._app, reason="no_audit_device", key="audit/devices", severity="critical")
        silent = not any(device.records for device in devices)
        await tell_state(self._app, silent, reason="store_not_recording", key="state/recording")
        for device in devices:
            state = f"state/device/{device.name}"
            if device.healthy:
                await state_over(self._app, state)
                continue
            get_log().warning("audit_device_unhealthy", component=device.name, reason=device.reason)
            key = f"audit/device/{device.name}" if device.reason in _TAMPERED else state
            await raise_alert(self._app, reason="audit_device_unhealthy", key=key, severity="critical")

    async def _store(self) -> None:
        try:
            await self._app.store_health.probe()
        except ByokeepError as error:
            get_log().warning("round_failed", component="store", code=error.code)
            try:
                self._app.store_health.require()
            except ByokeepError:  # more than one lost answer: leases and permits are refused now
                await raise_alert(self._app, reason="store_unreachable", key="state/store", severity="critical")
        else:
            await state_over(self._app, "state/store")

    async def _tombstones(self) -> None:
        await keep_tombstones(self._app)
        await gatekeep.hold(self._app)

    async def _hold(self) -> None:
        missing = not await asyncio.to_thread(self._reserve.hold)
        await tell_state(self._app, missing, reason="disk_reserve_missing", key="state/reserve")

    async def _every(self, name: str, every_s: float, work: Callable[[], Awaitable[object]], first_s: float) -> None:
        await asyncio.sleep(first_s)
        while True:
            try:
                await work()
                await state_over(self._app, f"state/round/{name}")
            except ByokeepError as error:
                get_log().warning("round_failed", component=name, code=error.code)
                if not (error.code.startswith("store_") and self._store_away()):
                    await self._tell(name)
            except Exception as error:
                get_log().error("round_failed", component=name, error=type(error).__name__)
                await self._tell(name)
            await asyncio.sleep(every_s)

    def _store_away(self) -> bool:
        """Whether the store is already reported as unreachable: what fails because of that is no second alert."""
        try:
            self._app.store_health.require()
        except ByokeepError:
            return True
        return False

    async def _tell(self, name: str) -> None:
        """Raise an alert that a watch does not run: one per round, counted."""
        with suppress(ByokeepError):  # the database is away: whoever needs it reports it
            await raise_alert(self._app, reason="round_failed", key=f"state/round/{name}", severity="critical")
