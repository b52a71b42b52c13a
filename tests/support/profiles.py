"""Rows of a sealed browser profile as the procedures leave them, for tests of who may open it."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from byokeep.core.sealed_record import MAGIC as SEALED_MAGIC
from byokeep.core.sealed_record import ArtifactKey
from tests.support.broker import Stand

BLOB: Final = SEALED_MAGIC + bytes(range(256)) * 40


@dataclass(frozen=True)
class Profile:
    """What a test needs to know of one."""

    client: UUID
    id: UUID
    dek: UUID
    blob: bytes

    @property
    def where(self) -> str:
        return f"WHERE client_id = '{self.client}' AND id = '{self.id}'"

    @property
    def of(self) -> str:
        return f"WHERE client_id = '{self.client}' AND profile_id = '{self.id}'"

    @property
    def path(self) -> str:
        return f"kv/clients/{self.client}/profiles/{self.id}"


def put_profile(stand: Stand, client: UUID, *accounts: UUID, state: str = "valid", blob: bytes = BLOB) -> Profile:
    """A validated profile of generation 1, logged in to these accounts. The blob is not stored: :func:`store_blob`."""
    made = Profile(client, uuid4(), uuid4(), blob)
    job, by, worker = uuid4(), stand.people["operator"].id, stand.people["custodian"].id
    bound = "".join(
        "INSERT INTO byokeep.profile_account (client_id, profile_id, account_id, platform) SELECT client_id,"
        f" '{made.id}', id, platform FROM byokeep.platform_account WHERE id = '{account}';"
        for account in accounts
    )
    stand.db.sql(
        "INSERT INTO byokeep.job (id, client_id, dispatcher_id, runner_id, kind, secrets, state, closed_at, expires_at)"
        f" VALUES ('{job}', '{client}', '{worker}', '{worker}', 'custody', '{{profile}}', 'closed', now(),"
        " now() + interval '1 hour');"
        # The client's own key, and one that guards every client.
        "INSERT INTO byokeep.kek_version (holder, kek_id, version, client_id, environment, algorithm, bits, owner,"
        " made_at, protect_until, process_until, changed_by) SELECT 'transit', k.id, 1, k.client, 'development',"
        " 'aes256-gcm96', 256, 'operations', now(), now() + interval '365 days', now() + interval '1460 days',"
        f" '{worker}' FROM (VALUES ('development-{client}', '{client}'::uuid), ('development-kek', NULL))"
        " k (id, client) ON CONFLICT DO NOTHING;"
        "INSERT INTO byokeep.profile (id, client_id, packing, created_by, confirmed_at, confirmed_by, state,"
        f" generation, validated_generation, validated_at, epoch) VALUES ('{made.id}', '{client}', 'portable', '{by}',"
        f" now(), '{by}', '{state}', 1, 1, now(), 2);"
        "INSERT INTO byokeep.profile_generation (client_id, profile_id, generation, dek_id, holder, kek_id,"
        " kek_version, blob_key, blob_sha256, blob_size, packed_size, manifest_hash, record_version, browser_version,"
        f" sealed_by, job_id) VALUES ('{client}', '{made.id}', 1, '{made.dek}', 'transit', 'development-{client}', 1,"
        f" 'clients/{client}/profiles/{made.id}/1-{made.dek}', sha256('\\x{blob.hex()}'), {len(blob)}, 9,"
        f" sha256('manifest'), 1, '156.0.0.0', '{worker}', '{job}');" + bound
    )
    return made


async def store_blob(stand: Stand, profile: Profile) -> None:
    """Put the sealed bytes of generation 1 where the broker finds them."""

    async def chunks() -> AsyncIterator[bytes]:
        yield profile.blob

    key = ArtifactKey(client_id=profile.client, profile_id=profile.id, generation=1, random=profile.dek.hex)
    await stand.app.artifacts.put(profile.client, key, chunks())


async def reported(stand: Stand, client: UUID, lease: str, platform: str = "tiktok", **face: str) -> None:
    """Let a job report the account as its browser shows it; in that lane the gate counts nothing else."""
    seen = {"id": "acme", "username": "acme", "display_name": "Acme Ltd"} | face
    path, body = f"/v1/accounts/{client}/{platform}/acme/identity", {"lease_id": lease, "lane": "browser"} | seen
    status, reply = await stand.call("POST", path, "runner", body)
    assert (status, reply["identity"]) == (200, "match"), reply


def hold(stand: Stand, profile: Profile, job: UUID, *, seconds: int = 60) -> None:
    """Let a job have a profile open, as the broker's route does."""
    stand.db.sql(
        "INSERT INTO byokeep.profile_opening (client_id, profile_id, epoch, generation, purpose, job_id, opener_id,"
        f" opened_at, until) VALUES ('{profile.client}', '{profile.id}', 3, 1, 'use', '{job}',"
        f" '{stand.people['runner'].id}', now(), now() + interval '{seconds} seconds')"
        " ON CONFLICT (client_id, profile_id) DO UPDATE SET epoch = excluded.epoch, job_id = excluded.job_id,"
        " purpose = excluded.purpose, opened_at = excluded.opened_at, until = excluded.until"
    )
