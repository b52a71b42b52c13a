"""Routes of runbook 7.3: the vault of browser profiles may be compromised."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from byokeep.core.errors import Rejected
from byokeep.core.model import Actor, ClientId
from byokeep.core.vault_incident import BY_HAND, ENDED
from byokeep.http.openapi import Reply, Routes, refusals
from byokeep.http.procedures import StepReply
from byokeep.http.request import Authenticator, Id, PathId, Strict, instant
from byokeep.kernel.app import App, WebApp
from byokeep.profiles import incident
from byokeep.profiles.incident import Item, VaultIncident, VaultIncidentState

Word = Annotated[str, Field(max_length=64)]


class OpenBody(Strict):
    """Open an incident for one client, or for everybody in so many words."""

    client_id: Id | None = None
    everybody: bool = False
    cause: Word
    since: Word | None = None


class SessionBody(Strict):
    """Say that a session was ended by hand."""

    profile: Id
    platform: Word


class IncidentReply(
    Reply,
    of=VaultIncident,
    shows="incident=id client_id everybody cause step since since_assumed=assumed opened_by=started_by"
    " opened_at=started_at closed_at closed_by",
):
    """An incident."""

    everybody: bool


class IncidentsReply(Reply):
    """The incidents, open ones first."""

    incidents: list[IncidentReply]


class IncidentItemReply(
    Reply,
    of=Item,
    shows="client_id profile=profile_id platform session session_at session_by to_do profile_state"
    " new_profile=new_profile_id new_state fresh_login keys keys_destroyed identity_at wrong_account_at proved to_do",
):
    """One profile on one platform, and what a person must do about it now; ``to_do`` is empty when nothing."""


class IncidentLeftReply(Reply):
    """How many items each step has left; ``exposed``: of an exposed store, those that are not guarded yet."""

    exposed: int
    sessions: int
    by_hand: int
    recreated: int
    rekeyed: int
    validated: int


class StepProofReply(StepReply):
    """The record of a step."""


class IncidentStateReply(IncidentReply):
    """An incident: how many profiles it covers, how far each got, what is left, and the evidence of its steps."""

    profiles: int
    items: list[IncidentItemReply]
    left: IncidentLeftReply
    evidence: list[StepProofReply]
    missing: list[str]


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = Routes("incidents", auth, 403, prefix="/v1/vault-incidents")

    @routes.post("", status_code=201, response_model=IncidentStateReply, responses=refusals(404, 409))
    async def open_(actor: Actor, body: OpenBody) -> dict[str, Any]:
        """Open an incident; every profile of its scope is due from now on."""
        made = await incident.open_incident(
            app, actor, client_id=None if body.client_id is None else ClientId(body.client_id),
            everybody=body.everybody, cause=body.cause, since=_at(body.since),
        )  # fmt: skip
        return state_out(made)

    @routes.get("", response_model=IncidentsReply)
    async def list_(actor: Actor) -> dict[str, Any]:
        """List the incidents, open ones first."""
        return {"incidents": [incident_out(one) for one in await incident.list_incidents(app, actor)]}

    @routes.get("/{incident_id}", response_model=IncidentStateReply)
    async def get(incident_id: PathId, actor: Actor) -> dict[str, Any]:
        """Look at an incident: how far each profile got, what is left, and the evidence of its steps."""
        return state_out(await incident.look(app, actor, incident_id))

    @routes.post("/{incident_id}/sessions/end", response_model=IncidentStateReply, responses=refusals(409))
    async def end_by_hand(incident_id: PathId, actor: Actor, body: SessionBody) -> dict[str, Any]:
        """Say, as the person who did it, that a session was ended at its platform."""
        ended = incident.end_by_hand(app, actor, incident_id, body.profile, body.platform)
        return state_out(await ended)

    for name, act in _ACTS.items():
        routes.add_api_route(
            f"/{{incident_id}}/{name}", _route(app, act), methods=["POST"], name=f"vault_{name}",
            response_model=IncidentStateReply, responses=refusals(409),
        )  # fmt: skip
    return routes


Act = Callable[[App, Actor, PathId], Awaitable[VaultIncidentState]]
_ACTS: dict[str, Act] = {
    "lane-off": incident.lane_off, "sessions": incident.sessions, "recreate": incident.recreate,
    "rekey": incident.rekey, "approve": incident.approve_destruction, "validate": incident.validate,
    "close": incident.close,
}  # fmt: skip


def _route(app: WebApp, act: Act) -> Callable[..., Awaitable[dict[str, Any]]]:
    async def step(incident_id: PathId, actor: Actor) -> dict[str, Any]:
        return state_out(await act(app, actor, incident_id))

    step.__doc__ = (act.__doc__ or "").splitlines()[0]
    return step


def _at(text: str | None) -> datetime | None:
    step = "Give a time with its zone, like 2026-05-01T12:00:00Z."
    return None if text is None else instant(text, Rejected("bad_since", next_step=step))


def incident_out(one: VaultIncident) -> dict[str, Any]:
    """Return an incident."""
    return IncidentReply.fields(one, everybody=one.client_id is None)


def state_out(state: VaultIncidentState) -> dict[str, Any]:
    """Return an incident with what belongs to it."""
    left = {
        "exposed": sum(1 for one in state.items if one.exposed),
        "sessions": sum(1 for one in state.items if one.session not in ENDED),
        "by_hand": sum(1 for one in state.items if one.session in BY_HAND),
        "recreated": sum(1 for one in state.items if not one.recreated),
        "rekeyed": sum(1 for one in state.items if not one.keys_gone),
        "validated": sum(1 for one in state.items if not one.proved),
    }
    return incident_out(state.incident) | {
        "profiles": len({one.profile_id for one in state.items}),
        "items": [IncidentItemReply.fields(one) for one in state.items],
        "left": left, "evidence": state.evidence, "missing": state.missing,
    }  # fmt: skip
