"""Rooms of plain profiles: whoever is killed, and whenever, nothing plain is left."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import pytest

from byokeep.browser import ephemeral, guard
from byokeep.browser.ephemeral import Rooms, foreseen, in_memory, prepare, shared_place, swept
from byokeep.browser.namespace import PLACE, enter
from byokeep.core.errors import Unavailable
from byokeep_redact.canary import new_canary
from tests.support.disk import on_disk
from tests.support.hang import stop
from tests.support.room_owner import end, holds, orphan, owner

ROOT = Path(__file__).resolve().parents[2]
SOON_S = 20  # the promise is 60


@pytest.fixture
def place() -> Iterator[Path]:
    place = Path(mkdtemp(dir="/dev/shm"))
    yield place / "rooms"
    guard.wipe(str(place))


@pytest.fixture
def canary_file(tmp_path: Path) -> Path:
    file = tmp_path / "canary"
    file.write_bytes(new_canary("openai"))
    return file


def gone(path: Path) -> bool:
    """Wait until a directory is empty."""
    until = time.monotonic() + SOON_S
    while time.monotonic() < until:
        with suppress(OSError):
            if not list(path.iterdir()):
                return True
        time.sleep(0.02)
    return False


def kill(number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


VICTIMS = ["owner", "guard", "owner then guard", "guard then owner"]


@pytest.mark.req("R2.1-11")
@pytest.mark.parametrize("victims", VICTIMS)
def test_a_shared_room_is_wiped_whoever_is_killed(place: Path, canary_file: Path, victims: str) -> None:
    """At some moments: the guard wipes at once, an owner without one at its end, and the next start what both left."""
    killed(place, canary_file, victims, moments=8)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("victims", VICTIMS)
def test_a_shared_room_is_wiped_at_whatever_moment(place: Path, canary_file: Path, victims: str) -> None:
    """The same at many moments."""
    killed(place, canary_file, victims, moments=250)


def killed(place: Path, canary_file: Path, victims: str, *, moments: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    sys.stdout.write(f"seed {seed}\n")
    dice = random.Random(seed)
    for moment in range(moments):
        with owner(str(place), canary_file) as (process, room, watching):
            time.sleep(dice.choice([0, 0.002, 0.02, 0.2]) * dice.random())
            if moment == 0:
                time.sleep(0.3)
                assert holds(room, canary_file), "the owner wrote nothing, so nothing would be shown"
            for victim in victims.split(" then "):
                kill(process.pid if victim == "owner" else watching)
            if victims == "guard":
                process.send_signal(signal.SIGINT)  # the owner is still well and ends its block
                process.wait(timeout=SOON_S)
            elif victims == "owner":
                assert gone(place), seed
        until = time.monotonic() + SOON_S
        while " then " in victims and list(place.iterdir()) and time.monotonic() < until:
            Rooms(place, private=False)  # the next start, which may come before the killed are dead
            time.sleep(0.02)
        assert list(place.iterdir()) == [], (seed, moment)


def test_a_sweep_leaves_living_rooms_alone(place: Path, canary_file: Path) -> None:
    """The room of a living owner stays, also while only its guard lives; a dead one's goes."""
    with owner(str(place), canary_file) as (process, room, watching):
        rooms = Rooms(place, private=False)
        assert rooms.sweep() == 0
        assert room.is_dir()
        stop(watching)
        process.kill()
        process.wait()
        assert rooms.sweep() == 0
        assert room.is_dir()
        kill(watching)
        until = time.monotonic() + SOON_S
        while not rooms.sweep() and time.monotonic() < until:
            time.sleep(0.02)
        assert list(place.iterdir()) == []


