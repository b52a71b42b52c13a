"""What the port ArtifactStore promises, held against a local directory and against an S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from botocore.exceptions import ConnectionClosedError  # type: ignore[import-untyped]

from byokeep.adapters.blobs import local
from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.adapters.blobs.s3 import S3Artifacts, S3Files
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.sealed_record import MAGIC as SEALED_MAGIC
from byokeep.core.sealed_record import ArtifactKey, StoredArtifact, parse_artifact_key
from byokeep.kernel.ports import ArtifactStore
from byokeep.processes.installation import must_write_once
from tests.support.buckets import credentials_file, new_bucket, s3_client, s3_server
from tests.support.disk import filled, small_disk

MIB = 1 << 20
OPEN_MAGICS = {
    "zip": b"PK\x03\x04", "tar": b"Cookies".ljust(257, b"\0") + b"ustar\x0000", "sqlite": b"SQLite format 3\0",
    "zstd": b"\x28\xb5\x2f\xfd", "gzip": b"\x1f\x8b\x08", "our archive": b"byokeep-profile/1\n",
    "short": b"BYOK", "none": b"",
}  # fmt: skip


@dataclass
class Place:
    """A store, and ways behind its back."""

    store: ArtifactStore
    shredder: ArtifactStore
    names: Callable[[], list[str]]
    alter: Callable[[str, bytes], None]
    take_away: Callable[[], None]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return local_place(tmp_path / "artifacts")
    return s3_place(request.getfixturevalue("endpoint"), tmp_path)


def local_place(directory: Path) -> Place:
    def names() -> list[str]:
        return [path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()]

    def alter(name: str, data: bytes) -> None:
        (directory / name).write_bytes(data)

    def take_away() -> None:
        directory.rename(directory.with_name("gone"))
        directory.write_bytes(b"")  # not a directory

    store = LocalArtifacts(directory)
    return Place(store, LocalArtifacts(directory, may_remove=True), names, alter, take_away)


def s3_place(endpoint: str, tmp_path: Path, *, locked: bool = False) -> Place:
    bucket, client = new_bucket(endpoint, locked=locked), s3_client(endpoint)

    def names() -> list[str]:
        uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        objects = client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return [f"upload {found['Key']}" for found in uploads] + [found["Key"].removeprefix("p/") for found in objects]

    def alter(name: str, data: bytes) -> None:
        client.put_object(Bucket=bucket, Key=f"p/{name}", Body=data)

    def take_away() -> None:
        for found in client.list_objects_v2(Bucket=bucket).get("Contents", []):
            client.delete_object(Bucket=bucket, Key=found["Key"])
        client.delete_bucket(Bucket=bucket)

    def made(may_remove: bool) -> S3Artifacts:
        file = credentials_file(tmp_path)
        return S3Artifacts(bucket, prefix="p/", endpoint=endpoint, credentials_file=file, may_remove=may_remove)

    return Place(made(False), made(True), names, alter, take_away)


def new_key(client_id: UUID | None = None, generation: int = 1) -> ArtifactKey:
    return ArtifactKey(
        client_id=client_id or uuid4(), profile_id=uuid4(), generation=generation, random=secrets.token_hex(16)
    )


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def kept(place: Place, *parts: bytes, key: ArtifactKey | None = None) -> tuple[ArtifactKey, StoredArtifact]:
    key = key or new_key()
    return key, await place.store.put(key.client_id, key, chunks(SEALED_MAGIC, *parts))


async def whole(place: Place, key: ArtifactKey, expected: StoredArtifact) -> bytes:
    return b"".join([piece async for piece in place.store.get(key.client_id, key, expected)])


async def test_64_mib_go_in_and_come_out_in_pieces(place: Place) -> None:
    """A large profile comes back byte for byte, and neither way holds more than a few parts of it in memory."""
    piece, digest = secrets.token_bytes(MIB), hashlib.sha256(SEALED_MAGIC)
    for _ in range(64):
        digest.update(piece)

    async def source() -> AsyncIterator[bytes]:
        yield SEALED_MAGIC[:3]
        yield SEALED_MAGIC[3:]
        for _ in range(64):
            yield piece

    key = new_key()
    local = isinstance(place.store, LocalArtifacts)  # moto keeps objects in this process, so there it says nothing
    if local:
        tracemalloc.start()
    stored = await place.store.put(key.client_id, key, source())
    assert stored == StoredArtifact(size=64 * MIB + len(SEALED_MAGIC), sha256_hex=digest.hexdigest())
    back = hashlib.sha256()
    largest = 0
    async for found in place.store.get(key.client_id, key, stored):
        back.update(found)
        largest = max(largest, len(found))
    assert back.hexdigest() == stored.sha256_hex
    assert largest <= MIB
    if local:
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, 8 * MIB - 8, 8 * MIB, 16 * MIB + 1])
async def test_every_length_comes_back(place: Place, size: int) -> None:
    """Lengths at the borders of a piece and of a part are no special case."""
    data = secrets.token_bytes(size)
    key, stored = await kept(place, data)
    assert await whole(place, key, stored) == SEALED_MAGIC + data


async def test_a_key_is_written_once(place: Place) -> None:
    """A second write under a key is refused, small or large, and what was there is intact."""
    key, stored = await kept(place, b"first")
    for size in (5, 9 * MIB):
        with pytest.raises(Conflict) as caught:
            await kept(place, bytes(size), key=key)
        assert caught.value.code == "artifact_exists"
    assert await whole(place, key, stored) == SEALED_MAGIC + b"first"
    assert place.names() == [key.text]


async def test_of_many_writers_of_a_key_one_wins(place: Place) -> None:
    """Writers at the same time: one is acknowledged, and what lies there is what it wrote."""
    key = new_key()
    tries = [place.store.put(key.client_id, key, chunks(SEALED_MAGIC, bytes([n]) * 1000)) for n in range(6)]
    ended = await asyncio.gather(*tries, return_exceptions=True)
    won = [end for end in ended if isinstance(end, StoredArtifact)]
    assert len(won) == 1
    assert all(isinstance(end, Conflict) for end in ended if end is not won[0])
    await whole(place, key, won[0])


@pytest.mark.parametrize("kind", OPEN_MAGICS)
async def test_what_is_not_sealed_is_not_stored(place: Place, kind: str) -> None:
    """An archive, a database, a compressed file or nothing at all is refused, in one chunk or byte by byte."""
    data, key = OPEN_MAGICS[kind] + b"session=1234" * (kind not in ("short", "none")), new_key()
    for parts in ([data], [data[at : at + 1] for at in range(len(data))]):
        with pytest.raises(Rejected) as caught:
            await place.store.put(key.client_id, key, chunks(*parts))
        assert caught.value.code == "not_sealed"
    assert place.names() == []


@pytest.mark.parametrize("after", [100, 9 * MIB])
async def test_a_cut_off_upload_leaves_nothing(place: Place, after: int) -> None:
    """A source that fails, before or after the first part, leaves no object, no part and no file."""

    async def source() -> AsyncIterator[bytes]:
        yield SEALED_MAGIC
        yield bytes(after)
        raise Unavailable("sealing_failed")

    key = new_key()
    with pytest.raises(Unavailable, match="sealing_failed"):
        await place.store.put(key.client_id, key, source())
    assert place.names() == []
    assert list(await place.store.list_keys(key.client_id)) == []


async def test_a_cancelled_upload_leaves_nothing(place: Place) -> None:
    """Who is cancelled in the middle of an upload takes it back first, and its source is closed."""
    begun, closed = asyncio.Event(), asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        try:
            yield SEALED_MAGIC + bytes(9 * MIB)
            begun.set()
            await asyncio.sleep(60)
            yield b""
        finally:
            closed.set()

    key = new_key()
    writing = asyncio.create_task(place.store.put(key.client_id, key, source()))
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert closed.is_set()
    assert place.names() == []


async def test_changed_bytes_are_told(place: Place) -> None:
    """A flipped bit, a missing end and an added byte are an integrity error before the stream has ended."""
    data = secrets.token_bytes(3 * MIB)
    key, stored = await kept(place, data)
    good = SEALED_MAGIC + data
    flipped = bytearray(good)
    flipped[2 * MIB] ^= 1
    for bad in (bytes(flipped), good[:-1], good + b"\0", b""):
        place.alter(key.text, bad)
        with pytest.raises(Integrity) as caught:
            await whole(place, key, stored)
        assert caught.value.code == "artifact_altered"
    place.alter(key.text, good)
    with pytest.raises(Integrity):
        await whole(place, key, replace(stored, sha256_hex="0" * 64))
    assert await whole(place, key, stored) == good


async def test_removing_is_a_right_of_its_own(place: Place) -> None:
    """Who was not given it is denied and the artifact stays; who was removes it, and a second time changes nothing."""
    key, stored = await kept(place, b"old")
    other, _ = await kept(place, b"new", key=replace(key, generation=2, random=secrets.token_hex(16)))
    with pytest.raises(Denied, match="may_not_remove"):
        await place.store.delete(key.client_id, key)
    assert await whole(place, key, stored) == SEALED_MAGIC + b"old"
    await place.shredder.delete(key.client_id, key)
    await place.shredder.delete(key.client_id, key)
    with pytest.raises(NotFound, match="blob_missing"):
        await whole(place, key, stored)
    assert list(await place.store.list_keys(key.client_id)) == [other]


async def test_a_client_sees_its_own(place: Place) -> None:
    """A list holds one client's artifacts, and every call with another client's key is denied."""
    (mine, _), (theirs, theirs_stored) = await kept(place, b"a"), await kept(place, b"b")
    second, _ = await kept(place, b"c", key=new_key(mine.client_id, 12))
    assert set(await place.store.list_keys(mine.client_id)) == {mine, second}
    assert list(await place.store.list_keys(uuid4())) == []
    calls: list[Callable[[], Any]] = [
        lambda: place.store.put(mine.client_id, replace(theirs, generation=2), chunks(SEALED_MAGIC)),
        lambda: anext(place.store.get(mine.client_id, theirs, theirs_stored)),
        lambda: place.shredder.delete(mine.client_id, theirs),
    ]
    for call in calls:
        with pytest.raises(Denied) as caught:
            await call()
        assert caught.value.code == "artifact_of_another_client"
    assert sorted(place.names()) == sorted([mine.text, theirs.text, second.text])


async def test_a_name_that_is_none_of_ours_is_told(place: Place) -> None:
    """Something foreign under a client's prefix is an integrity error, not an artifact that is skipped."""
    key, _ = await kept(place, b"a")
    place.alter(f"{key.client_id}/{key.profile_id}/notes.txt", b"hello")
    with pytest.raises(Integrity, match="strange_artifact"):
        await place.store.list_keys(key.client_id)


