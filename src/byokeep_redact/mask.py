"""Mask: what stands in the place of a secret. It names the kind and lets two places of one value be matched up.

Rules: never a character of the value, nor its length; the fingerprint is keyed, so that nobody who reads the text can
try values against it; masking text that is masked already changes nothing. It decides nothing: engines do.
"""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256
from typing import Final

FINGERPRINT_BYTES: Final = 4
KEY_BYTES: Final = 32

# What `Mask.of` writes, wherever it stands. Kinds are lower-case words, so that no value can pass for a mask.
MASKED: Final = re.compile(rb"\[redacted:[a-z][a-z0-9_]{0,31}:[0-9a-f]{8}\]")
MASKS: Final = re.compile(MASKED.pattern.decode())
KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")


class Mask:
    """Writes masks under one key. `key` is random for each process unless one is given.

    Raises ValueError if a given key is shorter than 16 bytes.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes | None = None) -> None:
        if key is not None and len(key) < 16:
            raise ValueError("mask_key_too_short")
        self._key = secrets.token_bytes(KEY_BYTES) if key is None else bytes(key)

    def __repr__(self) -> str:
        return "Mask(***)"

    def fingerprint(self, value: bytes) -> str:
        """Return 8 hex digits that are the same for the same value under the same key."""
        return hmac.digest(self._key, value, sha256)[:FINGERPRINT_BYTES].hex()

    def of(self, value: bytes, kind: str) -> bytes:
        """Return the mask of `value`, `[redacted:<kind>:<8 hex>]`. `kind` is a lower-case word (`KIND`)."""
        return b"[redacted:%b:%b]" % (kind.encode("ascii"), self.fingerprint(value).encode("ascii"))


def truncated(cut: int) -> bytes:
    """Return the mark of a text from which `cut` bytes were left out."""
    return b"[truncated:%d]" % cut
