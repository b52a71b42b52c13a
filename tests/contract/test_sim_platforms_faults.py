"""What can go wrong on the simulated platforms: lies about identity, lost and late replies, refusals, storms."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from tests.support.social import DAY, DIALECTS, SECRET, Answer, Social, running_platforms

ROTATING = ("x", "tiktok")
REFRESHING = ("x", "tiktok", "linkedin", "youtube")
# platform: (way to the identity, name of the id, way to the display name)
PLACES: dict[str, tuple[tuple[Any, ...], str, tuple[str, ...]]] = {
    "x": (("data",), "id", ("name",)),
    "tiktok": (("data", "user"), "open_id", ("display_name",)),
    "linkedin": ((), "sub", ("name",)),
    "youtube": (("items", 0), "id", ("snippet", "title")),
    "instagram": ((), "user_id", ("name",)),
    "meta": (("data", 0), "id", ("name",)),
}
ACCOUNTS_OF_META = "graph.facebook.com/v26.0/me/accounts?fields=id,name,username"


@pytest.fixture
async def social() -> AsyncIterator[Social]:
    async with running_platforms() as running:
        yield running


class Identity:
    """The identity call of one connected account."""

    def __init__(self, social: Social, platform: str, access: str) -> None:
        self.social, self.platform, self.access = social, platform, access
        self.call = "accounts" if platform == "meta" else "identity"

    async def ask(self) -> Answer:
        if self.platform == "meta":
            return await self.social.read("meta", ACCOUNTS_OF_META, self.access)
        return await self.social.identity(self.platform, self.access)

    async def lied(self, lie: str) -> Answer:
        spec = {"provider": self.platform, "kind": "wrong_identity", "lie": lie, "match": {"call": self.call}}
        await self.social.tell("faults", **spec)
        return await self.ask()

    def within(self, body: Any) -> Any:
        for step in PLACES[self.platform][0]:
            body = body[step]
        return body

    def id_of(self, body: Any) -> Any:
        return self.within(body)[PLACES[self.platform][1]]

    def name_of(self, body: Any) -> Any:
        who = self.within(body)
        for step in PLACES[self.platform][2]:
            who = who[step]
        return who


@pytest.fixture(params=PLACES)
async def identity(social: Social, request: pytest.FixtureRequest) -> Identity:
    platform: str = request.param
    return Identity(social, platform, (await social.connect(platform))["access_token"])


async def test_identity_lies_about_the_id(identity: Identity) -> None:
    """Another id, another case, none, null, empty, and a number where a text belongs; then the truth again."""
    true = (await identity.ask()).body
    own = identity.id_of(true)
    name = PLACES[identity.platform][1]
    assert identity.id_of((await identity.lied("other")).body) not in (own, None, "")
    assert name not in identity.within((await identity.lied("missing_id")).body)
    assert identity.id_of((await identity.lied("null_id")).body) is None
    assert identity.id_of((await identity.lied("empty_id")).body) == ""
    number = identity.id_of((await identity.lied("numeric_id")).body)
    assert isinstance(number, int)
    assert not own.isdigit() or str(number) == own
    cased = (await identity.lied("other_case")).body
    assert cased != true
    assert json.dumps(cased).lower() == json.dumps(true).lower()
    assert (await identity.ask()).body == true


async def test_identity_lies_about_the_name(identity: Identity) -> None:
    """The right id with another name, or with one that only looks the same."""
    true = (await identity.ask()).body
    other = (await identity.lied("other_name")).body
    twin = (await identity.lied("lookalike")).body
    assert identity.id_of(other) == identity.id_of(twin) == identity.id_of(true)
    assert identity.name_of(other) == f"{identity.name_of(true)} Official"
    assert len(identity.name_of(twin)) == len(identity.name_of(true))
    assert not identity.name_of(twin).isascii()


async def test_identity_lies_about_the_form(identity: Identity) -> None:
    """Two accounts, none, an error under 200, JSON cut short, one name twice."""
    true = await identity.ask()
    own = identity.id_of(true.body)
    both = await identity.lied("two_accounts")
    found = json.dumps(both.body)
    assert both.status == 200
    assert f'"{own}"' in found
    assert found.count(f'"{PLACES[identity.platform][1]}":') >= 2
    assert own not in (await identity.lied("no_account")).text
    wrong = await identity.lied("error_200")
    assert (wrong.status, "error" in wrong.text.lower() or "title" in wrong.body or "code" in wrong.body) == (200, True)
    assert own not in wrong.text
    cut = await identity.lied("cut_json")
    assert (cut.status, cut.headers["Content-Length"]) == (200, str(len(cut.text.encode())))
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut.text)
    doubled = await identity.lied("duplicate_keys")
    assert doubled.body == true.body
    pairs: list[str] = []
    json.loads(doubled.text, object_pairs_hook=lambda found: pairs.extend(name for name, _ in found))
    assert pairs.count(PLACES[identity.platform][1]) > json.dumps(true.body).count(f'"{PLACES[identity.platform][1]}":')


async def test_identity_behind_html_redirects_and_endless_bodies(social: Social) -> None:
    """The kinds that every provider knows work on a platform's call too, and only on that call."""
    access = (await social.connect("x"))["access_token"]
    mine = {"provider": "x", "match": {"call": "identity"}}
    await social.tell("faults", **mine, kind="html")
    page = await social.identity("x", access)
    assert (page.status, page.headers["Content-Type"].split(";")[0]) == (200, "text/html")
    await social.tell("faults", **mine, kind="redirect", status=307, location="https://elsewhere.example/2/users/me")
    away = await social.identity("x", access)
    assert (away.status, away.headers["Location"]) == (307, "https://elsewhere.example/2/users/me")
    await social.tell("faults", **mine, kind="huge")
    posts = await social.read("x", "api.x.com/2/users/2244994945/tweets?max_results=5", access)
    assert len(posts.text) < 10_000
    assert len((await social.identity("x", access)).text) > 8_000_000
    await social.tell("faults", **mine, kind="truncated")
    with pytest.raises(aiohttp.ClientPayloadError):
        await social.identity("x", access)


