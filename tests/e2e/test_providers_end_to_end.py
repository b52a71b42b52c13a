"""All six providers from the operator's paste to the provider's inference endpoint, on real servers."""

# ruff: noqa: S608 - statements are put together from made-up ids
from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from byokeep.adapters.providers.descriptor import DESCRIPTORS
from byokeep.adapters.providers.identify import identify
from byokeep.client import ClientSettings, Keep
from byokeep.core.errors import Denied, Rejected
from byokeep.core.secret import Secret
from byokeep.wire.transport import Outbound
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]


@dataclass(frozen=True)
class Vendor:
    """Where a provider wants its key, and where work is done with it."""

    name: str
    header: str
    prefix: str
    identity: str
    inference: str


VENDORS = (
    Vendor("anthropic", "x-api-key", "", "/v1/models", "/v1/messages"),
    Vendor("openai", "authorization", "Bearer ", "/v1/models", "/v1/chat/completions"),
    Vendor("google", "x-goog-api-key", "", "/v1beta/models", "/v1beta/models/gemini-sim-1:generateContent"),
    Vendor("openrouter", "authorization", "Bearer ", "/api/v1/key", "/api/v1/chat/completions"),
    Vendor("kie", "authorization", "Bearer ", "/api/v1/chat/credit", "/api/v1/jobs/createTask"),
    Vendor("heygen", "x-api-key", "", "/v3/users/me", "/v2/video/generate"),
)
BY_NAME = {vendor.name: vendor for vendor in VENDORS}
# What the vendors answer to a key they have revoked: a status, or an error in the body of a 200.
REFUSES = {"anthropic": 401, "openai": 401, "google": 401, "openrouter": 401, "kie": 200, "heygen": 401}


async def work(desk: Desk, client: UUID, vendor: Vendor) -> tuple[int, Any]:
    """A job that fetches the key and works with it, as a customer's runner would; returns the provider's reply."""
    async with desk.stand.keep(attempts=1) as keep, keep.job(client=client, secrets=[vendor.name]) as job:
        key = (await job.secret(vendor.name)).reveal().decode()
        headers = {vendor.header: vendor.prefix + key, "anthropic-version": "2023-06-01"}  # one vendor insists on it
        url = desk.sim.base_url(vendor.name) + vendor.inference
        async with aiohttp.ClientSession() as http, http.post(url, json={}, headers=headers) as reply:
            return reply.status, await reply.json()


def warned(desk: Desk) -> set[tuple[str, ...]]:
    rows = desk.sql("SELECT reason, severity, object_id FROM byokeep.alert WHERE closed_at IS NULL").splitlines()
    return {tuple(row.split("|")) for row in rows}


def seen(desk: Desk) -> list[Any]:
    return list(desk.sim.book.log.entries)


@pytest.mark.req("R2.1-1", "R2.1-2", "R2.1-3", "R2.1-4", "R2.1-5", "R2.1-6")
async def test_each_providers_key_works_from_paste_to_inference(desk: Desk) -> None:
    """Each key is verified in its provider's header, fetched by a leased job, and works; no URL ever holds one."""
    client = await desk.stand.client()
    for vendor in VENDORS:
        before = desk.sim.book.log.seen
        key = desk.canary(vendor.name)
        done = await desk.onboard(client, key, vendor.name)
        assert (await desk.sop(done["sop"]))["state"] == "complete", vendor
        status, _ = await work(desk, client, vendor)
        assert status == 200, vendor
        asked, used = seen(desk)[before:]
        assert (asked["method"], asked["path"]) == ("GET", f"/{vendor.name}{vendor.identity}")
        assert (used["method"], used["path"]) == ("POST", f"/{vendor.name}{vendor.inference}")
        digest = desk.sim.book.keys.digest(key.decode())
        for call in (asked, used):
            assert call["auth"] == {"header": vendor.header, "hash": digest}, vendor
            assert not call["other_auth"], vendor
            assert call["key_in_url"] is False, vendor
            assert "key" not in call["query_names"], vendor
    stored = desk.sql(f"SELECT provider FROM byokeep.credential_ref WHERE client_id = '{client}' ORDER BY 1").split()
    assert stored == sorted(BY_NAME)


