"""Routes of runbook 7.3: the vault of browser profiles is suspected compromised."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import Field

from byokeep.core.errors import Rejected
from byokeep.core.model import Actor, ClientId
from byokeep.core.vault_incident import BY_HAND, ENDED, Session
from byokeep.flows import vault_incident, vault_steps
from byokeep.flows.app import App, WebApp
from byokeep.flows.vault_incident import Incident, Item, Proof, State
from byokeep.http.body import Id, PathId, Strict, describe, json_body, no_query
from byokeep.http.people import at_out
from byokeep.http.token import Authenticator, caller

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


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1/vault-incidents", tags=["incidents"], dependencies=[Depends(no_query)])
    who = Depends(caller(auth))
    open_body, session_body = Depends(json_body(OpenBody)), Depends(json_body(SessionBody))

    @routes.post("", status_code=201, openapi_extra=describe(OpenBody))
    async def open_(actor: Actor = who, body: OpenBody = open_body) -> JSONResponse:
        """Open an incident; every profile of its scope is due from now on."""
        made = await vault_incident.open_incident(
            app, actor, client_id=None if body.client_id is None else ClientId(body.client_id),
            everybody=body.everybody, cause=body.cause, since=_at(body.since),
        )  # fmt: skip
        return JSONResponse(state_out(made), 201)

    @routes.get("")
    async def list_(actor: Actor = who) -> dict[str, Any]:
        """List the incidents, open ones first."""
        return {"incidents": [incident_out(one) for one in await vault_incident.list_incidents(app, actor)]}

    @routes.get("/{incident_id}")
    async def get(incident_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Look at an incident: how far each profile got, what is left, and the evidence of its steps."""
        return state_out(await vault_incident.look(app, actor, incident_id))

    @routes.post("/{incident_id}/sessions/end", openapi_extra=describe(SessionBody))
    async def end_by_hand(incident_id: PathId, actor: Actor = who, body: SessionBody = session_body) -> dict[str, Any]:
        """Say, as the person who did it, that a session was ended at its platform."""
        ended = vault_steps.end_by_hand(app, actor, incident_id, body.profile, body.platform)
        return state_out(await ended)

    for name, act in _ACTS.items():
        routes.add_api_route(f"/{{incident_id}}/{name}", _route(app, who, act), methods=["POST"], name=f"vault_{name}")
    return routes


Act = Callable[[App, Actor, PathId], Awaitable[State]]
_ACTS: dict[str, Act] = {
    "lane-off": vault_steps.lane_off, "sessions": vault_steps.sessions, "recreate": vault_steps.recreate,
    "rekey": vault_steps.rekey, "approve": vault_steps.approve_destruction, "validate": vault_steps.validate,
    "close": vault_incident.close,
}  # fmt: skip


def _route(app: WebApp, who: Any, act: Act) -> Callable[..., Awaitable[dict[str, Any]]]:
    async def step(incident_id: PathId, actor: Actor = who) -> dict[str, Any]:
        return state_out(await act(app, actor, incident_id))

    step.__doc__ = (act.__doc__ or "").splitlines()[0]
    return step


def _at(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Rejected("bad_since", next_step="Give a time with its zone, like 2026-05-01T12:00:00Z.")
    return at


def incident_out(one: Incident) -> dict[str, Any]:
    """Return the wire form of an incident."""
    return {
        "incident": str(one.id), "client_id": None if one.client_id is None else str(one.client_id),
        "everybody": one.client_id is None, "cause": one.cause.value, "step": one.step.value,
        "since": at_out(one.since), "since_assumed": one.assumed, "opened_by": str(one.opened_by),
        "opened_at": at_out(one.opened_at), "closed_at": at_out(one.closed_at),
        "closed_by": None if one.closed_by is None else str(one.closed_by),
    }  # fmt: skip


def state_out(state: State) -> dict[str, Any]:
    """Return the wire form of an incident with what belongs to it."""
    left = {
        "sessions": sum(1 for one in state.items if one.session not in ENDED),
        "by_hand": sum(1 for one in state.items if one.session in BY_HAND),
        "recreated": sum(1 for one in state.items if not one.recreated),
        "rekeyed": sum(1 for one in state.items if not one.keys_gone),
        "validated": sum(1 for one in state.items if not one.proved),
    }
    return incident_out(state.incident) | {
        "items": [item_out(one) for one in state.items], "left": left,
        "evidence": [proof_out(one) for one in state.evidence], "missing": list(state.missing),
    }  # fmt: skip


def item_out(one: Item) -> dict[str, Any]:
    """Return the wire form of one profile on one platform."""
    return {
        "client_id": str(one.client_id), "profile": str(one.profile_id), "platform": one.platform,
        "session": one.session.value, "session_at": at_out(one.session_at),
        "session_by": None if one.session_by is None else str(one.session_by),
        "to_do": _to_do(one), "profile_state": one.profile_state,
        "new_profile": None if one.new_profile_id is None else str(one.new_profile_id), "new_state": one.new_state,
        "fresh_login": one.fresh_login, "keys": one.keys, "keys_destroyed": one.keys_destroyed,
        "identity_at": at_out(one.identity_at), "wrong_account_at": at_out(one.wrong_account_at),
        "proved": one.proved,
    }  # fmt: skip


def _to_do(one: Item) -> str:
    """What a person must do about an item now; empty when nothing."""
    if one.session in BY_HAND:
        return "end_session_by_hand"
    if one.session is Session.PENDING:
        return "wait_for_worker" if one.old_busy else ""
    if one.lost:
        return "make_another"
    if one.new_profile_id is not None and not one.recreated:
        return "confirm_login" if one.new_busy else "log_in"
    if one.shred_state == "waiting":
        return "approve_destruction"
    return "wait_for_worker" if one.old_busy or one.new_busy else ""


def proof_out(one: Proof) -> dict[str, Any]:
    """Return the wire form of a step's record."""
    return {
        "step": one.stage, "chain": str(one.chain), "seq": one.seq, "hash": one.hash_hex, "at": at_out(one.at),
        "by": str(one.by),
    }  # fmt: skip
