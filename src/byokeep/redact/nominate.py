"""Nominations: which rules and triggers a text might set off, by one pass of hyperscan or by `re` alone.

Rules: a nominator may name too much and never too little, so it may ask for less than a rule does (a start without its
context, one repeat where there may be thousands) but never for more; it decides nothing. Scratch space is never shared
by two scans at once, whatever thread or signal handler they run in.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final, Literal, Protocol

from byokeep.redact.rules import Rule, Rules
from byokeep.redact.unwrap import MASK64, TRIGGERS

Engine = Literal["auto", "hyperscan", "pure"]

HS_CASELESS: Final = 1
HS_SINGLEMATCH: Final = 8
_MANY: Final = re.compile(rb"(?<!\\)\{(\d+),\d{3,}\}")
_LAST: Final = re.compile(rb"(?<!\\)\{(\d+),\}(\)*)\Z")
# What lower-casing a pattern would change: classes by a capital letter, letters by number, ranges from kind to kind.
_CASED: Final = re.compile(
    rb"\\[A-Z]|\\x(?:[46][0-9A-Fa-f]|[57][0-9Aa])"
    rb"|\[[^\]]*?(?:[^A-Z]-[A-Z]|[A-Z]-[^A-Z\]]|[^a-z]-[a-z]|[a-z]-[^a-z\]])[^\]]*\]"
)
# A rule whose every match holds one of another rule, which costs less to look for.
_WITHIN: Final = {"wrapped-base64": "long-base64"}
# Rules that begin at most so many bytes before 40 base64 letters in a row; what stands further left is passed over.
_AFTER_RUN: Final = {"long-base64": 0, "wrapped-base64": 8}
_RUN: Final = b"A" * 40
MOST_MATCHES: Final = 4096
"""Matches of one rule in one text that are looked at; one more is found, to tell that there are too many."""
_WARM_RECORDS: Final = 500
_WARM_BYTES: Final = 1 << 18


def weakened(pattern: bytes) -> bytes:
    """Return a pattern that is found wherever `pattern` is, and is cheaper to look for."""
    flags, body = (b"(?i)", pattern[4:]) if pattern.startswith(b"(?i)") else (b"", pattern)
    return flags + _LAST.sub(rb"{\1}\2", _MANY.sub(rb"{\1,}", _without_start(body)))


def _without_start(body: bytes) -> bytes:
    """Drop a leading `(?:^|...)`: what stands before a match."""
    if not body.startswith(b"(?:^|"):
        return body
    depth, at, in_class = 0, 0, False
    while at < len(body):
        letter = body[at : at + 1]
        if letter == b"\\":
            at += 1
        elif in_class:
            in_class = letter != b"]"
        elif letter == b"[":
            in_class = True
            at += body[at + 1 : at + 2] == b"^"
            at += body[at + 1 : at + 2] == b"]"
        elif letter == b"(":
            depth += 1
        elif letter == b")":
            depth -= 1
            if not depth:
                rest = body[at + 1 :]
                return body if rest[:1] in (b"", b"?", b"*", b"+", b"{", b"|") else rest
        at += 1
    return body


class Automaton:
    """A hyperscan database with scratch space for as many scans at once as there are."""

    def __init__(self, expressions: Sequence[bytes], numbers: Sequence[int], flags: Sequence[int] | int) -> None:
        library = importlib.import_module("hyperscan")
        self._new_scratch = library.Scratch
        self._database = library.Database(mode=library.HS_MODE_BLOCK)
        self._database.compile(expressions=list(expressions), ids=list(numbers), elements=len(expressions), flags=flags)
        self._idle: deque[Any] = deque(maxlen=16)

    def scan(self, data: bytes) -> list[int]:
        """Return the numbers of the expressions that `data` holds, in no order."""
        found: list[int] = []
        try:
            scratch = self._idle.pop()
        except IndexError:
            scratch = self._new_scratch(self._database)
        self._database.scan(data, match_event_handler=_seen, context=found, scratch=scratch)
        self._idle.append(scratch)
        return found


def _seen(number: int, _start: int, _end: int, _flags: int, found: list[int]) -> None:
    found.append(number)


class Nominator(Protocol):
    """Names rules (by place in the rule file) and triggers (by len(rules) + place in TRIGGERS)."""

    def scan(self, data: bytes) -> Sequence[int]:
        """Return a number for everything that may be in `data`; empty: nothing is."""


class Pure:
    """The same with `re`: words first, expressions only where one of a rule's words stands."""

    def __init__(self, rules: Rules) -> None:
        self._rules = [
            (number, rule.literals, quick or rule.compiled, quick is not None)
            for number, rule in enumerate(rules.rules)
            for quick in [_folding(rule.pattern)]
        ]
        self._triggers = [(len(self._rules) + n, re.compile(p)) for n, p in enumerate(TRIGGERS.values())]

    def scan(self, data: bytes) -> Sequence[int]:
        """Return a number for everything that is in `data`."""
        folded = data.lower()
        found = [
            number
            for number, literals, pattern, folds in self._rules
            if (not literals or any(literal in folded for literal in literals))
            and pattern.search(folded if folds else data)
        ]
        found += [number for number, pattern in self._triggers if pattern.search(data)]
        return found


