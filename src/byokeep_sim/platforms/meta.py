"""Facebook Login: Pages, and Instagram accounts that belong to a Page.

A code gives a token of an hour or two; exchanged it lives sixty days. Tokens of Pages that were made from a long one
have no end of their own. Nothing is refreshed; a living long token can be exchanged again.

Rules
- An account is a Page with its Instagram account; its owner is the person who consents and ticks Pages.
- Whoever revokes, loses the role or changes the password ends the Page tokens too; nobody is told.
- The ninety days of data access run beside the token's life.
"""

from __future__ import annotations

from typing import Any, Final

from byokeep_sim.platforms import graph
from byokeep_sim.platforms.kit import DAY, OAUTH, PAGE, SimCase, SimPlatform, SimRefusal, SimShape, Turn, endpoint
from byokeep_sim.platforms.ledger import Family, SimToken, TokenKind
from byokeep_sim.platforms.oauth import Style, authorize, by_form, opened, redeem
from byokeep_sim.platforms.people import SimAccount
from byokeep_sim.platforms.world import random_letters
from byokeep_sim.reply import SimReply

SCOPES: Final = frozenset(
    {
        "public_profile",
        "instagram_basic",
        "instagram_content_publish",
        "instagram_manage_comments",
        "instagram_manage_insights",
        "pages_show_list",
        "pages_read_engagement",
        "pages_manage_posts",
        "pages_manage_engagement",
        "business_management",
    }
)
_DENIED: Final = (
    ("error", "access_denied"),
    ("error_code", "200"),
    ("error_description", "Permissions error"),
    ("error_reason", "user_denied"),
)
_STYLE: Final = Style(
    blank=",", scopes=SCOPES, denied=_DENIED, tail=lambda world: "#_=_" if world.on("fragment") else ""
)
_ANY: Final = (TokenKind.SHORT, TokenKind.LONG, TokenKind.PAGE)


def _authorize(turn: Turn) -> SimReply:
    return authorize(turn, _STYLE)


def _token(turn: Turn) -> SimReply:
    app, world = by_form(turn, query=True), turn.world
    grant = turn.ask.param("grant_type")
    if grant == "fb_exchange_token":
        return _exchange(turn, app.client_id)
    if grant not in ("", "authorization_code"):
        raise SimRefusal(SimCase.BAD_GRANT_TYPE)
    family = opened(turn, redeem(turn, app))
    ttl = world.number("short_ttl_s")
    return _bearer(world.mint(family, TokenKind.SHORT, "EAA" + random_letters(160), ttl), ttl)


def _exchange(turn: Turn, client_id: str) -> SimReply:
    world = turn.world
    token = world.usable(turn.ask.param("fb_exchange_token"), TokenKind.SHORT, TokenKind.LONG)
    if token.family.client_id != client_id:
        raise SimRefusal(SimCase.UNKNOWN)
    world.account_of(token.family)
    ttl = world.number("long_ttl_s")
    if token.kind is TokenKind.LONG and world.now - token.issued_at < world.number("reexchange_min_age_s"):
        ttl = token.left_s(world.now)
    token.family.generation += 1
    return _bearer(world.mint(token.family, TokenKind.LONG, "EAA" + random_letters(180), ttl), ttl)


def _bearer(value: str, ttl: int) -> SimReply:
    return SimReply(status=200, body={"access_token": value, "token_type": "bearer", "expires_in": ttl})


def _signed_in(turn: Turn, *scopes: str, kinds: tuple[TokenKind, ...] = _ANY, data: bool = True) -> SimToken:
    value = graph.shown(turn)
    token = turn.world.usable(value, *kinds, scopes=scopes)
    graph.check_proof(turn, turn.world.app_of(token.family), value)
    turn.world.account_of(token.family)
    if data and turn.world.now >= _data_end(turn, token.family):
        raise SimRefusal(SimCase.DATA_EXPIRED)
    return token


def _data_end(turn: Turn, family: Family) -> float:
    return family.created_at + turn.world.number("data_access_ttl_s")


def _pages(turn: Turn, token: SimToken) -> list[SimAccount]:
    own = [turn.world.accounts[name] for name in token.family.targets if name in turn.world.accounts]
    return [page for page in own if token.target in ("", page.id)]


