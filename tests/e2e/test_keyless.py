"""Keyless credentials: no key is stored anywhere, and jobs work at their providers with the vendors' own packages."""

# ruff: noqa: S608 - statements are put together from made-up ids
from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from byokeep.adapters.openbao.embedded import audit_files
from byokeep.adapters.openbao.login import log_in
from byokeep.adapters.openbao.provisioning import generate_root, retire_roots
from byokeep.core.errors import Denied, Unavailable
from byokeep.core.exchange import identity_path
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, lease_login, read_identity
from byokeep_redact.canary import Canary
from byokeep_redact.search import Sweep
from byokeep_sim import SimKeyState
from tests.flows.test_incidents import kill, stepped
from tests.support.loopback import answering
from tests.support.openbao import ISSUER
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]

IDS: Mapping[str, Mapping[str, str]] = {
    "anthropic": {"organization_id": "0b1f6d2e-4f3e-4c57-9a51-6f2c9d0e7a11", "federation_rule_id": "fdrl_01",
                  "service_account_id": "svac_01", "workspace_id": "wrkspc_01"},
    "openai": {"identity_provider_id": "idp_01", "service_account_id": "svc_01"},
    "openrouter": {"workspace_id": "ws_01"},
}  # fmt: skip
SENT = {"openrouter": {"resource": "ws_01"}}  # under the name that its call has for it


@asynccontextmanager
async def published(desk: Desk) -> AsyncIterator[str]:
    """Serve what web shows to everybody on a port, as a provider would reach it; yields the address of the keys."""

    async def show(request: web.Request) -> web.Response:
        _, found = await desk.call("GET", request.path)
        return web.json_response(found)

    async with answering(show) as address:
        yield f"{address}/v1/identity/oidc/.well-known/keys"


async def trusted(desk: Desk, client: UUID, provider: str, keys: str, **changed: Any) -> dict[str, Any]:
    """Enter at the simulated provider what byokeep says; returns that."""
    status, told = await desk.call("GET", f"/v1/clients/{client}/providers/{provider}/keyless", "operator")
    assert status == 200, told
    rule = {"provider": provider, "ids": SENT.get(provider, IDS[provider]), "keys_url": keys, "account_id": "acme"}
    rule |= {name: told[name] for name in ("issuer", "audience", "subject")}
    assert await controlled(desk, "trust", rule | changed) == 200
    return dict(told)


async def controlled(desk: Desk, what: str, body: Mapping[str, Any]) -> int:
    async with aiohttp.ClientSession() as http, http.post(f"{desk.sim.url}/_sim/{what}", json=body) as reply:
        return reply.status


async def declare(desk: Desk, client: UUID, provider: str, **more: Any) -> dict[str, Any]:
    body = {"ids": dict(IDS[provider]), "skip_rehearsal": True} | more
    status, reply = await desk.call("PUT", f"/v1/clients/{client}/providers/{provider}/keyless", "operator", body)
    assert status == 202, reply
    await desk.work()
    return dict(reply)


async def asked(provider: str, base: str, token: str) -> str:
    """Have a vendor's own package call the vendor; returns its answer's text."""
    if provider == "anthropic":
        beta = {"anthropic-beta": "oauth-2025-04-20"}
        async with AsyncAnthropic(auth_token=token, base_url=base, max_retries=0, default_headers=beta) as vendor:
            said = await vendor.messages.create(
                model="claude-sim-1", max_tokens=8, messages=[{"role": "user", "content": "hello"}]
            )
            return str(said.content[0].text)  # type: ignore[union-attr]
    path = "/v1" if provider == "openai" else "/api/v1"
    async with AsyncOpenAI(api_key=token, base_url=base + path, max_retries=0) as vendor:
        chat = await vendor.chat.completions.create(model="sim", messages=[{"role": "user", "content": "hello"}])
        return str(chat.choices[0].message.content)


def overheard(desk: Desk) -> list[str]:
    """Every identity token and short-lived token that is seen by a vendor from now on."""
    seen: list[str] = []
    answer = desk.sim.federation.answer

    def listening(vendor: str, headers: Any, rule: Any, fields: Any, keys: Any) -> Any:
        reply = answer(vendor, headers, rule, fields, keys)
        seen.extend(fields[name] for name in ("assertion", "subject_token") if name in fields)
        seen.extend(str(reply.body[name]) for name in ("access_token",) if name in reply.body)
        return reply

    desk.sim.federation.answer = listening  # type: ignore[method-assign]
    return seen


