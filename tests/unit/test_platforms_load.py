"""The catalog of platforms loads strictly, and says of itself what is true."""

from __future__ import annotations

import copy
import json
import tomllib
from importlib import resources
from typing import Any

import pytest

from byokeep.adapters.system import SystemIds
from byokeep.core.errors import Rejected
from byokeep.core.model import PLATFORMS, Lane
from byokeep.core.refresh import TokenModel
from byokeep.core.secret import Secret
from byokeep.platforms.consent import PlatformApp, challenge, new_verifier, oauth_of
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS, MixUp, OAuth, Pkce, ScopePurpose, load

DATA = resources.files("byokeep.platforms").joinpath("data")
WITH_OAUTH = {name: one.oauth for name, one in PLATFORM_DESCRIPTORS.items() if one.oauth is not None}


def document(platform: str) -> dict[str, Any]:
    return tomllib.loads(DATA.joinpath(f"{platform}.toml").read_text(encoding="utf-8"))


def test_every_platform_of_the_product_is_described_and_skool_says_it_has_no_api() -> None:
    """Six platforms, seven logins; what has no OAuth offers the browser alone, with the reason."""
    assert {one.provider for one in PLATFORM_DESCRIPTORS.values()} == PLATFORMS
    assert set(PLATFORM_DESCRIPTORS) == {"meta", "instagram", "tiktok", "linkedin", "youtube", "x", "skool"}
    skool = PLATFORM_DESCRIPTORS["skool"]
    assert (skool.oauth, skool.lanes, bool(skool.why_no_oauth)) == (None, (Lane.BROWSER,), True)
    with pytest.raises(Rejected) as refused:
        oauth_of(skool)
    assert refused.value.code == "platform_without_oauth"
    assert "browser lane" in refused.value.next_step


def test_the_facts_that_cost_accounts_are_as_published() -> None:
    """Who rotates, who has challenges, who extends: a change here is a decision, not a typing error."""
    models = {name: one.refresh_rules.model for name, one in WITH_OAUTH.items()}
    assert models == {
        "meta": TokenModel.EXCHANGE, "instagram": TokenModel.EXTEND, "tiktok": TokenModel.ROTATING_STRICT,
        "linkedin": TokenModel.FIXED, "youtube": TokenModel.FIXED, "x": TokenModel.ROTATING_STRICT,
    }  # fmt: skip
    pkce = {name: one.pkce for name, one in WITH_OAUTH.items()}
    assert pkce == {
        "meta": Pkce.NONE, "instagram": Pkce.NONE, "tiktok": Pkce.HEX, "linkedin": Pkce.NONE,
        "youtube": Pkce.S256, "x": Pkce.S256,
    }  # fmt: skip
    assert WITH_OAUTH["instagram"].identity.id == "user_id"
    assert WITH_OAUTH["x"].health.usd_micros == 10_000
    assert all(one.mix_up is MixUp.REDIRECT for one in WITH_OAUTH.values())


@pytest.mark.parametrize("platform", sorted(WITH_OAUTH))
def test_reads_cannot_write_and_secrets_stand_in_no_undeclared_url(platform: str) -> None:
    """Identity and posts are GETs, or TikTok's list by POST; only Meta's documents put secrets into a query."""
    one = WITH_OAUTH[platform]
    for call in (one.identity.call, one.posts.call):
        assert call.method == "GET" or (platform, call.name, json.loads(call.json or "{}")) == (
            "tiktok", "tiktok.posts", {"max_count": 5},
        )  # fmt: skip
        assert call.bearer
    calls = [one.exchange, one.refresh, *one.revoke, *([one.lengthen] if one.lengthen else [])]
    calls += [one.inspect.call] if one.inspect else []
    declared = {call.name for call in calls if call.secret_in_query}
    allowed = {"instagram": {"instagram.lengthen", "instagram.refresh"}, "meta": {"meta.inspect"}}
    assert declared == allowed.get(platform, set())
    assert set(one.scopes) == set(ScopePurpose)


def changed(platform: str, path: str, value: Any) -> dict[str, Any]:
    """The platform's document with one field set, or taken out by ``...``."""
    found = copy.deepcopy(document(platform))
    at: Any = found
    *way, last = path.split("/")
    for step in way:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return found


