"""The archive of a profile: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import io
import json
import os
import random
import resource
import shutil
import socket
import sys
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.browser import archive
from byokeep.browser.archive import MAGIC, ArchiveEntry, Pack, Unpack, write_head
from byokeep.core.errors import Conflict, Integrity, Rejected, Unavailable
from tests.support.disk import small_disk

PROFILE = {
    "Default/Cookies": b"SQLite format 3\0" + b"c" * 5000,
    "Default/IndexedDB/https_www.example.org_0.indexeddb.leveldb/CURRENT": b"MANIFEST-000001\n",
    f"Default/IndexedDB/https_{'a' * 63}.{'b' * 63}.{'c' * 63}.example_0.indexeddb.leveldb/000003.log": b"x" * 70000,
    "Default/empty": b"",
    "Default/Größe 🎈": b"1",
    "Local State": b"{}",
    "z": b"",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name, data in PROFILE.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (root / "Default" / "nothing in it").mkdir()
    return root


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def packed(root: Path, paths: list[str]) -> bytes:
    pack = Pack(root, paths)
    data = pack.read()
    assert data is not None
    assert len(data) == pack.size
    return data


def unpacked(target: Path, data: bytes, *, chunk: int = 1 << 16) -> None:
    with Unpack(target) as sink:
        for at in range(0, len(data), chunk):
            sink.write(data[at : at + chunk])
        sink.commit()


def tree(root: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None for path in root.rglob("*")
    }


def refused_before_writing(tmp_path: Path, data: bytes) -> str:
    """Feed an archive; it must be refused while nothing stands on the disk yet. Returns the reason."""
    place = tmp_path / "place"
    place.mkdir(exist_ok=True)
    sink = Unpack(place / "profile")

    def feed() -> None:
        for at in range(0, len(data), 4096):
            assert list(place.iterdir()) == []
            sink.write(data[at : at + 4096])
        sink.commit()

    with pytest.raises(Rejected) as caught:
        feed()
    assert caught.value.code == "archive_refused"
    assert list(place.iterdir()) == []
    return str(caught.value.fields["reason"])


@pytest.mark.parametrize("chunk", [1, 7, 4096, 1 << 20])
def test_what_goes_in_comes_out(root: Path, tmp_path: Path, chunk: int) -> None:
    """Files, empty ones, empty directories and long names come back, private, however the stream is cut."""
    (root / "Default" / "Cookies").chmod(0o644)
    paths = [*PROFILE, "Default/nothing in it"]
    unpacked(tmp_path / "out", packed(root, paths), chunk=chunk)
    assert tree(tmp_path / "out") == tree(root)
    found = [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    assert {path.stat().st_mode & 0o7777 for path in found if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o7777 for path in found if path.is_file()} == {0o600}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "root"]


def test_the_same_files_give_the_same_bytes(root: Path) -> None:
    """Order of the paths, times and modes change nothing; a changed byte does."""
    first = packed(root, list(PROFILE))
    for path in root.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o755)
    assert packed(root, [*reversed(PROFILE), "z", "Default"]) == first
    (root / "z").write_bytes(b"1")
    assert packed(root, list(PROFILE)) != first


def test_a_large_profile_passes_through_little_memory(tmp_path: Path) -> None:
    """200 MiB go in and out while less than 8 MiB are held."""
    (tmp_path / "root").mkdir()
    with (tmp_path / "root" / "big").open("wb") as file:
        file.truncate(200 << 20)
    buffer = bytearray(1 << 20)
    tracemalloc.start()
    pack = Pack(tmp_path / "root", ["big"])
    with Unpack(tmp_path / "out") as sink:
        while count := pack.readinto(buffer):
            sink.write(memoryview(buffer)[:count])
        sink.commit()
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert (tmp_path / "out" / "big").stat().st_size == 200 << 20


HOSTILE = {
    "parent": [ArchiveEntry("D", ".."), ArchiveEntry("F", "../x", 1)],
    "parent inside": [ArchiveEntry("D", "a"), ArchiveEntry("D", "a/.."), ArchiveEntry("F", "a/../x", 1)],
    "absolute": [ArchiveEntry("F", "/etc/x", 1)],
    "absolute with its directory": [ArchiveEntry("D", ""), ArchiveEntry("F", "/x", 1)],
    "here": [ArchiveEntry("F", ".", 1)],
    "empty part": [ArchiveEntry("D", "a"), ArchiveEntry("F", "a//x", 1)],
    "slash at the end": [ArchiveEntry("D", "a"), ArchiveEntry("D", "a/")],
    "null": [ArchiveEntry("F", "a\0b", 1)],
    "line": [ArchiveEntry("F", "a\nb", 1)],
    "escape": [ArchiveEntry("F", "a\x1b[2Jb", 1)],
    "turned around": [ArchiveEntry("F", "a\u202egpj", 1)],
    "backslash": [ArchiveEntry("F", "..\\x", 1)],
    "twice": [ArchiveEntry("F", "a", 1), ArchiveEntry("F", "a", 1)],
    "file and directory": [ArchiveEntry("D", "a"), ArchiveEntry("F", "a", 1)],
    "below a file": [ArchiveEntry("F", "a", 1), ArchiveEntry("F", "a/b", 1)],
    "no directory": [ArchiveEntry("F", "a/b", 1)],
    "not in order": [ArchiveEntry("F", "b", 1), ArchiveEntry("F", "a", 1)],
    "case": [ArchiveEntry("F", "Cookies", 1), ArchiveEntry("F", "cookies", 1)],
    "form": [ArchiveEntry("F", "e\u0301", 1), ArchiveEntry("F", "\u00e9", 1)],
    "lock": [ArchiveEntry("F", "SingletonLock", 1)],
    "lock below": [ArchiveEntry("D", "a"), ArchiveEntry("F", "a/singletonSocket", 1)],
    "long part": [ArchiveEntry("F", "a" * 256, 1)],
    "long path": [ArchiveEntry("D", "/".join(["a" * 200] * n)) for n in range(1, 8)],
    "deep": [ArchiveEntry("D", "/".join(["a"] * n)) for n in range(1, 40)],
    "directory with content": [ArchiveEntry("D", "a", 5)],
    "10 GB": [ArchiveEntry("F", "a", 10 << 30)],
    "10 GB in parts": [ArchiveEntry("F", f"{n:04}", 1 << 30) for n in range(10)],
    "endless": [ArchiveEntry("F", "a", 2**64 - 1)],
}


@pytest.mark.req("R5.3-23", "S-ASVS-40")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_table_is_refused_before_anything_is_written(tmp_path: Path, kind: str) -> None:
    """Ways out, clashing names, locks, depths and bombs: one error, nothing on the disk, and the next unpacks."""
    entries = HOSTILE[kind]
    refused_before_writing(tmp_path, write_head(entries) + b"x" * 10_000)
    unpacked(tmp_path / "place" / "next", write_head([ArchiveEntry("F", "a", 1)]) + b"x")
    assert tree(tmp_path / "place") == {"next": None, "next/a": b"x"}


@pytest.mark.req("R5.3-23")
@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.REGTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_links_and_devices_can_not_be_written_down(tmp_path: Path, kind: bytes) -> None:
    """A tar that holds one is no archive of ours; a table whose entry is of another kind than D and F is refused."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("x")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    assert refused_before_writing(tmp_path, buffer.getvalue()) == "not_an_archive"
    for letter in (kind, b"L", b"S", b"d", b"f", b"\0", b"E"):
        data = bytearray(write_head([ArchiveEntry("F", "x", 1)]) + b"x")
        data[len(MAGIC) + 4 : len(MAGIC) + 5] = letter
        assert refused_before_writing(tmp_path, bytes(data)) == "bad_table"


