"""LinkedIn: sixty days of access; partners can renew it for a year from the first consent.

Rules
- The refresh token stays the same and its end stays the same; the last access token ends with it.
- Calls under ``/rest`` name a version of the interface.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from byokeep_sim.platforms.model import SimAccount, SimCase, SimPlatform, SimRefusal, Turn, digits
from byokeep_sim.platforms.oauth import by_form, redeemed
from byokeep_sim.platforms.world import Family, SimToken, TokenKind
from byokeep_sim.reply import SimReply, ok

_PERSON: Final = "urn:li:person:"
_ORGANIZATION: Final = "urn:li:organization:"


def _api_error(status: int, code: int, name: str, words: str) -> SimReply:
    named = {"code": name} if name else {}
    return SimReply(status=status, body={"status": status, "serviceErrorCode": code, **named, "message": words})


LINKEDIN: Final = SimPlatform("linkedin", api_error=_api_error)


@LINKEDIN.answers("token")
def _token(turn: Turn) -> SimReply:
    app, world = by_form(turn), turn.world
    code = redeemed(turn, app)
    if code is not None:
        return _issued(turn, world.open(code))
    if not app.partner:
        raise SimRefusal(SimCase.BAD_APP)
    value = turn.ask.form.get("refresh_token", "")
    token = world.usable(value, TokenKind.REFRESH, client_id=app.client_id)
    token.family.generation += 1
    return _issued(turn, token.family, value, token)


def _issued(turn: Turn, family: Family, refresh: str = "", known: SimToken | None = None) -> SimReply:
    world, ttl = turn.world, turn.world.number("access_ttl_s")
    body: dict[str, Any] = {"scope": ",".join(family.scopes), "token_type": "Bearer"}
    if world.app_of(family).partner:
        left = known.left_s(world.now) if known else world.number("refresh_ttl_s")
        refresh = refresh or world.mint(family, TokenKind.REFRESH, left)
        body |= {"refresh_token": refresh, "refresh_token_expires_in": left}
        ttl = min(ttl, left)
    return ok({"access_token": world.mint(family, TokenKind.ACCESS, ttl), "expires_in": ttl, **body})


def _shown(turn: Turn) -> SimToken | None:
    app = by_form(turn)
    token = turn.world.ledger.find(turn.ask.form.get("token", ""))
    return token if token is not None and token.family.client_id == app.client_id else None


@LINKEDIN.answers("introspect")
def _introspect(turn: Turn) -> SimReply:
    token = _shown(turn)
    if token is None:
        return ok({"active": False})
    why, family = token.death(turn.world.now), token.family
    body = turn.body(
        "token",
        active=why is None,
        client_id=family.client_id,
        authorized_at=round(family.created_at),
        created_at=round(token.issued_at),
        status="active" if why is None else "expired" if why is SimCase.EXPIRED else "revoked",
        expires_at=round(token.expires_at or 0),
        scope=",".join(family.scopes),
    )
    return ok(body)


@LINKEDIN.answers("revoke")
def _revoke(turn: Turn) -> SimReply:
    token = _shown(turn)
    if token is not None:
        token.family.dead = token.family.dead or SimCase.REVOKED
    return ok({})


def _signed_in(turn: Turn, *scopes: str) -> tuple[SimToken, SimAccount]:
    token, own = turn.signed_in(*scopes)
    if turn.world.now - token.issued_at < turn.world.number("false_revoked_s"):
        raise SimRefusal(SimCase.REVOKED)
    return token, own


@LINKEDIN.answers("identity")
def _userinfo(turn: Turn) -> SimReply:
    token, own = _signed_in(turn, "openid", "profile")
    account, app = turn.who(own), turn.world.app_of(token.family)
    mail = {"email": f"{account.username}@example.test", "email_verified": True}
    return ok(turn.body("identity", account, app=app, **(mail if "email" in token.family.scopes else {})))


@LINKEDIN.answers("person")
def _me(turn: Turn) -> SimReply:
    token, own = _signed_in(turn, "r_basicprofile")
    return ok(turn.body("person", turn.who(own), app=turn.world.app_of(token.family)))


def _organizations(turn: Turn, own: SimAccount) -> list[SimAccount]:
    return [one for one in turn.world.of_owner(own.owner) if one.kind == "organization"]


@LINKEDIN.answers("accounts")
def _acls(turn: Turn) -> SimReply:
    token, own = _signed_in(turn, "rw_organization_admin")
    person = _PERSON + own.seen_by(turn.world.app_of(token.family))
    elements = [turn.body("role", one, person=person) for one in _organizations(turn, own)]
    return ok({"elements": elements, "paging": {"start": 0, "count": 10, "links": []}})


@LINKEDIN.answers("organization")
def _organization(turn: Turn) -> SimReply:
    _, own = _signed_in(turn, "rw_organization_admin")
    for one in _organizations(turn, own):
        if one.id == turn.parts["id"]:
            shown = turn.who(one)
            return ok(turn.body("organization", shown, number=int(shown.id) if shown.id.isdigit() else shown.id))
    raise SimRefusal(SimCase.NOT_FOUND)


def _versioned(turn: Turn) -> None:
    version = turn.ask.headers.get("linkedin-version", "")
    if len(version) != 6 or not version.isdigit() or turn.ask.headers.get("x-restli-protocol-version") != "2.0.0":
        raise SimRefusal(SimCase.BAD_VERSION)


def _author(turn: Turn, urn: str, member: str, organization: str) -> SimAccount:
    token, own = _signed_in(turn)
    scopes = token.family.scopes
    if urn == _PERSON + own.seen_by(turn.world.app_of(token.family)) and member in scopes:
        return own
    for one in _organizations(turn, own):
        if urn == _ORGANIZATION + one.id and organization in scopes:
            return one
    raise SimRefusal(SimCase.MISSING_SCOPE)


@LINKEDIN.answers("posts")
def _posts(turn: Turn) -> SimReply:
    _versioned(turn)
    if turn.ask.query.get("q") != "author":
        raise SimRefusal(SimCase.BAD_REQUEST)
    urn, count = turn.ask.query.get("author", ""), turn.ask.count("count", 10, 100)
    account = turn.who(_author(turn, urn, "r_member_social", "r_organization_social"))
    elements = [
        turn.body("post", post=post, author=urn, words=words, made_ms=made * 1000)
        for post, words, made in account.newest(count)
    ]
    return ok({"elements": elements, "paging": {"start": 0, "count": count, "links": []}})


@LINKEDIN.answers("publish")
def _publish(turn: Turn) -> SimReply:
    _versioned(turn)
    author = str(turn.ask.document().get("author", ""))
    account = _author(turn, author, "w_member_social", "w_organization_social")
    effect = turn.world.book.effects.add("linkedin", account.name, "publish")
    urn = f"urn:li:share:{digits(effect.id, 19)}"
    return SimReply(status=201, body={}, raw=b"", headers={"x-restli-id": urn, "Location": f"/rest/posts/{quote(urn)}"})


@LINKEDIN.answers("discovery")
def _discovery(turn: Turn) -> SimReply:
    return ok(turn.body("discovery", base=turn.ask.base))
