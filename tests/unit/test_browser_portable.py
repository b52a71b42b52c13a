"""The portable document of a session: one spelling, and a reader that refuses what the writer would not write."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from byokeep.browser.session import PortableState, digest, read, state_of, written
from byokeep.core.errors import Integrity, Rejected
from byokeep.core.secret import Secret

COOKIE = {
    "name": "sid", "value": "v", "domain": "a.example", "path": "/", "expires": -1, "httpOnly": True, "secure": True,
    "sameSite": "Lax",
}  # fmt: skip
STORE = {
    "name": "keys", "autoIncrement": False, "records": [{"key": 1, "value": {"a": 1.5, "b": None}}],
    "indexes": [{"name": "i", "multiEntry": False, "unique": True, "keyPath": "a"}],
}  # fmt: skip
ORIGIN = {
    "origin": "https://a.example",
    "localStorage": [{"name": "b", "value": "2"}, {"name": "a", "value": "\ud800"}],
    "sessionStorage": [],
    "indexedDB": [{"name": "app", "version": 2, "stores": [STORE]}],
}


def state() -> PortableState:
    return state_of([copy.deepcopy(COOKIE), {**COOKIE, "name": "a", "expires": 1800000000.4}], [copy.deepcopy(ORIGIN)])


def test_what_is_written_is_read_and_has_one_spelling() -> None:
    """A document comes back as it went in, half a surrogate pair included; order does not matter."""
    assert read(written(state())) == state()
    other = state_of([{**COOKIE, "name": "a", "expires": 1800000000.2}, COOKIE], [ORIGIN])
    assert digest(other) == digest(state())
    assert digest(state(), Secret(b"1" * 32)) not in (digest(state()), digest(state(), Secret(b"2" * 32)))


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["cookies"][0].update(value="w"),
        lambda one: one["cookies"][1].update(expires=1_800_000_001),
        lambda one: one["cookies"].pop(),
        lambda one: one["origins"][0]["localStorage"][0].update(value="3"),
        lambda one: one["origins"][0]["sessionStorage"].append({"name": "n", "value": "v"}),
        lambda one: one["origins"][0]["indexedDB"][0]["stores"][0]["records"][0].update(value=2),
    ],
)
def test_every_move_of_a_session_changes_its_digest(change: Callable[[dict[str, Any]], None]) -> None:
    """A cookie, an end of one, a stored text, a record: each moves the digest."""
    document = json.loads(written(state()).reveal())
    change(document)
    assert digest(state_of(document["cookies"], document["origins"])) != digest(state())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: one.update(version=2),
        lambda one: one.update(version=True),
        lambda one: one.update(format="other"),
        lambda one: one.update(more=1),
        lambda one: one.pop("origins"),
        lambda one: one["cookies"][0].update(sameSite="Odd"),
        lambda one: one["cookies"][0].update(expires=-2),
        lambda one: one["cookies"][0].update(httpOnly=1),
        lambda one: one["cookies"][0].update(more="x"),
        lambda one: one["cookies"].reverse(),
        lambda one: one["origins"].append(one["origins"][0]),
        lambda one: one["origins"][0].update(origin="file:///etc"),
        lambda one: one["origins"][0].update(origin="https://a.example/path"),
        lambda one: one["origins"][0].pop("sessionStorage"),
        lambda one: one["origins"][0]["indexedDB"][0].update(version=0),
        lambda one: one["origins"][0]["indexedDB"][0]["stores"][0]["records"].append({"key": 1}),
    ],
)
def test_a_document_nobody_wrote_is_refused(spoil: Callable[[dict[str, Any]], object]) -> None:
    """Another version, an unknown or missing field, another type, another order: the code says damaged, and no more."""
    document = json.loads(written(state()).reveal())
    spoil(document)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    with pytest.raises(Integrity) as caught:
        read(Secret(text))
    assert str(caught.value) == "state_damaged"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"format":1,"format":2}', b"[" * 100_000])
def test_text_that_is_no_document_is_refused(text: bytes) -> None:
    """Broken JSON, a name twice, endless nesting."""
    with pytest.raises(Integrity):
        read(Secret(text))


def test_other_spellings_are_refused() -> None:
    """A blank more is another document than the one that was written."""
    with pytest.raises(Integrity):
        read(Secret(written(state()).reveal().replace(b":", b": ", 1)))


def test_what_this_version_can_not_carry_is_refused_on_the_way_out() -> None:
    """A field that a newer browser adds is not dropped in silence."""
    with pytest.raises(Rejected) as caught:
        state_of([{**COOKIE, "priority": "High"}], [])
    assert caught.value.code == "state_not_portable"


def test_a_state_shows_nothing_of_itself() -> None:
    """Neither its text nor that of the document holds a value."""
    assert "v" not in repr(state()).removeprefix("State()")
    assert repr(written(state())) == "Secret(***)"


VECTORS = json.loads((Path(__file__).parents[1] / "vectors/browser-state/cases.json").read_text())
KEY = hashlib.sha256(VECTORS["key_is_sha256_of"].encode()).digest()


@pytest.mark.parametrize("case", VECTORS["good"], ids=lambda case: case["sha256"][:8])
def test_vectors_of_good_documents(case: dict[str, Any]) -> None:
    """Each is read, written back to the byte, and has its digests."""
    found = read(Secret(case["document"]))
    assert written(found).matches(case["document"].encode())
    assert (digest(found), digest(found, Secret(KEY))) == (case["sha256"], case["hmac"])
    assert (len(found.cookies), sum(one["expires"] < 0 for one in found.cookies), list(found.visited())) == (
        case["cookies"], case["session_only"], case["origins"],
    )  # fmt: skip


@pytest.mark.parametrize("case", VECTORS["bad"], ids=lambda case: case["why"])
def test_vectors_of_damaged_documents(case: dict[str, Any]) -> None:
    """Each is refused for the defect it is named for."""
    with pytest.raises(Integrity):
        read(Secret(case["document"]))