@pytest.mark.req("R5.3-23")
def test_a_million_files_are_refused_by_the_length_of_their_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million entries are refused at the table's length or its count, in little memory, and nothing is written."""
    many = [ArchiveEntry("F", f"{n:07}", 0) for n in range(1_000_000)]
    data = write_head(many)
    del many
    tracemalloc.start()
    assert refused_before_writing(tmp_path, data) == "too_many_entries"
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    few = write_head([ArchiveEntry("F", f"{n:04}", 0) for n in range(101)])
    monkeypatch.setattr(archive, "MOST_ENTRIES", 100)
    assert refused_before_writing(tmp_path, few) == "too_many_entries"


@pytest.mark.req("R5.3-23")
def test_a_bomb_is_stopped_at_its_first_byte_too_many(tmp_path: Path) -> None:
    """A stream that says little and brings 10 GB ends with an error at once; the place is empty."""
    with Unpack(tmp_path / "out") as sink:
        sink.write(write_head([ArchiveEntry("F", "a", 10)]) + b"x" * 10)
        with pytest.raises(Rejected) as caught:
            sink.write(bytes(10 << 20))
        assert caught.value.fields["reason"] == "more_than_announced"
        with pytest.raises(ValueError, match="aborted"):
            sink.commit()
    assert list(tmp_path.iterdir()) == []


