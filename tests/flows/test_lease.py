"""Leases: whose they are, what they open at the real store, and when they end."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.adapters.openbao.embedded import audit_files
from byokeep.core.errors import ByokeepError, Denied
from byokeep.core.secret import Secret
from byokeep.kernel.app import ServiceLimits
from byokeep.wire.bao_http import BaoHttp, lease_login, read_secret
from tests.support.broker import Stand, standing
from tests.support.postgres import drop_database, fresh_database

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


async def read(lease: dict[str, Any], provider: str, path: str = "") -> bytes:
    """Log in at the store with a lease and read, as the SDK would."""
    async with BaoHttp(lease["store"]["address"]) as http:
        token = await lease_login(http, Secret(lease["jwt"]), f"use-{provider}", lease_id=lease["lease_id"])
        place = path or lease["secrets"][provider]["path"]
        version = lease["secrets"].get(provider, {}).get("version", 1)
        return (await read_secret(http, token, place, version, lease["lease_id"])).reveal()


async def refused(lease: dict[str, Any], provider: str, path: str = "") -> str:
    with pytest.raises(ByokeepError) as caught:
        await read(lease, provider, path)
    return caught.value.code


def store_log(stand: Stand) -> list[dict[str, Any]]:
    files: dict[str, Path] = audit_files(stand.store.home)
    lines = next(iter(files.values())).read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.req("R4.1-1", "R4.1-4")
async def test_a_lease_opens_its_clients_declared_secret_and_nothing_else(stand: Stand) -> None:
    """The store itself refuses another client's path and an undeclared secret, and its log shows who tried."""
    client, other = await stand.client("openai", "heygen"), await stand.client("openai")
    # The runner may work for both clients: the lease decides.
    lease = await stand.lease(await stand.job(client))
    assert (await read(lease, "openai")).startswith(b"value-of-openai-")
    theirs = f"kv/clients/{other}/providers/openai"
    assert await refused(await stand.lease(await stand.job(client)), "openai", theirs) == "store_denied"
    assert await refused(await stand.lease(await stand.job(client)), "heygen") == "lease_refused"
    own_other = f"kv/clients/{client}/providers/heygen"
    assert await refused(await stand.lease(await stand.job(client)), "openai", own_other) == "store_denied"
    denied = [
        entry["request"]["path"] for entry in store_log(stand)
        if entry["type"] == "response" and "permission denied" in entry.get("error", "")
    ]  # fmt: skip
    assert f"kv/data/clients/{other}/providers/openai" in denied
    assert f"kv/data/clients/{client}/providers/heygen" in denied


@pytest.mark.req("R4.1-1", "R3.2-3")
async def test_a_reference_that_points_elsewhere_is_not_leased(stand: Stand) -> None:
    """A row that names another client's place, or another provider's, gives no lease at all, of a key or a webhook."""
    client, other = await stand.client("openai"), await stand.client("openai")
    own = f"vault://kv/clients/{client}/providers/openai"
    stand.db.sql("ALTER TABLE byokeep.credential_ref DROP CONSTRAINT credential_ref_secret_ref_ck")
    job = await stand.job(client)
    for place in (own.replace(str(client), str(other)), own.replace("openai", "anthropic")):
        stand.db.sql(f"UPDATE byokeep.credential_ref SET secret_ref = '{place}' WHERE client_id = '{client}'")
        status, reply = await stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
        assert (status, reply["code"]) == (403, "credential_not_usable"), place
        assert stand.alerts() == ["reference_redirected"]
        assert stand.db.sql("SELECT severity, client_id FROM byokeep.alert") == f"critical|{client}"
    stand.db.sql(f"UPDATE byokeep.credential_ref SET secret_ref = '{own}' WHERE client_id = '{client}'")
    assert (await stand.lease(job))["secrets"]["openai"]["path"] == own.removeprefix("vault://")
    stand.db.sql(
        "INSERT INTO byokeep.credential_ref (id, client_id, provider, kind, purpose, environment, secret_ref, version,"
        " state, verification, risk, created_by, rotation_due_at) SELECT gen_random_uuid(), client_id, provider,"
        f" 'webhook_signing_secret', 'webhook', environment, '{own.replace(str(client), str(other))}/webhook', 1,"
        f" 'active', 'verified', risk, created_by, rotation_due_at FROM byokeep.credential_ref"
        f" WHERE client_id = '{client}'"
    )
    stand.db.sql("UPDATE byokeep.alert SET closed_at = now(), closed_by = gen_random_uuid()")
    status, reply = await stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert (status, reply["code"]) == (403, "credential_not_usable")
    assert stand.alerts() == ["reference_redirected"]


