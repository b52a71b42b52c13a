"""The file of a backup: what its parser takes, and that no damaged one gets past it."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import json
import os
import random
import tarfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, Mock
from uuid import UUID

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byokeep.backup import archive, backups
from byokeep.backup.places import PIECE, Directory
from byokeep.core import backup
from byokeep.core.audit import ChainHead
from byokeep.core.backup import BackupManifest, BackupRefused
from byokeep.core.errors import Integrity, Rejected, Unavailable
from byokeep.core.events import EventName
from byokeep.core.model import Environment
from byokeep.processes import backup as processes_backup
from byokeep.processes import restore
from byokeep.settings import Settings, default_home, load, to_toml

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "backup" / "manifests.json").read_text())
INSTALLATION = UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")
KEY = pyrage.x25519.Identity.generate()
SIZES = {"database.dump": 90_001, "store.snapshot": 70_000, "checkpoints/tombstones": 0,
         "credentials/provisioner.approle": 120, "settings.toml": 900}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_manifest_is_taken_in_its_one_spelling_alone(case: dict[str, object]) -> None:
    """Each vector is taken or refused as it says; what is taken is given back byte for byte."""
    text = str(case["manifest"]).encode()
    if case["ok"]:
        assert backup.parse(text).canonical() == text
        return
    with pytest.raises(BackupRefused, match="backup_refused"):
        backup.parse(text)


def made(
    place: Path, *, environment: Environment = Environment.DEVELOPMENT, seed: int = 1, signature: bytes = bytes(64)
) -> tuple[BackupManifest, bytes]:
    """A manifest and its archive."""
    drawn, files = random.Random(seed), {}
    for name, size in SIZES.items():
        files[name] = place / f"{seed}-{name.replace('/', '-')}"
        files[name].write_bytes(drawn.randbytes(size))
    manifest = BackupManifest(
        id=UUID(int=seed), installation=INSTALLATION, environment=environment,
        made_at=datetime(2026, 11, 28, 13, 30, seed, tzinfo=UTC), epochs=0, root="",
        versions={"byokeep": "0.1.0", "openbao": "2.7.2", "postgresql": "18.6", "schema": "r0044"},
        heads=(ChainHead(INSTALLATION, 3, bytes(32)),), markers=(), artifacts=(),
        not_covered=tuple(sorted(backup.NEVER)),
        parts=tuple(archive.part_of(name, file) for name, file in files.items()),
    )  # fmt: skip
    out = io.BytesIO()
    archive.write(out, manifest, files, signature=signature, key_id="1", recipients=[KEY.to_public()])
    return manifest, out.getvalue()


def read(
    content: bytes, *, got: dict[str, bytearray] | None = None, proof: archive.Proof | None = None
) -> BackupManifest:
    def sinks(part: backup.Part) -> archive.Sink:
        return ({} if got is None else got).setdefault(part.name, bytearray()).extend

    return archive.read(io.BytesIO(content), [KEY], sinks, proof)[0]


def resealed(content: bytes, change: bytes, to: bytes) -> bytes:
    """The same archive with other bytes in it, encrypted anew for the same recipient, as whoever forges one does."""
    plain = pyrage.decrypt(content, [KEY])
    assert plain.count(change) == 1
    sealed: bytes = pyrage.encrypt(plain.replace(change, to), [KEY.to_public()])
    return sealed


def test_an_archive_gives_back_what_went_in(tmp_path: Path) -> None:
    """BackupManifest, signature and every byte of every part, an empty part included."""
    manifest, content = made(tmp_path)
    got: dict[str, bytearray] = {}
    assert read(content, got=got) == manifest
    assert {name: len(found) for name, found in got.items()} == SIZES
    assert all(hashlib.sha256(got[part.name]).hexdigest() == part.sha256 for part in manifest.parts)


@pytest.mark.req("R9.1-4")
def test_of_two_hundred_damaged_backups_none_is_opened(tmp_path: Path) -> None:
    """Bits flipped, cut, swapped, forged, foreign, older: each is refused with one code, and all damage with the very
    same words, which do not send anybody after the key; another format and another environment are named."""
    manifest, content = made(tmp_path)
    _, other = made(tmp_path, seed=2)
    drawn, damaged = random.Random(7), []
    for _ in range(90):
        at, flipped = drawn.randrange(len(content)), bytearray(content)
        flipped[at] ^= 1 << drawn.randrange(8)
        damaged.append(bytes(flipped))
    damaged += [content[: drawn.randrange(len(content))] for _ in range(60)]
    damaged += [content + drawn.randbytes(drawn.randrange(1, 50)) for _ in range(10)]
    for _ in range(20):  # chunks of the stream swapped, or those of another backup in their place
        at = len(content) - drawn.randrange(66_000, 130_000)
        damaged += [content[:at] + other[at:], content[:at] + content[at + 65_552 :]]
    plain = pyrage.decrypt(content, [KEY])
    head, text = plain.split(b"\n", 1)
    damaged += [
        resealed(content, b'"format":"byokeep-backup/1"', b'"format":"byokeep-backup/0"'),
        resealed(content, head + b"\n", head.replace(b"backup/1", b"backup/0") + b"\n"),
        resealed(content, manifest.parts[0].sha256.encode(), b"0" * 64),
        pyrage.encrypt(plain[:-1], [KEY.to_public()]), pyrage.encrypt(plain + b"x", [KEY.to_public()]),
        pyrage.encrypt(head + b"\n" + text[:500], [KEY.to_public()]), pyrage.encrypt(b"", [KEY.to_public()]),
        b"", plain, pyrage.encrypt(plain, [pyrage.x25519.Identity.generate().to_public()]),
    ]  # fmt: skip
    assert len(damaged) >= 200
    said: dict[str, set[str]] = {}
    for one in damaged:
        with pytest.raises(BackupRefused, match="backup_refused") as refused:
            read(one)
        said.setdefault(refused.value.next_step, set()).add(refused.value.reason)
    with pytest.raises(BackupRefused, match="backup_refused") as refused:
        archive.must_be_of(manifest, Environment.PRODUCTION)
    said[refused.value.next_step] = {refused.value.reason}
    (step,) = [one for one, reasons in said.items() if "cut_off" in reasons]
    assert ("damaged" in step, "Keep it" in step, " key" in step) == (True, True, False)
    assert [reasons for one, reasons in said.items() if one != step] == [{"format"}, {"other_environment"}]


def test_nothing_of_a_backup_is_read_before_its_signature(tmp_path: Path) -> None:
    """One that another key signed, or nobody, gives no byte to a part, whatever its manifest is; the right one does."""
    ours, theirs = (Ed25519PrivateKey.generate() for _ in range(2))
    keys = {"1": ours.public_key().public_bytes_raw()}
    proof = partial(backups.must_be_signed, keys)
    manifest, unsigned = made(tmp_path)
    text = archive.signed_bytes(manifest.canonical())
    for content in (unsigned, made(tmp_path, signature=theirs.sign(text))[1],
                    resealed(unsigned, b'"format":"byokeep-backup/1"', b'"format":"byokeep-backup/0"')):  # fmt: skip
        got: dict[str, bytearray] = {}
        with pytest.raises(BackupRefused) as refused:
            read(content, got=got, proof=proof)
        assert (refused.value.reason, got) == ("other_installation", {})
        assert "forged" in refused.value.next_step
    got = {}
    assert read(made(tmp_path, signature=ours.sign(text))[1], got=got, proof=proof) == manifest
    assert set(got) == set(SIZES)


def test_a_backup_that_lacks_a_profile_of_its_database_says_which() -> None:
    """The whole vector lacks none; without its blob, and with another one, it is named."""
    whole = backup.parse(CASES[0]["manifest"].encode())
    assert whole.missing == []
    archive.must_be_of(whole, Environment.PRODUCTION)
    name = whole.artifacts[0].name
    for parts in ([one for one in whole.parts if name not in one.name],
                  [backup.Part(name=one.name, size=one.size, sha256="9" * 64) for one in whole.parts]):  # fmt: skip
        lacking = backup.parse(manifest_with(whole, tuple(parts)).canonical())
        assert lacking.missing == [name]
        with pytest.raises(Integrity, match="backup_incomplete"):
            archive.must_be_of(lacking, Environment.PRODUCTION)


def manifest_with(manifest: BackupManifest, parts: tuple[backup.Part, ...]) -> BackupManifest:
    return BackupManifest(**{name: getattr(manifest, name) for name in BackupManifest.__slots__} | {"parts": parts})


def test_recipients_and_identities_are_read_strictly() -> None:
    """None, and what is none, is refused; a comment in an identity file is fine."""
    public = str(KEY.to_public())
    assert len(archive.recipients_of(f"{public}, {public}")) == 2
    for text in ("", " , "):
        with pytest.raises(Rejected, match="backup_recipient_missing"):
            archive.recipients_of(text)
    for text, said in ((public[:-1], "public keys"), (str(KEY), "private key")):
        with pytest.raises(Rejected, match="bad_backup_recipient") as refused:
            archive.recipients_of(text)
        assert said in refused.value.next_step
    assert len(archive.identities_of(f"# created\n{KEY}\n".encode())) == 1
    for text in ("", public, str(KEY)[:-1], "AGE-SECRET-KEY-1" + "Q" * 58):
        with pytest.raises(Rejected, match="bad_identity_file"):
            archive.identities_of(text.encode())


def test_a_backup_of_the_future_is_no_recent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was made while a clock ran a year ahead neither ends nor holds back what is told of an overdue one."""
    now, raised = datetime(2026, 1, 7, tzinfo=UTC), []
    old, future = now - timedelta(days=100), now + timedelta(days=365)

    async def told(_: object, lasts: object, **said: str) -> None:
        raised.extend([said["reason"]] if lasts else [])

    async def made(_: object) -> list[backups.Backup]:
        return [
            backups.Backup(id=UUID(int=1), created_at=at, digest="", size=1, parts=3, verified_at=at)
            for at in (future, old)
        ]

    class App:
        limits = SimpleNamespace(backup_hours=24, drills=False)
        clock = SimpleNamespace(now=lambda: now)
        installation_id = INSTALLATION

        class db:  # noqa: N801
            @staticmethod
            async def read(_row: object, name: str, *_: object, **__: object) -> list[tuple[datetime, ...]]:
                return [(old,)] if name == "backups_since" else [(old, old)]

    for name, put in (("backups", made), ("tell_state", told)):
        monkeypatch.setattr(backups, name, put)
    asyncio.run(backups.watch_backups(cast("Any", App)))
    assert raised == ["backup_overdue", "backup_unproved"]


