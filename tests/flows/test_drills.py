"""When a recovery drill is due, and who is told that none passed: a quarter after the last one that did."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from byokeep.backup import backups
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.kernel.app import BrokerApp
from byokeep.operations.due import DueItem, DueKind, read_due
from tests.support.broker import Stand

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


async def row(app: BrokerApp) -> DueItem | None:
    """The drill's row of the due list."""
    now = app.clock.now()
    async with app.db.begin(every_client=True) as tx:
        found = await read_due(tx, app.limits, now, kind=DueKind.RECOVERY_DRILL, until=now + timedelta(days=400))
    return next(iter(found.items), None)


def told(stand: Stand) -> bool:
    """Whether the alert is open."""
    where = "reason = 'recovery_drill_overdue' AND closed_at IS NULL"
    return stand.db.sql(f"SELECT count(*) FROM byokeep.alert WHERE {where}").strip() == "1"  # noqa: S608


@pytest.mark.req("R9.1-3", "R9.3-1")
async def test_a_drill_is_due_each_quarter_and_one_that_failed_moves_nothing(stand: Stand) -> None:
    """At 91 days nothing is told, at 93 it is, until one passes; a failed one leaves it due and told."""
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
    await drilled(Outcome.OK)
    assert await since(93) == ("due", False)
    found = await row(app)
    assert found is not None
    assert found.days == 92
    assert found.command.startswith("byokeep drill run --identity-file")
