"""References, their states, the inventory, and what the surface refuses, over HTTP on real servers."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from byokeep.core.audit import parse_lines
from byokeep.core.errors import Unavailable
from byokeep.core.keystate import TRANSITIONS, KeyState
from byokeep.core.model import ClientId, Environment, Provider
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.keys.refs import ref_from
from byokeep.tenancy.attempt_brake import NAME_FAILURES
from byokeep.web.app import create_app
from tests.support.broker import Person
from tests.support.postgres import FreshDatabase
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


@pytest.mark.req("R3.2-1", "R3.2-4")
async def test_a_reference_says_where_never_what(desk: Desk) -> None:
    """The fields of the runbook are there, set by the server, and nothing the caller says about them counts."""
    client = await desk.stand.client()
    began = datetime.now(UTC)
    done = await desk.onboard(client)
    ref = await desk.ref(done["ref"])
    assert began <= datetime.fromisoformat(ref["created_at"]) <= datetime.now(UTC)
    assert {"client_id", "provider", "secret_ref", "created_at", "created_by", "rotation_due_at"} <= set(ref)
    assert ref["created_by"] == str(desk.people["operator"].id)
    assert None not in (
        ref["created_at"],
        ref["rotation_due_at"],
    )
    for query in (
        "?created_by=x",
        "?created_at=2020-01-01T00:00:00Z",
        "?state=active",
        "?client_id=1",
        "?risk=low",
        "?risk=high&risk=standard",
        "?verified=true",
    ):
        status, _ = await desk.put(client, desk.canary(), query=query)
        assert status == 422, query
    with_default = desk.sql("SELECT count(*) FROM byokeep.credential_ref WHERE rotation_due_at <= created_at")
    assert with_default == "0"


@pytest.mark.req("R3.2-2")
async def test_providers_are_a_closed_list(desk: Desk) -> None:
    """No second spelling of a provider is known, and a platform takes no pasted key."""
    client = await desk.stand.client()
    for name in ("Google", "openai%20", "%D0%BEpenai", "*", "..%2Fx", "open%00ai", "openai;x", "OPENAI"):
        status, reply = await desk.put(client, desk.canary(), name)
        assert (status, reply["code"]) in ((422, "unknown_provider"), (404, "not_found")), name
    for name in ("meta", "tiktok", "linkedin", "youtube", "x", "skool"):
        status, reply = await desk.put(client, desk.canary(), name)
        assert (status, reply["code"]) == (422, "not_an_api_provider"), name
    for name in ("openai", "anthropic", "google", "openrouter", "kie", "heygen"):
        status, reply = await desk.put(client, desk.canary(name), name)
        assert status == 202, (name, reply)


COOKIES = (
    "Cookie: auth_token=9f8e7d6c5b4a39281706f5e4d3c2b1a0", "Set-Cookie: sid=31d4d96e407aad42; Path=/; Secure",
    "set-cookie2: a=b", "auth_token=9f8e7d6c5b4a3928; ct0=1706f5e4d3c2b1a0", "li_at=AQEDAR;Path=/", '"sid=a; b=c"',
    "# Netscape HTTP Cookie File\n.x.com\tTRUE\t/\tTRUE\t1893456000\tauth_token\t9f8e7d6c",
    ".x.com\tTRUE\t/\tTRUE\t1893456000\tauth_token\t9f8e7d6c", '[{"name":"sid","value":"abc","domain":".x.com"}]',
    '{"cookies":[],"origins":[]}', '{"origins":[{"localStorage":[]}]}', "SQLite format 3\0 and more",
)  # fmt: skip


@pytest.mark.req("R2.1-11")
async def test_a_cookie_is_no_key(desk: Desk) -> None:
    """A session that is pasted as a secret, in any of its forms, is refused by its own code and stored nowhere."""
    client = await desk.stand.client()
    for cookie in COOKIES:
        for provider in ("openai", "kie"):
            status, reply = await desk.put(client, cookie.encode(), provider)
            assert (status, reply["code"]) == (422, "use_profile_vault"), cookie
            assert cookie not in str(reply)
        for path in ("openai/admin", "x/webhook"):  # nor is it one of the secrets beside them
            to = f"/v1/clients/{client}/providers/{path}"
            status, reply = await desk.call("PUT", to, "operator", raw=cookie.encode())
            assert (status, reply["code"]) == (422, "use_profile_vault"), (path, cookie)
    assert desk.sql("SELECT count(*) FROM byokeep.credential_ref") == "0"
    assert (await desk.put(client, desk.canary(), "openai"))[0] == 202


@pytest.mark.req("R2.3-7")
async def test_states_follow_the_one_table(desk: Desk) -> None:
    """Every pair not in the table is refused; what happened has a row with actor and reason, and a record."""
    client = await desk.stand.client()
    ref = (await desk.onboard(client))["ref"]
    for old in KeyState:
        for new in KeyState:
            desk.sql(f"UPDATE byokeep.credential_ref SET state = '{old}' WHERE id = '{ref}'")
            before = desk.sql("SELECT count(*) FROM byokeep.key_transition")
            status, reply = await desk.call(
                "POST", f"/v1/refs/{ref}/state", "operator", {"to": new.value, "reason": "a_test"}
            )
            changed = desk.sql("SELECT count(*) FROM byokeep.key_transition") != before
            by_proof = new is KeyState.DESTROYED or (old, new) == (KeyState.PRE_ACTIVATION, KeyState.ACTIVE)
            if new in TRANSITIONS[old] and not by_proof:
                assert (status, reply.get("state"), changed) == (200, new.value, True), (old, new)
            else:
                expected = "state_by_proof_only" if new in TRANSITIONS[old] else "key_state"
                assert (status, reply["code"], changed) == (422, expected, False), (old, new)
    row = desk.sql('SELECT reason, "by" FROM byokeep.key_transition ORDER BY at DESC LIMIT 1')
    assert row == f"a_test|{desk.people['operator'].id}"
    for reason in ("", "A reason", "x" * 80, "sk-proj-abc"):
        status, _ = await desk.call(
            "POST", f"/v1/refs/{ref}/state", "operator", {"to": "compromised", "reason": reason}
        )
        assert status == 422


async def test_a_key_that_is_called_compromised_ends_the_jobs_that_hold_it_and_no_other(desk: Desk) -> None:
    """Those that declared it, on record; no other. Of a retired one those that were given it before that."""
    client = await desk.stand.client()
    first, other = await desk.onboard(client), await desk.onboard(client, provider="openrouter")
    kept = (await desk.stand.lease(await desk.stand.job(client, secrets=["openrouter"])))["lease_id"]

    async def compromised(ref: str) -> None:
        body = {"to": "compromised", "reason": "seen_in_chat"}
        assert (await desk.call("POST", f"/v1/refs/{ref}/state", "operator", body))[0] == 200

    async def holds(lease: str) -> bool:
        return (await desk.stand.call("GET", f"/v1/leases/{lease}", "runner"))[0] == 200

    given = (await desk.stand.lease(await desk.stand.job(client)))["lease_id"]
    await desk.call("POST", f"/v1/refs/{first['ref']}/state", "operator", {"to": "deactivated", "reason": "replaced"})
    assert await holds(given)
    assert (await desk.onboard(client))["ref"] != first["ref"]
    await compromised(first["ref"])
    assert (await holds(given), await holds(kept)) == (False, True)
    await compromised(other["ref"])
    assert not await holds(kept)
    said = [json.loads(text)["fields"].get("count") for text in desk.stand.events("key.state_changed", "ok")]
    assert said[-2:] == [1, 1]


@pytest.mark.req("R3.2-6")
async def test_one_live_reference_for_each_place(desk: Desk) -> None:
    """A retired key is followed by a new reference; two live ones for a place can not be, whoever races."""
    client = await desk.stand.client()
    first = await desk.onboard(client)
    for to in ("deactivated",):
        await desk.call("POST", f"/v1/refs/{first['ref']}/state", "operator", {"to": to, "reason": "replaced"})
    replies = await asyncio.gather(*(desk.put(client, desk.canary()) for _ in range(3)))
    [second] = [reply for status, reply in replies if status == 202]
    assert second["ref"] != first["ref"]
    assert second["version"] == 2
    assert sorted(status for status, _ in replies) == [202, 409, 409]
    live = "SELECT count(*) FROM byokeep.credential_ref WHERE state IN ('pre_activation', 'active', 'suspended')"
    assert desk.sql(live) == "1"
    # Retired while its next value was on the way: it is not brought back by that.
    renewal = {"client_id": client, "version": 9, "risk": "standard", "created_by": desk.people["operator"].id,
               "created_at": datetime.now(UTC), "rotation_due_at": datetime.now(UTC) + timedelta(days=9),
               "place": "", "rotation_days": None}  # fmt: skip
    for state in ("deactivated", "compromised", "destroyed"):
        desk.sql(f"UPDATE byokeep.credential_ref SET state = '{state}' WHERE id = '{first['ref']}'")
        async with desk.web.db.begin(client_id=client) as tx:
            assert await tx.maybe(ref_from, "ref_renew", **renewal, id=UUID(first["ref"])) is None
            assert (await tx.maybe(ref_from, "ref_live", client_id=client, provider="openai")).id == UUID(second["ref"])
    with suppress(LookupError):  # taken back: a change without its record would not be committed
        async with desk.web.db.begin(client_id=client) as tx:
            assert (await tx.maybe(ref_from, "ref_renew", **renewal, id=UUID(second["ref"]))).version == 9
            raise LookupError


@pytest.mark.req("R2.3-8")
async def test_the_inventory_is_compared_with_the_store(desk: Desk) -> None:
    """An orphan on either side is a finding; an unreachable store is unknown, not an empty list."""
    client = await desk.stand.client()
    done = await desk.onboard(client)
    status, listed = await desk.call("GET", "/v1/inventory", "operator")
    assert (status, listed["result"], [item["store"] for item in listed["items"]]) == (200, "match", ["present"])
    [item] = listed["items"]
    assert {"kind", "client", "owner", "state", "created_at", "rotation_due_at", "last_leased_at"} <= set(item)
    await desk.stand.intake.put(SecretRef(ClientId(client), Provider.KIE), Secret("planted in the store"), cas=0)
    status, listed = await desk.call("GET", "/v1/inventory", "operator")
    orphan = {"client_id": str(client), "provider": "kie", "versions": [1]}
    assert (listed["result"], listed["orphans"]) == ("findings", [orphan])
    desk.sql(f"UPDATE byokeep.credential_ref SET version = 7 WHERE id = '{done['ref']}'")
    status, listed = await desk.call("GET", "/v1/inventory", "operator")
    assert [item["store"] for item in listed["items"]] == ["missing"]

    class Away:
        async def live_versions(self, ref: SecretRef) -> list[int]:
            raise Unavailable("store_unreachable")

    from byokeep.core.model import Actor, Role
    from byokeep.keys.refs import inventory

    actor = Actor(id=desk.people["operator"].id, roles=frozenset({Role.OPERATOR}), clients=None, request_id=uuid4())
    found = await inventory(replace(desk.web, intake=Away()), actor)  # type: ignore[arg-type]
    assert found.result == "unknown"
    assert [item.store for item in found.items] == ["unknown"]


@pytest.mark.req("S-OWASP-3")
async def test_everything_known_of_a_key_but_the_key_can_be_taken_along(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export has who, when, purpose, type, last use, due date and history of keys in use and of ended ones, and no
    value."""
    client = await desk.stand.client()
    for provider, to in (("openai", "suspended"), ("anthropic", "deactivated")):
        done = await desk.onboard(client, provider=provider)
        if provider == "openai":
            await desk.stand.lease(await desk.stand.job(client))
        await desk.call("POST", f"/v1/refs/{done['ref']}/state", "operator", {"to": to, "reason": "a_pause"})
    for account in ("acme", "bravo"):
        desk.stand.account(client, account=account)
    for module in ("keys.refs", "accounts.accounts"):  # an export and an inventory have all, however much it is
        monkeypatch.setattr(f"byokeep.{module}.MAX_ROWS", 1)
    status, export = await desk.call("GET", f"/v1/clients/{client}/export", "auditor")
    assert status == 200
    assert {one["provider"]: one["state"] for one in export["refs"]} == {
        "openai": "suspended", "anthropic": "deactivated",
    }  # fmt: skip
    by = str(desk.people["operator"].id)
    owner = desk.sql(f"SELECT name FROM byokeep.subject WHERE id = '{by}'")
    for ref in export["refs"]:
        assert {"created_at", "purpose", "kind", "rotation_due_at", "version", "state"} <= set(ref)
        assert (ref["created_by"], ref["owner"]) == (by, owner)
    assert {one["provider"] for one in export["refs"] if one["last_leased_at"]} == {"openai"}
    assert [one["state_to"] for one in export["transitions"]] == ["active", "suspended", "active", "deactivated"]
    assert [one["account"] for one in export["accounts"]] == ["acme", "bravo"]
    for canary in desk.canaries:
        assert canary.value.decode()[10:40] not in json.dumps(export)
    await desk.onboard(await desk.stand.client())
    assert len((await desk.call("GET", "/v1/inventory", "operator"))[1]["items"]) == 3
    await desk.onboard(client, provider="anthropic")  # another key: what it is leased for is no use of the one before
    await desk.stand.lease(await desk.stand.job(client, secrets=["anthropic"]))
    export = (await desk.call("GET", f"/v1/clients/{client}/export", "auditor"))[1]
    assert {one["state"] for one in export["refs"] if one["last_leased_at"]} == {"suspended", "active"}


