"""Files that only grow, the checkpoint directory, and the space set aside for an emergency."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from byokeep.adapters.files import checkpoints
from byokeep.adapters.files.append import AppendOnlyFile
from byokeep.adapters.files.checkpoints import COPY, EPOCHS, NEWEST, CheckpointDirectory
from byokeep.adapters.files.reserve import DiskReserve
from byokeep.client.verify import verify_export
from byokeep.core.checkpoint import Checkpoint, LogState, NoteKey, SignedEpoch, heads_data, write_note
from byokeep.core.errors import Integrity, Unavailable
from byokeep.core.events import EventName
from byokeep.core.merkle import leaf_hash
from tests.support.auditlog import ALICE, BOB, MemoryLog, sample_log

# A process that may write no file beyond a size: the kernel takes part of a write, then refuses, as a full disk does.
SMALL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    from byokeep.adapters.files.append import AppendOnlyFile
    from byokeep.core.errors import Unavailable
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    file = AppendOnlyFile(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    kept = 0
    for number in range(1000):
        try:
            file.append([b"%04d " % number + b"x" * 95, b"%04d " % number + b"y" * 95])
            kept += 2
        except Unavailable as error:
            assert error.code == "file_unusable", error.code
            break
    assert len(list(file.lines())) == kept
    print(kept)
"""


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[AppendOnlyFile]:
    file = AppendOnlyFile(tmp_path / "log")
    yield file
    file.close()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[CheckpointDirectory]:
    found = CheckpointDirectory(tmp_path / "checkpoints", origin=MemoryLog().origin)
    yield found
    found.close()


