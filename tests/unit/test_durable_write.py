"""Whole-file writes: all of the new content, or the old."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from byokeep.kernel.durable_write import draft, durable_write


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """A link is replaced, not followed; whatever stops a write leaves the old content and no draft."""
    path, other = tmp_path / "file", tmp_path / "other"
    path.symlink_to(other)
    durable_write(path, b"old")
    assert (path.read_bytes(), path.lstat().st_mode & 0o777, other.exists()) == (b"old", 0o600, False)
    with pytest.raises(ZeroDivisionError), draft(path) as file:
        file.write(b"%d" % (1 // 0))
    with pytest.raises(FileExistsError):
        durable_write(path, b"another", only_new=True)
    with pytest.raises(OSError, match="No such file"):
        durable_write(tmp_path / "missing" / "file", b"x")
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])
    durable_write(path, b"new")
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"new", [path])


def test_the_disk_holds_the_file_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is synced, then named, then the directory is synced; a failed sync gives no name."""
    path, real, seen = tmp_path / "file", os.fsync, []

    def note(descriptor: int) -> None:
        seen.append(path.exists())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    durable_write(path, b"x")
    assert seen == [False, True]
    path.unlink()

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        durable_write(path, b"x")
    assert not list(tmp_path.iterdir())
