"""The scanner: what looks like a secret, and live values by fingerprint, in files, trees and bytes, however hidden.

The rules of the redactor look at one layer at a time, and the walk brings the layers. The baseline holds findings that
somebody gave a reason for, known by rule, file and four bytes of fingerprint under its own key; SARIF is for
code hosts.
Rules: a finding carries place, type and keyed fingerprint, never the value, and a name that holds a secret is shown
masked; nothing searched is not clean; a file that cannot be read is listed and makes a run unsuccessful; a live value
cannot be put in a baseline, an entry that fits nothing any more is reported, and no comment in a file turns the scan
off.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from byokeep_redact.automaton import shared
from byokeep_redact.checks import Read, looks_random
from byokeep_redact.decoders import Layer, Seen, marked, mask, runs
from byokeep_redact.errors import Rejected
from byokeep_redact.fingerprint import LIVE_VALUE as LIVE
from byokeep_redact.fingerprint import Fingerprints, LiveValues, strictly_read
from byokeep_redact.mask import MASKED, Mask
from byokeep_redact.prefilter import weakened
from byokeep_redact.rules import Rule, Rules, default_rules
from byokeep_redact.sarif import log
from byokeep_redact.search import Finding, Limits, Report, ScanTargets

_PLAIN_RUN: Final = re.compile(rb"(\[[^\]]+\])\{(\d+),\}(?:=\{0,2\})?")  # a rule that is one run and nothing else
_UUID: Final = re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_LONG_PIECE: Final = re.compile(rb"[a-z0-9]{12}")
_NEAR, _FAR = 512, 1 << 15  # bytes before the end of a match in which it is looked for
_AHEAD: Final = 1 << 12  # bytes after the last start of a match to which it is read at first
_SPARE: Final = 1 << 11  # of which so many must be left over, or the match may go on: it is read further
_FEW: Final = 32  # places at which a match may start: so few are tried one by one
_NESTED, _ROOM = 1, 1 << 14  # matches inside one may come to so many times its size and so many bytes more
_BEYOND: Final = 1 << 8  # bytes after a match by which one that starts in it shows, with its name and 16 letters
_LONG_REPEAT: Final = re.compile(rb"\{\d*,(?:\d{4,}|[4-9]\d\d)\}")
_Place = tuple[int, int, int]  # start, end, number of the rule


class Shapes:
    """Finds what looks like a secret. `masks` makes the fingerprints; `weak` keeps values that were
    not drawn by chance.

    The redactor masks `password=changeme` rather than think about it; a scan that reported it would not be read.

    Raises:
        RuleError: The rules cannot be used.
    """

    def __init__(self, masks: Mask, rules: Rules | None = None, *, weak: bool = False) -> None:
        self._weak = weak
        self.withheld = 0  # what a rule matched and a scan does not report: written, public by its form, an example
        self._rules = default_rules() if rules is None else rules
        self._mask = masks
        self._plain = {
            number: (mask(bytes(code for code in range(256) if re.match(plain[1], bytes([code])))), int(plain[2]))
            for number, rule in enumerate(self._rules.rules)
            if (plain := _PLAIN_RUN.fullmatch(rule.pattern))
        }
        self._prefiltered = [number for number in range(len(self._rules.rules)) if number not in self._plain]
        patterns = tuple(self._rules.rules[number].pattern for number in self._prefiltered)
        # A repeat that ends, but late, could be cut off inside: such a rule is always read to the end.
        self._ahead = [None if _LONG_REPEAT.search(rule.pattern) else _AHEAD for rule in self._rules.rules]
        self._reaches = [(_NEAR, _FAR) if b",}" in weakened(pattern) else (_NEAR,) for pattern in patterns]
        self._automaton = shared(tuple(map(weakened, patterns)))

    def find(self, data: bytes) -> Iterator[Seen]:
        """Yield what looks like a secret, in order of place; of those that overlap, the first and longest."""
        last, read = 0, Read()
        found = self._near_matches(data, read)
        told = {end for start, end, _ in found if self._weak or looks_random(data[start:end])}
        plain: set[_Place] = set()
        for number, (kinds, least) in self._plain.items():  # a rule for runs of one class, tried at each of them
            for start, end in runs(data.translate(kinds), least):
                if not _is_path(data[start:end]):
                    self._match(data, number, start, end, plain, read)
        found |= {one for one in plain if one[1] not in told}  # a key before which stands a letter of something else
        for start, end, number in sorted(found, key=lambda one: (one[0], -one[1], one[2])):
            if start < last:
                continue
            if not self._weak and not looks_random(data[start:end]):
                self.withheld += 1
                continue
            last = end
            rule = self._rules.rules[number]
            yield Seen(start, end, rule.name, kind=rule.kind, fingerprint=self._mask.fingerprint(data[start:end]))

    def _near_matches(self, data: bytes, read: Read) -> set[_Place]:
        found: set[_Place] = set()
        done = [0] * len(self._rules.rules)  # up to where a rule has been tried

        def seen(candidate: int, _start: int, end: int, _flags: int, _context: object) -> None:
            number = self._prefiltered[candidate]
            if end > done[number]:
                tried = 0
                for reach in self._reaches[candidate]:
                    first = max(done[number], end - reach)
                    tried = self._match(data, number, first, end, found, read)
                    if tried >= end or first == done[number]:
                        break
                done[number] = max(tried, end)

        self._automaton.scan(data, seen)
        return found

    def _match(self, data: bytes, number: int, first: int, last: int, found: set[_Place], read: Read) -> int:
        """Add the secrets of the matches of a rule that start in [first, last); return where the last of them ends."""
        rule, tried = self._rules.rules[number], first
        for match in self._matches(data, number, first, last):
            tried = match.end()
            self._add(number, match, found, read)
            if rule.nests:
                self._inside(data, number, match, found, read)
        return tried

    def _add(self, number: int, match: re.Match[bytes], found: set[_Place], read: Read) -> None:
        rule = self._rules.rules[number]
        spans = rule.spans(match, read)
        secrets = self._rules.secrets(rule, match, spans)
        self.withheld += bool(spans) and not secrets
        for start, end in secrets:
            if not MASKED.fullmatch(match.string, start, end):
                found.add((start, end, number))

    def _inside(self, data: bytes, number: int, match: re.Match[bytes], found: set[_Place], read: Read) -> None:
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
            self._add(number, match, found, read)

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


def _is_path(run: bytes) -> bool:
    """Return whether a run is words, numbers and UUIDs in small letters. Only then: this is here to save time."""
    return run.islower() and not _LONG_PIECE.search(_UUID.sub(b"-", run))


_BLOCK = 1 << 20
_STREAMS = frozenset(("gzip", "zlib", "zip", "zstd", "bzip2", "xz", "deflate"))


class Scanner(ScanTargets):
    """A scan with one set of rules and, when given, the fingerprints of live values.

    Args:
        fingerprints: Live values to look for.
        rules: Shapes; the packaged ones unless given.
        key: Key of the fingerprints of findings (at least 16 bytes); drawn afresh unless given.
        exclude: Globs; a path inside a tree is left out when one fits its name or the whole path.
        weak: Report values that were not drawn by chance too, such as `password=changeme`.
        watch: Told the size of each file when it is done.

    Raises:
        RuleError: The rules cannot be used.
    """

    def __init__(
        self,
        *,
        fingerprints: Fingerprints | None = None,
        rules: Rules | None = None,
        key: bytes | None = None,
        exclude: Iterable[str] = (),
        weak: bool = False,
        limits: Limits | None = None,
        watch: Callable[[int], None] | None = None,
    ) -> None:
        self._watch = watch
        super().__init__(limits)
        self._live = None if fingerprints is None else LiveValues(fingerprints)
        self._shapes = Shapes(Mask(key), rules, weak=weak)
        self._exclude = tuple(exclude)
        self.excluded = 0

    @property
    def withheld(self) -> int:
        """How often a rule matched what is not reported: not drawn by chance, public by its form, an example."""
        return self._shapes.withheld

    def seen(self, layer: Layer) -> Iterator[Seen]:
        """Yield shapes and live values."""
        if self._live is not None:
            yield from self._live.find(layer.data)
        yield from self._shapes.find(layer.data)

    def decoded(self, layer: Layer) -> Iterator[Layer]:
        """Yield what is inside the marked parts of a layer."""
        return marked(layer)

    def scan_file(self, path: Path | str) -> Report:
        """Search one regular file, its name included; findings in text get their line."""
        report = super().scan_file(path)
        if self._watch is not None:
            self._watch(report.bytes_scanned)
        return replace(report, findings=_with_lines(Path(path), report.findings)) if report.findings else report

    def passes_over(self, path: Path) -> bool:
        """Return whether a path fits one of the globs that were given."""
        fits = any(fnmatchcase(name, glob) for glob in self._exclude for name in (path.name, str(path)))
        self.excluded += fits
        return fits


def _with_lines(path: Path, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return the findings with line numbers where the file is text and no stream, and the finding not in the name."""
    lines: list[Finding] = []
    try:
        with path.open("rb") as handle:
            at, line, text = 0, 1, True
            for finding in sorted(findings, key=lambda one: one.offset):
                while at < finding.offset and text:
                    block = handle.read(min(_BLOCK, finding.offset - at))
                    text = bool(block) and b"\0" not in block
                    at += len(block)
                    line += block.count(b"\n")
                packed = finding.encoding.partition(">")[0] in _STREAMS
                in_text = text and not packed and not finding.source.endswith(" (name)")
                lines.append(replace(finding, line=line) if in_text else finding)
    except OSError:
        return findings
    return tuple(lines)


