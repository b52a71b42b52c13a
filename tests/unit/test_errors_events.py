"""Errors and audit events can not carry foreign text."""

from __future__ import annotations

import traceback
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core import errors
from byokeep.core.errors import ByokeepError, Rejected
from byokeep.core.events import FIELDS, Event, EventName, Outcome
from byokeep.core.model import Actor

ACTOR = Actor(id=uuid4(), roles=frozenset(), clients=None, request_id=uuid4())


def event(**fields: object) -> Event:
    """An event with these fields."""
    return Event(name=EventName.KEY_STORED, actor=ACTOR, outcome=Outcome.OK, fields=fields)  # type: ignore[arg-type]


def test_exit_codes_are_the_published_ones() -> None:
    """Each class of error has its exit code, and unknown is never success."""
    kinds = {kind.__name__: kind.exit_code for kind in vars(errors).values()
             if isinstance(kind, type) and issubclass(kind, ByokeepError)}  # fmt: skip
    assert kinds == {
        "ByokeepError": 1, "Rejected": 2, "Denied": 3, "Unauthenticated": 3, "NotFound": 3, "Unavailable": 4,
        "RateLimited": 4, "Integrity": 5, "Conflict": 6, "Pending": 7,
    }  # fmt: skip


def test_a_traceback_shows_what_to_do_next() -> None:
    """Whoever runs a program without a handler of our errors reads the sentence, too, and none where there is none."""
    shown = traceback.format_exception(Rejected("bad_tool", next_step="Use lower-case letters.", field="tool"))
    assert shown[-2:] == ["byokeep_redact.errors.Rejected: bad_tool field=tool\n", "Use lower-case letters.\n"]
    assert len(traceback.format_exception(Rejected("bad_tool"))) == 1
    error = Rejected("bad_tool", next_step="Use lower-case letters.")
    error.add_note("of somebody else")
    error.next_step = "Use the list of tools."
    assert error.__notes__ == ["Use the list of tools.", "of somebody else"]


@pytest.mark.parametrize("code", ["", "Has Space", "UPPER", "a" * 80, "x\ny", "1abc"])
def test_codes_are_constants(code: str) -> None:
    """A code is a lower_snake word; text does not fit."""
    with pytest.raises(ValueError, match="lower_snake"):
        Rejected(code)


@pytest.mark.parametrize("text", ["line\nbreak", "a" * 201, '{"key": "v"}', "caf\u00e9", "\x1b[31m", "<html>"])
def test_fields_of_errors_refuse_text(text: str) -> None:
    """Bodies, markup and control characters do not get into an error."""
    with pytest.raises(ValueError, match="text that an error may not carry"):
        Rejected("code", field=text)


@pytest.mark.parametrize(
    "value",
    ["two words", "", "user@example.org", "line\nbreak", "Capital first", '"quoted"', "a" * 129, "caf\u00e9",
     "sk-ant-api03-" + "A" * 120],
)  # fmt: skip
def test_event_values_refuse_prose(value: str) -> None:
    """Prose, addresses and long keys do not fit an audit field; the empty text does."""
    if value == "":
        assert event(reason=value).fields["reason"] == ""
        return
    with pytest.raises(ValueError, match="may not carry"):
        event(reason=value)


@given(st.text(min_size=1, max_size=20).filter(lambda name: name not in FIELDS))
def test_event_fields_are_closed(name: str) -> None:
    """A field outside the vocabulary is refused."""
    with pytest.raises(ValueError, match="vocabulary"):
        event(**{name: "x"})


@pytest.mark.parametrize("value", [True, None, 1.5, b"x", ["x"], 2**53])
def test_event_values_are_text_or_small_integers(value: object) -> None:
    """Nothing whose canonical form is ambiguous gets in."""
    with pytest.raises(ValueError, match="audit field"):
        event(reason=value)
