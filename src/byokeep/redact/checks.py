"""Checks: what a regular expression can not say about a match, by the names that rules give them.

A check may look at the bytes around a match, at most CONTEXT of them. A split says which parts of a match are the
secrets. Rules: no check takes longer than the match is long; none may raise.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from typing import Final

from byokeep.redact.chance import drawn

Check = Callable[["re.Match[bytes]", int], bool]
Split = Callable[["re.Match[bytes]", int], list[tuple[int, int]]]

_PLACEHOLDER: Final = re.compile(
    rb"(?i)(?:\[?redacted.*|\[truncated.*|none|null|nil|true|false|undefined|unset|empty|n/a|required|optional|missing|"
    rb"invalid|expired|revoked|unknown|masked|hidden|string|str|bytes|secret|password|token|bearer|basic|"
    rb"[*.xX#_-]+|\$.*|\{.*|<.*|%[(sdrv{].*|&.*)",
    re.S,
)
_HEX: Final = re.compile(rb"(?:[0-9a-f]+|[0-9A-F]+)")
_UUID: Final = re.compile(rb"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_WORDS: Final = re.compile(rb"[A-Za-z]+(?:[ _./:-]?[A-Za-z]+)*")
_SEGMENTS: Final = re.compile(rb"[^/]+")
_PIECES: Final = re.compile(rb"[A-Za-z0-9]+")
_STATEMENT: Final = re.compile(r"https://byokeep\.dev/")
_LEAST_OPAQUE: Final = 32


def _value(match: re.Match[bytes], group: int) -> bytes:
    return match[group]


def opaque(match: re.Match[bytes], group: int) -> bool:
    """Whether the value was drawn by chance."""
    return drawn(match[group].translate(None, b"-_."))


def filled(match: re.Match[bytes], group: int) -> bool:
    """Whether the value is there: no placeholder, no mask."""
    return not _PLACEHOLDER.fullmatch(match[group])


def keyed(match: re.Match[bytes], group: int) -> bool:
    """Whether a value under a name such as `token` is one: no placeholder, no word, no short number, no code."""
    value = match[group]
    if len(value) < 6 or _PLACEHOLDER.fullmatch(value) or b" " in value:
        return False
    if value.isdigit():
        return False
    if _WORDS.fullmatch(value):
        return len(value) >= 16 and drawn(value)
    return True


def weakly_keyed(match: re.Match[bytes], group: int) -> bool:
    """Whether a value under a name that says little (`key`, `code`) is a secret: long hex, or drawn by chance."""
    value = match[group]
    if len(value) < 16 or _PLACEHOLDER.fullmatch(value):
        return False
    if _HEX.fullmatch(value):
        return len(value) >= 32
    return drawn(value.translate(None, b"-_.~%+/="))


def run(match: re.Match[bytes], group: int) -> bool:
    """Whether a long run of base64 letters holds enough that was drawn by chance, hex and ids put aside."""
    return bool(cut_run(match, group))


def cut_run(match: re.Match[bytes], group: int) -> list[tuple[int, int]]:
    """Return the run without the path segments before it that people wrote."""
    start, end = match.span(group)
    text = match[group]
    for segment in _SEGMENTS.finditer(text):
        if _chance_bytes(segment[0]) >= min(12, len(segment[0])):
            rest = text[segment.start() :]
            return [(start + segment.start(), end)] if _chance_bytes(rest) >= _LEAST_OPAQUE else []
    return []


def _chance_bytes(text: bytes) -> int:
    kept = [p for p in _PIECES.findall(_UUID.sub(b"-", text)) if not (len(p) >= 6 and _HEX.fullmatch(p))]
    joined = b"".join(kept)
    return len(joined) if drawn(joined) else 0


def jwt(match: re.Match[bytes], group: int) -> bool:
    """Whether the part before the first dot is a JOSE header."""
    head, dot, _rest = match[group].partition(b".")
    if not dot:
        return False
    try:
        header = json.loads(base64.urlsafe_b64decode(head[:2048] + b"=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and bool({"alg", "enc", "typ"} & header.keys())


def pem(match: re.Match[bytes], group: int) -> bool:
    """Whether something follows the BEGIN line."""
    return re.search(rb"[A-Za-z0-9+/]{16}", match[group].split(b"KEY", 1)[-1]) is not None


def userinfo(match: re.Match[bytes], group: int) -> bool:
    """Whether a word alone before the @ of an address is a secret."""
    return len(match[group]) >= 16 and (drawn(match[group]) or _HEX.fullmatch(match[group]) is not None)


def basic(match: re.Match[bytes], group: int) -> bool:
    """Whether the value decodes to `user:password`."""
    value = match[group]
    try:
        plain = base64.b64decode(value + b"=" * (-len(value) % 4), altchars=b"-_")
    except (binascii.Error, ValueError):
        return False
    return b":" in plain


_ATTRIBUTES: Final = frozenset(
    (
        b"path",
        b"domain",
        b"expires",
        b"max-age",
        b"samesite",
        b"priority",
        b"version",
        b"comment",
        b"secure",
        b"httponly",
    )
)
_PAIR: Final = re.compile(
    rb"([^=;,\s\"'{}\[\]()\\:]{1,256})[\"'\\]{0,4}(?:=|:[ ]?)[\"'\\]{0,4}([^;\s\"'\\,}&]{1,8192})"
)


def cookies(match: re.Match[bytes], group: int) -> list[tuple[int, int]]:
    """Return the value of each `name=value` pair that is no attribute of a cookie and no placeholder."""
    at = match.start(group)
    return [
        (at + pair.start(2), at + pair.end(2))
        for pair in _PAIR.finditer(match[group])
        if pair[1].lower() not in _ATTRIBUTES and not _PLACEHOLDER.fullmatch(pair[2])
    ]


def statement(encoded: bytes) -> bytes | None:
    """Return what a DSSE payload of ours says, or None if it is none of ours."""
    try:
        inside = base64.b64decode(encoded, validate=True)
        document = json.loads(inside)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not _STATEMENT.match(str(document.get("predicateType"))):
        return None
    return inside


CHECKS: Final[dict[str, Check]] = {
    "opaque": opaque,
    "filled": filled,
    "keyed": keyed,
    "weakly-keyed": weakly_keyed,
    "run": run,
    "jwt": jwt,
    "pem": pem,
    "userinfo": userinfo,
    "basic": basic,
}
SPLITS: Final[dict[str, Split]] = {"cookies": cookies, "run": cut_run}
