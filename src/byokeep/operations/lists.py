"""Lists that leave the house: read by the flow that shows them, as a signed document that says what it does not hold.

Rules
- A list has one reader here, which takes the filter as the page of the console has it in its address, and asks the
  flow with the actor's own rights; the broker signs what it read itself, never what it was shown.
- What did not fit is counted, and the document says so: nothing is cut silently.
- Who takes one out signed in just now (S-ASVS-22), and it is on record with the digest of its table.
- A list whose rows are shown as they are is its reader and its columns, in :data:`LISTS`.
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

from byokeep.accounts import accounts
from byokeep.audit import alerts, disclosure
from byokeep.audit.alerts import AlertFilter
from byokeep.audit.disclosure import MAX_RECORDS, PURPOSE, RecordFilter, RecordWindow, ShownRecord
from byokeep.audit.log import origin
from byokeep.breakglass import grants
from byokeep.core import evidence
from byokeep.core.errors import Rejected
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Actor, Client, ClientId, CredentialRef, DeclaredJob, Role
from byokeep.core.policy import Verb, require_proof
from byokeep.core.procedure import Run
from byokeep.core.ref import given_id, parse_client_id, parse_provider
from byokeep.core.times import moment
from byokeep.incidents import incidents
from byokeep.jobs import jobs, switches
from byokeep.kernel import procedures
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.command import command, record, stamp
from byokeep.kernel.incidents import Incident
from byokeep.kernel.procedures import RunFilter, RunStatus
from byokeep.keys import refs, usage, usage_parts
from byokeep.operations import due
from byokeep.tenancy import clients, operators
from byokeep.tenancy.tokens import Subject

MOST: Final = 10_000  # rows of a document
MOST_DAYS: Final = 400
Asked = Mapping[str, str]
Cell = str | int | None
Read = Callable[[BrokerApp, Actor, Mapping[str, str]], Awaitable[tuple[list[Any], int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The table of a list. ``left`` rows are not in it; at least so many, when ``counted`` is False."""

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Cell]]
    left: int = 0
    counted: bool = True


async def clients_of(app: App, actor: Actor, asked: Asked) -> tuple[list[Client], int]:
    """Return the clients that fit ``find`` and ``state``, and how many there are. Raises as the flow."""
    every = await clients.list_clients(app, actor)
    word, state = asked.get("find", "").casefold(), asked.get("state", "")
    return [one for one in every if word in one.name.casefold() and state in ("", one.state.value)], len(every)


async def people_of(app: App, actor: Actor, asked: Asked) -> list[Subject]:
    """Return who fits ``find``, ``kind`` and ``role``. Raises as the flow; bad_kind."""
    if asked.get("kind", "machine") not in ("operator", "machine") or asked.get("role", "admin") not in list(Role):
        raise Rejected("bad_kind", next_step="Choose one of the options on the page.")
    word = asked.get("find", "").casefold()
    return [
        one for one in await operators.list_subjects(app, actor)
        if word in one.name.casefold() and asked.get("kind", one.kind) == one.kind
        and ("role" not in asked or asked["role"] in one.roles)
    ]  # fmt: skip


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
        actor=given_id(asked["actor"]) if "actor" in asked else None, event=asked.get("event", ""),
        outcome=asked.get("outcome", ""), fold="all" not in asked and "event" not in asked,
    )  # fmt: skip
    if "key" in asked:
        ref = await refs.get_ref(app, actor, given_id(asked["key"]), Verb.AUDIT_READ)
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


async def _people(app: App, actor: Actor, asked: Asked) -> Listed:
    found = await people_of(app, actor, asked)
    names = await clients.names_of(app, actor, {it for one in found for it in one.clients})
    rows = [{"name": one.name, "id": str(one.id), "kind": one.kind, "state": one.state, "roles": one.roles_text,
             "clients": "all" if one.all_clients else ", ".join(sorted(names.get(it, str(it)) for it in one.clients)),
             "token_until": _at(one.token_until)} for one in found]  # fmt: skip
    columns = ("name", "id", "kind", "state", "roles", "clients", "token_until")
    return Listed(columns=columns, rows=rows)


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


def stands(status: RunStatus) -> str:
    """Return how a run stands, as people are told: one that stopped waits for somebody."""
    if status.run.state == "failed" and status.run.closed_at is None:
        return "waiting"
    return "incomplete" if status.run.state == "complete" and status.missing else status.run.state


