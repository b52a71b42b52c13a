"""JSON from outside, read so that no second reader could see anything else.

Rules
- A name twice in an object, NaN, Infinity and endless nesting are refused.
- Whoever reads bounds the bytes.

It may not repair.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

from byokeep.core.canonical import check_texts

_LONGEST_NUMBER: Final = 16  # digits


def read_json(text: bytes | str, *, whole_numbers: bool = False) -> Any:
    """Return a parsed document.

    Args:
        text: JSON.
        whole_numbers: Refuse fractions, and numbers that not every reader holds exactly.

    Raises:
        ValueError: It is no JSON, or breaks a rule of this module.
    """
    numbers: dict[str, Any] = {"parse_float": _refuse, "parse_int": _integer} if whole_numbers else {}
    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=_refuse, **numbers)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def strict_object(text: bytes | str, *, whole_numbers: bool = False) -> dict[str, Any] | None:
    """Return the object that a document is, None when it is none.

    It is none either when a text is no Unicode or holds a NUL: what nobody can write down is not read.
    """
    try:
        document = read_json(text, whole_numbers=whole_numbers)
        check_texts(document)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object. Raises ValueError: a name stands in it twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _refuse(_: str) -> NoReturn:
    raise ValueError("a number that is refused")


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        _refuse(text)
    return int(text)
