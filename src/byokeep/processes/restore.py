"""An installation made from a backup, in an empty home (docs/runbook.md).

Rules
- Everything in the backup is read to its end before the home gets a file; before that its signature is checked, if the
  evidence keys are brought. A backup that is damaged, foreign, newer than this release or not of the checkpoints
  outside is refused, and the home is as empty as before.
- One restore at a time holds a home, from before it reads anything to its end. A home in which one was cut off says so
  by a file, and no stack starts there; the next restore begins again.
- The store comes first, with the seal key and the recovery keys that people bring. Every right from the time of the
  backup ends there, and its own key proves who signed the backup, before the database is loaded.
- It comes up closed, as any copy does, and two people open it. What was stopped since is stopped again, as told by what
  is outside the database. Without that, people must say that it is lost, and are told what may have come back.
- What does not match, in either direction, is named. Nothing of it is removed.

It may not open the switch, or restore over anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from byokeep.adapters.files.tombstones import NAME as TOMBSTONES
from byokeep.adapters.openbao import embedded, snapshot
from byokeep.adapters.openbao.login import private_dir
from byokeep.adapters.openbao.snapshot import Versions
from byokeep.adapters.postgres.dump import load
from byokeep.adapters.postgres.embedded import account_for, end_leftovers, require_reachable
from byokeep.adapters.postgres.fit import revisions
from byokeep.audit import log
from byokeep.backup import archive, backups
from byokeep.core import backup
from byokeep.core.audit import Facts, parse_line, read_payload
from byokeep.core.backup import BackupManifest, BackupRefused, Part
from byokeep.core.checkpoint import LogState, parse_epoch_line, replay
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, Rejected
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.model import ClientId
from byokeep.core.ref import ProfileRef
from byokeep.jobs import gatekeep
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import raise_alert
from byokeep.kernel.durable_write import draft, durable_write, sync_directory
from byokeep.process import alone, descriptor, is_held, to_its_end
from byokeep.processes import wiring
from byokeep.processes.backup import find, key_from, not_its_key, opened
from byokeep.processes.installation import desired, install
from byokeep.profiles import kek, vault_check
from byokeep.profiles.openings import keep_tombstones
from byokeep.settings import RESTORING, Settings, parse_bucket

_INSIDE: Final = ("credentials_dir", "checkpoint_dir", "notify_dir", "slots_dir", "artifact_store")
REPORT: Final = "restored.json"
SETTINGS: Final = "config.toml.restored"  # what else it names may not be here yet
_WORK: Final = "restore"
_QUARANTINED: Final = (EventName.ACCOUNT_QUARANTINED, EventName.PROFILE_QUARANTINED)
# What a restore brings back although it was ended since: people end it again by hand, unless tombstones do.
_ENDED: Final = frozenset({
    EventName.KEY_DESTROYED, EventName.KEY_STATE_CHANGED, EventName.KEY_ROTATION, EventName.WEBHOOK_RETIRED,
    EventName.KEK_CHANGED, EventName.DEK_CHANGED, EventName.PROFILE_SHREDDED, EventName.PROFILE_RETIRED,
    EventName.GRANT_REVOKED, EventName.PLATFORM_CLOSED, EventName.LANES_SET, EventName.ACCOUNT_TRANSFERRED,
    EventName.OPERATOR_CHANGED, EventName.MACHINE_CHANGED, EventName.TOKEN_REVOKED, EventName.PASSKEY_REMOVED,
    EventName.SSO_UNLINKED, EventName.CLIENT_SUSPENDED, EventName.SWITCH_CLOSED, EventName.GLASS_DENIED,
    EventName.GLASS_REVOKED, EventName.EFFECT_CANCELLED, EventName.JOB_TEMPLATE_SET, EventName.PROCEDURE_ENDED,
    *_QUARANTINED,
})  # fmt: skip
_UNKNOWN: Final = "unknown: the audit's copy is missing, cut or not whole; look for what was ended since the backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What people bring to a restore.

    Attributes:
        identity: The private key of the backup, or shares of it.
        seal_key: The seal key of the store that was backed up, or shares of it.
        recovery_keys: As many as its threshold.
        checkpoints: The lost installation's directory of that name, as new as possible; None = it is lost too.
        accept_loss: Whether what happened after the backup may be lost, and what it lacks stay missing.
        artifacts: A newer copy of the directory of sealed profiles, for what the backup lacks or has older.
        evidence: The installation's public evidence keys by number; None = only the backup's own store has them.
    """

    identity: Path | Sequence[Path]
    seal_key: Path | Sequence[Path]
    recovery_keys: Sequence[Path]
    checkpoints: Path | None
    accept_loss: bool = False
    artifacts: Path | None = None
    evidence: Mapping[str, bytes] | None = None

    def identities(self) -> Any:
        """Return the backup's keys, once all keys that were brought could be read. Raises as :func:`.key_from`."""
        found = archive.identities_of(key_from(self.identity))
        for one in (self.seal_key, *self.recovery_keys):
            key_from(one)
        return found


