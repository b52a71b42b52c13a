"""Rules: the shapes that secrets have, read from one file, and the shapes that must survive.

A rule is a regular expression on bytes, in the subset that hyperscan and `re` read alike, and the name of a check that
may look at what was matched. A rule never needs anything after an endless repeat, so that no text makes it slow.
Rule of the room: a file that is missing, empty, of another version or that says a word this module does not know is
refused; there is no set of rules that finds nothing. It finds, without a prefilter; it masks nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from byokeep_redact.checks import CHECKS, PROOFS, SPLITS, Check, Proof, Read, Split
from byokeep_redact.decoders import MASK64, Seen
from byokeep_redact.errors import Rejected
from byokeep_redact.mask import KIND

VERSION: Final = 1
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")
_PART: Final = re.compile(r"\{\{([a-z_]+)\}\}")
# Look-around, back references, names, possessive and lazy repeats, and the classes the two engines read differently.
_OUTSIDE: Final = re.compile(
    r"\(\?(?!:|i\))|(?<!\\)(?:\\\\)*\\[1-9sSZzAGXRKQEpPCNhHvV]|(?<!\\)(?:\\\\)*[*+?}][+?]|(?<![\\\[^])(?:\\\\)*\$"
)
_PROBES: Final = (b"", b"a", b" a", b"a ", b"\n", b'"a"')
_NESTING: Final = frozenset(("authorization", "cookies"))  # splits that do not take in all of a match
_JOINT: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[- ]")
_ATOM: Final = re.compile(r"\{(.+)\}[ioeCn]")  # of an access log: a header, a variable, a cookie
_LONGEST_NAME: Final = 128
_Function = TypeVar("_Function")
CONTEXT: Final = 400
"""Bytes on each side of a value that an allow rule may look at."""
# What lower-casing a pattern would change: classes by a capital letter, letters by number, ranges from kind to kind.
_CASED: Final = re.compile(
    rb"\\[A-Z]|\\x(?:[46][0-9A-Fa-f]|[57][0-9Aa])"
    rb"|\[[^\]]*?(?:[^A-Z]-[A-Z]|[A-Z]-[^A-Z\]]|[^a-z]-[a-z]|[a-z]-[^a-z\]])[^\]]*\]"
)
# Packaged rules whose every match holds a run of 40 base64 letters (mostly a digest, an id or a root), and how many
# bytes before one it may begin; what stands further left is passed over.
_LEADS: Final = {"long-base64": 0, "wrapped-base64": 8}
RUN: Final = b"A" * 40
MOST_MATCHES: Final = 4096
"""Matches of one rule in one text that are looked at; one more is found, to tell that there are too many."""
NESTED: Final = 1 << 20
"""Bytes that matches which start inside another of their rule may have, together; more is a text made to be slow."""
_DEEP, _DEEP_LEAST = 8, 1 << 14  # times the text and bytes that they may have at most
_LINES: Final = 4  # bits by which a match to the end of the line counts less: it is read without a choice


@lru_cache(maxsize=1024)
def folding(pattern: bytes) -> re.Pattern[bytes] | None:
    """Return a pattern for folded text, which `re` looks for by first letters, unlike one that puts case aside."""
    if not pattern.startswith(b"(?i)") or _CASED.search(pattern):
        return None
    return re.compile(pattern[4:].lower())


class RuleError(Rejected):
    """The rule file cannot be used; nothing may be written until it can."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One shape. `compiled` has the same matches as hyperscan has for `pattern` without flags.

    value: groups that may hold the secret; the first one that took part is it. 0 is the whole match.
    literals: lower-case; each match holds one of them, letter case put aside. Empty: no such word is known.
    check, split: what may refuse a match, and what cuts it into several secrets; None: nothing does.
    nests: whether another match may start inside one, so that one that is refused hides none.
    lead: how far before its first run of 40 base64 letters a match may begin; None: it need not have one.
    """

    name: str
    kind: str
    description: str
    pattern: bytes
    compiled: re.Pattern[bytes] = field(repr=False)
    value: tuple[int, ...]
    literals: tuple[bytes, ...]
    check: Check | None = field(repr=False)
    split: Split | None = field(repr=False)
    nests: bool = False
    lead: int | None = None

    def after(self, match: re.Match[bytes]) -> int:
        """Return where the next match may start: in the value of a rule that nests, else behind the match."""
        return max(match.start() + 1, self.whole(match)[0] - 1) if self.nests else match.end()

    def matches(self, data: bytes, folded: bytes) -> tuple[tuple[re.Match[bytes], ...], bool]:
        """Return the first matches in `data`, nested ones too, and whether these are all. `folded`: in small letters.

        Most rules without letter case take a third of the time that way.
        """
        quick, lead = folding(self.pattern), self.lead
        matches: list[re.Match[bytes]] = []
        at = 0 if lead is None else max(0, data.translate(MASK64).find(RUN) - lead)
        last, left = 0, min(NESTED, _DEEP * len(data) + _DEEP_LEAST)
        while found := quick.search(folded, at) if quick else self.compiled.search(data, at):
            match = self.compiled.match(data, found.start()) if quick else found
            if match is None or match.end() != found.end():
                quick = None  # this text means something else when folded
                continue
            matches.append(match)
            if match.start() < last:
                left -= match.end() - match.start() >> (_LINES if self.split else 0)
            if len(matches) > MOST_MATCHES or left < 0:
                return tuple(matches), False
            last = max(last, match.end())
            at = self.after(match)
        return tuple(matches), True

    def whole(self, match: re.Match[bytes]) -> tuple[int, int]:
        """Return where the group of `match` stands that holds the secret; (-1, -1) if none took part."""
        return next((match.span(number) for number in self.value if match.start(number) >= 0), (-1, -1))

    def spans(self, match: re.Match[bytes], read: Read) -> list[tuple[int, int]]:
        """Return the [start, end) of each secret in `match`, in offsets of the searched text; none if refused.

        `read` is that of the text: a match returns what those before it did not.
        """
        group = next((number for number in self.value if match.start(number) >= 0), None)
        if group is None or match.start(group) == match.end(group):
            return []
        if self.check is not None and not self.check(match, group):
            return []
        return [match.span(group)] if self.split is None else self.split(match, group, read)


@dataclass(frozen=True, slots=True)
class AllowRule:
    """A shape that survives. `value` must be the whole of it; `before` and `after` what stands around it."""

    name: str
    description: str
    rules: frozenset[str]
    value: re.Pattern[bytes] = field(repr=False)
    before: re.Pattern[bytes] | None = field(repr=False)
    after: re.Pattern[bytes] | None = field(repr=False)
    proof: Proof | None = field(repr=False)

    def fits(self, data: bytes, start: int, end: int) -> bool:
        """Return whether data[start:end] has this shape at this place; its proof is not asked here."""
        if not self.value.fullmatch(data, start, end):
            return False
        if self.before is not None and not self.before.search(data[max(0, start - CONTEXT) : start]):
            return False
        return self.after is None or self.after.match(data, end, end + CONTEXT) is not None


@dataclass(frozen=True, eq=False)
class Rules:
    """A whole rule file. Made by `load`."""

    version: int
    rules: tuple[Rule, ...]
    allows: tuple[AllowRule, ...]
    _secret: re.Pattern[str]
    _public: re.Pattern[str]

    @cached_property
    def _by_rule(self) -> dict[str, list[AllowRule]]:
        return {rule.name: [allow for allow in self.allows if rule.name in allow.rules] for rule in self.rules}

    @classmethod
    def load(cls, path: str | Path | None = None) -> Rules:
        """Read a rule file, or the packaged one. Raises RuleError unless every word of it is understood."""
        try:
            text = (files("byokeep_redact") / "rules.toml" if path is None else Path(path)).read_bytes()
            document = tomllib.loads(text.decode("utf-8"))
        except OSError:
            raise RuleError("rules_unreadable", next_step="Name a rule file that can be read.") from None
        except (ValueError, RecursionError):
            raise RuleError("rules_not_toml", next_step="Mend the rule file: it is no TOML.") from None
        return _RuleReader(document, {} if path else _LEADS).rules()

    def allowed(self, rule: str, data: bytes, start: int, end: int) -> bool:
        """Return whether data[start:end], matched by `rule`, is a shape that survives there."""
        return any(
            allow.fits(data, start, end) and (allow.proof is None or allow.proof(data, start, end, self._clean))
            for allow in self._by_rule[rule]
        )

    def secrets(self, rule: Rule, match: re.Match[bytes], spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return those of `spans`, which `rule` made of a match, that have no shape that survives.

        A match of which a rule cuts the start off, as it does with a path, survives as a whole too: a root may begin
        like a path.
        """
        data = match.string
        spans = [span for span in spans if not self.allowed(rule.name, data, *span)]
        if len(spans) == 1 and rule.split is not None and self._by_rule[rule.name]:
            start, end = rule.whole(match)
            if start < spans[0][0] and end == spans[0][1] and self.allowed(rule.name, data, start, end):
                return []
        return spans

    def find(self, data: bytes) -> Iterator[Seen]:
        """Yield what every rule finds, rule by rule, overlapping ones too; without an end all from the first on."""
        folded, read = data.lower(), Read()
        for rule in self.rules:
            if rule.literals and not any(literal in folded for literal in rule.literals):
                continue
            matches, all_of_them = rule.matches(data, folded)
            if not all_of_them:
                yield Seen(matches[0].start(), len(data), rule.name, kind=rule.kind)
                continue
            for match in matches:
                for start, end in self.secrets(rule, match, rule.spans(match, read)):
                    yield Seen(start, end, rule.name, kind=rule.kind)

    def secret_name(self, name: str) -> bool:
        """Return whether a field, header or parameter of this name holds a secret, whatever its value looks like."""
        atom = _ATOM.fullmatch(name[:_LONGEST_NAME])
        folded = _JOINT.sub("_", atom[1] if atom else name[:_LONGEST_NAME].strip()).lower()
        return self._secret.fullmatch(folded) is not None and self._public.fullmatch(folded) is None

    def _clean(self, data: bytes) -> bool:
        """Return whether no rule finds anything in `data`."""
        return next(self.find(data), None) is None