FORMAT: Final = "byokeep-leaks-baseline/1"
NO_REASON: Final = "not looked at yet"
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_PRINT: Final = re.compile(r"[0-9a-f]{8}")
_FIELDS: Final = ("rule", "source", "fingerprint", "reason")


@dataclass(frozen=True, slots=True, order=True)
class BaselineEntry:
    """A known finding. `source` is relative to the baseline's directory."""

    source: str
    rule: str
    fingerprint: str
    reason: str = field(default=NO_REASON, compare=False)


@dataclass(frozen=True, slots=True)
class Baseline:
    """Known findings and the key of their fingerprints."""

    key: bytes = field(repr=False)
    entries: frozenset[BaselineEntry] = frozenset()

    @classmethod
    def new(cls) -> Baseline:
        """Return an empty one with a fresh key."""
        return cls(secrets.token_bytes(32))

    def known(self, findings: Iterable[Finding], folder: Path) -> dict[Finding, BaselineEntry]:
        """Return the entries that findings fit."""
        entries = {entry: entry for entry in self.entries}
        fits = {finding: entries.get(entry_of(finding, folder)) for finding in findings if finding.kind != LIVE}
        return {finding: entry for finding, entry in fits.items() if entry is not None}

    def document(self) -> str:
        """Return the JSON form."""
        rows = [{name: getattr(entry, name) for name in _FIELDS} for entry in sorted(self.entries)]
        return json.dumps({"format": FORMAT, "key": self.key.hex(), "findings": rows}, indent=1) + "\n"


