"""Fingerprints of live values: what they find again, what is refused, and the document that carries them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from byokeep.core.errors import Rejected
from byokeep_redact.canary import PROVIDERS, new_canary
from byokeep_redact.fingerprint import Fingerprints, LiveValues, fingerprints_from, fingerprints_of, parse

KEY = bytes(range(32))
LINE = b'{"event": "request", "id": "c2ce6f44-7ed4-457b-9e2f-eb89414c343c", "hash": "61' + b"2e7696a6" * 8 + b'"}\n'


def _prints(values: dict[str, bytes]) -> Fingerprints:
    found = [(name, one) for name, value in values.items() for one in fingerprints_of(value, KEY)]
    return fingerprints_from(found, KEY)


def test_a_value_is_found_wherever_it_starts_and_nothing_else_is() -> None:
    """Each of sixty values is found at every offset of its place, under its label alone; clean lines give nothing."""
    values = {f"{provider}-{n}": new_canary(provider) for provider in PROVIDERS for n in range(10)}
    live = LiveValues(_prints(values))
    assert not list(live.find(LINE * 200))
    for at, (name, value) in enumerate(values.items()):
        text = LINE * 3 + b"x" * (at % 19) + b"q=" + value + b"zz;" + LINE
        assert {seen.label for seen in live.find(text)} == {name}


def test_a_piece_of_a_long_value_is_found() -> None:
    """The first or second half of a key alone is found too: its windows are spread over it."""
    value = new_canary("anthropic")
    live = LiveValues(_prints({"x": value}))
    half = len(value) // 2
    assert list(live.find(b"a=" + value[:half] + b";"))
    assert list(live.find(b"a=" + value[half:] + b";"))


def test_a_filter_alone_is_no_finding() -> None:
    """A digest with the filter of a window and another proof does not match it."""
    value = new_canary("openai")
    forged = [("x", digest[:4] + secrets.token_bytes(12)) for digest in fingerprints_of(value, KEY)]
    assert not list(LiveValues(fingerprints_from(forged, KEY)).find(b"a=" + value + b";"))


def test_the_document_comes_back_as_it_went() -> None:
    """What `document` writes, `parse` reads; two labels of one value are kept; a repr shows neither key nor digest."""
    value = new_canary("google")
    prints = fingerprints_from([(name, one) for name in ("a", "b") for one in fingerprints_of(value, KEY)], KEY)
    assert parse(prints.document()) == prints
    assert set(prints.labels.values()) == {("a", "b")}
    assert KEY.hex() not in repr(prints)
    assert "labels" not in repr(prints)


_GOOD = {"format": "byokeep-leak-fingerprints/1", "key": "ab" * 32, "window": 16,
         "digests": [{"label": "x", "digest": "cd" * 16}]}  # fmt: skip


def _with(**changes: Any) -> Callable[[], bytes]:
    return lambda: json.dumps(_GOOD | changes).encode()


@pytest.mark.parametrize(
    ("document", "part"),
    [
        (lambda: b"{", "json"), (lambda: b"[]", "format"), (lambda: b"\xff", "json"),
        (lambda: b"[" * 100_000, "json"), (lambda: json.dumps(_GOOD).encode()[:-1] + b', "window": 16}', "json"),
        (_with(format="byokeep-leak-fingerprints/2"), "format"), (_with(more=1), "fields"),
        (_with(window=12), "window"), (_with(window=True), "window"),
        (_with(key="ab" * 31), "key"), (_with(key="AB" * 32), "key"),
        (_with(key="ab" * 32 + "\n"), "key"), (_with(digests={}), "digests"), (_with(digests=["x"]), "digests"),
        (_with(digests=[{"label": "x", "digest": "cd" * 15}]), "digest"),
        (_with(digests=[{"label": "", "digest": "cd" * 16}]), "label"),
        (_with(digests=[{"label": "a\nb", "digest": "cd" * 16}]), "label"),
        (_with(digests=[{"label": "x", "digest": "cd" * 16, "value": "y"}]), "digests"),
    ],
)  # fmt: skip
def test_a_document_that_is_not_exactly_one_is_refused(document: Callable[[], bytes], part: str) -> None:
    """Cut off, of another version, with a field too many, missing, twice or wrong: refused, with the part named."""
    with pytest.raises(Rejected) as caught:
        parse(document())
    assert (caught.value.code, caught.value.fields) == ("bad_fingerprints", {"part": part})


def test_nothing_to_compare_with_is_refused() -> None:
    """An empty list is an error of its own, for a scan with it would look clean."""
    with pytest.raises(Rejected, match="no_fingerprints"):
        parse(_with(digests=[])())
    assert len(parse(json.dumps(_GOOD).encode())) == 1