@lru_cache(maxsize=1)
def default_rules() -> Rules:
    """Return the packaged rules, read once."""
    return Rules.load()


# The words of each table; a star stands at those that must be there.
_TOP: Final = {"version*": int, "part": dict, "names*": dict, "rule*": list, "allow": list}
_RULE: Final = dict.fromkeys(("name*", "kind*", "description*", "pattern*", "check", "split"), str) | dict.fromkeys(
    ("value", "literals"), list
)
_ALLOW: Final = dict.fromkeys(("name*", "description*", "value*", "before", "after", "proof"), str) | {"rules*": list}


class _RuleReader:
    """Turns the document of a rule file into rules, or says what is wrong with it."""

    def __init__(self, document: dict[str, Any], leads: Mapping[str, int]) -> None:
        if not document:
            raise RuleError("rules_empty", next_step="The rule file says nothing; give it rules.")
        if document.get("version") != VERSION or isinstance(document["version"], bool):
            raise RuleError("rules_version_unknown", next_step=f"The rule file must say version = {VERSION}.")
        _known(document, _TOP, "file")
        self._parts: dict[str, str] = {}
        for name, text in document.get("part", {}).items():
            _must(isinstance(text, str), "part", _safe(name))
            self._parts[name] = self._expand(text, name)
        self._document, self._leads = document, leads

    def rules(self) -> Rules:
        """Return the rules. Raises RuleError."""
        rules = tuple(self._rule(_entry(entry, _RULE)) for entry in self._document["rule"])
        if not rules:
            raise RuleError("rules_empty", next_step="The rule file has no [[rule]]; give it rules.")
        known = {rule.name for rule in rules}
        allows = tuple(self._allow(_entry(entry, _ALLOW), known) for entry in self._document.get("allow", []))
        for name, times in Counter([*(rule.name for rule in rules), *(allow.name for allow in allows)]).items():
            if times > 1:
                raise RuleError("rule_twice", rule=name)
        names = self._document["names"]
        _known(names, {"secret*": str, "public*": str}, "names")
        secret, public = (
            re.compile(_compiled(self._expand(names[word], "names"), "names").pattern.decode("ascii"))
            for word in ("secret", "public")
        )
        return Rules(VERSION, rules, allows, secret, public)

    def _rule(self, given: dict[str, Any]) -> Rule:
        name = given["name"]
        _must(KIND.match(given["kind"]), name, "kind")
        pattern = self._expand(given["pattern"], name)
        if not pattern.isascii() or _OUTSIDE.search(pattern):
            raise RuleError("rule_pattern_outside", rule=name, next_step="Both engines must read a pattern alike.")
        compiled = _compiled(pattern, name)
        if any(match.start() == match.end() for probe in _PROBES for match in compiled.finditer(probe)):
            raise RuleError("rule_matches_nothing", rule=name, next_step="A rule may not match the empty string.")
        value = tuple(given.get("value", [0]))
        right = (type(number) is int and 0 <= number <= compiled.groups for number in value)
        _must(value and all(right), name, "value")
        literals = given.get("literals", [])
        _must(all(isinstance(text, str) and text and text == text.lower() for text in literals), name, "literals")
        return Rule(
            name=name,
            kind=given["kind"],
            description=given["description"],
            pattern=pattern.encode("ascii"),
            compiled=compiled,
            value=value,
            literals=tuple(text.encode("utf-8") for text in literals),
            check=_named(given, "check", CHECKS),
            split=_named(given, "split", SPLITS),
            nests="check" in given or given.get("split") in _NESTING,
            lead=self._leads.get(name),
        )

    def _allow(self, given: dict[str, Any], known: set[str]) -> AllowRule:
        name = given["name"]
        _must(given["rules"] and set(given["rules"]) <= known, name, "rules")
        before, after = given.get("before"), given.get("after")
        return AllowRule(
            name=name,
            description=given["description"],
            rules=frozenset(given["rules"]),
            value=_compiled(self._expand(given["value"], name), name),
            before=None if before is None else _compiled(f"(?:{self._expand(before, name)})\\Z", name),
            after=None if after is None else _compiled(self._expand(after, name), name),
            proof=_named(given, "proof", PROOFS),
        )

    def _expand(self, text: str, name: str) -> str:
        def part(found: re.Match[str]) -> str:
            if found[1] not in self._parts:
                raise RuleError("rule_part_unknown", rule=_safe(name), field=found[1])
            return self._parts[found[1]]

        return _PART.sub(part, text)


