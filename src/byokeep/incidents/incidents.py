"""Incidents as people open, read and close them (runbook sections 6.3 and 7).

Rules
- A key, an account or a profile determines its client; another client's is not found.
- An incident whose playbook has begun can be closed when the playbook is complete. One whose playbook was never begun
  can be closed only at P2 or P3. Lowering a severity takes a second person, so nobody can close a P1 without its steps
  (R7.1-9).
- One of kind `other` can be closed once it has a playbook, or a reason on record why none applies; at P0 and P1 that
  needs a second person, too.
- An incident about break glass cannot be closed by anyone who held a grant of that client since it may have begun.
- P0 and P1 are closed with a postmortem: where it is, its digest, or both; never its text.
- The timeline is what the audit log says about the incident; reading it is recorded.

It may not run a playbook: :mod:`byokeep.incidents.playbooks` does.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from byokeep.audit.disclosure import said_in
from byokeep.core import incident as rules
from byokeep.core.errors import Conflict, Denied, NotFound, Rejected
from byokeep.core.events import EventName
from byokeep.core.incident import IncidentKind, IncidentSource, Severity, look_at
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb
from byokeep.core.procedure import Run
from byokeep.kernel import incidents
from byokeep.kernel.app import App
from byokeep.kernel.command import Said, command, find, permit, record, recorded
from byokeep.kernel.incidents import Incident
from byokeep.kernel.ports import Tx
from byokeep.kernel.procedures import RunStatus, status_of
from byokeep.kernel.rows import Row
from byokeep.tenancy.clients import MAX_ROWS, scope_of

MOST_RECORDS: Final = 500
OBJECTS: Final = ("key", "account", "profile")
_EVENTS: Final = sorted(event.value for event in EventName if "incident" in event.fields)
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """What a person says about an incident.

    Attributes:
        object_kind, object_id: One of :data:`OBJECTS`, and which; empty and None = nothing of ours.
        noticed_at: When it was noticed; None = now.
        began_at: When it may have begun; None = unknown.
    """

    client_id: ClientId | None
    kind: str
    severity: str | None = None
    object_kind: str = ""
    object_id: UUID | None = None
    noticed_at: datetime | None = None
    began_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentState:
    """An incident, and the run of its playbook if it has begun; ``ticket``: ``""``, ``pending`` or ``sent``.

    ``undecided``: nobody has said which playbook handles it, or that none applies.
    """

    incident: Incident
    run: RunStatus | None
    ticket: str = ""
    undecided: bool = False


class After(NamedTuple):
    """Where a page of a timeline ends; given only a time, after everything at that time."""

    after: datetime
    after_chain: UUID = UUID(int=2**128 - 1)
    after_seq: int = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """A record that names an incident."""

    chain: UUID
    seq: int
    at: datetime
    object_id: UUID | None
    actor_name: str | None
    said: dict[str, Any]


async def open_incident(app: App, actor: Actor, wish: OpenRequest) -> IncidentState:
    """Open an incident, with an alert. One person is enough.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``: the actor has no such client or
            object.
        Rejected: ``unknown_kind``, ``unknown_severity``, ``bad_since``; ``severity_too_low``: less than usual takes a
            second person, once it is open; ``object_missing``: this kind is about a key or a platform, and none was
            named; ``not_a_provider_key``.
        Conflict: ``incident_open``: one of this kind about the same object is open.
    """
    await permit(app, actor, Verb.INCIDENT_OPEN, client_id=wish.client_id)
    async with recorded(app, actor, Verb.INCIDENT_OPEN, object_id=wish.client_id, refused_as=EventName.INCIDENT_OPENED):
        kind, severity = _kind(wish.kind), None if wish.severity is None else severity_of(wish.severity)
        least = rules.usual_severity(kind)
        if severity is not None and severity > least:
            step = f"Open it as {least}. A second person can lower it: `byokeep incident severity INCIDENT {severity}`."
            raise Rejected("severity_too_low", next_step=step)
        if (wish.object_kind == "") is not (wish.object_id is None):
            raise Rejected("object_missing", next_step="Give the object and its kind: a key, an account or a profile.")
        client_id, platform, of_provider = await _owner(app, wish)
        if client_id is None and actor.clients is not None:
            raise Denied(
                "not_permitted", next_step="Give a client. Only people of all clients can open one for everybody."
            )
        await permit(app, actor, Verb.INCIDENT_OPEN, client_id=client_id)
        _check_object(kind, wish, platform, of_provider=of_provider)
        async with app.db.begin(client_id=client_id, every_client=client_id is None) as tx:
            made, new = await incidents.opened(
                tx, app, actor, kind, client_id=client_id, source=IncidentSource.PERSON, severity=severity,
                object_kind=wish.object_kind, object_id=wish.object_id, platform=platform, noticed_at=wish.noticed_at,
                began_at=wish.began_at, alert="incident_opened",
            )  # fmt: skip
            if made is not None and new:
                return await state_of(tx, app, made)
        raise already(made)  # what was added to it is kept


async def _owner(app: App, wish: OpenRequest) -> tuple[ClientId | None, str, bool]:
    """Return the object's client, its platform, and whether it is a provider's key. Raises NotFound."""
    async with app.db.begin(every_client=True) as tx:
        if wish.object_id is None:
            if wish.client_id is not None:
                await tx.one(UUID, "switch_client_known", client_id=wish.client_id)
            return wish.client_id, "", False
        found = await tx.one(dict, "incident_object", id=wish.object_id, kind=wish.object_kind)
        if wish.client_id not in (None, found["client_id"]):
            raise NotFound("not_found")
        return ClientId(found["client_id"]), str(found["platform"]), bool(found["of_provider"])


def already(made: Incident | None) -> Conflict:
    """Return the refusal to open a second incident about the same object."""
    if made is None:
        return Conflict("incident_open", next_step="See `byokeep incident list`.")
    return Conflict("incident_open", next_step=f"Continue with that one: {look_at(made.id)}.", incident=made.id)


def _kind(text: str) -> IncidentKind:
    if text not in set(IncidentKind):
        raise Rejected("unknown_kind", next_step="Use one of: " + ", ".join(IncidentKind) + ".")
    return IncidentKind(text)


def severity_of(text: str) -> Severity:
    """Return the severity of a name. Raises Rejected(``unknown_severity``)."""
    if text not in set(Severity):
        raise Rejected("unknown_severity", next_step="Use one of: P0, P1, P2, P3.")
    return Severity(text)


def _check_object(kind: IncidentKind, wish: OpenRequest, platform: str, *, of_provider: bool) -> None:
    if kind is IncidentKind.ARTIFACT_EXPOSURE:
        step = (
            "Open it with `byokeep incident vault open --everybody --cause artifact_store_exposure`: it lists every "
            "profile of the store and leads each out."
        )
        raise Rejected("object_missing", next_step=step)
    if kind is IncidentKind.SUSPECTED_LEAK and wish.object_kind != "key":
        raise Rejected("object_missing", next_step="Give the key that it is about: `--key CLIENT/PROVIDER`.")
    if (
        kind in (IncidentKind.SUSPECTED_LEAK, IncidentKind.USAGE_ANOMALY)
        and wish.object_kind == "key"
        and (not of_provider)
    ):
        step = "That playbook is for a provider's key. Replace this one by its own command, and open `other` for it."
        raise Rejected("not_a_provider_key", next_step=step)
    if kind in (IncidentKind.TOKEN_REVOKED, IncidentKind.TOKEN_COMPROMISED, IncidentKind.LOCKOUT) and not platform:
        step = "Give the account that it is about: `--account CLIENT/PLATFORM/ACCOUNT`."
        raise Rejected("object_missing", next_step=step)


async def find_incident(app: App, actor: Actor, incident_id: UUID, verb: Verb = Verb.INCIDENT_READ) -> Incident:
    """Return an incident to somebody who may do ``verb`` for its client.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``.
    """
    return await find(app, actor, verb, Incident, "incident_get", incident_id)


async def look(app: App, actor: Actor, incident_id: UUID) -> IncidentState:
    """Return an incident with the run of its playbook. Raises as :func:`find_incident`."""
    found = await find_incident(app, actor, incident_id)
    async with app.db.begin(every_client=True) as tx:
        return await state_of(tx, app, found)


async def state_of(tx: Tx, app: App, found: Incident) -> IncidentState:
    """Return an incident with the run of its playbook."""
    run = await tx.maybe(Run, "procedure_get", id=found.id)
    known = None if run is None else app.procedures.get(run.procedure)
    ticket = await tx.one(str, "incident_ticket_state", id=found.id)
    status = None if run is None or known is None else await status_of(tx, app, known, run)
    return IncidentState(incident=found, run=status, ticket=ticket, undecided=await _undecided(tx, found))


async def _undecided(tx: Tx, found: Incident) -> bool:
    if found.kind is not IncidentKind.OTHER or await incidents.accepted(
        tx, found.client_id, found.id, rules.NO_PLAYBOOK
    ):
        return False
    return found.severity in rules.MUST_TELL or not await incidents.accepted(tx, found.client_id, found.id, rules.ALONE)


async def list_incidents(app: App, actor: Actor, *, client_id: ClientId | None, only_open: bool) -> list[Incident]:
    """Return the incidents of the actor's clients, open ones first, worst first.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    async with command(app, actor, Verb.INCIDENT_READ, client_id=client_id) as tx:
        ids = scope_of(actor) if client_id is None else [client_id]
        return await tx.all(Incident, "incidents_list", ids=ids, only_open=only_open, limit=MAX_ROWS)


