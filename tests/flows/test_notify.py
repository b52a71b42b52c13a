"""Messages to people: reminders and alerts are queued once, delivered or tried again, and hold nothing of a value."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.adapters.system import SystemIds
from byokeep.core.model import Environment
from byokeep.kernel.app import ServiceLimits
from byokeep.kernel.command import open_alert
from byokeep.operations import notify
from byokeep.operations.due import DueKind
from byokeep.operations.notify import NotifyApp
from tests.support.postgres import FreshDatabase
from tests.support.postgres_rows import INSTALLATION, client_sql, installation_sql

pytest_plugins = ["tests.support.postgres_fixtures"]
DAY = timedelta(days=1)


@dataclass
class Clock:
    """A clock that a test moves."""

    at: datetime

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()


@dataclass
class Post:
    """Targets that note what they got; a dead one takes nothing, a hanging one nothing for a while."""

    app: NotifyApp = None  # type: ignore[assignment]
    clock: Clock = None  # type: ignore[assignment]
    database: FreshDatabase = None  # type: ignore[assignment]
    names: list[str] = field(default_factory=lambda: ["oncall"])
    dead: set[str] = field(default_factory=set)
    got: dict[str, list[tuple[datetime, str, str]]] = field(default_factory=dict)

    async def send(self, target: str, title: str, body: str) -> str:
        if target in self.dead:
            return "not_delivered"
        self.got.setdefault(target, []).append((self.clock.at, title, body))
        return ""

    def lines(self, target: str = "oncall") -> list[str]:
        """What a target was told, a line each, without the last."""
        return [line for _, _, body in self.got.get(target, []) for line in body.splitlines()[:-2]]

    async def rounds(self, until: datetime, every: timedelta = timedelta(hours=6)) -> None:
        """Go round until a time, as the worker does."""
        while self.clock.at < until:
            await notify.remind(self.app, {DueKind.KEK})
            await notify.deliver(self.app)
            self.clock.at += every


@pytest.fixture
async def post(postgres: FreshDatabase) -> AsyncIterator[Post]:
    postgres.sql(installation_sql())
    db = PostgresDatabase(postgres.url("byokeep_worker"))
    made = Post(clock=Clock(datetime.now(UTC)), database=postgres)
    made.app = NotifyApp(
        db=db, clock=made.clock, ids=SystemIds(), installation_id=INSTALLATION, environment=Environment.DEVELOPMENT,
        limits=ServiceLimits(), targets=lambda: made.names, send=made.send,
    )  # fmt: skip
    yield made
    await db.close()


def with_keys(post: Post, *days: float) -> list[UUID]:
    """A client for each date, with a key that is due then and nothing else that has a date."""
    made = []
    for after in days:
        client = uuid4()
        post.database.sql(client_sql(client))
        post.database.sql(f"""
            SET session_replication_role = replica;
            UPDATE byokeep.credential_ref SET rotation_due_at = '{(post.clock.at + after * DAY).isoformat()}',
                   created_at = now() - interval '200 days' WHERE client_id = '{client}';
            DELETE FROM byokeep.procedure_run; DELETE FROM byokeep.account_grant WHERE client_id = '{client}';
            DELETE FROM byokeep.kek_version; UPDATE byokeep.profile SET state = 'retired';
            DELETE FROM byokeep.alert; DELETE FROM byokeep.notification""")
        made.append(client)
    return made


async def test_sixty_days_bring_each_reminder_once(post: Post) -> None:
    """14 and 3 days before, on the day, each week after it: once each, though two workers go round; nothing else."""
    start = post.clock.at
    client, rotated, far = with_keys(post, 20, 10, 90)
    both = replace(post, app=replace(post.app))
    for day in range(60):
        if day == 8:  # rotated in time: its next date is far away
            post.database.sql(f"""SET session_replication_role = replica; UPDATE byokeep.credential_ref
                SET rotation_due_at = now() + interval '150 days' WHERE client_id = '{rotated}'""")
        for hour in (0, 12):
            post.clock.at = start + day * DAY + hour * timedelta(hours=1)
            await asyncio.gather(*(one.rounds(post.clock.at + timedelta(seconds=1), timedelta(seconds=1))
                                   for one in (post, both)))  # fmt: skip
    names = {one: f"client Client {one.hex[:8]}" for one in (client, rotated, far)}
    told = [(at - start, line) for at, _, body in post.got["oncall"] for line in body.splitlines()[:-2]]
    due = f"{start + 20 * DAY:%Y-%m-%d}"
    ref = post.database.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{client}'").strip()
    before, after = f"key due on {due}, {names[client]}: {ref}", f"key overdue since {due}, {names[client]}: {ref}"
    own = [(when.days, line) for when, line in told if names[client] in line]
    assert own == [(6, before), (17, before), *((20 + 7 * week, after) for week in range(6))]
    assert [when.days for when, line in told if names[rotated] in line] == [0, 7]
    assert not [line for _, line in told if names[far] in line]
    assert len(told) == len(own) + 2
    assert post.database.sql("SELECT count(*) FROM byokeep.alert WHERE reason = 'rotation_overdue'").strip() == "1"


async def test_ten_days_without_a_worker_end_without_a_storm(post: Post) -> None:
    """What passed several dates meanwhile is told once, as it stands now, in one message; what is under way is not."""
    clients = with_keys(post, *(5 + number * 0.01 for number in range(50)))
    await post.rounds(post.clock.at + timedelta(hours=1))
    first = len(post.lines())
    post.clock.at += 10 * DAY
    await post.rounds(post.clock.at + DAY, timedelta(hours=1))
    assert len(post.got["oncall"]) == 2
    assert (len(post.lines()[:first]), len(post.lines()[first:])) == (notify.LINES + 1, notify.LINES + 1)
    assert post.lines()[-1] == f"and {len(clients) - notify.LINES} more"
    assert all("overdue since" in line for line in post.lines()[first:-1])
    stages = post.database.sql("SELECT stage || ' ' || count(*) FROM byokeep.notification GROUP BY stage ORDER BY 1")
    assert stages.split("\n")[:2] == [f"due {len(clients)}", f"in_14_days {len(clients)}"]


async def test_a_dead_target_holds_up_nobody_and_loses_nothing(post: Post) -> None:
    """The other target hears at once; the dead one is tried ever more rarely, told of, and gets all when it is back."""
    post.names, post.dead = ["dead", "oncall"], {"dead"}
    with_keys(post, 1, 5)
    await post.rounds(post.clock.at + 2.1 * DAY, timedelta(minutes=15))
    assert "dead" not in post.got
    assert sum("key" in line for line in post.lines()) == 4  # in 3 days, in 14 days, due, in 3 days
    tried = int(post.database.sql("SELECT max(tries) FROM byokeep.notification WHERE target = 'dead'"))
    assert 40 < tried < 60  # an hour apart at last
    failing = "SELECT count(*) FROM byokeep.alert WHERE reason = 'notification_failing'"
    assert post.database.sql(failing).strip() == "1"
    assert sum("notification_failing" in line for line in post.lines()) == 1
    failed = "SELECT count(*) FROM byokeep.audit_record WHERE event = 'notification.sent' AND outcome = 'failed'"
    assert int(post.database.sql(failed)) >= tried
    failing_id = post.database.sql("SELECT id FROM byokeep.alert WHERE reason = 'notification_failing'").strip()
    waiting = "SELECT count(*) FROM byokeep.notification WHERE target = 'dead' AND sent_at IS NULL"
    missed = int(post.database.sql(waiting))
    post.dead.clear()
    await post.rounds(post.clock.at + timedelta(hours=3), timedelta(minutes=5))
    assert post.database.sql(waiting).strip() == "0"
    assert set(post.lines("dead")) == set(post.lines()) | {"alert notification_failing: " + failing_id}
    assert (missed, len(post.lines("dead"))) == (5, 4)  # a date that two reminders named stands there once
    assert len(post.got["dead"]) <= 3


async def test_alerts_go_out_once_and_critical_ones_at_once(post: Post) -> None:
    """A critical alert takes what waits along; others wait for their quarter of an hour; reminders are not repeated."""
    with_keys(post, 100)

    async def alert(reason: str, severity: Any, key: str = "") -> None:
        async with post.app.db.begin(every_client=True) as tx:
            await open_alert(tx, post.app, post.app.system(), reason=reason, severity=severity, key=key)

    async def later(minutes: float) -> list[str]:
        seen = len(post.lines())
        post.clock.at += timedelta(minutes=minutes)
        await notify.deliver(post.app)
        return post.lines()[seen:]

    await alert("checkpoint_overdue", "warning")
    assert len(await later(0)) == 1
    await alert("clock_skew", "warning")
    await alert("profile_due", "warning")  # the due list tells of it
    assert await later(5) == []
    await alert("audit_log_broken", "critical")
    await alert("audit_log_broken", "critical")  # counted up
    told = await later(0.1)
    assert [line.partition(":")[0] for line in told] == ["critical alert audit_log_broken", "alert clock_skew"]
    assert await later(60) == []
    post.names.append("second")
    await later(1)
    assert len(post.lines("second")) == 3  # all that is open
    post.app = replace(post.app, targets=list)
    assert await later(1) == []
