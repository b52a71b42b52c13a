"""LinkedIn: sixty days of access; partners can renew it for a year from the first consent.

Rules
- The refresh token stays the same and its end stays the same; the last access token ends with it.
- The common flow has no challenge: one is refused.
- Calls under ``/rest`` name a version of the interface.
- Not published, so rules: how long a fresh token may falsely count as revoked, and how the code lives.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from byokeep_sim.platforms.kit import API, DAY, OAUTH, PAGE, SimCase, SimPlatform, SimRefusal, SimShape, Turn, endpoint
from byokeep_sim.platforms.ledger import Family, SimToken, TokenKind
from byokeep_sim.platforms.oauth import Style, authorize, by_form, opened, redeem
from byokeep_sim.platforms.people import SimAccount, digits
from byokeep_sim.platforms.world import random_text
from byokeep_sim.reply import SimReply

SCOPES: Final = frozenset(
    {
        "openid",
        "profile",
        "email",
        "r_basicprofile",
        "w_member_social",
        "r_member_social",
        "w_organization_social",
        "r_organization_social",
        "rw_organization_admin",
    }
)
_STYLE: Final = Style(
    pkce=lambda _: None,
    scopes=SCOPES,
    denied=(
        ("error", "user_cancelled_authorize"),
        ("error_description", "The user cancelled the authorization"),
    ),
    bad_scope="unauthorized_scope_error",
)
_PERSON: Final = "urn:li:person:"
_ORGANIZATION: Final = "urn:li:organization:"

_OAUTH_ERRORS: Final[dict[SimCase, tuple[int, str, str]]] = {
    SimCase.BAD_CLIENT: (401, "invalid_client", "Client authentication failed"),
    SimCase.BAD_CODE: (400, "invalid_request", "Unable to retrieve access token: authorization code not found"),
    SimCase.BAD_REDIRECT: (
        400,
        "invalid_request",
        "Unable to retrieve access token: appid/redirect uri/code verifier does not match authorization code.",
    ),
    SimCase.BAD_PKCE: (
        400,
        "invalid_request",
        "Unable to retrieve access token: appid/redirect uri/code verifier does not match authorization code.",
    ),
    SimCase.BAD_GRANT_TYPE: (400, "unsupported_grant_type", "The grant type is not supported"),
    SimCase.BAD_APP: (400, "unauthorized_client", "The app may not use refresh tokens"),
    SimCase.UNSUPPORTED_TOKEN: (400, "unsupported_token_type", "The token type is not supported"),
    SimCase.RATE_LIMITED: (429, "rate_limited", "Too many requests"),
    SimCase.TRANSIENT: (500, "server_error", "Internal error"),
}
_DEAD: Final = (400, "invalid_grant", "The provided authorization grant or refresh token is expired or revoked")
# case: (HTTP status, service code, name if the body has one, message)
_API_ERRORS: Final[dict[SimCase, tuple[int, int, str, str]]] = {
    SimCase.REVOKED: (401, 65601, "REVOKED_ACCESS_TOKEN", "The token used in the request has been revoked by the user"),
    SimCase.UNKNOWN: (401, 65600, "INVALID_ACCESS_TOKEN", "Invalid access token"),
    SimCase.EXPIRED: (401, 65602, "EXPIRED_ACCESS_TOKEN", "The token used in the request has expired"),
    SimCase.ABSENT: (401, 65604, "EMPTY_ACCESS_TOKEN", "Empty oauth2 access token"),
    SimCase.MISSING_SCOPE: (403, 100, "", "Not enough permissions to access this resource"),
    SimCase.LOCKOUT: (403, 100, "", "The member is restricted"),
    SimCase.RATE_LIMITED: (429, 101, "", "Resource level throttle limit for calls is reached"),
    SimCase.BAD_VERSION: (400, 100, "VERSION_MISSING", "A version must be present. Please specify a version"),
    SimCase.BAD_REQUEST: (400, 100, "", "Invalid parameter"),
    SimCase.NOT_FOUND: (404, 100, "", "No such resource"),
    SimCase.TRANSIENT: (500, 100, "", "Internal error"),
}


def refuse(case: SimCase, surface: str) -> SimReply:
    """Return the refusal of a surface."""
    if surface == API:
        status, code, name, words = _API_ERRORS.get(case, _API_ERRORS[SimCase.REVOKED])
        named = {"code": name} if name else {}
        return SimReply(status=status, body={"status": status, "serviceErrorCode": code, **named, "message": words})
    status, name, words = _OAUTH_ERRORS.get(case, _DEAD)
    return SimReply(status=status, body={"error": name, "error_description": words})


def error(status: int) -> SimReply:
    """Return the error of an HTTP status."""
    code = {401: 65600, 429: 101}.get(status, 100)
    return SimReply(status=status, body={"status": status, "serviceErrorCode": code, "message": "simulated error"})


def _authorize(turn: Turn) -> SimReply:
    return authorize(turn, _STYLE)


def _token(turn: Turn) -> SimReply:
    app, world = by_form(turn), turn.world
    match turn.ask.form.get("grant_type"):
        case "authorization_code":
            return _issued(turn, opened(turn, redeem(turn, app)))
        case "refresh_token" if not app.partner:
            raise SimRefusal(SimCase.BAD_APP)
        case "refresh_token":
            value = turn.ask.form.get("refresh_token", "")
            token = world.usable(value, TokenKind.REFRESH)
            if token.family.client_id != app.client_id:
                raise SimRefusal(SimCase.UNKNOWN)
            token.family.generation += 1
            return _issued(turn, token.family, value, token)
        case _:
            raise SimRefusal(SimCase.BAD_GRANT_TYPE)


def _issued(turn: Turn, family: Family, refresh: str = "", known: SimToken | None = None) -> SimReply:
    world, ttl = turn.world, turn.world.number("access_ttl_s")
    body: dict[str, Any] = {"scope": ",".join(family.scopes), "token_type": "Bearer"}
    if world.app_of(family).partner:
        left = known.left_s(world.now) if known else world.number("refresh_ttl_s")
        refresh = refresh or world.mint(family, TokenKind.REFRESH, "AQX" + random_text(360), left)
        body |= {"refresh_token": refresh, "refresh_token_expires_in": left}
        ttl = min(ttl, left)
    value = world.mint(family, TokenKind.ACCESS, "AQV" + random_text(900), ttl)
    return SimReply(status=200, body={"access_token": value, "expires_in": ttl, **body})


def _introspect(turn: Turn) -> SimReply:
    app, world = by_form(turn), turn.world
    token = world.ledger.find(turn.ask.form.get("token", ""))
    if token is None or token.family.client_id != app.client_id:
        return SimReply(status=200, body={"active": False})
    why = token.death(world.now)
    body = {
        "active": why is None,
        "client_id": app.client_id,
        "authorized_at": round(token.family.created_at),
        "created_at": round(token.issued_at),
        "status": "active" if why is None else "expired" if why is SimCase.EXPIRED else "revoked",
        "expires_at": round(token.expires_at or 0),
        "scope": ",".join(token.family.scopes),
        "auth_type": "3L",
    }
    return SimReply(status=200, body=body)


def _revoke(turn: Turn) -> SimReply:
    app, world = by_form(turn), turn.world
    token = world.ledger.find(turn.ask.form.get("token", ""))
    if token is not None and token.family.client_id == app.client_id:
        token.family.dead = token.family.dead or SimCase.REVOKED
    return SimReply(status=200, body={})


def _signed_in(turn: Turn, *scopes: str) -> tuple[SimToken, SimAccount]:
    token = turn.world.usable(turn.ask.bearer(), TokenKind.ACCESS, scopes=scopes)
    if turn.world.now - token.issued_at < turn.world.number("false_revoked_s"):
        raise SimRefusal(SimCase.REVOKED)
    return token, turn.world.account_of(token.family)


def _userinfo(turn: Turn) -> SimReply:
    token, own = _signed_in(turn, "openid", "profile")
    account = turn.who(own)
    first, _, last = account.display_name.partition(" ")
    body = {
        "sub": account.seen_by(turn.world.app_of(token.family)),
        "name": account.display_name,
        "given_name": first,
        "family_name": last,
        "picture": f"https://media.licdn.com/{account.username}.jpg",
        "locale": {"country": "US", "language": "en"},
    }
    if "email" in token.family.scopes:
        return SimReply(status=200, body={**body, "email": f"{account.username}@example.test", "email_verified": True})
    return SimReply(status=200, body=body)


def _me(turn: Turn) -> SimReply:
    token, own = _signed_in(turn, "r_basicprofile")
    account = turn.who(own)
    first, _, last = account.display_name.partition(" ")
    body = {"id": account.seen_by(turn.world.app_of(token.family)), "vanityName": account.username}
    return SimReply(status=200, body={**body, "localizedFirstName": first, "localizedLastName": last})


def _organizations(turn: Turn, own: SimAccount) -> list[SimAccount]:
    return [one for one in turn.world.of_owner(own.owner) if one.kind == "organization"]


def _acls(turn: Turn) -> SimReply:
    token, own = _signed_in(turn, "rw_organization_admin")
    person = _PERSON + own.seen_by(turn.world.app_of(token.family))
    elements = [
        {
            "roleAssignee": person,
            "state": "APPROVED",
            "role": "ADMINISTRATOR",
            "organization": _ORGANIZATION + one.id,
            "organizationalTarget": _ORGANIZATION + one.id,
        }
        for one in _organizations(turn, own)
    ]
    return SimReply(status=200, body={"elements": elements, "paging": {"start": 0, "count": 10, "links": []}})


def _organization(turn: Turn) -> SimReply:
    _, own = _signed_in(turn, "rw_organization_admin")
    for one in _organizations(turn, own):
        if one.id == turn.parts["id"]:
            shown = turn.who(one)
            number: int | str = int(shown.id) if shown.id.isdigit() else shown.id
            body = {"id": number, "localizedName": shown.display_name, "vanityName": shown.username}
            return SimReply(status=200, body=body)
    raise SimRefusal(SimCase.NOT_FOUND)


def _versioned(turn: Turn) -> None:
    version = turn.ask.headers.get("linkedin-version", "")
    if len(version) != 6 or not version.isdigit() or turn.ask.headers.get("x-restli-protocol-version") != "2.0.0":
        raise SimRefusal(SimCase.BAD_VERSION)


def _author(turn: Turn, urn: str, member: str, organization: str) -> SimAccount:
    token, own = _signed_in(turn)
    scopes = token.family.scopes
    if urn == _PERSON + own.seen_by(turn.world.app_of(token.family)):
        if member not in scopes:
            raise SimRefusal(SimCase.MISSING_SCOPE)
        return own
    for one in _organizations(turn, own):
        if urn == _ORGANIZATION + one.id and organization in scopes:
            return one
    raise SimRefusal(SimCase.MISSING_SCOPE)


def _posts(turn: Turn) -> SimReply:
    _versioned(turn)
    if turn.ask.query.get("q") != "author":
        raise SimRefusal(SimCase.BAD_REQUEST)
    urn, count = turn.ask.query.get("author", ""), turn.ask.count("count", 10, 100)
    account = turn.who(_author(turn, urn, "r_member_social", "r_organization_social"))
    elements = [
        {
            "id": f"urn:li:share:{account.post_id(number)}",
            "author": urn,
            "commentary": words,
            "publishedAt": (1_750_000_000 - number * 3600) * 1000,
            "lifecycleState": "PUBLISHED",
            "visibility": "PUBLIC",
        }
        for number, words in enumerate(account.posts[:count])
    ]
    return SimReply(status=200, body={"elements": elements, "paging": {"start": 0, "count": count, "links": []}})


def _publish(turn: Turn) -> SimReply:
    _versioned(turn)
    author = str(turn.ask.document().get("author", ""))
    account = _author(turn, author, "w_member_social", "w_organization_social")
    effect = turn.world.book.effects.add("linkedin", account.name, "publish", "")
    urn = f"urn:li:share:{digits(effect.id, 19)}"
    return SimReply(status=201, body={}, raw=b"", headers={"x-restli-id": urn, "Location": f"/rest/posts/{quote(urn)}"})


def _discovery(turn: Turn) -> SimReply:
    base = f"{turn.ask.base}/www.linkedin.com/oauth"
    return SimReply(
        status=200,
        body={
            "issuer": base,
            "authorization_endpoint": f"{base}/v2/authorization",
            "token_endpoint": f"{base}/v2/accessToken",
            "userinfo_endpoint": f"{turn.ask.base}/api.linkedin.com/v2/userinfo",
            "response_types_supported": ["code"],
            "scopes_supported": ["openid", "profile", "email"],
        },
    )


_SITE: Final = "www.linkedin.com/oauth/"

PLATFORM: Final = SimPlatform(
    name="linkedin",
    endpoints=(
        endpoint("authorize", "GET", _SITE + "v2/authorization", _authorize, surface=PAGE),
        endpoint("token", "POST", _SITE + "v2/accessToken", _token, surface=OAUTH),
        endpoint("introspect", "POST", _SITE + "v2/introspectToken", _introspect, surface=OAUTH),
        endpoint("revoke", "POST", _SITE + "v2/revoke", _revoke, surface=OAUTH),
        endpoint("discovery", "GET", _SITE + r"\.well-known/openid-configuration", _discovery),
        endpoint(
            "identity", "GET", "api.linkedin.com/v2/userinfo", _userinfo, shape=SimShape(id="sub", name=("name",))
        ),
        endpoint("person", "GET", "api.linkedin.com/v2/me", _me, shape=SimShape(id="id", username=("vanityName",))),
        endpoint("accounts", "GET", "api.linkedin.com/v2/organizationalEntityAcls", _acls),
        endpoint(
            "organization",
            "GET",
            r"api.linkedin.com/v2/organizations/(?P<id>\d+)",
            _organization,
            shape=SimShape(id="id", username=("vanityName",), name=("localizedName",)),
        ),
        endpoint("posts", "GET", "api.linkedin.com/rest/posts", _posts),
        endpoint("publish", "POST", "api.linkedin.com/rest/posts", _publish),
    ),
    rules={
        "iss": "",
        "code_ttl_s": 1800,
        "access_ttl_s": 60 * DAY,
        "refresh_ttl_s": 365 * DAY,
        "false_revoked_s": 0,
    },
    refuse=refuse,
    cases=frozenset({*_API_ERRORS, *_OAUTH_ERRORS}),
    error=error,
    scopes=SCOPES,
)
