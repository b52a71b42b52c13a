"""Routes of the due list."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request

from byokeep.core.errors import Rejected
from byokeep.core.model import Actor, ClientId
from byokeep.core.ref import parse_client_id
from byokeep.http.openapi import ID, INSTANT, Routes, parameters, refusals
from byokeep.http.reply import Reply
from byokeep.http.request import Authenticator, instant, query_of
from byokeep.kernel.app import WebApp
from byokeep.operations import due
from byokeep.operations.due import DueItem, DueKind, DueList

_KIND: Final = {"type": "string", "enum": [kind.value for kind in DueKind]}


class DueReply(
    Reply, of=DueItem, shows="due_at state days kind name client client_id item provider cause command"
):  # fmt: skip
    """Something with a date, and the command that does it."""


class DueListReply(Reply, of=DueList, shows="until digest more"):
    """What is due, the earliest first; the digest names the list for whoever signs it off."""

    items: list[DueReply]


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = Routes("operations", auth, 403)

    @routes.get(
        "/due", response_model=DueListReply, responses=refusals(404),
        openapi_extra=parameters({"client_id": ID, "kind": _KIND, "until": INSTANT}),
    )  # fmt: skip
    async def list_due(request: Request, actor: Actor) -> DueList:
        """List what is due within 14 days, or until a time, of every kind; the look is on record."""
        given = query_of(request, "client_id", "kind", "until")
        if given.get("kind", DueKind.KEY) not in set(DueKind):
            raise Rejected("bad_kind", next_step="Use one of " + ", ".join(DueKind) + ".")
        step = Rejected("bad_time", next_step="Use a time such as 2026-01-31T12:00:00Z.", field="until")
        return await due.list_due(
            app, actor,
            client_id=ClientId(parse_client_id(given["client_id"])) if "client_id" in given else None,
            kind=DueKind(given["kind"]) if "kind" in given else None,
            until=instant(given["until"], step) if "until" in given else None,
        )  # fmt: skip

    return routes
