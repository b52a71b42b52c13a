"""Prefilter: which rules and triggers a text might set off, by one pass of hyperscan or by `re` alone.

Rules: a prefilter may name too much and never too little, so it may ask for less than a rule does (a start without its
context, one repeat where there may be thousands) but never for more; it decides nothing. Scratch space is never shared
by two scans at once, whatever thread or signal handler they run in.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Final

from byokeep_redact.automaton import HS_SINGLEMATCH, Automaton, Engine, installed, shared
from byokeep_redact.checks import Read
from byokeep_redact.decoders import MASK64, runs
from byokeep_redact.rules import RUN, Rule, Rules, folding
from byokeep_redact.triggers import TRIGGERS, Groups, expressions

_MANY: Final = re.compile(rb"(?<!\\)\{(\d+),\d{3,}\}")
# What stands before a match, in a group that begins like this and has none inside.
_BEFORE: Final = re.compile(rb"\A\(\?:\^\|(?:\[\^?\]?[^\]]*\]|\\.|[^()\[\]\\])*\)(?=[^?*+{|])", re.S)
_LAST: Final = re.compile(rb"(?<!\\)\{(\d+),\}(\)*)\Z")
_LONG_RUN: Final = 1 << 20  # number of the run itself among the expressions
_RUN_STARTS: Final = rb"(?:^|[^A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{40}"
# Runs in which these rules find nothing: hex, alone or with few short parts; a short path and a UUID; a root.
_DULL: Final = re.compile(
    rb"(?:(?:[0-9a-f]{1,5}-)?[0-9a-f]{16,}(?:-[0-9a-f]{6,}){0,4}(?:-[0-9a-f]{1,5})?"
    rb"|[a-z0-9/_-]{0,15}?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?![A-Za-z0-9+/_-])"
    rb"|(?<![\\%])[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=(?!=)"
)
_UNWRAPPED: Final = 60  # letters; a run of fewer is no line of wrapped base64
_MOST_WORDS: Final = 100  # in one text; of more each is looked for by itself
_WARM_RECORDS: Final = 500
_WARM_BYTES: Final = 1 << 18


def weakened(pattern: bytes) -> bytes:
    """Return a pattern that is found wherever `pattern` is, and is cheaper to look for."""
    flags, body = (b"(?i)", pattern[4:]) if pattern.startswith(b"(?i)") else (b"", pattern)
    return flags + _LAST.sub(rb"{\1}\2", _MANY.sub(rb"{\1,}", _BEFORE.sub(b"", body)))


class _Runs:
    """Says whether a run of 40 base64 letters and more may be a secret, so that no digest costs a close reading.

    It may only pass over runs in which no rule that leads up to one finds anything. It is asked by both engines.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.numbers = [number for number, rule in enumerate(rules.rules) if rule.lead is not None]
        self._long = next((rule for rule in rules.rules if rule.lead == 0), None)

    def candidates(self, data: bytes, starts: Iterable[int]) -> list[int]:
        """Return the numbers of the rules that the runs that start at these places may set off."""
        return self.numbers * any(not _DULL.match(data, start) and self._secret(data, start) for start in starts)

    def _secret(self, data: bytes, start: int) -> bool:
        if self._long is None:
            return True
        match = self._long.compiled.match(data, start)
        if match is None or match.end() - start >= _UNWRAPPED:
            return True
        return bool(self._rules.secrets(self._long, match, self._long.spans(match, Read())))


class _Words:
    """Says which words a text may hold, by one expression that branches by letters: it takes a third of the time."""

    def __init__(self, words: frozenset[bytes]) -> None:
        self._all = words
        self._alike: dict[bytes, set[bytes]] = {}  # by the shortest word that they begin with
        for word in words:
            self._alike.setdefault(min((one for one in words if word.startswith(one)), key=len), set()).add(word)
        self._letters = [word for word in self._alike if len(word) == 1]
        self._tree = re.compile(_branching(sorted(self._alike.keys() - set(self._letters))) or rb"(?!)")

    def within(self, folded: bytes) -> set[bytes]:
        """Return the words that `folded` holds, and perhaps some that begin like one of those."""
        found = {letter for letter in self._letters if letter in folded}
        at = 0
        for _ in range(_MOST_WORDS):
            match = self._tree.search(folded, at)
            if match is None:
                return {word for one in found for word in self._alike[one]}
            found.add(match[0])
            at = match.start() + 1
        return {word for word in self._all if word in folded}


_words_of = lru_cache(maxsize=8)(_Words)


