"""Pages and groups: how a long text is cut so that a secret in one line costs no close reading of the others.

A page is some whole lines. It is read on into the next one unless a new record plainly starts there, so that what is
wrapped over lines is seen whole. In a page, lines that set something off are read with their neighbours; what lies
between such groups is read as one if it sets something off as a whole.
Rule: where a cut falls depends on the text alone, never on the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

PAGE: Final = 1 << 13
_OVER: Final = 1 << 13
_LEAST_CUT: Final = 1 << 10
_RECORD: Final = b"\n{"


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
    at = data.rfind(_RECORD, start + 1, start + PAGE)
    if at >= 0:
        return at + 1, at + 1
    at = data.rfind(b"\n", start + 1, start + PAGE)
    if at < 0:
        at = data.find(b"\n", start + PAGE)
        if at < 0:
            return size, size
    end = at + 1
    over = data.rfind(b"\n", end, end + _OVER)
    if over < 0:
        over = data.find(b"\n", end)
    return end, size if over < 0 else over + 1


def groups(data: bytes, marked: Callable[[bytes], bool]) -> Iterator[tuple[int, int]]:
    """Yield the [start, end) of each part of `data` to be read closely. `marked` says whether a part sets anything off.

    The parts are disjoint and in order.
    """
    if len(data) < _LEAST_CUT:
        yield 0, len(data)
        return
    lines = _lines(data)
    chosen = [marked(data[start:end]) for start, end in lines]
    taken = list(chosen)
    for number, hit in enumerate(chosen):
        if not hit:
            continue
        if number and data[lines[number][0]] != 0x7B:
            taken[number - 1] = True
        if number + 1 < len(lines) and data[lines[number + 1][0]] != 0x7B:
            taken[number + 1] = True
    number = 0
    while number < len(lines):
        last = number
        while last + 1 < len(lines) and taken[last + 1] == taken[number]:
            last += 1
        start, end = lines[number][0], lines[last][1]
        if taken[number] or (last > number and marked(data[start:end])):
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
