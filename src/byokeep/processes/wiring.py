"""Where things are according to the settings, and the ports of each process: settings -> adapters -> its own App.

Rules
- Each process gets the ports of its own identity and no more (see :mod:`byokeep.kernel.app`).
- Nothing is created when a module is imported. Everything is closed again in reverse order.
- What only one process needs, and is slow to load, is imported where that process is built.
- Only the process that shreds profiles gets a store that can remove.

It may not contain a procedure: those are flows.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit
from uuid import UUID

from procrastinate import App as Queue

from byokeep.accounts.refresher_app import RefresherApp, asker, identity_calls, logins
from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.adapters.files.checkpoints import CheckpointDirectory
from byokeep.adapters.files.profile_notes import HandOffNotes, ProofFiles
from byokeep.adapters.files.reserve import Reserves
from byokeep.adapters.files.slots import SlotDirectory
from byokeep.adapters.files.tombstones import TombstoneFile
from byokeep.adapters.notify.target import AppriseTargets
from byokeep.adapters.openbao import ports
from byokeep.adapters.openbao.audit import FileStoreAudit
from byokeep.adapters.openbao.breakglass import BaoBreakGlass
from byokeep.adapters.openbao.embedded import EmbeddedOpenBao, audit_files
from byokeep.adapters.openbao.login import AppRoleLogin, read_private
from byokeep.adapters.openbao.provisioning import LOGIN_LIFE_S, MACHINE_KEY_PATH, TOKEN_KEY_PATH, require_version
from byokeep.adapters.postgres.database import PostgresDatabase, build_app
from byokeep.adapters.postgres.embedded import EmbeddedPostgres, require_release
from byokeep.adapters.postgres.fit import must_fit
from byokeep.adapters.providers.descriptor import DESCRIPTORS, acts, check_admin, check_secret, exchanges, place_names
from byokeep.adapters.providers.identify import identify, resolve
from byokeep.adapters.providers.issuer import ProviderIssuer
from byokeep.adapters.system import SystemClock, SystemIds
from byokeep.browser.ephemeral import Rooms, prepare
from byokeep.client.settings import ClientSettings
from byokeep.core.errors import Conflict, Rejected, Unavailable
from byokeep.core.model import Environment, Provider
from byokeep.core.procedure import Run
from byokeep.core.secret import Secret
from byokeep.http.emergency import Emergency
from byokeep.kernel.app import BrokerApp, KillApp, ServiceLimits, WebApp, WorkerApp
from byokeep.kernel.ports import ArtifactStore, CheckOutcome, Clock
from byokeep.operations.internal import HostApp
from byokeep.operations.notify import NotifyApp
from byokeep.procedures import PROCEDURES
from byokeep.profiles.kek import KekApp
from byokeep.profiles.login import ProfileApp
from byokeep.settings import DRILL, Settings, hand_off_file, parse_audit_files, parse_bucket, shown
from byokeep.tenancy import bootstrap
from byokeep.tenancy.sso import REDIRECT as SSO_REDIRECT
from byokeep.tenancy.sso import SsoCheck
from byokeep.wire.bao_http import BaoHttp
from byokeep.wire.transport import Outbound
from byokeep.worker.ports import BrokerCustodian, LogFiles, account_hasher, noted, swapper

ACCOUNT_KEY: Final = "account-hash.key"  # keys the digest of providers' account ids; not in the database
K = TypeVar("K", bound=KillApp)
_CLOCKS_S: Final = 1.0  # seconds between the clocks of broker and store


def embedded_store(settings: Settings) -> EmbeddedOpenBao:
    """Return this home's OpenBao, not started."""
    return EmbeddedOpenBao(
        settings.home.absolute(), binary=settings.file("store_program"), sha256=settings.store_program_sha256,
        credentials=credentials(settings),
    )  # fmt: skip


