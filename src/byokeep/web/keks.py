"""Routes of the keys that guard browser profiles: what there is, what hangs on it, and what a worker shall do."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from byokeep.core.errors import Rejected
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, ClientId
from byokeep.http.body import PathId, Strict, json_body, no_query
from byokeep.http.openapi import NUMBER, describe, parameters, refusals
from byokeep.http.reply import At, Reply
from byokeep.http.token import Authenticator, caller
from byokeep.kernel.app import WebApp
from byokeep.profiles import kek
from byokeep.profiles.kek_book import Kek, Rotation
from byokeep.web.clients import spend
from byokeep.web.limits import Budget
from byokeep.web.schemas import query_of, whole_number

_KEK: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
Code = Annotated[str, Field(max_length=64)]


class ReasonBody(Strict):
    """Why, as a code."""

    reason: Code


class KekReply(Reply):
    """A version of a key that guards profiles; never the key."""

    kek: str
    holder: str
    version: int
    client_id: UUID | None
    environment: str
    algorithm: str
    bits: int
    state: KeyState
    owner: str
    dependents: int
    made_at: At
    protect_until: At
    process_until: At
    rotation_due_at: At
    urgency: str
    compromised_at: At | None
    check: str
    checked_at: At | None
    changed_at: At
    changed_by: UUID


class RotationReply(Reply):
    """A rotation: how much was moved to the new version, and what is left."""

    rotation: Annotated[UUID, Field(validation_alias="id")]
    kek: Annotated[str, Field(validation_alias="kek_id")]
    from_version: int
    to_version: int
    state: str
    moved: int
    remaining: int | None
    reason: str
    started_by: UUID
    started_at: At
    ended_at: At | None


class KeksReply(Reply):
    """The versions of the caller's clients' keys and their rotations."""

    keks: list[KekReply]
    rotations: list[RotationReply]


class DependentReply(Reply):
    """Something that a version wraps."""

    client_id: UUID
    client: str
    profile: Annotated[UUID, Field(validation_alias="profile_id")]
    generation: int
    dek: Annotated[UUID, Field(validation_alias="dek_id")]
    kek_version: int
    artifact: Annotated[str, Field(validation_alias="blob_key")]
    size: Annotated[int, Field(validation_alias="blob_size")]
    key_state: str
    profile_state: str
    newest: bool
    accounts: list[str]
    sealed_at: At


class DependentsReply(Reply):
    """What a version wraps, or every version of a key."""

    count: int
    dependents: list[DependentReply]


class MoveReply(Reply):
    """A change of a version's state."""

    from_: Annotated[str, Field(validation_alias="state_from", serialization_alias="from")]
    to: Annotated[str, Field(validation_alias="state_to")]
    reason: str
    at: At
    by: UUID


class KekStateReply(Reply):
    """A version and its state."""

    kek: Annotated[str, Field(validation_alias="kek_id")]
    version: int
    state: KeyState


class KekHistoryReply(KekStateReply):
    """Who moved a version, when and why."""

    moves: list[MoveReply]


class KekPlanReply(KekStateReply):
    """What a compromise of a version leaves to do."""

    compromised_at: At | None
    found: int
    remaining: int
    done: bool
    left: list[DependentReply]


class RotatingReply(Reply):
    """A client whose key gets a version after this one."""

    client_id: UUID
    after_version: int


