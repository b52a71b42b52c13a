"""``byokeep alert``: what needs a person."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run
from byokeep.cli.names import tell
from byokeep.core.next_steps import of_alert

app: Final = App(name="alert", help="List and close alerts.")


@app.command(name="list")
def list_() -> None:
    """List open alerts.

    Example: byokeep alert list
    """
    found = run(call("GET", "/v1/alerts"))["alerts"]
    reasons = dict.fromkeys(str(one["reason"]) for one in found)
    steps = [f"{reason}: {of_alert(reason)}" for reason in reasons if of_alert(reason)]
    steps += [f"{one['id']}: made to look the same by {one['code_points']}" for one in found if one["code_points"]]
    tell(found, title="Alerts", note="\n".join(steps),
         columns=("id", "severity", "reason", "count", "opened_at", "client_id", "object_id"))  # fmt: skip


@app.command
def close(alert: UUID) -> None:
    """Close an alert after it was dealt with.

    Example: byokeep alert close $ALERT
    """
    tell(run(call("POST", f"/v1/alerts/{alert}/close")), title="Alert")
