"""Identity, posts, refusals and rate headers of the simulated platforms, compared with what they publish."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.social import BACK, DAY, DIALECTS, GOOGLE, SECRET, Social, running_platforms

GRAPH = "graph.facebook.com/v26.0/"
IG = "graph.instagram.com/v26.0/"
LOG_ID = "20261124000000000000000000000000AB"
PROBLEMS = "https://api.x.com/2/problems/"
REST = {"LinkedIn-Version": "202601", "X-Restli-Protocol-Version": "2.0.0"}
ALL_LINKEDIN = "openid profile r_member_social r_organization_social rw_organization_admin w_member_social"


@pytest.fixture
async def social() -> AsyncIterator[Social]:
    async with running_platforms() as running:
        await running.tell("clock", frozen=True)
        yield running


async def test_who_x_says_it_is(social: Social) -> None:
    """Id, name and username under data."""
    access = (await social.connect("x"))["access_token"]
    assert (await social.identity("x", access)).body == {
        "data": {
            "id": "2244994945",
            "name": "Acme Bakery",
            "username": "acme.bakery",
            "verified": False,
            "protected": False,
        }
    }
    listed = await social.read("x", "api.x.com/2/users/2244994945/tweets?max_results=5", access)
    assert [one["text"] for one in listed.body["data"]] == ["post 3", "post 2", "post 1"]
    assert listed.body["meta"]["newest_id"] == listed.body["data"][0]["id"]
    assert listed.body["meta"]["result_count"] == 3
    await social.tell("accounts", platform="x", account="acme", id="2244994945", username="a", display_name="A")
    empty = await social.read("x", "api.x.com/2/users/2244994945/tweets?max_results=5", access)
    assert empty.body == {"meta": {"result_count": 0}}


async def test_who_tiktok_says_it_is(social: Social) -> None:
    """The user under data, beside an error whose code is ok; videos are read by POST."""
    access = (await social.connect("tiktok"))["access_token"]
    body = (await social.identity("tiktok", access)).body
    union = body["data"]["user"].pop("union_id")
    assert body["data"]["user"].pop("avatar_url").startswith("https://")
    assert union.startswith("u-")
    assert body == {
        "data": {"user": {"open_id": "-000AcmeOpenId", "display_name": "Acme Bakery", "username": "acme.bakery"}},
        "error": {"code": "ok", "message": "", "log_id": LOG_ID},
    }
    place = "open.tiktokapis.com/v2/video/list/?fields=id,title,create_time,share_url"
    listed = (await social.read("tiktok", place, access, "POST", json={"max_count": 2})).body
    assert [one["title"] for one in listed["data"]["videos"]] == ["post 3", "post 2"]
    assert (listed["data"]["has_more"], listed["error"]["code"]) == (True, "ok")
    assert (await social.read("tiktok", place, access)).status == 404
    for place in ("open.tiktokapis.com/v2/user/info?fields=open_id", "open.tiktokapis.com/v2/oauth/token"):
        assert (await social.read("tiktok", place, access)).status == 404


async def test_who_linkedin_says_it_is(social: Social) -> None:
    """The sub has no handle; the handle needs a scope; organizations are separate."""
    tokens = await social.connect("linkedin", scope="openid profile email r_basicprofile rw_organization_admin")
    access = tokens["access_token"]
    assert (await social.identity("linkedin", access)).body == {
        "sub": "AcmeSub01",
        "name": "Acme Bakery",
        "given_name": "Acme",
        "family_name": "Bakery",
        "picture": "https://media.licdn.com/acme.bakery.jpg",
        "locale": {"country": "US", "language": "en"},
        "email": "acme.bakery@example.test",
        "email_verified": True,
    }
    me = (await social.read("linkedin", "api.linkedin.com/v2/me", access)).body
    assert (me["id"], me["vanityName"]) == ("AcmeSub01", "acme.bakery")
    page = {"account": "page", "id": "7001", "username": "acme-inc", "display_name": "Acme Inc"}
    await social.tell("accounts", platform="linkedin", owner="acme", kind="organization", posts=2, **page)
    place = "api.linkedin.com/v2/organizationalEntityAcls?q=roleAssignee&state=APPROVED"
    (element,) = (await social.read("linkedin", place, access)).body["elements"]
    assert (element["organization"], element["state"]) == ("urn:li:organization:7001", "APPROVED")
    found = (await social.read("linkedin", "api.linkedin.com/v2/organizations/7001", access)).body
    assert found == {"id": 7001, "localizedName": "Acme Inc", "vanityName": "acme-inc"}
    assert (await social.read("linkedin", "api.linkedin.com/v2/organizations/7002", access)).status == 404


async def test_linkedin_s_posts_need_headers_and_a_closed_scope(social: Social) -> None:
    """Without the version it is a 400, without the member scope a 403, of an organization it works."""
    plain = (await social.connect("linkedin"))["access_token"]
    full = (await social.connect("linkedin", scope=ALL_LINKEDIN))["access_token"]
    page = {"account": "page", "id": "7001", "username": "acme-inc", "display_name": "Acme Inc"}
    await social.tell("accounts", platform="linkedin", owner="acme", kind="organization", posts=2, **page)
    mine = "api.linkedin.com/rest/posts?q=author&count=5&author=urn%3Ali%3Aperson%3AAcmeSub01"
    unversioned = await social.read("linkedin", mine, full)
    assert (unversioned.status, unversioned.body["code"]) == (400, "VERSION_MISSING")
    refused = await social.read("linkedin", mine, plain, headers=REST)
    assert (refused.status, refused.body) == (
        403,
        {"status": 403, "serviceErrorCode": 100, "message": "Not enough permissions to access this resource"},
    )
    listed = await social.read("linkedin", mine, full, headers=REST)
    assert [one["commentary"] for one in listed.body["elements"]] == ["post 3", "post 2", "post 1"]
    theirs = "api.linkedin.com/rest/posts?q=author&count=1&author=urn%3Ali%3Aorganization%3A7001"
    assert len((await social.read("linkedin", theirs, full, headers=REST)).body["elements"]) == 1


async def test_who_youtube_says_it_is(social: Social) -> None:
    """The channel picked at consent, not the person; uploads are a playlist."""
    brand = {"account": "brand", "id": "UCbrand", "username": "brand", "display_name": "Brand"}
    await social.tell("accounts", platform="youtube", owner="acme", **brand)
    access = (await social.connect("youtube"))["access_token"]
    body = (await social.identity("youtube", access)).body
    assert (body["kind"], body["pageInfo"]["totalResults"]) == ("youtube#channelListResponse", 1)
    (item,) = body["items"]
    assert item["id"] == "UCacme0000000000000000aa"
    assert (item["snippet"]["title"], item["snippet"]["customUrl"]) == ("Acme Bakery", "@acme.bakery")
    uploads = item["contentDetails"]["relatedPlaylists"]["uploads"]
    place = f"www.googleapis.com/youtube/v3/playlistItems?part=snippet,contentDetails&playlistId={uploads}&maxResults=5"
    listed = (await social.read("youtube", place, access)).body
    assert [one["snippet"]["title"] for one in listed["items"]] == ["post 3", "post 2", "post 1"]
    other = (await social.connect("youtube", "brand"))["access_token"]
    assert (await social.identity("youtube", other)).body["items"][0]["id"] == "UCbrand"


async def test_who_instagram_says_it_is(social: Social) -> None:
    """The account is user_id; id is another number; fields that are not asked for are not there."""
    access = (await social.connect("instagram"))["access_token"]
    body = (await social.identity("instagram", access)).body
    assert body["user_id"] == "17841400000000001"
    assert body["id"] != body["user_id"]
    assert (body["username"], body["name"], body["account_type"]) == ("acme.bakery", "Acme Bakery", "BUSINESS")
    assert set((await social.read("instagram", IG + "me", access)).body) == {"id"}
    place = IG + "17841400000000001/media?fields=id,caption,media_type,permalink,timestamp&limit=2"
    listed = (await social.call("GET", "instagram", place, params={"access_token": access})).body["data"]
    assert [one["caption"] for one in listed] == ["post 3", "post 2"]
    assert set(listed[0]) == {"id", "caption", "media_type", "permalink", "timestamp"}
    assert (await social.read("instagram", IG + "17841400000000002/media", access)).status == 404


async def test_who_meta_says_it_is(social: Social) -> None:
    """The person is a number of its own; Pages are those ticked; each has an Instagram account and posts."""
    second = {"account": "second", "id": "104000000000003", "username": "acme.2", "display_name": "Acme Two"}
    await social.tell("accounts", platform="meta", owner="acme", **second)
    await social.tell("consent", platform="meta", account="acme", accounts=["acme"])
    access = (await social.redeem("meta", await social.code("meta"))).body["access_token"]
    person = (await social.identity("meta", access)).body
    assert person == {"id": person["id"], "name": "Person acme"}
    assert person["id"] != "104000000000001"
    place = GRAPH + "me/accounts?fields=id,name,username,access_token,instagram_business_account"
    (page,) = (await social.read("meta", place, access)).body["data"]
    linked = page["instagram_business_account"]["id"]
    assert page.pop("access_token").startswith("EAA")
    assert page == {
        "id": "104000000000001",
        "name": "Acme Bakery",
        "username": "acme.bakery",
        "instagram_business_account": {"id": linked},
    }
    found = await social.read("meta", GRAPH + linked + "?fields=id,username,name", access)
    assert found.body == {"id": linked, "username": "acme.bakery", "name": "Acme Bakery"}
    assert len((await social.read("meta", GRAPH + linked + "/media?fields=id", access)).body["data"]) == 3
    posts = await social.read("meta", GRAPH + "104000000000001/published_posts", access)
    assert [one["message"] for one in posts.body["data"]] == ["post 3", "post 2", "post 1"]
    assert "x-page-usage" in posts.headers
    query = {"input_token": access, "access_token": f"app|{SECRET}"}
    data = (await social.call("GET", "meta", GRAPH + "debug_token", params=query)).body["data"]
    ticked = {one["scope"]: one["target_ids"] for one in data["granular_scopes"]}
    assert ticked["pages_show_list"] == ["104000000000001"]
    assert ticked["instagram_basic"] == [linked]
    assert data["data_access_expires_at"] - data["issued_at"] == 90 * DAY
    assert (await social.read("meta", GRAPH + "104000000000003", access)).status == 404
    wrong = await social.call("GET", "meta", GRAPH + "debug_token", params={**query, "access_token": "app|wrong"})
    assert wrong.status == 400


async def test_meta_checks_the_proof(social: Social) -> None:
    """A wrong proof is always refused, a missing one when the app demands it."""
    access = (await social.connect("meta"))["access_token"]
    proof = hmac.new(SECRET.encode(), access.encode(), hashlib.sha256).hexdigest()

    async def status(**more: str) -> int:
        query = {"access_token": access, **more}
        return (await social.call("GET", "meta", GRAPH + "me", params=query)).status

    assert await status() == 200
    assert await status(appsecret_proof="00") == 400
    await social.tell(
        "apps", platform="meta", client_id="app", client_secret=SECRET, redirect_uris=[BACK], require_proof=True
    )
    assert await status() == 400
    assert await status(appsecret_proof=proof) == 200


DEAD: dict[str, Any] = {
    "x": {"title": "Unauthorized", "detail": "Unauthorized", "type": PROBLEMS + "unauthorized", "status": 401},
    "tiktok": {
        "data": {},
        "error": {
            "code": "access_token_invalid",
            "message": "The access token is invalid or not found in the request.",
            "log_id": LOG_ID,
        },
    },
    "linkedin": {
        "status": 401,
        "serviceErrorCode": 65602,
        "code": "EXPIRED_ACCESS_TOKEN",
        "message": "The token used in the request has expired",
    },
    "youtube": {
        "error": {
            "code": 401,
            "message": "Request had invalid authentication credentials.",
            "errors": [
                {
                    "message": "Request had invalid authentication credentials.",
                    "domain": "global",
                    "reason": "authError",
                }
            ],
            "status": "UNAUTHENTICATED",
        }
    },
    "meta": {
        "error": {
            "message": "Error validating access token: Session has expired.",
            "type": "OAuthException",
            "code": 190,
            "error_subcode": 463,
            "error_user_title": "Not possible",
            "error_user_msg": "Error validating access token: Session has expired.",
            "fbtrace_id": "AbCdEfGhIjKlMnOpQrStUvW",
        }
    },
}
DEAD["instagram"] = DEAD["meta"]


@pytest.mark.parametrize("platform", DIALECTS)
async def test_an_expired_token_is_refused_in_the_platform_s_words(social: Social, platform: str) -> None:
    """The literal body of an access token past its end."""
    access = (await social.connect(platform))["access_token"]
    await social.tell("clock", advance_s=61 * DAY)
    answer = await social.identity(platform, access)
    assert answer.status == (400 if platform in ("meta", "instagram") else 401)
    assert answer.body == DEAD[platform]


MISSING: dict[str, tuple[str, int, Any]] = {
    "x": (
        "users.read",
        403,
        {
            "title": "Forbidden",
            "detail": "You are not permitted to do this.",
            "type": PROBLEMS + "not-authorized-for-resource",
            "status": 403,
        },
    ),
    "tiktok": (
        "video.list",
        401,
        {
            "data": {},
            "error": {
                "code": "scope_not_authorized",
                "message": "The user did not authorize the scope required.",
                "log_id": LOG_ID,
            },
        },
    ),
    "linkedin": (
        "r_basicprofile",
        403,
        {"status": 403, "serviceErrorCode": 100, "message": "Not enough permissions to access this resource"},
    ),
}


@pytest.mark.parametrize("platform", MISSING)
async def test_a_missing_scope_is_no_dead_token(social: Social, platform: str) -> None:
    """The literal body of a token whose person did not tick the scope."""
    scope, status, body = MISSING[platform]
    await social.tell("consent", platform=platform, account="acme", scopes=[scope])
    access = (await social.redeem(platform, await social.code(platform))).body["access_token"]
    answer = await social.identity(platform, access)
    assert (answer.status, answer.body) == (status, body)


async def test_a_missing_scope_at_youtube_and_instagram(social: Social) -> None:
    """A reason of insufficient permissions at Google, code 200 at Meta."""
    access = (await social.connect("youtube", scope=GOOGLE + "youtube.upload"))["access_token"]
    error = (await social.identity("youtube", access)).body["error"]
    assert (error["code"], error["status"], error["errors"][0]["reason"]) == (
        403, "PERMISSION_DENIED", "insufficientPermissions"
    )  # fmt: skip
    access = (await social.connect("instagram", scope="instagram_business_manage_comments"))["access_token"]
    answer = await social.identity("instagram", access)
    assert (answer.status, answer.body["error"]["code"]) == (403, 200)


async def test_linkedin_may_call_a_fresh_token_revoked(social: Social) -> None:
    """For some seconds the API says revoked while introspection says active."""
    await social.tell("rules", platform="linkedin", false_revoked_s=8)
    access = (await social.connect("linkedin"))["access_token"]
    answer = await social.identity("linkedin", access)
    assert (answer.status, answer.body["serviceErrorCode"], answer.body["code"]) == (401, 65601, "REVOKED_ACCESS_TOKEN")
    form = {"client_id": "app", "client_secret": SECRET, "token": access}
    seen = await social.call("POST", "linkedin", "www.linkedin.com/oauth/v2/introspectToken", data=form)
    assert seen.body["status"] == "active"
    await social.tell("clock", advance_s=8)
    assert (await social.identity("linkedin", access)).status == 200


async def test_linkedin_s_other_dead_tokens(social: Social) -> None:
    """An unknown and a revoked token have their own codes."""
    access = (await social.connect("linkedin"))["access_token"]
    assert (await social.identity("linkedin", "made-up")).body["serviceErrorCode"] == 65600
    await social.tell("grants", platform="linkedin", account="acme", event="revoked")
    assert (await social.identity("linkedin", access)).body["serviceErrorCode"] == 65601


async def test_x_counts_calls_and_money(social: Social) -> None:
    """Rate headers count down to a 429; the same user is charged once in a UTC day."""
    await social.tell("clock", now=1_800_000_000)
    access = (await social.connect("x"))["access_token"]
    first = await social.identity("x", access)
    assert first.headers["x-rate-limit-limit"] == "75"
    assert first.headers["x-rate-limit-remaining"] == "74"
    assert first.headers["x-rate-limit-reset"] == "1800000900"
    for _ in range(74):
        assert (await social.identity("x", access)).status == 200
    over = await social.identity("x", access)
    assert (over.status, over.body["type"]) == (429, PROBLEMS + "rate-limit-exceeded")
    assert over.headers["x-rate-limit-remaining"] == "0"
    assert (await social.show("usage"))["x"]["thousandths_of_a_dollar"] == {"app": 10}
    await social.tell("clock", advance_s=900)
    assert (await social.identity("x", access)).headers["x-rate-limit-remaining"] == "74"
    await social.read("x", "api.x.com/2/users/2244994945/tweets?max_results=5", access)
    assert (await social.show("usage"))["x"]["thousandths_of_a_dollar"] == {"app": 25}
    await social.tell("rules", platform="x", credit=False)
    broke = await social.identity("x", access)
    assert (broke.status, broke.body["type"]) == (429, PROBLEMS + "usage-capped")


async def test_x_forbids_an_app_s_own_credential(social: Social) -> None:
    """Basic authentication at the API is another error than a dead token."""
    shown = {"Authorization": aiohttp.encode_basic_auth("app", SECRET)}
    answer = await social.call("GET", "x", "api.x.com/2/users/me", headers=shown)
    assert (answer.status, answer.body["title"]) == (403, "Unsupported Authentication")


async def test_youtube_s_quota_is_shared_by_the_app(social: Social) -> None:
    """Units of all its accounts count together and start anew the next day."""
    await social.tell("rules", platform="youtube", quota_units_per_day=2)
    one = (await social.connect("youtube"))["access_token"]
    two = (await social.connect("youtube", "bravo"))["access_token"]
    assert (await social.identity("youtube", one)).status == 200
    assert (await social.identity("youtube", two)).status == 200
    over = await social.identity("youtube", one)
    assert (over.status, over.body["error"]["errors"][0]["reason"]) == (403, "quotaExceeded")
    await social.tell("clock", advance_s=DAY)
    renewed = await social.connect("youtube")
    assert (await social.identity("youtube", renewed["access_token"])).status == 200


async def test_meta_s_usage_header_rises_to_a_refusal(social: Social) -> None:
    """Per cent of the hour's calls, and code 4 when they are used up."""
    await social.tell("rules", platform="instagram", calls_per_hour=4)
    access = (await social.connect("instagram"))["access_token"]
    shares = []
    for _ in range(3):
        answer = await social.identity("instagram", access)
        shares.append(json.loads(answer.headers["x-app-usage"])["call_count"])
    assert shares == [25, 50, 75]
    over = await social.identity("instagram", access)
    assert (over.status, over.body["error"]["code"]) == (400, 4)


