"""The consent pages and codes of the simulated platforms."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from byokeep_sim.platforms.oauth import base64url_s256, hex_s256
from tests.support.social import ACCOUNTS, BACK, DIALECTS, SECRET, VERIFIER, Social, arrived, running_platforms


@pytest.fixture
async def social() -> AsyncIterator[Social]:
    async with running_platforms() as running:
        yield running


@pytest.mark.parametrize("platform", DIALECTS)
async def test_the_page_redirects_at_once_with_code_and_state(social: Social, platform: str) -> None:
    """A consenting person is sent back with a code and the state; Meta's fragment is there, an issuer only if set."""
    answer = await social.authorize(platform)
    back = arrived(answer)
    assert set(back) == {"code", "state"}
    assert back["state"] == "state-1"
    tail = {"meta": "#_=_", "instagram": "#_"}.get(platform, "")
    assert answer.headers["Location"].endswith(tail)
    assert ("#" in answer.headers["Location"]) == bool(tail)
    await social.tell("rules", platform=platform, iss="https://issuer.example")
    assert arrived(await social.authorize(platform))["iss"] == "https://issuer.example"


async def test_a_code_of_tiktok_must_be_decoded(social: Social) -> None:
    """TikTok's code holds characters that are encoded in the address, and the encoded form is not accepted."""
    answer = await social.authorize("tiktok")
    code = arrived(answer)["code"]
    assert "*0!" in code
    encoded = answer.headers["Location"].partition("code=")[2].partition("&")[0]
    assert encoded != code
    assert (await social.redeem("tiktok", encoded)).body["error"] == "invalid_grant"
    assert (await social.redeem("tiktok", code)).status == 200


BAD_CODE: dict[str, tuple[int, Any]] = {
    "meta": (400, 100),
    "instagram": (400, 100),
    "tiktok": (400, "invalid_grant"),
    "linkedin": (400, "invalid_request"),
    "youtube": (400, "invalid_grant"),
    "x": (400, "invalid_request"),
}


def _cause(platform: str, body: Any) -> Any:
    return body["error"]["code"] if platform in ("meta", "instagram") else body["error"]


@pytest.mark.parametrize("platform", DIALECTS)
async def test_a_code_works_once_and_not_for_long(social: Social, platform: str) -> None:
    """A code is refused the second time, and when its time is over."""
    code = await social.code(platform)
    assert (await social.redeem(platform, code)).status == 200
    for late in (code, await social.code(platform), "made-up"):
        await social.tell("clock", advance_s=4000)
        answer = await social.redeem(platform, late)
        assert (answer.status, _cause(platform, answer.body)) == BAD_CODE[platform]


async def test_a_code_of_x_lives_thirty_seconds(social: Social) -> None:
    """X gives thirty seconds."""
    await social.tell("clock", frozen=True)
    early, late = await social.code("x"), await social.code("x")
    await social.tell("clock", advance_s=29)
    assert (await social.redeem("x", early)).status == 200
    await social.tell("clock", advance_s=1)
    assert (await social.redeem("x", late)).status == 400


@pytest.mark.parametrize("platform", DIALECTS)
async def test_a_code_is_bound_to_app_address_and_secret(social: Social, platform: str) -> None:
    """Another app, another address or a wrong secret gets nothing; the code that was misused is used up."""
    await social.tell("apps", platform=platform, client_id="app-2", client_secret="other", redirect_uris=[BACK])
    code = await social.code(platform)
    assert (await social.redeem(platform, code, client="app-2", secret="other")).status == 400
    assert (await social.redeem(platform, code)).status == 400
    code = await social.code(platform)
    assert (await social.redeem(platform, code, redirect_uri=BACK + "/")).status == 400
    assert (await social.redeem(platform, code)).status == 400
    code = await social.code(platform)
    assert (await social.redeem(platform, code, secret="wrong")).status in (400, 401)
    assert (await social.redeem(platform, code, client="nobody")).status in (400, 401)
    assert (await social.redeem(platform, code)).status == 200
    assert len(await social.families(platform)) == 1


@pytest.mark.parametrize("platform", ["tiktok", "youtube", "x"])
async def test_the_verifier_must_fit_the_challenge(social: Social, platform: str) -> None:
    """A missing, short, other or unasked verifier is refused."""
    for verifier in (None, "short", VERIFIER[:-1] + "1"):
        assert (await social.redeem(platform, await social.code(platform), code_verifier=verifier)).status == 400
    short = hex_s256("short") if platform == "tiktok" else base64url_s256("short")
    code = await social.code(platform, code_challenge=short)
    assert (await social.redeem(platform, code, code_verifier="short")).status == 400
    if platform == "youtube":
        code = await social.code(platform, code_challenge=None, code_challenge_method=None)
        assert (await social.redeem(platform, code)).status == 400
    assert (await social.redeem(platform, await social.code(platform))).status == 200


