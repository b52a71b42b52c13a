"""Which requirement is asserted by which test: ``python -m tools.requirements`` writes docs/requirements.md.

The ids are in docs/requirement-ids.tsv (id, text, scope), the reasons for uncovered ones in
docs/requirement-notes.tsv (id, reason). A test claims ids with ``@pytest.mark.req("R5.1-3", ...)`` as a decorator of
the test function. The claims are read from the syntax tree, so nothing is imported or run. An unknown id, a claim that
is no decorator of a test, a claim by a test that asserts nothing, a double row and a reason for a covered id are
faults. ``--check`` writes nothing and fails when the document differs from what would be written. What `make mutants`
found last (docs/mutants.tsv) is shown at the end.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from tools.tree import ROOT, Fault, python_files

IDS = "docs/requirement-ids.tsv"
NOTES = "docs/requirement-notes.tsv"
DOCUMENT = "docs/requirements.md"
MUTANTS = "docs/mutants.tsv"
SCOPES = ("core", "later")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Row:
    """One requirement: its id, its sentence, and whether it is in this release (``core``) or not (``later``)."""

    id: str
    text: str
    scope: str


@dataclass(frozen=True)
class Claim:
    """The test ``test`` (path::name) says that it asserts the requirement ``id``."""

    id: str
    test: str


def read_table(root: Path, name: str, columns: int) -> tuple[list[list[str]], list[Fault]]:
    """Rows of a tab-separated file, comments and blank lines left out, and its faults: wrong columns, doubles."""
    path = root / name
    rows: list[list[str]] = []
    faults: list[Fault] = []
    lines = path.read_text().splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != columns or not all(cells):
            faults.append(Fault(name, number, f"{columns} columns, parted by tabs, none empty"))
        elif any(cells[0] == row[0] for row in rows):
            faults.append(Fault(name, number, f"{cells[0]} stands here twice"))
        else:
            rows.append(cells)
    return rows, faults


def is_req(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether ``node`` is a call of ``pytest.mark.req``, or of ``mark.req``."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "req":
        return False
    owner = node.func.value
    return (isinstance(owner, ast.Attribute) and owner.attr == "mark") or (
        isinstance(owner, ast.Name) and owner.id == "mark"
    )


def asserts(function: Function, local: dict[str, Function], seen: frozenset[str] = frozenset()) -> bool:
    """Whether ``function`` can fail by an assertion: its own, ``pytest.raises``, or that of a function it calls.

    A called function counts by its name (``assert_…``, ``expect_…``) or, when it stands in the same file, by its body.
    """
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name == "raises" or name.startswith(("assert_", "expect_")):
            return True
        if name in local and name not in seen and asserts(local[name], local, seen | {name}):
            return True
    return False


def claims_of(path: str, text: str) -> tuple[list[Claim], list[Fault]]:
    """The claims made in one test file, and its faults."""
    tree = ast.parse(text)
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    local = {function.name: function for function in functions}
    collected = Path(path).name.startswith("test_")
    claims: list[Claim] = []
    faults: list[Fault] = []
    at_home: set[int] = set()
    for function in functions:
        for mark in filter(is_req, function.decorator_list):
            at_home.add(id(mark))
            values = [argument.value for argument in mark.args if isinstance(argument, ast.Constant)]
            names = [value for value in values if isinstance(value, str)]
            if not names or len(names) != len(mark.args) or mark.keywords:
                faults.append(Fault(path, mark.lineno, "a claim lists ids, as plain strings"))
            elif not collected or not function.name.startswith("test_"):
                faults.append(Fault(path, mark.lineno, f"{function.name} is not a test that is run"))
            elif not asserts(function, local):
                faults.append(Fault(path, mark.lineno, f"{function.name} claims {names} and asserts nothing"))
            else:
                claims += [Claim(name, f"{path}::{function.name}") for name in names]
    for node in ast.walk(tree):
        if is_req(node) and id(node) not in at_home:
            faults.append(Fault(path, node.lineno, "a claim is a decorator of one test function"))
    return claims, faults


def gather(root: Path) -> tuple[list[Row], dict[str, str], dict[str, list[str]], list[Fault]]:
    """The rows, the reasons by id, the tests by id, and the faults."""
    cells, faults = read_table(root, IDS, 3)
    rows = [Row(*row) for row in cells]
    known = {row.id for row in rows}
    faults += [Fault(IDS, 0, f"{row.id}: the scope is one of {SCOPES}") for row in rows if row.scope not in SCOPES]
    if not rows:
        faults.append(Fault(IDS, 0, "holds no requirement"))
    tests: dict[str, list[str]] = {}
    for path in python_files(root, "tests"):
        name = path.relative_to(root).as_posix()
        claims, found = claims_of(name, path.read_text())
        faults += found
        for claim in claims:
            if claim.id not in known:
                faults.append(Fault(name, 0, f"{claim.test.split('::')[1]} claims {claim.id}, which does not exist"))
            tests.setdefault(claim.id, []).append(claim.test)
    cells, found = read_table(root, NOTES, 2)
    faults += found
    notes = {row[0]: row[1] for row in cells}
    for name in notes:
        if name not in known:
            faults.append(Fault(NOTES, 0, f"{name} does not exist"))
        elif name in tests:
            faults.append(Fault(NOTES, 0, f"{name} is covered: drop its reason"))
    return rows, notes, tests, faults


def totals(rows: list[Row], tests: dict[str, list[str]]) -> dict[str, tuple[int, int]]:
    """For each scope: how many rows are covered, of how many."""
    counted = {}
    for scope in SCOPES:
        ids = [row.id for row in rows if row.scope == scope]
        counted[scope] = (sum(name in tests for name in ids), len(ids))
    return counted


def noticed(root: Path) -> list[str]:
    """The lines that say what `make mutants` found when it ran last; none when it never did."""
    path = root / MUTANTS
    found = [line.split("\t") for line in path.read_text().splitlines()] if path.is_file() else []
    by_id: dict[str, list[list[str]]] = {}
    pure: list[list[str]] = []
    for cells in found:
        if len(cells) == 6 and cells[0] == "pure":
            pure.append(cells)
        elif len(cells) == 6 and cells[0] == "fault":
            for name in cells[2].split():
                by_id.setdefault(name, []).append(cells)
    if not by_id and not pure:
        return []
    lines = [
        "", "## Whether the tests notice", "",
        "Written from docs/mutants.tsv, which `make mutants` writes: faults made by hand in a copy of the tree",
        "(tests/mutants/faults.toml), and mutants of the pure modules. The date is that of the last run.",
    ]  # fmt: skip
    if by_id:
        lines += ["", "| id | faults | caught | last run |", "|---|---|---|---|"]
    for name, those in sorted(by_id.items()):
        caught = sum(cells[4] in ("caught", "timeout") for cells in those)
        lines.append(f"| {name} | {len(those)} | {caught} | {max(cells[3] for cells in those)} |")
    if pure:
        lines += ["", "| pure module | mutants | noticed | share | last run |", "|---|---|---|---|---|"]
    for _, module, _, date, few, of in sorted(pure):
        lines.append(f"| `{module}` | {of} | {few} | {100 * int(few) / int(of):.1f} % | {date} |")
    return lines


def document(
    rows: list[Row], notes: dict[str, str], tests: dict[str, list[str]], last: Sequence[str] = ()
) -> str:
    """The text of docs/requirements.md."""
    titles = {"core": "In this release", "later": "Not in this release"}
    lines = [
        "# Requirements and the tests that assert them",
        "",
        "Written by `make requirements` from the markers in the tests; edits are overwritten. A row counts as covered",
        "when a test claims it and asserts something; whether it asserts the right thing is for the reader to judge.",
    ]
    for scope, (covered, of) in totals(rows, tests).items():
        lines += ["", f"## {titles[scope]}: {covered} of {of} covered", ""]
        lines += ["| id | requirement | tests | why not |", "|---|---|---|---|"]
        for row in rows:
            if row.scope == scope:
                shown = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in sorted(set(tests.get(row.id, []))))
                cells = [row.id, row.text, shown, notes.get(row.id, "")]
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, *last]) + "\n"


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the document, or with ``--check`` compare it; the exit code is 1 on a fault or a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the document is out of date")
    parser.add_argument("--uncovered", action="store_true", help="list the uncovered rows of this release")
    options = parser.parse_args(argv)
    rows, notes, tests, faults = gather(root)
    text = document(rows, notes, tests, noticed(root))
    path = root / DOCUMENT
    if not options.check:
        path.write_text(text)
    elif not path.is_file() or path.read_text() != text:
        faults.append(Fault(DOCUMENT, 0, "out of date: run `make requirements`"))
    for fault in sorted(faults):
        print(fault)
    if options.uncovered:
        for row in rows:
            if row.scope == "core" and row.id not in tests:
                print(f"{row.id:12} {row.text}" + (f"  [{notes[row.id]}]" if row.id in notes else ""))
    for scope, (covered, of) in totals(rows, tests).items():
        reasoned = sum(row.scope == scope and row.id in notes for row in rows)
        print(f"requirements, {scope}: {covered} of {of} covered, {reasoned} of the others with a reason")
    print(f"requirements: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
