"""``byokeep alert``: what needs a person."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run
from byokeep.cli.names import tell

app: Final = App(name="alert", help="List and close alerts.")


@app.command(name="list")
def list_() -> None:
    """List open alerts.

    Example: byokeep alert list
    """
    tell(run(call("GET", "/v1/alerts"))["alerts"], title="Alerts",
         columns=("id", "severity", "reason", "count", "opened_at", "client_id", "object_id"))  # fmt: skip


@app.command
def close(alert: UUID) -> None:
    """Close an alert after it was dealt with.

    Example: byokeep alert close $ALERT
    """
    tell(run(call("POST", f"/v1/alerts/{alert}/close")), title="Alert")
