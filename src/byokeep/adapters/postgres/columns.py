"""What the tables are made of: the metadata that all of them stand in, and the columns that recur.

It may not define a table.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ARRAY, CheckConstraint, Column, DateTime, MetaData, Text, Uuid, func, text

from byokeep.core.model import PLATFORMS, Provider

SCHEMA: Final = "byokeep"
PLATFORM_NAMES: Final = tuple(name for name in Provider if name in PLATFORMS)
metadata: Final = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pk",
        "uq": "%(table_name)s_%(column_0_N_name)s_uq",
        "ck": "%(table_name)s_%(constraint_name)s_ck",
        "fk": "%(table_name)s_%(column_0_N_name)s_fk",
        "ix": "%(table_name)s_%(column_0_N_name)s_ix",
    },
)


def row_id() -> Column[Any]:
    """Return the key of a row, a UUID made by us."""
    return Column("id", Uuid, primary_key=True)


def at(name: str, *, nullable: bool = False) -> Column[Any]:
    """Return an instant. The database's clock stamps the required ones."""
    default = None if nullable else func.now()
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


def text_column(name: str, *, nullable: bool = False, default: str | None = None) -> Column[Any]:
    """Return a text."""
    return Column(name, Text, nullable=nullable, server_default=default)


def texts(name: str) -> Column[Any]:
    """Return a list of texts, empty by default."""
    return Column(name, ARRAY(Text), nullable=False, server_default=text("'{}'"))


def one_of(column: str, *values: str) -> CheckConstraint:
    """Return the rule that a column holds one of some texts."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)
