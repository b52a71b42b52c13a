"""``byokeep alert``: what needs a person."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Literal
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run, tell
from byokeep.cli.names import Client
from byokeep.cli.terminal import FOUND, again, say
from byokeep.cli.times import moment
from byokeep.core.errors import Rejected
from byokeep.core.next_steps import of_alert

app: Final = App(name="alert")
Severity = Literal["critical", "warning", "info"]
_COLUMNS: Final = ("id", "severity", "reason", "count", "opened_at", "acknowledged_by", "client_id", "object_id")
_HISTORY: Final = ("id", "severity", "reason", "count", "opened_at", "closed_at", "closed_by", "client_id", "object_id")


@app.command(name="list")
def list_(*, client: Client | None = None, reason: str | None = None, severity: Severity | None = None) -> int:
    """List open alerts, critical ones first. A repeated alert is counted, not listed again.

    Exit code 1 if a critical alert is open.

    Example: byokeep alert list

    Args:
        client: Only alerts of this client.
        reason: Only alerts with this reason.
        severity: Only alerts of this severity.
    """
    params = {"client_id": client, "reason": reason, "severity": severity}
    reply = run(call("GET", "/v1/alerts", params=params))
    found = reply["alerts"]
    reasons = dict.fromkeys(str(one["reason"]) for one in found)
    steps = [f"{reason}: {of_alert(reason)}" for reason in reasons if of_alert(reason)]
    steps += [f"{one['id']}: made to look the same by {one['code_points']}" for one in found if one["code_points"]]
    if reply["more"]:
        steps.append(f"There are {reply['more']} more. To see them, filter by --reason, or close some.")
    tell(found, title="Alerts", note="\n".join(steps), columns=_COLUMNS)
    return FOUND if any(one["severity"] == "critical" for one in found) else 0


@app.command(name="show")
def show_(alert: UUID) -> None:
    """Show an alert, open or closed, and what to do about it.

    Example: byokeep alert show $ALERT
    """
    reply = run(call("GET", f"/v1/alerts/{alert}"))
    one = reply["alert"]
    chain = f" --client {one['client_id']}" if one["client_id"] else ""
    about = again(f"audit list{chain} --since {one['opened_at']}", own_token=False)
    steps = [reply["next_step"], f"To see what has happened since, as an auditor: {about}"]
    if one["closed_at"] is None:
        steps.append(f"To take it: {again(f'alert ack {alert}')}")
        steps.append(f"When it is dealt with: {again(f'alert close {alert}')}")
    tell(one, title="Alert", note="\n".join(filter(None, steps)), whole=reply)


@app.command
def history(
    *, client: Client | None = None, reason: str | None = None, severity: Severity | None = None,
    since: str | None = None, until: str | None = None,
) -> None:  # fmt: skip
    """List past and present alerts, newest first, with who closed each one and when.

    Example: byokeep alert history --since 7d --severity critical

    Args:
        client: Only alerts of this client.
        reason: Only alerts with this reason.
        severity: Only alerts of this severity.
        since: A time such as 2026-01-31T12:00:00Z, or an age: 30m, 24h, 7d.
        until: Only alerts opened before this time; same forms as --since.
    """
    params = {"client_id": client, "reason": reason, "severity": severity, "history": "true"}
    reply = run(call("GET", "/v1/alerts", params=params | {"since": moment(since), "until": moment(until)}))
    found, note = reply["alerts"], ""
    if reply["more"]:
        note = f"{reply['more']} older ones are left: {again('alert history --until ' + found[-1]['opened_at'])}"
    tell(found, title="Alerts", columns=_HISTORY, note=note)


def to_close(reasons: Collection[str], *, client_id: str | None, objects: Collection[str] = ()) -> str:
    """Return the commands that close the alerts still open after a procedure has ended; empty if there are none.

    Args:
        reasons: Reasons of the alerts that the procedure raised, or was started for.
        client_id: Only alerts of this client; None = of all clients.
        objects: Only alerts about these objects; empty = about anything.
    """
    mine = [
        f"{again('alert close ' + one['id'])}  ({one['reason']})"
        for one in run(call("GET", "/v1/alerts"))["alerts"]
        if one["reason"] in reasons
        and (client_id is None or one["client_id"] == client_id)
        and (not objects or one["object_id"] in objects)
    ]
    return (
        "\n".join(["These alerts are still open. Close each one when you have dealt with it:", *mine]) if mine else ""
    )


@app.command
def close(
    alert: UUID | None = None, *, client: Client | None = None, reason: str | None = None,
    severity: Severity | None = None, until: str | None = None, seen_until: str | None = None,
) -> None:  # fmt: skip
    """Close an alert once it is dealt with, or all that match a filter. Each close is on record.

    Example: byokeep alert close $ALERT

    Example: byokeep alert close --reason permit_unknown --client $CLIENT

    Args:
        alert: A single alert.
        client: All alerts of this client.
        reason: All alerts with this reason.
        severity: All alerts of this severity.
        until: All alerts opened before a time such as 2026-01-31T12:00:00Z, or an age: 30m, 24h, 7d.
        seen_until: When you looked at them; newer alerts stay open. Default: now.
    """
    _act(alert, "close", client, reason, severity, until, seen_until)


@app.command
def ack(
    alert: UUID | None = None, *, client: Client | None = None, reason: str | None = None,
    severity: Severity | None = None, until: str | None = None, seen_until: str | None = None,
) -> None:  # fmt: skip
    """Take an alert, or all untaken ones that match a filter. Others see that it is yours; it stays open.

    Example: byokeep alert ack $ALERT

    Example: byokeep alert ack --reason permit_unknown --client $CLIENT

    Args:
        alert: A single alert, even one that somebody else took.
        client: All alerts of this client.
        reason: All alerts with this reason.
        severity: All alerts of this severity.
        until: All alerts opened before a time such as 2026-01-31T12:00:00Z, or an age: 30m, 24h, 7d.
        seen_until: When you looked at them; newer alerts are left alone. Default: now.
    """
    _act(alert, "acknowledge", client, reason, severity, until, seen_until)


def _act(
    alert: UUID | None, act: str, client: UUID | None, reason: str | None, severity: str | None, until: str | None,
    seen_until: str | None,
) -> None:  # fmt: skip
    given: dict[str, Any] = {"client_id": client, "reason": reason, "severity": severity, "until": moment(until)}
    body = {name: value for name, value in given.items() if value is not None}
    if (alert is None) != bool(body):
        raise Rejected(
            "filter_missing", next_step="Give the id of an alert, or --reason, --severity, --client or --until."
        )
    if seen_until is not None:
        body["seen_until"] = moment(seen_until)
    if alert is not None:
        tell(run(call("POST", f"/v1/alerts/{alert}/{act}")), title="Alert")
        return
    reply = run(call("POST", f"/v1/alerts/{act}", body=body))
    tell(reply["alerts"], title="Closed" if act == "close" else "Taken", columns=_COLUMNS, whole=reply)
    if reply["left"]:
        why = "another operator or admin must close alerts about you or your own acts, or one call cannot close so many"
        say(f"{reply['left']} matching alerts are left: {why}.")
