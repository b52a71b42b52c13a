"""The gate for connected accounts: each rule with its bad case, and the platform that was lost."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.core.reenable import IdentityChecked, Reauthorised, RecoveryCause, ScopesChecked
from byokeep.jobs import reenabling
from tests.support.broker import Stand
from tests.support.connected import Account, connect, record
from tests.support.profiles import hold, put_profile, reported

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
EVERY = ["publish", "engage", "comment", "dm"]


async def leased(stand: Stand, client: UUID, **spec: Any) -> str:
    """A lease of a job that declared platform secrets."""
    job = await stand.job(client, **({"secrets": ["x"], "effects": EVERY} | spec))
    return str((await stand.lease(job))["lease_id"])


async def ready(stand: Stand, **account: Any) -> tuple[Account, str]:
    made = await connect(stand, await stand.client(), **account)
    return made, await leased(stand, made.client)


async def denied(stand: Stand, lease: str, **wish: Any) -> str:
    status, reply = await stand.permit(lease, **wish)
    assert status == 403, reply
    return str(reply["code"])


async def lose(stand: Stand, client: UUID, platform: str = "x", cause: RecoveryCause = RecoveryCause.REVOKED) -> None:
    async with stand.app.db.begin(client_id=client) as tx:
        await reenabling.lose(tx, stand.app, stand.app.system(), client, platform, cause)


async def test_a_connected_account_passes_without_a_key_of_its_own(stand: Stand) -> None:
    """Grant live, record there, identity fresh by its verification: the gate lets it pass."""
    account, lease = await ready(stand)
    stand.db.sql("UPDATE byokeep.platform_account SET identity = 'unchecked', identified_at = NULL")
    assert (await stand.permit(lease))[0] == 201
    stand.db.sql(f"UPDATE byokeep.account_grant SET verified_at = now() - interval '11 minutes' {account.where}")
    assert await denied(stand, lease) == "identity_stale"
    stand.db.sql(f"UPDATE byokeep.account_grant SET verified_at = NULL {account.where}")
    assert await denied(stand, lease) == "identity_unproven"


@pytest.mark.req("R5.2-5", "R5.2-14")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("account_grant SET state = 'unverified'", "grant_not_live"),
        ("account_grant SET state = 'needs_reauth'", "grant_not_live"),
        ("account_grant SET state = 'revoked'", "grant_not_live"),
        ("account_grant SET drift = true", "identity_drift"),
        ("account_grant SET connected_seq = NULL", "account_not_connected"),
        ("account_grant SET connected_seq = 1", "account_not_connected"),
        ("account_grant SET connected_seq = 99999", "account_not_connected"),
        ("credential_ref SET verification = 'failed'", "credential_not_usable"),
        ("credential_ref SET state = 'suspended'", "credential_not_usable"),
        ("credential_ref SET expires_at = now() - interval '1 second'", "credential_not_usable"),
        ("platform_account SET identity = 'mismatch'", "identity_mismatch"),
        ("platform_account SET lanes = '{browser}'", "lane_not_enabled"),
        ("platform_account SET lanes = '{}'", "lane_not_enabled"),
    ],
)
async def test_each_fact_of_a_connected_account_denies(stand: Stand, change: str, reason: str) -> None:
    """One fact taken away, and the gate denies with its own reason, on record."""
    _, lease = await ready(stand)
    stand.db.sql(f"UPDATE byokeep.{change}")
    assert await denied(stand, lease) == reason
    assert f'"reason":"{reason}"' in stand.events("permit.issued", "denied")[-1]


@pytest.mark.req("R5.2-14")
async def test_a_lane_without_the_record_of_a_connection_denies(stand: Stand) -> None:
    """Lanes set by hand in the database: without this account's own platform_connected the gate denies all the same."""
    client = await stand.client()
    account = await connect(stand, client, recorded=False)
    lease = await leased(stand, client)
    assert await denied(stand, lease) == "account_not_connected"
    await record(stand, account, of=uuid4())
    assert await denied(stand, lease) == "account_not_connected"
    await record(stand, account)
    assert (await stand.permit(lease))[0] == 201
    # Only begun to be connected: registered, lanes and identity written past us, no grant.
    await stand.key(client, "openai")
    begun = stand.account(client, "x", "begun")
    keyed = await leased(stand, client, secrets=["openai"])
    assert (await stand.permit(keyed, account="begun"))[0] == 201
    job = stand.db.sql("SELECT id FROM byokeep.job LIMIT 1").strip()
    stand.db.sql(
        "INSERT INTO byokeep.connection (id, client_id, account_id, job_id, sop_id, login, state_hash, binding_hash,"
        f" redirect_uri, started_by, expires_at, request_id) VALUES ('{uuid4()}', '{client}', '{begun}', '{job}',"
        f" '{uuid4()}', 'x', sha256('a'), sha256('b'), 'http://127.0.0.1:1/', '{uuid4()}',"
        f" now() + interval '9 minutes', '{uuid4()}')"
    )
    assert await denied(stand, keyed, account="begun") == "account_not_connected"


