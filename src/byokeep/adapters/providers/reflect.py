"""Finds a key in a reply, however it is written there.

Rules
- Looks for the whole key and for any run of 20 characters of it: a masked label (12 and 4 of 73) is normal.
- Answers yes or no; it never says where or what.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

_RUN: Final = 20


def reflects(key: bytes, body: bytes, headers: Iterable[tuple[bytes, bytes]], text: str) -> bool:
    """Whether the reply holds the key raw, percent-encoded, JSON-escaped, in hex or in base64.

    Args:
        key: ASCII key, at least 8 bytes.
        body: The bytes that were read.
        headers: Raw header pairs.
        text: The body's JSON written without escapes, empty when it was no JSON.
    """
    texts = [body, text.encode("utf-8", "surrogatepass"), *(name + b": " + value for name, value in headers)]
    joined = b"\n".join(texts)
    views = (joined, unquote_to_bytes(joined.replace(b"+", b"%2B")))
    needles = [*_runs(key), *_base64_forms(key)]
    return any(needle in view for view in views for needle in needles) or key.hex().encode() in joined.lower()


def _runs(key: bytes) -> list[bytes]:
    # A key shorter than two runs is compared whole, so that its masked form does not count.
    if len(key) < 2 * _RUN:
        return [key]
    return [key[at : at + _RUN] for at in range(len(key) - _RUN + 1)]


def _base64_forms(key: bytes) -> list[bytes]:
    """Return what each of the three alignments has in common, in both alphabets."""
    forms = []
    for pad in range(3):
        whole = base64.b64encode(bytes(pad) + key)
        # Characters that also encode bits of what stands before or after the key are left out.
        inner = whole[(0, 2, 3)[pad] : (pad + len(key)) * 8 // 6]
        forms += [inner, inner.replace(b"+", b"-").replace(b"/", b"_")]
    return forms
