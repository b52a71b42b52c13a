"""What an install of the SDK needs: the base nothing of a server, a browser its own extra and no more."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import byokeep

SERVER = ("argon2", "fastapi", "granian", "opentelemetry", "procrastinate", "psycopg", "psycopg_pool",
          "rfc8785", "structlog", "uvloop", "pydantic", "boto3", "hyperscan", "starlette")  # fmt: skip
CLI = ("cryptography", "cyclopts", "rich")
BROWSER = ("playwright", "tink", "zstandard")
LOADED = """
import importlib.abc, sys
missing = set(sys.argv[2].split(","))
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
__import__(sys.argv[1])
servers = ("byokeep.kernel.app", "byokeep.jobs", "byokeep.adapters", "byokeep_sim")
print(sorted(name for name in sys.modules if name.startswith(servers)))
"""


def loaded(module: str, missing: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Import a module in a Python where some packages are not installed."""
    source = str(Path(byokeep.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", LOADED, module, ",".join(missing)], env={"PYTHONPATH": source}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_nobody_is_told_to_install_a_package_that_is_not_published() -> None:
    """Documents and errors name a checkout: under our name alone somebody else may publish something."""
    root = Path(byokeep.__file__).parents[2]
    files = [root / "README.md", *(root / "docs").glob("*.md"), *(root / "src").rglob("*.py")]
    told = re.compile(r"pip3? install[^\n]{0,20}(?<![/\w])byokeep\b|[Ii]nstall[^\n]{0,20}(?<![/\w])byokeep\[")
    assert [str(file) for file in files if told.search(file.read_text())] == []


def test_the_base_install_is_the_client_alone() -> None:
    """Without any extra the SDK loads, and none of a server's rooms comes with it."""
    found = loaded("byokeep.client", (*SERVER, *BROWSER, *CLI))
    assert (found.returncode, found.stdout.strip()) == (0, "[]"), found.stderr


def test_the_command_without_its_extra_says_what_to_install() -> None:
    """Where the SDK alone is installed, the command ends with a step and no traceback."""
    found = loaded("byokeep.cli", CLI)
    assert (found.returncode, found.stdout, found.stderr) == (
        4, "", "unavailable: part_not_installed\nInstall the command line, from a checkout: "
        "pip install '/path/to/byokeep[cli]'.\n",
    )  # fmt: skip


def test_a_browser_takes_its_own_extra_and_no_more() -> None:
    """With the extra a browser can be opened where no server is installed; without any of it it can not be loaded."""
    found = loaded("byokeep.client.browser", (*SERVER, "cyclopts", "rich"))
    assert (found.returncode, found.stdout.strip()) == (0, "[]"), found.stderr
    for part in ("cryptography", "tink", "zstandard"):
        found = loaded("byokeep.client.browser", (*SERVER, part))
        assert found.returncode == 1
        assert f"ModuleNotFoundError: {part}" in found.stderr
