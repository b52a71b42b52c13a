"""Reading data files that ship with the program or that an operator writes: tables, read down to the last field.

Rules
- A field that is absent, unknown or of another type is refused, and the error gives its full name. Texts are printable
  ASCII.
- The types of a record say what its fields are. The reader of the table checks what no type can say.

It may not open any file but those that ship beside it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from importlib import resources
from types import MappingProxyType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_TEXT: Final = re.compile(r"[ -~]{0,300}\Z")
_MISSING: Final = dataclasses.MISSING


def shipped(name: str) -> str:
    """Return the text of a data file that ships with the core."""
    return resources.files("byokeep.core").joinpath(name).read_text("utf-8")


class Table:
    """A table of a file, of which every field must be read.

    Raises:
        ValueError: It is not a table. Every method raises it, too, with the name of the table or field.
    """

    def __init__(self, name: str, fields: Any) -> None:
        if not isinstance(fields, dict):
            raise ValueError(f"{name} must be a table")
        self._name = name
        self._left = dict(fields)

    def take(self, field: str, kind: type, default: Any = None) -> Any:
        """Return a field of exactly this type; it may be absent if there is a default."""
        value: Any = self._left.pop(field, default)
        if type(value) is not kind:
            raise ValueError(f"{self._name}.{field} must be {kind.__name__}")
        if isinstance(value, str) and not _TEXT.match(value):
            raise ValueError(f"{self._name}.{field} must be printable ASCII")
        return value

    def texts(self, field: str, default: list[str] | None = None) -> tuple[str, ...]:
        """Return a list of texts."""
        values = self.take(field, list, default)
        if not all(isinstance(value, str) and _TEXT.match(value) for value in values):
            raise ValueError(f"{self._name}.{field} must be texts")
        return tuple(values)

    def table(self, field: str) -> Table:
        """Return a table that must be present."""
        return Table(f"{self._name}.{field}", self._left.pop(field, None))

    def optional(self, field: str) -> Table | None:
        """Return a table that may be absent."""
        return self.table(field) if field in self._left else None

    def templates(self, field: str) -> Mapping[str, str]:
        """Return texts by name; none if the table is absent."""
        table = Table(f"{self._name}.{field}", self._left.pop(field, {}))
        return MappingProxyType({name: str(table.take(name, str)) for name in table.names()})

    def names(self) -> list[str]:
        """Return the names of what was not read yet."""
        return list(self._left)

    def done(self) -> None:
        """Refuse the table if anything in it was not read."""
        if self._left:
            raise ValueError(f"{self._name} has unknown fields: {', '.join(sorted(self._left))}")

    def fill(self, kind: type[T], *, needed: Collection[str] = (), **given: Any) -> T:
        """Build a record from the rest of the table, by the types and defaults of its fields.

        Args:
            kind: A dataclass.
            needed: Fields that must be present although the record has a default.
            given: Fields that were already read.
        """
        hints = get_type_hints(kind)
        for one in dataclasses.fields(kind):  # type: ignore[arg-type]
            absent = one.name not in self._left and one.name not in needed
            default = one.default is not _MISSING or one.default_factory is not _MISSING
            if one.name not in given and not (absent and default):
                given[one.name] = self._read(one.name, hints[one.name])
        self.done()
        return kind(**given)

    def _read(self, field: str, kind: Any) -> Any:
        if kind == tuple[str, ...]:
            return self.texts(field)
        if kind == Mapping[str, str]:
            return self.templates(field)
        if get_origin(kind) is tuple:
            return tuple(get_args(kind)[0](text) for text in self.texts(field))
        if get_origin(kind) in (Union, UnionType):  # of a record and None: a table that may be absent
            return self._read(field, get_args(kind)[0]) if field in self._left else None
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return self.table(field).fill(kind)
        if issubclass(kind, StrEnum):
            return kind(self.take(field, str))
        return self.take(field, kind)
