"""Provisioning a real store, embedded or somebody else's: what it refuses, what it repeats, and the death of root."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from byokeep.adapters.openbao import login, provisioning
from byokeep.adapters.openbao.embedded import bring_up
from byokeep.adapters.openbao.login import AppRoleLogin, log_in
from byokeep.adapters.openbao.ports import BaoIntake, BaoProfileRecords, BaoScanKey, TransitSigner
from byokeep.adapters.openbao.provisioning import (
    Desired,
    generate_root,
    prove_audit,
    provision,
    retire_roots,
    rotate_secret_ids,
)
from byokeep.core.errors import Denied, Integrity, NotFound, RateLimited, Rejected, Unavailable
from byokeep.core.model import ClientId, Environment, ProfileId, Provider
from byokeep.core.ref import ProfileRef, SecretRef
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, lease_login, read_secret
from tests.support.openbao import Bao, lease_claims, plain_openbao, running_openbao

pytestmark = pytest.mark.asyncio(loop_scope="session")
Plain = tuple[BaoHttp, Secret]


async def _platform_key(http: BaoHttp, root: Secret, path: str) -> str:
    return str((await http.request("GET", path, token=root)).data["data"]["value"])


def _desired(**changed: object) -> Desired:
    return dataclasses.replace(Desired(installation_id=uuid.uuid4()), **changed)  # type: ignore[arg-type]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def plain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plain]:
    """Somebody else's node, for tests that each set it up anew; with its root token."""
    async with plain_openbao(tmp_path_factory.mktemp("plain"), audit=True) as made:
        yield made


async def _emptied(http: BaoHttp, root: Secret) -> None:
    """Remove what tests before set up."""
    for place, names in (("mounts", provisioning.MOUNTS), ("auth", provisioning.AUTH_MOUNTS)):
        there = (await http.request("GET", f"sys/{place}", token=root)).data
        for name in names:
            if f"{name}/" in there:
                await http.request("DELETE", f"sys/{place}/{name}", token=root)


@pytest.mark.req("R8.2-6")
async def test_a_device_that_logs_in_clear_is_no_audit_device(tmp_path: Path) -> None:
    """log_raw writes values into the log, so it counts as a fault."""
    async with plain_openbao(tmp_path, audit=True, log_raw=True) as (http, root):
        with pytest.raises(Unavailable) as refused:
            await prove_audit(http, root)
        assert refused.value.code == "audit_device_raw"


@pytest.mark.req("S-JWT-5")
async def test_somebody_elses_mounts_and_keys_are_not_taken_over(plain: Plain, tmp_path: Path) -> None:
    """A mount of another type, a signing key of another kind or one that can be copied out: refused."""
    credentials, (http, root) = tmp_path / "credentials", plain
    await _emptied(http, root)
    await http.request("POST", "sys/mounts/kv", token=root, body={"type": "kv", "options": {"version": "1"}})
    with pytest.raises(Integrity, match="store_mount_foreign"):
        await provision(http, root, _desired(), credentials_dir=credentials)
    await http.request("DELETE", "sys/mounts/kv", token=root)
    await http.request("POST", "sys/mounts/transit", token=root, body={"type": "transit"})
    for body in ({"type": "hmac", "key_size": 32}, {"type": "ed25519", "exportable": True}, {"type": "rsa-2048"},
                 {"type": "ed25519", "allow_plaintext_backup": True}):  # fmt: skip
        await http.request("POST", "transit/keys/leases", token=root, body=body)
        with pytest.raises(Integrity, match="store_key_foreign"):
            await provision(http, root, _desired(), credentials_dir=credentials)
        await http.request("POST", "transit/keys/leases/config", token=root, body={"deletion_allowed": True})
        await http.request("DELETE", "transit/keys/leases", token=root)
    assert not credentials.exists()