@pytest.mark.req("R4.1-9", "S-ASVS-25")
async def test_nobody_reads_a_value_back(desk: Desk) -> None:
    """No role gets the value from any route or method; a refusal is on record, and many raise an alert."""
    client = await desk.stand.client()
    done = await desk.onboard(client)
    value = desk.canaries[0].value.decode()
    paths = [
        f"/v1/clients/{client}/providers/openai/value", f"/v1/refs/{done['ref']}", f"/v1/sops/{done['sop']}",
        f"/v1/clients/{client}/refs", "/v1/inventory", f"/v1/clients/{client}/export", f"/v1/audit?client_id={client}",
        f"/v1/refs/{done['ref']}/value", f"/v1/refs/{done['ref']}?reveal=true", "/v1/alerts",
    ]  # fmt: skip
    for who in ("admin", "operator", "approver", "auditor", "dispatcher", "runner", "custodian"):
        for path in paths:
            _, reply = await desk.call("GET", path, who)
            assert value[10:40] not in json.dumps(reply), path
    status, reply = await desk.call("GET", paths[0], "operator")
    assert (status, reply["code"]) == (405, "method_not_allowed")
    for who in ("admin", "approver"):
        assert (await desk.call("GET", "/v1/audit", who))[0] == 403
    for _ in range(6):
        assert (await desk.call("GET", "/v1/audit", "operator"))[0] == 403
    denied = [json.loads(line) for line in desk.stand.events("access.decided", "denied")]
    mine = [event for event in denied if event["actor"] == str(desk.people["operator"].id)]
    assert {event["fields"]["verb"] for event in mine} == {"audit.read"}
    assert len(mine) >= 6
    assert "repeated_denials" in desk.stand.alerts()


