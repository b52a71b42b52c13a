"""A bound file: where it was written it holds; a copy, another machine, a torn or doubled one does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from byokeep.adapters.files import binding
from byokeep.adapters.files.binding import read_bound, write_bound

TEXT = "bound/1\nhere\n"


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """A bound file and one beside it."""
    (tmp_path / "beside").write_bytes(b"data")
    write_bound(tmp_path / "bound", TEXT, beside=[tmp_path / "beside"])
    return tmp_path / "bound", tmp_path / "beside"


def test_it_holds_where_it_was_written(made: tuple[Path, Path]) -> None:
    """Also after its server wrote into the file beside it, a chmod, a renamed directory, and being written again."""
    file, beside = made
    assert (file.stat().st_mode & 0o777, [one.name for one in file.parent.glob(".*")]) == (0o600, [])
    with beside.open("r+b") as out:
        out.write(b"more data")
    beside.chmod(0o640)
    assert read_bound(file, beside=[beside]) == (TEXT, True)
    moved = file.parent.rename(file.parent.with_name("moved"))
    assert read_bound(moved / "bound", beside=[moved / "beside"]) == (TEXT, True)
    write_bound(moved / "bound", "other\n", beside=[moved / "beside"])
    assert read_bound(moved / "bound", beside=[moved / "beside"]) == ("other\n", True)


@pytest.mark.parametrize("which", ["both", "bound", "beside"])
def test_a_copy_is_told(made: tuple[Path, Path], tmp_path: Path, which: str) -> None:
    """Of both, or of one put back in the other's company, with its times."""
    kept = tmp_path / "kept"
    kept.mkdir()
    for file in made:
        if which in ("both", file.name):
            shutil.copy2(file, kept / file.name)
            file.rename(file.with_name("away-" + file.name))
            shutil.copy2(kept / file.name, file)
    assert read_bound(made[0], beside=[made[1]]) == (TEXT, False)


def test_the_birth_of_a_file_counts_beside_its_number(made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A number may come again on a fresh disk."""
    monkeypatch.setattr(binding, "_birth", lambda *_: "another")
    assert not read_bound(made[0], beside=[made[1]])[1]


def test_another_machine_is_another_place(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same disk in another machine."""
    (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    monkeypatch.setattr(binding, "_MACHINE_IDS", (tmp_path / "machine-id",))
    assert not read_bound(made[0], beside=[made[1]])[1]
    write_bound(made[0], TEXT, beside=[made[1]])
    assert read_bound(made[0], beside=[made[1]])[1]
    monkeypatch.setattr(binding, "_MACHINE_IDS", ())
    assert not read_bound(made[0], beside=[made[1]])[1]


def test_what_does_not_add_up_does_not_hold(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Another text, a torn file, a second name, a link, a file beside it that is gone, none at all."""
    file, beside = made
    whole = file.read_text()
    for changed in (whole.replace("here", "gone"), whole[:-9], whole[:10], "", "\u00e9", "\n"):
        file.write_text(changed)
        assert not read_bound(file, beside=[beside])[1], changed
    file.write_text(whole)
    assert read_bound(file, beside=[beside])[1]
    assert not read_bound(file)[1]
    (tmp_path / "second").hardlink_to(beside)
    assert not read_bound(file, beside=[beside])[1]
    (tmp_path / "second").unlink()
    (tmp_path / "link").symlink_to(file)
    assert read_bound(tmp_path / "link", beside=[beside]) == ("", False)
    beside.unlink()
    assert read_bound(file, beside=[beside]) == ("", False)
    assert read_bound(tmp_path / "absent") == ("", False)