def entry_of(finding: Finding, folder: Path) -> BaselineEntry:
    """Return the entry for a finding. `folder` is where the baseline stands."""
    return BaselineEntry(os.path.relpath(finding.source, folder), finding.label, finding.fingerprint)


def written(findings: Iterable[Finding], folder: Path, before: Baseline) -> Baseline:
    """Return a baseline of these findings, with the reasons of `before`; live values are left out."""
    kept = {entry: entry for entry in before.entries}
    entries = {entry_of(finding, folder) for finding in findings if finding.kind != LIVE}
    return Baseline(before.key, frozenset(kept.get(one, one) for one in entries))


def read(path: Path) -> Baseline:
    """Read a baseline file.

    Raises:
        Rejected: ``baseline_unreadable``, or ``bad_baseline`` with the ``part`` that is wrong.
    """
    try:
        text = path.read_bytes()
    except OSError:
        raise Rejected("baseline_unreadable", next_step="Check the path, or make one with --write-baseline.") from None
    data = strictly_read(text, FORMAT, {"key", "findings"}, _bad)
    if not isinstance(data["findings"], list):
        raise _bad("fields")
    if not isinstance(data["key"], str) or not _KEY.fullmatch(data["key"]):
        raise _bad("key")
    return Baseline(bytes.fromhex(data["key"]), frozenset(_entry(row) for row in data["findings"]))


def _entry(row: object) -> BaselineEntry:
    if not isinstance(row, dict) or row.keys() != set(_FIELDS) or not all(type(text) is str for text in row.values()):
        raise _bad("findings")
    if not _PRINT.fullmatch(row["fingerprint"]):
        raise _bad("fingerprint")
    return BaselineEntry(**row)


def _bad(part: str) -> Rejected:
    return Rejected("bad_baseline", next_step="Mend the file, or make a new one with --write-baseline.", part=part)


def document(report: Report, known: Mapping[Finding, str], *, keyed: bool) -> dict[str, Any]:
    """Return the SARIF log of a scan.

    Args:
        report: The scan, known findings included.
        known: Findings of the baseline, with their reasons.
        keyed: Whether fingerprints of values stay the same from run to run, because a baseline gives their key.
    """
    names = sorted({_rule(finding) for finding in report.findings})
    seen: Counter[tuple[str, str]] = Counter()
    results = []
    for finding in report.findings:
        place = (_rule(finding), finding.source)
        results.append(_result(finding, names, seen[place], known.get(finding), keyed=keyed))
        seen[place] += 1
    rules = [{"id": name, "shortDescription": {"text": f"Secret: {name}"}} for name in names]
    unread = [f"{one.source}: {one.reason}" for one in report.unreadable]
    return log(rules, results, unread, nothing=not report.sources_scanned)


def _rule(finding: Finding) -> str:
    return "live-value" if finding.kind == LIVE else finding.label


def _result(finding: Finding, names: Sequence[str], number: int, reason: str | None, *, keyed: bool) -> dict[str, Any]:
    rule = _rule(finding)
    region = {"startLine": finding.line} if finding.line else {"byteOffset": finding.offset, "byteLength": 1}
    place = f"{rule}\0{finding.source}\0{finding.encoding}\0{number}".encode()
    prints = {"byokeepPlace/v1": hashlib.sha256(place).hexdigest()[:32]}
    if keyed:
        prints["byokeepValue/v1"] = finding.fingerprint
    what = f"Live value {finding.label}" if finding.kind == LIVE else f"Secret ({finding.kind})"
    file = finding.source.removesuffix(" (name)").removesuffix(" (link target)")
    location = {"physicalLocation": {"artifactLocation": {"uri": quote(file)}, "region": region}}
    result: dict[str, Any] = {
        "ruleId": rule,
        "ruleIndex": names.index(rule),
        "level": "error",
        "message": {"text": f"{what}, {finding.encoding}, fingerprint {finding.fingerprint}"},
        "locations": [location],
        "partialFingerprints": prints,
    }
    if reason is not None:
        result["suppressions"] = [{"kind": "external", "justification": reason}]
    return result
