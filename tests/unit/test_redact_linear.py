"""Time: no text, whatever it repeats, costs the redactor more than in proportion to its length.

Counted where it can be, for a busy machine changes no count. What names a secret again and again on one line is the
worst, since each of its matches goes on to the end of the line or begins inside the one before.
"""

from __future__ import annotations

import base64
import random
import re
import string
import time
import zlib
from collections.abc import Callable, Iterator
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from byokeep_redact import Redactor, containers
from byokeep_redact.canary import Canary, new_canary
from byokeep_redact.checks import is_mangled
from byokeep_redact.hooks.streams import StreamFilter
from byokeep_redact.leaks import Shapes
from byokeep_redact.mask import Mask
from byokeep_redact.rules import default_rules
from byokeep_redact.search import Sweep
from byokeep_redact.triggers import TRIGGERS, expressions
from tests.support.work import Work, calls, counted

LINES = (b"cookie: a=b; ", b"cookie: path=/; ", b"authorization: x a=b ", b"ABIA")
VALUES = (b"token=", b"?key=", b"%3fkey=aaaa.", b"secret={client_token=", b"eyJ")


def _work(unit: bytes, size: int) -> Work:
    with counted() as work:
        redactor = Redactor(engine="pure")
        work.read = 0
        redactor.data((unit * size)[:size])
    return work


@pytest.mark.req("R8.3-10")
@pytest.mark.parametrize("unit", LINES + VALUES, ids=lambda unit: unit.decode())
def test_a_line_of_names_costs_what_it_is_long(unit: bytes) -> None:
    """Four times the line, four times the calls at most; a match that is checked is read no more than so often."""
    _, small, large = (_work(unit, size) for size in (1 << 8, 1 << 11, 1 << 13))  # the first warms
    assert large.calls <= 4.5 * small.calls + (1 << 12)
    assert large.calls <= 36 << 13
    assert unit in LINES or large.read <= 128 << 13


