"""Routes of mass revocations."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from byokeep.core.model import Actor
from byokeep.http.openapi import Reply, Routes, refusals
from byokeep.http.procedures import ProcedureReply, run_out
from byokeep.http.request import Authenticator, Id, PathId, Strict, time_of
from byokeep.incidents import mass_revoke
from byokeep.incidents.mass_revoke import (
    Revocation,
    RevocationItem,
    RevocationPreview,
    RevocationRequest,
    RevocationTarget,
)
from byokeep.kernel.app import WebApp


class RevocationBody(Strict):
    """What to revoke: of a provider or platform, of what a runner was given, or of what was given in a span."""

    reason: str
    provider: str = ""
    runner_id: Id | None = None
    since: Annotated[str, Field(max_length=40)] = ""
    until: Annotated[str, Field(max_length=40)] = ""
    client_id: Id | None = None
    incident_id: Id | None = None


class RevocationTargetReply(Reply, of=RevocationTarget, shows="client_id client_name object_id kind provider version"):
    """A key or account that would be revoked."""


class RevocationPreviewReply(Reply, of=RevocationPreview, shows="jobs others_end"):
    """What would be cut off, how many open jobs would end, and at which platforms others may end with it."""

    targets: list[RevocationTargetReply]


class RevocationItemReply(
    Reply, of=RevocationItem,
    shows="client_id client_name object_id kind provider account version state cause seq settled_by settled_at"
    " changed_at",
):  # fmt: skip
    """A key or account: how its end at the provider is, and the number of the record that proves it."""


class RevocationReply(Reply):
    """A mass revocation: its run, everything that it revokes, how many are left, and where others may end with it."""

    run: ProcedureReply
    left: int
    others_end: list[str]
    items: list[RevocationItemReply]


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = Routes("incidents", auth, 403, prefix="/v1/mass-revocations")

    @routes.post("", status_code=202, response_model=RevocationReply, responses=refusals(404, 409))
    async def revoke(actor: Actor, body: RevocationBody) -> dict[str, Any]:
        """Cut off everything that fits, at once; workers end it at the providers."""
        return _out(await mass_revoke.begin(app, actor, _asked(body)))

    @routes.post("/preview", response_model=RevocationPreviewReply, responses=refusals(404, 409))
    async def preview(actor: Actor, body: RevocationBody) -> RevocationPreview:
        """Name what would be cut off; nothing is changed."""
        return await mass_revoke.preview(app, actor, _asked(body))

    @routes.get("/{run_id}", response_model=RevocationReply)
    async def show(run_id: PathId, actor: Actor) -> dict[str, Any]:
        """Tell how far each end at a provider is, what is left first."""
        return _out(await mass_revoke.status(app, actor, run_id))

    @routes.post("/{run_id}/items/{object_id}/settle", response_model=RevocationReply, responses=refusals(409))
    async def settle(run_id: PathId, object_id: PathId, actor: Actor) -> dict[str, Any]:
        """Say that a person ended one at its provider; a key is asked again."""
        return _out(await mass_revoke.settle(app, actor, run_id, object_id))

    return routes


def _asked(body: RevocationBody) -> RevocationRequest:
    span = {name: time_of(name, at) if at else None for name, at in (("since", body.since), ("until", body.until))}
    return RevocationRequest(**body.model_dump() | span)


def _out(found: Revocation) -> dict[str, Any]:
    told = {"left": found.left, "others_end": found.others_end}
    return {"run": run_out(found.status), "items": list(found.items)} | told
