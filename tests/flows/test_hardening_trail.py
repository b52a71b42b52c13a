"""What is left behind: records, alerts and log lines that name who, what, when and which request, and no value."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from byokeep.adapters.openbao.embedded import audit_files
from byokeep.audit.log import ClockWatch, checkpoint
from byokeep.client.http import now as boot_now
from byokeep.client.lease import HeldLease
from byokeep.core.bucket import Buckets
from byokeep.core.errors import ByokeepError, Denied
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.jobs.jobs import expire
from byokeep.telemetry import log
from byokeep.wire.bao_http import BaoHttp, lease_login, read_secret
from byokeep_redact.canary import Canary
from byokeep_redact.search import Sweep
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


def lines(desk: Desk, event: str = "request") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (desk.files / "web.log").read_text().splitlines()]
    return [line for line in found if line["event"] == event]


async def lease_of(desk: Desk, job: Any) -> tuple[int, str]:
    status, reply = await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    return status, reply.get("code", "")


@pytest.mark.req("S-OWASP-1")
async def test_ends_rejections_and_reuse_are_on_record(desk: Desk) -> None:
    """An expired or revoked secret and an ended token used again deny, are recorded and alert; so do their ends."""
    stand = desk.stand
    client = await stand.client("openai")
    job = await stand.job(client)
    assert (await lease_of(desk, job))[0] == 201
    assert stand.alerts() == []
    where = f"WHERE client_id = '{client}'"
    desk.sql(f"UPDATE byokeep.credential_ref SET expires_at = now() {where}")
    assert await lease_of(desk, job) == (403, "credential_not_usable")
    assert stand.alerts() == ["secret_reuse_expired"]
    for state in ("deactivated", "compromised", "destroyed"):
        desk.sql(f"UPDATE byokeep.credential_ref SET expires_at = NULL, state = '{state}' {where}")
        assert await lease_of(desk, job) == (403, "credential_not_usable")
    assert stand.alerts() == ["secret_reuse_expired", "secret_reuse_revoked"]
    assert desk.sql("SELECT count FROM byokeep.alert WHERE reason = 'secret_reuse_revoked'") == "3"
    raised = [json.loads(text)["fields"]["reason"] for text in stand.events("alert.raised")]
    assert raised == ["secret_reuse_expired", "secret_reuse_revoked"]
    denied = [json.loads(text) for text in stand.events("lease.issued", "denied")]
    assert [one["object"] for one in denied] == [str(job)] * 4
    # an unverified key is no reuse, and neither is a secret that never was
    desk.sql(f"UPDATE byokeep.credential_ref SET state = 'active', verification = 'pending' {where}")
    assert await lease_of(desk, job) == (403, "credential_not_usable")
    assert len(stand.alerts()) == 2

    desk.sql(f"UPDATE byokeep.job SET expires_at = opened_at + interval '1 microsecond' WHERE id = '{job}'")
    await expire(stand.app)
    assert str(job) in stand.events("job.expired")[0]

    operator = desk.people["operator"]
    desk.sql(f"UPDATE byokeep.api_token SET revoked_at = now() WHERE subject_id = '{operator.id}'")
    for http in (desk, stand):
        assert (await http.call("GET", "/v1/self", "operator"))[1]["code"] == "bad_token"
    assert desk.sql("SELECT count, object_id FROM byokeep.alert WHERE reason = 'token_reuse'") == f"2|{operator.id}"
    assert (await desk.call("POST", "/v1/session", body={"name": "nobody", "password": "x"}))[0] == 401
    assert len(stand.events("session.login", "denied")) == 1


class SetClock:
    """A wall clock that somebody sets, beside one that nobody can."""

    def __init__(self) -> None:
        self.set_by = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.set_by

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.mark.req("S-OWASP-2")
@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_set_by_hand_is_told_and_prolongs_nothing(
    desk: Desk, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour forth or back alerts in broker and worker; jobs of the future are void, a held lease ends in time."""
    stand, clock = desk.stand, SetClock()
    for app in (replace(stand.app, clock=clock), replace(desk.worker, clock=clock)):
        clock.set_by = timedelta(0)
        watch = ClockWatch(app)
        assert await watch.look()
        clock.set_by = timedelta(minutes=4)
        assert await watch.look()
        clock.set_by = timedelta(0)
        assert await watch.look()
        clock.set_by = timedelta(hours=hours)
        assert not await watch.look()
    assert stand.alerts() == ["clock_jump", "clock_skew"]
    assert desk.sql("SELECT count FROM byokeep.alert WHERE reason = 'clock_jump'") == "2"
    client = await stand.client("openai")
    job = await stand.job(client)
    async with stand.keep() as keep, keep.attach(job) as held:
        await held.secret("openai")
        assert isinstance(held.lease, HeldLease)
        moved = time.time() + hours * 3600
        monkeypatch.setattr(time, "time", lambda: moved)
        assert 0 < held.lease.valid_until - boot_now() <= 5
        monkeypatch.undo()
    lease = (await stand.lease(job))["lease_id"]
    assert (await stand.call("GET", f"/v1/leases/{lease}", "runner"))[0] == 200
    # the database's clock went back an hour: what was opened before lies in the future, and counts as not open
    desk.sql(
        "UPDATE byokeep.job SET opened_at = opened_at + interval '1 hour', expires_at = expires_at + interval '1 hour'"
        f" WHERE id = '{job}'"
    )
    assert await lease_of(desk, job) == (403, "job_not_open")
    assert (await stand.call("GET", f"/v1/leases/{lease}", "runner"))[1]["code"] == "job_not_open"
    assert (await stand.permit(lease))[1]["code"] == "job_not_open"
    order = desk.sql(f"SELECT array_agg(seq ORDER BY seq) FROM byokeep.audit_record WHERE chain = '{client}'")
    assert order == "{" + ",".join(str(number) for number in range(1, order.count(",") + 2)) + "}"


