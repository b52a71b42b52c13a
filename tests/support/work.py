"""What the redactor's code does with a text, counted: bytes that expressions and automata are given to read, and calls.

A count is the same on every machine, so a test can bound it where a time would break on a busy one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from byokeep_redact import automaton, prefilter, rules
from byokeep_redact.rules import default_rules


@dataclass
class Work:
    """Bytes read, and calls of Python functions and of functions of the interpreter."""

    read: int = 0
    calls: int = 0


class Counting:
    """An expression that counts what it reads."""

    def __init__(self, pattern: re.Pattern[Any], work: Work) -> None:
        self._pattern, self._work = pattern, work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pattern, name)

    def search(self, text: Any, pos: int = 0, endpos: int = sys.maxsize) -> Any:
        found = self._pattern.search(text, pos, endpos)
        self._work.read += (found.end() if found else min(len(text), endpos)) - pos
        return found

    def match(self, text: Any, pos: int = 0, endpos: int = sys.maxsize) -> Any:
        found = self._pattern.match(text, pos, endpos)
        self._work.read += found.end() - pos if found else 1
        return found

    def fullmatch(self, text: Any, pos: int = 0, endpos: int = sys.maxsize) -> Any:
        found = self._pattern.fullmatch(text, pos, endpos)
        self._work.read += found.end() - pos if found else 1
        return found

    def finditer(self, text: Any, pos: int = 0, endpos: int = sys.maxsize) -> Iterator[Any]:
        at = pos
        for found in self._pattern.finditer(text, pos, endpos):
            self._work.read += found.end() - at
            at = found.end()
            yield found
        self._work.read += max(0, min(len(text), endpos) - at)

    def findall(self, text: Any, pos: int = 0, endpos: int = sys.maxsize) -> list[Any]:
        self._work.read += max(0, min(len(text), endpos) - pos)
        return self._pattern.findall(text, pos, endpos)

    def sub(self, by: Any, text: Any, count: int = 0) -> Any:
        self._work.read += len(text)
        return self._pattern.sub(by, text, count)

    def split(self, text: Any, maxsplit: int = 0) -> list[Any]:
        self._work.read += len(text)
        return self._pattern.split(text, maxsplit)


@contextmanager
def calls() -> Iterator[Work]:
    """Count the calls inside."""
    work = Work()

    def seen(_frame: Any, event: str, _arg: Any) -> None:
        work.calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        yield work
    finally:
        sys.setprofile(before)


def _modules() -> list[ModuleType]:
    return [module for name, module in list(sys.modules.items()) if name.startswith("byokeep_redact")]


@contextmanager
def counted() -> Iterator[Work]:
    """Count what the redactor does inside; make the redactor inside too."""
    work = Work()

    def counting(pattern: re.Pattern[Any]) -> Any:
        return Counting(pattern, work)

    def scanning(scan: Callable[..., Any]) -> Callable[..., Any]:
        def scan_(self: Any, data: bytes, *seen: Any) -> Any:
            work.read += len(data)
            return scan(self, data, *seen)

        return scan_

    all_rules = default_rules().rules
    expressions = [rule.compiled for rule in all_rules]

    def folding(pattern: bytes, fold: Callable[[bytes], Any] = rules.folding) -> Any:
        return counting(found) if (found := fold(pattern)) else None

    with pytest.MonkeyPatch.context() as patched:
        for module in _modules():
            for name, item in list(vars(module).items()):
                if isinstance(item, re.Pattern):
                    patched.setattr(module, name, counting(item))
                elif isinstance(getattr(item, "__self__", None), re.Pattern):
                    patched.setattr(module, name, getattr(counting(item.__self__), item.__name__))
        for module in (rules, prefilter):
            patched.setattr(module, "folding", folding)
        patched.setattr(automaton.Automaton, "scan", scanning(automaton.Automaton.scan))
        try:
            for rule in all_rules:
                object.__setattr__(rule, "compiled", counting(rule.compiled))
            with calls() as called:
                yield work
            work.calls = called.calls
        finally:
            for rule, expression in zip(all_rules, expressions, strict=True):
                object.__setattr__(rule, "compiled", expression)
