"""Identity replies that are wrong in a way that a careless reader takes for right.

Rules
- Each lie is a complete HTTP reply; cut connections, HTML, redirects and endless bodies are faults of their own.
- The form stays the platform's own as far as the lie allows.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any, Final

from byokeep_sim.faults import Lie
from byokeep_sim.platforms.kit import SimShape
from byokeep_sim.platforms.people import digits
from byokeep_sim.reply import SimReply

# Latin letters and Cyrillic ones that look the same.
_TWINS: Final = str.maketrans(
    {"a": "\u0430", "e": "\u0435", "o": "\u043e", "c": "\u0441", "p": "\u0440", "x": "\u0445", "i": "\u0456"}
)


def tell(lie: Lie, shape: SimShape, true: SimReply, stranger: SimReply, error: SimReply) -> SimReply:
    """Return the wrong reply.

    Args:
        shape: Where the identity stands.
        true: What the platform would say.
        stranger: The same of another account.
        error: Refusal of the API, for ``error_200``.
    """
    if true.status != 200:
        return true
    if lie is Lie.ERROR_200:
        return replace(error, status=200)
    if lie is Lie.CUT_JSON:
        text = true.encoded()
        return replace(true, raw=text[: len(text) - len(text) // 3])
    if lie is Lie.DUPLICATE_KEYS:
        return replace(true, raw=_doubled(shape, true, stranger))
    if lie is Lie.OTHER:
        return stranger
    body = copy.deepcopy(dict(true.body))
    if lie in (Lie.TWO_ACCOUNTS, Lie.NO_ACCOUNT):
        both = [_inside(body, shape), _inside(dict(stranger.body), shape)]
        return replace(true, body=_with_list(body, shape, both if lie is Lie.TWO_ACCOUNTS else []))
    _bend(lie, _inside(body, shape), shape)
    return replace(true, body=body)


def _inside(body: Any, shape: SimShape) -> dict[str, Any]:
    for step in shape.inside:
        body = body[step]
    found: dict[str, Any] = body
    return found


def _with_list(body: dict[str, Any], shape: SimShape, accounts: list[dict[str, Any]]) -> dict[str, Any]:
    if not shape.inside:
        return {"data": accounts}
    steps = shape.inside[:-1] if isinstance(shape.inside[-1], int) else shape.inside
    holder: Any = body
    for step in steps[:-1]:
        holder = holder[step]
    holder[steps[-1]] = accounts
    return body


def _bend(lie: Lie, who: dict[str, Any], shape: SimShape) -> None:
    value = str(who.get(shape.id, ""))
    match lie:
        case Lie.MISSING_ID:
            who.pop(shape.id, None)
        case Lie.NULL_ID:
            who[shape.id] = None
        case Lie.EMPTY_ID:
            who[shape.id] = ""
        case Lie.NUMERIC_ID:
            who[shape.id] = int(value if value.isascii() and value.isdigit() else digits(value, 17))
        case Lie.OTHER_CASE if value.swapcase() != value:
            who[shape.id] = value.swapcase()
        case Lie.OTHER_CASE:
            _change(who, shape.username or shape.name, str.swapcase)
        case Lie.OTHER_NAME:
            _change(who, shape.name, lambda name: f"{name} Official")
        case Lie.LOOKALIKE:
            _change(who, shape.name, lambda name: name.translate(_TWINS))
            _change(who, shape.username, lambda name: name.translate(_TWINS))


def _change(who: dict[str, Any], way: tuple[str, ...], change: Any) -> None:
    for step in way[:-1]:
        who = who.get(step, {})
    if way and way[-1] in who:
        who[way[-1]] = change(who[way[-1]])


def _doubled(shape: SimShape, true: SimReply, stranger: SimReply) -> bytes:
    # The stranger's id comes first: a reader that keeps the last of two equal names sees nothing wrong.
    body = copy.deepcopy(dict(true.body))
    who = _inside(body, shape)
    own = json.dumps({shape.id: who.get(shape.id, "")})[1:-1]
    other = json.dumps({shape.id: _inside(dict(stranger.body), shape).get(shape.id, "")})[1:-1]
    return json.dumps(body).replace(own, f"{other}, {own}", 1).encode()
