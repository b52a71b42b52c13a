"""Machines and their credentials: one role each, bounded, revocable, and of no use anywhere else."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.core.errors import ByokeepError, Denied, Rejected
from byokeep.core.model import Actor, EffectKind
from byokeep.core.policy import GRANTS, Verb, authorise
from byokeep.operations.due import watch_ends
from byokeep.reconciliation.reconcile import reconcile
from byokeep.settings import load
from byokeep.wire.bao_http import BaoHttp
from tests.support.audit_broker import RealClock
from tests.support.broker import Person, Stand, token_key
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


async def self_of(desk: Desk, who: Person) -> tuple[int, int]:
    """What web and the broker say to a token."""
    return (await desk.call("GET", "/v1/self", who))[0], (await desk.stand.call("GET", "/v1/self", who))[0]


@pytest.mark.req("R2.2-3")
async def test_a_machines_token_opens_its_own_routes_alone(desk: Desk) -> None:
    """A dispatcher takes no lease, a runner opens no job, a custodian does no runner's job, and none is a person."""
    stand, client = desk.stand, await desk.stand.client("openai")
    job = await stand.job(client)
    spec = {"client_id": str(client), "runner_id": str(desk.people["runner"].id), "secrets": ["openai"]}
    lease = await stand.lease(job)
    wrong: dict[str, list[tuple[str, str, Any]]] = {
        "dispatcher": [("POST", f"/v1/jobs/{job}/leases", None),
                       ("POST", f"/v1/leases/{lease['lease_id']}/permits", {}),
                       ("GET", f"/v1/leases/{lease['lease_id']}", None)],
        "runner": [("POST", "/v1/jobs", spec), ("POST", "/v1/switches/close", {"reason": "a_test"})],
        "custodian": [("POST", "/v1/jobs", spec), ("POST", f"/v1/jobs/{job}/leases", None),
                      ("GET", "/v1/switches", None)],
        "operator": [("POST", "/v1/jobs", spec), ("POST", f"/v1/jobs/{job}/leases", None)],
    }  # fmt: skip
    for role, calls in wrong.items():
        for method, path, body in calls:
            status, reply = await stand.call(method, path, role, body)
            assert status in (403, 404), (role, path)
            assert reply["code"] in ("not_permitted", "not_found"), (role, path)
    other = stand.subject("runner", "other")
    assert (await stand.call("POST", f"/v1/jobs/{job}/leases", other))[0] == 404
    for role in ("dispatcher", "runner", "custodian"):
        for method, path, body in (
            ("GET", "/v1/operators", None), ("GET", "/v1/clients", None), ("GET", "/v1/inventory", None),
            ("GET", "/v1/audit", None), ("POST", "/v1/clients", {"name": "Acme"}), ("POST", "/v1/audit/export", {}),
            ("POST", "/v1/machines", {"name": "x", "role": "runner"}), ("GET", f"/v1/clients/{client}/refs", None),
        ):  # fmt: skip
            # Web has the key of people's tokens alone; what it passes on, the broker refuses.
            assert (await desk.call(method, path, role, body))[0] in (401, 403), (role, path)
        status, _ = await desk.put(client, desk.canary(), who=role)
        assert status == 401, role
    assert desk.sql("SELECT count(*) FROM byokeep.lease WHERE kind = 'use'") == "1"


