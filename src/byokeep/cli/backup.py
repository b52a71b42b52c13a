"""``byokeep backup``: backups of an installation, on its host and with the host's own credentials."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, Parameter
from cyclopts.validators import Number

from byokeep.cli.api import run
from byokeep.cli.new_file import new_directory, new_file
from byokeep.cli.servers import load
from byokeep.cli.terminal import again, busy, must_have_home, session, show, size
from byokeep.client.verify import read_keys
from byokeep.core.errors import Integrity, Rejected, Unavailable
from byokeep.process import harden

app: Final = App(name="backup")
KeepDays = Annotated[int, Parameter(validator=Number(gte=0, lte=36_600))]
_COLUMNS: Final = ("id", "created_at", "verified_at", "counts", "size")


@app.command
def create(*, keep_days: KeepDays | None = None) -> int:
    """Back up the installation that runs here, encrypted for the keys in `backup_recipients`.

    A backup counts only once it has been opened: have a holder of a private key run `byokeep backup verify`. If a
    sealed profile is missing, the command names it and exits with 5, and that backup never counts.

    Example: byokeep backup create --keep-days 90

    Args:
        keep_days: Afterwards keep the newest backup and those of this many days; default: `backup_keep_days`. The
            newest backup that was opened is always kept.
    """
    harden()
    must_have_home()
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
    show(_read(told), title="Backup", note=f"It counts once it has been opened: {step}")
    return Integrity.exit_code if manifest.missing else 0


@app.command(name="list")
def list_() -> None:
    """List the backups on record: when each was made, when it was last opened, and whether it counts.

    Example: byokeep backup list
    """
    harden()
    must_have_home()
    found = run(_host().listed(session().settings))
    none = f"No backup is on record here. To make the first one: {again('backup create')}"
    note = "A backup counts once it has been opened, as long as its file exists." if found else none
    if found and found[0]["unknown"]:
        note += f" {found[0]['unknown']} does not answer, so its files are unknown. These are the files of this host."
    show([_read(one) for one in found], title="Backups", columns=_COLUMNS, note=note)


@app.command
def fetch(backup: str, directory: Path) -> None:
    """Fetch a backup from `backup_target` into a new directory, to open or restore it. This does not check it.

    Example: byokeep backup fetch $BACKUP fetched

    Args:
        backup: Its name at `backup_target`, or its id.
        directory: A new directory for the backup.
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
def verify(backup: str, *, identity_file: list[Path], keys: Path | None = None) -> int:
    """Open a backup and check everything in it, without changing any data. The result is on record.

    If this home's installation cannot be reached, nothing is recorded. Without `--keys` nobody compares the signature
    then, and the exit code is 4.

    Example: byokeep backup verify $BACKUP --identity-file /media/offline/backup.key

    Args:
        backup: The file, or the id that `byokeep backup list` shows.
        identity_file: The private key (mode 0600) that `age-keygen` wrote, or its shares: repeat the option. Remove
            it from this host afterwards.
        keys: The installation's public keys, as `byokeep audit keys` wrote them, for where it is not running.
    """
    harden()
    evidence = None if keys is None else read_keys(keys).evidence
    with busy("Opening ..."):
        manifest, on_record = run(_host().verify(session().settings, backup, identity_file, evidence))
    compared = on_record or evidence is not None
    told = {
        "id": str(manifest.id), "installation": str(manifest.installation), "environment": manifest.environment.value,
        "made_at": manifest.made_at.isoformat(), "parts": len(manifest.parts), "keks": len(manifest.markers),
        "profiles": len(manifest.artifacts), "signature": "checked" if compared else "not checked",
        "on_record": on_record,
    }  # fmt: skip
    note = "No installation of this home is running here: nothing was recorded"
    note += "." if compared else ", and the signature was not compared: give its public keys (--keys)."
    show(told, title="Opened", note="" if on_record else note)
    return 0 if compared else Unavailable.exit_code


