"""What the product says, read as text: no words that nobody outside would understand, no commands that do not exist."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from unittest.mock import Mock

import pytest

from byokeep.cli.main import app
from byokeep.core.next_steps import of_outcome
from byokeep.portal.keys import _words_of
from tests.unit.test_cli_layout import commands
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


def test_every_command_that_is_named_exists_and_has_the_options_that_it_needs() -> None:
    """Whoever copies one out of a message is not told that there is none, or that it lacks something."""
    known, faults = dict(commands(app)), []
    files = [file for kind in ("py", "toml", "html") for file in sorted(SOURCE.rglob(f"*.{kind}"))]
    named = re.compile(r"(?:`|<code>)byokeep ([a-z][^`<]*)|\bagain\(f?\"([a-z][^\"]*)\"")
    found = [match[1] or match[2] for file in files for match in named.finditer(file.read_text().replace("\\\n", ""))]
    assert len(found) > 300
    for text in found:
        words = re.sub(r"\{[^{}]*\}", " X", text.removesuffix(" --help")).split()
        name = next((it for n in range(len(words), 0, -1) if (it := " ".join(words[:n])) in known), "")
        group = any(one.startswith(f"{' '.join(words).partition(' X')[0]} ") for one in known)
        takes = inspect.signature(known[name].default_command).parameters.values() if name else ()
        needed = [one.name for one in takes if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
        whole = words != name.split() and not text.endswith("--help")  # it is given with what it takes
        if (not name and not group) or (whole and not {f"--{one.replace('_', '-')}" for one in needed} <= set(words)):
            faults.append(text)
    assert faults == [], faults


def test_a_client_is_told_nothing_that_only_the_agency_can_do() -> None:
    """At the portal, of a key that failed: words for its owner, or that the agency looks at it."""
    for reason in (*of_outcome(), "secret_in_logs", "redirect_refused/2"):
        told = _words_of(Mock(state="failed", run=Mock(reason=reason)))
        assert not re.search(r"(?i)\bclient\b|verify again|configured|network|runbook|procedure|region|`", told), told
    assert _words_of(Mock(state="failed", run=Mock(reason="secret_in_logs"))) != ""
