"""Lists: alerts, what is due, and what waits for a second person, each with its filter in the address.

Rules
- A list says how many rows it has and how many are not shown; a page of it has ``PER_PAGE`` rows.
- What can be exported is a list of :mod:`byokeep.operations.lists`: the broker reads it again, signs it, and says in it
  what it lacks. As CSV it comes in one file with the signed document, which names the digest of the table.
- An approval is shown as a sentence: what it allows, who asks, until when. If nobody answers, it does not happen.
- Whoever may not approve sees what waits, without a button.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import zipfile
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, quote, urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.audit import alerts
from byokeep.console.pages import HEADERS, Console
from byokeep.console.scopes import in_words
from byokeep.console.visit import Visitor, came_from
from byokeep.core.errors import Rejected, refusing
from byokeep.core.model import Role
from byokeep.core.next_steps import of_alert
from byokeep.core.policy import Verb
from byokeep.core.ref import given_id
from byokeep.core.sheet import sheet
from byokeep.http.procedures import run_out
from byokeep.http.request import whole_number
from byokeep.kernel import procedures
from byokeep.kernel.approvals import BREAK_GLASS, OF_PEOPLE, RELEASE_SWITCH
from byokeep.kernel.procedures import RunStatus
from byokeep.operations import due, lists
from byokeep.tenancy import clients

PER_PAGE: Final = 50
_MOST_HOURS: Final = 24 * 366
_PAGING: Final = ("page", "before", "record")
T = TypeVar("T")
_DECIDED: Final[Mapping[str, str]] = {
    "release": "/v1/switches/open-requests/{request_id}/approve", "rights": "/v1/approvals/{request_id}/approve",
    "step": "/v1/procedures/{run_id}/approve", "glass": "/v1/breakglass/{grant_id}/approve",
    "glass-no": "/v1/breakglass/{grant_id}/deny",
}  # fmt: skip
# Who may approve what, and the actions of its requests; a step of a run names its verb itself.
APPROVED_BY: Final[Mapping[str, tuple[Verb, tuple[str, ...]]]] = {
    "release": (Verb.SWITCH_APPROVE_OPEN, (RELEASE_SWITCH,)), "glass": (Verb.GLASS_APPROVE, (BREAK_GLASS,)),
    "rights": (Verb.SUBJECT_APPROVE, OF_PEOPLE),
}  # fmt: skip

# The page about what is due, and the verb that opens it.
_DUE_AT: Final[Mapping[due.DueKind, tuple[str, Verb]]] = {
    due.DueKind.UNUSED_KEY: ("/console/rotations/{item}", Verb.KEY_METADATA),
    due.DueKind.OAUTH: ("/console/clients/{client}/accounts/{name}", Verb.CLIENT_READ),
    due.DueKind.PROFILE: ("/console/profiles/{item}", Verb.PROFILE_READ),
    due.DueKind.BREAK_GLASS: ("/console/break-glass", Verb.GLASS_READ),
    due.DueKind.RECOVERY_DRILL: ("/console/recovery?show=drills", Verb.CHECKLIST_READ),
    **dict.fromkeys((due.DueKind.KEY, due.DueKind.ADMIN_KEY, due.DueKind.WEBHOOK_SECRET),
                    ("/console/keys/{item}", Verb.KEY_METADATA)),
    **dict.fromkeys((due.DueKind.MACHINE_TOKEN, due.DueKind.PERSON_TOKEN),
                    ("/console/people/{item}", Verb.SUBJECT_READ)),
    **dict.fromkeys((due.DueKind.BACKUP, due.DueKind.BACKUP_PROOF), ("/console/recovery", Verb.CHECKLIST_READ)),
}  # fmt: skip


def hours_ago(console: Console, hours: str) -> datetime:
    """Return the time so many hours before now, a year at most. Raises Rejected: ``bad_number``."""
    return console.app.clock.now() - timedelta(hours=min(whole_number("hours", hours) or 0, _MOST_HOURS))


def paged(rows: Sequence[T], asked: Mapping[str, str], path: str, *, more: int = 0) -> dict[str, Any]:
    """Return a page of rows, with the addresses of the pages before and after it.

    Args:
        rows: All rows.
        asked: The query of this page.
        path: The path of the page.
        more: How many more there are that the flow did not return; -1: nobody counted.

    Raises:
        Rejected: ``bad_number``.
    """
    last = max(1, -(-len(rows) // PER_PAGE))
    at = min(max(whole_number("page", asked.get("page")) or 1, 1), last)

    def address(number: int) -> str:
        return f"{path}?{urlencode({**asked, 'page': number})}" if 1 <= number <= last else ""

    shown = rows[(at - 1) * PER_PAGE : at * PER_PAGE]
    beside = {"before": address(at - 1), "after": address(at + 1)}
    return {"rows": shown, "pages": beside | {"at": at, "last": last, "total": len(rows), "more": more}}


def page_of(one: due.DueItem, who: Visitor) -> str:
    """Return the page about something due; empty: there is none, or this visitor may not open it."""
    at, verb = _DUE_AT.get(one.kind, ("", Verb.DUE_READ))
    return at.format(item=one.item, client=one.client_id, name=quote(one.name)) if who.may(verb) else ""


def exported_as(name: str, asked: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of the form that exports a list: its name, and the page's filter without paging."""
    return {"list": name, "asked": urlencode({it: text for it, text in asked.items() if it not in _PAGING})}


