"""The identity call of every provider against the simulator, over real HTTP, with everything that goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import logging.config
import random
import string
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields, replace
from typing import Any
from unittest.mock import AsyncMock

import pytest

import byokeep_sim as simulator
from byokeep.adapters.providers.descriptor import DESCRIPTORS, acts, place_names
from byokeep.adapters.providers.identify import identify
from byokeep.adapters.providers.issuer import ProviderIssuer
from byokeep.core.errors import Conflict, Rejected, Unavailable
from byokeep.core.next_steps import of_outcome
from byokeep.core.secret import Secret
from byokeep.kernel.ports import CheckOutcome, OutcomeStatus
from byokeep.wire.transport import Outbound, exchange

PROVIDERS = sorted(DESCRIPTORS)
WORD = string.ascii_letters + string.digits
S = OutcomeStatus


def made_key(provider: str, seed: int = 1) -> str:
    chance = random.Random(f"{provider}{seed}")

    def some(n: int, alphabet: str = WORD) -> str:
        return "".join(chance.choice(alphabet) for _ in range(n))

    return {
        "anthropic": f"sk-ant-api03-{some(93)}AA",
        "openai": f"sk-proj-{some(74)}T3Blbk" + f"FJ{some(74)}",
        "google": f"AQ.Ab8RN6{some(44)}",
        "openrouter": f"sk-or-v1-{some(64, '0123456789abcdef')}",
        "kie": some(32, "0123456789abcdef"),
        "heygen": f"sk_V2_hgu_k{some(10)}_{some(32)}",
    }[provider]


def hasher(text: str) -> str:
    return hmac.new(b"test", text.encode(), hashlib.sha256).hexdigest()


@dataclass
class Bench:
    sim: simulator.Sim
    http: Outbound

    def know(self, provider: str, state: str = "valid", account: str = "client-account-7") -> str:
        key = made_key(provider)
        self.sim.book.keys.put(provider, key, simulator.SimKeyState(state), account)
        return key

    def fault(self, provider: str, kind: str, **spec: Any) -> None:
        self.sim.faults.add({"provider": provider, "kind": kind, **spec})

    async def ask(self, provider: str, key: str, *, deadline_s: float = 10.0) -> CheckOutcome:
        return await identify(
            DESCRIPTORS[provider],
            Secret(key),
            base_url=self.sim.base_url(provider),
            http=self.http,
            account_hasher=hasher,
            allow_loopback=True,
            deadline_s=deadline_s,
        )

    def assert_read_only(self, provider: str, key: str, attempts: int) -> None:
        """Exactly so many GETs of the identity path, the key in the provider's header alone, no effect."""
        seen = list(self.sim.book.log.entries)
        descriptor = DESCRIPTORS[provider]
        assert len(seen) == attempts
        for entry in seen:
            assert (entry["vendor"], entry["method"], entry["body_length"]) == (provider, "GET", 0)
            assert entry["path"] == f"/{provider}{descriptor.path}"
            assert entry["auth"] == {"header": descriptor.auth_header, "hash": self.sim.book.keys.digest(key)}
            assert entry["other_auth"] == []
            assert entry["key_in_url"] is False
            assert entry["query_names"] == sorted(descriptor.query)
        assert self.sim.book.effects.total == 0


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    sim = await simulator.start(seed=7)
    async with Outbound() as http:
        yield Bench(sim, http)
    await sim.stop()


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("provider", sorted(name for name in PROVIDERS if acts(DESCRIPTORS[name])))
async def test_a_proxys_refusal_is_none_of_an_administrators_key(bench: Bench, provider: str, status: int) -> None:
    """HTML under 401, 403 or 404 is no refusal, no wrong place and no end of a key: the provider was not reached."""
    place = dict.fromkeys(place_names(DESCRIPTORS[provider]), "p1")
    urls = {provider: bench.sim.base_url(provider)}
    issuer = ProviderIssuer(DESCRIPTORS, bench.http, urls=urls, allow_loopback=True)
    for ask in (issuer.keys(provider, Secret("a" * 40), place), issuer.revoke(provider, Secret("a" * 40), "k1", place)):
        bench.fault(provider, "html", status=status)
        with pytest.raises(Unavailable, match="provider_admin_unreachable"):
            await ask


