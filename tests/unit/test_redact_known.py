"""Known values: what may be registered, how long it is known, and what is left of it afterwards."""

from __future__ import annotations

import gc
import random
import secrets
import string
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from byokeep.core.secret import Secret
from byokeep_redact import KnownValueRefused, Redactor
from byokeep_redact.known import LONGEST, KnownValues
from byokeep_redact.mask import MASKED
from tests.support.work import calls


def _known() -> KnownValues:
    return KnownValues(lambda _value: "0" * 8)


WEAK = [
    b"", b"test", b"{", b"short", b"elevenchars", b"aaaaaaaaaaaaaaaaaaaaaaaa", b"000000000000000000000001",
    b"administrator", b"123456789012", b"            abc            ", b"sk-ant-api03-abc", b"ababababababababababab",
    b'", "": [{}], "a": 1, ', b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
]  # fmt: skip


@pytest.mark.parametrize("value", WEAK)
def test_value_that_chance_would_find_is_refused(value: bytes) -> None:
    """A short, poor or public value is refused with a code that does not repeat it, and nothing of it is kept."""
    known = _known()
    with pytest.raises(KnownValueRefused) as raised:
        known.register(value)
    assert raised.value.code == "known_value_too_weak"
    assert str(raised.value) == "known_value_too_weak"
    assert (len(known), known.table) == (0, {})


def test_too_long_value_is_refused() -> None:
    """A value whose table would fill the process is refused; one of the longest length is taken."""
    known = _known()
    with pytest.raises(KnownValueRefused) as raised:
        known.register(random.Random(1).randbytes(LONGEST + 1))
    assert raised.value.code == "known_value_too_long"
    with known.register(random.Random(1).randbytes(1 << 12)):
        assert len(known) == 1


def test_poor_stretch_of_a_strong_value_masks_nothing_else() -> None:
    """A run of one letter inside a key is no reason to mask that run wherever it stands."""
    redactor = Redactor(engine="pure")
    with redactor.register("q7WzLmP0" + "A" * 30 + "v9TtR4sKqq81"):
        assert redactor.text("x " + "A" * 24 + " y") == "x " + "A" * 24 + " y"
        assert "v9TtR4sKqq81" not in redactor.text("AAAAAv9TtR4sKqq81")


def test_value_registered_twice_is_known_until_both_let_go() -> None:
    """Two leases of one value count; letting go of one twice does not let go of the other."""
    known = _known()
    value = secrets.token_urlsafe(40)
    first, second = known.register(value), known.register(Secret(value))
    first.forget()
    first.forget()
    assert known.search(value.encode())
    second.forget()
    assert not known.search(value.encode())
    assert len(known) == 0


def test_forgotten_value_leaves_nothing_readable() -> None:
    """After the last registration ends no form and no word of the value is held, and buffers are zeros."""
    known = _known()
    kept = known.register(secrets.token_urlsafe(40))
    value = secrets.token_urlsafe(40).encode()
    assert not known.search(value)
    before = dict(known.table)
    registration = known.register(value)
    assert known.search(value)
    forms = list(known._forms.values())
    registration.forget()
    assert known.table == before
    gone = [form for form in forms if not form.entry.forms]
    assert len(known._forms) == len(forms) - len(gone)
    assert len(gone) >= 6
    assert all(set(form.text) <= {0} and not form.cuts for form in gone)
    assert not any(value in item for item in gc.get_objects() if type(item) in (bytes, bytearray))
    kept.forget()
    assert (known.table, known._forms) == ({}, {})


def test_value_that_nothing_was_searched_for_is_wiped_too() -> None:
    """A value whose forms no search asked for is not in the table, and leaves nothing when it is let go."""
    known = _known()
    value = secrets.token_urlsafe(40).encode()
    registration = known.register(value)
    entry = next(iter(known._entries.values()))
    assert (known.table, bytes(entry.plain)) == ({}, value)
    registration.forget()
    assert set(entry.plain) <= {0}
    assert not known.search(value)
    assert known.table == {}


def test_search_in_another_thread_waits_for_the_forms() -> None:
    """Whoever searches while another thread works out the forms of a new value finds it all the same."""
    for _ in range(50):
        known = _known()
        value = secrets.token_urlsafe(100).encode()
        with known.register(value), ThreadPoolExecutor(4) as pool:
            assert all(pool.map(known.search, [value] * 4))


def test_registrations_show_nothing() -> None:
    """No repr of the room repeats a value."""
    known = _known()
    value = secrets.token_urlsafe(40)
    with known.register(value) as registration:
        hits = known.search(value.encode())
        assert value not in repr((registration, known, hits, [hit for _, _, hit in hits]))


def test_fragments_of_every_length_are_found() -> None:
    """The end of every form is found from 24 characters on, whatever the table samples of it."""
    value = secrets.token_urlsafe(40).encode()
    known = _known()
    with known.register(value):
        for form in (value, value.hex().encode(), value.hex().upper().encode(), value[::-1]):
            for size in range(8, len(form) + 1):
                text = b"see " + form[len(form) - size :] + b"."
                assert known.search(text) or size < 24


def test_register_stays_cheap_with_many_values() -> None:
    """With 50 values live, registering and forgetting one more is no more work than with one."""
    known = _known()
    kept = [known.register(secrets.token_urlsafe(48))]

    def one_more() -> int:
        with calls() as work:
            known.register(secrets.token_urlsafe(48)).forget()
        return work.calls

    alone = max(one_more() for _ in range(5))
    kept += [known.register(secrets.token_urlsafe(48)) for _ in range(50)]
    assert max(one_more() for _ in range(5)) < 1.5 * alone + 100
    assert len(kept) == len(known)


class _Copies(dict[int, Any]):
    """A table that counts the places that are copied when one is added or taken out."""

    places = 0

    def __setitem__(self, word: int, places: Any) -> None:
        self.places += len(places)
        super().__setitem__(word, places)


def test_many_values_are_known_and_forgotten_in_proportion_to_their_number() -> None:
    """Twice the values, as a HAR of twice the exchanges brings, are at most twice the work, though words are shared."""
    draw = random.Random(7)

    def copied(count: int) -> int:
        known = _known()
        known.table = table = _Copies()
        values = ["".join(draw.choices(string.ascii_letters + string.digits, k=32)) for _ in range(count)]
        kept = [known.register(value) for value in values]
        assert known.search(f"at {values[7]} end".encode())
        words = sum(map(len, table.values()))
        for one in kept:
            one.forget()
        assert table == {}
        return table.places + words

    few, many = copied(30), copied(120)
    assert many <= 4.4 * few


def test_a_value_that_repeats_itself_is_looked_for_at_few_places() -> None:
    """A text that repeats, such as a posted form that a HAR holds, is masked without a try at each of its places."""
    redactor = Redactor(engine="pure")
    value = (b"abcde" * 2000)[:8000]
    with redactor.register(value):
        shown = redactor.data(b"at " + value + b" " + value[777:3000] + b" end")
        assert max(map(len, redactor.known.table.values())) <= 4 * 128
    assert len(MASKED.sub(b"", shown)) < len(b"at  end") + 12
