"""YouTube over Google's OAuth.

Rules
- A refresh token comes with offline access on the first consent, or when consent is asked for again; refreshing gives
  an access token alone.
- One text covers an expired and a revoked refresh token.
- The account is the channel picked at consent; one person may own several.
- Past the number of live refresh tokens of a person and an app, the oldest dies without notice.
"""

from __future__ import annotations

from typing import Any, Final

from byokeep_sim.platforms.kit import API, DAY, OAUTH, PAGE, SimCase, SimPlatform, SimRefusal, SimShape, Turn, endpoint
from byokeep_sim.platforms.ledger import Family, SimToken, TokenKind
from byokeep_sim.platforms.oauth import Style, authorize, by_basic, by_form, opened, redeem
from byokeep_sim.platforms.people import SimAccount, SimApp
from byokeep_sim.platforms.world import Code, random_text
from byokeep_sim.reply import SimReply

_SCOPE: Final = "https://www.googleapis.com/auth/"
_READ: Final = frozenset({_SCOPE + name for name in ("youtube.readonly", "youtube", "youtube.force-ssl")})
SCOPES: Final = _READ | {_SCOPE + "youtube.upload", _SCOPE + "yt-analytics.readonly", "openid", "email", "profile"}
_STYLE: Final = Style(scopes=SCOPES, methods=("S256", "plain"), code=lambda: "4/0A" + random_text(60))

_OAUTH_ERRORS: Final[dict[SimCase, tuple[int, str, str]]] = {
    SimCase.BAD_CLIENT: (401, "invalid_client", "Unauthorized"),
    SimCase.BAD_CODE: (400, "invalid_grant", "Malformed auth code."),
    SimCase.BAD_PKCE: (400, "invalid_grant", "Invalid code verifier."),
    SimCase.BAD_REDIRECT: (400, "redirect_uri_mismatch", "Bad Request"),
    SimCase.BAD_GRANT_TYPE: (400, "unsupported_grant_type", "Invalid grant_type"),
    SimCase.BAD_REQUEST: (400, "invalid_request", "Missing required parameter"),
    SimCase.ABSENT: (400, "invalid_request", "Missing required parameter: refresh_token"),
    SimCase.UNSUPPORTED_TOKEN: (400, "unsupported_token_type", "Unsupported token type"),
    SimCase.RATE_LIMITED: (429, "rate_limit_exceeded", "Too many requests"),
    SimCase.TRANSIENT: (500, "internal_failure", "Backend error"),
}
_DEAD: Final = (400, "invalid_grant", "Token has been expired or revoked.")
# case: (HTTP status, reason, domain, status text, message)
_API_ERRORS: Final[dict[SimCase, tuple[int, str, str, str, str]]] = {
    SimCase.MISSING_SCOPE: (
        403,
        "insufficientPermissions",
        "global",
        "PERMISSION_DENIED",
        "Request had insufficient authentication scopes.",
    ),
    SimCase.QUOTA: (403, "quotaExceeded", "youtube.quota", "PERMISSION_DENIED", "The quota of the project is used up."),
    SimCase.USER_CAP: (400, "uploadLimitExceeded", "youtube.video", "INVALID_ARGUMENT", "Too many videos uploaded."),
    SimCase.RATE_LIMITED: (403, "rateLimitExceeded", "usageLimits", "PERMISSION_DENIED", "Rate limit exceeded."),
    SimCase.LOCKOUT: (403, "accountSuspended", "youtube.common", "PERMISSION_DENIED", "The account is suspended."),
    SimCase.BLOCKED: (403, "forbidden", "youtube.common", "PERMISSION_DENIED", "Forbidden"),
    SimCase.NO_CHANNEL: (401, "youtubeSignupRequired", "youtube.header", "UNAUTHENTICATED", "Unauthorized"),
    SimCase.BAD_REQUEST: (400, "missingRequiredParameter", "global", "INVALID_ARGUMENT", "A parameter is missing."),
    SimCase.NOT_FOUND: (404, "playlistNotFound", "youtube.playlistItem", "NOT_FOUND", "Not found."),
    SimCase.TRANSIENT: (503, "backendError", "global", "UNAVAILABLE", "Backend error"),
}
_DEAD_ACCESS: Final = (
    401,
    "authError",
    "global",
    "UNAUTHENTICATED",
    "Request had invalid authentication credentials.",
)


