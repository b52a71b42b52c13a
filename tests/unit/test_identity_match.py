"""The wrong-account gate: only the expected account passes, and whatever could not be checked does not."""

from __future__ import annotations

import unicodedata
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.client.job import _one_account
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.identity import (
    OFFERED,
    Comparison,
    Face,
    Fingerprint,
    IdentityVerdict,
    Why,
    choose,
    compare,
    look_alike,
    offer,
    shown,
    spelt,
)
from byokeep.core.model import Actor

SOMEBODY = Actor(id=uuid4(), roles=frozenset(), clients=None, request_id=uuid4())
US = Fingerprint(account_id="104", username="acme.bakery", display_name="Acme Bakery", app_id="app")


def face(
    account_id: str = "104", username: str | None = "acme.bakery", display_name: str | None = "Acme Bakery"
) -> Face:
    return Face(account_id=account_id, username=username, display_name=display_name)


def ask(*seen: Face, app_id: str = "app", several_allowed: bool = False) -> Comparison:
    return compare(US, seen, app_id=app_id, several_allowed=several_allowed)


def test_the_expected_account_matches() -> None:
    """Same id, same names."""
    assert ask(face()) == Comparison(verdict=IdentityVerdict.MATCH, why=Why.SAME)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (ask(face("105")), Why.OTHER_ID),
        (ask(face("1040")), Why.OTHER_ID),
        (ask(face("")), Why.NO_ID),
        (ask(face("104"), face("")), Why.NO_ID),
        (ask(), Why.NO_ACCOUNT),
        (ask(face(), face("105")), Why.SEVERAL_ACCOUNTS),
        (ask(face(), face()), Why.SEVERAL_ACCOUNTS),
        (ask(face(), face(), several_allowed=True), Why.SEVERAL_ACCOUNTS),
        (ask(face("105"), face("106"), several_allowed=True), Why.OTHER_ID),
        (ask(face(), app_id="other"), Why.OTHER_APP),
        (compare(US, None, app_id="app"), Why.COULD_NOT_CHECK),
    ],
)
def test_anything_else_blocks_with_its_reason(found: Comparison, why: Why) -> None:
    """Another id, none, several, another app, no answer: a mismatch, and never mere drift."""
    assert (found.verdict, found.why) == (IdentityVerdict.MISMATCH, why)


def test_a_fingerprint_without_an_id_matches_nobody() -> None:
    """Not even an account without one."""
    empty = Fingerprint(account_id="", username=None, display_name=None, app_id="app")
    assert compare(empty, [face("")], app_id="app").why is Why.NO_ID
    assert compare(empty, [face()], app_id="app").why is Why.NO_ID


def test_one_of_several_pages_is_found_by_its_id() -> None:
    """Where one grant opens several accounts, the expected one among them is enough."""
    assert ask(face("105"), face(), several_allowed=True).verdict is IdentityVerdict.MATCH


@pytest.mark.parametrize(
    ("username", "display_name", "fields"),
    [
        ("acme.official", "Acme Bakery", ["username"]),
        ("acme.bakery", "Acme Bakery Official", ["display_name"]),
        ("other", "Other", ["username", "display_name"]),
        ("ACME.bakery", "Acme Bakery", ["username"]),
        (None, "Acme Bakery", ["username"]),
    ],
)
def test_a_new_name_is_drift_for_a_person_to_confirm(
    username: str | None, display_name: str | None, fields: list[str]
) -> None:
    """Same id, other name: said field by field, neither passed over nor taken for another account."""
    found = ask(face(username=username, display_name=display_name))
    assert (found.verdict, found.why) == (IdentityVerdict.DRIFT, Why.NAME_CHANGED)
    assert list(found.changed) == fields


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("\u0410cme Bakery", "<U+0410>cme Bakery"),
        ("Acme Bak\u0435ry", "Acme Bak<U+0435>ry"),
        ("Acme\u00a0Bakery", "Acme<U+00A0>Bakery"),
        ("Acme\u200b Bakery", "Acme<U+200B> Bakery"),
        ("Acme Bakery\u202e", "Acme Bakery<U+202E>"),
        ("Acrne Bakery", "Acrne Bakery"),
        ("\uff21cme Bakery", "<U+FF21>cme Bakery"),
        ("Acm\u00e9 Bakery", "Acm<U+00E9> Bakery"),
    ],
)
def test_a_name_that_only_looks_the_same_is_a_mismatch_shown_by_code_points(name: str, spelt: str) -> None:
    """A stand-in's letters are spelt out for the person who has to see the difference."""
    found = ask(face(display_name=name))
    assert (found.verdict, found.why) == (IdentityVerdict.MISMATCH, Why.LOOK_ALIKE)
    assert (found.changed, shown(name)) == (("display_name",), spelt)


@pytest.mark.parametrize(
    ("username", "display_name", "points"),
    [
        ("acme.bakery", "\u0410cme B\u0430k\u0435ry", "0410,0430,0435"),
        ("acm\u0435.bak\u0435ry", "Acme Bakery", "0435"),
        ("acme.bakery", "Acme\u200b Bakery", "200b"),
        ("acme.bakery", "Acrne Bakery", "0072,006e"),
        ("acme.bakery", "AcmeBakery", "0020"),
        ("acme.bakery", "\U0001d400cme Bakery", "1d400"),
    ],
)
def test_only_the_characters_that_give_a_stand_in_away_are_spelt_out(
    username: str, display_name: str, points: str
) -> None:
    """Of both names, each once; where the stand-in lacks one, that one; nothing else of a foreign text."""
    found = ask(face(username=username, display_name=display_name))
    assert (found.why, ",".join(found.code_points)) == (Why.LOOK_ALIKE, points)
    assert (spelt("0072,1d400"), spelt("")) == ("<U+0072><U+1D400>", "")
    assert (ask(face(username="other")).code_points, ask(face("105")).code_points) == ((), ())