@pytest.mark.req("S-OWASP-4")
async def test_an_expired_secret_is_not_served_though_it_would_work(desk: Desk) -> None:
    """Past its time lease, permit and SDK are denied while the store still holds a value that reads."""
    stand = desk.stand
    client = await stand.client("openai")
    stand.account(client)
    job = await stand.job(client)
    lease = await stand.lease(job)
    assert (await stand.permit(lease["lease_id"]))[0] == 201
    desk.sql(f"UPDATE byokeep.credential_ref SET expires_at = now() WHERE client_id = '{client}'")
    assert await lease_of(desk, job) == (403, "credential_not_usable")
    assert (await stand.permit(lease["lease_id"]))[1]["code"] == "credential_not_usable"
    async with BaoHttp(stand.store.address) as http:  # under the lease given before: the value itself is well
        token = await lease_login(http, Secret(lease["jwt"]), "use-openai")
        pin = lease["secrets"]["openai"]
        await read_secret(http, token, pin["path"], pin["version"], lease["lease_id"])
    async with stand.keep() as keep:
        with pytest.raises(Denied) as refused:
            async with keep.attach(job) as held:
                await held.secret("openai")
    assert refused.value.code == "credential_not_usable"


@pytest.mark.req("S-OWASP-10")
async def test_one_question_tells_a_keys_whole_history(desk: Desk) -> None:
    """Who had access, when it was used and rotated, what was refused: one call, by window, for auditors, no value."""
    stand = desk.stand
    client = await stand.client()
    value = desk.canary()
    done = await desk.onboard(client, value)
    job = await stand.job(client)
    await stand.lease(job)
    await stand.lease(job)
    other = await stand.client("openai")
    await stand.lease(await stand.job(other))
    await desk.onboard(client, provider="anthropic")  # who holds another key of the client has not held this one
    await stand.lease(await stand.job(client, secrets=["anthropic"]))
    path = f"/v1/refs/{done['ref']}/history"
    status, told = await desk.call("GET", path, "auditor")
    assert status == 200
    people = desk.people
    assert {one["actor"]: one["leases"] for one in told["access"]} == {
        str(people["runner"].id): 2, str(people["custodian"].id): 1,
    }  # fmt: skip
    assert all(one["name"] and one["first_at"].endswith("Z") for one in told["access"])
    events = [one["event"] for one in told["records"]]
    assert {"key.write", "key.stored", "key.verified", "key.leak_checked", "client_key_onboarded"} <= set(events)
    assert events.count("lease.issued") == 3
    assert told["last_used_at"] == max(one["last_at"] for one in told["access"])
    first_rotation = told["last_rotated_at"]
    assert first_rotation < told["last_used_at"]
    assert value.decode() not in json.dumps(told)
    # a second value, then a revocation and a refused use, seen through a window that begins after the first
    await desk.onboard(client)
    since = (await desk.call("GET", path, "auditor"))[1]["last_rotated_at"]
    assert since > first_rotation
    await desk.call("POST", f"/v1/refs/{done['ref']}/state", "operator", {"to": "suspended", "reason": "a_test"})
    await lease_of(desk, job)
    told = (await desk.call("GET", f"{path}?since={since}&limit=50", "auditor"))[1]
    assert [one["actor"] for one in told["access"]] == [str(people["custodian"].id)]  # who verified the second value
    assert told["refused"] == 0  # the refused lease names the job, not the key
    assert "key.write" not in [one["event"] for one in told["records"]]
    assert told["records"][0]["event"] in ("audit.read", "key.state_changed")
    assert "key.state_changed" in [one["event"] for one in told["records"]]
    assert stand.events("audit.read")
    narrow = stand.subject("auditor", "narrow", clients=(other,))
    assert (await desk.call("GET", path, narrow))[0] == 404
    for role, status in (("operator", 200), ("approver", 403), ("admin", 403), ("runner", 401)):
        assert (await desk.call("GET", path, role))[0] == status
    for query in ("?since=yesterday", "?limit=x", "?value=1", "?since=2026-01-01T00:00:00Z&since=2026-01-01T00:00:00Z"):
        assert (await desk.call("GET", path + query, "auditor"))[0] == 422