def embedded_database(settings: Settings) -> EmbeddedPostgres:
    """Return this home's PostgreSQL, not started."""
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
    """Return the URL of a role, such as ``byokeep_web``; it holds no password, but names the file that holds ours."""
    if settings.embedded_database:
        return embedded_database(settings).url(role)
    scheme, _, rest = settings.database_url.partition("://")
    ours = f"passfile={quote(str(file))}" if (file := login_file(settings, role)).exists() else ""
    return f"{scheme}://{role}@{rest}{ours and ('&' if '?' in rest else '?')}{ours}"


def login_file(settings: Settings, role: str) -> Path:
    """Return the file with the login of a role, where byokeep makes it."""
    return credentials(settings, f"{role}.pgpass")


def database_sql() -> str:
    """Return the SQL with which a superuser makes the database and its roles; safe to repeat."""
    place = resources.files("byokeep.adapters.postgres")
    return "".join((place / name).read_text("utf-8") for name in ("provision.sql", "logins.sql"))


@asynccontextmanager
async def database(settings: Settings, role: str, *, pool_size: int = 10) -> AsyncIterator[PostgresDatabase]:
    """Yield connections of a role, made as needed."""
    db = PostgresDatabase(database_url(settings, role), pool_size=pool_size)
    try:
        yield db
    finally:
        await db.close()


def credentials(settings: Settings, name: str = "") -> Path:
    """Return the directory of the processes' credentials, or a file in it."""
    return settings.path("credentials_dir").absolute() / name


def artifact_store(settings: Settings, *, may_remove: bool = False) -> ArtifactStore:
    """Return where sealed profiles are kept; ``may_remove`` is only for the process that shreds them.

    Raises:
        Rejected: ``extra_missing``: a bucket, without the library for it; and what the adapter refuses.
        Unavailable: As the adapter raises.
    """
    bucket = parse_bucket(settings.artifact_store)
    if bucket is None:
        return LocalArtifacts(settings.path("artifact_store").absolute(), may_remove=may_remove)
    found: ArtifactStore = s3_library().S3Artifacts(
        bucket[0], prefix=bucket[1], endpoint=settings.artifact_endpoint, ca_file=settings.file("artifact_ca_file"),
        credentials_file=settings.file("artifact_credentials_file"), may_remove=may_remove,
    )  # fmt: skip
    return found


def s3_library() -> Any:
    """Return the adapter of buckets. Raises Rejected(``extra_missing``)."""
    try:
        return importlib.import_module("byokeep.adapters.blobs.s3")  # an extra that few installations have
    except ModuleNotFoundError:
        raise Rejected("extra_missing", next_step="Install byokeep with the extra s3.", extra="s3") from None


def windows(settings: Settings) -> HandOffNotes:
    """Return where the addresses of waiting browsers are kept."""
    return HandOffNotes(hand_off_file(settings, UUID(int=0)).absolute().parent)


def rooms(settings: Settings) -> Rooms:
    """Return where this process keeps plain profiles. Call it first, while the process has one thread.

    Raises:
        Unavailable: ``no_memory_backed_place``.
    """
    return prepare(settings.file("room_dir"), settings.room_mebibytes)


def notifier(settings: Settings) -> AppriseTargets:
    """Return where messages to people go."""
    production = settings.environment is Environment.PRODUCTION
    return AppriseTargets(settings.path("notify_dir").absolute(), read=read_private, production=production)


def broker_url(settings: Settings) -> str:
    """Return where ``web`` and the worker find the broker."""
    return settings.broker_url or f"http://{settings.broker_listen}"


def killswitch_socket(settings: Settings) -> Path | None:
    """Return the socket of this home's kill process; None when it listens on a port."""
    return None if settings.killswitch_listen else settings.home.absolute() / "killswitch.sock"


def breakglass_socket(settings: Settings) -> Path:
    """Return the socket of break glass on this host, which exists while somebody serves it."""
    return settings.home.absolute() / "breakglass.sock"