@pytest.mark.parametrize("more", [True, 5, [1], {"a": 1}], ids=str)
async def test_an_empty_page_with_more_to_come_is_no_list(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, more: object
) -> None:
    """Whatever says that there is more: nobody knows after which id to ask."""
    issuer = ProviderIssuer(DESCRIPTORS, bench.http, urls={}, allow_loopback=True)
    monkeypatch.setattr(issuer, "_call", AsyncMock(return_value={"data": [], "has_more": more}))
    with pytest.raises(Conflict, match="provider_admin_garbage"):
        await issuer.keys("anthropic", Secret("a" * 40), {})


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_good_key_is_verified_by_one_get_in_the_providers_own_header(bench: Bench, provider: str) -> None:
    """A good key is verified by a single GET whose only credential stands in the provider's header."""
    key = bench.know(provider)
    outcome = await bench.ask(provider, key)
    assert (outcome.status, outcome.verified, outcome.alert) == (S.VERIFIED, True, False)
    assert (outcome.http_status, outcome.attempts, outcome.endpoint) == (200, 1, DESCRIPTORS[provider].endpoint)
    known = {
        "anthropic": "anthropic:client-account-7",
        "openai": "openai:client-account-7",
        "openrouter": "openrouter:client-account-7",
        "heygen": "heygen:client-account-7|client-account-7@example.test",
    }
    assert outcome.account_hash == (hasher(known[provider]) if provider in known else None)
    bench.assert_read_only(provider, key, 1)


ORDINARY = {
    "valid": S.VERIFIED,
    "revoked": S.INVALID_KEY,
    "disabled": S.INVALID_KEY,
    "leaked": S.INVALID_KEY,
    "restricted": S.FORBIDDEN,
    "geo_blocked": S.FORBIDDEN,
    "no_credit": S.VERIFIED,
    "billing_blocked": S.NO_CREDIT,
}
STATES: dict[str, dict[str, OutcomeStatus]] = {
    "anthropic": {**ORDINARY, "disabled": S.DISABLED, "management": S.INVALID_KEY},
    "openai": {
        **ORDINARY,
        "restricted": S.RESTRICTED_BUT_LIVE,
        "management": S.RESTRICTED_BUT_LIVE,
        "geo_blocked": S.GEO_BLOCKED,
    },
    "google": {
        **ORDINARY,
        "management": S.INVALID_KEY,
        "leaked": S.LEAKED,
        "restricted": S.RESTRICTED_BUT_LIVE,
        "geo_blocked": S.GEO_BLOCKED,
        "billing_blocked": S.RATE_LIMITED,
    },
    "openrouter": {**ORDINARY, "management": S.WRONG_KEY_KIND, "cap_reached": S.VERIFIED_NO_QUOTA},
    "kie": {**ORDINARY, "no_credit": S.VERIFIED_NO_QUOTA, "maintenance": S.PROVIDER_DOWN},
    "heygen": {**ORDINARY, "no_credit": S.VERIFIED_NO_QUOTA},
}


@pytest.mark.parametrize(("provider", "state"), [(p, s) for p in PROVIDERS for s in STATES[p]])
async def test_each_state_of_a_key_has_its_reason(bench: Bench, provider: str, state: str) -> None:
    """What the provider thinks of a key becomes the documented reason, and only a 2xx verifies."""
    key = bench.know(provider, state)
    outcome = await bench.ask(provider, key)
    assert outcome.status is STATES[provider][state]
    assert outcome.verified is (outcome.status in (S.VERIFIED, S.VERIFIED_NO_QUOTA))
    assert outcome.alert is (outcome.status is S.LEAKED)
    assert outcome.status in of_outcome()
    assert outcome.again is (outcome.status in (S.RATE_LIMITED, S.PROVIDER_DOWN, S.TIMEOUT))
    assert outcome.verified or outcome.account_hash is None
    bench.assert_read_only(provider, key, 3 if outcome.status in (S.RATE_LIMITED, S.PROVIDER_DOWN) else 1)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_unknown_key_is_invalid(bench: Bench, provider: str) -> None:
    """A key that the provider never saw is invalid, with kie's error inside HTTP 200 as well."""
    key = made_key(provider, seed=2)
    outcome = await bench.ask(provider, key)
    assert (outcome.status, outcome.verified) == (S.INVALID_KEY, False)
    assert outcome.http_status == (200 if provider == "kie" else 401)
    bench.assert_read_only(provider, key, 1)


async def test_an_old_google_key_is_invalid_by_http_400(bench: Bench) -> None:
    """A bad Google key of the old form is known by the reason in the body, not by the status."""
    outcome = await bench.ask("google", "AIza" + "x" * 35)
    assert (outcome.status, outcome.http_status) == (S.INVALID_KEY, 400)


