"""Routes of the due list, of notifications, of signed and missed checklists, and of leak scans."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from byokeep.core.errors import Rejected
from byokeep.core.model import Actor, ClientId
from byokeep.core.ref import parse_client_id
from byokeep.http.openapi import ID, INSTANT, Reply, Routes, parameters, refusals
from byokeep.http.request import Authenticator, Strict, query_of, time_of
from byokeep.kernel.app import WebApp
from byokeep.operations import checklist, due, notify
from byokeep.operations.checklist import ChecklistPeriod, ScanResult
from byokeep.operations.checks import Checklist
from byokeep.operations.due import DueItem, DueKind, DueList
from byokeep.operations.notify import Notification

_KIND: Final = {"type": "string", "enum": [kind.value for kind in DueKind]}


class DueReply(
    Reply, of=DueItem, shows="due_at state days kind name client client_id item provider cause command"
):  # fmt: skip
    """Something with a date, and the command that does it."""


class DueListReply(Reply, of=DueList, shows="until digest more"):
    """What is due, the earliest first; the digest names the list for whoever signs it off."""

    items: list[DueReply]


class NotificationReply(
    Reply, of=Notification,
    shows="id made_at source code stage about client client_id target state tries failure sent_at",
):  # fmt: skip
    """A reminder or an alert for one target."""


class NotificationsReply(Reply):
    """The newest messages, those that wait first."""

    notifications: list[NotificationReply]


class TestReply(Reply):
    """The alert that was raised to be told."""

    alert: UUID


class PeriodReply(Reply, of=ChecklistPeriod, shows="period state signed_at signed_by not_ok"):
    """A day, week or month of a checklist."""


class PeriodsReply(Reply):
    """The last ones, the present one first."""

    daily: list[PeriodReply]
    weekly: list[PeriodReply]
    monthly: list[PeriodReply]


_Count = Annotated[int, Field(ge=0, le=2**31)]


class ScanBody(Strict):
    """What a leak scan came to."""

    result: Literal["clean", "findings", "unknown"]
    sources: _Count
    found: _Count
    unknown: _Count
    live: bool = False
    excluded: _Count = 0
    known: _Count = 0
    digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


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
        return await due.list_due(
            app, actor,
            client_id=ClientId(parse_client_id(given["client_id"])) if "client_id" in given else None,
            kind=DueKind(given["kind"]) if "kind" in given else None,
            until=time_of("until", given["until"]) if "until" in given else None,
        )  # fmt: skip

    @routes.get("/notifications", response_model=NotificationsReply, openapi_extra=parameters({"alert_id": ID}))
    async def list_notifications(request: Request, actor: Actor) -> dict[str, Any]:
        """List the newest messages to people, of all alerts and reminders or of one alert."""
        given = query_of(request, "alert_id")
        about = parse_client_id(given["alert_id"]) if "alert_id" in given else None
        return {"notifications": await notify.list_notifications(app, actor, about=about)}

    @routes.post("/notifications/test", response_model=TestReply)
    async def send_test(actor: Actor) -> dict[str, Any]:
        """Raise an alert that every target is told of at once."""
        return {"alert": await notify.send_test(app, actor)}

    @routes.get("/checklists", response_model=PeriodsReply)
    async def list_checklists(actor: Actor) -> dict[str, Any]:
        """List the last days, weeks and months: signed off, missed, or still to do."""
        return {kind.value: await checklist.periods(app, actor, kind) for kind in Checklist}

    @routes.post("/leaks/scans", status_code=204)
    async def record_scan(actor: Actor, body: ScanBody) -> None:
        """Put on record that a leak scan ran, and what it came to."""
        await checklist.record_scan(app, actor, ScanResult(**body.model_dump()))

    return routes
