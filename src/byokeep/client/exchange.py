"""Exchanges the identity token of a keyless credential's client for a short-lived token of the provider.

Rules
- One request per exchange, over HTTPS to the named host, or to a simulator on this machine. It is never repeated here.
- A provider that cannot answer, or asks to wait, refuses nothing: only a refusal is one.
- A refusal is clear if it carries one of OAuth's own codes for it. A bare status may be a proxy's; some vendors also
  refuse when they could not fetch our public keys.
- Of a reply only the token and its life are kept, or that code; the rest is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from byokeep.core.canonical import read_json
from byokeep.core.errors import Denied, Unavailable
from byokeep.core.exchange import Exchange
from byokeep.core.secret import Secret
from byokeep.wire.address import is_loopback
from byokeep.wire.transport import Outbound, Watch, failing, not_allowed, read_body

_MOST: Final = 1 << 16
_LONGEST: Final = 8192
_WITHIN: Final = aiohttp.ClientTimeout(total=10, ceil_threshold=math.inf)
_REFUSED: Final = frozenset({400, 401, 403, 404})
_CLEARLY: Final = frozenset({"invalid_grant", "invalid_target", "unauthorized_client", "access_denied"})  # OAuth
_STEP: Final = "Compare what the provider trusts with `byokeep key trust`, then run `byokeep key verify`."
_LATER: Final = "The provider is not swapping tokens at the moment. This is retried."


async def swapped(exchange: Exchange, ids: Mapping[str, str], identity: Secret) -> tuple[Secret, float]:
    """Return a short-lived token, and for how many seconds it may be used. Wipes ``identity``.

    Raises:
        Denied: ``exchange_refused``: the provider does not trust this client's identity, or not for these ids. With a
            ``reason`` it says so clearly.
        Unavailable: ``exchange_unavailable``, ``exchange_garbage``.
        Rejected: ``host_not_allowed``: nothing was sent.
    """
    split, away = urlsplit(exchange.url), "exchange_unavailable"
    loopback = is_loopback(split.hostname or "", named=True)
    if split.scheme != "https" and not loopback:
        raise not_allowed()
    kind = "application/x-www-form-urlencoded" if exchange.form else "application/json"
    with identity:
        data = exchange.filled(ids, identity.reveal().decode("ascii"))
    with failing(away, away, "exchange_tls_failed", "exchange_garbage", _LATER):
        async with (
            Outbound() as http,
            http.ask(
                "POST", exchange.url, headers={**exchange.headers, "content-type": kind}, loopback=loopback,
                watch=Watch(), within=_WITHIN, data=data,
            ) as reply,
        ):  # fmt: skip
            status, wait, raw = reply.status, reply.headers.get("retry-after", ""), await read_body(reply, _MOST)
    if status == 429 or status >= 500:
        told = {"retry_after_s": int(wait)} if wait.isdecimal() and len(wait) < 6 else {}
        raise Unavailable(away, next_step=_LATER, status=status, **told)
    if status in _REFUSED:
        raise Denied("exchange_refused", next_step=_STEP, status=status, **_reason(status, raw))
    return _token(raw, exchange) if status == 200 else _garbage()


def _reason(status: int, raw: bytes) -> dict[str, str]:
    """Return why an exchange is refused if the provider itself says so, which it does only with 400 or 401."""
    try:
        said: Any = read_json(raw)["error"] if status in (400, 401) else ""
    except (ValueError, KeyError, TypeError):
        return {}
    return {"reason": said} if isinstance(said, str) and said in _CLEARLY else {}


def _token(raw: bytes, exchange: Exchange) -> tuple[Secret, float]:
    try:
        said: Any = read_json(raw)
        text, life_s = said["access_token"], float(said["expires_in"])
        bearer = str(said.get("token_type", "bearer")).lower() == "bearer"
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return _garbage()
    good = isinstance(text, str) and 16 <= len(text) <= _LONGEST and text.isascii() and text.isprintable()
    if not (good and bearer and 0 < life_s < math.inf):
        return _garbage()
    return Secret(text), min(life_s, exchange.life_s)


def _garbage() -> tuple[Secret, float]:
    raise Unavailable("exchange_garbage", next_step="The provider's answer holds no token in the published form.")
