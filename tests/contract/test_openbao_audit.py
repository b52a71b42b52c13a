"""The store's own audit trail, on the real server: what stands in it, what never does, whether to trust it."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import secrets
import shutil
import signal
import threading
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from byokeep.adapters.openbao.audit import FileStoreAudit
from byokeep.adapters.openbao.ports import BaoIntake, EntityCutoff
from byokeep.core.errors import Denied, Rejected, Unavailable
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.kernel.ports import HASHED_NAME, StoreEntry
from byokeep.wire.bao_http import BaoReply, lease_login, read_secret
from tests.support.hang import hung
from tests.support.openbao import Bao, running_openbao

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _trail(bao: Bao) -> bytes:
    return b"".join(path.read_bytes() for path in bao.audit_files.values())


def _forms(value: bytes) -> list[bytes]:
    """A value as it could stand in a log: raw, JSON-escaped, hex, base64 at every alignment."""
    forms = [value, json.dumps(value.decode("latin-1")).strip('"').encode(), value.hex().encode()]
    for shift in range(3):
        padded = base64.b64encode(bytes(shift) + value)
        inner = padded[4 if shift else 0 : -4]
        forms += [inner, inner.replace(b"+", b"-").replace(b"/", b"_")]
    return forms


async def _entries(audit: FileStoreAudit, device: str, since: datetime) -> list[StoreEntry]:
    return [entry async for entry in audit.entries(device, since=since)]


@pytest.mark.req("S-VAULT-3")
async def test_no_kind_of_value_reaches_the_trail(bao: Bao) -> None:
    """Text, digits, JSON, base64, unicode go in as strings and are hashed; bytes that are no text are refused."""
    intake, trail_before = BaoIntake(bao.web), len(_trail(bao))
    pin = str(secrets.randbelow(10**18) + 10**18).encode()
    values = [
        f"sk-canary-{secrets.token_hex(16)}".encode(),
        pin,
        json.dumps([int(pin) + 1, {"pin": int(pin) + 2}]).encode(),
        base64.b64encode(secrets.token_bytes(48)),
        f"canary-ключ-{secrets.token_hex(8)}".encode(),
    ]
    for value in values:
        ref = SecretRef(ClientId(uuid.uuid4()), Provider.OPENAI)
        await intake.put(ref, Secret(value), cas=0)
        await intake.value_fingerprint(Secret(value))
        token = await bao.lease(ref.client_id, "custody", "openai")
        assert (await read_secret(bao.http, token, ref.path, 1, "lease")).matches(value)
    with pytest.raises(Rejected, match="value_not_text"):
        await intake.put(SecretRef(ClientId(uuid.uuid4()), Provider.OPENAI), Secret(b"\xff\xfe\x00canary"), cas=0)
    trail = _trail(bao)
    assert len(trail) > trail_before
    for value in values:
        for form in _forms(value):
            assert form not in trail
    assert str(int(pin) + 1).encode() not in trail
    assert str(int(pin) + 2).encode() not in trail


@pytest.mark.req("S-VAULT-4")
async def test_a_malformed_request_leaves_no_value_behind(bao: Bao) -> None:
    """A secret sent cut off, as a form, as another type, in another field or header: refused, and not to be found."""
    ref, token = SecretRef(ClientId(uuid.uuid4()), Provider.OPENAI), await bao.web.token()
    path = f"kv/data/{ref.path[3:]}"
    canary = f"sk-canary-{secrets.token_hex(20)}"
    bodies = (
        f'{{"options":{{"cas":0}},"data":{{"value":"{canary}'.encode(),
        f'["{canary}"]'.encode(),
        f'"{canary}"'.encode(),
        canary.encode(),
        f"data={canary}&options=1".encode(),
        f'{{"data":"{canary}"}}'.encode(),
        f'{{"options":"{canary}","data":{{"value":"{canary}"}}}}'.encode(),
        f'{{"value":"{canary}","options":{{"cas":0}}}}'.encode(),
        f'{{"options":{{"cas":"{canary}"}},"data":{{"value":"{canary}"}}}}'.encode(),
        b"\xff" + canary.encode(),
    )
    for body in bodies:
        for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"):
            if "form-urlencoded" in kind and b"=" not in body and b"{" not in body and b"[" not in body:
                continue  # the secret would be a field's name: see the next test
            headers = {"Content-Type": kind, "X-Secret": canary, "Cookie": f"session={canary}"}
            status, reply = await bao.raw("POST", path, token, data=body, headers=headers)
            assert 400 <= status < 500, (body[:20], kind, status)
            assert canary.encode() not in reply
    assert await BaoIntake(bao.web).current_version(ref) == 0
    log = (bao.server.home / "logs" / "openbao.log").read_bytes()
    for form in _forms(canary.encode()):
        assert form not in _trail(bao)
        assert form not in log


async def test_what_openbao_logs_in_clear(bao: Bao) -> None:
    """Field names and numbers are not hashed by the server, which is why we send strings under fixed names alone."""
    token, number, name = await bao.web.token(), 8271828182845904, f"name-{secrets.token_hex(8)}"
    body = {"options": {"cas": 0}, "data": {"value": number, name: "x"}}
    status, _ = await bao.raw("POST", f"kv/data/clients/{uuid.uuid4()}/providers/openai", token, json=body)
    assert status == 200
    assert str(number).encode() in _trail(bao)
    assert name.encode() in _trail(bao)


@pytest.mark.req("S-VAULT-5")
async def test_no_credential_of_ours_stands_in_the_trail(bao: Bao) -> None:
    """Service and batch tokens, secret ids, leases' JWTs, wrapping tokens: used, and not found in the files."""
    client = uuid.uuid4()
    jwt = await bao.jwt(client, "use", "openai")
    token = await lease_login(bao.http, jwt, "use-openai", lease_id="lease-5")
    with pytest.raises(Denied):
        await bao.http.request("GET", "sys/mounts", token=token)
    with pytest.raises(Denied):
        await bao.http.request("GET", "sys/mounts", token=Secret("s.thisisnotatokenbutcouldbeone"))
    web = await bao.web.token()
    wrapped = await bao.http.request("POST", "sys/wrapping/wrap", token=web, body={"a": "b"}, wrap_ttl_s=60)
    await bao.http.request("POST", "sys/wrapping/unwrap", token=Secret(wrapped.wrap["token"]))
    found = json.loads((bao.credentials / "web.approle").read_bytes())
    root = await bao.root()
    await bao.retire(root)
    trail = _trail(bao)
    for credential in (jwt, token, web, await bao.broker.token(), root):
        assert credential.reveal() not in trail
    for text in (wrapped.wrap["token"], wrapped.wrap["accessor"], found["secret_id"], found["role_id"]):
        assert text.encode() not in trail
    assert b"thisisnotatoken" not in trail