async def everything(desk: Desk, client: UUID) -> dict[str, bytes]:
    """All that the store, the database and the logs hold."""
    found = {str(path): path.read_bytes() for place in (desk.files, desk.stand.store.home / "logs")
             for path in place.rglob("*") if path.is_file()}  # fmt: skip
    found |= {str(path): path.read_bytes() for path in desk.stand.store.home.glob("*.log*")}
    found |= {f"audit {name}": path.read_bytes() for name, path in audit_files(desk.stand.store.home).items()}
    tables = desk.sql(
        "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
        " WHERE schemaname IN ('byokeep', 'procrastinate')"
    )
    for table in tables.splitlines():
        found[table] = desk.sql(f"SELECT string_agg(t::text, ' ') FROM {table} t").encode()
    found["records"] = desk.sql("SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record").encode()
    return found | await kept(desk, client)


async def kept(desk: Desk, client: UUID) -> dict[str, bytes]:
    """What the store holds of a client, by its place: each live version of each value, read as root."""
    home = desk.stand.store.home
    async with BaoHttp(desk.stand.store.address, timeout_s=10) as http:
        provisioner, _ = await log_in(http, home / "credentials" / "provisioner.approle")
        root = await generate_root(http, provisioner, desk.stand.store.bao.server.recovery_keys())
        try:
            under, found = f"kv/metadata/clients/{client}/providers", {}
            listed = await http.request("LIST", under, token=root)
            for name in [one for one in listed.data["keys"] if not one.endswith("/")]:
                versions = (await http.request("GET", f"{under}/{name}", token=root)).data["versions"]
                for version, about in versions.items():
                    if about["destroyed"]:
                        continue
                    path, query = f"kv/data/clients/{client}/providers/{name}", {"version": version}
                    value = (await http.request("GET", path, token=root, query=query)).data["data"]["value"]
                    found[f"{name} {version}"] = value.encode()
        finally:
            await retire_roots(http, root)
    return found


def swept(tokens: list[str], places: Mapping[str, bytes]) -> list[str]:
    """The places that hold one of the tokens, in whatever encoding."""
    sweep = Sweep([Canary(f"token-{at}", token.encode()) for at, token in enumerate(tokens)])
    return [name for name, held in places.items() if sweep.scan_bytes(held, source=name).findings]


async def test_a_job_works_with_the_vendors_packages_and_no_key_is_stored_anywhere(desk: Desk) -> None:
    """Declared, proved, leased: vendors' packages work, a token at its end is swapped anew, and no place holds one."""
    client, tokens = await desk.stand.client(), overheard(desk)
    entity = desk.sql(f"SELECT entity_id FROM byokeep.client WHERE id = '{client}'")
    async with published(desk) as keys, desk.stand.keep() as keep:
        for provider in IDS:
            told = await trusted(desk, client, provider, keys, **({"life_s": 4} if provider == "openai" else {}))
            assert (told["issuer"], told["subject"]) == (f"{ISSUER}/v1/identity/oidc", entity)
            done = await declare(desk, client, provider)
            assert (await desk.sop(done["sop"]))["state"] == "complete", provider
            ref = await desk.ref(done["ref"])
            assert (ref["state"], ref["verification"]) == ("active", "verified")
        async with keep.job(client=client, secrets=list(IDS)) as job:
            for provider in IDS:
                before, given = desk.sim.federation.swaps, set[str]()
                for _ in range(3):
                    given.add(token := (await job.secret(provider)).reveal().decode())
                    assert await asked(provider, desk.sim.base_url(provider), token) == "ok", provider
                # One, but on a machine so slow that the lease lapsed meanwhile.
                assert desk.sim.federation.swaps == before + len(given), provider
            await asyncio.sleep(4)  # one vendor's token has ended meanwhile
            token = (await job.secret("openai")).reveal().decode()
            assert await asked("openai", desk.sim.base_url("openai"), token) == "ok"
            again = await job.secret("openai", fresh=True)
            assert again.reveal().decode() != token
    assert desk.sim.federation.swaps >= 2 * len(IDS) + 2
    assert len(tokens) == 2 * desk.sim.federation.swaps
    for one in [token for token in tokens if token.count(".") == 2]:
        body = one.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        assert set(claims) == {"aud", "exp", "iat", "iss", "namespace", "sub"}
        assert (claims["exp"] - claims["iat"], claims["sub"]) == (60, entity)
    held = await kept(desk, client)
    assert {name: json.loads(value) for name, value in held.items()} == {
        f"{provider} 1": {"keyless": dict(ids)} for provider, ids in IDS.items()
    }
    places = await everything(desk, client)
    assert len(places) > 40
    assert swept(tokens, places) == []
    assert swept(tokens, {"control": b"..." + tokens[-1].encode() + b"..."}) == ["control"]


