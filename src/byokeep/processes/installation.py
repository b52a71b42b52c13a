"""An installation: made, provisioned, bound to its place, given its first identities; and what must hold to serve.

Rules
- Repeating any of it is safe, and changes nothing that is already right.
- A home is bound to the database's and the store's own files and the refresher's slots. A copy, a restored backup and
  another machine have others (docs/adr/0032), and come up closed. None of these files is ever replaced while its server
  lives. A home is first closed, then bound to the new place: if killed in between, the next start finds the same.
- Keys that sign leases, checkpoints and evidence live inside the store. A private key beside our credentials means
  that somebody signs without it, so nothing starts.
- The roles of the database are limited as provision.sql makes them, and a kill may end whoever keeps it waiting. A
  database from an earlier release says so before the broker serves, not when somebody needs the kill.
- In production the broker starts only while the store's audit is seen to record (R3.1-3). Everywhere else a device that
  does not record is an alert within a minute.
- A place of sealed profiles that lets one object replace another is refused; one that is away for now is not.

It may not decide who opens a copy again: that takes two people.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from byokeep.adapters.files import slots
from byokeep.adapters.files.binding import read_bound, write_bound
from byokeep.adapters.openbao.embedded import EmbeddedOpenBao, bring_up
from byokeep.adapters.openbao.login import private_dir
from byokeep.adapters.openbao.provisioning import Desired, provision
from byokeep.adapters.postgres import logins
from byokeep.adapters.system import SystemIds
from byokeep.core.errors import ByokeepError, Conflict, Rejected, Unavailable
from byokeep.core.model import Environment, Role
from byokeep.core.secret import Secret
from byokeep.jobs import switches
from byokeep.jobs.gatekeep import close_copy
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.approvals import Approval
from byokeep.kernel.command import raise_alert, state_over
from byokeep.kernel.durable_write import durable_write
from byokeep.kernel.ports import ArtifactStore, Database
from byokeep.processes import wiring
from byokeep.settings import Settings
from byokeep.tenancy import bootstrap, operators

MACHINES: Final = {"worker": Role.CUSTODIAN, "dispatcher": Role.DISPATCHER, "runner": Role.RUNNER}
BOUND: Final = "bound"
HOME_FORMAT: Final = "byokeep-home/1"
_PRIVATE: Final = (b"PRIVATE KEY-----", b'"kty"')  # PEM and JWK
_PROBED_S: Final = 10.0
_OWN_KEY: Final = (
    f"Put this installation's {wiring.ACCOUNT_KEY} back into credentials_dir, from the worker's host or a copy. If it"
    " is lost: docs/settings.md, your own servers."
)
_LOOKED_AT: Final = 64 * 1024  # bytes of a file


async def install(settings: Settings, store: EmbeddedOpenBao | None) -> bool:
    """Migrate, provision, and make the first identities. Repeating it changes nothing that is already right.

    Args:
        settings: This installation's.
        store: The running embedded node; ``None`` when an operator provisions the store with ``byokeep init``.

    Returns:
        Whether this is a copy of an installation, or one that was moved; it is then closed.
    """
    installation = await _migrated(settings)
    if store is not None and await bring_up(store, desired(settings, installation)):
        await _record_provisioning(settings)
    await _first_identities(settings)
    async with wiring.broker_app(settings) as app:
        copied = await settle(settings, app)
        async with app.db.begin(every_client=True) as tx:
            await switches.install(tx, app)
    return copied


async def _migrated(settings: Settings) -> UUID:
    """Bring the database to this release; return its installation id."""
    from byokeep.adapters.postgres.migrations import migrate  # noqa: PLC0415 - no server process needs it

    async with wiring.database(settings, "byokeep_owner") as db:
        await wiring.require_production_release(db, settings.environment)
    await asyncio.to_thread(migrate, wiring.database_url(settings, "byokeep_owner"))
    await renew_logins(settings, missing=True)
    async with wiring.database(settings, "byokeep_web") as db:
        return (await bootstrap.installation(db, SystemIds(), settings.environment)).id


async def renew_logins(settings: Settings, *, missing: bool = False, grace: timedelta = logins.GRACE) -> int:
    """Give each role whose login is on this host a new one; returns how many. ``missing``: only roles that lack one.

    ``grace``: how long an old one is accepted.

    Raises:
        Conflict: ``rotation_failed`` for a role; the others have theirs all the same.
        Unavailable: It cannot be told whether one is missing.
    """
    urls = {role: wiring.database_url(settings, role) for role in (*logins.ROLES, logins.MAKER)}
    if settings.embedded_database or (
        missing and not await asyncio.to_thread(logins.may_be_made, urls["byokeep_owner"])
    ):
        return 0
    count, failed, maker = 0, None, urls[logins.MAKER]
    for role in logins.ROLES:
        file = wiring.login_file(settings, role)
        held = await asyncio.to_thread(logins.stands, maker, urls[role], file) if missing else not file.exists()
        if not held:
            private_dir(file.parent)
            try:
                await asyncio.to_thread(logins.renew, maker, urls[role], role, file, grace=grace)
                count += 1
            except Conflict as error:
                failed = failed or error
    if failed is not None:
        raise failed
    return count


async def _record_provisioning(settings: Settings) -> None:
    async with wiring.web_app(settings) as app:
        await bootstrap.store_provisioned(app)


def desired(settings: Settings, installation: UUID) -> Desired:
    """Return what an installation wants of its store."""
    return Desired(
        installation_id=installation, environment=settings.environment,
        lease_token_ttl_s=wiring.limits(settings).lease_token_ttl_s, lease_cidrs=settings.networks,
        per_second=settings.store_calls_per_second or None, oidc_issuer=settings.oidc_issuer,
    )  # fmt: skip


async def _first_identities(settings: Settings) -> None:
    place = private_dir(wiring.credentials(settings))
    async with wiring.broker_app(settings) as app:
        if not (place / wiring.ACCOUNT_KEY).exists():
            async with app.db.begin(every_client=True) as tx:
                if await tx.one(int, "subject_count"):  # with another key every account would seem to be another one
                    raise Unavailable("credentials_missing", next_step=_OWN_KEY)
            await asyncio.to_thread(durable_write, place / wiring.ACCOUNT_KEY, SystemIds().token().encode())
        with contextlib.suppress(Conflict):  # somebody is already set up
            token = await operators.bootstrap(app)
            await asyncio.to_thread(durable_write, place / "admin.token", token.reveal() + b"\n")
        await renew_machines_in(place, app)


async def recover(settings: Settings, name: str) -> Secret | Approval:
    """Return an invitation for an admin who is locked out, or the request that another admin must approve first.

    It needs this host's own credentials of the broker, which only their owner can read; no route leads here.
    """
    async with wiring.broker_app(settings) as app:
        return await operators.recover(app, name)


async def renew_machines(settings: Settings) -> None:
    """Renew, in its file, the token of each machine of the embedded stack that is past half of its life."""
    async with wiring.broker_app(settings) as app:
        await renew_machines_in(wiring.credentials(settings), app)


async def renew_machines_in(place: Path, app: BrokerApp, *, left_s: float = bootstrap.RENEW_LEFT_S) -> int:
    """Renew what has at most ``left_s`` left, each machine by itself; returns how many.

    One that cannot be renewed is an alert until it is.
    """
    failed: ByokeepError | OSError | None = None
    count = 0
    for name, role in MACHINES.items():
        key = f"state/machine_token/{name}"
        try:
            count += await _renew(app, place / f"{name}.token", f"local-{name}", role, left_s)
            await state_over(app, key)
        except (ByokeepError, OSError) as error:
            failed = error
            with contextlib.suppress(ByokeepError):  # the database is away: whoever needs it reports it
                await raise_alert(app, reason="machine_token_not_renewed", key=key, severity="critical")
    if failed is not None:
        raise failed
    return count


async def _renew(app: BrokerApp, file: Path, name: str, role: Role, left_s: float) -> bool:
    held = await asyncio.to_thread(_content, file)
    if held is not None and await bootstrap.token_left_s(app, name, held) > left_s:
        return False
    await asyncio.to_thread(durable_write, file.with_suffix(".probe"), b"-" * 64)  # before the old one gets an end
    file.with_suffix(".probe").unlink()
    # A process that started with the old file goes on with it; a removed file counts for nobody.
    overlap_s = 0 if held is None else bootstrap.OVERLAP_S
    token = await bootstrap.local_machine(app, name=name, role=role, overlap_s=overlap_s)
    if token is not None:
        await asyncio.to_thread(durable_write, file, token.reveal() + b"\n")
    return token is not None


def _content(file: Path) -> bytes | None:
    return file.read_bytes().strip() if file.is_file() else None


async def provision_external(settings: Settings, admin_token: Secret) -> dict[str, Any]:
    """Provision an agency's own store and database (``byokeep init``).

    Returns:
        ``installation``, ``changed``, ``audit_devices``.
    """
    installation = await _migrated(settings)
    place = private_dir(wiring.credentials(settings))
    async with wiring.store_http(settings) as http:
        devices = await provision(http, admin_token, desired(settings, installation), credentials_dir=place)
    await _record_provisioning(settings)
    await install(settings, None)
    return {"installation": str(installation), "changed": True, "audit_devices": list(devices)}


async def settle(settings: Settings, app: BrokerApp) -> bool:
    """Make sure that the home is where it was made; one that is not comes up closed.

    Returns:
        Whether it was a copy, and is now closed.

    Raises:
        Unavailable: The database or the disk; then nothing may be started.
    """
    if not settings.embedded_database or await asyncio.to_thread(_holds, settings, app.installation_id):
        return False
    copied = await close_copy(app, own_store=settings.embedded_store)
    await asyncio.to_thread(_bind, settings, app.installation_id)
    return copied


def _holds(settings: Settings, installation: UUID) -> bool:
    text, bound = read_bound(settings.home / BOUND, beside=_beside(settings))
    return bound and text == _text(installation) and not slots.is_copy(settings.path("slots_dir"))


def _bind(settings: Settings, installation: UUID) -> None:
    slots.adopt(settings.path("slots_dir"))
    write_bound(settings.home / BOUND, _text(installation), beside=_beside(settings))


def _text(installation: UUID) -> str:
    return f"{HOME_FORMAT}\n{installation}\n"


def _beside(settings: Settings) -> list[Path]:
    """Return the files that their servers write in place from the first start to the last."""
    found = [settings.home / "postgres" / "data" / "global" / "pg_control"]
    return [*found, settings.home / "openbao" / "data" / "vault.db"] if settings.embedded_store else found


def no_signing_key(settings: Settings) -> None:
    """Refuse a private key in a place that one of our processes reads credentials from.

    Raises:
        Rejected: ``signing_key_on_disk``.
    """
    places = {"home": settings.home, "keys": settings.home / "keys", "credentials": settings.path("credentials_dir")}
    for name, place in places.items():
        if any(_holds_key(path) for path in _files(place)):
            raise Rejected(
                "signing_key_on_disk",
                next_step="Move this key elsewhere: leases, checkpoints and evidence are signed inside the store.",
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


async def must_record(app: BrokerApp) -> None:
    """Refuse to serve in production while no audit device of the store records. One that just started is asked twice.

    Raises:
        Unavailable: ``no_audit_device``, or ``audit_not_recording`` with the first device and why.
    """
    if app.environment is not Environment.PRODUCTION:
        return
    devices = await app.store_audit.devices()
    if devices and not any(device.healthy for device in devices):
        await asyncio.sleep(0.5)
        devices = await app.store_audit.devices()
    if not devices:
        raise Unavailable("no_audit_device", next_step="List the store's audit logs in store_audit_files.")
    if not any(device.healthy for device in devices):
        raise Unavailable(
            "audit_not_recording", next_step="See `byokeep doctor`. Nothing is served until the audit records.",
            device=devices[0].name, reason=devices[0].reason,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WayIn:
    """An active admin: whether they have a password, and whether they can sign in now."""

    name: str
    password: bool
    able: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLeft:
    """A machine of the embedded stack, and for how many seconds its newest token works; None: it has none."""

    name: str
    left_s: float | None


async def ways_in(db: Database) -> list[WayIn]:
    """Return each active admin."""
    return await db.read(WayIn, "admins_ways_in", {}, every_client=True)


async def local_tokens(db: Database) -> list[TokenLeft]:
    """Return the machines of the embedded stack."""
    names = [f"local-{name}" for name in MACHINES]
    return await db.read(TokenLeft, "machines_local", {"names": names}, every_client=True)


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
            next_step="Have a superuser run the SQL that `byokeep init --database-sql` prints. It is safe to repeat.",
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
    except (ByokeepError, TimeoutError):  # away now: whoever needs it reports it, and a kill does not need it
        pass