async def test_a_wrapped_answer_stands_in_the_trail_and_its_copy_can_be_ended(bao: Bao) -> None:
    """A value and a data key that a lease had wrapped for ten years, one wrapped anew: no more; other tokens live."""
    client, since, life = uuid.uuid4(), datetime.now(UTC), 10 * 365 * 86400
    await BaoIntake(bao.web).put(SecretRef(ClientId(client), Provider.OPENAI), Secret("v"), cas=0)
    value, key = f"kv/data/clients/{client}/providers/openai", f"development-{client}"
    custody = await bao.lease(client, "custody", "profile")
    send = partial(bao.http.request, "POST", token=custody)
    await send(f"tenant/keys/{key}", body={"type": "aes256-gcm96", "derived": True})
    sealed = await send(f"tenant/encrypt/{key}", body={"plaintext": "aGk=", "context": "aGk="})
    body = {"ciphertext": sealed.data["ciphertext"], "context": "aGk="}
    opened = await send(f"tenant/decrypt/{key}", body=body, wrap_ttl_s=life)
    token = await bao.lease(client, "use", "openai")
    taken, left, again = [await bao.http.request("GET", value, token=token, wrap_ttl_s=life) for _ in range(3)]
    await bao.http.request("GET", value, token=token)

    async def unwrap(reply: BaoReply, wrap_ttl_s: int | None = None) -> BaoReply:
        token = Secret(reply.wrap["token"])
        return await bao.http.request("POST", "sys/wrapping/unwrap", token=token, wrap_ttl_s=wrap_ttl_s)

    assert (await unwrap(taken)).data["data"] == {"value": "v"}
    copies = [opened, left, await unwrap(again, life)]
    cutoff, other = EntityCutoff(bao.broker), await bao.web.token()
    for path in (value, f"tenant/decrypt/{key}", "sys/wrapping/unwrap"):
        await cutoff.end_copies(path)
    for copy in copies:
        with pytest.raises((Denied, Rejected)):
            await unwrap(copy)
    await bao.http.request("GET", "kv/data/platform/scan-key", token=other)
    for path in ("auth/approle/login", "auth/lease", "kv/metadata"):
        with pytest.raises(Denied):
            await cutoff.end_copies(path)
    entries = await _entries(FileStoreAudit(bao.broker, bao.audit_files), "a", since)
    done = [one for one in entries if one.kind == "response" and not one.status_error]
    assert [one.wrapped for one in done if one.path == value] == [False, True, True, True, False]
    assert {one.path for one in done if one.wrapped} == {value, f"tenant/decrypt/{key}", "sys/wrapping/unwrap"}


