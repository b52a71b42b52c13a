"""Notifications to people: reminders of what is due, and alerts, through one queue in the database.

Rules
- A reminder of an item goes out 14 days and 3 days before its date, on its date, and every week after it: once each, to
  each target. After a time in which nothing ran, only today's stage is sent.
- An alert is sent once while it is open. A critical one goes out within seconds, with everything else that waits;
  otherwise a target gets one message within a quarter of an hour. What the due list reminds of is not sent twice.
- A message holds codes, ids, dates and names of clients. Its target is known by name; the address is the sender's
  secret.
- An alert raised here is closed here once its cause is gone.
- An undelivered message is retried for ever, at growing intervals, and holds up no other target. It is recorded, and
  raises an alert from the third try on. A worker that dies between a delivery and its record delivers twice.
- There is no reminder of work that is under way. Work that a worker does by itself is reminded of only once its date
  has passed.

It may not know how a message is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Actor
from byokeep.core.next_steps import of_alert
from byokeep.core.policy import Verb
from byokeep.kernel.app import App
from byokeep.kernel.command import close_over, command, open_alert, record
from byokeep.kernel.ports import Tx
from byokeep.operations.due import AHEAD, DueItem, DueKind, read_due
from byokeep.operations.starts import needs_nobody
from byokeep.tenancy.clients import scope_of

TEST: Final = "notification_test"  # the reason of an alert that is there to be told
LINES: Final = 40  # of a message
MANY_TRIES: Final = 3
_SOON: Final = timedelta(days=3)
_WEEK: Final = timedelta(days=7)
_SHOWN: Final = 200
_MOST: Final = 10_000  # items of one round
_ALERTS: Final = 5  # raised in one round: more than 300 in an hour count as a flood
# Alerts that say what a reminder says.
_TOLD: Final = ("account_reauth_due", "kek_due", "machine_token_ends", "person_token_ends", "profile_due",
                "rotation_overdue")  # fmt: skip
# What no other alert is raised of once its date has passed.
_ALERTED: Final = frozenset({DueKind.KEY, DueKind.ADMIN_KEY, DueKind.WEBHOOK_SECRET, DueKind.APP_SECRET})


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyApp(App):
    """The worker's ports for messages.

    Attributes:
        targets: Returns the names of the targets that there are just now.
        send: ``(target, title, body, weight)``: delivers; returns a code of what went wrong, empty = delivered. The
            weight is ``failure``, ``warning`` or ``info``.
    """

    targets: Callable[[], Sequence[str]]
    send: Callable[[str, str, str, str], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One reminder, or one alert, for one target.

    Attributes:
        source: ``due``, ``alert`` or ``incident``.
        about: Kind and item, or the alert or incident.
        at: The date that is due, or when the alert was opened.
        code: The kind, or the alert's reason.
        failure: Of the last try.
        provider: Whose key or account it is about; empty = nobody's.
    """

    id: UUID
    client_id: UUID | None
    client: str | None
    source: str
    about: str
    at: datetime
    stage: str
    target: str
    code: str
    urgent: bool
    made_at: datetime
    tries: int
    failure: str
    sent_at: datetime | None
    provider: str

    @property
    def state(self) -> str:
        """``sent``, ``failing`` or ``waiting``."""
        return "sent" if self.sent_at else "failing" if self.failure else "waiting"

    @property
    def line(self) -> str:
        """What the message says of it."""
        whose = f", client {self.client}" if self.client else ""
        what = f"{self.code} {self.provider}".rstrip()
        if self.source == "alert":
            return f"{'critical ' if self.urgent else ''}alert {what}{whose}: {self.about}"
        if self.source == "incident":
            seq = self.stage.removeprefix("report_")
            report = f", exposure report: record {seq}" if seq != self.stage else ""
            return f"incident {what}{whose}: {self.about}, see `byokeep incident timeline {self.about}`{report}"
        how = "due on" if self.stage in _BEFORE else "overdue since"
        return f"{what} {how} {self.at:%Y-%m-%d}{whose}: {self.about.partition('/')[2]}"


_BEFORE: Final = frozenset({"in_14_days", "in_3_days"})


def stage_of(item: DueItem, now: datetime, *, automatic: bool = False) -> str:
    """Return which reminder of an item is due now: ``""`` = none.

    Args:
        automatic: A worker does it by itself: people hear of it when it was not done in time.
    """
    if item.due_at is None or item.state == "under_way":
        return ""
    left = item.due_at - now
    if left <= timedelta():
        weeks = -left // _WEEK
        return f"overdue_{weeks}" if weeks else "due"
    if automatic or left > AHEAD:
        return ""
    return "in_3_days" if left <= _SOON else "in_14_days"


