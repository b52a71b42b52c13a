"""``byokeep evidence``: signed evidence of procedures, and its offline check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

from cyclopts import App, Parameter

from byokeep.cli.api import Listing, call, run, tell, tell_all
from byokeep.cli.key import beside, onward
from byokeep.cli.new_file import fetch_to
from byokeep.cli.terminal import again, facts, session, show
from byokeep.client import verify as offline
from byokeep.core.errors import Integrity

Procedure = Annotated[UUID, Parameter(alias="--sop")]
_CHANGED: Final = (
    "The file is not what byokeep signed: it was changed or truncated after the export, or the keys are another"
    " installation's. It proves nothing: export it again, and ask who could change this one."
)
app: Final = App(name="evidence")


@app.command(name="show")
def show_(procedure: Procedure) -> None:
    """Show the evidence of a procedure, item by item.

    Example: byokeep evidence show $PROCEDURE

    Args:
        procedure: Id of the procedure, as `byokeep key add` prints it.
    """
    found = run(call("GET", f"/v1/sops/{procedure}"))
    match found["state"]:
        case "complete":
            note = "Next: " + again(f"evidence export {procedure} FILE")
        case "running":
            note = "Next: " + again(f"evidence show {procedure}")
        case _ if found["sop"] in ("connect_account", "create_profile"):
            note = found["next_step"]
        case _:
            note = onward(found | beside(found, run(call("GET", f"/v1/refs/{found['ref']}"))), own_token=False)
    if not session().as_json and (found["state"] in ("complete", "running") or note == found["next_step"]):
        found.pop("next_step")  # said once, below
    if not session().as_json:
        found["procedure"] = found.pop("sop")
    tell(found, title="Evidence", note=note)


@app.command
def export(procedure: Procedure, file: Path) -> None:
    """Export the signed evidence (an in-toto statement in a DSSE envelope) to a new file.

    Example: byokeep evidence export $PROCEDURE evidence.json

    Args:
        procedure: Id of the procedure, as `byokeep key add` prints it.
        file: A new file for the evidence; an existing file is never overwritten.
    """
    fetch_to(file, "POST", f"/v1/evidence/{procedure}")


@app.command
def verify(file: Path, *, keys: Path) -> None:
    """Check exported evidence offline, with nothing but the public keys.

    Example: byokeep evidence verify evidence.json --keys public-keys.txt

    Args:
        file: A file that `byokeep evidence export`, `byokeep incident report --file`, `byokeep rotate due --signed` or
            `byokeep drill run` wrote, or a list that the console signed.
        keys: Public keys as `byokeep audit keys` writes them.
    """
    try:
        held = offline.read_keys(keys)
        if (report := offline.verify_report(file, held)) is not None:
            title, steps = str(report["kind"]).replace("_", " ").capitalize(), report.get("steps")
            if steps is None or session().as_json:
                show(report, title=title)
                return
            del report["steps"]
            tell_all(report, Listing(report, title), Listing(steps, "Steps", ("step", "state", "reason")))
            return
        shown = facts(offline.verify_evidence(file, held))
    except Integrity as error:
        error.next_step = f"{error.next_step} {_CHANGED}".strip()
        raise
    shown["procedure"] = shown.pop("onboarding")  # whichever of the three it is: its kind says so
    show(shown, title="Evidence")
