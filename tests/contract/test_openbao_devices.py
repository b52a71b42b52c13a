"""The trail and the keys of the store: on before the first secret, changed by no call, signed with inside alone."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from byokeep.adapters.openbao import provisioning
from byokeep.adapters.openbao.audit import FileStoreAudit
from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.adapters.openbao.ports import SETTLE_S, BaoIntake, TransitSigner
from byokeep.adapters.openbao.provisioning import Desired, provision
from byokeep.core.errors import Denied, NotFound, Rejected, Unavailable
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.settings import load, parse_audit_files
from byokeep.wire.bao_http import lease_login
from tests.support.openbao import Bao, lease_claims, plain_openbao, running_openbao

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _ref() -> SecretRef:
    return SecretRef(ClientId(uuid.uuid4()), Provider.OPENAI)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def fresh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[datetime, Bao]]:
    """A node of this file's own, and when it was begun."""
    began = datetime.now(UTC)
    async with running_openbao(tmp_path_factory.mktemp("fresh")) as made:
        yield began, made


@pytest.mark.req("R8.2-1")
async def test_the_trail_begins_before_the_first_secret(fresh: tuple[datetime, Bao]) -> None:
    """In the transcript of a first start the devices record before anything secret is written, and say since when."""
    began, bao = fresh
    devices = await FileStoreAudit(bao.broker, bao.audit_files).devices()
    for name, path in bao.audit_files.items():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        writes = [
            at for at, line in enumerate(lines)
            if line["request"].get("operation") in ("create", "update")
            and line["request"]["path"].startswith(("kv/data/", "transit/keys/", "auth/approle/role/"))
        ]  # fmt: skip
        assert writes, name
        assert min(writes) > 0, name
        assert lines[writes[0]]["type"] == "request", name
        [device] = [found for found in devices if found.name == name]
        assert device.recording_since is not None
        first = datetime.fromisoformat(lines[0]["time"])
        assert began <= device.recording_since == first < datetime.fromisoformat(lines[writes[0]]["time"])


@pytest.mark.req("R8.2-1", "R1.4-2")
async def test_without_a_device_no_secret_gets_in(tmp_path: Path) -> None:
    """A store that records nothing is not set up, so a write finds no place and no identity: unavailable, unwritten."""
    credentials = tmp_path / "credentials"
    async with plain_openbao(tmp_path, audit=False) as (http, root):
        with pytest.raises(Unavailable, match="no_audit_device"):
            await provision(http, root, Desired(installation_id=uuid.uuid4()), credentials_dir=credentials)
        assert {"kv/", "transit/"}.isdisjoint((await http.request("GET", "sys/mounts", token=root)).data)
        assert not credentials.exists()
        intake, ref = BaoIntake(AppRoleLogin(http, credentials / "web.approle")), _ref()
        with pytest.raises(Unavailable, match="credentials_missing"):
            await intake.put(ref, Secret("a value that must go nowhere"), cas=0)
        body = {"options": {"cas": 0}, "data": {"value": "a value that must go nowhere"}}
        with pytest.raises(NotFound):  # not even for root: there is no place to put it
            await http.request("POST", f"kv/data/{ref.path[3:]}", token=root, body=body)


@pytest.mark.req("R8.2-5")
async def test_no_call_changes_a_device(bao: Bao) -> None:
    """Neither our processes nor root can add, change or end a device; each attempt stands on the devices themselves."""
    target = bao.server.home / "written-by-the-store"
    root = await bao.root()
    before = {name: path.stat().st_size for name, path in bao.audit_files.items()}
    try:
        for token, refusal in ((await bao.web.token(), 403), (await bao.broker.token(), 403), (root, 400)):
            for options in (
                {"file_path": str(target)}, {"file_path": f"{target}/../../etc/x"}, {"file_path": "stdout"},
                {"file_path": str(target), "prefix": "text "}, {"file_path": str(target), "mode": "0777"},
            ):  # fmt: skip
                body = {"type": "file", "options": options}
                for name in ("other", "a"):
                    status, _ = await bao.raw("POST", f"sys/audit/{name}", token, json=body)
                    assert status == refusal, (options, name)
            body = {"type": "socket", "options": {"address": "192.0.2.1:9"}}
            assert (await bao.raw("POST", "sys/audit/other", token, json=body))[0] == refusal
            for name in ("a", "b"):
                assert (await bao.raw("DELETE", f"sys/audit/{name}", token))[0] == refusal
    finally:
        await bao.retire(root)
    assert not target.exists()
    assert all(device.healthy for device in await FileStoreAudit(bao.broker, bao.audit_files).devices())
    for name, path in bao.audit_files.items():
        with path.open("rb") as file:
            file.seek(before[name])
            told = [json.loads(line) for line in file.read().splitlines()]
        attempts = [line for line in told if line["request"]["path"].startswith("sys/audit/")]
        assert {line["type"] for line in attempts} == {"request", "response"}
        assert sum(line["type"] == "request" for line in attempts) == 3 * (10 + 1 + 2), name
        assert all(line.get("error") for line in attempts if line["type"] == "response")


