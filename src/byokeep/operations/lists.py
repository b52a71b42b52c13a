"""Lists that leave the house: read by the flow that shows them, as a signed document that says what it does not hold.

Rules
- A list has one reader here, which takes the filter as the page of the console has it in its address, and asks the
  flow with the actor's own rights; the broker signs what it read itself, never what it was shown.
- What did not fit is counted, and the document says so: nothing is cut silently.
- Who takes one out signed in just now (S-ASVS-22), and it is on record with the digest of its table.
- Cells are text, whole numbers or nothing; as CSV none is a formula to a spreadsheet (:mod:`byokeep.core.sheet`).

It may not decide who sees what.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from byokeep.audit import alerts, disclosure
from byokeep.audit.alerts import AlertFilter
from byokeep.audit.disclosure import MAX_RECORDS, PURPOSE, RecordFilter, RecordWindow, ShownRecord
from byokeep.audit.log import origin
from byokeep.core import evidence
from byokeep.core.errors import Rejected
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Actor, Client, ClientId, Role
from byokeep.core.policy import Verb, require_proof
from byokeep.core.ref import parse_client_id, parse_provider
from byokeep.core.times import moment
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.record import record, stamp
from byokeep.keys import refs, usage, usage_parts
from byokeep.operations import due
from byokeep.tenancy import clients, operators
from byokeep.tenancy.tokens import Subject

MOST: Final = 10_000  # rows of a document
MOST_DAYS: Final = 400
Asked = Mapping[str, str]
Cell = str | int | None
_ID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The table of a list. ``left`` rows are not in it; at least so many, when ``counted`` is False."""

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Cell]]
    left: int = 0
    counted: bool = True


def an_id(text: str) -> UUID:
    """Return an id as we write it. Raises Rejected: ``bad_request``."""
    if _ID.match(text):
        return UUID(text)
    raise Rejected("bad_request", next_step="Use the ids that the pages show.")


async def clients_of(app: App, actor: Actor, asked: Asked) -> tuple[list[Client], int]:
    """Return the clients that fit ``find`` and ``state``, and how many there are. Raises as the flow."""
    every = await clients.list_clients(app, actor)
    word, state = asked.get("find", "").casefold(), asked.get("state", "")
    return [one for one in every if word in one.name.casefold() and state in ("", one.state.value)], len(every)


async def people_of(app: App, actor: Actor, asked: Asked) -> tuple[list[Subject], bool]:
    """Return who fits ``find``, ``kind`` and ``role``, and whether all were looked at. Raises as the flow; bad_kind."""
    if asked.get("kind", "machine") not in ("operator", "machine") or asked.get("role", "admin") not in list(Role):
        raise Rejected("bad_kind", next_step="Choose what the page offers.")
    word = asked.get("find", "").casefold()
    every, whole = await operators.list_subjects(app, actor)
    fits = [
        one for one in every
        if word in one.name.casefold() and asked.get("kind", one.kind) == one.kind
        and ("role" not in asked or asked["role"] in one.roles)
    ]  # fmt: skip
    return fits, whole


async def alerts_of(app: App, actor: Actor, asked: Asked) -> tuple[list[alerts.Alert], int]:
    """Return the alerts that fit ``client``, ``reason``, ``severity`` and ``history``, and how many are left."""
    wanted = AlertFilter(
        client_id=parse_client_id(asked["client"]) if "client" in asked else None, reason=asked.get("reason", ""),
        severity=asked.get("severity", ""),
    )  # fmt: skip
    return await alerts.list_alerts(app, actor, wanted, history="history" in asked)


