"""Pages and groups: how a long text is cut so that a secret in one line costs no close reading of the others.

A page is some whole lines. It is read on into the next one unless a new record plainly starts there, so that what is
wrapped over lines is seen whole. In a page, lines that set something off are read with their neighbours; what lies
between such groups is read as one if it sets something off as a whole.
Rule: where a cut falls depends on the text alone, never on the engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

PAGE: Final = 1 << 12
_OVER: Final = 1 << 13
_PLAIN: Final = 4  # pages taken at once where no record starts, so that less is read twice
_LEAST_CUT: Final = 1 << 10
_PEEK: Final = 20
_TAIL: Final = 1 << 10
# How a new record plainly starts; no wrapped or folded value goes on like that.
_RECORD: Final = re.compile(
    rb"\n(?=[{\[]|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]|[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:|[0-9]{1,3}(?:\.[0-9]{1,3}){3} )"
)


def pages(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, limit): spans that start in [start, end) are wanted, data[start:limit] is to be read."""
    size = len(data)
    start = 0
    while start < size:
        if size - start <= PAGE:
            yield start, size, size
            return
        end, limit = _page_end(data, start, size)
        yield start, end, limit
        start = end


def _page_end(data: bytes, start: int, size: int) -> tuple[int, int]:
    last = start + PAGE
    for near in (last - _TAIL, start):
        ends = [found.end() for found in _RECORD.finditer(data, near, last + _PEEK) if start < found.end() <= last]
        if ends:
            return ends[-1], ends[-1]
    last = start + _PLAIN * PAGE
    at = data.rfind(b"\n", start + 1, last)
    if at < 0:
        at = data.find(b"\n", last)
        if at < 0:
            return size, size
    end = at + 1
    over = data.rfind(b"\n", end, end + _OVER)
    if over < 0:
        over = data.find(b"\n", end)
    return end, size if over < 0 else over + 1


def groups(data: bytes, marked: Callable[[int, int], bool]) -> Iterator[tuple[int, int]]:
    """Yield the [start, end) of each part of `data` to be read closely. `marked` says whether it sets anything off.

    The parts are disjoint and in order.
    """
    if len(data) < _LEAST_CUT:
        yield 0, len(data)
        return
    lines = _lines(data)
    chosen = [marked(start, end) for start, end in lines]
    taken = list(chosen)
    for number, hit in enumerate(chosen):
        if not hit:
            continue
        if number and not _RECORD.match(data, lines[number][0] - 1):
            taken[number - 1] = True
        if number + 1 < len(lines) and not _RECORD.match(data, lines[number + 1][0] - 1):
            taken[number + 1] = True
    number = 0
    while number < len(lines):
        last = number
        while last + 1 < len(lines) and taken[last + 1] == taken[number]:
            last += 1
        start, end = lines[number][0], lines[last][1]
        if taken[number] or (last > number and marked(start, end)):
            yield start, end
        number = last + 1


def _lines(data: bytes) -> list[tuple[int, int]]:
    lines = []
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end + 1
        lines.append((start, end))
        start = end
    return lines
