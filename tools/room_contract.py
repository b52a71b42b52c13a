"""An import-linter contract for rooms: an allow-list of who may import whom, in one table.

import-linter's own contracts name what is forbidden, and refuse a module that does not exist. An allow-list fails
closed: a room that no rule names may import nothing of ours and be imported by nobody. Only direct imports are looked
at; an indirect one is made of direct ones, and each of these has its own rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from grimp import ImportGraph
from importlinter.application import output
from importlinter.domain import fields
from importlinter.domain.contract import Contract, ContractCheck


@dataclass(frozen=True)
class Rule:
    """``left`` names a room, relative to the first package; ``names`` are rooms (allow) or libraries (forbid)."""

    left: str
    names: tuple[str, ...]


def parse_rule(text: str, separator: str) -> Rule:
    """``"flows -> core, ports"`` with ``separator`` ``"->"``. Raises ValueError when a side is missing."""
    left, found, right = text.partition(separator)
    names = tuple(name.strip() for name in right.split(",") if name.strip())
    if not found or not left.strip() or not names:
        raise ValueError(f"not a rule: {text!r}")
    return Rule(left.strip(), names)


def room_of(module: str, rules: Iterable[Rule]) -> tuple[str, Rule] | None:
    """The most specific room that holds ``module`` (relative name), as its own full name, and the room's rule."""
    best: tuple[str, Rule] | None = None
    parts = module.split(".")
    for rule in rules:
        pattern = rule.left.split(".")
        fits = len(pattern) <= len(parts) and all(p in ("*", q) for p, q in zip(pattern, parts, strict=False))
        if fits and (best is None or len(pattern) > len(best[0].split("."))):
            best = (".".join(parts[: len(pattern)]), rule)
    return best


def inside(module: str, room: str) -> bool:
    """Whether ``module`` is ``room`` or lies in it."""
    return module == room or module.startswith(room + ".")


def relative(module: str, root: str) -> str:
    """The name of ``module`` without ``root``; of a module of another package the whole name."""
    return module.removeprefix(root).removeprefix(".") if inside(module, root) else module


def verdict(importer: str, imported: str, rules: list[Rule]) -> str | None:
    """Why ``importer`` may not import ``imported`` (both as of :func:`relative`); None when it may."""
    if imported == "":
        return None  # the first package holds the version alone
    room = room_of(importer, rules)
    if room is None:
        return "its room has no rule"
    name, rule = room
    if inside(imported, name) or any(inside(imported, allowed) for allowed in rule.names):
        return None
    return f"{rule.left} may import {', '.join(rule.names)}"


def trespass(importer: str, imported: str, edges: list[Rule]) -> str | None:
    """Why ``importer`` may not import an edge of a domain (``"*.routes only for web"``); None when it may."""
    for edge in edges:
        if fnmatchcase(imported, edge.left) and not any(inside(importer, allowed) for allowed in edge.names):
            return f"{edge.left} is only for {', '.join(edge.names)}"
    return None


class RoomContract(Contract):
    """Options: ``rules`` (``"flows -> core, ports"``), ``outside`` (``"core may not import asyncio, os"``), ``edges``
    (``"*.routes only for web"``: what lies in a domain's folder and is no part of its flows).
    """

    type_name = "rooms"

    rules = fields.ListField(subfield=fields.StringField())
    outside = fields.ListField(subfield=fields.StringField())
    edges = fields.ListField(subfield=fields.StringField(), default=[])

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Judge every direct import that leaves a module of ours; zero modules looked at is not a pass."""
        roots = self.session_options["root_packages"]
        rules = [parse_rule(text, "->") for text in _texts(self.rules)]
        bans = [parse_rule(text, " may not import ") for text in _texts(self.outside)]
        edges = [parse_rule(text, " only for ") for text in _texts(self.edges)]
        ours = [module for module in graph.modules if _of(module, roots)]
        faults = [f"no module of {root} was found" for root in roots if sum(inside(one, root) for one in ours) <= 1]
        for importer in sorted(ours):
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                reason = self._judge(roots, importer, imported, rules, bans)
                reason = reason or trespass(relative(importer, roots[0]), relative(imported, roots[0]), edges)
                if reason:
                    details = graph.get_import_details(importer=importer, imported=imported)
                    lines = ", ".join(str(detail["line_number"]) for detail in details)
                    faults.append(f"{importer} -> {imported} (line {lines}): {reason}")
        return ContractCheck(kept=not faults, metadata={"faults": faults})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line for each import that is not allowed."""
        for fault in check.metadata["faults"]:
            output.print_error(fault)
        output.new_line()

    @staticmethod
    def _judge(roots: list[str], importer: str, imported: str, rules: list[Rule], bans: list[Rule]) -> str | None:
        """Why one import is refused, ours or a library's; None when it is allowed."""
        name = relative(importer, roots[0])
        if _of(imported, roots):
            return verdict(name, relative(imported, roots[0]), rules) if name else "the root imports nothing"
        library = imported.partition(".")[0]
        of_edges = [ban for ban in bans if fnmatchcase(name, ban.left)]
        for ban in of_edges or [ban for ban in bans if inside(name, ban.left)]:
            if library in ban.names:
                return f"{ban.left} may not import {library}"
        return None


def _of(module: str, roots: Iterable[str]) -> bool:
    return any(inside(module, root) for root in roots)


def _texts(value: Any) -> list[str]:
    """The parsed values of a list field, which import-linter's own types do not describe."""
    return [str(item) for item in value]
