"""The due list as a signed document, which the broker alone can make."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from byokeep.core.errors import Rejected
from byokeep.core.model import Actor, ClientId
from byokeep.http.openapi import Routes, answers, refusals
from byokeep.http.request import Authenticator, Id, Strict, instant
from byokeep.kernel.app import BrokerApp
from byokeep.operations import due
from byokeep.operations.due import DueKind

_JSON: Final = "application/json"
_SIGNED: Final = {"type": "object"}  # as of evidence: a statement in an envelope


class DueBody(Strict):
    """Which part of the list; as of the list itself."""

    client_id: Id | None = None
    kind: DueKind | None = None
    until: Annotated[str, Field(max_length=40)] = ""


def router(app: BrokerApp, auth: Authenticator) -> APIRouter:
    """Return the route."""
    routes = Routes("operations", auth, 403)

    @routes.post("/due/sign", response_class=Response, responses=answers(_JSON, _SIGNED) | refusals(404))
    async def sign(actor: Actor, body: DueBody) -> Response:
        """Sign the due list as it stands; who asked is on record."""
        step = Rejected("bad_time", next_step="Use a time such as 2026-01-31T12:00:00Z.", field="until")
        signed = await due.sign_due(
            app, actor, client_id=None if body.client_id is None else ClientId(body.client_id), kind=body.kind,
            until=instant(body.until, step) if body.until else None,
        )  # fmt: skip
        return Response(signed, media_type=_JSON)

    return routes
