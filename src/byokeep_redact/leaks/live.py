"""Live values in a text, by their fingerprints: the scanner that knows what it looks for only when it sees it.

Every place of every long run of token bytes is compared: AES at sixteen offsets gives the filter of all places at the
speed of the processor, a set says whether one of them is known, and only then is the proof made. Rule: a filter alone
is never a finding.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from byokeep_redact.fingerprint import FILTER, TOKEN_BYTES, WINDOW, Digester
from byokeep_redact.leaks.fingerprints import Fingerprints
from byokeep_redact.walk import Seen

KIND: Final = "live_value"
_MASK: Final = bytes(65 if code in TOKEN_BYTES else 32 for code in range(256))
_RUN: Final = b"A" * WINDOW
_WHOLE: Final = 1 << 20  # bytes encrypted at a time
_PART: Final = 1 << 12  # filters looked at together


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
