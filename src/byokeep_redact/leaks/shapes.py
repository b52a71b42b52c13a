"""What secrets look like, by the rules of the redactor, in one layer at a time.

The redactor decodes by itself and only says what to mask; a scanner must say how a value was hidden, so here the rules
look at one layer as it is and the walk brings the layers. hyperscan names the ends of matches where it is installed,
and the rule's own expression decides; without it every rule with one of its words in the text is tried, and the result
is the same. Rules: nothing here repeats what it found; a fingerprint is keyed.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise, takewhile
from typing import Any, Final

from byokeep_redact.encoded_patterns import Engine
from byokeep_redact.entropy import drawn
from byokeep_redact.mask import MASKED, Mask
from byokeep_redact.prefilter import weakened
from byokeep_redact.rules import Rule, Rules, default_rules
from byokeep_redact.walk import Seen

_PLAIN_RUN: Final = re.compile(rb"(\[[^\]]+\])\{(\d+),\}(?:=\{0,2\})?")  # a rule that is one run and nothing else
_UUID: Final = re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_LONG_PIECE: Final = re.compile(rb"[a-z0-9]{12}")
_PIECE: Final = re.compile(rb"[A-Za-z0-9_+/-]{10,}")
_HEX: Final = re.compile(rb"[0-9a-f]{20}|[0-9A-F]{20}")
_LEAST_DISTINCT: Final = 7
_BITS: Final = 4.0
_NEAR, _FAR = 512, 1 << 15  # bytes before the end of a match in which it is looked for
_AHEAD: Final = 1 << 12  # bytes after the last start of a match to which it is read at first
_SPARE: Final = 1 << 11  # of which so many must be left over, or the match may go on: it is read further
_FEW: Final = 32  # places at which a match may start: so few are tried one by one
_NESTED, _ROOM = 1, 1 << 14  # matches inside one may come to so many times its size and so many bytes more
_BEYOND: Final = 1 << 8  # bytes after a match by which one that starts in it shows, with its name and 16 letters
_LONG_REPEAT: Final = re.compile(rb"\{\d*,(?:\d{4,}|[4-9]\d\d)\}")
_Place = tuple[int, int, int]  # start, end, number of the rule


class Shapes:
    """Finds what looks like a secret. `mask` makes the fingerprints; `weak` keeps values that were not drawn by chance.

    The redactor masks `password=changeme` rather than think about it; a scan that reported it would not be read.

    Raises:
        RuleError: The rules cannot be used.
        ImportError: `engine` is "hyperscan" and it is not installed.
    """

    def __init__(self, mask: Mask, rules: Rules | None = None, engine: Engine = "auto", *, weak: bool = False) -> None:
        self._weak = weak
        self.withheld = 0  # what a rule matched and a scan does not report: written, public by its form, an example
        self._rules = default_rules() if rules is None else rules
        self._mask = mask
        self._plain = {
            number: (_mask_of(plain[1]), int(plain[2]))
            for number, rule in enumerate(self._rules.rules)
            if (plain := _PLAIN_RUN.fullmatch(rule.pattern))
        }
        self._prefiltered = [number for number in range(len(self._rules.rules)) if number not in self._plain]
        patterns = tuple(self._rules.rules[number].pattern for number in self._prefiltered)
        # A repeat that ends, but late, could be cut off inside: such a rule is always read to the end.
        self._ahead = [None if _LONG_REPEAT.search(rule.pattern) else _AHEAD for rule in self._rules.rules]
        self._reaches = [(_NEAR, _FAR) if b",}" in weakened(pattern) else (_NEAR,) for pattern in patterns]
        self._database: Any
        self._scratch: Any
        self._database, self._scratch = (None, None) if engine == "grams" else _database(patterns, engine)

    def find(self, data: bytes) -> Iterator[Seen]:
        """Yield what looks like a secret, in order of place; of those that overlap, the first and longest."""
        last = 0
        found = self._everywhere(data) if self._database is None else self._near_matches(data)
        told = {end for start, end, _ in found if self._weak or looks_random(data[start:end])}
        runs: set[_Place] = set()
        for number, (kinds, least) in self._plain.items():
            self._runs(data, number, data.translate(kinds), least, runs)
        found |= {one for one in runs if one[1] not in told}  # a key before which stands a letter of something else
        for start, end, number in sorted(found, key=lambda one: (one[0], -one[1], one[2])):
            if start < last:
                continue
            if not self._weak and not looks_random(data[start:end]):
                self.withheld += 1
                continue
            last = end
            rule = self._rules.rules[number]
            yield Seen(start, end, rule.name, kind=rule.kind, fingerprint=self._mask.fingerprint(data[start:end]))

    def _everywhere(self, data: bytes) -> set[_Place]:
        found: set[_Place] = set()
        folded = data.lower()
        for number in self._prefiltered:
            rule = self._rules.rules[number]
            if not rule.literals or any(literal in folded for literal in rule.literals):
                self._match(data, number, 0, len(data), found)
        return found

    def _near_matches(self, data: bytes) -> set[_Place]:
        found: set[_Place] = set()
        done = [0] * len(self._rules.rules)  # up to where a rule has been tried

        def seen(candidate: int, _start: int, end: int, _flags: int, _context: object) -> None:
            number = self._prefiltered[candidate]
            if end > done[number]:
                tried = 0
                for reach in self._reaches[candidate]:
                    first = max(done[number], end - reach)
                    tried = self._match(data, number, first, end, found)
                    if tried >= end or first == done[number]:
                        break
                done[number] = max(tried, end)

        self._database.scan(data, match_event_handler=seen, scratch=self._scratch)
        return found

    def _runs(self, data: bytes, number: int, mask: bytes, least: int, found: set[_Place]) -> None:
        """Try a rule for runs of one class at each run of at least `least` bytes."""
        at = 0
        while (at := mask.find(b"A" * least, at)) >= 0:
            end = mask.find(b" ", at)
            end = len(data) if end < 0 else end
            if not _is_path(data[at:end]):
                self._match(data, number, at, end, found)
            at = end

    def _match(self, data: bytes, number: int, first: int, last: int, found: set[_Place]) -> int:
        """Add the secrets of the matches of a rule that start in [first, last); return where the last of them ends."""
        rule, tried = self._rules.rules[number], first
        for match in self._matches(data, number, first, last):
            tried = match.end()
            self._add(number, match, found)
            if rule.nests:
                self._inside(data, number, match, found)
        return tried

    def _add(self, number: int, match: re.Match[bytes], found: set[_Place]) -> None:
        rule = self._rules.rules[number]
        secrets = self._rules.secrets(rule, match)
        self.withheld += not secrets and bool(rule.spans(match))
        for start, end in secrets:
            if not MASKED.fullmatch(match.string, start, end):
                found.add((start, end, number))

    def _inside(self, data: bytes, number: int, match: re.Match[bytes], found: set[_Place]) -> None:
        """Add the secrets of matches that start in the value of a match, or all of it when there is no end of them."""
        rule, last, outer = self._rules.rules[number], match.end(), match
        ahead = len(data) if self._ahead[number] is None else _AHEAD
        left = _NESTED * (last - match.start()) + _ROOM
        while (seen := _next(rule, data, rule.after(match), last)) is not None:
            whole = rule.compiled.match(data, seen.start(), min(len(data), seen.start() + ahead))
            match = seen if whole is None else whole
            left -= match.end() - match.start()
            if left < 0:
                found.add((*rule.whole(outer), number))
                return
            self._add(number, match, found)

    def _matches(self, data: bytes, number: int, first: int, last: int) -> list[re.Match[bytes]]:
        """Return the matches of a rule that start in [first, last), as far as they go.

        `re` cannot be told where the last match may start. Without an end, each candidate without a match would have it
        read all the rest: minutes for a database's log of 16 MiB.
        """
        rule, ahead = self._rules.rules[number], self._ahead[number]
        while True:
            end = len(data) if ahead is None else min(len(data), last + ahead)
            if last - first <= _FEW:
                matches = _at_each(rule.compiled, data, first, last, end)
            else:
                found = rule.compiled.finditer(data, first, end)
                matches = list(takewhile(lambda match: match.start() < last, found))
            if ahead is None or end == len(data) or not matches or matches[-1].end() <= end - _SPARE:
                return matches
            ahead *= 16


def _next(rule: Rule, data: bytes, at: int, last: int) -> re.Match[bytes] | None:
    """Return the next match that starts in [at, last), piece by piece: a greedy one would be read to the very end."""
    while at < last:
        end = min(len(data), last + _BEYOND, at + _AHEAD)
        folded = data[at:end].lower() if rule.literals else b""
        if not folded or any(literal in folded for literal in rule.literals):
            seen = rule.compiled.search(data, at, end)
            if seen is not None:
                return seen if seen.start() < last else None
        if end < at + _AHEAD:
            return None
        at = end - _BEYOND
    return None


def _at_each(pattern: re.Pattern[bytes], data: bytes, first: int, last: int, end: int) -> list[re.Match[bytes]]:
    """Return what `finditer` does of matches that start in [first, last), without a look at what comes after."""
    found, at = [], first
    while at < last:
        if (match := pattern.match(data, at, end)) is not None:
            found.append(match)
        at = match.end() if match is not None and match.end() > at else at + 1
    return found


def _mask_of(kinds: bytes) -> bytes:
    """Return the table that turns bytes of a class into A and all others into blanks."""
    compiled = re.compile(kinds)
    return bytes(65 if compiled.match(bytes([code])) else 32 for code in range(256))


def looks_random(value: bytes) -> bool:
    """Return whether a piece of a value was drawn by chance: not a placeholder, a sentence, code or an alphabet."""
    return any(
        len(set(piece)) >= _LEAST_DISTINCT
        and (drawn(piece, _BITS) or _HEX.search(piece))
        and 3 * sum(right - left == 1 for left, right in pairwise(piece)) < len(piece)
        and not _is_table(piece)
        for piece in _PIECE.findall(value)
    )


def _is_table(piece: bytes) -> bool:
    """Return whether letters rise by steps, each second, third or fourth one: tables of code pages, compiled Python."""
    return len(piece) >= 24 and any(
        3 * sum(0 <= piece[at + step] - piece[at] <= 4 for at in range(len(piece) - step)) > 2 * (len(piece) - step)
        for step in (2, 3, 4)
    )


def _is_path(run: bytes) -> bool:
    """Return whether a run is words, numbers and UUIDs in small letters. Only then: this is here to save time."""
    return run.islower() and not _LONG_PIECE.search(_UUID.sub(b"-", run))


def _database(patterns: tuple[bytes, ...], engine: Engine) -> tuple[Any, Any]:
    """Return the database of all patterns and scratch space of its own, or two times None without hyperscan."""
    try:
        library = importlib.import_module("hyperscan")
    except ImportError:
        if engine == "hyperscan":
            raise
        return None, None
    database = _compiled(patterns)
    return database, library.Scratch(database)


@lru_cache(maxsize=4)
def _compiled(patterns: tuple[bytes, ...]) -> Any:
    library = importlib.import_module("hyperscan")
    database = library.Database(mode=library.HS_MODE_BLOCK)
    database.compile(
        expressions=[weakened(pattern) for pattern in patterns],
        ids=list(range(len(patterns))),
        elements=len(patterns),
        flags=0,
    )
    return database
