"""Puts the processes together: settings -> adapters -> the ports of one process. The only importer of adapters.

Rules
- Each process gets the ports of its own identity and no more (see :mod:`byokeep.kernel.app`).
- Nothing is created when a module is imported; everything is closed again in reverse order.
- What one process alone needs, and is slow to load, is imported where that process is built.

It may not contain a procedure: those are flows.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from procrastinate import App as Queue

from byokeep.accounts.refresher_app import RefresherApp
from byokeep.adapters.files.checkpoints import CheckpointDirectory
from byokeep.adapters.files.reserve import Reserves
from byokeep.adapters.files.slots import SlotDirectory
from byokeep.adapters.files.tombstones import TombstoneFile
from byokeep.adapters.openbao.audit import FileStoreAudit
from byokeep.adapters.openbao.cutoff import EntityCutoff, ProbedStoreHealth, StoreNodes
from byokeep.adapters.openbao.embedded import EmbeddedOpenBao, audit_files, bring_up
from byokeep.adapters.openbao.login import AppRoleLogin, log_in, private_dir, read_private
from byokeep.adapters.openbao.provisioning import (
    LOGIN_LIFE_S,
    MACHINE_KEY_PATH,
    TOKEN_KEY_PATH,
    Desired,
    generate_root,
    provision,
    require_version,
    retire_roots,
)
from byokeep.adapters.openbao.provisioning import rotate_leases as rotate_lease_key
from byokeep.adapters.openbao.signer import TransitSigner
from byokeep.adapters.openbao.values import BaoAppSecrets, BaoIntake, BaoProfileRecords, BaoScanKey
from byokeep.adapters.passwords import Passwords
from byokeep.adapters.platforms.catalog import Catalog
from byokeep.adapters.postgres.database import PostgresDatabase, build_app
from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from byokeep.adapters.postgres.programs import require_release
from byokeep.adapters.providers.descriptor import DESCRIPTORS, check_format
from byokeep.adapters.providers.identify import CheckOutcome, identify
from byokeep.adapters.system import SystemClock, SystemIds
from byokeep.browser.ephemeral import Rooms
from byokeep.client.settings import ClientSettings
from byokeep.core.errors import Conflict, Unavailable
from byokeep.core.model import Environment, Provider, Role
from byokeep.core.secret import Secret
from byokeep.http.emergency import Emergency
from byokeep.jobs import switches
from byokeep.jobs.worker_app import WorkerApp
from byokeep.kernel.app import BrokerApp, ServiceLimits, WebApp
from byokeep.kernel.durable_write import durable_write
from byokeep.procedures import PROCEDURES
from byokeep.profiles.kek_store import KekApp
from byokeep.profiles.login import ProfileApp
from byokeep.settings import Settings, parse_audit_files
from byokeep.tenancy import bootstrap, operators
from byokeep.wire.bao_http import BaoHttp
from byokeep.wire.outbound import Outbound
from byokeep.wiring_binding import settle
from byokeep.wiring_profiles import artifact_store
from byokeep.worker.custody import BrokerCustodian
from byokeep.worker.identity import account_hasher, noted
from byokeep.worker.log_files import LogFiles

EmbeddedStore = EmbeddedOpenBao
require_store_version = require_version
require_database_release = require_release
EmbeddedDatabase = EmbeddedPostgres
LOCAL_TOKEN_S: Final = bootstrap.LOCAL_TOKEN_S
BOOTSTRAP_S: Final = operators.BOOTSTRAP_S
MACHINES: Final = {"worker": Role.CUSTODIAN, "dispatcher": Role.DISPATCHER, "runner": Role.RUNNER}
_ACCOUNT_KEY: Final = "account-hash.key"  # keys the digest of providers' account ids; not in the database
_CLOCKS_S: Final = 1.0  # between the clocks of broker and store
_RENEW_AFTER_S: Final = 30 * 24 * 3600


def embedded_store(settings: Settings) -> EmbeddedOpenBao:
    """Return the OpenBao of this home, not started."""
    return EmbeddedOpenBao(
        settings.home.absolute(), binary=settings.file("store_program"), sha256=settings.store_program_sha256
    )


def embedded_database(settings: Settings) -> EmbeddedPostgres:
    """Return the PostgreSQL of this home, not started."""
    return EmbeddedPostgres(settings.home.absolute())


def store_address(settings: Settings) -> str:
    """Return where the secret store is."""
    return settings.store_address or embedded_store(settings).address


def store_audit_files(settings: Settings) -> dict[str, Path]:
    """Return the store's audit logs on this host, by device."""
    if not settings.store_audit_files:
        return audit_files(settings.home.absolute()) if settings.embedded_store else {}
    return parse_audit_files(settings.store_audit_files)


