"""No file of src over 900 lines, no function over 60. A stop, not an aim: files are split by idea, never by length.

``python -m tools.size_report`` lists the largest of both and fails on the ones over the limit. It also counts the lines
of code of each room, beside the budget of all (ADR 0064, ADR 0083), which fails nothing: whoever is over it looks for
what exists twice.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from pathlib import Path
from statistics import median

from tools.tree import ROOT, Fault, python_files, report

FILE_LINES = 900
FUNCTION_LINES = 60
SHOWN = 5
BUDGET = 62_735  # lines of code, ADRs 0083, 0094 and 0098; what is taken out stays out
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def functions_of(tree: ast.Module) -> list[tuple[int, int, str]]:
    """Length in lines (decorators left out), first line and name of every function, nested ones too."""
    return [
        ((node.end_lineno or node.lineno) - node.lineno + 1, node.lineno, node.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def code_lines(text: str) -> set[int]:
    """Numbers of the lines with code: not blank, no comment, no docstring."""
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            docs |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            code |= set(range(token.start[0], token.end[0] + 1))
    return code - docs


def import_lines(text: str) -> int:
    """How many lines are imports."""
    found = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom))
    return sum((node.end_lineno or 0) - node.lineno + 1 for node in found)


def say_code(root: Path) -> None:
    """Print lines of code: of each room, of all beside the budget, of the median file, and the share of imports."""
    rooms: Counter[str] = Counter()
    texts = {path.relative_to(root / "src").parts: path.read_text() for path in python_files(root, "src")}
    lines = {parts: len(code_lines(text)) for parts, text in texts.items()}
    for parts, count in lines.items():
        rooms[parts[1] if parts[0] == "byokeep" and len(parts) > 2 else parts[0]] += count
    total, files = rooms.total(), [count for count in lines.values() if count]
    share = sum(map(import_lines, texts.values())) / total
    print(f"lines of code: {total:,}, the budget is {BUDGET:,}; {len(files)} files, median {median(files):.0f}", end="")
    print(f", imports {share:.0%}; " + ", ".join(f"{name} {count:,}" for name, count in rooms.most_common()))


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
    """Print the lines of code, the largest files and functions, then the faults."""
    say_code(ROOT)
    faults, sizes, functions = measure(ROOT)
    for title, rows in (("files", sizes), ("functions", functions)):
        print(f"largest {title}: " + ", ".join(f"{name} ({lines})" for lines, name in rows[:SHOWN]))
    return report("size_report", faults, len(sizes))


if __name__ == "__main__":
    raise SystemExit(main())
