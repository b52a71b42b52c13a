"""Sealing and opening: what comes back, what a damaged blob does, what is left of a broken stream, memory."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import inspect
import io
import os
import random
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
import zstandard
from cryptography.hazmat.primitives.hashes import SHA512_256
from hypothesis import given, settings
from hypothesis import strategies as st

from byokeep.core.errors import Integrity, Rejected, Unavailable
from byokeep.core.manifest import RecordPlace
from byokeep.core.model import ClientId, Environment, ProfileId
from byokeep.core.secret import Secret
from byokeep.sealing import sealer
from byokeep.sealing.generation import Ahead, Sealing
from byokeep.sealing.sealer import HEADER, SALT, Sealer, new_dek, open_into, seal
from tests.support.sealing import Profile, Sink, manifest

ROOT = Path(__file__).parents[2]
SEGMENT = 1024 * 1024


@pytest.mark.parametrize(
    "size", [1, 2, 1000, SEGMENT - 57, SEGMENT - 56, SEGMENT - 55, SEGMENT, 2 * SEGMENT - 72, 3 * SEGMENT + 17]
)
async def test_what_was_sealed_comes_back(size: int) -> None:
    """Bytes that do not compress, of sizes around the edges of segments, are visible once, whole, and the same."""
    packed = random.Random(size).randbytes(size)
    profile = await Profile.sealed(packed)
    sink = await profile.open()
    assert (sink.ends, sink.visible) == (["commit"], packed)
    assert packed[:32] not in profile.blob or size < 32


@given(st.lists(st.binary(min_size=1, max_size=5000), min_size=1, max_size=8), st.integers(1, 400))
@settings(max_examples=30)
def test_any_content_in_any_pieces_comes_back(pieces: list[bytes], repeat: int) -> None:
    """A source may give what it has in pieces of any length."""

    class Pieces:
        def __init__(self) -> None:
            self.left = pieces * repeat

        def read(self, size: int, /) -> bytes:
            return self.left.pop(0) if self.left else b""

    async def round_trip() -> bytes | None:
        dek, dek_id, target, of = new_dek(), uuid4(), io.BytesIO(), manifest()
        await seal(Pieces(), target, dek=dek, dek_id=dek_id, manifest=of, place=of.place)
        made = await Profile.sealed(b"".join(pieces) * repeat)
        assert len(made.blob) > HEADER
        profile = Profile(target.getvalue(), dek, replace(made.record, dek_id=dek_id))
        return (await profile.open()).visible

    assert asyncio.run(round_trip()) == b"".join(pieces) * repeat


@pytest.mark.req("R5.3-2")
async def test_a_flip_of_any_byte_is_refused() -> None:
    """Every byte of a blob, header and both salts included, altered by one bit and by all: refused, nothing visible."""
    profile = await Profile.sealed(b"cookies and local storage " * 20)
    assert (await profile.open()).visible is not None
    for at in range(len(profile.blob)):
        for mask in (1 << at % 8, 0xFF):
            altered = bytearray(profile.blob)
            altered[at] ^= mask
            sink = Sink()
            about = profile.record
            with pytest.raises(Integrity, match="sealed_blob_unreadable"):
                await profile.open(bytes(altered))
            with pytest.raises(Integrity, match="sealed_blob_unreadable"):
                await open_into(io.BytesIO(altered), sink, dek=profile.dek, record=about, place=about.manifest.place)
            assert (sink.ends, sink.visible) == (["abort"], None)


def mutated(blob: bytes, draw: random.Random) -> bytes:
    """A blob with one to three random edits, which is never the blob itself."""
    while True:
        data = bytearray(blob)
        for _ in range(draw.randint(1, 3)):
            at, end = sorted((draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)))
            what = draw.randrange(6)
            if what == 0:
                del data[at:end]
            elif what == 1:
                data[at:at] = draw.randbytes(draw.randint(1, 40))
            elif what == 2:
                data[at:end] = draw.randbytes(end - at)
            elif what == 3 and data:
                data[at % len(data)] ^= 1 << draw.randrange(8)
            elif what == 4:
                data[at:at] = data[at:end]
            else:
                data = data[:at] + data[end:] + data[at:end]
        if data != blob:
            return bytes(data)


async def mutations(count: int, seed: int) -> int:
    """Present ``count`` altered blobs; returns how many were refused. Raises on any other end."""
    sys.stdout.write(f"seed {seed}\n")
    draw = random.Random(seed)
    profile = await Profile.sealed(draw.randbytes(700) + bytes(900))
    number = 0
    for number in range(1, count + 1):  # noqa: B007
        blob, sink = mutated(profile.blob, draw), Sink()
        about = replace(profile.record, blob_size=max(1, len(blob)), blob_sha256=hashlib.sha256(blob).digest())
        with pytest.raises(Integrity, match="sealed_blob_unreadable"):
            await open_into(io.BytesIO(blob), sink, dek=profile.dek, record=about, place=about.manifest.place)
        assert (sink.ends, sink.visible) == (["abort"], None)
    return number


@pytest.mark.req("S-GCM-14")
async def test_no_altered_blob_is_accepted() -> None:
    """1,000 random edits, each under a record that agrees with it: none opens, none breaks anything else."""
    assert await mutations(1_000, 20261125) == 1_000


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.req("S-GCM-14")
async def test_no_altered_blob_is_accepted_at_length() -> None:
    """100,000 random edits from a seed of this run: none opens, none breaks anything else, nothing is visible."""
    assert await mutations(100_000, int.from_bytes(os.urandom(4), "big")) == 100_000


@pytest.mark.req("R5.3-10")
async def test_the_profile_is_the_one_that_is_asked_for() -> None:
    """Another environment, client, profile or generation than the caller's own rows say: no seal, and no opening."""
    profile = await Profile.sealed(b"content")
    own = profile.record.manifest.place
    others: list[RecordPlace] = [
        replace(own, environment=Environment.STAGING), replace(own, client_id=ClientId(UUID(int=9))),
        replace(own, profile_id=ProfileId(UUID(int=9))), replace(own, generation=2),
    ]  # fmt: skip
    for other in others:
        with pytest.raises(Integrity, match="sealed_blob_unreadable"):
            await profile.open(place=other)
        target = io.BytesIO()
        with pytest.raises(Rejected, match="manifest_of_another_profile"):
            await seal(io.BytesIO(b"x"), target, dek=new_dek(), dek_id=uuid4(), manifest=manifest(), place=other)
        assert target.getvalue() == b""


