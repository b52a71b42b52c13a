"""Leak fingerprints over HTTP on real servers: made at intake, given to auditors, silent when something is away."""

# ruff: noqa: S608 - statements are put together from made-up ids
from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from granian.constants import Interfaces
from granian.server.embed import Server

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.cli import leaks
from byokeep.cli.terminal import TerminalSession, current
from byokeep.core.errors import Denied, Unavailable
from byokeep.core.keystate import LIVE, KeyState
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.keys.routes import PER_MINUTE
from byokeep.settings import Settings
from byokeep.wire.bao_http import BaoHttp
from byokeep_redact.canary import PROVIDERS
from byokeep_redact.fingerprint import WINDOW, Digester, parse
from tests.support.audit_table import DENIED, Call, Case, Scene, expect_each, fresh
from tests.support.broker import Person
from tests.support.connected import connect
from tests.support.web import Desk

pytest_plugins = [
    "tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web", "tests.support.audit_table",
]  # fmt: skip
PATH = "/v1/leaks/fingerprints"


async def taken(desk: Desk, who: str | Person | None = None) -> dict[str, Any]:
    """The reply to an auditor who was never here before, so that no rate is used up."""
    status, reply = await desk.call("GET", PATH, who or desk.stand.subject("auditor", "fresh"))
    assert status == 200, reply
    return dict(reply)


def labels_of(reply: dict[str, Any], value: bytes) -> set[str]:
    """The labels under which a scanner that slides over ``value`` would report it."""
    if not reply["fingerprints"]["digests"]:
        return set()
    known = parse(json.dumps(reply["fingerprints"]).encode())
    digest = Digester(known.key).digest
    found = (known.labels.get(digest(value[at : at + WINDOW]), ()) for at in range(len(value) - WINDOW + 1))
    return {label for names in found for label in names}


async def test_a_value_can_be_looked_for_as_soon_as_it_is_stored(desk: Desk) -> None:
    """Every provider's key is found by the fingerprints, under its reference and client, before it is verified."""
    client = await desk.stand.client()
    values = {provider: desk.canary(provider) for provider in PROVIDERS}
    done = {provider: (await desk.put(client, value, provider))[1] for provider, value in values.items()}
    await connect(desk.stand, client)  # an account's tokens are not looked for, and leave no scan unknown
    reply = await taken(desk)
    assert (reply["values"], reply["unknown"], reply["replaced_unknown"]) == (len(PROVIDERS), [], 0)
    assert reply["all_clients"] is True
    for provider, value in values.items():
        assert labels_of(reply, value) == {f"{provider} v1 ref={done[provider]['ref']} client={client}"}
        assert labels_of(reply, b"key=" + value + b"&next") == labels_of(reply, value)
    assert not labels_of(reply, desk.canary("anthropic"))
    rows = desk.sql(
        "SELECT min(cardinality(digests)), max(cardinality(digests)), count(*) FROM byokeep.leak_fingerprint"
    )
    low, high, count = map(int, rows.split("|"))
    assert (1 <= low <= high <= 4, count) == (True, len(PROVIDERS))


@pytest.mark.req("S-ASVS-16")
async def test_fingerprints_show_nothing_of_a_value_and_are_not_kept(desk: Desk) -> None:
    """No eight bytes of the random part in the reply; nothing of the reply in logs, spans, records; no-store."""
    client = await desk.stand.client()
    value = desk.canary()
    await desk.onboard(client, value)
    status, headers, reply = await desk.exchange("GET", PATH, "auditor")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    shown = json.dumps(reply)
    tail = value.decode()[-40:]
    assert not [at for at in range(33) if tail[at : at + 8] in shown]
    kept = (desk.files / "web.log").read_text() + (desk.files / "spans.jsonl").read_text()
    kept += desk.sql("SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record")
    kept += desk.sql("SELECT args::text FROM procrastinate.procrastinate_jobs")
    key = reply["fingerprints"]["key"]
    assert PATH in kept
    for secret in (key, *(row["digest"] for row in reply["fingerprints"]["digests"])):
        assert secret[:16] not in kept
    dump = desk.stand.db.server.run_tool("pg_dump", "-d", desk.stand.db.name).decode()
    assert reply["fingerprints"]["digests"][0]["digest"] in dump
    assert key not in dump


