"""What the OAuth endpoints of all platforms share: the consent page, codes, challenges, client authentication.

Rules
- The redirect address is compared as text; an unknown one is never redirected to.
- A code presented by the wrong app, to the wrong address or with the wrong verifier is used up.
- No page is shown: the scripted person answers at once.
- How a platform's consent page differs is in the table ``consent`` of its data file.
"""

from __future__ import annotations

import base64
import hashlib
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from byokeep_sim.platforms.model import SimAccount, SimApp, SimCase, SimRefusal, Turn
from byokeep_sim.platforms.world import Code, Family, TokenKind, World, made
from byokeep_sim.reply import SimReply

_SHORTEST_VERIFIER: Final = 43
_PAGE: Final = "<!doctype html><html><head><title>{0}</title></head><body>{0}</body></html>"


def _page(words: str) -> SimReply:
    return SimReply(status=400, body={}, raw=_PAGE.format(words).encode(), content_type="text/html")


def base64url_s256(verifier: str) -> str:
    """Return the challenge of RFC 7636."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def hex_s256(verifier: str) -> str:
    """Return TikTok's challenge: the same hash, in lower-case hexadecimal."""
    return hashlib.sha256(verifier.encode()).hexdigest()


def on_loopback(url: str) -> bool:
    """Whether an address is on this machine."""
    return is_loopback(urlsplit(url).hostname or "")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def authorize(turn: Turn) -> SimReply:
    """Answer a call of the consent page with a redirect, or with a page if there is nowhere safe to redirect to."""
    world, query, style = turn.world, turn.ask.query, turn.world.platform.consent
    app = world.apps.get(query.get(style.get("client", "client_id"), ""))
    if app is None:
        return _page("unknown app")
    where = query.get("redirect_uri", "")
    if where not in app.redirect_uris or turn.ask.repeated:
        return _page("redirect address does not match, or a parameter came twice")
    asked = tuple(part for part in query.get("scope", "").split(style.get("blank", " ")) if part)
    fault = _fault(turn, where, asked)
    if fault:
        return _redirect(turn, where, {"error": fault})
    if world.consent.deny:
        return _redirect(turn, where, dict(style["denied"]))
    account = _picked(world)
    if account is None:
        return _page("nobody to sign in; seed an account first")
    value = made(style.get("code", "<text 48>"))
    world.put_code(value, _code(turn, app, account, asked))
    return _redirect(turn, where, {"code": value})


def _fault(turn: Turn, where: str, asked: tuple[str, ...]) -> str:
    query, platform = turn.ask.query, turn.world.platform
    challenge, rule = query.get("code_challenge", ""), platform.consent.get("pkce", "optional")
    required = rule == "required" or (rule == "on_loopback" and on_loopback(where))
    if query.get("response_type", "code") != "code":
        return "unsupported_response_type"
    if (required and not challenge) or (rule == "refused" and challenge):
        return "invalid_request"
    methods = platform.consent.get("methods", ("S256",))
    if challenge and query.get("code_challenge_method", "plain") not in methods:
        return "invalid_request"
    return "" if asked and set(asked) <= platform.scopes else platform.consent.get("bad_scope", "invalid_scope")


def _picked(world: World) -> SimAccount | None:
    if world.consent.account:
        return world.accounts.get(world.consent.account)
    return next(iter(world.accounts.values()), None)


def _code(turn: Turn, app: SimApp, account: SimAccount, asked: tuple[str, ...]) -> Code:
    world, query = turn.world, turn.ask.query
    granted, ticked = world.consent.scopes, world.consent.accounts
    own = [one.name for one in world.of_owner(account.owner)]
    return Code(
        client_id=app.client_id,
        redirect_uri=query["redirect_uri"],
        challenge=query.get("code_challenge", ""),
        method=query.get("code_challenge_method", "plain"),
        account=account.name,
        owner=account.owner,
        scopes=asked if granted is None else tuple(one for one in asked if one in granted),
        targets=tuple(name for name in own if ticked is None or name in ticked),
        asked=asked,
        wishes={name: query[name] for name in ("access_type", "prompt") if name in query},
        expires_at=world.now + world.number("code_ttl_s"),
    )


def _redirect(turn: Turn, where: str, answer: dict[str, str]) -> SimReply:
    if "state" in turn.ask.query:
        answer["state"] = turn.ask.query["state"]
    if turn.world.rules["iss"]:
        answer["iss"] = str(turn.world.rules["iss"])
    joint = "&" if urlsplit(where).query else "?"
    tail = turn.world.platform.consent["fragment"] if turn.world.on("fragment") else ""
    location = where + joint + urlencode(answer, quote_via=quote) + tail
    return SimReply(status=302, body={}, headers={"Location": location}, raw=b"", content_type="text/html")


def by_form(turn: Turn, *, query: bool = False) -> SimApp:
    """Return the app that shows its secret in the form, or also in the query. Raises SimRefusal."""
    name = turn.world.platform.consent.get("client", "client_id")
    shown = [turn.ask.param(one) if query else turn.ask.form.get(one, "") for one in (name, "client_secret")]
    return _checked(turn, *shown)


def by_basic(turn: Turn) -> SimApp | None:
    """Return the app that shows its secret in the Authorization header, None without one. Raises SimRefusal."""
    shown = turn.ask.basic()
    return _checked(turn, *shown) if shown is not None else None


def _checked(turn: Turn, client_id: str, secret: str) -> SimApp:
    app = turn.world.apps.get(client_id)
    if app is None or not app.accepts(secret):
        raise SimRefusal(SimCase.BAD_CLIENT)
    return app


def redeemed(turn: Turn, app: SimApp) -> Code | None:
    """Return the code that is redeemed, None when a token is refreshed. Raises SimRefusal for any other grant."""
    match turn.ask.form.get("grant_type"):
        case "authorization_code":
            return redeem(turn, app)
        case "refresh_token":
            return None
        case _:
            raise SimRefusal(SimCase.BAD_GRANT_TYPE)


def redeem(turn: Turn, app: SimApp) -> Code:
    """Return what a code stands for and use it up. Raises SimRefusal."""
    ask, code = turn.ask, turn.world.find_code(turn.ask.param("code"))
    if code is None or code.used:
        raise SimRefusal(SimCase.BAD_CODE)
    code.used = True
    if code.expires_at <= turn.world.now or code.client_id != app.client_id:
        raise SimRefusal(SimCase.BAD_CODE)
    if ask.param("redirect_uri") != code.redirect_uri:
        raise SimRefusal(SimCase.BAD_REDIRECT)
    verifier = ask.param("code_verifier")
    if bool(code.challenge) != bool(verifier):
        raise SimRefusal(SimCase.BAD_PKCE)
    if code.challenge:
        s256 = hex_s256 if turn.world.platform.consent.get("challenge") == "hex" else base64url_s256
        challenge = verifier if code.method == "plain" else s256(verifier)
        if len(verifier) < _SHORTEST_VERIFIER or challenge != code.challenge:
            raise SimRefusal(SimCase.BAD_PKCE)
    return code


def rotated(turn: Turn, app: SimApp) -> Family:
    """Use up a one-time refresh token and return its family, one generation on. Raises SimRefusal."""
    world, value = turn.world, turn.ask.form.get("refresh_token", "")
    known = world.ledger.find(value)
    if known is not None and known.consumed_at is not None:
        world.ledger.count(known.family.account, "refresh", "replayed")
    token = world.usable(value, TokenKind.REFRESH, client_id=app.client_id)
    world.consume(token)
    return token.family