@pytest.mark.req("R1.4-3")
async def test_there_is_no_lease_without_its_record(stand: Stand) -> None:
    """Each lease has its record; while none can be written, there is neither a lease nor a row of one."""
    job = await stand.job(await stand.client("openai"))
    lease = await stand.lease(job)
    assert [json.loads(said)["object"] for said in stand.events("lease.issued", "intended")] == [lease["lease_id"]]
    append = "FUNCTION byokeep.audit_append(uuid, text, uuid, uuid, uuid, text, bytea)"
    rows = "SELECT count(*) FROM byokeep.lease"
    before = stand.db.sql(rows)
    stand.db.sql(f"REVOKE EXECUTE ON {append} FROM byokeep_broker")
    status, reply = await stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert (status, reply["code"], "jwt" in reply) == (403, "database_denied", False)
    assert stand.db.sql(rows) == before
    stand.db.sql(f"GRANT EXECUTE ON {append} TO byokeep_broker")
    await stand.lease(job)


@pytest.mark.req("R4.1-2", "S-VAULT-7", "S-ASVS-27")
async def test_a_job_is_leased_to_its_own_runner_only(stand: Stand) -> None:
    """Another runner with the job's or lease's id gets what no id gets, on every route, and it is recorded."""
    client = await stand.client("openai")
    job = await stand.job(client)
    lease = await stand.lease(job)
    other = stand.subject("runner")
    routes = [
        ("POST", f"/v1/jobs/{job}/leases"), ("GET", f"/v1/leases/{lease['lease_id']}"), ("GET", f"/v1/jobs/{job}"),
        ("POST", f"/v1/jobs/{uuid4()}/leases"), ("GET", f"/v1/leases/{uuid4()}"),
    ]  # fmt: skip
    answers = [await stand.call(method, path, other) for method, path in routes]
    assert {(status, reply["code"]) for status, reply in answers} == {(404, "not_found")}
    assert (await stand.permit(lease["lease_id"], who=other))[0] == 404
    use = {"leases": [{"lease_id": lease["lease_id"], "logins": 9, "reads": {}}]}  # of many leases at once
    assert (await stand.call("POST", "/v1/leases/use", other, use))[0] == 404
    assert not stand.events("lease.use_told")
    assert len(stand.events("lease.issued", "denied")) >= 2
    # What the request says about itself changes nothing.
    headers = {"X-Tenant-ID": str(uuid4()), "X-User-ID": str(stand.people["runner"].id), "X-Forwarded-For": "10.0.0.1"}
    assert (await stand.call("POST", f"/v1/jobs/{job}/leases", other, headers=headers))[0] == 404
    assert (await stand.call("POST", f"/v1/jobs/{job}/leases?client_id={uuid4()}", "runner"))[0] == 422


@pytest.mark.req("R4.1-2", "S-JWT-8")
async def test_an_edited_lease_token_is_refused_by_the_store(stand: Stand) -> None:
    """Changing the client, the secrets or the expiry in a lease's token makes it worthless."""
    client, other = await stand.client("openai"), await stand.client("openai")
    for change in ({"client_id": str(other)}, {"secrets": ["openai", "heygen"]}, {"exp": int(time.time()) + 600}):
        lease = await stand.lease(await stand.job(client))
        head, body, signature = lease["jwt"].split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "==")) | change
        forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        assert await refused(lease | {"jwt": f"{head}.{forged}.{signature}"}, "openai") == "lease_refused"


