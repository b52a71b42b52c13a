"""Do the tests notice when the code is wrong? ``python -m tools.mutants`` breaks copies of this tree and looks.

Two parts. Faults made by hand, by requirement id (tests/mutants/faults.toml, tools/mutants_faults.py): each must turn a
test red. Mutants of the pure modules, made by mutmut (``[tool.mutmut]`` in pyproject.toml): the share of them that
the unit tests notice, module by module.

Arguments select: a requirement id, words of a fault's name, ``pure`` or ``pure:ref``, ``faults``; none means
everything. The figures go into docs/mutants.tsv, from which `make requirements` writes them into docs/requirements.md.
The exit code is 1 when a fault is not caught, does not apply any more, or the unbroken copy is not green, and when a
pure module's score is below 90 %. ``--applies`` runs nothing and says which faults do not apply any more.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tools import mutants_faults
from tools.mutants_faults import HandMade, Verdict
from tools.mutants_tree import copy_tree, quiet_environment
from tools.tree import ROOT

FIGURES: Final = "docs/mutants.tsv"
AIM: Final = 90  # percent of a pure module's mutants that are noticed
# What mutmut writes down: a test failed, pytest broke, the time was over.
_NOTICED: Final = frozenset({1, 3, 24, 36, 152, 255, -24})
_HEAD: Final = (
    "# Written by `make mutants`: kind, name, ids, date, outcome, the test that failed. "
    "A pure module has none of the latter two, but how many mutants were noticed, and of how many.\n"
)


@dataclass(frozen=True)
class Score:
    """How many of a module's mutants the tests noticed. ``missed`` names the others."""

    module: str
    noticed: int
    of: int
    missed: tuple[str, ...]

    @property
    def percent(self) -> float:
        """The share that was noticed; nothing to notice is no merit."""
        return 100 * self.noticed / self.of if self.of else 0.0


def pure_modules(root: Path) -> dict[str, str]:
    """The modules that mutmut is to mutate: their paths by their last name."""
    options = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mutmut"]
    return {Path(name).stem: name for name in options["only_mutate"]}


def chosen(words: Sequence[str], faults: list[HandMade], modules: list[str]) -> tuple[list[HandMade], list[str]]:
    """The faults and modules that the words select.

    Raises:
        ValueError: A word that selects nothing.
    """
    if not words:
        return faults, modules
    some: list[HandMade] = []
    pure: list[str] = []
    for word in words:
        few = [fault for fault in faults if word in (*fault.ids, "faults") or word in fault.what]
        part = [module for module in modules if word in ("pure", f"pure:{module}")]
        if not few and not part:
            raise ValueError(f"{word}: no fault and no pure module is called so")
        some += [fault for fault in few if fault not in some]
        pure += [module for module in part if module not in pure]
    return some, pure


def try_faults(place: Path, faults: list[HandMade], jobs: int) -> list[Verdict] | None:
    """Try each fault in one of ``jobs`` copies; none when the unbroken copy is not green."""
    trees: SimpleQueue[Path] = SimpleQueue()
    first = place / "0"
    for number in range(min(jobs, len(faults))):
        copy_tree(ROOT, place / str(number))
        trees.put(place / str(number))
    if output := mutants_faults.green(first, faults, jobs):
        print(output)
        print("mutants: the unbroken copy is not green")
        return None
    verdicts = []
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for verdict in pool.map(lambda fault: mutants_faults.try_out(trees, fault), faults):
            ids = " ".join(verdict.fault.ids)
            print(f"{ids:24} {verdict.outcome:8} {verdict.fault.what}  {verdict.by}", flush=True)
            verdicts.append(verdict)
    return verdicts


def score(place: Path, modules: list[str], jobs: int) -> list[Score] | None:
    """Mutate the modules in a copy; none when mutmut could not begin, for example since the tests are red."""
    python = copy_tree(ROOT, place)
    paths = pure_modules(ROOT)
    names = [paths[module].removeprefix("src/").removesuffix(".py").replace("/", ".") + ".*" for module in modules]
    done = subprocess.run(
        [str(python), "-m", "mutmut", "run", "--max-children", str(jobs), *names], cwd=place, env=quiet_environment(),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    scores = []
    for module in modules:
        meta = place / "mutants" / f"{paths[module]}.meta"
        codes = json.loads(meta.read_text())["exit_code_by_key"] if meta.is_file() else {}
        if done.returncode or not codes or None in codes.values():
            print("\n".join((done.stdout + done.stderr).splitlines()[-60:]))
            print(f"mutants: mutmut did not finish {module}")
            return None
        missed = tuple(name for name, code in codes.items() if code not in _NOTICED)
        scores.append(Score(module, len(codes) - len(missed), len(codes), missed))
    return scores


def write(root: Path, verdicts: Sequence[Verdict], scores: Sequence[Score], known: set[tuple[str, str]]) -> None:
    """Put the new figures among those of docs/mutants.tsv; rows of what there is no more are dropped."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = root / FIGURES
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = {(cells[0], cells[1]): cells for line in lines if len(cells := line.split("\t")) == 6}
    for verdict in verdicts:
        what = verdict.fault.what
        cells = ["fault", what, " ".join(verdict.fault.ids), today, verdict.outcome, verdict.by or "-"]
        rows["fault", what] = cells
    for one in scores:
        rows["pure", one.module] = ["pure", one.module, "-", today, str(one.noticed), str(one.of)]
    kept = sorted(cells for key, cells in rows.items() if key in known)
    path.write_text(_HEAD + "".join("\t".join(cells) + "\n" for cells in kept))


def main(argv: list[str] | None = None) -> int:
    """Run what is selected, print it, write the figures; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WHAT", help="a requirement id, words of a name, pure:ref")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--missed", action="store_true", help="name each mutant that nobody noticed")
    parser.add_argument("--applies", action="store_true", help="run nothing, name what does not apply any more")
    options = parser.parse_args(argv)
    try:
        table, modules = mutants_faults.read(ROOT), list(pure_modules(ROOT))
        faults, pure = chosen(options.words, table, modules)
    except ValueError as error:
        parser.error(str(error))
    gone = [f"{fault.what}: {reason}" for fault in faults if (reason := mutants_faults.applies(ROOT, fault))]
    for line in gone:
        print(f"does not apply any more: {line}")
    if options.applies:
        return 1 if gone else 0
    with tempfile.TemporaryDirectory(prefix="byokeep-mutants-") as place:
        Path(place).chmod(0o755)  # PostgreSQL runs as somebody else when we are root, from the copy's environment
        verdicts = try_faults(Path(place), faults, options.jobs) if faults else []
        scores = score(Path(place) / "pure", pure, options.jobs) if pure else []
    known = {("fault", fault.what) for fault in table} | {("pure", module) for module in modules}
    write(ROOT, verdicts or [], scores or [], known)
    for one in scores or []:
        print(f"{one.module:10} {one.noticed:4} of {one.of:4} mutants noticed, {one.percent:.1f} %")
        print("".join(f"  missed: {name}\n" for name in one.missed if options.missed), end="")
    caught = sum(verdict.caught for verdict in verdicts or [])
    print(f"mutants: {caught} of {len(faults)} faults caught, {len(scores or [])} of {len(pure)} pure modules mutated")
    low = any(one.percent < AIM for one in scores or [])
    return 1 if verdicts is None or scores is None or caught < len(faults) or low else 0


if __name__ == "__main__":
    raise SystemExit(main())
