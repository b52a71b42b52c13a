"""Routes of the keys that guard browser profiles: what there is, what hangs on it, and what a worker shall do."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from byokeep.core.errors import Rejected
from byokeep.core.model import Actor, ClientId
from byokeep.flows import kek
from byokeep.flows.app import WebApp
from byokeep.flows.kek_book import Dependent, Move, Rotation
from byokeep.http.body import PathId, Strict, describe, json_body, no_query
from byokeep.http.people import at_out
from byokeep.http.token import Authenticator, caller
from byokeep.web.clients import spend
from byokeep.web.limits import Budget
from byokeep.web.words import query_of, whole_number

_KEK: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
Code = Annotated[str, Field(max_length=64)]


class ReasonBody(Strict):
    """Why, as a code."""

    reason: Code


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes that look."""
    routes = APIRouter(prefix="/v1", tags=["keks"])
    who, plain = Depends(caller(auth)), Depends(no_query)

    @routes.get("/keks", dependencies=[plain])
    async def list_keks(actor: Actor = who) -> dict[str, Any]:
        """List the versions of the caller's clients' keys and their rotations; never a key."""
        found, rotations = await kek.status(app, actor)
        return {"keks": [kek_out(one) for one in found], "rotations": [rotation_out(one) for one in rotations]}

    @routes.get("/keks/{kek_id}/dependents")
    async def dependents(request: Request, kek_id: str, actor: Actor = who) -> dict[str, Any]:
        """Tell what hangs on a version, or on every version of a key."""
        version = whole_number("version", query_of(request, "version").get("version"))
        found = await kek.dependents(app, actor, _checked(kek_id), version)
        return {"count": len(found), "dependents": [dependent_out(one) for one in found]}

    @routes.get("/keks/{kek_id}/versions/{version}/history", dependencies=[plain])
    async def history(kek_id: str, version: int, actor: Actor = who) -> dict[str, Any]:
        """Tell who moved a version, when and why."""
        found, moves = await kek.history(app, actor, _checked(kek_id), version)
        return {"kek": found.kek_id, "version": found.version, "state": found.state.value,
                "moves": [move_out(one) for one in moves]}  # fmt: skip

    @routes.get("/keks/{kek_id}/versions/{version}/plan", dependencies=[plain])
    async def plan(kek_id: str, version: int, actor: Actor = who) -> dict[str, Any]:
        """Tell what a compromise of a version leaves to do."""
        return plan_out(await kek.plan(app, actor, _checked(kek_id), version))

    return routes


