"""What a command prints: one JSON document, or a table a person can read.

Rules
- Foreign text never reaches the terminal raw: Rich markup is off for data, control characters are dropped.
- Errors print their code, their safe fields and the next step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from byokeep.core.errors import ByokeepError
from byokeep.settings import Settings

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Session:
    """The flags every command shares."""

    settings: Settings
    as_json: bool
    rest: tuple[str, ...] = ()


current: ContextVar[Session] = ContextVar("session")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def session() -> Session:
    """Return the flags of this call."""
    return current.get()


def clean(value: object) -> str:
    """Return a value as printable text."""
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(clean(item) for item in value) or "-"
    return "".join(char if char.isprintable() else "?" for char in str(value))


def show(data: Any, *, title: str = "", columns: Sequence[str] = (), note: str = "") -> None:
    """Print a result.

    Args:
        data: A mapping (shown as field/value rows) or a list of mappings (shown as a table).
        title: Heading of the table.
        columns: Which keys, in order; empty = all of the first row.
        note: One line after the table, on standard error; not printed with ``--json``.
    """
    if session().as_json:
        out.print_json(json.dumps(data, default=str), indent=None if not out.is_terminal else 2)
        return
    if isinstance(data, Mapping):
        _fields(data, title)
    elif not data:
        err.print(Text(f"No {title.lower() or 'rows'}.", style="dim"))
    else:
        _rows(data, title, columns or tuple(data[0]))
    if note:
        say(note)


def facts(report: Any) -> dict[str, Any]:
    """Return a report (a dataclass) as fields, led by ``state: ok``: a report that exists is a check that held."""
    return {"state": "ok"} | {spec.name: getattr(report, spec.name) for spec in fields(report)}


def _fields(data: Json, title: str) -> None:
    table = Table(title=title or None, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in data.items():
        table.add_row(key.replace("_", " "), Text(clean(value)))
    out.print(table)


def _rows(rows: Iterable[Json], title: str, columns: Sequence[str]) -> None:
    table = Table(title=title or None, title_justify="left", header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(row.get(column)), style=_style(row.get(column))) for column in columns))
    out.print(table)


def _style(value: object) -> str:
    match value:
        case "ok" | "verified" | "active" | "complete" | "pass" | "match" | "open" | "healthy" | True:
            return "green"
        case "failed" | "closed" | "quarantined" | "mismatch" | "killed" | "critical" | "unhealthy":
            return "red"
        case "pending" | "running" | "unknown" | "enrolling" | "warning" | "suspended":
            return "yellow"
        case _:
            return ""


def say(text: str) -> None:
    """Print a hint to standard error, unless output is JSON."""
    if not session().as_json:
        err.print(Text(text, style="dim"))


def fail(error: ByokeepError, *, as_json: bool) -> int:
    """Print an error and return its exit code."""
    if as_json:
        problem = {"code": error.code, "next_step": error.next_step, **error.fields}
        sys.stdout.write(json.dumps({"error": problem}, sort_keys=True) + "\n")
    kind = type(error).__name__
    err.print(Text.assemble((f"{kind.lower()}: ", "bold red"), str(error)))
    if error.next_step:
        err.print(Text(error.next_step))
    return error.exit_code
