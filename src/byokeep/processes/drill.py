"""A recovery drill on this host: a backup restored apart, verified, reported; and what production keeps of it.

Rules
- Whatever happens, what was restored is overwritten and removed at the end; what a drill that was killed left, the
  next one removes first. One at a time.
- Production is opened to choose the backup before, and to sign and record after; in between nothing of it is open.
- Each drill that began is on record with the digest of its report, a failed and an interrupted one, too: only one that
  passed counts as done.

It may not change anything of production but the record, its alerts and the directory of reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from byokeep.adapters.openbao.login import private_dir
from byokeep.audit.log import origin
from byokeep.backup import backups
from byokeep.core import evidence
from byokeep.core.drill import FAILED, NOT_RUN, PASSED, VERIFY, DrillReport, DrillStep
from byokeep.core.errors import ByokeepError, Conflict, NotFound, Rejected
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.kernel.alarm import raise_alert, state_over
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.durable_write import durable_write, overwrite
from byokeep.processes import wiring
from byokeep.processes.backup import alone, find
from byokeep.processes.drill_steps import Drilled
from byokeep.processes.restore import Brought
from byokeep.processes.supervisor import Say
from byokeep.settings import Settings

REPORTS: Final = "drills"
_PLACE: Final = "drill"
_FAILED_KEY: Final = "state/recovery_drill"
_SECRET_PLACES: Final = ("keys", "credentials")
_INTERRUPTED: Final = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A drill that is over: its report, and the file and digest of what was signed."""

    report: DrillReport
    file: Path
    digest: str


async def run(settings: Settings, name: str, brought: Brought, *, seed: int | None, say: Say) -> Done:
    """Run a drill of a backup; whether it passed stands in its report.

    Args:
        name: The backup: a file, or its id; empty = the newest that was opened.
        brought: As for a restore; ``checkpoints`` is left out, for production's are taken.
        seed: With which the tenants are chosen; None = one of its own.

    Raises:
        Conflict: ``drill_running``.
        NotFound: ``backup_not_found``.
        Rejected: ``restore_not_embedded``.
        Unavailable: Production's database or store is away: nobody could record it.
    """
    if not (settings.embedded_store and settings.embedded_database):
        step = "Drill the restore of your own store and database by their own methods; docs/runbook.md, drills."
        raise Rejected("restore_not_embedded", next_step=step)
    home = settings.home.absolute()
    async with wiring.broker_app(settings) as app:
        file, about, began = await _chosen(settings, app, name), origin(app), app.clock.now()
        ((newest,),) = await app.db.read(
            lambda row: (row["at"],), "drill_newest", {"chains": None, "seqs": None}, every_client=True
        )
    with alone(home / "drill.lock", Conflict("drill_running", next_step="Another drill runs here: wait for its end.")):
        await asyncio.to_thread(shred, home / _PLACE)
        (home / _PLACE).mkdir(mode=0o711 if os.geteuid() == 0 else 0o700)
        work = Drilled(
            production=settings, place=home / _PLACE, file=file, say=say,
            brought=replace(brought, checkpoints=settings.path("checkpoint_dir").absolute(), accept_loss=True),
            seed=secrets.randbits(32) if seed is None else seed,
        )  # fmt: skip
        try:
            steps, rto_s = await _steps(work)
        finally:
            await asyncio.shield(_clean(work))
        report = DrillReport(
            origin=about, id=uuid4(), backup=work.restored.manifest.id if work.restored else None,
            started_at=began, ended_at=datetime.now(UTC), isolated=work.isolated, seed=work.seed, tenants=work.tenants,
            rto_s=rto_s, rpo_s=max(0, int((newest - work.newest).total_seconds())) if work.newest else None,
            steps=steps,
        )  # fmt: skip
        done = await _kept(settings, report)
    if report.failed is not None and report.failed.reason == _INTERRUPTED:
        raise asyncio.CancelledError
    return done


async def _chosen(settings: Settings, app: BrokerApp, name: str) -> Path:
    """Return the file of a backup, by default of the newest that was opened. Raises NotFound."""
    if name:
        return find(settings, name)
    opened = [one for one in await backups.backups(app) if one.verified_at is not None]
    for one in sorted(opened, key=lambda one: one.created_at, reverse=True):
        with contextlib.suppress(NotFound):
            return find(settings, str(one.id))
    step = "Open one first: `byokeep backup verify BACKUP --identity-file KEY`; or name a backup."
    raise NotFound("backup_not_found", next_step=step)


async def _steps(work: Drilled) -> tuple[list[DrillStep], int | None]:
    """Run the steps in order until one fails; return them, and the seconds until everything was verified."""
    began, rto_s, failed = time.monotonic(), None, False
    steps: list[DrillStep] = []
    for name, act in work.acts.items():
        if failed:
            steps.append(DrillStep(name=name, state=NOT_RUN))
            continue
        work.say(name)
        work.evidence = {}
        reason = ""
        try:
            await act()
        except ByokeepError as error:
            reason = error.code
        except OSError as error:
            reason = f"errno_{error.errno or 0}"
        except asyncio.CancelledError:  # Ctrl-C: what began is on record all the same
            reason = _INTERRUPTED
        if reason:
            work.say(f"{name} failed: {reason}")
        elif name == VERIFY:
            rto_s = int(time.monotonic() - began)
        failed = bool(reason)
        steps.append(DrillStep(name=name, state=FAILED if reason else PASSED, reason=reason, evidence=work.evidence))
    return steps, rto_s


async def _clean(work: Drilled) -> None:
    try:
        await work.close()
    finally:
        await asyncio.to_thread(shred, work.place)


def shred(place: Path) -> None:
    """Overwrite the keys and credentials of a drill, then remove all of it; one that is not there is fine."""
    for name in _SECRET_PLACES:
        for file in (place / "home" / name).glob("*"):
            if file.is_file() and not file.is_symlink():
                overwrite(file)
    while place.exists():  # a thread of a restore that was cut off may still write there
        shutil.rmtree(place, ignore_errors=True)


async def _kept(settings: Settings, report: DrillReport) -> Done:
    """Sign a report, keep it, and put it on record."""
    async with wiring.broker_app(settings) as app:
        payload = evidence.drill_statement(report.members())
        signature, key_id = await app.signer.sign(backups.PURPOSE, evidence.pae(payload))
        signed = evidence.envelope(payload, signature=signature, key_id=key_id)
        digest = hashlib.sha256(payload).hexdigest()
        file = private_dir(settings.home.absolute() / REPORTS) / f"{report.started_at:%Y%m%dT%H%M%SZ}-{report.id}.json"
        await asyncio.to_thread(durable_write, file, signed)
        said: dict[str, FieldValue] = {"drill": str(report.id), "digest": digest, "seed": report.seed}
        figures: dict[str, Any] = {"backup": report.backup, "rto_s": report.rto_s, "rpo_s": report.rpo_s}
        said |= {name: str(one) if isinstance(one, UUID) else one for name, one in figures.items() if one is not None}
        failed = report.failed
        if failed is not None:
            said |= {"stage": failed.name, "reason": failed.reason}
        await backups.say(app, EventName.DRILL_COMPLETED, said, Outcome.OK if report.passed else Outcome.FAILED)
        if report.passed:
            await state_over(app, _FAILED_KEY)
            await backups.watch_backups(app)
        else:
            await raise_alert(app, reason="recovery_drill_failed", key=_FAILED_KEY, severity="critical",
                              object_id=app.installation_id)  # fmt: skip
    return Done(report=report, file=file, digest=digest)
