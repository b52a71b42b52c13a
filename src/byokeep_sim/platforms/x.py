"""X, API version 2.

Rules
- A challenge is required. An app with a secret shows it in the Authorization header and nowhere else.
- A refresh token works once; using one again ends its whole family.
- One grant of a person to an app lives: a new login ends the earlier one.
- Reading costs money; the same resource is charged once in a UTC day.
"""

from __future__ import annotations

from typing import Any, Final

from byokeep_sim.platforms.kit import API, DAY, OAUTH, PAGE, SimCase, SimPlatform, SimRefusal, SimShape, Turn, endpoint
from byokeep_sim.platforms.ledger import Family, SimToken, TokenKind
from byokeep_sim.platforms.oauth import Style, authorize, by_basic, opened, redeem, rotated
from byokeep_sim.platforms.people import SimAccount, SimApp, digits
from byokeep_sim.platforms.world import random_text
from byokeep_sim.reply import SimReply

_READ: Final = ("tweet.read", "users.read")
SCOPES: Final = frozenset({*_READ, "tweet.write", "media.write", "offline.access", "users.email", "like.write"})
_STYLE: Final = Style(pkce=lambda _: True, methods=("S256", "plain"), scopes=SCOPES)
_WINDOW_S: Final = 900
# Calls of a person in 15 minutes.
_LIMITS: Final = {"identity": 75, "posts": 900, "publish": 100}
_PRICE: Final = {"user": 10, "post": 5, "publish": 15, "publish_url": 200}

_OAUTH_ERRORS: Final[dict[SimCase, tuple[int, str, str]]] = {
    SimCase.BAD_CLIENT: (401, "unauthorized_client", "Missing valid authorization header"),
    SimCase.WRONG_AUTH: (401, "unauthorized_client", "Missing valid authorization header"),
    SimCase.BAD_GRANT_TYPE: (400, "unsupported_grant_type", "Value passed for the grant type was invalid."),
    SimCase.BAD_PKCE: (400, "invalid_request", "Value passed for the code verifier did not match the code challenge."),
    SimCase.BAD_REDIRECT: (
        400,
        "invalid_request",
        "Value passed for the redirect uri did not match the uri of the code.",
    ),
    SimCase.BAD_CODE: (400, "invalid_request", "Value passed for the authorization code was invalid."),
    SimCase.ABSENT: (400, "invalid_request", "Missing required parameter [refresh_token]."),
    SimCase.UNSUPPORTED_TOKEN: (400, "unsupported_token_type", "The type of the token is not supported."),
    SimCase.RATE_LIMITED: (429, "rate_limited", "Too Many Requests"),
    SimCase.TRANSIENT: (503, "temporarily_unavailable", "Service Unavailable"),
}
_DEAD: Final = (400, "invalid_request", "Value passed for the token was invalid.")
# case: (HTTP status, problem, title, detail)
_API_ERRORS: Final[dict[SimCase, tuple[int, str, str, str]]] = {
    SimCase.MISSING_SCOPE: (403, "not-authorized-for-resource", "Forbidden", "You are not permitted to do this."),
    SimCase.BAD_APP: (403, "client-forbidden", "Client Forbidden", "This app is not enrolled."),
    SimCase.WRONG_AUTH: (
        403,
        "unsupported-authentication",
        "Unsupported Authentication",
        "Authenticating with this kind of credential is forbidden here.",
    ),
    SimCase.LOCKOUT: (403, "user-suspended", "Forbidden", "The user is suspended."),
    SimCase.QUOTA: (429, "usage-capped", "UsageCapExceeded", "Usage cap exceeded"),
    SimCase.RATE_LIMITED: (429, "rate-limit-exceeded", "Too Many Requests", "Too Many Requests"),
    SimCase.BAD_REQUEST: (400, "invalid-request", "Invalid Request", "One or more parameters are invalid."),
    SimCase.NOT_FOUND: (404, "resource-not-found", "Not Found Error", "No such resource."),
    SimCase.TRANSIENT: (503, "service-unavailable", "Service Unavailable", "Service Unavailable"),
}
_DEAD_ACCESS: Final = (401, "unauthorized", "Unauthorized", "Unauthorized")