async def test_a_store_that_is_gone_is_unavailable(place: Place) -> None:
    """No call of a store that was taken away answers as if there were nothing to find."""
    key, stored = await kept(place, b"a")
    await place.store.probe()
    place.take_away()
    calls: list[Callable[[], Any]] = [
        place.store.probe,
        lambda: kept(place, b"b"),
        lambda: kept(place, bytes(9 * MIB)),
        lambda: whole(place, key, stored),
        lambda: place.store.list_keys(key.client_id),
        lambda: place.shredder.delete(key.client_id, key),
    ]
    for call in calls:
        with pytest.raises(Unavailable) as caught:
            await call()
        assert caught.value.code == "artifact_store_unavailable"


async def test_a_probe_leaves_nothing(place: Place) -> None:
    """The probe writes and takes back; in a bucket one small object stays, which each probe tries to overwrite."""
    await place.store.probe()
    await place.store.probe()
    assert place.names() == (["probe"] if isinstance(place.store, S3Artifacts) else [])


@pytest.mark.parametrize("ignored", ["PUT", "POST"])
async def test_a_server_that_overwrites_is_refused(endpoint: str, tmp_path: Path, ignored: str) -> None:
    """A bucket whose writes, in one request or in parts, do not heed If-None-Match: no process starts on it."""
    place = s3_place(endpoint, tmp_path)

    def heedless(request: Any, **_: object) -> None:
        if request.method == ignored and "If-None-Match" in request.headers:
            del request.headers["If-None-Match"]

    await must_write_once(place.store)
    assert isinstance(place.store, S3Artifacts)
    place.store._s3.meta.events.register("before-send.s3", heedless)
    for _ in range(2):
        with pytest.raises(Rejected, match="artifact_store_overwrites") as caught:
            await must_write_once(place.store)
        assert "If-None-Match" in caught.value.next_step
    assert [name for name in place.names() if name.startswith("upload")] == []
    gone = S3Artifacts("b", endpoint="http://127.0.0.1:9", credentials_file=credentials_file(tmp_path))
    await must_write_once(gone)  # away is not refused