def database_url(settings: Settings, role: str) -> str:
    """Return the SQLAlchemy URL of a role, ``byokeep_web`` and so on; it holds no password."""
    if settings.embedded_database:
        return embedded_database(settings).url(role)
    scheme, _, rest = settings.database_url.partition("://")
    return f"{scheme}://{role}@{rest}"


def database_sql() -> str:
    """Return the SQL with which a superuser makes the database and its roles; safe to repeat."""
    return (resources.files("byokeep.adapters.postgres") / "provision.sql").read_text("utf-8")


@asynccontextmanager
async def database(settings: Settings, role: str) -> AsyncIterator[PostgresDatabase]:
    """Yield a connection of a role, for one look."""
    db = PostgresDatabase(database_url(settings, role), pool_size=1)
    try:
        yield db
    finally:
        await db.close()


def broker_url(settings: Settings) -> str:
    """Return where ``web`` and the worker find the broker."""
    return settings.broker_url or f"http://{settings.broker_listen}"


def limits(settings: Settings) -> ServiceLimits:
    """Return the figures of the procedures."""
    days = {name: descriptor.rotation_days for name, descriptor in DESCRIPTORS.items()}
    return ServiceLimits(
        rotation_default_days=days, profile_rekey_days=settings.profile_rekey_days,
        kek_rotation_days=settings.kek_rotation_days, approval_hold_s=settings.approval_hold_hours * 3600,
    )  # fmt: skip


def _store(settings: Settings) -> BaoHttp:
    return BaoHttp(store_address(settings), ca_file=settings.file("store_ca_file"))


async def _token_key(login: AppRoleLogin, path: str = TOKEN_KEY_PATH) -> Callable[[bytes], bytes]:
    reply = await login.request("GET", path)
    value = (reply.data.get("data") or {}).get("value")
    if not isinstance(value, str) or len(value) < 43:
        raise Unavailable("token_key_missing", next_step="Provision the store again: `byokeep up` or `byokeep init`.")
    key = Secret(value)
    # The key stays in a Secret; the closure reveals it for the length of one HMAC.
    return lambda token: hmac.digest(key.reveal(), token, hashlib.sha256)


@asynccontextmanager
async def web_app(settings: Settings) -> AsyncIterator[WebApp]:
    """Build ``byokeep web``'s ports; closes them at the end."""
    async with AsyncExitStack() as stack:
        db = PostgresDatabase(database_url(settings, "byokeep_web"))
        stack.push_async_callback(db.close)
        login = await _login(stack, settings, "web")
        ids = SystemIds()
        await _require_production_release(db, settings.environment)
        found = await bootstrap.installation(db, ids, settings.environment)
        yield WebApp(
            db=db,
            clock=SystemClock(),
            ids=ids,
            installation_id=found.id,
            environment=settings.environment,
            limits=limits(settings),
            procedures=PROCEDURES,
            intake=BaoIntake(login),
            scan_key=BaoScanKey(login),
            token_key=await _token_key(login),
            check_format=check_format,
            consents=Catalog(settings.platform_urls),
            app_secrets=BaoAppSecrets(login),
        )


