"""TikTok Login Kit, Display and Content Posting.

Rules
- A refresh gives a new refresh token and ends the one before at once.
"""

from __future__ import annotations

from typing import Any, Final

from byokeep_sim.platforms.model import SimCase, SimPlatform, SimRefusal, Turn
from byokeep_sim.platforms.oauth import by_form, redeemed, rotated
from byokeep_sim.platforms.world import TokenKind
from byokeep_sim.reply import SimReply, ok


def _api(status: int, code: str, message: str, data: dict[str, Any] | None = None) -> SimReply:
    log_id = TIKTOK.consent["beside_errors"]
    return SimReply(status=status, body={"data": data or {}, "error": {"code": code, "message": message, **log_id}})


TIKTOK: Final = SimPlatform("tiktok", api_error=_api)


@TIKTOK.answers("token")
def _token(turn: Turn) -> SimReply:
    app, world = by_form(turn), turn.world
    code = redeemed(turn, app)
    family = world.open(code) if code else rotated(turn, app)
    access_ttl, refresh_ttl = world.number("access_ttl_s"), world.number("refresh_ttl_s")
    body = {
        "access_token": world.mint(family, TokenKind.ACCESS, access_ttl),
        "expires_in": access_ttl,
        "open_id": world.accounts[family.account].seen_by(app),
        "refresh_expires_in": refresh_ttl,
        "refresh_token": world.mint(family, TokenKind.REFRESH, refresh_ttl),
        "scope": ",".join(family.scopes),
        "token_type": "Bearer",
    }
    return ok(body)


@TIKTOK.answers("revoke")
def _revoke(turn: Turn) -> SimReply:
    app, world = by_form(turn), turn.world
    token = world.usable(turn.ask.form.get("token", ""), TokenKind.ACCESS, client_id=app.client_id)
    world.ledger.end(SimCase.REVOKED, account=token.family.account, client_id=app.client_id)
    return SimReply(status=200, body={}, raw=b"")


@TIKTOK.answers("identity")
def _me(turn: Turn) -> SimReply:
    token, own = turn.signed_in("user.info.basic")
    names = [name for name in turn.ask.query.get("fields", "").split(",") if name]
    everything = turn.body("identity", turn.who(own), app=turn.world.app_of(token.family))
    if "username" in names and "user.info.profile" not in token.family.scopes:
        raise SimRefusal(SimCase.MISSING_SCOPE)
    if not names or set(names) - set(everything):
        raise SimRefusal(SimCase.BAD_REQUEST)
    return _api(200, "ok", "", {"user": {name: everything[name] for name in names}})


@TIKTOK.answers("posts")
def _videos(turn: Turn) -> SimReply:
    _, own = turn.signed_in("video.list")
    account, wanted = turn.who(own), turn.ask.document().get("max_count", 10)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 1 <= wanted <= 20:
        raise SimRefusal(SimCase.BAD_REQUEST)
    names = turn.ask.query.get("fields", "id").split(",")
    videos = []
    for post, words, made in account.newest(wanted):
        everything = turn.body("video", account, post=post, words=words, made=made)
        videos.append({name: everything[name] for name in names if name in everything})
    return _api(200, "ok", "", {"videos": videos, "cursor": 0, "has_more": len(account.posts) > wanted})
