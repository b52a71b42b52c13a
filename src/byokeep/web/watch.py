"""Routes of alerts and of the audit log."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request

from byokeep.core.model import Actor, ClientId
from byokeep.core.ref import parse_client_id
from byokeep.flows import alerts, audit_read
from byokeep.flows.app import WebApp
from byokeep.flows.audit_read import DEFAULT_RECORDS
from byokeep.http.body import PathId, no_query
from byokeep.http.token import Authenticator, caller
from byokeep.web.words import alert_out, instant, query_of, record_out, whole_number


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
        window = audit_read.Window(
            since=instant("since", given.get("since")),
            until=instant("until", given.get("until")),
            before=whole_number("before", given.get("before")),
            limit=whole_number("limit", given.get("limit")) or DEFAULT_RECORDS,
        )
        chain = None if client is None else ClientId(parse_client_id(client))
        return {"records": [record_out(found) for found in await audit_read.read_audit(app, actor, chain, window)]}

    return routes
