"""``byokeep drill``: recovery drills of an installation, on its host and with the host's own credentials."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

from cyclopts import App

from byokeep.cli.api import Listing, run, tell_all
from byokeep.cli.servers import load
from byokeep.cli.terminal import again, must_have_home, say_if_heard, session
from byokeep.core.errors import Integrity
from byokeep.process import harden

app: Final = App(name="drill")
_STEPS: Final = ("step", "state", "reason")
_WAITS: Final = {"verify_clients": ": the store first waits two minutes for its new lease key"}


@app.command(name="run")
def run_(
    backup: str = "", *, identity_file: list[Path], seal_key_file: list[Path], recovery_key_file: list[Path],
    seed: int | None = None, shared_network: bool = False,
) -> int:  # fmt: skip
    """Restore a backup apart from production, verify it, and remove it again. The report is signed and kept.

    In the restored copy no effect is permitted and no token is renewed; providers and platforms are only asked for
    identities. Exit code 5 if a step failed: the drill does not count.

    Example: byokeep drill run --identity-file backup.key --seal-key-file seal.key --recovery-key-file recovery.key

    Args:
        backup: The file, or its id; default: the newest backup that was opened.
        identity_file: The private key of the backup (mode 0600), or its shares: repeat the option.
        seal_key_file: The seal key of the store that was backed up (mode 0600), or its shares: repeat the option.
        recovery_key_file: A recovery key (mode 0600); repeat the option up to the store's threshold.
        seed: The seed that chose the clients in an earlier drill; default: a new one.
        shared_network: Continue even if the restored copy cannot be cut off from the network; the report says so.
    """
    harden()
    must_have_home()
    host, settings = load("byokeep.processes.drill"), session().settings
    load("byokeep.telemetry.log").configure("drill", path=settings.path("log_dir") / "drill.log")
    brought = host.Brought(
        identity=identity_file, seal_key=seal_key_file, recovery_keys=recovery_key_file, checkpoints=None
    )
    done = run(host.run(settings, backup, brought, seed=seed, say=_say, shared_network=shared_network))
    told = done.report.members() | {"digest": done.digest, "report": str(done.file)}
    steps = told["steps"] if session().as_json else told.pop("steps")
    check = again(f"evidence verify {shlex.quote(str(done.file))} --keys public-keys.txt", own_token=False)
    note = f"Remove the keys from this host. Anybody can check the report: {check}"
    tell_all(told, Listing(told, "Recovery drill"), Listing(steps, "Steps", _STEPS, note))
    return 0 if done.report.passed else Integrity.exit_code


def _say(text: str) -> None:
    say_if_heard(text + _WAITS.get(text, ""))