def acts(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes that ask a worker for something, or stop a key."""
    routes = APIRouter(prefix="/v1", tags=["keks"])
    who, reason_body, plain = Depends(caller(auth)), Depends(json_body(ReasonBody)), Depends(no_query)

    @routes.post("/clients/{client_id}/kek/rotate", status_code=202, dependencies=[plain],
                 openapi_extra=describe(ReasonBody))  # fmt: skip
    async def rotate(
        request: Request, client_id: PathId, actor: Actor = who, body: ReasonBody = reason_body
    ) -> JSONResponse:
        """Ask for the next version of a client's key; a worker makes it and moves what the old one wraps."""
        spend(request, writes, actor, ClientId(client_id))
        after = await kek.ask_rotation(app, actor, ClientId(client_id), reason=body.reason)
        return JSONResponse({"client_id": str(client_id), "after_version": after}, 202)

    @routes.post("/clients/{client_id}/kek/rewrap", status_code=202, dependencies=[plain])
    async def rewrap(request: Request, client_id: PathId, actor: Actor = who) -> JSONResponse:
        """Hand what a rotation left to a worker once more."""
        spend(request, writes, actor, ClientId(client_id))
        return JSONResponse(rotation_out(await kek.ask_rewrap(app, actor, ClientId(client_id))), 202)

    @routes.post("/clients/{client_id}/kek/check", status_code=202, dependencies=[plain])
    async def check(request: Request, client_id: PathId, actor: Actor = who) -> JSONResponse:
        """Ask for a comparison of a client's key with its holder."""
        spend(request, writes, actor, ClientId(client_id))
        await kek.ask_check(app, actor, ClientId(client_id))
        return JSONResponse({"client_id": str(client_id)}, 202)

    @routes.post("/keks/{kek_id}/versions/{version}/end", status_code=202, dependencies=[plain],
                 openapi_extra=describe(ReasonBody))  # fmt: skip
    async def end(kek_id: str, version: int, actor: Actor = who, body: ReasonBody = reason_body) -> JSONResponse:
        """Ask for the end of an old version, as a second person."""
        found = await kek.ask_end(app, actor, _checked(kek_id), version, reason=body.reason)
        return JSONResponse({"kek": found.kek_id, "version": found.version, "state": found.state.value}, 202)

    @routes.post("/keks/{kek_id}/versions/{version}/compromise", dependencies=[plain],
                 openapi_extra=describe(ReasonBody))  # fmt: skip
    async def compromise(
        kek_id: str, version: int, actor: Actor = who, body: ReasonBody = reason_body
    ) -> dict[str, Any]:
        """Call a version compromised; the reply is what is to be done."""
        return plan_out(await kek.compromise(app, actor, _checked(kek_id), version, reason=body.reason))

    return routes


def _checked(kek_id: str) -> str:
    if not _KEK.fullmatch(kek_id):
        raise Rejected("bad_kek_id", next_step="Take it from `byokeep kek status`.")
    return kek_id


def kek_out(shown: kek.Shown) -> dict[str, Any]:
    """Return the wire form of a version."""
    one = shown.kek
    return {
        "kek": one.kek_id, "holder": one.holder.value, "version": one.version,
        "client_id": None if one.client_id is None else str(one.client_id), "environment": one.environment,
        "algorithm": one.algorithm, "bits": one.bits, "state": one.state.value, "owner": one.owner,
        "dependents": one.dependents, "made_at": at_out(one.made_at), "protect_until": at_out(one.protect_until),
        "process_until": at_out(one.process_until), "rotation_due_at": at_out(shown.due_at), "urgency": shown.urgency,
        "compromised_at": at_out(one.compromised_at), "check": shown.check, "checked_at": at_out(shown.checked_at),
        "changed_at": at_out(one.changed_at), "changed_by": str(one.changed_by),
    }  # fmt: skip


def rotation_out(one: Rotation) -> dict[str, Any]:
    """Return the wire form of a rotation."""
    return {
        "rotation": str(one.id), "kek": one.kek_id, "from_version": one.from_version, "to_version": one.to_version,
        "state": one.state, "moved": one.moved, "remaining": one.remaining, "reason": one.reason,
        "started_by": str(one.started_by), "started_at": at_out(one.started_at), "ended_at": at_out(one.ended_at),
    }  # fmt: skip


def dependent_out(one: Dependent) -> dict[str, Any]:
    """Return the wire form of something that hangs on a version."""
    return {
        "client_id": str(one.client_id), "client": one.client, "profile": str(one.profile_id),
        "generation": one.generation, "dek": str(one.dek_id), "kek_version": one.kek_version, "artifact": one.blob_key,
        "size": one.blob_size, "key_state": one.key_state, "profile_state": one.profile_state, "newest": one.newest,
        "accounts": list(one.accounts), "sealed_at": at_out(one.sealed_at),
    }  # fmt: skip


def move_out(one: Move) -> dict[str, Any]:
    """Return the wire form of a move."""
    return {"from": one.state_from, "to": one.state_to, "reason": one.reason, "at": at_out(one.at), "by": str(one.by)}


def plan_out(one: kek.Plan) -> dict[str, Any]:
    """Return the wire form of what a compromise leaves to do."""
    return {
        "kek": one.kek.kek_id, "version": one.kek.version, "state": one.kek.state.value,
        "compromised_at": at_out(one.kek.compromised_at), "found": one.found, "remaining": len(one.left),
        "done": one.done, "left": [dependent_out(dek) for dek in one.left],
    }  # fmt: skip