@pytest.mark.parametrize("platform", ROTATING)
async def test_a_reply_is_lost_after_the_rotation(social: Social, platform: str) -> None:
    """The connection is cut when the state has changed: the token is used up and the caller has no other."""
    tokens = await social.connect(platform)
    await social.tell("faults", provider=platform, kind="reset", when="after", match={"call": "refresh"})
    with pytest.raises(aiohttp.ClientError):
        await social.refresh(platform, tokens["refresh_token"])
    (family,) = await social.families(platform)
    assert family["generation"] == 1
    counted = (await social.calls(platform))["refresh"]
    assert counted == {"received": 1, "granted": 1, "reply_lost": 1}
    assert (await social.refresh(platform, tokens["refresh_token"])).status == 400


@pytest.mark.parametrize("platform", REFRESHING)
async def test_a_connection_is_cut_before_anything_happened(social: Social, platform: str) -> None:
    """The same cut before the call took effect costs nothing: the token still works."""
    tokens = await social.connect(platform)
    await social.tell("faults", provider=platform, kind="reset", match={"call": "refresh"})
    with pytest.raises(aiohttp.ClientError):
        await social.refresh(platform, tokens["refresh_token"])
    assert (await social.calls(platform))["refresh"] == {"received": 1, "not_run": 1}
    assert (await social.refresh(platform, tokens["refresh_token"])).status == 200


@pytest.mark.parametrize("platform", ["linkedin", "youtube"])
async def test_a_lost_reply_costs_nothing_where_tokens_do_not_rotate(social: Social, platform: str) -> None:
    """The same refresh token works again."""
    tokens = await social.connect(platform)
    await social.tell("faults", provider=platform, kind="reset", when="after", match={"call": "refresh"})
    with pytest.raises(aiohttp.ClientError):
        await social.refresh(platform, tokens["refresh_token"])
    assert (await social.refresh(platform, tokens["refresh_token"])).status == 200


