"""Error codes that a caller of web or broker can see, from where they are raised; :mod:`tools.openapi` writes the page.

A code is the first argument of an error class. Where that is a variable, its values are looked for in the function, at
the places that call the function, or in what the name means in the module; one that cannot be found is a fault. The
next step is told of a code where the two come together: at the call that brings both, after the last assignment before.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tools.tree import ROOT, Fault

PAGE = "docs/errors.md"
# What stands behind the ports of web and broker, and why a rotation stopped; what these two import is found.
BEHIND = (
    "adapters/blobs", "adapters/files/append", "adapters/files/checkpoints", "adapters/files/reserve",
    "adapters/files/tombstones", "adapters/openbao/audit", "adapters/openbao/login", "adapters/openbao/ports",
    "adapters/openid", "adapters/postgres/database", "adapters/postgres/connections",
    "adapters/providers/descriptor", "keys/mint", "keys/old_version", "wire/bao_http", "wire/transport",
)  # fmt: skip
HEAD = """\
# Error codes

Written by `python -m tools.openapi --write` from where the errors are raised; the check fails when they differ.
A refusal is a problem document (RFC 9457) with `code`, `request_id` and `next_step`; its further fields are ids, enum
values and numbers that explain the code. Which statuses a route can answer stands in [openapi/](openapi/). What stands
in braces depends on the case; where nothing is said of what to do next, the class says it:

{classes}
| code | class | status | further fields | what to do next |
|---|---|---|---|---|
"""


@dataclass
class Code:
    """A code: the classes it is raised as, the fields that explain it, and what each place says to do."""

    classes: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    steps: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """A module and the calls in it, each with the function around it; ``name`` is dotted."""

    name: str
    path: str
    calls: list[tuple[ast.Call, ast.AST | None]]


def sources(loaded: Iterable[str]) -> list[Source]:
    """The modules that a call of web or broker can pass through; ``loaded``: those that the two import."""
    paths: set[Path] = set()
    for name in loaded:
        if name.startswith("byokeep."):
            place = ROOT / "src" / Path(*name.split("."))
            paths.add(place / "__init__.py" if place.is_dir() else place.with_suffix(".py"))
    for behind in BEHIND:
        place = ROOT / "src/byokeep" / behind
        paths |= set(place.rglob("*.py")) if place.is_dir() else {place.with_suffix(".py")}
    found = []
    for path in sorted(paths):
        name = path.relative_to(ROOT).as_posix()
        dotted = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        found.append(Source(dotted, name, list(_calls(ast.parse(path.read_text(encoding="utf-8"))))))
    return found


def codes(read: list[Source]) -> tuple[dict[str, Code], list[Fault]]:
    """Every code, and the places whose code cannot be found."""
    from byokeep.core.errors import KINDS  # noqa: PLC0415 - found by the path that tools.openapi sets

    classes = {kind.__name__ for kind in KINDS.values()}
    found: dict[str, Code] = {}
    faults = []
    for source in read:
        for call, around in source.calls:
            if not (isinstance(call.func, ast.Name) and call.args):
                continue
            kind = _refused(call) if call.func.id == "refusing" else call.func.id
            if kind not in classes:
                continue
            step = next((one.value for one in call.keywords if one.arg == "next_step"), None)
            said = dict(_by_code(step, around, source))
            told = [
                (code, [said[code]] if code in said else _values(then, within, other, read) if then else ())
                for first, then, within, other in _brought(call.args[0], step, around, source, read)
                for code in set(_values(first, within, other, read)) or set(said)
            ]
            if not told:
                faults.append(Fault(source.path, call.lineno, "nobody can tell which code this error has"))
            for code, steps in told:
                kept = found.setdefault(code, Code())
                kept.classes.add(kind)
                kept.fields |= {one.arg for one in call.keywords if one.arg not in (None, "next_step", "on")}
                kept.steps += [one for one in steps if one and one not in kept.steps]
    return found, faults


def _brought(
    code: ast.expr, step: ast.expr | None, around: ast.AST | None, source: Source, read: list[Source]
) -> Iterator[tuple[ast.expr, ast.expr | None, ast.AST | None, Source]]:
    """A code and its step where they stand together: at each call that brings both, else where the error is raised."""
    if isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef) and isinstance(step, ast.Name):
        given = _parameters(around)
        if isinstance(code, ast.Name) and {code.id, step.id} <= set(given):
            first, then = given.index(code.id), given.index(step.id)
            least = dict(zip(reversed(given), reversed(around.args.defaults), strict=False))
            for call, within, other in _callers(around, read):
                if len(call.args) > first:
                    brought = call.args[then] if len(call.args) > then else least.get(step.id)
                    yield call.args[first], brought, within, other
            return
    yield code, step, around, source


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [one.arg for one in (*function.args.posonlyargs, *function.args.args)]


def _callers(
    function: ast.FunctionDef | ast.AsyncFunctionDef, read: list[Source]
) -> Iterator[tuple[ast.Call, ast.AST | None, Source]]:
    for other in read:
        for call, within in other.calls:
            called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if called == function.name and within is not function:
                yield call, within, other


def _refused(call: ast.Call) -> str:
    """The class that :func:`byokeep.core.errors.refusing` raises."""
    return ast.unparse(call.args[1]) if len(call.args) > 1 else "Integrity"


def _by_code(step: ast.expr | None, around: ast.AST | None, source: Source) -> Iterator[tuple[str, str]]:
    """The steps of a table that the code is looked up in."""
    if not (isinstance(step, ast.Subscript) and isinstance(step.value, ast.Name)):
        return
    for node in ast.walk(around) if around else ():
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and step.value.id in map(
            ast.unparse, node.targets
        ):  # fmt: skip
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                for code in _values(key, None, source, []) if key else ():
                    yield code, _text(value)
    table = getattr(importlib.import_module(source.name), step.value.id, None)
    if isinstance(table, Mapping):
        yield from ((str(code), str(text)) for code, text in table.items())


def _calls(tree: ast.AST, around: ast.AST | None = None) -> Iterator[tuple[ast.Call, ast.AST | None]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield node, around
        yield from _calls(node, node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else around)


def _values(node: ast.expr, around: ast.AST | None, source: Source, read: list[Source]) -> Iterator[str]:
    """What an expression can be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        head = node.values[0]  # what a text begins with may have been assigned before, also to the same name
        named = head.value if isinstance(head, ast.FormattedValue) else None
        before = _assigned(named, around) if isinstance(named, ast.Name) and around else ()
        starts = [text for value in before for text in _values(value, around, source, read)]
        rest = _text(ast.JoinedStr(node.values[1:]))
        yield from [start + rest for start in starts] or [_text(node)]
    elif isinstance(node, ast.IfExp | ast.BoolOp):
        for inner in (node.body, node.orelse) if isinstance(node, ast.IfExp) else node.values:
            yield from _values(inner, around, source, read)
    elif isinstance(node, ast.Call):  # {...}.get(key, default), next(..., default)
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Dict):
            for value in node.func.value.values:
                yield from _values(value, around, source, read)
        for argument in node.args[1:]:
            yield from _values(argument, around, source, read)
    elif isinstance(node, ast.Name) and isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from _of_name(node, around, source, read)
    else:
        yield from _meant(node, around, source)


