"""What a recovery drill does with a backup, step by step: restored apart, compared, verified, publishing refused.

Rules
- It works on what it restored and holds no connection or credential of production, except one: sealed profiles in a
  bucket are read there, and nothing is written. What it restored has its own credentials and no network. If the system
  does not allow that, people must say that the network may be shared, or the drill fails.
- It is in drill mode before anything serves there. Then two people of the restored database release its kill switch, as
  the worst case: a database that says everything is on. The gate still refuses each effect.
- Only this process asks providers and platforms, and only who a credential belongs to. Every other address is refused
  here, token endpoints first of all. No token is renewed.
- Each step leaves evidence in ids, codes and counts. The first failure raises; what was found stays.

It may not tell anybody or write the result: :mod:`.drill` does.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from byokeep.accounts.model import OAuthGrant
from byokeep.accounts.refresher_app import RefresherApp, opened
from byokeep.adapters.openbao.provisioning import DRILL_PATH, SETTLE_S
from byokeep.breakglass import grants
from byokeep.client import ClientSettings, Keep
from byokeep.core import drill
from byokeep.core.drill import Fact
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, Unavailable
from byokeep.core.fault import Fault
from byokeep.core.model import Actor, ClientId, Lane, Provider, Role
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.jobs import switches
from byokeep.jobs.jobs import in_custody
from byokeep.kernel.app import BrokerApp, WorkerApp
from byokeep.kernel.durable_write import durable_write
from byokeep.kernel.store_recording import probe
from byokeep.platforms.client import PlatformClient
from byokeep.process import Progress, clean_environment, end, spawn, to_its_end
from byokeep.processes import wiring
from byokeep.processes.isolated import NETWORK
from byokeep.processes.restore import Brought, Restored, restore
from byokeep.processes.supervisor import Say, readiness, started
from byokeep.profiles.kek import KekApp, custody_of
from byokeep.profiles.openings import unseal
from byokeep.sealing.generation import Generation, Sealing, StoredGeneration
from byokeep.settings import DRILL, Settings, to_toml
from byokeep.tenancy.scopes import GLOBAL, scope_from_name
from byokeep.wire.bao_http import BaoHttp
from byokeep.wire.transport import Outbound, Transport, not_allowed

_REASON: Final = "recovery_drill"
_RELEASED_WITHIN_S: Final = 60.0
_EXPIRED: Final = "expired"
# What a drill's home takes from production's settings: nothing that names a place, a port or a target.
_TAKEN: Final = (
    "environment", "store_program", "store_program_sha256", "log_level", "approval_hold_hours", "provider_urls",
    "platform_urls", "website_urls", "artifact_endpoint", "artifact_ca_file", "artifact_credentials_file",
)  # fmt: skip


class Egress(Outbound):
    """The only way out of a drill.

    Args:
        allowed: (method, address without its query) -> name of the call.
    """

    def __init__(self, allowed: Mapping[tuple[str, str], str]) -> None:
        super().__init__()
        self._allowed = allowed
        self.asked: Counter[str] = Counter()

    def ask(self, method: str, url: str, **more: Any) -> Any:
        """Do as :meth:`Outbound.ask` does. Raises Rejected(``host_not_allowed``): not an identity call."""
        name = self._allowed.get((method, url.partition("?")[0]))
        if name is None:
            raise not_allowed()
        self.asked[name] += 1
        return super().ask(method, url, **more)


class _Measured:
    """Takes a profile that is opened, and keeps only its size."""

    def __init__(self) -> None:
        self.size = 0
        self.whole = False

    def write(self, data: memoryview, /) -> object:
        self.size += len(data)
        return None

    def commit(self) -> object:
        self.whole = True
        return None

    def abort(self) -> object:
        return None


@dataclass(slots=True, kw_only=True)
class Drilled:
    """A backup under a drill.

    Attributes:
        place: A directory for the drill only, which the first step makes.
        file: The backup.
        brought: What people bring to a restore; ``checkpoints`` is production's directory.
        evidence: The evidence of the step under way.
    """

    production: Settings
    place: Path
    file: Path
    brought: Brought
    seed: int
    say: Say
    shared_network: bool = False
    evidence: dict[str, Fact] = field(default_factory=dict)
    restored: Restored | None = None
    network: str = "unknown"
    clients: list[UUID] = field(default_factory=list)
    newest: datetime | None = None
    restored_at: float = 0.0
    pid: int = 0
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def settings(self) -> Settings:
        """Return the settings of the drill's home."""
        taken = {name: getattr(self.production, name) for name in _TAKEN}
        home = self.place.absolute() / "home"
        if self.production.artifact_store.startswith("s3://"):
            taken["artifact_store"] = self.production.artifact_store
        settings = replace(Settings(), home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0", **taken)
        return replace(settings, broker_url=f"unix://{wiring.drill_socket(settings)}")

    @property
    def acts(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return what each step does, in order."""
        acts = (self._restore, self._refs, self._verify, self._publish, self._glass)
        return dict(zip(drill.STEPS, acts, strict=True))

    async def close(self) -> None:
        """End everything that the drill started."""
        await self._stack.aclose()

    async def _restore(self) -> None:
        outside, lost = self.place / "checkpoints", self.brought.checkpoints
        assert lost is not None  # noqa: S101 - for the type checker
        self.place.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700)
        await to_its_end(asyncio.to_thread(_copied, lost, outside))
        settings = self.settings
        self.restored = await restore(settings, str(self.file), replace(self.brought, checkpoints=outside))
        self.restored_at = time.monotonic()
        self.evidence |= {"backup": str(self.restored.manifest.id), "stopped_again": self.restored.again}
        durable_write(settings.home / DRILL, b"", mode=0o600)
        await self._serve(settings)
        async with wiring.broker_app(settings) as app:
            devices = await probe(app)
        recording = sum(device.records for device in devices)
        self.evidence |= {"store": "unsealed", "audit_devices": recording}
        if not recording:
            raise Unavailable(
                "audit_not_recording", next_step="The restored store records nothing: check its audit device."
            )

    async def _serve(self, settings: Settings) -> None:
        config, logs = settings.home / "run-settings.toml", settings.path("log_dir")
        durable_write(config, to_toml(settings).encode())
        command = [sys.executable, "-Pm", "byokeep.processes.isolated", str(config)]
        process = spawn(command, logs / "drill.err", env=clean_environment())
        self.pid = process.pid
        self._stack.push_async_callback(end, process, 30.0)
        async with Transport(str(wiring.drill_socket(settings))) as http:
            look = lambda: readiness(http, "http://broker")  # noqa: E731
            await started("drill", process, look, log_dir=logs, say=self.say, progress=Progress())
        self.network = await asyncio.to_thread(network_of, settings.home)
        self.evidence["network"] = self.network
        if self.network != "none" and not self.shared_network:
            step = (
                "Allow user namespaces here, or run it as root. Or give --shared-network, which the report then names."
            )
            raise Unavailable("network_not_apart", next_step=step)

    async def _refs(self) -> None:
        assert self.restored is not None  # noqa: S101 - for the type checker
        restored, heads = self.restored, self.restored.manifest.heads
        async with wiring.broker_app(self.settings) as app:
            refs = await app.db.read(dict, "backup_refs", {}, every_client=True)
            about = {"chains": [head.chain for head in heads], "seqs": [head.seq for head in heads]}
            ((self.newest,),) = await app.db.read(_at, "drill_newest", about, every_client=True)
        missing, orphans = _words(restored.missing), _words(restored.orphans)
        self.evidence |= {"refs": sum(ref["used"] for ref in refs), "dangling": missing, "orphans": orphans}
        if missing:
            step = "The backup of the store or the artifacts lacks what the database names. See the report."
            raise Integrity("refs_dangling", next_step=step, count=len(restored.missing))

    async def _verify(self) -> None:
        app = await self._stack.enter_async_context(wiring.broker_app(self.settings))
        await self._release(app)
        egress = Egress(wiring.identity_urls(self.settings))
        found = await app.db.read(UUID, "drill_clients", {}, every_client=True)
        if len(found) < drill.CLIENTS:
            self.evidence["clients"] = len(found)
            step = f"A drill verifies {drill.CLIENTS} active clients that have a key. Add what is missing."
            raise Conflict("too_few_clients", next_step=step, clients=len(found))
        # The leases have had another key since the restore, and the store refuses them until it has settled.
        await asyncio.sleep(self.restored_at + SETTLE_S + 2.0 - time.monotonic())
        self.clients = random.Random(self.seed).sample(found, drill.CLIENTS)  # noqa: S311 - to be drawn again by anybody
        refused: list[str] = []
        expired: list[str] = []
        async with egress, wiring.drill_apps(self.settings, egress) as (keys, accounts, keks):
            verified = 0
            for client in map(ClientId, self.clients):
                serve, ended, not_good = sorted_out(
                    client, await _keys(keys, client) | await _accounts(accounts, client)
                )
                verified, expired, refused = verified + serve, expired + ended, refused + not_good
            self.evidence |= {"clients": len(self.clients), "credentials": verified}
            self.evidence |= {"expired": _words(expired), "refused": _words(refused)}
            self.evidence |= await self._profile(keks, found)
        self.evidence["egress"] = [f"{name}:{count}" for name, count in sorted(egress.asked.items())]
        if refused:
            step = "See the report: these restored credentials do not work, or could not be checked."
            raise Integrity("client_not_verified", next_step=step, count=len(refused))

    async def _profile(self, keks: KekApp, everybody: list[UUID]) -> dict[str, Fact]:
        """Open a sealed profile: a chosen client's if any has one, else another's."""
        others = [one for one in everybody if one not in self.clients]
        for client in map(ClientId, (*self.clients, *others)):
            rows = await keks.db.read(Generation, "vault_generations", {"client_id": client}, client_id=client)
            for row in reversed(rows):
                if row.gone_at is None and row.key_state in ("active", "deactivated"):
                    return await _opened(keks, client, row, rows)
        return {"profiles_opened": 0, "profile": "none_sealed"}

    async def _release(self, app: BrokerApp) -> None:
        """Let two people of the restored database release everything: the worst that it could say."""
        asks, gives = await _people(app)
        wish = await switches.request_open(app, asks, scope_from_name(GLOBAL), _REASON)
        deadline = app.clock.monotonic() + _RELEASED_WITHIN_S
        while True:
            try:
                await switches.approve_open(app, gives, wish.id)
                break
            except Conflict as error:  # the broker's round has not yet confirmed the close at the store
                if error.code != "cut_off_pending" or app.clock.monotonic() > deadline:
                    raise
            wish = await switches.request_open(app, asks, scope_from_name(GLOBAL), _REASON)
            await asyncio.sleep(1)
        self.evidence["switch"] = "released"

    async def _publish(self) -> None:
        settings, asked = self.settings, 0
        place = wiring.credentials(settings)
        own = ClientSettings(
            broker_url=settings.broker_url, runner_token_file=place / "runner.token",
            dispatcher_token_file=place / "dispatcher.token", timeout_s=10,
        )  # fmt: skip
        async with wiring.broker_app(settings) as app, Keep(own) as keep:
            for client in self.clients:
                async with app.db.begin(client_id=ClientId(client)) as tx:
                    (key, *_) = await tx.all(dict, "drill_keys", client_id=client)
                    accounts = await tx.all(dict, "drill_accounts", client_id=client)
                account = accounts[0] if accounts else {"platform": "x", "account": "drill"}
                for lane in Lane:
                    asked += await _refused(keep, client, key["provider"], account, lane)
        self.evidence |= {"asked": asked, "refused": asked, "cause": "disaster_recovery_drill"}

    async def _glass(self) -> None:
        async with wiring.broker_app(self.settings) as app:
            await app.store_health.probe()
            await probe(app)
            app.platform_chain.proved(app.clock.monotonic())
            asks, gives = await _people(app)
            grant = await grants.request(
                app, asks, ClientId(self.clients[0]), scope="drill", reason="drill", ticket="recovery-drill", life_s=60
            )
            await grants.approve(app, gives, grant.id)
            given = await grants.open_glass(app, asks, grant.id)
            async with BaoHttp(app.store_address) as http:
                reply = await http.request("POST", "sys/wrapping/unwrap", token=Secret(given.token))
                with Secret(reply.auth["client_token"]) as token:
                    await http.request("GET", DRILL_PATH, token=token)
        self.evidence |= {"grant": str(grant.id), "marker": "read"}


async def _keys(app: WorkerApp, client: ClientId) -> dict[str, str]:
    """Ask each provider about the client's key; returns an empty code for each key that serves."""
    rows = await app.db.read(dict, "drill_keys", {"client_id": client}, client_id=client)
    told = {}
    for row in rows:
        provider = Provider(row["provider"])
        try:
            at = app.custodian
            async with in_custody(app, at.open, at.close, client, provider.value) as custody:
                with await custody.read(SecretRef(client, provider), row["version"]) as value:
                    found = await app.identify(provider, value)
            told[provider.value] = "" if found.verified else found.status.value
        except ByokeepError as error:
            told[provider.value] = error.code
    return told


async def _accounts(app: RefresherApp, client: ClientId) -> dict[str, str]:
    """Ask each platform whose the client's access tokens are; none is renewed. Returns as :func:`_keys`."""
    rows = await app.db.read(OAuthGrant, "drill_grants", {"client_id": client}, client_id=client)
    told = {}
    for grant in rows:
        try:
            async with opened(app, grant) as (_, platform, tokens):
                code = await whose(platform, tokens, grant.external_id, app.clock.now())
        except ByokeepError as error:
            code = error.code
        told[f"{grant.login}/{grant.account_id}"] = code
    return told


async def whose(platform: PlatformClient, tokens: TokenSet, external_id: str, now: datetime) -> str:
    """Ask whose an access token is, unless it has expired; returns as :func:`_keys`."""
    if tokens.access_expires_at is not None and tokens.access_expires_at <= now:
        return _EXPIRED
    found = await platform.identify(tokens)
    if isinstance(found, Fault):
        return found.cause.value
    return "" if any(one.account_id == external_id for one in found) else "another_account"


def sorted_out(client: ClientId, told: Mapping[str, str]) -> tuple[int, list[str], list[str]]:
    """Return how many credentials serve, which have expired, and which are refused; none that serves is a refusal."""
    named = {f"{client}/{name}:{code}": code for name, code in told.items()}
    serve = list(told.values()).count("")
    refused = [name for name, code in named.items() if code not in ("", _EXPIRED)]
    nothing = [] if serve else [f"{client}:nothing_verified"]
    return serve, [name for name, code in named.items() if code == _EXPIRED], refused + nothing


async def _opened(app: KekApp, client: ClientId, row: Generation, rows: list[Generation]) -> dict[str, Fact]:
    from byokeep.sealing.sealer import Sealer  # noqa: PLC0415 - what no installation without profiles has

    taken = _Measured()
    async with custody_of(app, app.system(), client) as custody:
        sealing = Sealing(sealer=Sealer(), artifacts=app.artifacts, keys=custody.keys)
        own = [one for one in rows if one.profile_id == row.profile_id]
        await unseal(sealing, custody, row, app.environment, taken, found=StoredGeneration(), others=own)
    if not taken.whole:
        raise Integrity("profile_not_opened", profile=row.profile_id)
    return {"profiles_opened": 1, "profile": str(row.profile_id), "profile_bytes": taken.size}


async def _refused(keep: Keep, client: UUID, provider: str, account: Mapping[str, Any], lane: Lane) -> int:
    """Try to publish; returns 1 if it is refused because this is a drill. Raises Integrity."""
    work = keep.job(client=client, secrets=[provider], platforms=[account["platform"]], effects=["publish"],
                    lanes=[lane.value])  # fmt: skip
    code = "permitted"
    try:
        async with (
            work as job,
            job.effect("publish", platform=account["platform"], account=account["account"], lane=lane.value,
                       key=f"drill-{uuid4()}"),
        ):  # fmt: skip
            pass  # nothing is sent, whatever the gate says
    except Denied as refusal:
        code = refusal.code
    if code != "disaster_recovery_drill":
        step = "The gate let an effect of a drill through, or refused it for another reason. Do not use this release."
        raise Integrity("publish_not_refused", next_step=step, answer=code)
    return 1


async def _people(app: BrokerApp) -> tuple[Actor, Actor]:
    """Return an operator and an approver of the restored database. Raises Conflict(``no_two_people``)."""
    ((asks, gives),) = await app.db.read(
        lambda row: (row["operator"], row["approver"]), "drill_people", {}, every_client=True
    )
    if asks is None or gives is None:
        step = "The backup has no active operator and approver of all clients, so nobody could open what it holds."
        raise Conflict("no_two_people", next_step=step)

    def acting(one: str, role: Role) -> Actor:
        return Actor(id=UUID(one), roles=frozenset({role}), clients=None, request_id=app.ids.uuid())

    return acting(asks, Role.OPERATOR), acting(gives, Role.APPROVER)


def network_of(home: Path) -> str:
    """Return which network a drill's process has, as it said in its home: one of :data:`drill.NETWORKS`."""
    try:
        theirs, ours = (home / NETWORK).read_text(), str(Path("/proc/self/ns/net").readlink())
    except OSError:  # no such system, or it does not say
        return "unknown"
    return "shared" if theirs == ours else "none"


def _copied(place: Path, outside: Path) -> None:
    """Copy production's checkpoints, which continue meanwhile: the last published go last."""
    shutil.copytree(place, outside)
    shutil.copyfile(place / "epochs.jsonl", outside / "epochs.jsonl")


def _at(row: Mapping[str, Any]) -> tuple[datetime | None]:
    return (row["at"],)


def _words(named: list[str]) -> list[str]:
    return [re.sub(r"^[^a-z0-9]|[^A-Za-z0-9_.:/,+ -]", "_", one)[:200] for one in named[:1000]]