async def test_the_challenge_of_tiktok_is_hexadecimal(social: Social) -> None:
    """The usual base64url form of the same hash is refused by TikTok and hexadecimal by X."""
    digest = hashlib.sha256(VERIFIER.encode())
    usual = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    assert (await social.redeem("x", await social.code("x", code_challenge=usual))).status == 200
    assert (await social.redeem("x", await social.code("x", code_challenge=digest.hexdigest()))).status == 400
    assert (await social.redeem("tiktok", await social.code("tiktok", code_challenge=digest.hexdigest()))).status == 200
    answer = await social.redeem("tiktok", await social.code("tiktok", code_challenge=usual))
    assert answer.status == 400
    assert answer.body == {
        "error": "invalid_grant",
        "error_description": "Code verifier or code challenge is invalid.",
        "log_id": "20261124000000000000000000000000AB",
    }


async def test_who_needs_a_challenge(social: Social) -> None:
    """X always, TikTok for loopback addresses, LinkedIn refuses one, the others take none."""
    without = {"code_challenge": None, "code_challenge_method": None}
    for platform, error in (("x", "invalid_request"), ("tiktok", "invalid_request"), ("youtube", None)):
        assert arrived(await social.authorize(platform, **without)).get("error") == error
    web = "https://app.example/callback"
    await social.tell("apps", platform="tiktok", client_id="app", client_secret=SECRET, redirect_uris=[web])
    answer = await social.authorize("tiktok", redirect_uri=web, **without)
    assert answer.headers["Location"].startswith(web + "?code=")
    assert arrived(await social.authorize("linkedin", code_challenge="x" * 43))["error"] == "invalid_request"
    assert arrived(await social.authorize("x", code_challenge_method="S512"))["error"] == "invalid_request"
    plain = await social.code("x", code_challenge=VERIFIER, code_challenge_method="plain")
    assert (await social.redeem("x", plain)).status == 200


@pytest.mark.parametrize("platform", DIALECTS)
async def test_nothing_is_sent_to_an_unknown_address(social: Social, platform: str) -> None:
    """An unknown app, an address that differs in one character, and a doubled parameter end on a page."""
    client = DIALECTS[platform].client
    for change in ({client: "nobody"}, {"redirect_uri": BACK + "/"}, {"redirect_uri": "https://evil.example"}):
        answer = await social.authorize(platform, **change)
        assert (answer.status, "Location" in answer.headers) == (400, False)
        assert answer.headers["Content-Type"].startswith("text/html")
    place = f"{DIALECTS[platform].authorize}?{client}=app&redirect_uri={BACK}&redirect_uri=https://evil.example"
    assert (await social.call("GET", platform, place)).status == 400


async def test_a_refusal_has_the_platform_s_words(social: Social) -> None:
    """A person who says no, a scope that does not exist and another response type come back as errors with state."""
    expected = {
        "meta": {
            "error": "access_denied",
            "error_code": "200",
            "error_description": "Permissions error",
            "error_reason": "user_denied",
        },
        "instagram": {
            "error": "access_denied",
            "error_reason": "user_denied",
            "error_description": "The user denied your request",
        },
        "linkedin": {
            "error": "user_cancelled_authorize",
            "error_description": "The user cancelled the authorization",
        },
    }
    for platform in DIALECTS:
        bad_scope = "unauthorized_scope_error" if platform == "linkedin" else "invalid_scope"
        assert arrived(await social.authorize(platform, scope="everything"))["error"] == bad_scope
        other = await social.authorize(platform, response_type="token")
        assert arrived(other)["error"] == "unsupported_response_type"
        await social.tell("consent", platform=platform, deny=True)
        denied = arrived(await social.authorize(platform))
        assert denied == {**expected.get(platform, {"error": "access_denied"}), "state": "state-1"}


GRANTED: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "instagram": ("instagram_business_basic", lambda body: body["permissions"]),
    "tiktok": ("video.list", lambda body: body["scope"].split(",")),
    "linkedin": ("openid", lambda body: body["scope"].split(",")),
    "x": ("users.read", lambda body: body["scope"].split(" ")),
}


@pytest.mark.parametrize("platform", GRANTED)
async def test_the_person_picks_account_and_scopes(social: Social, platform: str) -> None:
    """The reply lists what was granted, not what was asked for, and the token is that of the picked account."""
    scope, granted = GRANTED[platform]
    await social.tell("consent", platform=platform, account="bravo", scopes=[scope])
    answer = await social.redeem(platform, await social.code(platform))
    assert granted(answer.body) == [scope]
    (family,) = await social.families(platform)
    assert (family["account"], family["scopes"]) == ("bravo", [scope])


