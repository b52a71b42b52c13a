"""Incidents: the list, opening one by hand, and an incident's page with its playbook, report, postmortem and end; an
incident of the vault of browser profiles (runbook 7.3); and mass revocation: what it would cut off, by name, the
cut, and how far ending each at its provider is, with its proof.

Rules
- A playbook is shown step by step with the record that proves each. Only the next step has a form. A step that stops
  something sends the stop first, as the command does.
- The broker makes, records and signs an exposure report; the page shows it, or saves it as it was signed.
- What takes two people has two places, one of which is for whoever asked.
- Before anything is cut off by a mass revocation, a person sees what it is and sends the form of that page. The form is
  bound to what was shown: if another set matches by then, nothing is cut off and the person looks again.
- An item that has not ended stays a person's task until somebody says, on record, that it was ended by hand.
- An incident of the vault is opened for one client, or explicitly for everybody: neither is preselected. Each step does
  what can be done now, and what is left of it is listed below.
- If two people are needed, the second one's button is shown only to the second one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.accounts import accounts
from byokeep.console.lists import attached, exported_as, hours_ago, paged
from byokeep.console.pages import HEADERS, Console, Refusal
from byokeep.console.timeline import timeline
from byokeep.console.visit import Visitor
from byokeep.core.errors import Conflict, Rejected, Unavailable
from byokeep.core.incident import MUST_TELL, IncidentKind, Severity
from byokeep.core.model import ClientId, Provider
from byokeep.core.policy import Verb
from byokeep.core.ref import given_id, parse_client_id
from byokeep.core.vault_incident import BY_HAND, IncidentCause
from byokeep.http.procedures import run_out
from byokeep.http.request import instant
from byokeep.incidents import incidents, mass_revoke, playbooks
from byokeep.incidents.incidents import IncidentState, OpenRequest
from byokeep.incidents.mass_revoke import RevocationItem, RevocationRequest
from byokeep.kernel import procedures
from byokeep.kernel.app import App
from byokeep.kernel.incidents import Incident
from byokeep.keys import refs, rotation_view
from byokeep.keys.rotation import LEAKED
from byokeep.operations import lists
from byokeep.profiles import incident as flows
from byokeep.profiles.profiles import list_profiles
from byokeep.tenancy import clients

STEPS: Final[Mapping[str, tuple[str, str, str]]] = {  # by name: the title, what it needs, the text of the button
    "kill": ("Stop the client", "Every effect of the client stops, on both lanes. Verifying and revoking go on.",
             "Stop it now"),
    "rotate": ("Rotate the key", "An emergency rotation begins: the old version serves nobody from now on.",
               "Begin the rotation"),
    "report": ("Report the exposure", "Make the report below. One without a gap passes; one with gaps passes when you "
               "accept them, in your name.", "Pass with this report"),
    "ticket": ("Update the ticket", "The ticket gets ids, times and codes, but no value.", "Tell the ticket"),
    "postmortem": ("Write the postmortem", "Say below where it is; P0 and P1 do not pass without one.",
                   "It is written"),
    "release": ("Release the stop", "An operator asks for the release of both lanes; an approver who neither "
                "stopped it nor led these steps approves it.", "It is released"),
    "close": ("Close the platform", "Every act on the platform stops for this client.", "Close it now"),
    "reauth": ("A person logs in again", "The owner connects the account again, by a login begun after the loss.",
               "It is connected again"),
    "validate": ("Compare identity and permissions", "Both are compared after the login.", "They were compared"),
    "canary": ("Begin the canary", "A few acts are permitted first. One person asks for it, another lets it begin.",
               "It has begun"),
    "reopen": ("Open the platform", "When every stage of the canary has succeeded, the platform is open.",
               "It is open again"),
}  # fmt: skip
_LOST: Final = {"token_revoked": "revoked", "lockout": "lockout"}
_TWO: Final = ("lower_severity", "no_playbook")


def add(console: Console) -> None:
    """Add the pages."""

    async def incident_list(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        found, left = await lists.incidents_of(console.app, who.actor, asked)
        more = paged(found, asked, "/console/incidents", more=left)
        ids = {one for row in more["rows"] for one in (row.client_id, row.object_id) if one}
        return console.page(
            request, "incidents.html", who=who, asked=asked, kinds=list(IncidentKind), severities=list(Severity),
            names=await clients.names_of(console.app, who.actor, ids), opens=who.may(Verb.INCIDENT_OPEN),
            export=exported_as("incidents", asked), clients=await clients.list_clients(console.app, who.actor), **more,
        )  # fmt: skip

    async def incident(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        state = await incidents.look(console.app, who.actor, given_id(request.path_params["incident_id"]))
        return await _shown(console, request, who, state, records="records" in asked)

    console.asking("/incidents", incident_list, "client", "state", "kind", "severity", "page")
    _opening(console)
    console.asking("/incidents/{incident_id}", incident, "records")
    _acts(console)
    _vault(console)
    _revocations(console)


def _opening(console: Console) -> None:
    async def new_incident(
        request: Request, who: Visitor, asked: Mapping[str, str], error: Refusal | None = None
    ) -> Response:
        chosen = parse_client_id(asked["client"]) if asked.get("client") else None
        more: dict[str, Any] = {
            "asked": asked, "things": await _things(console, who, chosen) if chosen else [],
            "kinds": list(IncidentKind), "severities": list(Severity),
            "clients": await clients.list_clients(console.app, who.actor), "every": who.actor.clients is None,
            "causes": list(IncidentCause),
        }  # fmt: skip
        return await console.form(request, error, "incident-new.html", who=who, **more)

    async def opened(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        if given["show"]:  # show its keys and accounts; what was chosen stays
            return await new_incident(request, who, given)
        (what, _, about), now = given["about"].partition(":"), console.app.clock.now()
        wish = OpenRequest(
            kind=given["kind"], client_id=ClientId(given_id(given["client"])) if given["client"] else None,
            severity=given["severity"] or None, object_kind=what, object_id=given_id(about) if about else None,
            noticed_at=now,
        )  # fmt: skip
        if given["hours"]:
            wish = replace(wish, began_at=hours_ago(console, given["hours"]))
        made = await incidents.open_incident(console.app, who.actor, wish)
        return _to(made.incident.id)

    console.asking("/incidents/new", new_incident, "client", "kind", "about")
    console.post("/incidents/new", opened, "kind", "client", "about", "severity", "hours", "show", again=new_incident)


def _acts(console: Console) -> None:
    app = console.app

    async def canary(who: Visitor, about: UUID, given: Mapping[str, str]) -> None:
        found = (await incidents.look(app, who.actor, about)).incident
        body = {"client_id": str(found.client_id), "platform": found.platform, "reason": given["reason"]}
        await console.ask(who, "POST", "/v1/platforms/canary-requests", body)

    async def let_canary(who: Visitor, _: UUID, given: Mapping[str, str]) -> None:
        ids = {"request_id": given_id(given["id"])}
        await console.ask(who, "POST", "/v1/platforms/canary-requests/{request_id}/approve", ids=ids)

    def post(name: str, act: Any, *fields: str) -> None:
        async def acted(request: Request, who: Visitor, given: dict[str, str]) -> Response:
            about = given_id(request.path_params["incident_id"])
            await act(who, about, given)
            return _to(about)

        acted.__name__ = f"incident_{name.replace('-', '_')}"
        console.post(f"/incidents/{{incident_id}}/{name}", acted, *fields)

    async def report(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        state = await incidents.look(app, who.actor, given_id(request.path_params["incident_id"]))
        made = await _reported(console, who, state.incident, given["hours"])
        if given["save"]:
            return attached(made["envelope"].encode(), f"exposure-{made['digest'][:12]}.json")
        return await _shown(console, request, who, state, made=made)

    post("step", partial(_step, console), "step", "accept_gaps", "ticket")
    post("severity", lambda who, about, said: playbooks.set_severity(app, who.actor, about, said["severity"]),
         "severity")  # fmt: skip
    post("playbook", lambda who, about, said: playbooks.choose_playbook(
        app, who.actor, about, said["playbook"], reason=said["reason"]), "playbook", "reason")  # fmt: skip
    post("postmortem", lambda who, about, said: incidents.write_postmortem(
        app, who.actor, about, reference=said["reference"].strip(), sha256=said["sha256"].strip()),
         "reference", "sha256")  # fmt: skip
    post("close", lambda who, about, _: incidents.close(app, who.actor, about))
    post("canary", canary, "reason")
    post("let-canary", let_canary, "id")
    console.post("/incidents/{incident_id}/report", report, "hours", "save")


async def _step(console: Console, who: Visitor, about: UUID, given: Mapping[str, str]) -> None:
    """Pass a step by its name; the two that stop something send the stop first, if they are next."""
    app, name = console.app, given["step"]
    state = await incidents.look(app, who.actor, about)
    one, due = state.incident, next(iter(_missing(state)), "")
    if name == due == playbooks.KILL:
        async with AsyncExitStack() as both:  # each is engaged, whatever comes of the other
            # Not the whole client's switch: it would end the workers that revoke its key. The last is asked first.
            for lane in ("browser", "api"):
                body = {"client_id": str(one.client_id), "lane": lane, "reason": "suspected_leak"}
                both.push_async_callback(console.ask, who, "POST", "/v1/switches/close", body)
    gaps, ticket = bool(given["accept_gaps"]), given["ticket"].strip()
    try:
        await playbooks.step(app, who.actor, about, name, accept_gaps=gaps, ticket=ticket)
    except Conflict as error:
        if name != due or error.code != "platform_not_closed":
            raise
        body = {"client_id": str(one.client_id), "platform": one.platform, "cause": _LOST.get(one.kind, "compromised")}
        await console.ask(who, "POST", "/v1/platforms/close", body)
        await playbooks.step(app, who.actor, about, name, accept_gaps=gaps, ticket=ticket)


def _missing(state: IncidentState) -> tuple[str, ...]:
    if state.run is not None:
        return state.run.missing
    playbook = playbooks.PLAYBOOKS.get(state.incident.playbook)
    return tuple(step.name for step in playbook.steps) if playbook else ()


async def _reported(console: Console, who: Visitor, one: Incident, hours: str) -> Any:
    """Have the broker make a report on what an incident is about."""
    body: dict[str, Any] = {"incident_id": str(one.id)}
    named = {"key": "ref_id", "account": "account_id", "profile": "profile_id"}.get(one.object_kind)
    if named and one.object_id:
        body[named] = str(one.object_id)
    elif one.client_id:
        body["client_id"] = str(one.client_id)
    if hours:
        body["since"] = hours_ago(console, hours).isoformat()
    return await console.ask(who, "POST", "/v1/exposure", body)


async def _things(console: Console, who: Visitor, client_id: ClientId) -> list[tuple[str, str]]:
    """Return what an incident of a client can be about, as a form sends it and as people say it."""
    app, actor, found = console.app, who.actor, []
    if who.may(Verb.KEY_LIST):
        for ref in await refs.list_refs(app, actor, client_id):
            found.append((f"key:{ref.id}", f"key {ref.provider}, {ref.kind.replace('_', ' ')}, {ref.state}"))
    for one in await accounts.list_accounts(app, actor, client_id):
        found.append((f"account:{one.id}", f"account {one.platform} {one.account}"))
    for profile in await list_profiles(app, actor, client_id):
        found.append((f"profile:{profile.id}", f"browser profile {profile.id}"))
    return found


async def _shown(
    console: Console, request: Request, who: Visitor, state: IncidentState, *, records: bool = False, made: Any = None
) -> Response:
    app, actor, one = console.app, who.actor, state.incident
    of_vault = one.object_kind == "vault" and who.may(Verb.VAULT_READ)
    rotation = await _rotation(console, who, state)
    steps = await _steps(console, who, state, runs=rotation is not None)
    waits = [run for run in (await procedures.to_approve(app, actor, client_id=one.client_id))[0]
             if run.run.object_id == one.id and run.run.procedure in _TWO]  # fmt: skip
    entries = await incidents.timeline(app, actor, one.id, after=None, limit=incidents.MOST_RECORDS) if records else []
    platforms: dict[str, Any] = {"platforms": [], "requests": []}
    unknown = ""
    if one.platform and one.client_id:
        try:
            path = "/v1/clients/{client_id}/platforms"
            platforms = await console.ask(who, "GET", path, ids={"client_id": one.client_id})
        except Unavailable as error:
            unknown = error.next_step
    ids = {it for it in (one.client_id, one.object_id, one.opened_by, one.closed_by) if it}
    ids |= {run.run.asked_by for run in waits}
    ids |= {UUID(asked["requested_by"]) for asked in platforms["requests"]}
    return console.page(
        request, "incident.html", who=who, vault=await of_incident(console, who, one) if of_vault else None,
        one=one, state=state, missing=_missing(state),
        rows=steps, uuid=UUID, rotation=rotation,
        waits=waits, entries=entries, records=records, made=made, unknown=unknown, grave=one.severity in MUST_TELL,
        platform=next((it for it in platforms["platforms"] if it["platform"] == one.platform), None),
        asks=[it for it in platforms["requests"] if one.platform in it["scope"].split(":")],
        names=await clients.names_of(app, actor, ids), severities=list(Severity), me=actor.id,
        leads=who.may(Verb.INCIDENT_STEP), closes=who.may(Verb.INCIDENT_CLOSE),
        lets=who.may(Verb.INCIDENT_LOWER), reports=who.may(Verb.KEY_HISTORY),
    )  # fmt: skip


async def _rotation(console: Console, who: Visitor, state: IncidentState) -> str | None:
    """Return the rotation of the leaked key, whoever began it."""
    one, begun = state.incident, state.run.run.facts.get("rotation") if state.run else None
    if begun is None and one.object_kind == "key" and who.may(Verb.KEY_LIST):
        for it in await rotation_view.list_rotations(console.app, who.actor, one.object_id):
            if it.run.procedure == LEAKED and it.run.closed_at is None:
                return str(it.run.id)
    return begun


async def _steps(console: Console, who: Visitor, state: IncidentState, *, runs: bool) -> list[dict[str, Any]]:
    """Return the steps of an incident's playbook, as ``timeline.html`` shows them, even if it has not begun."""
    if state.run is None:
        steps = [{"code": name, "state": "open" if at else "next"} for at, name in enumerate(_missing(state))]
    else:
        steps = (await timeline(console, who, state.run))["steps"]
    words = {**STEPS, "rotate": (*STEPS["rotate"][:2], "Go on with the rotation that runs")} if runs else STEPS
    return [step | {"name": words[step["code"]][0], "needs": words[step["code"]][1], "button": words[step["code"]][2]}
            if step["code"] in words else step for step in steps]  # fmt: skip