@asynccontextmanager
async def broker_app(settings: Settings) -> AsyncIterator[BrokerApp]:
    """Build ``byokeep broker``'s ports; closes them at the end."""
    async with AsyncExitStack() as stack:
        db = PostgresDatabase(database_url(settings, "byokeep_broker"), pool_size=16)
        stack.push_async_callback(db.close)
        login = await _login(stack, settings, "broker")
        nodes = _nodes(stack, settings, login)
        ids = SystemIds()
        found = await _known_installation(db, settings.environment)
        beside = settings.path("checkpoint_dir").absolute()
        checkpoints, tombstones = CheckpointDirectory(beside, origin=f"byokeep/{found}"), TombstoneFile(beside)
        stack.callback(checkpoints.close)
        stack.callback(tombstones.close)
        yield BrokerApp(
            db=db,
            clock=SystemClock(),
            ids=ids,
            installation_id=found,
            environment=settings.environment,
            limits=limits(settings),
            procedures=PROCEDURES,
            signer=TransitSigner(login),
            cutoff=EntityCutoff(login, confirm=nodes.confirm if nodes else None),
            store_audit=FileStoreAudit(login, store_audit_files(settings), nodes=nodes.all if nodes else None),
            store_health=ProbedStoreHealth(login.http),
            checkpoints=checkpoints,
            token_key=await _token_key(login),
            machine_key=await _token_key(login, MACHINE_KEY_PATH),
            store_address=store_address(settings),
            artifacts=artifact_store(settings),
            records=BaoProfileRecords(login),
            tombstones=tombstones,
        )


@asynccontextmanager
async def kill_lane(settings: Settings, app: BrokerApp) -> AsyncIterator[BrokerApp]:
    """Yield ``app`` over a few database connections of its own, which nothing but the kill switch is given."""
    db = PostgresDatabase(database_url(settings, "byokeep_broker"), pool_size=4)
    try:
        yield replace(app, db=db)
    finally:
        await db.close()


@asynccontextmanager
async def worker_app(
    settings: Settings, memory: Rooms
) -> AsyncIterator[tuple[Queue, WorkerApp, ProfileApp | None, KekApp]]:
    """Build ``byokeep worker``'s queue (not opened) and ports; closes them at the end.

    Args:
        memory: Where plain profiles lie, prepared while the process had one thread.
    """
    async with AsyncExitStack() as stack:
        url = database_url(settings, "byokeep_worker")
        db = PostgresDatabase(url)
        stack.push_async_callback(db.close)
        found = await _known_installation(db, settings.environment)
        http = await stack.enter_async_context(Outbound())
        hasher = account_hasher(Secret(read_private(settings.path("credentials_dir").absolute() / _ACCOUNT_KEY)))

        async def ask(provider: Provider, secret: Secret) -> CheckOutcome:
            return await identify(
                DESCRIPTORS[provider.value], secret, base_url=settings.provider_urls.get(provider.value), http=http,
                account_hasher=hasher, allow_loopback=settings.environment is not Environment.PRODUCTION,
            )  # fmt: skip

        app = WorkerApp(
            db=db, clock=SystemClock(), ids=SystemIds(), installation_id=found, environment=settings.environment,
            limits=limits(settings), procedures=PROCEDURES,
            custodian=BrokerCustodian(_custodian(settings), settings.environment),
            identify=noted(ask), search_logs=_log_files(settings).search,
        )  # fmt: skip
        profiles = _profile_app(settings, app, memory, hasher)
        keks = KekApp(
            db=db, clock=app.clock, ids=app.ids, installation_id=found, environment=app.environment, limits=app.limits,
            artifacts=artifact_store(settings), kek_owner=settings.kek_owner,
            kek_custodian=BrokerCustodian(_custodian(settings), app.environment),
            kek_rotation_days=settings.kek_rotation_days,
        )  # fmt: skip
        yield build_app(url), app, profiles, keks


def _profile_app(settings: Settings, app: WorkerApp, memory: Rooms, digest: Callable[[str], str]) -> ProfileApp | None:
    """Return the worker's ports for profiles; None where the extra for browsers is not installed."""
    try:
        from byokeep.wiring_worker import profile_app  # noqa: PLC0415 - Chromium and Tink, which no other process needs
    except ModuleNotFoundError:
        return None
    return profile_app(settings, app, memory, broker=_custodian(settings), digest=digest)