@pytest.mark.parametrize("room", [0, 1, 100, 101, 199, 202, 250, 303, 1000])
def test_a_disk_that_fills_up_leaves_whole_calls_only(tmp_path: Path, room: int) -> None:
    """Whatever byte the disk ends at, the file holds every line of each call that succeeded and none of another."""
    path = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SMALL_DISK), str(path), str(room)],
        capture_output=True, check=True, timeout=60, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    kept = int(done.stdout)
    assert kept == 2 * (room // 202)
    lines = path.read_bytes().splitlines(keepends=True)
    assert [len(line) for line in lines] == [101] * kept
    file = AppendOnlyFile(path)
    file.append([b"there is room again"])
    assert path.read_bytes().endswith(b"\nthere is room again\n" if kept else b"there is room again\n")
    file.close()


def test_a_torn_last_line_is_cut_off_when_opened(tmp_path: Path) -> None:
    """What a crash left of a line goes, however long it is; whole lines stay."""
    path = tmp_path / "log"
    for torn in (b"half a li", b"z" * (3 << 20), b""):
        for whole in (b"", b"one\n", b"one\ntwo\n", b"w" * (2 << 20) + b"\n"):
            path.write_bytes(whole + torn)
            file = AppendOnlyFile(path)
            assert path.read_bytes() == whole
            file.append([b"next"])
            assert b"".join(file.lines()) == whole + b"next\n"
            file.close()


def test_what_another_process_was_killed_over_is_cut_off_by_the_next(tmp_path: Path) -> None:
    """Both have the file open; one leaves half a line, which the other's next line does not go on from."""
    killed, other = AppendOnlyFile(tmp_path / "log"), AppendOnlyFile(tmp_path / "log")
    other.append([b"one"])
    os.write(killed._fd, b"half a li")
    killed.close()
    with other.locked():
        assert other.size() == len(b"one\n")
        other.append([b"two"])
    assert list(other.lines()) == [b"one\n", b"two\n"]
    other.close()


def test_a_file_that_is_not_ours_is_not_used(tmp_path: Path) -> None:
    """A symbolic link, a second hard link, a directory: refused, and what it leads to is untouched."""
    target = tmp_path / "elsewhere"
    target.write_bytes(b"not a log")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(Unavailable, match="file_unusable"):
        AppendOnlyFile(tmp_path / "link")
    (tmp_path / "hard").hardlink_to(target)
    with pytest.raises(Integrity, match="not_our_file"):
        AppendOnlyFile(tmp_path / "hard")
    with pytest.raises(Unavailable, match="file_unusable"):
        AppendOnlyFile(tmp_path)
    assert target.read_bytes() == b"not a log"
    assert (AppendOnlyFile(tmp_path / "new").size(), (tmp_path / "new").stat().st_mode & 0o777) == (0, 0o600)


@pytest.mark.parametrize("how", ["removed", "replaced", "moved"])
def test_a_file_taken_away_is_noticed_before_the_next_line(log_file: AppendOnlyFile, tmp_path: Path, how: str) -> None:
    """Nothing is written into a file that nobody will find again."""
    log_file.append([b"one"])
    path = tmp_path / "log"
    if how == "moved":
        path.rename(tmp_path / "away")
    else:
        path.unlink()
    if how == "replaced":
        path.write_bytes(b"one\n")
    with pytest.raises(Integrity, match=r"file_replaced|not_our_file"):
        log_file.append([b"two"])


def test_after_a_failed_sync_the_file_is_not_written_to(
    log_file: AppendOnlyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what is on the disk then: every further call says so, until a new start reads the file."""
    with monkeypatch.context() as patch:

        def fail(_: int) -> None:
            raise OSError(5, "Input/output error")

        patch.setattr(os, "fsync", fail)
        with pytest.raises(Unavailable, match="file_suspect"):
            log_file.append([b"one"])
    for _ in range(2):
        with pytest.raises(Unavailable, match="file_suspect"):
            log_file.append([b"two"])


def test_a_line_may_hold_no_line_end(log_file: AppendOnlyFile) -> None:
    """One record can not become two."""
    with pytest.raises(ValueError, match="line end"):
        log_file.append([b"one\ntwo"])
    assert log_file.size() == 0


async def test_a_note_that_cannot_be_written_is_unavailable(directory: CheckpointDirectory, tmp_path: Path) -> None:
    """The disk's refusal has our code; what was there stays."""
    (tmp_path / "checkpoints" / NEWEST).mkdir()
    with pytest.raises(Unavailable, match="file_unusable"):
        await directory.publish(sample_log().epochs[0])
    assert (tmp_path / "checkpoints" / NEWEST).is_dir()


@pytest.mark.req("S-TLOG-3")
async def test_the_directory_takes_only_what_continues_it(directory: CheckpointDirectory, tmp_path: Path) -> None:
    """A smaller log, a gap, a repeated or forked epoch, one of an earlier time, a note of another size: refused, and
    nothing is kept of it."""
    log = sample_log()
    assert await directory.latest() == (LogState(), b"")
    await directory.publish(log.epochs[0])
    fork = MemoryLog()
    fork.append(ALICE, EventName.JOB_OPENED)
    fork.checkpoint()
    fork.append(ALICE, EventName.JOB_OPENED)
    before = (tmp_path / "checkpoints" / EPOCHS).read_bytes()
    for wrong in (
        log.epochs[0], log.epochs[2], fork.epochs[0], fork.checkpoint(),
        log.epochs[1]._replace(note=log.epochs[0].note),
        log.epochs[1]._replace(heads=heads_data([])), log.epochs[1]._replace(leaf=log.epochs[1].leaf + b" "),
    ):  # fmt: skip
        with pytest.raises(Integrity):
            await directory.publish(wrong)
    state, _ = await directory.latest()
    early = state.next_leaf([], at_us=state.at_us - 1).data()
    root = state.edge.append(leaf_hash(early)).root()
    note = write_note(Checkpoint(log.origin, 2, root).text(), [(NoteKey(log.origin, bytes(32)), bytes(64))])
    with pytest.raises(Integrity, match="time_ran_back"):
        await directory.publish(SignedEpoch(early, heads_data([]), note))
    assert (tmp_path / "checkpoints" / EPOCHS).read_bytes() == before
    for epoch in log.epochs[1:]:
        await directory.publish(epoch)
    assert await directory.latest() == (log.state, log.epochs[-1].note)
    assert [epoch async for epoch in directory.epochs()] == log.epochs
    assert (tmp_path / "checkpoints" / NEWEST).read_bytes() == log.epochs[-1].note


async def test_the_directory_starts_again_from_its_files(directory: CheckpointDirectory, tmp_path: Path) -> None:
    """A new process, and one beside it, see the same state; a torn last epoch is as if never published."""
    log = sample_log()
    for epoch in log.epochs[:2]:
        await directory.publish(epoch)
    beside = CheckpointDirectory(tmp_path / "checkpoints", origin=log.origin)
    assert await beside.latest() == await directory.latest()
    await directory.publish(log.epochs[2])
    assert await beside.latest() == (log.state, log.epochs[2].note)
    beside.close()
    path = tmp_path / "checkpoints" / EPOCHS
    path.write_bytes(path.read_bytes() + log.epochs[2].line()[:50])
    again = CheckpointDirectory(tmp_path / "checkpoints", origin=log.origin)
    assert (await again.latest())[0].size == 3
    again.close()


@pytest.mark.req("S-TLOG-3")
async def test_a_directory_whose_epochs_were_cut_or_edited_is_not_believed(
    directory: CheckpointDirectory, tmp_path: Path
) -> None:
    """A running process notices lost epochs; a new one refuses an edited file."""
    log, path = sample_log(), tmp_path / "checkpoints" / EPOCHS
    for epoch in log.epochs:
        await directory.publish(epoch)
    whole = path.read_bytes()
    os.truncate(path, len(log.epochs[0].line()) + 1)
    with pytest.raises(Integrity, match="epochs_lost"):
        await directory.latest()
    path.write_bytes(whole.replace(str(ALICE).encode(), b"00000000-0000-4000-8000-00000000000a"))
    with pytest.raises(Integrity):
        await CheckpointDirectory(tmp_path / "checkpoints", origin=log.origin).latest()


async def test_the_copy_takes_only_lines_that_continue_it(directory: CheckpointDirectory, tmp_path: Path) -> None:
    """Each line is checked before it is kept; a gap, a repeat or an edited line is refused with all of its call."""
    log = sample_log()
    lines = log.all_lines()
    await directory.copy_append(lines[:4])
    path = tmp_path / "checkpoints" / COPY
    before = path.read_bytes()
    for wrong in (lines[3:5], lines[5:], [lines[4].replace(b"openai", b"google")], [lines[4], b"{}"]):
        with pytest.raises(Integrity):
            await directory.copy_append(wrong)
    assert path.read_bytes() == before
    await directory.copy_append(lines[4:])
    assert await directory.copied_heads() == {chain: log.head(chain) for chain in log.chains}
    again = CheckpointDirectory(tmp_path / "checkpoints", origin=log.origin)
    assert await again.copied_heads() == await directory.copied_heads()
    again.close()
    epochs = tmp_path / "epochs.jsonl"
    epochs.write_bytes(b"".join(epoch.line() + b"\n" for epoch in log.epochs))
    assert verify_export([path], log.keys, epochs=epochs).records == len(lines)
    os.truncate(path, len(before))
    with pytest.raises(Integrity, match="copy_lost"):
        await directory.copied_heads()
    path.write_bytes(path.read_bytes().replace(b"standard", b"high"))
    with pytest.raises(Integrity, match="audit_chain_broken"):
        await CheckpointDirectory(tmp_path / "checkpoints", origin=log.origin).copied_heads()


def test_the_reserve_is_real_space_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allocated blocks, not a hole; released in one step; not taken while the disk is nearly full."""
    reserve = DiskReserve(tmp_path / "reserve", size=1 << 20)
    assert (reserve.held(), reserve.hold(), reserve.hold()) == (0, True, True)
    assert reserve.held() == 1 << 20
    assert reserve.release() == 1 << 20
    assert (reserve.held(), reserve.release()) == (0, 0)
    with (tmp_path / "reserve").open("wb") as hole:
        hole.truncate(1 << 20)
    assert reserve.held() < 1 << 20
    assert reserve.hold()
    assert reserve.held() == 1 << 20
    reserve.release()
    monkeypatch.setattr(DiskReserve, "held", lambda _: 0)
    huge = DiskReserve(tmp_path / "reserve", size=1 << 60)
    assert not huge.hold()
    assert not (tmp_path / "reserve").exists()


def test_a_reserve_does_not_follow_a_link(tmp_path: Path) -> None:
    """A link in its place is not filled, and releasing removes the link alone."""
    target = tmp_path / "elsewhere"
    target.write_bytes(b"kept")
    (tmp_path / "reserve").symlink_to(target)
    reserve = DiskReserve(tmp_path / "reserve", size=1 << 16)
    with pytest.raises(Unavailable, match="file_unusable"):
        reserve.hold()
    reserve.release()
    assert target.read_bytes() == b"kept"


@pytest.mark.parametrize(("rebased", "marks", "most"), [(0, 8, 5), (9, 8, 5), (0, 2, 17)])
async def test_the_first_epoch_over_a_record_is_found_without_reading_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rebased: int, marks: int, most: int
) -> None:
    """For each record of a long log it is the one a replay from the start finds, and few epochs are read for it; how
    much is remembered does not grow with the log."""
    monkeypatch.setattr(checkpoints, "MARK_EVERY", 4)
    monkeypatch.setattr(checkpoints, "MARKS", marks)
    log = MemoryLog()
    states: list[LogState] = []
    directory = CheckpointDirectory(tmp_path / "checkpoints", origin=log.origin)
    try:
        for number in range(30):
            for _ in range(number % 3):
                log.append(ALICE, EventName.JOB_OPENED)
            anew = "checkpoint_mismatch" if number and number == rebased else ""
            if anew:
                del log.chains[ALICE][5:]
            await directory.publish(log.checkpoint(rebased=anew))
            states.append(log.state)
            assert len(directory._marks) <= 2 + marks + marks // 2
        read: list[int] = []
        lines = AppendOnlyFile.lines

        def counted(file: AppendOnlyFile, start: int = 0) -> Iterator[bytes]:
            for line in lines(file, start):
                read.append(1)
                yield line

        monkeypatch.setattr(AppendOnlyFile, "lines", counted)
        for seq in range(1, len(log.chains[ALICE]) + 1):
            read.clear()
            found = await directory.covering(ALICE, seq)
            assert found is not None
            after = states[rebased:]
            assert found[0] == next(s for s in after if ALICE in s.heads and s.heads[ALICE].seq >= seq)
            assert found[1] == log.epochs[found[0].size - 1].note
            assert len(read) <= most
        assert await directory.covering(ALICE, len(log.chains[ALICE]) + 1) is None
        assert await directory.covering(BOB, 1) is None
    finally:
        directory.close()


async def test_the_newest_is_read_from_the_ends_of_the_files(directory: CheckpointDirectory) -> None:
    """The last epoch, and the head of each chain among the last records copied; of empty files nothing."""
    assert await directory.newest() == (None, [])
    log = sample_log()
    for epoch in log.epochs:
        await directory.publish(epoch)
    await directory.copy_append(log.all_lines())
    epoch, heads = await directory.newest()
    assert epoch == log.epochs[-1]
    assert {head.chain: head for head in heads} == {chain: log.head(chain) for chain in log.chains}


@pytest.mark.parametrize("size", [1, 9, 10, 11, 25, 1000])
def test_a_tail_is_whole_lines_from_the_end(log_file: AppendOnlyFile, size: int) -> None:
    """At least the last line, at most what fits, never a part of one."""
    lines = [b"%09d" % number for number in range(40)] + [b"x" * 300]
    assert list(log_file.tail(size)) == []
    log_file.append(lines)
    assert list(log_file.tail(size))[-1] == lines[-1] + b"\n"
    log_file.append([b"short"])
    found = list(log_file.tail(size))
    assert found == [line + b"\n" for line in [*lines, b"short"]][-len(found) :]
    assert found
