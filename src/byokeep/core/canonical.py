"""Canonical JSON (RFC 8785) for what is hashed and signed, and a strict reader for JSON from outside.

Rules
- One value has one spelling. The bytes made here are hashed and signed, so they never change. Records hold text,
  integers, null, lists and objects. They hold no floats and no booleans, because encoders spell those differently.
- JSON from outside is refused if an object has a name twice, or if it holds NaN, Infinity or endless nesting. The
  caller bounds its length.
- Foreign text that UTF-8 or the database cannot hold (half a surrogate pair, NUL) is found before it gets anywhere.

It may not repair: a value without a canonical spelling, or with more than one reading, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

MAX_INT: Final = 2**53 - 1
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_text: Final = json.JSONEncoder(ensure_ascii=False).encode


def canonical_json(value: object) -> bytes:
    """Return the canonical UTF-8 bytes of ``value``.

    Raises:
        ValueError: A type or number that records may not hold, or text that is not Unicode.
    """
    return _spelled(value).encode("utf-8")


def parse_canonical(data: bytes) -> object:
    """Parse bytes that must already be canonical.

    Raises:
        ValueError: Not JSON, a repeated key, or any spelling but the canonical one.
    """
    try:
        value: object = json.loads(data)
        if canonical_json(value) != data:
            raise ValueError("not canonical JSON")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def stamp(at: datetime) -> str:
    """Return the one spelling of a time: whole seconds of UTC."""
    return at.astimezone(UTC).strftime(_TIME)


def from_stamp(text: str) -> datetime:
    """Read what :func:`stamp` wrote. Raises ValueError or TypeError."""
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def check_texts(document: object) -> None:
    """Check every text of a parsed document, including names.

    Raises:
        ValueError: One holds half a surrogate pair, which is not Unicode, or a NUL.
    """
    left = [document]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, list):
            left += one
        elif isinstance(one, str) and (not one.isascii() or "\0" in one):
            if "\0" in one:
                raise ValueError("a text with NUL")
            one.encode("utf-8")  # UnicodeEncodeError is a ValueError


def _spelled(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > MAX_INT:
            raise ValueError("integer is too large for canonical JSON")
        return str(value)
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise ValueError("object names must be text")
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))  # RFC 8785 orders by UTF-16 code units
        return "{" + ",".join(f"{_text(name)}:{_spelled(value[name])}" for name in names) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_spelled, value)) + "]"
    raise ValueError("canonical JSON here holds text, integers, null, lists and objects only")


_LONGEST_NUMBER: Final = 16  # digits


def read_json(text: bytes | str, *, whole_numbers: bool = False) -> Any:
    """Return a parsed document.

    Args:
        text: JSON.
        whole_numbers: Refuse fractions, and numbers that not every reader can hold exactly.

    Raises:
        ValueError: It is not JSON, or breaks a rule of this module.
    """
    numbers: dict[str, Any] = {"parse_float": _refuse, "parse_int": _integer} if whole_numbers else {}
    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=_refuse, **numbers)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def strict_object(text: bytes | str, *, whole_numbers: bool = False) -> dict[str, Any] | None:
    """Return the object that a document is; None if it is not one.

    None, too, if a text is not Unicode or holds a NUL: what cannot be stored is not read.
    """
    try:
        document = read_json(text, whole_numbers=whole_numbers)
        check_texts(document)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object. Raises ValueError if it has a name twice."""
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