async def test_a_place_that_cannot_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are unknown, nobody looks for one there in vain, and nothing is removed; an empty one has none."""
    copies, clock = tmp_path / "copies", SimpleNamespace(now=lambda: datetime.now(UTC))
    app = SimpleNamespace(db=None, clock=clock)
    copies.mkdir()
    settings = replace(Settings(), home=tmp_path, backup_target=str(copies))
    one = backups.Backup(
        id=UUID(int=1), created_at=datetime(2026, 1, 7, tzinfo=UTC), digest="", size=1, parts=3,
        verified_at=datetime(2026, 1, 7, tzinfo=UTC),
    )  # fmt: skip

    async def known(_: object) -> list[backups.Backup]:
        return [one]

    @asynccontextmanager
    async def running(_: object) -> AsyncIterator[object]:
        yield app

    monkeypatch.setattr(processes_backup.backups, "backups", known)
    monkeypatch.setattr(processes_backup.wiring, "broker_app", running)
    listdir, scandir = os.listdir, os.scandir

    def refusing(real: Any) -> Any:
        def look(place: Any = ".") -> Any:
            if Path(place) == copies:
                raise PermissionError(errno.EACCES, "", str(place))
            return real(place)

        return look

    assert (await processes_backup.listed(settings))[0]["counts"] is False
    with monkeypatch.context() as closed:
        closed.setattr(os, "listdir", refusing(listdir))
        closed.setattr(os, "scandir", refusing(scandir))
        (row,) = await processes_backup.listed(settings)
        assert (row["unknown"], row["counts"]) == (str(copies), None)
        for asked in (partial(processes_backup.find, settings, str(one.id)),
                      partial(processes_backup.fetch, settings, str(one.id), tmp_path)):  # fmt: skip
            with pytest.raises(Unavailable, match="backup_unreadable"):
                asked()
        with pytest.raises(Unavailable, match="backup_unreadable"):
            await processes_backup._drop_old(settings, cast("Any", app))


def test_a_copy_that_cannot_be_read_back_goes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on no record, so that nothing would ever remove it."""
    file, copies = tmp_path / "one.age", tmp_path / "copies"
    file.write_bytes(b"x")
    copies.mkdir()
    broken = Mock(side_effect=OSError(errno.EIO, ""))
    monkeypatch.setattr(Directory, "pieces", broken)
    one = processes_backup.Made(manifest=Mock(), file=file, digest="", size=1)
    with pytest.raises(Unavailable, match="backup_target_unavailable"):
        processes_backup._copy_out(one, Directory(copies), threading.Event())
    assert (broken.called, [*copies.iterdir()]) == (True, [])