def test_a_bundle_of_evidence_costs_what_it_is_long() -> None:
    """What its statement says is looked at in proportion to its length too, and masked where there is no end of it."""
    reads = []
    for size in (1 << 11, 1 << 13):
        said = b'{"predicateType":"https://byokeep.dev/x","x":"%b"}' % (b"key=" * (size // 4))
        line = b'{"payload":"%b","payloadType":"application/vnd.in-toto+json","signatures":[' % base64.b64encode(said)
        with counted() as work:
            assert b"[redacted:" in Redactor(engine="pure").data(line)
        reads.append(work.read)
    assert reads[1] <= 4.5 * reads[0]


def test_a_mangled_name_costs_what_it_is_long() -> None:
    """One that can be read in many ways is read once at each of its places."""
    letters = random.Random(5).choices(string.ascii_uppercase + string.digits, k=800)
    name = b"_Z" + "".join(f"LS{letter}_" for letter in letters).encode()
    costs = []
    for size in (250, 1000):
        with calls() as work:
            assert not is_mangled(name[:size] + b"qX7zR9wK")
        costs.append(work.calls)
    assert costs[1] < 5 * costs[0]


# Base64 of what begins as a stream that would go on over all the pieces behind it: stored, with a head and without one.
STREAMS = {"deflate": b"\0\xff\xff\0\0", "zlib": b"x\1\0\xff\xff\0\0"}


@pytest.mark.parametrize("head", STREAMS)
def test_a_sweep_reads_streams_in_short_runs_of_base64_once(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is opened by itself: what is decompressed grows as the file does, and what is packed is found."""
    inflated, read = containers.inflated, 0

    def counting(stream: Any, piece: bytes, most: int) -> Any:
        nonlocal read
        read += len(piece)
        return inflated(stream, piece, most)

    monkeypatch.setattr(containers, "inflated", counting)
    canary = Canary("packed", new_canary("openai"))
    packed = zlib.compress(b"in text before " + canary.value)
    packed = packed[2:-4] if head == "deflate" else packed
    for lines in (250, 1000):
        read = 0
        runs = (base64.b64encode(STREAMS[head] + b"some text of a line, number %d" % n) for n in range(lines))
        data = b"".join(b'"%b",\n' % run for run in runs)
        report = Sweep([canary]).scan_bytes(data + b'"%b"\n' % base64.b64encode(packed), source="x")
        assert read < 10 * len(data)  # each run to the end of all would be 100 times as much
        assert [one.label for one in report.findings] == ["packed"]
        assert not report.unreadable


_FILLERS = (
    b"", b" ", b"=", b"; ", b": ", b'"', b"'", b"\n", b"\r\n ", b"\\n", b'\\"', b"\\", b"%20", b"%22", b"Zm9v",
    b"a=b; ", b'="', b'":"', b'":{"', b"[", b"{", b",", b"/", b"&", b".", b"-", b"\t", b"<", b"Zq9xT4", b"aa ",
)  # fmt: skip
_LETTERS = b'a=0A9 \n"'


def _member(tree: Any, turn: int) -> bytes:
    """Return a short text that an expression matches; `turn` says which of its choices are taken."""
    out = b""
    for kind, said in tree:
        if kind is code.LITERAL:
            out += bytes([said])
        elif kind is code.BRANCH:
            out += _member(said[1][turn % len(said[1])], turn)
        elif kind is code.SUBPATTERN:
            out += _member(said[3], turn)
        elif kind is code.MAX_REPEAT:
            out += _member(said[2], turn) * (said[0] or min(turn % 2, said[1]))
        elif kind in (code.IN, code.NOT_LITERAL, code.ANY):
            # A class is tried on the letters: what stands in it need not be read.
            one = re.compile(_written(kind, said), re.S)
            wanted = _LETTERS[turn % len(_LETTERS) :] + _LETTERS + bytes(range(256))
            out += next(bytes([letter]) for letter in wanted if one.fullmatch(bytes([letter])))
    return out


def _written(kind: Any, said: Any) -> bytes:
    if kind is code.ANY:
        return b"."
    if kind is code.NOT_LITERAL:
        return b"[^\\x%02x]" % said
    parts = b"^" * (said[0][0] is code.NEGATE)
    for what, which in said:
        if what is code.LITERAL:
            parts += b"\\x%02x" % which
        elif what is code.RANGE:
            parts += b"\\x%02x-\\x%02x" % which
    return b"[" + parts + b"]"


def units() -> list[bytes]:
    """Return what sets off each rule and decoder: its words, and texts that it matches, by each of its choices."""
    found = {word for rule in default_rules().rules for one in rule.literals for word in (one, one.upper())}
    marks = [mark for name in TRIGGERS for mark in expressions(name)]
    for pattern in [*(rule.pattern for rule in default_rules().rules), *marks]:
        tree = parser.parse(pattern)
        found |= {_member(tree, turn) for turn in range(24)}
    return sorted(found)


def _streamed(text: bytes) -> None:
    through = StreamFilter(_REDACTORS[0])
    for at in range(0, len(text), 4096):
        through.feed(text[at : at + 4096])
    through.end()


_REDACTORS = (Redactor(engine="hyperscan"), Redactor(engine="pure"))
_SHAPES = Shapes(Mask(b"k" * 32))
WAYS: dict[str, Callable[[bytes], object]] = {
    "hyperscan": _REDACTORS[0].data,
    "pure": _REDACTORS[1].data,
    "a field of a record": lambda text: _REDACTORS[0].value({"event": text.decode("latin-1"), "code": 7}),
    "lines": lambda text: _REDACTORS[0].data(text.replace(b" ", b"\n")),
    "in JSON": lambda text: _REDACTORS[0].data(b'{"x":"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"}'),
    "a stream": _streamed,
    "the scan": lambda text: list(_SHAPES.find(text)),
}
_CASES = 1500
_SIZES = (5_000, 20_000, 40_000, 80_000, 160_000)
_DEAR = 20e-6  # seconds of CPU a byte, three times what the worst that is known takes on a busy machine


def _seconds(way: Callable[[bytes], object], unit: bytes, size: int, times: int = 1) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.process_time()
        way((unit * (size // len(unit) + 1))[:size])
        best = min(best, time.process_time() - began)
    return best


def slow(cases: list[tuple[str, bytes]]) -> Iterator[tuple[str, bytes, list[float]]]:
    """Yield the cases that cost too much for their length, or from 20 kB on more than 6.8 times for four times of it.

    Not for twice: where more is masked at once, from some length on, what is left is read once more, which is one step.
    """
    for name, unit in cases:
        way = WAYS[name]
        if _seconds(way, unit, 5_000) < 0.03 and _seconds(way, unit, 20_000) < 0.1:
            continue
        took = [_seconds(way, unit, size, 3) for size in _SIZES]
        dear = any(one > size * _DEAR for one, size in zip(took, _SIZES, strict=True))
        if dear or any(more > 0.2 and more > 6.8 * less for less, more in zip(took[1:], took[3:], strict=False)):
            yield name, unit, took


@pytest.mark.campaign
def test_nothing_that_sets_a_rule_off_is_slow_however_often_it_stands_there() -> None:
    """What any rule or decoder looks for, with what may stand around it, again and again, by every way in."""
    seed = random.SystemRandom().randrange(1 << 31)
    cases = [(way, unit + filler) for unit in units() for filler in _FILLERS for way in WAYS if unit + filler]
    for way in WAYS.values():
        _seconds(way, b"token=aaa ", 5_000)
    found = list(slow(random.Random(seed).sample(cases, _CASES)))
    assert not found, (seed, found)