async def test_both_devices_tell_the_same_story_and_name_the_lease(bao: Bao) -> None:
    """A login and a read stand in both files with entity, lease header and the hash by which the JWT is found again."""
    audit = FileStoreAudit(bao.broker, bao.audit_files)
    client, since = uuid.uuid4(), datetime.now(UTC)
    await BaoIntake(bao.web).put(SecretRef(ClientId(client), Provider.OPENAI), Secret("v"), cas=0)
    entity, jwt = await bao.enroll(client), await bao.jwt(client, "use", "openai")
    lease_id = str(uuid.uuid4())
    token = await lease_login(bao.http, jwt, "use-openai", lease_id=lease_id)
    await read_secret(bao.http, token, f"kv/clients/{client}/providers/openai", 1, lease_id)
    with pytest.raises(Denied):
        await read_secret(bao.http, token, f"kv/clients/{client}/providers/kie", 1, lease_id)
    trails = {device: await _entries(audit, device, since) for device in ("a", "b")}
    ids = {device: [(entry.request_id, entry.kind) for entry in trail] for device, trail in trails.items()}
    assert ids["a"] == ids["b"]
    for device, trail in trails.items():
        ours = [entry for entry in trail if entry.lease_header == lease_id and entry.kind == "response"]
        assert [entry.operation for entry in ours] == ["update", "read", "read"]
        assert [entry.status_error for entry in ours] == [False, False, True]
        assert {entry.entity_id for entry in ours} == {entity}
        assert ours[0].path == "auth/lease/cel/login"
        assert ours[0].login_jwt_hash == await audit.hash(device, jwt)
        assert ours[1].path == f"kv/data/clients/{client}/providers/openai"
        assert not ours[1].login_jwt_hash
        assert all(since <= entry.at <= datetime.now(UTC) for entry in ours)
    assert await audit.hash("a", jwt) != await audit.hash("b", jwt)
    with pytest.raises(Rejected, match="unknown_device"):
        await audit.hash("c", jwt)


async def test_a_long_trail_is_read_from_where_it_was_asked_for(bao: Bao, tmp_path: Path) -> None:
    """In a file of many megabytes the search finds the first entry at or after the time, and misses none."""
    start, path = datetime(2026, 1, 1, tzinfo=UTC), tmp_path / "long.jsonl"
    pad = "x" * 400
    with path.open("w") as file:
        for number in range(20_000):
            at = (start + timedelta(seconds=number)).isoformat()
            entry = {"time": at, "type": "request", "request": {"id": str(number), "path": pad}}
            file.write(json.dumps(entry, separators=(",", ":")) + "\n")
        file.write('{"time":"2026-01-02T')
    audit = FileStoreAudit(bao.broker, {"a": path})
    for number in (0, 1, 7_777, 19_999, 20_000):
        found = await _entries(audit, "a", start + timedelta(seconds=number))
        assert [entry.request_id for entry in found] == [str(n) for n in range(number, 20_000)]


