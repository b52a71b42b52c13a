"""What Facebook's and Instagram's Graph API have in common: errors, fields, media, publishing, rate headers.

Rules
- An error is one object with message, type, code, subcode and trace id; the code decides, not the HTTP status.
- HTTP statuses beside the codes, and the codes beside Instagram's subcodes, are guesses.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from byokeep_sim.platforms.kit import SimCase, SimRefusal, Turn
from byokeep_sim.platforms.people import SimAccount, SimApp, digits
from byokeep_sim.reply import SimReply

VERSION: Final = r"(?:v\d{1,2}\.\d/)?"
_TRACE: Final = "AbCdEfGhIjKlMnOpQrStUvW"
_HOUR: Final = 3600

# case: (HTTP status, code, subcode, message)
_ERRORS: Final[dict[SimCase, tuple[int, int, int | None, str]]] = {
    SimCase.ABSENT: (400, 190, None, "An access token is required to request this resource."),
    SimCase.UNKNOWN: (400, 190, None, "Invalid OAuth access token - Cannot parse access token"),
    SimCase.REVOKED: (400, 190, 458, "Error validating access token: The user has not authorized application."),
    SimCase.LOCKOUT: (400, 190, 459, "Error validating access token: You cannot access the app till you log in."),
    SimCase.PASSWORD_CHANGED: (400, 190, 460, "Error validating access token: The session has been invalidated."),
    SimCase.EXPIRED: (400, 190, 463, "Error validating access token: Session has expired."),
    SimCase.UNCONFIRMED: (400, 190, 464, "Error validating access token: Sessions for the user are not allowed."),
    SimCase.LOGGED_OUT: (400, 190, 467, "Error validating access token: The session is invalid."),
    SimCase.ROLE_LOST: (400, 190, 492, "Error validating access token: Session does not match the Page."),
    SimCase.SESSION_INVALID: (400, 102, None, "Session key invalid or no longer valid"),
    SimCase.DATA_EXPIRED: (400, 10, None, "(#10) Data access has expired; the person must renew it"),
    SimCase.MISSING_SCOPE: (403, 200, None, "(#200) Requires a permission that was not granted"),
    SimCase.BLOCKED: (400, 368, None, "The action attempted has been deemed abusive or is otherwise disallowed"),
    SimCase.RATE_LIMITED: (400, 4, None, "(#4) Application request limit reached"),
    SimCase.QUOTA: (400, 9, 2207042, "You have reached the maximum number of posts"),
    SimCase.RESTRICTED: (400, 25, 2207050, "The Instagram account is restricted"),
    SimCase.USER_CAP: (400, 4, 2207051, "Action is blocked"),
    SimCase.TRANSIENT: (500, 2, None, "Service temporarily unavailable"),
    SimCase.TOO_YOUNG: (400, 100, None, "The access token is too young to be refreshed"),
    SimCase.BAD_CLIENT: (400, 101, None, "Error validating application."),
    SimCase.BAD_CODE: (400, 100, None, "This authorization code has been used or has expired"),
    SimCase.BAD_REDIRECT: (400, 100, None, "Error validating verification code: redirect_uri is not identical"),
    SimCase.BAD_PROOF: (400, 100, None, "Invalid appsecret_proof provided in the API argument"),
    SimCase.NOT_FOUND: (404, 100, 33, "Unsupported request: object does not exist or permission is missing"),
}
CASES: Final = frozenset(_ERRORS)


def body_of(code: int, subcode: int | None, message: str) -> dict[str, Any]:
    """Return the error object."""
    error: dict[str, Any] = {"message": message, "type": "OAuthException", "code": code}
    if subcode is not None:
        error |= {"error_subcode": subcode, "error_user_title": "Not possible", "error_user_msg": message}
    return {"error": {**error, "fbtrace_id": _TRACE}}


def refuse(case: SimCase, _: str) -> SimReply:
    """Return the refusal."""
    status, code, subcode, message = _ERRORS.get(case, (400, 100, None, "Invalid parameter"))
    return SimReply(status=status, body=body_of(code, subcode, message))


def error(status: int) -> SimReply:
    """Return the error of an HTTP status."""
    codes = {401: 190, 403: 200, 404: 100, 429: 4}
    return SimReply(
        status=status, body=body_of(codes.get(status, 1 if status >= 500 else 100), None, "simulated error")
    )


def shown(turn: Turn) -> str:
    """Return the token of a call: in the query as documented, or as bearer."""
    return turn.ask.param("access_token") or turn.ask.bearer()


def check_proof(turn: Turn, app: SimApp, token: str) -> None:
    """Compare ``appsecret_proof``. Raises Refused when it is wrong, or absent and wanted."""
    given = turn.ask.param("appsecret_proof")
    right = hmac.new(app.secret.encode(), token.encode(), hashlib.sha256).hexdigest()
    if (given or app.require_proof) and not hmac.compare_digest(given.encode(), right.encode()):
        raise SimRefusal(SimCase.BAD_PROOF)


def fields(turn: Turn, everything: dict[str, Any], default: Iterable[str]) -> dict[str, Any]:
    """Return the fields that were asked for; those an object does not have are left out."""
    asked = turn.ask.query.get("fields", "")
    names = [name.partition("{")[0] for name in asked.split(",") if name] or list(default)
    return {name: everything[name] for name in dict.fromkeys([*names, "id"]) if name in everything}


def posts(turn: Turn, account: SimAccount, text: str, default: Iterable[str]) -> SimReply:
    """Return the newest posts of an account; ``text`` is the name of the field with their words."""
    limit = turn.ask.count("limit", 25, 100)
    data = []
    for number, words in enumerate(account.posts[:limit]):
        made = datetime.fromtimestamp(1_750_000_000 - number * _HOUR, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
        post = account.post_id(number)
        everything = {"id": post, text: words, "media_type": "IMAGE", "timestamp": made, "created_time": made}
        data.append(fields(turn, {**everything, "permalink": f"https://www.instagram.com/p/{post}/"}, default))
    return SimReply(status=200, body={"data": data, "paging": {"cursors": {"before": "b", "after": "a"}}})


def container(turn: Turn, account: SimAccount) -> SimReply:
    """Answer the first of two calls that publish."""
    return SimReply(status=200, body={"id": digits(f"container {account.id} {turn.world.book.log.seen}", 17)})


def published(turn: Turn, account: SimAccount) -> SimReply:
    """Answer the second one; an effect."""
    if not turn.ask.param("creation_id"):
        raise SimRefusal(SimCase.BAD_REQUEST)
    effect = turn.world.book.effects.add(turn.world.name, account.name, "publish", "")
    return SimReply(status=200, body={"id": digits(f"media {effect.id}", 17)})


def meter(turn: Turn, call: str, who: str) -> tuple[dict[str, str], bool]:
    """Count a call; returns the usage header, in per cent of the hour's allowance, and whether there is any left."""
    used, _ = turn.world.windows.add("graph_calls", who, now=turn.world.now, every_s=_HOUR)
    share = min(100, used * 100 // turn.world.number("calls_per_hour"))
    header = "x-page-usage" if call == "posts" else "x-app-usage"
    return {header: json.dumps({"call_count": share, "total_cputime": 0, "total_time": 0})}, share < 100