def _entry(row: Row) -> TimelineEntry:
    named = {name: row[name] for name in ("chain", "seq", "at", "object_id")}
    return TimelineEntry(**named, actor_name=row["name"], said=said_in(row))


async def timeline(
    app: App, actor: Actor, incident_id: UUID, *, after: After | None, limit: int
) -> Sequence[TimelineEntry]:
    """Return the records that name an incident, oldest first; the reading is recorded.

    Args:
        after: Only records after this one, given by time, chain and number, since records can share a time.

    Raises:
        Denied, NotFound: As :func:`find_incident`.
        Integrity: ``audit_record_unreadable``.
    """
    found = await find_incident(app, actor, incident_id)
    chains = [app.installation_id, *([found.client_id] if found.client_id else [])]
    async with app.db.begin(every_client=True) as tx:
        if found.client_id is None:
            chains += await tx.all(lambda row: ClientId(row["id"]), "clients_list", ids=None)
        rows = await tx.all(
            _entry, "incident_timeline", chains=chains, id=found.id, events=_EVENTS, since=found.opened_at,
            **(after or After(found.opened_at - timedelta(days=36_500)))._asdict(),
            limit=max(1, min(limit, MOST_RECORDS)),
        )  # fmt: skip
        await record(
            tx, actor, EventName.AUDIT_READ, client_id=found.client_id, object_id=found.id, count=len(rows),
            chain=found.client_id or app.installation_id,
        )  # fmt: skip
    return rows


