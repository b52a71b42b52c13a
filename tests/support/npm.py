"""Packages of npm that tests need, pinned by a ``package-lock.json`` without addresses."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def installed(source: Path, folder: Path, why: str) -> Path:
    """Copy the files of `source` to `folder`, and install there what its ``package-lock.json`` pins."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        pytest.fail(f"this {why} and needs {' and '.join(missing)}: install Node.js 20", False)
    shutil.copytree(source, folder, dirs_exist_ok=True)
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=False,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return folder