@asynccontextmanager
async def refresher_app(settings: Settings) -> AsyncIterator[RefresherApp]:
    """Build ``byokeep refresher``'s ports; closes them at the end."""
    from byokeep.adapters.platforms.oauth import asker, logins  # noqa: PLC0415 - see the top

    async with AsyncExitStack() as stack:
        db = PostgresDatabase(database_url(settings, "byokeep_worker"))
        stack.push_async_callback(db.close)
        found = await _known_installation(db, settings.environment)
        slots = SlotDirectory(settings.path("slots_dir").absolute(), found)
        stack.callback(slots.close)
        http, clock = await stack.enter_async_context(Outbound()), SystemClock()
        yield RefresherApp(
            db=db,
            clock=clock,
            ids=SystemIds(),
            installation_id=found,
            environment=settings.environment,
            limits=limits(settings),
            custodian=BrokerCustodian(_custodian(settings), settings.environment),
            slots=slots,
            owner=slots.owner,
            logins=logins(),
            platform=asker(http, clock.now, settings.platform_urls),
            digest=account_hasher(Secret(read_private(settings.path("credentials_dir").absolute() / _ACCOUNT_KEY))),
        )


def _custodian(settings: Settings) -> ClientSettings:
    token = settings.path("credentials_dir").absolute() / "worker.token"
    return ClientSettings(
        broker_url=broker_url(settings), runner_token_file=token, broker_ca_file=settings.file("broker_ca_file"),
        store_ca_file=settings.file("store_ca_file"),
    )  # fmt: skip


def passwords() -> Passwords:
    """Return the maker and checker of people's passwords."""
    return Passwords()


def emergency_of(settings: Settings) -> Emergency:
    """Return what frees the disk reserves when an act that must be recorded finds the disk full."""
    return Emergency(Reserves(settings.home, store_audit_files(settings).values()))


def _log_files(settings: Settings) -> LogFiles:
    place = settings.path("log_dir")
    names = ["web.log", "broker.log", "worker.log", "refresher.log"]
    names += ["openbao.log"] if settings.embedded_store else []
    names += ["postgres.log"] if settings.embedded_database else []
    return LogFiles(logs=[place / name for name in names], spans=[place / "spans.jsonl"])


async def _login(stack: AsyncExitStack, settings: Settings, machine: str) -> AppRoleLogin:
    http = await stack.enter_async_context(_store(settings))
    await require_version(http)
    login = AppRoleLogin(http, settings.path("credentials_dir").absolute() / f"{machine}.approle")
    stack.push_async_callback(login.close)
    return login


def _nodes(stack: AsyncExitStack, settings: Settings, login: AppRoleLogin) -> StoreNodes | None:
    """Return the nodes of the store's cluster; the embedded store is one node."""
    if settings.embedded_store:
        return None
    nodes = StoreNodes(
        login, ca_file=settings.file("store_ca_file"),
        outlived_s=LOGIN_LIFE_S + limits(settings).lease_token_ttl_s + _CLOCKS_S,
    )  # fmt: skip
    stack.push_async_callback(nodes.close)
    return nodes


async def _known_installation(db: PostgresDatabase, environment: Environment) -> UUID:
    await _require_production_release(db, environment)
    found = await bootstrap.known_installation(db)
    if found.environment is not environment:
        raise Conflict("other_environment", next_step="Settings and data must name the same environment.",
                       stored=found.environment.value, configured=environment.value)  # fmt: skip
    return found.id


async def _require_production_release(db: PostgresDatabase, environment: Environment) -> None:
    """Let production use no PostgreSQL that lacks known fixes; elsewhere `byokeep doctor` says so."""
    if environment is Environment.PRODUCTION:
        await require_release(db)


async def install(settings: Settings, store: EmbeddedOpenBao | None) -> bool:
    """Migrate, provision, and make the first identities. Repeating it changes nothing that is right already.

    Args:
        settings: Of this installation.
        store: The running embedded node; ``None`` when an operator provisions the store with ``byokeep init``.

    Returns:
        Whether this is a copy of an installation, or one that was moved: it is closed then.
    """
    await _migrate(settings)
    db = PostgresDatabase(database_url(settings, "byokeep_web"))
    try:
        found = await bootstrap.installation(db, SystemIds(), settings.environment)
    finally:
        await db.close()
    if store is not None and (await bring_up(store, _desired(settings, found.id))).changed:
        await _record_provisioning(settings)
    await _first_identities(settings)
    async with broker_app(settings) as app:
        copied = await settle(settings, app)
        async with app.db.begin(every_client=True) as tx:
            await switches.install(tx, app)
    return copied


async def _migrate(settings: Settings) -> None:
    from byokeep.adapters.postgres.migrations import migrate  # noqa: PLC0415 - Alembic, which no server process needs

    async with database(settings, "byokeep_owner") as db:
        await _require_production_release(db, settings.environment)
    await asyncio.to_thread(migrate, database_url(settings, "byokeep_owner"))