BROKEN = [
    ("x", "oauth/calls/refresh/url", "http://api.x.com/2/oauth2/token"),
    ("x", "oauth/calls/refresh/url", "https://user@api.x.com/2/oauth2/token"),
    ("x", "oauth/calls/refresh/url", "https://api.x.com:8443/2/oauth2/token"),
    ("x", "oauth/calls/refresh/url", "https://api.x.com/2/oauth2/token?a=b"),
    ("x", "oauth/calls/refresh/url", "https://{account}/token"),
    ("x", "oauth/calls/refresh/url", "https://api.x.com/{refresh_token}"),
    ("x", "oauth/calls/refresh/headers", {"x-token": "{refresh_token}"}),
    ("x", "oauth/calls/refresh/query", {"t": "{refresh_token}"}),
    ("x", "oauth/calls/refresh/form", {"grant_type": "password", "refresh_token": "{refresh_token}"}),
    ("x", "oauth/calls/refresh/form", {"grant_type": "refresh_token", "refresh_token": "{refreshtoken}"}),
    ("x", "oauth/calls/refresh/form", {"refresh_token": "{refresh_token}"}),
    ("x", "oauth/calls/exchange/form/grant_type", "password"),
    ("meta", "oauth/calls/lengthen/form/grant_type", "password"),
    ("instagram", "oauth/calls/refresh/query/grant_type", "password"),
    ("x", "oauth/calls/refresh/secret_in_query", True),
    ("x", "oauth/calls/refresh/retries", 3),
    ("x", "oauth/calls/surprise", {}),
    ("x", "oauth/calls/refresh", ...),
    ("x", "oauth/authorize/fixed", {"response_type": "token"}),
    ("x", "oauth/authorize/fixed", {"response_type": "code token"}),
    ("x", "oauth/authorize/fixed", {"response_type": "code", "state": "{state}"}),
    ("x", "oauth/pkce", "plain"),
    ("x", "oauth/pkce", "none"),
    ("linkedin", "oauth/pkce", "s256"),
    ("x", "oauth/client_auth", "query"),
    ("x", "oauth/mix_up", "none"),
    ("x", "oauth/issuer", "x.com"),
    ("x", "oauth/issuer", "https://evil.example"),
    ("x", "oauth/issuer", "https://www.tiktok.com"),
    ("x", "oauth/authorize/url", "https://x.com.evil.example/i/oauth2/authorize"),
    ("x", "oauth/calls/exchange/url", "https://api.evilx.com/2/oauth2/token"),
    ("x", "oauth/calls/refresh/url", "https://open.tiktokapis.com/v2/oauth/token/"),
    ("x", "oauth/calls/revoke/url", "https://evil.example/2/oauth2/revoke"),
    ("x", "oauth/calls/revoke_access/url", "https://evil.example/2/oauth2/revoke"),
    ("meta", "oauth/calls/lengthen/url", "https://evil.example/v26.0/oauth/access_token"),
    ("instagram", "oauth/calls/lengthen/url", "https://graph.evilinstagram.com/access_token"),
    ("x", "oauth/identity/call/url", "https://graph.facebook.com/2/users/me"),
    ("x", "oauth/posts/call/url", "https://evil.example/2/users/{account}/tweets"),
    ("meta", "oauth/inspect/call/url", "https://evil.example/v26.0/debug_token"),
    ("meta", "oauth/granted/call/url", "http://graph.facebook.com/v26.0/me/permissions"),
    ("meta", "oauth/granted/call/url", "https://evil.example/v26.0/me/permissions"),
    ("x", "oauth/scopes/connect", []),
    ("x", "oauth/scopes/read", ...),
    ("x", "oauth/scopes/read", [1]),
    ("x", "oauth/refresh/model", "rotating"),
    ("x", "oauth/refresh/grace_s", 30),
    ("x", "oauth/refresh/due_from", 5),
    ("x", "oauth/refresh/due_to", 99),
    ("x", "oauth/refresh/alarm_days", "14"),
    ("x", "oauth/identity/call/method", "DELETE"),
    ("x", "oauth/identity/call/method", "POST"),
    ("x", "oauth/identity/call/form", {"a": "b"}),
    ("x", "oauth/identity/id", ...),
    ("x", "oauth/errors/rules", [{"cause": "revoked"}]),
    ("x", "oauth/errors/rules", [{"statuses": [400], "cause": "dead"}]),
    ("x", "oauth/errors/rules", [{"statuses": [400], "cause": "revoked", "text": "a"}]),
    ("x", "oauth/health/usd_micros", 0.01),
    ("x", "oauth/token_endpoint", "https://api.x.com/2/oauth2/token"),
    ("x", "provider", "openai"),
    ("x", "provider", "myspace"),
    ("x", "lanes", ["browser"]),
    ("x", "lanes", ["api", "fax"]),
    ("x", "webhook", "unsigned"),
    ("x", "why_no_oauth", "because"),
    ("x", "published_name", "X \u00fc"),
    ("x", "docs_url", ...),
    ("skool", "lanes", ["api", "browser"]),
    ("skool", "why_no_oauth", ""),
    ("skool", "why_no_oauth", ...),
]


@pytest.mark.req("S-OAUTH-5", "S-OAUTH-12")
@pytest.mark.parametrize(
    ("platform", "path", "value"), BROKEN, ids=[f"{p}-{w}-{n}" for n, (p, w, _) in enumerate(BROKEN)]
)
def test_a_file_that_breaks_a_rule_does_not_load(platform: str, path: str, value: Any) -> None:
    """Unknown, missing, insecure or contradictory, another grant than a code's, an address or an issuer that is not the
    platform's own: refused, and the untouched file loads."""
    load(platform, document(platform))
    with pytest.raises(ValueError, match=r"."):
        load(platform, changed(platform, path, value))


def test_an_app_shows_no_secret() -> None:
    """What stands for our app can be printed."""
    app = PlatformApp(client_id="app", client_secret=Secret("made-up-secret-value"), redirect_uri="https://a.test/cb")
    assert "made-up" not in repr(app)


def test_descriptors_are_frozen() -> None:
    """Nobody can move an issuer or widen scopes while the program runs."""
    one: OAuth = WITH_OAUTH["x"]
    with pytest.raises(AttributeError):
        one.issuer = "https://evil.example"  # type: ignore[misc]
    with pytest.raises(TypeError):
        one.scopes[ScopePurpose.READ] = ("all",)  # type: ignore[index]


def test_challenges_are_those_of_the_standard_and_tiktok_s() -> None:
    """The example of RFC 7636, appendix B, the same hash in hexadecimal, and none where there are none."""
    verifier = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert challenge(Pkce.S256, verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert challenge(Pkce.HEX, verifier) == "13d31e961a1ad8ec2f16b10c4c982e0876a878ad6df144566ee1894acb70f9c3"
    with pytest.raises(ValueError, match="no challenge"):
        challenge(Pkce.NONE, verifier)
    made = {new_verifier().reveal() for _ in range(20)}
    assert len(made) == 20
    assert {len(one) for one in made} == {64}
    assert len({SystemIds().token() for _ in range(20)}) == 20  # the state
