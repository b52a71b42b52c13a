"""What each platform's replies mean, case by case: tests/vectors/platforms/*.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from byokeep.core.fault import Fault, FaultCause
from byokeep.core.secret import Secret
from byokeep.platforms import client
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS, DescribedCall, OAuth
from byokeep.wire.transport import Got, NotGot

FOLDER = Path(__file__).resolve().parents[1] / "vectors" / "platforms"
FILES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
CASES = [(name, case) for name, file in FILES.items() for case in file["cases"]]
NOW = 1_700_000_000.0


def oauth(platform: str) -> OAuth:
    found = PLATFORM_DESCRIPTORS[platform].oauth
    assert found is not None
    return found


def call_of(one: OAuth, name: str) -> DescribedCall:
    calls = {"exchange": one.exchange, "refresh": one.refresh, "identity": one.identity.call, "posts": one.posts.call}
    if one.granted is not None:
        calls["granted"] = one.granted.call
    return calls[name] if name in calls else one.revoke[0]


def meaning(platform: str, case: dict[str, Any]) -> dict[str, Any]:
    """What the reader makes of a case, in the vectors' words."""
    one = oauth(platform)
    got = Got(status=case["status"], body=Secret(json.dumps(case["body"])), headers=case.get("headers", {}))
    fault, document = client.fault_of(one.errors, call_of(one, case["call"]), got, now=NOW)
    if fault is not None:
        return {"cause": fault.cause.value, "retry_after_s": fault.retry_after_s}
    match case["call"]:
        case "exchange" | "refresh":
            reply = client.token_reply(one.reply, document, first=case["call"] == "exchange")
            if reply is None:
                return {"unreadable": True}
            return {
                "tokens": {
                    "access_life_s": reply.access_life_s,
                    "refresh_life_s": reply.refresh_life_s,
                    "account_id": reply.account_id,
                    "has_refresh": reply.refresh is not None,
                    "scopes": None if reply.scopes is None else list(reply.scopes),
                }
            }
        case "identity":
            faces = client.faces(one.identity, document)
            assert faces is not None
            return {
                "faces": [
                    {
                        "account_id": face.account_id,
                        "username": face.username,
                        "display_name": face.display_name,
                        "link": face.link,
                    }
                    for face in faces
                ]
            }
        case "posts":
            ids = client.post_ids(one.posts, document)
            return {"unreadable": True} if ids is None else {"posts": list(ids)}
        case _:
            assert one.granted is not None
            scopes = client.granted_scopes(one.granted, document)
            return {"scopes": None if scopes is None else list(scopes)}


@pytest.mark.parametrize(("platform", "case"), CASES, ids=[f"{name}-{case['case']}" for name, case in CASES])
def test_a_reply_means_what_its_vector_says(platform: str, case: dict[str, Any]) -> None:
    """Refusals become one word of the closed list, answers become tokens, accounts or ids."""
    found, expected = meaning(platform, case), case["expect"]
    if "tokens" in expected:
        assert found["tokens"].items() >= expected["tokens"].items()
    else:
        assert found.items() >= expected.items()


def test_every_platform_with_oauth_has_vectors_of_all_kinds() -> None:
    """A platform without its file of cases, or with a thin one, does not pass for described."""
    assert set(FILES) == {name for name, one in PLATFORM_DESCRIPTORS.items() if one.oauth is not None}
    for name, file in FILES.items():
        assert file["platform"] == name
        kinds = {key for case in file["cases"] for key in case["expect"]}
        assert {"cause", "tokens", "faces"} <= kinds
        causes = {case["expect"].get("cause") for case in file["cases"]}
        assert {"missing_scope", "rate_limited", "transient"} <= causes