@pytest.mark.req("S-ASVS-9")
async def test_bodies_have_one_meaning(desk: Desk) -> None:
    """Unknown fields, repeated keys, wrong types, NaN, huge numbers, nesting, other media: all refused."""
    for raw in (
        b'{"name": "Ann", "roles": ["operator"], "state": "active"}',
        b'{"name": "A", "name": "B", "roles": ["operator"]}',
        b'{"name": 1, "roles": ["operator"]}', b'{"name": "A", "roles": "operator"}', b'{"name": NaN, "roles": []}',
        b'{"name": "A", "roles": ["operator"], "created_by": "x"}', b"[]", b"", b"null", b'{"name": "A"', b"\xff\xfe",
        b'{"a":' * 5000, b'{"name": "A", "roles": ["operator"], "all_clients": 1}', b"{}" + b" " * 20000,
        b'{"name": "A", "roles": ["operator"], "clients": [1e400]}', b'{"name": "A", "roles": ["operator", "admin2"]}',
    ):  # fmt: skip
        status, reply = await desk.call(
            "POST", "/v1/operators", "admin", raw=raw, headers={"Content-Type": "application/json"}
        )
        assert status in (400, 413, 422), raw[:40]
        assert set(reply) <= {
            "type",
            "title",
            "status",
            "code",
            "request_id",
            "next_step",
            "field",
            "limit",
            "first",
            "second",
        }
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/json", "Content-Encoding": "gzip"}):
        status, _ = await desk.call("POST", "/v1/operators", "admin", raw=b"{}", headers=headers)
        assert status == 415
    assert desk.sql("SELECT count(*) FROM byokeep.subject") == "7"
    for path in ("/v1/operators?x=1", "/v1/audit?limit=1&limit=2", "/v1/audit?limit=1e3", "/v1/audit?since=yesterday",
                 "/v1/audit?client_id=" + str(uuid4()).upper(), "/v1/clients/" + str(uuid4()).upper()):  # fmt: skip
        status, _ = await desk.call("GET", path, "auditor")
        assert status == 422, path


