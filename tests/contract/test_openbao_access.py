"""The wall between tenants, on the real server: who may do what, and that no spelling of a path gets around it."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import pytest

from byokeep.adapters.openbao.audit import FileStoreAudit
from byokeep.adapters.openbao.login import AppRoleLogin, log_in
from byokeep.adapters.openbao.ports import EntityCutoff
from byokeep.core.errors import Denied
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import lease_login, read_secret
from tests.support.openbao import Bao
from tests.support.openbao_access import COLUMNS, PATHS, documented, measure

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _store(bao: Bao, client: uuid.UUID, provider: str, value: str) -> None:
    body = {"options": {"cas": 0}, "data": {"value": value}}
    await bao.web.request("POST", f"kv/data/clients/{client}/providers/{provider}", body=body)


@pytest.mark.req("R2.2-4", "R3.1-2", "R4.1-10")
async def test_every_cell_is_as_documented(bao: Bao) -> None:
    """Every identity, path and verb gives what docs/openbao-access.md says, and nothing else."""
    expected, since = documented(), datetime.now(UTC)
    found = await measure(bao)
    assert set(expected) == set(PATHS)
    differences = {
        (path, column): (expected[path][column], found[path][column])
        for path in PATHS
        for column in COLUMNS
        if expected[path][column] != found[path][column]
    }
    assert not differences
    own, other = "kv/data/clients/{own}/providers/openai", "kv/data/clients/{other}/providers/openai"
    assert found[own]["use-openai"] == "r"
    assert found[own]["custody-openai"] == "rw"
    assert all(found[other][column] == "-" for column in COLUMNS if column != "web")
    assert all(cells[column] == "-" for path, cells in found.items() for column in ("use-openai",) if "{other}" in path)
    keys = {act: f"tenant/{act}/development-" for act in ("keys", "encrypt", "decrypt", "rewrap")}
    for act, path in keys.items():  # a backup sees which versions any client's key has, and decrypts with none
        others = dict(found[f"{path}{{other}}"])
        assert others.pop("backup") == ("r" if act == "keys" else "-")
        assert set(others.values()) == {"-"}
    assert [act for act, path in keys.items() if found[f"{path}{{own}}"]["use-profile"] != "-"] == ["decrypt"]
    assert all(found[f"{path}{{own}}"]["custody-profile"] == "w" for path in keys.values())
    # The platform's secrets are no job's, and no person's hand reaches a client's value (R2.2-4).
    jobs = ("use-openai", "use-x", "use-profile", "custody-profile", "seal-profile", "enroll")
    platform = {path: cells for path, cells in found.items() if "/platform" in path}
    assert len(platform) > 12
    assert {cells[column] for cells in platform.values() for column in jobs} == {"-"}
    assert [path for path, cells in platform.items() if cells["custody-x"] != "-"] == ["kv/data/platform/apps/x/x"]
    assert [path for path, cells in platform.items() if cells["custody-openai"] != "-"] == ["kv/data/platform/scan-key"]
    marked = found["transit/hmac/fingerprints/sha2-256"]  # what recognises a key: of one that a worker has made, too
    assert [column for column, right in marked.items() if right != "-"] == ["web", "custody-openai"]
    values = {path: cells for path, cells in found.items() if path.startswith("kv/data/clients/{") and "/prov" in path}
    staff = ("web", "killswitch", "backup", "provisioner", "broker")
    assert not [path for path, cells in values.items() for column in staff if "r" in cells[column]]
    # A runner reaches no record, its own profile's neither, and in sealing closes no version of the key.
    records = {path: cells for path, cells in found.items() if "/profiles" in path}
    assert len(records) >= 14
    for runner in ("use-profile", "seal-profile"):
        assert {path for path, cells in records.items() if cells[runner] != "-"} == set()
    broker = {path.split("/")[1] + "/" + cells["broker"] for path, cells in records.items() if cells["broker"] != "-"}
    assert broker == {"data/rw", "metadata/r"}
    own_key = {path: cells["seal-profile"] for path, cells in found.items() if path.startswith("tenant/")}
    allowed = {"tenant/encrypt/development-{own}": "w", "tenant/keys/development-{own}/config": "w"}
    assert {path: cell for path, cell in own_key.items() if cell != "-"} == allowed
    limit = "tenant/keys/development-{own}/config?min_decryption_version=1"
    assert [column for column in COLUMNS if found[limit][column] != "-"] == ["custody-profile"]
    # What leases were refused stands in the store's own trail, with the entity.
    trail = FileStoreAudit(bao.broker, bao.audit_files).entries("a", since=since)
    refused = [entry async for entry in trail if entry.status_error and entry.entity_id]
    for part, operations in (("data", {"update", "delete"}), ("metadata", {"list", "delete"}), ("destroy", {"update"})):
        seen = {entry.operation for entry in refused if entry.path.startswith(f"kv/{part}/clients/")}
        assert operations <= seen, part


SPELLINGS = (
    "kv/data/clients/{own}/../{other}/providers/openai",
    "kv/data/clients/{own}/providers/openai/../../../{other}/providers/openai",
    "kv/data/clients/{own}/providers/../../{other}/providers/openai",
    "kv/data/clients/{own}/%2e%2e/{other}/providers/openai",
    "kv/data/clients/{own}/%252e%252e/{other}/providers/openai",
    "kv/data/clients/{own}/..%2f{other}/providers/openai",
    "kv/data/clients/{own}%2f..%2f{other}/providers/openai",
    "kv/data/clients/{own}/providers/openai%2f..%2fanthropic",
    "kv/data/clients/{own}/providers/openai/../anthropic",
    "kv/data/clients/{own}//../{other}/providers/openai",
    "kv/data/clients//{other}/providers/openai",
    "kv//data/clients/{other}/providers/openai",
    "kv/data/./clients/{other}/providers/openai",
    "kv/data/clients/./{other}/providers/openai",
    "kv/data/clients/{other}/providers/openai/",
    "kv/data/clients/{own}/providers/anthropic/",
    "kv/data/clients/{own}/providers/openai%00/../anthropic",
    "kv/data/clients/{other}/providers/openai%00",
    "kv/data/clients/{other}/providers/openai%20",
    "kv/data/clients/{other}/providers/openai;{own}",
    "kv/data/clients/{other}/providers/openai%3f",
    "kv/data/clients/{own}%5c..%5c{other}/providers/openai",
    "kv/data/clients/{own}\\..\\{other}/providers/openai",
    "kv/data/clients/{own}/%ef%bc%8e%ef%bc%8e/{other}/providers/openai",
    "kv/data/clients/{own}/%c0%ae%c0%ae/{other}/providers/openai",
    "kv/data/clients/{OTHER}/providers/openai",
    "kv/data/clients/{OWN}/providers/anthropic",
    "kv/data/clients/*/providers/openai",
    "kv/data/clients/+/providers/openai",
    "kv/data/clients/{own}/providers/*",
    "kv/data/clients/{own}/providers/+",
    "kv/data/clients/%7b%7bidentity.entity.name%7d%7d/providers/openai",
    "KV/data/clients/{other}/providers/openai",
    "kv/DATA/clients/{other}/providers/openai",
    "kv/data/clients/{own}/providers/openai?version=1&list=true&path=clients/{other}",
    "kv/metadata/clients/{own}/../{other}/providers/?list=true",
    "kv/metadata/clients/?list=true",
    "kv/metadata/clients/?scan=true",
    "kv/metadata/?scan=true",
)


@pytest.mark.req("R4.1-5")
async def test_no_spelling_of_a_path_opens_another_secret(bao: Bao) -> None:
    """Encoded, doubled, dotted, cased and wildcard spellings never return another object, and never fail the server."""
    own, other = uuid.uuid4(), uuid.uuid4()
    for client in (own, other):
        await bao.enroll(client)
        for provider in ("openai", "anthropic"):
            mine = client == own and provider == "openai"
            await _store(bao, client, provider, "canary-own-openai" if mine else "canary-not-yours")
    for kind in ("use", "custody"):
        for spelling in SPELLINGS:
            path = spelling.format(own=own, other=other, OWN=str(own).upper(), OTHER=str(other).upper())
            for method in ("GET", "LIST", "SCAN"):
                status, body = await bao.raw(method, path, await bao.lease(own, kind, "openai"))
                assert status < 500, (spelling, method)
                assert b"canary-not-yours" not in body, (spelling, method)
                assert str(other).encode() not in body or status >= 300, (spelling, method)
                if status < 300:
                    assert json.loads(body)["data"]["data"]["value"] == "canary-own-openai", (spelling, method)


@pytest.mark.req("R2.2-4", "R4.1-9")
async def test_web_and_broker_read_no_value_by_any_spelling(bao: Bao) -> None:
    """The processes that may write or see versions get no value out, whatever the path looks like."""
    own, other = uuid.uuid4(), uuid.uuid4()
    for client in (own, other):
        await _store(bao, client, "openai", "canary-value")
    for login in (bao.web, bao.broker):
        token = await login.token()
        for spelling in (
            *SPELLINGS,
            "kv/data/clients/{own}/providers/openai",
            "kv/subkeys/clients/{own}/providers/openai",
        ):
            path = spelling.format(own=own, other=other, OWN=str(own).upper(), OTHER=str(other).upper())
            for method in ("GET", "LIST", "SCAN"):
                status, body = await bao.raw(method, path, token)
                assert status < 500, (spelling, method)
                assert b"canary" not in body, (spelling, method)


@pytest.mark.req("R2.2-4", "R4.1-4")
async def test_only_declared_secrets_open(bao: Bao) -> None:
    """A lease that declared one secret opens that one; one that declared none opens none; neither opens ours."""
    client = uuid.uuid4()
    for provider in ("openai", "heygen"):
        await _store(bao, client, provider, f"value-{provider}")
    path = f"kv/clients/{client}/providers/"
    token = await bao.lease(client, "use", "openai")
    assert (await read_secret(bao.http, token, path + "openai", 1, "lease-1")).matches(b"value-openai")
    with pytest.raises(Denied, match="store_denied"):
        await read_secret(bao.http, token, path + "heygen", 1, "lease-1")
    for ours in ("token-key", "machine-key", "scan-key", "breakglass-drill", "apps/x/x"):
        with pytest.raises(Denied, match="store_denied"):
            await read_secret(bao.http, token, f"kv/platform/{ours}", 1, "lease-1")
    with pytest.raises(Denied, match="lease_refused"):
        await lease_login(bao.http, await bao.jwt(client, "use", "openai"), "use-heygen")
    with pytest.raises(Denied, match="lease_refused"):
        await lease_login(bao.http, await bao.jwt(client, "use"), "use-openai")
    both = await bao.jwt(client, "use", "openai", "heygen")
    token = await lease_login(bao.http, both, "use-heygen")
    assert (await read_secret(bao.http, token, path + "heygen", 1, "lease-2")).matches(b"value-heygen")
    with pytest.raises(Denied, match="store_denied"):
        await read_secret(bao.http, token, path + "openai", 1, "lease-2")


@pytest.mark.parametrize(
    "name", ["*", "+", "{own}/../{other}", "../{other}", "{other}/providers/openai/..", "", " {other}"]
)
async def test_a_client_id_that_is_no_uuid_widens_nothing(bao: Bao, name: str) -> None:
    """Even a lease signed for a client id of wildcards or separators opens no client's secret."""
    own, other = uuid.uuid4(), uuid.uuid4()
    for client in (own, other):
        await _store(bao, client, "openai", "canary-value")
    jwt = await bao.jwt(own, "use", "openai", client_id=name.format(own=own, other=other))
    said = {"role": "use-openai", "jwt": jwt.reveal().decode()}
    status, body = await bao.raw("POST", "auth/lease/cel/login", json=said)
    if status == 200:
        token = Secret(json.loads(body)["auth"]["client_token"])
        for client in (own, other):
            status, body = await bao.raw("GET", f"kv/data/clients/{client}/providers/openai", token)
            assert status in (400, 403)
            assert b"canary" not in body
    else:
        assert status >= 400