def _page_token(turn: Turn, token: SimToken, page: SimAccount) -> str:
    # A Page has one token for each user token, so asking again gives the same one.
    value = "EAA" + turn.world.derived(f"page {token.digest} {page.id}", 180)
    ttl = None if token.kind is TokenKind.LONG else float(token.left_s(turn.world.now))
    return turn.world.mint(token.family, TokenKind.PAGE, value, ttl, target=page.id)


def _page(turn: Turn, page: SimAccount) -> dict[str, Any]:
    return {
        "id": page.id,
        "name": page.display_name,
        "username": page.username,
        "category": "Brand",
        "instagram_business_account": {"id": page.linked_id},
    }


def _accounts(turn: Turn) -> SimReply:
    token = _signed_in(turn, "pages_show_list", kinds=(TokenKind.SHORT, TokenKind.LONG))
    pages = [turn.stranger] if turn.stranger else _pages(turn, token)
    data = [
        graph.fields(
            turn,
            {**_page(turn, page), "access_token": _page_token(turn, token, page)},
            ("access_token", "category", "name", "id"),
        )
        for page in pages
    ]
    return SimReply(status=200, body={"data": data, "paging": {"cursors": {"before": "b", "after": "a"}}})


def _me(turn: Turn) -> SimReply:
    token = _signed_in(turn, data=False)
    account = turn.who(turn.world.account_of(token.family))
    if token.kind is TokenKind.PAGE:
        account = turn.who(_pages(turn, token)[0])
        return SimReply(status=200, body=graph.fields(turn, _page(turn, account), ("name", "id")))
    everything = {"id": account.person_id, "name": f"Person {account.owner}"}
    return SimReply(status=200, body=graph.fields(turn, everything, ("name", "id")))


def _found(turn: Turn, token: SimToken) -> tuple[SimAccount, bool]:
    """Return the account a path speaks of, and whether it means the Page's Instagram account."""
    for page in _pages(turn, token):
        if turn.parts["id"] in (page.id, page.linked_id):
            return turn.who(page), turn.parts["id"] == page.linked_id
    raise SimRefusal(SimCase.NOT_FOUND)


def _object(turn: Turn) -> SimReply:
    token = _signed_in(turn)
    if turn.parts["id"] == turn.world.account_of(token.family).person_id:
        return _me(turn)
    account, linked = _found(turn, token)
    _need(token, "instagram_basic" if linked else "pages_show_list")
    if not linked:
        return SimReply(status=200, body=graph.fields(turn, _page(turn, account), ("name", "id")))
    everything = {"id": account.linked_id, "username": account.username, "name": account.display_name}
    return SimReply(status=200, body=graph.fields(turn, everything, ("id",)))


def _need(token: SimToken, scope: str) -> None:
    if scope not in token.family.scopes:
        raise SimRefusal(SimCase.MISSING_SCOPE)


def _media(turn: Turn) -> SimReply:
    token = _signed_in(turn, "instagram_basic")
    account, linked = _found(turn, token)
    if not linked:
        raise SimRefusal(SimCase.NOT_FOUND)
    return graph.posts(turn, account, "caption", ("id",))


def _published_posts(turn: Turn) -> SimReply:
    token = _signed_in(turn, "pages_read_engagement")
    account, linked = _found(turn, token)
    if linked:
        raise SimRefusal(SimCase.NOT_FOUND)
    return graph.posts(turn, account, "message", ("id", "message", "created_time"))


def _container(turn: Turn) -> SimReply:
    return graph.container(turn, _found(turn, _signed_in(turn, "instagram_content_publish"))[0])


def _publish(turn: Turn) -> SimReply:
    return graph.published(turn, _found(turn, _signed_in(turn, "instagram_content_publish"))[0])


def _debug(turn: Turn) -> SimReply:
    world = turn.world
    client_id, _, secret = graph.shown(turn).partition("|")
    app = world.apps.get(client_id)
    if app is None or not app.accepts(secret):
        raise SimRefusal(SimCase.BAD_CLIENT)
    token = world.ledger.find(turn.ask.query.get("input_token", ""))
    if token is None or token.family.client_id != client_id:
        problem = graph.body_of(190, None, "Invalid OAuth access token.")["error"]
        return SimReply(status=200, body={"data": {"error": _brief(problem), "is_valid": False, "scopes": []}})
    return SimReply(status=200, body={"data": _described(turn, token)})


def _brief(problem: dict[str, Any]) -> dict[str, Any]:
    brief = {"code": problem["code"], "message": problem["message"]}
    return brief | ({"subcode": problem["error_subcode"]} if "error_subcode" in problem else {})


