"""What must hold before a process serves, beyond its settings.

Rules
- Keys that sign leases, checkpoints and evidence live inside the store. A private key beside our credentials means
  that somebody signs past it, so nothing starts.
- The roles of the database are bounded as provision.sql makes them, and a kill may end who keeps it waiting; a
  database that was made by an earlier release says so before the broker serves, not when somebody needs the kill.
- In production the broker starts only while the store's audit is seen to record (R3.1-3); everywhere else a device
  that does not is an alert within a minute.

- A place of sealed profiles that lets one object take another's place is refused; one that is away for now is not.

It may not mend anything.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from byokeep.core.errors import ByokeepError, Rejected, Unavailable
from byokeep.core.model import Environment
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.ports import ArtifactStore, Database
from byokeep.settings import Settings

_PRIVATE: Final = (b"PRIVATE KEY-----", b'"kty"')  # PEM and JWK
_PROBED_S: Final = 10.0
_LOOKED_AT: Final = 64 * 1024  # bytes of a file


def no_signing_key(settings: Settings) -> None:
    """Refuse a private key in a place that a process of ours reads credentials from.

    Raises:
        Rejected: ``signing_key_on_disk``.
    """
    places = {"home": settings.home, "keys": settings.home / "keys", "credentials": settings.path("credentials_dir")}
    for name, place in places.items():
        if any(_holds_key(path) for path in _files(place)):
            raise Rejected(
                "signing_key_on_disk",
                next_step="Leases, checkpoints and evidence are signed inside the store; move this key elsewhere.",
                place=name,
            )


def _files(place: Path) -> list[Path]:
    try:
        return [path for path in place.iterdir() if path.is_file() and not path.is_symlink()]
    except OSError:
        return []


def _holds_key(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(_LOOKED_AT)
    except OSError:
        return False
    return any(mark in start for mark in _PRIVATE)


async def must_record(app: BrokerApp, *, again_after_s: float = 0.5) -> None:
    """Refuse to serve in production while no audit device of the store records.

    Args:
        again_after_s: A store that has just started is asked once more after so many seconds.

    Raises:
        Unavailable: ``no_audit_device``, or ``audit_not_recording`` with the first device and why.
    """
    if app.environment is not Environment.PRODUCTION:
        return
    devices = await app.store_audit.devices()
    if devices and not any(device.healthy for device in devices):
        await asyncio.sleep(again_after_s)
        devices = await app.store_audit.devices()
    if not devices:
        raise Unavailable("no_audit_device", next_step="Name the store's audit logs in store_audit_files.")
    if not any(device.healthy for device in devices):
        raise Unavailable(
            "audit_not_recording", next_step="See `byokeep doctor`; nothing is served before the audit records.",
            device=devices[0].name, reason=devices[0].reason,
        )  # fmt: skip


async def machines_ending(db: Database) -> list[str]:
    """Return the names of machines whose last token ends within 14 days, or ended lately."""
    return await db.read(lambda row: str(row["name"]), "machines_ending", {}, every_client=True)


async def must_be_bounded(db: Database) -> None:
    """Refuse a database whose roles could hold a lock without end, or whose blockers a kill could not end.

    Raises:
        Unavailable: ``database_roles_outdated`` with the first such role; or the database.
    """
    ((unbounded, ends_sessions),) = await db.read(
        lambda row: (list(row["unbounded"]), row["ends_sessions"] is True), "roles_bounded", {}
    )
    if unbounded or not ends_sessions:
        raise Unavailable(
            "database_roles_outdated", role=unbounded[0] if unbounded else "byokeep_owner",
            next_step="Have a superuser run what `byokeep init --database-sql` prints; it is safe to repeat.",
        )  # fmt: skip


async def must_write_once(artifacts: ArtifactStore) -> None:
    """Refuse a place where sealed profiles would overwrite each other.

    Raises:
        Rejected: ``artifact_store_overwrites``.
    """
    try:
        async with asyncio.timeout(_PROBED_S):
            await artifacts.probe()
    except Rejected:
        raise
    except (ByokeepError, TimeoutError):  # not there now: whoever needs it says so, and a kill does not need it
        pass
