"""Whoever reads a command's output may stop: it ends without a traceback, whatever it was about to say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("both", [False, True], ids=["stdout", "both"])
@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), ("account", "--help"), ("--json", "account", "app", "list")], ids=" ".join
)
def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path, words: tuple[str, ...], both: bool) -> None:
    """1 or 141, as other tools do, and nothing on standard error but what was meant for it."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "byokeep.cli", *words, "--home", str(tmp_path)], check=False,
            stdout=writer, stderr=writer if both else subprocess.PIPE, timeout=60,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert ended.returncode in (1, 141)
    assert b"Traceback" not in (ended.stderr or b"")
    assert b"BrokenPipe" not in (ended.stderr or b"")
