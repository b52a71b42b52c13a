"""The record of an incident, and how it is opened: by a person, or by what was noticed (runbook 6.3).

Rules
- The chain is always locked before an incident's row, because whoever notices something has recorded it.
- There is one open incident of a kind about an object, and the database enforces that. If something is noticed again,
  that incident takes the higher severity and the earlier start, and its alert is raised again: an open incident never
  mutes anything.
- A person may always open one. Incidents that open automatically are limited per client, so that one client's flood
  neither costs nor hides another's. Beyond the limit, one alert of that client says so.
- It names ids and codes. What has happened since is read from the audit: there is no second log.
- An incident and the run of its playbook have one id.
- A playbook that holds a kill switch releases it once all earlier steps are proved, and only to a person who took no
  part in it.

It may not decide how to respond: the playbooks do (:mod:`byokeep.incidents.playbooks`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core import incident
from byokeep.core.errors import Conflict, Denied, NotFound
from byokeep.core.events import EventName
from byokeep.core.incident import IncidentKind, IncidentSource, Severity
from byokeep.core.model import Actor, ClientId, Lane
from byokeep.core.procedure import Run
from byokeep.core.vault_incident import window
from byokeep.kernel.app import App
from byokeep.kernel.command import hold_chain, open_alert, record
from byokeep.kernel.ports import Tx
from byokeep.kernel.procedures import status_of

MOST_A_DAY: Final = 20  # incidents of one client that open by themselves
UNPROVED: Final = "key_unproved"  # what a person takes upon themselves where no call can tell that a key is dead


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An incident.

    Attributes:
        client_id: Whose; None = everybody's.
        object_kind: ``key``, ``account``, ``profile``, ``vault`` (of browser profiles), or empty.
        platform: Which one was lost, if one was.
        began_at: Since when it may have been so; ``began_assumed``: nobody knew, and 72 hours were assumed.
        ticket: Where people keep it, and since when the ticket is due for an update.
        postmortem: Where it stands; ``postmortem_sha256``: its digest in hex.
    """

    id: UUID
    client_id: ClientId | None
    kind: IncidentKind
    severity: Severity
    object_kind: str
    object_id: UUID | None
    platform: str
    source: IncidentSource
    noticed_at: datetime
    began_at: datetime
    began_assumed: bool
    opened_at: datetime
    opened_by: UUID
    ticket: str
    ticket_at: datetime | None
    postmortem: str
    postmortem_sha256: str
    closed_at: datetime | None
    closed_by: UUID | None

    @property
    def state(self) -> str:
        """``open`` or ``closed``."""
        return "closed" if self.closed_at else "open"

    @property
    def playbook(self) -> str:
        """The procedure that leads it; empty when people lead it by themselves."""
        return incident.playbook(self.kind, self.object_kind, self.platform)

    @property
    def told(self) -> bool:
        """Whether its postmortem is there."""
        return bool(self.postmortem or self.postmortem_sha256)


async def opened(
    tx: Tx, app: App, actor: Actor, kind: IncidentKind, *, client_id: UUID | None, source: IncidentSource,
    severity: Severity | None = None, object_kind: str = "", object_id: UUID | None = None, platform: str = "",
    noticed_at: datetime | None = None, began_at: datetime | None = None, incident_id: UUID | None = None,
    alert: str = "",
) -> tuple[Incident | None, bool]:  # fmt: skip
    """Open an incident in a transaction, on record, or find the open one about the same.

    Args:
        noticed_at: When it was noticed, if not just now.
        began_at: Since when it may have been so; None = not known.
        incident_id: Its id, where the run of its playbook was begun before it.
        alert: The reason of the alert that tells of it; empty = another alert does.

    Returns:
        The incident, None when too many were opened of the client by themselves; and whether it is a new one.

    Raises:
        Rejected: ``bad_since``: a time in the future.
    """
    await hold_chain(tx, client_id)
    now = app.clock.now()
    noticed = window(noticed_at or now, now)[0]
    began, assumed = window(began_at, noticed)
    about = object_id if object_kind != "vault" else incident_id
    key = dedup_key(kind, client_id, about, platform)
    asked = {"client_id": client_id, "kind": kind.value, "platform": platform, "dedup_key": key}
    known = {"severity": (severity or incident.usual_severity(kind)).value, "began_at": began, "began_assumed": assumed}
    made = await tx.maybe(
        Incident, "incident_open", id=incident_id or app.ids.uuid(), **asked, object_kind=object_kind, **known,
        object_id=object_id, source=source.value,
        noticed_at=noticed, by=actor.id,
        most=None if source is IncidentSource.PERSON else MOST_A_DAY,
    )  # fmt: skip
    if made is None:
        found = await tx.maybe(Incident, "incident_of", dedup_key=asked["dedup_key"])
        if found is None:
            await open_alert(tx, app, actor, reason="incidents_limited", client_id=client_id)
            return None, False
        worse = await tx.maybe(Incident, "incident_again", id=found.id, **known)
        if worse is not None:
            await record(
                tx, actor, EventName.INCIDENT_CHANGED, client_id=client_id, object_id=worse.id, incident=worse.id,
                stage="noticed_again", severity=worse.severity.lower(),
            )  # fmt: skip
        await _tell(tx, app, actor, worse or found, alert)
        return worse or found, False
    await record(
        tx, actor, EventName.INCIDENT_OPENED, client_id=client_id, object_id=made.id, incident=made.id, kind=made.kind,
        severity=made.severity.lower(), source=made.source, since=made.began_at, about=made.object_id,
        platform=platform or None, noticed_at=made.noticed_at, reason="since_assumed" if assumed else None,
    )  # fmt: skip
    await _tell(tx, app, actor, made, alert)
    return made, True