@pytest.mark.req("R4.1-2", "S-JWT-8")
async def test_a_lease_token_is_short_and_of_this_installation_alone(stand: Stand) -> None:
    """It names its job, client and secrets and lives for seconds; the same signed for another issuer opens nothing."""
    client = await stand.client("openai")
    job = await stand.job(client)
    lease = await stand.lease(job)
    claims = json.loads(base64.urlsafe_b64decode(lease["jwt"].split(".")[1] + "=="))
    said = {name: claims[name] for name in ("sub", "job_id", "client_id", "lease_id", "kind", "secrets")}
    assert said == {"sub": str(job), "job_id": str(job), "client_id": str(client), "lease_id": lease["lease_id"],
                    "kind": "use", "secrets": ["openai"]}  # fmt: skip
    assert claims["exp"] - claims["iat"] <= 3
    assert claims["iat"] == claims["nbf"] == lease["epoch"]
    now = int(time.time())
    times = {"iat": now, "nbf": now, "exp": now + 3}
    foreign = await stand.app.signer.sign_jwt(claims | times | {"iss": f"byokeep/{uuid4()}"})
    assert await refused(lease | {"jwt": foreign}, "openai") == "lease_refused"
    assert (await read(await stand.lease(job), "openai")).startswith(b"value-of-openai-")


@pytest.mark.req("R4.1-3")
@pytest.mark.parametrize("end", ["closed", "expired", "suspended", "killed", "disabled"])
async def test_nothing_is_served_five_seconds_after_a_job_ended(stand: Stand, end: str) -> None:
    """The broker refuses at once; the last store token that there was is dead within five seconds, by time alone."""
    client = await stand.client("openai")
    job = await stand.job(client)
    lease = await stand.lease(job)
    async with BaoHttp(lease["store"]["address"]) as http:
        token = await lease_login(http, Secret(lease["jwt"]), "use-openai")
        if end == "closed":
            await stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher")
        elif end == "expired":
            stand.db.sql(
                "UPDATE byokeep.job SET opened_at = now() - interval '1 hour', expires_at = now() - interval '1 s'"
                f" WHERE id = '{job}'"
            )
        elif end == "suspended":
            stand.db.sql(f"UPDATE byokeep.client SET state = 'suspended' WHERE id = '{client}'")
        elif end == "killed":
            status, _ = await stand.call(
                "POST", "/v1/switches/close", "operator", {"client_id": str(client), "reason": "drill"}
            )
            assert status == 200
        else:
            stand.db.sql(f"UPDATE byokeep.subject SET state = 'disabled' WHERE id = '{stand.people['runner'].id}'")
        ended = time.monotonic()
        expected = {401} if end == "disabled" else {403}
        assert (await stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] in expected
        assert (await stand.call("GET", f"/v1/leases/{lease['lease_id']}", "runner"))[0] in expected
        assert (await stand.permit(lease["lease_id"]))[0] in expected
        place, tokens = lease["secrets"]["openai"]["path"], [token]
        with suppress(Denied):  # as long as the store lets it in
            while time.monotonic() - ended < 5:
                tokens.append(await lease_login(http, Secret(lease["jwt"]), "use-openai"))
                await asyncio.sleep(0.1)
        await asyncio.sleep(ended + 5 - time.monotonic())
        for one in (tokens[0], tokens[-1]):
            with pytest.raises(Denied):
                await read_secret(http, one, place, 1, lease["lease_id"])
        with pytest.raises(Denied):
            await lease_login(http, Secret(lease["jwt"]), "use-openai")


@pytest.mark.req("R4.1-11")
async def test_a_client_that_is_not_known_to_be_active_gets_nothing(stand: Stand) -> None:
    """Whatever else it is: heartbeat, lease and permit are denied, with the reason; active again: they pass."""
    client = await stand.client("openai")
    stand.account(client)
    job = await stand.job(client)
    lease = await stand.lease(job)
    for state in ("suspended", "enrolling", "closed"):
        stand.db.sql(f"UPDATE byokeep.client SET state = '{state}' WHERE id = '{client}'")
        for method, path in (("GET", f"/v1/leases/{lease['lease_id']}"), ("POST", f"/v1/jobs/{job}/leases")):
            status, reply = await stand.call(method, path, "runner")
            assert (status, reply["code"]) == (403, "client_not_active"), state
        assert (await stand.permit(lease["lease_id"]))[1]["code"] == "client_not_active", state
    stand.db.sql(f"UPDATE byokeep.client SET state = 'active' WHERE id = '{client}'")
    assert (await stand.permit(lease["lease_id"]))[0] == 201