FAULTS: dict[str, tuple[dict[str, Any], OutcomeStatus, int]] = {
    # name: (fault, expected status, GETs)
    "500_always": ({"kind": "status", "status": 500, "times": 9}, S.PROVIDER_DOWN, 3),
    "503_then_ok": ({"kind": "status", "status": 503}, S.VERIFIED, 2),
    "429_then_ok": ({"kind": "status", "status": 429, "retry_after_s": 0}, S.VERIFIED, 2),
    "429_always": ({"kind": "status", "status": 429, "retry_after_s": 0, "times": 9}, S.RATE_LIMITED, 3),
    "429_for_an_hour": ({"kind": "status", "status": 429, "retry_after_s": 3600, "times": 9}, S.RATE_LIMITED, 1),
    "400": ({"kind": "status", "status": 400}, S.UNEXPECTED_STATUS, 1),
    "402": ({"kind": "status", "status": 402}, S.NO_CREDIT, 1),
    "418": ({"kind": "status", "status": 418}, S.UNEXPECTED_STATUS, 1),
    "201": ({"kind": "status", "status": 201}, S.MALFORMED, 1),
    "hang": ({"kind": "hang", "delay_s": 2}, S.TIMEOUT, 1),
    "drip": ({"kind": "slow", "delay_s": 2}, S.TIMEOUT, 1),
    "reset": ({"kind": "reset"}, S.PROVIDER_DOWN, 1),
    "garbage": ({"kind": "garbage"}, S.MALFORMED, 1),
    "html": ({"kind": "html"}, S.MALFORMED, 1),
    "huge": ({"kind": "huge"}, S.MALFORMED, 1),
    "empty": ({"kind": "empty"}, S.MALFORMED, 1),
    "truncated": ({"kind": "truncated"}, S.PROVIDER_DOWN, 1),
    "echo_body": ({"kind": "echo_key"}, S.REFLECTED, 1),
    "echo_header": ({"kind": "echo_key", "place": "header"}, S.REFLECTED, 1),
    "echo_url": ({"kind": "echo_key", "encoding": "url"}, S.REFLECTED, 1),
    "echo_base64": ({"kind": "echo_key", "encoding": "base64"}, S.REFLECTED, 1),
    "echo_base64_header": ({"kind": "echo_key", "encoding": "base64", "place": "header"}, S.REFLECTED, 1),
}


@pytest.mark.req("R5.1-7")
@pytest.mark.parametrize(("provider", "name"), [(p, n) for p in PROVIDERS for n in FAULTS])
async def test_each_fault_has_its_reason_and_causes_nothing(bench: Bench, provider: str, name: str) -> None:
    """Whatever goes wrong, the provider sees GETs only, as few as allowed, and the reason is the right one."""
    spec, expected, gets = FAULTS[name]
    key = bench.know(provider)
    bench.fault(provider, **spec)
    short = name in ("hang", "drip")
    outcome = await bench.ask(provider, key, deadline_s=0.3 if short else 10.0)
    assert outcome.status is expected
    assert outcome.verified is (expected is S.VERIFIED)
    assert outcome.alert is (expected is S.REFLECTED)
    assert outcome.attempts == gets
    assert outcome.verified or outcome.account_hash is None
    assert not short or 200 <= outcome.latency_ms < 8000  # the deadline of the others is ten seconds
    bench.assert_read_only(provider, key, gets)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_error_body_in_a_200_never_verifies(bench: Bench, provider: str) -> None:
    """The provider's own error body under HTTP 200 is not a confirmation."""
    key = bench.know(provider)
    bench.fault(provider, "status", status=200, times=9)
    outcome = await bench.ask(provider, key)
    assert outcome.http_status == 200
    assert outcome.status is (S.PROVIDER_DOWN if provider == "kie" else S.MALFORMED)
    assert not outcome.verified


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_http_statuses_have_distinct_reasons(bench: Bench, provider: str) -> None:
    """401, 403, 404, 429, 500, a timeout and an unreadable 200 can be told apart, and none of them verifies."""
    key = bench.know(provider)
    reasons = []
    for status in (401, 403, 404, 429, 500):
        bench.fault(provider, "status", status=status, retry_after_s=6)
        reasons.append((await bench.ask(provider, key)).status)
    bench.fault(provider, "hang", delay_s=1)
    reasons.append((await bench.ask(provider, key, deadline_s=0.2)).status)
    bench.fault(provider, "empty")
    reasons.append((await bench.ask(provider, key)).status)
    assert len(set(reasons)) == 7
    assert not {S.VERIFIED, S.VERIFIED_NO_QUOTA} & set(reasons)


@pytest.mark.req("R5.1-7", "S-OWASP-31")
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(bench: Bench, provider: str, status: int) -> None:
    """A redirect to another host ends the check; that host never hears from us."""
    other = await simulator.start()
    try:
        key = bench.know(provider)
        bench.fault(provider, "redirect", status=status, location=f"{other.base_url(provider)}/v1/models")
        outcome = await bench.ask(provider, key)
        assert (outcome.status, outcome.verified, outcome.http_status) == (S.REDIRECT_REFUSED, False, status)
        assert other.book.log.seen == 0
        bench.assert_read_only(provider, key, 1)
        # The other host does log: a single call to it is seen.
        await exchange(bench.http, "GET", other.base_url(provider) + "/v1/models", headers={}, loopback=True)
        assert other.book.log.seen == 1
    finally:
        await other.stop()


