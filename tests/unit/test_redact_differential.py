"""Two engines, one result: random texts made of secrets, encodings, fragments and noise."""

from __future__ import annotations

import base64
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from byokeep_redact import Redactor
from byokeep_redact.encodings import ENCODINGS
from byokeep_redact.prefilter import _words_of
from byokeep_redact.rules import default_rules
from byokeep_redact.triggers import TRIGGERS, Groups

KEY = b"k" * 32
CASES = 1_000
CAMPAIGN = 100_000
_URL_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

PIECES: tuple[bytes, ...] = (
    b'{"event":"request finished","level":"info","status":200,"path":"/v1/clients/7/refs"}\n', b"\n", b"\r\n", b" ",
    b'"', b"'", b", ", b":", b"=", b"\\", b"\\n", b"\\u00", b"%", b"%25", b"&#x", b"&amp;", b"\0", b"\xff\xfe",
    b"\xc3\xa9", b"password=", b'"api_key": "', b"Authorization: Bearer ", b"Authorization: Basic ", b"Cookie: sid=",
    b"Set-Cookie: a=", b"-----BEGIN PRIVATE KEY-----\n", b"-----END PRIVATE KEY-----\n", b"sk-ant-api03-",
    b"sk-proj-", b"AIza", b"ya29.", b"EAA", b"hvs.", b"s.", b"eyJhbGciOiJIUzI1NiJ9.", b"whsec_",
    b"https://x.test/?key=", b"&access_token=", b"H4sIA", b"\x1f\x8b\x08", b"[redacted:secret:0123abcd]",
    b"[redacted:", b"[truncated:12]", b"4bf92f3577b34da6a3ce929d0e0e4736",
    b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"2026-03-01T12:00:00Z ", b"A" * 45, b"token",
    b"secret", b"\x1b[36m", b"\x1b[0m", b"%u0073", b"\\u{73}", b"1f8b08", b"789c", b"0x73, 0x6b, ", b"115, 107, ",
    b"/v1/items/3f0c5b0e-8c3e-4b0a-9a3f-2c1d2e3f4a5b", b"9f0c5b0e-8c3e-4b0a-9a3f-2c1d2e3f4a5b",
    b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", b"da39a3ee5e6b4b0d3255bfef95601890afd80709",
    b"/A6/zRzu65Mc6Fn7qlxvLTpN8XLqtYEgAB6lLZtkjyk=", b"src/byokeep/redact/hooks/browser/handling",
    b"password=abcdefghijk".hex().encode(), base64.b64encode(b"password=abcdefghijk and more"), b"/", b"-", b"+",
)  # fmt: skip


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")


def _value(chance: random.Random) -> bytes:
    return bytes(chance.choice(_URL_SAFE) for _ in range(chance.choice((16, 40, 64))))


def _digest(chance: random.Random) -> bytes:
    """Hex as digests and trace ids have it, now and then in parts."""
    sizes = chance.choices((1, 2, 8, 16, 20, 32), k=chance.choice((1, 1, 2, 4)))
    return b"-".join(chance.randbytes(size).hex().encode() for size in sizes)


def _root(chance: random.Random) -> bytes:
    return base64.b64encode(chance.randbytes(chance.choice((30, 32, 33, 48))))


def _part(chance: random.Random, values: list[bytes]) -> bytes:
    kind = chance.random()
    if kind < 0.45:
        return chance.choice(PIECES)
    if kind < 0.55:
        return chance.randbytes(chance.randrange(12))
    if kind < 0.6:
        return chance.choice((_value, _digest, _root))(chance)
    value = chance.choice(values)
    start = chance.randrange(len(value))
    piece = value if kind < 0.7 else value[start : start + chance.randrange(4, 30)]
    for _ in range(chance.choice((0, 1, 1, 2))):
        piece = ENCODINGS[chance.choice(sorted(ENCODINGS))](piece)
    return piece


def text_of(chance: random.Random, values: list[bytes]) -> bytes:
    """Return one text; now and then one of several pages."""
    parts = [_part(chance, values) for _ in range(chance.randrange(1, 14))]
    if chance.random() < 0.02:
        filler = chance.choice((PIECES[0], b"plain words on a line\n")) * chance.randrange(20, 150)
        parts.insert(chance.randrange(len(parts)), filler)
    return b"".join(parts)


def differences(seed: int, count: int, tell: Callable[[str], None]) -> int:
    """Return in how many of `count` texts the engines differ, or the result is not its own redaction."""
    chance = random.Random(seed)
    values = [_value(chance) for _ in range(4)]
    fast = Redactor(key=KEY, engine="hyperscan")
    slow = Redactor(key=KEY, engine="pure")
    for value in values:
        fast.register(value, "lease")
        slow.register(value, "lease")
    wrong = found = 0
    for number in range(count):
        text = text_of(chance, values)
        first, second = fast.find(text), slow.find(text)
        found += bool(first)
        shown = fast.data(text)
        if first != second or shown != slow.data(text):
            tell(f"seed {seed} case {number}: engines differ")
            wrong += 1
        elif any(not 0 <= span.start < span.end <= len(text) for span in first):
            tell(f"seed {seed} case {number}: a span that is none")
            wrong += 1
        elif fast.data(shown) != shown:
            tell(f"seed {seed} case {number}: not idempotent")
            wrong += 1
    assert count // 3 < found < count, "a generator that plants too little or nothing else proves nothing"
    return wrong


def test_engines_agree_on_random_texts() -> None:
    """Both engines find the same spans in the same texts, and redacting twice is redacting once."""
    seed = int(os.environ.get("REDACT_SEED", "20260301"))
    assert differences(seed, CASES, _tell) == 0


def test_marks_that_are_tried_at_all_places_at_once_are_where_the_expression_finds_them() -> None:
    """Groups of letters and words of rules: without hyperscan nothing is passed over that `re` finds, nor made up."""
    chance = random.Random(20261129)
    marks = [mark for choices in TRIGGERS.values() for mark in choices if isinstance(mark, Groups)]
    words = frozenset(word for rule in default_rules().rules for word in rule.literals)
    told: Counter[bool] = Counter()
    for number in range(600):
        mark = marks[number % len(marks)]
        letters = [[code for code in range(256) if re.match(kind, bytes([code]))] for kind in mark.classes]
        text = chance.randbytes(chance.randrange(6)) + bytes(
            chance.choice(letters[at % len(letters)])
            for at in range(len(letters) * (mark.times - 1) + chance.randrange(2 * len(letters)))
        )
        text += b"." * chance.choice((0, 1, 5000)) + chance.choice(list(words))
        assert mark.stands_in(text) is (re.search(mark.pattern, text) is not None)
        told[mark.stands_in(text)] += 1
        assert _words_of(words).within(text.lower()) >= {word for word in words if word in text.lower()}
    assert min(told.values()) > 100


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_engines_agree_on_a_hundred_thousand_texts() -> None:
    """The same with a fresh seed, which is printed."""
    seed = int(os.environ.get("REDACT_SEED", "0")) or int.from_bytes(os.urandom(4))
    _tell(f"seed {seed}, {CAMPAIGN} cases")
    assert differences(seed, CAMPAIGN, _tell) == 0
