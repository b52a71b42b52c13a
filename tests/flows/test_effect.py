"""Effect permits and identity: one permit, one act, one key."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from dataclasses import fields
from typing import Any
from uuid import uuid4

import pytest

from byokeep.accounts.accounts import set_policy
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.core.model import Actor, LanePolicy, Role
from byokeep.jobs.jobs import expire
from tests.support.broker import Stand

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


async def ready(stand: Stand) -> tuple[Any, str]:
    """A client with an identified account and a leased job: everything a permit needs."""
    client = await stand.client("openai")
    stand.account(client)
    lease = await stand.lease(await stand.job(client))
    return client, lease["lease_id"]


@pytest.mark.req("R1.5-6")
async def test_one_key_never_yields_two_effects(stand: Stand) -> None:
    """Of many requests under one key one passes; afterwards the key tells done, failed frees it, and reuse is seen."""
    _, lease = await ready(stand)
    answers = await asyncio.gather(*(stand.permit(lease, "post-0001") for _ in range(12)))
    assert sorted(status for status, _ in answers) == [201] + [409] * 11
    assert {reply["code"] for status, reply in answers if status == 409} == {"in_progress"}
    permit = next(reply for status, reply in answers if status == 201)["permit_id"]
    close = f"/v1/permits/{permit}/close"
    assert await stand.call("POST", close, "runner", {"outcome": "done"}) == (200, {"state": "done"})
    assert await stand.call("POST", close, "runner", {"outcome": "done"}) == (200, {"state": "done"})
    assert (await stand.call("POST", close, "runner", {"outcome": "failed"}))[1]["code"] == "already_done"
    status, reply = await stand.permit(lease, "post-0001")
    assert (status, reply["code"], reply["permit"]) == (409, "already_done", permit)
    assert (await stand.permit(lease, "post-0001", account="acme", effect="publish", lane="api"))[0] == 409
    second = (await stand.permit(lease, "post-0002"))[1]["permit_id"]
    await stand.call("POST", f"/v1/permits/{second}/close", "runner", {"outcome": "failed"})
    third = (await stand.permit(lease, "post-0002"))[1]["permit_id"]
    stand.db.sql(f"UPDATE byokeep.permit SET state = 'unknown' WHERE id = '{third}'")  # as the sweep does
    status, reply = await stand.call("POST", f"/v1/permits/{third}/close", "runner", {"outcome": "failed"})
    assert (status, reply["code"]) == (409, "outcome_unknown")
    status, reply = await stand.permit(lease, "post-0002")
    assert (status, reply["code"], reply["permit"]) == (409, "outcome_unknown", third)
    assert len(stand.events("permit.issued", "intended")) == 3


@pytest.mark.req("R3.3-4")
async def test_no_feature_flag_lets_an_effect_pass_a_kill_switch(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says of publishing, an engaged kill switch decides; a released one lets it pass."""
    client, lease = await ready(stand)
    for name in ("FEATURE_PUBLISH", "FLAG_PUBLISH", "FEATURE_IGNORE_KILLSWITCH", "PUBLISH_ENABLED", "FEATURE_DRILL"):
        monkeypatch.setenv(name, "on")
    named = {"client_id": str(client), "platform": "x", "reason": "suspected_leak"}
    assert (await stand.call("POST", "/v1/switches/close", "operator", named))[0] == 200
    status, reply = await stand.permit(lease, "post-flag")
    assert (status, reply["code"]) == (403, "switch_closed")
    assert stand.events("permit.issued", "intended") == []


async def test_a_key_stands_for_one_effect(stand: Stand) -> None:
    """The same key for another account is refused as reused, also under another job of the client."""
    client, lease = await ready(stand)
    stand.account(client, account="other")
    assert (await stand.permit(lease, "post-0001"))[0] == 201
    assert (await stand.permit(lease, "post-0001", account="other"))[1]["code"] == "idempotency_key_reused"
    again = await stand.lease(await stand.job(client))
    assert (await stand.permit(again["lease_id"], "post-0001"))[1]["code"] == "in_progress"
    _, elsewhere = await ready(stand)
    assert (await stand.permit(elsewhere, "post-0001"))[0] == 201


