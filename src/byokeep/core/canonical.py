"""Canonical JSON (RFC 8785) for the little that records hold: text, integers, null, lists, objects.

Rules
- One value has one spelling; bytes made here are hashed and signed, so they never change.
- No floats and no booleans: what a record needs has none, and their spelling is where encoders differ.

- Foreign text that no database and no UTF-8 can hold (half a surrogate pair, NUL) is told before it gets anywhere.

It may not repair: a value that has no canonical spelling is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

MAX_INT: Final = 2**53 - 1
_text: Final = json.JSONEncoder(ensure_ascii=False).encode


def canonical_json(value: object) -> bytes:
    """Return the canonical UTF-8 bytes of ``value``.

    Raises:
        ValueError: A type or number that records do not hold, or text that is not Unicode.
    """
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts).encode("utf-8")


def parse_canonical(data: bytes) -> object:
    """Parse bytes that must already be canonical.

    Raises:
        ValueError: Not JSON, a repeated key, or any spelling but the canonical one.
    """
    try:
        value: object = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if canonical_json(value) != data:
        raise ValueError("not canonical JSON")
    return value


def check_texts(document: object) -> None:
    """Look at every text of a parsed document, names included.

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


def _write(value: object, parts: list[str]) -> None:
    if value is None:
        parts.append("null")
    elif isinstance(value, str):
        parts.append(_text(value))
    elif isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > MAX_INT:
            raise ValueError("integer is too large for canonical JSON")
        parts.append(str(value))
    elif isinstance(value, Mapping):
        _write_object(value, parts)
    elif isinstance(value, list | tuple):
        parts.append("[")
        for index, item in enumerate(value):
            if index:
                parts.append(",")
            _write(item, parts)
        parts.append("]")
    else:
        raise ValueError("canonical JSON here holds text, integers, null, lists and objects only")


def _write_object(value: Mapping[object, object], parts: list[str]) -> None:
    names = [name for name in value if isinstance(name, str)]
    if len(names) != len(value):
        raise ValueError("object names must be text")
    names.sort(key=lambda name: name.encode("utf-16-be"))  # RFC 8785 orders by UTF-16 code units
    parts.append("{")
    for index, name in enumerate(names):
        if index:
            parts.append(",")
        parts.append(_text(name))
        parts.append(":")
        _write(value[name], parts)
    parts.append("}")