@pytest.mark.parametrize("pieces", range(4))
def test_a_copy_that_is_cut_off_ends_within_a_piece(tmp_path: Path, pieces: int) -> None:
    """While it is written and while it is read back: nothing of it stays, though the process ends soon."""
    file, copies = tmp_path / "one.age", tmp_path / "copies"
    file.write_bytes(bytes(PIECE + 1))
    copies.mkdir()
    cut_off = Mock(is_set=Mock(side_effect=[False] * pieces + [True]))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    one = processes_backup.Made(manifest=Mock(), file=file, digest=digest, size=1)
    with pytest.raises(Unavailable, match="backup_target_unavailable"):
        processes_backup._copy_out(one, Directory(copies), cut_off)
    assert (cut_off.is_set.call_count, [*copies.iterdir()]) == (pieces + 1, [])


def test_only_a_file_of_its_size_counts_as_a_backup(tmp_path: Path) -> None:
    """A directory, a link, and an empty or a shorter file of its name are no backup."""
    at, place = datetime(2026, 1, 7, tzinfo=UTC), Directory(tmp_path)
    one = backups.Backup(id=UUID(int=1), created_at=at, digest="", size=3, parts=3, verified_at=at)
    (tmp_path / "good").write_bytes(b"abc")
    (tmp_path / "short").write_bytes(b"ab")
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to("good")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "directory").mkdir()
    every = [(place, name) for name in place.names()]
    row = processes_backup._row(every, one, "")
    assert (row["files"], row["counts"]) == ([str(tmp_path / "good")], True)
    row = processes_backup._row([one for one in every if one[1] != "good"], one, "")
    assert (row["files"], row["counts"]) == ([], False)