async def test_an_s3_server_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    """A closed port is Unavailable, not a hang and not a foreign exception."""
    store = S3Artifacts("b", endpoint="http://127.0.0.1:9", credentials_file=credentials_file(tmp_path))
    for call in (store.probe, lambda: store.list_keys(uuid4())):
        with pytest.raises(Unavailable, match="artifact_store_unavailable"):
            await call()


async def test_a_404_of_somebody_on_the_way_is_no_missing_artifact(tmp_path: Path) -> None:
    """A balancer that knows no way to the bucket says nothing of what is in it; a missing one quarantines a profile."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 X\r\nContent-Length: 21\r\nConnection: close\r\n\r\ndefault backend - 404")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        store = S3Artifacts("b", endpoint=endpoint, credentials_file=credentials_file(tmp_path))
        with pytest.raises(Unavailable, match="artifact_store_unavailable"):
            await asyncio.to_thread(store.ask, "get_object", Key="x")


async def test_a_locked_bucket_keeps_what_it_was_given(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under object lock each upload, small or in parts, asks for retention; removing what is kept is a conflict."""
    place = s3_place(endpoint, tmp_path, locked=True)
    key, stored = await kept(place, b"small")
    with pytest.raises(Conflict, match="artifact_retained"):
        await place.shredder.delete(key.client_id, key)
    assert await whole(place, key, stored) == SEALED_MAGIC + b"small"
    asked: dict[str, dict[str, Any]] = {}
    ask = S3Artifacts.ask
    monkeypatch.setattr(
        S3Artifacts, "ask", lambda s, call, **given: asked.update({call: given}) or ask(s, call, **given)
    )
    await kept(place, bytes(9 * MIB))  # moto forgets the retention of uploads in parts, so the request is looked at
    assert asked["create_multipart_upload"]["ObjectLockMode"] == "GOVERNANCE"
    assert "ObjectLockRetainUntilDate" in asked["create_multipart_upload"]