@pytest.mark.req("R5.3-22")
async def test_the_record_must_agree_with_the_blob() -> None:
    """A size or digest in the record that is not the blob's, or not what comes out, refuses a good blob."""
    profile = await Profile.sealed(b"content")
    good = profile.record
    for about in (
        replace(good, blob_size=good.blob_size + 1), replace(good, packed_size=6), replace(good, packed_size=8),
        replace(good, blob_size=good.blob_size - 1), replace(good, blob_sha256=bytes(32)),
        replace(good, dek_id=uuid4()),
    ):  # fmt: skip
        sink = Sink()
        with pytest.raises(Integrity, match="sealed_blob_unreadable"):
            await open_into(io.BytesIO(profile.blob), sink, dek=profile.dek, record=about, place=good.manifest.place)
        assert (sink.ends, sink.visible) == (["abort"], None)


async def test_a_blob_that_grows_gives_no_more_than_was_packed() -> None:
    """Gigabytes of zeros compress to little; opening stops at the size in the record, within one buffer."""

    class Counting(Sink):
        taken = 0

        def write(self, data: memoryview) -> None:
            self.taken += len(data)

    profile, sink = await Profile.sealed(bytes(64 * SEGMENT)), Counting()
    assert len(profile.blob) < SEGMENT
    about = replace(profile.record, packed_size=3 * SEGMENT)
    with pytest.raises(Integrity, match="sealed_blob_unreadable"):
        await open_into(io.BytesIO(profile.blob), sink, dek=profile.dek, record=about, place=about.manifest.place)
    assert sink.taken <= 3 * SEGMENT
    assert sink.ends == ["abort"]