@pytest.mark.req("R8.2-5")
@pytest.mark.parametrize(
    "files",
    [
        "a=/var/log/../../etc/shadow", "a=../audit.jsonl", "a=audit.jsonl", "a=/var/log/./a", "a=//host/share/a",
        "a=/var/log/a/", "a=", "=/var/log/a", "a", "a=/x,a=/y", "a/../b=/x", "A=/x", "a=/x\n", "a=/x\x00", "a=/x;rm",
        "a=/x,b=/x", "a=/x%2e%2e", "a=|/bin/sh", "a=/x*", "a=file:///x", "a=/x,,b=/y",
    ],
)  # fmt: skip
async def test_a_path_that_is_not_its_plain_self_is_no_device(files: str, tmp_path: Path) -> None:
    """Settings that name a trail by a way around, a pattern, a host or a double are refused by every process."""
    for read in (lambda: parse_audit_files(files), lambda: load(home=tmp_path, store_audit_files=files)):
        with pytest.raises(Rejected, match="bad_setting"):
            read()
    good = "a=/var/log/openbao/a.jsonl,b=/mnt/audit log/b.jsonl"
    assert list(parse_audit_files(load(home=tmp_path, store_audit_files=good).store_audit_files)) == ["a", "b"]


@pytest.mark.req("R2.2-2")
async def test_keys_of_tokens_live_in_the_store_one_for_each_purpose(fresh: tuple[datetime, Bao]) -> None:
    """Each purpose has a key of its own with a kid; it can not be taken out; a new version signs, the old one ends."""
    _, bao = fresh
    purposes = ("leases", "checkpoints", "evidence")
    keys = {purpose: await bao.signer.public_keys(purpose) for purpose in purposes}
    assert len({key for versions in keys.values() for key in versions.values()}) == 3
    client, root = uuid.uuid4(), await bao.root()
    first = await bao.jwt(client, "use", "openai")
    foreign = Secret(_signed(await _sign_as(bao, "checkpoints", client)))
    with pytest.raises(Denied):  # signed with the key of another purpose: no lease
        await lease_login(bao.http, foreign, "use-openai")
    try:
        for purpose in purposes:
            for kind in ("signing-key", "encryption-key", "public-key"):
                status, reply = await bao.raw("GET", f"transit/export/{kind}/{purpose}", root)
                assert status >= 400 or b"PRIVATE" not in reply, (purpose, kind)
            status, _ = await bao.raw("GET", f"transit/backup/{purpose}", root)
            assert status >= 400, purpose
        await bao.http.request("POST", "transit/keys/leases/rotate", token=root, body={})
        later = TransitSigner(bao.broker)
        await lease_login(bao.http, first, "use-openai")  # the old version still counts
        await _provisioned_anew(bao, root)
        at = int(datetime.now(UTC).timestamp()) + SETTLE_S + 5
        claims = lease_claims(bao.desired, client, "use", ("openai",), iat=at, nbf=at, exp=at + 3)
        new = (await later.sign_jwt(claims)).encode()
        assert (_kid(first.reveal()), _kid(new)) == ("1", "2")
        assert [await _verifies(bao, root, token) for token in (first.reveal(), new)] == [True, True]
        await asyncio.sleep(3.1)
        with pytest.raises(Denied):  # its life is over, whatever key signed it
            await lease_login(bao.http, first, "use-openai")
        await bao.http.request("POST", "transit/keys/leases/config", token=root, body={"min_decryption_version": 2})
        assert [await _verifies(bao, root, token) for token in (first.reveal(), new)] == [False, True]
    finally:
        await bao.retire(root)


async def _provisioned_anew(bao: Bao, root: Secret) -> None:
    """Tell the login mount every version, as a start does."""
    await provision(bao.http, root, bao.desired, credentials_dir=bao.credentials)


async def _sign_as(bao: Bao, purpose: str, client: uuid.UUID) -> tuple[str, bytes]:
    said = lease_claims(bao.desired, client, "use", ("openai",))
    header = {"alg": "EdDSA", "kid": "1", "typ": "byokeep-lease+jwt"}
    text = ".".join(
        base64.urlsafe_b64encode(json.dumps(part, sort_keys=True, separators=(",", ":")).encode()).rstrip(b"=").decode()
        for part in (header, said)
    )
    signature, _ = await bao.signer.sign(purpose, text.encode())
    return text, signature