async def write_postmortem(app: App, actor: Actor, incident_id: UUID, *, reference: str, sha256: str) -> IncidentState:
    """Record where the postmortem of an incident is, and the digest of its bytes. Can be repeated until it is closed.

    Raises:
        Denied, NotFound: As :func:`find_incident`.
        Rejected: ``postmortem_missing``: neither of the two; ``secret_like_content``, ``bad_reference``.
        Conflict: ``incident_closed``.
    """
    async with changing(app, actor, incident_id) as (tx, found):
        if not reference and not sha256:
            raise Rejected("postmortem_missing", next_step="Give the document (--file) or its address (--link).")
        if sha256 and not _SHA256.match(sha256):
            raise Rejected("bad_reference", next_step="Give the digest as 64 hex digits.", field="sha256")
        if reference:
            rules.check_reference("postmortem", reference)
        told = await tx.one(Incident, "incident_told", id=found.id, postmortem=reference, sha256=sha256)
        await noted(tx, actor, found, "postmortem", digest=sha256 or None)
        return await state_of(tx, app, told)


async def close(app: App, actor: Actor, incident_id: UUID) -> IncidentState:
    """Close an incident that has been dealt with.

    Raises:
        Denied, NotFound: As :func:`find_incident`; ``same_person``: it is about break glass, and the actor held a
            grant.
        Conflict: ``incident_closed``; ``playbook_not_done``; ``playbook_not_begun``: at P0 and P1 no step may be left
            out; ``playbook_not_chosen``; ``postmortem_missing``.
    """
    async with changing(app, actor, incident_id, Verb.INCIDENT_CLOSE, EventName.INCIDENT_CLOSED) as (tx, found):
        state, grave = await state_of(tx, app, found), found.severity in rules.MUST_TELL
        of_glass = found.kind is IncidentKind.BREAK_GLASS
        if of_glass and await tx.maybe(bool, "incident_held_by", id=found.id, by=actor.id):
            raise Denied("same_person", next_step="It is about your own grant. Another person must close it.")
        if state.run is not None and (state.run.run.state != "complete" or state.run.missing):
            step = f"See {state.run.look}. Missing: {', '.join(state.run.missing)}."
            raise Conflict("playbook_not_done", next_step=step, incident=found.id)
        if state.run is None and found.playbook and grave:
            step = f"Complete its steps: {look_at(found.id)}. Or have a second person lower its severity."
            raise Conflict("playbook_not_begun", next_step=step, incident=found.id)
        if state.undecided:
            step = f"Choose its playbook, or say why none: `byokeep incident playbook {found.id} none --reason CODE`"
            step += "; at P0 and P1 another person must approve that." if grave else "."
            raise Conflict("playbook_not_chosen", next_step=step, incident=found.id)
        if grave and not found.told:
            step = f"Write it, then: `byokeep incident postmortem {found.id} --file FILE`, or --link ADDRESS."
            raise Conflict("postmortem_missing", next_step=step, incident=found.id)
        closed = await tx.one(Incident, "incident_close", id=found.id, by=actor.id)
        await record(
            tx, actor, EventName.INCIDENT_CLOSED, client_id=found.client_id, object_id=found.id, incident=found.id,
            severity=found.severity.lower(),
        )  # fmt: skip
        return IncidentState(incident=closed, run=state.run, ticket=state.ticket)


