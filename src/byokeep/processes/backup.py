"""Backups on this host: made of everything, kept here and elsewhere, opened to prove them (docs/runbook.md).

Rules
- First the database, then the sealed profiles, then the store, so that what a row names is there. How far the audit had
  come is noted before, so the dump holds at least that.
- A file appears whole or not at all, closed to others. The copy elsewhere is read back and compared before the backup
  counts. A failure is on record and people are told; every earlier backup stays.
- Shares of the seal, recovery keys and people's tokens are not included; of credentials, only those a restore needs.
- What asks the place elsewhere is in a thread of its own: a mount that hangs keeps no process from its end.
  Before each piece a copy looks whether it was cut off, and then takes back what it wrote.
- While a backup is made, plain parts are in a private directory beside the backups, which the next one empties.

It may not open a backup without a private key, which no host of an installation keeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar
from uuid import UUID

from byokeep import __version__
from byokeep.adapters.files.tombstones import NAME as TOMBSTONES
from byokeep.adapters.openbao import snapshot
from byokeep.adapters.openbao.login import AppRoleLogin, private_dir, read_private
from byokeep.adapters.postgres.dump import DumpProof, dump
from byokeep.backup import archive, backups, shares
from byokeep.backup.archive import Sink
from byokeep.backup.backups import Backup
from byokeep.backup.places import BackupPlace, Directory, digest_of
from byokeep.core import backup
from byokeep.core.audit import ChainHead
from byokeep.core.backup import BackupManifest, BackupRefused, Part
from byokeep.core.canonical import stamp
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, NotFound, Rejected, Unavailable, refusing
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.model import Environment
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.durable_write import draft
from byokeep.process import alone, apart
from byokeep.processes import wiring
from byokeep.settings import Settings, parse_bucket, to_toml

ENDING: Final = ".age"
_NAMED: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f-]{36}\.age")
NEEDED: Final = ("provisioner.approle", wiring.ACCOUNT_KEY)  # of the credentials; all others are made again
_OUTSIDE: Final = ("epochs.jsonl", "checkpoint", TOMBSTONES)
_WORK: Final = ".work"
_MOST_ENTRIES: Final = 16  # in a snapshot, which has four
_CLOSE_IT: Final = "chmod 600 it, and let this process's user own it. A link is not accepted."
_OTHER_KEY: Final = (
    "This is not a key of this backup: give the private key of one of its `backup_recipients`. Keep the backup."
)
_OR_DAMAGED: Final = " Only if you are sure that it is one, the file's head is damaged: then open another copy of it."
_WHY: Final = {
    errno.ENOENT: "does not exist: mount it, or create it",
    errno.ENOTDIR: "is not a directory: give one",
    errno.EEXIST: "is the same as backup_dir: give one on another machine",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "is not writable for this user: allow it"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "has no free space: make some"),
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A backup that was made: its manifest, the file here, and that file's digest and size."""

    manifest: BackupManifest
    file: Path
    digest: str
    size: int


async def create(settings: Settings) -> Made:
    """Make a backup of a running installation.

    Raises:
        Rejected: ``backup_recipient_missing``, ``bad_backup_recipient``, ``backup_target_missing``, ``store_not_raft``;
            ``backup_target_same_disk``: in production.
        Conflict: ``backup_running``.
        Unavailable: A part is away, a disk is full, ``backup_target_unavailable``; no backup was made.
    """
    async with wiring.broker_app(settings) as app:
        try:
            made = await _create(settings, app)
        except ByokeepError as error:
            if error.code != "backup_running":  # the other one reports its own result
                await backups.failed(app, EventName.BACKUP_CREATED, error)
            raise
        except asyncio.CancelledError:  # who ends the stack, or the command
            with contextlib.suppress(ByokeepError):
                await backups.failed(app, EventName.BACKUP_CREATED, Unavailable("cut_off"))
            raise
        except OSError as error:
            failed = _no_room("backup_dir", error)
            await backups.failed(app, EventName.BACKUP_CREATED, failed)
            raise failed from None
        await backups.told(app, EventName.BACKUP_CREATED, made.manifest)
        with contextlib.suppress(Unavailable):  # the next one tries again
            await _drop_old(settings, app)
        return made


