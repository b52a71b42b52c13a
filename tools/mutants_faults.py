"""Faults made by hand: each is put into a copy of the tree, and the tests of its requirement must turn red.

The table is tests/mutants/faults.toml. ``find`` occurs exactly once in ``file``, otherwise the fault does not apply any
more, which is a failure: somebody has to say what the fault is now. ``tests`` names the tests that must see it; without
it they are those that claim one of its ids. A fault counts as caught when a test fails: a stack that does not even
start, or a module that cannot be imported, shows nothing about the requirement.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tools.mutants_tree import forget_compiled, quiet_environment
from tools.requirements import gather

TABLE: Final = "tests/mutants/faults.toml"
SECONDS: Final = 300
_SHORT: Final = re.compile(r"^FAILED (\S+?)(?:\[.*)?(?: - .*)?$", re.MULTILINE)
_MEMBERS: Final = {"ids", "what", "file", "find", "put", "tests", "seconds"}


@dataclass(frozen=True)
class HandMade:
    """One fault: ``find`` becomes ``put`` in ``file``; ``tests`` must notice within ``seconds``."""

    ids: tuple[str, ...]
    what: str
    file: str
    find: str
    put: str
    tests: tuple[str, ...]
    seconds: int = SECONDS


@dataclass(frozen=True)
class Verdict:
    """What became of a fault: ``caught``, ``timeout`` (counts as caught) or why not; ``by`` is a test that failed."""

    fault: HandMade
    outcome: str
    by: str = ""

    @property
    def caught(self) -> bool:
        """Whether the tests noticed."""
        return self.outcome in ("caught", "timeout")


def read(root: Path) -> list[HandMade]:
    """The table.

    Raises:
        ValueError: A row that is not one: an unknown or missing member, an id nobody knows, a second row of one name
            or with the same text at the same place, no test at all.
    """
    rows, _, claims, _ = gather(root)
    known = {row.id for row in rows}
    faults: list[HandMade] = []
    for row in tomllib.loads((root / TABLE).read_text())["fault"]:
        name = str(row.get("what", row))
        if set(row) - _MEMBERS or not {"ids", "what", "file", "find", "put"} <= set(row):
            raise ValueError(f"{TABLE}: {name}: has members that it should not have, or lacks some")
        if not row["ids"] or not set(row["ids"]) <= known:
            raise ValueError(f"{TABLE}: {name}: names a requirement that does not exist")
        place = (row["file"], row["find"], row["put"])
        if any(name == fault.what or place == (fault.file, fault.find, fault.put) for fault in faults):
            raise ValueError(f"{TABLE}: {name}: stands here twice")
        tests = row.get("tests") or sorted({test for one in row["ids"] for test in claims.get(one, [])})
        if not tests:
            raise ValueError(f"{TABLE}: {name}: no test claims its ids")
        faults.append(HandMade(**{**row, "ids": tuple(row["ids"]), "tests": tuple(tests)}))
    return faults


def applies(root: Path, fault: HandMade) -> str:
    """Why the fault cannot be put in, or nothing."""
    path = root / fault.file
    if not path.is_file():
        return f"{fault.file} is gone"
    times = path.read_text().count(fault.find)
    return "" if times == 1 else f"its text stands {times} times in {fault.file}, which should be once"


def run_tests(tree: Path, tests: Sequence[str], seconds: int, *options: str) -> tuple[int | None, str]:
    """Run the tests in a copy; the exit code (none when the time was over) and the output."""
    command = [str(tree / ".venv/bin/python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfE", "--tb=line"]
    with subprocess.Popen(
        [*command, *options, *tests], cwd=tree, env=quiet_environment(), text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as running:  # fmt: skip
        try:
            output, _ = running.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            output, _ = running.communicate()
            return None, output
    return running.returncode, output


def green(tree: Path, faults: Iterable[HandMade], jobs: int) -> str:
    """Run every test that the faults name on the unbroken copy; the output when one is red, or nothing."""
    tests = sorted({test for fault in faults for test in fault.tests})
    if not tests:
        return ""
    spread = ("--jobs", str(jobs)) if jobs > 1 else ()
    code, output = run_tests(tree, tests, 60 * SECONDS, *spread)
    return "" if code == 0 else output


def try_out(trees: SimpleQueue[Path], fault: HandMade) -> Verdict:
    """Put the fault into a copy that is free, run its tests, take it out again."""
    tree = trees.get()
    try:
        if reason := applies(tree, fault):
            return Verdict(fault, f"does not apply any more: {reason}")
        path = tree / fault.file
        text = path.read_text()
        broken = text.replace(fault.find, fault.put)
        try:
            if path.suffix == ".py":
                ast.parse(broken)
        except SyntaxError as error:
            return Verdict(fault, f"is no Python: line {error.lineno}")
        try:
            path.write_text(broken)
            forget_compiled(path)
            code, output = run_tests(tree, fault.tests, fault.seconds, "-x")
        finally:
            path.write_text(text)
            forget_compiled(path)
        return _judge(fault, code, output)
    finally:
        trees.put(tree)


def _judge(fault: HandMade, code: int | None, output: str) -> Verdict:
    if code is None:
        return Verdict(fault, "timeout")
    failed = _SHORT.search(output)
    if code == 1 and failed:
        return Verdict(fault, "caught", failed[1].split("[")[0])
    if code == 0:
        return Verdict(fault, "not caught")
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    return Verdict(fault, f"its tests did not run (exit code {code}): {last}")
