"""The operators' checklists (runbook 10): filled in, signed off, or missed.

Rules
- The signer names what they saw by its digest: a different result, or a list that has grown since, is a conflict. Every
  item is recorded with who, when and what was found. An item that is not ok needs a ticket.
- The day, week or month follows the database's clock. A past one can never be signed: without a sign-off it was missed,
  whatever was running then, and people are reminded until the next one is signed.
- A chain of records is reviewed up to the last record that was listed. The chain is locked while a record is added, so
  nothing that comes later gets an earlier place: it is listed the next time.

It may not tick an item by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Conflict, Rejected
from byokeep.core.events import EventName
from byokeep.core.model import Actor
from byokeep.core.plain_text import check_ticket
from byokeep.core.policy import Verb, authorise_every_client
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.command import Trail, command, open_alert, permit, record, tell_state
from byokeep.kernel.ports import Tx
from byokeep.kernel.probes import ProbeOutcome, all_ok, ask
from byokeep.kernel.rows import Row
from byokeep.operations.checks import CHECKS, Check, Checklist, ChecklistLook, NewAccess, UnusedGrant, newest, object_of
from byokeep.operations.due import DueItem

WITHIN_S: Final = 8.0  # of each probe; all are asked at once
SHOWN: Final = {Checklist.DAILY: 31, Checklist.WEEKLY: 12, Checklist.MONTHLY: 12}  # how far back is told of
_UNIT: Final = {Checklist.DAILY: "day", Checklist.WEEKLY: "week", Checklist.MONTHLY: "month"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledChecklist:
    """A checklist as it was filled in just now, with what is to be read beside it.

    Attributes:
        period: The first day of its day, week or month.
        digest: Over the results and the lists; whoever signs names it.
        signed_at: Of this period's sign-off, if there is one.
    """

    checklist: Checklist
    period: date
    made_at: datetime
    digest: str
    signed_at: datetime | None
    signed_by: UUID | None
    items: Sequence[ProbeOutcome]
    due: Sequence[DueItem]
    access: Sequence[NewAccess]
    unused: Sequence[UnusedGrant]

    @property
    def all_ok(self) -> bool:
        """Whether every item is."""
        return all_ok(self.items)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistPeriod:
    """A day, week or month: ``signed``, ``to_do`` or ``missed``; ``not_ok`` items were signed with a ticket."""

    period: date
    state: str
    signed_at: datetime | None
    signed_by: UUID | None
    not_ok: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """What a leak scan came to; ``unknown`` sources could not be read, and ``clean`` scans have none.

    Attributes:
        live: Whether live values were looked for; without, a clean one does not count.
        excluded: Files and folders that were left out on purpose.
        known: Findings that its baseline holds.
        digest: Of what was named to it: of the same digest, a clean one ends what stands.
    """

    result: str
    sources: int
    found: int
    unknown: int
    live: bool
    excluded: int
    known: int
    digest: str


async def fill(app: BrokerApp, actor: Actor, kind: Checklist) -> FilledChecklist:
    """Ask every item of a checklist; that it was shown is on record.

    Raises:
        Denied: ``not_permitted``, also for somebody who is assigned to some clients.
        Unavailable: The database.
    """
    async with command(app, actor, Verb.CHECKLIST_READ):
        authorise_every_client(actor, Verb.CHECKLIST_READ)
    found = await _ask_all(app, kind)
    async with app.db.begin(every_client=True) as tx:
        await _say(tx, app, actor, EventName.CHECKLIST_SHOWN, found)
    return found


async def sign(
    app: BrokerApp, actor: Actor, kind: Checklist, *, seen: str, period: date | None, tickets: Mapping[str, str]
) -> FilledChecklist:
    """Sign a checklist off as it stands, if it stands as it was shown to who signs.

    Args:
        seen: Digest of what was shown.
        period: Which day, week or month is meant; None = the present one, and no other can be.
        tickets: Of each item that is not ok, where it is dealt with.

    Raises:
        Denied: ``not_permitted``.
        Rejected: ``checklist_back_dated``, ``no_such_item``, ``ticket_not_needed``, ``ticket_missing``,
            ``bad_ticket``, ``secret_like_content``.
        Conflict: ``checklist_not_seen``, ``checklist_changed``, ``checklist_signed``.
        Unavailable: The database.
    """
    about = object_of(app.installation_id, kind)
    refused: Trail = {
        "object_id": about, "refused_as": EventName.CHECKLIST_SIGNED, "fields": {"checklist": kind.value}
    }  # fmt: skip
    await permit(app, actor, Verb.CHECKLIST_SIGN)
    found = await _ask_all(app, kind)  # no transaction waits for it
    async with command(app, actor, Verb.CHECKLIST_SIGN, **refused) as tx:
        authorise_every_client(actor, Verb.CHECKLIST_SIGN)
        kept = {item: check_ticket(text) for item, text in tickets.items()}
        if period not in (None, found.period):
            step = "Only the current one can be signed. A missed one stays missed."
            raise Rejected("checklist_back_dated", next_step=step)
        await tx.all(None, "approval_lock", action="checklist_sign", scope=str(about))  # one signs at a time
        this = {"checklist": kind.value, "period": found.period.isoformat()}
        if await newest(app, about, EventName.CHECKLIST_SIGNED, outcome="ok", fields=this, tx=tx):
            raise Conflict("checklist_signed", next_step=f"It is already signed: `byokeep checklist list {kind}`.")
        shown = {"checklist": kind.value, "digest": seen}
        if await newest(app, about, EventName.CHECKLIST_SHOWN, fields=shown, actor_id=actor.id, tx=tx) is None:
            step = f"Look at it first: `byokeep checklist {kind}` prints how to sign what you saw."
            raise Conflict("checklist_not_seen", next_step=step)
        if seen != found.digest:
            step = f"It has changed since you saw it. Look again: `byokeep checklist {kind}`."
            raise Conflict("checklist_changed", next_step=step)
        _must_be_told(found, kept)
        await _keep(tx, app, actor, found, kept)
    return replace(found, signed_at=found.made_at, signed_by=actor.id)


def _must_be_told(found: FilledChecklist, tickets: Mapping[str, str]) -> None:
    names = [one.name for one in found.items]
    if strange := [item for item in tickets if item not in names]:
        raise Rejected("no_such_item", next_step=f"Its items are: {', '.join(names)}.", count=len(strange))
    if spare := [one.name for one in found.items if one.ok and one.name in tickets]:
        step = f"These items are ok and take no ticket: {', '.join(spare)}. Check which item you meant."
        raise Rejected("ticket_not_needed", next_step=step, count=len(spare))
    if bare := [one.name for one in found.items if not one.ok and one.name not in tickets]:
        step = f"Not ok: {', '.join(bare)}. Give a ticket for each one: --ticket {bare[0]}=OPS-12."
        raise Rejected("ticket_missing", next_step=step, count=len(bare))


async def _keep(tx: Tx, app: App, actor: Actor, found: FilledChecklist, tickets: Mapping[str, str]) -> None:
    about = object_of(app.installation_id, found.checklist)
    places: dict[UUID, int] = {}
    for one in found.access:
        places[one.chain] = max(places.get(one.chain, 0), one.seq)
    for chain in sorted(places, key=lambda chain: (chain == app.installation_id, chain)):
        count = sum(one.chain == chain for one in found.access)
        await record(
            tx, actor, EventName.ACCESS_REVIEWED, client_id=None if chain == app.installation_id else chain,
            object_id=about, last_seq=places[chain], count=count, digest=found.digest,
        )  # fmt: skip
    for item in found.items:
        await record(
            tx, actor, EventName.CHECKLIST_TICKED, object_id=about, checklist=found.checklist.value,
            period=found.period.isoformat(), item=item.name, verification=item.state.value, cause=item.code or None,
            ticket=tickets.get(item.name), digest=found.digest,
        )  # fmt: skip
    await _say(tx, app, actor, EventName.CHECKLIST_SIGNED, found)


async def _say(tx: Tx, app: App, actor: Actor, name: EventName, found: FilledChecklist) -> None:
    await record(
        tx, actor, name, object_id=object_of(app.installation_id, found.checklist), checklist=found.checklist.value,
        period=found.period.isoformat(), digest=found.digest, count=len(found.items),
        failed=sum(not one.ok for one in found.items),
    )  # fmt: skip


async def _ask_all(app: BrokerApp, kind: Checklist) -> FilledChecklist:
    [now] = await app.db.read(datetime, "clock_now", {})
    period, about = period_of(kind, now), object_of(app.installation_id, kind)
    last = await newest(app, about, EventName.CHECKLIST_SIGNED, outcome="ok", before=period.isoformat())
    [created] = await app.db.read(datetime, "installation_since", {})
    look = ChecklistLook(app=app, now=now, since=last["at"] if last else created)
    items = await asyncio.gather(*(_answer(check, look) for check in CHECKS[kind]))
    due = look.due.items if look.due else []
    said = [
        kind.value, period.isoformat(), [[one.name, one.state.value, one.code] for one in items],
        look.due.digest if look.due else "", [[str(one.chain), one.seq] for one in look.access],
        [[one.kind, str(one.item)] for one in look.unused], look.said,
    ]  # fmt: skip
    this = {"checklist": kind.value, "period": period.isoformat()}
    signed = await newest(app, about, EventName.CHECKLIST_SIGNED, outcome="ok", fields=this)
    return FilledChecklist(
        checklist=kind, period=period, made_at=now, digest=hashlib.sha256(canonical_json(said)).hexdigest(),
        signed_at=signed["at"] if signed else None, signed_by=signed["actor_id"] if signed else None, items=items,
        due=due, access=look.access, unused=look.unused,
    )  # fmt: skip


async def _answer(check: Check, look: ChecklistLook) -> ProbeOutcome:
    found = await ask(check.name, lambda: check.probe(look), within=WITHIN_S)
    return found if found.ok or found.next_step else replace(found, next_step=check.then)


def period_of(kind: Checklist, now: datetime) -> date:
    """Return the first day of the day, week (from Monday) or month that a time in UTC is in."""
    today = now.date()
    if kind is Checklist.WEEKLY:
        return today - timedelta(days=today.weekday())
    return today.replace(day=1) if kind is Checklist.MONTHLY else today


async def periods(app: App, actor: Actor, kind: Checklist) -> list[ChecklistPeriod]:
    """Return the last days, weeks or months, the present one first: signed, missed or to do. Raises as :func:`fill`."""
    async with command(app, actor, Verb.CHECKLIST_READ):
        authorise_every_client(actor, Verb.CHECKLIST_READ)
    return await _periods(app, kind, SHOWN[kind])


async def _periods(app: App, kind: Checklist, count: int) -> list[ChecklistPeriod]:
    asked = {"unit": _UNIT[kind], "count": count, "installation_id": app.installation_id,
             "about": object_of(app.installation_id, kind)}  # fmt: skip
    return await app.db.read(ChecklistPeriod, "checklist_periods", asked, every_client=True)


async def signed_items(app: App, actor: Actor, kind: Checklist, period: date) -> list[Row]:
    """Return what was signed of a period: of each item ``item``, ``verification``, ``cause``, ``ticket``, ``digest``.

    Raises as :func:`fill`.
    """
    async with command(app, actor, Verb.CHECKLIST_READ):
        authorise_every_client(actor, Verb.CHECKLIST_READ)
    about = object_of(app.installation_id, kind)
    asked = {"installation_id": app.installation_id, "about": about, "period": period.isoformat()}
    return await app.db.read(dict, "checklist_signed_items", asked, every_client=True)


async def watch_checklists(app: BrokerApp) -> None:
    """Tell people of a checklist that was missed, until one of its kind is signed. Raises Unavailable."""
    for kind in Checklist:
        key, (present, *past) = f"state/checklist/{kind}", await _periods(app, kind, 1)
        missed = present.state != "signed" and past and past[0].state == "missed"
        await tell_state(app, missed, reason="checklist_missed", key=key, severity="warning")


async def record_scan(app: App, actor: Actor, scan: ScanResult) -> None:
    """Put on record that a leak scan ran, and what it came to; a finding opens an alert.

    Raises:
        Denied: ``not_permitted``: an auditor's to say, of every client.
        Rejected: ``nothing_scanned``; ``bad_request``: a clean one that found or could not read something.
    """
    async with command(app, actor, Verb.LEAK_FINGERPRINTS) as tx:
        authorise_every_client(actor, Verb.LEAK_FINGERPRINTS)
        if scan.sources < 1 and scan.result != "unknown":
            raise Rejected("nothing_scanned", next_step="Nothing was looked at, so nothing is known.")
        if (scan.result == "findings") != (scan.found > 0) or (scan.result == "clean" and scan.unknown):
            raise Rejected("bad_request", next_step="Make the result match its numbers: they contradict each other.")
        await record(
            tx, actor, EventName.LEAKS_SCANNED, object_id=app.installation_id, result=scan.result,
            sources=scan.sources, found=scan.found, unknown=scan.unknown, live=int(scan.live),
            excluded=scan.excluded, known=scan.known, digest=scan.digest or None,
        )  # fmt: skip
        if scan.found:
            await open_alert(tx, app, actor, reason="leak_scan_found", object_id=app.installation_id)