def _described(turn: Turn, token: SimToken) -> dict[str, Any]:
    world, family = turn.world, token.family
    pages = _pages(turn, token)
    account = world.accounts[family.account]
    data: dict[str, Any] = {
        "app_id": family.client_id,
        "type": "PAGE" if token.kind is TokenKind.PAGE else "USER",
        "application": f"App {family.client_id}",
        "user_id": account.person_id,
        "is_valid": True,
        "expires_at": 0 if token.expires_at is None else round(token.expires_at),
        "data_access_expires_at": round(_data_end(turn, family)),
        "issued_at": round(token.issued_at),
        "scopes": list(family.scopes),
        "granular_scopes": [
            {"scope": scope, "target_ids": [p.linked_id if scope.startswith("instagram") else p.id for p in pages]}
            for scope in family.scopes
            if scope.startswith(("pages_", "instagram_"))
        ],
    }
    why = world.locks.get(family.account) or token.death(world.now)
    if why is not None:
        data |= {"is_valid": False, "error": _brief(dict(graph.refuse(why, OAUTH).body["error"]))}
    return data


def _permissions(turn: Turn) -> SimReply:
    token = _signed_in(turn, kinds=(TokenKind.SHORT, TokenKind.LONG), data=False)
    data = [{"permission": scope, "status": "granted"} for scope in token.family.scopes]
    declined = sorted(set(token.family.asked) - set(token.family.scopes))
    data += [{"permission": scope, "status": "declined"} for scope in declined]
    return SimReply(status=200, body={"data": data})


def _revoke(turn: Turn) -> SimReply:
    world = turn.world
    token = _signed_in(turn, kinds=(TokenKind.SHORT, TokenKind.LONG), data=False)
    family = token.family
    if turn.parts["user"] not in ("me", world.account_of(family).person_id):
        raise SimRefusal(SimCase.MISSING_SCOPE)
    name = turn.parts["name"]
    if not name:
        world.ledger.end(SimCase.REVOKED, owner=family.owner, client_id=family.client_id)
    for other in world.ledger.of(owner=family.owner, client_id=family.client_id):
        other.scopes = tuple(scope for scope in other.scopes if scope != name)
    return SimReply(status=200, body={"success": True})


_GRAPH: Final = "graph.facebook.com/" + graph.VERSION
_OBJECT: Final = r"(?P<id>\d+)"
_NAMES: Final = {"username": ("username",), "name": ("name",)}

PLATFORM: Final = SimPlatform(
    name="meta",
    endpoints=(
        endpoint("authorize", "GET", "www.facebook.com/" + graph.VERSION + "dialog/oauth", _authorize, surface=PAGE),
        endpoint("token", "GET POST", _GRAPH + "oauth/access_token", _token, surface=OAUTH),
        endpoint("introspect", "GET", _GRAPH + "debug_token", _debug, surface=OAUTH),
        endpoint(
            "accounts", "GET", _GRAPH + "me/accounts", _accounts, shape=SimShape(inside=("data", 0), id="id", **_NAMES)
        ),
        endpoint("permissions", "GET", _GRAPH + r"(?:me|\d+)/permissions", _permissions),
        endpoint(
            "revoke",
            "DELETE",
            _GRAPH + r"(?P<user>me|\d+)/permissions(?:/(?P<name>[a-z_]+))?",
            _revoke,
            surface=OAUTH,
        ),
        endpoint("person", "GET", _GRAPH + "me", _me, shape=SimShape(id="id", **_NAMES)),
        endpoint("identity", "GET", _GRAPH + _OBJECT, _object, shape=SimShape(id="id", **_NAMES)),
        endpoint("posts", "GET", _GRAPH + _OBJECT + "/media", _media),
        endpoint("posts", "GET", _GRAPH + _OBJECT + "/published_posts", _published_posts),
        endpoint("container", "POST", _GRAPH + _OBJECT + "/media", _container),
        endpoint("publish", "POST", _GRAPH + _OBJECT + "/media_publish", _publish),
    ),
    rules={
        "iss": "",
        "fragment": True,
        "code_ttl_s": 600,
        "short_ttl_s": 3600,
        "long_ttl_s": 60 * DAY,
        "reexchange_min_age_s": DAY,
        "data_access_ttl_s": 90 * DAY,
        "calls_per_hour": 1_000_000,
    },
    refuse=graph.refuse,
    cases=graph.CASES,
    error=graph.error,
    scopes=SCOPES,
    meter=graph.meter,
)
