"""The token models of the simulated platforms: what is given, what a refresh does, what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.social import BACK, DAY, DIALECTS, SECRET, Social, arrived, running_platforms

GRAPH = "graph.facebook.com/v26.0/"
IG = "graph.instagram.com/"
LOG_ID = "20261124000000000000000000000000AB"
REUSED: dict[str, dict[str, Any]] = {
    "x": {"error": "invalid_request", "error_description": "Value passed for the token was invalid."},
    "tiktok": {
        "error": "invalid_grant",
        "error_description": "Refresh token is invalid or expired.",
        "log_id": LOG_ID,
    },
    "linkedin": {
        "error": "invalid_grant",
        "error_description": "The provided authorization grant or refresh token is expired or revoked",
    },
    "youtube": {"error": "invalid_grant", "error_description": "Token has been expired or revoked."},
}


@pytest.fixture
async def social() -> AsyncIterator[Social]:
    async with running_platforms() as running:
        await running.tell("clock", frozen=True)
        yield running


async def test_token_replies_have_the_published_fields(social: Social) -> None:
    """Each platform's first reply has its own fields and lifetimes."""
    got = {platform: await social.connect(platform) for platform in DIALECTS}
    assert set(got["meta"]) == {"access_token", "token_type", "expires_in"}
    assert set(got["instagram"]) == {"access_token", "user_id", "permissions"}
    assert got["instagram"]["user_id"] == "17841400000000001"
    assert set(got["tiktok"]) == {
        "access_token", "expires_in", "open_id", "refresh_expires_in", "refresh_token", "scope", "token_type"
    }  # fmt: skip
    assert (got["tiktok"]["expires_in"], got["tiktok"]["refresh_expires_in"]) == (7200, 180 * DAY)
    assert (got["tiktok"]["open_id"], got["tiktok"]["access_token"][:4]) == ("-000AcmeOpenId", "act.")
    assert (got["linkedin"]["expires_in"], got["linkedin"]["refresh_token_expires_in"]) == (60 * DAY, 365 * DAY)
    assert len(got["linkedin"]["access_token"]) > 900
    assert set(got["youtube"]) == {"access_token", "expires_in", "refresh_token", "scope", "token_type"}
    assert (got["youtube"]["expires_in"], got["youtube"]["access_token"][:5]) == (3600, "ya29.")
    assert got["youtube"]["refresh_token"].startswith("1//")
    assert (got["x"]["expires_in"], got["x"]["token_type"]) == (7200, "bearer")
    await social.tell("rules", platform="instagram", wrapped_token_reply=True)
    (wrapped,) = (await social.connect("instagram"))["data"]
    assert wrapped["permissions"] == "instagram_business_basic,instagram_business_content_publish"


@pytest.mark.parametrize("platform", ["x", "tiktok"])
async def test_fifty_rotations_over_months(social: Social, platform: str) -> None:
    """Every refresh gives a new token and the one before is useless; fifty calls are counted as fifty."""
    tokens = await social.connect(platform)
    for _ in range(50):
        await social.tell("clock", advance_s=3 * DAY)
        answer = await social.refresh(platform, tokens["refresh_token"])
        assert answer.status == 200
        assert answer.body["refresh_token"] != tokens["refresh_token"]
        assert (await social.identity(platform, tokens["access_token"])).status == 401
        tokens = answer.body
        assert (await social.identity(platform, tokens["access_token"])).status == 200
    assert (await social.calls(platform))["refresh"] == {"received": 50, "granted": 50}
    (family,) = await social.families(platform)
    assert (family["generation"], family["state"]) == (50, "live")
    states = [one["state"] for one in family["tokens"] if one["kind"] == "refresh"]
    assert states == ["consumed"] * 50 + ["live"]


@pytest.mark.parametrize(("platform", "killed"), [("x", True), ("tiktok", False)])
async def test_a_used_refresh_token(social: Social, platform: str, killed: bool) -> None:
    """It is refused in the platform's words; on X its whole family dies with it, and the ledger says why."""
    first = await social.connect(platform)
    second = (await social.refresh(platform, first["refresh_token"])).body
    again = await social.refresh(platform, first["refresh_token"])
    assert (again.status, again.body) == (400, REUSED[platform])
    after = await social.refresh(platform, second["refresh_token"])
    assert after.status == (400 if killed else 200)
    assert (await social.identity(platform, second["access_token"])).status == (401 if killed else 200)
    (family,) = await social.families(platform)
    assert (family["state"], family["why"]) == (("dead", "reused") if killed else ("live", None))
    assert (await social.calls(platform))["refresh"]["replayed"] == 1