@pytest.mark.req("R5.2-10")
@pytest.mark.parametrize(
    ("stored", "api", "browser"),
    [
        ("api", "", "lane_not_enabled"),
        ("browser", "lane_not_enabled", ""),
        ("api,browser", "", ""),
        ("", "lane_not_enabled", "lane_not_enabled"),
        ("API", "lane_policy_unknown", "lane_policy_unknown"),
        ("api,fax", "lane_policy_unknown", "lane_policy_unknown"),
    ],
)
async def test_the_lane_policy_holds_at_run_time(stand: Stand, stored: str, api: str, browser: str) -> None:
    """API keeps the browser out and the other way round, hybrid lets both in, an unknown stored value neither."""
    account, _ = await ready(stand)
    lease = await leased(stand, account.client, lanes=["api", "browser"])
    profile = put_profile(stand, account.client, account.id)
    hold(stand, profile, UUID(stand.db.sql(f"SELECT job_id FROM byokeep.lease WHERE id = '{lease}'").strip()))
    await reported(stand, account.client, lease, "x", **account.face)
    stand.db.sql(f"UPDATE byokeep.platform_account SET lanes = '{{{stored}}}'")
    for lane, reason in (("api", api), ("browser", browser)):
        status, reply = await stand.permit(lease, lane=lane)
        assert (status, reply.get("code", "")) == ((403, reason) if reason else (201, "")), lane


async def test_a_job_compares_with_what_the_consent_said(stand: Stand) -> None:
    """The stable id decides; another name is drift, a look-alike or another id a mismatch, nothing is unknown."""
    account, lease = await ready(stand)
    path = f"/v1/accounts/{account.client}/x/acme/identity"

    async def seen(**changed: Any) -> str:
        body = {"lease_id": lease, **account.face, **changed}
        status, reply = await stand.call("POST", path, "runner", body)
        assert status == 200, reply
        return str(reply["identity"])

    for changed, verdict, then in (
        ({}, "match", ""),
        ({"username": "acme_new"}, "drift", "identity_unproven"),
        ({"id": None}, "unknown", "identity_unproven"),
        ({"username": "a\u0441me"}, "mismatch", "identity_mismatch"),
        ({"id": "other"}, "mismatch", "identity_mismatch"),
    ):
        assert await seen(**changed) == verdict, changed
        status, reply = await stand.permit(lease)
        assert (status, reply.get("code", "")) == ((403, then) if then else (201, "")), changed
    assert {"account_name_changed", "identity_mismatch"} <= set(stand.alerts())
    points = "SELECT code_points FROM byokeep.alert WHERE reason = 'identity_mismatch'"
    assert stand.db.sql(points).strip() == "0441"  # the letter that gives the look-alike away, for who looks at it


