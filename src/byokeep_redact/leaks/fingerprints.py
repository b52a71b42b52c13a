"""Fingerprints of live values: how a scanner can know a value when it sees it, and hold nothing to know it from.

Which windows of a value are digested, and how, says :mod:`byokeep_redact.fingerprint`, for the server makes them; this
is the document that travels (docs/spec/leak-fingerprints.md), and the search with it: every place of every long run of
token bytes is compared. AES at sixteen offsets gives the filter of all places at the speed of the processor, a set says
whether one of them is known, and only then is the proof made.

Rules: what is read from outside is read strictly; a filter alone is never a finding.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from byokeep_redact.errors import Rejected
from byokeep_redact.fingerprint import DIGEST, FILTER, FORMAT, KEY, TOKEN_BYTES, WINDOW, Digester, fingerprints_of
from byokeep_redact.walk import Seen

__all__ = ["KIND", "MOST_DIGESTS", "Fingerprints", "LiveValues", "fingerprints_from", "fingerprints_of", "parse"]

MOST_DIGESTS: Final = 1_000_000
KIND: Final = "live_value"
_MASK: Final = bytes(65 if code in TOKEN_BYTES else 32 for code in range(256))
_RUN: Final = b"A" * WINDOW
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


class LiveValues:
    """Finds the values behind `fingerprints`."""

    def __init__(self, fingerprints: Fingerprints) -> None:
        self._digester = Digester(fingerprints.key)
        self._labels = fingerprints.labels
        self._filters = frozenset(memoryview(b"".join(digest[:FILTER] for digest in self._labels)).cast("I"))

    def find(self, data: bytes) -> Iterator[Seen]:
        """Yield every place at which a window of a live value stands, a value once for each run of text."""
        starts, runs = _runs(data)
        text = b"\n".join(runs)
        bases = [0, *accumulate(len(run) + 1 for run in runs)]
        seen: set[tuple[int, str]] = set()
        for at in sorted(self._places(text)):
            digest = self._digester.digest(text[at : at + WINDOW])
            run = bisect_right(bases, at) - 1
            for label in self._labels.get(digest, ()):
                if (run, label) not in seen:
                    seen.add((run, label))
                    start = starts[run] + at - bases[run]
                    yield Seen(start, start + WINDOW, label, kind=KIND, fingerprint=digest[FILTER : 2 * FILTER].hex())

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


def _runs(data: bytes) -> tuple[list[int], list[bytes]]:
    """Return where the runs of at least 16 token bytes start, and the runs."""
    mask = data.translate(_MASK)
    starts: list[int] = []
    runs: list[bytes] = []
    at = 0
    while (at := mask.find(_RUN, at)) >= 0:
        end = mask.find(b" ", at)
        end = len(data) if end < 0 else end
        starts.append(at)
        runs.append(data[at:end])
        at = end
    return starts, runs