@pytest.mark.req("R1.1-2")
async def test_no_fingerprint_in_the_database_is_made_without_a_key(desk: Desk) -> None:
    """Who has the database and guesses a value cannot prove the guess: no plain hash of it, in any form, is there."""
    client = await desk.stand.client()
    value = desk.canary()
    await desk.onboard(client, value)
    assert len(desk.sql("SELECT fingerprint FROM byokeep.value_fingerprint")) == 64
    dump = desk.stand.db.server.run_tool("pg_dump", "-d", desk.stand.db.name).decode()
    assert desk.sql("SELECT fingerprint FROM byokeep.value_fingerprint") in dump
    parts = [value, value.strip(), *(value[at : at + WINDOW] for at in range(len(value) - WINDOW + 1))]
    names = sorted(hashlib.algorithms_guaranteed - {"shake_128", "shake_256"})
    assert {"md5", "sha1", "sha256", "sha512", "blake2b"} <= set(names)
    for part in parts:
        for name in names:
            digest = hashlib.new(name, part, usedforsecurity=False).digest()
            for text in (digest.hex(), base64.b64encode(digest).decode(), base64.urlsafe_b64encode(digest).decode()):
                assert text.rstrip("=")[:24] not in dump, name


async def test_what_an_earlier_release_stored_is_unknown_until_it_is_replaced(desk: Desk) -> None:
    """Without fingerprints a reference is named as unknown; a new value has them, and the old one is counted apart."""
    client = await desk.stand.client()
    done = await desk.onboard(client)
    other = desk.canary("kie")
    await desk.onboard(client, other, "kie")
    desk.sql(f"DELETE FROM byokeep.leak_fingerprint WHERE ref_id = '{done['ref']}'")  # as migrated
    reply = await taken(desk)
    assert reply["unknown"] == [
        {"client_id": str(client), "ref": done["ref"], "provider": "openai", "version": 1, "reason": "earlier_release"}
    ]
    assert (reply["values"], reply["replaced_unknown"]) == (1, 0)
    assert labels_of(reply, other)
    assert json.loads(desk.stand.events("leaks.fingerprints_read")[-1])["fields"] == {"count": 1, "unknown": 1}
    desk.sql(f"INSERT INTO byokeep.leak_fingerprint VALUES ('{client}', '{done['ref']}', 1, 99, '{{}}')")
    assert len((await taken(desk))["unknown"]) == 1, "digests of another format were taken"
    for place, unknown in (("rule=a", 0), ("", 1)):  # keyless: there is no value
        desk.sql(f"UPDATE byokeep.credential_ref SET provider_place = '{place}' WHERE id = '{done['ref']}'")
        assert len((await taken(desk))["unknown"]) == unknown
    new = desk.canary()
    await desk.onboard(client, new)
    reply = await taken(desk)
    assert (reply["values"], reply["unknown"], reply["replaced_unknown"]) == (2, [], 1)
    assert labels_of(reply, new) == {f"openai v2 ref={done['ref']} client={client}"}
    await destroy(desk, client, 1)
    assert (await taken(desk))["replaced_unknown"] == 0


async def destroy(desk: Desk, client: UUID, version: int) -> None:
    """Destroy a version of the openai key in the store, under a custody lease."""
    job = await desk.stand.job(
        client, kind="custody", runner_id=str(desk.people["custodian"].id), platforms=[], lanes=[], effects=[]
    )
    async with desk.worker.custodian.open(job) as custody:
        await custody.destroy(SecretRef(ClientId(client), Provider.OPENAI), [version])


async def test_destroyed_and_revoked_values_leave_the_list(desk: Desk) -> None:
    """A replaced version stays while the store holds it; the key states decide, and a compromised key stays."""
    client = await desk.stand.client()
    old, new = desk.canary(), desk.canary()
    ref = (await desk.onboard(client, old))["ref"]
    await desk.onboard(client, new)
    reply = await taken(desk)
    assert (bool(labels_of(reply, old)), bool(labels_of(reply, new))) == (True, True)
    await destroy(desk, client, 1)
    reply = await taken(desk)
    assert (bool(labels_of(reply, old)), bool(labels_of(reply, new))) == (False, True)
    seen = set()
    for state in KeyState:
        desk.sql(f"UPDATE byokeep.credential_ref SET state = '{state}' WHERE id = '{ref}'")
        reply = await taken(desk)
        seen |= {state} if labels_of(reply, new) else set()
        assert reply["unknown"] == []
    assert seen == LIVE == set(KeyState) - {KeyState.DEACTIVATED, KeyState.DESTROYED}
    desk.sql(f"UPDATE byokeep.credential_ref SET state = 'active' WHERE id = '{ref}'")
    for to, there in (("deactivated", False), ("compromised", True)):
        assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", {"to": to, "reason": "a_test"}))[0] == 200
        assert bool(labels_of(await taken(desk), new)) is there, to


