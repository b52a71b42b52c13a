"""What the product says, read as text: the words that nobody outside would understand are not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tools.tree import ROOT

SOURCE = ROOT / "src" / "byokeep"
UNWANTED = {
    "can not": re.compile(r"\bcan not\b"),
    "the name of a document of ours": re.compile(r"\bSOPs?\b"),
    "a programmer's word for the end of a line": re.compile(r"trailing newline"),
    "a placeholder that is no name": re.compile(r"\bYOU\b"),
}


def said(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The string constants of a module that are no docstrings, and the docstrings of commands: both are shown."""
    silent = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        command = isinstance(node, ast.FunctionDef) and any("command" in ast.dump(one) for one in node.decorator_list)
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and not command:
            silent.add(first.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in silent:
            yield node.lineno, node.value


@cache
def everything() -> list[tuple[str, str]]:
    """What the modules of the product say, each with its place."""
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 200
    return [
        (f"{file.relative_to(SOURCE)}:{line}", text)
        for file in files
        for line, text in said(ast.parse(file.read_text()))
    ]


@pytest.mark.parametrize("why", UNWANTED)
def test_no_message_says_it(why: str) -> None:
    """In no string of the product that may reach a person."""
    found = [f"{place}: {text[:60]}" for place, text in everything() if UNWANTED[why].search(text)]
    assert found == []