async def due_of(app: App, actor: Actor, asked: Asked) -> due.DueList:
    """Return what is due that fits ``kind``, ``client``, ``days``. Raises as the flow; ``bad_kind``, ``bad_number``."""
    if asked.get("kind", due.DueKind.KEY) not in set(due.DueKind):
        raise Rejected("bad_kind", next_step="Use one of " + ", ".join(due.DueKind) + ".")
    days = asked.get("days", "")
    if days and not re.fullmatch(r"[0-9]{1,9}", days):
        raise Rejected("bad_number", next_step="Use decimal digits.", field="days")
    return await due.list_due(
        app, actor, kind=due.DueKind(asked["kind"]) if "kind" in asked else None,
        client_id=ClientId(parse_client_id(asked["client"])) if "client" in asked else None,
        until=app.clock.now() + timedelta(days=min(int(days), MOST_DAYS)) if days else None,
    )  # fmt: skip


async def audit_filter(app: App, actor: Actor, asked: Asked) -> tuple[ClientId | None, RecordFilter, RecordWindow]:
    """Return the chain, filter and span that ``client``, ``key``, ``actor``, ``event``, ``outcome``, ``since``,
    ``until`` and ``all`` name. Raises Rejected: ``bad_outcome``, ``bad_time``, ``bad_request``."""
    if asked.get("outcome", "ok") not in list(Outcome):
        raise Rejected("bad_outcome", next_step=f"Use one of {', '.join(Outcome)}.")
    chain = ClientId(parse_client_id(asked["client"])) if "client" in asked else None
    wanted = RecordFilter(
        actor=an_id(asked["actor"]) if "actor" in asked else None, event=asked.get("event", ""),
        outcome=asked.get("outcome", ""), fold="all" not in asked and "event" not in asked,
    )  # fmt: skip
    if "key" in asked:
        ref = await refs.get_ref(app, actor, an_id(asked["key"]), Verb.AUDIT_READ)
        chain, wanted = ref.client_id, replace(wanted, ref_id=ref.id, provider=ref.provider.value)
    now = app.clock.now()
    window = RecordWindow(
        since=moment(asked.get("since", ""), now), until=moment(asked.get("until", ""), now, end=True),
        limit=MAX_RECORDS,
    )  # fmt: skip
    return chain, wanted, window


async def usage_of(app: App, actor: Actor, asked: Asked) -> usage.Usage:
    """Return the usage that ``client``, ``provider``, ``since`` and ``until`` name. Raises as the flow; bad_time."""
    now, provider = app.clock.now(), asked.get("provider", "")
    if provider:
        parse_provider(provider)
    return await usage.usage(
        app, actor, ClientId(parse_client_id(asked["client"])) if "client" in asked else None, provider,
        moment(asked.get("since", "24h"), now), moment(asked.get("until", ""), now, end=True),
    )  # fmt: skip


def usage_sums(found: usage.Usage) -> list[dict[str, Any]]:
    """Return the sums of each client and provider; None = nobody knows, and ``untold`` says that there may be more."""
    sums: dict[tuple[UUID, str], dict[str, Any]] = {}

    def row_of(client: UUID, provider: str) -> dict[str, Any]:
        numbers = dict.fromkeys(("leases", "permits", "calls", "calls_failed", "untold", "refused"), 0)
        return sums.setdefault(
            (client, provider), {"client_id": client, "provider": provider, "counted": None, **numbers}
        )

    for one in found.hours:
        at = row_of(one.client_id, one.provider)
        for name in ("leases", "permits", "calls", "calls_failed", "untold"):
            at[name] += getattr(one, name)
    for told in found.parts.counted:
        row_of(told.client_id, told.provider)["counted"] = told
    for no in found.parts.refused:
        if no.provider:
            row_of(no.client_id, no.provider)["refused"] += no.number
    for row in sums.values():
        if row["untold"] and not row["calls"]:
            row["calls"] = row["calls_failed"] = None
    return sorted(sums.values(), key=lambda row: (str(row["client_id"]), row["provider"]))