@dataclass(slots=True, kw_only=True)
class Restored:
    """The result. ``behind``: how many checkpoints are newer than the backup; None = unknown."""

    manifest: BackupManifest
    behind: int | None
    again: int = 0
    missing: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    to_do: list[str] = field(default_factory=list)


async def restore(settings: Settings, name: str, brought: Brought) -> Restored:
    """Make an installation from a backup in an empty home, closed.

    Raises:
        Conflict: ``home_not_empty``, ``restore_running``; ``backup_behind``: what lies outside is newer.
        Integrity: ``backup_refused``, ``backup_incomplete``.
        Denied: ``recovery_quorum_missing``; ``shares_refused``, which is recorded once the home is restored.
        Rejected: ``restore_not_embedded``, ``restore_outside_home``, ``tombstones_missing``, ``bad_identity_file``,
            ``not_a_key_of_this_backup``, ``home_not_reachable``.
        Unavailable: A part did not start, or the disk is full; the home is empty again.
    """
    if not (settings.embedded_store and settings.embedded_database):
        step = "Restore your own store and database by their own methods: docs/runbook.md, backups."
        raise Rejected("restore_not_embedded", next_step=step)
    if named := [name for name in _INSIDE if getattr(settings, name) and parse_bucket(getattr(settings, name)) is None]:
        step = "A restore writes only below its home. Leave these settings out, and move what they name afterwards."
        raise Rejected("restore_outside_home", next_step=step, setting=named[0])
    file = find(settings, name)
    with _held(settings.home.absolute()) as mark:
        try:
            keys = brought.identities()
        except Denied:
            with mark.open("a") as tries:
                tries.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} shares_refused\n")
            raise
        try:
            manifest, signature, key_id = await asyncio.to_thread(opened, file, keys, evidence=brought.evidence)
        except BackupRefused as error:
            if error.reason != "not_its_key":
                raise
            raise not_its_key() from None
        archive.must_be_of(manifest, settings.environment, whole=not brought.accept_loss)
        if manifest.versions["schema"] > max(revisions()):
            raise BackupRefused("newer_release")
        if brought.artifacts is not None:
            _must_be_plain(brought.artifacts)
        found = Restored(manifest=manifest, behind=None)
        if brought.checkpoints is not None:
            outside = _outside(brought.checkpoints, manifest, brought)
            found.behind = outside.size - manifest.epochs
            found.to_do = _ended_since(brought.checkpoints, manifest, outside)
        await _restore(settings, file, keys, brought, found, (signature, key_id))
    return found


@contextlib.contextmanager
def _held(home: Path) -> Iterator[Path]:
    """Hold an empty home for one restore, and yield the file that says so, which stays while it has something to say.

    The directory itself is locked: two restores have it in common, whichever of them makes or removes a file.
    """
    home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    running = Conflict("restore_running", next_step="Another restore is running in this home. Wait until it ends.")
    mark = home / RESTORING
    with alone(home.resolve(), running):
        _must_be_empty(home)
        require_reachable(home / "postgres", account_for(home / "postgres"))
        mark.touch(0o600)
        try:
            yield mark
        finally:
            if [path.name for path in home.iterdir()] == [RESTORING] and not mark.stat().st_size:
                mark.unlink()


async def _restore(
    settings: Settings, file: Path, keys: Any, brought: Brought, found: Restored, signed: tuple[bytes, str]
) -> None:
    home = settings.home.absolute()
    await to_its_end(asyncio.to_thread(_end_leftovers, home))
    _empty(home)
    try:
        placing = asyncio.to_thread(_place, settings, file, keys, brought, found.manifest)
        await to_its_end(placing)  # a thread cannot be cut off
        await _bring_up(settings, found, *signed)
    except BaseException:
        _empty(home)
        raise
    durable_write(home / SETTINGS, _here((home / _WORK / backup.SETTINGS).read_text("utf-8")).encode())
    found.to_do.append(f"settings {SETTINGS}: look through it, then make it config.toml; without it no backup is made")
    shutil.rmtree(home / _WORK)
    report = {"missing": found.missing, "orphans": found.orphans, "to_do": found.to_do}
    durable_write(home / REPORT, json.dumps(report, indent=1).encode() + b"\n")
    (home / RESTORING).unlink()
    sync_directory(home)  # it must not come back with a power cut: the next restore would empty what is used by then