@pytest.mark.req("S-OWASP-13")
async def test_one_request_id_joins_log_audit_span_and_vendor_call(desk: Desk) -> None:
    """The id of the submitting call stands in access log, records, the worker's span and the vendor call."""
    client = await desk.stand.client()
    path = f"/v1/clients/{client}/providers/openai/value"
    chosen = {"X-Request-Id": str(uuid4())}  # by the caller: it joins nothing
    status, headers, done = await desk.exchange("PUT", path, "operator", raw=desk.canary(), headers=chosen)
    assert status == 202
    assert headers["X-Request-Id"] != chosen["X-Request-Id"]
    await desk.work()
    assert (await desk.sop(done["sop"]))["state"] == "complete"
    request = headers["X-Request-Id"]
    [line] = [line for line in lines(desk) if line["request_id"] == request]
    assert (line["route"], line["actor"], line["tenant"], line["outcome"]) == (
        "/v1/clients/{client_id}/providers/{provider}/value", str(desk.people["operator"].id), str(client), "ok",
    )  # fmt: skip
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z$", line["at"])
    joined = desk.sql(
        f"SELECT DISTINCT event FROM byokeep.audit_record WHERE request_id = '{request}' ORDER BY event"
    ).split()
    assert {"key.write", "key.stored", "job.opened", "key.verified", "key.leak_checked", "client_key_onboarded"} <= set(
        joined
    )
    assert [one["request_id"] for one in lines(desk, "identity_call")] == [request]
    assert [one["request_id"] for one in lines(desk, "key_verification")] == [request]
    spans = [json.loads(text) for text in (desk.files / "spans.jsonl").read_text().splitlines()]
    [verify] = [one for one in spans if one["attributes"].get("request") == request]
    assert verify["trace"] in {one["trace"] for one in spans if one["name"] == "identity_call"}
    # a value that is refused for its form is a security event of its own request
    status, headers, _ = await desk.exchange("PUT", path, "operator", raw=b"not a key")
    assert status == 422
    [rejected] = [json.loads(text) for text in desk.stand.events("key.write", "rejected")]
    assert rejected["request"] == headers["X-Request-Id"] != request
    assert rejected["actor"] == str(desk.people["operator"].id)