async def remind(app: NotifyApp, kinds: Collection[DueKind] = ()) -> int:
    """Queue the reminders of today, and raise and close alerts about what is overdue; returns how many were queued.

    Args:
        kinds: What the clock begins here by itself.
    """
    targets, now, raised = list(app.targets()), app.clock.now(), 0
    async with app.db.begin(every_client=True) as tx:
        found = await read_due(tx, app.limits, now, until=now + AHEAD, limit=_MOST)
        others = [item for item in found.items if item.kind is not DueKind.BACKUP]  # each day; an alert tells of those
        staged = [(item, stage_of(item, now, automatic=needs_nobody(item, kinds))) for item in others]
        told = [(item, stage) for item, stage in staged if stage]
        if not found.more:
            overdue = [_key(item) for item in found.items if item.state == "overdue"]
            await close_over(tx, app, "reminders_over", overdue=overdue)  # and those of targets that fail no more
        for item, stage in told:
            if stage not in _BEFORE and (item.kind in _ALERTED or _is_drill(item)) and raised < _ALERTS:
                raised += await _alert(tx, app, item)
        queued = await tx.all(
            UUID, "notification_remind", clients=[item.client_id for item, _ in told],
            abouts=[f"{item.kind}/{item.item}" for item, _ in told], ats=[item.due_at for item, _ in told],
            stages=[stage for _, stage in told], codes=[item.kind.value for item, _ in told], targets=targets, now=now,
        )  # fmt: skip
    return len(queued)


def _is_drill(item: DueItem) -> bool:
    """Whether it is the quarter's proof that break glass opens; a review has an alert of its own."""
    return item.kind is DueKind.BREAK_GLASS and item.item == "drill"


def _key(item: DueItem) -> str:
    return f"rotation_overdue/{item.kind}/{item.item}"


async def _alert(tx: Tx, app: App, item: DueItem) -> bool:
    """Raise ``rotation_overdue`` once for an item; whether it was raised now."""
    key = _key(item)
    if await tx.all(UUID, "alert_open_of", key=key):
        return False
    about = UUID(item.item) if item.kind in _ALERTED - {DueKind.APP_SECRET} else None
    await open_alert(tx, app, app.system(), reason="rotation_overdue", severity="warning", key=key,
                     client_id=item.client_id, object_id=about)  # fmt: skip
    return True


async def deliver(app: NotifyApp) -> int:
    """Queue open alerts, and send to every target what waits for it; returns how many messages left.

    Raises:
        Unavailable: The database is away.
    """
    targets, now = list(app.targets()), app.clock.now()
    if not targets:
        return 0
    async with app.db.begin(every_client=True) as tx:
        await tx.all(UUID, "notification_of_alerts", targets=targets, told=_TOLD, now=now)
        await tx.all(UUID, "notification_of_incidents", targets=targets, now=now)
    done = await asyncio.gather(*(_deliver_to(app, target) for target in targets), return_exceptions=True)
    for one in done:
        if isinstance(one, BaseException):
            raise one
    return sum(one is True for one in done)


async def _deliver_to(app: NotifyApp, target: str) -> bool:
    async with app.db.begin(every_client=True) as tx:
        waiting = await tx.all(Notification, "notifications_take", target=target, now=app.clock.now())
    if not waiting:
        return False
    try:
        failure = await app.send(target, *_message(app, waiting))
    except ByokeepError as error:
        failure = error.code
    async with app.db.begin(every_client=True) as tx:
        sent = [one.id for one in waiting]
        await tx.all(None, "notifications_sent", sent=sent, failure=failure, now=app.clock.now())
        outcome = Outcome.FAILED if failure else Outcome.OK
        await record(tx, app.system(), EventName.NOTIFIED, outcome=outcome, target=target, count=len(sent),
                     reason=failure or None)  # fmt: skip
        if failure and any(one.tries >= MANY_TRIES for one in waiting):
            await open_alert(tx, app, app.system(), reason="notification_failing", severity="warning",
                             key=f"notification_failing/{target}")  # fmt: skip
    return not failure


def _message(app: App, waiting: Sequence[Notification]) -> tuple[str, str, str]:
    """Return title, body and weight; what to do about each kind of alert stands below the lines."""
    alerts = sum(one.source != "due" for one in waiting)
    title = f"byokeep {app.environment.value}: {alerts} alerts, {len(waiting) - alerts} reminders"
    lines = list(dict.fromkeys(one.line for one in waiting))
    more = [f"and {len(lines) - LINES} more"] if len(lines) > LINES else []
    told = dict.fromkeys(one.code for one in waiting if one.source == "alert")
    advice = [f"{code}: {step}" for code in told if (step := of_alert(code))]
    urgent = any(one.urgent and one.code != TEST for one in waiting)
    late = any(one.stage not in _BEFORE for one in waiting if one.code != TEST)
    body = [*lines[:LINES], *more, "", *advice, "See `byokeep alert list` and `byokeep rotate due`."]
    return title, "\n".join(body), "failure" if urgent else "warning" if late else "info"


async def send_test(app: App, actor: Actor) -> UUID:
    """Raise an alert that is there to be told at once; returns its id.

    Raises:
        Denied: ``not_permitted``.
    """
    key = f"{TEST}/{app.ids.uuid()}"
    async with command(app, actor, Verb.NOTIFY_TEST) as tx:
        await open_alert(tx, app, actor, reason=TEST, severity="info", key=key)
        return await tx.one(UUID, "alert_open_of", key=key)


async def list_notifications(app: App, actor: Actor, *, about: UUID | None = None) -> list[Notification]:
    """Return the newest messages that concern the actor, those that wait first.

    Args:
        about: Of this alert alone.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.ALERT_READ) as tx:
        asked = {"ids": scope_of(actor), "about": None if about is None else str(about), "limit": _SHOWN}
        return await tx.all(Notification, "notifications_list", **asked)
