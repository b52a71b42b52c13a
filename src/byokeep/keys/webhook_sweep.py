"""Signing secrets of webhooks that hold no more are destroyed in the store: replaced, retired, or never recorded.

Rules
- What holds is read under the lock of the place, after the versions in the store were listed: a secret that comes in
  meanwhile is not among them. While a write is announced that may be on its way the place is left alone.
- Announced before it is destroyed, recorded after; a sweep that is cut off starts again.
- A reference that was retired ends as *destroyed* when nothing of it is left.

It may not read a value.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.keystate import KeyState
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.jobs.jobs import custody_job
from byokeep.jobs.worker_app import Custody, WorkerApp
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.keys.refs import move
from byokeep.keys.sweep import CUT_OFF_S
from byokeep.keys.webhooks import WebhookSecret, secret_from

_AT_ONCE: Final = 50
# A compromised one stays: it is the one that is looked for.
_GONE: Final = frozenset({KeyState.DEACTIVATED, KeyState.DESTROYED})


def _place(row: Row) -> tuple[SecretRef, UUID]:
    return SecretRef(ClientId(row["client_id"]), Provider(row["provider"]), SecretPart.WEBHOOK), row["ref_id"]


async def sweep_webhooks(app: WorkerApp, *, older_than_s: int = CUT_OFF_S) -> int:
    """Destroy what holds no more; returns the number of versions. What can not be cleaned now raises an alert.

    Raises:
        Unavailable: The database is away.
    """
    async with app.db.begin(every_client=True) as tx:
        stale = await tx.all(_place, "webhooks_to_sweep", limit=_AT_ONCE)
        orphans = await tx.all(_place, "webhook_writes_cut_off", older_than_s=older_than_s, limit=_AT_ONCE)
    destroyed = 0
    for place in dict.fromkeys(place for place, _ in (*stale, *orphans)):
        lost = [ref_id for at, ref_id in orphans if at == place]
        try:
            destroyed += await _clean(app, place, lost, older_than_s)
        except ByokeepError:
            async with app.db.begin(client_id=place.client_id) as tx:
                await open_alert(
                    tx, app, app.system(), reason="webhook_secret_not_destroyed", client_id=place.client_id,
                    key=f"webhook_secret_not_destroyed:{place.path}",
                )  # fmt: skip
    return destroyed


async def _clean(app: WorkerApp, place: SecretRef, lost: list[UUID], older_than_s: int) -> int:
    async with app.db.begin(client_id=place.client_id) as tx:
        if await tx.one(bool, "webhook_in_flight", client_id=place.client_id, older_than_s=older_than_s):
            return 0
    job = custody_job(app, app.custodian, place.client_id, place.provider.value)
    async with job as job_id, app.custodian.open(job_id) as custody:
        return await _destroy(app, place, lost, custody)


async def _destroy(app: WorkerApp, place: SecretRef, lost: list[UUID], custody: Custody) -> int:
    live = await custody.live_versions(place)
    async with app.db.begin(client_id=place.client_id) as tx:
        await tx.all(None, "ref_lock", client_id=place.client_id, provider=place.provider.value)
        refs = await tx.all(secret_from, "webhook_refs", client_id=place.client_id, provider=place.provider.value)
        over = sorted(set(live) - _holding(refs))
        for version in over:
            await _say(tx, app, place, _whose(refs, lost, version), version, found=True)
    if over:
        await custody.destroy(place, over)
    async with app.db.begin(client_id=place.client_id) as tx:
        for one in refs:
            if one.ref.state == KeyState.DEACTIVATED:
                await move(tx, app, app.system(), one.ref, to=KeyState.DESTROYED, reason="retired")
        for version in over:
            await _say(tx, app, place, _whose(refs, lost, version), version, found=False)
        for ref_id in lost:  # one that never reached the store is looked for once as well
            if not any(ref_id == _whose(refs, lost, version)[0] for version in over):
                await _say(tx, app, place, (ref_id, True), 0, found=False)
        await tx.all(UUID, "webhook_forget_previous", client_id=place.client_id, provider=place.provider.value)
    return len(over)


def _holding(refs: list[WebhookSecret]) -> set[int]:
    held = {one.ref.version for one in refs if one.ref.state not in _GONE}
    return held | {one.previous_version for one in refs if one.ref.state not in _GONE and one.previous_version}


def _whose(refs: list[WebhookSecret], lost: list[UUID], version: int) -> tuple[UUID, bool]:
    """Return the reference that a version belongs to, and whether it was never recorded."""
    for one in refs:
        if version <= one.ref.version:
            return one.ref.id, False
    return (lost[-1] if lost else refs[-1].ref.id), True


async def _say(
    tx: Tx, app: WorkerApp, place: SecretRef, whose: tuple[UUID, bool], version: int, *, found: bool
) -> None:
    ref_id, orphan = whose
    fields: dict[str, FieldValue] = {"provider": place.provider.value, "version": version, "path": place.path}
    name, outcome = EventName.KEY_DESTROYED, Outcome.INTENDED if found else Outcome.OK
    if orphan:
        name, outcome = EventName.ORPHAN_FOUND if found else EventName.ORPHAN_DESTROYED, Outcome.OK
    await tx.append(
        Event(name=name, actor=app.system(), outcome=outcome, client_id=place.client_id, object_id=ref_id,
              fields=fields)
    )  # fmt: skip
