"""Sealed profiles and keys of a running stack in numbers, as custody and the operators' API leave them."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import secrets
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pyrage

from byokeep.adapters.openbao.login import log_in
from byokeep.adapters.openbao.provisioning import generate_root, retire_roots
from byokeep.core.manifest import Packing
from byokeep.core.model import ClientId, Environment, ProfileId, Provider
from byokeep.core.ref import ProfileRef, SecretRef
from byokeep.core.secret import Secret
from byokeep.processes import restore, wiring
from byokeep.profiles.kek import KekApp, custody_of
from byokeep.profiles.kek_tasks import prepare, rotate
from byokeep.sealing.generation import Generation, Sealing, StoredGeneration
from byokeep.sealing.sealer import Sealer
from byokeep.sealing.transit import TransitKeys
from byokeep.settings import load
from byokeep.wire.bao_http import BaoHttp, read_secret
from byokeep_redact.canary import new_canary
from tests.support.cli import Shell
from tests.support.clusters import copied
from tests.support.disk import small_disk
from tests.support.sealing import Sink, account, manifest
from tests.support.stack import ForkedStack, World, running_stack

PROVIDERS = ("openai", "anthropic", "google", "openrouter", "kie")


@dataclass
class Vault:
    """The profiles of a stack, whose worker may be frozen."""

    world: World
    app: KekApp
    by: str

    async def seal(self, client: str, count: int = 1, size: int = 4000) -> dict[UUID, bytes]:
        """Seal profiles of random content; returns the SHA-256 of each content."""
        made: dict[UUID, bytes] = {}
        at = ClientId(UUID(client))
        async with custody_of(self.app, self.app.system(), at) as custody:
            await prepare(self.app, self.app.system(), custody.keys, at)
            for _ in range(count):
                profile, job, dek, content = uuid4(), uuid4(), uuid4(), secrets.token_bytes(size)
                about = manifest(
                    environment=Environment.DEVELOPMENT, client_id=at, profile_id=ProfileId(profile),
                    created_at=datetime.now(UTC).replace(microsecond=0), packing=Packing.PORTABLE,
                    accounts=(account(platform=Provider.X),),
                )  # fmt: skip
                sealing = Sealing(sealer=Sealer(), artifacts=self.app.artifacts, keys=custody.keys)
                record = await sealing.seal(about, dek, io.BytesIO(content))
                written = await custody.write(ProfileRef(at, profile), record.canonical, cas=0)
                await self.world.sql(
                    "INSERT INTO byokeep.job (id, client_id, dispatcher_id, runner_id, kind, secrets, state, closed_at,"
                    f" expires_at) VALUES ('{job}', '{client}', '{self.by}', '{self.by}', 'custody', '{{profile}}',"
                    " 'closed', now(), now() + interval '1 hour');"
                    "INSERT INTO byokeep.profile (id, client_id, packing, created_by, confirmed_at, confirmed_by,"
                    " state, generation, validated_generation, validated_at, epoch, due_at) VALUES"
                    f" ('{profile}', '{client}', 'portable', '{self.by}', now(), '{self.by}', 'valid', 1, 1, now(), 2,"
                    " now() + interval '30 days');"
                    "INSERT INTO byokeep.profile_generation (client_id, profile_id, generation, dek_id, holder, kek_id,"
                    " kek_version, blob_key, blob_sha256, blob_size, packed_size, manifest_hash, record_version,"
                    f" browser_version, key_state, sealed_by, job_id) VALUES ('{client}', '{profile}', 1, '{dek}',"
                    f" 'transit', '{record.kek.key_id}', {record.kek_version}, '{record.blob_key}',"
                    f" '\\x{record.blob_sha256.hex()}', {record.blob_size}, {record.packed_size},"
                    f" '\\x{about.hash.hex()}', {written.version}, '156.0.0.0', 'active', '{self.by}', '{job}')"
                )
                made[profile] = hashlib.sha256(content).digest()
        return made

    async def rotate(self, client: str, expected: int) -> None:
        """Make the next version of a client's KEK; what was sealed stays where it is."""
        await rotate(self.app, self.app.system(), ClientId(UUID(client)), expected=expected, reason="test")
        await self.world.sql("UPDATE byokeep.kek_rotation SET state = 'done', ended_at = now()")  # for the next one


@asynccontextmanager
async def vault_of(world: World) -> AsyncIterator[Vault]:
    """Work on a stack's profiles as its worker does."""
    settings: Any = world.stack.settings
    async with wiring.database(settings, "byokeep_worker") as db, wiring.broker_app(settings) as broker:
        app = KekApp(
            db=db, clock=broker.clock, ids=broker.ids, installation_id=broker.installation_id,
            environment=Environment.DEVELOPMENT, limits=broker.limits, artifacts=broker.artifacts,
            custodian=wiring._custodian(settings),
        )  # fmt: skip
        by = await world.sql("SELECT id FROM byokeep.subject WHERE 'custodian' = ANY (roles)")
        yield Vault(world, app, by)