class CheckingReply(Reply):
    """A client whose key is compared with its holder."""

    client_id: UUID


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes that look."""
    routes = APIRouter(prefix="/v1", tags=["keks"], responses=refusals(403))
    who, plain = Depends(caller(auth)), Depends(no_query)

    @routes.get("/keks", response_model=KeksReply, dependencies=[plain])
    async def list_keks(actor: Actor = who) -> dict[str, Any]:
        """List the versions of the caller's clients' keys and their rotations; never a key."""
        found, rotations = await kek.status(app, actor)
        return {"keks": [kek_out(one) for one in found], "rotations": rotations}

    @routes.get(
        "/keks/{kek_id}/dependents", response_model=DependentsReply, openapi_extra=parameters({"version": NUMBER})
    )
    async def dependents(request: Request, kek_id: str, actor: Actor = who) -> dict[str, Any]:
        """Tell what hangs on a version, or on every version of a key."""
        version = whole_number("version", query_of(request, "version").get("version"))
        found = await kek.dependents(app, actor, _checked(kek_id), version)
        return {"count": len(found), "dependents": found}

    @routes.get("/keks/{kek_id}/versions/{version}/history", response_model=KekHistoryReply, dependencies=[plain])
    async def history(kek_id: str, version: int, actor: Actor = who) -> dict[str, Any]:
        """Tell who moved a version, when and why."""
        found, moves = await kek.history(app, actor, _checked(kek_id), version)
        return KekStateReply.fields(found) | {"moves": moves}

    @routes.get(
        "/keks/{kek_id}/versions/{version}/plan", response_model=KekPlanReply, dependencies=[plain],
        responses=refusals(409),
    )  # fmt: skip
    async def plan(kek_id: str, version: int, actor: Actor = who) -> dict[str, Any]:
        """Tell what a compromise of a version leaves to do."""
        return plan_out(await kek.plan(app, actor, _checked(kek_id), version))

    return routes


def acts(app: WebApp, auth: Authenticator, writes: Budget) -> APIRouter:
    """Return the routes that ask a worker for something, or stop a key."""
    routes = APIRouter(prefix="/v1", tags=["keks"], responses=refusals(403, 409))
    who, reason_body, plain = Depends(caller(auth)), Depends(json_body(ReasonBody)), Depends(no_query)

    @routes.post(
        "/clients/{client_id}/kek/rotate", status_code=202, response_model=RotatingReply, dependencies=[plain],
        openapi_extra=describe(ReasonBody), responses=refusals(429),
    )  # fmt: skip
    async def rotate(
        request: Request, client_id: PathId, actor: Actor = who, body: ReasonBody = reason_body
    ) -> dict[str, Any]:
        """Ask for the next version of a client's key; a worker makes it and moves what the old one wraps."""
        spend(request, writes, actor, ClientId(client_id))
        after = await kek.ask_rotation(app, actor, ClientId(client_id), reason=body.reason)
        return {"client_id": client_id, "after_version": after}

    @routes.post(
        "/clients/{client_id}/kek/rewrap", status_code=202, response_model=RotationReply, dependencies=[plain],
        responses=refusals(429),
    )  # fmt: skip
    async def rewrap(request: Request, client_id: PathId, actor: Actor = who) -> Rotation:
        """Hand what a rotation left to a worker once more."""
        spend(request, writes, actor, ClientId(client_id))
        return await kek.ask_rewrap(app, actor, ClientId(client_id))

    @routes.post(
        "/clients/{client_id}/kek/check", status_code=202, response_model=CheckingReply, dependencies=[plain],
        responses=refusals(429),
    )  # fmt: skip
    async def check(request: Request, client_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Ask for a comparison of a client's key with its holder."""
        spend(request, writes, actor, ClientId(client_id))
        await kek.ask_check(app, actor, ClientId(client_id))
        return {"client_id": client_id}

    @routes.post(
        "/keks/{kek_id}/versions/{version}/end", status_code=202, response_model=KekStateReply, dependencies=[plain],
        openapi_extra=describe(ReasonBody),
    )  # fmt: skip
    async def end(kek_id: str, version: int, actor: Actor = who, body: ReasonBody = reason_body) -> Kek:
        """Ask for the end of an old version, as a second person."""
        return await kek.ask_end(app, actor, _checked(kek_id), version, reason=body.reason)

    @routes.post(
        "/keks/{kek_id}/versions/{version}/compromise", response_model=KekPlanReply, dependencies=[plain],
        openapi_extra=describe(ReasonBody),
    )  # fmt: skip
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


def kek_out(shown: kek.ShownKek) -> dict[str, Any]:
    """Return a version."""
    one = shown.kek
    return {
        "kek": one.kek_id, "holder": one.holder, "version": one.version, "client_id": one.client_id,
        "environment": one.environment, "algorithm": one.algorithm, "bits": one.bits, "state": one.state,
        "owner": one.owner, "dependents": one.dependents, "made_at": one.made_at, "protect_until": one.protect_until,
        "process_until": one.process_until, "rotation_due_at": shown.due_at, "urgency": shown.urgency,
        "compromised_at": one.compromised_at, "check": shown.check, "checked_at": shown.checked_at,
        "changed_at": one.changed_at, "changed_by": one.changed_by,
    }  # fmt: skip


def plan_out(one: kek.KekPlan) -> dict[str, Any]:
    """Return what a compromise leaves to do."""
    return KekStateReply.fields(one.kek) | {
        "compromised_at": one.kek.compromised_at, "found": one.found, "remaining": len(one.left), "done": one.done,
        "left": one.left,
    }  # fmt: skip