async def test_a_grace_saves_the_account_from_a_lost_reply(social: Social) -> None:
    """With a grace the previous token is taken once more."""
    await social.tell("rules", platform="tiktok", grace_s=60, reuse_kills_family=True)
    tokens = await social.connect("tiktok")
    await social.tell("faults", provider="tiktok", kind="reset", when="after", match={"call": "refresh"})
    with pytest.raises(aiohttp.ClientError):
        await social.refresh("tiktok", tokens["refresh_token"])
    retried = await social.refresh("tiktok", tokens["refresh_token"])
    assert retried.status == 200
    assert (await social.refresh("tiktok", retried.body["refresh_token"])).status == 200


async def test_late_replies(social: Social) -> None:
    """The whole reply comes after the delay; whether the state changes before or after it is a choice."""
    for when, generation in (("after", 1), ("before", 0)):
        tokens = await social.connect("x", "acme" if generation else "bravo")
        await social.tell("faults", provider="x", kind="late", delay_s=0.3, when=when, match={"call": "refresh"})
        began = time.monotonic()
        call = asyncio.ensure_future(social.refresh("x", tokens["refresh_token"]))
        await asyncio.sleep(0.15)
        assert (await social.families("x"))[-1]["generation"] == generation
        assert (await call).status == 200
        assert time.monotonic() - began >= 0.3
        assert (await social.families("x"))[-1]["generation"] == 1


async def test_a_delay_can_be_drawn_from_a_range(social: Social) -> None:
    """Delays differ."""
    await social.connect("x")
    spec = {"provider": "x", "kind": "late", "delay_s": 0.0, "delay_max_s": 0.2, "times": 10}
    await social.tell("faults", **spec)
    spent = []
    for _ in range(10):
        began = time.monotonic()
        await social.identity("x", "any")
        spent.append(time.monotonic() - began)
    assert max(spent) - min(spent) > 0.03


@pytest.mark.parametrize("platform", DIALECTS)
async def test_a_storm_has_the_platform_s_errors_and_ends(social: Social, platform: str) -> None:
    """As many calls as the fault says fail with its status and nothing happens; then all is well."""
    code = await social.code(platform)
    await social.tell("faults", provider=platform, kind="status", status=503, times=20, match={"call": "token"})
    answers = [await social.redeem(platform, code) for _ in range(20)]
    assert {answer.status for answer in answers} == {503}
    assert all(isinstance(answer.body, dict) for answer in answers)
    assert (await social.redeem(platform, code)).status == 200
    assert (await social.calls(platform))["token"] == {"received": 21, "not_run": 20, "granted": 1}


@pytest.mark.parametrize("platform", DIALECTS)
async def test_a_token_reply_without_the_list_of_scopes(social: Social, platform: str) -> None:
    """The reply is good but says nothing of scopes."""
    await social.tell("faults", provider=platform, kind="no_scope")
    tokens = await social.connect(platform)
    assert not {"scope", "permissions"} & set(tokens)
    assert "access_token" in tokens
    full = await social.connect(platform)
    assert ({"scope", "permissions"} & set(full) != set()) == (platform != "meta")