def _signed(parts: tuple[str, bytes]) -> str:
    return f"{parts[0]}.{base64.urlsafe_b64encode(parts[1]).rstrip(b'=').decode()}"


async def _verifies(bao: Bao, root: Secret, token: bytes) -> bool:
    said, _, signature = token.rpartition(b".")
    raw = base64.b64encode(base64.urlsafe_b64decode(signature + b"==")).decode()
    body = {"input": base64.b64encode(said).decode(), "signature": f"vault:v{_kid(token)}:{raw}"}
    status, reply = await bao.raw("POST", "transit/verify/leases", root, json=body)
    return status == 200 and json.loads(reply)["data"]["valid"] is True


def _kid(token: bytes) -> str:
    head = token.partition(b".")[0]
    return str(json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))["kid"])


@pytest.mark.req("R4.1-6")
async def test_the_store_denies_what_no_policy_names(bao: Bao) -> None:
    """An empty policy, an unknown one or none opens nothing; one that does not parse is not taken."""
    client, root = uuid.uuid4(), await bao.root()
    place = f"clients/{client}/providers/openai"
    await BaoIntake(bao.web).put(SecretRef(ClientId(client), Provider.OPENAI), Secret("a value"), cas=0)
    try:
        await bao.http.request("POST", "sys/policies/acl/empty", token=root, body={"policy": "# nothing"})
        for policy in ('path "kv/*" {', 'path "x" { capabilities = ["everything"] }', "{{{"):
            status, _ = await bao.raw("POST", "sys/policies/acl/broken", root, json={"policy": policy})
            assert status == 400, policy
        for policies in (["empty"], ["no-such-policy"], ["broken"]):
            body = {"policies": policies, "no_default_policy": True, "ttl": "60s"}
            made = await bao.http.request("POST", "auth/token/create", token=root, body=body)
            token = Secret(made.auth["client_token"])
            for method, path in (
                ("GET", f"kv/data/{place}"), ("POST", f"kv/data/{place}"), ("LIST", "kv/metadata/clients"),
                ("GET", f"kv/metadata/{place}"), ("POST", "transit/sign/leases"), ("GET", "sys/policies/acl/web"),
                ("GET", "sys/mounts"), ("GET", "sys/audit"), ("GET", "kv/data/platform/token-key"),
            ):  # fmt: skip
                status, reply = await bao.raw(method, path, token, json={} if method == "POST" else None)
                assert status == 403, (policies, path)
                assert b"a value" not in reply
        await bao.http.request("DELETE", "sys/policies/acl/empty", token=root)
    finally:
        await bao.retire(root)
    for machine in (bao.web, bao.broker):
        wide = {"policy": 'path "kv/data/clients/*" { capabilities = ["read"] }'}
        for name in ("use-openai", "new", "web"):
            assert (await bao.raw("POST", f"sys/policies/acl/{name}", await machine.token(), json=wide))[0] == 403


@pytest.mark.req("R4.1-6")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{{identity.entity.aliases.<<lease_accessor>>.name}}", "*"),
        ("{{identity.entity.aliases.<<lease_accessor>>.name}}", "+"),
        ("providers/<<provider>>", "providers/*"), ("providers/<<provider>>", "providers/+"),
        ("providers/<<provider>>", "providers/"), ("kv/data/clients/", "kv/data/platform/"),
        ("-<<provider>>", "-+"), ("identity/oidc/token/", "identity/oidc/"),
        ("kv/data/clients/", "kv/+/clients/"), ('" {', '*" {'), ('path "', 'path  "'),
        ('/webhook" {', '/webhook"  {'),
    ],
)  # fmt: skip
async def test_a_lease_policy_that_reaches_further_is_not_written(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A wildcard, another place or a line that is not understood in a lease's policy stops the provisioning."""
    sources = Path(provisioning.__file__).parent / "policies"
    wide = tmp_path / "policies"
    wide.mkdir()
    for source in sources.glob("*.hcl"):
        text = source.read_text()
        (wide / source.name).write_text(text.replace(old, new) if source.name in ("use.hcl", "identity.hcl") else text)
    assert provisioning.policies("accessor")["use-openai"].count("accessor") == 3  # key, webhook secret, identity
    monkeypatch.setattr(provisioning, "files", lambda _: tmp_path)
    with pytest.raises(Rejected, match="lease_policy_"):
        provisioning.policies("accessor")
