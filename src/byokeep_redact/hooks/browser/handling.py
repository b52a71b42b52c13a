"""The two passes over an artifact: learn its credentials, then mask them wherever they appear in it.

Rules: what was learned lives in the redactor's known values for as long as the artifact is worked on, and is forgotten
after. A value too weak to be searched for everywhere is still masked where it stands, and wherever else in this
artifact it stands as a whole word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from byokeep_redact.errors import ByokeepError
from byokeep_redact.hooks.browser.pictures import strip_picture
from byokeep_redact.mask import MASKED, TRUNCATED

if TYPE_CHECKING:
    from byokeep_redact.engine import Redactor

MOST_LEARNED: Final = 4000
LONGEST_LEARNED: Final = 16 << 10
_SHORTEST_WORD: Final = 6
_REPEATED: Final = 300  # characters: headers and names come back with every request
_MOST_SEEN: Final = 20_000
_DROPPED: Final = re.compile(r"\[dropped:[a-z]+\]")
_TYPED: Final = frozenset(("password", "typed"))
_PLAIN_WORDS: Final = re.compile(r"[A-Za-z]{1,12}|[a-z]{2}[-_][A-Z]{2}")
_MASKED_TEXT: Final = re.compile(MASKED.pattern.decode())


@dataclass(frozen=True, slots=True)
class Policy:
    """What may stay in a scrubbed artifact.

    pictures: `drop` leaves out screenshots and images, whose pixels nobody can check; `keep` strips their metadata.
    """

    pictures: Literal["drop", "keep"] = "drop"


@dataclass(slots=True)
class Learn:
    """First pass: notes each credential and changes nothing. Raises ValueError when there are too many."""

    values: dict[str, str] = field(default_factory=dict, repr=False)  # value -> kind

    def value(self, kind: str, text: str) -> str:
        """Note a credential."""
        if text.strip() and not _marked(text):
            for learned in _parts(text):
                if self.values.get(learned) not in _TYPED:
                    self.values[learned] = kind
            if len(self.values) > MOST_LEARNED:
                raise ValueError("too_many_credentials")
        return text

    def text(self, text: str) -> str:
        """Text teaches nothing."""
        return text

    def binary(self, data: bytes) -> bytes | None:
        """Nor do bytes."""
        return data

    def dropped(self, what: str) -> str:
        """Nothing is left out yet."""
        return f"[dropped:{what}]"


@dataclass(slots=True)
class Scrub:
    """Second pass: masks. `known` counts the values learned for it, `masked` and `dropped_parts` what it did."""

    redactor: Redactor
    policy: Policy
    words: re.Pattern[str] | None = field(default=None, repr=False)
    known: int = 0
    masked: int = 0
    dropped_parts: int = 0
    _seen: dict[str, str] = field(default_factory=dict, repr=False)

    def value(self, kind: str, text: str) -> str:
        """Return the mask of a credential; what is masked already stays."""
        if not text or _marked(text):
            return text
        self.masked += 1
        return self.redactor.mask_of(text.encode("utf-8", "surrogatepass"), kind)

    def text(self, text: str) -> str:
        """Return text with known values, and whatever a rule recognises, masked."""
        if len(text) < _SHORTEST_WORD:
            return text
        out = self._seen.get(text)
        if out is None:
            out = self.redactor.text(text)
            if self.words is not None:
                out = self._words(out, self.words)
            if len(text) <= _REPEATED and len(self._seen) < _MOST_SEEN:
                self._seen[text] = out
        self.masked += out != text
        return out

    def binary(self, data: bytes) -> bytes | None:
        """Return a picture without its metadata if pictures are kept; None for everything else."""
        if self.policy.pictures == "keep" and (picture := strip_picture(data)) is not None:
            return picture
        self.dropped_parts += 1
        return None

    def dropped(self, what: str) -> str:
        """Return the mark of something left out."""
        self.dropped_parts += 1
        return f"[dropped:{what}]"

    def _words(self, text: str, words: re.Pattern[str]) -> str:
        """Mask short learned values between the masks that are there already, which are left as they are."""
        out, at = [], 0
        for mask in _MASKED_TEXT.finditer(text):
            out += [words.sub(self._word, text[at : mask.start()]), mask[0]]
            at = mask.end()
        return "".join([*out, words.sub(self._word, text[at:])])

    def _word(self, found: re.Match[str]) -> str:
        return self.redactor.mask_of(found[0].encode("utf-8", "surrogatepass"), "field")


@contextmanager
def learned(redactor: Redactor, values: dict[str, str], policy: Policy) -> Iterator[Scrub]:
    """Give the second pass for what the first one learned; the values are forgotten at the end."""
    short: set[str] = set()
    known = 0
    with ExitStack() as held:
        for value, kind in values.items():
            try:
                held.enter_context(redactor.register(value, kind))
                known += 1
            except ByokeepError as refused:
                if refused.code != "known_value_too_weak":
                    raise
                if len(value) >= _SHORTEST_WORD and (kind in _TYPED or not _PLAIN_WORDS.fullmatch(value)):
                    short.add(value)
        yield Scrub(redactor, policy, _any_of(short), known)


def _any_of(words: set[str]) -> re.Pattern[str] | None:
    if not words:
        return None
    # The longer first: one may be the beginning of another.
    either = "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])")


def _parts(text: str) -> set[str]:
    """What to learn of a value: of JSON its texts, for its punctuation is everywhere; else the value, unquoted, too."""
    if text[:1] + text[-1:] in ("{}", "[]"):
        try:
            return set(_texts(json.loads(text)))
        except (ValueError, RecursionError):
            pass  # it only looks like JSON
    return {part for part in (text, text.strip("\"'")) if len(part) <= LONGEST_LEARNED}


def _texts(node: object) -> Iterator[str]:
    if isinstance(node, str):
        if len(node) <= LONGEST_LEARNED:
            yield node
    elif isinstance(node, dict):
        for item in node.values():
            yield from _texts(item)
    elif isinstance(node, list):
        for item in node:
            yield from _texts(item)


def _marked(text: str) -> bool:
    """True when nothing but marks is left of a text."""
    rest = _DROPPED.sub("", _MASKED_TEXT.sub("", text))
    return not TRUNCATED.sub(b"", rest.encode("utf-8", "surrogatepass")).strip(b" \t\r\n\"'")
