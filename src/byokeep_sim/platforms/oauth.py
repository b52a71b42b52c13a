"""What the OAuth endpoints of all platforms share: the consent page, codes, challenges, client authentication.

Rules
- The redirect address is compared as text; an unknown one is never redirected to.
- A code presented by the wrong app, to the wrong address or with the wrong verifier is used up.
- No page is shown: the scripted person answers at once.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from byokeep_sim.platforms.kit import Ask, SimCase, SimRefusal, Turn
from byokeep_sim.platforms.ledger import Family, TokenKind
from byokeep_sim.platforms.people import SimAccount, SimApp
from byokeep_sim.platforms.world import Code, World, random_text
from byokeep_sim.reply import SimReply

_SHORTEST_VERIFIER: Final = 43
_PAGE: Final = "<!doctype html><html><head><title>{0}</title></head><body>{0}</body></html>"


def page(status: int, words: str) -> SimReply:
    """Return an HTML page."""
    return SimReply(status=status, body={}, raw=_PAGE.format(words).encode(), content_type="text/html")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a platform's consent page differs from the others'.

    Args:
        client: Name of the parameter with the app's id.
        blank: What stands between scopes.
        pkce: Decides by redirect address: True required, False optional, None refused.
        methods: Challenge methods.
        scopes: What can be asked for.
        denied: Error when the person says no, and further parameters.
        bad_scope: Error for a scope that does not exist.
        code: Makes a code.
        tail: Appended to the address, such as Meta's fragment; given the platform's memory.
    """

    client: str = "client_id"
    blank: str = " "
    pkce: Callable[[str], bool | None] = lambda _: False
    methods: tuple[str, ...] = ("S256",)
    scopes: frozenset[str]
    denied: tuple[tuple[str, str], ...] = (("error", "access_denied"),)
    bad_scope: str = "invalid_scope"
    code: Callable[[], str] = lambda: random_text(48)
    tail: Callable[[World], str] = lambda _: ""


def authorize(turn: Turn, style: Style) -> SimReply:
    """Answer a call of the consent page with a redirect, or with a page when there is nowhere safe to redirect to."""
    world, query = turn.world, turn.ask.query
    app = world.apps.get(query.get(style.client, ""))
    if app is None:
        return page(400, "unknown app")
    where = query.get("redirect_uri", "")
    if where not in app.redirect_uris or turn.ask.repeated:
        return page(400, "redirect address does not match, or a parameter came twice")
    fault = _fault(turn.ask, style, where)
    if fault:
        return _redirect(turn, style, where, {"error": fault})
    if world.consent.deny:
        return _redirect(turn, style, where, dict(style.denied))
    account = _picked(world)
    if account is None:
        return page(400, "nobody to sign in; seed an account first")
    value = style.code()
    world.put_code(value, _code(turn, style, app, account))
    return _redirect(turn, style, where, {"code": value})


def _fault(ask: Ask, style: Style, where: str) -> str:
    challenge, required = ask.query.get("code_challenge", ""), style.pkce(where)
    if ask.query.get("response_type", "code") != "code":
        return "unsupported_response_type"
    if (required and not challenge) or (required is None and challenge):
        return "invalid_request"
    if challenge and ask.query.get("code_challenge_method", "plain") not in style.methods:
        return "invalid_request"
    asked = _asked(ask, style)
    return "" if asked and set(asked) <= style.scopes else style.bad_scope


def _asked(ask: Ask, style: Style) -> tuple[str, ...]:
    return tuple(part for part in ask.query.get("scope", "").split(style.blank) if part)


def _picked(world: World) -> SimAccount | None:
    if world.consent.account:
        return world.accounts.get(world.consent.account)
    return next(iter(world.accounts.values()), None)


def _code(turn: Turn, style: Style, app: SimApp, account: SimAccount) -> Code:
    world, query = turn.world, turn.ask.query
    asked, granted, ticked = _asked(turn.ask, style), world.consent.scopes, world.consent.accounts
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


def _redirect(turn: Turn, style: Style, where: str, answer: dict[str, str]) -> SimReply:
    if "state" in turn.ask.query:
        answer["state"] = turn.ask.query["state"]
    if turn.world.rules["iss"]:
        answer["iss"] = str(turn.world.rules["iss"])
    joint = "&" if urlsplit(where).query else "?"
    location = where + joint + urlencode(answer, quote_via=quote) + style.tail(turn.world)
    return SimReply(status=302, body={}, headers={"Location": location}, raw=b"", content_type="text/html")


def by_form(turn: Turn, name: str = "client_id", *, query: bool = False) -> SimApp:
    """Return the app that shows its secret in the form, or also in the query. Raises Refused."""
    source = turn.ask.param if query else lambda one: turn.ask.form.get(one, "")
    app = turn.world.apps.get(source(name))
    if app is None or not app.accepts(source("client_secret")):
        raise SimRefusal(SimCase.BAD_CLIENT)
    return app


def by_basic(turn: Turn) -> SimApp | None:
    """Return the app that shows its secret in the Authorization header, None without one. Raises Refused."""
    shown = turn.ask.basic()
    if shown is None:
        return None
    app = turn.world.apps.get(shown[0])
    if app is None or not app.accepts(shown[1]):
        raise SimRefusal(SimCase.BAD_CLIENT)
    return app


def redeem(turn: Turn, app: SimApp, challenge_of: Callable[[str], str] = base64url_s256) -> Code:
    """Return what a code stands for and use it up. Raises Refused."""
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
        made = verifier if code.method == "plain" else challenge_of(verifier)
        if len(verifier) < _SHORTEST_VERIFIER or made != code.challenge:
            raise SimRefusal(SimCase.BAD_PKCE)
    return code


def opened(turn: Turn, code: Code) -> Family:
    """Start the family of a redeemed code."""
    return turn.world.ledger.open(
        client_id=code.client_id,
        account=code.account,
        owner=code.owner,
        scopes=code.scopes,
        asked=code.asked,
        targets=code.targets,
        now=turn.world.now,
    )


def rotated(turn: Turn, app: SimApp) -> Family:
    """Use up a one-time refresh token and return its family, one generation on. Raises Refused."""
    world, value = turn.world, turn.ask.form.get("refresh_token", "")
    known = world.ledger.find(value)
    if known is not None and known.consumed_at is not None:
        world.ledger.count(known.family.account, "refresh", "replayed")
    token = world.usable(value, TokenKind.REFRESH)
    if token.family.client_id != app.client_id:
        raise SimRefusal(SimCase.UNKNOWN)
    world.ledger.consume(
        token, now=world.now, grace_s=world.number("grace_s"), kills_family=world.on("reuse_kills_family")
    )
    return token.family