def _here(text: str) -> str:
    """Return settings that name no place of the old host for what was restored below this home: those lines say so."""
    names = ("home", "token_file", *_INSIDE)
    lines = text.split("\n")
    return "\n".join("# " * (one.partition(" = ")[0] in names and "s3://" not in one) + one for one in lines)


def _must_be_empty(home: Path) -> None:
    """Let pass a home that does not exist, is empty, or was left by a restore that was cut off."""
    names = {path.name for path in home.iterdir()} if home.is_dir() else set()
    if (names and RESTORING not in names) or is_held(home / "byokeep.pid"):
        raise Conflict("home_not_empty", next_step="Nothing was changed. Give an empty directory with --home.")


def _end_leftovers(home: Path) -> None:
    """End the servers of a restore that was killed: what they still write would be found by this one's."""
    embedded.end_leftovers(home)
    end_leftovers(home / "postgres" / "data")


def _empty(home: Path) -> None:
    for path in home.iterdir():
        if path.name != RESTORING:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _outside(place: Path, manifest: BackupManifest, brought: Brought) -> LogState:
    """Return the log as it was published, which a backup must belong to.

    Raises:
        BackupRefused: ``outside``: it belongs to another log, or to a log that was cut back since.
        Conflict, Rejected: As :func:`restore`.
    """
    if not (place / TOMBSTONES).is_file():
        step = "Give the directory `checkpoints` of the lost installation, or --checkpoints-lost: see the runbook."
        raise Rejected("tombstones_missing", next_step=step)
    _must_be_plain(place)
    _must_go_on(place / TOMBSTONES, manifest)
    state, root, at_us = LogState(), "", 0
    try:
        for line in _lines(place / "epochs.jsonl"):
            state = replay(state, parse_epoch_line(line), origin=f"byokeep/{manifest.installation}", keys=None)
            if state.size == manifest.epochs:
                root, at_us = state.edge.root().hex(), state.at_us
    except (ByokeepError, OSError):
        raise BackupRefused("outside") from None
    if root != manifest.root:
        raise BackupRefused("outside")
    behind = state.size - manifest.epochs
    if behind and not brought.accept_loss:
        step = (
            "Use a newer backup, or give --accept-loss: what happened after it is lost, except for what was stopped."
        )
        minutes = (state.at_us - (at_us or state.at_us)) // 60_000_000
        raise Conflict("backup_behind", next_step=step, checkpoints=behind, minutes=minutes)
    return state


def _lines(file: Path) -> Iterator[bytes]:
    """Yield the whole lines of a file that may be larger than the memory; one that was cut off is none."""
    with file.open("rb") as lines:
        yield from (line[:-1] for line in lines if line.endswith(b"\n"))


def _must_go_on(file: Path, manifest: BackupManifest) -> None:
    """Refuse tombstones that lack a line which the backup's own have. Raises BackupRefused(``outside``)."""
    own = next((part for part in manifest.parts if part.name == f"checkpoints/{TOMBSTONES}"), None)
    if own is not None and hashlib.sha256(file.read_bytes()[: own.size]).hexdigest() != own.sha256:
        raise BackupRefused("outside")