@app.command
def restore(
    backup: str, *, identity_file: list[Path], seal_key_file: list[Path], recovery_key_file: list[Path],
    checkpoints: Path | None = None, checkpoints_lost: bool = False, accept_loss: bool = False,
    artifacts: Path | None = None, keys: Path | None = None,
) -> int:  # fmt: skip
    """Restore an installation from a backup into the empty directory that --home names. It comes up closed.

    Everything is checked before anything is written. Then `byokeep up` starts it, and two people open it.

    Example: byokeep backup restore FILE --home /srv/new --identity-file backup.key --seal-key-file seal.key
    --recovery-key-file recovery.key --checkpoints /mnt/checkpoints --accept-loss

    Args:
        backup: The file.
        identity_file: The private key of the backup (mode 0600), or its shares: repeat the option.
        seal_key_file: The seal key of the store that was backed up (mode 0600), or its shares: repeat the option.
        recovery_key_file: A recovery key (mode 0600); repeat the option up to the store's threshold.
        checkpoints: The `checkpoints` directory of the lost installation, the newest copy you have.
        checkpoints_lost: That directory is lost: what was stopped after the backup may come back.
        accept_loss: Accept that what happened after the backup, and what is missing from it, may be gone. What was
            stopped stays stopped.
        artifacts: A newer copy of the directory of sealed profiles.
        keys: The installation's public keys, as `byokeep audit keys` wrote them: the signature is compared before
            anything else of the backup is read. Without them it is compared with the keys in the backup's own store.
    """
    harden()
    if (checkpoints is None) is not checkpoints_lost:
        raise Rejected(
            "checkpoints_missing",
            next_step="Give --checkpoints DIR. If that directory is lost, give --checkpoints-lost.",
        )
    host = load("byokeep.processes.restore")
    brought = host.Brought(
        identity=identity_file, seal_key=seal_key_file, recovery_keys=recovery_key_file, checkpoints=checkpoints,
        accept_loss=accept_loss, artifacts=artifacts, evidence=None if keys is None else read_keys(keys).evidence,
    )  # fmt: skip
    with busy("Restoring ..."):
        done = run(host.restore(session().settings, backup, brought))
    told = {
        "id": str(done.manifest.id), "made_at": done.manifest.made_at.isoformat(), "state": "closed",
        "checkpoints_behind": "unknown" if done.behind is None else done.behind, "stopped_again": done.again,
        "missing": done.missing, "orphans": done.orphans, "to_do": done.to_do,
    }  # fmt: skip
    note = (
        "Remove from this host what you brought, and keys/recovery-*.key of this home. Next: `byokeep up`, then"
        " docs/runbook.md, backups and copies."
    )
    show(told, title="Restored", note=note)
    return Integrity.exit_code if done.missing else 0


@app.command
def split(key_file: Path, directory: Path, *, shares: int, threshold: int) -> None:
    """Split a key that opens a backup or its store into shares for several people, in a new directory.

    Any `threshold` of the shares can be given in place of the key; fewer are refused. Do this away from every host
    of an installation. Hand each share to one person, then destroy the key file and the directory.

    Example: byokeep backup split backup.key shares --shares 5 --threshold 3

    Args:
        key_file: The key that `age-keygen` wrote, or the seal key (mode 0600).
        directory: A new directory for the shares.
        shares: How many shares to make.
        threshold: How many of them restore the key.
    """
    harden()
    new_directory(directory, mode=0o700)
    try:
        made = load("byokeep.backup.shares").split(_host().key_from(key_file), shares, threshold)
        for number, line in enumerate(made, start=1):
            new_file(directory / f"share-{number}")(line)
    except BaseException:
        shutil.rmtree(directory)
        raise
    note = f"Hand each share to one person, then destroy {key_file} and the directory. Any {threshold} restore the key."
    show({"directory": str(directory), "shares": shares, "threshold": threshold}, title="Split", note=note)


def _read(backup: dict[str, Any]) -> dict[str, Any]:
    """Return a backup as people read it."""
    return backup if session().as_json else backup | {"size": size(backup["size"])}


def _host() -> Any:
    return load("byokeep.processes.backup")