async def test_a_provider_that_trusts_somebody_else_refuses_and_nothing_is_served(desk: Desk) -> None:
    """The run fails and says what to compare; a job gets nothing; put right and verified again, it serves."""
    client, done = UUID(int=0), dict[str, Any]()
    async with published(desk) as keys:
        for wrong in ("subject", "audience", "issuer", "ids"):
            client = await desk.stand.client()
            other: Any = {**IDS["openai"], "identity_provider_id": "idp_02"} if wrong == "ids" else "another"
            await trusted(desk, client, "openai", keys, **{wrong: other})
            done = await declare(desk, client, "openai")
            run = await desk.sop(done["sop"])
            assert (run["state"], run["reason"]) == ("failed", "exchange_refused"), wrong
            assert "byokeep key trust" in run["next_step"]
            assert (await desk.ref(done["ref"]))["verification"] == "failed"
            async with desk.stand.keep() as keep:
                with pytest.raises(Denied, match="credential_not_usable"):
                    await keep.job(client=client, secrets=["openai"]).__aenter__()
            desk.sim.federation.reset()
        await trusted(desk, client, "openai", keys)
        assert (await desk.call("POST", f"/v1/refs/{done['ref']}/verify", "operator"))[0] == 202
        await desk.work()
    assert (await desk.ref(done["ref"]))["verification"] == "verified"


async def test_what_serves_keyless_stays_in_service_unless_the_provider_says_clearly_why_not(desk: Desk) -> None:
    """A proxy's no leaves it, with an alert; a trust that was ended fails it; the same ids declared again serve."""
    client = await desk.stand.client()
    async with published(desk) as keys, desk.stand.keep() as keep:
        await trusted(desk, client, "openai", keys)
        ref = (await declare(desk, client, "openai"))["ref"]
        for status in (403, 404, 401):
            await fault_at(desk, "openai", {"kind": "status", "status": status})
            run = await verified(desk, ref)
            assert (run["state"], run["reason"]) == ("failed", "exchange_refused"), status
            assert (await desk.ref(ref))["verification"] == "verified"
            assert "exchange_refused" in desk.stand.alerts()
            desk.sim.faults.clear()
            async with keep.job(client=client, secrets=["openai"]) as job:
                assert (await job.secret("openai")).reveal()
        desk.sim.federation.reset()
        assert (await desk.call("POST", f"/v1/refs/{ref}/verify", "operator"))[0] == 202
        await desk.work()
        assert (await desk.ref(ref))["verification"] == "verified"  # it is asked again first
        await desk.retry_now()
        assert (await desk.ref(ref))["verification"] == "failed"
        await trusted(desk, client, "openai", keys)
        for _ in range(2):  # failed, and serving
            done = await declare(desk, client, "openai")
            assert (done["ref"], done["version"], done["serves"]) == (ref, 1, None)
            assert (await desk.sop(done["sop"]))["state"] == "complete"
            assert (await desk.ref(ref))["verification"] == "verified"
        assert list(await kept(desk, client)) == ["openai 1"]
        status, refused = await desk.call(
            "PUT", f"/v1/clients/{client}/providers/openai/keyless", "operator",
            {"ids": {**IDS["openai"], "service_account_id": "svc_02"}},
        )  # fmt: skip
        assert (status, refused["code"]) == (422, "serves_keyless")


