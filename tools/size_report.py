"""No file of src over 900 lines, no function over 60. A stop, not an aim: files are split by idea, never by length.

``python -m tools.size_report`` lists the largest of both and fails on the ones over the limit. Migrations are the
exception: each is a record of one change, never grown.
"""

from __future__ import annotations

import ast
from pathlib import Path

from tools.tree import ROOT, Fault, python_files, report

FILE_LINES = 900
FUNCTION_LINES = 60
SHOWN = 5


def functions_of(tree: ast.Module) -> list[tuple[int, int, str]]:
    """Length in lines (decorators left out), first line and name of every function, nested ones too."""
    return [
        ((node.end_lineno or node.lineno) - node.lineno + 1, node.lineno, node.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def measure(root: Path) -> tuple[list[Fault], list[tuple[int, str]], list[tuple[int, str]]]:
    """The faults, then files and functions as (lines, name), all of ``root``/src."""
    faults: list[Fault] = []
    sizes: list[tuple[int, str]] = []
    functions: list[tuple[int, str]] = []
    for path in python_files(root, "src"):
        if "migrations" in path.parts:
            continue
        name = path.relative_to(root).as_posix()
        text = path.read_text()
        lines = len(text.splitlines())
        sizes.append((lines, name))
        if lines > FILE_LINES:
            faults.append(Fault(name, 0, f"{lines} lines, the limit is {FILE_LINES}"))
        for length, line, function in functions_of(ast.parse(text)):
            functions.append((length, f"{name}:{line} {function}"))
            if length > FUNCTION_LINES:
                faults.append(Fault(name, line, f"{function} has {length} lines, the limit is {FUNCTION_LINES}"))
    return faults, sorted(sizes, reverse=True), sorted(functions, reverse=True)


def main() -> int:
    """Print the largest files and functions, then the faults."""
    faults, sizes, functions = measure(ROOT)
    for title, rows in (("files", sizes), ("functions", functions)):
        print(f"largest {title}: " + ", ".join(f"{name} ({lines})" for lines, name in rows[:SHOWN]))
    return report("size_report", faults, len(sizes))


if __name__ == "__main__":
    raise SystemExit(main())
