"""Clients and accounts: names, states, and text that may not hold secrets."""

from __future__ import annotations

import asyncio
import json

import psycopg
import pytest

from byokeep_redact.canary import PROVIDERS
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


@pytest.mark.req("R2.2-4", "S-VAULT-9")
@pytest.mark.parametrize(
    "name",
    [" Root", "ROOT", "ro\u200bot", "platform", "Pl\u0430tform", "\uff32\uff4f\uff4f\uff54", "r00t", "ad min",
     "S.y.s.t.e.m",
     "syst\u00e9m", "adm\u0456n", "p1atform"],
)  # fmt: skip
async def test_names_of_ours_can_not_be_taken(desk: Desk, name: str) -> None:
    """A reserved name is refused in every spelling, for a client, a person, a machine and a client's own person."""
    theirs = await desk.stand.client()
    contact = f"/v1/clients/{theirs}/contacts", "operator", {"name": name}
    status, reply = await desk.call("POST", *contact)
    assert (status, reply["code"]) == (422, "reserved_name")
    for path, body in (
        ("/v1/clients", {"name": name}),
        ("/v1/operators", {"name": name, "roles": ["operator"]}),
        ("/v1/machines", {"name": name, "role": "runner"}),
    ):
        status, reply = await desk.call("POST", path, "admin", body)
        assert (status, reply["code"]) == (422, "reserved_name"), path
    assert desk.sql("SELECT count(*) FROM byokeep.client") == "1"


async def test_a_client_lives_and_rests(desk: Desk) -> None:
    """A client is created, enrolled through web at the broker, suspended and resumed; a name is taken once."""
    status, client = await desk.call("POST", "/v1/clients", "admin", {"name": "Acme & Söhne (EU)", "risk": "high"})
    assert (status, client["state"], client["risk"]) == (201, "enrolling", "high")
    status, reply = await desk.call("POST", "/v1/clients", "admin", {"name": "Acme & Söhne (EU)"})
    assert (status, reply["code"]) == (409, "client_exists")
    assert "`byokeep client list`" in reply["next_step"]
    person = {"name": "maria", "roles": ["operator"]}
    assert (await desk.call("POST", "/v1/operators", "admin", person))[0] == 201
    for path, body in (("/v1/operators", person), ("/v1/machines", {"name": "maria", "role": "runner"})):
        status, reply = await desk.call("POST", path, "admin", body)
        assert (status, reply["code"]) == (409, "operator_exists")
        assert "`byokeep operator list`" in reply["next_step"]
    status, reply = await desk.call("POST", f"/v1/clients/{client['id']}/enroll", "admin")
    assert (status, reply["state"]) == (200, "active")
    status, reply = await desk.call("POST", f"/v1/clients/{client['id']}/resume", "admin")
    assert (status, reply["code"]) == (409, "client_state")
    assert (await desk.call("POST", f"/v1/clients/{client['id']}/suspend", "admin"))[1]["state"] == "suspended"
    assert (await desk.call("POST", f"/v1/clients/{client['id']}/resume", "admin"))[1]["state"] == "active"
    for event in ("client.created", "client.suspended", "client.resumed"):
        assert len(desk.stand.events(event, "ok")) == 1


@pytest.mark.req("S-VAULT-9")
async def test_a_name_that_reads_like_anothers_is_refused(desk: Desk) -> None:
    """Case, letters of other scripts and fonts, a sign at the end make no second client; a twin from before stays."""
    assert (await desk.call("POST", "/v1/clients", "admin", {"name": "Acme Paris"}))[0] == 201
    desk.sql(
        "INSERT INTO byokeep.client (id, name, created_by) VALUES"  # noqa: S608
        f" (gen_random_uuid(), 'ACME PARIS', '{desk.people['admin'].id}')"
    )
    other = "\u0410\u0441\u043c\u0435 \u0420\u0430\u0433\u0456\u0455"
    for name in ("acme paris", "Acme PARIS", "Acme Parls", "Acme Paris.", other):
        status, reply = await desk.call("POST", "/v1/clients", "admin", {"name": name})
        assert (status, reply["code"]) == (409, "name_like_another"), name
    both = await asyncio.gather(*(desk.call("POST", "/v1/clients", "admin", {"name": name}) for name in ("Zoo", "ZOO")))
    assert sorted(status for status, _ in both) == [201, 409]
    assert (await desk.call("POST", "/v1/clients", "admin", {"name": "Acme Lyon"}))[0] == 201
    assert desk.sql("SELECT count(*) FROM byokeep.client WHERE upper(name) = 'ACME PARIS'") == "2"


async def test_an_account_is_not_named_like_a_step_or_an_option(desk: Desk) -> None:
    """`.`, `..`, `-` and what begins with a dot or a dash is refused; what was named so before is used on."""
    client = await desk.stand.client()
    account = {"platform": "x", "username": "acme", "display_name": "Acme Ltd"}
    for name in (".", "..", "-", "--help", "-a", ".hidden"):
        status, reply = await desk.call(
            "POST", f"/v1/clients/{client}/accounts", "operator", account | {"account": name}
        )
        assert (status, reply["code"]) == (422, "bad_account"), name
    desk.stand.account(client, account="-old")
    path = f"/v1/clients/{client}/accounts/x/-old/lane"
    assert (await desk.call("POST", path, "operator", {"policy": "api"}))[0] == 200