async def verified(desk: Desk, ref: str) -> dict[str, Any]:
    """The run of another verification, as often as it is tried."""
    status, run = await desk.call("POST", f"/v1/refs/{ref}/verify", "operator")
    assert status == 202
    await desk.work()
    await desk.retry_now()
    return await desk.sop(run["sop"])


async def test_a_provider_that_is_away_refuses_nothing(desk: Desk) -> None:
    """Busy or down is tried again: what was declared stays pending, a job hears unavailable, nothing is marked bad."""
    faults: list[dict[str, Any]] = [{"kind": "status", "status": 429}, {"kind": "status", "status": 503}]
    async with published(desk) as keys, desk.stand.keep(attempts=1) as keep:
        for fault in (*faults, {"kind": "reset"}, {"kind": "garbage"}):
            client = await desk.stand.client()
            await trusted(desk, client, "anthropic", keys)
            await fault_at(desk, "anthropic", fault)
            done = await declare(desk, client, "anthropic")
            assert (await desk.sop(done["sop"]))["state"] == "running", fault
            assert (await desk.ref(done["ref"]))["verification"] == "pending"
            desk.sim.faults.clear()
            await desk.retry_now(1)
            assert (await desk.ref(done["ref"]))["verification"] == "verified"
            async with keep.job(client=client, secrets=["anthropic"]) as job:
                await fault_at(desk, "anthropic", fault)
                with pytest.raises(Unavailable, match=r"exchange_(unavailable|garbage)"):
                    (await job.secret("anthropic")).reveal()
                desk.sim.faults.clear()
                assert (await job.secret("anthropic")).reveal()
            assert (await desk.ref(done["ref"]))["verification"] == "verified"
            desk.sim.federation.reset()


async def fault_at(desk: Desk, provider: str, fault: Mapping[str, Any]) -> None:
    body = {"provider": provider, "times": 20, "match": {"method": "POST"}, **fault}
    assert await controlled(desk, "faults", body) == 201


async def test_a_kill_and_a_suspension_end_the_swaps_at_the_store_itself(desk: Desk) -> None:
    """While a client is cut off no swap is made, by nobody: the store signs no identity token, not even for a lease."""
    client, other = await desk.stand.client(), await desk.stand.client()
    async with published(desk) as keys, desk.stand.keep(attempts=1) as keep:
        await trusted(desk, client, "openai", keys)
        await declare(desk, client, "openai")
        async with keep.job(client=client, secrets=["openai"]) as job:
            held, before = await job.secret("openai"), desk.sim.federation.swaps
            assert (await desk.call("POST", f"/v1/clients/{client}/suspend", "admin"))[0] == 200
            with pytest.raises(Denied, match="client_not_active"):
                await job.secret("openai", fresh=True)
            assert held.wiped
            assert desk.sim.federation.swaps == before
        assert (await desk.call("POST", f"/v1/clients/{client}/resume", "admin"))[0] == 200
        async with keep.job(client=client, secrets=["openai"]) as job:
            held = await job.secret("openai")
            token = await login(desk, client)
            assert (await identity(desk, client, token)).count(".") == 2
            for whose in (other, client):  # another client's lease, and another place of one's own
                with pytest.raises(Denied, match="store_denied"):
                    await identity(desk, whose, await login(desk, other), "openai" if whose is client else "anthropic")
            before = desk.sim.federation.swaps
            body = {"client_id": str(client), "reason": "drill"}
            assert (await desk.stand.call("POST", "/v1/switches/close", "operator", body))[0] == 200
            with pytest.raises(Denied, match="store_denied"):
                await identity(desk, client, token)
            with pytest.raises(Denied, match="lease_refused"):  # the entity is disabled: no new login either
                await login(desk, client)
            with pytest.raises(Denied, match="switch_closed"):
                await job.secret("openai", fresh=True)
            assert held.wiped
        assert desk.sim.federation.swaps == before


async def login(desk: Desk, client: UUID) -> Secret:
    """A live token of the store under a use lease."""
    claims = desk.stand.store.bao.claims(client, "use", ("openai",))
    jwt = Secret(await desk.stand.app.signer.sign_jwt(claims))
    async with BaoHttp(desk.stand.store.address, timeout_s=5) as http:
        return await lease_login(http, jwt, "use-openai")