@lru_cache(maxsize=4)
def _shapes(rules: Rules) -> Automaton:
    names = {rule.name for rule in rules.rules}
    chosen = [(n, weakened(rule.pattern)) for n, rule in enumerate(rules.rules) if _WITHIN.get(rule.name) not in names]
    chosen += enumerate(TRIGGERS.values(), len(rules.rules))
    return Automaton([text for _, text in chosen], [number for number, _ in chosen], HS_SINGLEMATCH)


class Hyperscan:
    """One pass over the text for everything. Compiled once for each rule file, which takes a second."""

    def __init__(self, rules: Rules) -> None:
        self.scan = _with_followers(rules, _shapes(rules))


def _with_followers(rules: Rules, automaton: Automaton) -> Any:
    place = {rule.name: number for number, rule in enumerate(rules.rules)}
    after: dict[int, list[int]] = {}
    for name, within in _WITHIN.items():
        if name in place and within in place:
            after.setdefault(place[within], []).append(place[name])

    def scan(data: bytes) -> Sequence[int]:
        found = automaton.scan(data)
        if found and after:
            found += [number for seen in after for number in after[seen] if seen in found]
        return found

    return scan


class Waiting:
    """`re` for the first records, hyperscan once there are enough of them to be worth its start."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._lock = threading.Lock()
        self._left = _WARM_RECORDS
        self._room = _WARM_BYTES
        self._now: Nominator = Pure(rules)

    def scan(self, data: bytes) -> Sequence[int]:
        """Return a number for everything that may be in `data`."""
        if self._left <= 0:
            return self._now.scan(data)
        self._left -= 1
        self._room -= len(data)
        if self._left <= 0 or self._room <= 0:
            self.warm()
        return self._now.scan(data)

    def warm(self) -> None:
        """Take hyperscan now."""
        with self._lock:
            if not isinstance(self._now, Hyperscan):
                self._now = Hyperscan(self._rules)
            self._left = 0


def nominator(rules: Rules, engine: Engine) -> Nominator:
    """Return what `engine` means here. Raises ImportError for "hyperscan" where it is not installed."""
    if engine == "pure":
        return Pure(rules)
    if engine == "hyperscan":
        return Hyperscan(rules)
    try:
        importlib.import_module("hyperscan")
    except ImportError:
        return Pure(rules)
    return Waiting(rules)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text does set off: each rule with its matches, and the names of the triggers."""

    matches: tuple[tuple[Rule, tuple[re.Match[bytes], ...]], ...]
    triggers: frozenset[str]


def confirmed(rules: Rules, numbers: Sequence[int], data: bytes) -> Reading:
    """Return what `data` does set off of what was nominated."""
    count = len(rules.rules)
    folded = data.lower()
    found = []
    for number in sorted(numbers):
        if number < count and (matches := _matches(rules.rules[number], data, folded)):
            found.append((rules.rules[number], matches))
    return Reading(tuple(found), frozenset(_NAMES[number - count] for number in numbers if number >= count))


def _matches(rule: Rule, data: bytes, folded: bytes) -> tuple[re.Match[bytes], ...]:
    """Return the first matches of `rule.compiled`, in a third of the time for most rules without letter case."""
    quick = _folding(rule.pattern)
    if quick is None:
        lead = _AFTER_RUN.get(rule.name)
        skipped = 0 if lead is None else max(0, data.translate(MASK64).find(_RUN) - lead)
        return tuple(islice(rule.compiled.finditer(data, skipped), MOST_MATCHES + 1))
    matches = []
    at = 0
    while found := quick.search(folded, at):
        match = rule.compiled.match(data, found.start())
        if match is None or match.end() != found.end():
            return tuple(islice(rule.compiled.finditer(data), MOST_MATCHES + 1))
        matches.append(match)
        if len(matches) > MOST_MATCHES:
            break
        at = match.end()
    return tuple(matches)


@lru_cache(maxsize=1024)
def _folding(pattern: bytes) -> re.Pattern[bytes] | None:
    """Return a pattern for folded text, which `re` looks for by first letters, unlike one that puts case aside."""
    if not pattern.startswith(b"(?i)") or _CASED.search(pattern):
        return None
    return re.compile(pattern[4:].lower())


NOTHING: Final = Reading((), frozenset())
_NAMES: Final = tuple(TRIGGERS)