def _api_error(status: int, reason: str, domain: str, text: str, words: str) -> SimReply:
    errors = [{"message": words, "domain": domain, "reason": reason}]
    return SimReply(status=status, body={"error": {"code": status, "message": words, "errors": errors, "status": text}})


def refuse(case: SimCase, surface: str) -> SimReply:
    """Return the refusal of a surface."""
    if surface == API:
        return _api_error(*_API_ERRORS.get(case, _DEAD_ACCESS))
    status, name, words = _OAUTH_ERRORS.get(case, _DEAD)
    return SimReply(status=status, body={"error": name, "error_description": words})


def error(status: int) -> SimReply:
    """Return the error of an HTTP status."""
    reasons = {401: "authError", 403: "forbidden", 404: "notFound", 429: "rateLimitExceeded"}
    text = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}.get(status, "UNKNOWN")
    return _api_error(status, reasons.get(status, "backendError"), "global", text, "simulated error")


def _authorize(turn: Turn) -> SimReply:
    return authorize(turn, _STYLE)


def _app(turn: Turn) -> SimApp:
    return by_basic(turn) or by_form(turn)


def _token(turn: Turn) -> SimReply:
    app, world = _app(turn), turn.world
    match turn.ask.form.get("grant_type"):
        case "authorization_code":
            return _first(turn, app, redeem(turn, app))
        case "refresh_token":
            token = world.usable(turn.ask.form.get("refresh_token", ""), TokenKind.REFRESH)
            if token.family.client_id != app.client_id:
                raise SimRefusal(SimCase.UNKNOWN)
            # Idleness is counted anew from each use.
            token.expires_at = token.issued_at + 7 * DAY if app.testing else world.now + world.number("idle_ttl_s")
            token.family.generation += 1
            return SimReply(status=200, body=_access(turn, token.family))
        case _:
            raise SimRefusal(SimCase.BAD_GRANT_TYPE)


def _first(turn: Turn, app: SimApp, code: Code) -> SimReply:
    world = turn.world
    known = any(True for _ in world.ledger.of(owner=code.owner, client_id=app.client_id))
    family = opened(turn, code)
    body = _access(turn, family)
    if code.wishes.get("access_type") == "offline" and (not known or "consent" in code.wishes.get("prompt", "")):
        ttl = 7 * DAY if app.testing else world.number("idle_ttl_s")
        body["refresh_token"] = world.mint(family, TokenKind.REFRESH, "1//" + random_text(90), ttl)
        _drop_oldest(turn, family)
    return SimReply(status=200, body=body)


def _drop_oldest(turn: Turn, family: Family) -> None:
    live = [
        token
        for one in turn.world.ledger.of(owner=family.owner, client_id=family.client_id)
        for token in one.tokens
        if token.kind is TokenKind.REFRESH and token.death(turn.world.now) is None
    ]
    for token in live[: max(0, len(live) - turn.world.number("most_refresh_tokens"))]:
        token.dead = SimCase.SUPERSEDED


def _access(turn: Turn, family: Family) -> dict[str, Any]:
    ttl = turn.world.number("access_ttl_s")
    return {
        "access_token": turn.world.mint(family, TokenKind.ACCESS, "ya29." + random_text(160), ttl),
        "expires_in": ttl,
        "scope": " ".join(family.scopes),
        "token_type": "Bearer",
    }


def _revoke(turn: Turn) -> SimReply:
    world = turn.world
    token = world.ledger.find(turn.ask.param("token"))
    if token is None or token.death(world.now) is not None:
        body = {"error": "invalid_token", "error_description": "Token expired or revoked"}
        return SimReply(status=400, body=body)
    world.ledger.end(SimCase.REVOKED, owner=token.family.owner, client_id=token.family.client_id)
    return SimReply(status=200, body={})


def _tokeninfo(turn: Turn) -> SimReply:
    world = turn.world
    token = world.ledger.find(turn.ask.param("access_token"))
    if token is None or token.kind is not TokenKind.ACCESS or token.death(world.now) is not None:
        return SimReply(status=400, body={"error": "invalid_token", "error_description": "Invalid Value"})
    family = token.family
    account = world.accounts[family.account]
    refreshable = any(one.kind is TokenKind.REFRESH for one in family.tokens)
    return SimReply(
        status=200,
        body={
            "azp": family.client_id,
            "aud": family.client_id,
            "sub": account.person_id,
            "scope": " ".join(family.scopes),
            "exp": str(round(token.expires_at or 0)),
            "expires_in": str(token.left_s(world.now)),
            "email": f"{account.owner}@example.test",
            "email_verified": "true",
            "access_type": "offline" if refreshable else "online",
        },
    )