@pytest.mark.req("S-OWASP-14")
async def test_nobody_writes_a_line_or_a_field_of_ours(desk: Desk) -> None:
    """Line breaks, forged JSON, long text and fields of ours in what callers send reach no log line and no record."""
    stand = desk.stand
    client = await stand.client("openai")
    stand.account(client)
    lease = (await stand.lease(await stand.job(client)))["lease_id"]
    forged = '\n{"event":"request","actor":"forged","outcome":"ok"}\r\n'
    for field in ("actor", "tenant", "outcome", "client_id", "request", "at", "roles", "job_id"):
        assert (await stand.permit(lease, **{field: "forged"}))[0] == 403
    for text in (forged, "x" * 300, "\u2028forged", "forged\x00", "\x1b[31mforged"):
        assert (await stand.permit(lease, key=text))[0] == 403
        for field in ("effect", "platform", "account", "lane"):
            assert (await stand.permit(lease, **{field: text}))[0] == 403
        assert (await stand.call("POST", f"/v1/leases/{lease}/permits", "runner", raw=text.encode()))[0] == 403
        seen = {"lease_id": lease, "id": text, "username": "acme", "display_name": "Acme Ltd"}
        status, reply = await stand.call("POST", f"/v1/accounts/{client}/x/acme/identity", "runner", seen)
        assert status == 422 or reply["identity"] in ("unknown", "mismatch")
        for path, body in (
            ("/v1/switches/close", {"client_id": str(client), "reason": text}),
            ("/v1/clients", {"name": text}), (f"/v1/{text}", {}),
        ):  # fmt: skip
            from yarl import URL

            headers = {"Authorization": f"Bearer {desk.people['operator'].token}"}
            url = URL("http://web") / path.strip("/")
            async with desk.http.post(url, json=body, headers=headers) as refused:
                assert refused.status in (403, 404, 422), (path, text)
    raw = (desk.files / "web.log").read_text(encoding="utf-8")
    assert raw.count("\n") > 40
    for line in raw.splitlines():
        said = json.loads(line)
        assert said["process"] == "test"
        assert all(len(str(value)) <= 170 for value in said.values())
    assert "forged" not in raw
    payloads = desk.sql("SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record")
    assert "forged" not in payloads
    assert "xxxx" not in payloads
    actors = {json.loads(text)["actor"] for text in stand.events("permit.issued")}
    assert actors == {str(desk.people["runner"].id)}
    assert not desk.sql("SELECT 1 FROM byokeep.permit")


@pytest.mark.req("S-OWASP-16")
async def test_refusals_of_one_caller_fill_no_log_and_hide_no_other(desk: Desk) -> None:
    """A hundred refusals leave twenty records and a count; another's refusal and the audit stay, whatever level."""
    object.__setattr__(desk.web, "recorded", Buckets(per_minute=1, size=20))
    for _ in range(100):
        assert (await desk.call("GET", f"/v1/clients/{uuid4()}/refs", "admin"))[0] == 403
    by_admin = [text for text in desk.stand.events("access.decided") if str(desk.people["admin"].id) in text]
    assert 20 <= len(by_admin) <= 23
    told = desk.sql("SELECT count FROM byokeep.alert WHERE reason = 'refusals_not_recorded'")
    assert len(by_admin) + int(told) == 100
    for _ in range(50):  # callers without a good token share one rate; what is counted of them beyond it is bounded too
        assert (await desk.call("GET", "/v1/self", headers={"Authorization": f"Bearer bko_{'x' * 43}"}))[0] == 401
    nobody = f"object_id = '{desk.web.installation_id}' AND reason"
    assert 20 <= len([text for text in desk.stand.events("access.decided") if "bad_token" in text]) <= 23
    assert desk.sql(f"SELECT count FROM byokeep.alert WHERE {nobody} = 'bad_tokens'") == "46"
    assert 20 <= int(desk.sql(f"SELECT count FROM byokeep.alert WHERE {nobody} = 'refusals_not_recorded'")) <= 23
    log.configure("test", path=desk.files / "quiet.log", level=logging.CRITICAL)
    try:
        assert (await desk.call("POST", "/v1/clients", "auditor", {"name": "Somebody"}))[0] == 403
        client = await desk.stand.client("openai")
        await desk.stand.lease(await desk.stand.job(client))
    finally:
        log.configure("test", path=desk.files / "loud.log")
    assert (desk.files / "quiet.log").read_text() == ""
    assert str(desk.people["auditor"].id) in desk.stand.events("access.decided")[-1]
    assert len(desk.stand.events("lease.issued")) == 1


