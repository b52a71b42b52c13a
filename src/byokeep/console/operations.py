"""Recurring work: the checklists with their sign-off, backups, drills, the calendar of what is due, and settings.

Rules
- A checklist is run by a form, because running it is recorded. It is signed as it was seen: the form that signs holds
  the digest of what was shown.
- A backup has two times, made and verified. A drill that failed or was interrupted is listed as such.
- A restore is shown as the record that the host made and the release by two people after it. What it left open is
  listed.
- What is overdue or has no date is on every page of the calendar, whatever the month.

It may not run a backup, a drill or a restore: the host does, and the page says with which command.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.audit import alerts
from byokeep.backup import backups
from byokeep.backup.backups import Restore
from byokeep.console.lists import page_of, paged
from byokeep.console.pages import HEADERS, Console
from byokeep.console.timeline import took
from byokeep.console.visit import Visitor, form_of
from byokeep.core.drill import FAILED, GLASS, NOT_RUN, PASSED, PUBLISH, REFS, RESTORE, STEPS, VERIFY
from byokeep.core.errors import NotFound, Rejected, refusing
from byokeep.core.model import ClientId
from byokeep.core.next_steps import of_alert
from byokeep.core.policy import Verb, authorise_every_client
from byokeep.core.ref import given_id, parse_client_id
from byokeep.kernel import procedures
from byokeep.operations import checklist, due
from byokeep.operations.checks import CHECKS, Checklist
from byokeep.operations.due import DueKind
from byokeep.tenancy import clients

_RECOVERY: Final = (DueKind.BACKUP, DueKind.BACKUP_PROOF, DueKind.RECOVERY_DRILL)
_DRILLED: Final = {  # each step of a drill: its title, and what it proves
    RESTORE: ("Restore", "A backup is opened in a separate place, with the keys that a person brought."),
    REFS: ("References", "What the database names and what the store holds are compared, both ways."),
    VERIFY: ("Clients", "Some clients' keys are verified and identities compared. The RTO is measured to here."),
    PUBLISH: ("No effect", "A permit is asked for and must be refused: nothing leaves a drill."),
    GLASS: ("Break glass", "Break glass works in what was restored, too."),
}  # fmt: skip
_RESTORED: Final = frozenset({  # alerts about what a restore left to people
    "restore_skewed", "restore_to_do", "tombstones_lost", "withdrawal_undone", "destroyed_key_back", "orphan_kept",
    "webhook_secret_not_destroyed",
})  # fmt: skip
_MONTHS: Final = 13  # ahead: what is due later has no day yet that people can plan with


def add(console: Console) -> None:
    """Add the pages."""
    _checklists(console)
    _calendar(console)
    _settings(console)

    async def recovery(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        show = asked.get("show", "backups")
        if show not in ("backups", "drills", "restores"):
            raise Rejected("bad_request", next_step="Use backups, drills or restores.")
        found, drills, restores = await backups.list_recovery(console.app, who.actor)
        until = console.app.clock.now() + timedelta(days=100)
        coming = [one for kind in _RECOVERY for one in
                  (await due.list_due(console.app, who.actor, kind=kind, until=until, reads=False)).items]  # fmt: skip
        lists: dict[str, list[Any]] = {"backups": found, "drills": drills, "restores": restores}
        return console.page(
            request, "recovery.html", who=who, show=show, due=coming, runs=console.app.limits.drills,
            counts=(len(found), len(drills), len(restores)),
            left=await _left(console, who) if show == "restores" and restores else {},
            steps=await _restored(console, who, restores) if show == "restores" else {},
            step_of=of_alert, **paged(lists[show], asked, "/console/recovery"),
        )  # fmt: skip

    async def drill(request: Request, who: Visitor) -> Response:
        about = given_id(request.path_params["drill_id"])
        _, drills, _ = await backups.list_recovery(console.app, who.actor)
        one = next((one for one in drills if one.id == about), None)
        if one is None:
            raise NotFound("not_found")
        ran = STEPS.index(one.stage) if one.stage in STEPS else len(STEPS) if one.outcome == "ok" else 0
        rest = NOT_RUN if one.outcome == FAILED else "unknown"
        states = [PASSED if at < ran else FAILED if name == one.stage else rest for at, name in enumerate(STEPS)]
        steps = [(*_DRILLED[name], state) for name, state in zip(STEPS, states, strict=True)]
        return console.page(request, "drill.html", who=who, one=one, steps=steps)

    console.asking("/recovery", recovery, "show", "page")
    console.add("GET", "/recovery/{drill_id}", drill)


def _calendar(console: Console) -> None:
    async def month(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        now = console.app.clock.now()
        first = _month(asked.get("month"), now.date())
        if asked.get("kind", DueKind.KEY) not in set(DueKind):
            raise Rejected("bad_kind", next_step="Use one of " + ", ".join(DueKind) + ".")
        after = (first + timedelta(days=32)).replace(day=1)
        found = await due.list_due(
            console.app, who.actor, kind=DueKind(asked["kind"]) if "kind" in asked else None,
            client_id=ClientId(parse_client_id(asked["client"])) if "client" in asked else None,
            until=max(datetime(after.year, after.month, 1, tzinfo=UTC), now),
        )  # fmt: skip
        days: dict[date, list[due.DueItem]] = {}
        for one in found.items:
            day = one.due_at and one.due_at.astimezone(UTC).date()
            if day and day.replace(day=1) == first:
                days.setdefault(day, []).append(one)
        return console.page(
            request, "calendar.html", who=who, asked=asked, first=first, today=now.date(), days=days, found=found,
            weeks=calendar.Calendar().monthdatescalendar(first.year, first.month), kinds=list(DueKind),
            late=[one for one in found.items if one.state in ("overdue", "unknown")], names=calendar.month_name,
            before=(first - timedelta(days=1)).replace(day=1), after=after,
            clients=await clients.list_clients(console.app, who.actor), page_of=partial(page_of, who=who),
        )  # fmt: skip

    console.asking("/due/month", month, "month", "client", "kind")


async def _restored(console: Console, who: Visitor, found: list[Restore]) -> dict[int, list[dict[str, Any]]]:
    """Return the steps of each restore, by the number of its record; a person's step is to open the result."""
    names = await clients.names_of(console.app, who.actor, {one.opened_by for one in found if one.opened_by})
    rows: dict[int, list[dict[str, Any]]] = {}
    for one in found:
        rows[one.seq] = [
            {"name": "Opened, checked and restored on the host; closed", "state": "done", "seq": one.seq,
             "hash": one.hash, "at": one.at, "by": "the host", "took": ""},
            {"name": "Released by two people", "state": "next" if one is found[0] else "open",
             "needs": "Until then nothing acts. First work through restored.json in the home, and the list below."},
        ]  # fmt: skip
        if one.opened_at is not None and one.opened_by is not None:
            rows[one.seq][1] |= {
                "state": "done", "seq": one.opened_seq, "hash": one.opened_hash, "at": one.opened_at,
                "by": names.get(one.opened_by, one.opened_by), "took": took(one.opened_at - one.at),
            }  # fmt: skip
    return rows