async def test_a_second_run_leaves_no_old_field_role_or_policy(plain: Plain, tmp_path: Path) -> None:
    """Widened roles, extra roles and extra policies are gone after the next run; keys, pepper and credentials stay."""
    credentials, desired = tmp_path / "credentials", _desired()
    http, root = plain
    await provision(http, root, desired, credentials_dir=credentials)
    before = {path.name: path.read_bytes() for path in credentials.iterdir()}
    keys = [await _platform_key(http, root, path) for path in (provisioning.TOKEN_KEY_PATH, provisioning.SCAN_KEY_PATH)]
    assert len(set(keys)) == 2
    clean = (await http.request("GET", "auth/lease/cel/role/use-kie", token=root)).data
    widened = provisioning.lease_roles(desired)["use-kie"] | {"bound_audiences": ["other"], "message": "x"}
    await http.request("POST", "auth/lease/cel/role/use-kie", token=root, body=widened)
    await http.request(
        "POST", "auth/lease/cel/role/use-forgotten", token=root, body=provisioning.lease_roles(desired)["enroll"]
    )
    await http.request("POST", "sys/policies/acl/use-forgotten", token=root, body={"policy": 'path "x" {}'})
    await http.request("POST", "auth/approle/role/web", token=root, body={"token_policies": ["broker", "web"]})
    await provision(http, root, desired, credentials_dir=credentials)
    assert (await http.request("GET", "auth/lease/cel/role/use-kie", token=root)).data == clean
    assert (await http.request("GET", "auth/approle/role/web", token=root)).data["token_policies"] == ["web"]
    for gone in ("auth/lease/cel/role/use-forgotten", "sys/policies/acl/use-forgotten"):
        with pytest.raises(NotFound):
            await http.request("GET", gone, token=root)
    again = [
        await _platform_key(http, root, path) for path in (provisioning.TOKEN_KEY_PATH, provisioning.SCAN_KEY_PATH)
    ]
    assert again == keys
    assert {path.name: path.read_bytes() for path in credentials.iterdir()} == before
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in credentials.iterdir())


async def _content(http: BaoHttp, root: Secret, desired: Desired, credentials: Path) -> str:
    """Provision, and return what is recorded of it."""
    await provision(http, root, desired, credentials_dir=credentials)
    return await provisioning.recorded_content(http, root)


async def test_a_store_of_the_first_release_is_given_its_scan_key(
    plain: Plain, tmp_path: Path, monkeypatch: Any
) -> None:
    """Without a scan key or the right to it intake says so; the next set-up makes the key, and changes no other."""
    credentials, desired = tmp_path / "credentials", _desired()
    now = provisioning.policies("<<lease_accessor>>")["web"]
    before = re.sub(r'#[^\n]*\n#?[^\n]*path "kv/data/platform/scan-key" \{[^}]*\}\n', "", now)
    assert before != now
    http, root = plain
    made = await _content(http, root, desired, credentials)
    pepper = await _platform_key(http, root, provisioning.TOKEN_KEY_PATH)
    await http.request("POST", "sys/policies/acl/web", token=root, body={"policy": before})
    await http.request("DELETE", provisioning.SCAN_KEY_PATH.replace("/data/", "/metadata/"), token=root)
    scan_key = BaoScanKey(AppRoleLogin(http, credentials / "web.approle"))
    with pytest.raises(Unavailable, match="scan_key_missing"):
        await scan_key.shown()
    await http.request("POST", "sys/policies/acl/web", token=root, body={"policy": now})
    with pytest.raises(Unavailable, match="scan_key_missing"):
        await scan_key.shown()
    assert await _content(http, root, desired, credentials) == made
    assert len(bytes.fromhex(await scan_key.shown())) == 32
    assert await _platform_key(http, root, provisioning.TOKEN_KEY_PATH) == pepper
    policies = provisioning.policies
    monkeypatch.setattr(provisioning, "policies", lambda *given: policies(*given) | {"web": before})
    assert provisioning.content_hash(desired) != made  # so `up` on such a home does not skip it


async def test_a_store_set_up_before_profiles_is_given_their_wall(
    plain: Plain, tmp_path: Path, monkeypatch: Any
) -> None:
    """A store without the mount of tenants' keys and the roles for profiles gets both; what it held is as it was."""
    credentials, desired = tmp_path / "credentials", _desired()
    http, root = plain
    await _emptied(http, root)
    with monkeypatch.context() as before:
        mounts = {name: body for name, body in provisioning.MOUNTS.items() if name != provisioning.KEK_MOUNT}
        roles, policies = provisioning.lease_roles, provisioning.policies
        before.setattr(provisioning, "MOUNTS", mounts)
        before.setattr(provisioning, "KEK_MOUNT", "transit")
        before.setattr(provisioning, "lease_roles", lambda d: _without_profiles(roles(d)))
        before.setattr(provisioning, "policies", lambda *given: _without_profiles(policies(*given)))
        old = await _content(http, root, desired, credentials)
    pepper = await _platform_key(http, root, provisioning.TOKEN_KEY_PATH)
    for _ in range(2):
        assert await _content(http, root, desired, credentials) != old
        assert (await http.request("GET", "tenant/config/keys", token=root)).data["disable_upsert"] is True
        for role in ("use-profile", "custody-profile"):
            assert (await http.request("GET", f"auth/lease/cel/role/{role}", token=root)).data["name"] == role
    assert await _platform_key(http, root, provisioning.TOKEN_KEY_PATH) == pepper