async def keys_in_numbers(world: World, clients: int) -> dict[str, bytes]:
    """Put five keys of each of many new clients into store and database, verified; returns the values by path."""
    values: dict[str, bytes] = {}
    by = await world.sql("SELECT id FROM byokeep.subject ORDER BY created_at LIMIT 1")
    turn = asyncio.Semaphore(8)
    async with wiring.web_app(world.stack.settings) as web:

        async def put(client: str, provider: str) -> None:
            value = new_canary(provider)
            async with turn:
                await web.intake.put(SecretRef(ClientId(UUID(client)), Provider(provider)), Secret(value), cas=0)
            values[f"clients/{client}/providers/{provider}"] = value

        names = [str(uuid4()) for _ in range(clients)]
        await asyncio.gather(*(put(client, provider) for client in names for provider in PROVIDERS))
    columns = "id, client_id, provider, kind, environment, secret_ref, version, state, verification, risk, created_by"
    for client in names:
        place = f"vault://kv/clients/{client}/providers"
        refs = "".join(
            f", ('{uuid4()}', '{client}', '{name}', 'provider_api_key', 'development', '{place}/{name}', 1,"
            f" 'active', 'verified', 'standard', '{by}', now() + interval '90 days')"
            for name in PROVIDERS
        )
        await world.sql(
            "INSERT INTO byokeep.client (id, name, state, created_by) VALUES"
            f" ('{client}', 'Client {client[:8]}', 'active', '{by}');"
            f"INSERT INTO byokeep.credential_ref ({columns}, rotation_due_at) VALUES {refs[2:]}"
        )
    return values


@dataclass
class Restored:
    """What a restored stack holds, read with a root token: leases are refused for two minutes after a restore."""

    world: World
    http: BaoHttp
    root: Secret

    async def value(self, path: str, version: int = 1) -> bytes:
        """Return what lies at a path below ``kv/``."""
        return (await read_secret(self.http, self.root, f"kv/{path}", version, None)).reveal()

    async def opened(self, client: str, profiles: Sequence[UUID]) -> dict[UUID, bytes]:
        """Open the newest generation of profiles; returns the SHA-256 of what was in each."""
        found: dict[UUID, bytes] = {}
        at = ClientId(UUID(client))

        async def login() -> tuple[BaoHttp, Secret, str]:
            return self.http, Secret(self.root.reveal()), str(uuid4())

        async with wiring.broker_app(self.world.stack.settings) as app:
            async with app.db.begin(client_id=at) as tx:
                rows = {row.profile_id: row for row in await tx.all(Generation, "vault_generations", client_id=at)}
            keys = TransitKeys(login, Environment.DEVELOPMENT)
            sealing = Sealing(sealer=Sealer(), artifacts=app.artifacts, keys=keys)
            for profile in profiles:
                row, sink = rows[profile], Sink()
                record = await self.value(f"clients/{at}/profiles/{profile}", row.record_version)
                await sealing.unseal(record, row, Environment.DEVELOPMENT, sink, found=StoredGeneration())
                assert sink.visible is not None
                found[profile] = hashlib.sha256(sink.visible).digest()
        return found


@asynccontextmanager
async def restored_of(world: World) -> AsyncIterator[Restored]:
    """Read a restored stack with a root token, which ends afterwards."""
    store = wiring.embedded_store(world.stack.settings)
    async with BaoHttp(store.address) as http:
        provisioner, _ = await log_in(http, world.home / "credentials" / "provisioner.approle")
        root = await generate_root(http, provisioner, store.recovery_keys())
        try:
            yield Restored(world, http, root)
        finally:
            await retire_roots(http, root)


@dataclass
class Site:
    """A stack, its profiles, the offline key, and the disk on which copies of backups lie."""

    world: World
    vault: Vault
    shell: Shell
    identity: Path
    target: Path

    async def run(self, *words: str) -> tuple[int, Any]:
        ran = await self.shell.run("backup", *words, "--json")
        return ran.code, json.loads(ran.out) if ran.out else ran.err

    async def restored(self, file: str, home: Path, of: str = "", **more: Any) -> restore.Restored:
        keys = self.world.home / "keys"
        settings = load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0")
        outside = home.with_name(f"{home.name}-outside")
        shutil.copytree(self.world.home / "checkpoints", outside)
        given: dict[str, Any] = {
            "identity": self.identity, "seal_key": keys / "seal.key",
            "recovery_keys": sorted(keys.glob("recovery*.key")), "checkpoints": outside, "accept_loss": True,
        }  # fmt: skip
        what = restore.Brought(**given | more)
        try:
            with copied():
                done = await restore.restore(settings, file, what)
            # what another test left is another client's
            done.missing, done.orphans = ([one for one in said if of in one] for said in (done.missing, done.orphans))
            return done
        finally:
            shutil.rmtree(outside)

    @asynccontextmanager
    async def again(self, home: Path) -> AsyncIterator[tuple[World, Restored]]:
        """The restored stack, closed as it comes up."""
        stack = ForkedStack(load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0"))
        world = replace(self.world, home=home, stack=stack)
        async with AsyncExitStack() as ending:
            ending.push_async_callback(stack.stop)
            await stack.start()
            yield world, await ending.enter_async_context(restored_of(world))


@asynccontextmanager
async def site_of(place: Path) -> AsyncIterator[Site]:
    key = pyrage.x25519.Identity.generate()
    identity = place / "backup.key"
    identity.write_text(f"{key}\n")
    identity.chmod(0o600)
    with small_disk(place / "elsewhere", 64, mode="0700") as target:
        async with running_stack() as world:
            config = world.home / "config.toml"
            config.write_text(
                f'backup_recipients = "{key.to_public()}"\nbackup_target = "{target}"\n' + config.read_text()
            )
            async with vault_of(world) as vault:
                yield Site(world, vault, Shell(world.home), identity, target)
