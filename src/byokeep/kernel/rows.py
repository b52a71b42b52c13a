"""Turn a database row into the noun whose fields its columns name.

Rules
- A field's annotation says how its column is read: as an enumeration, a tuple or set, or a noun inside a JSON object.
  Anything else is taken as the driver gives it.
- If a column is null and its field cannot be ``None``, the field gets its default. Without a default, the row is not
  read.
- A column that no field names is ignored. A field without a column is an error even if it has a default, so that a
  column that a statement forgot never passes as "none". Fields that never have a column are marked ``NO_COLUMN``.

It may not compute: a derived value is a property of the noun, or part of the statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, NewType, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from byokeep.core.errors import Integrity

T = TypeVar("T")
Row: TypeAlias = Mapping[str, Any]
NO_COLUMN: Final = {"column": False}  # metadata of a dataclass's field
# What rows become: a dataclass, by its fields; ``UUID``, ``int``, ``str`` and their like, of a statement with one
# column; ``dict``, the row itself; ``None``, nothing; a function of the row.
Shape: TypeAlias = type[T] | Callable[[Any], T] | None


def reader(shape: Shape[T]) -> Callable[[Row], T]:
    """Return the function that makes a noun of a row.

    Raises:
        TypeError: A dataclass whose annotations cannot be read.
        Integrity: ``row_unreadable``; raised by the function: a value is missing, or not one of the field's.
    """
    if shape is None:
        return _nothing
    if isinstance(shape, NewType):
        return _only
    return _of_type(shape) if isinstance(shape, type) else shape


@cache
def _of_type(shape: type[T]) -> Callable[[Row], T]:
    if shape is dict:
        return shape
    return _noun(shape) if is_dataclass(shape) or hasattr(shape, "_fields") else _only


def _nothing(_: Row) -> Any:
    return None


def _only(row: Row) -> Any:
    (value,) = row.values()
    return value


def _noun(noun: type[T]) -> Callable[[Row], T]:
    """Of a dataclass, or of the fields without a default of a named tuple."""
    hints = get_type_hints(noun)
    if is_dataclass(noun):
        named = [one for one in fields(noun) if one.init and one.metadata.get("column", True)]
        defaults = {one.name for one in named if one.default is not MISSING or one.default_factory is not MISSING}
        names = [one.name for one in named]
    else:
        defaults = set(noun._field_defaults)  # type: ignore[attr-defined]
        names = [name for name in noun._fields if name not in defaults]  # type: ignore[attr-defined]
    parts = [(name, *_conversion_or_none(hints[name]), name in defaults) for name in names]

    def read(row: Row) -> T:
        given: dict[str, Any] = {}
        for name, convert, may_be_none, has_default in parts:
            try:
                value = row[name]
                if value is not None:
                    given[name] = value if convert is None else convert(value)
                elif may_be_none:
                    given[name] = None
                elif not has_default:
                    raise ValueError
            except (TypeError, ValueError, KeyError):
                raise Integrity("row_unreadable", field=name) from None
        return noun(**given)

    return read


def _conversion_or_none(hint: Any) -> tuple[Callable[[Any], Any] | None, bool]:
    """How a field's value is made, and whether it may be ``None``."""
    if get_origin(hint) not in (Union, UnionType):
        return _conversion(hint), hint is Any
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return (_conversion(kinds[0]) if len(kinds) == 1 else None), len(kinds) < len(get_args(hint))


def _conversion(hint: Any) -> Callable[[Any], Any] | None:
    while isinstance(hint, NewType):
        hint = hint.__supertype__
    origin = get_origin(hint)
    if origin in (tuple, frozenset):
        make, inner = origin, _conversion(get_args(hint)[0])
        return make if inner is None else lambda values: make(map(inner, values))
    if not isinstance(hint, type):
        return None
    if issubclass(hint, Enum):
        return hint
    if hint is UUID:  # a text inside a JSON object
        return lambda value: value if isinstance(value, UUID) else UUID(value)
    return _noun(hint) if is_dataclass(hint) else None
