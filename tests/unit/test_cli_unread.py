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
    """141, as of a signal, for 1 would be a finding; and nothing on standard error but what was meant for it."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "byokeep.cli", *words, "--home", str(tmp_path)], check=False,
            stdout=writer, stderr=writer if both else subprocess.PIPE, timeout=60,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert ended.returncode == 141
    assert b"Traceback" not in (ended.stderr or b"")
    assert b"BrokenPipe" not in (ended.stderr or b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_whoever_closed_a_stream_is_answered_all_the_same(tmp_path: Path, closed: str) -> None:
    """The exit code is the command's: 1 would be a finding. And no file of ours takes the stream's number."""
    words = "--json key state 7f0c9b1e-8d5b-4a53-9e0c-2f1f6a3c4d5e destroyed --reason not_used"
    line = f'"{sys.executable}" -m byokeep.cli {words} --home "{tmp_path}" {closed}'
    ended = subprocess.run(["sh", "-c", line], check=False, capture_output=True, timeout=60)
    assert (ended.returncode, b"internal_error" in ended.stderr + ended.stdout) == (4, False), ended


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_letter_that_a_terminal_lacks_ends_nothing(tmp_path: Path, encoding: str) -> None:
    """A name of another script is shown by its numbers, whatever was done by then; and JSON is ASCII."""
    words = ["-m", "byokeep.cli", "kill", "on", "--help", "--home", str(tmp_path)]
    ended = subprocess.run(
        [sys.executable, *words], check=False, capture_output=True, timeout=60,
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert "Caf\u00e9".encode(encoding, "backslashreplace") in ended.stdout