@pytest.mark.parametrize("size", [3, 9 * MIB], ids=["small", "parts"])
async def test_an_object_whose_answer_was_lost_is_there(endpoint: str, tmp_path: Path, size: int) -> None:
    """The library asks again and hears that it exists: it is what was sent. Another's of that name is a conflict."""
    place = s3_place(endpoint, tmp_path)
    session = place.store._s3._endpoint.http_session  # type: ignore[attr-defined]
    send, lost = session.send, list[str]()

    def losing(request: Any) -> Any:
        reply = send(request)
        if "If-None-Match" in request.headers and not lost:
            lost.append(request.url)
            raise ConnectionClosedError(endpoint_url=request.url)
        return reply

    session.send = losing
    key, stored = await kept(place, bytes(size))
    assert lost
    assert await whole(place, key, stored) == SEALED_MAGIC + bytes(size)
    assert place.names() == [key.text]
    lost.clear()
    with pytest.raises(Conflict, match="artifact_exists"):
        await kept(place, bytes(size + 1), key=key)
    with pytest.raises(Conflict, match="artifact_exists"):
        await kept(place, bytes(size), key=key)  # nothing was lost: somebody else has it


async def test_what_lies_beside_in_a_bucket_is_nobodys_of_ours(endpoint: str, tmp_path: Path) -> None:
    """An old upload of another program in the same bucket goes on, whatever a file of ours is called."""
    place = s3_place(endpoint, tmp_path)
    store, client = place.store, s3_client(endpoint)
    bucket = store._bucket  # type: ignore[attr-defined]
    for name in ("other/big.bin", "p-other/big.bin", "big.bin"):
        client.create_multipart_upload(Bucket=bucket, Key=name)
    file = tmp_path / "backup.age"
    file.write_bytes(bytes(9 * MIB))
    plain = S3Artifacts(bucket, endpoint=endpoint, credentials_file=credentials_file(tmp_path))
    for each in (store, plain):
        S3Files(each, bucket).put("backup.age", file)  # type: ignore[arg-type]
    assert {found["Key"] for found in client.list_multipart_uploads(Bucket=bucket)["Uploads"]} == {
        "other/big.bin", "p-other/big.bin", "big.bin",
    }  # fmt: skip


async def test_whoever_is_cancelled_again_and_again_waits_for_the_disk(tmp_path: Path) -> None:
    """A reader's file is closed when nobody reads it any more: its number would be another's by then."""
    place = local_place(tmp_path / "artifacts")
    key, stored = await kept(place, bytes(MIB))
    reading, go_on, ended = threading.Event(), threading.Event(), list[bool]()

    def slow(fd: int) -> bytes:
        reading.set()
        go_on.wait(10)
        os.fstat(fd)
        ended.append(True)
        return b""

    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(local, "_read", slow)
        task = asyncio.create_task(whole(place, key, stored))
        await asyncio.to_thread(reading.wait, 10)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.05)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended == [True]


