"""What a command prints: one JSON document, or text a person can read.

Rules
- Foreign text never reaches the terminal raw: Rich markup is off for data, control characters are dropped.
- An id is never broken over two lines: rows that do not fit side by side are shown as blocks. Prose at a row's end
  may be.
- Without a terminal nothing is wrapped and nothing moves: a row is a line.
- Errors print their code, their safe fields and the next step.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from byokeep.core.errors import ByokeepError
from byokeep.settings import Settings

Json = Mapping[str, Any]
_NAME: Final = "byokeep"
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)\Z")
_GAP: Final = 2  # blanks between columns
_LEAST_LAST: Final = 30  # columns of the terminal in which the last column of a table may still be wrapped
_UNBOUNDED: Final = 100_000


@dataclass(frozen=True, slots=True)
class TerminalSession:
    """The flags every command shares. ``given`` = those of them that the caller wrote, by name."""

    settings: Settings
    as_json: bool
    rest: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)


current: ContextVar[TerminalSession] = ContextVar("session")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def session() -> TerminalSession:
    """Return the flags of this call."""
    return current.get()


def called() -> str:
    """Return how this program is to be called again: by its name, or by its path when the name would not find it."""
    own = sys.argv[0]
    if Path(own).name != _NAME or "/" not in own:
        return _NAME
    found = shutil.which(_NAME)
    try:
        if found is not None and Path(found).samefile(own):
            return _NAME
    except OSError:
        return _NAME
    return shlex.quote(own)


def again(words: str, *, own_token: bool = True) -> str:
    """Return a command to type next, with the flags of this call that it needs to reach the same place.

    Args:
        words: The command without ``byokeep``; ids and names in it are ours or quoted.
        own_token: The same person goes on, so that the same token file is named.
    """
    flags = [name for name in ("home", "url", "config", "token-file") if name != "token-file" or own_token]
    given = session().given
    return " ".join([called(), words, *(f"--{name} {shlex.quote(given[name])}" for name in flags if name in given)])


def clean(value: object) -> str:
    """Return a value as printable text of one line."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(clean(item) for item in value) or "-"
        case Mapping() if all(isinstance(item, int) for item in value.values()):
            return ", ".join(f"{_label(str(name))} {item}" for name, item in value.items()) or "-"
        case Mapping():
            return "  ".join(clean(item) for item in value.values())
        case str() if found := _TIME.match(value):
            return f"{found[1]} {found[2]}Z"
    return "".join(char if char.isprintable() else "?" for char in str(value))


