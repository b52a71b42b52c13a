"""The leak search on files, trees, processes and the command line."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from byokeep_redact.canary import Canary, new_canary
from byokeep_redact.scan import planted_process
from byokeep_redact.search import Report, Sweep, Unreadable

SRC = Path(__file__).parents[2] / "src"


@pytest.fixture
def canary() -> Canary:
    """A fresh canary."""
    return Canary("planted", new_canary("anthropic"))


def test_tree_is_searched_to_the_last_file(tmp_path: Path, canary: Canary) -> None:
    """Files in nested folders are searched, and the finding says which file and where."""
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "fine.txt").write_bytes(b"words")
    (deep / "old.gz").write_bytes(gzip.compress(b"words " * 50 + canary.value))
    report = Sweep([canary]).scan_paths([tmp_path])
    assert report.sources_scanned == 2
    assert [(f.source, f.encoding) for f in report.findings] == [(str(deep / "old.gz"), "gzip")]


def test_copies_of_what_is_clean_count_and_copies_of_a_leak_are_all_found(tmp_path: Path, canary: Canary) -> None:
    """Each file is a source with its bytes, though the same was searched before; each copy of a leak has its name."""
    for number in range(3):
        (tmp_path / f"fine{number}").write_bytes(b"words")
        (tmp_path / f"leak{number}").write_bytes(b"words" + canary.value)
    report = Sweep([canary]).scan_paths([tmp_path])
    assert (report.sources_scanned, report.bytes_scanned) == (6, 3 * (10 + len(canary.value)))
    assert [Path(found.source).name for found in report.findings] == ["leak0", "leak1", "leak2"]
    assert not report.clean


def test_missing_and_unreadable_make_the_report_not_clean(tmp_path: Path, canary: Canary) -> None:
    """A path that is not there, or is no file, is listed and the report is not clean, whatever else was fine."""
    (tmp_path / "fine.txt").write_bytes(b"words")
    os.mkfifo(tmp_path / "pipe")
    sweep = Sweep([canary])
    assert sweep.scan_paths([tmp_path]).clean
    missing = sweep.scan_paths([tmp_path, tmp_path / "gone"])
    assert missing.unreadable == (Unreadable(str(tmp_path / "gone"), "enoent"),)
    assert not missing.clean
    long = sweep.scan_paths([tmp_path / ("x" * 300)])  # not even its kind can be asked, as below a closed directory
    assert [one.reason for one in long.unreadable] == ["enametoolong"]
    pipe = sweep.scan_paths([tmp_path / "fine.txt", tmp_path / "pipe"])
    assert pipe.unreadable == (Unreadable(str(tmp_path / "pipe"), "not_a_regular_file"),)
    assert not pipe.clean


class _Moving(Sweep):
    """A search during which files of a tree are replaced, moved or always gone."""

    def __init__(self, canary: Canary, moves: Callable[[Path], None]) -> None:
        super().__init__([canary])
        self._moves = moves

    def scan_file(self, path: Path | str) -> Report:
        self._moves(Path(path))
        return super().scan_file(path)


def test_a_file_that_is_replaced_meanwhile_is_looked_at_again(tmp_path: Path, canary: Canary) -> None:
    """What is gone when it is opened is no source left out; what stands in the folder now is searched."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "init").write_bytes(b"words")
    (tmp_path / "base" / "other").write_bytes(b"words")
    looks: list[str] = []

    def gone(path: Path) -> None:
        looks.append(path.name)
        if looks.count("init") == 1 and path.name == "init":
            path.unlink()

    report = _Moving(canary, gone).scan_paths([tmp_path])
    assert (report.clean, report.sources_scanned, looks) == (True, 1, ["init", "other"])

    (tmp_path / "base" / "init").write_bytes(b"words")

    def moved(path: Path) -> None:
        if path.name == "init":
            path.rename(path.with_name("new"))
            path.with_name("new").write_bytes(b"see " + canary.value)

    report = _Moving(canary, moved).scan_paths([tmp_path])
    assert report.unreadable == ()
    assert [Path(one.source).name for one in report.findings] == ["new"]


def test_a_folder_that_changes_at_each_look_is_not_clean(tmp_path: Path, canary: Canary) -> None:
    """The looks are counted; what keeps moving was not searched, and a tree that is gone as a whole was not either."""
    (tmp_path / "fine.txt").write_bytes(b"words")
    (tmp_path / "x0").write_bytes(canary.value)

    def moves(path: Path) -> None:
        if path.name.startswith("x"):
            path.rename(path.with_name(f"x{int(path.name[1:]) + 1}"))

    report = _Moving(canary, moves).scan_paths([tmp_path])
    assert report.unreadable == (Unreadable(str(tmp_path), "keeps_changing"),)
    assert not report.clean