async def _left(console: Console, who: Visitor) -> dict[str, list[Any]]:
    """Return what a restore left to people and is still open: alerts, and requests to destroy what has no record."""
    found, _ = await alerts.list_alerts(console.app, who.actor)
    wanted = procedures.RunFilter(names=("purge_orphans",), is_open=True)
    runs, _ = await procedures.found_runs(console.app, who.actor, wanted)
    return {"alerts": sorted({one.reason for one in found} & _RESTORED), "runs": runs}


def _month(text: str | None, today: date) -> date:
    """Return the first day of the month in the address; of the present month if it names none."""
    step = "Name a month such as 2026-01, up to a year ahead."
    with refusing("bad_time", Rejected, on=ValueError, next_step=step):
        first = date.fromisoformat(f"{text}-01") if text else today.replace(day=1)
    if not -_MONTHS <= (first.year - today.year) * 12 + first.month - today.month <= _MONTHS:
        raise Rejected("bad_time", next_step=step)
    return first


def _settings(console: Console) -> None:
    async def settings(request: Request, who: Visitor) -> Response:
        authorise_every_client(who.actor, Verb.SETTINGS_READ)
        return console.page(request, "settings.html", who=who, groups=console.app.settings)

    console.add("GET", "/settings", settings)


def _checklists(console: Console) -> None:
    async def lists(request: Request, who: Visitor) -> Response:
        found = {kind: await checklist.periods(console.app, who.actor, kind) for kind in Checklist}
        ids = {one.signed_by for rows in found.values() for one in rows if one.signed_by}
        names = await clients.names_of(console.app, who.actor, ids)
        return console.page(request, "checklists.html", who=who, found=found, names=names)

    async def one_list(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        kind, period = _kind(request), asked.get("period")
        found = await checklist.periods(console.app, who.actor, kind)
        if not (known := [row for row in found if period in (None, row.period.isoformat())]):
            raise NotFound("not_found")
        one = known[0] if known[0].signed_by else None
        return console.page(
            request, "checklist-ask.html", who=who, kind=kind, items=len(CHECKS[kind]), one=one,
            then=await checklist.signed_items(console.app, who.actor, kind, one.period) if one else [],
            names=await clients.names_of(console.app, who.actor, {one.signed_by} if one and one.signed_by else set()),
        )  # fmt: skip

    async def filled(request: Request, who: Visitor, kind: Checklist) -> Response:
        console.writes.spend(str(who.actor.id))  # each run queries the whole installation
        found = await console.ask(who, "POST", "/v1/checklists/fill", {"checklist": kind})
        ids = {UUID(one[name]) for one in found["access"] for name in ("client_id", "by") if one[name]}
        ids |= {UUID(found["signed_by"])} if found["signed_by"] else set()
        then = await checklist.signed_items(console.app, who.actor, kind, date.fromisoformat(found["period"]))
        return console.page(
            request, "checklist.html", then=then if found["signed_at"] else [], who=who, found=found,
            signs=who.may(Verb.CHECKLIST_SIGN),
            bad=[one for one in found["items"] if one["state"] != "ok"],
            names={str(one): name for one, name in (await clients.names_of(console.app, who.actor, ids)).items()},
        )  # fmt: skip

    async def signed(request: Request, who: Visitor) -> Response:
        kind = _kind(request)
        items = [check.name for check in CHECKS[kind]]
        given = await form_of(console.app, request, "seen", "period", *(f"ticket-{item}" for item in items))
        if not given["seen"]:
            return await filled(request, who, kind)
        tickets = {item: text for item in items if (text := given[f"ticket-{item}"].strip())}
        body = {"checklist": kind, "seen": given["seen"], "period": given["period"], "tickets": tickets}
        await console.ask(who, "POST", "/v1/checklists/sign", body)
        return RedirectResponse(f"/console/checklists/{kind}", 303, HEADERS)

    console.add("GET", "/checklists", lists)
    console.asking("/checklists/{kind}", one_list, "period")
    console.add("POST", "/checklists/{kind}", signed)


def _kind(request: Request) -> Checklist:
    with refusing("not_found", NotFound, on=ValueError):
        return Checklist(request.path_params["kind"])
