"""What a cut-off onboarding leaves behind is found and destroyed.

Rules
- First the run is ended in the database, so that its late end can no longer be recorded; then the store is cleaned.
- A version is strange only if, after it was seen in the store, no run is found that wrote or announced it.
- Found is recorded before it is destroyed, destroyed after. A sweep that is cut off itself starts again.
- No standing right: the sweep works under the custody job that the onboarding opened, or opens its own.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import LeaseKind
from byokeep.core.ref import SecretRef
from byokeep.jobs.jobs import JobSpec, open_job
from byokeep.jobs.worker_app import WorkerApp
from byokeep.kernel import sops
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import Tx
from byokeep.kernel.sops import SopRun

CUT_OFF_S: Final = 120  # seconds without a record after which an announced write counts as cut off
_AT_ONCE: Final = 100


async def sweep_orphans(app: WorkerApp, *, older_than_s: int = CUT_OFF_S) -> int:
    """End cut-off runs and destroy what they wrote; returns the number of versions destroyed.

    A place that can not be cleaned now raises an alert and is tried again by the next sweep.

    Raises:
        Unavailable: The database is away.
    """
    async with app.db.begin(every_client=True) as tx:
        runs = await tx.all(sops.SopRun, "sops_cut_off", older_than_s=older_than_s, limit=_AT_ONCE)
    places: dict[SecretRef, list[SopRun]] = {}
    for run in runs:
        await _end(app, run)
        places.setdefault(SecretRef(run.client_id, run.provider), []).append(run)
    destroyed = 0
    for place, ended in places.items():
        try:
            destroyed += await _clean(app, place, ended)
        except ByokeepError:
            async with app.db.begin(client_id=place.client_id) as tx:
                await open_alert(
                    tx,
                    app,
                    app.system(),
                    reason="orphan_not_destroyed",
                    client_id=place.client_id,
                    object_id=ended[-1].ref_id,
                )
    return destroyed


async def _end(app: WorkerApp, run: SopRun) -> None:
    if run.state != "running":
        return
    async with app.db.begin(client_id=run.client_id) as tx:
        if await tx.maybe(SopRun, "sop_fail", client_id=run.client_id, id=run.id, reason="cut_off"):
            await _append(tx, app, EventName.KEY_ONBOARDING_FAILED, Outcome.FAILED, run, reason="cut_off")


async def _clean(app: WorkerApp, place: SecretRef, ended: list[SopRun]) -> int:
    """Destroy the strange versions of a place; returns how many there were. ``ended`` = its runs, oldest first."""
    client_id, provider, run = place.client_id, place.provider.value, ended[-1]
    async with app.db.begin(client_id=client_id) as tx:
        job_id = await tx.maybe(UUID, "custody_job_open", client_id=client_id, provider=provider)
        if job_id is None:  # the run's own job has ended: a worker that was away for long
            spec = JobSpec(client_id=client_id, runner_id=None, kind=LeaseKind.CUSTODY, secrets=(provider,))
            job_id = (await open_job(tx, app, app.system(), spec)).id
    async with app.custodian.open(job_id) as custody:
        live = await custody.live_versions(place)
        async with app.db.begin(client_id=client_id) as tx:
            known = set(await tx.all(int, "versions_on_record", client_id=client_id, provider=provider))
            strange = sorted(version for version in live if version not in known)
            for version in strange:
                await _append(tx, app, EventName.ORPHAN_FOUND, Outcome.OK, run, version=version)
        if strange:
            await custody.destroy(place, strange)
    async with app.db.begin(client_id=client_id) as tx:
        for version in strange:
            await _append(tx, app, EventName.ORPHAN_DESTROYED, Outcome.OK, run, version=version)
        for one in ended:
            await tx.all(
                None, "sop_set_reason", client_id=client_id, id=one.id, reason_from="cut_off", reason_to="cut_off_swept"
            )
    with suppress(ByokeepError):  # an open job ends by itself
        await app.custodian.close(job_id)
    return len(strange)


async def _append(tx: Tx, app: WorkerApp, name: EventName, outcome: Outcome, run: SopRun, **fields: FieldValue) -> None:
    await tx.append(
        Event(
            name=name,
            actor=app.system(),
            outcome=outcome,
            client_id=run.client_id,
            object_id=run.ref_id,
            fields={"provider": run.provider.value, "version": run.version, "sop": str(run.id), **fields},
        )
    )
