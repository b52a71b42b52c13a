"""Fingerprints of a live value: how a scanner can know it when it sees it, and hold nothing to know it from.

Rules
- A value gives a few windows of 16 bytes that do not overlap; what travels and rests is their keyed BLAKE2b. The
  scanner slides over the haystack, not the value: overlapping windows would let a thief of key and digests find a
  value character by character (docs/adr/0019-fingerprints-of-live-values.md).
- A window starts where an odd byte is followed by an even one, so that the scanner need not hash at every place
  (docs/spec/leak-fingerprints.md).
- What all values of a kind share (prefixes, headers of tokens, public halves of keys) is never fingerprinted; a value
  without a window that is random enough is refused, not watched badly.

It may not keep a value or a key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from byokeep.core.errors import Rejected

VERSION: Final = 1
FORMAT: Final = f"byokeep-leak-fingerprints/{VERSION}"
WINDOW: Final = 16  # bytes
DIGEST: Final = 16  # bytes
KEY: Final = 32  # bytes
MOST_WINDOWS: Final = 4  # of one value
_PERSON: Final = b"byokeep-leaks-1"

TOKEN_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/"
_TOKEN: Final = b"[A-Za-z0-9_+/-]"
_ODD: Final = b"[" + re.escape(bytes(sorted(byte for byte in TOKEN_BYTES if byte & 1))) + b"]"
_EVEN: Final = b"[" + re.escape(bytes(sorted(byte for byte in TOKEN_BYTES if not byte & 1))) + b"]"
# Every window of a run that a fingerprint may be of: at each step from odd to even.
WINDOWS: Final = re.compile(b"(?<=" + _ODD + b")(?=(" + _EVEN + _TOKEN + b"{%d}))" % (WINDOW - 1))
_RUN: Final = re.compile(_TOKEN + b"{%d,}" % WINDOW)

_PEM: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----(.+?)-----END ", re.DOTALL)
_JWT: Final = re.compile(rb"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.")
_KNOWN_START: Final = rb"AIza|AQ\.Ab8RN6|EAA[A-Z]*|ya29\.|1//0?|sk_V2_hgu_k?|eyJ"
_PUBLIC_START: Final = re.compile(rb"(?:" + _KNOWN_START + rb")|(?:[A-Za-z0-9]{1,8}[-_.]){1,4}")
_PEM_PRIVATE: Final = (0.30, 0.50)  # of the body of RSA and EC keys: before it stand headers and the modulus, after it
# the public point; a short (Ed25519) key ends with its private half
_PEM_SHORT: Final = 120
_PEM_SHORT_FROM: Final = 0.35
_LEAST_DISTINCT: Final = 7
_LEAST_CHANGES: Final = 3


def digest_of(window: bytes, key: bytes) -> bytes:
    """Return the keyed digest (16 bytes) of one window.

    Raises:
        ValueError: A key that is not 32 bytes.
    """
    if len(key) != KEY:
        raise ValueError("key must be 32 bytes")
    return hashlib.blake2b(window, digest_size=DIGEST, key=key, person=_PERSON).digest()


def fingerprints_of(value: bytes, key: bytes) -> list[bytes]:
    """Return the digests of one to four windows of a live value that do not overlap, in order of place.

    Args:
        value: The secret, as it would be written down.
        key: 32 bytes, the same for all values that are looked for together.

    Raises:
        Rejected: ``value_too_weak_to_watch``: no 16 bytes of it are random enough to be known again.
        ValueError: A key that is not 32 bytes.
    """
    places = _spread(list(_disjoint(_candidates(value))))
    if not places:
        raise Rejected("value_too_weak_to_watch", next_step="Only values with 16 random bytes in a row can be watched.")
    return [digest_of(value[at : at + WINDOW], key) for at in places]


def _candidates(value: bytes) -> Iterator[int]:
    """Yield places of `value`, in order, at which a window may be taken."""
    start, end = _private_part(value)
    found = False
    for run in _RUN.finditer(value, start, end):
        for match in WINDOWS.finditer(value, run.start(), run.end()):
            if match.start() > run.start() and random_enough(match[1]):
                found = True
                yield match.start()
    if not found:  # a run without a step from odd to even: known where it stands alone
        first = _RUN.search(value)
        if first and first.start() >= start and random_enough(value[first.start() :][:WINDOW]):
            yield first.start()


def _private_part(value: bytes) -> tuple[int, int]:
    """Return [start, end) of what is particular to this value."""
    if pem := _PEM.search(value):
        start, size = pem.start(1), len(pem[1])
        if size < _PEM_SHORT:
            return start + int(size * _PEM_SHORT_FROM), pem.end(1)
        return start + int(size * _PEM_PRIVATE[0]), start + int(size * _PEM_PRIVATE[1])
    if jwt := _JWT.search(value):
        return jwt.end(), len(value)
    public = _PUBLIC_START.match(value)
    if public and len(value) - public.end() >= WINDOW + 8:
        return public.end(), len(value)
    return 0, len(value)


def random_enough(window: bytes) -> bool:
    """Whether 16 bytes look drawn at random: many different ones, and letters, digits and cases in turn."""
    kinds = [_kind(byte) for byte in window if _kind(byte)]
    return len(set(window)) >= _LEAST_DISTINCT and sum(a != b for a, b in pairwise(kinds)) >= _LEAST_CHANGES


def _kind(byte: int) -> int:
    return 1 if 48 <= byte < 58 else 2 if 65 <= byte < 91 else 3 if 97 <= byte < 123 else 0


def _disjoint(places: Iterable[int]) -> Iterator[int]:
    free = 0
    for at in places:
        if at >= free:
            free = at + WINDOW
            yield at


def _spread(places: list[int]) -> list[int]:
    if len(places) <= MOST_WINDOWS:
        return places
    return [places[step * (len(places) - 1) // (MOST_WINDOWS - 1)] for step in range(MOST_WINDOWS)]
