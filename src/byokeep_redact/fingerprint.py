"""Fingerprints of a live value: how a scanner can know it when it sees it, and hold nothing to know it from.

Rules
- A value gives a few windows of 16 bytes that do not overlap; what travels and rests are keyed digests of them. The
  scanner slides over the haystack, not the value: overlapping windows would let a thief of key and digests find a
  value character by character (docs/adr/0019-fingerprints-of-live-values.md).
- A digest is a filter, which a scanner computes for every place of a text at once (AES at sixteen offsets), and a
  proof, which it computes where the filter agrees; a filter alone is never a finding (docs/spec/leak-fingerprints.md).
- What all values of a kind share (prefixes, headers of tokens, public halves of keys) is never fingerprinted; a value
  without a window that is random enough is refused, not watched badly.
- The document that travels is read strictly.

It may not keep a value or a key.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from byokeep_redact.decoders import Seen, mask, runs
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


def digests_of(value: bytes, key: bytes) -> list[str]:
    """As :func:`fingerprints_of`, in hex; none of a value that can be stored, but not known again."""
    try:
        return [digest.hex() for digest in fingerprints_of(value, key)]
    except Rejected:
        return []


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


MOST_DIGESTS: Final = 1_000_000
LIVE_VALUE: Final = "live_value"
_MASK: Final = mask(TOKEN_BYTES)
_WHOLE: Final = 1 << 20  # bytes encrypted at a time
_PART: Final = 1 << 12  # filters looked at together
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
    data = strictly_read(document, FORMAT, {"key", "window", "digests"}, _bad)
    if type(data["window"]) is not int or data["window"] != WINDOW:
        raise _bad("window")
    if not isinstance(data["digests"], list):
        raise _bad("digests")
    return fingerprints_from(map(_pair, data["digests"]), _hex(data["key"], KEY, "key"))


def strictly_read(document: bytes, form: str, fields: set[str], bad: Callable[[str], Exception]) -> dict[str, Any]:
    """Return a JSON document that says this format and has these fields besides; else raise what `bad` makes of it."""
    try:
        data = json.loads(document, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise bad("json") from None
    if not isinstance(data, dict) or data.get("format") != form:
        raise bad("format")
    if data.keys() != {"format", *fields}:
        raise bad("fields")
    return data


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


class LiveValues:
    """Finds the values behind `fingerprints`."""

    def __init__(self, fingerprints: Fingerprints) -> None:
        self._digester = Digester(fingerprints.key)
        self._labels = fingerprints.labels
        self._filters = frozenset(memoryview(b"".join(digest[:FILTER] for digest in self._labels)).cast("I"))

    def find(self, data: bytes) -> Iterator[Seen]:
        """Yield every place at which a window of a live value stands, a value once for each run of text."""
        spans = list(runs(data.translate(_MASK), WINDOW))
        text = b"\n".join(data[start:end] for start, end in spans)
        bases = [0, *accumulate(end - start + 1 for start, end in spans)]
        seen: set[tuple[int, str]] = set()
        for at in sorted(self._places(text)):
            digest = self._digester.digest(text[at : at + WINDOW])
            run = bisect_right(bases, at) - 1
            for label in self._labels.get(digest, ()):
                if (run, label) not in seen:
                    seen.add((run, label))
                    start = spans[run][0] + at - bases[run]
                    yield Seen(
                        start, start + WINDOW, label, kind=LIVE_VALUE, fingerprint=digest[FILTER : 2 * FILTER].hex()
                    )

    def _places(self, text: bytes) -> Iterator[int]:
        """Yield where the filter agrees."""
        view = memoryview(text)
        for first in range(0, max(0, len(text) - WINDOW + 1), _WHOLE):
            for offset in range(first, min(first + WINDOW, len(text) - WINDOW + 1)):
                size = min(_WHOLE, (len(text) - offset) // WINDOW * WINDOW)
                blocks = self._digester.blocks(view[offset : offset + size])
                filters = memoryview(blocks).cast("I")[:: WINDOW // FILTER]
                for part in range(0, len(filters), _PART):
                    some = filters[part : part + _PART]
                    if not self._filters.isdisjoint(some):
                        yield from (offset + WINDOW * at for at, one in enumerate(some, part) if one in self._filters)
