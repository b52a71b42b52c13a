"""What is on record about backups: made, opened, restored; how they stand; who is told when one is overdue.

Rules
- A backup counts once it was opened. Made and verified are two times, and a failed attempt at either moves neither.
- A backup is overdue if none was made for twice its interval, and unproved if none was opened for a quarter. A recovery
  drill is overdue if none passed for a quarter: one that failed or was interrupted moves nothing. Where byokeep cannot
  run one, none is expected.
- What is kept: the newest ones, those of so many days, and always the newest that was opened. One dated in the future,
  because a clock ran ahead, stays beside them and counts as none of them.

It may not read or write a backup: the host does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from byokeep.backup.archive import signed_bytes
from byokeep.core.backup import QUARTER, BackupManifest, BackupRefused
from byokeep.core.checkpoint import verifies
from byokeep.core.errors import ByokeepError, Integrity
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.model import Actor
from byokeep.core.policy import Verb, authorise_every_client
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.command import command, raise_alert, record, state_over, tell_state
from byokeep.kernel.ports import Database
from byokeep.kernel.rows import Row

PURPOSE: Final = "evidence"  # the key that signs manifests
_AHEAD: Final = timedelta(minutes=1)  # how far apart an installation's clocks may be
_FAILED_KEY: Final = "state/backup"
_OVERDUE_KEY: Final = "state/backup_overdue"
_UNPROVED_KEY: Final = "state/backup_unproved"
_DRILL_KEY: Final = "state/recovery_drill_overdue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup as recorded. ``digest``: SHA-256 of the file; ``verified_at``: last opened, with that digest."""

    id: UUID
    created_at: datetime
    digest: str
    size: int
    parts: int
    verified_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A recovery drill, as its newest record has it.

    Attributes:
        outcome: ``ok``, ``failed``, or ``intended``: it is under way, or was interrupted.
        backup: Which was restored; None = none was opened.
        digest: SHA-256 of its signed report; empty = there is none.
        rto_s, rpo_s: Seconds until all was verified, and seconds of work lost; None = it never was.
        stage, reason: The step that failed, and why.
    """

    id: UUID
    at: datetime
    outcome: str
    backup: str | None
    digest: str
    rto_s: int | None
    rpo_s: int | None
    stage: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """A restore as recorded, and two people opening what came of it; None = it is still closed.

    Attributes:
        backup: Which was restored.
        behind: Checkpoints that are newer than the backup, as far as was known.
        again: What was stopped or ended again, because the backup did not know about it.
        skewed: Parts that did not match each other.
    """

    seq: int
    hash: str
    at: datetime
    backup: str
    behind: int
    again: int
    skewed: int
    opened_seq: int | None
    opened_hash: str | None
    opened_at: datetime | None
    opened_by: UUID | None


async def list_recovery(app: App, actor: Actor) -> tuple[list[Backup], list[Drill], list[Restore]]:
    """Return the recorded backups, recovery drills and restores, newest first, to anyone who may see the checklists.

    Raises:
        Denied: ``not_permitted``, also for somebody who is assigned only to some clients.
        Unavailable: The database.
    """
    async with command(app, actor, Verb.CHECKLIST_READ):
        authorise_every_client(actor, Verb.CHECKLIST_READ)
    drills = await app.db.read(Drill, "drills", {"installation_id": app.installation_id}, every_client=True)
    restores = await app.db.read(Restore, "restores", {"installation_id": app.installation_id}, every_client=True)
    return await backups(app.db), drills, restores


async def backups(db: Database) -> list[Backup]:
    """Return every backup that was made, the newest first. Raises Unavailable."""
    return await db.read(Backup, "backups", {}, every_client=True)


def newest_proved(found: Iterable[Backup], now: datetime) -> Backup | Literal["none_opened", "clock_ahead"]:
    """Return the newest backup that was opened, for only such a one counts; else the code that says why there is none.

    ``clock_ahead``: each that was opened is dated later than ``now``.
    """
    opened = [one for one in found if one.verified_at is not None]
    proved = [one for one in opened if not is_ahead(one.created_at, now)]
    if not proved:
        return "clock_ahead" if opened else "none_opened"
    return max(proved, key=lambda one: one.created_at)


def is_ahead(at: datetime, now: datetime) -> bool:
    """Whether a record is in the future, because a clock ran ahead: it says nothing about a backup's age."""
    return at > now + _AHEAD