@pytest.mark.req("R5.2-5")
async def test_no_job_takes_a_mismatch_back(stand: Stand) -> None:
    """Another account was seen: no later report of the right one, of another name or of nothing lets an act pass, and
    none puts off the look that may. Its lanes are off. Of an account without a connection a person does."""
    account, lease = await ready(stand)
    face = f"SELECT identity, identified_at FROM byokeep.platform_account WHERE id = '{account.id}'"

    async def seen(**changed: Any) -> str:
        body = {"lease_id": lease, **account.face, **changed}
        return str((await stand.call("POST", f"/v1/accounts/{account.client}/x/acme/identity", "runner", body))[1]
                   ["identity"])  # fmt: skip

    assert await seen(id="other") == "mismatch"
    then = stand.db.sql(face)
    assert then.startswith("mismatch|")
    for changed, verdict in (({}, "match"), ({"username": "new"}, "drift"), ({"id": None}, "unknown")):
        assert await seen(**changed) == verdict
        assert stand.db.sql(face) == then
        assert await denied(stand, lease) == "identity_mismatch"
    lanes = f"SELECT lanes FROM byokeep.platform_account WHERE id = '{account.id}'"
    assert stand.db.sql(lanes) == "{}"
    stand.db.sql(f"UPDATE byokeep.platform_account SET lanes = '{{api}}' WHERE id = '{account.id}'")
    assert await denied(stand, lease) == "identity_mismatch"
    stand.db.sql(f"UPDATE byokeep.account_grant SET state = 'needs_reauth' {account.where}")
    assert await seen() == "match"
    assert stand.db.sql(face) == then
    stand.db.sql(f"DELETE FROM byokeep.account_grant {account.where}")
    face_by_hand = {"id": "acme", "username": "acme", "display_name": "Acme Ltd"}
    assert await seen(**face_by_hand) == "match"
    assert stand.db.sql(face) == then


@pytest.mark.req("R7.2-1")
async def test_a_lost_platform_denies_every_act_and_the_others_run_on(stand: Stand) -> None:
    """Likes, comments, messages and posts are denied on that platform; another one and another client go on."""
    account, lease = await ready(stand)
    await connect(stand, account.client, "tiktok", "acme")
    other, other_lease = await ready(stand)
    tiktok = await leased(stand, account.client, secrets=["tiktok"], platforms=["tiktok"])
    await stand.key(account.client, "openai")
    stand.account(account.client, "x", "byhand")
    keyed = await leased(stand, account.client, secrets=["openai"])
    await lose(stand, account.client)
    for effect in EVERY:
        assert await denied(stand, lease, effect=effect) == "platform_closed"
    assert await denied(stand, keyed, account="byhand") == "platform_closed"
    both = await leased(stand, account.client, lanes=["api", "browser"])
    assert await denied(stand, both, lane="browser", effect="engage") == "platform_closed"
    assert (await stand.permit(tiktok, platform="tiktok"))[0] == 201
    assert (await stand.permit(other_lease))[0] == 201
    assert other.client != account.client
    # What can not be read denies: a row that contradicts itself, then no right to read the table at all.
    stand.db.sql("UPDATE byokeep.reenabling SET stage = 'open', number = 9")
    assert await denied(stand, lease, effect="engage") == "platform_unknown"
    stand.db.sql("REVOKE SELECT ON byokeep.reenabling FROM byokeep_broker")
    assert await denied(stand, tiktok, platform="tiktok", effect="engage") == "gate_error"
    assert "gate_error" in stand.alerts()


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
async def test_no_step_of_the_way_back_lets_an_act_pass_before_the_canary(stand: Stand, steps: int) -> None:
    """Logged in, identified, permissions there: still closed."""
    account, lease = await ready(stand)
    await lose(stand, account.client)
    for event in (Reauthorised(by_person=True), IdentityChecked(True), ScopesChecked(frozenset()))[:steps]:
        async with stand.app.db.begin(client_id=account.client) as tx:
            await reenabling.step(tx, stand.app, stand.app.system(), account.client, "x", event)
    assert await denied(stand, lease) == "platform_closed"
