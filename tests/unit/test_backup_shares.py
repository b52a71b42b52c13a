"""Shares of keys: any threshold of them gives the key back, whatever else is brought is refused with the same words."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest

from byokeep.backup import shares
from byokeep.core.errors import Denied, Rejected

KEY = bytes(range(32))
VECTOR = Path(__file__).parents[1] / "vectors" / "backup" / "shares.json"


def refused(*lines: bytes) -> tuple[str, str | None]:
    with pytest.raises(Denied) as error:
        shares.combine(lines)
    return error.value.code, error.value.next_step


def test_any_threshold_of_shares_gives_the_key_back() -> None:
    """Each choice of three of five, in any order, and all five; a key of one byte, and an age identity."""
    lines = shares.split(KEY, 5, 3)
    for some in itertools.permutations(lines, 3):
        assert shares.combine(some) == KEY
    assert shares.combine(lines) == KEY
    for key in (b"\0", b"AGE-SECRET-KEY-1" + b"Q" * 58 + b"\n"):
        assert shares.combine(shares.split(key, 2, 2)) == key


@pytest.mark.req("R9.1-2")
def test_what_gives_no_key_is_refused_with_the_same_words() -> None:
    """One too few, one twice, one of another key, one altered, nothing: one refusal, and the right ones still work."""
    lines, other = shares.split(KEY, 5, 3), shares.split(bytes(32), 5, 3)
    drawn, altered = random.Random(3), []
    for _ in range(100):
        line = bytearray(lines[2])
        line[drawn.randrange(len(line) - 1)] ^= 1 << drawn.randrange(7)
        altered.append(bytes(line))
    tries = [
        lines[:2], [*lines[:2], lines[1]], [*lines[:3], lines[2]], [*lines[:2], other[2]], [], [b""],
        *([*lines[:2], one] for one in altered),
    ]  # fmt: skip
    assert len({refused(*some) for some in tries}) == 1
    assert shares.combine(lines[1:4]) == KEY


def test_fewer_shares_fit_every_key() -> None:
    """To two of three shares of a byte there is a third for each of its 256 values: they say nothing of it."""
    first, second = (int(line.split()[4], 16) for line in shares.split(b"\x2a", 3, 3)[:2])
    for byte in range(256):
        wanted = {1: first, 2: second, 0: byte}
        third = 0
        for at, value in wanted.items():  # the value at 3 of the polynomial through the three
            weight = 1
            for one in wanted:
                if one != at:
                    inverse = next(n for n in range(256) if shares._times(n, at ^ one) == 1)
                    weight = shares._times(weight, shares._times(3 ^ one, inverse))
            third ^= shares._times(value, weight)
        lines = [shares._line(shares._digest(bytes([byte])), 3, at, bytes([value]))
                 for at, value in ((1, first), (2, second), (3, third))]  # fmt: skip
        assert shares.combine(lines) == bytes([byte])


def test_the_lines_are_those_of_the_vector() -> None:
    """Given what is drawn, each line is as written down; GF(256) multiplies as AES does."""
    said = json.loads(VECTOR.read_text())
    drawn = iter(bytes.fromhex(one) for one in said["drawn"])
    lines = shares.split(bytes.fromhex(said["key"]), 5, 3, lambda _: next(drawn))
    assert [line.decode().rstrip("\n") for line in lines] == said["lines"]
    assert shares._times(0x57, 0x83) == 0xC1  # FIPS 197, 4.2


def test_thresholds_and_keys_that_make_no_sense_are_refused() -> None:
    """One of one, more than there are, too many; no key, a share of a share."""
    for count, threshold in ((1, 1), (3, 1), (3, 4), (17, 2)):
        with pytest.raises(Rejected, match="bad_threshold"):
            shares.split(KEY, count, threshold)
    for key in (b"", bytes(5000), shares.split(KEY, 2, 2)[0]):
        with pytest.raises(Rejected, match="bad_key_file"):
            shares.split(key, 3, 2)
