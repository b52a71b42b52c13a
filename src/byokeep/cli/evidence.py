"""``byokeep evidence``: signed evidence of procedures, and its offline check."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cyclopts import App

from byokeep.cli.api import call, fetch, run
from byokeep.cli.terminal import facts, say, show
from byokeep.client import verify as offline

app: Final = App(name="evidence", help="Show, export and verify the evidence of a procedure.")


@app.command(name="show")
def show_(sop: str) -> None:
    """Show which evidence items a procedure has.

    Example: byokeep evidence show 5b7e...
    """
    show(run(call("GET", f"/v1/sops/{sop}")), title="Evidence")


@app.command
def export(sop: str, file: Path) -> None:
    """Write the signed evidence (in-toto statement in a DSSE envelope) to a file.

    Example: byokeep evidence export 5b7e... evidence.json
    """
    file.write_bytes(run(fetch("POST", f"/v1/evidence/{sop}")))
    say(f"wrote {file}")


@app.command
def verify(file: Path, *, keys: Path) -> None:
    """Check exported evidence offline, with the public keys only.

    Example: byokeep evidence verify evidence.json --keys public-keys.txt

    Args:
        file: What `byokeep evidence export` wrote.
        keys: Public keys as `byokeep audit keys` writes them.
    """
    show(facts(offline.verify_evidence(file, offline.read_keys(keys))), title="Evidence")
