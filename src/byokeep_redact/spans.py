"""Spans: small questions about places in a text that the redactor asks often.

Rule: nothing here looks at what a rule means or changes a text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

RawSpan = tuple[int, int, str, str, str]
"""Start, end, kind, rule and fingerprint (empty for a shape), as found: spans may overlap."""


class Cover:
    """Spans found so far, to ask whether one of them covers a place. It may fail to know, never know wrongly."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, spans: Iterable[RawSpan] = ()) -> None:
        pairs = sorted((span[0], span[1]) for span in spans)
        self._starts = [start for start, _ in pairs]
        self._ends = [end for _, end in pairs]

    def add(self, start: int, end: int) -> None:
        """Take in one more span."""
        at = bisect_right(self._starts, start)
        self._starts.insert(at, start)
        self._ends.insert(at, end)

    def holds(self, start: int, end: int) -> bool:
        """Return whether the last span that starts no later covers [start, end)."""
        at = bisect_right(self._starts, start)
        return at > 0 and self._ends[at - 1] >= end


def has_longer_line(data: bytes, limit: int) -> bool:
    """Return whether a line of `data` is longer than `limit`, by looking for one line end in each such stretch."""
    start = 0
    while len(data) - start > limit:
        end = data.rfind(b"\n", start, start + limit + 1)
        if end < 0:
            return True
        start = end + 1
    return False


def whole_characters(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Widen a span so that it does not cut a UTF-8 character."""
    for _ in range(3):
        if start > 0 and data[start] & 0xC0 == 0x80:
            start -= 1
        if end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
    return start, end