async def test_a_store_of_the_build_before_takes_records_from_runners(
    plain: Plain, tmp_path: Path, monkeypatch: Any
) -> None:
    """On a home of the build before, a use lease reads records and the broker none; after the next set-up it is the
    other way round, for logins that were there already, too, and `up` does not skip it."""
    credentials, desired, client = tmp_path / "credentials", _desired(lease_token_ttl_s=60), uuid.uuid4()
    ref = ProfileRef(ClientId(client), ProfileId(uuid.uuid4()))
    place, policies = f"kv/data/{ref.path.removeprefix('kv/')}", provisioning.policies
    http, root = plain
    with monkeypatch.context() as before:
        before.setattr(provisioning, "policies", lambda *given: _before(policies(*given), given[0]))
        old = await _content(http, root, desired, credentials)
    await http.request("POST", place, token=root, body={"options": {"cas": 0}, "data": {"value": "a record"}})
    records = BaoProfileRecords(AppRoleLogin(http, credentials / "broker.approle"))
    with pytest.raises(Unavailable, match="records_refused"):
        await records.read(ref, 1)

    async def login() -> Secret:
        jwt = await _jwt(http, credentials, desired, client, "use", "profile")
        return await lease_login(http, jwt, "use-profile")

    held = await login()
    assert (await read_secret(http, held, ref.path, 1, None)).matches(b"a record")
    assert provisioning.content_hash(desired) != old
    await provision(http, root, desired, credentials_dir=credentials)
    for token in (held, await login()):
        with pytest.raises(Denied, match="store_denied"):
            await read_secret(http, token, ref.path, 1, None)
    body = {"ciphertext": "vault:v1:QUJD", "context": "QUJD"}
    with pytest.raises(Rejected):  # it is alive: this is no refusal
        await http.request("POST", f"tenant/decrypt/development-{client}", token=held, body=body)
    assert await records.read(ref, 1) == b"a record"


def _before(now: dict[str, str], accessor: str) -> dict[str, str]:
    """All policies, and of these two what they were."""
    client = f"{{{{identity.entity.aliases.{accessor}.name}}}}"
    record = f'path "kv/data/clients/{client}/profiles/+" {{\n  capabilities = ["read"]\n}}\n'
    at, path = now["broker"], 'path "kv/data/clients/+/profiles/+" {\n  capabilities = ["create", "read", "update"]'
    assert path in at
    old = {"use-profile": now["use-profile"] + record, "broker": at.replace(path, path.replace('"read", ', ""))}
    return now | old


def _without_profiles(named: dict[str, Any]) -> dict[str, Any]:
    return {name: body for name, body in named.items() if not name.endswith("-profile")}


OWN = "clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/profiles/+"


@pytest.mark.parametrize(
    ("of", "old", "new"),
    [
        *(
            ("use", old, new)
            for old, new in (
                ("tenant/decrypt/<<environment>>-{{", "tenant/decrypt/+-{{"), ("tenant/decrypt", "transit/decrypt"),
                ("<<environment>>-{{identity.entity.aliases.<<lease_accessor>>.name}}", "+"),
                ("tenant/decrypt", "tenant/export/encryption-key"), ("<<environment>>-", "production-"),
                ('path "', 'path  "'),
            )
        ),
        *(
            (of, 'path "tenant/', f'path "kv/{part}/{OWN}" {{\n  capabilities = ["read"]\n}}\npath "tenant/')
            for of in ("use", "seal") for part in ("data", "metadata", "destroy")
        ),
        ("custody", "/profiles/+", "/profiles/*"), ("custody", "/profiles/+", "/+/+"),
    ],
)  # fmt: skip
async def test_a_lease_for_profiles_names_one_key_and_one_place(
    of: str, old: str, new: str, monkeypatch: Any, tmp_path: Path
) -> None:
    """A policy for profiles that reaches another key, mount, environment or client stops the provisioning; so
    does one of a runner's that reaches a record."""
    sources, wide = Path(provisioning.__file__).parent / "policies", tmp_path / "policies"
    wide.mkdir()
    for source in sources.glob("*.hcl"):
        text = source.read_text()
        if source.name == f"{of}-profile.hcl":
            assert old in text
            text = text.replace(old, new)
        (wide / source.name).write_text(text)
    monkeypatch.setattr(provisioning, "files", lambda _: tmp_path)
    with pytest.raises(Rejected, match="lease_policy_"):
        provisioning.policies("a1")