@pytest.mark.req("S-ASVS-12")
async def test_headers_do_not_say_who_asks(desk: Desk) -> None:
    """Headers that name a user, a tenant, a role or an address change nothing and are not logged."""
    one, two = await desk.stand.client(), await desk.stand.client()
    narrow = desk.stand.subject("operator", "narrow", clients=(one,))
    spoofed = {
        "X-Forwarded-For": "203.0.113.7", "X-User-ID": str(desk.people["admin"].id), "X-Tenant-ID": str(two),
        "X-Vault-Namespace": "root", "X-Roles": "admin", "X-Request-Id": "mine", "X-HTTP-Method-Override": "DELETE",
        "Forwarded": "for=203.0.113.7", "X-Vault-Token": "root",
    }  # fmt: skip
    for path in (f"/v1/clients/{two}", f"/v1/clients/{two}/refs"):
        assert (await desk.call("GET", path, narrow, headers=spoofed))[0] == 404
    assert (await desk.call("GET", "/v1/operators", narrow, headers=spoofed))[0] == 403
    _status, headers, me = await desk.exchange("GET", "/v1/self", narrow, headers=spoofed)
    assert (me["id"], me["clients"]) == (str(narrow.id), [str(one)])
    assert headers["X-Request-Id"] != "mine"
    log = (desk.files / "web.log").read_text()
    assert "203.0.113.7" not in log
    assert '"mine"' not in log
    told = []
    for number in range(NAME_FAILURES - 1):  # nor does a header say where a login comes from, for whoever guesses
        login = {"name": "nobody", "password": "a wrong password"}
        claimed = {"X-Forwarded-For": f"203.0.113.{number}", "Byokeep-Login-From": f"203.0.113.{number}"}
        told.append((await desk.call("POST", "/v1/session", None, login, headers=claimed))[0])
    assert 429 in told
    two_headers = {"Authorization": f"Bearer {narrow.token}, Bearer {desk.people['admin'].token}"}
    assert (await desk.call("GET", "/v1/operators", None, headers=two_headers))[0] == 401


