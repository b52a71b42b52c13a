"""The first page: what needs somebody now, worst first, each row with one thing to do.

Rules
- A row comes from a flow whose own page shows it in full; nothing is judged here that no flow has judged.
- The reply to a call is handed to each kind of row that needs it; no call is made twice.
- What could not be asked is a row, too: an empty page means that everything was asked and nothing was found.
- People are shown what their role may see, and told what it may not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from byokeep.audit import alerts
from byokeep.audit.alerts import Alert, AlertFilter
from byokeep.backup import backups
from byokeep.console.lists import page_of, waiting
from byokeep.console.pages import Console, offered, titled
from byokeep.console.scopes import in_words
from byokeep.console.visit import Visitor
from byokeep.core.errors import Unavailable
from byokeep.core.incident import MUST_TELL, IncidentSource
from byokeep.core.model import Role
from byokeep.core.next_steps import of_alert
from byokeep.core.policy import Verb
from byokeep.incidents import incidents
from byokeep.kernel import procedures
from byokeep.kernel.incidents import Incident
from byokeep.operations import checklist, due
from byokeep.operations.checks import Checklist
from byokeep.tenancy import clients
from byokeep.tenancy.scopes import scope_from_name

MOST: Final = 50  # rows of one kind; its own page has all
_ENDS: Final = (due.DueKind.MACHINE_TOKEN, due.DueKind.PERSON_TOKEN)
_BY_COMMAND: Final = (*_ENDS, due.DueKind.ADMIN_KEY, due.DueKind.WEBHOOK_SECRET)  # their pages only show


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that needs somebody. ``href`` or ``command`` is what to do."""

    rank: int
    kind: str
    what: str
    more: str = ""
    since: Any = None
    href: str = ""
    act: str = ""
    command: str = ""


async def _stopped(console: Console, who: Visitor, switches: Any) -> AsyncIterator[Need]:
    engaged = [one for one in switches["switches"] if one["closed"]]
    names = await in_words(console.app, who.actor, [one["scope"] for one in engaged])
    for one in engaged:
        reached = one["store_cut_off"] or not scope_from_name(one["scope"]).cuts_store
        why = f"Reason: {one['reason'].replace('_', ' ')}." + ("" if reached else " The store is not cut off yet.")
        yield Need(
            rank=0, kind="Stopped", what=f"{names[one['scope']]} is stopped", more=why, since=one["at"],
            href="/console/kill", act="Release",
        )  # fmt: skip


async def _audit(console: Console, who: Visitor, health: Any) -> AsyncIterator[Need]:
    if health["healthy"] is not True:
        yield Need(
            rank=1, kind="Audit", what="The store's own audit has a gap", command="byokeep doctor",
            more="No lease is issued and no value is accepted until it records again.",
        )  # fmt: skip


async def _failed(console: Console, who: Visitor) -> AsyncIterator[Need]:
    wanted = procedures.RunFilter(state="failed", is_open=True)
    found, more = await procedures.found_runs(console.app, who.actor, wanted, limit=MOST)
    for run in found:
        yield Need(
            rank=2, kind="Waiting", what=f"{titled(run.procedure)} waits for a person",
            more=f"Reason: {titled(run.reason)}.", since=run.started_at,
            href=f"/console/procedures/{run.id}", act="Look",
        )  # fmt: skip
    if more:
        href = "/console/procedures?state=waiting"
        yield Need(rank=2, kind="Waiting", what=f"{more} more wait for a person", href=href, act="Show all")


async def _waiting(console: Console, who: Visitor, switches: Any, glass: Any) -> AsyncIterator[Need]:
    if not who.actor.roles & {Role.APPROVER, Role.ADMIN}:
        return
    for one in (await waiting(console, who, switches, glass))[0]:
        if one["may"]:
            yield Need(
                rank=1, kind="Approval", what=one["what"], more=f"{one['by']} asked, and you may approve it.",
                href="/console/approvals", act="Decide",
            )  # fmt: skip


def _label(names: Mapping[UUID, str], found: Iterable[Alert | Incident], of: str) -> str:
    """Return which clients and keys alerts or incidents are about, after ``of``; the first three by name."""
    ids = [one.object_id if one.object_id in names else one.client_id for one in found]
    labels = list(dict.fromkeys(names.get(one, "") if one else "" for one in ids))
    labels = [one for one in labels if one]
    more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
    return f"{of}{', '.join(labels[:3])}{more}" if labels else ""


async def _names(console: Console, who: Visitor, found: Iterable[Alert | Incident]) -> dict[UUID, str]:
    ids = {it for one in found for it in (one.object_id, one.client_id) if it}
    return await clients.names_of(console.app, who.actor, ids)


async def _alerts(console: Console, who: Visitor) -> AsyncIterator[Need]:
    found, more = await alerts.list_alerts(console.app, who.actor, AlertFilter(severity="critical"))
    names = await _names(console, who, found)
    for reason, many in Counter(one.reason for one in found).items():
        newest = max(one.last_seen_at for one in found if one.reason == reason)
        what = titled(reason) + _label(names, (one for one in found if one.reason == reason), ": ")
        what += f", {many} alerts" if many > 1 else ""
        href = f"/console/alerts?severity=critical&reason={reason}"
        yield Need(
            rank=1, kind="Alert", what=what, more=of_alert(reason), since=newest, href=href, act="Look and close"
        )
    if more:
        href = "/console/alerts?severity=critical"
        yield Need(rank=1, kind="Alert", what=f"{more} more critical alerts", href=href, act="Show all")


def _way_on(one: due.DueItem, who: Visitor) -> dict[str, str]:
    """Return where something due is done: on its page, or by its command."""
    page = page_of(one, who)
    there = {"href": page, "act": "Look"} if page else {}
    return there if page and one.kind not in _BY_COMMAND else there | {"command": one.command}