async def _usage(app: App, actor: Actor, asked: Asked) -> Listed:
    found = await usage_of(app, actor, asked)
    sums = usage_sums(found)
    names = await clients.names_of(app, actor, {row["client_id"] for row in sums})
    gaps, parts = "yes" if found.gaps else "no", found.parts
    more = " or more" if parts.more_refused else ""
    rows: list[dict[str, Cell]] = []
    for row in sums:
        told = row["counted"]
        rows.append({
            "client": names.get(row["client_id"], ""), "client_id": str(row["client_id"]), "provider": row["provider"],
            "since": stamp(found.since), "until": stamp(found.until), "leases": row["leases"],
            "permits": row["permits"], "permits_refused": f"{row['refused']}{more}" if more else row["refused"],
            "leases_refused": "",
            "calls": "unknown" if row["calls"] is None else row["calls"],
            "calls_failed": "unknown" if row["calls"] is None else row["calls_failed"],
            "leases_untold": row["untold"], "times_unknown": gaps,
            "provider_counted": told.number if told else "unknown", "unit": told.unit if told else "",
            "provider_told": f"{told.told} of {told.buckets}" if told else "",
            "cost_micro_usd": told.cost_micro if told and told.cost_micro is not None else "unknown",
        })  # fmt: skip
    leases: Counter[UUID] = Counter()
    for no in parts.refused:
        leases[no.client_id] += 0 if no.provider else no.number
    names = await clients.names_of(app, actor, set(leases))
    rows += [
        {
            **dict.fromkeys(_USAGE, ""),
            "client": names.get(one, ""), "client_id": str(one), "since": stamp(found.since),
            "until": stamp(found.until), "leases_refused": f"{many}{more}" if more else many,
        }
        for one, many in leases.items() if many
    ]  # fmt: skip
    whole = not parts.more_refused and len(parts.counted) < usage_parts.MOST
    return Listed(columns=_USAGE, rows=rows, left=parts.more_refused, counted=whole)


_USAGE: Final = (
    "client", "client_id", "provider", "since", "until", "leases", "permits", "permits_refused", "leases_refused",
    "calls", "calls_failed", "leases_untold", "times_unknown", "provider_counted", "unit", "provider_told",
    "cost_micro_usd",
)  # fmt: skip


async def _clients(app: App, actor: Actor, asked: Asked) -> Listed:
    found, total = await clients_of(app, actor, asked)
    rows = [{"client": one.name, "id": str(one.id), "state": one.state.value, "risk": one.risk.value,
             "since": stamp(one.created_at)} for one in found]  # fmt: skip
    return Listed(columns=("client", "id", "state", "risk", "since"), rows=rows, counted=total < clients.MAX_ROWS)


async def _people(app: App, actor: Actor, asked: Asked) -> Listed:
    found, whole = await people_of(app, actor, asked)
    names = await clients.names_of(app, actor, {it for one in found for it in one.clients})
    rows = [{"name": one.name, "id": str(one.id), "kind": one.kind, "state": one.state, "roles": one.roles_text,
             "clients": "all" if one.all_clients else ", ".join(sorted(names.get(it, str(it)) for it in one.clients)),
             "token_until": _at(one.token_until)} for one in found]  # fmt: skip
    columns = ("name", "id", "kind", "state", "roles", "clients", "token_until")
    return Listed(columns=columns, rows=rows, counted=whole)


async def _alerts(app: App, actor: Actor, asked: Asked) -> Listed:
    found, left = await alerts_of(app, actor, asked)
    names = await clients.names_of(app, actor, {one.client_id for one in found if one.client_id})
    rows: list[dict[str, Cell]] = [{"reason": one.reason, "severity": one.severity,
             "client": names.get(one.client_id, "") if one.client_id else "",
             "client_id": str(one.client_id or ""), "about": str(one.object_id or ""), "count": one.count,
             "opened_at": stamp(one.opened_at), "last_at": stamp(one.last_seen_at), "closed_at": _at(one.closed_at),
             "id": str(one.id)} for one in found]  # fmt: skip
    columns = ("reason", "severity", "client", "client_id", "about", "count", "opened_at", "last_at", "closed_at", "id")
    return Listed(columns=columns, rows=rows, left=left)