async def test_publishing_counts_as_an_effect(social: Social) -> None:
    """A post on X, LinkedIn and Instagram is one effect each; a token that may only read makes none."""
    reader = (await social.connect("x", scope="tweet.read users.read"))["access_token"]
    refused = await social.read("x", "api.x.com/2/tweets", reader, "POST", json={"text": "hello"})
    assert refused.status == 403
    writer = (await social.connect("x"))["access_token"]
    made = await social.read("x", "api.x.com/2/tweets", writer, "POST", json={"text": "hello"})
    assert (made.status, made.body["data"]["text"]) == (201, "hello")
    access = (await social.connect("linkedin", scope=ALL_LINKEDIN))["access_token"]
    post = {"author": "urn:li:person:AcmeSub01", "commentary": "hello"}
    made = await social.read("linkedin", "api.linkedin.com/rest/posts", access, "POST", json=post, headers=REST)
    assert (made.status, made.headers["x-restli-id"].startswith("urn:li:share:")) == (201, True)
    access = (await social.connect("instagram"))["access_token"]
    held = await social.read("instagram", IG + "17841400000000001/media", access, "POST", data={"caption": "hello"})
    assert social.sim.book.effects.total == 2
    form = {"creation_id": held.body["id"]}
    done = await social.read("instagram", IG + "17841400000000001/media_publish", access, "POST", data=form)
    assert done.status == 200
    counted = (await social.show("effects"))["by_platform"]
    assert counted == {name: {"acme": {"publish": 1}} for name in ("x", "linkedin", "instagram")}


async def test_linkedin_s_discovery_is_not_at_the_root(social: Social) -> None:
    """The document is below /oauth and names this simulator's addresses."""
    found = await social.call("GET", "linkedin", "www.linkedin.com/oauth/.well-known/openid-configuration")
    assert found.body["token_endpoint"] == f"{social.sim.base_url('linkedin')}/{DIALECTS['linkedin'].token}"
    root = await social.call("GET", "linkedin", "www.linkedin.com/.well-known/openid-configuration")
    assert root.status == 404


async def test_skool_has_no_api(social: Social) -> None:
    """Nothing answers in its name."""
    answer = await social.ask("GET", f"{social.sim.url}/skool/api2.skool.com/self")
    assert (answer.status, answer.body) == (404, {"error": "no such vendor"})