def drill_socket(settings: Settings) -> Path:
    """Return the socket of a recovery drill's broker, which nobody outside this host can reach."""
    return settings.home.absolute() / "broker.sock"


def killswitch_url(settings: Settings) -> str:
    """Return the address of the kill process."""
    socket = killswitch_socket(settings)
    return settings.killswitch_url or (f"unix://{socket}" if socket else f"http://{settings.killswitch_listen}")


def limits(settings: Settings) -> ServiceLimits:
    """Return the figures of the procedures."""
    production = settings.environment is Environment.PRODUCTION
    days = {name: descriptor.rotation_days for name, descriptor in DESCRIPTORS.items()}
    return ServiceLimits(
        rotation_default_days=days, rotation_modes={name: one.rotation.mode for name, one in DESCRIPTORS.items()},
        rotation_acts={name: able for name, one in DESCRIPTORS.items() if (able := acts(one))},
        rotation_places={name: place_names(one) for name, one in DESCRIPTORS.items()},
        provider_pages={name: one.docs_url for name, one in DESCRIPTORS.items()},
        exchanges=exchanges(settings.provider_urls),
        profile_rekey_days=settings.profile_rekey_days,
        kek_rotation_days=settings.kek_rotation_days, kek_owner=settings.kek_owner,
        approval_hold_s=settings.approval_hold_hours * 3600,
        app_secret_rotation_days=settings.app_secret_rotation_days,
        console_origin=settings.console_origin,
        sso=urlsplit(settings.sso_issuer).hostname or "", sso_groups=settings.sso_groups,
        backup_hours=settings.backup_hours if settings.backup_recipients or production else 0,
        drills=bool(settings.embedded_store and settings.embedded_database),
    )  # fmt: skip


def store_http(settings: Settings) -> BaoHttp:
    """Return the connection to the secret store, under no identity."""
    return BaoHttp(store_address(settings), ca_file=settings.file("store_ca_file"))


def emergency_of(settings: Settings) -> Emergency:
    """Return what frees the disk reserves if an act that must be recorded finds the disk full."""
    return Emergency(Reserves(settings.home, store_audit_files(settings).values()))


async def require_production_release(db: PostgresDatabase, environment: Environment) -> None:
    """Keep production from using a PostgreSQL that lacks known fixes; elsewhere `byokeep doctor` says so."""
    if environment is Environment.PRODUCTION:
        await require_release(db)


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
    """Build ``byokeep web``'s ports; close them at the end."""
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(database(settings, "byokeep_web"))
        login = await _login(stack, settings, "web")
        await require_production_release(db, settings.environment)
        await must_fit(db)
        found = await bootstrap.installation(db, SystemIds(), settings.environment)
        yield WebApp(
            **_common(settings, db, found.id),
            intake=ports.BaoIntake(login),
            scan_key=ports.BaoScanKey(login),
            token_key=await _token_key(login),
            check_format=check_secret,
            check_admin=check_admin,
            platform_urls=settings.platform_urls,
            settings=shown(settings),
        )


@asynccontextmanager
async def broker_app(settings: Settings) -> AsyncIterator[BrokerApp]:
    """Build ``byokeep broker``'s ports; close them at the end."""
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(database(settings, "byokeep_broker", pool_size=16))
        login = await _login(stack, settings, "broker")
        nodes = _nodes(stack, settings, login)
        found = await _known_installation(db, settings.environment)
        beside = settings.path("checkpoint_dir").absolute()
        checkpoints, tombstones = CheckpointDirectory(beside, origin=f"byokeep/{found}"), TombstoneFile(beside)
        stack.callback(checkpoints.close)
        stack.callback(tombstones.close)
        yield BrokerApp(
            **_common(settings, db, found),
            signer=ports.TransitSigner(login),
            cutoff=ports.EntityCutoff(login, confirm=nodes.confirm if nodes else None),
            store_audit=FileStoreAudit(login, store_audit_files(settings), nodes=nodes.all if nodes else None),
            store_health=ports.ProbedStoreHealth(login.http, login),
            checkpoints=checkpoints,
            token_key=await _token_key(login),
            machine_key=await _token_key(login, MACHINE_KEY_PATH),
            store_address=store_address(settings),
            artifacts=artifact_store(settings),
            records=ports.BaoProfileRecords(login),
            tombstones=tombstones,
            glass=BaoBreakGlass(login),
            drill=(settings.home / DRILL).exists(),
        )