async def test_the_rate_of_signatures_and_logins_has_a_cap(plain: Plain, tmp_path: Path) -> None:
    """Over TCP a quota cuts a flood of signatures and logins off with 429."""
    credentials = tmp_path / "credentials"
    http, root = plain
    await provision(http, root, _desired(per_second=5), credentials_dir=credentials)
    broker, _ = await log_in(http, credentials / "broker.approle")
    body: dict[str, object] = {"input": "aGk="}
    flood = [http.request("POST", "transit/sign/leases", token=broker, body=body) for _ in range(30)]
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    limited = [outcome for outcome in outcomes if isinstance(outcome, RateLimited)]
    assert limited
    assert len(outcomes) - len(limited) >= 5
    logins = [http.request("POST", "auth/lease/cel/login", body={"role": "enroll", "jwt": "x"}) for _ in range(30)]
    outcomes = await asyncio.gather(*logins, return_exceptions=True)
    assert any(isinstance(outcome, RateLimited) for outcome in outcomes)
    await provision(http, root, _desired(), credentials_dir=credentials)
    flood = [http.request("POST", "transit/sign/leases", token=broker, body=body) for _ in range(30)]
    assert not [o for o in await asyncio.gather(*flood, return_exceptions=True) if isinstance(o, Exception)]


async def test_a_machines_old_secret_id_dies_with_its_rotation(plain: Plain, tmp_path: Path) -> None:
    """A machine whose file is gone gets a new one, which logs in; the old secret id is refused."""
    credentials = tmp_path / "credentials"
    http, root = plain
    await provision(http, root, _desired(), credentials_dir=credentials)
    old = tmp_path / "old.approle"
    old.write_bytes((credentials / "web.approle").read_bytes())
    old.chmod(0o600)
    await log_in(http, old)
    (credentials / "web.approle").unlink()
    await provision(http, root, _desired(), credentials_dir=credentials)
    await log_in(http, credentials / "web.approle")
    with pytest.raises(Unavailable, match="credentials_refused"):
        await log_in(http, old)