async def test_references_that_follow_each_other_keep_to_their_own_versions(desk: Desk) -> None:
    """A new reference at the place of a revoked one does not bring that one's value back, nor count it."""
    client = await desk.stand.client()
    leaked, ended, now = desk.canary(), desk.canary(), desk.canary()
    refs = []
    for value, state in ((leaked, "compromised"), (ended, "deactivated"), (now, "")):
        refs.append((await desk.onboard(client, value))["ref"])
        if state:
            body = {"to": state, "reason": "a_test"}
            assert (await desk.call("POST", f"/v1/refs/{refs[-1]}/state", "operator", body))[0] == 200
    assert len(set(refs)) == 3
    reply = await taken(desk)
    assert (reply["values"], reply["unknown"], reply["replaced_unknown"]) == (2, [], 0)
    assert labels_of(reply, leaked) == {f"openai v1 ref={refs[0]} client={client}"}
    assert labels_of(reply, ended) == set()
    assert labels_of(reply, now) == {f"openai v3 ref={refs[2]} client={client}"}


async def test_a_value_too_weak_to_be_known_again_is_told(desk: Desk) -> None:
    """It is stored, it has a row without digests, and it is listed as unknown with the reason."""
    client = await desk.stand.client()
    status, done = await desk.put(client, b"0" * 32, "kie")
    assert status == 202
    reply = await taken(desk)
    assert [(one["ref"], one["reason"]) for one in reply["unknown"]] == [(done["ref"], "too_weak")]
    assert (reply["values"], reply["fingerprints"]["digests"]) == (0, [])


async def test_a_cut_off_onboarding_has_fingerprints_and_keeps_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are on record before the value is in the store, and the same call again finds and keeps them."""
    client = await desk.stand.client()
    value, put = desk.canary(), desk.web.intake.put

    async def cut(*args: Any, **named: Any) -> Any:
        await put(*args, **named)
        raise Unavailable("store_unreachable")

    rows = "SELECT ref_id, version, digests FROM byokeep.leak_fingerprint"
    with monkeypatch.context() as cutting:
        cutting.setattr(desk.web.intake, "put", cut)
        assert (await desk.put(client, value))[0] == 503
    before = desk.sql(rows)
    assert before.count("\n") == 0
    assert len(before) > 60
    status, done = await desk.put(client, value)
    assert (status, done["version"], desk.sql(rows)) == (202, 1, before)
    assert labels_of(await taken(desk), value) == {f"openai v1 ref={done['ref']} client={client}"}


async def test_only_auditors_take_them_and_only_of_their_clients(desk: Desk) -> None:
    """Every other role is refused, on record; an auditor of one client is given that client's, and told so."""
    mine, other = await desk.stand.client(), await desk.stand.client()
    value, foreign = desk.canary(), desk.canary()
    await desk.onboard(mine, value)
    await desk.onboard(other, foreign)
    for who in ("admin", "operator", "approver"):
        status, reply = await desk.call("GET", PATH, who)
        assert (status, reply["code"]) == (403, "not_permitted"), who
    for who in ("dispatcher", "runner", "custodian"):  # machines are the broker's
        status, reply = await desk.call("GET", PATH, who)
        assert (status, reply["code"]) == (401, "bad_token"), who
    denied = [json.loads(line) for line in desk.stand.events("access.decided", "denied")]
    assert [one["fields"].get("verb") for one in denied] == ["leak.fingerprints"] * 3 + [None] * 3
    assert desk.stand.events("leaks.fingerprints_read") == []
    assert (await desk.call("GET", PATH))[0] == 401
    narrow = desk.stand.subject("auditor", "narrow", clients=(mine,))
    reply = await taken(desk, narrow)
    assert reply["all_clients"] is False
    assert (bool(labels_of(reply, value)), bool(labels_of(reply, foreign))) == (True, False)
    assert str(other) not in json.dumps(reply)
    [record] = map(json.loads, desk.stand.events("leaks.fingerprints_read", "ok"))
    assert (record["actor"], record["client"], record["fields"]) == (str(narrow.id), None, {"count": 1, "unknown": 0})


async def test_taking_them_is_braked_for_each_auditor(desk: Desk) -> None:
    """After ten a minute the eleventh waits; another auditor's budget is his own."""
    for _ in range(PER_MINUTE):
        assert (await desk.call("GET", PATH, "auditor"))[0] == 200
    status, reply = await desk.call("GET", PATH, "auditor")
    assert (status, reply["code"]) == (429, "too_many_requests")
    assert len(desk.stand.events("leaks.fingerprints_read")) == PER_MINUTE
    await taken(desk)