def snapshot_of(*entries: tuple[str, bytes, bytes]) -> io.BytesIO:
    """A store's snapshot by name, type and content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.USTAR_FORMAT) as archived:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size = kind, len(content)
            archived.addfile(entry, io.BytesIO(content))
    return out


def test_a_snapshot_holds_plain_files_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long name, a link or a file of holes is refused by its head, before its content is read; so are too many."""
    sums = "".join(f"{hashlib.sha256(b'x').hexdigest()}  {name}\n" for name in ("meta.json", "state.bin")).encode()
    plain = [(name, tarfile.REGTYPE, content) for name, content in
             (("meta.json", b"x"), ("state.bin", b"x"), ("SHA256SUMS", sums))]  # fmt: skip
    processes_backup._must_be_snapshot(snapshot_of(*plain))
    for name in ("_proc_gnulong", "_proc_pax"):
        monkeypatch.setattr(tarfile.TarInfo, name, Mock(side_effect=AssertionError("its content is read")))
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SYMTYPE, tarfile.GNUTYPE_SPARSE):
        with pytest.raises(BackupRefused):
            processes_backup._must_be_snapshot(snapshot_of(("long", kind, b"n" * 5000), *plain))
    with pytest.raises(BackupRefused):
        processes_backup._must_be_snapshot(snapshot_of(*plain, *[("more", tarfile.REGTYPE, b"")] * 20))


def test_the_newest_that_was_opened_is_always_kept() -> None:
    """Among six of a day each, of which the fifth was opened, the newest two and that one stay; by days, more do.

    Two of next year, which a clock that ran ahead made, stay beside them, and put none of them out.
    """
    at = datetime(2026, 1, 7, tzinfo=UTC)
    found = [
        backups.Backup(id=UUID(int=n), created_at=at - timedelta(days=n), digest="", size=1, parts=3,
                       verified_at=at if n == 5 else None)
        for n in range(1, 7)
    ]  # fmt: skip

    def stay(keep: int, days: int) -> set[int]:
        return {one.int for one in backups.kept(found, keep, at - timedelta(days=days), at)}

    assert stay(2, 0) == {1, 2, 5}
    assert stay(2, 4) == {1, 2, 3, 5}
    assert stay(4, 2) == {1, 2, 3, 4, 5}  # who is kept by one of the two stays
    assert stay(1, 40) == {1, 2, 3, 4, 5, 6}
    assert backups.kept([], 2, at, at) == set()
    found = [replace(found[4], id=UUID(int=n), created_at=at + timedelta(days=n)) for n in (400, 365)] + found
    assert stay(2, 0) == {1, 2, 5, 365, 400}


