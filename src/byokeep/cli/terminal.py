"""What a command prints: one JSON document, or text a person can read.

Rules
- Foreign text never reaches the terminal raw: Rich markup is off for data, control characters are dropped.
- Nothing is wider than the terminal, except a path or an address, and a line for a shell that is not ours. Rows that do
  not fit side by side are shown as blocks; prose continues on the next line. An id is never broken over two lines, and
  a command only as a shell reads it.
- A time has one form: 2026-01-31 12:00:00Z.
- Without a terminal nothing is wrapped and nothing moves: a row is a line.
- Errors print their code, their safe fields and the next step.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from byokeep.core.errors import ByokeepError, Unavailable
from byokeep.settings import Settings

Json = Mapping[str, Any]
_NAME: Final = "byokeep"
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)\Z")
_GAP: Final = 2  # blanks between columns
_LEAST_LAST: Final = 30  # columns of the terminal in which the last column of a table may still be wrapped
_LEAST_VALUE: Final = 40  # columns in which prose may still be wrapped behind a name
_UNBOUNDED: Final = 100_000
# Exit codes of whatever looks for something: a finding outweighs what could not be read.
CLEAN, FOUND, UNKNOWN = 0, 1, 4
STATES: Final = {CLEAN: "clean", FOUND: "findings", UNKNOWN: "unknown"}
LIMITS: Final = frozenset({100, 200, 500, 1000})  # at which lists of the server end
_UNIT: Final = re.compile(r"`[^`\n]*`\S*|\S+")  # of prose: a command in backticks stays whole
_TYPED: Final = re.compile(r"`byokeep ([^`]+)`")  # a command within prose
_SHELL_LINES: Final = ("export ", "(printf ")  # what is pasted whole or not at all
_SHELL_WORD: Final = re.compile(r"(?:[^\s'\"]|'[^']*'|\"[^\"]*\")+")


@dataclass(frozen=True, slots=True)
class TerminalSession:
    """The flags every command shares. ``given``: those that the caller wrote, by name."""

    settings: Settings
    as_json: bool
    rest: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)


class Output(Console):
    """Raises what any file does whose reader has gone; the library would exit with 1, which means a finding."""

    def on_broken_pipe(self) -> None:
        """Raise it."""
        raise BrokenPipeError(errno.EPIPE, "")


current: ContextVar[TerminalSession] = ContextVar("session")
out = Output(highlight=False)
err = Output(stderr=True, highlight=False)


def session() -> TerminalSession:
    """Return the flags of this call."""
    return current.get()


def called() -> str:
    """Return how to call this program again: by its name, or by its path if the name would not find it."""
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
    """Return a command to type next, with this call's flags that it needs to reach the same place.

    Args:
        words: The command without ``byokeep``; ids and names in it are ours or quoted.
        own_token: The same person goes on, so the same token file is named.
    """
    given = session().given
    flags = ("home", "url", "config", *["token-file"] * own_token)
    missing = [name for name in flags if name in given and not re.search(f" --(help|{name})\\b", words)]
    return " ".join([called(), words, *(f"--{name} {shlex.quote(given[name])}" for name in missing)])


def typed(text: str) -> str:
    """Return a text in which each command in backticks reaches the same place as this call."""
    return _TYPED.sub(lambda found: f"`{again(found[1], own_token=False)}`", text)


def must_have_home() -> None:
    """Let a call pass if its host has the home, or it needs none. Raises Unavailable(``home_missing``)."""
    settings = session().settings
    if settings.embedded_store and settings.embedded_database and not settings.home.is_dir():
        step = (f"There is no home at {clean(str(settings.home))}: start a stack with `{again('up', own_token=False)}`,"
                " or name its home with --home or BYOKEEP_HOME.")  # fmt: skip
        raise Unavailable("home_missing", next_step=step)


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
        case datetime():
            return clean(value.isoformat())
        case str() if found := _TIME.match(value):
            return f"{found[1]} {found[2]}Z"
    return "".join(char if char.isprintable() else "?" for char in str(value))


def _cell(field_name: str, value: object) -> str:
    """Return a value as :func:`clean` does; a size, a duration or a time in microseconds, told by its field's name, as
    people read it."""
    if isinstance(value, int) and not isinstance(value, bool):
        if field_name.endswith("at_us"):
            return clean(datetime.fromtimestamp(value // 1_000_000, UTC).isoformat()) if value else "-"
        if field_name == "bytes" or field_name.endswith("_bytes"):
            return size(value)
        if field_name.endswith("_s"):
            return f"{value // 60} min" if value and value % 60 == 0 else f"{value} s"
    return clean(value)


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    for unit, least in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count} bytes"


def show(data: Any, *, title: str = "", columns: Sequence[str] = (), note: str = "") -> None:
    """Print a result.

    Args:
        data: A mapping (shown as field/value rows) or a list of mappings (shown as a table).
        title: Heading.
        columns: Which keys, in order; empty = all of the first row.
        note: A line after it, on standard error; not printed with ``--json``.
    """
    if isinstance(data, list) and len(data) in LIMITS:
        err.print(f"There may be more than these {len(data)}.", soft_wrap=True)
    if session().as_json:
        out.out(json.dumps(data, default=str, indent=2 if out.is_terminal else None), highlight=False)
        return
    if isinstance(data, Mapping):
        _heading(title)
        _fields(data)
    elif not data:
        say(f"{title or 'Rows'}: none.")
    else:
        _heading(title)
        _rows(data, columns or tuple(data[0]))
    if note:
        say(note)


def show_all(document: Any, *tables: tuple[str, Any]) -> None:
    """Print one document for programs; for people, each after its title, those tables that hold anything."""
    for title, rows in [("", document)] if session().as_json else tables:
        if rows:
            show(rows, title=title)


def facts(report: Any) -> dict[str, Any]:
    """Return a report (a dataclass) as fields, led by ``state: ok``: a report that exists is a check that held."""
    return {"state": "ok"} | asdict(report)


def _heading(title: str) -> None:
    if title and out.is_terminal:
        out.print(Text(title, style="bold underline"))


def _label(key: str) -> str:
    return (
        "size"
        if key == "bytes"
        else key.removesuffix("_us").removesuffix("_bytes").removesuffix("_s").replace("_", " ")
    )


def _width() -> int:
    return out.width if out.is_terminal else _UNBOUNDED


def _line(text: Text) -> None:
    out.print(text, soft_wrap=True)


def _folded(text: Text, room: int) -> list[Text]:
    """Return a text as lines that are no wider than ``room``, which a path or an address alone may be."""
    lines: list[Text] = []
    at = Text()
    for word in text.split(" "):
        if lines or at.plain:
            if cell_len(at.plain) + 1 + cell_len(word.plain) <= room:
                at = at.append(" ").append_text(word)
                continue
            lines.append(at)
        pieces = [word] if "/" in word.plain else list(word.wrap(out, room)) or [word]
        lines += pieces[:-1]
        at = pieces[-1]
    return [*lines, at]


def _hung(head: Text, text: Text) -> None:
    """Print a text after what precedes it; what does not fit goes below the text's own beginning."""
    room = _width() - cell_len(head.plain)
    needed = max(cell_len(word) for word in text.plain.split(" "))
    if needed > room or (room < _LEAST_VALUE and cell_len(text.plain) > room):  # there is more room below
        head.rstrip()
        _line(head)
        head, room = Text("  "), _width() - 2
    _beside(head, _folded(text, room))


