"""The environment of a fresh clone is made with a word about each step, not in silence."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tools.tree import ROOT

PYTHON = """#!/bin/sh
case "$*" in
    --version) echo "Python 3.12.1" ;;
    *venv*) echo "ran venv" >>"$ORDER"; mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp uv .venv/bin/uv ;;
    *"pip install"*) echo "ran pip" >>"$ORDER" ;;
esac
"""
# Installs when progress was told of, which comes by the clock; without it the test would wait for ever.
UV = """#!/bin/sh
case "$*" in
    *dev.txt*) tries=0
        until grep -q ' of 3 packages' "$ORDER" || [ $tries = 200 ]; do sleep 0.1; tries=$((tries + 1)); done
        echo "ran packages" >>"$ORDER" ;;
    *) echo "ran byokeep" >>"$ORDER" ;;
esac
"""


def test_each_step_is_said_before_it_is_done(tmp_path: Path) -> None:
    """Four steps, the first before anything is made; how many packages of how many; at the end that it is ready."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "dev.txt").write_text("# pinned\na==1 --hash=x\nb.c==2\nd-e==3\n    # via a\n")
    shutil.copy(ROOT / "tools" / "bootstrap.sh", tmp_path)
    for name, text in (("python", PYTHON), ("uv", UV)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    order, stamp = tmp_path / "order", tmp_path / "stamp"
    with order.open("a") as said:
        subprocess.run(
            ["bash", "bootstrap.sh"], cwd=tmp_path, check=True, stdout=said, stderr=said, timeout=60,
            env=os.environ | {"PYTHON": str(tmp_path / "python"), "STAMP": str(stamp), "ORDER": str(order)},
        )  # fmt: skip
    assert stamp.exists()
    lines = order.read_text().splitlines()
    shown = [re.sub(r"\d+ s$", "N s", line.strip()) for line in lines]
    assert [line for at, line in enumerate(shown) if line not in shown[:at]] == [
        "byokeep is getting ready, step 1 of 4: .venv of Python 3.12.1", "ran venv",
        "byokeep is getting ready, step 2 of 4: pip and uv, of pinned versions", "ran pip",
        "byokeep is getting ready, step 3 of 4: 3 packages, of pinned versions, all downloaded before one is installed",
        "0 of 3 packages installed after N s",
        "ran packages",
        "byokeep is getting ready, step 4 of 4: byokeep itself", "ran byokeep",
        "byokeep is ready: 0 packages in .venv, N s",
    ]  # fmt: skip