@pytest.mark.req("R2.1-1", "R2.1-2", "R2.1-4", "R2.1-5", "R2.1-6")
async def test_a_key_in_the_wrong_slot_is_refused_before_it_is_stored(desk: Desk) -> None:
    """Every other vendor's shape, nothing at all, and other spellings of a provider's name are refused."""
    client, calls = await desk.stand.client(), desk.sim.book.log.seen
    without_prefix = "kie"  # its keys look like nothing in particular, so nobody can tell them from an old heygen key
    for vendor in VENDORS:
        for other in VENDORS:
            if other.name in (vendor.name, without_prefix):
                continue
            status, reply = await desk.put(client, desk.canary(other.name, state=""), vendor.name)
            assert (status, reply["code"]) == (422, "format_mismatch"), (vendor.name, other.name)
        for value, code in ((b"", "empty_value"), (b"k", "too_short"), (b"k" * 4000, "too_long")):
            status, reply = await desk.put(client, value, vendor.name)
            assert (status, reply["code"]) == (422, code), (vendor.name, code)
    for vendor in (name for name in VENDORS if name.name not in (without_prefix, "heygen")):
        status, reply = await desk.put(client, desk.canary(without_prefix, state=""), vendor.name)
        assert (status, reply["code"]) == (422, "format_mismatch"), vendor.name
    for odd in (b"0123456789abcdef0123456789abcde!", b"0123456789abcdef/123456789abcdef", b"0123456789 abcdef0123456"):
        status, reply = await desk.put(client, odd, "kie")
        assert (status, reply["code"]) in ((422, "format_mismatch"), (422, "whitespace_inside"))
    for alias in ("open-router", "OpenRouter", "openrouter.ai", "open_router", "OPENROUTER", "openrouter%20"):
        status, reply = await desk.put(client, desk.canary("openrouter"), alias)
        assert (status, reply["code"]) == (422, "unknown_provider"), alias
    serving, another = await desk.stand.client("anthropic"), desk.canary("openai", state="")
    for whose, headers in ((client, {"x-byokeep-version": "0"}), (serving, {}), (serving, {"x-byokeep-version": "1"})):
        status, reply = await desk.put(whose, another, "anthropic", **headers)
        assert (status, reply["code"]) == (422, "format_mismatch"), headers
    assert desk.sql(f"SELECT count(*) FROM byokeep.credential_ref WHERE client_id = '{client}'") == "0"
    assert desk.sim.book.log.seen == calls


@pytest.mark.req("R2.1-2", "R2.1-5")
async def test_a_key_that_its_provider_refuses_stays_unusable(desk: Desk) -> None:
    """After a 401, or an error inside a 200, the run has failed, the key is not verified, and a job gets nothing."""
    client = await desk.stand.client()
    for vendor in VENDORS:
        done = await desk.onboard(client, desk.canary(vendor.name, state="revoked"), vendor.name)
        sop, ref = await desk.sop(done["sop"]), await desk.ref(done["ref"])
        assert (sop["state"], sop["reason"]) == ("failed", "invalid_key"), vendor
        assert (ref["state"], ref["verification"]) == ("pre_activation", "failed"), vendor
        [*_, note] = [json.loads(line) for line in desk.stand.events("key.verified", "failed")]
        assert note["fields"]["http_status"] == REFUSES[vendor.name], vendor
        with pytest.raises(Denied, match="credential_not_usable"):
            await work(desk, client, vendor)
    assert [call["path"].partition("/")[2].partition("/")[2] for call in seen(desk)] == [
        vendor.identity.removeprefix("/") for vendor in VENDORS
    ]
    assert desk.stand.events("client_key_onboarded") == []


