"""``byokeep alert``: what needs a person."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run, tell
from byokeep.cli.terminal import again
from byokeep.core.next_steps import of_alert

app: Final = App(name="alert")


@app.command(name="list")
def list_() -> None:
    """List open alerts.

    Example: byokeep alert list
    """
    reply = run(call("GET", "/v1/alerts"))
    found = reply["alerts"]
    reasons = dict.fromkeys(str(one["reason"]) for one in found)
    steps = [f"{reason}: {of_alert(reason)}" for reason in reasons if of_alert(reason)]
    steps += [f"{one['id']}: made to look the same by {one['code_points']}" for one in found if one["code_points"]]
    if reply["more"]:
        steps.append(f"There are {reply['more']} more; close some to see them.")
    tell(found, title="Alerts", note="\n".join(steps),
         columns=("id", "severity", "reason", "count", "opened_at", "client_id", "object_id"))  # fmt: skip


def to_close(reasons: Collection[str], *, client_id: str | None, objects: Collection[str] = ()) -> str:
    """Return which alerts still stand after a procedure has ended, as commands; empty when none does.

    Args:
        reasons: Of the alerts that the procedure raised, or was begun for.
        client_id: Whose; None = everybody's.
        objects: What they may be about; empty = whatever.
    """
    mine = [
        f"{again('alert close ' + one['id'])}  ({one['reason']})"
        for one in run(call("GET", "/v1/alerts"))["alerts"]
        if one["reason"] in reasons
        and (client_id is None or one["client_id"] == client_id)
        and (not objects or one["object_id"] in objects)
    ]
    return "\n".join(["These alerts still stand; close them when you have dealt with them:", *mine]) if mine else ""


@app.command
def close(alert: UUID) -> None:
    """Close an alert after it was dealt with.

    Example: byokeep alert close $ALERT
    """
    tell(run(call("POST", f"/v1/alerts/{alert}/close")), title="Alert")