def _to(about: UUID) -> Response:
    return RedirectResponse(f"/console/incidents/{about}", 303, HEADERS)


AT: Final = "/console/revocations"
_PARTS: Final = ("provider", "client", "runner", "reason", "incident")


def _revocations(console: Console) -> None:
    """Add the pages."""

    async def revocations(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        seen, since = None, hours_ago(console, asked["hours"]) if "hours" in asked else None
        if "look" in asked:
            asked |= {"runner": await _runner(console, who, asked["runner"])} if "runner" in asked else {}
            seen = await mass_revoke.preview(console.app, who.actor, _wanted(asked, since))
        runs, left = await procedures.found_runs(
            console.app, who.actor, procedures.RunFilter(names=[mass_revoke.MASS_REVOKE.name])
        )
        more = paged(runs, {} if "look" in asked else asked, AT, more=left)
        names = await clients.names_of(console.app, who.actor, {run.started_by for run in more["rows"]})
        return console.page(
            request, "revocations.html", who=who, asked=asked, seen=seen, since=since, providers=list(Provider),
            clients=await clients.list_clients(console.app, who.actor), names=names, every=who.actor.clients is None,
            may=who.may(Verb.KEY_STATE), **more,
        )  # fmt: skip

    async def revoked(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        since = instant(given["since"], Rejected("bad_time", next_step="Look again.")) if given["since"] else None
        if not given["shown"]:
            raise Rejected("bad_request", next_step="Look first at what it would revoke, then send that page's form.")
        wanted = replace(_wanted(given, since), shown=given["shown"])
        begun = await mass_revoke.begin(console.app, who.actor, wanted)
        return RedirectResponse(f"{AT}/{begun.status.run.id}", 303, HEADERS)

    async def revocation(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        found = await mass_revoke.status(console.app, who.actor, given_id(request.path_params["run_id"]))
        wanted = [one for one in found.items if asked.get("state", _stands(one)) == _stands(one)]
        more = paged(wanted, asked, f"{AT}/{found.status.run.id}")
        ids = {it for one in more["rows"] for it in (one.settled_by,) if it} | {found.status.run.started_by}
        return console.page(
            request, "revocation.html", who=who, asked=asked, found=found, run=run_out(found.status), stands=_stands,
            states=sorted({_stands(one) for one in found.items}), may=who.may(Verb.KEY_STATE),
            names=await clients.names_of(console.app, who.actor, ids), **more,
        )  # fmt: skip

    async def settled(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        about = given_id(request.path_params["run_id"])
        await mass_revoke.settle(console.app, who.actor, about, given_id(given["object"]))
        return RedirectResponse(f"{AT}/{about}", 303, HEADERS)

    console.asking("/revocations", revocations, *_PARTS, "hours", "look", "page")
    console.post("/revocations", revoked, *_PARTS, "since", "shown")
    console.asking("/revocations/{run_id}", revocation, "state", "page")
    console.post("/revocations/{run_id}", settled, "object")


async def _runner(console: Console, who: Visitor, text: str) -> str:
    """Return the id of the machine that a text names.

    Raises:
        Rejected: ``unknown_name``.
    """
    with suppress(Rejected):
        return str(given_id(text))
    found, _ = await clients.find_named(console.app, who.actor, ["machine"], text.strip())
    if len(found) != 1:
        raise Rejected("unknown_name", next_step="No one machine is called that: search it by name, and use its id.")
    return str(found[0].id)


def _wanted(given: Any, since: datetime | None) -> RevocationRequest:
    def named(part: str) -> UUID | None:
        return given_id(given[part]) if given.get(part) else None

    return RevocationRequest(
        reason=given.get("reason", ""), provider=given.get("provider", ""), runner_id=named("runner"), since=since,
        client_id=named("client"), incident_id=named("incident"),
    )  # fmt: skip


def _stands(one: RevocationItem) -> str:
    return "ended by hand" if one.settled_by is not None else one.state


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


def _vault(console: Console) -> None:
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