def over(found: Incident) -> Conflict:
    """Return the refusal to change an incident that is closed."""
    return Conflict("incident_closed", next_step=f"It is already closed: {look_at(found.id)}.", incident=found.id)


@asynccontextmanager
async def changing(
    app: App, actor: Actor, incident_id: UUID, verb: Verb = Verb.INCIDENT_STEP,
    refused_as: EventName = EventName.INCIDENT_CHANGED,
) -> AsyncIterator[tuple[Tx, Incident]]:  # fmt: skip
    """Hold an open incident for what is to be changed of it; what is refused is on record of it.

    Raises:
        Denied, NotFound: As :func:`find_incident`.
        Conflict: ``incident_closed``.
    """
    found = await find_incident(app, actor, incident_id, verb)
    async with command(
        app, actor, verb, client_id=found.client_id, object_id=found.id, refused_as=refused_as, on_client=True
    ) as tx:
        found = await incidents.held(tx, found.client_id, found.id)
        if found.closed_at is not None:
            raise over(found)
        yield tx, found


async def noted(tx: Tx, actor: Actor, found: Incident, stage: str, **said: Said) -> None:
    """Put on record what was changed of an incident."""
    about: dict[str, Said] = {"incident": found.id, "stage": stage, **said}
    await record(tx, actor, EventName.INCIDENT_CHANGED, about, client_id=found.client_id, object_id=found.id)
