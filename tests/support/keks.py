"""Sealed generations with real wrapped keys, and a worker that looks after them, on a broker's stand."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.client import ClientSettings
from byokeep.core.kek import KekScope, KeyContext, Wrapped
from byokeep.core.manifest import Packing
from byokeep.core.model import Actor, ClientId, Environment, ProfileId, Provider, Role
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import SealedRecord, parse_record
from byokeep.core.secret import Secret
from byokeep.profiles.kek import KekApp, ProfileCustody, custody_of
from byokeep.profiles.kek_tasks import end_versions, prepare
from byokeep.worker.ports import BrokerCustodian
from tests.support.broker import Stand
from tests.support.sealing import account, manifest

HERE = Environment.DEVELOPMENT
BLOB = b"sealed bytes that nobody here opens"


@dataclass
class Keys:
    """A worker on a stand, the people, and what was sealed: DEK id -> the DEK."""

    stand: Stand
    app: KekApp
    deks: dict[UUID, bytes] = field(default_factory=dict)

    def person(self, role: str = "operator") -> Actor:
        return Actor(id=self.stand.people[role].id, roles=frozenset({Role(role)}), clients=None, request_id=uuid4())

    @property
    def system(self) -> Actor:
        return self.app.system()

    def scope(self, client: UUID) -> KekScope:
        return KekScope(environment=HERE, client_id=ClientId(client))

    def custody(self, client: UUID) -> Any:
        return custody_of(self.app, self.system, ClientId(client))

    def sql(self, statement: str) -> str:
        return self.stand.db.sql(statement)

    async def client(self) -> ClientId:
        return ClientId(await self.stand.client())

    async def kek(self, client: UUID) -> int:
        """Make the client's key if there is none; returns the version that protects."""
        async with self.custody(client) as custody:
            return (await prepare(self.app, self.system, custody.keys, ClientId(client))).version

    async def profile(self, client: UUID, *, generations: int = 1, platform: str = "x") -> UUID:
        """A profile with sealed generations, each with a key of its own."""
        async with self.custody(client) as custody:
            return (await self.profiles(custody, client, 1, generations=generations, platform=platform))[0]

    async def profiles(
        self, custody: ProfileCustody, client: UUID, count: int, *, generations: int = 1, platform: str = "x"
    ) -> list[UUID]:
        version = (await prepare(self.app, self.system, custody.keys, ClientId(client))).version
        made, by = [], self.stand.people["custodian"].id
        for _ in range(count):
            profile, job = uuid4(), uuid4()
            statements = [
                "INSERT INTO byokeep.job (id, client_id, dispatcher_id, runner_id, kind, secrets, state, closed_at,"
                f" expires_at) VALUES ('{job}', '{client}', '{by}', '{by}', 'custody', '{{profile}}', 'closed', now(),"
                " now() + interval '1 hour')",
                "INSERT INTO byokeep.profile (id, client_id, packing, created_by, confirmed_at, confirmed_by, state,"
                " generation, validated_generation, validated_at, epoch, due_at) VALUES"
                f" ('{profile}', '{client}', 'portable', '{by}', now(), '{by}', 'valid', {generations}, {generations},"
                " now(), 2, now() + interval '30 days')",
                *self._accounts(client, profile, platform),
            ]
            for generation in range(1, generations + 1):
                record, written = await self._sealed(custody, client, profile, generation, version)
                state = "active" if generation == generations else "deactivated"
                statements.append(
                    "INSERT INTO byokeep.profile_generation (client_id, profile_id, generation, dek_id, holder, kek_id,"
                    " kek_version, blob_key, blob_sha256, blob_size, packed_size, manifest_hash, record_version,"
                    f" browser_version, key_state, sealed_by, job_id) VALUES ('{client}', '{profile}', {generation},"
                    f" '{record.dek_id}', 'transit', '{record.kek.key_id}', {record.kek_version}, '{record.blob_key}',"
                    f" '\\x{record.blob_sha256.hex()}', {record.blob_size}, 9, '\\x{record.manifest.hash.hex()}',"
                    f" {written}, '156.0.0.0', '{state}', '{by}', '{job}')"
                )
                if state != "active":
                    statements.append(self._moved(client, profile, record.dek_id, generation, by))
            self.sql(";".join(statements))
            made.append(profile)
        return made

    def _accounts(self, client: UUID, profile: UUID, platform: str) -> Sequence[str]:
        if not platform:
            return ()
        name = f"acme{profile.hex[:8]}"
        one = self.stand.account(client, platform=platform, account=name, lanes="browser")
        return (
            "INSERT INTO byokeep.profile_account (client_id, profile_id, account_id, platform) VALUES"
            f" ('{client}', '{profile}', '{one}', '{platform}')",
        )

    @staticmethod
    def _moved(client: UUID, profile: UUID, dek: UUID, generation: int, by: UUID) -> str:
        said = (
            f'{{"actor":"{by}","client":"{client}","event":"dek.state_changed","fields":{{"dek":"{dek}",'
            f'"state_from":"active","state_to":"deactivated"}},"object":"{profile}","outcome":"ok","request":"{by}",'
            '"roles":["custodian"],"v":1}'
        )
        return (
            "INSERT INTO byokeep.vault_key_transition (id, client_id, kind, key_id, version, state_from, state_to,"
            f" reason, by) VALUES ('{uuid4()}', '{client}', 'dek', '{dek}', {generation}, 'active', 'deactivated',"
            f" 'superseded', '{by}');"
            "UPDATE byokeep.audit_vocabulary SET writers = writers || session_user::text"
            " WHERE event = 'dek.state_changed' AND NOT session_user::text = ANY (writers);"
            f"SELECT byokeep.audit_append('{client}', 'dek.state_changed', '{by}', '{profile}', '{by}', 'ok',"
            f" convert_to('{said}', 'UTF8'))"
        )

    async def _sealed(
        self, custody: ProfileCustody, client: UUID, profile: UUID, generation: int, version: int
    ) -> tuple[SealedRecord, int]:
        dek, dek_id, ref = secrets.token_bytes(32), uuid4(), ProfileRef(ClientId(client), profile)
        wrapped = await custody.keys.wrap(Secret(dek), self.context(client, profile))
        assert wrapped.kek_version == version
        about = manifest(
            environment=HERE, client_id=ClientId(client), profile_id=ProfileId(profile), generation=generation,
            accounts=(account(platform=Provider.X),), created_at=datetime.now(UTC).replace(microsecond=0),
            packing=Packing.PORTABLE,
        )  # fmt: skip
        record = SealedRecord(
            manifest=about, dek_id=dek_id, wrapped_dek=wrapped.ciphertext, kek=wrapped.key_ref,
            kek_version=wrapped.kek_version, blob_sha256=hashlib.sha256(BLOB + dek_id.bytes).digest(),
            blob_size=len(BLOB), packed_size=9,
        )  # fmt: skip
        self.deks[dek_id] = dek
        written = await custody.write(ref, record.canonical, cas=generation - 1)
        return record, written.version

    @staticmethod
    def context(client: UUID, profile: UUID) -> KeyContext:
        return KeyContext(environment=HERE, client_id=ClientId(client), profile_id=profile)

    async def end(self, client: UUID, version: int) -> int:
        """End a version as an approver asked for it; returns how many tombstones that made."""
        return await end_versions(
            self.app, self.person("approver"), ClientId(client), kek_id=f"development-{client}",
            holder="transit", version=version, reason="not_needed",
        )  # fmt: skip

    async def opens(self, custody: ProfileCustody, client: UUID, profile: UUID, generation: int = 0) -> bool:
        """Whether what the row stands for gives back the key that was wrapped; raises what a reader would get."""
        row = self.sql(
            "SELECT record_version, dek_id, kek_version FROM byokeep.profile_generation"
            f" WHERE profile_id = '{profile}' ORDER BY generation = {generation} DESC, generation DESC LIMIT 1"
        ).split("|")
        record = parse_record(await custody.read(ProfileRef(ClientId(client), profile), int(row[0])))
        assert (str(record.dek_id), str(record.kek_version)) == (row[1], row[2])
        wrapped = Wrapped(
            holder="transit", kek_id=record.kek.key_id, kek_version=record.kek_version,
            ciphertext=record.wrapped_dek,
        )  # fmt: skip
        dek = await custody.keys.unwrap(wrapped, self.context(client, profile))
        return bytes(dek.reveal()) == self.deks[record.dek_id]

    async def as_root(self, *calls: tuple[str, str, dict[str, object]]) -> None:
        """What somebody with all rights does at the store behind our back."""
        import asyncio

        from byokeep.adapters.openbao.login import log_in
        from byokeep.adapters.openbao.provisioning import generate_root, retire_roots
        from byokeep.wire.bao_http import BaoHttp

        store = self.stand.store
        async with BaoHttp(store.address) as http:
            await asyncio.sleep(0)
            provisioner, _ = await log_in(http, store.home / "credentials" / "provisioner.approle")
            root = await generate_root(http, provisioner, store.bao.server.recovery_keys())
            try:
                for method, path, body in calls:
                    await http.request(method, path, token=root, body=body)
            finally:
                await retire_roots(http, root)


@contextlib.asynccontextmanager
async def keys_on(stand: Stand, **changed: Any) -> AsyncIterator[Keys]:
    """Put a worker for keys on a stand."""
    db = PostgresDatabase(stand.db.url("byokeep_worker"), pool_size=12)
    token = stand.home / "custodian.token"
    token.touch(mode=0o600)
    token.write_text(stand.people["custodian"].token)
    settings = ClientSettings(broker_url=stand.url, runner_token_file=token, attempts=2)
    given: dict[str, Any] = {
        "db": db, "clock": stand.app.clock, "ids": stand.app.ids, "installation_id": stand.app.installation_id,
        "environment": HERE, "limits": replace(stand.app.limits, kek_owner="keys-team"),
        "artifacts": LocalArtifacts(stand.home / "artifacts", may_remove=False),
        "custodian": BrokerCustodian(settings, HERE),
    }  # fmt: skip
    try:
        yield Keys(stand, KekApp(**given | changed))
    finally:
        await db.close()