@given(st.text(alphabet="\uff21\u200b\ufeff\u0441\u200c\u200d\u2060\u202e\u202c\u00ad\u180e", max_size=600))
def test_of_a_stand_in_few_characters_are_spelt_out(name: str) -> None:
    """However many there are: the record of them has a bound."""
    found = ask(face(display_name="Acme Bakery" + name))
    assert len(found.code_points) <= 8
    fields = {"code_points": ",".join(found.code_points)}  # and the record takes it
    Event(name=EventName.ACCOUNT_QUARANTINED, actor=SOMEBODY, outcome=Outcome.FAILED, fields=fields)
    assert all(4 <= len(point) <= 6 for point in found.code_points)


@given(st.text(max_size=200))
def test_what_is_shown_is_printable_ascii(name: str) -> None:
    """No character of a platform's text reaches a terminal as itself unless it is harmless there."""
    spelt = shown(name)
    assert spelt.isascii()
    assert spelt.isprintable() or spelt == ""
    assert "\x1b" not in spelt


@given(st.text(min_size=121, max_size=200), st.text(min_size=121, max_size=200))
def test_two_long_names_are_never_shown_as_one(first: str, second: str) -> None:
    """Who confirms a name by what is shown confirms all of it, however long it is."""
    assert (shown(first) == shown(second)) == (first == second)
    assert shown("a" * 150 + first) != shown("a" * 150 + first + "b")


@given(st.text(max_size=40), st.text(max_size=40))
def test_looking_alike_goes_both_ways_and_never_for_the_same_text(first: str, second: str) -> None:
    """Symmetric; equal texts do not stand in for each other."""
    assert look_alike(first, second) == look_alike(second, first)
    assert not look_alike(first, first)


@given(st.text(alphabet="abcdefghijkmnopqstuvwxyz", min_size=1, max_size=12), st.data())
def test_any_letter_swapped_for_its_twin_is_noticed(name: str, data: st.DataObject) -> None:
    """Every Latin letter with a known twin of another script, at any place of a name."""
    twins = {"a": "\u0430", "c": "\u0441", "e": "\u0435", "o": "\u043e", "p": "\u0440", "x": "\u0445", "i": "\u0456"}
    places = [at for at, letter in enumerate(name) if letter in twins]
    if places:
        at = data.draw(st.sampled_from(places))
        swapped = name[:at] + twins[name[at]] + name[at + 1 :]
        ours = Fingerprint(account_id="1", username=name, display_name=None, app_id="app")
        seen = Face(account_id="1", username=swapped, display_name=None)
        assert compare(ours, [seen], app_id="app").why is Why.LOOK_ALIKE


def test_another_encoding_of_the_same_letters_is_no_disguise() -> None:
    """A composed and a decomposed accent are one name to everybody: drift, with the code points."""
    ours = Fingerprint(account_id="1", username=None, display_name="Caf\u00e9", app_id="app")
    seen = Face(account_id="1", username=None, display_name=unicodedata.normalize("NFD", "Caf\u00e9"))
    found = compare(ours, [seen], app_id="app")
    assert (found.verdict, found.changed) == (IdentityVerdict.DRIFT, ("display_name",))
    assert shown(seen.display_name) == "Cafe<U+0301>"


def test_the_first_fingerprint_needs_one_account_or_a_choice() -> None:
    """None, several and an id that is not there are reasons, not accounts; a choice is by id."""
    both = [face("104"), face("105")]
    assert choose(None, wanted=None) is Why.COULD_NOT_CHECK
    assert choose([], wanted=None) is Why.NO_ACCOUNT
    assert choose([face("")], wanted=None) is Why.NO_ID
    assert choose(both, wanted=None) is Why.SEVERAL_ACCOUNTS
    assert choose(both, wanted="9") is Why.OTHER_ID
    assert choose([face(), face()], wanted="104") is Why.SEVERAL_ACCOUNTS
    assert choose(both, wanted="105") == both[1]
    assert choose([face()], wanted=None) == face()


def test_what_a_person_picks_from_is_one_line_each_and_holds_no_secret() -> None:
    """Ids that can be typed, names as they may be shown; a secret-shaped name, or none, is a dash; at most 40."""
    faces = [
        Face(account_id="104", username="acme", display_name="Acme\x1b[2J\nBakery"),
        Face(account_id="page_2", username="page.two", display_name=None),
        Face(account_id="105", username=None, display_name="sk-" + "aB3" * 12),
        Face(account_id="106", username=None, display_name=None),
        Face(account_id="1 0 7", username=None, display_name="Blank"),
        Face(account_id="<U+0041>", username=None, display_name="Forged"),
    ]
    assert offer(faces) == ("104 Acme<U+001B>[2J<U+000A>Bakery", "page_2 page.two", "105 -", "106 -")
    many = [Face(account_id=str(number), username=None, display_name="One") for number in range(OFFERED + 1)]
    assert len(offer(many)) == OFFERED == 40


ONE = {"id": "104", "username": "acme.bakery", "display_name": "Acme Bakery"}


@pytest.mark.req("R1.5-2")
@pytest.mark.parametrize("seen", [None, [], [ONE, ONE], [ONE, ONE | {"id": "105"}], ["104"], {}, [{}]])
def test_a_runner_reports_one_account_or_none(seen: Any) -> None:
    """Of several accounts none is taken, the first neither: what is not exactly one account is reported as nothing."""
    assert _one_account(seen) == dict.fromkeys(ONE)
    assert _one_account([ONE]) == _one_account(ONE) == ONE
    assert _one_account(ONE | {"username": "x" * 257})["username"] is None