CODES: list[tuple[str, str, int, Any]] = [
    ("meta", "revoked", 400, (190, 458)),
    ("meta", "lockout", 400, (190, 459)),
    ("meta", "password_changed", 400, (190, 460)),
    ("meta", "expired", 400, (190, 463)),
    ("meta", "unconfirmed", 400, (190, 464)),
    ("meta", "logged_out", 400, (190, 467)),
    ("meta", "role_lost", 400, (190, 492)),
    ("meta", "unknown", 400, (190, None)),
    ("meta", "session_invalid", 400, (102, None)),
    ("meta", "missing_scope", 403, (200, None)),
    ("meta", "blocked", 400, (368, None)),
    ("meta", "rate_limited", 400, (4, None)),
    ("meta", "transient", 500, (2, None)),
    ("instagram", "restricted", 400, (25, 2207050)),
    ("instagram", "user_cap", 400, (4, 2207051)),
    ("instagram", "quota", 400, (9, 2207042)),
    ("tiktok", "revoked", 401, "access_token_invalid"),
    ("tiktok", "missing_scope", 401, "scope_not_authorized"),
    ("tiktok", "bad_app", 401, "scope_permission_missed"),
    ("tiktok", "rate_limited", 429, "rate_limit_exceeded"),
    ("tiktok", "lockout", 403, "spam_risk_user_banned_from_posting"),
    ("tiktok", "quota", 403, "spam_risk_too_many_posts"),
    ("tiktok", "blocked", 403, "spam_risk_too_many_pending_share"),
    ("tiktok", "user_cap", 403, "reached_active_user_cap"),
    ("tiktok", "restricted", 403, "unaudited_client_can_only_post_to_private_accounts"),
    ("linkedin", "revoked", 401, (65601, "REVOKED_ACCESS_TOKEN")),
    ("linkedin", "expired", 401, (65602, "EXPIRED_ACCESS_TOKEN")),
    ("linkedin", "unknown", 401, (65600, "INVALID_ACCESS_TOKEN")),
    ("linkedin", "rate_limited", 429, (101, None)),
    ("youtube", "revoked", 401, ("authError", "UNAUTHENTICATED")),
    ("youtube", "quota", 403, ("quotaExceeded", "PERMISSION_DENIED")),
    ("youtube", "rate_limited", 403, ("rateLimitExceeded", "PERMISSION_DENIED")),
    ("youtube", "lockout", 403, ("accountSuspended", "PERMISSION_DENIED")),
    ("youtube", "blocked", 403, ("forbidden", "PERMISSION_DENIED")),
    ("youtube", "no_channel", 401, ("youtubeSignupRequired", "UNAUTHENTICATED")),
    ("x", "revoked", 401, "unauthorized"),
    ("x", "bad_app", 403, "client-forbidden"),
    ("x", "wrong_auth", 403, "unsupported-authentication"),
    ("x", "lockout", 403, "user-suspended"),
    ("x", "quota", 429, "usage-capped"),
    ("x", "rate_limited", 429, "rate-limit-exceeded"),
]


def _mark(platform: str, body: Any) -> Any:
    match platform:
        case "meta" | "instagram":
            return body["error"]["code"], body["error"].get("error_subcode")
        case "tiktok":
            return body["error"]["code"]
        case "linkedin":
            return body["serviceErrorCode"], body.get("code")
        case "youtube":
            return body["error"]["errors"][0]["reason"], body["error"]["status"]
        case _:
            return body["type"].removeprefix("https://api.x.com/2/problems/")


@pytest.mark.parametrize(("platform", "case", "status", "mark"), CODES)
async def test_scripted_refusals(social: Social, platform: str, case: str, status: int, mark: Any) -> None:
    """A refusal by name has the platform's status and code, once, and then the call works."""
    access = (await social.connect(platform))["access_token"]
    await social.tell("faults", provider=platform, kind="refusal", case=case)
    answer = await social.identity(platform, access)
    assert (answer.status, _mark(platform, answer.body)) == (status, mark)
    assert (await social.identity(platform, access)).status == 200


@pytest.mark.parametrize("platform", REFRESHING)
async def test_refusals_of_a_refresh_have_the_form_of_oauth(social: Social, platform: str) -> None:
    """Revoked, rate limited and a passing fault at the token endpoint; the token still works afterwards."""
    tokens = await social.connect(platform)
    for case, status in (("revoked", 400), ("rate_limited", 429)):
        await social.tell("faults", provider=platform, kind="refusal", case=case, match={"call": "refresh"})
        answer = await social.refresh(platform, tokens["refresh_token"])
        assert (answer.status, isinstance(answer.body["error"], str)) == (status, True)
    assert (await social.refresh(platform, tokens["refresh_token"])).status == 200