@asynccontextmanager
async def sso(settings: Settings, clock: Clock) -> AsyncIterator[SsoCheck | None]:
    """Yield the OpenID provider at which people sign in, if there is one."""
    if not settings.sso_issuer:
        yield None
        return
    from byokeep.adapters.openid import OpenIdProvider  # noqa: PLC0415 - a library that few need

    async with Outbound() as http:
        yield OpenIdProvider(
            http, clock, issuer=settings.sso_issuer, client_id=settings.sso_client_id,
            secret=lambda: Secret(read_private(credentials(settings, "sso.secret")).strip()),
            redirect=settings.console_origin + SSO_REDIRECT, scopes=settings.sso_scopes,
            groups_claim=settings.sso_groups_claim, acr=settings.sso_acr,
        )  # fmt: skip


@asynccontextmanager
async def kill_app(settings: Settings) -> AsyncIterator[KillApp]:
    """Build ``byokeep killswitch``'s ports; close them at the end."""
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(database(settings, "byokeep_killswitch", pool_size=4))
        login = await _login(stack, settings, "killswitch")
        nodes = _nodes(stack, settings, login)
        yield KillApp(
            **_common(settings, db, await _known_installation(db, settings.environment)),
            cutoff=ports.EntityCutoff(login, confirm=nodes.confirm if nodes else None),
            store_health=ports.ProbedStoreHealth(login.http, login),
            token_key=await _token_key(login),
            machine_key=await _token_key(login, MACHINE_KEY_PATH),
        )


async def panic_cutoff(stack: AsyncExitStack, settings: Settings) -> ports.EntityCutoff:
    """Return the kill process's way to cut off, which needs only the store."""
    http = await stack.enter_async_context(store_http(settings))
    login = AppRoleLogin(http, credentials(settings, "killswitch.approle"))
    stack.push_async_callback(login.close)
    nodes = _nodes(stack, settings, login)
    return ports.EntityCutoff(login, confirm=nodes.confirm if nodes else None)


@asynccontextmanager
async def kill_lane(settings: Settings, app: K, role: str) -> AsyncIterator[K]:
    """Yield ``app`` over a few database connections of its own, which only the kill switch is given."""
    async with database(settings, role, pool_size=4) as db:
        yield replace(app, db=db)


@asynccontextmanager
async def worker_app(
    settings: Settings, memory: Rooms
) -> AsyncIterator[tuple[Queue, WorkerApp, ProfileApp | None, KekApp, NotifyApp]]:
    """Build ``byokeep worker``'s queue (not opened) and ports; close them at the end.

    Args:
        memory: Where plain profiles are kept, prepared while the process had one thread.
    """
    async with AsyncExitStack() as stack:
        hasher, custodian = _account_hasher(settings), _custodian(settings)
        app, common = await _keys_app(stack, settings, await stack.enter_async_context(Outbound()))
        keks = KekApp(**common, artifacts=artifact_store(settings), custodian=custodian)
        profiles = _profile_app(settings, common, memory, custodian, hasher)
        out = notifier(settings)
        notify = NotifyApp(**common, targets=out.names, send=out.send)
        yield build_app(database_url(settings, "byokeep_worker")), app, profiles, keks, notify