@pytest.mark.req("S-ASVS-36")
async def test_every_time_everywhere_is_utc(desk: Desk) -> None:
    """In our log, the store's two trails, both servers' logs, the records and the replies no local time is written."""
    client = await desk.stand.client()
    await desk.onboard(client)
    stamp = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\s\",]*")
    database = desk.stand.db.server
    sources = [desk.files / "web.log", *audit_files(desk.stand.store.home).values()]
    sources += [desk.stand.store.home / "logs" / "openbao.log"]
    seen = 0
    for source in sources:
        for found in stamp.findall(source.read_text(errors="replace")):
            assert found.endswith(("Z", "+00:00")), (source.name, found)
            seen += 1
    assert seen > 100
    for path in [path for path in Path(database.socket).parent.parent.rglob("*.log") if path.is_file()]:
        text = path.read_text(errors="replace")
        times = re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ (\S+)", text, re.MULTILINE)
        assert times
        assert set(times) == {"UTC"}
    for route in (f"/v1/clients/{client}/refs", f"/v1/clients/{client}", "/v1/inventory"):
        text = json.dumps((await desk.call("GET", route, "operator"))[1])
        assert stamp.findall(text)
        assert all(found.endswith("Z") for found in stamp.findall(text))
    records = (await desk.call("GET", f"/v1/audit?client_id={client}", "auditor"))[1]["records"]
    assert records
    assert all(record["at"].endswith("Z") for record in records)


@pytest.mark.req("S-ASVS-37")
async def test_failures_of_every_kind_are_written(desk: Desk) -> None:
    """Failed and dead credentials, refused rights, ways around a check, decisions on secrets: all kept."""
    stand = desk.stand
    client = await stand.client("openai")
    job = await stand.job(client)
    await desk.call("POST", "/v1/session", body={"name": "nobody", "password": "x"})
    await desk.call("POST", "/v1/session/console", body={"code": "bko_" + secrets.token_urlsafe(32)})
    await desk.call("GET", "/v1/self", headers={"Authorization": "Bearer bko_" + secrets.token_urlsafe(32)})
    await desk.call("POST", "/v1/clients", "auditor", {"name": "Somebody"})
    await desk.call("GET", f"/v1/refs/{uuid4()}", "operator")
    await desk.call("GET", f"/v1/clients/..%2f{client}", "operator")
    await desk.call("DELETE", f"/v1/clients/{client}", "admin")
    await lease_of(desk, job)
    desk.sql(f"UPDATE byokeep.credential_ref SET state = 'suspended' WHERE client_id = '{client}'")
    await lease_of(desk, job)
    records = [tuple(line.split("|")) for line in desk.sql(
        "SELECT event, outcome FROM byokeep.audit_record"
    ).splitlines()]  # fmt: skip
    assert records.count(("session.login", "denied")) == 2
    for wanted in (
        ("session.login", "denied"), ("access.decided", "denied"), ("lease.issued", "intended"),
        ("lease.issued", "denied"),
    ):  # fmt: skip
        assert wanted in records, wanted
    logged = {(line["status"], line["code"], line["outcome"]) for line in lines(desk)}
    for wanted_line in (
        (401, "bad_login", "refused"), (401, "bad_token", "refused"), (403, "not_permitted", "refused"),
        (404, "not_found", "refused"), (405, "method_not_allowed", "refused"),
        (403, "credential_not_usable", "refused"),
    ):  # fmt: skip
        assert wanted_line in logged, wanted_line


@pytest.mark.req("S-VAULT-21")
async def test_the_store_writes_the_request_before_the_answer(desk: Desk) -> None:
    """In both trails a read stands as request, then response, under one id; a write is announced before it is done."""
    stand = desk.stand
    client = await stand.client()
    await desk.onboard(client)
    lease = await stand.lease(await stand.job(client))
    async with BaoHttp(stand.store.address) as http:
        token = await lease_login(http, Secret(lease["jwt"]), "use-openai")
        pin = lease["secrets"]["openai"]
        await read_secret(http, token, pin["path"], pin["version"], lease["lease_id"])
    for path in audit_files(stand.store.home).values():
        entries = [json.loads(line) for line in path.read_text().splitlines() if lease["lease_id"] in line]
        reads = [entry for entry in entries if entry["request"]["path"] == pin["path"].replace("kv/", "kv/data/", 1)]
        assert [entry["type"] for entry in reads] == ["request", "response"]
        assert reads[0]["request"]["id"] == reads[1]["request"]["id"]
        assert reads[0]["time"] <= reads[1]["time"]
    order = desk.sql(
        f"SELECT event FROM byokeep.audit_record WHERE chain = '{client}' AND event IN ('key.write', 'key.stored',"
        " 'lease.issued') ORDER BY seq"
    ).split()
    assert order == ["key.write", "key.stored", "lease.issued", "lease.issued"]
    # no record, no value: with the function away neither lease nor write is done
    desk.sql("ALTER FUNCTION byokeep.audit_append(uuid, text, uuid, uuid, uuid, text, bytea) RENAME TO gone")
    job = desk.sql(f"SELECT id FROM byokeep.job WHERE client_id = '{client}' AND kind = 'use' LIMIT 1")
    status, reply = await stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert status >= 500
    assert "jwt" not in reply
    assert (await desk.put(client, desk.canary()))[0] >= 500
    desk.sql("ALTER FUNCTION byokeep.gone(uuid, text, uuid, uuid, uuid, text, bytea) RENAME TO audit_append")
    assert desk.sql(f"SELECT count(*) FROM byokeep.lease WHERE job_id = '{job}'") == "1"
    # the announcement alone refused: the store has no second value either
    desk.sql("ALTER TABLE byokeep.audit_record ADD CONSTRAINT drill CHECK (event <> 'key.write') NOT VALID")
    value = desk.canary()
    assert (await desk.put(client, value))[0] >= 400
    desk.sql("ALTER TABLE byokeep.audit_record DROP CONSTRAINT drill")
    assert await stand.intake.current_version(SecretRef(ClientId(client), Provider.OPENAI)) == 1
    assert (await desk.put(client, value))[0] == 202


