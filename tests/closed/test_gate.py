"""The side-effect gate is closed unless everything is known and good (R1.5, R12-1)."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import pytest

from byokeep.core.gate import DenyReason, gate_schema
from byokeep.jobs import effect
from tests.support.broker import Stand, standing
from tests.support.postgres import drop_database, fresh_database

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


async def ready(stand: Stand) -> tuple[Any, str]:
    client = await stand.client("openai")
    stand.account(client)
    lease = await stand.lease(await stand.job(client))
    assert (await stand.permit(lease["lease_id"]))[0] == 201
    return client, lease["lease_id"]


def permits(stand: Stand) -> int:
    return int(stand.db.sql("SELECT count(*) FROM byokeep.permit"))


@pytest.mark.req("R12-1")
async def test_the_gate_is_published_and_answers_malformed_requests_by_denying(stand: Stand) -> None:
    """Schema v1 is served; a request that is malformed, of another version or with unknown names is denied."""
    _, lease = await ready(stand)
    status, schema = await stand.call("GET", "/v1/gate/schema")
    assert (status, schema) == (200, json.loads(json.dumps(gate_schema())))
    assert schema["default"] == "deny"
    good = {"version": 1, "effect": "publish", "platform": "x", "account": "acme", "lane": "api",
            "idempotency_key": "post-9999"}  # fmt: skip
    path = f"/v1/leases/{lease}/permits"
    bodies: list[bytes] = [
        b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{}", json.dumps(good | {"extra": 1}).encode(),
        json.dumps(good)[:-1].encode() + b',"lane":"browser"}', json.dumps(good | {"effect": None}).encode(),
        json.dumps(good | {"version": "1"}).encode(), json.dumps(good | {"version": True}).encode(),
        json.dumps(good).replace("1,", "NaN,", 1).encode(), json.dumps(good).replace("1,", "1.0,", 1).encode(),
        json.dumps(good | {"account": [[[[[[["x"]]]]]]]}).encode(), b"[" * 10_000,
        json.dumps(good | {"effect": "publish" + "x" * 20_000}).encode(),
        *(json.dumps({k: v for k, v in good.items() if k != name}).encode() for name in good),
    ]  # fmt: skip
    for raw in bodies:
        status, reply = await stand.call("POST", path, "runner", raw=raw)
        assert (status, reply["code"]) == (403, "bad_request"), raw[:80]
    wishes: list[dict[str, Any]] = [
        {"effect": "launch"}, {"effect": "PUBLISH"}, {"effect": ""}, {"lane": "fax"}, {"lane": "api "},
        {"platform": "myspace"}, {"platform": "openai"}, {"account": "a/b"}, {"account": "ä"}, {"account": ""},
        {"idempotency_key": "short"}, {"idempotency_key": "x" * 65}, {"idempotency_key": "has space in it"},
        {"idempotency_key": "new\nline-in-it"},
    ]  # fmt: skip
    for wish in wishes:
        status, reply = await stand.call("POST", path, "runner", good | wish)
        assert (status, reply["code"]) == (403, "bad_request"), wish
    for version in (0, 2, -1):
        assert (await stand.call("POST", path, "runner", good | {"version": version}))[1]["code"] == "unknown_version"
    status, reply = await stand.call("POST", path, "runner", raw=json.dumps(good).encode(),
                                     headers={"Content-Type": "text/plain"})  # fmt: skip
    assert (status, reply["code"]) == (403, "bad_request")
    assert permits(stand) == 1
    assert len(stand.events("permit.issued", "denied")) == len(bodies) + len(wishes) + 4
    assert (await stand.call("POST", path, "runner", good))[0] == 201


_LOST = (
    "INSERT INTO byokeep.reenabling (client_id, platform, cause, stage, stages, number, taken, done, way, revision)"
    " SELECT id, 'x', 'revoked', {}, 0, 0, 0, 1, 0 FROM byokeep.client"
)
NOT_GOOD = [
    ("UPDATE byokeep.platform_account SET lanes = '{}'", "lane_not_enabled"),
    ("UPDATE byokeep.platform_account SET lanes = '{browser}'", "lane_not_enabled"),
    ("UPDATE byokeep.platform_account SET lanes = '{fax}'", "lane_policy_unknown"),
    ("UPDATE byokeep.platform_account SET identity = 'unchecked'", "identity_unproven"),
    ("UPDATE byokeep.platform_account SET identified_at = NULL", "identity_unproven"),
    ("UPDATE byokeep.platform_account SET identified_at = now() - interval '11 minutes'", "identity_stale"),
    ("UPDATE byokeep.platform_account SET identified_at = now() + interval '1 hour'", "identity_stale"),
    ("UPDATE byokeep.platform_account SET account = 'somebody'", "lane_not_enabled"),
    ("UPDATE byokeep.credential_ref SET verification = 'failed'", "credential_not_usable"),
    ("UPDATE byokeep.credential_ref SET state = 'compromised'", "credential_not_usable"),
    ("UPDATE byokeep.credential_ref SET expires_at = now()", "credential_not_usable"),
    ("UPDATE byokeep.job SET effects = '{}'", "effect_not_declared"),
    ("UPDATE byokeep.job SET platforms = '{tiktok}'", "platform_not_declared"),
    ("UPDATE byokeep.job SET lanes = '{browser}'", "lane_not_declared"),
    ("UPDATE byokeep.job SET secrets = '{}'", "credential_not_usable"),
    ("UPDATE byokeep.job SET state = 'closed'", "job_not_open"),
    ("UPDATE byokeep.job SET opened_at = now() + interval '1 hour', expires_at = now() + interval '2 hours'",
     "job_not_open"),
    ("UPDATE byokeep.lease SET expires_at = now()", "lease_expired"),
    ("UPDATE byokeep.lease SET kind = 'custody'", "lease_kind"),
    ("UPDATE byokeep.client SET state = 'suspended'", "client_not_active"),
    ("UPDATE byokeep.switch SET closed = true", "switch_closed"),
    (_LOST.format("'closed', '{1}'"), "platform_closed"),
    (_LOST.format("'canary', '{}'"), "platform_unknown"),
    ("DELETE FROM byokeep.switch", "switch_unknown"),
    ("UPDATE byokeep.switch SET epoch = -1", "switch_unknown"),
    ("ALTER TABLE byokeep.switch DROP CONSTRAINT switch_installation_id_fk;"
     "UPDATE byokeep.switch SET installation_id = gen_random_uuid()", "switch_unknown"),
]  # fmt: skip


@pytest.mark.req("R1.5-4")
@pytest.mark.parametrize(("change", "code"), NOT_GOOD)
async def test_each_fact_that_is_not_good_denies(stand: Stand, change: str, code: str) -> None:
    """One fact at a time is spoilt in the database; the gate denies with its published reason and records it."""
    _, lease = await ready(stand)
    stand.db.sql(change)
    status, reply = await stand.permit(lease)
    step = DenyReason(code).next_step
    if code == "switch_closed":  # a refusal names its switch
        assert (reply["scope"], reply["reason"]) == ("global", "installed")
        who = "An operator asks to release it (`byokeep kill off`), and an approver approves it."
        step = f"Kill switch global is engaged: installed. {who}"
    assert (status, reply["code"], reply["next_step"]) == (403, code, step)
    assert permits(stand) == 1
    assert json.loads(stand.events("permit.issued", "denied")[-1])["fields"]["reason"] == code
    assert stand.alerts() == (["switch_unknown"] if code == "switch_unknown" else [])


@pytest.mark.req("R1.5-4")
@pytest.mark.parametrize(
    "breakage",
    [
        "REVOKE SELECT ON byokeep.switch FROM byokeep_broker",
        "REVOKE SELECT ON byokeep.platform_account FROM byokeep_broker",
        "ALTER TABLE byokeep.switch RENAME COLUMN closed TO shut",
        "DROP TRIGGER switch_recorded ON byokeep.switch; DROP POLICY engage_only ON byokeep.switch;"
        " ALTER TABLE byokeep.switch ALTER COLUMN closed TYPE text USING 'perhaps'",
        "ALTER TABLE byokeep.permit ADD CONSTRAINT never CHECK (state <> 'issued') NOT VALID",
        "REVOKE INSERT ON byokeep.permit FROM byokeep_broker",
    ],
)
async def test_a_gate_that_can_not_read_or_write_denies(stand: Stand, breakage: str) -> None:
    """An unreadable or corrupt store of flags ends as gate_error with an alert, never as a permit."""
    _, lease = await ready(stand)
    stand.db.sql(breakage)
    status, reply = await stand.permit(lease)
    assert (status, reply["code"]) == (403, "gate_error")
    assert permits(stand) == 1
    assert "gate_error" in stand.alerts()


@pytest.mark.req("R1.5-4")
async def test_a_policy_that_raises_denies(stand: Stand) -> None:
    """Any exception in the policy itself is a denial with an alert, and its text goes nowhere."""
    _, lease = await ready(stand)
    for error in (RuntimeError("sk-not-a-real-secret"), KeyError("x"), RecursionError(), AssertionError()):
        with mock.patch.object(effect, "check_effect", side_effect=error):
            status, reply = await stand.permit(lease)
        assert (status, reply["code"]) == (403, "gate_error")
        assert "sk-not" not in json.dumps(reply)
    assert permits(stand) == 1
    assert stand.alerts() == ["gate_error"]
    assert (await stand.permit(lease))[0] == 201


async def test_a_drill_causes_no_effects(postgres_server: Any, store: Any) -> None:
    """An installation that runs a recovery drill denies every effect, whatever else is good."""
    database = fresh_database(postgres_server)
    try:
        async with standing(database, store, drill=True) as stand:
            client = await stand.client("openai")
            stand.account(client)
            lease = await stand.lease(await stand.job(client))
            assert (await stand.permit(lease["lease_id"]))[1]["code"] == "disaster_recovery_drill"
    finally:
        drop_database(database)


async def test_a_broken_audit_stops_leases_permits_and_jobs(stand: Stand) -> None:
    """No append, no action: when the audit function can not be called nothing is issued."""
    client, lease = await ready(stand)
    job = await stand.job(client)
    before = stand.db.sql("SELECT (SELECT count(*) FROM byokeep.lease), (SELECT count(*) FROM byokeep.job)")
    stand.db.sql("ALTER FUNCTION byokeep.audit_append RENAME TO audit_append_gone")
    assert (await stand.permit(lease))[0] == 403
    assert (await stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] == 503
    body = {"client_id": str(client), "runner_id": str(stand.people["runner"].id), "secrets": ["openai"]}
    assert (await stand.call("POST", "/v1/jobs", "dispatcher", body))[0] == 503
    assert stand.db.sql("SELECT (SELECT count(*) FROM byokeep.lease), (SELECT count(*) FROM byokeep.job)") == before
    assert permits(stand) == 1