async def _keys_app(stack: AsyncExitStack, settings: Settings, http: Outbound) -> tuple[WorkerApp, dict[str, Any]]:
    """Return the worker's ports for keys, and what all of its Apps have."""
    loopback, hasher = settings.environment is not Environment.PRODUCTION, _account_hasher(settings)
    db = await stack.enter_async_context(database(settings, "byokeep_worker"))
    common = _common(settings, db, await _known_installation(db, settings.environment))

    async def ask(provider: Provider, secret: Secret, *, short_lived: bool = False) -> CheckOutcome:
        return await identify(
            DESCRIPTORS[provider.value], secret, base_url=settings.provider_urls.get(provider.value), http=http,
            account_hasher=hasher, allow_loopback=loopback, short_lived=short_lived,
        )  # fmt: skip

    app = WorkerApp(
        **common, custodian=_custodian(settings), search_logs=_log_files(settings).search, identify=noted(ask),
        issuer=ProviderIssuer(DESCRIPTORS, http, urls=settings.provider_urls, allow_loopback=loopback),
        swap=swapper(common["limits"]), identify_token=noted(partial(ask, short_lived=True)),
    )  # fmt: skip
    return app, common


@asynccontextmanager
async def drill_apps(settings: Settings, http: Outbound) -> AsyncIterator[tuple[WorkerApp, RefresherApp, KekApp]]:
    """Build the ports with which a recovery drill asks who each credential is; ``http`` decides what may be asked."""
    async with AsyncExitStack() as stack:
        app, common = await _keys_app(stack, settings, http)
        keks = KekApp(**common, artifacts=artifact_store(settings), custodian=_custodian(settings))
        yield app, _accounts_app(stack, settings, common, http, _account_hasher(settings)), keks


def identity_urls(settings: Settings) -> dict[tuple[str, str], str]:
    """Return each read-only identity call, (method, address without its query) -> name; also every platform's."""
    loopback = settings.environment is not Environment.PRODUCTION
    found = {}
    for name, one in DESCRIPTORS.items():
        url, _ = resolve(one, settings.provider_urls.get(name), allow_loopback=loopback)
        found["GET", url.partition("?")[0]] = one.endpoint
    return found | identity_calls(settings.platform_urls)


def _profile_app(
    settings: Settings, common: dict[str, Any], memory: Rooms, custodian: BrokerCustodian, digest: Callable[[str], str]
) -> ProfileApp | None:
    """Return the worker's ports for profiles; None if the extra for browsers is not installed.

    Raises:
        Rejected, Unavailable: As :func:`artifact_store`; ``bad_website_file``; ``sealing_self_test_failed``.
    """
    try:  # Chromium and Tink, which no other process needs
        from byokeep.browser.rooms import ProfileRooms, sites  # noqa: PLC0415
        from byokeep.sealing.sealer import Sealer  # noqa: PLC0415
    except ModuleNotFoundError:
        return None
    notes = windows(settings)
    notes.clear()
    return ProfileApp(
        **common,
        custodian=custodian,
        sealer=Sealer(),
        artifacts=artifact_store(settings, may_remove=True),
        rooms=ProfileRooms(memory, sites(settings.website_urls, settings.file("websites_dir"))),
        notes=notes,
        proofs=ProofFiles(settings.path("proofs_dir").absolute()),
        owner=SystemIds().uuid(),
        digest=digest,
    )


@asynccontextmanager
async def host_app(
    settings: Settings, work: Mapping[str, Callable[[Run], Awaitable[int]]] = MappingProxyType({})
) -> AsyncIterator[tuple[HostApp, HostApp]]:
    """Build this host's ports: for whoever works on its procedures, and for whoever starts them."""
    async with database(settings, "byokeep_worker") as db, database(settings, "byokeep_broker") as starting:
        app = HostApp(**_common(settings, db, await _known_installation(db, settings.environment)), work=work)
        yield app, replace(app, db=starting)


