"""The smaller tools: sizes, documents, pins, and who may import whom."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import docs_drift
from tools.check_lock import check, faults_of, requirements_of
from tools.room_contract import parse_rule, trespass, verdict
from tools.size_report import code_lines, measure
from tools.tree import ROOT, files, report

RULES = [
    parse_rule(text, "->")
    for text in (
        "core -> core",
        "flows -> core, ports",
        "adapters.* -> core, ports",
        "client -> core.errors, core.secret",
        "wiring -> core, adapters",
    )
]


def put(root: Path, name: str, text: str) -> None:
    """Write ``text`` to ``root``/``name``, folders and all."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("core.model", "core.errors"),
        ("flows.lease", "ports"),
        ("flows.lease", "flows.app"),
        ("flows.lease", "core.audit.chain"),
        ("adapters.openbao.kv", "adapters.openbao.http"),
        ("adapters.openbao.kv", "core.secret"),
        ("client.cli", "core.secret"),
        ("client.cli", "client.http"),
        ("wiring", "adapters.postgres.engine"),
        ("flows.lease", ""),
    ],
)
def test_an_import_that_a_rule_names_is_allowed(importer: str, imported: str) -> None:
    """A room may import itself and what its rule names, packages with all their parts."""
    assert verdict(importer, imported, RULES) is None


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("core.model", "flows.lease"),
        ("flows.lease", "adapters.openbao.kv"),
        ("adapters.openbao.kv", "adapters.postgres.engine"),
        ("adapters.openbao.kv", "flows.lease"),
        ("client.cli", "core.policy"),
        ("client.cli", "core.secrets_of_others"),
        ("client.cli", "wiring"),
        ("wiring", "web.api"),
        ("unheard_of.room", "core.errors"),
    ],
)
def test_any_other_import_is_refused(importer: str, imported: str) -> None:
    """What no rule names is refused, so a room without a rule may import nothing."""
    assert verdict(importer, imported, RULES)


def test_an_edge_of_a_domain_is_for_its_server_alone() -> None:
    """Routes in a domain's folder are imported by their server; a flow beside them, and another server, are refused."""
    edges = [parse_rule("*.routes only for web", " only for ")]
    assert trespass("web.app", "keys.routes", edges) is None
    assert trespass("keys.refs", "keys.onboard", edges) is None
    assert trespass("keys.refs", "keys.routes", edges)
    assert trespass("broker.app", "keys.routes", edges)


@pytest.mark.parametrize("text", ["core", "core ->", "-> core", "core - core"])
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    """A misspelt rule raises, it is not passed over."""
    with pytest.raises(ValueError, match="not a rule"):
        parse_rule(text, "->")


def test_long_files_and_functions_are_named(tmp_path: Path) -> None:
    """901 lines and 61 lines are over the limit, 900 and 60 are not; migrations are left out."""
    put(tmp_path, "src/a.py", "x = 1\n" * 901)
    put(tmp_path, "src/b.py", "x = 1\n" * 900)
    put(tmp_path, "src/c.py", "def f():\n" + "    x = 1\n" * 60)
    put(tmp_path, "src/d.py", "async def f():\n" + "    x = 1\n" * 49)
    put(tmp_path, "src/migrations/e.py", "x = 1\n" * 1000)
    faults, sizes, functions = measure(tmp_path)
    assert sorted(fault.path for fault in faults) == ["src/a.py", "src/c.py"]
    assert sizes[0] == (901, "src/a.py")
    assert functions[0] == (61, "src/c.py:1 f")


def test_code_is_what_is_neither_blank_nor_comment_nor_docstring() -> None:
    """A text over two lines that is a value counts twice; one that documents does not count."""
    text = '"""Module\n\ndoc."""\n\nA = """two\nlines"""  # a comment\n# another\n\n'
    text += 'def f():\n    "doc"\n    return (\n        1,\n    )\n'
    assert sorted(code_lines(text)) == [5, 6, 9, 11, 12, 13]