async def _due(app: App, actor: Actor, asked: Asked) -> Listed:
    found = await due_of(app, actor, asked)
    rows = [{"due_at": _at(one.due_at), "state": one.state, "kind": one.kind.value, "name": one.name,
             "client": one.client or "", "client_id": str(one.client_id or ""), "provider": one.provider,
             "cause": one.cause, "command": one.command} for one in found.items]  # fmt: skip
    columns = ("due_at", "state", "kind", "name", "client", "client_id", "provider", "cause", "command")
    return Listed(columns=columns, rows=rows, left=found.more)


async def _audit(app: App, actor: Actor, asked: Asked) -> Listed:
    chain, wanted, window = await audit_filter(app, actor, asked)
    found: list[ShownRecord] = []
    while True:
        page = await disclosure.read_audit(app, actor, chain, window, wanted)
        found += page.records
        if page.next is None or len(found) >= MOST:
            break
        window = replace(window, before=page.next)
    rows = [{"record": one.seq, "at": stamp(one.at), "event": one.said["event"], "outcome": one.said["outcome"],
             "by": one.actor_name or "", "by_id": one.said["actor"], "about": one.object_name or "",
             "about_id": one.said["object"] or "", "reason": one.said["fields"].get("reason", ""),
             "request": one.said["request"], "hash": one.hash_hex} for one in found]  # fmt: skip
    columns = ("record", "at", "event", "outcome", "by", "by_id", "about", "about_id", "reason", "request", "hash")
    return Listed(columns=columns, rows=rows, left=page.left, counted=page.counted)


def _at(at: datetime | None) -> str:
    return "" if at is None else stamp(at)


Reader = Callable[[App, Actor, Asked], Awaitable[Listed]]
LISTS: Final[Mapping[str, tuple[Reader, frozenset[str]]]] = {  # each with the names of its filter
    "clients": (_clients, frozenset({"find", "state"})),
    "people": (_people, frozenset({"find", "kind", "role"})),
    "alerts": (_alerts, frozenset({"client", "reason", "severity", "history"})),
    "due": (_due, frozenset({"kind", "client", "days"})),
    "usage": (_usage, frozenset({"client", "provider", "since", "until"})),
    "audit": (_audit, frozenset({"client", "key", "actor", "event", "outcome", "since", "until", "all"})),
}


async def sign_list(app: BrokerApp, actor: Actor, name: str, asked: Asked) -> bytes:
    """Return a list as a signed document, which names who asked and says what it does not hold.

    Raises:
        Unauthenticated: ``step_up_required``.
        Rejected: ``unknown_list``, ``unexpected_query``, and what the flow raises.
    """
    if name not in LISTS:
        raise Rejected("unknown_list", next_step="Use one of " + ", ".join(sorted(LISTS)) + ".")
    read, filters = LISTS[name]
    if not set(asked) <= filters:
        raise Rejected("unexpected_query", next_step="This list takes: " + ", ".join(sorted(filters)) + ".")
    require_proof(actor)
    found = await read(app, actor, asked)
    rows = [[row[column] for column in found.columns] for row in found.rows]
    said: dict[str, Any] = {
        "v": 1, "origin": origin(app), "made_at": stamp(app.clock.now()), "made_by": str(actor.id), "list": name,
        "asked": dict(asked), "columns": list(found.columns), "rows": rows, "left": found.left,
        "left_is": "exact" if found.counted else "at_least",
    }  # fmt: skip
    if "client" in asked:
        about = parse_client_id(asked["client"])
        said["client"] = (await clients.names_of(app, actor, {about})).get(about, "")
    payload, digest = await asyncio.to_thread(evidence.list_statement, said)
    async with app.db.begin(every_client=True) as tx:
        await record(tx, actor, EventName.LIST_EXPORTED, kind=name, count=len(rows), digest=digest)
    signature, key_id = await app.signer.sign(PURPOSE, evidence.pae(payload))
    return evidence.envelope(payload, signature=signature, key_id=key_id)