async def identity(desk: Desk, client: UUID, token: Secret, provider: str = "openai") -> str:
    async with BaoHttp(desk.stand.store.address, timeout_s=5) as http:
        return (await read_identity(http, token, identity_path(client, provider), None)).reveal().decode()


async def test_a_stored_key_moves_to_keyless_by_a_rotation_that_ends_it(desk: Desk) -> None:
    """The key in use serves until the swap is proved; then it is revoked, dead, destroyed, and nothing is to rotate."""
    client = await desk.stand.client()
    async with published(desk) as keys:
        await trusted(desk, client, "openai", keys)
        old = desk.canary("openai", account="acme")
        ref = (await desk.onboard(client, old))["ref"]
        await administered(desk, client, "openai")
        done = await declare(desk, client, "openai", old_ends="now")
        assert done["serves"] == 1
        status, run = await desk.call("GET", f"/v1/rotations/{done['rotation']}", "operator")
        assert (status, run["state"], run["missing"]) == (200, "complete", []), run
        shown = await desk.ref(ref)
        assert (shown["version"], shown["verification"]) == (2, "verified")
        assert shown["provider_place"] == "identity_provider_id=idp_01,service_account_id=svc_01"
        held = await kept(desk, client)
        assert {name: json.loads(value) for name, value in held.items()} == {"openai 2": {"keyless": IDS["openai"]}}
        assert desk.sim.book.keys.find("openai", old.decode()).state == "revoked"  # type: ignore[union-attr]
        status, refused = await desk.call("POST", f"/v1/refs/{ref}/rotations", "operator", {})
        assert (status, refused["code"]) == (422, "serves_keyless")
        assert "no stored key to rotate" in refused["next_step"]
        status, refused = await desk.put(client, desk.canary("openai"))
        assert (status, refused["code"]) == (422, "serves_keyless")
        status, due = await desk.call("GET", "/v1/due?kind=key", "operator")
        assert [(one["item"], one["state"], one["due_at"]) for one in due["items"]] == [(ref, "keyless", None)]
        status, due = await desk.call("GET", "/v1/due?until=2099-01-01T00:00:00Z", "operator")
        assert ref not in [one["item"] for one in due["items"]]
        async with desk.stand.keep() as keep, keep.job(client=client, secrets=["openai"]) as job:
            token = (await job.secret("openai")).reveal().decode()
            assert await asked("openai", desk.sim.base_url("openai"), token) == "ok"


async def test_a_stored_key_that_leaks_while_its_keyless_successor_serves_ends_at_once(desk: Desk) -> None:
    """A day was left to it, and a job holds it: it is revoked now, nothing goes back to it, and keyless serves on."""
    client = await desk.stand.client()
    async with published(desk) as keys:
        await trusted(desk, client, "openai", keys)
        old = desk.canary("openai", account="acme")
        ref = (await desk.onboard(client, old))["ref"]
        await administered(desk, client, "openai")
        async with desk.stand.keep() as keep, keep.job(client=client, secrets=["openai"]) as job:
            assert (await job.secret("openai")).reveal() == old
            run = (await declare(desk, client, "openai", old_ends="24h"))["rotation"]
            # Its row may say so: without the record of a person's word nobody's key is ended under a job.
            forged = {"leaked": 1, "grace_s": 0}
            desk.sql(f"UPDATE byokeep.procedure_run SET due_at = NULL, facts = facts || '{json.dumps(forged)}'"
                     f" WHERE id = '{run}'")  # fmt: skip
            await desk.call("POST", f"/v1/rotations/{run}/resume", "operator", {})
            await desk.work()
            assert desk.sim.book.keys.find("openai", old.decode()).state == "valid"  # type: ignore[union-attr]
            path = f"/v1/refs/{ref}/rotations"
            status, leak = await desk.call("POST", path, "operator", {"leaked": True})
            assert (status, leak.get("id")) == (201, run), leak
            assert desk.sql("SELECT state, reason FROM byokeep.job WHERE kind = 'use'") == "killed|suspected_leak"
            back = await desk.call("POST", f"/v1/rotations/{run}/rollback", "operator")
            assert (back[0], back[1]["code"]) == (409, "procedure_goes_on")
            back = await desk.call("POST", f"/v1/procedures/{run}/abort", "operator")
            assert (back[0], back[1]["code"]) == (409, "procedure_goes_on"), "also by the way that every run has"
            await desk.work()
        assert "key_leak_suspected" in desk.stand.alerts()
        status, done = await desk.call("GET", f"/v1/rotations/{run}", "operator")
        assert (status, done["state"], done["missing"]) == (200, "complete", []), done
        assert desk.sim.book.keys.find("openai", old.decode()).state == "revoked"  # type: ignore[union-attr]
        shown = await desk.ref(ref)
        assert (shown["state"], shown["version"]) == ("active", 2)
        # Its playbook takes that for the rotation, and calls nothing compromised that serves.
        (one,) = (await desk.call("GET", f"/v1/incidents?client_id={client}", "operator"))[1]["incidents"]
        await kill(desk, client)
        await stepped(desk, one["id"], "kill")
        assert (await stepped(desk, one["id"], "rotate"))["rotation"] == run