@pytest.mark.req("R2.1-12")
async def test_a_missing_key_blocks_and_nothing_stands_in_for_it(stand: Stand) -> None:
    """A client without its own key gets no lease, whatever others have; nor with a revoked or unverified one."""
    await stand.client("openai")
    client = await stand.client()
    job = await stand.job(client)
    status, reply = await stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert (status, reply["code"], reply["provider"]) == (403, "missing_credential", "openai")
    await stand.key(client, "openai")
    both = await stand.job(client, secrets=["openai", "anthropic"])  # the one that is there is no reason to begin
    status, reply = await stand.call("POST", f"/v1/jobs/{both}/leases", "runner")
    assert (status, reply["code"], reply["provider"]) == (403, "missing_credential", "anthropic")
    for change, code in (
        ("state = 'compromised'", "credential_not_usable"),
        ("state = 'suspended'", "credential_not_usable"),
        ("state = 'active', verification = 'pending'", "credential_not_usable"),
        ("verification = 'quarantined'", "credential_not_usable"),
        ("verification = 'verified', expires_at = now() - interval '1 s'", "credential_not_usable"),
        ("expires_at = NULL, environment = 'staging'", "missing_credential"),
    ):
        stand.db.sql(f"UPDATE byokeep.credential_ref SET {change} WHERE client_id = '{client}'")
        status, reply = await stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
        assert (status, reply["code"]) == (403, code), change
        assert ("byokeep key list" in reply["next_step"]) == (code == "credential_not_usable")
    stand.db.sql(f"UPDATE byokeep.credential_ref SET environment = 'development' WHERE client_id = '{client}'")
    assert (await stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))[0] == 201


async def test_the_login_token_is_shown_once_and_kept_nowhere(stand: Stand) -> None:
    """The token stands in the lease's reply and not in the database, the audit log or the lease's own noun."""
    client = await stand.client("openai")
    lease = await stand.lease(await stand.job(client))
    dump = stand.db.sql(
        "SELECT string_agg(t::text, '') FROM (SELECT l::text FROM byokeep.lease l UNION ALL"
        " SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record) t"
    )
    assert lease["lease_id"] in dump
    assert lease["jwt"].split(".")[2] not in dump
    assert "eyJ" not in dump


@pytest.mark.req("S-VAULT-20")
async def test_leases_are_rationed_for_each_client(postgres_server: Any, store: Any) -> None:
    """The fourth lease within a second is refused with 429 and raises an alert; another client's is not."""
    database = fresh_database(postgres_server)
    try:
        async with standing(database, store, limits=ServiceLimits(client_leases_per_second=3)) as stand:
            busy, calm = await stand.client("openai"), await stand.client("openai")
            job, other = await stand.job(busy), await stand.job(calm)
            stand.db.sql("UPDATE byokeep.lease SET issued_at = issued_at - interval '1 hour'")
            answers = [await stand.call("POST", f"/v1/jobs/{job}/leases", "runner") for _ in range(3)]
            stand.db.sql("UPDATE byokeep.lease SET issued_at = now() WHERE issued_at > now() - interval '30 minutes'")
            answers.append(await stand.call("POST", f"/v1/jobs/{job}/leases", "runner"))
            assert [status for status, _ in answers] == [201, 201, 201, 429]
            assert (await stand.call("POST", f"/v1/jobs/{other}/leases", "runner"))[0] == 201
            assert stand.alerts() == ["lease_storm"]
    finally:
        drop_database(database)


async def test_custody_and_use_do_not_mix(stand: Stand) -> None:
    """A custodian gets no use lease, a runner no custody lease; a pending key can be leased for custody only."""
    client = await stand.client("openai")
    use = await stand.job(client)
    custody = await stand.job(
        client, kind="custody", runner_id=str(stand.people["custodian"].id), platforms=[], lanes=[], effects=[]
    )
    assert (await stand.call("POST", f"/v1/jobs/{use}/leases", "custodian"))[0] == 404
    assert (await stand.call("POST", f"/v1/jobs/{custody}/leases", "runner"))[0] == 404
    stand.db.sql(
        "UPDATE byokeep.credential_ref SET state = 'pre_activation', verification = 'pending'"
        f" WHERE client_id = '{client}'"
    )
    assert (await stand.call("POST", f"/v1/jobs/{use}/leases", "runner"))[1]["code"] == "credential_not_usable"
    lease = await stand.lease(custody, "custodian")
    assert UUID(lease["lease_id"])
    assert lease["secrets"]["openai"]["version"] == 1
    for role in ("admin", "operator", "approver", "auditor", "dispatcher"):
        assert (await stand.call("POST", f"/v1/jobs/{use}/leases", role))[0] == 403


