"""``byokeep backup``: backups of an installation, on its host and with the host's own credentials."""

from __future__ import annotations

import importlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, Parameter
from cyclopts.validators import Number

from byokeep.cli.api import run
from byokeep.cli.new_file import new_directory, new_file
from byokeep.cli.terminal import again, busy, must_have_home, session, show
from byokeep.core.errors import Integrity, Rejected, Unavailable
from byokeep.process import harden

app: Final = App(name="backup")
KeepDays = Annotated[int, Parameter(validator=Number(gte=0, lte=36_600))]
_COLUMNS: Final = ("id", "created_at", "verified_at", "counts", "size")


@app.command
def create(*, keep_days: KeepDays | None = None) -> int:
    """Make a backup of the installation that runs here, encrypted for the keys of `backup_recipients`.

    A backup counts when it was opened: have whoever holds a private key run `byokeep backup verify`. One that lacks a
    sealed profile names it, ends with 5, and never counts.

    Example: byokeep backup create --keep-days 90

    Args:
        keep_days: Besides the newest, keep afterwards those of so many days; else `backup_keep_days` says it. The
            newest one that was opened always stays.
    """
    harden()
    settings = session().settings
    if keep_days is not None:
        settings = replace(settings, backup_keep_days=keep_days)
    with busy("Backing up ..."):
        made = run(_host().create(settings))
    manifest, copied = made.manifest, settings.backup_target or "none: set backup_target"
    told = {
        "id": str(manifest.id), "made_at": manifest.made_at.isoformat(), "file": str(made.file), "size": made.size,
        "sha256": made.digest, "copy": copied, "parts": len(manifest.parts),
        "missing": manifest.missing, "not_covered": ", ".join(manifest.not_covered),
    }  # fmt: skip
    step = again(f"backup verify {manifest.id} --identity-file KEY", own_token=False)
    show(told, title="Backup", note=f"It counts when it was opened: {step}")
    return Integrity.exit_code if manifest.missing else 0


@app.command(name="list")
def list_() -> None:
    """List the backups on record: when each was made, when it was last opened, and whether it counts.

    Example: byokeep backup list
    """
    harden()
    must_have_home()
    found = run(_host().listed(session().settings))
    none = f"None is on record here. The first: {again('backup create')}"
    note = "A backup counts when it was opened and its file is there." if found else none
    if found and found[0]["unknown"]:
        note += f" {found[0]['unknown']} does not answer: what lies there is unknown, these are the files of this host."
    show(found, title="Backups", columns=_COLUMNS, note=note)


@app.command
def fetch(backup: str, directory: Path) -> None:
    """Bring a backup from `backup_target` into a new directory, to open or restore it. It is not checked yet.

    Example: byokeep backup fetch $BACKUP fetched

    Args:
        backup: Its name there, or its id.
        directory: A new directory for it.
    """
    harden()
    new_directory(directory, mode=0o700)
    try:
        with busy("Fetching ..."):
            found, file = _host().fetch(session().settings, backup, directory)
    except BaseException:
        shutil.rmtree(directory)
        raise
    step = again(f"backup verify {file} --identity-file KEY", own_token=False)
    show({"from": found, "file": str(file)}, title="Fetched", note=f"Next: {step}")


@app.command
def verify(backup: str, *, identity_file: list[Path]) -> int:
    """Open a backup and check everything in it, without touching any data; the result is on record.

    Where this home's installation cannot be reached, neither signature nor record: it ends with 4.

    Example: byokeep backup verify $BACKUP --identity-file /media/offline/backup.key

    Args:
        backup: The file, or its id as `byokeep backup list` shows it.
        identity_file: The private key (mode 0600), as `age-keygen` wrote it, or shares of it: repeat it. Take it away
            from this host afterwards.
    """
    harden()
    with busy("Opening ..."):
        manifest, on_record = run(_host().verify(session().settings, backup, identity_file))
    told = {
        "id": str(manifest.id), "installation": str(manifest.installation), "environment": manifest.environment.value,
        "made_at": manifest.made_at.isoformat(), "parts": len(manifest.parts), "keks": len(manifest.markers),
        "profiles": len(manifest.artifacts), "signature": "checked" if on_record else "not checked",
        "on_record": bool(on_record),
    }  # fmt: skip
    note = "" if on_record else "No installation of this home runs here: signature not compared, nothing on record."
    show(told, title="Opened", note=note)
    away = not on_record and os.path.lexists(session().settings.path("credentials_dir"))
    return Unavailable.exit_code if away else 0