async def test_a_permit_nobody_closed_becomes_unknown_and_an_alert(stand: Stand) -> None:
    """The sweep calls it unknown, never done or failed; a late done is taken, a late failed is not."""
    _, lease = await ready(stand)
    permits = [(await stand.permit(lease, f"post-000{n}"))[1]["permit_id"] for n in (1, 2, 3)]
    stand.db.sql(
        "UPDATE byokeep.permit SET issued_at = now() - interval '20 s', expires_at = now() - interval '5 s'"
        f" WHERE id <> '{permits[2]}'"
    )
    assert await expire(stand.app) == (0, 2)
    assert stand.alerts() == ["permit_unknown", "permit_unknown"]
    assert len(stand.events("permit.unknown", "failed")) == 2
    assert (await stand.permit(lease, "post-0001"))[1]["code"] == "outcome_unknown"
    late = f"/v1/permits/{permits[0]}/close"
    assert (await stand.call("POST", late, "runner", {"outcome": "failed"}))[1]["code"] == "outcome_unknown"
    assert (await stand.call("POST", late, "runner", {"outcome": "done"}))[0] == 200
    assert stand.db.sql(f"SELECT state FROM byokeep.permit WHERE id = '{permits[2]}'") == "issued"


async def test_a_permit_is_closed_by_its_own_runner(stand: Stand) -> None:
    """Another runner, another role and an unknown outcome are refused; the permit stays as it was."""
    _, lease = await ready(stand)
    permit = (await stand.permit(lease))[1]["permit_id"]
    close = f"/v1/permits/{permit}/close"
    assert (await stand.call("POST", close, stand.subject("runner"), {"outcome": "done"}))[0] == 404
    assert (await stand.call("POST", close, "operator", {"outcome": "done"}))[0] == 403
    assert (await stand.call("POST", close, "runner", {"outcome": "maybe"}))[0] == 422
    assert (await stand.call("POST", f"/v1/permits/{uuid4()}/close", "runner", {"outcome": "done"}))[0] == 404
    assert stand.db.sql("SELECT state FROM byokeep.permit") == "issued"


MATCH = {"id": "acme", "username": "acme", "display_name": "Acme Ltd"}