@asynccontextmanager
async def refresher_app(settings: Settings) -> AsyncIterator[RefresherApp]:
    """Build ``byokeep refresher``'s ports; close them at the end."""

    async with AsyncExitStack() as stack:
        digest = _account_hasher(settings)
        db = await stack.enter_async_context(database(settings, "byokeep_worker"))
        common = _common(settings, db, await _known_installation(db, settings.environment))
        yield _accounts_app(stack, settings, common, await stack.enter_async_context(Outbound()), digest)


def _accounts_app(
    stack: AsyncExitStack, settings: Settings, common: dict[str, Any], http: Outbound, digest: Callable[[str], str]
) -> RefresherApp:
    slots = SlotDirectory(settings.path("slots_dir").absolute(), common["installation_id"])
    stack.callback(slots.close)
    return RefresherApp(
        **common, custodian=_custodian(settings), slots=slots, owner=slots.owner, logins=logins(),
        platform=asker(http, SystemClock().now, settings.platform_urls), digest=digest,
    )  # fmt: skip


def _common(settings: Settings, db: PostgresDatabase, installation: UUID) -> dict[str, Any]:
    """Return what every App has."""
    return {
        "db": db, "clock": SystemClock(), "ids": SystemIds(), "installation_id": installation,
        "environment": settings.environment, "limits": limits(settings), "procedures": PROCEDURES,
    }  # fmt: skip


def custodian_settings(settings: Settings) -> ClientSettings:
    """Return the settings with which the worker and the refresher call the broker."""
    return ClientSettings(
        broker_url=broker_url(settings), runner_token_file=credentials(settings, "worker.token"),
        broker_ca_file=settings.file("broker_ca_file"), store_ca_file=settings.file("store_ca_file"),
    )  # fmt: skip


def _custodian(settings: Settings) -> BrokerCustodian:
    return BrokerCustodian(custodian_settings(settings), settings.environment)


def _account_hasher(settings: Settings) -> Callable[[str], str]:
    return account_hasher(Secret(read_private(credentials(settings, ACCOUNT_KEY))))


def _log_files(settings: Settings) -> LogFiles:
    place = settings.path("log_dir")
    names = ["web.log", "broker.log", "worker.log", "refresher.log"]
    kill_runs = settings.embedded_store or (place / "killswitch.log").exists()  # one's own servers may do without
    names += ["killswitch.log"] if kill_runs else []
    names += ["breakglass.log"] if (place / "breakglass.log").exists() else []
    engines = ["openbao.log"] * settings.embedded_store + ["postgres.log"] * settings.embedded_database
    logs = [*(place / name for name in names), *(settings.home / "logs" / name for name in engines)]
    return LogFiles(logs=logs, spans=[place / "spans.jsonl"])


async def _login(stack: AsyncExitStack, settings: Settings, machine: str) -> AppRoleLogin:
    read_private(credentials(settings, f"{machine}.approle"))  # a missing identity says so, not that a server refuses
    http = await stack.enter_async_context(store_http(settings))
    await require_version(http)
    login = AppRoleLogin(http, credentials(settings, f"{machine}.approle"))
    stack.push_async_callback(login.close)
    return login


def _nodes(stack: AsyncExitStack, settings: Settings, login: AppRoleLogin) -> ports.StoreNodes | None:
    """Return the nodes of the store's cluster; the embedded store is one node."""
    if settings.embedded_store:
        return None
    nodes = ports.StoreNodes(
        login, ca_file=settings.file("store_ca_file"),
        outlived_s=LOGIN_LIFE_S + limits(settings).lease_token_ttl_s + _CLOCKS_S,
    )  # fmt: skip
    stack.push_async_callback(nodes.close)
    return nodes


async def _known_installation(db: PostgresDatabase, environment: Environment) -> UUID:
    await require_production_release(db, environment)
    await must_fit(db)
    found = await bootstrap.known_installation(db)
    if found.environment is not environment:
        raise Conflict("other_environment", next_step="Settings and data must name the same environment.",
                       stored=found.environment.value, configured=environment.value)  # fmt: skip
    return found.id