BAD: list[tuple[str, dict[str, Any]]] = [
    ("apps", {"platform": "skool", "client_id": "a", "client_secret": "b"}),
    ("apps", {"platform": "x", "client_id": "a"}),
    ("apps", {"platform": "x", "client_id": "a", "client_secret": SECRET, "public": True}),
    ("apps", {"platform": "x", "client_id": "a", "client_secret": SECRET, "redirect_uris": BACK}),
    ("accounts", {"platform": "x", "account": "a", "id": "1", "username": "a", "display_name": "A", "posts": -1}),
    ("accounts", {"platform": "x", "account": "a", "id": "1", "username": "a", "display_name": "A", "kind": "cat"}),
    ("consent", {"platform": "x", "account": "nobody"}),
    ("consent", {"platform": "x", "deny": "yes"}),
    ("rules", {"platform": "x", "speed": 1}),
    ("rules", {"platform": "x", "grace_s": True}),
    ("rules", {"platform": "x", "grace_s": -1}),
    ("rules", {"platform": "x", "iss": "a\nb"}),
    ("clock", {"advance_s": "1"}),
    ("clock", {"now": -1}),
    ("grants", {"platform": "x", "account": "acme", "event": "explode"}),
    ("grants", {"platform": "x", "account": "acme", "event": "unconfirmed"}),
    ("grants", {"platform": "x", "account": "nobody", "event": "revoked"}),
    ("webhooks", {"platform": "x"}),
    ("webhooks", {"platform": "x", "secret": SECRET, "deliver_to": "http://example.com"}),
    ("webhooks", {"platform": "youtube", "secret": SECRET, "challenge": "c"}),
    ("faults", {"provider": "x", "kind": "refusal"}),
    ("faults", {"provider": "x", "kind": "refusal", "case": "unconfirmed"}),
    ("faults", {"provider": "openai", "kind": "refusal", "case": "revoked"}),
    ("faults", {"provider": "openai", "kind": "reset", "match": {"call": "refresh"}}),
    ("faults", {"provider": "x", "kind": "wrong_identity", "lie": "white"}),
    ("faults", {"provider": "x", "kind": "late", "delay_s": 2, "delay_max_s": 1}),
]


@pytest.mark.parametrize(("what", "spec"), BAD)
async def test_bad_control_input_is_answered_with_a_sentence(social: Social, what: str, spec: Any) -> None:
    """Control input that can not be used is a 400 that says why and repeats no secret."""
    answer = await social.ask("POST", f"{social.sim.url}/_sim/{what}", json=spec)
    assert answer.status == 400
    assert len(answer.body["error"]) > 10
    assert SECRET not in answer.text


async def test_secrets_are_shown_nowhere(social: Social) -> None:
    """Apps are listed without their secrets; tokens and codes are in no control reply and no log, but as hashes."""
    tokens = await social.connect("x")
    await social.identity("x", tokens["access_token"])
    await social.refresh("x", tokens["refresh_token"])
    everything = [await social.show(what) for what in ("apps", "accounts", "tokens", "requests", "rules", "usage")]
    text = str(everything)
    for value in (SECRET, VERIFIER, tokens["access_token"], tokens["refresh_token"]):
        assert value not in text
        assert (await social.tell("hash", value=value))["hash"] in text
    last = everything[3]["requests"][-1]
    assert (last["call"], last["account"], last["form_names"]) == ("refresh", "acme", ["grant_type", "refresh_token"])
    assert {(one["in"], one["name"]) for one in last["secrets"]} == {
        ("form", "refresh_token"),
        ("basic", "client_secret"),
    }
    assert set(ACCOUNTS) == set(everything[0])


async def test_a_reset_forgets_people_apps_tokens_and_time(social: Social) -> None:
    """After a reset nothing of before is known and the clock tells real time."""
    tokens = await social.connect("x")
    await social.identity("x", tokens["access_token"])
    await social.tell("clock", advance_s=10_000_000)
    before = (await social.show("clock"))["now"]
    assert (await social.show("usage"))["x"] != {"windows": {}, "thousandths_of_a_dollar": {}}
    await social.tell("reset")
    assert (await social.show("usage"))["x"] == {"windows": {}, "thousandths_of_a_dollar": {}}
    assert (await social.show("clock"))["now"] < before - 9_000_000
    assert (await social.show("apps"))["x"] == []
    assert await social.families("x") == []
    assert (await social.authorize("x")).status == 400
