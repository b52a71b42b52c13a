"""After work with a plain profile no block of the disk holds any of it, deleted blocks included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep_redact.canary import Canary, new_canary
from tests.support.loop_disk import LoopDisk, loop_disk

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    with loop_disk(tmp_path) as disk:
        yield disk


def killed_job(what: str, disk: LoopDisk, canary: bytes) -> None:
    """Do the job with the disk as home, temporary and working directory; kill it and its children half way."""
    canary_file = Path("/dev/shm") / f"canary-{os.getpid()}"  # not on any disk
    canary_file.write_bytes(canary)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    env |= dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(disk.mounted))
    command = [sys.executable, "-B", "-m", "tests.support.profile_job", what, str(disk.mounted / "artifacts")]
    job = subprocess.Popen(
        [*command, str(canary_file)],
        cwd=disk.mounted,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert job.stdout
        assert job.stdout.readline() == "half way\n"
        time.sleep(0.2)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()
        canary_file.unlink()


def test_a_deleted_file_is_found_on_the_raw_disk(disk: LoopDisk) -> None:
    """The control of this page: what was once written in the clear is found after it was deleted."""
    control = new_canary("openai")
    file = disk.mounted / "control"
    file.write_bytes(control * 100)
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    file.unlink()
    assert disk.found(Canary("control", control), Canary("other", new_canary("openai"))) == {"control"}


@pytest.mark.parametrize("what", ["work", "browse"])
def test_a_killed_job_leaves_nothing_plain_on_the_disk(disk: LoopDisk, what: str) -> None:
    """Unpacked, browsed in, packed, stored once and cut off once, killed: sealed bytes are there, no plain ones."""
    control, canary = new_canary("openai"), new_canary("openai")
    (disk.mounted / "control").write_bytes(control)
    killed_job(what, disk, canary)
    stored = list(disk.mounted.glob("artifacts/*/*/*.sealed"))
    partial = list(disk.mounted.glob("artifacts/*/*/.*.partial"))
    assert len(stored) == len(partial) == 1, "the job did not come so far"
    assert stored[0].stat().st_size > len(canary) * 2000
    assert partial[0].stat().st_size > 0
    assert disk.found(Canary("control", control), Canary("cookie", canary)) == {"control"}
    LocalArtifacts(disk.mounted / "artifacts")  # the next start
    assert not partial[0].exists()
    assert stored[0].exists()
