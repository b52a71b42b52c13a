"""A fault counts as caught when a test fails, and as nothing else; figures are kept, and stale ones dropped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue

import pytest

from tools import mutants
from tools.mutants import Score, chosen, write
from tools.mutants_faults import TABLE, HandMade, Verdict, applies, green, read, try_out
from tools.mutants_tree import copy_tree
from tools.requirements import IDS, noticed

CODE = "def answer() -> int:\n    return 42\n"
TEST = """
import pytest
from code_under_test import answer

@pytest.mark.req('R1-1')
def test_it():
    assert answer() == 42
"""
ROW = """
[[fault]]
ids = ["R1-1"]
what = "another answer"
file = "src/code_under_test.py"
find = "return 42"
put = "return 41"
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tree of our own form, copied with an environment."""
    root, copy = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("copy")
    for name, text in {
        "src/code_under_test.py": CODE, "tests/test_code.py": TEST, IDS: "R1-1\tA sentence.\tcore\n", TABLE: ROW,
        "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['src']\nmarkers = ['req: ids']\n",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    copy_tree(root, copy)
    return copy


@pytest.fixture(autouse=True)
def one_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small tree's runs name processes, and nothing else; to load all plugins there are is most of a run."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "xdist.plugin")


def fault(**changed: object) -> HandMade:
    row = {"ids": ("R1-1",), "what": "x", "file": "src/code_under_test.py", "find": "return 42", "put": "return 41",
           "tests": ("tests/test_code.py::test_it",), "seconds": 60}  # fmt: skip
    return HandMade(**(row | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "outcome", "caught"),
    [
        ({}, "caught", True),
        ({"put": "return 40 + 2"}, "not caught", False),
        ({"find": "return 43"}, "does not apply any more", False),
        ({"find": "n"}, "does not apply any more", False),
        ({"file": "src/gone.py"}, "does not apply any more", False),
        ({"put": "return ("}, "is no Python", False),
        ({"find": "def answer", "put": "def other"}, "did not run", False),
        ({"tests": ("tests/test_code.py::test_gone",)}, "did not run", False),
        ({"put": "import time; time.sleep(60)", "seconds": 3}, "timeout", True),
    ],
)
def test_only_a_test_that_fails_catches(tree: Path, changed: dict[str, object], outcome: str, caught: bool) -> None:
    """Red is caught; green, a text that is not there once, and tests that cannot run are not; the copy is as before."""
    trees: SimpleQueue[Path] = SimpleQueue()
    trees.put(tree)
    verdict = try_out(trees, fault(**changed))
    assert outcome in verdict.outcome
    assert verdict.caught is caught
    assert verdict.by == ("tests/test_code.py::test_it" if outcome == "caught" else "")
    assert (tree / "src/code_under_test.py").read_text() == CODE
    assert trees.get_nowait() == tree


def test_the_unbroken_copy_is_tried_first(tree: Path) -> None:
    """A red test on the unbroken copy is told with what it printed."""
    assert green(tree, [fault()], 1) == ""
    assert "test_gone" in green(tree, [fault(tests=("tests/test_code.py::test_gone",))], 1)


def test_in_a_copy_the_copys_code_is_imported_by_its_processes(tmp_path: Path) -> None:
    """The copy's interpreter imports byokeep from the copy, whatever directory it is started in."""
    python = copy_tree(mutants.ROOT, tmp_path / "copy")
    shown = subprocess.run(
        [str(python), "-c", "import byokeep, pydantic; print(byokeep.__file__)"], cwd="/", env={}, text=True,
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert shown.strip() == str(tmp_path / "copy/src/byokeep/__init__.py")
    assert sys.prefix != str(tmp_path / "copy/.venv")


def test_a_row_without_tests_takes_those_that_claim_its_ids(tree: Path) -> None:
    """The default selection is the claims; a row that is none is refused by name."""
    [row] = read(tree)
    assert (row.tests, row.ids, applies(tree, row)) == (("tests/test_code.py::test_it",), ("R1-1",), "")
    again = ROW + ROW.replace("another answer", "another answer yet")
    for bad in (ROW + "seconds_ = 1\n", ROW.replace("R1-1", "R9"), ROW * 2, again, ROW.replace('"R1-1"', "")):
        (tree / TABLE).write_text(bad)
        with pytest.raises(ValueError, match="another answer"):
            read(tree)
    (tree / TABLE).write_text(ROW)


def test_words_select() -> None:
    """An id, a word of a name, a part or a module; a word that selects nothing is an error, not an empty run."""
    faults = [fault(), fault(ids=("R2-2",), what="a lease of stone")]
    assert chosen([], faults, ["ref"]) == (faults, ["ref"])
    assert chosen(["R2-2", "lease"], faults, ["ref"]) == ([faults[1]], [])
    assert chosen(["pure:ref", "faults"], faults, ["ref", "gate"]) == (faults, ["ref"])
    with pytest.raises(ValueError, match="R2-3"):
        chosen(["R2-3"], faults, ["ref"])


def test_figures_are_kept_and_stale_ones_dropped(tmp_path: Path) -> None:
    """A run over a part changes that part's figures alone; the document shows both; nothing to notice is no merit."""
    (tmp_path / "docs").mkdir()
    known = {("fault", "x"), ("pure", "ref"), ("pure", "gate")}
    write(tmp_path, [Verdict(fault(), "caught", "tests/a.py::test_b")], [Score("ref", 9, 10, ("m",))], known)
    write(tmp_path, [Verdict(fault(what="gone"), "caught")], [Score("gate", 10, 10, ())], known)
    shown = "\n".join(noticed(tmp_path))
    assert "| R1-1 | 1 | 1 |" in shown
    assert "| `ref` | 10 | 9 | 90.0 % |" in shown
    assert "| `gate` | 10 | 10 | 100.0 % |" in shown
    assert "gone" not in (tmp_path / "docs/mutants.tsv").read_text()
    write(tmp_path, [Verdict(fault(), "not caught")], [], known)
    assert "| R1-1 | 1 | 0 |" in "\n".join(noticed(tmp_path))
    assert Score("empty", 0, 0, ()).percent < mutants.AIM