def _ended_since(place: Path, manifest: BackupManifest, outside: LogState) -> list[str]:
    """Return what was ended after the backup, by the second copy of the audit. Raises BackupRefused(``outside``).

    After a rebase, older copies hold records that were lost, under numbers that were given again: only the newest copy
    shows that nothing is missing, and of a backup from before the rebase nothing does.
    """
    known, found = {head.chain: head.seq for head in manifest.heads}, {}
    short = {head.chain: head.seq for head in manifest.heads if head.seq}  # chains that no line of the copy reaches
    whole = dict(known)  # how far each chain goes without a gap
    newest = f"audit-{outside.base}.jsonl" if outside.base else "audit.jsonl"
    try:
        for file in sorted((place / "copy").glob("audit*.jsonl")):
            for line in _lines(file):
                one = parse_line(line)
                if one.seq >= known.get(one.chain, 0):
                    short.pop(one.chain, None)
                if file.name == newest and one.seq == whole.get(one.chain, 0) + 1:
                    whole[one.chain] = one.seq
                said = read_payload(one.payload) if one.seq > known.get(one.chain, 0) else None
                if said is not None and _ends(said):
                    named = " ".join(str(said.fields[name]) for name in ("scope", "template") if name in said.fields)
                    found[one.chain, one.seq] = f"{said.event} {said.object or named} client {said.client or '-'}"
    except (ByokeepError, OSError):
        raise BackupRefused("outside") from None
    told_anew = 0 < outside.base >= manifest.epochs
    lacks = short or told_anew or any(whole.get(head.chain, 0) < head.seq for head in outside.heads.values())
    return [_UNKNOWN] * bool(lacks) + list(found.values())


def _ends(said: Facts) -> bool:
    """Whether a record says that something ended. For a quarantine, that is the failure of what found it."""
    if said.event == EventName.JOB_TEMPLATE_SET and said.fields.get("state") != "ended":
        return False
    if said.event == EventName.KEY_STATE_CHANGED and said.fields.get("state_to") == "active":
        return False
    return said.event in _ENDED and said.outcome == (Outcome.FAILED if said.event in _QUARANTINED else Outcome.OK)


def _place(settings: Settings, file: Path, keys: Any, brought: Brought, checked: BackupManifest) -> None:
    """Write the parts of a checked backup where they belong, comparing them once more as they are written."""
    home, work = settings.home.absolute(), private_dir(settings.home.absolute() / _WORK)
    places = {"credentials/": "credentials_dir", "checkpoints/": "checkpoint_dir", "notify/": "notify_dir",
              backup.ARTIFACTS: "artifact_store"}  # fmt: skip

    def sinks(part: Part) -> archive.Sink:
        if part not in checked.parts:
            raise BackupRefused("part_altered")
        top = next((one for one in places if part.name.startswith(one)), "")
        at = settings.path(places[top]) / part.name.removeprefix(top) if top else work / part.name
        _private_parents(at, settings.path(places[top]) if top else work)
        writing = contextlib.ExitStack()
        out = writing.enter_context(draft(at, only_new=True))

        def take(piece: bytes) -> None:
            out.write(piece)
            if not piece:
                writing.close()

        return take

    manifest, _, _ = opened(file, keys, sinks)
    if manifest.canonical() != checked.canonical():
        raise BackupRefused("part_altered")
    if brought.artifacts is not None:
        _take_artifacts(brought.artifacts, settings.path("artifact_store"), manifest)
    if brought.checkpoints is not None:
        target = settings.path("checkpoint_dir")
        shutil.rmtree(target, ignore_errors=True)  # what the archive had of it; below the home
        shutil.copytree(brought.checkpoints, target, copy_function=_copy)
        target.chmod(0o700)
    private_dir(home / "keys")
    durable_write(home / "keys" / "seal.key", key_from(brought.seal_key))
    for number, path in enumerate(brought.recovery_keys, start=1):
        durable_write(home / "keys" / f"recovery-{number}.key", key_from(path))


def _must_be_plain(place: Path) -> None:
    """Refuse a link, or what is neither file nor directory, in a directory. Raises BackupRefused(``outside``)."""
    if not place.is_dir():
        raise BackupRefused("outside")
    for path in place.rglob("*"):
        if not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
            raise BackupRefused("outside")


def _copy(source: str, target: str) -> None:
    with descriptor(Path(source), os.O_RDONLY | os.O_NONBLOCK) as handle, open(handle, "rb", closefd=False) as content:
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # something else may have replaced it since the check
            raise BackupRefused("outside")
        with draft(Path(target), only_new=True) as out:
            shutil.copyfileobj(content, out)


def _take_artifacts(source: Path, target: Path, manifest: BackupManifest) -> None:
    """Copy the sealed profiles that a restored home lacks, but none that differs from what the backup says of it."""
    known = {one.name: one for one in manifest.artifacts}
    for file in source.glob("*/*/*.sealed"):
        name = file.relative_to(source).as_posix()
        if not (target / name).exists():
            _private_parents(target / name, target)
            _copy(str(file), str(target / name))
            if known.get(name, found := archive.part_of(name, target / name)) != found:
                (target / name).unlink()


