"""Fingerprints of live values: how a scanner can know a value when it sees it, and hold nothing to know it from.

Which windows of a value are digested, and how, says :mod:`byokeep_redact.fingerprint`, for the server makes them; this
is the document that travels (docs/spec/leak-fingerprints.md).

Rules: what is read from outside is read strictly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from byokeep_redact.errors import Rejected
from byokeep_redact.fingerprint import DIGEST, FORMAT, KEY, WINDOW, fingerprints_of

__all__ = ["MOST_DIGESTS", "Fingerprints", "fingerprints_from", "fingerprints_of", "parse"]

MOST_DIGESTS: Final = 1_000_000
_LOWER_HEX: Final = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What a scanner compares with: a key, and digests under labels that may be shown."""

    key: bytes = field(repr=False)
    labels: dict[bytes, tuple[str, ...]] = field(repr=False)  # digest -> labels

    def __len__(self) -> int:
        return len(self.labels)

    def document(self) -> bytes:
        """Return the JSON form."""
        rows = [{"label": label, "digest": digest.hex()} for digest, names in self.labels.items() for label in names]
        return json.dumps({"format": FORMAT, "key": self.key.hex(), "window": WINDOW, "digests": rows}).encode()


def fingerprints_from(pairs: Iterable[tuple[str, bytes]], key: bytes) -> Fingerprints:
    """Put (label, digest) pairs together.

    Raises:
        Rejected: ``bad_fingerprints`` with the ``part`` that is wrong; ``no_fingerprints`` when there is not one.
    """
    labels: dict[bytes, tuple[str, ...]] = {}
    if len(key) != KEY:
        raise _bad("key")
    for label, digest in pairs:
        if not 0 < len(label) <= 200 or not label.isprintable():
            raise _bad("label")
        if len(digest) != DIGEST:
            raise _bad("digest")
        names = labels.get(digest, ())
        labels[digest] = names if label in names else (*names, label)
    if not labels:
        raise Rejected("no_fingerprints", next_step="Nothing to compare with proves nothing.")
    if len(labels) > MOST_DIGESTS:
        raise _bad("digests")
    return Fingerprints(key, labels)


def parse(document: bytes) -> Fingerprints:
    """Read the JSON form; anything missing, unknown, doubled or of another version is refused.

    Raises:
        Rejected: ``bad_fingerprints`` with the ``part`` that is wrong; ``no_fingerprints`` when the list is empty.
    """
    try:
        data = json.loads(document, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _bad("json") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise _bad("format")
    if data.keys() != {"format", "key", "window", "digests"}:
        raise _bad("fields")
    if type(data["window"]) is not int or data["window"] != WINDOW:
        raise _bad("window")
    if not isinstance(data["digests"], list):
        raise _bad("digests")
    return fingerprints_from(map(_pair, data["digests"]), _hex(data["key"], KEY, "key"))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("doubled name")
    return dict(pairs)


def _no_constant(_text: str) -> None:
    raise ValueError("not a JSON number")


def _pair(row: object) -> tuple[str, bytes]:
    if not isinstance(row, dict) or row.keys() != {"label", "digest"} or not isinstance(row["label"], str):
        raise _bad("digests")
    return row["label"], _hex(row["digest"], DIGEST, "digest")


def _hex(text: object, size: int, part: str) -> bytes:
    if not isinstance(text, str) or len(text) != 2 * size or not _LOWER_HEX.fullmatch(text):
        raise _bad(part)
    return bytes.fromhex(text)


def _bad(part: str) -> Rejected:
    return Rejected("bad_fingerprints", next_step="Ask the server for fingerprints again.", part=part)