def _of_name(
    name: ast.Name, around: ast.FunctionDef | ast.AsyncFunctionDef, source: Source, read: list[Source]
) -> Iterator[str]:
    parameters = _parameters(around)
    for value in _assigned(name, around):
        yield from _values(value, around, source, read)
    if name.id in parameters:
        place = parameters.index(name.id)
        for call, within, other in _callers(around, read):
            if len(call.args) > place:
                yield from _values(call.args[place], within, other, read)
    else:
        yield from _meant(ast.Name(name.id), around, source)


def _assigned(name: ast.Name, around: ast.AST) -> list[ast.expr]:
    """What was assigned to a name where it is read: by the last assignment before it that no branch can pass by."""
    found: list[ast.expr] = []
    block = around
    while block is not name:
        inner = next(node for node in ast.iter_child_nodes(block) if any(one is name for one in ast.walk(node)))
        for body in (getattr(block, part, None) for part in ("body", "orelse", "finalbody")):
            before = body[: body.index(inner)] if isinstance(body, list) and inner in body else ()
            for statement in before:
                values = [
                    node.value
                    for node in ast.walk(statement)
                    if isinstance(node, ast.Assign)
                    and any(isinstance(one, ast.Name) and one.id == name.id for one in node.targets)
                ]
                found = values if values and isinstance(statement, ast.Assign) else found + values
        block = inner
    return found


def _meant(node: ast.expr, around: ast.AST | None, source: Source) -> Iterator[str]:
    """What a name means in its module; of ``fault.value`` every value of the parameter's enum."""
    names = ast.unparse(node).split(".")
    module = importlib.import_module(source.name)
    if names[-1] == "value" and isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef):
        for one in (*around.args.args, *around.args.kwonlyargs):
            kind = getattr(module, ast.unparse(one.annotation), None) if one.annotation else None
            if one.arg == names[0] and isinstance(kind, type) and issubclass(kind, StrEnum):
                yield from map(str, kind)
    value: object = module
    for name in names:
        value = getattr(value, name, None)
    if isinstance(value, str):
        yield str(value)


def _text(node: ast.expr) -> str:
    """A text as it stands in the program; what is put into it in braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{_named(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    return ""


def _named(node: ast.expr) -> str:
    """What stands in braces, as short as it can be named."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else "..."


def page(loaded: Iterable[str]) -> tuple[str, list[Fault]]:
    """The whole page, and what is wrong with it; ``loaded`` as for :func:`sources`."""
    from byokeep.core import errors  # noqa: PLC0415 - as above
    from byokeep.http.request import STATUS  # noqa: PLC0415

    found, faults = codes(sources(loaded))
    lines = []
    for code, kept in sorted(found.items()):
        faults += [Fault(PAGE, 0, f"a step of {code} begins nowhere") for one in kept.steps if one.startswith("{step}")]
        named = sorted(kept.classes)
        statuses = sorted({STATUS.get(code, getattr(errors, name).http_status) for name in named})
        steps = " / ".join(" ".join(step.split()).replace("|", "\\|") for step in kept.steps)
        fields = ", ".join(f"`{name}`" for name in sorted(kept.fields))
        lines.append(f"| `{code}` | {', '.join(named)} | {', '.join(map(str, statuses))} | {fields} | {steps} |\n")
    classes = [f"- {kind.__name__}, {kind.http_status}: {kind.__doc__}\n" for kind in errors.KINDS.values()]
    return HEAD.replace("{classes}\n", "".join(classes) + "\n") + "".join(lines), faults
