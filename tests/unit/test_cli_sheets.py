"""What leaves as a table or a document says what it leaves out, and no cell of it is a formula."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from byokeep.cli import audit, usage
from byokeep.core.errors import Rejected
from byokeep.core.sheet import sheet


@pytest.mark.req("S-ASVS-11")
def test_no_cell_is_a_formula() -> None:
    """Text that a spreadsheet would compute is text there; numbers stay numbers."""
    bad = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1"]
    rows = [{"name": one, "count": -3, "more": "left out"} for one in bad]
    lines = list(csv.reader(io.StringIO(sheet(("name", "count"), rows).decode(), newline="")))
    assert lines[0] == ["name", "count"]
    assert [line[0][:1] for line in lines[1:]] == ["'"] * 4 + ["?"] * 2 + ["'"] * 2
    assert {line[1] for line in lines[1:]} == {"-3"}
    split = sheet(("name",), [{"name": one} for one in ("x;=cmd|' /C calc'!A0", "x; @SUM(A1);y", "x;y-1")]).decode()
    assert split.splitlines()[1:] == ["x;'=cmd|' /C calc'!A0", "x;' @SUM(A1);y", "x;y-1"]  # `;` may part cells
    names = ['x;"=1', 'x;""=1', 'x;" "" +1', 'x,;"=1', '"=1', '"x;\t=1', 'x;"y"=1', 'a"b']
    table = sheet(("id", "name"), [{"id": "1", "name": one} for one in names]).decode()
    for parting in ",;\t":  # quotes count only at the start of a cell: where another mark parts them, ours open none
        cells = [cell for row in csv.reader(io.StringIO(table), delimiter=parting) for cell in row]
        assert [cell for cell in cells if cell.strip(' "')[:1] in set("=+-@")] == []
    back = [row["name"] for row in csv.DictReader(io.StringIO(table))]
    assert [one.replace("'", "") for one in back] == [one.replace("\t", "?") for one in names]


def test_usage_is_written_with_what_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An hour of which nobody told is `?` and not 0; a client's name is no formula; a file that is there stays."""
    hour = {"hour": "2026-01-31T12:00:00Z", "client_id": "c", "provider": "openai", "leases": 2, "permits": 0}
    hours = [
        hour | {"calls": None, "calls_failed": None, "untold": 1},
        hour | {"calls": 3, "calls_failed": 0, "untold": 1},
    ]
    monkeypatch.setattr(usage, "call", lambda *_, **__: None)
    monkeypatch.setattr(
        usage, "run", lambda _: {"hours": hours, "gaps": [], "compared": [], "refused": [], "counted": []}
    )
    monkeypatch.setattr(usage, "names", lambda _: {"c": "=cmd()"})
    for name in ("say", "tell"):
        monkeypatch.setattr(usage, name, lambda *_, **__: None)
    monkeypatch.setattr(usage, "session", lambda: SimpleNamespace(as_json=False))
    file = tmp_path / "usage.csv"
    usage.usage(file=file)
    rows = list(csv.DictReader(file.open()))
    assert [(row["client"], row["calls"], row["calls_failed"]) for row in rows] == [
        ("'=cmd()", "?", "?"), ("'=cmd()", "3+", "0+"),
    ]  # fmt: skip
    with pytest.raises(Rejected):
        usage.usage(file=file)


def test_a_document_of_records_says_what_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json a page that is not the last says on standard error how many are left and where they go on."""
    page: dict[str, Any] = {"records": [{"seq": 9}], "folded": 0, "left": 8, "counted": True, "next": 9}
    monkeypatch.setattr(audit, "call", lambda *_, **__: None)
    monkeypatch.setattr(audit, "run", lambda _: page)
    for name in ("say", "tell"):
        monkeypatch.setattr(audit, name, lambda *_, **__: None)
    monkeypatch.setattr(audit, "again", str)
    monkeypatch.setattr(audit, "session", lambda: SimpleNamespace(as_json=True))
    audit.list_()
    assert "8 older records are left: --before 9" in capsys.readouterr().err
    page |= {"left": 0, "next": None}
    audit.list_()
    assert capsys.readouterr().err == ""