@pytest.mark.req("S-NIST-21")
def test_a_new_key_is_made_of_nothing_older(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator takes no input and returns what the system gave, whatever keys were made or used before."""
    assert not inspect.signature(new_dek).parameters
    given = [bytes([number]) * 32 for number in (7, 7, 9)]
    asked: list[int] = []

    def source(size: int) -> bytes:
        asked.append(size)
        return given[len(asked) - 1]

    monkeypatch.setattr(sealer.os, "urandom", source)
    made = []
    for _ in given:
        made.append(new_dek())
        sealer.commitment(made[-1], bytes(sealer.SALT))  # using one leaves no trace in the next
    assert [one.reveal() for one in made] == given
    assert asked == [32, 32, 32]


def _salt(header: bytes) -> bytes:
    return header[16 : 16 + SALT]


@pytest.mark.req("S-GCM-9")
async def test_each_blob_has_keys_of_its_own() -> None:
    """Two seals under one key differ in salt, commitment and stream key; 1,000 seals share no key and no salt."""
    dek, of, headers, streams = new_dek(), manifest(), [], set()
    for _ in range(2):
        target = io.BytesIO()
        await seal(io.BytesIO(b"content"), target, dek=dek, dek_id=UUID(int=1), manifest=of, place=of.place)
        headers.append(target.getvalue()[:HEADER])
        streams.add(sealer._derived(dek, _salt(headers[-1]), sealer._STREAM, 32))
    assert len(set(map(_salt, headers))) == len({header[48:] for header in headers}) == 2
    assert len(streams) == 2
    assert not {header[48:] for header in headers} & streams
    profiles = [await Profile.sealed(b"content") for _ in range(1000)]
    assert len({profile.record.dek_id for profile in profiles}) == 1000
    assert len({profile.dek.reveal() for profile in profiles}) == 1000
    assert len({_salt(profile.blob) for profile in profiles}) == 1000
    Sealer()


@pytest.mark.parametrize("at", range(0, 165, 11))
def test_a_wrong_answer_fails_the_self_test(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known answers hold here; one altered byte of the known blob, or another commitment, and nothing may start."""
    Sealer()
    known = bytearray(sealer._BLOB)
    known[at] ^= 1
    monkeypatch.setattr(sealer, "_BLOB", bytes(known))
    with pytest.raises(Unavailable, match="sealing_self_test_failed"):
        Sealer()


def broken_library(*_: object, **__: object) -> None:
    raise ZeroDivisionError


class NotVerifying:
    """A library that opens an altered text as the one it should have been."""

    def __init__(self, dek: Secret, salt: bytes) -> None:
        self._real = sealer.stream_aead(dek, salt)

    def new_decrypting_stream(self, reading: Any, associated: bytes) -> Any:
        text = b"".join(iter(reading.read, b""))
        good = sealer._BLOB[HEADER:]
        return self._real.new_decrypting_stream(io.BytesIO(good if text[:-1] == good[:-1] else text), associated)


class NotEncrypting:
    """A library that passes on what it is given."""

    def __init__(self, *_: object) -> None:
        pass

    def new_encrypting_stream(self, writing: Any, _: bytes) -> Any:
        return io.BufferedWriter(writing)

    def new_decrypting_stream(self, reading: Any, _: bytes) -> Any:
        return SimpleNamespace(raw=reading)  # a buffer would want more of ours than the library does


BROKEN: dict[str, list[tuple[Any, str, Any]]] = {
    "encrypts nothing": [(sealer, "stream_aead", NotEncrypting), (sealer, "stream_aead", NotEncrypting)],
    "seals nothing that it opens": [(sealer, "stream_aead", NotEncrypting)],
    "verifies nothing": [(sealer, "stream_aead", NotVerifying)],
    "derives another key": [(sealer, "_STREAM", b"another label")],
    "derives another commitment": [(sealer, "_COMMITMENT", b"another label")],
    "hashes to another digest": [(sealer, "SHA256", SHA512_256)],
    "raises what nobody foresaw": [(sealer, "HKDF", broken_library)],
    "does not compress": [(zstandard, "ZstdCompressor", broken_library)],
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_library_seals_and_opens_nothing(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cipher, a derivation or a compression that does something else: there is no sealer, with one code."""
    Sealer()
    for owner, name, broken in BROKEN[what]:
        monkeypatch.setattr(owner, name, broken)
    with pytest.raises(Unavailable) as refused:
        Sealer()
    assert refused.value.code == "sealing_self_test_failed"
    monkeypatch.undo()
    Sealer()


async def test_a_key_of_another_length_is_refused() -> None:
    """16 bytes, none, 33: nothing is sealed; opening says what it says of any wrong key."""
    profile = await Profile.sealed(b"content")
    for size in (0, 16, 31, 33, 64):
        target, of = io.BytesIO(), manifest()
        with pytest.raises(Rejected, match="bad_dek"):
            await seal(io.BytesIO(b"x"), target, dek=Secret(bytes(size)), dek_id=uuid4(), manifest=of, place=of.place)
        assert target.getvalue() == b""
        with pytest.raises(Integrity, match="sealed_blob_unreadable"):
            await Profile(profile.blob, Secret(bytes(size)), profile.record).open()


class Breaks:
    """A source that gives so many bytes and then fails as a file or a store does."""

    def __init__(self, data: bytes, good: int, error: Exception) -> None:
        self._data, self._left, self._error = io.BytesIO(data), good, error

    def read(self, size: int, /) -> bytes:
        if self._left <= 0:
            raise self._error
        data = self._data.read(min(size, self._left))
        self._left -= len(data)
        return data


@pytest.mark.parametrize("good", [0, 1, 5 * SEGMENT])
@pytest.mark.parametrize("error", [OSError(5, "made up"), Unavailable("store_unreachable")], ids=["os", "ours"])
async def test_a_source_that_breaks_leaves_no_blob(good: int, error: Exception) -> None:
    """The source's own error comes out, and what was written is no blob that would open."""
    dek, dek_id, target, of = new_dek(), uuid4(), io.BytesIO(), manifest()
    packed = random.Random(1).randbytes(8 * SEGMENT)
    with pytest.raises(type(error)) as caught:
        await seal(Breaks(packed, good, error), target, dek=dek, dek_id=dek_id, manifest=of, place=of.place)
    assert caught.value is error
    left = target.getvalue()
    about = replace((await Profile.sealed(packed[: good or 1])).record, dek_id=dek_id)
    with pytest.raises(Integrity, match="sealed_blob_unreadable"):
        await Profile(left, dek, about).open()


async def test_a_target_that_breaks_is_told_as_its_own_error() -> None:
    """A full disk is a full disk, at the header and in the middle; no later write reaches the target."""

    class Full:
        def __init__(self, room: int) -> None:
            self.room, self.refused = room, 0

        def write(self, data: bytes, /) -> None:
            assert not self.refused, "written to after it failed"
            self.room -= len(data)
            if self.room < 0:
                self.refused += 1
                raise OSError(28, "made up")

    of = manifest()
    for room in (10, 100, 2 * SEGMENT):
        packed = io.BytesIO(random.Random(1).randbytes(4 * SEGMENT))
        with pytest.raises(OSError, match="made up"):
            await seal(packed, Full(room), dek=new_dek(), dek_id=uuid4(), manifest=of, place=of.place)


async def test_a_blob_that_can_not_be_read_is_not_called_damaged() -> None:
    """The store's own error comes out wherever it happens, and the sink is aborted."""
    profile = await Profile.sealed(random.Random(1).randbytes(3 * SEGMENT))
    for good in (0, 79, 80, 100, 121, SEGMENT, 2 * SEGMENT + 5):
        error, sink = Unavailable("store_unreachable"), Sink()
        source = Breaks(profile.blob, good, error)
        with pytest.raises(Unavailable, match="store_unreachable"):
            await open_into(source, sink, dek=profile.dek, record=profile.record, place=profile.record.manifest.place)
        assert (sink.ends, sink.visible) == (["abort"], None)


async def test_a_sink_that_refuses_is_aborted() -> None:
    """The sink's own error comes out, from a write and from the commit; after a failed write it is told to abort."""

    class Refuses(Sink):
        def write(self, data: memoryview) -> None:
            raise Rejected("bad_archive")

    profile, sink = await Profile.sealed(b"content"), Refuses()
    with pytest.raises(Rejected, match="bad_archive"):
        await open_into(
            io.BytesIO(profile.blob), sink, dek=profile.dek, record=profile.record,
            place=profile.record.manifest.place,
        )  # fmt: skip
    assert (sink.ends, sink.visible) == (["abort"], None)

    class CanNotCommit(Sink):
        def commit(self) -> None:
            self.ends.append("commit")
            raise Unavailable("no_room")

    late = CanNotCommit()
    with pytest.raises(Unavailable, match="no_room"):
        await open_into(
            io.BytesIO(profile.blob), late, dek=profile.dek, record=profile.record,
            place=profile.record.manifest.place,
        )  # fmt: skip
    assert (late.ends, late.visible) == (["commit"], None)


async def test_no_thread_is_left_behind() -> None:
    """After an opening that ended early, with more of the blob unread than is read ahead, its reading has ended."""

    class Refuses(Sink):
        def write(self, data: memoryview) -> None:
            assert any(thread.name.startswith("sealing-ahead") for thread in threading.enumerate())
            raise Rejected("bad_archive")

    profile = await Profile.sealed(random.Random(1).randbytes(12 * SEGMENT))
    source = io.BytesIO(profile.blob)
    with pytest.raises(Rejected, match="bad_archive"):
        await open_into(source, Refuses(), dek=profile.dek, record=profile.record, place=profile.record.manifest.place)
    assert not any(thread.name.startswith("sealing-ahead") for thread in threading.enumerate())
    assert source.tell() < len(profile.blob)


async def test_nothing_is_not_sealed() -> None:
    """An empty stream is no profile."""
    of, target = manifest(), io.BytesIO()
    with pytest.raises(Rejected, match="nothing_to_seal"):
        await seal(io.BytesIO(b""), target, dek=new_dek(), dek_id=uuid4(), manifest=of, place=of.place)


async def test_who_is_cancelled_finds_the_work_stopped() -> None:
    """After a cancelled opening or sealing returns, no thread of it writes any more and the sink was aborted."""

    class Slow:
        def __init__(self) -> None:
            self.begun, self.reads = threading.Event(), 0

        def read(self, size: int, /) -> bytes:
            self.reads += 1
            self.begun.set()
            threading.Event().wait(0.01)
            return bytes(size)

    of, target, slow = manifest(), io.BytesIO(), Slow()
    task = asyncio.ensure_future(seal(slow, target, dek=new_dek(), dek_id=uuid4(), manifest=of, place=of.place))
    await asyncio.to_thread(slow.begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    reads, written = slow.reads, len(target.getvalue())
    await asyncio.sleep(0.05)
    assert (slow.reads, len(target.getvalue())) == (reads, written)

    profile, sink, waiting = await Profile.sealed(random.Random(1).randbytes(8 * SEGMENT)), Sink(), threading.Event()

    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            waiting.set()
            threading.Event().wait(0.02)
            return super().read(size)

    opening = open_into(
        Trickle(profile.blob), sink, dek=profile.dek, record=profile.record, place=profile.record.manifest.place
    )
    task = asyncio.ensure_future(opening)
    await asyncio.to_thread(waiting.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (sink.ends, sink.visible) == (["abort"], None)


def extra_memory(size: int) -> dict[str, float]:
    """Seal and open ``size`` bytes in a process of its own; peak MiB above what a first small profile took."""
    command = [sys.executable, "-m", "tests.support.sealing_memory", str(size)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    seal_mib, open_mib = (float(word) for word in ended.stdout.split())
    return {"seal": seal_mib, "open": open_mib}


async def test_memory_does_not_grow_with_refusals() -> None:
    """A hundred blobs that were refused, or could not be read, leave less than 24 MiB: none keeps its buffers."""
    profile = await Profile.sealed(bytes(range(256)) * 6)
    place = profile.record.manifest.place

    async def refuse() -> None:
        with suppress(Integrity):
            await profile.open(profile.blob[:-1])
        for good in (0, 90, len(profile.blob) - 1):
            with suppress(OSError):
                broken = Breaks(profile.blob, good, OSError(5, "made up"))
                await open_into(broken, Sink(), dek=profile.dek, record=profile.record, place=place)

    for _ in range(10):
        await refuse()
    gc.collect()
    before = resident_mib()
    for _ in range(25):
        await refuse()
    gc.collect()
    assert resident_mib() - before < 24


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.timeout(600)
@pytest.mark.req("S-GCM-4")
def test_memory_does_not_grow_with_the_profile() -> None:
    """Sealing and opening 512 MiB takes less than 64 MiB more than the process had before the first profile."""
    extra = extra_memory(512 * SEGMENT)
    assert all(0 < one < 64 for one in extra.values()), extra


@pytest.mark.req("S-GCM-4")
def test_only_a_few_pieces_are_read_ahead() -> None:
    """However slow the other side is, three pieces wait for it, and another one is read for each that it takes."""
    read: list[int] = []

    def piece(size: int) -> bytes:
        read.append(size)
        return b"x"

    with Ahead(piece, 1) as ahead:
        for taken in range(5):
            assert [one.result() for one in ahead._ready] == [b"x"] * 3
            assert len(read) == 3 + taken
            assert ahead.read(1) == b"x"


@pytest.mark.campaign
@pytest.mark.timeout(1200)
@pytest.mark.req("S-GCM-4")
def test_memory_does_not_grow_with_a_profile_of_gigabytes() -> None:
    """From 1 MiB to 2 GiB: less than 64 MiB more than the process had before."""
    for size in (SEGMENT, 64 * SEGMENT, 2048 * SEGMENT):
        extra = extra_memory(size)
        assert all(0 < one < 64 for one in extra.values()), (size, extra)


@pytest.mark.parametrize("size", [1000, 300_000, 5 << 20])
@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_upload_that_breaks_at_its_end_ends_the_seal(size: int, cancelled: bool) -> None:
    """All was written and waits to be sent when the store goes away: that is said, and a caller's end stays one."""
    begun = asyncio.Event()

    async def put(*_: Any) -> Any:
        begun.set()
        await asyncio.sleep(60 if cancelled else 0.3)
        raise Unavailable("broker_unreachable")

    artifacts: Any = SimpleNamespace(put=put)
    sealing = Sealing(sealer=Sealer(), artifacts=artifacts, keys=None)  # type: ignore[arg-type]
    with new_dek() as dek:
        storing = asyncio.create_task(sealing._stored(manifest(), uuid4(), io.BytesIO(os.urandom(size)), dek))
        await begun.wait()
        await asyncio.sleep(0.2)
        if cancelled:
            storing.cancel()
        await asyncio.wait({storing}, timeout=5)
        assert storing.done()
        with pytest.raises(asyncio.CancelledError if cancelled else Unavailable):
            await storing
