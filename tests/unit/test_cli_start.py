"""A command loads what it uses: what is imported is counted, since the time of a start is the machine's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import byokeep

RUNS = """
import sys
from byokeep.cli import main
try:
    main(sys.argv[1:])
finally:
    print(*sys.modules, file=sys.stderr)
"""
NEVER = {"aiohttp", "cryptography", "fastapi", "granian", "httpx2", "playwright", "procrastinate", "psycopg",
         "pydantic", "structlog", "tink"}  # fmt: skip


def loaded(*words: str, code: int = 0) -> list[str]:
    """Run a command in a Python of its own; the names of all modules it has loaded."""
    source = str(Path(byokeep.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", RUNS, *words], env={"PYTHONPATH": source, "HOME": "/nonexistent", "NO_COLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stderr.splitlines()[-1].split()


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("key", "list", "--help"), ("kill", "on", "--help")])
def test_a_page_of_help_loads_nothing_that_a_call_or_a_server_needs(words: tuple[str, ...]) -> None:
    """Of our own code it loads the tree of commands, and of the commands at most the one that was asked for."""
    found = loaded(*words)
    assert NEVER & {name.partition(".")[0] for name in found} == set()
    ours = {name for name in found if name.startswith(("byokeep.", "byokeep_redact."))}
    assert {
        name
        for name in ours
        if name.startswith(("byokeep.client", "byokeep.kernel.app", "byokeep.tenancy", "byokeep.jobs", "byokeep.keys"))
    } == set()
    assert {"byokeep.kernel.transport", "byokeep_redact.engine"} & ours == set()
    assert len(ours) <= 37, sorted(ours)
    pythons = {name for name in found if name.partition(".")[0] in sys.stdlib_module_names}
    assert len(set(found) - pythons) <= 249
    assert len([name for name in pythons if "." not in name and name[0] != "_"]) <= 101  # parts differ by its version


def test_a_plain_command_loads_a_client_and_no_server(tmp_path: Path) -> None:
    """With nobody at the port it has loaded what a call needs, and neither the redactor's engine nor cryptography."""
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("bko_" + "A" * 43)
    found = loaded("client", "list", "--url", "http://127.0.0.1:9", "--token-file", str(token), code=4)
    libraries = {name.partition(".")[0] for name in found}
    assert NEVER & libraries == {"aiohttp"}
    assert "byokeep_redact.engine" not in found
    assert len(found) <= 480
