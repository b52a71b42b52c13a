"""How many modules two calls pass through, from the command to the adapters: the table in docs/architecture.md."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from tools.tree import ROOT

SOURCE = ROOT / "src"
PROFILES = "byokeep.profiles."
# What a worker does for each kind of work: of this table a call passes through its own entry alone.
BY_KIND = (f"{PROFILES}tasks", "_DOING")
LOGIN = (
    "cli:login", "routes:acts.login", "routes:acts.asked", "tasks:register.profile_work", "login:log_in",
)  # fmt: skip
ROTATION = (
    "cli:rotate", "routes:kek_acts.rotate", "kek_tasks:register.rotate_task", "kek_tasks:register.rewrap_task",
)  # fmt: skip
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
Place = tuple[str, str]  # a module, and a function or class in it


@cache
def tree_of(module: str) -> ast.Module | None:
    """The syntax of a module of byokeep; None when there is no such module."""
    place = SOURCE / module.replace(".", "/")
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if module.startswith("byokeep.") and file.is_file():
            return ast.parse(file.read_text("utf-8"))
    return None


@cache
def names_of(module: str) -> dict[str, ast.stmt | str]:
    """What a module defines at its top level, and what it imports, by the whole name of that."""
    found: dict[str, ast.stmt | str] = {}
    tree = tree_of(module)
    for node in tree.body if tree else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {one.id: node for one in targets if isinstance(one, ast.Name)}
    return found | imports_of(tree.body if tree else [])


def imports_of(nodes: list[ast.stmt]) -> dict[str, str]:
    found = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            found |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return found


def defined(module: str, name: str) -> Place | None:
    """Where what a module knows by a name is defined, through as many imports as it takes."""
    known = names_of(module).get(name)
    if isinstance(known, str):
        owner, _, own = known.rpartition(".")
        return defined(owner, own)
    return (module, name) if known is not None else None


def used(module: str, node: ast.AST) -> set[Place]:
    """What of byokeep a piece of code names; the types of parameters and results are not passed through."""
    for one in ast.walk(node):
        for field in ("annotation", "returns"):
            if hasattr(one, field) and not isinstance(one, ast.AnnAssign):
                setattr(one, field, None)
    own: dict[str, ast.stmt | str] = {**names_of(module)}
    own |= imports_of([one for one in ast.walk(node) if isinstance(one, ast.ImportFrom)])
    found = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and one.id in own:
            known = own[one.id]
            place = defined(*known.rpartition(".")[::2]) if isinstance(known, str) else (module, one.id)
            found |= {place} if place else set()
        elif isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name):
            known = own.get(one.value.id)
            place = defined(known, one.attr) if isinstance(known, str) and tree_of(known) else None
            found |= {place} if place else set()
    return found - {BY_KIND}


def reached(*entries: str) -> set[str]:
    """The modules that hold what is called from the entries (``module:function`` or ``module:function.inner``) on."""
    todo: list[Place] = []
    seen: set[Place] = set()
    for entry in entries:
        module, _, path = entry.partition(":")
        outer, _, inner = path.partition(".")
        node: ast.AST = names_of(module)[outer]  # type: ignore[assignment]
        if inner:
            node = next(one for one in ast.walk(node) if getattr(one, "name", "") == inner)
        seen.add((module, path))
        todo += used(module, node)
    while todo:
        place = todo.pop()
        if place not in seen:
            seen.add(place)
            node_ = names_of(place[0])[place[1]]
            assert not isinstance(node_, str)
            todo += used(place[0], node_)
    return {module for module, _ in seen}


@pytest.mark.parametrize(
    ("entries", "most", "named"),
    [
        (LOGIN, 8, "a profile logged in to"),
        (ROTATION, 6, "a client's KEK rotated"),
    ],
    ids=["login", "rotation"],
)
def test_a_call_passes_through_few_modules(entries: tuple[str, ...], most: int, named: str) -> None:
    """From command, route and task on: at most so many modules of its domain, and the document names just these."""
    passed = reached(*(PROFILES + entry for entry in entries))
    own = {module.removeprefix(PROFILES) for module in passed if module.startswith(PROFILES)}
    assert len(own) <= most, own
    (row,) = (line for line in ARCHITECTURE.splitlines() if line.startswith(f"| {named} |"))
    modules, everything = row.split("|")[2], row.split("|")[3]
    assert {
        name.removesuffix(".py") for name in modules.replace(",", " ").replace("`", " ").split() if ".py" in name
    } == own
    assert int(everything) == len(passed)


def test_the_count_follows_what_is_called() -> None:
    """Controls: a call through a module's name, an import inside a function, and one that is only a type."""
    assert (f"{PROFILES}login", "log_in") in used(f"{PROFILES}tasks", ast.parse("log_in(bench)"))
    assert (f"{PROFILES}kek", "queue_rewrap") in used(f"{PROFILES}kek_tasks", ast.parse("kek.queue_rewrap(tx)"))
    inside = ast.parse("def f():\n    from byokeep.profiles.incident import told\n    told()")
    assert (f"{PROFILES}incident", "told") in used(f"{PROFILES}cli", inside)
    assert used(f"{PROFILES}kek_tasks", ast.parse("def f(one: Opening) -> Kek: ...")) == set()
    assert len(reached(f"{PROFILES}vault_check:check_vault")) > 1
