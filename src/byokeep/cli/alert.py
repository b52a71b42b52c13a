"""``byokeep alert``: what needs a person."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Literal
from uuid import UUID

from cyclopts import App

from byokeep.cli.api import call, run, tell
from byokeep.cli.names import Client
from byokeep.cli.terminal import again, say, session, show
from byokeep.cli.times import moment
from byokeep.core.errors import Rejected
from byokeep.core.next_steps import of_alert

app: Final = App(name="alert")
Severity = Literal["critical", "warning", "info"]
_COLUMNS: Final = ("id", "severity", "reason", "count", "opened_at", "acknowledged_by", "client_id", "object_id")
_HISTORY: Final = ("id", "severity", "reason", "count", "opened_at", "closed_at", "closed_by", "client_id", "object_id")
_OPEN_CRITICAL: Final = 1  # as `leaks` says that something was found


@app.command(name="list")
def list_(*, client: Client | None = None, reason: str | None = None, severity: Severity | None = None) -> int:
    """List open alerts, critical ones first. What happens again is counted up, not listed again.

    Ends with 1 while a critical one is among them.

    Example: byokeep alert list

    Args:
        client: Of this client.
        reason: For this reason.
        severity: Of this severity.
    """
    params = {"client_id": client, "reason": reason, "severity": severity}
    reply = run(call("GET", "/v1/alerts", params=params))
    found = reply["alerts"]
    reasons = dict.fromkeys(str(one["reason"]) for one in found)
    steps = [f"{reason}: {of_alert(reason)}" for reason in reasons if of_alert(reason)]
    steps += [f"{one['id']}: made to look the same by {one['code_points']}" for one in found if one["code_points"]]
    if reply["more"]:
        steps.append(f"There are {reply['more']} more; name a --reason to see them, or close some.")
    tell(found, title="Alerts", note="\n".join(steps), columns=_COLUMNS)
    return _OPEN_CRITICAL if any(one["severity"] == "critical" for one in found) else 0


@app.command(name="show")
def show_(alert: UUID) -> None:
    """Show an alert, open or closed, and what to do about it.

    Example: byokeep alert show $ALERT
    """
    reply = run(call("GET", f"/v1/alerts/{alert}"))
    if session().as_json:
        show(reply)
        return
    one = reply["alert"]
    chain = f" --client {one['client_id']}" if one["client_id"] else ""
    about = again(f"audit list{chain} --since {one['opened_at']}", own_token=False)
    steps = [reply["next_step"], f"What happened since, by an auditor: {about}"]
    if one["closed_at"] is None:
        steps.append(f"To take it: {again(f'alert ack {alert}')}")
        steps.append(f"Once it is dealt with: {again(f'alert close {alert}')}")
    tell(one, title="Alert", note="\n".join(filter(None, steps)))


@app.command
def history(
    *, client: Client | None = None, reason: str | None = None, severity: Severity | None = None,
    since: str | None = None, until: str | None = None,
) -> None:  # fmt: skip
    """List alerts that were opened, newest first, and who closed them when.

    Example: byokeep alert history --since 7d --severity critical

    Args:
        client: Of this client.
        reason: For this reason.
        severity: Of this severity.
        since: A time such as 2026-01-31T12:00:00Z, or so long ago: 30m, 24h, 7d.
        until: As --since; opened before it.
    """
    params = {"client_id": client, "reason": reason, "severity": severity, "history": "true"}
    reply = run(call("GET", "/v1/alerts", params=params | {"since": moment(since), "until": moment(until)}))
    found, note = reply["alerts"], ""
    if reply["more"]:
        note = f"{reply['more']} older ones are left: {again('alert history --until ' + found[-1]['opened_at'])}"
    tell(found, title="Alerts", columns=_HISTORY, note=note)


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
def close(
    alert: UUID | None = None, *, client: Client | None = None, reason: str | None = None,
    severity: Severity | None = None, until: str | None = None, seen_until: str | None = None,
) -> None:  # fmt: skip
    """Close an alert after it was dealt with, or all that fit a filter; each is on record.

    Example: byokeep alert close $ALERT

    Example: byokeep alert close --reason permit_unknown --client $CLIENT

    Args:
        alert: One alert.
        client: All of this client.
        reason: All for this reason.
        severity: All of this severity.
        until: All that were opened before: a time such as 2026-01-31T12:00:00Z, or so long ago: 30m, 24h, 7d.
        seen_until: When you looked at them; what happened since stays open. Default: now.
    """
    _act(alert, "close", client, reason, severity, until, seen_until)


@app.command
def ack(
    alert: UUID | None = None, *, client: Client | None = None, reason: str | None = None,
    severity: Severity | None = None, until: str | None = None, seen_until: str | None = None,
) -> None:  # fmt: skip
    """Take an alert, or all that fit a filter and that nobody took: others see by whom. It stays open.

    Example: byokeep alert ack $ALERT

    Example: byokeep alert ack --reason permit_unknown --client $CLIENT

    Args:
        alert: One alert; also one that somebody else took.
        client: All of this client.
        reason: All for this reason.
        severity: All of this severity.
        until: All that were opened before: a time such as 2026-01-31T12:00:00Z, or so long ago: 30m, 24h, 7d.
        seen_until: When you looked at them; what happened since is left. Default: now.
    """
    _act(alert, "acknowledge", client, reason, severity, until, seen_until)


def _act(
    alert: UUID | None, act: str, client: UUID | None, reason: str | None, severity: str | None, until: str | None,
    seen_until: str | None,
) -> None:  # fmt: skip
    given: dict[str, Any] = {"client_id": client, "reason": reason, "severity": severity, "until": moment(until)}
    body = {name: value for name, value in given.items() if value is not None}
    if (alert is None) != bool(body):
        raise Rejected("filter_missing", next_step="Give one alert's id, or --reason, --severity, --client or --until.")
    if seen_until is not None:
        body["seen_until"] = moment(seen_until)
    if alert is not None:
        tell(run(call("POST", f"/v1/alerts/{alert}/{act}")), title="Alert")
        return
    reply = run(call("POST", f"/v1/alerts/{act}", body=body))
    if session().as_json:
        show(reply)
        return
    tell(reply["alerts"], title="Closed" if act == "close" else "Taken", columns=_COLUMNS)
    if reply["left"]:
        why = "those about you or what you did are another operator's or admin's, or they are too many for one call"
        say(f"{reply['left']} that fit are left: {why}.")