def _cell(field_name: str, value: object) -> str:
    """Return a value as :func:`clean` does, a size or a time in microseconds by its field's name as people read it."""
    if isinstance(value, int) and not isinstance(value, bool):
        if field_name.endswith("at_us"):
            return clean(datetime.fromtimestamp(value // 1_000_000, UTC).isoformat()) if value else "-"
        if field_name == "bytes" or field_name.endswith("_bytes"):
            return _size(value)
    return clean(value)


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def show(data: Any, *, title: str = "", columns: Sequence[str] = (), note: str = "") -> None:
    """Print a result.

    Args:
        data: A mapping (shown as field/value rows) or a list of mappings (shown as a table).
        title: Heading.
        columns: Which keys, in order; empty = all of the first row.
        note: A line after it, on standard error; not printed with ``--json``.
    """
    if session().as_json:
        out.print_json(json.dumps(data, default=str), indent=None if not out.is_terminal else 2)
        return
    if isinstance(data, Mapping):
        _heading(title)
        _fields(data)
    elif not data:
        say(f"No {title.lower() or 'rows'}.")
    else:
        _heading(title)
        _rows(data, columns or tuple(data[0]))
    if note:
        say(note)


def facts(report: Any) -> dict[str, Any]:
    """Return a report (a dataclass) as fields, led by ``state: ok``: a report that exists is a check that held."""
    return {"state": "ok"} | asdict(report)


def _heading(title: str) -> None:
    if title and out.is_terminal:
        out.print(Text(title, style="bold underline"))


def _label(key: str) -> str:
    return "size" if key == "bytes" else key.removesuffix("_us").removesuffix("_bytes").replace("_", " ")


def _width() -> int:
    return out.width if out.is_terminal else _UNBOUNDED


def _line(text: Text) -> None:
    out.print(text, soft_wrap=True)


def _fields(data: Json) -> None:
    names = max((len(_label(key)) for key in data), default=0)
    for key, value in data.items():
        nested = value if isinstance(value, Mapping) and value else {"": value}
        inner = max(len(_label(name)) for name in nested)
        for at, (name, item) in enumerate(nested.items()):
            text = Text((_label(key) if at == 0 else "").ljust(names + _GAP), style="bold")
            if name:
                text.append(_label(name).ljust(inner + _GAP), style="not bold dim")
            text.append(_cell(name or key, item), style="not bold " + _style(item))
            _line(text)


def _rows(rows: Sequence[Json], columns: Sequence[str]) -> None:
    cells = [[_cell(column, row.get(column)) for column in columns] for row in rows]
    heads = [_label(column) for column in columns]
    widths = [max(cell_len(heads[at]), *(cell_len(line[at]) for line in cells)) for at in range(len(columns))]
    room = _width() - sum(widths[:-1]) - _GAP * (len(widths) - 1)
    if room < widths[-1] and (room < _LEAST_LAST or not any(" " in line[-1] for line in cells)):
        for row in rows:
            _block(row, columns)
        return
    _line(_side_by_side(heads, ["bold"] * len(heads), widths))
    for row, line in zip(rows, cells, strict=True):
        styles = [_style(row.get(column)) for column in columns]
        first, *more = textwrap.wrap(line[-1], room) if room < widths[-1] else [line[-1]]
        _line(_side_by_side([*line[:-1], first], styles, widths))
        for rest in more:
            _line(Text(" " * (sum(widths[:-1]) + _GAP * (len(widths) - 1)) + rest))


def _side_by_side(line: Sequence[str], styles: Sequence[str], widths: Sequence[int]) -> Text:
    text = Text()
    for at, (word, style) in enumerate(zip(line, styles, strict=True)):
        text.append(word, style=style)
        if at < len(line) - 1:
            text.append(" " * (widths[at] - cell_len(word) + _GAP))
    return text


def _block(row: Json, columns: Sequence[str]) -> None:
    """One row as a first word and pairs; a pair moves to the next line as a whole."""
    line = Text(clean(row.get(columns[0])), style="bold")
    for column in columns[1:]:
        value = _cell(column, row.get(column))
        if value == "-":
            continue
        pair = Text.assemble((_label(column) + " ", "not bold dim"), (value, "not bold " + _style(row.get(column))))
        if cell_len(line.plain) + cell_len(pair.plain) + _GAP > _width():
            _line(line)
            line = Text(" ")
        line.append("  " if line.plain.strip() else " ").append_text(pair)
    _line(line)


def _style(value: object) -> str:
    match value:
        case "ok" | "verified" | "active" | "complete" | "pass" | "match" | "open" | "healthy" | "clean":
            return "green"
        case "failed" | "closed" | "quarantined" | "mismatch" | "killed" | "critical" | "unhealthy" | "findings":
            return "red"
        case "pending" | "running" | "unknown" | "enrolling" | "warning" | "suspended" | "incomplete":
            return "yellow"
        case _:
            return ""


def say(text: str) -> None:
    """Print a hint to standard error, unless output is JSON. A command in it can be copied as it stands there."""
    if not session().as_json:
        lines = (_fitted(line) for line in text.splitlines()) if err.is_terminal else [text]
        err.print(Text("\n".join(lines), style="dim"), soft_wrap=True)


def _fitted(line: str) -> str:
    """Break a line that is too long for the terminal before its command, and before an option as a shell reads it."""
    kept: list[str] = []
    if cell_len(line) > err.width and (at := line.find(f": {called()} ")) > 0:
        kept, line = [line[: at + 1]], line[at + 2 :]
    while cell_len(line) > err.width and (at := line.rfind(" --", 0, err.width - 2)) > 0 and line[:at].strip():
        kept.append(line[:at] + " \\")
        line = "   " + line[at:]
    return "\n".join([*kept, line])


def busy(text: str) -> contextlib.AbstractContextManager[Any]:
    """Show that something goes on, while the block lasts; on a terminal only."""
    if session().as_json or not err.is_terminal:
        return contextlib.nullcontext()
    return err.status(Text(text))


def fail(error: ByokeepError, *, as_json: bool) -> int:
    """Print an error and return its exit code."""
    if as_json:
        problem = {"code": error.code, "next_step": error.next_step, **error.fields}
        sys.stdout.write(json.dumps({"error": problem}, sort_keys=True) + "\n")
    kind = re.sub(r"(?<!^)(?=[A-Z])", " ", type(error).__name__).lower()
    said = str(error) if error.code != kind.replace(" ", "_") else str(error).removeprefix(error.code).lstrip()
    err.print(Text.assemble((f"{kind}: " if said else kind, "bold red"), said), soft_wrap=True)
    if error.next_step:
        step = error.next_step.replace("`byokeep ", f"`{called()} ")
        err.print(Text(step), soft_wrap=not err.is_terminal)
    return error.exit_code
