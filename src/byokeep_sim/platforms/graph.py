"""Facebook Login and the Instagram API with Instagram Login: one Graph API under two hosts.

A code gives a token of an hour, which is exchanged for one of sixty days; there is no refresh token. Facebook's long
token is exchanged again while it lives, and gives tokens of Pages that have no end of their own; Instagram's is
extended.

Rules
- An error is one object with message, type, code, subcode and trace id; the code decides, not the HTTP status.
- Facebook: an account is a Page with its Instagram account; its owner is the person who consents and ticks Pages.
  Whoever revokes, loses the role or changes the password ends the Page tokens too, without notice. The ninety days of
  data access run beside the token's life.
- Instagram: ``user_id`` is the account, ``id`` is the app's own number for it. Extending works from the age of a day
  on, until the token has expired.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from byokeep_sim.platforms.model import API, SimAccount, SimApp, SimCase, SimPlatform, SimRefusal, Turn, digits
from byokeep_sim.platforms.oauth import by_form, redeem
from byokeep_sim.platforms.world import Family, SimToken, TokenKind
from byokeep_sim.reply import SimReply, ok

_TRACE: Final = "AbCdEfGhIjKlMnOpQrStUvW"
_HOUR: Final = 3600
_USER: Final = (TokenKind.SHORT, TokenKind.LONG)


def _error(status: int, code: int, subcode: int, message: str) -> SimReply:
    error: dict[str, Any] = {"message": message, "type": "OAuthException", "code": code}
    if subcode:
        error |= {"error_subcode": subcode, "error_user_title": "Not possible", "error_user_msg": message}
    return SimReply(status=status, body={"error": {**error, "fbtrace_id": _TRACE}})


def _meter(turn: Turn, call: str, who: str) -> tuple[dict[str, str], bool]:
    """Count a call; returns the usage header, in per cent of the hour's allowance, and whether any is left."""
    used, _ = turn.world.used("graph_calls", who, _HOUR)
    share = min(100, used * 100 // turn.world.number("calls_per_hour"))
    header = "x-page-usage" if call == "posts" else "x-app-usage"
    return {header: json.dumps({"call_count": share, "total_cputime": 0, "total_time": 0})}, share < 100


META: Final = SimPlatform("graph", "meta", api_error=_error, meter=_meter)
INSTAGRAM: Final = SimPlatform("graph", "instagram", api_error=_error, meter=_meter)


# What both have.


def _shown(turn: Turn) -> str:
    """Return the token of a call: in the query as documented, or as bearer."""
    return turn.ask.param("access_token") or turn.ask.bearer()


def _usable(turn: Turn, *kinds: TokenKind, scopes: tuple[str, ...]) -> tuple[SimToken, SimAccount]:
    """Return the living token of a call and its account. Raises SimRefusal, also for a wrong or missing proof."""
    world, value = turn.world, _shown(turn)
    token = world.usable(value, *kinds, scopes=scopes)
    app, given = world.app_of(token.family), turn.ask.param("appsecret_proof")
    right = hmac.new(app.secret.encode(), value.encode(), hashlib.sha256).hexdigest()
    if (given or app.require_proof) and not hmac.compare_digest(given.encode(), right.encode()):
        raise SimRefusal(SimCase.BAD_PROOF)
    return token, world.account_of(token.family)


def _bearer(value: str, ttl: int) -> SimReply:
    return ok({"access_token": value, "token_type": "bearer", "expires_in": ttl})


def _fields(turn: Turn, everything: dict[str, Any], *default: str) -> dict[str, Any]:
    """Return the fields that were asked for; those that an object lacks are left out."""
    asked = turn.ask.query.get("fields", "")
    names = [name.partition("{")[0] for name in asked.split(",") if name] or list(default)
    return {name: everything[name] for name in dict.fromkeys([*names, "id"]) if name in everything}


def _listed(data: Iterable[dict[str, Any]], after: str = "a", following: str = "") -> SimReply:
    paging: dict[str, Any] = {"cursors": {"before": "b", "after": after}}
    return ok({"data": list(data), "paging": paging | ({"next": following} if following else {})})


def _posts(turn: Turn, account: SimAccount, text: str, *default: str) -> SimReply:
    """Return the newest posts of an account; ``text`` is the name of the field with their text."""
    data = []
    for post, words, moment in account.newest(turn.ask.count("limit", 25, 100)):
        made = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
        everything = {"id": post, text: words, "media_type": "IMAGE", "timestamp": made, "created_time": made}
        data.append(_fields(turn, {**everything, "permalink": f"https://www.instagram.com/p/{post}/"}, *default))
    return _listed(data)


def _published(turn: Turn, account: SimAccount) -> SimReply:
    """Answer one of the two calls that publish; only the second is an effect."""
    world = turn.world
    if not turn.ask.path.endswith("media_publish"):
        return ok({"id": digits(f"container {account.id} {world.book.log.seen}", 17)})
    if not turn.ask.param("creation_id"):
        raise SimRefusal(SimCase.BAD_REQUEST)
    effect = world.book.effects.add(world.platform.name, account.name, "publish")
    return ok({"id": digits(f"media {effect.id}", 17)})


# Instagram.


@INSTAGRAM.answers("token")
def _code(turn: Turn) -> SimReply:
    app, world = by_form(turn), turn.world
    if turn.ask.form.get("grant_type") != "authorization_code":
        raise SimRefusal(SimCase.BAD_GRANT_TYPE)
    family = world.open(redeem(turn, app))
    value = world.mint(family, TokenKind.SHORT, world.number("short_ttl_s"))
    one: dict[str, Any] = {"access_token": value, "user_id": world.account_of(family).id}
    if world.on("wrapped_token_reply"):
        return ok({"data": [{**one, "permissions": ",".join(family.scopes)}]})
    return ok({**one, "permissions": family.scopes})


@INSTAGRAM.answers("exchange")
def _exchange(turn: Turn) -> SimReply:
    world, ttl = turn.world, turn.world.number("long_ttl_s")
    if turn.ask.query.get("grant_type") != "ig_exchange_token":
        raise SimRefusal(SimCase.BAD_GRANT_TYPE)
    short = world.usable(turn.ask.query.get("access_token", ""), TokenKind.SHORT)
    if not world.app_of(short.family).accepts(turn.ask.query.get("client_secret", "")):
        raise SimRefusal(SimCase.BAD_CLIENT)
    return _bearer(world.mint(short.family, TokenKind.LONG, ttl), ttl)


@INSTAGRAM.answers("refresh")
def _refresh(turn: Turn) -> SimReply:
    world, value, ttl = turn.world, turn.ask.query.get("access_token", ""), turn.world.number("long_ttl_s")
    if turn.ask.query.get("grant_type") != "ig_refresh_token":
        raise SimRefusal(SimCase.BAD_GRANT_TYPE)
    token = world.usable(value, TokenKind.LONG)
    world.account_of(token.family)
    if world.now - token.issued_at < world.number("min_age_s"):
        raise SimRefusal(SimCase.TOO_YOUNG)
    token.family.generation += 1
    if world.on("renew_as_new"):
        value = world.mint(token.family, TokenKind.LONG, ttl)
        token.dead = SimCase.LOGGED_OUT if world.on("renewal_ends_old") else None
    else:
        token.generation = token.family.generation
        token.expires_at = world.now + ttl
    return _bearer(value, ttl)


def _own(turn: Turn, scope: str) -> tuple[SimApp, SimAccount]:
    token, account = _usable(turn, *_USER, scopes=(scope,))
    if turn.parts.get("user", "me") not in (account.id, "me"):
        raise SimRefusal(SimCase.NOT_FOUND)
    return turn.world.app_of(token.family), account


@INSTAGRAM.answers("identity")
def _instagram_me(turn: Turn) -> SimReply:
    app, own = _own(turn, "instagram_business_basic")
    account = turn.who(own)
    own_id = digits(f"instagram {app.client_id} {account.id}", 17)
    return ok(_fields(turn, turn.body("identity", account, own_id=own_id), "id"))


@INSTAGRAM.answers("posts")
def _instagram_media(turn: Turn) -> SimReply:
    return _posts(turn, turn.who(_own(turn, "instagram_business_basic")[1]), "caption", "id")


@INSTAGRAM.answers("container")
@INSTAGRAM.answers("publish")
def _instagram_publish(turn: Turn) -> SimReply:
    return _published(turn, _own(turn, "instagram_business_content_publish")[1])


# Facebook.


@META.answers("token")
def _token(turn: Turn) -> SimReply:
    app, world = by_form(turn, query=True), turn.world
    grant = turn.ask.param("grant_type")
    if grant not in ("", "authorization_code", "fb_exchange_token"):
        raise SimRefusal(SimCase.BAD_GRANT_TYPE)
    if grant != "fb_exchange_token":
        family, ttl = world.open(redeem(turn, app)), world.number("short_ttl_s")
        return _bearer(world.mint(family, TokenKind.SHORT, ttl), ttl)
    token = world.usable(turn.ask.param("fb_exchange_token"), *_USER, client_id=app.client_id)
    world.account_of(token.family)
    ttl = world.number("long_ttl_s")
    if token.kind is TokenKind.LONG and world.now - token.issued_at < world.number("reexchange_min_age_s"):
        ttl = token.left_s(world.now)
    token.family.generation += 1
    return _bearer(world.mint(token.family, TokenKind.LONG, ttl), ttl)


def _signed_in(
    turn: Turn, *scopes: str, kinds: tuple[TokenKind, ...] = (*_USER, TokenKind.PAGE), data: bool = True
) -> SimToken:
    token, _ = _usable(turn, *kinds, scopes=scopes)
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
    return turn.world.mint(token.family, TokenKind.PAGE, ttl, value=value, target=page.id)


@META.answers("accounts")
def _accounts(turn: Turn) -> SimReply:
    token = _signed_in(turn, "pages_show_list", kinds=_USER)
    pages = [turn.stranger] if turn.stranger else _pages(turn, token)
    begin = int(turn.ask.query.get("after") or 0)
    end = begin + turn.ask.count("limit", 25, turn.world.number("most_listed"))
    shown = [{**turn.body("page", page), "access_token": _page_token(turn, token, page)} for page in pages[begin:end]]
    rows = (_fields(turn, one, "access_token", "category", "name", "id") for one in shown)
    return _listed(rows, str(end), "https://graph.facebook.com/next" if end < len(pages) else "")


@META.answers("person")
def _me(turn: Turn) -> SimReply:
    token = _signed_in(turn, data=False)
    if token.kind is TokenKind.PAGE:
        return ok(_fields(turn, turn.body("page", turn.who(_pages(turn, token)[0])), "name", "id"))
    account = turn.who(turn.world.account_of(token.family))
    return ok(_fields(turn, {"id": account.person_id, "name": f"Person {account.owner}"}, "name", "id"))


def _found(turn: Turn, token: SimToken) -> tuple[SimAccount, bool]:
    """Return the account a path speaks of, and whether it means the Page's Instagram account."""
    for page in _pages(turn, token):
        if turn.parts["id"] in (page.id, page.linked_id):
            return turn.who(page), turn.parts["id"] == page.linked_id
    raise SimRefusal(SimCase.NOT_FOUND)


@META.answers("identity")
def _object(turn: Turn) -> SimReply:
    token = _signed_in(turn)
    if turn.parts["id"] == turn.world.account_of(token.family).person_id:
        return _me(turn)
    account, linked = _found(turn, token)
    if ("instagram_basic" if linked else "pages_show_list") not in token.family.scopes:
        raise SimRefusal(SimCase.MISSING_SCOPE)
    if not linked:
        return ok(_fields(turn, turn.body("page", account), "name", "id"))
    everything = {"id": account.linked_id, "username": account.username, "name": account.display_name}
    return ok(_fields(turn, everything, "id"))


def _of_kind(turn: Turn, scope: str, *, linked: bool) -> SimAccount:
    account, is_linked = _found(turn, _signed_in(turn, scope))
    if is_linked is not linked:
        raise SimRefusal(SimCase.NOT_FOUND)
    return account


@META.answers("media")
def _media(turn: Turn) -> SimReply:
    return _posts(turn, _of_kind(turn, "instagram_basic", linked=True), "caption", "id")


@META.answers("published_posts")
def _published_posts(turn: Turn) -> SimReply:
    page = _of_kind(turn, "pages_read_engagement", linked=False)
    return _posts(turn, page, "message", "id", "message", "created_time")


@META.answers("container")
@META.answers("publish")
def _meta_publish(turn: Turn) -> SimReply:
    return _published(turn, _found(turn, _signed_in(turn, "instagram_content_publish"))[0])


@META.answers("introspect")
def _debug(turn: Turn) -> SimReply:
    world = turn.world
    client_id, _, secret = _shown(turn).partition("|")
    app = world.apps.get(client_id)
    if app is None or not app.accepts(secret):
        raise SimRefusal(SimCase.BAD_CLIENT)
    token = world.ledger.find(turn.ask.query.get("input_token", ""))
    if token is None or token.family.client_id != client_id:
        problem = {"code": 190, "message": "Invalid OAuth access token."}
        return ok({"data": {"error": problem, "is_valid": False, "scopes": []}})
    return ok({"data": _described(turn, token)})


def _described(turn: Turn, token: SimToken) -> dict[str, Any]:
    world, family = turn.world, token.family
    pages = _pages(turn, token)
    data: dict[str, Any] = {
        "app_id": family.client_id,
        "type": "PAGE" if token.kind is TokenKind.PAGE else "USER",
        "application": f"App {family.client_id}",
        "user_id": world.accounts[family.account].person_id,
        "is_valid": True,
        "expires_at": 0 if token.expires_at is None else round(token.expires_at),
        "data_access_expires_at": round(_data_end(turn, family)),
        "issued_at": round(token.issued_at),
        "scopes": family.scopes,
        "granular_scopes": [
            {"scope": scope, "target_ids": [p.linked_id if scope.startswith("instagram") else p.id for p in pages]}
            for scope in family.scopes
            if scope.startswith(("pages_", "instagram_"))
        ],
    }
    why = world.locks.get(family.account) or token.death(world.now)
    if why is None:
        return data
    error = world.platform.refuse(why, API).body["error"]
    brief = {"code": error["code"], "message": error["message"]}
    if "error_subcode" in error:
        brief["subcode"] = error["error_subcode"]
    return data | {"is_valid": False, "error": brief}


@META.answers("permissions")
def _permissions(turn: Turn) -> SimReply:
    family = _signed_in(turn, kinds=_USER, data=False).family
    data = [{"permission": scope, "status": "granted"} for scope in family.scopes]
    declined = sorted(set(family.asked) - set(family.scopes))
    return ok({"data": [*data, *({"permission": scope, "status": "declined"} for scope in declined)]})


@META.answers("revoke")
def _revoke(turn: Turn) -> SimReply:
    world, family = turn.world, _signed_in(turn, kinds=_USER, data=False).family
    if turn.parts["user"] not in ("me", world.account_of(family).person_id):
        raise SimRefusal(SimCase.MISSING_SCOPE)
    name = turn.parts["name"]
    if not name:
        world.ledger.end(SimCase.REVOKED, owner=family.owner, client_id=family.client_id)
    for other in world.ledger.of(owner=family.owner, client_id=family.client_id):
        other.scopes = tuple(scope for scope in other.scopes if scope != name)
    return ok({"success": True})