@pytest.mark.parametrize("platform", ["x", "tiktok"])
async def test_a_grace_accepts_the_previous_token_for_a_while(social: Social, platform: str) -> None:
    """Within the grace the previous token works again, the one before it does not, and after the grace neither."""
    await social.tell("rules", platform=platform, grace_s=30, reuse_kills_family=True)
    first = await social.connect(platform)
    second = (await social.refresh(platform, first["refresh_token"])).body
    await social.tell("clock", advance_s=29)
    retried = await social.refresh(platform, first["refresh_token"])
    assert retried.status == 200
    assert (await social.refresh(platform, second["refresh_token"])).status == 200
    assert (await social.refresh(platform, first["refresh_token"])).status == 400
    (family,) = await social.families(platform)
    assert (family["state"], family["why"]) == ("dead", "reused")
    other = await social.connect(platform)
    await social.refresh(platform, other["refresh_token"])
    await social.tell("clock", advance_s=30)
    assert (await social.refresh(platform, other["refresh_token"])).status == 400


@pytest.mark.parametrize("platform", ["x", "tiktok", "youtube", "linkedin"])
async def test_only_its_own_app_can_refresh(social: Social, platform: str) -> None:
    """Another app, a wrong secret, an unknown value and an access token are refused and change nothing."""
    await social.tell("apps", platform=platform, client_id="b", client_secret="s", redirect_uris=[BACK], partner=True)
    tokens = await social.connect(platform)
    assert (await social.refresh(platform, tokens["refresh_token"], client="b", secret="s")).body == REUSED[platform]
    assert (await social.refresh(platform, tokens["refresh_token"], secret="wrong")).status in (400, 401)
    assert (await social.refresh(platform, "made-up")).body == REUSED[platform]
    assert (await social.refresh(platform, tokens["access_token"])).body == REUSED[platform]
    assert (await social.token(platform, grant_type="password")).body["error"] == "unsupported_grant_type"
    assert (await social.refresh(platform, tokens["refresh_token"])).status == 200


async def test_x_wants_the_secret_in_the_header(social: Social) -> None:
    """A secret in the body is refused with X's words; a public app shows its id there."""
    tokens = await social.connect("x")
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": "app"}
    answer = await social.call("POST", "x", DIALECTS["x"].token, data={**form, "client_secret": SECRET})
    assert (answer.status, answer.body) == (
        401,
        {"error": "unauthorized_client", "error_description": "Missing valid authorization header"},
    )
    await social.tell("apps", platform="x", client_id="public", public=True, redirect_uris=[BACK])
    code = await social.code("x", client_id="public")
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "client_id": "public"}
    verifier = "a-verifier-of-at-least-forty-three-characters-0"
    made = await social.call("POST", "x", DIALECTS["x"].token, data={**fields, "code_verifier": verifier})
    assert made.status == 200


async def test_x_has_one_grant_for_an_app_and_a_person(social: Social) -> None:
    """A second login with the same app ends the first one's tokens; another app or person does not."""
    await social.tell("apps", platform="x", client_id="b", client_secret="s", redirect_uris=[BACK])
    first, other = await social.connect("x"), await social.connect("x", "bravo")
    code = await social.code("x", client_id="b")
    assert (await social.redeem("x", code, client="b", secret="s")).status == 200
    assert (await social.identity("x", first["access_token"])).status == 200
    second = await social.connect("x")
    assert (await social.identity("x", first["access_token"])).status == 401
    assert (await social.refresh("x", first["refresh_token"])).body == REUSED["x"]
    for tokens in (second, other):
        assert (await social.identity("x", tokens["access_token"])).status == 200


async def test_x_gives_a_refresh_token_for_offline_access_only(social: Social) -> None:
    """Without the scope there is none."""
    assert "refresh_token" not in await social.connect("x", scope="tweet.read users.read")


