"""What may be stored as a provider's key, and how replies are read, without a network."""

from __future__ import annotations

import base64
import json
import re
import tomllib
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep import demo
from byokeep.adapters.providers import identify
from byokeep.adapters.providers.descriptor import DESCRIPTORS, check_format, load
from byokeep.adapters.providers.identify import ProviderReply, classify, reflects
from byokeep.core.errors import Rejected
from byokeep.core.model import API_PROVIDERS
from byokeep.core.next_steps import of_outcome
from byokeep.kernel.ports import CheckOutcome, OutcomeStatus
from byokeep_redact import canary

PROVIDERS = sorted(DESCRIPTORS)
GOOD = {
    "anthropic": ["sk-ant-api03-" + "aB3_-" * 18 + "xyz" + "AA"],
    "openai": [
        "sk-proj-" + "aB3-_9" * 12 + "T3Blbk" + "FJ" + "aB3-_9" * 12,
        "sk-svcacct-" + "aB3" * 20 + "T3Blbk" + "FJ" + "aB3" * 20,
        "sk-" + "aB3cD" * 4 + "T3Blbk" + "FJ" + "aB3cD" * 4,
    ],
    "google": ["AQ.Ab8RN6" + "aB3_" * 11, "AIza" + "Sy_-a" * 7],
    "openrouter": ["sk-or-v1-" + "0e6a1c96" * 8],
    "kie": ["0123456789abcdef" * 2],
    "heygen": ["sk_V2_hgu_k" + "aB3cD" * 2 + "_" + "aB3c" * 8, "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
}


def refusal(provider: str, value: bytes) -> str:
    with pytest.raises(Rejected) as refused:
        check_format(provider, value)
    error = refused.value
    assert error.next_step
    shown = f"{error} {error!r} {error.args} {error.fields} {error.next_step}".encode()
    assert len(value.strip()) < 6 or value.strip()[:200] not in shown
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    return error.code


@pytest.mark.parametrize(("provider", "key"), [(p, k) for p in PROVIDERS for k in GOOD[p]])
def test_a_key_of_each_known_form_is_accepted_in_its_own_slot_only(provider: str, key: str) -> None:
    """Each known form passes for its provider; in another's slot a recognisable key is a mismatch."""
    check_format(provider, key.encode())
    if not any(pattern.fullmatch(key) for pattern in DESCRIPTORS[provider].shape.recognise):
        assert provider in ("kie", "heygen")
        return
    for other in PROVIDERS:
        if other != provider:
            assert refusal(other, key.encode()) == "format_mismatch"


def test_an_override_lifts_the_mismatch_and_nothing_else() -> None:
    """With an operator's reason an unusual key passes, an impossible one does not."""
    key = GOOD["openai"][0].encode()
    check_format("anthropic", key, accept_shape_mismatch=True)
    with pytest.raises(Rejected, match="whitespace_inside"):
        check_format("anthropic", b"two words of a long enough text", accept_shape_mismatch=True)


@pytest.mark.parametrize("alias", ["open-router", "OpenRouter", "Anthropic", "google_gemini", "meta", "", " kie"])
def test_an_alias_is_no_provider(alias: str) -> None:
    """Only the exact ids exist."""
    with pytest.raises(Rejected, match="unknown_provider"):
        check_format(alias, b"x" * 40)


ADMIN = {
    "anthropic": ["sk-ant-admin01-" + "a" * 93 + "AA", "sk-ant-api01-" + "a" * 95],
    "openai": ["sk-admin-" + "a" * 60],
}


@pytest.mark.parametrize(("provider", "key"), [(p, k) for p, keys in ADMIN.items() for k in keys])
def test_a_key_that_administers_the_account_is_a_mismatch(provider: str, key: str) -> None:
    """An admin key can do more than a job needs and can not do what it needs."""
    assert refusal(provider, key.encode()) == "format_mismatch"


def bad_inputs(provider: str) -> dict[str, tuple[bytes, str]]:
    key = GOOD[provider][0]
    return {
        "nothing": (b"", "empty_value"),
        "blanks": (b"   ", "empty_value"),
        "line end only": (b"\n", "empty_value"),
        "one character": (b"x", "too_short"),
        "a megabyte": (b"x" * 1_000_000, "too_long"),
        "a megabyte of blanks": (b" " * 1_000_000, "too_long"),
        "nul": (key[:9].encode() + b"\0" + key[9:].encode(), "control_characters"),
        "escape": (b"\x1b[31m" + key.encode(), "control_characters"),
        "tab": (key[:9].encode() + b"\t" + key[9:].encode(), "control_characters"),
        "delete": (key.encode() + b"\x7f", "control_characters"),
        "line inside": (key[:9].encode() + b"\n" + key[9:].encode(), "control_characters"),
        "line end": (key.encode() + b"\n", "trailing_newline"),
        "windows line end": (key.encode() + b"\r\n", "trailing_newline"),
        "leading blank": (b" " + key.encode(), "whitespace_inside"),
        "trailing blank": (key.encode() + b" ", "whitespace_inside"),
        "header copied": (b"Bearer " + key.encode(), "whitespace_inside"),
        "zero width": ((key[:9] + "\u200b" + key[9:]).encode(), "invisible_characters"),
        "byte order mark": (("\ufeff" + key).encode(), "invisible_characters"),
        "no-break space": ((key + "\u00a0").encode(), "invisible_characters"),
        "smart quotes": (f"\u201c{key}\u201d".encode(), "not_ascii"),
        "confusable": ((key[:9] + "\u0430" + key[10:]).encode(), "not_ascii"),
        "long dash": ((key[:9] + "\u2014" + key[10:]).encode(), "not_ascii"),
        "latin-1": (key.encode() + b"\xe4", "not_ascii"),
        "fence": (f"```{key}```".encode(), "code_fence"),
        "fence with language": (f"```text\n{key}\n```".encode(), "code_fence"),
        "json": (json.dumps({"api_key": key}).encode(), "json_not_key"),
        "json list": (json.dumps([key]).encode(), "json_not_key"),
        "pem": (b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", "pem_not_key"),
        "quoted": (f'"{key}"'.encode(), "quoted"),
        "assignment": (f"API_KEY={key}".encode(), "format_mismatch"),
    }


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_no_key_is_refused_with_its_reason_and_without_itself(provider: str) -> None:
    """Each way of pasting something wrong has its code, and no refusal repeats what was pasted."""
    check_format(provider, GOOD[provider][0].encode())
    found = {name: refusal(provider, value) for name, (value, _) in bad_inputs(provider).items()}
    assert found == {name: code for name, (_, code) in bad_inputs(provider).items()}
    with pytest.raises(Rejected, match="format_mismatch") as refused:
        check_format(provider, b"API_KEY=" + GOOD[provider][0].encode())
    assert refused.value.next_step == "Give the key alone, without NAME= before it."


@given(provider=st.sampled_from(PROVIDERS), value=st.binary(max_size=300))
def test_any_bytes_are_accepted_or_refused(provider: str, value: bytes) -> None:
    """No bytes break the check, and what passes is printable ASCII of an allowed length."""
    try:
        check_format(provider, value)
    except Rejected:
        return
    shape = DESCRIPTORS[provider].shape
    assert value.isascii()
    assert value.decode().isprintable()
    assert shape.min_length <= len(value) <= shape.max_length


def test_descriptors_are_the_closed_set_of_the_model() -> None:
    """Every API provider has one descriptor by its published name, a reader of replies, made-up keys, the demo."""
    assert set(DESCRIPTORS) == {str(p) for p in API_PROVIDERS}
    assert {d.published_name: d.provider for d in DESCRIPTORS.values()} == {
        "anthropic_api_key": "anthropic", "openai_api_key": "openai", "google_gemini_api_key": "google",
        "openrouter_api_key": "openrouter", "kie_api_key": "kie", "heygen_api_key": "heygen",
    }  # fmt: skip
    assert set(identify._SUCCESSES) == set(canary.PROVIDERS) == set(demo.PROVIDERS) == set(DESCRIPTORS)
    for descriptor in DESCRIPTORS.values():
        assert re.fullmatch(r"https://[a-z.]+", descriptor.base_url)
        assert 30 <= descriptor.rotation_days <= 90


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("base_url",), "http://api.openai.com"),
        (("base_url",), "https://api.openai.com/v1?x=1"),
        (("identity", "path"), "/v1/models?key={key}"),
        (("identity", "query"), {"key": "x"}),
        (("identity", "query"), {"access_token": "x"}),
        (("rotation_days",), 91),
        (("rotation_days",), "90"),
        (("rotation_days",), ...),
        (("identity", "body"), "{}"),
        (("auth", "extra"), {"x-from": 1}),
        (("shape", "accept"), "sk-.*"),
        (("shape", "min_length"), True),
        (("retries",), 3),
    ],
)
def test_a_data_file_that_breaks_a_rule_does_not_load(where: tuple[str, ...], value: Any) -> None:
    """Plain HTTP, a credential in the query, a rotation beyond 90 days, an absent or unknown field stop the load."""
    text = resources.files("byokeep.adapters.providers").joinpath("data/openai.toml").read_text()
    document = tomllib.loads(text)
    load("openai", document)
    part = document
    for name in where[:-1]:
        part = part[name]
    part[where[-1]] = value
    if value is ...:
        del part[where[-1]]
    with pytest.raises(ValueError, match="openai"):
        load("openai", document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "error", "code", "models", "label", "usage", "wallet", "type"]), inner
        )
    ),
    max_leaves=8,
)