async def say(app: BrokerApp, name: EventName, fields: Mapping[str, FieldValue], outcome: Outcome = Outcome.OK) -> None:
    """Record what became of a backup."""
    async with app.db.begin(every_client=True) as tx:
        await record(tx, app.system(), name, fields, outcome=outcome, object_id=app.installation_id)


async def failed(app: BrokerApp, name: EventName, error: ByokeepError, **fields: FieldValue) -> None:
    """Record that a backup was not made or not opened, and tell people until one is."""
    outcome = Outcome.REJECTED if isinstance(error, Integrity) else Outcome.FAILED
    reason = error.reason if isinstance(error, BackupRefused) else error.code
    await say(app, name, {"reason": reason, **fields}, outcome)
    why = "backup_failed" if name is EventName.BACKUP_CREATED else "backup_not_opened"
    await raise_alert(app, reason=why, key=f"{_FAILED_KEY}/{why}", severity="critical", object_id=app.installation_id)


async def made(app: BrokerApp, manifest: BackupManifest, *, digest: str, size: int) -> None:
    """Record that a backup was made. Raises Unavailable: it was not, or (``commit_outcome_unknown``) nobody knows."""
    said: dict[str, FieldValue] = {"backup": str(manifest.id), "digest": digest}
    await say(app, EventName.BACKUP_CREATED, {**said, "size": size, "count": len(manifest.parts)})


async def opened(app: BrokerApp, manifest: BackupManifest, *, digest: str) -> None:
    """Record that a backup was opened, and tell people."""
    await say(app, EventName.BACKUP_VERIFIED, {"backup": str(manifest.id), "digest": digest})
    await told(app, EventName.BACKUP_VERIFIED, manifest)


async def told(app: BrokerApp, name: EventName, manifest: BackupManifest) -> None:
    """Let an earlier alert about a failure be over, and raise one about sealed profiles that a backup lacks."""
    why = "backup_failed" if name is EventName.BACKUP_CREATED else "backup_not_opened"
    await state_over(app, f"{_FAILED_KEY}/{why}")
    if name is EventName.BACKUP_CREATED:
        why = "backup_incomplete"
        await tell_state(app, manifest.missing, reason=why, key=f"{_FAILED_KEY}/{why}", object_id=app.installation_id)


def must_be_signed(keys: Mapping[str, bytes], manifest: bytes, signature: bytes, key_id: str) -> None:
    """Refuse a manifest that none of an installation's evidence keys signed. Raises BackupRefused."""
    if key_id not in keys or not verifies(keys[key_id], signature, signed_bytes(manifest)):
        raise BackupRefused("other_installation")


def kept(found: Sequence[Backup], keep: int, since: datetime, now: datetime) -> set[UUID]:
    """Return which backups stay: the newest ``keep``, those made after ``since``, and the newest that was opened."""
    ahead = {one.id for one in found if is_ahead(one.created_at, now)}
    past = [one for one in found if one.id not in ahead]
    proved = next((one.id for one in past if one.verified_at is not None), None)
    recent = {one.id for at, one in enumerate(past) if at < keep or one.created_at > since}
    return ahead | recent | ({proved} if proved else set())


async def watch_backups(app: BrokerApp) -> None:
    """Raise an alert if no backup was made for two intervals, or none opened or no drill passed for a quarter.

    Raises:
        Unavailable: The database.
    """
    if not (hours := app.limits.backup_hours):
        return
    found, now = await backups(app.db), app.clock.now()
    ((since,),) = await app.db.read(lambda row: (row["at"],), "backups_since", {}, every_client=True)
    made = max((one.created_at for one in found if not is_ahead(one.created_at, now)), default=since)
    opened = [one.verified_at for one in found if one.verified_at and not is_ahead(one.verified_at, now)]
    proved = max(opened, default=since)
    ((drilled, first),) = await app.db.read(_passed, "drill_passed", {}, every_client=True)
    for key, reason, late in (
        (_OVERDUE_KEY, "backup_overdue", now - made > timedelta(hours=2 * hours)),
        (_UNPROVED_KEY, "backup_unproved", now - proved > QUARTER),
        (_DRILL_KEY, "recovery_drill_overdue", app.limits.drills and now - (drilled or first) > QUARTER),
    ):
        await tell_state(app, late, reason=reason, key=key, object_id=app.installation_id)


def _passed(row: Row) -> tuple[datetime | None, datetime]:
    return row["at"], row["since"]