async def test_linkedin_renews_for_a_year_and_not_a_day_longer(social: Social) -> None:
    """The refresh token stays the same, its end stays the same, and the last access token ends with it."""
    got = tokens = await social.connect("linkedin")
    for passed in range(50, 351, 50):
        await social.tell("clock", advance_s=50 * DAY)
        got = (await social.refresh("linkedin", tokens["refresh_token"])).body
        assert got["refresh_token"] == tokens["refresh_token"]
        assert got["refresh_token_expires_in"] == (365 - passed) * DAY
        assert got["expires_in"] == min(60, 365 - passed) * DAY
    await social.tell("clock", advance_s=15 * DAY)
    answer = await social.refresh("linkedin", tokens["refresh_token"])
    assert (answer.status, answer.body) == (400, REUSED["linkedin"])
    assert (await social.identity("linkedin", got["access_token"])).status == 401


async def test_linkedin_lets_partners_refresh_only(social: Social) -> None:
    """Another app gets no refresh token, and may not use one."""
    await social.tell("apps", platform="linkedin", client_id="app", client_secret=SECRET, redirect_uris=[BACK])
    tokens = await social.connect("linkedin")
    assert "refresh_token" not in tokens
    assert (await social.refresh("linkedin", "any")).body["error"] == "unauthorized_client"


async def test_linkedin_tells_expired_from_revoked(social: Social) -> None:
    """Introspection names the state; an unknown token is only inactive."""
    site, app = "www.linkedin.com/oauth/v2/", {"client_id": "app", "client_secret": SECRET}
    tokens = await social.connect("linkedin")

    async def state(value: str) -> Any:
        return (await social.call("POST", "linkedin", site + "introspectToken", data={**app, "token": value})).body

    seen = await state(tokens["access_token"])
    assert (seen["active"], seen["status"], seen["auth_type"], seen["client_id"]) == (True, "active", "3L", "app")
    assert seen["expires_at"] - seen["created_at"] == 60 * DAY
    await social.tell("clock", advance_s=60 * DAY)
    assert (await state(tokens["access_token"]))["status"] == "expired"
    fresh = (await social.refresh("linkedin", tokens["refresh_token"])).body
    revoked = await social.call("POST", "linkedin", site + "revoke", data={**app, "token": fresh["access_token"]})
    assert revoked.status == 200
    seen = await state(fresh["access_token"])
    assert (seen["active"], seen["status"]) == (False, "revoked")
    assert await state("made-up") == {"active": False}


async def test_google_keeps_the_refresh_token_to_itself(social: Social) -> None:
    """It comes with the first consent or when asked again, never with a refresh, and never without offline access."""
    first = await social.connect("youtube", prompt=None)
    assert "refresh_token" in first
    assert "refresh_token" not in await social.connect("youtube", prompt=None)
    assert "refresh_token" in await social.connect("youtube")
    assert "refresh_token" not in await social.connect("youtube", access_type=None)
    for _ in range(50):
        await social.tell("clock", advance_s=DAY)
        answer = await social.refresh("youtube", first["refresh_token"])
        assert (answer.status, set(answer.body)) == (200, {"access_token", "expires_in", "scope", "token_type"})
    shown = {"Authorization": aiohttp.encode_basic_auth("app", SECRET)}
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    assert (await social.call("POST", "youtube", DIALECTS["youtube"].token, data=form, headers=shown)).status == 200


async def test_google_s_refresh_tokens_die_idle_in_testing_or_crowded_out(social: Social) -> None:
    """Half a year unused, seven days in testing, and the oldest past the limit; one text for all."""
    idle = await social.connect("youtube")
    await social.tell("clock", advance_s=182 * DAY)
    assert (await social.refresh("youtube", idle["refresh_token"])).status == 200
    await social.tell("clock", advance_s=183 * DAY)
    answer = await social.refresh("youtube", idle["refresh_token"])
    assert (answer.status, answer.body) == (400, REUSED["youtube"])
    await social.tell("rules", platform="youtube", most_refresh_tokens=2)
    held = [await social.connect("youtube") for _ in range(3)]
    statuses = [(await social.refresh("youtube", one["refresh_token"])).status for one in held]
    assert statuses == [400, 200, 200]
    await social.tell(
        "apps", platform="youtube", client_id="app", client_secret=SECRET, redirect_uris=[BACK], testing=True
    )
    tested = await social.connect("youtube", "bravo")
    await social.tell("clock", advance_s=6 * DAY)
    assert (await social.refresh("youtube", tested["refresh_token"])).status == 200
    await social.tell("clock", advance_s=DAY)
    assert (await social.refresh("youtube", tested["refresh_token"])).status == 400


