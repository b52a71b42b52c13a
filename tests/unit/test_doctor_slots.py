"""What the doctor says of the process that has no listener."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from uuid import UUID

import pytest

from byokeep import doctor
from byokeep.adapters.files.slots import SlotDirectory
from byokeep.settings import load

Disk = namedtuple("Disk", "total used free")


def said(home: Path) -> dict[str, tuple[str, str]]:
    rows = doctor._refresher(load(home=home))
    return {row["check"]: (row["state"], row["detail"]) for row in rows}


def test_the_refresher_is_told_by_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never run, running, ended, open to others, no room: each is said, and none of it passes for another."""
    assert said(tmp_path)["refresher"][0] == "unknown"
    assert "slots" not in said(tmp_path)
    held = SlotDirectory(tmp_path / "slots", UUID(int=1))
    (tmp_path / "slots" / f"{UUID(int=2)}.slot").touch()
    assert said(tmp_path)["refresher"][0] == "ok"
    assert said(tmp_path)["slots"] == ("ok", "only its owner can read; 1 under way")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(9, 9, 1024))
    assert said(tmp_path)["slots"][0] == "failed"
    monkeypatch.undo()
    (tmp_path / "slots").chmod(0o755)
    assert said(tmp_path)["slots"][0] == "failed"
    held.close()
    assert said(tmp_path)["refresher"][0] == "failed"