def test_a_cut_archive_never_becomes_visible(root: Path, tmp_path: Path) -> None:
    """Whatever is missing at the end, even one byte or everything, commit is an integrity error and leaves nothing."""
    data = packed(root, list(PROFILE))
    place = tmp_path / "place"
    place.mkdir()
    for length in [0, 1, len(MAGIC), len(MAGIC) + 4, 100, *range(200, len(data), 5000), len(data) - 1]:
        with pytest.raises(Integrity, match="archive_incomplete"):
            unpacked(place / "out", data[:length])
        assert list(place.iterdir()) == []
    with Unpack(place / "out") as sink:
        sink.write(data)
        assert not (place / "out").exists()
    assert list(place.iterdir()) == []


def test_a_target_that_is_there_is_not_touched(root: Path, tmp_path: Path) -> None:
    """Before and at the commit an existing target is a conflict."""
    data = packed(root, list(PROFILE))
    with pytest.raises(Conflict, match="target_exists"):
        Unpack(root)
    sink = Unpack(tmp_path / "late")
    sink.write(data)
    (tmp_path / "late").symlink_to(root)
    with pytest.raises(Conflict, match="target_exists"):
        sink.commit()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["late", "root"]


def test_a_full_place_is_unavailable_and_empty_again(root: Path, tmp_path: Path) -> None:
    """Memory that runs out while unpacking gives back what was used."""
    data = write_head([ArchiveEntry("F", "a", 8 << 20)]) + bytes(8 << 20)
    with small_disk(tmp_path / "small", 4) as place:
        with pytest.raises(Unavailable, match="no_room_to_unpack"):
            unpacked(place / "out", data)
        assert list(place.iterdir()) == []
        unpacked(place / "out", packed(root, list(PROFILE)))


def special(root: Path) -> Iterator[tuple[str, str]]:
    (root / "link").symlink_to("/etc/passwd")
    (root / "linked").symlink_to("Default")
    (root / "out").symlink_to("/etc")
    os.mkfifo(root / "pipe")
    (root / "second").hardlink_to(root / "z")
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(root)
        listening.bind("socket")
    yield from [("link", "special_file"), ("linked/Cookies", "special_file"), ("out/passwd", "special_file")]
    yield from [("pipe", "special_file"), ("socket", "special_file"), ("second", "hard_link")]
    (root / "SingletonLock").symlink_to("host-1")
    (root / "a\nb").write_bytes(b"")
    yield from [("SingletonLock", "special_file"), ("a\nb", "bad_path")]
    yield from [("../x", "bad_path"), ("/etc/passwd", "bad_path"), ("", "bad_path"), ("Default//Cookies", "bad_path")]


@pytest.mark.req("S-ASVS-40")
def test_only_plain_files_are_packed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links anywhere on the way, second names, pipes, sockets and ways out of the root are refused."""
    monkeypatch.chdir(root)
    before = open_files()
    for path, reason in special(root):
        with pytest.raises(Rejected) as caught:
            Pack(root, ["Default/Cookies", path])
        assert (path, caught.value.fields["reason"]) == (path, reason)
    assert open_files() == before


def test_a_profile_in_use_is_a_conflict(root: Path) -> None:
    """A file that goes, shrinks, grows or is written while it is packed ends the stream with an error."""
    file = root / "Local State"
    changes = [
        file.unlink,
        lambda: file.write_bytes(b""),
        lambda: file.write_bytes(b"{} "),
        lambda: file.write_bytes(b"[]"),
    ]
    for change in changes:
        file.write_bytes(b"{}")
        os.utime(file, (1, 1))
        pack = Pack(root, list(PROFILE))
        pack.read(10)
        change()
        with pytest.raises(Conflict, match="profile_changed"):
            pack.read()
    with pytest.raises(Conflict, match="profile_changed"):
        Pack(root, ["not there"])


names = st.text(min_size=1, max_size=12)


@given(st.dictionaries(st.lists(names, min_size=1, max_size=4).map("/".join), st.binary(max_size=300), max_size=8))
def test_any_set_of_files_comes_back_or_is_refused(files: dict[str, bytes]) -> None:
    """What the writer takes the reader gives back byte for byte; what one refuses the other refuses as well."""
    place = Path(mkdtemp(dir="/dev/shm"))
    try:
        entries = {path[:at] for path in files for at in range(1, len(path)) if path[at] == "/"}
        table = [ArchiveEntry("D", path) for path in entries] + [
            ArchiveEntry("F", path, len(data)) for path, data in files.items()
        ]
        table.sort(key=lambda entry: entry.path.split("/"))
        try:
            head = write_head(table)
        except UnicodeEncodeError:
            return
        data = head + b"".join(files[entry.path] for entry in table if entry.kind == "F")
        try:
            archive.check(table)
        except Rejected:
            with pytest.raises(Rejected):
                unpacked(place / "out", data)
            assert list(place.iterdir()) == []
            return
        unpacked(place / "out", data)
        assert {path: data for path, data in tree(place / "out").items() if data is not None} == files
        assert packed(place / "out", [entry.path for entry in table]) == data
    finally:
        shutil.rmtree(place)


def mutated(data: bytes, dice: random.Random) -> bytes:
    """One to four changes: bits, pieces cut, repeated, moved, numbers set to extremes, hostile names put in."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        head = min(len(out), 400)
        at, length = dice.randrange(head + 1), dice.randint(1, 24)
        change = dice.randrange(7)
        if change == 0 and at < len(out):
            out[at] ^= 1 << dice.randrange(8)
        elif change == 1:
            del out[at : at + length]
        elif change == 2:
            out[at:at] = out[at : at + length]
        elif change == 3:
            out[at : at + 8] = dice.choice([bytes(8), b"\xff" * 8, (1 << 34).to_bytes(8, "big")])
        elif change == 4:
            out[at:at] = dice.choice([b"../", b"/", b"\0", b"\x00\x03F..", "\u202e".encode(), b"\xff"])
        elif change == 5:
            del out[dice.randrange(len(out) + 1) :]
        else:
            out += dice.randbytes(length)
    return bytes(out)