@pytest.mark.req("R4.1-10")
async def test_a_runner_reads_and_does_nothing_else_at_the_store(stand: Stand) -> None:
    """With a use lease every verb but reading its secret is refused, and stands in the store's log."""
    client, other = await stand.client("openai"), await stand.client("openai")
    job = await stand.job(client)
    own, theirs = f"clients/{client}/providers/openai", f"clients/{other}/providers/openai"
    attempts = [
        ("POST", f"kv/data/{own}", {"options": {"cas": 1}, "data": {"value": "x"}}),
        ("POST", f"kv/destroy/{own}", {"versions": [1]}), ("POST", f"kv/delete/{own}", {"versions": [1]}),
        ("DELETE", f"kv/data/{own}", None), ("DELETE", f"kv/metadata/{own}", None), ("GET", f"kv/metadata/{own}", None),
        ("LIST", f"kv/metadata/clients/{client}/providers", None), ("LIST", "kv/metadata/clients", None),
        ("GET", f"kv/metadata/{theirs}", None), ("GET", f"kv/data/{theirs}", None),
        ("POST", "transit/sign/leases", {"input": "eA=="}),
    ]  # fmt: skip
    for method, path, body in attempts:
        lease = await stand.lease(job)
        async with BaoHttp(lease["store"]["address"]) as http:
            token = await lease_login(http, Secret(lease["jwt"]), "use-openai", lease_id=lease["lease_id"])
            with pytest.raises(Denied):
                await http.request(method, path, token=token, body=body, lease_header=lease["lease_id"])
    denied = {
        entry["request"]["path"]
        for entry in store_log(stand)
        if entry["type"] == "response" and "permission denied" in entry.get("error", "")
    }
    assert {path.rstrip("/") for _, path, _ in attempts} <= {path.rstrip("/") for path in denied}
    assert (await read(await stand.lease(job), "openai")).startswith(b"value-of-openai-")


@pytest.mark.req("S-ASVS-27")
async def test_a_runner_is_limited_to_its_job_whoever_stands_between(stand: Stand) -> None:
    """The broker decides on the caller's own token: a runner of many clients gets, under one job, one client."""
    first, second = await stand.client("openai"), await stand.client("openai")
    stand.account(first)
    stand.account(second)
    lease = await stand.lease(await stand.job(first))
    headers = {"X-Tenant-ID": str(second), "X-Byokeep-Client": str(second)}
    body = {"version": 1, "effect": "publish", "platform": "x", "account": "acme", "lane": "api",
            "idempotency_key": "post-0001"}  # fmt: skip
    status, _ = await stand.call("POST", f"/v1/leases/{lease['lease_id']}/permits", "runner", body, headers=headers)
    assert status == 201
    assert stand.db.sql("SELECT client_id FROM byokeep.permit") == str(first)
    seen = {"lease_id": lease["lease_id"], "id": "acme", "username": "acme", "display_name": "Acme Ltd"}
    assert (await stand.call("POST", f"/v1/accounts/{second}/x/acme/identity", "runner", seen))[0] == 404
    assert str(second) not in json.dumps(lease)


@pytest.mark.req("S-VAULT-15")
async def test_revoking_a_client_ends_its_tokens_and_leaves_the_other(stand: Stand) -> None:
    """A cut-off ends every live store token of the client within five seconds, and none of another client."""
    first, second = await stand.client("openai"), await stand.client("openai")
    leases = [await stand.lease(await stand.job(client)) for client in (first, first, second)]
    async with BaoHttp(leases[0]["store"]["address"]) as http:
        tokens = [await lease_login(http, Secret(lease["jwt"]), "use-openai") for lease in leases]
        body = {"client_id": str(first), "reason": "suspected_leak"}
        assert (await stand.call("POST", "/v1/switches/close", "operator", body))[0] == 200
        for lease, token in zip(leases[:2], tokens[:2], strict=True):
            with pytest.raises(Denied):
                await read_secret(http, token, lease["secrets"]["openai"]["path"], 1, lease["lease_id"])
        value = await read_secret(http, tokens[2], leases[2]["secrets"]["openai"]["path"], 1, leases[2]["lease_id"])
        assert value.reveal()
