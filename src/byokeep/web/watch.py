"""Routes of alerts, of the audit log, and of one key's history in it."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from byokeep.audit import alerts, disclosure
from byokeep.audit.alerts import Alert
from byokeep.core.model import Actor, ClientId
from byokeep.core.ref import parse_client_id
from byokeep.http.body import PathId, no_query
from byokeep.http.openapi import ID, INSTANT, NUMBER, parameters, refusals
from byokeep.http.token import Authenticator, caller
from byokeep.kernel.app import WebApp
from byokeep.keys import refs
from byokeep.web.schemas import (
    AlertReply,
    AlertsReply,
    KeyHistoryReply,
    RecordsReply,
    history_out,
    query_of,
    record_out,
    window_of,
)

_WINDOW: Final = {"since": INSTANT, "until": INSTANT, "before": NUMBER, "limit": NUMBER}


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1", tags=["watch"], responses=refusals(403))
    who = Depends(caller(auth))

    @routes.get("/alerts", response_model=AlertsReply, dependencies=[Depends(no_query)])
    async def list_alerts(actor: Actor = who) -> dict[str, Any]:
        """List the open alerts that concern the caller, critical ones first."""
        found, more = await alerts.list_alerts(app, actor)
        return {"alerts": found, "more": more}

    @routes.post(
        "/alerts/{alert_id}/close", response_model=AlertReply, dependencies=[Depends(no_query)],
        responses=refusals(409),
    )  # fmt: skip
    async def close_alert(alert_id: PathId, actor: Actor = who) -> Alert:
        """Close an alert."""
        return await alerts.close_alert(app, actor, alert_id)

    @routes.get(
        "/audit", response_model=RecordsReply, responses=refusals(404, 409),
        openapi_extra=parameters({"client_id": ID} | _WINDOW),
    )  # fmt: skip
    async def read_audit(request: Request, actor: Actor = who) -> JSONResponse:
        """Read audit records, newest first; the reading is on record."""
        given = query_of(request, "client_id", "since", "until", "before", "limit")
        client = given.get("client_id")
        chain = None if client is None else ClientId(parse_client_id(client))
        found = await disclosure.read_audit(app, actor, chain, window_of(given))
        return JSONResponse({"records": [record_out(record) for record in found]})

    @routes.get(
        "/refs/{ref_id}/history", response_model=KeyHistoryReply, responses=refusals(409),
        openapi_extra=parameters(_WINDOW),
    )  # fmt: skip
    async def key_history(request: Request, ref_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Tell who had access to a key, when it was used and last rotated; the reading is on record."""
        window = window_of(query_of(request, "since", "until", "before", "limit"))
        return history_out(await refs.key_history(app, actor, ref_id, window))

    return routes
