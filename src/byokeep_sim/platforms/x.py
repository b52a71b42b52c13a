"""X, API version 2.

Rules
- An app with a secret shows it in the Authorization header and nowhere else.
- A refresh token works once; using one again ends its whole family.
- One grant of a person to an app lives: a new login ends the earlier one.
- Reading costs money; the same resource is charged once in a UTC day.
"""

from __future__ import annotations

from typing import Any, Final

from byokeep_sim.platforms.model import SimAccount, SimApp, SimCase, SimPlatform, SimRefusal, Turn, digits
from byokeep_sim.platforms.oauth import by_basic, redeemed, rotated
from byokeep_sim.platforms.world import SimToken, TokenKind
from byokeep_sim.reply import SimReply, ok

_READ: Final = ("tweet.read", "users.read")
_WINDOW_S: Final = 900
_PRICE: Final = {"user": 10, "post": 5, "publish": 15, "publish_url": 200}


def _problem(status: int, problem: str, title: str, detail: str) -> SimReply:
    kind = f"https://api.x.com/2/problems/{problem}"
    return SimReply(status=status, body={"title": title, "detail": detail, "type": kind, "status": status})


def _meter(turn: Turn, call: str, who: str) -> tuple[dict[str, str], bool]:
    """Count a call of a person; returns the rate headers, and whether it is within the limit."""
    if f"{call}_per_window" not in turn.world.rules:
        return {}, True
    limit = turn.world.number(f"{call}_per_window")
    used, ends = turn.world.used(call, who, _WINDOW_S)
    headers = {
        "x-rate-limit-limit": str(limit),
        "x-rate-limit-remaining": str(max(0, limit - used)),
        "x-rate-limit-reset": str(ends),
    }
    return headers, used <= limit


X: Final = SimPlatform("x", api_error=_problem, meter=_meter)


def _app(turn: Turn) -> SimApp:
    app = by_basic(turn) or turn.world.apps.get(turn.ask.form.get("client_id", ""))
    if app is None or (turn.ask.basic() is None and not app.public):
        raise SimRefusal(SimCase.WRONG_AUTH)
    return app


@X.answers("token")
def _token(turn: Turn) -> SimReply:
    app, world = _app(turn), turn.world
    code = redeemed(turn, app)
    if code is not None and world.on("single_grant"):
        world.ledger.end(SimCase.SUPERSEDED, account=code.account, client_id=app.client_id)
    family, ttl = world.open(code) if code else rotated(turn, app), world.number("access_ttl_s")
    body: dict[str, Any] = {
        "token_type": "bearer",
        "expires_in": ttl,
        "access_token": world.mint(family, TokenKind.ACCESS, ttl),
        "scope": " ".join(family.scopes),
    }
    if "offline.access" in family.scopes:
        body["refresh_token"] = world.mint(family, TokenKind.REFRESH, world.number("refresh_ttl_s"))
    return ok(body)


@X.answers("revoke")
def _revoke(turn: Turn) -> SimReply:
    app = _app(turn)
    token = turn.world.ledger.find(turn.ask.form.get("token", ""))
    if token is None or token.family.client_id != app.client_id:
        raise SimRefusal(SimCase.UNKNOWN)
    token.family.dead = token.family.dead or SimCase.REVOKED
    return ok({"revoked": True})


def _signed_in(turn: Turn, *scopes: str) -> tuple[SimToken, SimAccount]:
    if turn.ask.basic() is not None:
        raise SimRefusal(SimCase.WRONG_AUTH)
    found = turn.signed_in(*scopes)
    if not turn.world.on("credit"):
        raise SimRefusal(SimCase.QUOTA)
    return found


@X.answers("identity")
def _me(turn: Turn) -> SimReply:
    token, own = _signed_in(turn, *_READ)
    account = turn.who(own)
    turn.world.pay(token.family.client_id, f"user {account.id}", _PRICE["user"])
    asked = turn.ask.query.get("user.fields", "").split(",")
    more = {name: False for name in ("protected", "verified") if name in asked}
    return ok({"data": {"id": account.id, "name": account.display_name, "username": account.username, **more}})


@X.answers("posts")
def _posts(turn: Turn) -> SimReply:
    token, own = _signed_in(turn, *_READ)
    if turn.parts["id"] != own.id:
        raise SimRefusal(SimCase.NOT_FOUND)
    wanted = turn.ask.count("max_results", 10, 100)
    if wanted < 5:
        raise SimRefusal(SimCase.BAD_REQUEST)
    posts = []
    for post, words, _ in turn.who(own).newest(wanted):
        turn.world.pay(token.family.client_id, f"post {post}", _PRICE["post"])
        posts.append({"id": post, "text": words, "edit_history_tweet_ids": [post]})
    meta: dict[str, Any] = {"result_count": len(posts)}
    if not posts:
        return ok({"meta": meta})
    return ok({"data": posts, "meta": meta | {"newest_id": posts[0]["id"], "oldest_id": posts[-1]["id"]}})


@X.answers("publish")
def _publish(turn: Turn) -> SimReply:
    token, account = _signed_in(turn, *_READ, "tweet.write")
    words = str(turn.ask.document().get("text", ""))
    if not words:
        raise SimRefusal(SimCase.BAD_REQUEST)
    effect = turn.world.book.effects.add("x", account.name, "publish")
    price = _PRICE["publish_url" if "http" in words else "publish"]
    turn.world.pay(token.family.client_id, effect.id, price)
    return SimReply(status=201, body={"data": {"id": digits(effect.id, 19), "text": words}})
