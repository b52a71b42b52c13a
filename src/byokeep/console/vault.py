"""Runbook 7.3 as pages: an incident of the vault of browser profiles, from its opening to its end.

Rules
- It is opened for one client, or explicitly for everybody: neither is preselected.
- Only the next step has a button. Each step does what can be done now, and what is left of it is listed below.
- If two people are needed, the second one's button is shown only to the second one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.pages import HEADERS, Console
from byokeep.console.timeline import timeline
from byokeep.console.visit import Visitor
from byokeep.core.errors import Rejected
from byokeep.core.model import ClientId
from byokeep.core.policy import Verb
from byokeep.core.ref import given_id
from byokeep.core.vault_incident import BY_HAND, IncidentCause
from byokeep.kernel import procedures
from byokeep.kernel.app import App
from byokeep.kernel.incidents import Incident
from byokeep.profiles import incident as flows
from byokeep.tenancy import clients

EVERYBODY: Final = "everybody"
Flow = Callable[[App, Any, Any], Awaitable[object]]
_STEPS: Final[Mapping[str, tuple[str, str, str, Flow]]] = {  # the title, what it needs, the text of the button
    "lane_off": ("The browser lane is off", "Stop the browser lane of the scope. Then no job may have a browser "
                 "open.",
                 "See that it is off", flows.lane_off),
    "sessions_ended": ("Every session is ended", "Workers log out of every platform. What they cannot end, a person "
                       "ends at the platform and says so below.", "End the sessions", flows.sessions),
    "recreated": ("New profiles stand in their place", "Each profile is retired and a new one made. People log in "
                  "afresh, on the page of each new profile.", "Make the new profiles", flows.recreate),
    "rekeyed": ("The old keys are destroyed", "They are marked compromised; a second person then approves that they "
                "are destroyed, with the old profiles.", "Mark the old keys compromised", flows.rekey),
    "validated": ("Every new profile is proved", "Workers prove the account of each, and that a wrong one would be "
                  "noticed.", "Prove them", flows.validate),
    "closed": ("Closed by another person", "An approver who did not open it closes it. The browser lane is released "
               "on the page of the kill switch, by two people.", "Close it", flows.close),
}  # fmt: skip


async def of_incident(console: Console, who: Visitor, one: Incident) -> dict[str, Any]:
    """Return what ``incident.html`` shows about an incident of the vault: its steps, and each profile with what to do.

    Raises:
        Denied, NotFound: As :func:`byokeep.profiles.incident.look`.
    """
    state = await flows.look(console.app, who.actor, one.id)
    rows = (await timeline(console, who, await procedures.status(console.app, who.actor, one.id)))["steps"]
    words = {name: {"name": said[0], "needs": said[1], "button": said[2]} for name, said in _STEPS.items()}
    return {
        "steps": [row | words[row["code"]] if row["state"] != "done" else row | {"name": words[row["code"]]["name"]}
                  for row in rows],
        "items": state.items, "by_hand": BY_HAND, "cause": state.incident.cause,
        "names": await clients.names_of(console.app, who.actor, {it.client_id for it in state.items}),
        "leads": who.may(Verb.VAULT_STEP), "ends": who.may(Verb.VAULT_CLOSE),
        "destroys": who.may(Verb.VAULT_CLOSE) and any(it.shred_state == "waiting" for it in state.items),
    }  # fmt: skip


def add(console: Console) -> None:
    """Add the forms."""
    app = console.app

    async def vault_opened(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        every = given["client"] == EVERYBODY
        if not given["client"] or given["cause"] not in set(IncidentCause):
            raise Rejected("bad_request", next_step="Choose whose profiles, everybody's if so, and why.")
        about = None if every else ClientId(given_id(given["client"]))
        cause = IncidentCause(given["cause"])
        made = await flows.open_incident(app, who.actor, client_id=about, everybody=every, cause=cause, since=None)
        return RedirectResponse(f"/console/incidents/{made.incident.id}", 303, HEADERS)

    async def vault_stepped(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        one, act = given_id(request.path_params["incident_id"]), given["act"]
        if act == "by_hand":
            await flows.end_by_hand(app, who.actor, one, given_id(given["profile"]), given["platform"])
        elif act == "destroy":
            await flows.approve_destruction(app, who.actor, one)
        elif act in _STEPS:
            await _STEPS[act][3](app, who.actor, one)
        else:
            raise Rejected("bad_request", next_step="Send the form as the page does.")
        return RedirectResponse(f"/console/incidents/{one}", 303, HEADERS)

    console.post("/incidents/vault", vault_opened, "client", "cause")
    console.post("/incidents/{incident_id}/vault", vault_stepped, "act", "profile", "platform")