async def _create(settings: Settings, app: BrokerApp) -> Made:
    recipients = archive.recipients_of(settings.backup_recipients)
    target = backup_target(settings)
    if settings.environment is Environment.PRODUCTION:
        place = "backup_target to a directory on another machine, or to a bucket, s3://..."
        if target is None:
            raise Rejected("backup_target_missing", next_step=f"Set {place}")
        with contextlib.suppress(OSError):  # the copy reports a target that is away
            if lies := await apart(partial(copied_beside, settings)):
                raise Rejected(
                    "backup_target_same_disk", next_step=f"No backup was made: {lies}. Mount it, or set {place}"
                )
    with _working(settings) as work:
        found = await _parts(settings, app, work)
        text = archive.signed_bytes(found.manifest.canonical())
        signature, key_id = await app.signer.sign(backups.PURPOSE, text)
        at = found.manifest.made_at.strftime("%Y%m%dT%H%M%SZ")
        file = settings.path("backup_dir") / f"{at}-{found.manifest.id}{ENDING}"
        cut_off = threading.Event()
        try:
            write = partial(_write, file, found, signature, key_id, recipients)
            made = await asyncio.to_thread(_unless, cut_off, write, partial(file.unlink, missing_ok=True))
            if target is not None:
                copy = partial(_copy_out, made, target, cut_off)
                await apart(partial(_unless, cut_off, copy, partial(target.remove, file.name)))
        except BaseException:
            cut_off.set()
            file.unlink(missing_ok=True)
            raise
    await _on_record(app, made, target)
    return made


def _unless(cut_off: threading.Event, act: Callable[[], T], undo: Callable[[], object]) -> T:
    """Do something in a thread; if nobody waits for it any more, what it did goes again: it would be on no record."""
    done = act()
    if cut_off.is_set():
        undo()
    return done


async def _on_record(app: BrokerApp, made: Made, target: BackupPlace | None) -> None:
    try:
        await backups.made(app, made.manifest, digest=made.digest, size=made.size)
    except ByokeepError as error:
        if error.code != "commit_outcome_unknown":  # what is on no record would never be removed
            made.file.unlink(missing_ok=True)
            if target is not None:
                with contextlib.suppress(ByokeepError, OSError):
                    await apart(partial(target.remove, made.file.name))
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    manifest: BackupManifest
    files: dict[str, Path]