@pytest.mark.req("R4.1-11")
async def test_a_suspended_client_gets_no_lease_and_no_write(desk: Desk) -> None:
    """Suspending in the middle of a job refuses the next lease and the next write."""
    client = await desk.stand.client("openai")
    job = await desk.stand.job(client)
    await desk.stand.lease(job)
    await desk.call("POST", f"/v1/clients/{client}/suspend", "admin")
    status, reply = await desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
    assert (status, reply["code"]) == (403, "client_not_active")
    status, reply = await desk.put(client, desk.canary())
    assert (status, reply["code"]) == (422, "client_not_active")


async def test_a_suspension_waits_for_the_decisions_that_saw_the_client_active(desk: Desk) -> None:
    """One that hangs, and would commit a permit afterwards, is ended."""
    client = await desk.stand.client("openai")
    async with await psycopg.AsyncConnection.connect(desk.stand.db.conninfo("byokeep_broker")) as held:
        await held.execute(f"SELECT pg_advisory_xact_lock_shared(byokeep.scope_lock_key('client:{client}'))")
        assert (await desk.call("POST", f"/v1/clients/{client}/suspend", "admin"))[1]["state"] == "suspended"
        with pytest.raises(psycopg.OperationalError):
            await held.execute("SELECT 1")


@pytest.mark.req("R1.1-4")
async def test_text_fields_refuse_secrets_and_name_the_field(desk: Desk) -> None:
    """A key in any text field is refused with the field's name, never with the text, and stored nowhere."""
    client = await desk.stand.client()
    account = {"platform": "x", "account": "acme", "username": "acme", "display_name": "Acme"}
    for provider in PROVIDERS:
        key = desk.canary(provider, state="").decode()
        for path, who, body, field in (
            ("/v1/clients", "admin", {"name": key}, "name"),
            ("/v1/clients", "admin", {"name": f"Acme {key}"[:80]}, "name"),
            ("/v1/operators", "admin", {"name": key, "roles": ["operator"]}, "name"),
            ("/v1/machines", "admin", {"name": key, "role": "runner"}, "name"),
            (f"/v1/clients/{client}/contacts", "operator", {"name": key}, "name"),
            *((f"/v1/clients/{client}/accounts", "operator", account | {name: key[:190]}, name)
              for name in ("account", "username", "display_name")),
        ):  # fmt: skip
            status, reply = await desk.call("POST", path, who, body)
            assert (status, reply["code"], reply["field"]) == (422, "secret_like_content", field), (path, provider)
            assert key[8:20] not in json.dumps(reply)
    for text in ("Bearer abc", "session=abc; path=/", "-----BEGIN KEY", "eyJhbGciOi", "https://user:pw@host"):
        status, reply = await desk.call("POST", "/v1/clients", "admin", {"name": text})
        assert (status, reply["code"]) == (422, "secret_like_content"), text
    assert (await desk.call("POST", f"/v1/refs/{client}/state", "operator", {"to": "active", "reason": "A b"}))[
        0
    ] == 404
    assert desk.sql("SELECT count(*) FROM byokeep.platform_account") == "0"


async def test_an_account_has_no_lane_until_one_is_enabled(desk: Desk) -> None:
    """A registered account has all lanes off; lanes are set by a call of their own."""
    client = await desk.stand.client()
    account = {"platform": "x", "account": "acme", "username": "acme", "display_name": "Acme Ltd"}
    status, made = await desk.call("POST", f"/v1/clients/{client}/accounts", "operator", account)
    assert (status, made["lanes"], made["identity"]) == (201, [], "unchecked")
    path = f"/v1/clients/{client}/accounts/x/acme/lane"
    status, reply = await desk.call("POST", path, "operator", {"policy": "api"})
    assert (status, reply["lanes"]) == (200, ["api"])
    assert (await desk.call("POST", path, "operator", {"policy": "teleport"}))[0] == 422
    assert (await desk.call("POST", path.replace("acme", "other"), "operator", {"policy": "off"}))[0] == 404
    status, reply = await desk.call("POST", f"/v1/clients/{client}/accounts", "operator", account)
    assert (status, reply["code"]) == (409, "account_exists")
    assert "`byokeep account list CLIENT`" in reply["next_step"]
    twin = account | {"account": "ACME"}
    status, reply = await desk.call("POST", f"/v1/clients/{client}/accounts", "operator", twin)
    assert (status, reply["code"]) == (409, "name_like_another")
    others = f"/v1/clients/{await desk.stand.client()}/accounts"  # of nobody's business there
    assert (await desk.call("POST", others, "operator", twin))[0] == 201
    status, reply = await desk.call(
        "POST", f"/v1/clients/{client}/accounts", "operator", account | {"platform": "openai"}
    )
    assert (status, reply["code"]) == (422, "not_a_platform")
    status, reply = await desk.call("GET", f"/v1/clients/{client}/accounts", "operator")
    assert [one["account"] for one in reply["accounts"]] == ["acme"]


async def test_one_client_at_its_limit_leaves_others_alone(desk: Desk) -> None:
    """A client's writes are limited to so many a minute with 429; another client's go on, an outsider uses up none."""
    one, two = await desk.stand.client(), await desk.stand.client()
    outsider = desk.stand.subject("operator", "outsider", clients=(two,))
    for _ in range(70):
        assert (await desk.put(one, b"x", who=outsider))[0] == 404
    seen = [(await desk.put(one, b"x"))[0] for _ in range(70)]
    assert seen[:60] == [422] * 60
    assert 429 in seen[60:]
    status, headers, reply = await desk.exchange(
        "PUT", f"/v1/clients/{one}/providers/openai/value", "operator", raw=b"x"
    )
    assert (status, reply["code"]) == (429, "too_many_requests")
    assert int(headers["Retry-After"]) >= 1
    assert (await desk.put(two, desk.canary()))[0] == 202
