"""Time: no text, whatever it repeats, costs the redactor more than in proportion to its length.

Counted, not timed: a busy machine changes nothing. What names a secret again and again on one line is the worst, since
each of its matches goes on to the end of the line or begins inside the one before.
"""

from __future__ import annotations

import pytest

from byokeep_redact import Redactor
from tests.support.work import Work, counted

LINES = (b"cookie: a=b; ", b"cookie: path=/; ", b"authorization: x a=b ")
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
