"""Named statements: all SQL of the product that is not a migration lives in ``sql/*.sql``.

Rules
- A file opens with a comment saying what it is about. A statement opens with ``-- name: lower_snake``; further
  comment lines say why, where that is not plain. Parameters are ``:name`` binds, never text put together.
- A name exists once. Text before the first name, an empty statement and a second statement under one name are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

_NAME: Final = re.compile(r"-- name: ([a-z][a-z0-9_]{1,62})\Z")
_BIND: Final = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")


@cache
def load() -> Mapping[str, str]:
    """Return every packaged statement by name, its binds in the driver's spelling.

    Raises:
        ValueError: A file breaks the rules above.
    """
    folder = resources.files("byokeep.adapters.postgres").joinpath("sql")
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return parse((entry.name, entry.read_text(encoding="utf-8")) for entry in files)


def parse(files: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Return the statements of (file name, content) pairs. Raises ValueError as :func:`load`."""
    found: dict[str, str] = {}
    for file, content in files:
        if not content.startswith("-- ") or content.startswith("-- name:"):
            raise ValueError(f"{file}: the first line says what the file is about")
        for name, statement in _statements(file, content):
            if name in found:
                raise ValueError(f"{file}: {name} exists already")
            found[name] = _BIND.sub(r"%(\1)s", statement.replace("%", "%%"))
    return MappingProxyType(found)


def _statements(file: str, content: str) -> Iterable[tuple[str, str]]:
    name = ""
    lines: list[str] = []
    for line in [*content.splitlines(), "-- name: the_end"]:
        if opened := _NAME.match(line.strip()):
            statement = "\n".join(lines).strip().removesuffix(";").rstrip()
            if name and (not statement or ";" in statement):
                raise ValueError(f"{file}: {name} is not one statement")
            if not name and statement:
                raise ValueError(f"{file}: a statement without a name")
            if name:
                yield name, statement
            name, lines = opened.group(1), []
        elif line.strip().startswith("-- name"):
            raise ValueError(f"{file}: a name that is not lower_snake")
        elif not line.strip().startswith("--"):
            lines.append(line)