async def runs_of(app: App, actor: Actor, asked: Asked) -> tuple[list[Run], int]:
    """Return the runs that fit ``client``, ``procedure`` and ``state``, and how many are left. Raises as the flow."""
    state = asked.get("state", "")
    wanted = RunFilter(
        client_id=_client(asked) if "client" in asked else None,
        names=[asked["procedure"]] if "procedure" in asked else None,
        state={"waiting": "failed", "incomplete": "complete"}.get(state, state), is_open=state == "waiting",
    )  # fmt: skip
    found, left = await procedures.found_runs(app, actor, wanted)
    if state in ("complete", "incomplete"):  # which of the two, its records say
        found = [one.run for one in await procedures.statuses(app, found) if stands(one) == state]
    return found, left


async def incidents_of(app: App, actor: Actor, asked: Asked) -> tuple[list[Incident], int]:
    """Return the incidents that fit ``client``, ``state``, ``kind`` and ``severity``; -1: there may be more. Raises as
    the flow; ``bad_state``."""
    state = asked.get("state", "open")
    if state not in ("open", "closed", "all"):
        raise Rejected("bad_state", next_step="Use open, closed or all.")
    about = _client(asked) if "client" in asked else None
    every = await incidents.list_incidents(app, actor, client_id=about, only_open=state == "open")
    fits = [one for one in every if state in ("all", one.state) and asked.get("kind", one.kind) == one.kind
            and asked.get("severity", one.severity) == one.severity]  # fmt: skip
    return fits, _left(every, clients.MAX_ROWS)


async def jobs_of(app: App, actor: Actor, asked: Asked) -> tuple[list[DeclaredJob], int]:
    """Return the newest jobs of ``client`` of a ``kind`` (``use``) that fit ``state``; -1: there may be more. Raises
    as the flow."""
    found = [one for one in await jobs.list_jobs(app, actor, _client(asked)) if one.kind == asked.get("kind", "use")]
    return [one for one in found if asked.get("state", one.state) == one.state], _left(found, jobs.MAX_JOBS)


def _left(looked_at: Sequence[Any], most: int) -> int:
    """How many are left of a list that gives so many at most: none, or (-1) nobody counted."""
    return 0 if len(looked_at) < most else -1


