"""The pre-commit hook and the GitHub Action, in a scratch repository; what they install with is not installed here."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KEY = f"sk-ant-api03-{secrets.token_hex(40)}"
BYOKEEP = f'#!/bin/sh\nPYTHONPATH={ROOT}/src exec {sys.executable} -m byokeep.cli "$@"\n'


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A repository without a commit, and a `byokeep` on the path."""
    place = tmp_path / "repository"
    place.mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "byokeep").write_text(BYOKEEP)
    (tmp_path / "bin" / "byokeep").chmod(0o755)
    git(place, "init", "-q")
    return place


def git(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    own = kept | {"PATH": f"{place.parent / 'bin'}:{os.environ['PATH']}", "GIT_CONFIG_GLOBAL": os.devnull}
    who = ("-c", "user.email=a@example.com", "-c", "user.name=a")
    return subprocess.run(["git", *who, *words], cwd=place, env=own, text=True, capture_output=True, check=False)


def test_the_hook_keeps_a_key_out_of_a_commit(scratch: Path) -> None:
    """As pre-commit runs it: the entry, with the staged files whose names fit. A clean file is committed."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert (hook["language"], hook["require_serial"]) == ("python", True)
    fits = [name for name in (".env", "web/.env.local", ".env.production", ".envrc") if re.search(hook["files"], name)]
    assert fits == [".env", "web/.env.local", ".env.production", ".envrc"]
    assert not any(re.search(hook["files"], name) for name in ("env.py", "docs/environment.md", "a.env.d/x"))
    script = f"git diff --cached --name-only -z | grep -zE '{hook['files']}' | xargs -0 -r {hook['entry']}\n"
    (scratch / ".git" / "hooks" / "pre-commit").write_text(f"#!/bin/bash\n{script}")
    (scratch / ".git" / "hooks" / "pre-commit").chmod(0o755)
    (scratch / ".env").write_text("LOG_LEVEL=info\n")
    git(scratch, "add", ".")
    done = git(scratch, "commit", "-qm", "one")
    assert done.returncode == 0, done.stderr
    (scratch / ".env.production").write_text(f"MOTTO={KEY}\n")
    git(scratch, "add", ".")
    done = git(scratch, "commit", "-qm", "two")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "client_key" in said
    assert "MOTTO" in said
    assert KEY not in said
    assert git(scratch, "log", "--oneline").stdout.count("\n") == 1


def act(place: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """Run the action's check as GitHub does: its inputs in the environment, its script in bash."""
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    _, check = action["runs"]["steps"]
    inputs = {name: one["default"] for name, one in action["inputs"].items()} | given
    sent = {name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: inputs[found[1]], text)
            for name, text in check["env"].items()}  # fmt: skip
    where = place.parent / "runner" / "byokeep" / "bin"
    where.mkdir(parents=True, exist_ok=True)
    if not (where / "python").exists():
        (where / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (where / "python").chmod(0o755)
    own = {"PATH": os.environ["PATH"], "HOME": str(place), "GITHUB_ACTION_PATH": str(ROOT),
           "RUNNER_TEMP": str(place.parent / "runner")}  # fmt: skip
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", check["run"]]
    return subprocess.run(command, cwd=place, env=own | sent, text=True, capture_output=True, check=False)


def test_the_action_fails_the_job_that_has_a_key(scratch: Path) -> None:
    """In files, in the repository's variables, in the environment; SARIF is written; an input is never run."""
    (scratch / ".env").write_text("LOG_LEVEL=info\n")
    done = act(scratch, environment="true", vars=json.dumps({"SITE": "example.com"}))
    assert done.returncode == 0, done.stderr
    files = ".env\n$(touch ran)\n`touch ran`"
    done = act(scratch, vars=json.dumps({"MOTTO": KEY}), sarif="env.sarif", environment="true", files=files)
    assert done.returncode == 1
    assert done.stdout.count("client_key") == 2, "once found, and once what to do"
    assert "MOTTO" in done.stdout
    assert KEY not in done.stdout + done.stderr + (scratch / "env.sarif").read_text()
    made: dict[str, Any] = json.loads((scratch / "env.sarif").read_text())["runs"][0]
    assert [one["ruleId"] for one in made["results"]] == ["client_key"]
    assert not (scratch / "ran").exists()
    (scratch / ".env").write_text(f"MOTTO={KEY}\n")
    assert act(scratch).returncode == 1
    assert act(scratch, files="gone").returncode == 4
    assert not re.search(
        r"https?://", (ROOT / "action.yml").read_text() + (ROOT / ".pre-commit-hooks.yaml").read_text()
    )
    assert shutil.which("bash")