@app.command
def restore(
    backup: str, *, identity_file: list[Path], seal_key_file: list[Path], recovery_key_file: list[Path],
    checkpoints: Path | None = None, checkpoints_lost: bool = False, accept_loss: bool = False,
    artifacts: Path | None = None,
) -> int:  # fmt: skip
    """Make the installation of a backup in the empty directory that --home names. It comes up closed.

    Everything is checked before anything is written. Afterwards `byokeep up` starts it; two people open it.

    Example: byokeep backup restore FILE --home /srv/new --identity-file backup.key --seal-key-file seal.key
    --recovery-key-file recovery.key --checkpoints /mnt/checkpoints --accept-loss

    Args:
        backup: The file.
        identity_file: The private key of the backup (mode 0600), or shares of it: repeat it.
        seal_key_file: The seal key of the store that was backed up (mode 0600), or shares of it: repeat it.
        recovery_key_file: A recovery key (mode 0600); repeat it, as many as the store's threshold.
        checkpoints: The directory of that name of the lost installation, as new as you have it.
        checkpoints_lost: It is lost: what was stopped since the backup may come back.
        accept_loss: What happened after the backup may be gone, and what it lacks; what was stopped stays stopped.
        artifacts: A newer copy of the directory of sealed profiles.
    """
    harden()
    if (checkpoints is None) is not checkpoints_lost:
        raise Rejected("checkpoints_missing", next_step="Give --checkpoints DIR, or say --checkpoints-lost.")
    host = importlib.import_module("byokeep.processes.restore")
    brought = host.Brought(
        identity=identity_file, seal_key=seal_key_file, recovery_keys=recovery_key_file, checkpoints=checkpoints,
        accept_loss=accept_loss, artifacts=artifacts,
    )  # fmt: skip
    with busy("Restoring ..."):
        done = run(host.restore(session().settings, backup, brought))
    told = {
        "id": str(done.manifest.id), "made_at": done.manifest.made_at.isoformat(), "state": "closed",
        "checkpoints_behind": "unknown" if done.behind is None else done.behind, "stopped_again": done.again,
        "missing": done.missing, "orphans": done.orphans, "to_do": done.to_do,
    }  # fmt: skip
    note = (
        "Take away from this host what you brought, and keys/recovery-*.key of this home. Next: byokeep up, then"
        " docs/runbook.md, backups and copies."
    )
    show(told, title="Restored", note=note)
    return Integrity.exit_code if done.missing else 0


@app.command
def split(key_file: Path, directory: Path, *, shares: int, threshold: int) -> None:
    """Split a key that opens a backup or its store into shares, one for each of several people, in a new directory.

    Any `threshold` of them are taken where the key is asked for; fewer are refused. Do it away from every host
    of an installation, hand each share to one person, then destroy the key file and the directory.

    Example: byokeep backup split backup.key shares --shares 5 --threshold 3

    Args:
        key_file: What `age-keygen` wrote, or the seal key (mode 0600).
        directory: A new directory for the shares.
        shares: How many.
        threshold: How many of them bring the key back.
    """
    harden()
    new_directory(directory, mode=0o700)
    try:
        made = importlib.import_module("byokeep.backup.shares").split(_host().key_from(key_file), shares, threshold)
        for number, line in enumerate(made, start=1):
            new_file(directory / f"share-{number}")(line)
    except BaseException:
        shutil.rmtree(directory)
        raise
    note = f"Hand each to one person, then destroy {key_file} and the directory: any {threshold} bring the key back."
    show({"directory": str(directory), "shares": shares, "threshold": threshold}, title="Split", note=note)


def _host() -> Any:
    return importlib.import_module("byokeep.processes.backup")