async def test_retry_after_is_obeyed(bench: Bench) -> None:
    """Between attempts we wait at least as long as each provider asks, and no longer than three attempts."""
    keys = {p: bench.know(p, "rate_limited") for p in PROVIDERS}
    started = asyncio.get_running_loop().time()
    outcomes = await asyncio.gather(*(bench.ask(p, k) for p, k in keys.items()))
    took = asyncio.get_running_loop().time() - started
    assert {o.status for o in outcomes} == {S.RATE_LIMITED}
    assert {o.attempts for o in outcomes} == {3}
    assert 2.0 <= took < 5.0


async def test_another_account_has_another_hash(bench: Bench) -> None:
    """A key that answers for somebody else's account is told apart by the account hash."""
    for provider in ("anthropic", "openai", "openrouter", "heygen"):
        key = bench.know(provider)
        mine = await bench.ask(provider, key)
        bench.fault(provider, "wrong_identity")
        other = await bench.ask(provider, key)
        assert mine.verified
        assert other.verified
        assert mine.account_hash != other.account_hash


async def test_only_allow_listed_fields_leave(bench: Bench) -> None:
    """Labels, e-mail addresses and names in a reply are not part of an outcome."""
    names = {field.name for field in fields(CheckOutcome)}
    assert names == {"status", "http_status", "latency_ms", "account_hash", "endpoint", "attempts"}
    for provider in ("openrouter", "heygen"):
        key = bench.know(provider)
        outcome = await bench.ask(provider, key)
        assert outcome.verified
        for foreign in (key[:12], key[-4:], "client-account-7", "example.test", "Sim"):
            assert foreign not in repr(outcome).replace(outcome.account_hash or "", "")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_descriptor_that_puts_the_key_into_the_url_is_refused_before_sending(
    bench: Bench, provider: str
) -> None:
    """The key in a path, a query or a foreign header is refused and nothing is sent."""
    key = bench.know(provider)
    good = DESCRIPTORS[provider]
    bad = [
        (replace(good, query={"key": key}), "secret_in_url"),
        (replace(good, path=f"/v1/{key}"), "secret_in_url"),
        (replace(good, extra_headers={"x-copy": key}), "secret_in_wrong_place"),
    ]
    for descriptor, code in bad:
        with pytest.raises(Rejected) as refused:
            await identify(
                descriptor,
                Secret(key),
                base_url=bench.sim.base_url(provider),
                http=bench.http,
                account_hasher=hasher,
                allow_loopback=True,
            )
        assert refused.value.code == code
        assert key not in str(refused.value)
    assert bench.sim.book.log.seen == 0


async def test_a_key_with_reserved_characters_is_found_in_a_url(bench: Bench) -> None:
    """A base64 key is recognised in a path as it stands and in a query as it is written there."""
    key = "QWxh+GRpbjpvcG/VuIHNlc2FtZQ=="
    good = DESCRIPTORS["heygen"]
    bench.sim.book.keys.put("heygen", key, simulator.SimKeyState.VALID, None)
    assert (await bench.ask("heygen", key)).verified
    for descriptor in (replace(good, path=f"/v3/{key}"), replace(good, query={"k": key})):
        with pytest.raises(Rejected, match="secret_in_url"):
            await identify(
                descriptor,
                Secret(key),
                base_url=bench.sim.base_url("heygen"),
                http=bench.http,
                account_hasher=hasher,
                allow_loopback=True,
            )
    assert bench.sim.book.log.seen == 1


async def test_the_http_library_is_silent_even_when_logging_is_turned_up(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither URL nor header nor key reaches a log at DEBUG, after a configuration that asks for it."""
    logging.config.dictConfig(
        {"version": 1, "disable_existing_loggers": False, "loggers": {"aiohttp": {"level": "DEBUG"}}}
    )
    caplog.set_level(logging.DEBUG)
    for provider in PROVIDERS:
        key = bench.know(provider)
        await bench.ask(provider, key)
        bench.fault(provider, "reset")
        await bench.ask(provider, key)
        assert key not in caplog.text
    assert not [r for r in caplog.records if r.name.startswith("aiohttp.client")]
    logging.getLogger("byokeep.test").debug("heard")
    assert "heard" in caplog.text


async def test_nothing_is_sent_but_what_the_call_needs(bench: Bench) -> None:
    """No cookie, no header and no parameter of the library's or of an earlier reply goes along."""
    key = bench.know("openai")
    for _ in range(2):
        assert (await bench.ask("openai", key)).verified
    for entry in list(bench.sim.book.log.entries)[:2]:
        known = {"accept", "accept-encoding", "authorization", "connection", "host", "user-agent"}
        assert set(entry["header_names"]) == known
        assert entry["query_names"] == []