@pytest.mark.asyncio
async def test_production_keeps_no_copy_on_the_disk_of_its_backups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the mount is missing: nothing is made, and whoever runs it is told the ways on. Elsewhere it may be. A
    mount that hangs keeps nothing else of the process waiting."""
    copies, real, there, asked_in = tmp_path / "copies", Path.stat, Mock(st_dev=0), set[int]()
    copies.mkdir(mode=0o700)
    monkeypatch.setattr(processes_backup, "_working", Mock(side_effect=Unavailable("begun")))
    for environment, mounted, why in (
        (Environment.PRODUCTION, False, "backup_target_same_disk"), (Environment.STAGING, False, "begun"),
        (Environment.PRODUCTION, True, "begun"),
    ):  # fmt: skip
        settings = replace(
            Settings(), home=tmp_path, backup_target=str(copies), backup_recipients=str(KEY.to_public()),
            environment=environment,
        )  # fmt: skip
        if mounted:
            monkeypatch.setattr(
                Path,
                "stat",
                lambda at, **how: (asked_in.add(threading.get_ident()) or there) if at == copies else real(at, **how),
            )
        with pytest.raises((Rejected, Unavailable), match=why) as refused:
            await processes_backup._create(settings, Mock())
        assert why == "begun" or "s3://" in refused.value.next_step
    assert asked_in
    assert threading.get_ident() not in asked_in


@pytest.mark.asyncio
async def test_in_production_a_backup_leaves_its_host(tmp_path: Path) -> None:
    """Without a place elsewhere none is begun."""
    recipients = str(KEY.to_public())
    settings = replace(Settings(), home=tmp_path, environment=Environment.PRODUCTION, backup_recipients=recipients)
    with pytest.raises(Rejected, match="backup_target_missing"):
        await processes_backup._create(settings, cast("Any", None))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_a_backup_that_is_on_no_record_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither here nor where copies go: nothing would remove it when its client is destroyed."""
    copies = tmp_path / "copies"
    copies.mkdir(mode=0o700)
    settings = replace(Settings(), home=tmp_path, backup_target=str(copies), backup_recipients=str(KEY.to_public()))
    settings.path("backup_dir").mkdir(mode=0o700)
    manifest, seen = Mock(id=INSTALLATION, made_at=datetime(2026, 1, 7, tzinfo=UTC), canonical=lambda: b"{}"), []

    async def parts(*_: object) -> Any:
        return Mock(manifest=manifest, files={})

    def write(file: Path, *_: object) -> processes_backup.Made:
        file.write_bytes(b"x")
        return processes_backup.Made(
            manifest=manifest, file=file, digest=hashlib.sha256(b"x").hexdigest(), size=1
        )  # fmt: skip

    async def refused(*_: object, **__: object) -> None:
        seen.extend(one.suffix for one in (*copies.iterdir(), *settings.path("backup_dir").glob("*.age")))
        raise Unavailable("database_unavailable")

    async def sign(*_: object) -> tuple[bytes, str]:
        return b"", "key"

    signer = SimpleNamespace(sign=sign)
    monkeypatch.setattr(processes_backup, "_parts", parts)
    monkeypatch.setattr(processes_backup, "_write", write)
    monkeypatch.setattr(processes_backup.backups, "made", refused)
    with pytest.raises(Unavailable, match="database_unavailable"):
        await processes_backup._create(settings, cast("Any", SimpleNamespace(signer=signer)))
    assert seen == [".age", ".age"]
    assert [*copies.iterdir(), *settings.path("backup_dir").glob("*.age")] == []

    # Whoever stops it meanwhile waits for no slow place; what still comes out of it goes again.
    go, remove, begun, gone = threading.Event(), Directory.remove, threading.Event(), threading.Event()

    def put(_: Directory, name: str, *__: object) -> None:
        if threading.current_thread().daemon:  # else the end of the process would wait for a mount that hangs
            begun.set()
        go.wait(10)
        (copies / name).write_bytes(b"x")

    monkeypatch.setattr(Directory, "put", put)
    monkeypatch.setattr(Directory, "remove", lambda *given: (remove(*given), gone.set()))
    making = asyncio.create_task(processes_backup._create(settings, cast("Any", SimpleNamespace(signer=signer))))
    assert await asyncio.to_thread(begun.wait, 10)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    go.set()
    assert await asyncio.to_thread(gone.wait, 10)
    assert [*copies.iterdir(), *settings.path("backup_dir").glob("*.age")] == []