def test_read_error_half_way_makes_the_report_not_clean(canary: Canary) -> None:
    """A file that opens and then fails to read is listed."""
    report = Sweep([canary]).scan_file("/proc/self/mem")
    assert report.unreadable == (Unreadable("/proc/self/mem", "eio"),)
    assert not report.clean


@pytest.fixture
def as_ordinary_user() -> Iterator[Path]:
    """A folder for a user without privileges, who this process is for the length of the test."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:
        if root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)


def test_forbidden_file_makes_the_report_not_clean(as_ordinary_user: Path, canary: Canary) -> None:
    """A file and a folder that an ordinary user may not read are both listed, not passed over."""
    (as_ordinary_user / "fine.txt").write_bytes(b"words")
    (as_ordinary_user / "secret.txt").write_bytes(canary.value)
    (as_ordinary_user / "secret.txt").chmod(0)
    (as_ordinary_user / "folder").mkdir(mode=0)
    report = Sweep([canary]).scan_paths([as_ordinary_user])
    (as_ordinary_user / "folder").chmod(0o700)
    assert {(Path(u.source).name, u.reason) for u in report.unreadable} == {
        ("folder", "eacces"),
        ("secret.txt", "eacces"),
    }
    assert not report.clean


def test_canary_in_a_name_is_found_and_not_repeated(tmp_path: Path, canary: Canary) -> None:
    """A file name and a link target are places too; the report shows the label in their stead."""
    (tmp_path / canary.value.decode()).write_bytes(b"words")
    (tmp_path / "link").symlink_to("/nowhere/" + canary.value.decode())
    report = Sweep([canary]).scan_paths([tmp_path])
    assert {f.source for f in report.findings} == {
        str(tmp_path / "[planted] (name)"),
        str(tmp_path / "link (link target)"),
    }
    assert canary.value.decode() not in repr(report)


def test_large_file_is_read_in_windows(tmp_path: Path, canary: Canary) -> None:
    """A file of twenty megabytes with the canary near its end is searched within seconds."""
    path = tmp_path / "big.log"
    line = b'2026-03-01T12:00:00Z INFO "words and words" path=/v1/x status=200, 12 ms\n'
    with path.open("wb") as out:
        for _ in range(20):
            out.write(line * (1_000_000 // len(line)))
        place = out.tell()
        out.write(canary.value + b"\n" + line)
    report = Sweep([canary]).scan_file(path)
    assert report.bytes_scanned == path.stat().st_size
    assert place <= report.findings[0].offset < place + 20


@pytest.mark.parametrize("location", ["environ", "cmdline"])
def test_process_of_a_child_is_searched(location: str, canary: Canary) -> None:
    """A value in a child's environment or arguments is found while it runs; a process that is gone is passed over."""
    sweep = Sweep([canary])
    with planted_process({"x": canary.value}, location) as pid:
        report = sweep.scan_proc()
    assert f"/proc/{pid}/{location}" in {f.source for f in report.findings}
    assert sweep.scan_proc([pid]).sources_scanned == 0
    assert not sweep.scan_proc([pid]).clean


_UNREADABLE_CHILD = (
    "import ctypes, sys; ctypes.CDLL(None).prctl(4, 0); sys.stdout.write('+'); sys.stdout.flush(); sys.stdin.read()"
)


@pytest.fixture
def hidden_child() -> Iterator[int]:
    """The pid of a child that lets no ordinary user read its environment."""
    command = [sys.executable, "-I", "-S", "-c", _UNREADABLE_CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.read(1) == b"+"
        yield child.pid


@pytest.mark.usefixtures("hidden_child", "as_ordinary_user")
def test_process_that_will_not_be_read_is_not_clean_unless_it_is_anothers(
    hidden_child: int, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An own process that hides its environment spoils the report; a stranger's is counted as out of reach."""
    own = Sweep([canary]).scan_proc([hidden_child])
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    strangers = Sweep([canary]).scan_proc([hidden_child])
    assert own.unreadable == (Unreadable(f"/proc/{hidden_child}/environ", "eacces"),)
    assert not own.clean
    assert (strangers.unreadable, strangers.denied) == ((), 1)
