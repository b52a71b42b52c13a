"""Messages to people: reminders and alerts are queued once, delivered or tried again, and hold nothing of a value."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.adapters.system import SystemIds
from byokeep.core.errors import Conflict
from byokeep.core.model import ClientId, Environment
from byokeep.core.next_steps import of_alert
from byokeep.kernel.app import App, ServiceLimits
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import Tx
from byokeep.operations import notify
from byokeep.operations.due import DueItem, DueKind
from byokeep.operations.notify import NotifyApp
from byokeep.operations.starts import PER_ROUND, STARTERS, needs_nobody, start_due
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
    weights: list[str] = field(default_factory=list)
    got: dict[str, list[tuple[datetime, str, str]]] = field(default_factory=dict)

    async def send(self, target: str, title: str, body: str, weight: str) -> str:
        self.weights.append(weight)
        if target in self.dead:
            return "not_delivered"
        self.got.setdefault(target, []).append((self.clock.at, title, body))
        return ""

    def lines(self, target: str = "oncall") -> list[str]:
        """What a target was told, a line each, without the last."""
        return [line for _, _, body in self.got.get(target, []) for line in body.partition("\n\n")[0].splitlines()]

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
    made = [uuid4() for _ in days]
    for client, after in zip(made, days, strict=True):
        post.database.sql(
            client_sql(client)
            + f"""
            SET session_replication_role = replica;
            UPDATE byokeep.credential_ref SET rotation_due_at = '{(post.clock.at + after * DAY).isoformat()}',
                   created_at = now() - interval '200 days' WHERE client_id = '{client}'"""
        )
    post.database.sql("""SET session_replication_role = replica;
        DELETE FROM byokeep.procedure_run; DELETE FROM byokeep.account_grant; DELETE FROM byokeep.kek_version;
        UPDATE byokeep.profile SET state = 'retired'; DELETE FROM byokeep.alert; DELETE FROM byokeep.notification;
        DELETE FROM byokeep.due_start""")
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
    told = [(at - start, line) for at, _, body in post.got["oncall"] for line in body.partition("\n\n")[0].splitlines()]
    due = f"{start + 20 * DAY:%Y-%m-%d}"
    ref = post.database.sql(f"SELECT id FROM byokeep.credential_ref WHERE client_id = '{client}'").strip()
    about = f"{due}, {names[client]}: {ref}"
    before, after = f"key openai due on {about}", f"key openai overdue since {about}"
    own = [(when.days, line) for when, line in told if names[client] in line]
    assert own == [(6, before), (17, before), *((20 + 7 * week, after) for week in range(6))]
    assert [when.days for when, line in told if names[rotated] in line] == [0, 7]
    assert not [line for _, line in told if names[far] in line]
    assert len([line for _, line in told if ", client " in line]) == len(own) + 2
    assert post.database.sql("SELECT count(*) FROM byokeep.alert WHERE reason = 'rotation_overdue'").strip() == "1"
    open_ = "SELECT count(*) FROM byokeep.alert WHERE closed_at IS NULL"
    assert post.database.sql(open_).strip() == "1"
    post.database.sql(f"""SET session_replication_role = replica; UPDATE byokeep.credential_ref
        SET rotation_due_at = now() + interval '150 days' WHERE client_id = '{client}'""")
    await post.rounds(post.clock.at + timedelta(seconds=1))
    closed = "SELECT count(*) FROM byokeep.audit_record WHERE event = 'alert.closed' AND writer = 'byokeep_worker'"
    assert (post.database.sql(open_).strip(), post.database.sql(closed).strip()) == ("0", "1")
    # What was sent is forgotten after 35 days, and nothing younger.
    post.database.sql("""UPDATE byokeep.notification SET sent_at = now() - interval '36 days'
        WHERE id = (SELECT id FROM byokeep.notification ORDER BY id LIMIT 1)""")
    async with post.app.db.begin(every_client=True) as tx:
        assert await tx.one(int, "calls_forget") == 1


async def test_ten_days_without_a_worker_end_without_a_storm(post: Post) -> None:
    """What passed several dates meanwhile is told once, as it stands now, in one message; what is under way is not."""
    clients = with_keys(post, *(5 + number * 0.01 for number in range(44)))
    await post.rounds(post.clock.at + timedelta(hours=1))
    first = len(post.lines())
    post.clock.at += 10 * DAY
    await post.rounds(post.clock.at + DAY, timedelta(hours=4))
    assert len(post.got["oncall"]) == 2
    assert (len(post.lines()[:first]), len(post.lines()[first:])) == (notify.LINES + 1, notify.LINES + 1)
    assert post.lines()[-1] == f"and {len(clients) - notify.LINES} more"
    assert all("overdue since" in line for line in post.lines()[first:-1])
    stages = post.database.sql("SELECT stage || ' ' || count(*) FROM byokeep.notification GROUP BY stage ORDER BY 1")
    assert stages.split("\n")[:2] == [f"due {len(clients)}", f"in_14_days {len(clients)}"]


async def test_what_needs_nobody_is_begun_few_at_a_time(post: Post) -> None:
    """After ten days without a worker: five in a round, thirty an hour at a provider, each once."""
    with_keys(post, *([0.0] * 40))
    post.database.sql("""SET session_replication_role = replica; UPDATE byokeep.credential_ref
        SET provider = 'anthropic', secret_ref = replace(secret_ref, 'openai', 'anthropic')
        WHERE id IN (SELECT id FROM byokeep.credential_ref ORDER BY id LIMIT 4)""")
    post.clock.at += 10 * DAY
    begun: Counter[str] = Counter()
    refused = min(post.database.sql("SELECT id FROM byokeep.credential_ref WHERE provider = 'openai'").split())

    async def starter(_: Tx, __: App, item: DueItem, ___: ClientId) -> None:
        begun[item.item] += 1
        if item.item == refused:
            raise Conflict("work_under_way")

    async def hour() -> tuple[list[int], Counter[str]]:
        before, rounds = Counter(begun), []
        for _ in range(12):
            rounds.append(await start_due(post.app, {DueKind.KEY: starter}))
            post.clock.at += timedelta(minutes=5)
        return rounds, begun - before

    rounds, first = await hour()
    assert (max(rounds), sum(rounds), len(first), max(first.values())) == (PER_ROUND, 33, 34, 1)
    rounds, second = await hour()
    assert (sum(rounds), not first.keys() & second.keys()) == (6, True)
    failed = "SELECT count(*) FROM byokeep.audit_record WHERE event = 'due.started' AND outcome = 'failed'"
    assert post.database.sql(failed).strip() == "1"
    post.clock.at += timedelta(hours=6)  # what led nowhere is tried again
    assert (await hour())[1].total() == 34
    post.clock.at -= 10 * DAY - timedelta(hours=1)  # a clock that ran ahead is set right
    assert (await hour())[1].total() == 34


async def test_what_was_made_together_is_not_begun_together(post: Post) -> None:
    """Each of twenty with one date begins at its own moment of the day before it; an incident's is a person's."""
    with_keys(post, *([5.0] * 20))
    moments: dict[str, datetime] = {}

    async def starter(_: Tx, __: App, item: DueItem, ___: ClientId) -> None:
        moments.setdefault(item.item, post.clock.at)

    until = post.clock.at + 5 * DAY
    post.clock.at += 3.9 * DAY
    while post.clock.at < until + timedelta(hours=6):  # the hourly budget may push a late moment past the date
        await start_due(post.app, {DueKind.KEY: starter})
        post.clock.at += timedelta(hours=1)
    assert len(moments) == 20
    assert min(moments.values()) >= until - DAY
    assert len(set(moments.values())) >= 8
    item = DueItem(
        kind=DueKind.PROFILE, item=str(uuid4()), client_id=ClientId(uuid4()), client="A", provider="", name="x",
        due_at=until, cause="interval", state="overdue", days=-1, words=("profile", "rekey"),
    )  # fmt: skip
    assert needs_nobody(item, STARTERS)
    assert not needs_nobody(replace(item, cause="incident"), STARTERS)
    assert notify.stage_of(replace(item, state="under_way"), until + DAY) == ""
    assert not needs_nobody(replace(item, kind=DueKind.OAUTH), STARTERS)
    assert [notify.stage_of(item, until + after * DAY, automatic=True) for after in (-2, 0, 8)] == [
        "",
        "due",
        "overdue_1",
    ]


@pytest.mark.req("R4.2-5")
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
    over = f"{failing} AND closed_at IS NOT NULL"
    assert post.database.sql(over).strip() == "1"
    assert set(post.lines("dead")) == set(post.lines()) | {"alert notification_failing: " + failing_id}
    assert (missed, len(post.lines("dead"))) == (5, 4)  # a date that two reminders named stands there once
    assert len(post.got["dead"]) <= 3


@pytest.mark.req("R4.2-5")
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
    assert post.weights == ["warning", "failure"]
    assert f"\nclock_skew: {of_alert('clock_skew')}\n" in post.got["oncall"][-1][2]  # what to do, once for each reason
    assert await later(60) == []
    await alert("profile_overdue", "warning")
    assert len(await later(3 * 24 * 60)) == 1  # by a clock that is ahead
    await alert("leak_check_unknown", "warning")
    assert len(await later(-3 * 24 * 60)) == 1  # and was set right
    post.names.append("second")
    await later(1)
    assert len(post.lines("second")) == 5  # all that is open
    post.app = replace(post.app, targets=list)
    assert await later(1) == []


async def test_a_worker_that_dies_between_a_delivery_and_its_record_delivers_again(post: Post) -> None:
    """At least once, a minute later: a reminder twice is better than none."""
    with_keys(post, 5)
    record, dies = notify.record, [True]

    async def dying(*given: Any, **fields: Any) -> Any:
        if dies.pop() if dies else False:
            raise KeyboardInterrupt
        return await record(*given, **fields)

    await notify.remind(post.app)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notify, "record", dying)
        with pytest.raises(KeyboardInterrupt):
            await notify._deliver_to(post.app, "oncall")
    first = post.lines()
    assert (len(first), await notify.deliver(post.app)) == (1, 0)
    post.clock.at += timedelta(minutes=2)
    assert await notify.deliver(post.app) == 1
    assert post.lines() == first * 2


@pytest.mark.req("S-OWASP-6")
async def test_a_proof_and_a_drill_are_reminded_of_and_no_daily_backup(post: Post) -> None:
    """In 100 days without any, each of the two is reminded of by its date; backups are told of by their alert alone.

    That nobody proved that break glass opens is an alert, too, from its date on and once.
    """
    drill = "FROM byokeep.alert WHERE dedup_key = 'rotation_overdue/break_glass/drill'"
    await post.rounds(post.clock.at + timedelta(days=89), every=timedelta(days=30))
    assert post.database.sql(f"SELECT count(*) {drill}") == "0"
    post.clock.at -= timedelta(days=90)
    post.app = replace(post.app, limits=replace(post.app.limits, backup_hours=24))
    await post.rounds(post.clock.at + timedelta(days=100), every=timedelta(days=1))
    lines = post.lines()
    for kind in ("backup_proof", "recovery_drill"):
        assert [line.split(" 20")[0] for line in lines if line.startswith(kind)] == [
            *[f"{kind} due on"] * 2, *[f"{kind} overdue since"] * 2,
        ], lines  # fmt: skip
    assert not [line for line in lines if line.startswith("backup ")]
    assert post.database.sql(f"SELECT reason, count, closed_at IS NULL {drill}") == "rotation_overdue|1|t"
