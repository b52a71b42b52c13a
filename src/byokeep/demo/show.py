"""Runs the steps and shows what each saw."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from byokeep.cli.terminal import called
from byokeep.core.errors import ByokeepError, Unavailable
from byokeep.demo.scene import scene
from byokeep.demo.steps import STEPS, Broken

FAILED = 5
_err = Console(stderr=True, highlight=False)
_out = Console(highlight=False)


async def run(*, keep: Path | None = None, as_json: bool = False) -> int:
    """Run the demo.

    Args:
        keep: Keep the state in this new directory.
        as_json: Print one JSON document instead of the table.

    Returns:
        0 when every claim held, 5 when one did not, 4 when one could not be shown: a part did not start or answer.
    """
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    async with scene(keep, say=lambda text: None if as_json else _err.print(Text(text, style="dim"))) as stage:
        for step in STEPS:
            rows.append(await _one(step, stage, quiet=as_json))
            if not rows[-1]["ok"]:
                break
    held = all(row["ok"] for row in rows) and len(rows) == len(STEPS)
    took = time.monotonic() - began
    if as_json:
        document = {"ok": held, "took_s": round(took, 1), "steps": rows, "state": str(keep) if keep else None}
        _out.print_json(json.dumps(document))
    else:
        _show(rows, held=held, took=took, keep=keep)
    return 0 if held else int(rows[-1].pop("exit_code", FAILED))


async def _one(step: Any, stage: Any, *, quiet: bool) -> dict[str, Any]:
    began = time.monotonic()
    name = step.__name__
    summary = str(step.__doc__).split("\n", 1)[0]
    try:
        if quiet or not _err.is_terminal:
            if not quiet:
                _err.print(Text(summary))
            seen = await step(stage)
        else:
            with _err.status(Text(summary)):
                seen = await step(stage)
        row = {"step": name, "ok": True, "claim": seen.claim, "seen": seen.seen}
    except Broken as broken:
        row = {"step": name, "ok": False, "claim": summary, "seen": str(broken)}
    except ByokeepError as error:
        row = {"step": name, "ok": False, "claim": summary, "seen": f"{error} {error.next_step}"}
        if isinstance(error, Unavailable):
            row["exit_code"] = error.exit_code
    except Exception as error:  # a simulator that fails, a file that is gone: the claim was not shown
        row = {"step": name, "ok": False, "claim": summary, "seen": f"unexpected {type(error).__name__}"}
    return row | {"took_s": round(time.monotonic() - began, 2)}


def _show(rows: list[dict[str, Any]], *, held: bool, took: float, keep: Path | None) -> None:
    table = Table(title="What was shown", title_justify="left", header_style="bold", pad_edge=False)
    for column in ("", "claim", "seen"):
        table.add_column(column, overflow="fold")
    table.add_column("s", justify="right")
    for row in rows:
        mark = Text("ok", style="green") if row["ok"] else Text("no", style="bold red")
        table.add_row(mark, Text(row["claim"]), Text(row["seen"]), f"{row['took_s']:.1f}")
    _out.print(table)
    if held:
        _out.print(Text(f"All {len(rows)} claims held, in {took:.0f} s.", style="bold green"))
        _err.print(f"State is kept in {keep}" if keep else f"Next: {called()} up", style="dim")
    else:
        said = "A claim could not be checked" if "exit_code" in rows[-1] else "A claim did not hold"
        _out.print(Text(f"{said}; the steps after it were not run.", style="bold red"))
