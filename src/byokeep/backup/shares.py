"""Shares of a key that opens a backup or its store: any k of n people bring it back, fewer do not learn it.

Shamir's scheme over GF(256) with the polynomial of AES, byte by byte. A share is one line, ``docs/spec/backup.md``. Its
digest of the key allows a guess to be tested; but fewer shares say nothing about a randomly drawn key, as these are.

Rules
- Too few, one twice, one of another key, a damaged one: the refusal is the same, and nothing is kept of the attempt.
- The result is compared with a digest that each share carries.

It may not write shares where a backup is made: people keep them, each their own.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from byokeep.core.errors import Denied, Rejected

FORMAT: Final = "byokeep-share/1"
MOST: Final = 16  # shares of one key
_LINE: Final = re.compile(
    rb"(byokeep-share/1 ([0-9a-f]{32}) ([0-9]{1,2}) ([1-9][0-9]?) ((?:[0-9a-f]{2}){1,4096})) ([0-9a-f]{8})\n?"
)
_NEXT: Final = (
    "Give as many shares as the threshold, each from a different person and all of this key. Then start again."
)


def refused() -> Denied:
    """Return the one refusal of shares that do not give a key."""
    return Denied("shares_refused", next_step=_NEXT)


def split(key: bytes, count: int, threshold: int, draw: Callable[[int], bytes] = secrets.token_bytes) -> list[bytes]:
    """Return ``count`` lines, any ``threshold`` of which give back the key.

    Raises:
        Rejected: ``bad_threshold``: not 2 <= threshold <= count <= 16; ``bad_key_file``: an empty or large key.
    """
    if not 2 <= threshold <= count <= MOST:
        raise Rejected("bad_threshold", next_step=f"2 <= threshold <= shares <= {MOST}: `--shares 5 --threshold 3`.")
    if not 0 < len(key) <= 4096 or key.startswith(FORMAT.encode()):
        raise Rejected("bad_key_file", next_step="Give a file with one key, at most 4 KiB, that is not a share itself.")
    rows = [key, *(draw(len(key)) for _ in range(threshold - 1))]  # the coefficients, lowest first
    return [_line(_digest(key), threshold, at, bytes(_value(one, at) for one in zip(*rows, strict=True)))
            for at in range(1, count + 1)]  # fmt: skip


def combine(lines: Sequence[bytes]) -> bytes:
    """Return the key that some shares make. Raises Denied(``shares_refused``)."""
    found = [_LINE.fullmatch(line) for line in lines]
    said = [one for one in found if one is not None and _check(one[1]) == one[6]]
    points = {int(one[4]): bytes.fromhex(one[5].decode()) for one in said}
    alike = {(one[2], one[3], len(one[5])) for one in said}
    if not points or len(points) != len(lines) or len(alike) != 1 or len(points) < int(said[0][3]):
        raise refused()
    weights = {at: _weight(at, list(points)) for at in points}
    key = bytearray(len(next(iter(points.values()))))
    for at, values in points.items():
        for index, value in enumerate(values):
            key[index] ^= _times(value, weights[at])
    if _digest(bytes(key)) != said[0][2]:
        raise refused()
    return bytes(key)


def _line(digest: bytes, threshold: int, at: int, value: bytes) -> bytes:
    text = b"%s %s %d %d %s" % (FORMAT.encode(), digest, threshold, at, value.hex().encode())
    return b"%s %s\n" % (text, _check(text))


def _check(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:8].encode()


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(FORMAT.encode() + key).hexdigest()[:32].encode()


def _times(one: int, other: int) -> int:
    found = 0
    while other:
        found ^= one if other & 1 else 0
        one, other = (one << 1) ^ (0x11B if one & 0x80 else 0), other >> 1
    return found


def _value(coefficients: Sequence[int], at: int) -> int:
    found = 0
    for one in reversed(coefficients):
        found = _times(found, at) ^ one
    return found


def _weight(at: int, all_of: Sequence[int]) -> int:
    """Return Lagrange's weight of a point for the value at 0."""
    found = 1
    for other in all_of:
        if other != at:
            below = at ^ other
            inverse = below
            for _ in range(253):  # below ** 254
                inverse = _times(inverse, below)
            found = _times(found, _times(other, inverse))
    return found
