"""What is done about profiles by the clock: due marks, work that was lost, old keys, and what cut-off seals left.

Rules
- Due is told once, overdue as long as it lasts; an overdue profile is not used (R6.1-5).
- A replaced key protects nothing from the next round on; the last few generations stay restorable, older keys and blobs
  are destroyed.
- A seal that was announced and never recorded is fenced first, so that its late end can not be recorded any more; then
  what it wrote is destroyed, and that is on record.
- No standing right: each clearing is done under a custody job of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from byokeep.core import profile as life
from byokeep.core.artifact import blob_key
from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import ByokeepError
from byokeep.core.events import EventName, Outcome
from byokeep.core.keystate import KeyState
from byokeep.core.model import PROFILE, ClientId
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import parse_record
from byokeep.jobs.jobs import custody_job
from byokeep.kernel.command import open_alert
from byokeep.kernel.rows import Row
from byokeep.profiles import profile_book, profiles
from byokeep.profiles.profile_app import ProfileApp, ProfileCustody
from byokeep.profiles.profile_do import destroy_all, destroy_one, end_lost
from byokeep.profiles.profiles import Opening, Profile
from byokeep.sealing.generation import Generation

CUT_OFF_S: Final = 120  # seconds without a record after which an announced seal counts as cut off
_AT_ONCE: Final = 200


def _pair(row: Row) -> tuple[ClientId, UUID]:
    return ClientId(row["client_id"]), UUID(str(row["id"]))


async def care(app: ProfileApp, *, cut_off_s: int = CUT_OFF_S) -> int:
    """Do everything that is due; returns how many acts there were.

    Raises:
        Unavailable: The database is away.
    """
    return (
        await tell_due(app)
        + await end_lost(app)
        + await retire_keys(app)
        + await sweep_seals(app, older_than_s=cut_off_s)
    )


async def tell_due(app: ProfileApp) -> int:
    """Mark what came due, and raise alerts about it and about what is overdue; returns how many."""
    async with app.db.begin(every_client=True) as tx:
        due = await tx.all(_pair, "profiles_come_due")
        overdue = await tx.all(_pair, "profiles_overdue", days=life.MAX_REKEY_DAYS)
    for client_id, profile_id in due:
        async with app.db.begin(client_id=client_id) as tx:
            cause = life.DueCause.INTERVAL.value
            at = await tx.maybe(datetime, "profile_marked_due", client_id=client_id, id=profile_id, cause=cause)
            if at is None:
                continue
            now = await tx.one(Profile, "profile_get", client_id=client_id, id=profile_id)
            told = profiles.event(
                EventName.PROFILE_DUE, Outcome.OK, app.system(), now, cause=cause, due_at=profiles.stamp(at)
            )
            await tx.append(told)
            await open_alert(tx, app, app.system(), reason="profile_due", severity="warning", client_id=client_id,
                              object_id=profile_id)  # fmt: skip
    for client_id, profile_id in overdue:
        async with app.db.begin(client_id=client_id) as tx:
            await open_alert(tx, app, app.system(), reason="profile_overdue", client_id=client_id, object_id=profile_id)
    return len(due) + len(overdue)


async def retire_keys(app: ProfileApp) -> int:
    """Let replaced keys protect nothing, and destroy those that are kept no longer; returns how many profiles."""
    async with app.db.begin(every_client=True) as tx:
        found = await tx.all(_pair, "profiles_with_old_keys", retained=life.RETAINED)
    for client_id, profile_id in found:
        with suppress(ByokeepError):  # tried again by the next round
            await _retire(app, client_id, profile_id)
    return len(found)


async def _retire(app: ProfileApp, client_id: ClientId, profile_id: UUID) -> None:
    actor = app.system()
    async with app.db.begin(client_id=client_id) as tx:
        await tx.all(None, "profile_lock", profile_id=profile_id)
        now = await tx.one(Profile, "profile_get", client_id=client_id, id=profile_id)
        rows = await tx.all(Generation, "generations_of", client_id=client_id, profile_id=profile_id, limit=_AT_ONCE)
        for row in rows:
            if row.generation < now.generation and row.key_state is KeyState.ACTIVE:
                await profile_book.move_key(tx, app, actor, row, to=KeyState.DEACTIVATED, reason="superseded")
    if now.state is life.ProfileState.SHREDDED:
        async with _custody(app, client_id, profile_id) as custody:
            await destroy_all(app, actor, custody, now)
        return
    old = [
        row for row in rows
        if (row.generation < now.generation - life.RETAINED and row.key_state is not KeyState.COMPROMISED)
        or row.key_state is KeyState.DESTROYED
    ]  # fmt: skip
    old = [row for row in old if row.gone_at is None]
    if old:
        async with _custody(app, client_id, profile_id) as custody:
            for row in old:
                await destroy_one(app, actor, custody, row)


async def sweep_seals(app: ProfileApp, *, older_than_s: int = CUT_OFF_S) -> int:
    """Destroy what cut-off seals left; returns how many there were."""
    async with app.db.begin(every_client=True) as tx:
        cut = await tx.all(dict, "seals_cut_off", older_than_s=older_than_s, limit=_AT_ONCE)
    swept = 0
    for row in cut:
        with suppress(ByokeepError):  # tried again by the next round
            swept += await _sweep(app, row)
    return swept


async def _sweep(app: ProfileApp, row: Row) -> bool:
    client_id, profile_id = ClientId(row["client_id"]), UUID(str(row["profile_id"]))
    said: Any = parse_canonical(bytes(row["payload"]))
    async with app.db.begin(client_id=client_id) as tx:
        await tx.all(None, "profile_lock", profile_id=profile_id)
        now = await tx.one(Profile, "profile_get", client_id=client_id, id=profile_id)
        plan = profile_book.plan_from(said["fields"], now)
        held = await tx.maybe(Opening, "opening_of", client_id=client_id, profile_id=profile_id)
        if held is not None and held.open and held.epoch == plan.epoch:
            return False  # it goes on
        await tx.one(int, "opening_epoch", client_id=client_id, id=profile_id)  # fenced: its late end is refused
    async with _custody(app, client_id, profile_id) as custody:
        await _destroy_record(custody, now, plan.dek_id)
        await app.artifacts.delete(client_id, blob_key(client_id, profile_id, plan.generation, plan.dek_id))
    async with app.db.begin(client_id=client_id) as tx:
        await profile_book.give_up(tx, app.system(), plan, reason="cut_off")
    return True


async def _destroy_record(custody: ProfileCustody, profile: Profile, dek_id: UUID) -> None:
    ref = ProfileRef(profile.client_id, profile.id)
    strange = []
    for version in await custody.live_versions(ref):
        with suppress(ByokeepError):
            if parse_record(await custody.read(ref, version)).dek_id == dek_id:
                strange.append(version)
    if strange:
        await custody.destroy(ref, strange)


@asynccontextmanager
async def _custody(app: ProfileApp, client_id: ClientId, profile_id: UUID) -> AsyncIterator[ProfileCustody]:
    """Hold a custody lease of a job of its own."""
    job = custody_job(app, app.custodian, client_id, PROFILE)
    async with job as job_id, app.custodian.open_profile(job_id, profile_id) as custody:
        yield custody