@pytest.mark.req("R1.5-2")
@pytest.mark.parametrize(
    ("seen", "result", "code"),
    [
        (MATCH, "match", ""),
        (MATCH | {"id": "evil"}, "mismatch", "identity_mismatch"),
        (MATCH | {"username": "acme2"}, "mismatch", "identity_mismatch"),
        (MATCH | {"display_name": "Acme"}, "mismatch", "identity_mismatch"),
        (MATCH | {"display_name": "acme ltd"}, "mismatch", "identity_mismatch"),
        (MATCH | {"display_name": " Acme Ltd"}, "mismatch", "identity_mismatch"),
        (MATCH | {"id": ""}, "unknown", "identity_unproven"),
        (MATCH | {"id": "  "}, "unknown", "identity_unproven"),
        (MATCH | {"id": None}, "unknown", "identity_unproven"),
        ({}, "unknown", "identity_unproven"),
        (MATCH | {"username": "<html>"}, "unknown", "identity_unproven"),
        (MATCH | {"username": "{}"}, "unknown", "identity_unproven"),
    ],
)
async def test_only_a_proven_identity_lets_an_effect_pass(
    stand: Stand, seen: dict[str, Any], result: str, code: str
) -> None:
    """What is not exactly the registered account blocks the lane until a comparison matches; another account alerts,
    turns its lanes off on record, and no later comparison turns them on: a person does."""
    client, lease = await ready(stand)
    path = f"/v1/accounts/{client}/x/acme/identity"
    assert await stand.call("POST", path, "runner", {"lease_id": lease} | seen) == (200, {"identity": result})
    status, reply = await stand.permit(lease)
    assert (status, reply.get("code", "")) == ((201, "") if not code else (403, code))
    assert stand.alerts() == (["identity_mismatch"] if result == "mismatch" else [])
    assert [json.loads(event)["fields"]["reason"] for event in stand.events("account.identified")] == [result]
    assert await stand.call("POST", path, "runner", {"lease_id": lease} | MATCH) == (200, {"identity": "match"})
    mismatch = result == "mismatch"
    assert [json.loads(event)["fields"]["lanes"] for event in stand.events("account.lanes_set")] == [""] * mismatch
    assert (await stand.permit(lease))[0] == (403 if mismatch else 201)
    if mismatch:
        lanes = "UPDATE byokeep.platform_account SET lanes = '{api}'"
        stand.db.sql(lanes)  # by somebody who is no person of ours: the identity still stands as it was seen
        assert (await stand.permit(lease))[1]["code"] == "identity_mismatch"
        db = PostgresDatabase(stand.db.url("byokeep_web"), pool_size=1)
        given = {one.name: getattr(stand.app, one.name) for one in fields(stand.app)}
        web: Any = type(stand.app)(**given | {"db": db})
        person = Actor(id=uuid4(), roles=frozenset({Role.OPERATOR}), clients=None, request_id=uuid4())
        await set_policy(web, person, client, where="x", account="acme", policy=LanePolicy.API)
        await db.close()
        assert (await stand.permit(lease))[1]["code"] == "identity_unproven"
        assert await stand.call("POST", path, "runner", {"lease_id": lease} | MATCH) == (200, {"identity": "match"})
        assert (await stand.permit(lease))[0] == 201


async def test_an_account_that_is_not_registered_is_named_as_the_reason(stand: Stand) -> None:
    """With the command that registers it."""
    client, lease = await ready(stand)
    path = f"/v1/accounts/{client}/x/other/identity"
    status, reply = await stand.call("POST", path, "runner", {"lease_id": lease} | MATCH)
    assert (status, reply["code"], "`byokeep account add`" in reply["next_step"]) == (404, "not_found", True)


async def test_an_identity_is_compared_composed(stand: Stand) -> None:
    """The same name in composed and decomposed Unicode is one name."""
    client, lease = await ready(stand)
    stand.db.sql("UPDATE byokeep.platform_account SET display_name = E'Caf\\u00e9'")
    path = f"/v1/accounts/{client}/x/acme/identity"
    seen = MATCH | {"lease_id": lease, "display_name": "Cafe\u0301"}
    assert await stand.call("POST", path, "runner", seen) == (200, {"identity": "match"})


async def test_identity_is_reported_under_a_lease_of_the_client(stand: Stand) -> None:
    """Another runner, another client's lease, an undeclared platform, an ended job and a bad name are refused."""
    client, lease = await ready(stand)
    _, elsewhere = await ready(stand)
    path = f"/v1/accounts/{client}/x/acme/identity"
    stand.account(client, platform="tiktok", account="acme")
    assert (await stand.call("POST", path, stand.subject("runner"), {"lease_id": lease} | MATCH))[0] == 404
    assert (await stand.call("POST", path, "runner", {"lease_id": elsewhere} | MATCH))[0] == 404
    other = path.replace("/x/", "/tiktok/")
    status, reply = await stand.call("POST", other, "runner", {"lease_id": lease} | MATCH)
    assert (status, reply["code"]) == (403, "platform_not_declared")
    for bad in ("/v1/accounts/{}/x/..%2facme/identity", "/v1/accounts/{}/X/acme/identity"):
        assert (await stand.call("POST", bad.format(client), "runner", {"lease_id": lease} | MATCH))[0] in (404, 422)
    stand.db.sql("UPDATE byokeep.job SET state = 'closed', closed_at = now()")
    assert (await stand.call("POST", path, "runner", {"lease_id": lease} | MATCH))[1]["code"] == "job_not_open"
