"""What a part of the stack says outside its log: kept for its owner, and named only when it says something."""

from __future__ import annotations

from pathlib import Path

from byokeep.process import spawn
from byokeep.processes.supervisor import not_ready


def test_the_file_of_errors_is_its_owners_alone(tmp_path: Path) -> None:
    """Also one that an earlier build left open to others; what stood in it stays."""
    left = tmp_path / "web.err"
    left.write_bytes(b"before ")
    left.chmod(0o644)
    for name in ("web", "broker"):
        assert spawn(["/bin/sh", "-c", "printf now >&2"], tmp_path / f"{name}.err", env={}).wait() == 0
        assert (tmp_path / f"{name}.err").stat().st_mode & 0o777 == 0o600
    assert left.read_bytes() == b"before now"


def test_a_part_that_said_nothing_was_too_slow(tmp_path: Path) -> None:
    """An empty file is not pointed at."""
    (tmp_path / "web.err").touch()
    for name in ("web", "broker"):  # empty, and not there
        step = f"{name} was slow: see {name}.log in the log directory; start it again when the machine is less busy."
        assert not_ready(tmp_path, name, "was slow").next_step == step
    (tmp_path / "web.err").write_bytes(b"Traceback")
    assert not_ready(tmp_path, "web", "ended").next_step == "web ended: see web.err in the log directory."
