"""Each statement gives the columns that whoever asks it makes a noun of."""

from __future__ import annotations

import ast
import builtins
import importlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NewType

import psycopg

from byokeep.adapters.postgres.connections import _spelled
from byokeep.adapters.postgres.database import load
from byokeep.kernel.rows import reader
from tests.support.postgres import FreshDatabase

pytest_plugins = ["tests.support.postgres_fixtures"]
SOURCE = Path(__file__).parents[2] / "src"
ASKING = {"one", "maybe", "all", "read", "last"}
ROLES = ("byokeep_owner", "byokeep_broker", "byokeep_web", "byokeep_worker")


def asked() -> Iterator[tuple[str, Any, str]]:
    """Every place that asks a statement by name for a noun or a scalar: where, the shape, the statement."""
    for path in sorted((SOURCE / "byokeep").rglob("*.py")):
        module: ModuleType | None = None
        for call in ast.walk(ast.parse(path.read_text())):
            match call:
                case ast.Call(func=ast.Attribute(attr=how), args=[shape, ast.Constant(value=str(name)), *_]):
                    if how in ASKING and isinstance(shape, ast.Name | ast.Attribute):
                        dotted = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
                        module = module or importlib.import_module(dotted)
                        found: Any = module
                        parts = ast.unparse(shape).split(".")
                        if not hasattr(module, parts[0]) and not hasattr(builtins, parts[0]):
                            continue  # handed in by a caller, who is asked about in its place
                        for part in parts:
                            found = getattr(found, part, None) or getattr(builtins, part)
                        yield f"{path.name}:{call.lineno}", found, name


def columns(database: FreshDatabase) -> dict[str, list[str]]:
    """Every named statement's columns, by the word of the server."""
    found: dict[str, list[str]] = {}
    for role in ROLES:
        with psycopg.connect(database.conninfo(role), autocommit=True) as session:
            for name, statement in load().items():
                if name not in found and session.pgconn.prepare(b"", _spelled(statement)[0]).status == 1:
                    told = session.pgconn.describe_prepared(b"")
                    found[name] = [str(told.fname(place), "ascii") for place in range(told.nfields)]
    return found


def needed(shape: Any) -> set[str] | int | None:
    """Columns by name, how many of them, or what a function wants, which nobody can say."""
    if is_dataclass(shape):
        return {one.name for one in fields(shape) if one.init and one.metadata.get("column", True)}
    if hasattr(shape, "_fields"):
        return set(shape._fields) - set(shape._field_defaults)
    if shape is dict or not isinstance(shape, type | NewType):
        return None
    return 1


def test_postgres_every_statement_has_the_columns_of_its_noun(shared_postgres: FreshDatabase) -> None:
    """A dataclass's fields are columns of the statement it is read from; a scalar's statement has one column."""
    given, seen, wrong = columns(shared_postgres), set(), []
    for where, shape, name in asked():
        wants = needed(shape)
        reader(shape)  # its annotations can be read
        seen.add(name)
        if wants == 1 and len(given[name]) != 1:
            wrong.append(f"{where} {name}: {shape.__name__} of {len(given[name])} columns")
        elif isinstance(wants, set) and (missing := wants - set(given[name])):
            wrong.append(f"{where} {name}: no {', '.join(sorted(missing))}")
    assert wrong == []
    assert len(seen) > 250