def _problem(status: int, problem: str, title: str, detail: str) -> SimReply:
    kind = f"https://api.x.com/2/problems/{problem}"
    return SimReply(status=status, body={"title": title, "detail": detail, "type": kind, "status": status})


def refuse(case: SimCase, surface: str) -> SimReply:
    """Return the refusal of a surface; bad, expired and revoked tokens are not told apart."""
    if surface == API:
        return _problem(*_API_ERRORS.get(case, _DEAD_ACCESS))
    status, name, words = _OAUTH_ERRORS.get(case, _DEAD)
    return SimReply(status=status, body={"error": name, "error_description": words})


def beside(true: SimReply, refusal: SimReply) -> SimReply:
    """Return the reply with the error in a list beside its data."""
    return SimReply(status=200, body={**true.body, "errors": [refusal.body]}, headers=true.headers)


def error(status: int) -> SimReply:
    """Return the error of an HTTP status."""
    titles = {401: "Unauthorized", 403: "Forbidden", 404: "Not Found Error", 429: "Too Many Requests"}
    title = titles.get(status, "Service Unavailable" if status >= 500 else "Invalid Request")
    return _problem(status, title.lower().replace(" ", "-"), title, "simulated error")


def _authorize(turn: Turn) -> SimReply:
    return authorize(turn, _STYLE)


def _app(turn: Turn) -> SimApp:
    app = by_basic(turn)
    if app is None:
        app = turn.world.apps.get(turn.ask.form.get("client_id", ""))
        if app is None or not app.public:
            raise SimRefusal(SimCase.WRONG_AUTH)
    return app


def _token(turn: Turn) -> SimReply:
    app, world = _app(turn), turn.world
    match turn.ask.form.get("grant_type"):
        case "authorization_code":
            code = redeem(turn, app)
            if world.on("single_grant"):
                world.ledger.end(SimCase.SUPERSEDED, account=code.account, client_id=app.client_id)
            return _issued(turn, opened(turn, code))
        case "refresh_token":
            return _issued(turn, rotated(turn, app))
        case _:
            raise SimRefusal(SimCase.BAD_GRANT_TYPE)


def _issued(turn: Turn, family: Family) -> SimReply:
    world, ttl = turn.world, turn.world.number("access_ttl_s")
    body: dict[str, Any] = {
        "token_type": "bearer",
        "expires_in": ttl,
        "access_token": world.mint(family, TokenKind.ACCESS, random_text(90), ttl),
        "scope": " ".join(family.scopes),
    }
    if "offline.access" in family.scopes:
        body["refresh_token"] = world.mint(family, TokenKind.REFRESH, random_text(92), world.number("refresh_ttl_s"))
    return SimReply(status=200, body=body)


def _revoke(turn: Turn) -> SimReply:
    app, world = _app(turn), turn.world
    token = world.ledger.find(turn.ask.form.get("token", ""))
    if token is None or token.family.client_id != app.client_id:
        raise SimRefusal(SimCase.UNKNOWN)
    token.family.dead = token.family.dead or SimCase.REVOKED
    return SimReply(status=200, body={"revoked": True})


def _signed_in(turn: Turn, *scopes: str) -> tuple[SimToken, SimAccount]:
    world = turn.world
    if turn.ask.basic() is not None:
        raise SimRefusal(SimCase.WRONG_AUTH)
    token = world.usable(turn.ask.bearer(), TokenKind.ACCESS, scopes=scopes)
    if not world.on("credit"):
        raise SimRefusal(SimCase.QUOTA)
    return token, world.account_of(token.family)