def dedup_key(kind: IncidentKind, client_id: UUID | None, about: UUID | None, platform: str) -> str:
    """Return what is the same of two incidents, of which one is open at most."""
    return f"{kind.value}/{client_id or 'all'}/{about or platform or 'none'}"


async def held(tx: Tx, client_id: UUID | None, incident_id: UUID) -> Incident:
    """Return an incident, held with its chain until the transaction ends."""
    await hold_chain(tx, client_id)
    return await tx.one(Incident, "incident_hold", id=incident_id)


async def _tell(tx: Tx, app: App, actor: Actor, found: Incident, alert: str) -> None:
    if alert:
        await open_alert(
            tx, app, actor, reason=alert, client_id=found.client_id, object_id=found.object_id or found.id,
            severity="critical" if found.severity in incident.MUST_TELL else "warning",
        )  # fmt: skip


async def require_rotated(tx: Tx, app: App, run: Run) -> Run | None:
    """Let a playbook go on when what ends its key is proved complete, and return that.

    None: no call can tell of such a key, and a person took that upon themselves, on record.

    Raises:
        Conflict: ``rotation_not_complete``.
    """
    begun = await tx.maybe(Run, "procedure_get", id=UUID(str(run.facts["rotation"])))
    if begun is None and await accepted(tx, run.client_id, run.object_id, UNPROVED):
        return None
    if begun is None:
        step = f"Nothing proves that its key is dead: {incident.look_at(run.object_id)}."
        raise Conflict("rotation_not_complete", next_step=step, incident=run.object_id)
    status = await status_of(tx, app, app.procedures[begun.procedure], begun)
    if begun.state != "complete" or status.missing:
        step = f"Continue with it: `byokeep rotate status {begun.id}`."
        raise Conflict("rotation_not_complete", next_step=step, incident=run.object_id, run=begun.id)
    return begun


async def accepted(tx: Tx, client_id: UUID | None, incident_id: UUID, stage: str, digest: str = "") -> bool:
    """Whether a person accepted something of an incident, on record; of a report: of this one, by its digest."""
    asked = {"client_id": client_id, "id": incident_id, "stage": stage, "digest": digest}
    return await tx.one(bool, "incident_accepted", **asked)


def stopping(client_id: UUID | None) -> list[str]:
    """Return the scopes of the switches that a playbook holds: of the whole client, and of its lanes."""
    return [f"client:{client_id}", *(f"client:{client_id}:lane:{lane}" for lane in Lane)]


def stopped(scopes: Collection[str], client_id: UUID) -> bool:
    """Whether engaged switches stop every effect of a client: that of all of it, or those of its lanes.

    The lanes' let our own workers go on, who verify and revoke; that of the client ends them as well.
    """
    own, *lanes = stopping(client_id)
    return own in scopes or set(lanes) <= set(scopes)


async def require_let_go(tx: Tx, app: App, actor: Actor, client_id: UUID, scope: str) -> None:
    """Let a switch of a client be released by a person whom no playbook of it holds back.

    Nothing is held back while other switches still stop every effect.

    Raises:
        Conflict: ``incident_holds_kill``: steps before the release are missing; ``rotation_not_complete``.
        Denied: ``same_person``: this person engaged it, rotated the key or led the playbook.
    """
    engaged = {one["scope"]: one["by"] for one in await tx.all(dict, "incident_switches", client_id=client_id)}
    if not stopped(engaged, client_id) or stopped(engaged.keys() - {scope}, client_id):
        return
    scopes = sorted(engaged)
    closers = await tx.all(UUID, "incident_engaged_by", client_id=client_id, scopes=scopes)
    for run in await tx.all(Run, "incident_holding", client_id=client_id):
        procedure = app.procedures[run.procedure]
        status = await status_of(tx, app, procedure, run)
        if status.missing != (procedure.steps[-1].name,):
            step = f"Complete its other steps first: {incident.look_at(run.object_id)}."
            raise Conflict("incident_holds_kill", next_step=step, incident=run.object_id)
        rotated = await require_rotated(tx, app, run)
        part = {*engaged.values(), *closers, run.started_by, *(one.by for one in status.steps)}
        if actor.id in (part if rotated is None else part | {rotated.started_by}):
            raise Denied("same_person", next_step="Another approver must release it: you took part in this incident.")


async def named(tx: Tx, actor: Actor, incident_id: UUID | None, client_id: UUID | None) -> Incident | None:
    """Return the incident that is named for something of a client: the client's, or everybody's as the actor is.

    Raises:
        NotFound: ``not_found``.
    """
    if incident_id is None:
        return None
    found = await tx.maybe(Incident, "incident_get", id=incident_id)
    if found is None or (actor.clients is not None if found.client_id is None else found.client_id != client_id):
        raise NotFound("not_found", next_step="Give an incident of this client: `byokeep incident list`.")
    return found
