"""Routes of alerts, of the audit log, and of one key's history in it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request

from byokeep.core.model import Actor, ClientId
from byokeep.core.ref import parse_client_id
from byokeep.flows import alerts, audit_read, history
from byokeep.flows.app import WebApp
from byokeep.http.body import PathId, no_query
from byokeep.http.token import Authenticator, caller
from byokeep.web.words import alert_out, history_out, query_of, record_out, window_of


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1", tags=["watch"])
    who = Depends(caller(auth))

    @routes.get("/alerts", dependencies=[Depends(no_query)])
    async def list_alerts(actor: Actor = who) -> dict[str, Any]:
        """List the open alerts that concern the caller."""
        return {"alerts": [alert_out(alert) for alert in await alerts.list_alerts(app, actor)]}

    @routes.post("/alerts/{alert_id}/close", dependencies=[Depends(no_query)])
    async def close_alert(alert_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Close an alert."""
        return alert_out(await alerts.close_alert(app, actor, alert_id))

    @routes.get("/audit")
    async def read_audit(request: Request, actor: Actor = who) -> dict[str, Any]:
        """Read audit records, newest first; the reading is on record."""
        given = query_of(request, "client_id", "since", "until", "before", "limit")
        client = given.get("client_id")
        chain = None if client is None else ClientId(parse_client_id(client))
        found = await audit_read.read_audit(app, actor, chain, window_of(given))
        return {"records": [record_out(record) for record in found]}

    @routes.get("/refs/{ref_id}/history")
    async def key_history(request: Request, ref_id: PathId, actor: Actor = who) -> dict[str, Any]:
        """Tell who had access to a key, when it was used and last rotated; the reading is on record."""
        window = window_of(query_of(request, "since", "until", "before", "limit"))
        return history_out(await history.key_history(app, actor, ref_id, window))

    return routes
