"""Fingerprints of a live value: how a scanner can know it when it sees it, and hold nothing to know it from.

Rules
- A value gives a few windows of 16 bytes that do not overlap; what travels and rests are keyed digests of them. The
  scanner slides over the haystack, not the value: overlapping windows would let a thief of key and digests find a
  value character by character (docs/adr/0019-fingerprints-of-live-values.md).
- A digest is a filter, which a scanner computes for every place of a text at once, and a proof, which it computes where
  the filter agrees (docs/spec/leak-fingerprints.md).
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

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from byokeep_redact.errors import Rejected

VERSION: Final = 1
FORMAT: Final = f"byokeep-leak-fingerprints/{VERSION}"
WINDOW: Final = 16  # bytes
FILTER: Final = 4  # bytes
DIGEST: Final = 16  # bytes: the filter, then the proof
KEY: Final = 32  # bytes
MOST_WINDOWS: Final = 4  # of one value
_FILTER_PERSON: Final = b"byokeep-filter-1"
_PROOF_PERSON: Final = b"byokeep-proof-1"

TOKEN_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/"
_TOKEN: Final = b"[A-Za-z0-9_+/-]"
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


class Digester:
    """Makes the digests of windows under one key.

    Args:
        key: 32 bytes.

    Raises:
        ValueError: A key that is not 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY:
            raise ValueError("key must be 32 bytes")
        filter_key = hashlib.blake2b(key=key, digest_size=32, person=_FILTER_PERSON).digest()
        # One block at a time is what is wanted here: the first bytes of each block are a keyed hash of one window.
        self._blocks = Cipher(algorithms.AES256(filter_key), modes.ECB()).encryptor()  # noqa: S305
        self._proof = hashlib.blake2b(key=key, digest_size=DIGEST - FILTER, person=_PROOF_PERSON)

    def blocks(self, windows: bytes | memoryview) -> bytes:
        """Return 16 bytes for each window of 16; only the first four of each, the filter, mean anything."""
        return self._blocks.update(windows)

    def digest(self, window: bytes) -> bytes:
        """Return the digest (16 bytes) of one window."""
        proof = self._proof.copy()
        proof.update(window)
        return self.blocks(window)[:FILTER] + proof.digest()


def fingerprints_of(value: bytes, key: bytes) -> list[bytes]:
    """Return the digests of one to four windows of a live value that do not overlap, in order of place.

    Args:
        value: The secret, as it would be written down.
        key: 32 bytes, the same for all values that are looked for together.

    Raises:
        Rejected: ``value_too_weak_to_watch``: no 16 bytes of it are random enough to be known again.
        ValueError: A key that is not 32 bytes.
    """
    digester = Digester(key)
    places = _spread(list(_disjoint(_candidates(value))))
    if not places:
        raise Rejected("value_too_weak_to_watch", next_step="Only values with 16 random bytes in a row can be watched.")
    return [digester.digest(value[at : at + WINDOW]) for at in places]


def _candidates(value: bytes) -> Iterator[int]:
    """Yield places of `value`, in order, at which a window may be taken."""
    for run in _RUN.finditer(value, *_private_part(value)):
        for at in range(run.start(), run.end() - WINDOW + 1):
            if random_enough(value[at : at + WINDOW]):
                yield at


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