async def test_the_kill_process_cuts_off_and_lets_nobody_back_in(bao: Bao) -> None:
    """It disables an entity and cannot enable it, nor change anything else of it; it signs nothing."""
    entity = await bao.enroll(uuid.uuid4())
    token, _ = await log_in(bao.http, bao.credentials / "killswitch.approle")
    path = f"identity/entity/id/{entity}"
    assert (await bao.raw("POST", path, token, json={"disabled": True}))[0] == 204
    for body in ({"disabled": False}, {"disabled": True, "policies": ["web"]}, {"name": "x"}):
        assert (await bao.raw("POST", path, token, json=body))[0] == 403, body
    for closed in ("transit/sign/leases", "transit/sign/checkpoints", "identity/entity-alias"):
        assert (await bao.raw("POST", closed, token, json={"input": "eA=="}))[0] == 403


async def test_the_store_itself_says_whom_a_panic_shuts_out(bao: Bao) -> None:
    """Of a client its entity, of all every client's, and never a process's own: they go on, to let people back in."""
    client, other = uuid.uuid4(), uuid.uuid4()
    mine, theirs = await bao.enroll(client), await bao.enroll(other)
    cutoff = EntityCutoff(AppRoleLogin(bao.http, bao.credentials / "killswitch.approle"))
    assert await cutoff.entities(client) == [mine]
    assert await cutoff.entities(uuid.uuid4()) == []
    everybody = await cutoff.entities(None)
    assert {mine, theirs} <= set(everybody)
    for entity in everybody:
        aliases = (await bao.broker.request("GET", f"identity/entity/id/{entity}")).data["aliases"]
        assert {one["mount_type"] for one in aliases} == {"jwt"}, entity
    listed = (await bao.broker.http.request("LIST", "identity/entity/id", token=await cutoff._login.token())).data
    assert len(listed["keys"]) > len(everybody), "a process's entity was to be seen"


async def test_the_broker_changes_nothing_of_an_entity_but_disabled(bao: Bao) -> None:
    """Policies, names, metadata, aliases and new entities are refused to the broker, alone or beside `disabled`."""
    entity = await bao.enroll(uuid.uuid4())
    token = await bao.broker.token()
    for field in ("policies", "name", "metadata", "id", "Disabled ", "group_ids", "external_entity"):
        for body in ({field: ["web"]}, {"disabled": False, field: ["web"]}):
            status, _ = await bao.raw("POST", f"identity/entity/id/{entity}", token, json=body)
            assert status == 403, body
    status, _ = await bao.raw("POST", f"identity/entity/id/{uuid.uuid4()}", token, json={"disabled": False})
    assert status == 400
    assert (await bao.raw("POST", f"identity/entity/id/{entity}", token, json={"disabled": False}))[0] == 204