async def test_parts_of_a_dead_writer_are_taken_back(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload that nobody ended is aborted by the next one of its profile once it is old, not before."""
    import datetime

    place = s3_place(endpoint, tmp_path)
    bucket, client, key = place.store._bucket, s3_client(endpoint), new_key()  # type: ignore[attr-defined]
    dead = replace(key, random="0" * 32)
    client.create_multipart_upload(Bucket=bucket, Key=f"p/{dead.text}")
    monkeypatch.setattr("byokeep.adapters.blobs.s3._ABANDONED", datetime.timedelta(days=36500))  # moto: begun in 2010
    await kept(place, bytes(9 * MIB), key=key)
    assert f"upload p/{dead.text}" in place.names()
    monkeypatch.setattr("byokeep.adapters.blobs.s3._ABANDONED", datetime.timedelta(days=1))
    await kept(place, bytes(9 * MIB), key=replace(key, generation=2))
    assert f"upload p/{dead.text}" not in place.names()


def test_credentials_that_others_may_read_are_refused(tmp_path: Path) -> None:
    """A file of credentials with an open mode is not used."""
    file = credentials_file(tmp_path)
    file.chmod(0o640)
    with pytest.raises(Rejected, match="credentials_too_open"):
        S3Artifacts("b", credentials_file=file)


async def test_local_files_are_private(tmp_path: Path) -> None:
    """Directories are 0700 and files 0600 whatever the umask is; a place that others may use is refused."""
    place = local_place(tmp_path / "artifacts")
    before = os.umask(0)
    try:
        key, _ = await kept(place, b"a")
    finally:
        os.umask(before)
    file = tmp_path / "artifacts" / key.text
    assert {path.stat().st_mode & 0o777 for path in (file.parent, file.parent.parent)} == {0o700}
    assert file.stat().st_mode & 0o777 == 0o600
    (tmp_path / "artifacts").chmod(0o750)
    with pytest.raises(Rejected, match="artifacts_too_open"):
        LocalArtifacts(tmp_path / "artifacts")


@pytest.mark.parametrize(
    "text",
    ["", "../x", "a/b/1-c.sealed", "{c}/{p}/0-{r}.sealed", "{c}/{p}/01-{r}.sealed", "{c}/{p}/1-{r}.sealed\n",
     "/{c}/{p}/1-{r}.sealed",
     "{c}/{p}/1-{r}.SEALED", "{c}/{p}/99999999999-{r}.sealed", "{c}/{p}/../1-{r}.sealed", "{C}/{p}/1-{r}.sealed",
     "{c}/{p}/2147483648-{r}.sealed"],
)  # fmt: skip
def test_what_is_not_exactly_a_key_is_none(text: str) -> None:
    """Leading zeros, capitals, other roots, endings and numbers are refused; a key's text comes back."""
    names = {"c": uuid4(), "p": uuid4(), "r": "ab" * 16, "C": str(uuid4()).upper().replace("0", "A")}
    with pytest.raises(Rejected, match="bad_artifact_key"):
        parse_artifact_key(text.format(**names))
    key = new_key(generation=2**31 - 1)
    assert parse_artifact_key(key.text) == key
    with pytest.raises(ByokeepError):
        replace(key, generation=0)


async def test_a_full_disk_is_unavailable_and_empty_again(tmp_path: Path) -> None:
    """A disk that fills up while an artifact is written ends the upload, and what was written is gone."""
    with small_disk(tmp_path / "small", 4, mode="0700") as disk:
        place = local_place(disk / "artifacts")
        kept_before, stored = await kept(place, b"before")
        with pytest.raises(Unavailable) as caught:
            await kept(place, *[bytes(MIB)] * 8)
        assert caught.value.code == "artifact_store_full"
        assert place.names() == [kept_before.text]
        assert await whole(place, kept_before, stored) == SEALED_MAGIC + b"before"
        with filled(disk), pytest.raises(Unavailable):
            await place.store.probe()
        await kept(place, bytes(MIB))


async def test_partial_files_of_the_dead_are_swept_and_of_the_living_not(tmp_path: Path) -> None:
    """A start and the next write of the profile remove what has no writer; one under way ends well."""
    place, key, goes_on = local_place(tmp_path / "artifacts"), new_key(), asyncio.Event()
    directory = tmp_path / "artifacts" / str(key.client_id) / str(key.profile_id)

    async def source() -> AsyncIterator[bytes]:
        yield SEALED_MAGIC + bytes(MIB)
        await goes_on.wait()
        yield b"end"

    writing = asyncio.create_task(place.store.put(key.client_id, key, source()))
    while not list(directory.glob(".*.partial")):
        await asyncio.sleep(0.01)
    (living,) = directory.glob(".*.partial")
    second = replace(key, generation=2)
    for sweep in (lambda: local_place(tmp_path / "artifacts"), lambda: kept(place, b"x", key=second)):
        dead = directory / f".{secrets.token_hex(16)}.partial"
        dead.write_bytes(b"left")
        done = sweep()
        if asyncio.iscoroutine(done):
            await done
        assert not dead.exists()
        assert living.exists()
    goes_on.set()
    assert (await writing).size == len(SEALED_MAGIC) + MIB + 3
    assert not living.exists()
    assert sorted(place.names()) == sorted([key.text, second.text])
