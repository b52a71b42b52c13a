"""Canaries: made-up keys in the shape of each provider's real ones, and the search for known values in every form.

The haystack is squeezed first (white space, NUL, colon and backslash out), so that UTF-16 text, wrapped base64 and
separated hex become their plain forms. Both engines only name candidates; one verifier decides, so they find the same.
Rules: a canary is random every time and opens nothing anywhere; its value is never part of a repr; an engine that is
missing is never replaced by "nothing found".
"""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass, field

from byokeep_redact.known import FRAGMENT_BYTES

MARKER_CHARS = 24

_URL_SAFE = string.ascii_letters + string.digits + "-_"
_ALNUM = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class _Shape:
    before: str
    alphabet: str
    random_chars: int
    after: str = ""
    second_random_chars: int = 0
    ending: str = ""

    def pattern(self) -> re.Pattern[bytes]:
        chars = f"[{re.escape(self.alphabet)}]"
        return re.compile(
            f"{re.escape(self.before)}({chars}{{{MARKER_CHARS}}}){chars}{{{self.random_chars - MARKER_CHARS}}}"
            f"{re.escape(self.after)}{chars}{{{self.second_random_chars}}}{re.escape(self.ending)}".encode()
        )


def _heygen(lead: str) -> _Shape:
    return _Shape(f"sk_V2_hgu_k{lead}_", _ALNUM, 32)


_SHAPES = {
    "anthropic": _Shape("sk-ant-api03-", _URL_SAFE, 93, ending="AA"),
    "openai": _Shape("sk-proj-", _URL_SAFE, 74, after="T3BlbkFJ", second_random_chars=74),
    "google": _Shape("AQ.Ab8RN6", _URL_SAFE, 44),
    "openrouter": _Shape("sk-or-v1-", _HEX, 64),
    "kie": _Shape("", _HEX, 32),
}
_HEYGEN = re.compile(rb"sk_V2_hgu_k[A-Za-z0-9]{10}_([A-Za-z0-9]{24})[A-Za-z0-9]{8}")
_PATTERNS = {name: shape.pattern() for name, shape in _SHAPES.items()} | {"heygen": _HEYGEN}
PROVIDERS = tuple(sorted(_PATTERNS))

# What every key of a kind starts with says nothing about one key, so it is never a pattern.
_PUBLIC_START = re.compile(
    rb"sk-ant-[a-z]+[0-9]{2}-|sk-proj-|sk-or-v1-|AQ\.Ab8RN6|sk_V2_hgu_k?|-----BEGIN [A-Z ]+-----\s*|eyJ[A-Za-z0-9_-]+\."
)


def _draw(alphabet: str, count: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(count))


def new_canary(provider: str) -> bytes:
    """Return a fresh key in the shape of `provider` (one of PROVIDERS); its first random 24 characters are the marker.

    Raises KeyError for a provider without a known shape.
    """
    shape = _heygen(_draw(_ALNUM, 10)) if provider == "heygen" else _SHAPES[provider]
    body = _draw(shape.alphabet, shape.random_chars) + shape.after + _draw(shape.alphabet, shape.second_random_chars)
    return f"{shape.before}{body}{shape.ending}".encode()


def marker_of(value: bytes) -> bytes:
    """Return the 24-character marker inside a value made by new_canary. Raises ValueError for any other value."""
    for pattern in _PATTERNS.values():
        if match := pattern.fullmatch(value):
            return match[1]
    raise ValueError("not_a_canary")


@dataclass(frozen=True, slots=True)
class Canary:
    """A known value to search for: a label that may be shown, and bytes that may not.

    Any 12 bytes in a row of `marker` count as a leak. Without a marker that is the whole value, less the public start
    that all keys of its kind share; give a marker for values with more public parts (cookies, connection strings).
    Raises ValueError when fewer than 12 searchable bytes remain, for a shorter pattern would be found by chance.
    """

    label: str
    value: bytes = field(repr=False)
    marker: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.marker is not None and self.marker not in self.value:
            raise ValueError("marker_not_in_value")
        if len(self.searched) < FRAGMENT_BYTES:
            raise ValueError("canary_too_short")

    @property
    def searched(self) -> bytes:
        """The bytes of which any 12 in a row count as a leak."""
        if self.marker is not None:
            return self.marker
        start = _PUBLIC_START.match(self.value)
        return self.value[start.end() :] if start else self.value
