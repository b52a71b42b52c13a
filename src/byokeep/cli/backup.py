"""``byokeep backup``: backups of an installation, on its host and with the host's own credentials."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

from cyclopts import App

from byokeep.cli.api import run
from byokeep.cli.terminal import again, busy, session, show
from byokeep.process import harden

app: Final = App(name="backup")
_COLUMNS: Final = ("id", "created_at", "verified_at", "counts", "size")


@app.command
def create() -> None:
    """Make a backup of the installation that runs here, encrypted for the keys of `backup_recipients`.

    A backup counts when it was opened: have whoever holds a private key run `byokeep backup verify`.

    Example: byokeep backup create
    """
    harden()
    with busy("Backing up ..."):
        made = run(_host().create(session().settings))
    manifest, copied = made.manifest, session().settings.backup_target or "none: set backup_target"
    told = {
        "id": str(manifest.id), "made_at": manifest.made_at.isoformat(), "file": str(made.file), "size": made.size,
        "sha256": made.digest, "copy": copied, "parts": len(manifest.parts),
        "not_covered": ", ".join(manifest.not_covered),
    }  # fmt: skip
    step = again(f"backup verify {manifest.id} --identity-file KEY", own_token=False)
    show(told, title="Backup", note=f"It counts when it was opened: {step}")


@app.command(name="list")
def list_() -> None:
    """List the backups on record: when each was made, when it was last opened, and whether it counts.

    Example: byokeep backup list
    """
    harden()
    found = run(_host().listed(session().settings))
    note = "A backup counts when it was opened and its file is there." if found else "There is none: backup create."
    show(found, title="Backups", columns=_COLUMNS, note=note)


@app.command
def verify(backup: str, *, identity_file: Path) -> None:
    """Open a backup and check everything in it, without touching any data; the result is on record.

    Example: byokeep backup verify $BACKUP --identity-file /media/offline/backup.key

    Args:
        backup: The file, or its id as `byokeep backup list` shows it.
        identity_file: The private key (mode 0600), as `age-keygen` wrote it. Take it away from this host afterwards.
    """
    harden()
    with busy("Opening ..."):
        manifest, on_record = run(_host().verify(session().settings, backup, identity_file))
    told = {
        "id": str(manifest.id), "installation": str(manifest.installation), "environment": manifest.environment.value,
        "made_at": manifest.made_at.isoformat(), "parts": len(manifest.parts), "keks": len(manifest.markers),
        "profiles": len(manifest.artifacts), "signature": "checked" if on_record else "not checked",
        "on_record": "yes" if on_record else "no",
    }  # fmt: skip
    note = "" if on_record else "No installation of this home runs, so neither signature nor record: give --home."
    show(told, title="Opened", note=note)


def _host() -> Any:
    return importlib.import_module("byokeep.processes.backup")
