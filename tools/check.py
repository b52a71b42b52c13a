"""All checks that need no running server: ``python -m tools.check``. Prints each result; fails when one fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.tree import ROOT


def commands() -> dict[str, list[str]]:
    """Each check's name and command line. All run in the interpreter's own environment."""
    python = sys.executable
    beside = Path(python).parent
    tools = ("size_report", "house_rules", "docs_drift", "help_drift", "openapi", "check_lock", "declared")
    return {
        "ruff": [python, "-m", "ruff", "check", "--quiet", "."],
        "mypy": [python, "-m", "mypy", "--no-error-summary"],
        "import-linter": [str(beside / "lint-imports"), "--no-logo"],
        **{name: [python, "-m", f"tools.{name}"] for name in tools},
    }


def run(command: list[str]) -> tuple[int, str, float]:
    """Exit code, output and seconds of one check."""
    began = time.monotonic()
    # The path makes the checks work in an environment into which this tree is not installed, too.
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONUTF8": "1", "PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip(), time.monotonic() - began


def main() -> int:
    """Run them two at a time, show the output of those that failed."""
    failed = 0
    checks = commands()
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, (code, text, seconds) in zip(checks, pool.map(run, checks.values()), strict=True):
            print(f"{name:14} {'ok' if code == 0 else 'FAILED':6} {seconds:5.1f} s", flush=True)
            if code:
                failed += 1
                print(text or f"exit code {code}", flush=True)
    print(f"check: {len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
