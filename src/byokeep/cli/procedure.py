"""``byokeep procedure``: runs of procedures, how far each is, and how it goes on."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run, steps_of, tell
from byokeep.cli.names import Client
from byokeep.cli.terminal import clean, session

app: Final = App(name="procedure")
_COLUMNS: Final = ("id", "procedure", "client_id", "state", "reason", "waits_for", "started_at", "closed_at")


@app.command
def start(procedure: str, about: UUID, *, client: Client | None = None) -> None:
    """Start a procedure and do every step that can be done at once.

    Example: byokeep procedure start NAME $OBJECT --client $CLIENT

    Args:
        procedure: Name of the procedure; a wrong name is refused with a list of the right ones.
        about: Id of the object that the procedure is about.
        client: The client whose procedure it is; default: the platform's own.
    """
    body = {"procedure": procedure, "object": str(about), "client_id": client and str(client)}
    _show(run(call("POST", "/v1/procedures", body=body)))


@app.command(name="list")
def list_(*, client: Client | None = None) -> None:
    """List the runs, open ones first.

    Example: byokeep procedure list --client $CLIENT

    Args:
        client: Only runs of this client.
    """
    found = run(call("GET", "/v1/procedures", params={"client_id": client}))["procedures"]
    shown = found if session().as_json else [one | _stands(one) for one in found]
    tell(shown, title="Procedures", columns=_COLUMNS, note="" if found else "Nothing has been started yet.")


@app.command
def show(procedure: UUID) -> None:
    """Show which steps of a run are proved, which are missing, and what the run waits for.

    Example: byokeep procedure show $RUN

    Args:
        procedure: The run, as `byokeep procedure list` shows it.
    """
    _show(run(call("GET", f"/v1/procedures/{procedure}")))


@app.command
def resume(procedure: UUID) -> None:
    """Resume a run: do your next step, or hand a stopped run back to the workers.

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


def _stands(one: dict[str, Any]) -> dict[str, str]:
    """Return how a stopped run stands for people: it waits until somebody resumes or ends it."""
    return {"state": "waiting", "waits_for": "person"} if one["state"] == "failed" and one["closed_at"] is None else {}


def _show(found: dict[str, Any]) -> None:
    note = found["next_step"]
    if not session().as_json:
        found |= {"done": steps_of(found), "missing": ", ".join(found["missing"]) or "nothing"}
        del found["next_step"], found["steps"]
        found |= _stands(found)
        if facts := found.pop("facts"):
            found["approves"] = ", ".join(f"{clean(name)}={clean(str(one))}" for name, one in sorted(facts.items()))
    tell(found, title="Procedure", note=note)