async def _record_provisioning(settings: Settings) -> None:
    async with web_app(settings) as app:
        await bootstrap.store_provisioned(app)


def _desired(settings: Settings, installation: UUID) -> Desired:
    return Desired(
        installation_id=installation, environment=settings.environment,
        lease_token_ttl_s=limits(settings).lease_token_ttl_s, lease_cidrs=settings.networks,
        per_second=settings.store_calls_per_second or None,
    )  # fmt: skip


async def _first_identities(settings: Settings) -> None:
    place = private_dir(settings.path("credentials_dir").absolute())
    if not (place / _ACCOUNT_KEY).exists():
        await asyncio.to_thread(durable_write, place / _ACCOUNT_KEY, SystemIds().token().encode())
    async with broker_app(settings) as app:
        with contextlib.suppress(Conflict):  # somebody is set up already
            token = await operators.bootstrap(app)
            await asyncio.to_thread(durable_write, place / "admin.token", token.reveal() + b"\n")
        await _renew_machines(place, app)


async def recover(settings: Settings, name: str) -> Secret:
    """Return an invitation for an admin who is locked out; it takes this host's own credentials of the broker."""
    async with broker_app(settings) as app:
        return await operators.recover(app, name)


async def renew_machines(settings: Settings) -> None:
    """Give each machine of the embedded stack whose token is older than 30 days a new one, in its file."""
    place = settings.path("credentials_dir").absolute()
    if any(_due(place / f"{name}.token") for name in MACHINES):
        async with broker_app(settings) as app:
            await _renew_machines(place, app)


async def _renew_machines(place: Path, app: BrokerApp) -> None:
    for name, role in MACHINES.items():
        file = place / f"{name}.token"
        if not _due(file):
            continue
        # Who started with the file as it was goes on with it; a file that somebody took away holds for nobody.
        overlap_s = bootstrap.OVERLAP_S if file.is_file() else 0
        token = await bootstrap.local_machine(app, name=f"local-{name}", role=role, overlap_s=overlap_s)
        if token is not None:
            await asyncio.to_thread(durable_write, file, token.reveal() + b"\n")


def _due(file: Path) -> bool:
    return not file.is_file() or time.time() - file.stat().st_mtime >= _RENEW_AFTER_S


async def rotate_leases(settings: Settings, admin_token: Secret | None) -> int:
    """Give the leases of this installation a new signing key, and let the store believe no other.

    Args:
        settings: Of this installation; its store runs.
        admin_token: Of a store of your own; ``None`` = the embedded one, whose recovery keys lie on this host.

    Returns:
        The new version's number.
    """
    async with _store(settings) as http:
        if admin_token is not None:
            version = await rotate_lease_key(http, admin_token)
        else:
            provisioner, _ = await log_in(http, settings.path("credentials_dir").absolute() / "provisioner.approle")
            root = await generate_root(http, provisioner, embedded_store(settings).recovery_keys())
            try:
                version = await rotate_lease_key(http, root)
            finally:
                await retire_roots(http, root)
                root.wipe()
    owner = PostgresDatabase(database_url(settings, "byokeep_owner"))  # no service may say that this was done
    try:
        async with web_app(settings) as app:
            await bootstrap.store_provisioned(replace(app, db=owner), component="lease-key")
    finally:
        await owner.close()
    return version


async def provision_external(settings: Settings, admin_token: Secret) -> dict[str, Any]:
    """Provision an agency's own store and database (``byokeep init``).

    Returns:
        ``installation``, ``changed``, ``audit_devices``.
    """
    await _migrate(settings)
    db = PostgresDatabase(database_url(settings, "byokeep_web"))
    try:
        found = await bootstrap.installation(db, SystemIds(), settings.environment)
    finally:
        await db.close()
    place = private_dir(settings.path("credentials_dir").absolute())
    async with _store(settings) as http:
        done = await provision(http, admin_token, _desired(settings, found.id), credentials_dir=place)
    if done.changed:
        await _record_provisioning(settings)
    await install(settings, None)
    return {"installation": str(found.id), "changed": done.changed, "audit_devices": list(done.audit_devices)}
