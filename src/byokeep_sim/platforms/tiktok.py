"""TikTok Login Kit, Display and Content Posting.

Rules
- The app's id is called ``client_key``; the challenge is hexadecimal; trailing slashes are part of the paths.
- A refresh gives a new refresh token and ends the one before at once.
- Lifetimes are those of the newest documents; older ones said a day and a year, so they are rules.
"""

from __future__ import annotations

from typing import Any, Final

from byokeep_sim.platforms.kit import API, DAY, OAUTH, PAGE, SimCase, SimPlatform, SimRefusal, SimShape, Turn, endpoint
from byokeep_sim.platforms.ledger import Family, SimToken, TokenKind
from byokeep_sim.platforms.oauth import Style, authorize, by_form, hex_s256, on_loopback, opened, redeem, rotated
from byokeep_sim.platforms.people import SimAccount
from byokeep_sim.platforms.world import random_letters, random_text
from byokeep_sim.reply import SimReply

_LOG_ID: Final = "20261124000000000000000000000000AB"
_BASIC: Final = "user.info.basic"
_PROFILE: Final = "user.info.profile"
SCOPES: Final = frozenset({_BASIC, _PROFILE, "user.info.stats", "video.list", "video.publish", "video.upload"})
# The star and the exclamation mark of a code are encoded in the redirect; a client has to decode them.
_STYLE: Final = Style(
    client="client_key",
    blank=",",
    pkce=on_loopback,
    scopes=SCOPES,
    code=lambda: f"{random_text(40)}*0!{random_letters(4)}.va",
)

_OAUTH_ERRORS: Final[dict[SimCase, tuple[str, str]]] = {
    SimCase.BAD_CLIENT: ("invalid_client", "Client key or secret is incorrect."),
    SimCase.BAD_CODE: ("invalid_grant", "Authorization code is expired."),
    SimCase.BAD_PKCE: ("invalid_grant", "Code verifier or code challenge is invalid."),
    SimCase.BAD_REDIRECT: ("invalid_grant", "Redirect_uri is not matched with the uri when requesting code."),
    SimCase.BAD_GRANT_TYPE: ("unsupported_grant_type", "The grant type is not supported."),
    SimCase.BAD_REQUEST: ("invalid_request", "The request parameters are malformed."),
    SimCase.ABSENT: ("invalid_request", "The request parameters are malformed."),
    SimCase.UNSUPPORTED_TOKEN: ("unsupported_token_type", "The token type is not supported."),
    SimCase.RATE_LIMITED: ("rate_limit_exceeded", "Too many requests."),
    SimCase.TRANSIENT: ("server_error", "The server is busy."),
}
_DEAD: Final = ("invalid_grant", "Refresh token is invalid or expired.")
# case: (HTTP status, code, message)
_API_ERRORS: Final[dict[SimCase, tuple[int, str, str]]] = {
    SimCase.MISSING_SCOPE: (401, "scope_not_authorized", "The user did not authorize the scope required."),
    SimCase.BAD_APP: (401, "scope_permission_missed", "Additional permission is needed."),
    SimCase.RATE_LIMITED: (429, "rate_limit_exceeded", "The API rate limit was exceeded."),
    SimCase.LOCKOUT: (403, "spam_risk_user_banned_from_posting", "The user is banned from making new posts."),
    SimCase.QUOTA: (403, "spam_risk_too_many_posts", "The daily post cap from the API is reached."),
    SimCase.BLOCKED: (403, "spam_risk_too_many_pending_share", "There are too many pending shares."),
    SimCase.USER_CAP: (403, "reached_active_user_cap", "The daily quota of active users is reached."),
    SimCase.RESTRICTED: (
        403,
        "unaudited_client_can_only_post_to_private_accounts",
        "Unaudited clients can only post to private accounts.",
    ),
    SimCase.BAD_REQUEST: (400, "invalid_params", "The request parameters are not valid."),
    SimCase.NOT_FOUND: (404, "not_found", "No such path."),
    SimCase.TRANSIENT: (500, "internal_error", "Something is wrong. Try again later."),
}
_DEAD_ACCESS: Final = (401, "access_token_invalid", "The access token is invalid or not found in the request.")


def _api(status: int, code: str, message: str, data: dict[str, Any] | None = None) -> SimReply:
    return SimReply(
        status=status, body={"data": data or {}, "error": {"code": code, "message": message, "log_id": _LOG_ID}}
    )


def refuse(case: SimCase, surface: str) -> SimReply:
    """Return the refusal of a surface; on OAuth's, one error covers expired, revoked and reused."""
    if surface == API:
        return _api(*_API_ERRORS.get(case, _DEAD_ACCESS))
    name, words = _OAUTH_ERRORS.get(case, _DEAD)
    status = {SimCase.RATE_LIMITED: 429, SimCase.TRANSIENT: 500}.get(case, 400)
    return SimReply(status=status, body={"error": name, "error_description": words, "log_id": _LOG_ID})