@pytest.mark.req("S-ASVS-13")
async def test_only_intended_methods_and_no_change_by_get(desk: Desk) -> None:
    """Every method a path does not have answers 405, and GET changes no row but the record of looking."""
    client = await desk.stand.client()
    done = await desk.onboard(client)
    table = [(set(route.methods), route.path) for route in api_routes(desk.api)]
    by_path: dict[str, set[str]] = {}
    for methods, path in table:
        by_path.setdefault(path, set()).update(methods)
    ids = {"client_id": client, "ref_id": done["ref"], "sop_id": done["sop"], "provider": "openai", "platform": "x",
           "account": "acme"}  # fmt: skip
    for path, methods in by_path.items():
        full = path.format_map(_Ids(ids))
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"} - methods:
            async with desk.http.request(
                method, "http://web" + full, headers={"Authorization": f"Bearer {desk.people['operator'].token}"}
            ) as reply:
                # The last word is read as an id.
                by_id = ("/v1/alerts/close", "/v1/alerts/acknowledge", "/v1/mass-revocations/preview")
                named = (method == "GET" and path in by_id) or (method, path) == ("DELETE", "/v1/passkeys/options")
                page = (method, path) == ("GET", "/console/incidents/vault")  # and leads to the sign-in
                assert reply.status == (422 if named else 200 if page else 405), (method, path)
    # All but what looking itself leaves: its record, an alert of many refusals, and how a session was last used.
    tables = desk.sql("SELECT string_agg(tablename, ' ') FROM pg_tables WHERE schemaname = 'byokeep'"
                      " AND tablename NOT LIKE 'audit%' AND tablename <> 'alert'").split()  # fmt: skip
    assert {"job", "lease", "permit", "approval", "platform_account", "subject", "switch"} <= set(tables)
    rows = " UNION ALL ".join(f"SELECT {table}::text t FROM byokeep.{table}" for table in tables)
    changing = f"SELECT md5(string_agg(t, '' ORDER BY t)) FROM ({rows}) x"
    before = desk.sql(changing)
    for path, methods in by_path.items():
        if "GET" in methods:
            for who in ("admin", "operator", "auditor"):
                await desk.call("GET", path.format_map(_Ids(ids)), who)
    assert desk.sql(changing) == before