@pytest.mark.req("R2.2-3", "R6.1-4")
async def test_a_machines_token_ends_and_can_be_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token works until its time, not after; a revoked one stops at once; one that never ends can not be made."""
    machine = (await desk.call("POST", "/v1/machines", "admin", {"name": "Runner one", "role": "runner"}))[1]
    tokens = f"/v1/machines/{machine['id']}/tokens"
    for days in (0, -1, 31, 10**9, None, "never", 0.5, True, "30"):
        assert (await desk.call("POST", tokens, "admin", {"days": days}))[0] == 422, days
    assert desk.sql("SELECT count(*) FROM byokeep.api_token WHERE expires_at > now() + interval '90 days'") == "0"
    for expires in ("'infinity'", "NULL", "now() + interval '91 days'"):
        with pytest.raises(psycopg.Error), psycopg.connect(desk.stand.db.conninfo("byokeep_owner")) as owner:
            owner.execute(
                "INSERT INTO byokeep.api_token (id, subject_id, keyed_hash, kind, expires_at) VALUES"
                f" ('{uuid4()}', '{machine['id']}', '\\x{token_key(b'x').hex()}', 'api', {expires})"
            )
    longer = datetime.now(UTC) + timedelta(days=30, minutes=1)
    assert desk.sql(f"SELECT count(*) FROM byokeep.api_token WHERE expires_at > '{longer}' AND kind = 'api'") == "0"
    status, issued = await desk.call("POST", tokens, "admin", {"days": 30})
    assert status == 201
    who = Person(UUID(machine["id"]), issued["token"])
    assert await self_of(desk, who) == (401, 200)
    desk.sql("UPDATE byokeep.api_token SET created_at = created_at - interval '30 days 1 second',"
             f" expires_at = expires_at - interval '30 days 1 second' WHERE id = '{issued['id']}'")  # fmt: skip
    assert await self_of(desk, who) == (401, 401)
    for app in (desk.web, desk.stand.app):  # a host whose clock went back brings nothing back
        monkeypatch.setattr(app.clock, "now", lambda: datetime.now(UTC) - timedelta(days=20))
    assert await self_of(desk, who) == (401, 401)
    monkeypatch.undo()
    again = (await desk.call("POST", tokens, "admin", {"days": 1}))[1]
    who = Person(UUID(machine["id"]), again["token"])
    assert await self_of(desk, who) == (401, 200)
    assert (await desk.call("DELETE", f"/v1/tokens/{again['id']}", "admin"))[0] == 200
    assert await self_of(desk, who) == (401, 401)


async def test_a_machine_that_is_about_to_lose_its_token_is_told_of(desk: Desk) -> None:
    """From 14 days before, and after, each such machine is one alert, and the list of people shows until when."""
    stand = desk.stand
    custodian = str(stand.people["custodian"].id)
    due = "SELECT count(*) FROM byokeep.alert WHERE reason = 'machine_token_ends' AND closed_at IS NULL"
    for days, others in ((15, 2), (13, 3), (30, 2)):
        assert (await desk.call("POST", f"/v1/machines/{custodian}/tokens", "admin", {"days": days}))[0] == 201
        assert await watch_ends(stand.app) == others  # a dispatcher and a runner have a day left
    assert desk.sql(due) == "3"
    listed = {one["id"]: one for one in (await desk.call("GET", "/v1/operators", "admin"))[1]["operators"]}
    until = datetime.fromisoformat(listed[custodian]["token_until"])
    assert timedelta(days=29) < until - datetime.now(UTC) <= timedelta(days=30)
    desk.sql(f"UPDATE byokeep.api_token SET created_at = now() - interval '2 days', expires_at = now()"
             f" WHERE subject_id = '{stand.people['runner'].id}'")  # fmt: skip
    assert await watch_ends(stand.app) == 2
    # People have a day left too, but of a token given for a day; one given for longer is told of.
    desk.sql(f"UPDATE byokeep.api_token SET created_at = now() - interval '21 days'"
             f" WHERE subject_id = '{stand.people['auditor'].id}'")  # fmt: skip
    for _ in range(2):
        assert await watch_ends(stand.app) == 3
    assert desk.sql("SELECT count(*) FROM byokeep.alert WHERE reason = 'person_token_ends'") == "1"
    # A list full of machines whose tokens ended long ago hides none.
    desk.sql("""SET session_replication_role = replica;
        WITH old AS (INSERT INTO byokeep.subject (id, kind, name, roles)
            SELECT gen_random_uuid(), 'machine', 'Old ' || n, '{runner}' FROM generate_series(1, 1000) n RETURNING id)
        INSERT INTO byokeep.api_token (id, subject_id, keyed_hash, kind, created_at, expires_at)
        SELECT gen_random_uuid(), id, sha256(CAST(CAST(id AS text) AS bytea)), 'api', now() - interval '40 days',
               now() - interval '20 days' FROM old""")
    assert await watch_ends(stand.app) == 3


@pytest.mark.req("R2.2-3")
async def test_one_token_does_not_serve_two_machines(stand: Stand) -> None:
    """A token shared by a dispatcher and a runner opens one of the two doors: no job is done with it."""
    client = await stand.client("openai")
    for role in ("runner", "dispatcher"):
        keep = stand.keep(attempts=1)
        for name in ("runner", "dispatcher"):
            (stand.home / f"{name}.token").write_text(stand.people[role].token)
        with pytest.raises(ByokeepError) as refused:
            async with keep, keep.job(client=client, secrets=["openai"]) as job:
                await job.secret("openai")
        assert isinstance(refused.value, Denied | Rejected), role
    assert stand.db.sql("SELECT count(*) FROM byokeep.lease WHERE kind = 'use'") == "0"


@dataclasses.dataclass
class Attempt:
    method: str
    path: str
    body: Any = None


def beyond(client: UUID) -> Iterator[Attempt]:
    """What no process of ours may do at the store with the credential it runs on."""
    place = f"clients/{client}/providers/openai"
    yield Attempt("LIST", "kv/metadata/clients")
    yield Attempt("LIST", f"kv/metadata/clients/{client}/providers")
    yield Attempt("GET", f"kv/data/{place}")
    for verb in ("delete", "undelete", "destroy"):
        yield Attempt("POST", f"kv/{verb}/{place}", {"versions": [1]})
    yield Attempt("DELETE", f"kv/data/{place}")
    yield Attempt("DELETE", f"kv/metadata/{place}")
    yield Attempt("POST", "kv/data/platform/token-key", {"data": {"value": "x"}})
    yield Attempt("POST", "kv/data/platform/machine-key", {"data": {"value": "x"}})
    yield Attempt("GET", "sys/policies/acl/web")
    yield Attempt("LIST", "sys/policies/acl")
    yield Attempt("POST", "sys/policies/acl/web", {"policy": 'path "*" { capabilities = ["read"] }'})
    yield Attempt("GET", "sys/audit")
    yield Attempt("POST", "sys/audit/more", {"type": "file"})
    yield Attempt("DELETE", "sys/audit/a")
    yield Attempt("POST", "sys/mounts/other", {"type": "kv"})
    yield Attempt("GET", f"staging/data/{place}")
    yield Attempt("GET", f"kv/data/production/{place}")
    yield Attempt("POST", "auth/token/create", {})
    yield Attempt("POST", "auth/approle/role/web/secret-id", {})
    yield Attempt("POST", "transit/keys/leases/rotate", {})
    yield Attempt("GET", "transit/export/signing-key/leases")


@pytest.mark.req("R2.2-1")
async def test_a_runtime_credential_is_of_no_use_beyond_its_work(stand: Stand) -> None:
    """Web's and the broker's own credentials are refused everything else; the trail shows it and an alert is raised."""

    class Ahead(RealClock):
        ahead = timedelta(seconds=12)  # the newest requests are judged in the next run; here at once

    began, client = datetime.now(UTC), await stand.client("openai")
    attempts = list(beyond(client))
    async with BaoHttp(stand.store.address) as http:
        for machine in ("web", "broker"):
            login = AppRoleLogin(http, stand.store.home / "credentials" / f"{machine}.approle")
            token = await login.token()
            for attempt in attempts:
                with pytest.raises(Denied):
                    await http.request(attempt.method, attempt.path, token=token, body=attempt.body)
            if machine == "web":  # it writes values, and no other thing
                with pytest.raises(Denied):
                    await http.request("POST", "transit/sign/leases", token=token, body={"input": "eA=="})
                with pytest.raises(Denied):  # what machines' tokens are hashed with
                    await http.request("GET", "kv/data/platform/machine-key", token=token)
            else:
                body = {"options": {"cas": 1}, "data": {"value": "x"}}
                with pytest.raises(Denied):
                    await http.request("POST", f"kv/data/clients/{client}/providers/openai", token=token, body=body)
            await login.close()
    told = [entry async for entry in stand.app.store_audit.entries("a", since=began)]
    refused = [entry for entry in told if entry.kind == "response" and entry.status_error and not entry.lease_header]
    assert {attempt.path.rstrip("/") for attempt in attempts} <= {entry.path.rstrip("/") for entry in refused}
    entities = {entry.entity_id for entry in refused} - {""}
    assert len(entities) == 2
    app = dataclasses.replace(stand.app, clock=Ahead())
    await reconcile(app, app.system(), since=began)
    raised = stand.db.sql("SELECT object_id FROM byokeep.alert WHERE reason = 'store_denials'").split()
    assert set(raised) == entities


class MadeUp(StrEnum):
    """A verb that no grant names."""

    VERB = "made.up"


@pytest.mark.req("R4.1-6")
async def test_whoever_has_no_role_may_do_nothing(desk: Desk) -> None:
    """An identity without roles, or with one that nobody defined, is refused on every route and by every verb."""
    nobody = Actor(id=uuid4(), roles=frozenset(), clients=None, request_id=uuid4())
    for verb in Verb:
        with pytest.raises(Denied, match="not_permitted"):
            authorise(nobody, verb)
    assert set(GRANTS) == set(Verb)
    assert GRANTS[Verb.KEY_READ] == frozenset()
    with pytest.raises(Denied):
        authorise(desk.web.system(), MadeUp.VERB)  # type: ignore[arg-type]
    who = desk.stand.subject("auditor", "loses its role")
    assert (await desk.call("GET", "/v1/inventory", who))[0] == 200
    desk.sql(f"UPDATE byokeep.subject SET roles = '{{}}' WHERE id = '{who.id}'")
    routes = 0
    for path, methods in (await desk.call("GET", "/openapi.json", "admin"))[1]["paths"].items():
        for method in set(methods) & {"get", "post", "put", "patch", "delete"}:
            filled = re.sub(r"\{\w+_id\}", lambda _: str(uuid4()), path)
            filled = filled.replace("{provider}", "openai").replace("{platform}", "x").replace("{account}", "acme")
            if (method, path) in (("post", "/v1/session"),):
                continue  # how one becomes somebody
            raw = b"x" if method == "put" else None
            status, _ = await desk.call(method.upper(), filled, who, raw=raw)
            assert status == 401, (method, path)
            routes += 1
    assert routes > 30
    for roles in ("{root}", "{operator,root}", "{*}"):
        with pytest.raises(psycopg.Error), psycopg.connect(desk.stand.db.conninfo("byokeep_owner")) as owner:
            owner.execute(f"UPDATE byokeep.subject SET roles = '{roles}' WHERE id = '{who.id}'")


@pytest.mark.req("R0-6")
async def test_what_is_not_known_to_be_harmless_is_an_effect(stand: Stand) -> None:
    """Every kind of act passes the gate; an act without a class counts as one, and none can be declared harmless."""
    client = await stand.client("openai")
    stand.account(client)
    assert {"publish", "engage", "comment", "dm", "delete", "profile_edit"} < set(EffectKind)
    lease = await stand.lease(await stand.job(client, effects=["publish"]))
    for kind in EffectKind:
        status, reply = await stand.permit(lease["lease_id"], effect=kind.value)
        expected = (201, "") if kind is EffectKind.PUBLISH else (403, "effect_not_declared")
        assert (status, reply.get("code", "")) == expected, kind
    for word in ("like", "GET", "post", "read", "read_only", "none", "", "Publish", "publish ", "other2", "view"):
        status, reply = await stand.permit(lease["lease_id"], effect=word)
        assert (status, reply["code"]) in ((403, "bad_request"), (422, "bad_request")), word
        spec = {"client_id": str(client), "runner_id": str(stand.people["runner"].id), "secrets": ["openai"],
                "platforms": ["x"], "lanes": ["api"], "effects": [word]}  # fmt: skip
        status, reply = await stand.call("POST", "/v1/jobs", "dispatcher", spec)
        assert status == 422, word
    for extra in ({"read_only": True}, {"side_effect": False}, {"method": "GET"}, {"gated": False}):
        status, reply = await stand.permit(lease["lease_id"], **extra)
        assert (status, reply["code"]) == (403, "bad_request"), extra
    unclassified = await stand.lease(await stand.job(client, effects=["other"]))
    assert (await stand.permit(unclassified["lease_id"], effect="other"))[0] == 201
    unproven = await stand.client("openai")
    stand.account(unproven, identity="unknown")
    gated = await stand.lease(await stand.job(unproven, effects=[kind.value for kind in EffectKind]))
    for kind in EffectKind:  # each of them is an effect: none passes with less
        status, reply = await stand.permit(gated["lease_id"], effect=kind.value)
        assert (status, reply["code"]) == (403, "identity_unproven"), kind
    assert stand.db.sql("SELECT string_agg(effect, ' ' ORDER BY effect) FROM byokeep.permit") == "other publish"


@pytest.mark.req("R2.2-2")
def test_a_signing_key_from_outside_stops_the_start(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private key beside our credentials, in a setting or in the environment: nothing starts."""
    from byokeep.processes import serve
    from byokeep.processes.installation import no_signing_key

    home = tmp_path
    pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n"
    no_signing_key(load(home=home))
    for place in (home, home / "keys", home / "credentials"):
        place.mkdir(exist_ok=True)
        for name, text in (("leases.pem", pem), ("jwt.key", pem), ("leases.jwk", '{"kty":"OKP","d":"x"}')):
            (place / name).write_text(text)
            with pytest.raises(Rejected, match="signing_key_on_disk"):
                no_signing_key(load(home=home))
            (place / name).unlink()
    (home / "credentials" / "runner.token").write_text("bkr_" + "a" * 43)
    no_signing_key(load(home=home))
    for name in ("BYOKEEP_SIGNING_KEY", "BYOKEEP_JWT_KEY", "BYOKEEP_LEASE_KEY_FILE"):
        monkeypatch.setenv(name, pem)
        with pytest.raises(Rejected, match="unknown_setting"):
            load(home=home)
        monkeypatch.delenv(name)
    monkeypatch.setenv("BYOKEEP_TOKEN_FILE", pem)
    with pytest.raises(Rejected, match="secret_in_setting"):
        load(home=home)
    monkeypatch.delenv("BYOKEEP_TOKEN_FILE")
    (home / "leases.pem").write_text(pem)
    for module, name in ((serve.log, "configure"), (serve.spans, "configure"), (serve, "uvloop")):
        monkeypatch.setattr(module, name, lambda *_, **__: None)  # nothing of this process changes, and nothing serves
    for process in ("web", "broker", "killswitch", "refresher"):
        with pytest.raises(Rejected, match="signing_key_on_disk"):
            serve.serve(process, load(home=home))