async def test_what_nobody_has_is_swept_for_as_long_as_a_process_has_rooms(
    place: Path, canary_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Owner and guard killed together: gone soon and told. Rooms of others that live stay, and what is no room."""
    monkeypatch.setattr(ephemeral, "EVERY_S", 0.1)
    told: list[tuple[int, str]] = []
    rooms = Rooms(place, private=False)
    (place / "shared by a browser").mkdir()
    with owner(str(place), canary_file) as (_, living, _guard), rooms.open() as ours:
        async with swept(rooms, lambda *what: told.append(what)):
            left = orphan(str(place), canary_file)
            until = time.monotonic() + SOON_S
            while not told and time.monotonic() < until:
                await asyncio.sleep(0.05)
            assert not left.exists()
            (place / "0123456789abcdef").symlink_to(place)
            await asyncio.sleep(1)  # some more sweeps
        assert holds(living, canary_file)
        assert ours.path.is_dir()
        assert {path.name for path in place.iterdir()} == {
            living.name, ours.path.name, "shared by a browser", "0123456789abcdef"
        }  # fmt: skip
    assert set(told) == {(1, "")}


async def test_a_sweep_that_fails_is_told_and_the_next_one_comes(
    place: Path, canary_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place can not be looked at: its code is told, again and again, and what lies there goes once it can be."""
    monkeypatch.setattr(ephemeral, "EVERY_S", 0.1)
    told: list[tuple[int, str]] = []
    rooms = Rooms(place, private=False)
    left = orphan(str(place), canary_file)
    aside = place.rename(place.with_name("aside"))
    async with swept(rooms, lambda *what: told.append(what)):
        await asyncio.sleep(1)
        assert len(told) > 1
        assert set(told) == {(0, "rooms_not_swept")}
        aside.rename(place)
        until = time.monotonic() + SOON_S
        while told[-1][1] and time.monotonic() < until:
            await asyncio.sleep(0.05)
    assert told[-1] == (1, "")
    assert not left.exists()


def test_a_process_with_a_private_place_sweeps_the_shared_one_too(canary_file: Path) -> None:
    """A worker as root sees no shared memory but its own; what a runner of its user left there goes all the same."""
    with owner(str(shared_place()), canary_file) as (_, living, _guard):
        left = orphan(str(shared_place()), canary_file)
        program = (
            "from byokeep.browser.ephemeral import prepare, shared_place\n"
            "prepare(None, 64); print(shared_place().exists())"
        )
        ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        assert ran.stdout.strip() == str(os.geteuid() != 0)  # as root it was entered, and hidden
        assert not left.exists()
        assert holds(living, canary_file)


def test_a_place_beside_that_is_another_s_is_left_alone(place: Path) -> None:
    """One that others may enter, a link and a disk are not swept, whatever lies there; one that is missing is fine."""
    link, loose = place.with_name("link"), place.with_name("loose")
    with on_disk() as disk:
        (disk / "0123456789abcdef").mkdir()
        link.symlink_to(disk)
        loose.mkdir(mode=0o755)
        (loose / "0123456789abcdef").mkdir()
        for beside in (disk, link, loose, place.with_name("missing")):
            assert Rooms(place, private=False, beside=beside).sweep() == 0
        assert (loose / "0123456789abcdef").is_dir()
        assert (disk / "0123456789abcdef").is_dir()
    loose.chmod(0o700)
    assert Rooms(place, private=False, beside=loose)
    assert list(loose.iterdir()) == []


@pytest.mark.parametrize("user", [0, 65534])
def test_a_private_room_is_seen_by_nobody_and_dies_with_its_owner(canary_file: Path, user: int) -> None:
    """As root and without root: no path leads there from outside, and the kernel frees it when its owner is killed."""
    copy = Path(mkdtemp(dir="/dev/shm"))
    command = private_command(canary_file, user, copy)
    started = subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout
        room, watching, _warnings = started.stdout.readline().rstrip("\n").split(" ")
        shutil.rmtree(copy)
        assert Path(room).parent == PLACE
        assert watching == "0"
        assert not Path(room).exists()
        time.sleep(0.3)
        seen = Path(f"/proc/{started.pid}/root{room}")  # only root may look in this way, and sees that it is used
        assert sum(1 for path in seen.rglob("*") if path.is_file()) > 0
        assert in_memory(seen)
        assert " byokeep rw" in Path(f"/proc/{started.pid}/mountinfo").read_text()
        namespace = Path(f"/proc/{started.pid}/ns/mnt").readlink()
        assert who_sees(namespace) == [started.pid]
    finally:
        end(started)
    until = time.monotonic() + SOON_S
    while who_sees(namespace) and time.monotonic() < until:
        time.sleep(0.02)
    assert who_sees(namespace) == []
    assert not Path(room).exists()


def private_command(canary_file: Path, user: int, copy: Path) -> list[str]:
    """The owner as another user: with the system's Python, for ours may lie where that user may not look."""
    if not user:
        return ["env", "-C", str(ROOT), sys.executable, "-m", "tests.support.room_owner", "private", str(canary_file)]
    program = (
        "import ctypes, sys; sys.path[:0] = [sys.argv[1]]\n"
        "import namespace\n"
        "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"  # as every process of ours is
        "place = namespace.enter(64); room = place / 'room'; room.mkdir()\n"
        "assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0\n"
        "print(room, 0, '', flush=True)\n"
        "while True: (room / 'x').write_bytes(b'canary' * 1000)\n"
    )
    copy.chmod(0o755)
    source = ROOT / "src/byokeep/browser/namespace.py"
    (copy / "namespace.py").write_bytes(source.read_bytes())
    drop = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    return [*drop, "/usr/bin/python3", "-B", "-c", program, str(copy)]


def who_sees(namespace: Path) -> list[int]:
    """The processes in that mount namespace: with the last of them its file systems go."""
    found = []
    for link in Path("/proc").glob("[0-9]*/ns/mnt"):
        with suppress(OSError):
            if link.readlink() == namespace:
                found.append(int(link.parts[2]))
    return found


def test_a_room_is_wiped_at_the_end_of_its_block(place: Path) -> None:
    """After the block, with or without an error in it, nothing is there, and a file that was held open holds zeros."""
    rooms, held = Rooms(place, private=False), []

    def work(*, fails: bool) -> None:
        with rooms.open() as room:
            file = room.path / "Cookies"
            file.write_bytes(b"session=1234" * 100_000)
            with file.open("r+b") as sparse:
                sparse.seek(64 << 20)
                sparse.write(b"at the end")
            assert room.path.stat().st_mode & 0o777 == 0o700
            held.append(file.open("rb"))
            if fails:
                raise KeyError

    work(fails=False)
    with pytest.raises(KeyError):
        work(fails=True)
    assert list(place.iterdir()) == []
    for file in held:
        with file:
            assert not file.read().strip(b"\0")


def test_a_room_without_its_guard_says_so(place: Path) -> None:
    """Before something plain is put there, an owner learns that the guard has gone."""
    with Rooms(place, private=False).open() as room:
        room.must_be_guarded()
        assert room._watching
        kill(room._watching.pid)
        room._watching.wait()
        with pytest.raises(Unavailable, match="room_unguarded"):
            room.must_be_guarded()


def test_a_place_on_a_disk_is_refused(place: Path) -> None:
    """A directory of a disk, one that others may read, a link and one that is not there: no room, nothing made."""
    place.mkdir(mode=0o750)
    with on_disk() as disk:
        assert not in_memory(disk)
        (disk / "link").symlink_to(place)
        for bad in (disk / "disk", place, disk / "link", disk / "a" / "b"):
            with pytest.raises(Unavailable) as caught:
                Rooms(bad, private=False)
            assert caught.value.code == "no_memory_backed_place"


def test_a_process_with_threads_enters_no_namespace() -> None:
    """It would be one thread's alone; such a process gets shared memory, and is told what that lacks."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        before = Path("/proc/self/ns/mnt").readlink()
        assert enter(64) is None
        assert Path("/proc/self/ns/mnt").readlink() == before
        rooms = prepare(None, 64)
        with rooms.open() as room:
            assert room.path.parent == PLACE / f"byokeep-rooms-{os.geteuid()}"
        assert "room_without_limit" in rooms.warnings
        assert not room.path.exists()
    finally:
        stop.set()
        thread.join()


def test_what_is_weaker_is_foreseen_without_a_room(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private room has nothing to warn of, shared memory has no limit, swap is told, a disk is refused."""
    place.mkdir(mode=0o700)
    monkeypatch.setattr(ephemeral, "_swaps", lambda: False)
    assert foreseen(None) == ()
    assert foreseen(place) == ("room_without_limit",)
    monkeypatch.setattr(ephemeral, "_swaps", lambda: True)
    assert foreseen(None) == ()  # as root it is kept out of swap
    assert foreseen(place) == ("swap_is_on", "room_without_limit") == Rooms(place, private=False).warnings
    with on_disk() as disk, pytest.raises(Unavailable, match="no_memory_backed_place"):
        foreseen(disk)
