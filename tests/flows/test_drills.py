"""When a recovery drill, a backup and the proof of one are due, and who is told that there was none in time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from byokeep.backup import backups
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.kernel.app import BrokerApp
from byokeep.operations import checks
from byokeep.operations.due import DueItem, DueKind, read_due
from tests.support.broker import Stand

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


async def row(app: BrokerApp, kind: DueKind = DueKind.RECOVERY_DRILL) -> DueItem | None:
    """The row of a kind on the due list."""
    now = app.clock.now()
    async with app.db.begin(every_client=True) as tx:
        found = await read_due(tx, app.limits, now, kind=kind, until=now + timedelta(days=400))
    return next(iter(found.items), None)


def told(stand: Stand, reason: str = "recovery_drill_overdue") -> bool:
    """Whether the alert is open."""
    where = f"reason = '{reason}' AND closed_at IS NULL"
    return stand.db.sql(f"SELECT count(*) FROM byokeep.alert WHERE {where}").strip() == "1"  # noqa: S608


def moved(stand: Stand, which: str) -> None:
    """Date records as a clock would have that ran far ahead."""
    later = f"UPDATE byokeep.audit_record SET at = at + interval '390 days' WHERE {which}"  # noqa: S608
    table = "ALTER TABLE byokeep.audit_record {} TRIGGER USER;"
    stand.db.sql(f"{table.format('DISABLE')} {later}; {table.format('ENABLE')}")


@pytest.mark.req("R9.1-3", "R9.3-1")
async def test_a_drill_is_due_each_quarter_and_one_that_failed_moves_nothing(stand: Stand) -> None:
    """At 91 days nothing is told, at 93 it is, until one passes; a failed one, or one that a clock which ran ahead
    dated, leaves it due and told."""
    app = replace(stand.app, limits=replace(stand.app.limits, backup_hours=24))
    assert await row(stand.app) is None  # no backups, no drill of one

    async def since(days: int) -> tuple[str, bool]:
        stand.db.sql(f"UPDATE byokeep.installation SET created_at = now() - interval '{days} days'")  # noqa: S608
        await backups.watch_backups(app)
        found = await row(app)
        assert found is not None
        return found.state, told(stand)

    async def drilled(outcome: Outcome) -> None:
        said: dict[str, FieldValue] = {"drill": str(uuid4()), "digest": "ab" * 32, "seed": 7}
        await backups.say(app, EventName.DRILL_COMPLETED, said, outcome)

    assert await since(91) == ("due", False)
    assert await since(93) == ("overdue", True)
    await drilled(Outcome.FAILED)
    assert await since(93) == ("overdue", True)
    elsewhere = replace(app, limits=replace(app.limits, drills=False))  # people's own servers: nobody could end it
    await backups.watch_backups(elsewhere)
    assert (await row(elsewhere), told(stand)) == (None, False)
    now = app.clock.now()
    item = await checks._drill(checks.ChecklistLook(app=elsewhere, now=now, since=now))
    assert (item.state, item.code) == ("unknown", "drill_elsewhere")
    assert "ticket" in item.next_step
    await drilled(Outcome.OK)
    moved(stand, "event = 'drill.completed' AND outcome = 'ok'")
    assert await since(93) == ("overdue", True)
    item = await checks._drill(checks.ChecklistLook(app=app, now=now, since=now))
    assert (item.state, item.code) == ("failed", "drill_overdue")
    await drilled(Outcome.OK)
    assert await since(93) == ("due", False)
    found = await row(app)
    assert found is not None
    assert found.days == 92
    assert found.command.startswith("byokeep drill run --identity-file")


@dataclass
class Later:
    """The broker's clock, a while ahead."""

    ahead: timedelta

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


async def test_backup_and_proof_are_overdue_when_their_alerts_are_told(stand: Stand) -> None:
    """The next one is due an interval after the last that was made, the next proof a quarter after the last that held.

    What failed moves neither, nor does a proof of another file; between one interval and two the clock is at work.
    """
    limits = replace(stand.app.limits, backup_hours=24)
    stand.db.sql("UPDATE byokeep.installation SET created_at = now() - interval '60 days'")
    assert [await row(stand.app, kind) for kind in (DueKind.BACKUP, DueKind.BACKUP_PROOF)] == [None, None]

    async def after(hours: float) -> list[tuple[str, bool]]:
        app = replace(stand.app, limits=limits, clock=Later(timedelta(hours=hours)))
        await backups.watch_backups(app)
        found = [await row(app, kind) for kind in (DueKind.BACKUP, DueKind.BACKUP_PROOF)]
        told_of = [told(stand, reason) for reason in ("backup_overdue", "backup_unproved")]
        return [(one.state, said) for one, said in zip(found, told_of, strict=True) if one is not None]

    made: dict[str, FieldValue] = {"backup": str(uuid4()), "digest": "ab" * 32}
    opened = EventName.BACKUP_VERIFIED
    await backups.say(stand.app, EventName.BACKUP_CREATED, {"reason": "store_unavailable"}, Outcome.FAILED)
    await backups.say(stand.app, EventName.BACKUP_CREATED, {"backup": made["backup"]}, Outcome.INTENDED)
    assert await after(0) == [("overdue", True), ("due", False)]
    await backups.say(stand.app, EventName.BACKUP_CREATED, made | {"size": 9, "count": 3})
    assert await after(23) == [("due", False), ("due", False)]
    assert await after(25) == [("under_way", False), ("due", False)]
    assert await after(49) == [("overdue", True), ("due", False)]
    await backups.say(stand.app, opened, made | {"digest": "cd" * 32})
    await backups.say(stand.app, opened, {"reason": "cut_off", "digest": "ab" * 32}, Outcome.REJECTED)
    assert (await after(33 * 24))[1] == ("overdue", True)
    await backups.say(stand.app, opened, made)
    assert (await after(91 * 24))[1] == ("due", False)
    assert (await after(93 * 24))[1] == ("overdue", True)
    last = stand.db.sql("SELECT max(seq) FROM byokeep.audit_record WHERE event LIKE 'backup.%'").strip()
    await backups.say(stand.app, EventName.BACKUP_CREATED, made | {"size": 9, "count": 3, "backup": str(uuid4())})
    await backups.say(stand.app, opened, made)  # what a database's clock that ran ahead dated moves neither
    moved(stand, f"seq > {last}")
    assert await after(49) == [("overdue", True), ("due", False)]
    assert (await after(93 * 24))[1] == ("overdue", True)