def _beside(head: Text, lines: Sequence[Text]) -> None:
    below = Text(" " * cell_len(head.plain))
    for at, line in enumerate(lines):
        _line(Text.assemble(below if at else head, line))


def _fields(data: Json) -> None:
    names = max((len(_label(key)) for key in data), default=0)
    for key, value in data.items():
        nested = value if isinstance(value, Mapping) and value else {"": value}
        inner = max(len(_label(name)) for name in nested)
        for at, (name, item) in enumerate(nested.items()):
            text = Text((_label(key) if at == 0 else "").ljust(names + _GAP), style="bold")
            if name:
                text.append(_label(name).ljust(inner + _GAP), style="not bold dim")
            _hung(text, Text(_cell(name or key, item), style="not bold " + _style(item)))


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
        head = _side_by_side([*line[:-1], ""], styles, widths)
        _beside(head, _folded(Text(line[-1], style=styles[-1]), room))


def _side_by_side(line: Sequence[str], styles: Sequence[str], widths: Sequence[int]) -> Text:
    text = Text()
    for at, (word, style) in enumerate(zip(line, styles, strict=True)):
        text.append(word, style=style)
        if at < len(line) - 1:
            text.append(" " * (widths[at] - cell_len(word) + _GAP))
    return text


def _block(row: Json, columns: Sequence[str]) -> None:
    """Print one row as a first word and pairs. A pair moves to the next line whole; a long one is wrapped there."""
    *full, line = _folded(Text(clean(row.get(columns[0])), style="bold"), _width())
    for one in full:
        _line(one)
    for column in columns[1:]:
        value = _cell(column, row.get(column))
        if value == "-":
            continue
        label, shown = Text(_label(column) + " ", "not bold dim"), Text(value, "not bold " + _style(row.get(column)))
        if cell_len(line.plain + label.plain + value) + _GAP > _width():
            if line.plain.strip():
                _line(line)
            line = Text(" ")
        line.append("  " if line.plain.strip() else " ").append_text(label)
        if cell_len(line.plain + value) > _width():
            _hung(line, shown)
            line = Text(" ")
        else:
            line.append_text(shown)
    if line.plain.strip():
        _line(line)