async def test_without_the_store_nothing_is_given_and_nothing_comes_in(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Store away: 503 and no document, no record of a reading; a value is refused before anything is announced."""
    client = await desk.stand.client()
    await desk.onboard(client)
    runs = desk.sql("SELECT count(*) FROM byokeep.procedure_run")
    async with BaoHttp(f"unix://{desk.files}/none.sock") as nowhere:
        login = AppRoleLogin(nowhere, desk.stand.store.home / "credentials" / "web.approle")
        for port in (desk.web.intake, desk.web.scan_key):
            monkeypatch.setattr(port, "_login", login)
        status, reply = await desk.call("GET", PATH, "auditor")
        assert (status, reply["code"]) == (503, "store_unreachable")
        assert set(reply) <= {"type", "title", "status", "code", "request_id", "next_step"}
        assert (await desk.put(client, desk.canary()))[0] == 503
    assert desk.stand.events("leaks.fingerprints_read") == []
    assert desk.sql("SELECT count(*) FROM byokeep.procedure_run") == runs
    assert desk.sql("SELECT count(*) FROM byokeep.leak_fingerprint") == "1"


async def test_without_the_key_no_value_comes_in(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that could not be looked for is not stored: 503, no version in the store, no reference."""

    client = await desk.stand.client()
    monkeypatch.setattr("byokeep.wire.fingerprints.SCAN_KEY_PATH", "kv/data/platform/none")
    status, reply = await desk.put(client, desk.canary())
    assert (status, reply["code"]) == (503, "scan_key_missing")
    status, reply = await desk.call("GET", PATH, "auditor")
    assert (status, reply["code"]) == (503, "scan_key_missing")
    assert await desk.stand.intake.current_version(SecretRef(ClientId(client), Provider.OPENAI)) == 0
    assert desk.sql("SELECT count(*) FROM byokeep.credential_ref") == "0"
    assert desk.stand.events("leaks.fingerprints_read") == []


async def test_a_reading_that_can_not_be_recorded_does_not_happen(desk: Desk) -> None:
    """The database refuses the event: nothing is given."""
    client = await desk.stand.client()
    await desk.onboard(client)
    desk.sql("DELETE FROM byokeep.audit_vocabulary WHERE event = 'leaks.fingerprints_read'")
    status, reply = await desk.call("GET", PATH, "auditor")
    assert status >= 400
    assert "fingerprints" not in reply


@pytest.mark.req("R1.4-1")
async def test_taking_them_leaves_one_record(scene: Scene) -> None:
    """Taken by an auditor: one record of that person in the platform's chain; refused: the refusal alone."""
    call = Call("GET", PATH)
    await expect_each(scene, {"fingerprints": [
        Case("success", "auditor", call, 200, ("leaks.fingerprints_read ok",)),
        Case("narrow", fresh(scene, "auditor", scene.client), call, 200, ("leaks.fingerprints_read ok",)),
        Case("denied", fresh(scene, "admin"), call, 403, DENIED),
    ]})  # fmt: skip


@asynccontextmanager
async def on_loopback(desk: Desk) -> AsyncIterator[str]:
    """Serve ``web`` where the command line can reach it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(desk.api, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False)
    task = asyncio.create_task(server.serve())
    for _ in range(200):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 0.1).close()
            break
        await asyncio.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
        await task


async def test_the_command_line_fetches_what_a_scan_compares_with(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Document and counts arrive; another role, a store that is away and a stranger's reply are errors, never empty."""
    client, value = await desk.stand.client(), desk.canary()
    await desk.onboard(client, value)
    await desk.put(client, b"0" * 32, "kie")
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(desk.people["auditor"].token)
    async with on_loopback(desk) as url:
        current.set(TerminalSession(settings=Settings(web_url=url, token_file=str(file)), as_json=True))
        document, unknown = await leaks.fetch_fingerprints()
        assert unknown == 1
        shown = json.loads(document.reveal())
        assert labels_of({"fingerprints": shown}, value)
        assert shown["key"] not in repr(document)
        with pytest.raises(Denied, match="not_permitted"):
            await leaks.fetch_fingerprints(token=Secret(desk.people["operator"].token))
        with monkeypatch.context() as other:
            other.setattr(leaks, "PATH", "/v1/self")
            with pytest.raises(Unavailable, match="server_garbage"):
                await leaks.fetch_fingerprints()
        desk.web.scan_key._login._credentials = tmp_path / "none"  # type: ignore[attr-defined]
        desk.web.scan_key._login._token = None  # type: ignore[attr-defined]
        with pytest.raises(Unavailable, match="credentials_missing"):
            await leaks.fetch_fingerprints()
    with pytest.raises(Unavailable, match="server_unreachable"):
        await leaks.fetch_fingerprints()