def test_nothing_looked_at_is_a_failure() -> None:
    """Zero faults among zero files is no pass."""
    assert report("x", [], 0) == 1
    assert report("x", [], 1) == 0


def test_files_leave_out_what_git_ignores(tmp_path: Path) -> None:
    """New files are looked at before they are added; ignored and deleted ones are not."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    put(tmp_path, ".gitignore", "made/\n")
    put(tmp_path, "made/a.py", "")
    put(tmp_path, "b.py", "")
    assert [path.name for path in files(tmp_path)] == [".gitignore", "b.py"]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("# x\n\n```\nmake demo\nmake test\n```\n", True),
        ("# x\n\n```sh\nmake demo\n\nmake test\n```\n\n```\nmore\n```\n", True),
        ("# x\n\n```\nmake test\nmake demo\n```\n", False),
        ("# x\n\n```\nmake demo\nmake test\nmore\n```\n", False),
        ("# x\n\n```\nmore\n```\n\n```\nmake demo\nmake test\n```\n", False),
        ("# x\n", False),
    ],
)
def test_the_readme_opens_with_two_commands(tmp_path: Path, text: str, good: bool) -> None:
    """The first code block is the two commands and nothing else."""
    assert docs_drift.readme_faults(tmp_path)
    put(tmp_path, "README.md", text)
    assert (docs_drift.readme_faults(tmp_path) == []) is good


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    """Relative links must resolve from their own file; addresses, anchors and code are left alone."""
    put(tmp_path, "docs/b.md", "")
    text = "[a](b.md#x) [c](https://host.example) [d](#e) `[f](g.md)`\n```\n[h](i.md)\n```\n[j](k.md)\n[l]: ../m.md\n"
    put(tmp_path, "docs/a.md", text)
    faults = docs_drift.link_faults(tmp_path, tmp_path / "docs" / "a.md")
    assert ["k.md" in faults[0].text, "../m.md" in faults[1].text, len(faults)] == [True, True, 2]


@pytest.mark.parametrize(
    ("names", "good"),
    [
        (["0001-a.md", "0002-b.md"], True),
        (["0000-a.md", "0001-b.md"], True),
        ([], True),
        (["0001-a.md", "0003-b.md"], False),
        (["0001-a.md", "0001-b.md"], False),
        (["0002-a.md"], False),
        (["1-a.md"], False),
    ],
)
def test_decision_records_are_numbered_in_a_row(tmp_path: Path, names: list[str], good: bool) -> None:
    """A gap, a double, a late start and a name without a number are faults."""
    for name in names:
        put(tmp_path, f"docs/adr/{name}", "")
    assert (docs_drift.adr_faults(tmp_path) == []) is good


def test_decision_records_are_listed_with_their_status(tmp_path: Path) -> None:
    """The list has number, title and the whole status; a record without one is a fault."""
    put(tmp_path, "docs/adr/0001-a.md", "# 0001: A\n\nStatus: accepted; replaced\nby 0002\n\n## Context\n")
    put(tmp_path, "docs/adr/0002-b.md", "# 0002: B\n\n## Context\n")
    text, faults = docs_drift.adr_list(tmp_path)
    assert text.endswith("|---|\n| [0001](0001-a.md) | A | accepted; replaced by 0002 |\n")
    assert [fault.path for fault in faults] == ["docs/adr/0002-b.md"]


def test_a_list_of_records_that_is_missing_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named with the command that writes it."""
    put(tmp_path, "README.md", "")
    monkeypatch.setattr(docs_drift, "ROOT", tmp_path)
    monkeypatch.setattr(docs_drift, "files", lambda root: [root / "README.md"])
    monkeypatch.setattr(docs_drift.sys, "argv", ["docs_drift"])
    assert docs_drift.main() == 1
    assert "docs/adr/README.md" in "".join(capsys.readouterr())


