"""Tables as CSV whose cells a spreadsheet opens as text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence

_FORMULAS = "=+\\-@\uff1d\uff0b\uff0d\uff20"  # the full-width ones, too, start a formula
# Where the system's list separator is `;`, a cell begins there even inside our quotes; quotes at its start go.
_BEGINS = re.compile(rf"(^|;)(?=[\s\"]*[{_FORMULAS}])")


def sheet(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> bytes:
    """Return rows as CSV with a heading. A spreadsheet takes no text cell for a formula."""
    text = io.StringIO()
    table = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({name: _plain(row.get(name)) for name in names})
    return text.getvalue().encode()


def _plain(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    line = "".join(char if char.isprintable() else "?" for char in cell)
    return _BEGINS.sub(r"\1'", line)
