"""``byokeep procedure``: runs of procedures, how far each is, and how it goes on."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run, tell
from byokeep.cli.names import Client
from byokeep.cli.terminal import session

app: Final = App(name="procedure")


@app.command
def start(procedure: str, about: UUID, *, client: Client | None = None) -> None:
    """Start a procedure and do what can be done at once.

    Example: byokeep procedure start NAME $OBJECT --client $CLIENT

    Args:
        procedure: Its name.
        about: The id of what it is about.
        client: Whose; without it, of the platform.
    """
    body = {"procedure": procedure, "object": str(about), "client_id": client and str(client)}
    _show(run(call("POST", "/v1/procedures", body=body)))


@app.command(name="list")
def list_() -> None:
    """List the runs, open ones first.

    Example: byokeep procedure list
    """
    found = run(call("GET", "/v1/procedures"))["procedures"]
    tell(found, title="Procedures", columns=("id", "procedure", "client_id", "state", "waits_for"),
         note="" if found else "Nothing was started yet.")  # fmt: skip


@app.command
def show(procedure: UUID) -> None:
    """Show the steps that are proved, those that are missing, and what a run waits for.

    Example: byokeep procedure show $RUN

    Args:
        procedure: The run, as `byokeep procedure list` shows it.
    """
    _show(run(call("GET", f"/v1/procedures/{procedure}")))


@app.command
def resume(procedure: UUID) -> None:
    """Go on with a run: do your next step, or give one that stopped back to the workers.

    Example: byokeep procedure resume $RUN

    Args:
        procedure: The run.
    """
    _show(run(call("POST", f"/v1/procedures/{procedure}/resume")))


@app.command
def approve(procedure: UUID) -> None:
    """Approve the next step of a run, as the second person.

    Example: byokeep procedure approve $RUN

    Args:
        procedure: The run.
    """
    _show(run(call("POST", f"/v1/procedures/{procedure}/approve")))


@app.command
def abort(procedure: UUID) -> None:
    """End a run and undo what it did, last step first.

    Example: byokeep procedure abort $RUN

    Args:
        procedure: The run.
    """
    _show(run(call("POST", f"/v1/procedures/{procedure}/abort")))


def _show(found: dict[str, Any]) -> None:
    note = found["next_step"]
    if not session().as_json:
        steps = [f"{one['step']} (record {one['seq']}, {one['at'][:16]}Z)" for one in found.pop("steps")]
        found |= {"done": ", ".join(steps) or "nothing yet", "missing": ", ".join(found["missing"]) or "nothing"}
        found.pop("next_step")
    tell(found, title="Procedure", note=note)
