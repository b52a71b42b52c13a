"""YouTube over Google's OAuth.

Rules
- A refresh token comes with offline access on the first consent, or when consent is asked for again; refreshing gives
  only an access token.
- The account is the channel picked at consent; one person may own several.
- Past the number of live refresh tokens of a person and an app, the oldest dies without notice.
"""

from __future__ import annotations

from typing import Any, Final

from byokeep_sim.platforms.model import DAY, SimAccount, SimApp, SimCase, SimPlatform, SimRefusal, Turn
from byokeep_sim.platforms.oauth import by_basic, by_form, redeemed
from byokeep_sim.platforms.world import Code, Family, TokenKind
from byokeep_sim.reply import SimReply, ok

_SCOPE: Final = "https://www.googleapis.com/auth/"
_READ: Final = frozenset({_SCOPE + name for name in ("youtube.readonly", "youtube", "youtube.force-ssl")})


def _api_error(status: int, reason: str, domain: str, text: str, words: str) -> SimReply:
    errors = [{"message": words, "domain": domain, "reason": reason}]
    return SimReply(status=status, body={"error": {"code": status, "message": words, "errors": errors, "status": text}})


YOUTUBE: Final = SimPlatform("youtube", api_error=_api_error)


@YOUTUBE.answers("token")
def _token(turn: Turn) -> SimReply:
    app, world = by_basic(turn) or by_form(turn), turn.world
    code = redeemed(turn, app)
    if code is not None:
        return _first(turn, app, code)
    token = world.usable(turn.ask.form.get("refresh_token", ""), TokenKind.REFRESH, client_id=app.client_id)
    # Idleness is counted again from each use.
    token.expires_at = token.issued_at + 7 * DAY if app.testing else world.now + world.number("idle_ttl_s")
    token.family.generation += 1
    return ok(_access(turn, token.family))


def _first(turn: Turn, app: SimApp, code: Code) -> SimReply:
    world = turn.world
    known = any(True for _ in world.ledger.of(owner=code.owner, client_id=app.client_id))
    family = world.open(code)
    body = _access(turn, family)
    if code.wishes.get("access_type") == "offline" and (not known or "consent" in code.wishes.get("prompt", "")):
        ttl = 7 * DAY if app.testing else world.number("idle_ttl_s")
        body["refresh_token"] = world.mint(family, TokenKind.REFRESH, ttl)
        _drop_oldest(turn, family)
    return ok(body)


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
    value = turn.world.mint(family, TokenKind.ACCESS, ttl)
    return {"access_token": value, "expires_in": ttl, "scope": " ".join(family.scopes), "token_type": "Bearer"}


def _invalid(words: str) -> SimReply:
    return SimReply(status=400, body={"error": "invalid_token", "error_description": words})


@YOUTUBE.answers("revoke")
def _revoke(turn: Turn) -> SimReply:
    world = turn.world
    token = world.ledger.find(turn.ask.param("token"))
    if token is None or token.death(world.now) is not None:
        return _invalid("Token expired or revoked")
    world.ledger.end(SimCase.REVOKED, owner=token.family.owner, client_id=token.family.client_id)
    return ok({})


@YOUTUBE.answers("introspect")
def _tokeninfo(turn: Turn) -> SimReply:
    world = turn.world
    token = world.ledger.find(turn.ask.param("access_token"))
    if token is None or token.kind is not TokenKind.ACCESS or token.death(world.now) is not None:
        return _invalid("Invalid Value")
    family = token.family
    account = world.accounts[family.account]
    refreshable = any(one.kind is TokenKind.REFRESH for one in family.tokens)
    body = turn.body(
        "token",
        account,
        client_id=family.client_id,
        scope=" ".join(family.scopes),
        exp=str(round(token.expires_at or 0)),
        left=str(token.left_s(world.now)),
        email=f"{account.owner}@example.test",
        access_type="offline" if refreshable else "online",
    )
    return ok(body)


def _signed_in(turn: Turn) -> SimAccount:
    world, (token, account) = turn.world, turn.signed_in()
    if not _READ & set(token.family.scopes):
        raise SimRefusal(SimCase.MISSING_SCOPE)
    used, _ = world.used("quota_units", token.family.client_id, DAY)
    if used > world.number("quota_units_per_day"):
        raise SimRefusal(SimCase.QUOTA)
    return account


def _uploads(account: SimAccount) -> str:
    return "UU" + account.id.removeprefix("UC")


@YOUTUBE.answers("identity")
def _channels(turn: Turn) -> SimReply:
    own, query = _signed_in(turn), turn.ask.query
    parts = [part for part in query.get("part", "").split(",") if part]
    if not parts or query.get("mine") != "true":
        raise SimRefusal(SimCase.BAD_REQUEST)
    account = turn.who(own)
    handle = f"@{account.username.removeprefix('@')}"
    everything = turn.body("channel", account, handle=handle, uploads=_uploads(account))
    item = {"kind": "youtube#channel", "etag": "sim", **{p: everything[p] for p in parts if p in everything}}
    return _page("youtube#channelListResponse", [item])


def _page(kind: str, items: list[dict[str, Any]]) -> SimReply:
    info = {"totalResults": len(items), "resultsPerPage": max(5, len(items))}
    return ok({"kind": kind, "etag": "sim", "pageInfo": info, "items": items})


@YOUTUBE.answers("posts")
def _playlist(turn: Turn) -> SimReply:
    own = _signed_in(turn)
    account = turn.who(own)
    if turn.ask.query.get("playlistId") != _uploads(own):
        raise SimRefusal(SimCase.NOT_FOUND)
    newest = account.newest(turn.ask.count("maxResults", 5, 50))
    items = [turn.body("video", account, video=post[:11], words=words) for post, words, _ in newest]
    return _page("youtube#playlistItemListResponse", items)