async def test_google_revokes_the_whole_grant(social: Social) -> None:
    """Revoking any token ends all of that person and app; a second time is a 400; the next consent is a first one."""
    one, two = await social.connect("youtube"), await social.connect("youtube")
    form = {"token": one["access_token"]}
    assert (await social.call("POST", "youtube", "oauth2.googleapis.com/revoke", data=form)).status == 200
    assert (await social.call("POST", "youtube", "oauth2.googleapis.com/revoke", data=form)).status == 400
    assert (await social.refresh("youtube", two["refresh_token"])).body == REUSED["youtube"]
    info = f"www.googleapis.com/oauth2/v3/tokeninfo?access_token={two['access_token']}"
    dead = await social.call("GET", "youtube", info)
    assert (dead.status, dead.body["error_description"]) == (400, "Invalid Value")
    again = await social.connect("youtube", prompt=None)
    assert "refresh_token" in again
    alive = await social.call("GET", "youtube", info.partition("=")[0] + "=" + again["access_token"])
    assert (alive.body["aud"], alive.body["access_type"]) == ("app", "offline")


async def _long(social: Social) -> tuple[str, str]:
    short = (await social.connect("instagram"))["access_token"]
    query = {"grant_type": "ig_exchange_token", "client_secret": SECRET, "access_token": short}
    answer = await social.call("GET", "instagram", IG + "access_token", params=query)
    assert answer.body == {**answer.body, "token_type": "bearer", "expires_in": 60 * DAY}
    return short, answer.body["access_token"]


async def _extend(social: Social, value: str) -> Any:
    query = {"grant_type": "ig_refresh_token", "access_token": value}
    return await social.call("GET", "instagram", IG + "refresh_access_token", params=query)


async def test_instagram_extends_in_place(social: Social) -> None:
    """A day old it can be extended by sixty days, as often as one likes, and never once it has expired."""
    short, long = await _long(social)
    early = await _extend(social, long)
    assert (early.status, early.body["error"]["code"]) == (400, 100)
    for _ in range(50):
        await social.tell("clock", advance_s=7 * DAY)
        answer = await _extend(social, long)
        assert answer.body == {"access_token": long, "token_type": "bearer", "expires_in": 60 * DAY}
    assert (await social.calls("instagram"))["refresh"] == {"received": 51, "granted": 50, "refused": 1}
    assert (await social.identity("instagram", short)).body["error"]["error_subcode"] == 463
    assert (await social.identity("instagram", long)).status == 200
    await social.tell("clock", advance_s=60 * DAY)
    assert (await _extend(social, long)).body["error"]["error_subcode"] == 463
    assert (await social.identity("instagram", long)).body["error"]["error_subcode"] == 463


async def test_instagram_may_give_a_new_token_beside_the_old_one(social: Social) -> None:
    """With that rule both work until each one's own end; with another one the old one ends."""
    await social.tell("rules", platform="instagram", renew_as_new=True)
    _, long = await _long(social)
    await social.tell("clock", advance_s=50 * DAY)
    renewed = (await _extend(social, long)).body["access_token"]
    assert renewed != long
    assert (await social.identity("instagram", long)).status == 200
    await social.tell("clock", advance_s=10 * DAY)
    assert (await social.identity("instagram", long)).status == 400
    assert (await social.identity("instagram", renewed)).status == 200
    await social.tell("rules", platform="instagram", renewal_ends_old=True)
    again = (await _extend(social, renewed)).body["access_token"]
    assert (await social.identity("instagram", renewed)).body["error"]["error_subcode"] == 467
    assert (await social.identity("instagram", again)).status == 200


