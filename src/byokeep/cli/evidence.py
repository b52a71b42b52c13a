"""``byokeep evidence``: signed evidence of procedures, and its offline check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from cyclopts import App

from byokeep.cli.api import call, run
from byokeep.cli.terminal import err, show
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
    bundle = run(call("POST", f"/v1/evidence/{sop}"))
    file.write_text(json.dumps(bundle, indent=1) + "\n", encoding="utf-8")
    err.print(f"wrote {file}")


@app.command
def verify(file: Path, *, keys: Path) -> int:
    """Check exported evidence offline, with the public keys only.

    Example: byokeep evidence verify evidence.json --keys public-keys.json

    Args:
        keys: Public keys as `byokeep audit keys` writes them.
    """
    report = offline.verify_evidence(file, offline.load_keys(keys))
    show(report.as_dict(), title="Evidence")
    return report.exit_code
