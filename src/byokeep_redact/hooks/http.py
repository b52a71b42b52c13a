"""HTTP as it is logged and traced: which headers and parameters never go out, and the debug output of http.client.

Rules
- A header, field or parameter named like a credential goes out without its value, whatever the value looks like.
- What httpx, aiohttp, requests, urllib3, uvicorn and granian log goes through :mod:`logging`, whose hook cleans it.
- ``http.client`` prints its debug output; it is given a ``print`` that cleans.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

from byokeep_redact.hooks.wall import PatchingHook, Wall

_PAIR: Final = re.compile(r"(?<![^&;=?#])([^&;=?#]+)=([^&;#]*)")  # a name is tried from its first letter alone
_SECRET_PARAMETERS: Final = frozenset(
    {"key", "code", "sig", "signature", "state", "x-amz-signature", "x-goog-signature"}
)
# What a token reply may say of itself: short words, of which none is long enough to be a token.
_TOLD: Final = {
    "token_type": re.compile(r"[A-Za-z-]{1,16}"),
    "expires_in": re.compile(r"[0-9]{1,9}"),
    "scope": re.compile(r"[A-Za-z0-9_.:/-]{1,40}(?:[ ,][A-Za-z0-9_.:/-]{1,40}){0,40}"),
}
_USER: Final = re.compile(r"(?<=://)[^/?#\s]*@")


def clean_query(wall: Wall, query: str) -> str:
    """Return a query string or fragment without the values of parameters named like credentials, and redacted."""
    return wall.text(_PAIR.sub(lambda pair: f"{pair[1]}={_parameter(wall, unquote(pair[1]), pair[2])}", query))


def _parameter(wall: Wall, name: str, value: str) -> str:
    return wall.named("access_token" if name.lower() in _SECRET_PARAMETERS else name, value)


def clean_url(wall: Wall, url: str) -> str:
    """Return a URL without user information and without what :func:`clean_query` takes out."""
    place, mark, rest = _USER.sub("", url).partition("?")
    # Read as a whole: in what is no URL, such as a Cookie header, one part tells what the next is.
    place, sharp, fragment = place.partition("#")
    return wall.text(place) + sharp + clean_query(wall, fragment) + mark + clean_query(wall, rest)


def token_reply(wall: Wall, status: int, body: bytes) -> dict[str, str | int]:
    """Return what may be logged of the reply of an OAuth token endpoint.

    Args:
        wall: Whose fingerprints are used.
        status: HTTP status.
        body: As it was received; nothing of it is kept.

    Returns:
        ``status``, and either ``token_type``, ``expires_in`` (seconds), ``scope`` (names) as far as they are there, and
        ``fingerprint`` of the access token; or, for anything that is no token reply, ``length`` in bytes alone.
    """
    try:
        said = json.loads(body)
        token = said["access_token"]
        told: dict[str, str | int] = {"status": status, "fingerprint": wall.redactor.mask.fingerprint(token.encode())}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"status": status, "length": len(body)}
    for name, form in _TOLD.items():
        value = said.get(name)
        if isinstance(value, int) and name == "expires_in":
            told[name] = int(value)
        elif isinstance(value, str) and form.fullmatch(value):
            told[name] = value
    return told


class HttpClientHook(PatchingHook):
    """Cleans what ``http.client`` prints when somebody sets its debug level."""

    def place(self) -> None:
        """Give the module a ``print`` of its own."""
        self._put(http.client, "print", self._printer())

    def _printer(self) -> Callable[..., None]:
        def print_clean(*parts: Any, sep: str | None = " ", end: str | None = "\n", **_: Any) -> None:
            said = (" " if sep is None else sep).join(str(part) for part in parts)
            if sys.stdout is not None:
                sys.stdout.write(self._wall.or_error(lambda: self._wall.line(said)) + ("\n" if end is None else end))

        return print_clean