async def test_a_move_to_keyless_goes_back_to_the_key(desk: Desk) -> None:
    """Rolled back after the cutover, and aborted before it: jobs have the key again, and nothing is left to end."""
    client = await desk.stand.client()
    async with published(desk) as keys, desk.stand.keep() as keep:
        await trusted(desk, client, "openai", keys)
        old = desk.canary("openai", account="acme")
        ref = (await desk.onboard(client, old))["ref"]
        for skip, back in ((True, "rollback"), (False, "abort")):
            done = await declare(desk, client, "openai", old_ends="24h", skip_rehearsal=skip)
            assert bool((await desk.ref(ref))["provider_place"]) is skip
            path = f"/v1/rotations/{done['rotation']}/{back}"
            assert (await desk.call("POST", path, "operator"))[0] == 200
            await desk.work()
            shown = await desk.ref(ref)
            assert (shown["version"], shown["candidate"], shown["provider_place"]) == (1, None, "")
            async with keep.job(client=client, secrets=["openai"]) as job:
                assert (await job.secret("openai")).reveal() == old
        status, due = await desk.call("GET", f"/v1/due?until=2099-01-01T00:00:00Z&client_id={client}", "operator")
        assert (status, [one["kind"] for one in due["items"]]) == (200, ["key"])


async def administered(desk: Desk, client: UUID, provider: str) -> None:
    value = f"admin-{provider}-{client.hex}".encode()
    desk.sim.book.keys.put(provider, value.decode(), SimKeyState.MANAGEMENT, "acme")
    path = f"/v1/clients/{client}/providers/{provider}/admin?at=project=proj_1,account=svc_1"
    assert (await desk.call("PUT", path, "operator", raw=value))[0] == 201


async def test_what_is_declared_are_ids_of_a_provider_that_swaps(desk: Desk) -> None:
    """Another provider, missing or unknown ids, a key in an id's place: refused, on record, and nothing was stored."""
    client, key = await desk.stand.client(), desk.canary("openai").decode()
    good = dict(IDS["openai"])
    for provider, ids, code in (
        ("kie", good, "not_keyless"), ("x", good, "not_an_api_provider"), ("openai", {}, "bad_provider_ids"),
        ("openai", good | {"more": "1"}, "bad_provider_ids"),
        ("openai", good | {"service_account_id": key}, "bad_provider_ids"),
        ("openai", good | {"service_account_id": "a,b=c"}, "bad_provider_ids"),
    ):  # fmt: skip
        path = f"/v1/clients/{client}/providers/{provider}/keyless"
        status, refused = await desk.call("PUT", path, "operator", {"ids": ids})
        assert (status, refused["code"]) == (422, code), (provider, ids)
    assert desk.not_once_on_record() == []
    assert desk.sql(f"SELECT count(*) FROM byokeep.credential_ref WHERE client_id = '{client}'") == "0"
    path = f"/v1/clients/{client}/providers/openai/keyless"
    for who, wanted in (("auditor", 403), ("runner", 401), (None, 401)):
        assert (await desk.call("PUT", path, who, {"ids": good}))[0] == wanted
