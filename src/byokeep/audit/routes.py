"""Routes of alerts, of the audit log, and of one key's history in it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, ConfigDict, Field

from byokeep.audit import alerts, disclosure
from byokeep.audit.alerts import Alert
from byokeep.audit.disclosure import DEFAULT_RECORDS, RecordWindow, ShownRecord
from byokeep.core.errors import Rejected
from byokeep.core.identity import spelt
from byokeep.core.model import Actor, ClientId
from byokeep.core.ref import parse_client_id
from byokeep.http.openapi import ID, INSTANT, NUMBER, Routes, parameters, refusals
from byokeep.http.reply import Reply, at_out
from byokeep.http.request import Authenticator, PathId, instant, query_of, whole_number
from byokeep.kernel.app import WebApp
from byokeep.keys import refs
from byokeep.keys.refs import KeyHistory, LeaseHolder
from byokeep.keys.routes import RefReply


class AlertReply(Reply, of=Alert, shows="id client_id object_id reason severity count opened_at closed_at closed_by"):
    """An alert."""

    code_points: Annotated[str, BeforeValidator(spelt)]


class AlertsReply(Reply):
    """The open alerts that concern the caller, critical ones first, and how many more there are."""

    alerts: list[AlertReply]
    more: int


class AccessReply(Reply, of=LeaseHolder, shows="actor name leases first_at last_at"):
    """Somebody who had access to a key."""


class HistoryRecordReply(Reply):
    """A record of a key's history; further fields are those of its event (docs/events.md)."""

    model_config = ConfigDict(extra="allow")

    seq: int
    at: str
    actor_name: str | None


class KeyHistoryReply(Reply, of=KeyHistory, shows="ref last_used_at last_rotated_at refused"):
    """Who had access to a key, when it was used and last rotated."""

    ref: RefReply
    access: Annotated[list[AccessReply], Field(validation_alias="holders")]
    records: list[HistoryRecordReply]


class RecordReply(Reply):
    """An audit record; further fields are those of its event (docs/events.md)."""

    model_config = ConfigDict(extra="allow")

    seq: int
    at: str
    hash: str


class RecordsReply(Reply):
    """Audit records, newest first."""

    records: list[RecordReply]


def _time(name: str, given: dict[str, str]) -> datetime | None:
    refusal = Rejected("bad_time", next_step="Use a time such as 2026-01-31T12:00:00Z.", field=name)
    return instant(given[name], refusal) if name in given else None


def window_of(given: dict[str, str]) -> RecordWindow:
    """Return the window that ``since``, ``until``, ``before`` and ``limit`` of a query name.

    Raises:
        Rejected: ``bad_time``, ``bad_number``.
    """
    return RecordWindow(
        since=_time("since", given),
        until=_time("until", given),
        before=whole_number("before", given.get("before")),
        limit=whole_number("limit", given.get("limit")) or DEFAULT_RECORDS,
    )


def history_out(history: KeyHistory) -> dict[str, Any]:
    """Return a key's history."""
    said = [{"seq": one.seq, "at": at_out(one.at), "actor_name": one.actor_name, **one.said} for one in history.entries]
    return KeyHistoryReply.fields(history, records=said)


def record_out(record: ShownRecord) -> dict[str, Any]:
    """Return the wire form of an audit record."""
    return {"seq": record.seq, "at": at_out(record.at), **record.said, "hash": record.hash_hex}


_WINDOW: Final = {"since": INSTANT, "until": INSTANT, "before": NUMBER, "limit": NUMBER}


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = Routes("watch", auth, 403)

    @routes.get("/alerts", response_model=AlertsReply)
    async def list_alerts(actor: Actor) -> dict[str, Any]:
        """List the open alerts that concern the caller, critical ones first."""
        found, more = await alerts.list_alerts(app, actor)
        return {"alerts": found, "more": more}

    @routes.post("/alerts/{alert_id}/close", response_model=AlertReply, responses=refusals(409))
    async def close_alert(alert_id: PathId, actor: Actor) -> Alert:
        """Close an alert."""
        return await alerts.close_alert(app, actor, alert_id)

    @routes.get(
        "/audit", response_model=RecordsReply, responses=refusals(404, 409),
        openapi_extra=parameters({"client_id": ID} | _WINDOW),
    )  # fmt: skip
    async def read_audit(request: Request, actor: Actor) -> JSONResponse:
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
    async def key_history(request: Request, ref_id: PathId, actor: Actor) -> dict[str, Any]:
        """Tell who had access to a key, when it was used and last rotated; the reading is on record."""
        window = window_of(query_of(request, "since", "until", "before", "limit"))
        return history_out(await refs.key_history(app, actor, ref_id, window))

    return routes