async def test_an_error_can_come_with_status_200(social: Social) -> None:
    """X puts it beside the data, TikTok and Google send the error alone; a wait can be asked for."""
    mine = {"kind": "refusal", "status": 200, "match": {"call": "identity"}}
    access = (await social.connect("x"))["access_token"]
    await social.tell("faults", provider="x", case="lockout", **mine)
    answer = await social.identity("x", access)
    (problem,) = answer.body["errors"]
    assert (answer.status, answer.body["data"]["id"]) == (200, "2244994945")
    assert problem["type"] == "https://api.x.com/2/problems/user-suspended"
    tokens = await social.connect("tiktok")
    await social.tell("faults", provider="tiktok", case="revoked", **mine)
    answer = await social.identity("tiktok", tokens["access_token"])
    assert (answer.status, answer.body["error"]["code"]) == (200, "access_token_invalid")
    spec = {**mine, "match": {"call": "refresh"}, "retry_after_s": 7}
    await social.tell("faults", provider="tiktok", case="reused", **spec)
    answer = await social.refresh("tiktok", tokens["refresh_token"])
    assert (answer.status, answer.body["error"], answer.headers["Retry-After"]) == (200, "invalid_grant", "7")
    assert (await social.refresh("tiktok", tokens["refresh_token"])).status == 200


REVOKING: dict[str, tuple[str, str]] = {
    "x": ("POST", "api.x.com/2/oauth2/revoke"),
    "tiktok": ("POST", "open.tiktokapis.com/v2/oauth/revoke/"),
    "linkedin": ("POST", "www.linkedin.com/oauth/v2/revoke"),
    "youtube": ("POST", "oauth2.googleapis.com/revoke"),
    "meta": ("DELETE", "graph.facebook.com/v26.0/me/permissions"),
}


@pytest.mark.parametrize("platform", REVOKING)
async def test_a_revocation_may_be_feigned_or_refused(social: Social, platform: str) -> None:
    """A success after which the token still works; a 503 that asks to wait; then the true one ends it."""
    method, place = REVOKING[platform]
    access = (await social.connect(platform))["access_token"]

    async def revoke() -> Answer:
        if platform == "meta":
            return await social.read(platform, place, access, method)
        shown = {"Authorization": aiohttp.encode_basic_auth("app", SECRET)} if platform == "x" else {}
        form = {"token": access, DIALECTS[platform].client: "app", "client_secret": SECRET}
        return await social.call(method, platform, place, data=form, headers=shown)

    mine = {"provider": platform, "match": {"call": "revoke"}}
    await social.tell("faults", **mine, kind="feigned")
    assert (await revoke()).status == 200
    assert (await social.identity(platform, access)).status == 200
    await social.tell("faults", **mine, kind="status", status=503, retry_after_s=30)
    busy = await revoke()
    assert (busy.status, busy.headers["Retry-After"]) == (503, "30")
    if platform != "meta":
        await social.tell("faults", **mine, kind="refusal", case="unsupported_token")
        unable = await revoke()
        assert (unable.status, unable.body["error"]) == (400, "unsupported_token_type")
    assert (await social.identity(platform, access)).status == 200
    assert (await revoke()).status == 200
    assert (await social.identity(platform, access)).status in (400, 401)


@pytest.mark.parametrize("platform", DIALECTS)
async def test_a_person_takes_the_app_away(social: Social, platform: str) -> None:
    """All tokens of that account and app are dead, the other account's live, and a new consent works."""
    tokens, other = await social.connect(platform), await social.connect(platform, "bravo")
    told = await social.tell("grants", platform=platform, account="acme", event="revoked")
    assert told == {"families": 1}
    assert (await social.identity(platform, tokens["access_token"])).status in (400, 401)
    if "refresh_token" in tokens:
        assert (await social.refresh(platform, tokens["refresh_token"])).status == 400
    assert (await social.identity(platform, other["access_token"])).status == 200
    dead, live = await social.families(platform)
    assert (dead["why"], live["why"]) == ("revoked", None)
    assert (await social.identity(platform, (await social.connect(platform))["access_token"])).status == 200