def _must(holds: object, rule: str, field: str) -> None:
    if not holds:
        raise RuleError("rule_field_wrong", rule=rule, field=field)


def _named(given: dict[str, Any], word: str, table: Mapping[str, _Function]) -> _Function | None:
    """Return the function that a rule names, if it names one."""
    _must(given.get(word) in (None, *table), given["name"], word)
    return table.get(given.get(word, ""))


def _entry(entry: object, fields: Mapping[str, type[Any]]) -> dict[str, Any]:
    """Return a rule whose name can be shown and whose words are all known."""
    _must(isinstance(entry, dict), "unnamed", "entry")
    given = cast(dict[str, Any], entry)
    name = given.get("name")
    _must(isinstance(name, str) and _NAME.match(name), "unnamed", "name")
    _known(given, fields, str(name))
    return given


def _known(entry: Mapping[str, Any], fields: Mapping[str, type[Any]], name: str) -> None:
    kinds = {word.rstrip("*"): kind for word, kind in fields.items()}
    for word, value in entry.items():
        if word not in kinds:
            raise RuleError("rule_field_unknown", rule=name, field=_safe(word))
        _must(type(value) is kinds[word] and value != "", name, _safe(word))
    for word in fields:
        if word.endswith("*") and word[:-1] not in entry:
            raise RuleError("rule_field_missing", rule=name, field=word[:-1])


def _compiled(pattern: str, name: str) -> re.Pattern[bytes]:
    try:
        return re.compile(pattern.encode("ascii"))
    except (re.error, OverflowError, RecursionError, ValueError):
        raise RuleError("rule_pattern_wrong", rule=name) from None


def _safe(word: str) -> str:
    """Return a word of the file, if an error may carry it."""
    return word if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", word) else "unprintable"
