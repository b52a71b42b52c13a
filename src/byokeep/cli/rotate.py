"""``byokeep rotate``: what is due, and the rotation of keys."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

from cyclopts import App, Parameter

from byokeep.cli.api import Listing, call, run, tell_all
from byokeep.cli.choices import DueKind
from byokeep.cli.new_file import new_file
from byokeep.cli.terminal import called, say

app: Final = App(name="rotate")
_COLUMNS: Final = ("due_at", "state", "days", "kind", "name", "client_id", "command")
_DAYS: Final = re.compile(r"([0-9]{1,4})d\Z")


@app.command
def due(
    *, client: UUID | None = None, kind: DueKind | None = None, until: str | None = None,
    file: Annotated[Path | None, Parameter(name="--csv")] = None,
) -> None:  # fmt: skip
    """List what is to be rotated, renewed or consented to, of every kind, by date, with the command that does it.

    What is overdue, and what has no date, is always on the list. The digest names the list as it stands, for whoever
    signs it off; that you saw it is on record.

    Example: byokeep rotate due --client $CLIENT

    Example: byokeep rotate due --until 90d --csv due.csv

    Args:
        client: Of this client; default: of all of yours.
        kind: Of this kind.
        until: How far to look: days, such as `90d`, or a time; default: 14 days.
        file: Write the list to this new file as well.
    """
    params = {"client_id": client, "kind": kind, "until": None if until is None else _time(until)}
    keep = None if file is None else new_file(file)
    found = run(call("GET", "/v1/due", params=params))
    if keep is not None:
        keep(_sheet(found["items"]))
        say(f"Written: {file}")
    rows = [one | {"due_at": (one["due_at"] or "unknown")[:10], "command": _own(one["command"])}
            for one in found["items"]]  # fmt: skip
    note = f"Until {found['until'][:10]}. Digest of this list: {found['digest']}"
    if found["more"]:
        note = f"{found['more']} more do not fit: ask for one client or kind.\n{note}"
    tell_all(found, Listing(rows, "Due", _COLUMNS, note))


def _time(text: str) -> str:
    """Return the time that is meant by days from now, or by a time."""
    if days := _DAYS.match(text):
        return (datetime.now(UTC) + timedelta(days=int(days[1]))).isoformat()
    return text


def _own(command: str) -> str:
    return command.replace("byokeep", called(), 1)


def _sheet(items: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = ("due_at", "state", "days", "kind", "item", "name", "client_id", "client", "provider", "cause", "command")
    table.writerow(names)
    # A spreadsheet takes a cell that begins so for a formula.
    table.writerows([f"'{cell}" if str(cell).startswith(("=", "+", "-", "@")) and name != "days" else cell
                     for name in names for cell in [one[name]]] for one in items)  # fmt: skip
    return text.getvalue().encode()