@pytest.mark.req("S-TLOG-11")
async def test_leaves_hold_no_value_and_no_plain_digest_of_one(desk: Desk) -> None:
    """Keys, tokens and idempotency keys are in no record, leaf or head, nor is any unkeyed digest of them."""
    stand = desk.stand
    client = await stand.client()
    value = desk.canary()
    await desk.onboard(client, value)
    stand.account(client)
    lease = await stand.lease(await stand.job(client))
    assert (await stand.permit(lease["lease_id"], key="post-0001"))[0] == 201
    await checkpoint(stand.app, stand.app.system())
    tree = desk.sql(
        "SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record UNION ALL"
        " SELECT convert_from(leaf, 'UTF8') FROM byokeep.audit_epoch UNION ALL"
        " SELECT convert_from(heads, 'UTF8') FROM byokeep.audit_epoch"
    ).encode()
    assert b"permit.issued" in tree
    assert b"heads_root" in tree
    search = Sweep([*desk.canaries, Canary("runner", desk.people["runner"].token.encode())])
    assert search.scan_bytes(b"x" + value + tree, source="planted").findings
    report = search.scan_bytes(tree, source="tree")
    assert report.clean
    permit = json.loads(stand.events("permit.issued")[0])["fields"]["idempotency"]
    other = await stand.client("openai")
    stand.account(other)
    lease = await stand.lease(await stand.job(other))
    assert (await stand.permit(lease["lease_id"], key="post-0001"))[0] == 201
    again = json.loads(stand.events("permit.issued")[1])["fields"]["idempotency"]
    assert permit != again  # the same key of two clients can not be told to be the same
    # nor guessed by who knows how the text before it is put together, but not our key
    assert permit == stand.app.token_key(f"idempotency/{client}/post-0001".encode()).hex()
    assert hashlib.sha256(f"idempotency/{client}/post-0001".encode()).hexdigest() != permit
    for secret in (value, b"post-0001", lease["jwt"].encode(), desk.people["runner"].token.encode()):
        for name in ("sha256", "sha1", "md5", "sha512", "blake2b"):
            assert hashlib.new(name, secret).hexdigest().encode() not in tree


@pytest.mark.req("S-ASVS-37")
async def test_a_broken_handshake_is_written(desk: Desk) -> None:
    """A broker whose certificate nobody vouches for gets no token; the refusal is 503 and stands in the log."""
    from functools import partial

    from byokeep.tenancy.authenticate import authenticate
    from byokeep.web.app import create_app
    from tests.support.web import serving_web

    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ByokeepError):
            heard.append(await reader.read(4096))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")  # no TLS at all behind an https address
            writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    api = create_app(desk.web, partial(authenticate, desk.web), broker_address=f"https://127.0.0.1:{port}")
    async with server, serving_web(api, desk.stand.home / "x.sock") as http:
        token = desk.people["operator"].token
        async with http.get("http://web/v1/switches", headers={"Authorization": f"Bearer {token}"}) as reply:
            assert reply.status == 503
            assert (await reply.json(content_type=None))["code"] == "broker_unreachable"
    assert heard
    assert token.encode() not in b"".join(heard)
    assert (503, "broker_unreachable") in {(line["status"], line["code"]) for line in lines(desk)}
    assert isinstance(http, aiohttp.ClientSession)