def _client(asked: Asked) -> ClientId:
    if "client" not in asked:
        raise Rejected("bad_request", next_step="Give the client: each has its own list.")
    return ClientId(parse_client_id(asked["client"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Something that waits for a second person."""

    kind: str
    what: str
    client_id: UUID | None = None
    by: UUID
    until: datetime | None = None
    id: UUID


async def _approvals(app: BrokerApp, actor: Actor, _: Asked) -> tuple[list[Waits], int]:
    found = [Waits(kind="release", what=f"{one.scope}: {one.reason}", by=one.requested_by, until=one.expires_at,
                   id=one.id) for one in await switches.list_requests(app, actor)]  # fmt: skip
    if Role.ADMIN in actor.roles:
        found += [Waits(kind="rights", what=f"{one.action}: {one.scope}", by=one.requested_by, until=one.expires_at,
                        id=one.id) for one in await operators.list_approvals(app, actor)]  # fmt: skip
    steps, left = await procedures.to_approve(app, actor)
    found += [Waits(kind="step", what=f"{one.run.procedure}: {one.missing[0]}", client_id=one.run.client_id,
                    by=one.run.asked_by, id=one.run.id) for one in steps]  # fmt: skip
    found += [Waits(kind="break_glass", what=f"{one.scope}, ticket {one.ticket}", client_id=one.client_id,
                    by=one.holder, until=one.lapses_at, id=one.id)
              for one in (await grants.list_grants(app, actor))[0] if one.status == "requested"]  # fmt: skip
    return found, left


async def _due(app: App, actor: Actor, asked: Asked) -> tuple[list[due.DueItem], int]:
    found = await due_of(app, actor, asked)
    return list(found.items), found.more


async def _clients(app: App, actor: Actor, asked: Asked) -> tuple[list[Client], int]:
    return (await clients_of(app, actor, asked))[0], 0


async def _runs(app: App, actor: Actor, asked: Asked) -> tuple[list[Run], int]:
    found, left = await runs_of(app, actor, asked)
    left = -1 if left and asked.get("state") in ("complete", "incomplete") else left  # not looked at: who knows which
    return [replace(one.run, state=stands(one)) for one in await procedures.statuses(app, found)], left


def _of_client(read: Callable[[App, Actor, ClientId], Awaitable[list[Any]]]) -> Read:
    async def rows(app: App, actor: Actor, asked: Asked) -> tuple[list[Any], int]:
        found = await read(app, actor, _client(asked))
        return found, _left(found, clients.MAX_ROWS)

    return rows


async def _refs(app: App, actor: Actor, client_id: ClientId) -> list[CredentialRef]:
    async with command(app, actor, Verb.KEY_LIST, client_id=client_id) as tx:  # on record as what is taken out
        return await tx.all(refs.ref_from, "refs_list", client_id=client_id, limit=clients.MAX_ROWS)


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, int):
        return "" if value is None else value
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return stamp(value) if isinstance(value, datetime) else str(value)


def _table(read: Read, shows: str) -> Reader:
    """Return the reader of a list whose rows are shown as they are.

    Args:
        read: Returns the rows, and how many are left; -1: there may be more.
        shows: The columns: ``a`` is the attribute a, ``a=b`` the attribute b, ``a~b`` the name of whom b is the id.
    """
    columns = [(one[1], one[2], one[3] or one[1]) for one in re.finditer(r"(\w+)([=~]?)(\w*)", shows)]

    async def listed(app: BrokerApp, actor: Actor, asked: Asked) -> Listed:
        found, left = await read(app, actor, asked)
        ids = {getattr(one, of) for one in found for _, by, of in columns if by == "~"} - {None}
        names = await clients.names_of(app, actor, ids)
        rows = [{name: names.get(getattr(one, of), "") if by == "~" else _cell(getattr(one, of))
                 for name, by, of in columns} for one in found]  # fmt: skip
        return Listed(columns=tuple(name for name, *_ in columns), rows=rows, left=max(left, 0), counted=left >= 0)

    return listed


Reader = Callable[[BrokerApp, Actor, Asked], Awaitable[Listed]]
LISTS: Final[Mapping[str, tuple[Reader, frozenset[str]]]] = {  # each with the names of its filter
    "clients": (_table(_clients, "client=name id state risk since=created_at"), frozenset({"find", "state"})),
    "people": (_people, frozenset({"find", "kind", "role"})),
    "alerts": (_table(alerts_of, "reason severity client~client_id client_id about=object_id count opened_at"
                      " last_at=last_seen_at closed_at id"),
               frozenset({"client", "reason", "severity", "history"})),
    "due": (_table(_due, "due_at state kind name client client_id provider cause command"),
            frozenset({"kind", "client", "days"})),
    "procedures": (_table(_runs, "procedure state reason client~client_id client_id about=object_id started_at"
                          " started_by~started_by started_by_id=started_by closed_at id"),
                   frozenset({"client", "procedure", "state"})),
    "incidents": (_table(incidents_of, "kind severity state client~client_id client_id about=object_kind"
                         " about_id=object_id platform source noticed_at began_at opened_at closed_at ticket"
                         " postmortem id"),
                  frozenset({"client", "state", "kind", "severity"})),
    "jobs": (_table(jobs_of, "state kind runner~runner_id runner_id dispatcher_id secrets platforms lanes effects"
                    " opened_at expires_at client_id id"), frozenset({"client", "kind", "state"})),
    "keys": (_table(_of_client(_refs), "provider kind purpose state verification version candidate risk"
                    " created_at rotation_due_at expires_at client_id id"), frozenset({"client"})),
    "accounts": (_table(_of_client(accounts.list_accounts), "platform account username display_name lanes identity"
                        " client_id id"), frozenset({"client"})),
    "approvals": (_table(_approvals, "kind what client~client_id client_id asked_by~by asked_by_id=by until id"),
                  frozenset()),
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
        "v": 1, "origin": origin(app), "made_at": stamp(app.clock.now()), "made_by": str(actor.id),
        "made_by_name": actor.name, "list": name, "asked": dict(asked), "columns": list(found.columns), "rows": rows,
        "left": found.left, "left_is": "exact" if found.counted else "at_least",
    }  # fmt: skip
    if "client" in asked:
        about = parse_client_id(asked["client"])
        said["client"] = (await clients.names_of(app, actor, {about})).get(about, "")
    payload, digest = await asyncio.to_thread(evidence.list_statement, said)
    async with app.db.begin(every_client=True) as tx:
        await record(tx, actor, EventName.LIST_EXPORTED, kind=name, count=len(rows), digest=digest)
    signature, key_id = await app.signer.sign(PURPOSE, evidence.pae(payload))
    return evidence.envelope(payload, signature=signature, key_id=key_id)
