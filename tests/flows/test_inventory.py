"""One command lists every secret and key and compares its places; what is strange on any side is told."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.core.errors import Unavailable
from byokeep.core.model import ClientId
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import MAGIC as SEALED_MAGIC
from byokeep.core.sealed_record import ArtifactKey, parse_record
from byokeep.profiles.vault_check import check_vault
from tests.support.keks import Keys, keys_on
from tests.support.vault import Vault

pytest_plugins = [
    "tests.support.postgres_fixtures",
    "tests.support.broker",
    "tests.support.web",
    "tests.support.vault",
]


@pytest.fixture
async def keys(vault: Vault) -> AsyncIterator[Keys]:
    async with keys_on(vault.desk.stand) as made:
        yield made


async def listed(vault: Vault, keys: Keys, *clients: UUID) -> dict[str, Any]:
    """Compare these clients, as the command has workers do, and return the inventory."""
    for client in clients:
        await check_vault(keys.app, keys.system, ClientId(client))
    status, found = await vault.call("GET", "/v1/inventory")
    assert status == 200, found
    return dict(found)


@pytest.mark.req("R2.3-8")
async def test_every_key_is_listed_and_each_side_is_compared(vault: Vault, keys: Keys) -> None:
    """A provider's key, a KEK, a DEK: whose, state, age, due and use; an orphan planted on each side is reported."""
    client, profile = await vault.valid()
    await vault.desk.onboard(client)
    other, _ = await vault.valid()
    found = await listed(vault, keys)
    assert (found["result"], {one["check"] for one in found["checked"]}) == ("unknown", {"unknown"})
    found = await listed(vault, keys, client, other)
    assert (found["result"], found["findings"]) == ("match", [])
    own = [one for one in found["keys"] if one["client_id"] == str(client)]
    assert [(one["class"], one["key"], one["state"]) for one in own] == [
        ("dek", f"{profile}/1", "active"), ("kek", f"development-{client}/1", "active"),
    ]  # fmt: skip
    assert all(one["made_at"] and one["due_at"] and one["last_used_at"] and one["owner"] for one in own)
    assert [one["provider"] for one in found["items"]] == ["openai"]

    ref = ProfileRef(ClientId(client), profile)
    artifacts = LocalArtifacts(vault.artifacts, may_remove=True)
    stray = uuid4()

    async def chunks() -> AsyncIterator[bytes]:
        yield SEALED_MAGIC + bytes(200)

    where = ArtifactKey(client_id=client, profile_id=profile, generation=7, random=stray.hex)
    await artifacts.put(client, where, chunks())
    async with keys.custody(client) as custody:
        record = replace(parse_record(await custody.read(ref, 1)), dek_id=stray)
        await custody.write(ref, record.canonical, cas=1)
    found = await listed(vault, keys, client)
    assert found["result"] == "findings"
    assert {(one["finding"], one["client_id"], one["profile"]) for one in found["findings"]} == {
        ("profile_record_orphan", str(client), str(profile)), ("profile_blob_orphan", str(client), str(profile)),
    }  # fmt: skip
    checks = {one["client_id"]: one["found"] for one in found["checked"]}
    assert checks == {str(client): 2, str(other): 0}

    # and the other way round: the row alone is left
    await artifacts.delete(client, where)
    for path in vault.blobs(client):
        path.unlink()
    async with keys.custody(client) as custody:
        await custody.destroy(ref, [1, 2])
    vault.sql("UPDATE byokeep.alert SET closed_at = now()")
    found = await listed(vault, keys, client)
    assert {one["finding"] for one in found["findings"]} == {"profile_record_missing", "profile_blob_missing"}
    assert {"profile_record_missing", "profile_blob_missing"} <= set(vault.desk.stand.alerts())
    text = json.dumps(found)
    assert "vault:v1:" not in text
    assert not any(canary.value.decode() in text for canary in vault.desk.canaries)


@pytest.mark.req("R2.3-8")
async def test_a_place_that_is_away_leaves_it_unknown(vault: Vault, keys: Keys) -> None:
    """The store or the artifact store does not answer: unknown, on record, never a match and never an empty list."""
    client, _ = await vault.valid()
    assert (await listed(vault, keys, client))["result"] == "match"

    class Away:
        async def list_keys(self, client_id: UUID | None) -> Any:
            raise Unavailable("artifact_store_unavailable")

        def open_keys(self, job_id: UUID) -> Any:
            raise Unavailable("store_unreachable")

        async def close(self, job_id: UUID) -> None:
            return None

    for broken in ({"artifacts": Away()}, {"custodian": Away()}):
        with pytest.raises(Unavailable):
            await check_vault(replace(keys.app, **broken), keys.system, ClientId(client))
        found = await listed(vault, keys)
        assert (found["result"], len(found["keys"])) == ("unknown", 2)
        assert (await listed(vault, keys, client))["result"] == "match"
    vault.sql("UPDATE byokeep.client SET state = 'suspended'")  # a check that is not allowed is no match either
    with pytest.raises(Exception, match="client_not_active"):
        await check_vault(keys.app, keys.system, ClientId(client))
    assert (await listed(vault, keys))["result"] == "unknown"


async def test_what_a_rewrap_or_a_seal_under_way_left_is_not_strange(vault: Vault, keys: Keys) -> None:
    """The replaced record of a rewrap is known, and what an announced seal wrote is its own for a while."""
    from byokeep.profiles import kek_tasks

    client, profile = await vault.valid()
    rotation = await kek_tasks.rotate(keys.app, keys.person(), ClientId(client), expected=1, reason="scheduled")
    assert rotation is not None
    await kek_tasks.rewrap(keys.app, keys.system, rotation.id, ClientId(client))
    assert (await listed(vault, keys, client))["result"] == "match"
    assert await vault.done(profile, "validate") == "valid"  # the profile opens after it, as before
    assert await vault.done(profile, "rekey") == "rekeyed"
    assert vault.sql(
        f"SELECT kek_version FROM byokeep.profile_generation WHERE profile_id = '{profile}' ORDER BY generation"
    ) == "2\n2"  # fmt: skip
    assert (await listed(vault, keys, client))["result"] == "match"


async def test_people_of_some_clients_see_and_check_theirs_alone(vault: Vault, keys: Keys) -> None:
    """Keys, checks and findings of other clients are not listed; machines may neither list nor ask."""
    client, _ = await vault.valid()
    other, _ = await vault.valid()
    narrow = vault.desk.stand.subject("operator", clients=(client,))
    found = (await vault.desk.call("GET", "/v1/inventory", narrow))[1]
    assert {one["client_id"] for one in found["keys"]} == {str(client)}
    status, asked = await vault.desk.call("POST", "/v1/inventory/checks", narrow)
    assert (status, asked["clients"]) == (202, [str(client)])
    assert str(other) not in json.dumps(found)
    for who in ("runner", "custodian", "dispatcher"):
        assert (await vault.call("POST", "/v1/inventory/checks", who=who))[0] == 401