@pytest.mark.asyncio
@pytest.mark.parametrize(("where", "told"), [("_parts", ["cut_off"]), ("_drop_old", [])])
async def test_a_backup_that_is_cut_off_is_told_as_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, told: list[str]
) -> None:
    """As by who ends the stack while the mount of the copies hangs; not one that is on record."""
    failed, begun = AsyncMock(side_effect=Unavailable("database_unavailable")), asyncio.Event()

    @asynccontextmanager
    async def app(_: Settings) -> AsyncIterator[Any]:
        yield SimpleNamespace(signer=SimpleNamespace(sign=AsyncMock(return_value=(b"", "key"))))

    async def hangs(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    manifest = Mock(id=INSTALLATION, made_at=datetime(2026, 1, 7, tzinfo=UTC), canonical=lambda: b"{}")
    monkeypatch.setattr(processes_backup.wiring, "broker_app", app)
    monkeypatch.setattr(processes_backup, "_parts", AsyncMock(return_value=Mock(manifest=manifest)))
    monkeypatch.setattr(processes_backup, "_write", Mock())
    monkeypatch.setattr(processes_backup, where, hangs)
    for name, does in {"failed": failed, "made": AsyncMock(), "told": AsyncMock()}.items():
        monkeypatch.setattr(processes_backup.backups, name, does)
    settings = replace(Settings(), home=tmp_path, backup_recipients=str(KEY.to_public()))
    making = asyncio.create_task(processes_backup.create(settings))
    await begun.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert [(call.args[1], call.args[2].code) for call in failed.mock_calls] == [
        (EventName.BACKUP_CREATED, code) for code in told
    ]


def test_what_a_killed_backup_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """A draft as large as a backup that nobody has written to for a day, here and where copies go; one that is being
    fetched now stays."""
    settings, copies = replace(Settings(), home=tmp_path), tmp_path / "copies"
    for place in (settings.path("backup_dir"), copies):
        place.mkdir(mode=0o700)
        for name in (".20260301T120000Z-1.age.aa", ".20260301T120000Z-2.age.bb", "3.age"):
            (place / name).write_bytes(b"x")
            os.utime(place / name, None if "-2" in name else (0, 0))
    made = processes_backup.Made(manifest=Mock(), file=tmp_path / "missing.age", digest="", size=1)
    with processes_backup._working(settings) as work:
        assert sorted(file.name for file in work.parent.iterdir()) == [
            ".20260301T120000Z-2.age.bb", ".work", "3.age", "lock",
        ]  # fmt: skip
    with pytest.raises(Unavailable):
        processes_backup._copy_out(made, Directory(copies), threading.Event())
    assert sorted(file.name for file in copies.iterdir()) == [".20260301T120000Z-2.age.bb", "3.age"]


def test_restored_settings_name_no_place_of_the_old_host_for_what_lies_below_the_new_home(tmp_path: Path) -> None:
    """Its own credentials and checkpoints would be passed over for what lies there; a bucket is the same from here."""
    inside = dict.fromkeys((*restore._INSIDE, "token_file"), "/mnt/old")
    was = Settings(home=Path("/old"), backup_target="/mnt/backups", backup_keep=3, sso_groups={"a": "admin"}, **inside)
    for store, kept in (("/mnt/old", ""), ("s3://profiles", "s3://profiles")):
        file = tmp_path / restore.SETTINGS
        file.write_text(restore._here(to_toml(replace(was, artifact_store=store))))
        named = dict.fromkeys(inside, "") | {"artifact_store": kept}
        assert load(file) == replace(was, home=default_home(), **named)