def _signed_in(turn: Turn) -> tuple[SimToken, SimAccount]:
    world = turn.world
    token = world.usable(turn.ask.bearer(), TokenKind.ACCESS)
    if not _READ & set(token.family.scopes):
        raise SimRefusal(SimCase.MISSING_SCOPE)
    account = world.account_of(token.family)
    used, _ = world.windows.add("quota_units", token.family.client_id, now=world.now, every_s=DAY)
    if used > world.number("quota_units_per_day"):
        raise SimRefusal(SimCase.QUOTA)
    return token, account


def _uploads(account: SimAccount) -> str:
    return "UU" + account.id.removeprefix("UC")


def _channels(turn: Turn) -> SimReply:
    _, own = _signed_in(turn)
    query = turn.ask.query
    parts = [part for part in query.get("part", "").split(",") if part]
    if not parts or query.get("mine") != "true":
        raise SimRefusal(SimCase.BAD_REQUEST)
    account = turn.who(own)
    everything: dict[str, Any] = {
        "id": account.id,
        "snippet": {
            "title": account.display_name,
            "description": "",
            "customUrl": f"@{account.username.removeprefix('@')}",
            "publishedAt": "2020-01-01T00:00:00Z",
        },
        "contentDetails": {"relatedPlaylists": {"likes": "", "uploads": _uploads(account)}},
    }
    item = {"kind": "youtube#channel", "etag": "sim", **{p: everything[p] for p in parts if p in everything}}
    return SimReply(status=200, body=_page("youtube#channelListResponse", [item]))


def _page(kind: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    info = {"totalResults": len(items), "resultsPerPage": max(5, len(items))}
    return {"kind": kind, "etag": "sim", "pageInfo": info, "items": items}


def _playlist(turn: Turn) -> SimReply:
    _, own = _signed_in(turn)
    account = turn.who(own)
    if turn.ask.query.get("playlistId") != _uploads(own):
        raise SimRefusal(SimCase.NOT_FOUND)
    items = []
    for number, words in enumerate(account.posts[: turn.ask.count("maxResults", 5, 50)]):
        video = account.post_id(number)[:11]
        snippet = {"title": words, "channelId": account.id, "resourceId": {"kind": "youtube#video", "videoId": video}}
        items.append({"kind": "youtube#playlistItem", "snippet": snippet, "contentDetails": {"videoId": video}})
    return SimReply(status=200, body=_page("youtube#playlistItemListResponse", items))


_API: Final = "www.googleapis.com/"

PLATFORM: Final = SimPlatform(
    name="youtube",
    endpoints=(
        endpoint("authorize", "GET", "accounts.google.com/o/oauth2/v2/auth", _authorize, surface=PAGE),
        endpoint("token", "POST", "oauth2.googleapis.com/token", _token, surface=OAUTH),
        endpoint("revoke", "POST", "oauth2.googleapis.com/revoke", _revoke, surface=OAUTH),
        endpoint("introspect", "GET", _API + "oauth2/v3/tokeninfo", _tokeninfo, surface=OAUTH),
        endpoint(
            "identity",
            "GET",
            _API + "youtube/v3/channels",
            _channels,
            shape=SimShape(inside=("items", 0), id="id", username=("snippet", "customUrl"), name=("snippet", "title")),
        ),
        endpoint("posts", "GET", _API + "youtube/v3/playlistItems", _playlist),
    ),
    rules={
        "iss": "",
        "code_ttl_s": 600,
        "access_ttl_s": 3600,
        "idle_ttl_s": 183 * DAY,
        "most_refresh_tokens": 100,
        "quota_units_per_day": 10_000,
    },
    refuse=refuse,
    cases=frozenset({*_API_ERRORS, *_OAUTH_ERRORS, SimCase.EXPIRED, SimCase.REVOKED}),
    error=error,
    scopes=SCOPES,
)