@pytest.mark.parametrize("platform", sorted(FILES))
@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (NotGot(sent=False), Fault(cause=FaultCause.TRANSIENT, sent=False, answered=False)),
        (NotGot(sent=True), Fault(cause=FaultCause.TRANSIENT, answered=False)),
        (NotGot(sent=True, status=200), Fault(cause=FaultCause.TRANSIENT, http_status=200, answered=False)),
        (NotGot(sent=True, status=503), Fault(cause=FaultCause.TRANSIENT, http_status=503)),
        (Got(status=401, body=Secret(b"<html>")), Fault(cause=FaultCause.UNKNOWN, http_status=401)),
        (Got(status=401, body=Secret(b'{"message":"no"}')), Fault(cause=FaultCause.UNKNOWN, http_status=401)),
        (Got(status=401, body=Secret(b'{"error":"new_word"}')), Fault(cause=FaultCause.APP, http_status=401)),
        (NotGot(sent=True, status=401), Fault(cause=FaultCause.UNKNOWN, http_status=401)),
        (Got(status=401, body=Secret(b'{"error":"The account is suspended"}')),
            Fault(cause=FaultCause.LOCK_UNKNOWN, http_status=401)),
        (Got(status=302, body=Secret(b"")), Fault(cause=FaultCause.UNKNOWN, http_status=302)),
        (Got(status=500, body=Secret(b"<html>")), Fault(cause=FaultCause.TRANSIENT, http_status=500)),
        (Got(status=418, body=Secret(b"{}")), Fault(cause=FaultCause.UNKNOWN, http_status=418)),
        (Got(status=200, body=Secret(b"<html>")), Fault(cause=FaultCause.UNKNOWN, http_status=200, answered=False)),
        (Got(status=200, body=Secret(b"[]")), Fault(cause=FaultCause.UNKNOWN, http_status=200, answered=False)),
        (Got(status=200, body=Secret(b'{"a":1,"a":1}')),
            Fault(cause=FaultCause.UNKNOWN, http_status=200, answered=False)),
        (Got(status=200, body=Secret(b"[" * 100_000)),
            Fault(cause=FaultCause.UNKNOWN, http_status=200, answered=False)),
        (Got(status=200, body=Secret(b'{"a":NaN}')), Fault(cause=FaultCause.UNKNOWN, http_status=200, answered=False)),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_a_fault(platform: str, got: Got | NotGot, expected: Fault) -> None:
    """Lost, redirected, HTML, doubled names, endless nesting: a fault, and whether a token may be spent is said."""
    one = oauth(platform)
    fault, document = client.fault_of(one.errors, one.refresh, got, now=NOW)
    assert (fault, document) == (expected, {})


@pytest.mark.parametrize("platform", sorted(FILES))
@pytest.mark.parametrize(
    "got",
    [
        Got(status=401, body=Secret(b"<html>")), Got(status=401, body=Secret(b"")), NotGot(sent=True, status=401),
        Got(status=403, body=Secret(b"<html>")),
    ],
)  # fmt: skip
def test_a_refusal_that_is_no_object_says_nothing_of_a_token(platform: str, got: Got | NotGot) -> None:
    """It may be a proxy's on the way there: it ends no grant, and proves no revocation."""
    one = oauth(platform)
    found = client.fault_of(one.errors, one.identity.call, got, now=NOW)
    assert found == (Fault(cause=FaultCause.UNKNOWN, http_status=got.status), {})


@pytest.mark.parametrize(
    ("text", "lock"),
    [
        ("The request was blocked", False), ("API_KEY_SERVICE_BLOCKED", False), ("unlocked", False),
        ("This application has been suspended", False), ("PKCE code challenge failed", False),
        ("code_challenge is missing", False), ("codeChallenge", False), ("You are banned from this endpoint", False),
        ("service account is disabled", False), ("Ask the user. The app was suspended", False),
        ("accountSuspended", True), ("USER_BANNED", True), ("The profile has been temporarily suspended", True),
        ("accountLocked", True), ("Your account is blocked", True), ("temporarily locked", True), ("SUSPENDED", True),
        ("Complete the challenge to go on.", True), ("challenge_required", True), ("a suspended account", True),
        ("login checkpoint", True), ("The member is restricted", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_is_a_lock_only_by_words_about_the_account(text: str, lock: bool, status: int) -> None:
    """What is said of an app, a request or a service ends no account; what is said of the account does (R6.3-3)."""
    one = oauth("x")
    got = Got(status=status, body=Secret(json.dumps({"errors": [{"message": text}]}).encode()))
    fault, _ = client.fault_of(one.errors, one.identity.call, got, now=NOW)
    assert fault is not None
    assert (fault.cause is FaultCause.LOCK_UNKNOWN) is lock


@pytest.mark.parametrize(
    "value", ["", " ", "short", "a b c d e f g h", "tab\tinside-it", "\u0430bcdefghij", None, 12345678901, ["x" * 20]]
)
def test_what_is_no_token_is_not_taken_for_one(value: object) -> None:
    """Blank, short, spaced, foreign or not text: the reply holds no tokens."""
    body = {"access_token": value, "expires_in": 60, "scope": "s", "refresh_token": "r" * 20}
    assert client.token_reply(oauth("x").reply, body, first=False) is None
    good = {**body, "access_token": "a" * 20}
    assert client.token_reply(oauth("x").reply, good, first=False) is not None
    if value not in ("", None):
        assert client.token_reply(oauth("x").reply, {**good, "refresh_token": value}, first=False) is None


@pytest.mark.parametrize("life", [0, -1, True, "1e3", "60s", 10**12, None, 1.5, [60]])
def test_a_lifetime_that_is_none_refuses_a_first_reply_and_never_loses_a_renewal(life: object) -> None:
    """At a consent nothing is lost by refusing; at a renewal the tokens count and the end is unknown."""
    body = {"access_token": "a" * 20, "expires_in": life, "scope": "s"}
    assert client.token_reply(oauth("x").reply, body, first=True) is None
    renewal = client.token_reply(oauth("x").reply, body, first=False)
    assert renewal is not None
    assert renewal.access_life_s is None
