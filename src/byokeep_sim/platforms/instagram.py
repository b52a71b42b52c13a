"""Instagram API with Instagram Login.

A token of an hour is exchanged for one of sixty days, which can be extended while it lives; there is no refresh token.

Rules
- ``user_id`` is the account, ``id`` is the app's own number for it.
- Extending works from the age of a day on, until the token has expired.
- Not published, so rules: whether an extension makes a new token, and the form of the token reply.
"""

from __future__ import annotations

from typing import Any, Final

from byokeep_sim.platforms import graph
from byokeep_sim.platforms.kit import DAY, OAUTH, PAGE, SimCase, SimPlatform, SimRefusal, SimShape, Turn, endpoint
from byokeep_sim.platforms.ledger import SimToken, TokenKind
from byokeep_sim.platforms.oauth import Style, authorize, by_form, opened, redeem
from byokeep_sim.platforms.people import SimAccount, digits
from byokeep_sim.platforms.world import random_letters
from byokeep_sim.reply import SimReply

_BASIC: Final = "instagram_business_basic"
_PUBLISH: Final = "instagram_business_content_publish"
SCOPES: Final = frozenset(
    {
        _BASIC,
        _PUBLISH,
        "instagram_business_manage_comments",
        "instagram_business_manage_messages",
        "instagram_business_manage_insights",
    }
)
_STYLE: Final = Style(
    blank=",",
    scopes=SCOPES,
    denied=(
        ("error", "access_denied"),
        ("error_reason", "user_denied"),
        ("error_description", "The user denied your request"),
    ),
    tail=lambda world: "#_" if world.on("fragment") else "",
)


def _authorize(turn: Turn) -> SimReply:
    return authorize(turn, _STYLE)


def _code(turn: Turn) -> SimReply:
    app = by_form(turn)
    if turn.ask.form.get("grant_type") != "authorization_code":
        raise SimRefusal(SimCase.BAD_GRANT_TYPE)
    world, family = turn.world, opened(turn, redeem(turn, app))
    value = world.mint(family, TokenKind.SHORT, "IGQW" + random_letters(120), world.number("short_ttl_s"))
    account = world.account_of(family)
    one: dict[str, Any] = {"access_token": value, "user_id": account.id, "permissions": list(family.scopes)}
    if world.on("wrapped_token_reply"):
        return SimReply(status=200, body={"data": [{**one, "permissions": ",".join(family.scopes)}]})
    return SimReply(status=200, body=one)


def _exchange(turn: Turn) -> SimReply:
    world = turn.world
    if turn.ask.query.get("grant_type") != "ig_exchange_token":
        raise SimRefusal(SimCase.BAD_GRANT_TYPE)
    short = world.usable(graph.shown(turn), TokenKind.SHORT)
    if not world.app_of(short.family).accepts(turn.ask.query.get("client_secret", "")):
        raise SimRefusal(SimCase.BAD_CLIENT)
    ttl = world.number("long_ttl_s")
    value = world.mint(short.family, TokenKind.LONG, "IGAA" + random_letters(140), ttl)
    return _long(value, ttl)


def _refresh(turn: Turn) -> SimReply:
    world, value = turn.world, graph.shown(turn)
    if turn.ask.query.get("grant_type") != "ig_refresh_token":
        raise SimRefusal(SimCase.BAD_GRANT_TYPE)
    token = world.usable(value, TokenKind.LONG)
    world.account_of(token.family)
    if world.now - token.issued_at < world.number("min_age_s"):
        raise SimRefusal(SimCase.TOO_YOUNG)
    token.family.generation += 1
    ttl = world.number("long_ttl_s")
    if world.on("renew_as_new"):
        value = world.mint(token.family, TokenKind.LONG, "IGAA" + random_letters(140), ttl)
    else:
        token.generation = token.family.generation
        token.expires_at = world.now + ttl
    return _long(value, ttl)


def _long(value: str, ttl: int) -> SimReply:
    return SimReply(status=200, body={"access_token": value, "token_type": "bearer", "expires_in": ttl})


def _signed_in(turn: Turn, *scopes: str) -> tuple[SimToken, SimAccount]:
    token = turn.world.usable(graph.shown(turn), TokenKind.SHORT, TokenKind.LONG, scopes=scopes)
    graph.check_proof(turn, turn.world.app_of(token.family), graph.shown(turn))
    account = turn.world.account_of(token.family)
    if "user" in turn.parts and turn.parts["user"] not in (account.id, "me"):
        raise SimRefusal(SimCase.NOT_FOUND)
    return token, account


def _me(turn: Turn) -> SimReply:
    token, own = _signed_in(turn, _BASIC)
    account, app = turn.who(own), turn.world.app_of(token.family)
    everything = {
        "id": digits(f"instagram {app.client_id} {account.id}", 17),
        "user_id": account.id,
        "username": account.username,
        "name": account.display_name,
        "account_type": "BUSINESS",
        "profile_picture_url": f"https://scontent.cdninstagram.com/{account.username}.jpg",
    }
    return SimReply(status=200, body=graph.fields(turn, everything, ("id",)))


def _media(turn: Turn) -> SimReply:
    _, account = _signed_in(turn, _BASIC)
    return graph.posts(turn, turn.who(account), "caption", ("id",))


def _container(turn: Turn) -> SimReply:
    return graph.container(turn, _signed_in(turn, _PUBLISH)[1])


def _publish(turn: Turn) -> SimReply:
    return graph.published(turn, _signed_in(turn, _PUBLISH)[1])


_GRAPH: Final = "graph.instagram.com/" + graph.VERSION
_USER: Final = r"(?P<user>\d+|me)"

PLATFORM: Final = SimPlatform(
    name="instagram",
    endpoints=(
        endpoint("authorize", "GET", "www.instagram.com/oauth/authorize", _authorize, surface=PAGE),
        endpoint("token", "POST", "api.instagram.com/oauth/access_token", _code, surface=OAUTH),
        endpoint("exchange", "GET", _GRAPH + "access_token", _exchange, surface=OAUTH),
        endpoint("refresh", "GET", _GRAPH + "refresh_access_token", _refresh, surface=OAUTH),
        endpoint(
            "identity", "GET", _GRAPH + "me", _me, shape=SimShape(id="user_id", username=("username",), name=("name",))
        ),
        endpoint("posts", "GET", _GRAPH + _USER + "/media", _media),
        endpoint("container", "POST", _GRAPH + _USER + "/media", _container),
        endpoint("publish", "POST", _GRAPH + _USER + "/media_publish", _publish),
    ),
    rules={
        "iss": "",
        "fragment": True,
        "code_ttl_s": 3600,
        "short_ttl_s": 3600,
        "long_ttl_s": 60 * DAY,
        "min_age_s": DAY,
        "renew_as_new": False,
        "wrapped_token_reply": False,
        "calls_per_hour": 1_000_000,
    },
    refuse=graph.refuse,
    cases=graph.CASES,
    error=graph.error,
    scopes=SCOPES,
    meter=graph.meter,
)