async def test_a_long_family_keeps_its_refresh_token(social: Social, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many access tokens came of it: the oldest of those are forgotten."""
    monkeypatch.setattr("byokeep_sim.platforms.world.MAX_FAMILY_TOKENS", 3)
    first = await social.connect("youtube")
    for _ in range(4):
        assert (await social.refresh("youtube", first["refresh_token"])).status == 200
    assert (await social.identity("youtube", first["access_token"])).status == 401


async def test_instagram_s_exchange_wants_the_secret_and_a_short_token(social: Social) -> None:
    """A wrong secret and a long token are refused, and a short token can not be extended."""
    short, long = await _long(social)
    for secret, value in (("wrong", short), (SECRET, long)):
        query = {"grant_type": "ig_exchange_token", "client_secret": secret, "access_token": value}
        assert (await social.call("GET", "instagram", IG + "access_token", params=query)).status == 400
    assert (await _extend(social, short)).status == 400


async def _exchanged(social: Social, value: str) -> dict[str, Any]:
    query = {"grant_type": "fb_exchange_token", "client_id": "app", "client_secret": SECRET, "fb_exchange_token": value}
    answer = await social.call("GET", "meta", GRAPH + "oauth/access_token", params=query)
    assert answer.status == 200, answer.text
    body: dict[str, Any] = answer.body
    return body


async def _page_token(social: Social, value: str) -> str:
    listed = await social.call("GET", "meta", GRAPH + "me/accounts", params={"access_token": value})
    token: str = listed.body["data"][0]["access_token"]
    return token


async def _debug(social: Social, value: str) -> dict[str, Any]:
    query = {"input_token": value, "access_token": f"app|{SECRET}"}
    answer = await social.call("GET", "meta", "graph.facebook.com/debug_token", params=query)
    data: dict[str, Any] = answer.body["data"]
    return data


async def test_meta_exchanges_and_derives(social: Social) -> None:
    """Short to long is sixty days; a Page token of a long one has no end, of a short one ends with it."""
    short = await social.connect("meta")
    assert short["expires_in"] == 3600
    page_of_short = await _page_token(social, short["access_token"])
    long = await _exchanged(social, short["access_token"])
    assert long["expires_in"] == 60 * DAY
    page = await _page_token(social, long["access_token"])
    assert page == await _page_token(social, long["access_token"])
    assert (await _debug(social, page))["expires_at"] == 0
    await social.tell("clock", advance_s=3600)
    assert (await _debug(social, page_of_short))["is_valid"] is False
    assert (await _debug(social, short["access_token"]))["error"] == {
        "code": 190,
        "subcode": 463,
        "message": "Error validating access token: Session has expired.",
    }
    await social.tell("clock", advance_s=61 * DAY)
    assert (await _debug(social, long["access_token"]))["is_valid"] is False
    data = await _debug(social, page)
    assert (data["is_valid"], data["type"], data["app_id"]) == (True, "PAGE", "app")
    me = await social.call("GET", "meta", GRAPH + "me", params={"access_token": page})
    assert me.body == {"id": "104000000000001", "name": "Acme Bakery"}


async def test_meta_exchanges_a_long_token_once_a_day(social: Social) -> None:
    """On the same day the end stays; later it moves."""
    long = await _exchanged(social, (await social.connect("meta"))["access_token"])
    await social.tell("clock", advance_s=3600)
    again = await _exchanged(social, long["access_token"])
    assert again["expires_in"] == 60 * DAY - 3600
    await social.tell("clock", advance_s=DAY)
    assert (await _exchanged(social, long["access_token"]))["expires_in"] == 60 * DAY


async def test_meta_s_data_access_ends_after_ninety_days(social: Social) -> None:
    """The token still logs in, but shows no data."""
    await social.tell("rules", platform="meta", long_ttl_s=200 * DAY)
    long = (await _exchanged(social, (await social.connect("meta"))["access_token"]))["access_token"]
    page = await _page_token(social, long)
    await social.tell("clock", advance_s=90 * DAY)
    assert (await social.call("GET", "meta", GRAPH + "me", params={"access_token": long})).status == 200
    posts = await social.read("meta", GRAPH + "104000000000001/published_posts", page)
    assert (posts.status, posts.body["error"]["code"]) == (400, 10)


async def test_meta_revokes_everything_of_the_person(social: Social) -> None:
    """Deleting the permissions ends user and Page tokens, with the subcode of a removed app."""
    long = (await _exchanged(social, (await social.connect("meta"))["access_token"]))["access_token"]
    page = await _page_token(social, long)
    gone = await social.call("DELETE", "meta", GRAPH + "me/permissions", params={"access_token": long})
    assert gone.body == {"success": True}
    for value in (long, page):
        answer = await social.call("GET", "meta", GRAPH + "me", params={"access_token": value})
        error = answer.body["error"]
        assert (answer.status, error["code"], error["error_subcode"], error["type"]) == (
            400, 190, 458, "OAuthException"
        )  # fmt: skip
        assert (await _debug(social, value))["error"]["subcode"] == 458


async def test_meta_can_take_one_permission(social: Social) -> None:
    """Deleting one name leaves the others, and the list shows it as declined."""
    value = (await social.connect("meta"))["access_token"]
    place = GRAPH + "me/permissions/pages_show_list"
    assert (await social.call("DELETE", "meta", place, params={"access_token": value})).status == 200
    listed = await social.call("GET", "meta", GRAPH + "me/accounts", params={"access_token": value})
    assert (listed.status, listed.body["error"]["code"]) == (403, 200)
    shown = await social.call("GET", "meta", GRAPH + "me/permissions", params={"access_token": value})
    assert {"permission": "pages_show_list", "status": "declined"} in shown.body["data"]


@pytest.mark.parametrize(
    ("platform", "place", "status", "body"),
    [("x", "api.x.com/2/oauth2/revoke", 200, '{"revoked": true}'),
     ("tiktok", "open.tiktokapis.com/v2/oauth/revoke/", 200, "")],
)  # fmt: skip
async def test_revoking(social: Social, platform: str, place: str, status: int, body: str) -> None:
    """After a revocation access and refresh token are dead, and a new consent works."""
    tokens = await social.connect(platform)
    talk, form = DIALECTS[platform], {"token": tokens["access_token"]}
    basic = {"Authorization": aiohttp.encode_basic_auth("app", SECRET)}
    app = {talk.client: "app", "client_secret": SECRET}
    more: Any = {"data": form, "headers": basic} if platform == "x" else {"data": {**app, **form}}
    answer = await social.call("POST", platform, place, **more)
    assert (answer.status, answer.text) == (status, body)
    assert (await social.identity(platform, tokens["access_token"])).status == 401
    assert (await social.refresh(platform, tokens["refresh_token"])).body == REUSED[platform]
    (family,) = await social.families(platform)
    assert (family["state"], family["why"]) == ("dead", "revoked")
    assert (await social.identity(platform, (await social.connect(platform))["access_token"])).status == 200


async def test_refresh_tokens_end_by_time(social: Social) -> None:
    """TikTok's after 180 days, each rotation starting anew; X's by a rule."""
    tokens = await social.connect("tiktok")
    await social.tell("clock", advance_s=179 * DAY)
    tokens = (await social.refresh("tiktok", tokens["refresh_token"])).body
    await social.tell("clock", advance_s=180 * DAY)
    assert (await social.refresh("tiktok", tokens["refresh_token"])).body == REUSED["tiktok"]
    await social.tell("rules", platform="x", refresh_ttl_s=DAY)
    tokens = await social.connect("x")
    await social.tell("clock", advance_s=DAY)
    assert (await social.refresh("x", tokens["refresh_token"])).status == 400


async def test_a_hundred_parallel_refreshes_are_a_hundred_calls(social: Social) -> None:
    """Racing callers with one token: one wins, all are counted, and the family dies of the reuse."""
    tokens = await social.connect("x")
    answers = await asyncio.gather(*(social.refresh("x", tokens["refresh_token"]) for _ in range(100)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 99
    counted = (await social.calls("x"))["refresh"]
    assert (counted["received"], counted["granted"], counted["refused"]) == (100, 1, 99)
    assert (await social.families("x"))[0]["why"] == "reused"


async def test_apps_with_another_scope_of_ids_see_another_id(social: Social) -> None:
    """TikTok and LinkedIn give each app its own number; TikTok's union id stays."""
    seen = {}
    for scope in ("", "other"):
        for platform in ("tiktok", "linkedin"):
            await social.tell(
                "apps", platform=platform, client_id="app", client_secret=SECRET, redirect_uris=[BACK], id_scope=scope
            )
            tokens = await social.connect(platform)
            seen[platform, scope] = (await social.identity(platform, tokens["access_token"])).body
    first, second = (seen["tiktok", scope]["data"]["user"] for scope in ("", "other"))
    assert first["open_id"] != second["open_id"]
    assert first["union_id"] == second["union_id"]
    assert seen["linkedin", ""]["sub"] != seen["linkedin", "other"]["sub"]
    assert "code" in arrived(await social.authorize("tiktok"))