def _style(value: object) -> str:
    match value:
        case "ok" | "verified" | "active" | "complete" | "pass" | "match" | "open" | "healthy" | "clean" | "released":
            return "green"
        case "failed" | "engaged" | "quarantined" | "mismatch" | "killed" | "critical" | "unhealthy" | "findings":
            return "red"
        case "pending" | "running" | "unknown" | "enrolling" | "warning" | "suspended" | "incomplete":
            return "yellow"
        case _:
            return ""


def say(text: str) -> None:
    """Print a hint to standard error, unless output is JSON. A command in it can be copied as it is."""
    if not session().as_json:
        err.print(Text(fitted(typed(text)), style="dim"), soft_wrap=True)


def say_if_heard(text: str) -> None:
    """Say how far something is that goes on if nobody listens any more: a stack, or a drill that has keys to remove."""
    with contextlib.suppress(OSError):
        say(text)


def fitted(text: str) -> str:
    """Break what is too long for the terminal: prose between words, a command as a shell reads it."""
    return "\n".join(_lines(text.splitlines(), err.width)) if err.is_terminal else text


def _lines(lines: Sequence[str], width: int) -> Iterator[str]:
    command = f"{called()} "
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())]
        prose, at = line.strip(), ""
        if prose.startswith(_SHELL_LINES):
            yield line
            continue
        if cell_len(line) > width:
            begins = 0 if prose.startswith(command) else prose.find(f": {command}") + 2
            if begins != 1:
                prose, at = prose[:begins].rstrip(), prose[begins:]
        if prose or not at:
            yield from _filled(_UNIT.findall(prose), width, indent, indent, "") if cell_len(line) > width else [line]
        if at:
            yield from _command(at, width, indent)


def _command(text: str, width: int, indent: str) -> Iterator[str]:
    """Break a command before its words, an option with its value; a remark in parentheses goes below it."""
    command, gap, more = text.partition("  (")
    words: list[str] = []
    for word in _SHELL_WORD.findall(command):
        if words and words[-1].startswith("--") and " " not in words[-1] and not word.startswith("--"):
            words[-1] += f" {word}"
        else:
            words.append(word)
    lines = list(_filled(words, width, indent, indent + "    ", " \\"))
    if gap and cell_len(lines[-1] + gap + more) <= width:
        lines[-1] += gap + more
    elif gap:
        lines += _filled(_UNIT.findall("(" + more), width, indent + "    ", indent + "    ", "")
    yield from lines


def _filled(units: Sequence[str], width: int, first: str, then: str, join: str) -> Iterator[str]:
    line, empty = first, True
    room = width - cell_len(then) - len(join)
    long = [unit for unit in units if cell_len(unit) > room and "/" not in unit and not join]
    for unit in (part for one in units for part in (chop_cells(one, room) if one in long else [one])):
        if not empty and cell_len(line) + 1 + cell_len(unit) + len(join) > width:
            yield line + join
            line, empty = then, True
        line += unit if empty else " " + unit
        empty = False
    yield line


def busy(text: str) -> contextlib.AbstractContextManager[Any]:
    """Show that something is under way, while the block lasts; on a terminal only."""
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
    head = Text(fitted(f"{kind}: {said}" if said else kind))
    head.stylize("bold red", 0, len(kind) + 1)
    err.print(head, soft_wrap=True)
    if error.next_step:
        err.print(Text(fitted(typed(error.next_step))), soft_wrap=True)
    return error.exit_code
