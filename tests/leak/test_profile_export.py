"""A profile of 200 MB is sealed as it streams: nothing plain is opened for writing, nor left, but in memory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from byokeep_redact.canary import Canary, new_canary
from tests.support.loop_disk import LoopDisk, loop_disk

ROOT = Path(__file__).resolve().parents[2]
# What strace says of an open for writing that went well: how, and the path that the kernel gave it.
OPENED = re.compile(r"(?:O_WRONLY|O_RDWR|creat\().* = \d+<([^>]*)>")
CALLS = "trace=open,openat,openat2,creat"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    with loop_disk(tmp_path) as disk:
        yield disk


@pytest.fixture
def canary_file(tmp_path: Path) -> Iterator[Path]:
    file = Path("/dev/shm") / f"canary-{os.getpid()}"  # not on any disk
    file.write_bytes(new_canary("openai"))
    yield file
    file.unlink()


def export(ends: str, disk: LoopDisk, canary_file: Path, *watched: str) -> str:
    """Seal with the disk as home, temporary and working directory; returns what the program said."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    env |= dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(disk.mounted))
    program = [sys.executable, "-B", "-m", "tests.support.export_job", ends, str(disk.mounted / "artifacts")]
    job = subprocess.Popen(
        [*watched, *program, str(canary_file)], cwd=disk.mounted, env=env, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert job.stdout
        return job.stdout.readline().strip()
    finally:
        if ends == "waits":
            os.killpg(job.pid, signal.SIGKILL)
        job.communicate(timeout=60)


@pytest.mark.req("R5.3-7")
def test_an_export_opens_nothing_for_writing_but_memory_and_its_blob(
    disk: LoopDisk, canary_file: Path, tmp_path: Path
) -> None:
    """Watched by strace, threads and children too: the room in memory, the sealed blob, and nothing else."""
    log = tmp_path / "opened"
    watch = ("strace", "-ff", "-y", "-qq", "-s", "0", "-e", CALLS, "-o", str(log))
    assert export("well", disk, canary_file, *watch) == "sealed"
    logs = tmp_path.glob("opened.*")  # one for each thread: in a common one a call that takes long is cut in two
    lines = [line for one in logs for line in one.read_text("utf-8", "replace").splitlines()]
    seen = {path for line in lines for path in OPENED.findall(line)}
    plain = {path for path in seen if re.fullmatch(r"/dev/shm/(\.dead-)?[0-9a-f]{16}/.*", path)}
    blob = {path for path in seen if path.startswith(f"{disk.mounted}/artifacts/") and path.endswith(".partial")}
    assert len(plain) >= 20, "the profile was not written where it should be, so nothing would be shown"
    assert len(blob) == 1
    assert seen - plain - blob <= {"/dev/null", "/dev/tty"}
    (stored,) = disk.mounted.glob("artifacts/*/*/*.sealed")
    assert canary_file.read_bytes() not in stored.read_bytes()


@pytest.mark.req("R5.3-7")
@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ("well", "sealed"), ("raises", "OSError 5"), ("waits", "half way"), ("full", "Unavailable artifact_store_full"),
    ],
)  # fmt: skip
def test_after_an_export_no_block_of_the_disk_holds_anything_plain(
    disk: LoopDisk, canary_file: Path, ends: str, says: str
) -> None:
    """At its end, after an error, after a kill, and when the disk is full: no plain byte; a part of a blob goes."""
    control = new_canary("openai")
    (disk.mounted / "control").write_bytes(control)
    assert export(ends, disk, canary_file) == says
    stored = list(disk.mounted.glob("artifacts/*/*/*.sealed"))
    partial = list(disk.mounted.glob("artifacts/*/*/.*.partial"))
    assert len(stored) == (ends == "well")
    assert len(partial) == (ends == "waits")
    assert disk.found(Canary("control", control), Canary("cookie", canary_file.read_bytes())) == {"control"}
