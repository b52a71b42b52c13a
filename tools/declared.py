"""What a distribution imports is declared by it, and what it declares is named in it: ``python -m tools.declared``.

An import that nobody declared works where something else happens to bring the package along. Looked at is the code of
each distribution in src/, with what it imports by name (``import_module("tink")``); the packages come from the
environment, where the developers' lock file has put all of them.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.tree import ROOT, Fault, python_files, report

BY_NAME = {"import_module", "find_spec"}
OURS = ("byokeep", "byokeep_redact", "byokeep_sim")


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of each module that a file imports."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((node.lineno, one.name) for one in node.names)
            case ast.ImportFrom(module=str(name), level=0):
                yield node.lineno, name
            case ast.Call(func=ast.Name(id=call) | ast.Attribute(attr=call), args=[ast.Constant(value=str(name)), *_]):
                if call in BY_NAME:
                    yield node.lineno, name


def named(tree: ast.Module) -> set[str]:
    """Every word of a file that may name a module: what it imports, and texts."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {name.partition(".")[0] for name in texts | {name for _, name in imported(tree)}}


def faults_of(project: Path, files: list[Path], packages: dict[str, list[str]]) -> list[Fault]:
    """Imports of ``files`` that the distribution in ``project`` does not declare, and declarations without a use.

    Args:
        project: Folder with its pyproject.toml.
        files: Its Python files.
        packages: Name of an import -> the distributions that bring it.
    """
    table = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    extras = table.get("optional-dependencies", {})
    texts = [*table["dependencies"], *(text for name, texts in extras.items() if name != "dev" for text in texts)]
    declared = {canonicalize_name(Requirement(text.replace("{root:uri}", "file:///")).name) for text in texts}
    own = canonicalize_name(table["name"])
    faults, words = [], set()
    for file in files:
        tree = ast.parse(file.read_text("utf-8"))
        words |= named(tree)
        for line, name in imported(tree):
            top = name.partition(".")[0]
            bring = {canonicalize_name(one) for one in packages.get(top, [])}
            if top not in sys.stdlib_module_names and not bring & {*declared, own}:
                faults.append(Fault(str(file.relative_to(ROOT)), line, f"{top} is not declared by {own}"))
    used = {canonicalize_name(one) for word in words for one in packages.get(word, [])}
    unused = declared - used
    return faults + [Fault(str((project / "pyproject.toml").relative_to(ROOT)), 0, f"nothing imports {one}")
                     for one in sorted(unused)]  # fmt: skip


def main() -> int:
    """Look at each distribution of this tree."""
    packages = {**packages_distributions(), **{name: [name] for name in OURS}}
    found = python_files(ROOT, "src")
    faults = []
    for name in OURS:
        project = ROOT if name == "byokeep" else ROOT / "src" / name
        faults += faults_of(project, [file for file in found if file.is_relative_to(ROOT / "src" / name)], packages)
    return report("declared", faults, len(found))


if __name__ == "__main__":
    raise SystemExit(main())