@pytest.mark.req("R2.1-6")
async def test_an_empty_balance_is_no_bad_key(desk: Desk) -> None:
    """A good key without quota is verified and says so, in the record and to the operator; only work is refused."""
    client = await desk.stand.client()
    for name in ("heygen", "kie"):
        done = await desk.onboard(client, desk.canary(name, state="no_credit"), name)
        sop, ref = await desk.sop(done["sop"]), await desk.ref(done["ref"])
        assert (sop["state"], ref["state"], ref["verification"]) == ("complete", "active", "verified"), name
        [*_, note] = [json.loads(line) for line in desk.stand.events("key.verified", "ok")]
        assert note["fields"]["verification"] == "verified_no_quota", name
        assert ("key_no_quota", "warning", done["ref"]) in warned(desk), name
        status, reply = await work(desk, client, BY_NAME[name])
        assert status == 402 or reply["code"] == 402, name


@pytest.mark.req("R2.1-3")
async def test_a_key_in_an_address_is_never_sent(desk: Desk) -> None:
    """Settings that would put the key into the address are refused before anything is sent."""
    key, calls = desk.canary("google").decode(), desk.sim.book.log.seen
    base, google = desk.sim.base_url("google"), DESCRIPTORS["google"]
    in_query = replace(google, query={"key": key})
    in_path = replace(google, path=f"/v1beta/models/{key}")
    nowhere = "https://provider.invalid"  # no address was configured: the provider's own
    async with Outbound() as http:
        for descriptor, url, code in (
            (google, f"{base}?key={key}", "bad_base_url"), (google, f"{base}/?key=", "bad_base_url"),
            (in_query, base, "secret_in_url"), (in_path, base, "secret_in_url"),
            (replace(in_query, base_url=nowhere), None, "secret_in_url"),
            (replace(in_path, base_url=nowhere), None, "secret_in_url"),
        ):  # fmt: skip
            with pytest.raises(Rejected, match=code):
                await identify(
                    descriptor, Secret(key), base_url=url, http=http, allow_loopback=True,
                    account_hasher=lambda text: text, deadline_s=2.0,
                )  # fmt: skip
    assert desk.sim.book.log.seen == calls


@pytest.mark.req("R5.1-9")
async def test_the_verification_job_can_cause_no_effect(desk: Desk) -> None:
    """A verification that tries to act is denied, its attempt is on record, the run fails, and nothing was posted."""
    client = await desk.stand.client()
    desk.stand.account(client)
    settings = ClientSettings(
        broker_url=desk.stand.url, runner_token_file=desk.stand.home / "custodian.token", attempts=1
    )
    tried: list[str] = []

    async def acting(_provider: Any, _secret: Any) -> Any:
        job_id = desk.sql("SELECT id FROM byokeep.job WHERE kind = 'custody' AND state = 'open'")
        async with Keep(settings) as keep, keep.attach(job_id) as job:
            tried.append(job_id)
            async with job.effect("publish", platform="x", account="acme", key="from-a-verification"):
                raise AssertionError("a verification job got leave to act")

    desk.worker = replace(desk.worker, identify=acting)
    done = await desk.onboard(client)
    assert len(tried) == 1
    sop, ref = await desk.sop(done["sop"]), await desk.ref(done["ref"])
    assert (sop["state"], sop["reason"]) == ("failed", "not_permitted")
    assert (ref["state"], ref["verification"]) == ("pre_activation", "pending")
    [refused] = [json.loads(line) for line in desk.stand.events("access.decided", "denied")]
    assert refused["actor"] == str(desk.people["custodian"].id)
    assert refused["fields"] == {"verb": "permit.issue", "reason": "not_permitted"}
    assert desk.stand.events("permit.issued") == []
    assert desk.sql("SELECT count(*) FROM byokeep.permit") == "0"
    assert desk.sim.book.effects.report()["total"] == 0
    body = {
        "client_id": str(client), "runner_id": str(desk.people["custodian"].id), "kind": "custody",
        "secrets": ["openai"], "effects": ["publish"], "platforms": ["x"], "lanes": ["api"],
    }  # fmt: skip
    status, reply = await desk.stand.call("POST", "/v1/jobs", "dispatcher", body)
    assert (status, reply["code"]) == (422, "custody_has_no_effects")