def fuzzed(place: Path, seed: int, rounds: int) -> tuple[int, int]:
    """Unpack mutated archives; returns how many were refused and how many taken."""
    files = {"Default/Cookies": b"c" * 40, "Default/x/y": b"", "Default/z": b"1", "Local State": b"{}"}
    root = place / "root"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    data, dice, refused, taken = packed(root, list(files)), random.Random(seed), 0, 0
    before = tree(place)
    inner = place / "a" / "b"
    inner.mkdir(parents=True)
    for number in range(rounds):
        bad, chunk = mutated(data, dice), dice.choice([1, 13, 4096])
        try:
            unpacked(inner / "out", bad, chunk=chunk)
        except (Rejected, Integrity):
            refused += 1
        else:
            taken += 1
            out = inner / "out"
            assert not any(path.is_symlink() for path in out.rglob("*")), (seed, number)
            paths = [path.relative_to(out).as_posix() for path in out.rglob("*")]
            assert packed(out, paths) == bad, (seed, number)  # only what we would write is taken
            shutil.rmtree(out)
        assert list(inner.iterdir()) == [], (seed, number)
    inner.rmdir()
    inner.parent.rmdir()
    assert tree(place) == before, seed
    return refused, taken


@pytest.fixture
def memory() -> Iterator[Path]:
    place = Path(mkdtemp(dir="/dev/shm"))
    yield place
    shutil.rmtree(place)


@pytest.mark.req("R5.3-23")
def test_ten_thousand_mutated_archives(memory: Path) -> None:
    """Each is refused, or is byte for byte what we would write; nothing is written elsewhere and nothing crashes."""
    refused, taken = fuzzed(memory, 20260101, 10_000)
    assert refused > 5_000
    assert taken > 10  # the mutations are near enough to good archives to reach the reader's last checks


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_mutated_archives(memory: Path) -> None:
    """The same with a seed of its own each time; memory and open files do not grow."""
    seed = random.SystemRandom().randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    refused, taken = fuzzed(memory, seed, 100_000)
    assert refused > taken > 100, seed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1 << 20
    assert open_files() < 100


VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "profile-archive" / "cases.json").read_text())


@pytest.mark.parametrize("case", VECTORS["taken"], ids=lambda case: case["name"])
def test_an_archive_of_the_vectors_is_written_and_read(tmp_path: Path, case: dict[str, Any]) -> None:
    """Its files give exactly these bytes, and these bytes give its files."""
    (tmp_path / "root").mkdir()
    for directory in case["directories"]:
        (tmp_path / "root" / directory).mkdir()
    for name, content in case["files"].items():
        (tmp_path / "root" / name).write_bytes(bytes.fromhex(content))
    assert packed(tmp_path / "root", [*case["directories"], *case["files"]]).hex() == case["archive"]
    unpacked(tmp_path / "out", bytes.fromhex(case["archive"]))
    assert tree(tmp_path / "out") == tree(tmp_path / "root")


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["name"])
def test_an_archive_that_no_writer_wrote_is_refused(tmp_path: Path, case: dict[str, Any]) -> None:
    """Each is refused for its reason and leaves nothing."""
    with pytest.raises(Rejected) as caught:
        unpacked(tmp_path / "out", bytes.fromhex(case["archive"]))
    assert caught.value.fields["reason"] == case["reason"]
    assert list(tmp_path.iterdir()) == []
