"""What the doctor says of the process that has no listener."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from uuid import UUID

import pytest

from byokeep.adapters.files.slots import SlotDirectory
from byokeep.kernel.probes import ok
from byokeep.process import WORKER_READY, is_held
from byokeep.processes import doctor
from byokeep.settings import load

HOLDS = """
import sys
from pathlib import Path
from byokeep.process import say_ready
say_ready(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
Disk = namedtuple("Disk", "total used free")


def said(home: Path) -> dict[str, tuple[str, object]]:
    rows = doctor._refresher(load(home=home))
    return {row.name: (row.state.value, row.row()["detail"]) for row in rows}


def test_the_refresher_is_told_by_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never run, running, ended, open to others, no room: each is said, and none of it passes for another."""
    assert said(tmp_path)["refresher"][0] == "unknown"
    assert "slots" not in said(tmp_path)
    held = SlotDirectory(tmp_path / "slots", UUID(int=1))
    (tmp_path / "slots" / f"{UUID(int=2)}.slot").touch()
    assert said(tmp_path)["refresher"][0] == "ok"
    assert said(tmp_path)["slots"] == ("ok", "under way 1")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(9, 9, 1024))
    assert said(tmp_path)["slots"][0] == "failed"
    monkeypatch.undo()
    (tmp_path / "slots").chmod(0o755)
    assert said(tmp_path)["slots"][0] == "failed"
    held.close()
    assert said(tmp_path)["refresher"][0] == "failed"


def test_the_worker_is_told_by_the_file_that_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never run, running, one of two ended, both ended: each is said; a process that only looks holds nothing."""
    settings = load(home=tmp_path)
    place = settings.path("log_dir")
    place.mkdir(parents=True)
    assert [one.state for one in doctor._worker(settings)] == ["unknown"]
    command = [sys.executable, "-c", HOLDS, str(place / WORKER_READY)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in "ab"]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"held\n"
    assert [one.state for one in doctor._worker(settings)] == ["ok"]
    for worker, state in zip(workers, ("ok", "failed"), strict=True):
        worker.communicate(b"")
        assert [one.state for one in doctor._worker(settings)] == [state]
    assert not is_held(place / WORKER_READY)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for another process's user
    assert [one.state for one in doctor._worker(settings)] == ["unknown"]


def test_nobody_to_tell_is_said(tmp_path: Path) -> None:
    """Without a target of messages alerts reach nobody who does not look: not for production, and where to put one."""
    settings = load(home=tmp_path)
    place = settings.path("notify_dir")
    assert (seen := doctor._targets(settings, strict=False)).ok
    assert str(place) in seen.next_step
    assert doctor._targets(settings, strict=True).state == "failed"
    place.mkdir(parents=True)
    (place / "oncall.url").touch(mode=0o600)
    assert doctor._targets(settings, strict=True) == ok("notifications", to="oncall")
