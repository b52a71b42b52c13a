"""Procedures as timelines: each step with the record that proves it, how long it took, who did it, and what is next.

Rules
- The flow of ``byokeep procedure show`` reads from a run's records how far it has come.
- The same flows as those of the API resume, end or approve a run. A run that its own commands lead has no button here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.lists import exported_as, facts_in_words, paged
from byokeep.console.pages import HEADERS, Console
from byokeep.console.visit import Visitor
from byokeep.core.errors import Rejected
from byokeep.core.policy import Verb
from byokeep.core.procedure import Step
from byokeep.core.ref import given_id
from byokeep.http.procedures import run_out
from byokeep.kernel import procedures
from byokeep.kernel.procedures import RunStatus
from byokeep.operations import lists
from byokeep.tenancy import clients

_PAGES: Final = dict.fromkeys(
    ("rotate_key", "rotate_key_minted", "rotate_key_cutover", "rotate_key_leaked", "end_unused_key"), "rotations"
)  # procedures with pages of their own
STATES: Final = ("running", "waiting", "undoing", "complete", "incomplete", "aborted")


def took(span: timedelta) -> str:
    """Return a duration, in the two largest units."""
    seconds = round(span.total_seconds())
    for unit, of, small, each in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= of:
            return f"{seconds // of} {unit} {seconds % of // each} {small}"
    return f"{seconds} s" if seconds else "less than 1 s"


def _needs(step: Step) -> str:
    """Return who does a step that is not done."""
    worker = "A worker does it, or asks for what it cannot do"
    by = "A person does it" if step.verb else worker if step.act else "Its own flow does it"
    return by + (", after a second person approves." if step.approval is not None else ".")


async def timeline(
    console: Console, who: Visitor, status: RunStatus, *, said: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return what the macro ``timeline`` of ``timeline.html`` shows about a run.

    Args:
        said: The reply of the route of the run's domain, if it says more than that of procedures.
        names: Names of steps in the domain's own words; default a step's name.
    """
    run, said = status.run, said or run_out(status)
    procedure = console.app.procedures[run.procedure]
    ids = {run.started_by, run.object_id, *(one.by for one in status.steps)}
    ids |= set(filter(None, (run.client_id, run.closed_by)))
    known = {str(one): name for one, name in (await clients.names_of(console.app, who.actor, ids)).items()}
    proved = {one.name: one for one in status.steps}
    rows, before = [], run.started_at
    for step in procedure.steps:
        row: dict[str, Any] = {"name": (names or {}).get(step.name, step.name.replace("_", " ")), "code": step.name}
        if (done := proved.get(step.name)) is not None:
            row |= {"state": "done", "seq": done.seq, "hash": done.hash_hex, "at": done.at, "took": "",
                    "by": known.get(str(done.by), str(done.by))}  # fmt: skip
            row["took"] = took(max(done.at - before, timedelta()))
            before = max(before, done.at)
        else:
            here = status.missing[:1] == (step.name,) and run.closed_at is None
            row |= {"state": ("stopped" if run.reason else "next") if here else "open", "needs": _needs(step)}
            if here and run.reason and said["waits_for"] == "person":
                row |= {"state": "waits", "needs": "It waits for a person."}
        rows.append(row)
    leads = status.led and not procedure.named
    state = "waiting" if said["state"] == "failed" and run.closed_at is None else said["state"]
    return {
        "id": run.id, "procedure": run.procedure, "steps": rows, "reason": run.reason, "client_id": run.client_id,
        "client": known.get(str(run.client_id), ""), "by": known.get(str(run.started_by), str(run.started_by)),
        "started_at": run.started_at, "closed_at": run.closed_at, "due_at": run.due_at, "names": known,
        "object_id": str(run.object_id), "closed_by": known.get(str(run.closed_by), ""), "state": state,
        "waits_for": said["waits_for"],
        "next_step": said["next_step"] if status.led or state != "complete" else "",
        "facts": facts_in_words(status), "page": _PAGES.get(run.procedure, "") if who.may(Verb.KEY_METADATA) else "",
        "took": took((run.closed_at or console.app.clock.now()) - run.started_at),
        "may_resume": leads and run.closed_at is None and (run.reason != "" or status.waits_for == "person"),
        "may_end": leads and run.closed_at is None and run.state != "undoing" and procedure.may_end(run),
        "may_approve": status.waits_for == "approval" and who.actor.id not in (run.started_by, run.asked_by),
        "may_sign": run.state == "complete" and not status.missing and who.may(Verb.EVIDENCE_READ),
    }  # fmt: skip


def add(console: Console) -> None:
    """Add the pages."""

    async def procedure_list(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        fits, left = await lists.runs_of(console.app, who.actor, asked)
        more = paged(fits, asked, "/console/procedures", more=left)
        more["rows"] = [
            {"status": one, "state": lists.stands(one)} for one in await procedures.statuses(console.app, more["rows"])
        ]
        ids = {it for row in more["rows"] for it in (row["status"].run.client_id, row["status"].run.started_by) if it}
        names = await clients.names_of(console.app, who.actor, ids)
        kinds = sorted(console.app.procedures)
        return console.page(
            request, "procedures.html", who=who, asked=asked, kinds=kinds, states=STATES, names=names,
            export=exported_as("procedures", asked), **more,
        )  # fmt: skip

    async def procedure(request: Request, who: Visitor) -> Response:
        status = await procedures.status(console.app, who.actor, given_id(request.path_params["run_id"]))
        return console.page(request, "procedure.html", who=who, it=await timeline(console, who, status))

    async def procedure_moved(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        run_id = given_id(given["id"])
        await _act(console, who, given["act"], run_id)
        return RedirectResponse(f"/console/procedures/{run_id}", 303, HEADERS)

    console.asking("/procedures", procedure_list, "client", "procedure", "state", "page")
    console.add("GET", "/procedures/{run_id}", procedure)
    console.post("/procedures", procedure_moved, "id", "act")


async def _act(console: Console, who: Visitor, act: str, run_id: UUID) -> None:
    if act == "resume":
        await procedures.resume(console.app, who.actor, run_id)
    elif act == "abort":
        await procedures.abort(console.app, who.actor, run_id)
    elif act == "approve":
        await console.ask(who, "POST", "/v1/procedures/{run_id}/approve", ids={"run_id": run_id})
    else:
        raise Rejected("bad_request", next_step="Send the form as the page does.")
