"""Every import is declared, and every declaration imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import declared

PROJECT = """
[project]
name = "made-up"
dependencies = ["Aiohttp>=3", "own-part @ {root:uri}/part"]
[project.optional-dependencies]
extra = ["sqlalchemy[asyncio]>=2"]
dev = ["pytest"]
"""
PACKAGES = {"aiohttp": ["aiohttp"], "sqlalchemy": ["SQLAlchemy"], "own_part": ["own_part"], "pytest": ["pytest"],
            "made_up": ["made-up"], "yarl": ["yarl"]}  # fmt: skip
GOOD = "import os, aiohttp.web\nfrom own_part import one\nfrom made_up import two\nDRIVER = 'sqlalchemy.asyncio'\n"


def faults(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said of a distribution with one module."""
    monkeypatch.setattr(declared, "ROOT", folder)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "code.py").write_text(code)
    return [fault.text for fault in declared.faults_of(folder, [folder / "code.py"], PACKAGES)]


def test_what_is_declared_and_used_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard library, its own modules, another of ours, and a package that is named by text alone."""
    assert faults(GOOD, tmp_path, monkeypatch) == []


@pytest.mark.parametrize(
    "line",
    ["import yarl", "def late():\n    from yarl import URL", "importlib.import_module('yarl')", "import unheard",
     "import pytest"],
)  # fmt: skip
def test_an_import_that_nobody_declared_is_a_fault(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the top, late, by name, of a package that is not there, and of one for developers."""
    [text] = faults(GOOD + line, tmp_path, monkeypatch)
    assert "is not declared by made-up" in text


def test_a_declaration_that_nothing_imports_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed for nothing is one more to trust."""
    assert faults(GOOD.replace("aiohttp.web", "sys"), tmp_path, monkeypatch) == ["nothing imports aiohttp"]
