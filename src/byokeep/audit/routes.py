"""Routes of alerts, of the audit log, and of one key's history in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, ConfigDict, Field

from byokeep.audit import alerts, disclosure
from byokeep.audit.alerts import Alert, AlertFilter
from byokeep.audit.disclosure import DEFAULT_RECORDS, RecordFilter, RecordPage, RecordWindow, ShownRecord
from byokeep.core.errors import Rejected, refusing
from byokeep.core.events import Outcome
from byokeep.core.identity import spelt
from byokeep.core.model import Actor, ClientId
from byokeep.core.next_steps import of_alert
from byokeep.core.policy import Verb
from byokeep.core.ref import parse_client_id, parse_provider
from byokeep.http.openapi import ID, INSTANT, NUMBER, TEXT, Reply, Routes, at_out, parameters, refusals
from byokeep.http.request import Authenticator, Id, PathId, Strict, canonical_id, query_of, time_of, whole_number
from byokeep.kernel.app import WebApp
from byokeep.keys import refs, usage
from byokeep.keys.refs import KeyHistory, LeaseHolder
from byokeep.keys.routes import RefReply
from byokeep.keys.usage import ComparedUsage, KeyUsage, Usage, UsageGap, UsageHour, Use
from byokeep.keys.usage_parts import JobUse, ProviderCount, RefusedUse


class AlertReply(
    Reply,
    of=Alert,
    shows="id client_id object_id reason severity count opened_at last_seen_at acknowledged_at acknowledged_by"
    " closed_at closed_by",
):
    """An alert."""

    code_points: Annotated[str, BeforeValidator(spelt)]


class AlertsReply(Reply):
    """Alerts that concern the caller, and how many more there are.

    The open ones, critical ones first; of the history all, newest first.
    """

    alerts: list[AlertReply]
    more: int


class AlertCloseBody(Strict):
    """Which open alerts to close or to acknowledge; one of the first four must be given.

    ``seen_until`` = when the caller looked at them: what happened then or later stays open. Without it that is now.
    """

    client_id: Id | None = None
    reason: Annotated[str, Field(max_length=80)] = ""
    severity: Literal["", "info", "warning", "critical"] = ""
    until: Annotated[str, Field(max_length=40)] = ""
    seen_until: Annotated[str, Field(max_length=40)] = ""


class AlertsClosedReply(Reply):
    """The alerts that were closed or acknowledged, and how many that fit are left, for the caller may not do that."""

    alerts: list[AlertReply]
    left: int


class AlertShownReply(Reply):
    """An alert, and what to do about it; empty when no more is known than its name says."""

    alert: AlertReply
    next_step: str


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


class UseReply(Reply, of=Use, shows="at what id job_id lease_id runner_id actor_name tool outcome args_digest reads"):
    """A use of a key: a lease, a permit, or a call that the runner told of."""


class UsageGapReply(Reply, of=UsageGap, shows="since until why lease_id job_id"):
    """A time in which something is unknown, which is not zero."""


class KeyUsageReply(Reply, of=KeyUsage, shows="ref left next"):
    """What used a key, newest first; ``left`` uses come before these, from ``next`` as ``until`` on."""

    ref: RefReply
    uses: list[UseReply]
    gaps: list[UsageGapReply]


class UsageHourReply(
    Reply, of=UsageHour, shows="client_id provider hour leases permits calls=told_calls calls_failed=told_failed untold"
):
    """An hour of one client and provider; calls are null where there were leases and nobody told of any."""


class ComparedReply(
    Reply, of=ComparedUsage, shows="client_id provider ref_id hour measure number days median above verdict words"
):
    """The last whole hour beside the same hour of the days before."""

    verdict: Literal["usual", "unusual", "unknown"]


class RefusedUseReply(Reply, of=RefusedUse, shows="client_id what provider reason number last_at"):
    """How often a lease or permit was refused for one reason."""


class JobUseReply(
    Reply, of=JobUse,
    shows="client_id job_id runner_id provider leases permits calls=told_calls calls_failed=told_failed untold"
    " first_at last_at",
):  # fmt: skip
    """What one job used of one provider; calls are null where there were leases and nobody told of any."""


class ProviderCountReply(
    Reply, of=ProviderCount, shows="client_id provider unit number told buckets cost_micro asked_at"
):  # fmt: skip
    """What a provider counted for a client's whole account, of ``told`` of the span's ``buckets``.

    The cost is in millionths of a US dollar, null where it does not tell.
    """


class UsageReply(Reply, of=Usage, shows="since until"):
    """Usage by hour, what is unknown, the last whole hour compared, refusals, jobs, and what providers counted."""

    refused: list[RefusedUseReply]
    more_refused: int
    jobs: list[JobUseReply]
    more_jobs: int
    counted: list[ProviderCountReply]

    hours: list[UsageHourReply]
    gaps: list[UsageGapReply]
    compared: list[ComparedReply]


class RecordReply(Reply):
    """An audit record; further fields are those of its event (docs/events.md)."""

    model_config = ConfigDict(extra="allow")

    seq: int
    at: str
    hash: str
    actor_name: str | None
    object_name: str | None


class RecordsReply(Reply, of=RecordPage, shows="records folded left counted next"):
    """Audit records, newest first, and what is not among them.

    ``folded`` heartbeats lie between them; ``left`` records that fit come after them, or more if ``counted`` is false,
    when those before ``next`` were not looked at; ``next`` is ``before`` of the next page.
    """

    records: list[RecordReply]


def _time(name: str, given: dict[str, str]) -> datetime | None:
    return time_of(name, given[name]) if name in given else None


def _id(name: str, given: dict[str, str]) -> UUID | None:
    with refusing("bad_id", Rejected, next_step="Give an id that the API returned.", field=name):
        return canonical_id(given[name]) if name in given else None


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
    place = {"seq": record.seq, "at": at_out(record.at), **record.said, "hash": record.hash_hex}
    return place | {"actor_name": record.actor_name, "object_name": record.object_name}


def filter_of(given: dict[str, str]) -> RecordFilter:
    """Return the filter that ``actor``, ``event``, ``outcome`` and ``fold`` of a query name.

    Raises:
        Rejected: ``bad_id``, ``bad_outcome``, ``bad_flag``.
    """
    outcome = given.get("outcome", "")
    if outcome not in ("", *Outcome):
        raise Rejected("bad_outcome", next_step=f"Use one of {', '.join(Outcome)}.")
    return RecordFilter(
        actor=_id("actor", given), event=given.get("event", ""), outcome=outcome,
        fold=_flag("fold", given),
    )  # fmt: skip


def _flag(name: str, given: dict[str, str]) -> bool:
    if given.get(name, "false") not in ("true", "false"):
        raise Rejected("bad_flag", next_step="Give true or false.", field=name)
    return given.get(name) == "true"


def _alerts_of(given: dict[str, str]) -> AlertFilter:
    return AlertFilter(
        client_id=_id("client_id", given), reason=given.get("reason", ""), severity=given.get("severity", ""),
        since=_time("since", given), until=_time("until", given), seen_until=_time("seen_until", given),
    )  # fmt: skip


def _fitting(body: AlertCloseBody) -> AlertFilter:
    times = {"until": body.until, "seen_until": body.seen_until}
    given = {"reason": body.reason, "severity": body.severity} | {name: at for name, at in times.items() if at}
    return replace(_alerts_of(given), client_id=body.client_id)


_SPAN: Final = {"since": INSTANT, "until": INSTANT}
_ALERTS: Final = {"client_id": ID, "reason": TEXT, "severity": TEXT, "history": TEXT} | _SPAN
_FILTER: Final = {"key": ID, "actor": ID, "event": TEXT, "outcome": TEXT, "fold": TEXT}
_WINDOW: Final = _SPAN | {"before": NUMBER, "limit": NUMBER}


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = Routes("watch", auth, 403)
    _alert_routes(routes, app)
    _of_keys(routes, app)

    @routes.get(
        "/audit", response_model=RecordsReply, responses=refusals(404, 409),
        openapi_extra=parameters({"client_id": ID} | _WINDOW | _FILTER),
    )  # fmt: skip
    async def read_audit(request: Request, actor: Actor) -> JSONResponse:
        """Read audit records, newest first; the reading is on record."""
        given = query_of(request, "client_id", *_WINDOW, *_FILTER)
        client, wanted = given.get("client_id"), filter_of(given)
        chain = None if client is None else ClientId(parse_client_id(client))
        if (key := _id("key", given)) is not None:
            ref = await refs.get_ref(app, actor, key, Verb.AUDIT_READ)
            chain, wanted = ref.client_id, replace(wanted, ref_id=ref.id, provider=ref.provider.value)
        found = await disclosure.read_audit(app, actor, chain, window_of(given), wanted)
        page = {name: getattr(found, name) for name in ("folded", "left", "counted", "next")}
        return JSONResponse({"records": [record_out(record) for record in found.records], **page})

    return routes


def _alert_routes(routes: Routes, app: WebApp) -> None:
    @routes.get("/alerts", response_model=AlertsReply, openapi_extra=parameters(_ALERTS))
    async def list_alerts(request: Request, actor: Actor) -> dict[str, Any]:
        """List the alerts that concern the caller: the open ones, critical ones first, or all of the history."""
        given = query_of(request, *_ALERTS)
        history = _flag("history", given)
        found, more = await alerts.list_alerts(app, actor, _alerts_of(given), history=history)
        return {"alerts": found, "more": more}

    @routes.get("/alerts/{alert_id}", response_model=AlertShownReply)
    async def get_alert(alert_id: PathId, actor: Actor) -> dict[str, Any]:
        """Look at one alert, open or closed."""
        found = await alerts.get_alert(app, actor, alert_id)
        return {"alert": found, "next_step": of_alert(found.reason)}

    @routes.post("/alerts/close", response_model=AlertsClosedReply, responses=refusals(409))
    async def close_alerts(actor: Actor, body: AlertCloseBody) -> dict[str, Any]:
        """Close the open alerts that fit a filter; each is on record."""
        found, left = await alerts.close_alerts(app, actor, _fitting(body))
        return {"alerts": found, "left": left}

    @routes.post("/alerts/acknowledge", response_model=AlertsClosedReply, responses=refusals(409))
    async def acknowledge_alerts(actor: Actor, body: AlertCloseBody) -> dict[str, Any]:
        """Take the open alerts that fit a filter and that nobody took; they stay open, and each is on record."""
        found, left = await alerts.close_alerts(app, actor, _fitting(body), alerts.ACKNOWLEDGE)
        return {"alerts": found, "left": left}

    @routes.post("/alerts/{alert_id}/acknowledge", response_model=AlertReply, responses=refusals(409))
    async def acknowledge_alert(alert_id: PathId, actor: Actor) -> Alert:
        """Take an alert: whoever looks sees by whom. It stays open."""
        return await alerts.close_alert(app, actor, alert_id, alerts.ACKNOWLEDGE)

    @routes.post("/alerts/{alert_id}/close", response_model=AlertReply, responses=refusals(409))
    async def close_alert(alert_id: PathId, actor: Actor) -> Alert:
        """Close an alert."""
        return await alerts.close_alert(app, actor, alert_id)


def _of_keys(routes: Routes, app: WebApp) -> None:
    @routes.get(
        "/refs/{ref_id}/history", response_model=KeyHistoryReply, responses=refusals(409),
        openapi_extra=parameters(_WINDOW),
    )  # fmt: skip
    async def key_history(request: Request, ref_id: PathId, actor: Actor) -> dict[str, Any]:
        """Tell who had access to a key, when it was used and last rotated; the reading is on record."""
        window = window_of(query_of(request, "since", "until", "before", "limit"))
        return history_out(await refs.key_history(app, actor, ref_id, window))

    @routes.get(
        "/refs/{ref_id}/used", response_model=KeyUsageReply, responses=refusals(409),
        openapi_extra=parameters(_SPAN | {"limit": NUMBER}),
    )  # fmt: skip
    async def key_used(request: Request, ref_id: PathId, actor: Actor) -> KeyUsage:
        """Tell what used a key, by default in the last 24 hours, and what is unknown; the reading is on record."""
        given = query_of(request, *_SPAN, "limit")
        limit = whole_number("limit", given.get("limit")) or DEFAULT_RECORDS
        span = {"since": _time("since", given), "until": _time("until", given)}
        return await usage.key_usage(app, actor, ref_id, **span, limit=limit)

    @routes.get(
        "/usage", response_model=UsageReply, responses=refusals(404, 409),
        openapi_extra=parameters(_SPAN | {"client_id": ID, "provider": TEXT}),
    )  # fmt: skip
    async def read_usage(request: Request, actor: Actor) -> dict[str, Any]:
        """Tell how credentials were used by hour, by default in the last 24 hours; the reading is on record."""
        given = query_of(request, *_SPAN, "client_id", "provider")
        client, provider = given.get("client_id"), given.get("provider", "")
        of = None if client is None else ClientId(parse_client_id(client))
        if provider:
            parse_provider(provider)
        found = await usage.usage(app, actor, of, provider, _time("since", given), _time("until", given))
        parts = {
            name: getattr(found.parts, name) for name in ("refused", "more_refused", "jobs", "more_jobs", "counted")
        }
        return UsageReply.fields(found, **parts)
