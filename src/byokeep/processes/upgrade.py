"""``byokeep doctor --upgrade``: whether this release can take over what another one runs, asked before it does.

Rules
- The new release runs it, against what runs now. It changes nothing.
- What nobody could look at is unknown, and no permission to go on.
- It names what cannot be undone: if the release before does not run on this one's schema.

It may not upgrade: `byokeep up` and `byokeep init` do.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Final

from byokeep import __version__
from byokeep.adapters.files.binding import read_bound
from byokeep.adapters.openbao.provisioning import require_version
from byokeep.adapters.postgres.embedded import ROLES, require_release
from byokeep.adapters.postgres.fit import RUNS_FROM, is_later, revisions
from byokeep.adapters.system import SystemClock
from byokeep.backup.backups import backups, newest_proved
from byokeep.cli.api import stack
from byokeep.core.errors import Conflict
from byokeep.kernel.ports import Database
from byokeep.kernel.probes import ProbeOutcome, ask, failed, ok, unknown
from byokeep.procedures import PROCEDURES
from byokeep.processes import wiring
from byokeep.processes.installation import BOUND, HOME_FORMAT
from byokeep.settings import RESTORING, Settings

_WITHIN_S: Final = 10.0  # even a busy machine's OpenBao and PostgreSQL answer within it
_RESERVE: Final = 512 << 20  # bytes left free besides what a migration writes
_FRESH: Final = timedelta(days=1)  # the age of a backup that can undo an upgrade
_BACK_UP: Final = "`byokeep backup create`, then `byokeep backup verify` of it where its private key is."


async def examine_upgrade(settings: Settings) -> list[ProbeOutcome]:
    """Return the findings, one outcome per check; if all are ok, you may upgrade."""
    async with wiring.database(settings, "byokeep_broker", pool_size=4) as db:
        looks: dict[str, Callable[[Settings, Database], Awaitable[ProbeOutcome]]] = {
            "schema": _schema, "way back": _way_back, "database server": _server, "secret store": _store, "disk": _disk,
            "backup": _backup, "procedures": _procedures,
        }  # fmt: skip
        asked = (ask(name, partial(look, settings, db), within=_WITHIN_S) for name, look in looks.items())
        return [*_home(settings), *await asyncio.gather(*asked)]


def _home(settings: Settings) -> list[ProbeOutcome]:
    """The version that runs, and whether this one reads what lies in the home; the settings were read by now."""
    runs = ok("byokeep", runs=str(stack(settings.home).get("version") or "not here"), this=__version__)
    if (settings.home / RESTORING).exists():
        return [runs, failed("home", "restore_unfinished", "A restore was interrupted here. Run it again first.")]
    text, _ = read_bound(settings.home / BOUND)
    if settings.embedded_database and not text:
        return [runs, unknown("home", "not_bound", "No stack was started in this home yet, or another user owns it.")]
    if text and text.splitlines()[0] != HOME_FORMAT:
        return [
            runs,
            failed("home", "format_unknown", "A later release made this home. Install that one, or a later one."),
        ]
    return [runs, ok("home", format=HOME_FORMAT if text else "none")]


async def _fit(db: Database) -> tuple[str, str]:
    (found,) = await db.read(lambda row: (str(row["stands"]), str(row["runs_from"] or "")), "schema_fit", {})
    return found


async def _schema(_: Settings, db: Database) -> ProbeOutcome:
    """Which migrations this release would run."""
    stands, runs_from = await _fit(db)
    try:
        later = is_later(stands, runs_from)
    except Conflict as error:
        return failed("schema", error.code, error.next_step, stands=stands, known=max(revisions()))
    wait = [number for number in revisions() if number > stands]
    step = "A later release migrated it. This release runs on it and migrates nothing." if later else ""
    return ok("schema", step, stands=stands, known=max(revisions()), migrations=len(wait))


async def _way_back(_: Settings, db: Database) -> ProbeOutcome:
    """Whether the release that migrated last would run on this one's schema."""
    stands, _runs_from = await _fit(db)
    if stands >= RUNS_FROM:
        return ok("way back", "To go back, start the release that runs now: it accepts the newer schema.")
    return ok("way back", f"Only with a backup, and what came after it is lost: {_BACK_UP}", runs_from=RUNS_FROM)


async def _server(settings: Settings, db: Database) -> ProbeOutcome:
    (missing,) = await db.read(lambda row: row["missing"], "roles_missing", {"names": list(ROLES)})
    if missing and not settings.embedded_database:
        step = "Have a superuser run what `byokeep init --database-sql` of this release prints. It is safe to repeat."
        return failed("database server", "database_roles_outdated", step, roles=", ".join(missing))
    return ok("database server", version=await require_release(db))


async def _store(settings: Settings, _: Database) -> ProbeOutcome:
    async with wiring.store_http(settings) as http:
        return ok("secret store", version=await require_version(http))


async def _disk(settings: Settings, db: Database) -> ProbeOutcome:
    """Whether there is room for a dump beside the database, and for what a migration rewrites."""
    (size,) = await db.read(lambda row: int(row["size"]), "database_size", {})
    place = settings.home if settings.home.is_dir() else settings.path("log_dir")
    free, wanted = shutil.disk_usage(place).free, 2 * size * settings.embedded_database + _RESERVE
    if free < wanted:
        return failed("disk", "disk_low", f"Free {(wanted - free) >> 20} MiB more below {place}.", free_mib=free >> 20)
    return ok("disk", free_mib=free >> 20, wanted_mib=wanted >> 20)


async def _backup(_: Settings, db: Database) -> ProbeOutcome:
    found, now = await backups(db), SystemClock().now()
    if isinstance(proved := newest_proved(found, now), str):
        return failed("backup", proved, _BACK_UP, made=len(found))
    hours = (now - proved.created_at) / timedelta(hours=1)
    if hours > _FRESH / timedelta(hours=1):
        return failed("backup", "too_old", _BACK_UP, hours=int(hours))
    return ok("backup", hours=int(hours), id=str(proved.id))


async def _procedures(_: Settings, db: Database) -> ProbeOutcome:
    """Whether nothing is under way that this release could not continue."""
    names = await db.read(lambda row: str(row["procedure"]), "procedures_open", {}, every_client=True)
    if strange := sorted(set(names) - PROCEDURES.keys()):
        step = "Finish or abort these with the release that runs now: `byokeep procedure list`."
        return failed("procedures", "procedure_unknown", step, names=", ".join(strange))
    return ok("procedures", open=len(names))
