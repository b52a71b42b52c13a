"""A recovery drill on this host: a backup restored apart, verified, reported; and what production keeps of it.

Rules
- Whatever happens, what was restored is overwritten and removed at the end. What a killed drill left is removed by this
  home's stack within the hour, and by the next drill before anything else. One drill at a time.
- Production is opened before, to choose the backup, and afterwards, to sign and record. In between nothing of it is
  open.
- Keys that cannot be read, or are not the backup's, say nothing about it, so no drill begins. Each drill that begins is
  on record as intended and, at its end, with the digest of its report, even if it failed or was interrupted. Only one
  that passed counts as done.

It may not change anything in production except the record, its alerts and the directory of reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pwd
import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from byokeep.adapters.openbao.login import private_dir
from byokeep.audit.log import origin
from byokeep.backup import archive, backups
from byokeep.core import evidence
from byokeep.core.backup import BackupRefused
from byokeep.core.drill import FAILED, NOT_RUN, PASSED, VERIFY, DrillReport, DrillStep
from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, Rejected
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import tell_state
from byokeep.kernel.durable_write import durable_write
from byokeep.process import alone, to_its_end
from byokeep.processes import wiring
from byokeep.processes.backup import find, not_its_key
from byokeep.processes.drill_place import LOCK, PLACE, RUNNING, shred
from byokeep.processes.drill_steps import Drilled
from byokeep.processes.restore import Brought
from byokeep.processes.supervisor import Say
from byokeep.settings import Settings

REPORTS: Final = "drills"
_FAILED_KEY: Final = "state/recovery_drill"
_SEEDS: Final = 2**53
_INTERRUPTED: Final = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished drill: its report, and the file and digest of what was signed."""

    report: DrillReport
    file: Path
    digest: str


async def run(
    settings: Settings, name: str, brought: Brought, *, seed: int | None, say: Say, shared_network: bool = False
) -> Done:
    """Run a drill of a backup; whether it passed stands in its report.

    Args:
        name: The backup: a file or an id; empty = the newest that was opened.
        brought: As for a restore, without ``checkpoints``: production's are used.
        seed: The seed that chooses the clients; None = a new one.
        shared_network: Whether what was restored may run even if it cannot be taken off the network.

    Raises:
        Conflict: ``drill_running``.
        Denied: ``shares_refused``, which is on record.
        NotFound: ``backup_not_found``.
        Rejected: ``restore_not_embedded``, ``bad_seed``, ``bad_identity_file``, ``not_a_key_of_this_backup``.
        Unavailable: Production's database or store is away, so nobody could record it; a key cannot be read;
            ``drill_not_removed``.
    """
    if not (settings.embedded_store and settings.embedded_database):
        step = "Drill the restore of your own store and database by their own methods: docs/runbook.md, drills."
        raise Rejected("restore_not_embedded", next_step=step)
    if seed is not None and not 0 <= seed < _SEEDS:
        raise Rejected("bad_seed", next_step="Give the seed as a whole number from 0, as the report of a drill has it.")
    home = settings.home.absolute()
    with alone(home / LOCK, Conflict("drill_running", next_step=RUNNING)):
        await to_its_end(asyncio.to_thread(shred, home / PLACE))
        work = Drilled(
            production=settings, place=home / PLACE, file=Path(), say=say, shared_network=shared_network,
            brought=replace(brought, checkpoints=settings.path("checkpoint_dir").absolute(), accept_loss=True),
            seed=secrets.randbits(32) if seed is None else seed,
        )  # fmt: skip
        async with wiring.broker_app(settings) as app:
            work.file, about, began = await _chosen(settings, app, name), origin(app), app.clock.now()
            await _must_be_keys(app, work.file, brought)
            work.brought = replace(work.brought, evidence=await app.signer.public_keys(backups.PURPOSE))
            ((newest,),) = await app.db.read(
                lambda row: (row["at"],), "drill_newest", {"chains": None, "seqs": None}, every_client=True
            )
            drill = uuid4()
            said: dict[str, FieldValue] = {"drill": str(drill), "seed": work.seed}
            await backups.say(app, EventName.DRILL_COMPLETED, said, Outcome.INTENDED)
        steps, rto_s = await _steps(work)
        report = DrillReport(
            origin=about, id=drill, backup=work.restored.manifest.id if work.restored else None, run_by=_who(),
            started_at=began, ended_at=datetime.now(UTC), network=work.network, seed=work.seed, clients=work.clients,
            rto_s=rto_s, rpo_s=max(0, int((newest - work.newest).total_seconds())) if work.newest else None,
            steps=steps,
        )  # fmt: skip
        done = await to_its_end(_over(settings, work, report))
    if report.failed is not None and report.failed.reason == _INTERRUPTED:
        raise asyncio.CancelledError
    return done


async def _must_be_keys(app: BrokerApp, file: Path, brought: Brought) -> None:
    """Refuse what is not a key, or not the backup's, before a drill begins. Raises as :func:`run`."""
    try:
        identities = brought.identities()
    except Denied:
        await backups.say(app, EventName.BACKUP_VERIFIED, {"reason": "shares_refused"}, Outcome.REJECTED)
        raise
    with file.open("rb") as content:
        if not archive.opens(content, identities):
            raise not_its_key()


def _who() -> str:
    """Return the user of this host who runs the drill, by name if there is one."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


async def _chosen(settings: Settings, app: BrokerApp, name: str) -> Path:
    """Return the file of a backup; by default the newest that was opened. Raises NotFound."""
    if name:
        return find(settings, name)
    now, opened = app.clock.now(), [one for one in await backups.backups(app.db) if one.verified_at is not None]
    for one in sorted(opened, key=lambda one: backups.is_ahead(one.created_at, now)):  # those are the last choice
        with contextlib.suppress(NotFound):
            return find(settings, str(one.id))
    step = "Open one first (`byokeep backup verify BACKUP --identity-file KEY`), or give a backup."
    raise NotFound("backup_not_found", next_step=step)


async def _steps(work: Drilled) -> tuple[list[DrillStep], int | None]:
    """Run the steps in order until one fails; return them, and the seconds until everything was verified."""
    began, rto_s, failed = time.monotonic(), None, False
    steps: list[DrillStep] = []
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for the type checker
    before = task.cancelling()
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
            reason = error.reason if isinstance(error, BackupRefused) else error.code
        except OSError as error:
            reason = f"errno_{error.errno or 0}"
        except Exception:  # a fault of ours: what began is on record all the same
            reason = "internal"
        except asyncio.CancelledError:
            reason = _INTERRUPTED
        if task.cancelling() > before:  # Ctrl-C, whatever became of it: an error on the way out may take its place
            reason = _INTERRUPTED
        if reason:
            work.say(f"{name} failed: {reason}")
        elif name == VERIFY:
            rto_s = int(time.monotonic() - began)
        failed = bool(reason)
        steps.append(DrillStep(name=name, state=FAILED if reason else PASSED, reason=reason, evidence=work.evidence))
    return steps, rto_s


async def _over(settings: Settings, work: Drilled, report: DrillReport) -> Done:
    """End and remove what was restored; the result is recorded, even if that fails."""
    try:
        try:
            await work.close()
        finally:
            await asyncio.to_thread(shred, work.place)
    finally:
        done = await _kept(settings, report)
    return done


async def _kept(settings: Settings, report: DrillReport) -> Done:
    """Sign a report, keep it, and record it."""
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
        about = app.installation_id
        await tell_state(app, failed, reason="recovery_drill_failed", key=_FAILED_KEY, object_id=about)
        if report.passed:
            await backups.watch_backups(app)
    return Done(report=report, file=file, digest=digest)
