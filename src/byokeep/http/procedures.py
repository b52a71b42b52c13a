"""Routes of procedures: look at runs, start one, continue it, end it; at the broker: approve its next step.

Rules
- They are the same for every procedure that the process knows: one that a domain adds needs no route of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from byokeep.core.model import Actor, ClientId
from byokeep.core.procedure import Run
from byokeep.core.ref import parse_client_id
from byokeep.http.openapi import ID, Reply, Routes, parameters, refusals
from byokeep.http.request import Authenticator, Id, PathId, Strict, query_of
from byokeep.kernel import procedures
from byokeep.kernel.app import App
from byokeep.kernel.procedures import RunFilter, RunStatus, StepRecord

_NEXT: Mapping[str, str] = {
    "person": "Do the next step: `byokeep procedure resume {id}`.",
    "approval": "Next, by another approver: `byokeep procedure approve {id}`.",
    "time": "Nothing to do until it is due. Then a worker or a person continues.",
    "worker": "Nothing to do: a worker continues. Look again: `byokeep procedure show {id}`.",
}


class ProcedureBody(Strict):
    """Start a procedure about an object, of a client or of the platform."""

    procedure: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    object: Id
    client_id: Id | None = None


class StepReply(Reply, of=StepRecord, shows="step=name chain seq hash=hash_hex at by"):
    """A step that is done: the record that proves it."""


class ProcedureReply(
    Reply,
    of=Run,
    shows="id procedure client_id object=object_id state reason waits_for next_step due_at started_by started_at"
    " closed_by closed_at",
):
    """A run: how far it is, and what the next step waits for; ``facts``: what an approval that it waits for is of."""

    waits_for: str
    next_step: str
    steps: list[StepReply]
    missing: list[str]
    facts: dict[str, Any]


class ProceduresReply(Reply):
    """The runs, open ones first."""

    procedures: list[ProcedureReply]


def router(app: App, auth: Authenticator) -> APIRouter:
    """Return the routes of looking, starting and going on."""
    routes = Routes("procedures", auth, 403, prefix="/v1/procedures")

    @routes.post("", status_code=201, response_model=ProcedureReply, responses=refusals(404, 409))
    async def start(actor: Actor, body: ProcedureBody) -> dict[str, Any]:
        """Start a procedure, and do what can be done at once."""
        about = None if body.client_id is None else ClientId(body.client_id)
        return run_out(await procedures.begin_named(app, actor, body.procedure, client_id=about, object_id=body.object))

    only = parameters({"client_id": ID})

    @routes.get("", response_model=ProceduresReply, openapi_extra=only, responses=refusals(404))
    async def list_(request: Request, actor: Actor) -> dict[str, Any]:
        """List the runs, or those of one client, open ones first."""
        named = query_of(request, "client_id").get("client_id")
        client_id = None if named is None else parse_client_id(named)
        found, _ = await procedures.found_runs(app, actor, RunFilter(client_id=client_id))
        return {"procedures": [run_out(one) for one in await procedures.statuses(app, found)]}

    @routes.get("/{run_id}", response_model=ProcedureReply, responses=refusals(404))
    async def show(run_id: PathId, actor: Actor) -> dict[str, Any]:
        """Look at a run: the steps that are proved, those that are missing, what it waits for."""
        return run_out(await procedures.status(app, actor, run_id))

    @routes.post("/{run_id}/resume", response_model=ProcedureReply, responses=refusals(404, 409))
    async def resume(run_id: PathId, actor: Actor) -> dict[str, Any]:
        """Go on with a run: do a person's next step, or give one that stopped back to the workers."""
        return run_out(await procedures.resume(app, actor, run_id))

    @routes.post("/{run_id}/abort", response_model=ProcedureReply, responses=refusals(404, 409))
    async def abort(run_id: PathId, actor: Actor) -> dict[str, Any]:
        """End a run and undo what it did, last step first."""
        return run_out(await procedures.abort(app, actor, run_id))

    return routes


def approvals_router(app: App, auth: Authenticator) -> APIRouter:
    """Return the broker's route: a second person approves."""
    routes = Routes("procedures", auth, 403, prefix="/v1/procedures")

    @routes.post("/{run_id}/approve", response_model=ProcedureReply, responses=refusals(404, 409))
    async def approve(run_id: PathId, actor: Actor) -> dict[str, Any]:
        """Approve the next step of a run, as the second person."""
        return run_out(await procedures.approve(app, actor, run_id))

    return routes


def run_out(status: RunStatus) -> dict[str, Any]:
    """Return a run as a reply."""
    run = status.run
    state = "incomplete" if run.state == "complete" and status.missing else run.state
    next_step = _NEXT.get(status.waits_for, "").format(id=run.id)
    if run.state == "failed" and run.closed_at is None:
        next_step = f"It stopped: {run.reason}. "
        if "byokeep rotate " in status.look:  # which also names what a person may have to accept
            next_step += f"How to continue: {status.look}."
        else:
            next_step += f"Fix that, then `byokeep procedure resume {run.id}`."
        if status.may_end and "procedure resume" in next_step:
            next_step += f" To end it instead: `byokeep procedure abort {run.id}`."
        if run.reason == "revoke_by_hand" and run.procedure == "mass_revoke":
            next_step = f"End what is left at its provider, then: `byokeep incident revoke settle {run.id} ITEM`. "
            next_step += f"What failed is tried again by `byokeep procedure resume {run.id}`."
    elif run.closed_at is not None:
        next_step = "Nothing to do: it has ended."
    if not status.led:
        next_step = f"Use its own commands: {status.look}."
    elif run.state == "complete" and not status.missing:
        next_step = f"To give proof to others: `byokeep evidence export {run.id} FILE`."
    return ProcedureReply.fields(
        run, state=state, waits_for=status.waits_for, next_step=next_step, steps=status.steps, missing=status.missing,
        facts=run.facts if status.waits_for == "approval" else {},
    )  # fmt: skip
