"""The store under hands that should not move it: no wildcards, no strangers, no hanging sink, no half that tells."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from yarl import URL

from byokeep.adapters.openbao.audit import FileStoreAudit
from byokeep.adapters.openbao.embedded import EmbeddedOpenBao, audit_files
from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.adapters.openbao.ports import TransitSigner
from byokeep.broker.rounds import Rounds
from byokeep.core.errors import ByokeepError, Denied, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, lease_login, read_secret
from byokeep_redact.search import Sweep
from tests.support.broker import Stand, running_store, since
from tests.support.postgres import short_home
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]
store = pytest.fixture(scope="module")(running_store)  # all of it is searched

WILD = ("*", "+", "a/b", "../x", "{{identity.entity.id}}", "{{identity.entity.aliases.x.name}}", "a*", "%2a", "x\x00y",
        "a,b", "#", "?x=1", "a;b", "\u2215", "~")  # fmt: skip


class Full:
    """No reserve to hold."""

    def hold(self) -> bool:
        return True


@contextlib.asynccontextmanager
async def silence(place: Path) -> AsyncIterator[str]:
    """A socket that accepts everything and never answers."""
    held: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_unix_server(accept, str(place))
    try:
        yield f"unix://{place}"
    finally:
        for writer in held:
            writer.close()
        server.close()


@pytest.mark.req("S-VAULT-2")
async def test_a_sink_that_hangs_counts_as_failed_in_time(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store or disk that accepts and never answers is an unhealthy device and an alert, and holds nobody for long."""
    files = audit_files(stand.store.home)
    credentials = stand.store.home / "credentials" / "broker.approle"
    async with silence(stand.home / "s.sock") as address, BaoHttp(address, timeout_s=1) as http:
        login = AppRoleLogin(http, credentials)
        hung = FileStoreAudit(login, files, deadline_s=0.5)
        found = await asyncio.wait_for(hung.devices(), 60)
        assert {device.name: device.reason for device in found} == dict.fromkeys(files, "hung")
        assert not any(device.healthy for device in found)
        rounds = Rounds(replace(stand.app, store_audit=hung), Full())
        await asyncio.wait_for(rounds._probe(), 60)
        assert stand.alerts() == ["audit_device_unhealthy"] * 2 + ["store_not_recording"]
        with pytest.raises(Unavailable):  # and whoever needs the store is told, not held
            async with asyncio.timeout(60):
                await TransitSigner(login).sign_jwt({"client_id": str(UUID(int=1)), "iat": 1, "exp": 4})
        await login.close()
    # the disk of one device takes no sync: that device alone is counted as failed
    import os

    real, slow = os.fsync, files["b"].stat().st_ino

    def fsync(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == slow:
            time.sleep(4.0)
        real(descriptor)

    async with BaoHttp(stand.store.address) as http:
        login = AppRoleLogin(http, credentials)
        monkeypatch.setattr(os, "fsync", fsync)
        found = await FileStoreAudit(login, files, deadline_s=2, min_free_bytes=1).devices()
        monkeypatch.undo()
        assert {device.name: (device.reason, device.records) for device in found} == {
            "a": ("", True), "b": ("hung", False),
        }  # fmt: skip
        found = await FileStoreAudit(login, files, min_free_bytes=1).devices()
        assert {device.name: device.reason for device in found} == {"a": "", "b": ""}
        await login.close()


@pytest.mark.req("S-VAULT-8")
async def test_wildcards_and_separators_have_no_meaning(desk: Desk) -> None:
    """Names that mean something in a path or template are refused by us and reach no other client in the store."""
    stand = desk.stand
    victim = await stand.client("openai")
    admin, operator = "admin", "operator"
    token = desk.people[operator].token
    for text in WILD:
        assert (await desk.call("POST", "/v1/clients", admin, {"name": text}))[0] == 422, text
        account = {"platform": "x", "account": text, "username": "acme", "display_name": "Acme Ltd"}
        status, reply = await desk.call("POST", f"/v1/clients/{victim}/accounts", operator, account)
        assert (status, reply["code"]) == (422, "bad_json" if "\0" in text else "bad_account"), text
        runner = str(stand.people["runner"].id)
        body: dict[str, Any] = {"client_id": str(victim), "runner_id": runner, "secrets": [text]}
        assert (await stand.call("POST", "/v1/jobs", "dispatcher", body))[0] == 422, text
        body |= {"client_id": text, "secrets": ["openai"]}
        assert (await stand.call("POST", "/v1/jobs", "dispatcher", body))[0] == 422, text
        for path in (f"v1/clients/{victim}/providers/{text}/value", f"v1/clients/{text}/providers/openai/value"):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
            async with desk.http.put(URL("http://web") / path, data=b"x", headers=headers) as reply:
                assert reply.status in (404, 405, 422), path
    plain = account | {"account": "acme"}  # so that it was the name that was refused
    assert (await desk.call("POST", f"/v1/clients/{victim}/accounts", operator, plain))[0] == 201
    assert desk.sql("SELECT count(*) FROM byokeep.client") == "1"
    # below us: even a signed lease with such a name opens nothing of anybody's
    async with BaoHttp(stand.store.address) as http:
        for text in ("*", "+", f"{victim}*", "..", f"+/providers/openai/../../{victim}", "{{identity.entity.id}}"):
            now = int(time.time())
            claims = {"iss": f"byokeep/{stand.app.installation_id}", "aud": "openbao", "sub": "s", "job_id": "s",
                      "client_id": text, "kind": "use", "secrets": ["openai"],
                      "iat": now, "nbf": now, "exp": now + 3}  # fmt: skip
            with pytest.raises((Denied, Rejected)):  # at the login, or at the read
                await _read_as(http, await stand.app.signer.sign_jwt(claims), victim)
        own = await stand.lease(await stand.job(victim))
        await _read_as(http, own["jwt"], victim)


async def _read_as(http: BaoHttp, jwt: str, client: UUID) -> None:
    token = await lease_login(http, Secret(jwt), "use-openai")
    await read_secret(http, token, f"kv/clients/{client}/providers/openai", 1, str(client))


MAINTENANCE = (
    ("POST", "sys/init"), ("POST", "sys/seal"), ("POST", "sys/step-down"), ("POST", "sys/rekey/init"),
    ("DELETE", "sys/rekey/init"), ("DELETE", "sys/rekey/verify"), ("POST", "sys/rekey/update"),
    ("POST", "sys/rekey-recovery-key/init"), ("DELETE", "sys/rekey-recovery-key/init"), ("POST", "sys/rotate"),
    ("POST", "sys/rotate/root/init"), ("DELETE", "sys/rotate/root/init"), ("POST", "sys/rotate/recovery/init"),
    ("DELETE", "sys/rotate/recovery/init"), ("POST", "sys/generate-root/attempt"),
    ("DELETE", "sys/generate-root/attempt"), ("POST", "sys/generate-root/update"),
    ("POST", "sys/generate-root-token/attempt"), ("DELETE", "sys/generate-root-token/attempt"),
    ("POST", "sys/storage/raft/remove-peer"), ("POST", "sys/storage/raft/snapshot-force"), ("DELETE", "sys/audit/a"),
    ("POST", "sys/loggers"), ("POST", "sys/config/auditing/request-headers/X-Byokeep-Lease"),
)  # fmt: skip
NOT_ROUTED = {"sys/init", "sys/seal", "sys/step-down"}  # the server turns these away before its trail begins


@pytest.mark.req("S-VAULT-10")
async def test_a_stranger_can_not_maintain_the_store(stand: Stand) -> None:
    """Without a token, calls to init, seal, rekey, rotate or make root are refused, shown, and change nothing."""
    connector = aiohttp.UnixConnector(stand.store.address.removeprefix("unix://"))
    trail = audit_files(stand.store.home)["a"]

    async with aiohttp.ClientSession(connector=connector) as http:

        async def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
            async with http.request(method, f"http://bao/v1/{path}", json=body) as reply:
                return reply.status, await reply.json(content_type=None)

        before = (await call("GET", "sys/seal-status"))[1]
        assert (before["initialized"], before["sealed"]) == (True, False)
        start = trail.stat().st_size
        body = {"secret_shares": 1, "secret_threshold": 1, "recovery_shares": 1, "recovery_threshold": 1, "key": "AA==",
                "nonce": "x", "server_id": "x", "level": "trace"}  # fmt: skip
        for method, path in MAINTENANCE:
            status, reply = await call(method, path, body if method == "POST" else None)
            assert status in (400, 403, 404, 405), (method, path, reply)
            assert "errors" in reply
        await call("POST", "sys/unseal", {"key": "AA==", "reset": True})
        assert (await call("GET", "sys/seal-status"))[1] == before
        assert (await call("GET", "sys/health"))[0] == 200
    written = [json.loads(line) for line in trail.read_bytes()[start:].splitlines()]
    answers = [entry for entry in written if entry["type"] == "response"]
    shown = {(entry["request"]["operation"], entry["request"]["path"]) for entry in answers if entry.get("error")}
    for method, path in MAINTENANCE:
        if path not in NOT_ROUTED:
            assert ({"POST": "update", "DELETE": "delete"}[method], path) in shown, (method, path)
    client = await stand.client("openai")
    await stand.lease(await stand.job(client))


@pytest.mark.req("S-OWASP-19")
async def test_no_store_alone_yields_a_value(desk: Desk) -> None:
    """The database, the store's data, its trails, and all of them together hold no value without the seal key."""
    stand = desk.stand
    trails = stand.store.trails()
    client = await stand.client()
    value = desk.canary()
    await desk.onboard(client, value)
    home = stand.store.home
    search = Sweep(desk.canaries)
    dump = stand.db.server.run_tool("pg_dump", f"--dbname={stand.db.name}")
    assert str(client).encode() in dump
    assert search.scan_bytes(dump, source="database").clean
    assert search.scan_bytes(dump + value, source="planted").findings
    for name, written in since(trails).items():
        assert search.scan_bytes(written, source=name).bytes_scanned > 0
        assert not search.scan_bytes(written, source=name).findings, name
    for part in (home / "openbao", home / "logs", desk.files):
        report = search.scan_paths([part])
        assert report.sources_scanned > 0
        assert not report.findings, part
    data = b"".join(path.read_bytes() for path in (home / "openbao").rglob("*") if path.is_file())
    key = (home / "keys" / "seal.key").read_bytes()
    for form in (key, key.hex().encode(), base64.b64encode(key), base64.urlsafe_b64encode(key)):
        assert form.rstrip(b"=") not in data + dump
    for name in ("web.approle", "broker.approle"):
        secret_id = json.loads((home / "credentials" / name).read_text())["secret_id"].encode()
        assert secret_id not in dump
        assert secret_id not in data
    # database and store data together, but not the key: the node does not come up
    thief = short_home()
    try:
        shutil.copytree(home / "openbao" / "data", thief / "openbao" / "data")
        for path in (thief / "openbao", thief / "openbao" / "data"):
            path.chmod(0o700)
        with pytest.raises(ByokeepError) as refused:
            await EmbeddedOpenBao(thief).start()
        assert refused.value.code == "seal_key_missing"
        (thief / "keys").mkdir(mode=0o700, exist_ok=True)
        (thief / "keys" / "seal.key").touch(mode=0o600)
        (thief / "keys" / "seal.key").write_bytes(bytes(32))
        node = EmbeddedOpenBao(thief)
        with pytest.raises((ByokeepError, TimeoutError)):
            await asyncio.wait_for(node.start(), 4)
        await node.stop()
    finally:
        shutil.rmtree(thief, ignore_errors=True)
    # and the other way round: database rights give no right at the store
    async with BaoHttp(stand.store.address) as http:
        place = f"kv/data/clients/{client}/providers/openai"
        with pytest.raises(Denied):
            await http.request("GET", place, token=Secret(desk.people["admin"].token))
        lease = await stand.lease(await stand.job(client))
        token = await lease_login(http, Secret(lease["jwt"]), "use-openai")
        pin = lease["secrets"]["openai"]
        assert (await read_secret(http, token, pin["path"], pin["version"], lease["lease_id"])).matches(value)
