"""Automaton: many expressions looked for in one pass by hyperscan, where it is installed.

Rules: scratch space is never shared by two scans at once, whatever thread or signal handler they run in. What is found
here is a candidate; whoever asked decides, so that a run without hyperscan comes to the same.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

Engine = Literal["auto", "hyperscan", "pure"]

HS_DOTALL: Final = 2
HS_SINGLEMATCH: Final = 8


def installed(engine: Engine) -> bool:
    """Return whether `engine` means hyperscan here. Raises ImportError for "hyperscan" where it is not installed."""
    if engine == "pure":
        return False
    try:
        importlib.import_module("hyperscan")
    except ImportError:
        if engine == "hyperscan":
            raise
        return False
    return True


class Automaton:
    """A hyperscan database with scratch space for as many scans at once as there are."""

    def __init__(
        self, expressions: Sequence[bytes], flags: Sequence[int] | int = 0, numbers: Sequence[int] = ()
    ) -> None:
        library = importlib.import_module("hyperscan")
        self._new_scratch = library.Scratch
        self._database = library.Database(mode=library.HS_MODE_BLOCK)
        numbers = list(numbers or range(len(expressions)))
        self._database.compile(expressions=list(expressions), ids=numbers, elements=len(expressions), flags=flags)
        self._idle: deque[Any] = deque(maxlen=16)

    def scan(self, data: bytes, seen: Callable[[int, int, int, int, list[int]], None]) -> list[int]:
        """Tell `seen` each match (number, start, end, flags) and the list that is returned."""
        found: list[int] = []
        try:
            scratch = self._idle.pop()
        except IndexError:
            scratch = self._new_scratch(self._database)
        self._database.scan(data, match_event_handler=seen, context=found, scratch=scratch)
        self._idle.append(scratch)
        return found


shared = lru_cache(maxsize=8)(Automaton)
"""Return the automaton of these expressions, compiled once."""
