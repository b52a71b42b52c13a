"""Usage: how often clients' credentials were used, by hour and job, what was refused, and what providers counted.

Rules
- What is unknown is a gap in the chart and a word in its table, never a zero.
- A chart is an SVG in the page, with a table of the same numbers beside it.
- No price is guessed: a cost is what a provider reported.

It may not count by itself: the API's flow does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.explore import days
from byokeep.console.lists import exported_as
from byokeep.console.pages import HEADERS, Console
from byokeep.console.visit import Visitor
from byokeep.core.errors import Rejected
from byokeep.core.model import ClientId, Provider
from byokeep.core.policy import Verb, authorise
from byokeep.core.ref import given_id
from byokeep.keys import provider_usage, refs
from byokeep.keys.usage import Usage
from byokeep.operations import lists
from byokeep.tenancy import clients

_HOURLY: Final = timedelta(days=3)  # longer spans are shown by day
_BACK: Final = timedelta(days=7)  # how far back a provider is asked
WIDE, HIGH = 720, 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """An hour or a day: the known numbers; None = unknown.

    ``dark``: for part of it nothing shows that the installation ran; ``partly``: there may be more calls.
    """

    at: datetime
    leases: int | None
    permits: int | None
    calls: int | None
    failed: int | None
    dark: bool
    partly: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A slot in a chart, in its units; ``kind`` is known, partly or gap."""

    x: float
    y: float
    width: float
    height: float
    kind: str


def slots_of(found: Usage) -> list[Slot]:
    """Return the hours or days of a span in order, including those without any use."""
    width = timedelta(hours=1) if found.until - found.since <= _HOURLY else timedelta(days=1)
    unit = {"minute": 0, "second": 0, "microsecond": 0} | ({} if width < timedelta(days=1) else {"hour": 0})
    at, slots = found.since.replace(**unit), []  # type: ignore[arg-type]
    while at < found.until:
        end = at + width
        rows = [one for one in found.hours if at <= one.hour < end]
        dark = any(gap.why == "not_running" and gap.since < end and gap.until > at for gap in found.gaps)
        old = any(gap.why == "not_kept" and gap.since < end and gap.until > at for gap in found.gaps)
        untold = dark or old or any(one.untold for one in rows)
        sums = [sum(getattr(one, name) for one in rows) for name in ("leases", "permits", "calls", "calls_failed")]
        slots.append(Slot(
            at=at, leases=sums[0] or (None if dark else 0), permits=sums[1] or (None if dark else 0),
            calls=sums[2] or (None if untold else 0), failed=None if untold and not sums[2] else sums[3],
            dark=dark, partly=untold,
        ))  # fmt: skip
        at = end
    return slots


def bars(slots: Sequence[Slot], name: str) -> list[Bar]:
    """Return the bars of a chart ``WIDE`` by ``HIGH``; what is unknown is a gap of full height."""
    numbers = [getattr(one, name) for one in slots]
    most = max([number for number in numbers if number is not None], default=0) or 1
    step, made = WIDE / max(1, len(slots)), []
    for at, (slot, number) in enumerate(zip(slots, numbers, strict=True)):
        if number == 0:
            continue
        high = HIGH if number is None else max(2.0, number / most * (HIGH - 4))
        kind = "gap" if number is None else "partly" if (slot.partly if name == "calls" else slot.dark) else "known"
        made.append(Bar(x=round(at * step, 1), y=round(HIGH - high, 1), width=round(max(1.0, step - 1), 1),
                        height=round(high, 1), kind=kind))  # fmt: skip
    return made


def add(console: Console) -> None:
    """Add the pages."""

    async def usage(request: Request, who: Visitor, asked: dict[str, str]) -> Response:
        app, actor, now = console.app, who.actor, console.app.clock.now()
        about = given_id(asked["client"]) if "client" in asked else None
        spans = {text: "?" + urlencode({it: said for it, said in asked.items() if it not in ("since", "until")} | span)
                 for text, span in (*days(now).items(), ("30 days", {"since": "30d"}))}  # fmt: skip
        known = await clients.list_clients(app, actor)
        show = partial(console.form, request, template="usage.html", who=who, asked=asked, about=about, spans=spans,
                       clients=known, providers=list(Provider))  # fmt: skip
        try:
            found = await lists.usage_of(app, actor, asked)
        except Rejected as error:  # too much for one page, too: the menu leads to all clients
            return await show(error=error, found=None)
        slots = slots_of(found)
        ids = {one.runner_id for one in found.parts.jobs}
        keys = await refs.list_refs(app, actor, ClientId(about)) if about else []
        return await show(
            error=None, found=found, slots=slots, export=exported_as("usage", asked),
            names={one.id: one.name for one in known} | await clients.names_of(app, actor, ids),
            pictures=(("Calls that runners reported", bars(slots, "calls")),
                      ("Leases", bars(slots, "leases"))),
            most=[max([n for n in numbers if n is not None], default=0)
                  for numbers in ([one.calls for one in slots], [one.leases for one in slots])],
            sums=lists.usage_sums(found), wide=WIDE, high=HIGH, hourly=len(slots) > 1
            and slots[1].at - slots[0].at < timedelta(days=1), keys={one.provider.value: one.id for one in keys},
        )  # fmt: skip

    async def ask(_: Request, who: Visitor, given: dict[str, str]) -> Response:
        about, now = ClientId(given_id(given["client"])), console.app.clock.now()
        authorise(who.actor, Verb.KEY_HISTORY, client_id=about)  # as for the page, and for a report
        console.writes.spend(str(who.actor.id))
        for provider in {one.provider for one in await refs.list_refs(console.app, who.actor, about)}:
            await provider_usage.ask(console.app, who.actor, about, provider, now - _BACK, now)
        return RedirectResponse(f"/console/usage?client={about}&since=7d", 303, HEADERS)

    console.asking("/usage", usage, "client", "provider", "since", "until")
    console.post("/usage/ask", ask, "client")