def _branching(words: list[bytes]) -> bytes:
    """Return an expression for words, sorted, of which none begins with another."""
    groups = [(first, [word[1:] for word in group]) for first, group in groupby(words, key=lambda word: word[:1])]
    return b"|".join(re.escape(first) + (b"(?:%b)" % _branching(rest) if any(rest) else b"") for first, rest in groups)


def _seen_where(number: int, _start: int, end: int, _flags: int, found: list[int]) -> None:
    found.append(number if number != _LONG_RUN else -end)


class Prefilter:
    """Names rules (by place in the rule file) and triggers (by len(rules) + place in TRIGGERS).

    With `re`: words first, expressions only where one of a rule's words stands. With hyperscan: one pass over the text
    for everything, compiled once for each rule file, which takes a second; "auto" waits until there are enough records
    to be worth it. Raises ImportError for "hyperscan" where it is not installed.
    """

    def __init__(self, rules: Rules, engine: Engine) -> None:
        self._compiles = installed(engine)
        self._lock = threading.RLock()  # a signal handler may log in the middle of it
        self._left, self._room = _WARM_RECORDS, _WARM_BYTES
        self._automaton: Automaton | None = None
        self._runs = _Runs(rules)
        self._rules = [one for one in enumerate(rules.rules) if one[0] not in self._runs.numbers]
        self._triggers = list(enumerate(TRIGGERS, len(rules.rules)))
        self._marks = [
            (
                number,
                [mark.stands_in if isinstance(mark, Groups) else re.compile(mark).search for mark in TRIGGERS[name]],
            )
            for number, name in self._triggers
        ]
        self._words = _words_of(frozenset(word for _, rule in self._rules for word in rule.literals))
        self._quick = [
            (number, frozenset(rule.literals), quick or re.compile(pattern), quick is not None)
            for number, rule in self._rules
            for pattern in [weakened(rule.pattern)]
            for quick in [folding(pattern)]
        ]
        if engine == "hyperscan":
            self.warm()

    def scan(self, data: bytes) -> Sequence[int]:
        """Return a number for everything that may be in `data`; empty: nothing is."""
        if self._automaton is None:
            return self._one_by_one(data)
        found = self._automaton.scan(data, _seen_where)
        if not found:
            return found
        starts = [-number - len(RUN) for number in found if number < 0]
        if not starts:
            return found
        return [number for number in found if number >= 0] + self._runs.candidates(data, starts)

    def _one_by_one(self, data: bytes) -> Sequence[int]:
        if self._compiles:
            self._left -= 1
            self._room -= len(data)
            if self._left <= 0 or self._room <= 0:
                self.warm()
                return self.scan(data)
        folded = data.lower()
        words = self._words.within(folded)
        found = [
            number
            for number, literals, pattern, folds in self._quick
            if not (literals and literals.isdisjoint(words)) and pattern.search(folded if folds else data)
        ]
        found += [number for number, marks in self._marks if any(mark(data) for mark in marks)]
        return found + self._runs.candidates(data, (start for start, _ in runs(data.translate(MASK64), len(RUN))))

    def warm(self) -> None:
        """Take hyperscan now, where that is the engine."""
        if not self._compiles:
            return
        with self._lock:
            chosen = [(number, weakened(rule.pattern)) for number, rule in self._rules]
            chosen += [(number, text) for number, name in self._triggers for text in expressions(name)]
            texts = (_RUN_STARTS, *(text for _, text in chosen))
            flags = (0, *(HS_SINGLEMATCH for _ in chosen))
            self._automaton = shared(texts, flags, (_LONG_RUN, *(number for number, _ in chosen)))


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a text does set off: each rule with its matches and whether those are all, and the names of the triggers."""

    matches: tuple[tuple[Rule, tuple[re.Match[bytes], ...], bool], ...]
    triggers: frozenset[str]


def confirmed(rules: Rules, numbers: Sequence[int], data: bytes) -> Candidate:
    """Return what of the candidates `data` does hold, NOTHING if that is nothing."""
    count = len(rules.rules)
    folded = data.lower()
    found = []
    for number in sorted(numbers):
        if number < count:
            matches, all_of_them = rules.rules[number].matches(data, folded)
            if matches:
                found.append((rules.rules[number], matches, all_of_them))
    triggers = frozenset(_NAMES[number - count] for number in numbers if number >= count)
    return Candidate(tuple(found), triggers) if found or triggers else NOTHING


NOTHING: Final = Candidate((), frozenset())
_NAMES: Final = tuple(TRIGGERS)