@given(
    provider=st.sampled_from(PROVIDERS),
    status=st.sampled_from([200, 201, 301, 400, 401, 402, 403, 404, 408, 429, 500, 529]),
    body=st.none() | st.dictionaries(st.sampled_from(["data", "error", "code", "models", "object"]), JSON),
)
def test_any_reply_has_a_reason_and_only_a_200_verifies(provider: str, status: int, body: Any) -> None:
    """No reply breaks the reading of it, and no status but 200 leads to a verified key."""
    verdict = classify(provider, ProviderReply(status=status, headers={}, document=body))
    assert verdict.status in of_outcome()
    assert set(of_outcome()) == set(OutcomeStatus)
    if verdict.status in (OutcomeStatus.VERIFIED, OutcomeStatus.VERIFIED_NO_QUOTA):
        assert status == 200
        assert body


POOR = {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API"}
LEAKED = {"message": "Your API key was reported as leaked. Please use another API key."}
USED_UP = {"username": "u", "billing_type": "usage_based", "usage_based": {"remaining_credits": 0}}
ADDED = {"credits": {"premium_credits": {"remaining": 0}, "add_on_credits": {"remaining": 3}}}
SUBSCRIBED = {"username": "u", "billing_type": "subscription", "subscription": ADDED}
REPLIES: list[tuple[str, int, Any, str]] = [
    ("anthropic", 400, {"error": POOR}, "no_credit"),
    ("anthropic", 400, {"error": {"type": "invalid_request_error", "message": "something else"}}, "unexpected_status"),
    ("anthropic", 402, {"error": {"type": "billing_error", "message": ""}}, "no_credit"),
    ("anthropic", 404, {"error": {"type": "not_found_error"}}, "disabled"),
    ("anthropic", 404, None, "not_found"),
    ("anthropic", 529, None, "provider_down"),
    ("anthropic", 200, {"data": []}, "malformed"),
    ("openai", 401, {"error": {"message": "Missing scopes: api.model.read"}}, "restricted_but_live"),
    ("openai", 401, {"error": {"code": "invalid_api_key", "message": "Incorrect API key provided"}}, "invalid_key"),
    ("openai", 401, {"error": {"message": "You must be a member of an organization to use the API"}}, "forbidden"),
    ("openai", 401, {"error": {"message": "IP not authorized"}}, "forbidden"),
    ("openai", 401, {"error": {"code": "account_deactivated", "message": "x"}}, "unexpected_status"),  # not of the key
    ("openai", 401, None, "unexpected_status"),
    ("google", 401, {"error": {"status": "UNAUTHENTICATED"}}, "invalid_key"),
    ("anthropic", 401, {"error": {"type": "authentication_error"}}, "invalid_key"),
    ("anthropic", 401, None, "unexpected_status"),  # somebody's on the way there
    ("heygen", 401, {"message": "Unauthorized"}, "unexpected_status"),
    ("kie", 401, {"code": 401, "msg": "x"}, "invalid_key"),
    *((one, 403, None, "unexpected_status") for one in PROVIDERS),  # a proxy's
    ("heygen", 403, {"message": "Forbidden"}, "unexpected_status"),
    ("anthropic", 403, {"type": "error", "error": {"type": "permission_error"}}, "forbidden"),
    ("openrouter", 403, {"error": {"code": 403, "message": "x"}}, "forbidden"),
    ("heygen", 403, {"error": {"code": "forbidden"}}, "forbidden"),
    ("kie", 403, {"code": 403, "msg": "x"}, "forbidden"),
    ("google", 401, {"error": {"details": [{"reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED"}]}}, "unexpected_status"),
    ("openai", 429, {"error": {"type": "insufficient_quota", "code": "credit_balance_exhausted"}}, "no_credit"),
    ("openai", 429, {"error": {"code": "slow_down"}}, "rate_limited"),
    ("google", 400, {"error": {"status": "INVALID_ARGUMENT", "message": "API Key not found."}}, "invalid_key"),
    ("google", 400, {"error": {"status": "FAILED_PRECONDITION"}}, "geo_blocked"),
    ("google", 403, {"error": LEAKED}, "leaked"),
    ("google", 403, {"error": {"details": [{"reason": "API_KEY_IP_ADDRESS_BLOCKED"}]}}, "restricted_but_live"),
    ("google", 200, {}, "malformed"),
    ("openrouter", 200, {"data": {"label": "sk-or-v1-0e6...1c96"}}, "malformed"),
    ("openrouter", 200, {"data": {"label": "x", "usage": 1, "limit_remaining": -0.5}}, "verified_no_quota"),
    ("kie", 200, {"code": 200, "data": 50.5}, "verified"),
    ("kie", 200, {"code": 200, "data": -1}, "verified_no_quota"),
    ("kie", 200, {"code": "200", "data": 5}, "malformed"),
    ("kie", 200, {"code": True, "data": 5}, "malformed"),
    ("kie", 200, {"code": 200, "data": float("inf")}, "malformed"),
    ("kie", 200, {"code": 200, "data": 10**400}, "malformed"),
    ("kie", 200, {"data": 5}, "malformed"),
    ("kie", 200, {"code": 429}, "rate_limited"),
    ("kie", 455, {"code": 455, "msg": "x"}, "provider_down"),
    ("kie", 505, {"code": 505, "msg": "x"}, "forbidden"),
    ("heygen", 429, {"error": {"code": "quota_exceeded"}}, "no_credit"),
    ("heygen", 200, {"data": USED_UP}, "verified_no_quota"),
    ("heygen", 200, {"data": SUBSCRIBED}, "verified"),
    ("heygen", 200, {"data": {"username": "u", "billing_type": "wallet", "wallet": None}}, "verified"),
    ("heygen", 200, {"data": {"email": "a@b"}}, "malformed"),
]


@pytest.mark.parametrize(("provider", "status", "body", "expected"), REPLIES)
def test_published_replies_are_read_as_documented(provider: str, status: int, body: Any, expected: str) -> None:
    """Each published or reported reply has the meaning that docs/providers.md gives it."""
    assert classify(provider, ProviderReply(status=status, headers={}, document=body)).status == expected


def test_an_outcome_can_not_be_verified_without_a_2xx() -> None:
    """Building a verified outcome over a refusal or no answer is an error."""
    for status in (None, 401, 302, 500):
        with pytest.raises(ValueError, match="2xx"):
            CheckOutcome(
                status=OutcomeStatus.VERIFIED,
                http_status=status,
                latency_ms=1,
                account_hash=None,
                endpoint="e",
                attempts=1,
            )


KEY = b"sk-proj-" + b"aB3+/x9Z" * 8
WAYS = {
    "raw": KEY,
    "percent": b"".join(b"%%%02x" % byte for byte in KEY),
    "hex": KEY.hex().encode(),
    "base64": base64.b64encode(KEY),
    "base64 shifted by one": base64.b64encode(b"x" + KEY),
    "base64 shifted by two": base64.b64encode(b"xy" + KEY),
    "base64 followed": base64.b64encode(b"xy" + KEY + b"more"),
    "base64url": base64.urlsafe_b64encode(KEY),
    "most of it": KEY[:30],
    "its end": KEY[-24:],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_reflected_key_is_found_however_it_is_written(way: str) -> None:
    """The key is found in a body or a header, raw, escaped, encoded or cut."""
    assert reflects(KEY, b'{"a": "' + WAYS[way] + b'"}', [], "")
    assert reflects(KEY, b"{}", [(b"x-debug", WAYS[way])], "")
    assert reflects(KEY, b"{}", [], WAYS[way].decode())


def test_a_masked_label_is_no_reflection() -> None:
    """The label that a provider builds from a key's ends is normal."""
    key = b"sk-or-v1-" + b"0e6a1c96" * 8
    assert not reflects(key, b'{"label": "' + key[:12] + b"..." + key[-4:] + b'"}', [(b"x", b"y")], "")