async def test_a_torn_line_is_shown_and_a_foreign_one_stops_the_reading(bao: Bao, tmp_path: Path) -> None:
    """A line cut by a crash reads as `torn` before the entry behind it; anything else that is no entry is an error."""
    path = tmp_path / "torn.jsonl"
    line = b'{"time":"2026-01-01T00:00:00Z","type":"request","request":{"id":"1","path":"p"}}\n'
    audit = FileStoreAudit(bao.broker, {"a": path})
    since = datetime(2025, 1, 1, tzinfo=UTC)
    path.write_bytes(line + line[:40] + line + line[:50])
    assert [entry.kind for entry in await _entries(audit, "a", since)] == ["request", "torn", "request"]
    for foreign in (
        b"{}\n",
        b"null\n",
        b"\n",
        b"[1]\n",
        b"not json\n",
        line.replace(b'"1"', b"1"),
        b"[" * 99999 + b"\n",
    ):
        path.write_bytes(line + foreign + line)
        with pytest.raises(Unavailable, match="store_audit_unreadable"):
            await _entries(audit, "a", since)
    path.unlink()
    with pytest.raises(Unavailable, match="store_audit_unreadable"):
        await _entries(audit, "a", since)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bao]:
    async with running_openbao(tmp_path_factory.mktemp("own")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def own(node: Bao) -> AsyncIterator[Bao]:
    """A node whose files may be broken: each test starts it again, with new ones."""
    if node.server.pid is None:
        await node.server.start()
    yield node
    await node.server.stop()
    shutil.rmtree(node.server.home / "store-audit")


async def _reasons(audit: FileStoreAudit) -> dict[str, str]:
    health = await audit.devices()
    assert all(device.healthy is (device.reason == "") for device in health)
    return {device.name: device.reason for device in health}


async def test_a_rotated_log_is_taken_for_one_and_read_on(own: Bao) -> None:
    """Moved to its name and ``.1``, with the store told: healthy again under the same reader, which misses no entry."""
    files, began = own.audit_files, datetime.now(UTC)
    audit = FileStoreAudit(own.broker, files, deadline_s=0.5)
    assert await _reasons(audit) == {"a": "", "b": ""}
    since = (await audit.devices())[0].recording_since
    before = {name: [one.request_id for one in await _entries(audit, name, began)] for name in files}
    for file in files.values():
        file.rename(file.with_name(f"{file.name}.1"))
    assert await _reasons(audit) == {"a": "missing", "b": "missing"}
    assert own.server.pid is not None
    os.kill(own.server.pid, signal.SIGHUP)
    for _ in range(50):
        if all(file.exists() for file in files.values()):
            break
        await asyncio.sleep(0.1)
    assert await _reasons(audit) == {"a": "", "b": ""}
    assert (await audit.devices())[0].recording_since == since
    for name in files:
        read = [one.request_id for one in await _entries(audit, name, began)]
        assert read[: len(before[name])] == before[name] != []
        assert len(read) > len(before[name]) + 2
        newest = (await _entries(audit, name, began))[-1].at
        assert {one.at for one in await _entries(audit, name, newest)} == {newest}
    files["b"].rename(files["b"].with_name("elsewhere"))
    files["b"].touch(mode=0o600)
    assert await _reasons(audit) == {"a": "", "b": "inode_changed"}, "a file that the store does not write to"
    (files["b"].with_name("elsewhere")).replace(files["b"])


@pytest.mark.req("R8.2-2")
async def test_device_health_is_proven_by_a_probe(own: Bao) -> None:
    """Deleted, replaced, unwritten, a full disk, a server that hangs or is gone: each is noticed; whole is healthy."""
    files = own.audit_files
    audit = FileStoreAudit(own.broker, files, deadline_s=0.5)
    healthy = await audit.devices()
    assert [(device.name, device.healthy, device.reason) for device in healthy] == [("a", True, ""), ("b", True, "")]
    assert all(device.size_bytes > 0 and device.disk_free_bytes > 0 for device in healthy)
    assert all(device.last_write_at is not None for device in healthy)
    low = FileStoreAudit(own.broker, files, min_free_bytes=1 << 60)
    assert await _reasons(low) == {"a": "disk_low", "b": "disk_low"}

    kept = files["b"].with_suffix(".kept")
    files["b"].rename(kept)
    assert await _reasons(audit) == {"a": "", "b": "missing"}
    files["b"].write_bytes(b"")
    assert await _reasons(audit) == {"a": "", "b": "inode_changed"}
    assert await _reasons(FileStoreAudit(own.broker, files, deadline_s=0.3)) == {"a": "", "b": "not_written"}
    kept.replace(files["b"])
    assert await _reasons(audit) == {"a": "", "b": ""}
    os.truncate(files["a"], 0)
    assert await _reasons(audit) == {"a": "", "b": ""}  # cut before the look, written to since
    files["a"].unlink()
    files["a"].mkdir()
    assert await _reasons(audit) == {"a": "unreadable", "b": ""}
    files["a"].rmdir()

    assert own.server.pid is not None
    with hung(own.server.pid):
        assert await _reasons(audit) == {"a": "hung", "b": "hung"}
    await own.server.stop()
    assert await _reasons(audit) == {"a": "store_unreachable", "b": "store_unreachable"}


@pytest.mark.req("R8.2-2", "R8.2-3")
async def test_a_disk_that_takes_no_sync_is_no_healthy_device(own: Bao, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written and cannot be brought to the disk, or takes for ever, is not recorded; once it can, it is."""
    audit = FileStoreAudit(own.broker, own.audit_files)
    go_on = threading.Event()

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "made up")

    for sync in (broken, lambda _: go_on.wait(5)):
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", sync)
            assert await _reasons(audit) == {"a": "hung", "b": "hung"}
            assert not any(device.records for device in await audit.devices())
    go_on.set()
    await asyncio.gather(*audit._syncs.values())
    looks = await asyncio.gather(*(_reasons(audit) for _ in range(4)))  # at once
    assert looks == [{"a": "", "b": ""}] * 4


async def test_a_file_cut_while_the_probe_runs_is_noticed(own: Bao) -> None:
    """Somebody who keeps emptying a file does not pass for a healthy device."""
    path = own.audit_files["a"]
    audit = FileStoreAudit(own.broker, own.audit_files, deadline_s=0.3)
    done = asyncio.Event()

    async def empty() -> None:
        while not done.is_set():
            os.truncate(path, 0)
            await asyncio.sleep(0)

    task = asyncio.create_task(empty())
    try:
        reasons = await _reasons(audit)
    finally:
        done.set()
        await task
    assert reasons["a"] in ("truncated", "not_written")
    assert reasons["b"] == ""


async def test_no_device_that_can_write_means_no_answer(own: Bao) -> None:
    """When the server can write to none of its files it refuses requests, and the health says so."""
    token = await own.broker.token()
    assert own.server.pid is not None
    for path in own.audit_files.values():
        path.unlink()
        path.mkdir()
    os.kill(own.server.pid, signal.SIGHUP)
    audit = FileStoreAudit(own.broker, own.audit_files, deadline_s=0.5)
    for _ in range(100):
        status, body = await own.raw("GET", "transit/keys/leases", token)
        if status != 200:
            break
        await asyncio.sleep(0.02)
    assert status == 500
    assert b"public_key" not in body
    assert set((await _reasons(audit)).values()) <= {"not_written", "unreadable", "store_failed"}
    with pytest.raises(Unavailable):
        await own.http.request("GET", "transit/keys/leases", token=token)


@pytest.mark.req("R8.2-3")
async def test_a_store_that_lost_its_devices_answers_and_is_not_proved_to_record(own: Bao) -> None:
    """With every device taken out of the configuration requests are served; no probe takes that for recording."""
    config = own.server.home / "openbao" / "config.hcl"
    whole, token = config.read_text(), await own.broker.token()
    audit = FileStoreAudit(own.broker, own.audit_files, deadline_s=0.3, min_free_bytes=1)
    assert [device.records for device in await audit.devices()] == [True, True]
    assert own.server.pid is not None

    async def reload(text: str, *, records: bool) -> None:
        config.write_text(text)
        os.kill(own.server.pid or 0, signal.SIGHUP)
        for _ in range(50):
            if [device.records for device in await audit.devices()] == [records] * 2:
                return
        raise AssertionError("the store did not take its configuration")

    await reload(whole.partition('audit "file"')[0], records=False)
    assert (await own.raw("GET", "transit/keys/leases", token))[0] == 200
    await reload(whole, records=True)


async def test_what_a_device_hashed_before_it_was_made_anew_shows_as_such(own: Bao) -> None:
    """The same token and the same name of a key hash otherwise afterwards. Every answer about the key that signs
    leases shows which key the device had, whatever is asked; a refused request, or one for another key, shows none."""
    config = own.server.home / "openbao" / "config.hcl"
    whole, token = config.read_text(), await own.broker.token()
    audit = FileStoreAudit(own.broker, own.audit_files, deadline_s=0.3, min_free_bytes=1)
    client, since, leases = uuid.uuid4(), datetime.now(UTC), [uuid.uuid4(), uuid.uuid4()]
    await EntityCutoff(own.broker).enroll((await own.jwt(client, "enroll")).reveal().decode(), leases[0])
    jwt = await own.jwt(client, "use", "openai")
    await lease_login(own.http, jwt, "use-openai", lease_id=str(leases[1]))
    await audit.devices()
    for text, records in ((whole.partition('audit "file"')[0], False), (whole, True)):
        config.write_text(text)
        os.kill(own.server.pid or 0, signal.SIGHUP)
        while [device.records for device in await audit.devices()] != [records] * 2:
            pass
    anew = datetime.now(UTC)
    await own.raw("GET", "transit/keys/leases?name=other", token)
    await own.raw("GET", "transit/keys/leases")
    await own.raw("GET", "transit/keys/checkpoints", token)
    for device in ("a", "b"):
        entries, name = await _entries(audit, device, since), await audit.hash(device, Secret(HASHED_NAME))
        hashed = [entry.login_jwt_hash for entry in entries if entry.login_jwt_hash]
        assert await audit.hash(device, jwt) not in hashed
        assert {entry.lease_header for entry in entries if entry.login_jwt_hash} == {str(lease) for lease in leases}
        seen = [(entry.at < anew, entry.name_hash) for entry in entries if entry.name_hash]
        assert seen[0][1] != name
        assert [name_hash for before, name_hash in seen if not before] == [name]
        assert len({name_hash for _, name_hash in seen}) == 2
