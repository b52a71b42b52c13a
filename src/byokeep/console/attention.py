"""The first page: what needs somebody now, the worst first, each row with its one way on.

Rules
- A row comes from a flow that a page of its own shows in full; nothing is judged here that no flow has judged.
- What could not be asked is a row too: an empty page means that everything was asked and nothing was found.
- A person is shown what their role sees, and told what it does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from byokeep.audit import alerts
from byokeep.audit.alerts import AlertFilter
from byokeep.console.pages import Console, Pages
from byokeep.console.scopes import in_words
from byokeep.console.visit import Visitor
from byokeep.core.errors import Unavailable
from byokeep.core.next_steps import of_alert
from byokeep.core.policy import Verb
from byokeep.http.request import no_query
from byokeep.kernel import procedures
from byokeep.operations import due
from byokeep.tenancy.scopes import scope_from_name

MOST: Final = 50  # rows of one kind; the page of its own has all
_ENDS: Final = (due.DueKind.MACHINE_TOKEN, due.DueKind.PERSON_TOKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that needs somebody. ``href`` or ``command`` is the way on."""

    rank: int
    kind: str
    what: str
    more: str = ""
    since: Any = None
    href: str = ""
    act: str = ""
    command: str = ""


async def _stopped(console: Console, who: Visitor) -> AsyncIterator[Need]:
    found = (await console.ask(who, "GET", "/v1/switches"))["switches"]
    engaged = [one for one in found if one["closed"]]
    names = await in_words(console.app, who.actor, [one["scope"] for one in engaged])
    for one in engaged:
        reached = one["store_cut_off"] or not scope_from_name(one["scope"]).cuts_store
        why = f"Reason: {one['reason'].replace('_', ' ')}." + ("" if reached else " The store is not cut off yet.")
        yield Need(
            rank=0, kind="Stopped", what=f"{names[one['scope']]} is stopped", more=why, since=one["at"],
            href="/console/kill", act="Release",
        )  # fmt: skip


async def _audit(console: Console, who: Visitor) -> AsyncIterator[Need]:
    said = await console.ask(who, "GET", "/v1/audit/health")
    if said["healthy"] is not True:
        yield Need(
            rank=1, kind="Audit", what="The store's own audit has a gap", command="byokeep doctor",
            more="Nothing is leased and no value is taken in until it records again.",
        )  # fmt: skip


async def _failed(console: Console, who: Visitor) -> AsyncIterator[Need]:
    for one in await procedures.runs(console.app, who.actor):
        if one.run.state == "failed" and one.run.closed_at is None:
            yield Need(
                rank=2, kind="Failed", what=f"{one.run.procedure.replace('_', ' ')} has stopped",
                more=f"Reason: {one.run.reason.replace('_', ' ')}.", since=one.run.started_at,
                href=f"/console/procedures/{one.run.id}", act="Look",
            )  # fmt: skip


async def _alerts(console: Console, who: Visitor) -> AsyncIterator[Need]:
    found, more = await alerts.list_alerts(console.app, who.actor, AlertFilter(severity="critical"))
    for reason, many in Counter(one.reason for one in found).items():
        newest = max(one.last_seen_at for one in found if one.reason == reason)
        what = reason.replace("_", " ") + (f", {many} alerts" if many > 1 else "")
        href = f"/console/alerts?severity=critical&reason={reason}"
        yield Need(
            rank=1, kind="Alert", what=what, more=of_alert(reason), since=newest, href=href, act="Look and close"
        )
    if more:
        href = "/console/alerts?severity=critical"
        yield Need(rank=1, kind="Alert", what=f"{more} more critical alerts", href=href, act="Show all")


async def _due(console: Console, who: Visitor) -> AsyncIterator[Need]:
    found = await due.list_due(console.app, who.actor)
    late = [one for one in found.items if one.state in ("overdue", "unknown")]
    for one in late[:MOST]:
        name = f"{one.kind.replace('_', ' ')} {one.name}" + (f" of {one.client}" if one.client else "")
        yield Need(
            rank=3, kind="Overdue", what=f"{name} {'is overdue' if one.state == 'overdue' else 'has no date'}",
            more=one.cause.replace("_", " "), since=one.due_at, command=one.command,
        )  # fmt: skip
    if len(late) > MOST:
        what = f"{len(late) - MOST} more are overdue"
        yield Need(rank=3, kind="Overdue", what=what, href="/console/due", act="Show all")
    for one in found.items:
        if one.kind in _ENDS and one.state == "due":
            what = f"The token of {one.name} ends"
            yield Need(rank=4, kind="Ends soon", what=what, since=one.due_at, command=one.command)


_ASKED: Final[tuple[tuple[str, Verb, Callable[[Console, Visitor], AsyncIterator[Need]]], ...]] = (
    ("kill switches", Verb.SWITCH_READ, _stopped), ("the store's audit", Verb.ALERT_READ, _audit),
    ("alerts", Verb.ALERT_READ, _alerts), ("procedures", Verb.PROCEDURE_READ, _failed),
    ("due dates", Verb.DUE_READ, _due),
)  # fmt: skip


def add(pages: Pages) -> None:
    """Add the page."""
    console = pages.console

    async def attention(request: Request, who: Visitor) -> Response:
        await no_query(request)
        rows, unseen = [], []
        for name, verb, ask in _ASKED:
            if not who.actor.roles & verb.roles:
                unseen.append(name)
                continue
            try:
                rows += [one async for one in ask(console, who)]
            except Unavailable as error:
                rows.append(Need(rank=0, kind="Unknown", what=f"It is not known how it stands with {name}",
                                more=error.next_step, command="byokeep doctor"))  # fmt: skip
        rows.sort(key=lambda one: one.rank)
        return console.page(request, "attention.html", who=who, rows=rows, unseen=unseen)

    pages.add("GET", "", attention)
