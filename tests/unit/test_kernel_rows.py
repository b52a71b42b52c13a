"""Rows to nouns: what an annotation makes of a column, and what is not read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest

from byokeep.core.errors import Integrity
from byokeep.core.model import ClientId
from byokeep.kernel.rows import NO_COLUMN, reader


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    id: UUID
    colour: Colour | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    id: UUID
    client_id: ClientId
    colour: Colour
    colours: frozenset[Colour]
    words: tuple[str, ...]
    parts: tuple[Part, ...]
    at: datetime | None
    count: int = 7
    note: str = field(default="none", repr=False)
    seen: bool = field(default=False, metadata=NO_COLUMN)


class Place(NamedTuple):
    chain: UUID
    seq: int
    prev: bytes | None = None


ID, CLIENT = uuid4(), uuid4()
AT = datetime(2026, 1, 31, tzinfo=UTC)
ROW = {
    "id": ID, "client_id": CLIENT, "colour": "red", "colours": ["red"], "words": ["a", "b"],
    "parts": [{"id": str(ID), "colour": None}], "at": AT, "count": 3, "note": "x", "unread": object(),
}  # fmt: skip
NOUN = Noun(
    id=ID, client_id=ClientId(CLIENT), colour=Colour.RED, colours=frozenset({Colour.RED}), words=("a", "b"),
    parts=(Part(id=ID, colour=None),), at=AT, count=3, note="x",
)  # fmt: skip


def test_a_row_becomes_the_noun_its_columns_name() -> None:
    """Enumerations, sets, tuples, nouns inside JSON; a column that no field names is not read."""
    assert reader(Noun)(ROW) == NOUN
    assert type(reader(Noun)(ROW).colours) is frozenset
    assert reader(Place)({"chain": ID, "seq": 1}) == Place(ID, 1)


def test_a_column_without_a_value_is_the_fields_default_or_none() -> None:
    """``None`` where the field may be, else its default; a column that is not there is neither."""
    assert reader(Noun)(ROW | {"at": None}).at is None
    assert reader(Noun)(ROW | {"count": None, "note": None}) == Noun(
        **{name: getattr(NOUN, name) for name in ("id", "client_id", "colour", "colours", "words", "parts", "at")}
    )
    for missing in ("at", "count", "colour"):
        with pytest.raises(Integrity, match="row_unreadable"):
            reader(Noun)({name: value for name, value in ROW.items() if name != missing})
    assert reader(Noun)(ROW | {"seen": True}).seen is False


@pytest.mark.parametrize(
    "change",
    [{"id": None}, {"colour": "blue"}, {"colours": ["red", "blue"]}, {"words": None}, {"parts": [{"colour": "red"}]}],
)
def test_what_a_field_cannot_hold_is_not_read(change: dict[str, object]) -> None:
    """A missing value, an unknown word, a part of a part: the row is refused as a whole, its values unsaid."""
    with pytest.raises(Integrity, match="row_unreadable") as refused:
        reader(Noun)(ROW | change)
    assert str(ID) not in str(refused.value.fields)


def test_one_column_stands_for_itself() -> None:
    """A scalar of one column, the row itself, nothing, a function; more columns than one are a programming error."""
    assert reader(UUID)({"id": ID}) == ID
    assert reader(ClientId)({"client_id": CLIENT}) == CLIENT
    assert reader(int)({"found": 0}) == 0
    assert reader(dict)({"a": 1, "b": 2}) == {"a": 1, "b": 2}
    assert reader(None)({"a": 1}) is None
    assert reader(lambda row: row["a"] + 1)({"a": 1}) == 2
    with pytest.raises(ValueError, match="too many values"):
        reader(int)({"a": 1, "b": 2})