async def _due(console: Console, who: Visitor) -> AsyncIterator[Need]:
    found = await due.list_due(console.app, who.actor, reads=False)
    late = [one for one in found.items if one.state in ("overdue", "unknown")]
    for one in late[:MOST]:
        name = f"{titled(one.kind)} {one.name}" + (f" of {one.client}" if one.client else "")
        yield Need(
            rank=3, kind="Overdue", what=f"{name} {'is overdue' if one.state == 'overdue' else 'has no date'}",
            more=one.cause.replace("_", " "), since=one.due_at, **_way_on(one, who),
        )  # fmt: skip
    if len(late) > MOST:
        what = f"{len(late) - MOST} more are overdue"
        yield Need(rank=3, kind="Overdue", what=what, href="/console/due", act="Show all")
    for one in found.items:
        if one.kind in _ENDS and one.state == "due":
            what = f"The token of {one.name} ends"
            yield Need(rank=4, kind="Ends soon", what=what, since=one.due_at, **_way_on(one, who))


async def _incidents(console: Console, who: Visitor) -> AsyncIterator[Need]:
    found = await incidents.list_incidents(console.app, who.actor, client_id=None, only_open=True)
    names = await _names(console, who, found[:MOST])
    for one in found[:MOST]:
        by = "a person" if one.source == IncidentSource.PERSON else f"the {one.source}"
        what = f"{one.kind.replace('_', ' ').capitalize()}{_label(names, [one], ' of ')} is not dealt with"
        yield Need(
            rank=1 if one.severity in MUST_TELL else 2, kind=one.severity.value, what=what, more=f"Noticed by {by}.",
            since=one.opened_at, href=f"/console/incidents/{one.id}", act="Go on",
        )  # fmt: skip
    if len(found) > MOST:
        what = f"{len(found) - MOST} more incidents are open"
        yield Need(rank=1, kind="Incident", what=what, href="/console/incidents", act="Show all")


async def _glass(console: Console, who: Visitor, glass: Any) -> AsyncIterator[Need]:
    for one in glass["grants"]:
        if one["status"] in ("open", "to_review", "to_close"):
            word = {"open": "is open", "to_review": "is to be reviewed", "to_close": "is to be closed"}[one["status"]]
            yield Need(
                rank=1 if one["status"] == "open" else 3, kind="Break glass", what=f"Break glass {word}",
                more=f"Ticket {one['ticket']}.", since=one["started_at"], href=f"/console/break-glass/{one['id']}",
                act="Go on",
            )  # fmt: skip


async def _checklists(console: Console, who: Visitor) -> AsyncIterator[Need]:
    for kind in Checklist:
        now, *past = await checklist.periods(console.app, who.actor, kind)
        if now.state == "to_do":
            missed = "The previous one was missed." if past and past[0].state == "missed" else ""
            yield Need(
                rank=3 if missed else 4, kind="Checklist", what=f"The {kind} checklist is to do", more=missed,
                href=f"/console/checklists/{kind}", act="Go through it",
            )  # fmt: skip


async def _backups(console: Console, who: Visitor) -> AsyncIterator[Need]:
    found, app = (await backups.list_recovery(console.app, who.actor))[0], console.app
    match backups.newest_proved(found, app.clock.now()):
        case "clock_ahead":
            what = "Every backup that was opened is dated in the future"
            more = "A clock ran ahead: make one now, and have it opened."
        case "none_opened":
            none = "No backup has been made yet" if app.limits.backup_hours else "No backup is set up"
            what = "No backup has ever been opened" if found else none
            more = "Until one has been opened, nobody knows whether this installation could be restored."
        case _:
            return
    yield Need(rank=3, kind="Backup", what=what, more=more, href="/console/recovery", act="Look")


# In words, the verb that it needs, whether only for people of all clients, the calls whose replies it is handed, and
# what makes the rows of them.
_ASKED: Final[tuple[tuple[str, Verb, bool, tuple[str, ...], Callable[..., AsyncIterator[Need]]], ...]] = (
    ("kill switches", Verb.SWITCH_READ, False, ("/v1/switches",), _stopped),
    ("the store's audit", Verb.ALERT_READ, False, ("/v1/audit/health",), _audit),
    ("approvals", Verb.GLASS_READ, False, ("/v1/switches", "/v1/breakglass"), _waiting),
    ("alerts", Verb.ALERT_READ, False, (), _alerts),
    ("procedures", Verb.PROCEDURE_READ, False, (), _failed),
    ("due dates", Verb.DUE_READ, False, (), _due),
    ("incidents", Verb.INCIDENT_READ, False, (), _incidents),
    ("break glass", Verb.GLASS_READ, False, ("/v1/breakglass",), _glass),
    ("checklists", Verb.CHECKLIST_READ, True, (), _checklists),
    ("backups", Verb.CHECKLIST_READ, True, (), _backups),
)


def add(console: Console) -> None:
    """Add the page."""

    async def attention(request: Request, who: Visitor) -> Response:
        rows, unseen, replies = [], [], dict[str, Any]()
        for name, verb, every, calls, ask in _ASKED:
            if not offered(who, verb, every):
                unseen.append(name)
                continue
            try:
                for path in set(calls) - set(replies):
                    replies[path] = await console.ask(who, "GET", path)
                rows += [one async for one in ask(console, who, *(replies[path] for path in calls))]
            except Unavailable as error:
                rows.append(Need(rank=0, kind="Unknown", what=f"Could not check {name}",
                                more=error.next_step, command="byokeep doctor"))  # fmt: skip
        rows.sort(key=lambda one: one.rank)
        return console.page(request, "attention.html", who=who, rows=rows, unseen=unseen)

    console.add("GET", "", attention)