def attached(content: bytes, name: str, media: str = "application/json") -> Response:
    """Return a file for the visitor to download."""
    return Response(content, headers=HEADERS | {"Content-Disposition": f'attachment; filename="{name}"'},
                    media_type=media)  # fmt: skip


def _named(signed: bytes) -> tuple[dict[str, Any], str]:
    """Return what a signed list says, and its file name: the list's and, if it is of one client, that client's name."""
    said = json.loads(b64decode(json.loads(signed)["payload"]))["predicate"]
    client = re.sub("[^a-z0-9]+", "-", said.get("client", "").lower()).strip("-")[:60]
    return said, f"{said['list']}-{client or said['asked']['client']}" if "client" in said["asked"] else said["list"]


def _table(said: dict[str, Any], signed: bytes, name: str) -> bytes:
    """Return one file with a signed list and its table as CSV; the signed document names the digest of the CSV."""
    table, made = io.BytesIO(), said["made_at"]
    at = datetime.fromisoformat(made).timetuple()[:6]
    rows = [dict(zip(said["columns"], row, strict=True)) for row in said["rows"]]
    files = {f"{name}.csv": sheet(said["columns"], rows), f"{name}.signed.json": signed}
    with zipfile.ZipFile(table, "w") as packed:
        if said["left"] or said["left_is"] != "exact":
            many = f"{said['left']} rows" + (" or more" if said["left_is"] != "exact" else "")
            files["NOT-ALL-OF-IT.txt"] = f"Cut: {many} are not here. Narrow the filter.\n".encode()
        for named, content in files.items():
            packed.writestr(zipfile.ZipInfo(named, at), content, zipfile.ZIP_DEFLATED)
    return table.getvalue()