def _me(turn: Turn) -> SimReply:
    token, own = _signed_in(turn, *_READ)
    account = turn.who(own)
    turn.world.pay(token.family.client_id, f"user {account.id}", _PRICE["user"])
    asked = set(turn.ask.query.get("user.fields", "").split(","))
    more = {"verified": False, "protected": False}
    body = {"id": account.id, "name": account.display_name, "username": account.username}
    return SimReply(status=200, body={"data": body | {name: more[name] for name in sorted(asked & set(more))}})


def _posts(turn: Turn) -> SimReply:
    token, own = _signed_in(turn, *_READ)
    if turn.parts["id"] != own.id:
        raise SimRefusal(SimCase.NOT_FOUND)
    wanted, account = turn.ask.count("max_results", 10, 100), turn.who(own)
    if wanted < 5:
        raise SimRefusal(SimCase.BAD_REQUEST)
    posts = []
    for number, words in enumerate(account.posts[:wanted]):
        post = account.post_id(number)
        turn.world.pay(token.family.client_id, f"post {post}", _PRICE["post"])
        posts.append({"id": post, "text": words, "edit_history_tweet_ids": [post]})
    meta: dict[str, Any] = {"result_count": len(posts)}
    if not posts:
        return SimReply(status=200, body={"meta": meta})
    meta |= {"newest_id": posts[0]["id"], "oldest_id": posts[-1]["id"]}
    return SimReply(status=200, body={"data": posts, "meta": meta})


def _publish(turn: Turn) -> SimReply:
    token, account = _signed_in(turn, "tweet.read", "tweet.write", "users.read")
    words = str(turn.ask.document().get("text", ""))
    if not words:
        raise SimRefusal(SimCase.BAD_REQUEST)
    effect = turn.world.book.effects.add("x", account.name, "publish", "")
    price = _PRICE["publish_url" if "http" in words else "publish"]
    turn.world.pay(token.family.client_id, effect.id, price)
    return SimReply(status=201, body={"data": {"id": digits(effect.id, 19), "text": words}})


def meter(turn: Turn, call: str, who: str) -> tuple[dict[str, str], bool]:
    """Count a call of a person; returns the rate headers, and whether it is within the limit."""
    if call not in _LIMITS:
        return {}, True
    limit = turn.world.number(f"{call}_per_window")
    used, ends = turn.world.windows.add(call, who, now=turn.world.now, every_s=_WINDOW_S)
    headers = {
        "x-rate-limit-limit": str(limit),
        "x-rate-limit-remaining": str(max(0, limit - used)),
        "x-rate-limit-reset": str(ends),
    }
    return headers, used <= limit


PLATFORM: Final = SimPlatform(
    name="x",
    endpoints=(
        endpoint("authorize", "GET", "x.com/i/oauth2/authorize", _authorize, surface=PAGE),
        endpoint("token", "POST", "api.x.com/2/oauth2/token", _token, surface=OAUTH),
        endpoint("revoke", "POST", "api.x.com/2/oauth2/revoke", _revoke, surface=OAUTH),
        endpoint(
            "identity",
            "GET",
            "api.x.com/2/users/me",
            _me,
            shape=SimShape(inside=("data",), id="id", username=("username",), name=("name",)),
        ),
        endpoint("posts", "GET", r"api.x.com/2/users/(?P<id>[^/]+)/tweets", _posts),
        endpoint("publish", "POST", "api.x.com/2/tweets", _publish),
    ),
    rules={
        "iss": "",
        "code_ttl_s": 30,
        "access_ttl_s": 7200,
        "refresh_ttl_s": 180 * DAY,
        "grace_s": 0,
        "reuse_kills_family": True,
        "single_grant": True,
        "credit": True,
        "identity_per_window": _LIMITS["identity"],
        "posts_per_window": _LIMITS["posts"],
        "publish_per_window": _LIMITS["publish"],
    },
    refuse=refuse,
    cases=frozenset({*_API_ERRORS, *_OAUTH_ERRORS, SimCase.EXPIRED, SimCase.REVOKED, SimCase.REUSED}),
    error=error,
    scopes=SCOPES,
    beside=beside,
    meter=meter,
)