@pytest.mark.parametrize("platform", DIALECTS)
async def test_a_locked_account_and_its_release(social: Social, platform: str) -> None:
    """While it is locked reading is refused; the token lives on and works when the lock is gone."""
    access = (await social.connect(platform))["access_token"]
    await social.tell("grants", platform=platform, account="acme", event="lockout")
    locked = await social.identity(platform, access)
    assert locked.status == (400 if platform in ("meta", "instagram") else 403)
    await social.tell("grants", platform=platform, account="acme", event="unlocked")
    assert (await social.identity(platform, access)).status == 200


async def test_events_that_touch_a_part(social: Social) -> None:
    """Expired access, expired refresh, fewer scopes, and a lost role that ends Page tokens alone."""
    tokens = await social.connect("x")
    await social.tell("grants", platform="x", account="acme", event="access_expired")
    assert (await social.identity("x", tokens["access_token"])).status == 401
    tokens = (await social.refresh("x", tokens["refresh_token"])).body
    await social.tell("grants", platform="x", account="acme", event="scopes", scopes=["tweet.read"])
    assert (await social.identity("x", tokens["access_token"])).status == 403
    await social.tell("grants", platform="x", account="acme", event="refresh_expired")
    assert (await social.refresh("x", tokens["refresh_token"])).status == 400
    user = (await social.connect("meta"))["access_token"]
    listed = await social.read("meta", "graph.facebook.com/v26.0/me/accounts", user)
    page = listed.body["data"][0]["access_token"]
    await social.tell("grants", platform="meta", account="acme", event="role_lost")
    gone = await social.read("meta", "graph.facebook.com/v26.0/me", page)
    assert (gone.status, _mark("meta", gone.body)) == (400, (190, 492))
    assert (await social.identity("meta", user)).status == 200


async def test_a_fault_that_can_not_act_waits(social: Social) -> None:
    """A lie about identity is kept for a call that shows one, a missing scope list for a token call."""
    access = (await social.connect("x"))["access_token"]
    await social.tell("faults", provider="x", kind="wrong_identity")
    await social.tell("faults", provider="x", kind="no_scope")
    posts = await social.read("x", "api.x.com/2/users/2244994945/tweets?max_results=5", access)
    assert posts.status == 200
    assert (await social.identity("x", access)).body["data"]["id"] == "9999999999999999999"
    assert "scope" not in await social.connect("x")
    assert (await social.show("faults"))["faults"] == []


async def test_the_date_of_a_reply_follows_the_clock(social: Social) -> None:
    """Months later the platform's clock says so in its Date header."""
    access = (await social.connect("linkedin"))["access_token"]
    await social.tell("clock", advance_s=30 * DAY)
    answer = await social.identity("linkedin", access)
    assert parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time() > 29 * DAY
    await social.tell("clock", advance_s=-30 * DAY)
    answer = await social.identity("linkedin", access)
    assert abs(parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()) < 60


async def test_secrets_in_an_address_are_noticed(social: Social) -> None:
    """The log tells that a token or secret stood in the address, and keeps neither."""
    access = (await social.connect("instagram"))["access_token"]
    query = {"grant_type": "ig_exchange_token", "client_secret": SECRET, "access_token": access}
    await social.call("GET", "instagram", "graph.instagram.com/access_token", params=query)
    entry = (await social.show("requests"))["requests"][-1]
    assert (entry["key_in_url"], entry["call"], entry["account"]) == (True, "exchange", "acme")
    assert {(one["in"], one["name"]) for one in entry["secrets"]} == {
        ("query", "access_token"),
        ("query", "client_secret"),
    }
    assert access not in str(entry)