def add(console: Console) -> None:
    """Add the pages."""
    _alerts(console)

    async def export(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        if given["list"] not in lists.LISTS:
            raise Rejected("unknown_list", next_step="Use the button of a list.")
        with refusing("bad_request", Rejected, on=ValueError, next_step="Send the form as the page does."):
            filtered = dict(parse_qsl(given["asked"], max_num_fields=20))
        body = {"list": given["list"], "asked": filtered}
        signed = await console.fetch(who, "POST", "/v1/lists/sign", body)
        said, named = await asyncio.to_thread(_named, signed)
        if given["as"] == "csv":
            return attached(await asyncio.to_thread(_table, said, signed, named), f"{named}.zip", "application/zip")
        return attached(signed, f"{named}.signed.json")

    console.post("/export", export, "list", "asked", "as")

    async def due_list(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        found = await lists.due_of(console.app, who.actor, asked)
        more = paged(found.items, asked, "/console/due", more=found.more) | {"until": found.until}
        return console.page(request, "due.html", who=who, asked=asked, kinds=list(due.DueKind),
                            export=exported_as("due", asked), page_of=partial(page_of, who=who), **more)  # fmt: skip

    async def approvals(request: Request, who: Visitor) -> Response:
        asked = [await console.ask(who, "GET", path) for path in ("/v1/switches", "/v1/breakglass")]
        rows, left = await waiting(console, who, *asked)
        export = exported_as("approvals", {})
        return console.page(request, "approvals.html", who=who, rows=rows, left=left, export=export)

    async def decided(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        kind, about = given["kind"], given_id(given["id"])
        if kind not in _DECIDED:
            raise Rejected("bad_request", next_step="Send the form as the page does.")
        path = _DECIDED[kind]
        done = await console.ask(who, "POST", path, ids={path.partition("{")[2].partition("}")[0]: about})
        to = {  # where to see the result
            "release": f"/kill?{urlencode({'released': done.get('scope', '')})}", "step": f"/procedures/{about}",
            "rights": f"/people/{done.get('id', '')}",
        }.get(kind, f"/break-glass/{about}")  # fmt: skip
        return RedirectResponse(f"/console{to}", 303, HEADERS)

    console.asking("/due", due_list, "kind", "client", "days", "page")
    console.add("GET", "/approvals", approvals)
    console.post("/approvals", decided, "kind", "id")


def _alerts(console: Console) -> None:
    async def alert_list(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        found, left = await lists.alerts_of(console.app, who.actor, asked)
        more = paged(found, asked, "/console/alerts", more=left)
        ids = {one for row in more["rows"] for one in (row.client_id, row.object_id, row.acknowledged_by) if one}
        named = await clients.named_of(console.app, who.actor, ids)
        return console.page(
            request, "alerts.html", who=who, asked=asked, step_of=of_alert, export=exported_as("alerts", asked),
            names={one.id: one.name for one in named}, kinds={one.id: one.kind for one in named},
            acts=bool(who.actor.roles & {Role.ADMIN, Role.OPERATOR}), **more,
        )  # fmt: skip

    async def alert_done(request: Request, who: Visitor, given: dict[str, str]) -> Response:
        act = {"take": alerts.ACKNOWLEDGE, "close": alerts.CLOSE}.get(given["act"])
        if act is None:
            raise Rejected("bad_request", next_step="Send the form as the page does.")
        await alerts.close_alert(console.app, who.actor, given_id(given["id"]), act)
        back = came_from(request)  # with its filter
        return RedirectResponse(back if back.startswith("/console/alerts") else "/console/alerts", 303, HEADERS)

    console.asking("/alerts", alert_list, "client", "reason", "severity", "history", "page")
    console.post("/alerts", alert_done, "id", "act")


def facts_in_words(status: RunStatus) -> list[str]:
    """Return what the approval that a run waits for is about; it approves nothing else."""
    facts = sorted(run_out(status)["facts"].items())
    return [f"{name.removesuffix(f'_{said}').replace('_', ' ')} {said}" for name, said in facts]


async def waiting(console: Console, who: Visitor, switches: Any, glass: Any) -> tuple[list[dict[str, Any]], int]:
    """Return what waits for a second person, as sentences, and how many runs were not examined.

    ``mine``: this person asked, so another must approve. ``switches``, ``glass``: what the broker says of both.
    """
    found = list[dict[str, Any]]()

    def add_row(
        kind: str, about: str, what: str, by: str, until: Any, verb: Verb | None = None, href: str = ""
    ) -> None:
        verb, mine = verb or APPROVED_BY[kind][0], by == str(who.actor.id)
        found.append({"kind": kind, "id": about, "what": what, "by": by, "until": until, "mine": mine, "href": href,
                      "may": who.may(verb) and not mine, "by_role": sorted(verb.roles)[0]})  # fmt: skip

    words = await in_words(console.app, who.actor, [asked["scope"] for asked in switches["requests"]])
    for asked in switches["requests"]:
        what = f"Release {words[asked['scope']]}: {asked['reason'].replace('_', ' ')}"
        add_row("release", asked["id"], what, asked["requested_by"], asked["expires_at"])
    if who.may(APPROVED_BY["rights"][0]):
        for asked in (await console.ask(who, "GET", "/v1/approvals"))["approvals"]:
            what = asked["what"][:1].upper() + asked["what"][1:]
            add_row("rights", asked["id"], what, asked["requested_by"], asked["expires_at"])
    steps, left = await procedures.to_approve(console.app, who.actor)
    grants = [one for one in glass["grants"] if one["status"] == "requested"]
    ids = {one.run.client_id for one in steps if one.run.client_id} | {UUID(one["client_id"]) for one in grants}
    of = await clients.names_of(console.app, who.actor, ids)
    for one in steps:
        step = console.app.procedures[one.run.procedure].next(one.run)
        if step is not None and step.approval is not None:
            whose = of.get(one.run.client_id, str(one.run.client_id)) if one.run.client_id else "the platform"
            what = f"Let {one.run.procedure.replace('_', ' ')} of {whose} go on: {step.name.replace('_', ' ')}"
            add_row("step", str(one.run.id), "; ".join((what, *facts_in_words(one))), str(one.run.asked_by), None,
                    step.approval, f"/console/procedures/{one.run.id}")  # fmt: skip
    for grant in grants:
        scope = grant["scope"]
        opens = {"all": "every secret", "drill": "no secret (a drill)"}.get(scope, f"the {scope} secrets")
        whose = of.get(UUID(grant["client_id"]), grant["client_id"])
        what = (f"Let a person read {opens} of {whose} for {grant['life_s'] // 60} minutes: "
                f"{grant['reason'].replace('_', ' ')}, ticket {grant['ticket']}")  # fmt: skip
        href = f"/console/break-glass/{grant['id']}"
        add_row("glass", grant["id"], what, grant["holder"], grant["lapses_at"], href=href)
    names = await clients.names_of(console.app, who.actor, {UUID(row["by"]) for row in found})
    return [row | {"by": names.get(UUID(row["by"]), row["by"])} for row in found], left