class _Ids(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return str(UUID(int=1))


def api_routes(api: Any) -> list[Any]:
    return [route for route in _flat(api.routes) if getattr(route, "methods", None)]


def _flat(routes: Any) -> list[Any]:
    found: list[Any] = []
    for route in routes:
        if getattr(route, "methods", None):
            found.append(route)
        else:
            found += _flat(
                getattr(route, "routes", []) or getattr(getattr(route, "original_router", None), "routes", [])
            )
    return found


@pytest.mark.req("S-ASVS-15")
async def test_nothing_is_to_be_kept_by_a_cache(desk: Desk) -> None:
    """Every reply, good or bad, says no-store and carries no ETag."""
    client = await desk.stand.client()
    seen = 0
    for route in api_routes(desk.api):
        for method in route.methods:
            path = route.path.format_map(
                _Ids({"client_id": client, "provider": "openai", "platform": "x", "account": "a"})
            )
            for who in ("operator", None):
                _, headers, _ = await desk.exchange(method, path, who, raw=b"")
                assert (headers["Cache-Control"], headers.get("ETag")) == ("no-store", None), (method, path)
                seen += 1
    assert seen > 60


@pytest.mark.req("S-ASVS-39")
async def test_what_breaks_says_nothing(desk: Desk) -> None:
    """With the database gone every route answers a problem document, or a page, without text of the driver's."""
    client = await desk.stand.client()
    await desk.web.db.close()  # type: ignore[attr-defined]
    server = FreshDatabase(desk.stand.db.server, "postgres")
    server.sql(f"ALTER DATABASE {desk.stand.db.name} ALLOW_CONNECTIONS false")
    server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{desk.stand.db.name}'")
    try:
        for route in api_routes(desk.api):
            for method in route.methods:
                path = route.path.format_map(_Ids({"client_id": client, "provider": "openai"}))
                if path in ("/healthz", "/v1/gate/schema") or ".well-known" in path or path.endswith((".css", ".svg")):
                    continue
                status, headers, reply = await desk.exchange(
                    method, path, "operator", raw=b"{}", headers={"Content-Type": "application/json"}
                )
                if not path.startswith(("/console", "/portal")):  # whoever has no session is shown the page to sign in
                    assert headers["Content-Type"].startswith("application/problem+json"), (method, path, status)
                    assert status in (405, 422, 503), (method, path, status, reply)
                text = json.dumps(reply).lower()
                assert not any(
                    word in text for word in ("psycopg", "sqlalchemy", "traceback", "select ", "connection to")
                )
    finally:
        server.sql(f"ALTER DATABASE {desk.stand.db.name} ALLOW_CONNECTIONS true")
    assert (await desk.call("GET", "/healthz"))[0] == 200


@pytest.mark.req("S-ASVS-39")
async def test_a_broken_flow_is_a_generic_error(desk: Desk) -> None:
    """An exception nobody foresaw becomes a generic 503 with a request id; the process goes on."""

    class Broken:
        async def live_versions(self, ref: SecretRef) -> list[int]:
            raise RuntimeError("sk-proj-should-never-leave")

    await desk.stand.client()
    object.__setattr__(desk.web, "intake", Broken())
    status, reply = await desk.call("GET", "/v1/inventory", "operator")
    assert (status, reply["code"]) == (503, "internal_error")
    assert reply["request_id"]
    assert "never-leave" not in json.dumps(reply) + (desk.files / "web.log").read_text()
    assert (await desk.call("GET", "/healthz"))[0] == 200


async def test_the_description_is_for_insiders_and_not_in_production(desk: Desk) -> None:
    """The API description needs a token, and production has none; there are no docs pages."""
    assert (await desk.call("GET", "/openapi.json"))[0] == 401
    status, described = await desk.call("GET", "/openapi.json", "operator")
    assert status == 200
    assert "/v1/clients/{client_id}/providers/{provider}/value" in described["paths"]
    for path in ("/docs", "/redoc", "/metrics"):
        assert (await desk.call("GET", path, "admin"))[0] == 404
    from functools import partial

    from byokeep.tenancy.authenticate import authenticate

    live = replace(desk.web, environment=Environment.PRODUCTION)
    api = create_app(
        live,
        partial(authenticate, live),
        broker_address=desk.stand.url,
    )
    assert not any("openapi" in route.path for route in api_routes(api))


async def test_an_export_of_any_length_passes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It grows with the log, so no bound of a reply holds for it; what breaks off on its way is no export."""
    monkeypatch.setattr("byokeep.web.forward.MAX_REPLY", 100)
    token = {"Authorization": f"Bearer {desk.people['auditor'].token}"}
    async with desk.http.get("http://web/v1/audit/keys", headers=token) as reply:
        assert (await reply.json(content_type=None))["code"] == "broker_reply_too_large", "the bound is there"
    async with desk.http.post("http://web/v1/audit/export", json={}, headers=token) as reply:
        text = await reply.read()
    assert (reply.status, reply.content_type, len(text) > 1000) == (200, "application/jsonl", True)
    assert len([*parse_lines(text.splitlines(keepends=True))]) == text.count(b"\n")
    async with desk.http.post("http://web/v1/audit/export", json={"client_id": str(uuid4())}, headers=token) as reply:
        assert (reply.status, (await reply.json(content_type=None))["code"]) == (404, "not_found")

    async def cut(*_: object) -> AsyncIterator[bytes]:
        yield text[:500]
        raise Unavailable("database_unavailable")

    monkeypatch.setattr("byokeep.audit.disclosure._lines", cut)
    with pytest.raises(aiohttp.ClientError):
        async with desk.http.post("http://web/v1/audit/export", json={}, headers=token) as reply:
            await reply.read()


async def test_no_broker_is_unavailable(desk: Desk) -> None:
    """A route that is passed on answers 503 when the broker is away, and needs a token in any case."""
    from byokeep.web.forward import BrokerDoor

    door = BrokerDoor("unix:///nonexistent/broker.sock")
    with pytest.raises(Unavailable) as away:
        await door.pass_on("GET", "/v1/switches", {}, Secret(b""))
    await door.close()
    assert away.value.code == "broker_unreachable"
    assert (await desk.call("GET", "/v1/switches"))[0] == 401
    assert (await desk.call("GET", "/v1/switches", Person(uuid4(), "bko_" + "x" * 43)))[0] == 401
    status, reply = await desk.call("GET", "/v1/switches", "operator")
    assert status == 200
    assert reply["switches"]