def error(status: int) -> SimReply:
    """Return the error of an HTTP status."""
    codes = {401: _DEAD_ACCESS[1], 404: "not_found", 429: "rate_limit_exceeded"}
    return _api(status, codes.get(status, "internal_error" if status >= 500 else "invalid_params"), "simulated error")


def _authorize(turn: Turn) -> SimReply:
    return authorize(turn, _STYLE)


def _token(turn: Turn) -> SimReply:
    app = by_form(turn, "client_key")
    match turn.ask.form.get("grant_type"):
        case "authorization_code":
            return _issued(turn, opened(turn, redeem(turn, app, hex_s256)))
        case "refresh_token":
            return _issued(turn, rotated(turn, app))
        case _:
            raise SimRefusal(SimCase.BAD_GRANT_TYPE)


def _issued(turn: Turn, family: Family) -> SimReply:
    world = turn.world
    account, app = world.accounts[family.account], world.app_of(family)
    access_ttl, refresh_ttl = world.number("access_ttl_s"), world.number("refresh_ttl_s")
    return SimReply(
        status=200,
        body={
            "access_token": world.mint(family, TokenKind.ACCESS, "act." + random_text(60), access_ttl),
            "expires_in": access_ttl,
            "open_id": account.seen_by(app),
            "refresh_expires_in": refresh_ttl,
            "refresh_token": world.mint(family, TokenKind.REFRESH, "rft." + random_text(60), refresh_ttl),
            "scope": ",".join(family.scopes),
            "token_type": "Bearer",
        },
    )


def _revoke(turn: Turn) -> SimReply:
    app, world = by_form(turn, "client_key"), turn.world
    token = world.usable(turn.ask.form.get("token", ""), TokenKind.ACCESS)
    if token.family.client_id != app.client_id:
        raise SimRefusal(SimCase.UNKNOWN)
    world.ledger.end(SimCase.REVOKED, account=token.family.account, client_id=app.client_id)
    return SimReply(status=200, body={}, raw=b"")


def _signed_in(turn: Turn, *scopes: str) -> tuple[SimToken, SimAccount]:
    token = turn.world.usable(turn.ask.bearer(), TokenKind.ACCESS, scopes=scopes)
    return token, turn.world.account_of(token.family)


def _me(turn: Turn) -> SimReply:
    token, own = _signed_in(turn, _BASIC)
    names = [name for name in turn.ask.query.get("fields", "").split(",") if name]
    account = turn.who(own)
    everything = {
        "open_id": account.seen_by(turn.world.app_of(token.family)),
        "union_id": account.union_id,
        "display_name": account.display_name,
        "avatar_url": f"https://p16.tiktokcdn.com/{account.union_id}.jpeg",
        "username": account.username,
    }
    if "username" in names and _PROFILE not in token.family.scopes:
        raise SimRefusal(SimCase.MISSING_SCOPE)
    if not names or set(names) - set(everything):
        raise SimRefusal(SimCase.BAD_REQUEST)
    return _api(200, "ok", "", {"user": {name: everything[name] for name in names}})


def _videos(turn: Turn) -> SimReply:
    _, own = _signed_in(turn, "video.list")
    account, wanted = turn.who(own), turn.ask.document().get("max_count", 10)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 1 <= wanted <= 20:
        raise SimRefusal(SimCase.BAD_REQUEST)
    names = turn.ask.query.get("fields", "id").split(",")
    videos = []
    for number, words in enumerate(account.posts[:wanted]):
        post = account.post_id(number)
        url = f"https://www.tiktok.com/@{account.username}/video/{post}"
        everything = {"id": post, "title": words, "create_time": 1_750_000_000 - number * 3600, "share_url": url}
        videos.append({name: everything[name] for name in names if name in everything})
    more = len(account.posts) > wanted
    return _api(200, "ok", "", {"videos": videos, "cursor": 0, "has_more": more})


PLATFORM: Final = SimPlatform(
    name="tiktok",
    endpoints=(
        endpoint("authorize", "GET", "www.tiktok.com/v2/auth/authorize/", _authorize, surface=PAGE),
        endpoint("token", "POST", "open.tiktokapis.com/v2/oauth/token/", _token, surface=OAUTH),
        endpoint("revoke", "POST", "open.tiktokapis.com/v2/oauth/revoke/", _revoke, surface=OAUTH),
        endpoint(
            "identity",
            "GET",
            "open.tiktokapis.com/v2/user/info/",
            _me,
            shape=SimShape(inside=("data", "user"), id="open_id", username=("username",), name=("display_name",)),
        ),
        endpoint("posts", "POST", "open.tiktokapis.com/v2/video/list/", _videos),
    ),
    rules={
        "iss": "",
        "code_ttl_s": 600,
        "access_ttl_s": 2 * 3600,
        "refresh_ttl_s": 180 * DAY,
        "grace_s": 0,
        "reuse_kills_family": False,
    },
    refuse=refuse,
    cases=frozenset({*_API_ERRORS, *_OAUTH_ERRORS, SimCase.EXPIRED, SimCase.REVOKED, SimCase.REUSED, SimCase.UNKNOWN}),
    error=error,
    scopes=SCOPES,
)