@pytest.mark.req("R2.2-1")
async def test_secret_ids_are_rotated_while_they_are_in_use(
    plain: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one login is refused meanwhile; cut off before or after the file it goes on; the old ones end."""
    credentials = tmp_path / "credentials"
    http, root = plain
    await provision(http, root, _desired(), credentials_dir=credentials)
    old = {name: tmp_path / f"old-{name}.approle" for name in provisioning.MACHINES}
    for name, file in old.items():
        file.write_bytes((credentials / f"{name}.approle").read_bytes())
        file.chmod(0o600)
    done, logins = asyncio.Event(), 0

    async def work(name: str) -> int:
        count = 0
        while not done.is_set():
            await log_in(http, credentials / f"{name}.approle")
            count += 1
            await asyncio.sleep(0.01)
        return count

    working = [asyncio.create_task(work(name)) for name in ("web", "broker") for _ in range(2)]
    real = provisioning.durable_write

    def cut(*given: Any, **more: Any) -> None:
        real(*given, **more)
        raise OSError(28, "cut off")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "no room")

    for break_at in (full, cut):
        monkeypatch.setattr(provisioning, "durable_write", break_at)
        with pytest.raises(OSError, match=r"cut off|no room"):
            await rotate_secret_ids(http, root, credentials_dir=credentials, alone=True)
        await log_in(http, credentials / "web.approle")
    monkeypatch.undo()
    for _ in range(3):
        assert await rotate_secret_ids(http, root, credentials_dir=credentials, alone=True) == len(old)
    done.set()
    logins = sum(await asyncio.gather(*working))
    assert logins > 20
    for name, file in old.items():
        await log_in(http, credentials / f"{name}.approle")
        with pytest.raises(Unavailable, match="credentials_refused"):
            await log_in(http, file)
    reads = [old["web"].read_bytes()]  # whoever read the file just before it was replaced
    with monkeypatch.context() as early:
        real_read = login.read_private
        early.setattr(login, "read_private", lambda path: reads.pop() if reads else real_read(path))
        await log_in(http, credentials / "web.approle")
    assert reads == []
    # Where another host has a secret id of its own, that one goes on.
    role, kept = "auth/approle/role/web", tmp_path / "kept.approle"
    issued = (await http.request("POST", f"{role}/secret-id", token=root, body={})).data["secret_id"]
    role_id = json.loads((credentials / "web.approle").read_text())["role_id"]
    kept.touch(mode=0o600)
    kept.write_text(json.dumps({"role_id": role_id, "secret_id": issued}))
    await rotate_secret_ids(http, root, credentials_dir=credentials, alone=False)
    await log_in(http, kept)
    await log_in(http, credentials / "web.approle")
    # Cut off between the file and the end of the old one, again and again: none of them is left alive.
    left = []
    for _ in range(2):
        left.append(tmp_path / f"left-{len(left)}.approle")
        left[-1].touch(mode=0o600)
        left[-1].write_bytes((credentials / "web.approle").read_bytes())
        with monkeypatch.context() as crash:
            crash.setattr(provisioning, "log_in", full)
            with pytest.raises(OSError, match="no room"):
                await rotate_secret_ids(http, root, credentials_dir=credentials, alone=False)
    await rotate_secret_ids(http, root, credentials_dir=credentials, alone=False)
    for file in left:
        with pytest.raises(Unavailable, match="credentials_refused"):
            await log_in(http, file)
    await log_in(http, kept)
    await log_in(http, credentials / "web.approle")
    assert not [*credentials.glob("*.ending")]
    (credentials / "web.approle").write_bytes(left[0].read_bytes())  # one that is dead is replaced, too
    await rotate_secret_ids(http, root, credentials_dir=credentials, alone=False)
    await log_in(http, credentials / "web.approle")


async def test_credentials_open_to_others_are_not_used(
    bao: Bao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credentials file that others may read, a link, a cut file, another user's: no login, and what to do is said."""
    good = (bao.credentials / "web.approle").read_bytes()
    path = tmp_path / "web.approle"
    path.write_bytes(good)
    path.chmod(0o640)
    link = tmp_path / "link.approle"
    link.symlink_to(bao.credentials / "web.approle")
    cut = tmp_path / "cut.approle"
    cut.write_bytes(good[:-5])
    cut.chmod(0o600)
    for unsafe in (path, link, cut):
        with pytest.raises(Unavailable, match="credentials_unsafe"):
            await log_in(bao.http, unsafe)
    with pytest.raises(Unavailable, match="credentials_missing") as missing:
        await log_in(bao.http, tmp_path / "none.approle")
    assert "none.approle" in missing.value.next_step
    monkeypatch.setattr(os, "geteuid", lambda: 4001)  # root, say: who made the file its own would end whoever has it
    with pytest.raises(Unavailable, match="credentials_unsafe") as others:
        await log_in(bao.http, bao.credentials / "web.approle")
    assert "Run this as the user who owns it" in others.value.next_step


async def test_one_login_serves_many_callers_and_survives_revocation(bao: Bao) -> None:
    """Forty callers share one login; when the token is revoked behind its back, one more login puts it right."""
    login = AppRoleLogin(bao.http, bao.credentials / "broker.approle")
    tokens = await asyncio.gather(*(login.token() for _ in range(40)))
    assert len({id(token) for token in tokens}) == 1
    await bao.http.request("POST", "auth/token/revoke-self", token=tokens[0])
    await asyncio.sleep(1.1)
    replies = await asyncio.gather(*(login.request("GET", "transit/keys/leases") for _ in range(40)))
    assert all(reply.status == 200 for reply in replies)
    renewed = await login.token()
    assert renewed is not tokens[0]
    with pytest.raises(Denied, match="store_denied"):
        await login.request("GET", "kv/metadata/platform/provisioning")
    assert await login.token() is renewed
    await login.close()


async def test_changed_content_is_provisioned_again_and_equal_content_skipped(bao: Bao) -> None:
    """`up` skips what is already so, and otherwise makes a root token, uses it and kills it."""
    assert not await bring_up(bao.server, bao.desired)
    wider = dataclasses.replace(bao.desired, lease_token_ttl_s=9)
    done = await bring_up(bao.server, wider)
    assert done == ("a", "b")
    assert not await bring_up(bao.server, wider)
    assert await bring_up(bao.server, bao.desired)
    assert not bao.server.root_live.exists()


@pytest.mark.req("S-VAULT-13")
async def test_root_is_dead_after_setup_and_needs_a_quorum_to_come_back(tmp_path: Path) -> None:
    """The first root token is refused after set-up; two of three recovery keys make one, fewer or wrong ones do not."""
    seen: list[Secret] = []
    desired = _desired()
    async with running_openbao(tmp_path, desired=desired, recovery_shares=3, recovery_threshold=2, seen=seen) as bao:
        with pytest.raises(Denied, match="store_denied"):
            await bao.http.request("GET", "auth/token/lookup-self", token=seen[0])
        assert bao.server.initial_root is None
        shares = bao.server.recovery_keys()
        provisioner, _ = await log_in(bao.http, bao.credentials / "provisioner.approle")
        wrong = Secret(bytes(reversed(shares[1].reveal())))
        for too_few in ([], shares[:1], [shares[0], wrong], [shares[0], shares[0]]):
            with pytest.raises(Denied, match="recovery_quorum_missing"):
                await generate_root(bao.http, provisioner, too_few)
        web = await bao.web.token()
        for other in (web, await bao.broker.token()):
            with pytest.raises(Denied, match="store_denied"):
                await generate_root(bao.http, other, shares)
        first = await generate_root(bao.http, provisioner, shares[1:])
        second = await generate_root(bao.http, provisioner, shares[:2])
        await retire_roots(bao.http, second)
        for root in (first, second):
            with pytest.raises(Denied, match="store_denied"):
                await bao.http.request("GET", "sys/mounts", token=root)


async def test_a_crash_between_making_and_killing_root_is_made_good(bao: Bao) -> None:
    """A root token that a crashed run left alive is dead after the next run, though the content had not changed."""
    root = await bao.root()
    bao.server.root_live.write_bytes(b"")
    assert await bring_up(bao.server, bao.desired)
    with pytest.raises(Denied, match="store_denied"):
        await bao.http.request("GET", "sys/mounts", token=root)
    assert not bao.server.root_live.exists()


async def test_content_hash_moves_with_every_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another issuer, life, network, cap or policy text gives another hash."""
    base = _desired()
    others = [
        dataclasses.replace(base, installation_id=uuid.uuid4()),
        dataclasses.replace(base, lease_token_ttl_s=3),
        dataclasses.replace(base, lease_cidrs=("10.0.0.0/8",)),
        dataclasses.replace(base, per_second=7),
        dataclasses.replace(base, environment=Environment.STAGING),
    ]
    hashes = {provisioning.content_hash(one) for one in (base, *others)}
    wider = {name: text + "\n" for name, text in provisioning.policies("<<lease_accessor>>").items()}
    monkeypatch.setattr(provisioning, "policies", lambda *_: wider)
    hashes.add(provisioning.content_hash(base))
    assert len(hashes) == 7
    for life in (0, 61):
        with pytest.raises(Rejected, match="bad_lease_token_ttl"):
            _desired(lease_token_ttl_s=life)


async def test_leases_are_bound_to_the_runners_networks(plain: Plain, tmp_path: Path) -> None:
    """With lease_cidrs a lease that comes from elsewhere logs in to nothing: the store refuses its token everywhere."""
    http, root = plain
    for network, welcome in (("10.9.0.0/16", False), ("127.0.0.0/8", True)):
        desired = _desired(lease_cidrs=(network,))
        await provision(http, root, desired, credentials_dir=tmp_path / "credentials")
        ref = SecretRef(ClientId(uuid.uuid4()), Provider.OPENAI)
        web = AppRoleLogin(http, tmp_path / "credentials" / "web.approle")
        await BaoIntake(web).put(ref, Secret("a value"), cas=0)
        jwt = await _jwt(http, tmp_path / "credentials", desired, ref.client_id, "use", "openai")
        token = await lease_login(http, jwt, "use-openai")
        attempt = read_secret(http, token, ref.path, 1, None)
        if welcome:
            assert (await attempt).matches(b"a value")
        else:
            with pytest.raises(Denied):
                await attempt


async def _jwt(
    http: BaoHttp, credentials: Path, desired: Desired, client: uuid.UUID | None = None, kind: str = "enroll",
    *secrets: str,
) -> Secret:  # fmt: skip
    signer = TransitSigner(AppRoleLogin(http, credentials / "broker.approle"))
    return Secret(await signer.sign_jwt(lease_claims(desired, client or uuid.uuid4(), kind, secrets)))
