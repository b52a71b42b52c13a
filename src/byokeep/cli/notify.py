"""``byokeep notify``: messages to people by mail, Slack, Teams or a webhook."""

from __future__ import annotations

from typing import Any, Final

from cyclopts import App

from byokeep.cli.api import ask_until, call, run, tell
from byokeep.core.errors import Unavailable

app: Final = App(name="notify")
_COLUMNS: Final = ("made_at", "target", "state", "tries", "failure", "code", "stage", "client_id", "about")
_WAIT_S: Final = 30.0


@app.command(name="list")
def list_() -> None:
    """List the reminders and alerts sent to each target, waiting ones first.

    Example: byokeep notify list
    """
    tell(run(call("GET", "/v1/notifications"))["notifications"], title="Messages", columns=_COLUMNS)


@app.command
def test() -> int:
    """Send a test message to every target, by the same route as alerts, and show whether it was delivered.

    Example: byokeep notify test
    """
    sent, alert = run(_test())
    if not sent:
        step = "No worker runs (see `byokeep doctor`), or it has no target: put NAME.url (0600) into `notify_dir`."
        raise Unavailable("no_target", next_step=f"{step} See docs/runbook.md, messages to people.", alert=alert)
    tell(sent, title="Messages", columns=_COLUMNS[1:5])
    return 0 if all(one["state"] == "sent" for one in sent) else Unavailable.exit_code


async def _test() -> tuple[list[dict[str, Any]], str]:
    alert = (await call("POST", "/v1/notifications/test"))["alert"]

    def over(found: Any) -> bool:
        states = [one["state"] for one in found["notifications"]]
        return bool(states) and "waiting" not in states

    found = await ask_until(f"/v1/notifications?alert_id={alert}", over, within_s=_WAIT_S, saying="Sending ...")
    await call("POST", f"/v1/alerts/{alert}/close")
    return found["notifications"], alert
