"""``byokeep kill``: the kill switch. One person closes it; two open it."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run
from byokeep.cli.choices import Lane, Platform
from byokeep.cli.terminal import show
from byokeep.core.errors import Rejected

app: Final = App(name="kill", help="Stop leases, reads and effects at once; show and lift the stop.")


def _scope(client: UUID | None, platform: str | None, lane: str | None, everything: bool) -> dict[str, str]:
    if everything == bool(client) or (platform and lane) or ((platform or lane) and not client):
        raise Rejected("bad_scope", next_step="Give --client C (with --platform P or --lane L), or --everything.")
    named = (("client_id", str(client) if client else None), ("platform", platform), ("lane", lane))
    return {name: value for name, value in named if value}


@app.command
def on(
    *,
    client: UUID | None = None,
    platform: Platform | None = None,
    lane: Lane | None = None,
    everything: bool = False,
    reason: str = "operator_decision",
) -> None:
    """Close the switch. Returns only when no lease, read or permit passes any more.

    Example: byokeep kill on --client $CLIENT --reason suspected_leak

    Example: byokeep kill on --everything --reason incident

    Args:
        client: Stop one client.
        platform: Stop one platform of that client.
        lane: Stop one lane (api, browser) of that client.
        everything: Stop all clients.
        reason: A short code, kept in the audit.
    """
    body = _scope(client, platform, lane, everything) | {"reason": reason}
    show(run(call("POST", "/v1/switches/close", body=body)), title="Kill switch",
         note="Lifting it takes two people: `byokeep kill off`, then `byokeep kill approve`.")  # fmt: skip


@app.command
def off(
    *,
    client: UUID | None = None,
    platform: Platform | None = None,
    lane: Lane | None = None,
    everything: bool = False,
    reason: str = "cause_removed",
) -> None:
    """Ask for the switch to be lifted; another person with the approver role must approve.

    Example: byokeep kill off --client $CLIENT --reason key_replaced
    """
    body = _scope(client, platform, lane, everything) | {"reason": reason}
    asked: Any = run(call("POST", "/v1/switches/open-requests", body=body))
    show(asked, title="Request", note=f"Next, by an approver: byokeep kill approve {asked['id']}")


@app.command
def approve(request: UUID) -> None:
    """Approve a request to lift a switch.

    Example: byokeep kill approve $REQUEST
    """
    show(run(call("POST", f"/v1/switches/open-requests/{request}/approve")), title="Kill switch")


@app.command
def status() -> None:
    """Show all switches.

    Example: byokeep kill status
    """
    show(run(call("GET", "/v1/switches"))["switches"], title="Switches",
         columns=("scope", "closed", "reason", "epoch", "at"))  # fmt: skip