def test_a_format_names_vectors_that_exist(tmp_path: Path) -> None:
    """A format description without a vector file, or with a missing one, is a fault."""
    put(tmp_path, "docs/spec/a.md", "no file")
    put(tmp_path, "docs/spec/b.md", "see `tests/vectors/b.json`")
    put(tmp_path, "docs/spec/c.md", "see `tests/vectors/c.json`")
    put(tmp_path, "tests/vectors/c.json", "{}")
    assert [fault.path for fault in docs_drift.spec_faults(tmp_path)] == ["docs/spec/a.md", "docs/spec/b.md"]


@pytest.mark.req("S-ASVS-42")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a==1.5 \\\n    --hash=sha256:00\n", None),
        ("a==2.0 \\\n    --hash=sha256:00\n", "outside"),
        ("b==1.5 \\\n    --hash=sha256:00\n", "not pinned"),
        ("a==1.5\n", "no hash"),
        ("--index" + "-url x\na==1.5 \\\n    --hash=sha256:00\n", "come from"),
        ("", "pins nothing"),
    ],
)
def test_pins_fit_their_ranges(text: str, words: str | None) -> None:
    """A pin outside its range, a missing pin or hash, and an address are faults."""
    texts = faults_of("x.txt", text, [Requirement("A>=1,<2")])
    assert bool(texts) is (words is not None)
    assert words is None or any(words in found for found in texts)


def test_the_extras_of_this_tree_are_read(tmp_path: Path) -> None:
    """The base install, the named extras and our own parts' needs count; the files in requirements/ satisfy them."""
    put(
        tmp_path,
        "pyproject.toml",
        """
[build-system]
requires = ["hatchling>=1"]
[project]
dependencies = ["a", "own @ {root:uri}/parts/own"]
optional-dependencies = {x = ["b>=1", "own[y] @ {root:uri}/parts/own"], dev = ["c"]}
""",
    )
    put(
        tmp_path,
        "parts/own/pyproject.toml",
        """
[project]
dependencies = ["d"]
optional-dependencies = {y = ["e"]}
""",
    )
    assert [wanted.name for wanted in requirements_of(tmp_path, ["x"])] == ["a", "d", "b", "e"]
    assert [wanted.name for wanted in requirements_of(tmp_path, ["dev"])] == ["a", "d", "c", "hatchling"]
    assert check(ROOT) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("from byokeep.core import errors", None),
        ("from byokeep.adapters import kv", "jobs may import core, kernel, tenancy, audit"),
        ("def late():\n    import byokeep.adapters.kv", "jobs may import core, kernel, tenancy, audit"),
        ("import psycopg", "jobs may not import psycopg"),
        ("import byokeep.tenancy.clients", None),
        ("import byokeep.profiles.profiles", "jobs may import core, kernel, tenancy, audit"),
        ("import byokeep_sim.server", "jobs may import core, kernel, tenancy, audit"),
    ],
)
def test_the_contract_of_this_tree_is_enforced(tmp_path: Path, body: str, words: str | None) -> None:
    """The linter itself, with this tree's own table, refuses a breach and names it."""
    put(tmp_path, "pyproject.toml", (ROOT / "pyproject.toml").read_text())
    for name in ("__init__", "core/__init__", "core/errors", "adapters/__init__", "adapters/kv", "jobs/__init__"):
        put(tmp_path, f"src/byokeep/{name}.py", "")
    for name in ("tenancy/__init__", "tenancy/clients", "profiles/__init__", "profiles/profiles"):
        put(tmp_path, f"src/byokeep/{name}.py", "")
    for name in ("redact/__init__", "redact/fingerprint", "sim/__init__", "sim/server"):
        put(tmp_path, f"src/byokeep_{name}.py", "")
    put(tmp_path, "src/byokeep/jobs/lease.py", body + "\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'src'}{os.pathsep}{ROOT}", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if words is None else 1), done.stdout + done.stderr
    assert words is None or words in done.stdout