async def _parts(settings: Settings, app: BrokerApp, work: Path) -> _Found:
    """Gather every part in ``work``."""
    backup_id = app.ids.uuid()
    state, _ = await app.checkpoints.latest()
    async with app.db.begin(every_client=True) as tx:
        heads = await tx.all(ChainHead, "audit_heads")
        schema, number = await tx.one(lambda row: (str(row["schema"]), int(row["number"])), "backup_schema")
    major = str(number // 10_000)
    files = {backup.DATABASE: work / "database", backup.STORE: work / "store", backup.SETTINGS: work / "settings"}
    await _keep_profiles(settings, app, work)  # those destroyed while the database is dumped
    with _new(files[backup.DATABASE]) as out:
        await dump(wiring.database_url(settings, "byokeep_owner"), out, major=major)
    artifacts, blobs = await _keep_profiles(settings, app, work)
    files |= _small(settings, work) | blobs
    bucket = parse_bucket(settings.artifact_store) is not None
    # Before the first request, so that whoever reads the store's own log finds what explains it.
    await backups.say(app, EventName.BACKUP_CREATED, {"backup": str(backup_id)}, Outcome.INTENDED)
    async with wiring.store_http(settings) as http:
        login = AppRoleLogin(http, wiring.credentials(settings, "backup.approle"))
        with _new(files[backup.STORE]) as out:
            store = await snapshot.take(login, out)
        markers = await snapshot.markers(login, backup_id)
        await login.close()
    uncovered = backup.NEVER | ({"artifact_bucket"} if bucket else set())
    uncovered |= set() if settings.embedded_database else {"database_server"}
    order = [backup.DATABASE, backup.STORE, *sorted(files.keys() - {backup.DATABASE, backup.STORE})]
    parts = await asyncio.to_thread(lambda: tuple(archive.part_of(name, files[name]) for name in order))
    manifest = BackupManifest(
        id=backup_id, installation=app.installation_id, environment=settings.environment,
        made_at=app.clock.now().replace(microsecond=0), epochs=state.size,
        versions={"byokeep": __version__, "openbao": store, "postgresql": f"{major}.{number % 10_000}",
                  "schema": schema},
        root=state.edge.root().hex() if state.size else "",
        heads=tuple(sorted(heads, key=lambda head: (str(head.chain), head.seq))), markers=markers, parts=parts,
        artifacts=tuple(artifacts), not_covered=tuple(sorted(uncovered)),
    )  # fmt: skip
    backup.parse(manifest.canonical())  # nothing is written that could not be read back
    return _Found(manifest=manifest, files=files)


async def _keep_profiles(settings: Settings, app: BrokerApp, work: Path) -> tuple[list[Part], dict[str, Path]]:
    """Keep every sealed profile that can be opened now; return their rows, and all files kept so far by part."""
    async with app.db.begin(every_client=True) as tx:
        rows = sorted(await tx.all(Part, "backup_artifacts"), key=lambda row: row.name)
    kept = private_dir(work / "artifacts")
    if parse_bucket(settings.artifact_store) is None:
        await asyncio.to_thread(_link, settings.path("artifact_store"), kept, [row.name for row in rows])
    return rows, {f"{backup.ARTIFACTS}{file.name.replace('+', '/')}": file for file in kept.iterdir()}


def _link(place: Path, kept: Path, names: list[str]) -> None:
    for name in names:
        file = kept / name.replace("/", "+")  # a sealed profile's name has no plus sign
        with contextlib.suppress(FileExistsError, FileNotFoundError):  # already kept; or missing, as the manifest says
            try:
                os.link(place / name, file)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.copyfile(place / name, file)


def _small(settings: Settings, work: Path) -> dict[str, Path]:
    """Return what is copied as it is: settings, the needed credentials, what is outside, targets of messages."""
    (work / "settings").write_text(to_toml(settings))
    copied: dict[str, Path] = {}
    wanted = [("credentials", wiring.credentials(settings, name)) for name in NEEDED]
    wanted += [("checkpoints", settings.path("checkpoint_dir") / name) for name in _OUTSIDE]
    wanted += [("notify", path) for path in sorted(settings.path("notify_dir").glob("*.url"))]
    for place, path in wanted:
        if path.is_file():
            kept = work / f"{place}-{path.name}"
            shutil.copyfile(path, kept)  # a growing file is taken at its present length
            copied[f"{place}/{path.name}"] = kept
    return copied


def _write(file: Path, found: _Found, signature: bytes, key_id: str, recipients: Any) -> Made:
    with draft(file, only_new=True) as out:
        archive.write(out, found.manifest, found.files, signature=signature, key_id=key_id, recipients=recipients)
    written = archive.part_of(file.name, file)
    return Made(manifest=found.manifest, file=file, digest=written.sha256, size=written.size)


def backup_target(settings: Settings) -> BackupPlace | None:
    """Return where backups are copied to; None: nowhere. Raises as :func:`.wiring.artifact_store`."""
    bucket = parse_bucket(settings.backup_target, setting="backup_target")
    if bucket is None:
        return Directory(Path(settings.backup_target)) if settings.backup_target else None
    s3 = wiring.s3_library()
    place: BackupPlace = s3.S3Files(s3.S3Artifacts(
        bucket[0], prefix=bucket[1], endpoint=settings.backup_endpoint, ca_file=settings.file("backup_ca_file"),
        credentials_file=settings.file("backup_credentials_file"),
    ), bucket[0])  # fmt: skip
    return place


def copied_beside(settings: Settings) -> str:
    """Say so if copies of backups would lie on the disk of the backups themselves; else empty. Raises OSError."""
    kept = settings.path("backup_dir") if settings.path("backup_dir").is_dir() else settings.home
    if parse_bucket(settings.backup_target) or Path(settings.backup_target).stat().st_dev != kept.stat().st_dev:
        return ""
    return f"{settings.backup_target} lies on the disk of {kept}, and would be lost with it"


def _copy_out(made: Made, target: BackupPlace, cut_off: threading.Event) -> None:
    """Copy a backup elsewhere and read it back. Raises Unavailable(``backup_target_unavailable``), if cut off, too."""
    name = made.file.name

    def look() -> None:  # the end of the process would leave what is under way there
        if cut_off.is_set():
            raise Unavailable("cut_off")

    try:
        if isinstance(target, Directory):
            _sweep(target.path)
        with _at_bucket():
            target.put(name, made.file, look)
            if digest_of(target, name, look) != made.digest:
                raise OSError("another content")
    except (OSError, Unavailable) as error:
        with contextlib.suppress(OSError, ByokeepError):  # on no record, it would never be removed
            target.remove(name)
        raise (_no_room("backup_target", error) if isinstance(error, OSError) else error) from None


@contextlib.contextmanager
def _at_bucket() -> Iterator[None]:
    try:
        yield
    except (Unavailable, Denied, Conflict, Integrity) as error:
        step = f"Check the bucket of backup_target, and what its credentials allow: {error.code}."
        raise Unavailable("backup_target_unavailable", next_step=step, cause=error.code) from None


def _no_room(setting: str, error: OSError) -> Unavailable:
    why = _WHY.get(error.errno or 0, "cannot be written, or does not return what was written: check its disk")
    return Unavailable(f"{setting}_unavailable", next_step=f"The directory of {setting} {why}. No backup was made.")


@contextlib.contextmanager
def _working(settings: Settings) -> Iterator[Path]:
    """Be the only one who makes a backup here; yield an empty private directory that is gone afterwards."""
    place = private_dir(settings.path("backup_dir"))
    with alone(place / "lock", Conflict("backup_running", next_step="Another backup is running here: wait for it.")):
        shutil.rmtree(place / _WORK, ignore_errors=True)
        _sweep(place)
        with contextlib.ExitStack() as ending:
            ending.callback(shutil.rmtree, place / _WORK, ignore_errors=True)
            yield private_dir(place / _WORK)


def _sweep(place: Path) -> None:
    """Remove what was left by a kill, each as large as a backup. Raises OSError."""
    for left in place.glob(f".*{ENDING}.*"):
        with contextlib.suppress(FileNotFoundError):  # another host sweeps there, too
            if time.time() - left.stat().st_mtime > 86_400:  # not one that is being fetched
                left.unlink()


@contextlib.contextmanager
def _new(file: Path) -> Iterator[BinaryIO]:
    with open(file, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
        yield out


async def _drop_old(settings: Settings, app: BrokerApp) -> None:
    """Remove backups that are kept no longer, here and elsewhere, on record. Only what is on record is a backup."""
    found, now = await backups.backups(app.db), app.clock.now()
    stays = backups.kept(found, settings.backup_keep, now - timedelta(days=settings.backup_keep_days), now)
    there = await apart(partial(_copies, *_places(settings)))
    for one in found:
        if one.id in stays or not (copies := await apart(partial(_let_go, _of(there, one)))):
            continue
        said: dict[str, FieldValue] = {"backup": str(one.id), "digest": one.digest, "count": len(copies)}
        await backups.say(app, EventName.BACKUP_REMOVED, said, Outcome.INTENDED)
        try:
            for place, name in copies:
                await apart(partial(place.remove, name))
        except (OSError, ByokeepError):  # the next one tries again
            await backups.say(app, EventName.BACKUP_REMOVED, said | {"reason": "not_removed"}, Outcome.FAILED)
        else:
            await backups.say(app, EventName.BACKUP_REMOVED, said)


Copy = tuple[BackupPlace, str]


def _places(settings: Settings) -> list[BackupPlace]:
    """Return this host's places: here, and where backups are copied to."""
    target = backup_target(settings)
    return [Directory(settings.path("backup_dir")), *([target] if target is not None else [])]


def _copies(*places: BackupPlace) -> list[Copy]:
    """Return the backups in some places. Raises Unavailable."""
    step = "A directory of backups cannot be read: check that it is mounted, and that this user may."
    with refusing("backup_unreadable", Unavailable, on=OSError, next_step=step), _at_bucket():
        return [(place, name) for place in places for name in place.names() if _NAMED.fullmatch(name)]


def _let_go(copies: Sequence[Copy]) -> list[Copy]:
    """Return those that no lock keeps for now; none if a place cannot say: the next backup asks again."""
    try:
        return [(place, name) for place, name in copies if not place.held(name)]
    except (OSError, ByokeepError):
        return []


def _of(copies: Sequence[Copy], one: Backup) -> list[Copy]:
    return [(place, name) for place, name in copies if name.endswith(f"-{one.id}{ENDING}")]


async def listed(settings: Settings) -> list[dict[str, Any]]:
    """Return the backups on record, each with the files that exist.

    While the place that they are copied to is away, its address is each one's ``unknown``, and a backup without a file
    here has None for whether it counts.

    Raises:
        Unavailable: The database; ``backup_unreadable``: the backups here.
    """
    async with wiring.broker_app(settings) as app:
        here, *target = _places(settings)
        copies, unknown = _copies(here), ""  # those here are what most is done with: unread, nothing is said
        try:
            copies += await apart(partial(_copies, *target))
        except Unavailable:
            unknown = settings.backup_target
        return [_row(_of(copies, one), one, unknown) for one in await backups.backups(app.db)]


def _row(found: list[Copy], one: Backup, unknown: str) -> dict[str, Any]:
    verified = one.verified_at
    found = [(place, name) for place, name in found if not isinstance(place, Directory) or place.has(name, one.size)]
    return {
        "id": str(one.id), "created_at": stamp(one.created_at), "verified_at": stamp(verified) if verified else None,
        "counts": None if verified and unknown and not found else bool(verified and found), "size": one.size,
        "files": [place.told(name) for place, name in found], "unknown": unknown,
    }  # fmt: skip


def find(settings: Settings, name: str) -> Path:
    """Return the file of a backup, by its path or by its id in this host's directories.

    Raises:
        NotFound: It is in none of them.
        Unavailable: ``backup_unreadable``: nor in those that can be read.
    """
    unread: list[Unavailable] = []
    with contextlib.suppress(ValueError):
        ending = f"-{UUID(name)}{ENDING}"
        for place in _places(settings):
            if not isinstance(place, Directory):
                continue
            try:
                for _, found in _copies(place):
                    if found.endswith(ending):
                        return place.path / found
            except Unavailable as error:
                unread.append(error)
    file = Path(name)
    if not file.is_file():
        if unread:
            raise unread[0]
        step = "Give the file, or an id that `byokeep backup list` shows. From a bucket: `byokeep backup fetch`."
        raise NotFound("backup_not_found", next_step=step)
    return file


def fetch(settings: Settings, name: str, directory: Path) -> tuple[str, Path]:
    """Bring a backup here from `backup_target`; return where it was and where it is now.

    Args:
        name: Its file's name there, which it keeps, or its id.

    Raises:
        NotFound: ``backup_not_found``.
        Unavailable: ``backup_target_unavailable``.
        OSError: The file already exists, or cannot be written.
    """
    place = backup_target(settings)
    if place is None:
        raise Rejected("backup_target_missing", next_step="Set backup_target, e.g. BYOKEEP_BACKUP_TARGET=s3://bucket.")
    there = [one for _, one in _copies(place) if one == name or f"-{name}." in one]
    if not there:
        raise NotFound("backup_not_found", next_step="Give its name at backup_target, or its id.")
    file = directory / there[0]
    with _at_bucket(), draft(file, only_new=True) as out:
        for piece in place.pieces(file.name):
            out.write(piece)
    return place.told(file.name), file


def key_from(files: Path | Sequence[Path]) -> bytes:
    """Return the key in a file (mode 0600), or the key that the shares in several files make.

    Raises:
        Denied: ``shares_refused``.
        Unavailable: A file cannot be read.
    """
    contents = [_private(file) for file in ([files] if isinstance(files, Path) else files)]
    if len(contents) == 1 and not contents[0].startswith(shares.FORMAT.encode()):
        return contents[0]
    return shares.combine(contents)


def _private(file: Path) -> bytes:
    try:
        return read_private(file)
    except Unavailable as error:
        step = f"{file.name}: " + ("there is no such file." if error.code == "credentials_missing" else _CLOSE_IT)
        raise Unavailable(error.code, next_step=step) from None


async def verify(
    settings: Settings, name: str, identity: Path | Sequence[Path], evidence: Mapping[str, bytes] | None = None
) -> tuple[BackupManifest, bool]:
    """Open a backup and check all that can be checked; return its manifest, and whether the result is on record.

    If this home's installation is running, the signature is compared and the result is recorded there. If it is not,
    the signature is compared with ``evidence``, the installation's public keys, if they are given.

    Raises:
        Integrity: ``backup_refused``, ``backup_incomplete``.
        Rejected: ``bad_identity_file``, ``not_a_key_of_this_backup``.
        Denied: ``shares_refused``, on record.
        Unavailable: The file or the identity file cannot be read.
    """
    file = find(settings, name)
    digest = await asyncio.to_thread(lambda: archive.part_of(file.name, file).sha256)
    async with _running(settings) as app:
        try:
            keys = archive.identities_of(key_from(identity))
        except Denied as error:
            if app is not None:
                said = {"reason": error.code, "digest": digest}
                await backups.say(app, EventName.BACKUP_VERIFIED, said, Outcome.REJECTED)
            raise
        try:
            ours = evidence if app is None else await app.signer.public_keys(backups.PURPOSE)
            manifest, _, _ = await asyncio.to_thread(opened, file, keys, evidence=ours)
            archive.must_be_of(manifest, settings.environment)
        except ByokeepError as error:
            if isinstance(error, BackupRefused) and error.reason == "not_its_key":  # says nothing about the backup
                whole = False
                if app is not None:
                    said = {"reason": error.reason, "digest": digest}
                    await backups.say(app, EventName.BACKUP_VERIFIED, said, Outcome.REJECTED)
                    whole = any(one.digest == digest for one in await backups.backups(app.db))
                raise not_its_key(whole=whole) from None
            if app is not None:
                await backups.failed(app, EventName.BACKUP_VERIFIED, error, digest=digest)
            raise
        if app is not None:
            await backups.opened(app, manifest, digest=digest)
    return manifest, app is not None


@contextlib.asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[BrokerApp | None]:
    """Yield the ports of this home's installation, None if it is not running."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            app: BrokerApp | None = await stack.enter_async_context(wiring.broker_app(settings))
        except (Unavailable, OSError):
            app = None
        yield app


def not_its_key(*, whole: bool = False) -> Rejected:
    """Return the refusal of a key that opens nothing here; ``whole``: the file is as its record says."""
    return Rejected("not_a_key_of_this_backup", next_step=_OTHER_KEY if whole else _OTHER_KEY + _OR_DAMAGED)


def opened(
    file: Path, identities: Any, sinks: archive.Sinks | None = None, evidence: Mapping[str, bytes] | None = None
) -> tuple[BackupManifest, bytes, str]:
    """Read a backup to its end; PostgreSQL's own program reads the dump, the snapshot is checked by its own sums.

    Args:
        evidence: The public evidence keys of its installation by number, one of which signed it; None = not known here.

    Raises:
        BackupRefused: Something is not as it was written.
        Unavailable: The file cannot be read; PostgreSQL's programs are not there.
    """
    with contextlib.ExitStack() as ending:
        spool = ending.enter_context(tempfile.TemporaryFile())  # encrypted under the seal

        def sinks_of(part: Part) -> Sink:
            more: Sink = sinks(part) if sinks is not None else len
            if part.name == backup.DATABASE:
                proof = DumpProof(major="")
                ending.callback(proof.close)
                return _both(more, lambda piece: _proved(proof.take, piece))
            if part.name == backup.STORE:
                return _both(more, lambda piece: _spooled(spool, piece))
            return more

        try:
            with file.open("rb") as content:
                proof = None if evidence is None else partial(backups.must_be_signed, evidence)
                return archive.read(content, identities, sinks_of, proof)
        except OSError as error:
            step = "The backup file cannot be read to its end. Check its mode and its disk."
            raise Unavailable("backup_unreadable", next_step=step, errno=error.errno or 0) from None


def _both(first: Sink, second: Callable[[bytes], None]) -> Sink:
    def take(piece: bytes) -> None:
        first(piece)
        second(piece)

    return take


def _spooled(spool: BinaryIO, piece: bytes) -> None:
    if piece:
        spool.write(piece)
    else:
        _must_be_snapshot(spool)


def _proved(take: Callable[[bytes], None], piece: bytes) -> None:
    try:
        take(piece)
    except Unavailable:
        raise BackupRefused("dump") from None


class _Plain(tarfile.TarInfo):
    """An entry that is a file. Of a long name or a map of holes, the library would load any size into memory."""

    def _proc_member(self, entries: tarfile.TarFile) -> Any:
        """Go on from a header, for the library. Raises ValueError: not a plain file."""
        if self.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise ValueError("not a file")
        return super()._proc_member(entries)  # type: ignore[misc]


def _must_be_snapshot(spool: BinaryIO) -> None:
    """Compare a snapshot of the store with the checksums in it. Raises BackupRefused(``snapshot``)."""
    spool.seek(0)
    found: dict[str, str] = {}
    sums = b""
    try:
        with gzip.open(spool) as plain, tarfile.open(fileobj=plain, mode="r|", tarinfo=_Plain) as entries:
            for number, entry in enumerate(entries, start=1):
                content = entries.extractfile(entry)
                if content is None or number > _MOST_ENTRIES:
                    raise ValueError("not a snapshot")
                if entry.name == "SHA256SUMS":
                    sums = content.read(4096)
                else:
                    found[entry.name] = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
        lines = [line.split() for line in sums.decode("ascii").splitlines()]
        wanted = {name: digest for digest, name in lines}
    except (OSError, EOFError, ValueError, tarfile.TarError):
        raise BackupRefused("snapshot") from None
    if not {"meta.json", "state.bin"} <= wanted.keys() or any(found.get(n) != s for n, s in wanted.items()):
        raise BackupRefused("snapshot")


async def backup_if_due(settings: Settings) -> Made | None:
    """Make a running stack's next backup, if it is due and possible; a failure is on record and people are told."""
    if not settings.backup_recipients:
        return None
    async with wiring.broker_app(settings) as app:
        now, every = app.clock.now(), timedelta(hours=settings.backup_hours)
        made = [one.created_at for one in await backups.backups(app.db) if not backups.is_ahead(one.created_at, now)]
        if made and now - max(made) < every:
            return None
    return await create(settings)