def _private_parents(file: Path, top: Path) -> None:
    private_dir(top)
    for parent in reversed(file.relative_to(top).parents[:-1]):
        private_dir(top / parent)


async def _bring_up(settings: Settings, found: Restored, signature: bytes, key_id: str) -> None:
    store, database, manifest = wiring.embedded_store(settings), wiring.embedded_database(settings), found.manifest
    work = settings.home.absolute() / _WORK
    try:
        await snapshot.restore(store, work / backup.STORE)
        wanted = desired(settings, manifest.installation)
        evidence, held = await snapshot.renew_rights(store, wanted, manifest.id, manifest.markers)
        backups.must_be_signed(evidence, manifest.canonical(), signature, key_id)
        await database.start()
        await load(wiring.database_url(settings, "byokeep_owner"), work / backup.DATABASE, major="")
        await install(settings, store)
        async with wiring.broker_app(settings) as app:
            await _settle(app, found, held, settings.home.absolute())
    finally:
        await asyncio.gather(store.stop(), database.stop())


async def _settle(app: BrokerApp, found: Restored, held: dict[str, Versions], home: Path) -> None:
    """Compare with what is outside, stop again what was stopped, and say what does not match."""
    manifest = found.manifest
    try:
        async with app.db.begin(every_client=True) as tx:
            await log.must_hold(tx, manifest.heads)
    except Integrity:
        raise BackupRefused("heads") from None
    if app.installation_id != manifest.installation:
        raise BackupRefused("other_installation")
    with contextlib.suppress(Integrity):  # then the gate is closed, and people are told
        await gatekeep.closing(app, log.look(app))
    found.again = await gatekeep.hold(app) + await keep_tombstones(app)
    await _compare(app, found, held)
    if found.behind is None:
        await raise_alert(app, reason="tombstones_lost", key="backup/tombstones", severity="critical")
    for reason, named in (("restore_skewed", found.missing + found.orphans), ("restore_to_do", found.to_do)):
        if named:
            await raise_alert(app, reason=reason, key=f"backup/{reason}", severity="critical")
    said: dict[str, FieldValue] = {"backup": str(manifest.id), "epoch": found.behind or 0, "count": found.again,
            "found": len(found.missing) + len(found.orphans)}  # fmt: skip
    tries = (home / RESTORING).read_text().splitlines()
    for _ in tries:
        await backups.say(app, EventName.BACKUP_VERIFIED, {"reason": "shares_refused"}, Outcome.REJECTED)
    await backups.say(app, EventName.BACKUP_RESTORED, said)


async def _compare(app: BrokerApp, found: Restored, held: dict[str, Versions]) -> None:
    """Name what the database has and the store or the sealed profiles lack, and the other way round."""
    async with app.db.begin(every_client=True) as tx:
        clients = await tx.all(UUID, "backup_clients")
        refs = await tx.all(dict, "backup_refs")
        accounts = await tx.all(str, "backup_accounts")
    for ref in refs:
        newest, live = held.get(ref["path"], (0, []))
        if ref["version"] not in live and ref["used"]:
            found.missing.append(f"key {ref['path']} version {ref['version']}")
        if live and newest > ref["newest"]:
            found.orphans.append(f"key {ref['path']} version {newest}")
    known, below = {ref["path"] for ref in refs}, tuple(f"{account}/" for account in accounts)
    for path, (_, live) in held.items():
        profile = path.split("/")[2] == "profiles" and UUID(path.split("/")[1]) in clients
        if live and not profile and path not in known and not path.startswith(below):
            found.orphans.append(f"key {path} version {live[-1]}")
    records = _Records(app, held)
    for client in clients:
        for one in (await vault_check.compare(app.db, app.artifacts, records, ClientId(client)))[0]:
            lacks = one.finding in (kek.BLOB_MISSING, kek.RECORD_MISSING)
            (found.missing if lacks else found.orphans).append(f"{one.finding} {client}/{one.profile_id} {one.place}")
    strange = [one.text for one in await app.artifacts.list_keys(None) if one.client_id not in clients]
    found.orphans += [f"{kek.BLOB_ORPHAN} {name}" for name in strange]


@dataclass(frozen=True, slots=True)
class _Records:
    """Records of profiles, as the store had them when it was loaded."""

    app: BrokerApp
    held: dict[str, Versions]

    async def live_versions(self, ref: ProfileRef) -> list[int]:
        return self.held.get(ref.path.removeprefix("kv/"), (0, []))[1]

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        return await self.app.records.read(ref, version)
