"""Routes of incidents, and of mass revocations."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field

from byokeep.core.errors import Rejected
from byokeep.core.incident import MUST_TELL
from byokeep.core.model import Actor, ClientId
from byokeep.core.ref import parse_client_id
from byokeep.http.openapi import ID, NUMBER, TEXT, Reply, Routes, at_out, parameters, refusals
from byokeep.http.procedures import ProcedureReply, StepReply, run_out
from byokeep.http.request import (
    Authenticator,
    Id,
    PathId,
    Strict,
    canonical_id,
    instant,
    query_of,
    time_of,
    whole_number,
)
from byokeep.incidents import incidents, mass_revoke, playbooks
from byokeep.incidents.incidents import After, IncidentState, OpenRequest, TimelineEntry
from byokeep.incidents.mass_revoke import (
    Revocation,
    RevocationItem,
    RevocationPreview,
    RevocationRequest,
    RevocationTarget,
)
from byokeep.incidents.playbooks import PLAYBOOKS
from byokeep.kernel.app import WebApp
from byokeep.kernel.incidents import Incident
from byokeep.kernel.procedures import RunStatus

Word = Annotated[str, Field(max_length=64)]
_STATE: Final = {"type": "string", "enum": ["open", "all"]}
_TIME: Final = "Give a time with its zone, like 2026-05-01T12:00:00Z."


class IncidentBody(Strict):
    """Open an incident."""

    kind: Word
    client_id: Id | None = None
    severity: Word | None = None
    object_kind: Literal["key", "account", "profile"] | None = None
    object: Id | None = None
    noticed_at: Word | None = None
    began_at: Word | None = None


class PostmortemBody(Strict):
    """Say where the postmortem stands, and the digest of its bytes."""

    reference: Annotated[str, Field(max_length=300)] = ""
    sha256: Word = ""


class StepBody(Strict):
    """Pass a step of the playbook."""

    step: Annotated[str, Field(pattern=r"^[a-z]{1,32}$")]
    accept_gaps: bool = False
    ticket: Annotated[str, Field(max_length=300)] = ""


class PlaybookBody(Strict):
    """Say which playbook leads an incident of kind `other`: its name, or ``none`` with the reason, a code."""

    playbook: Word
    reason: Word = ""


class SeverityBody(Strict):
    """Say how bad it is."""

    severity: Word


class IncidentRecordReply(
    Reply, of=Incident,
    shows="id client_id kind severity state object_kind object_id platform source noticed_at began_at began_assumed"
    " playbook ticket ticket_at postmortem postmortem_sha256 opened_at opened_by closed_at closed_by",
):  # fmt: skip
    """An incident."""


class IncidentRecordsReply(Reply):
    """The incidents, open ones first."""

    incidents: list[IncidentRecordReply]


class IncidentShownReply(IncidentRecordReply):
    """An incident, and how far its playbook is."""

    waits_for: str
    steps: list[StepReply]
    missing: list[str]
    rotation: UUID | None
    ticket_state: str
    next_step: str


class TimelineEntryReply(Reply, of=TimelineEntry, shows="chain seq at object_id actor=actor_name"):
    """A record that names an incident."""

    event: str
    outcome: str
    said: dict[str, str | int]


class TimelineReply(Reply):
    """What is on record of an incident, oldest first; ``next`` as ``after`` goes on behind the last of them."""

    records: list[TimelineEntryReply]
    next: str | None


def router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = Routes("incident", auth, 403, prefix="/v1/incidents")

    @routes.post("", status_code=201, response_model=IncidentShownReply, responses=refusals(404, 409))
    async def open_(actor: Actor, body: IncidentBody) -> dict[str, Any]:
        """Open an incident; one person is enough."""
        wish = OpenRequest(
            client_id=None if body.client_id is None else ClientId(body.client_id), kind=body.kind,
            severity=body.severity, object_kind=body.object_kind or "", object_id=body.object,
            noticed_at=_at(body.noticed_at), began_at=_at(body.began_at),
        )  # fmt: skip
        return shown(await incidents.open_incident(app, actor, wish))

    @routes.get("", response_model=IncidentRecordsReply, openapi_extra=parameters({"client_id": ID, "state": _STATE}),
                responses=refusals(404))  # fmt: skip
    async def list_(request: Request, actor: Actor) -> dict[str, Any]:
        """List the incidents, open ones first, the worst at the top."""
        given = query_of(request, "client_id", "state")
        named, state = given.get("client_id"), given.get("state", "all")
        if state not in ("open", "all"):
            raise Rejected("bad_state", next_step="Use open or all.")
        client_id = None if named is None else parse_client_id(named)
        found = await incidents.list_incidents(app, actor, client_id=client_id, only_open=state == "open")
        return {"incidents": found}

    @routes.get("/{incident_id}", response_model=IncidentShownReply)
    async def show(incident_id: PathId, actor: Actor) -> dict[str, Any]:
        """Look at an incident, and how far its playbook is."""
        return shown(await incidents.look(app, actor, incident_id))

    @routes.get("/{incident_id}/timeline", response_model=TimelineReply,
                openapi_extra=parameters({"after": TEXT, "limit": NUMBER}))  # fmt: skip
    async def timeline(request: Request, incident_id: PathId, actor: Actor) -> dict[str, Any]:
        """List the records that name an incident, oldest first; the look is on record."""
        given = query_of(request, "after", "limit")
        limit = min(whole_number("limit", given.get("limit")) or 100, incidents.MOST_RECORDS)
        found = await incidents.timeline(app, actor, incident_id, after=_after(given.get("after")), limit=limit)
        last = f"{at_out(found[-1].at)}/{found[-1].chain}/{found[-1].seq}" if len(found) >= limit else None
        return {"records": [_entry(one) for one in found], "next": last}

    _acts(routes, app)
    return routes


def _acts(routes: Routes, app: WebApp) -> None:
    """Add the routes that change an incident."""

    @routes.post("/{incident_id}/step", response_model=IncidentShownReply, responses=refusals(409))
    async def step(incident_id: PathId, actor: Actor, body: StepBody) -> dict[str, Any]:
        """Pass the next step of an incident's playbook, by its name; the first one begins it."""
        passed = playbooks.step(app, actor, incident_id, body.step, accept_gaps=body.accept_gaps, ticket=body.ticket)
        return shown(await passed)

    @routes.post("/{incident_id}/severity", response_model=IncidentShownReply, responses=refusals(409))
    async def severity(incident_id: PathId, actor: Actor, body: SeverityBody) -> dict[str, Any]:
        """Say how bad an incident is: worse at once, less when a second person approves."""
        return _waiting(*await playbooks.set_severity(app, actor, incident_id, body.severity))

    @routes.post("/{incident_id}/playbook", response_model=IncidentShownReply, responses=refusals(409))
    async def playbook(incident_id: PathId, actor: Actor, body: PlaybookBody) -> dict[str, Any]:
        """Say which playbook leads an incident of kind `other`, or that none applies: at P0 and P1 two people do."""
        chosen = playbooks.choose_playbook(app, actor, incident_id, body.playbook, reason=body.reason)
        return _waiting(*await chosen)

    @routes.post("/{incident_id}/postmortem", response_model=IncidentShownReply, responses=refusals(409))
    async def postmortem(incident_id: PathId, actor: Actor, body: PostmortemBody) -> dict[str, Any]:
        """Say where the postmortem stands."""
        written = incidents.write_postmortem(app, actor, incident_id, reference=body.reference, sha256=body.sha256)
        return shown(await written)

    @routes.post("/{incident_id}/close", response_model=IncidentShownReply, responses=refusals(409))
    async def close(incident_id: PathId, actor: Actor) -> dict[str, Any]:
        """Close an incident; at P0 and P1 with its postmortem."""
        return shown(await incidents.close(app, actor, incident_id))


def _at(text: str | None) -> Any:
    return None if text is None else instant(text, Rejected("bad_time", next_step=_TIME))


def _after(text: str | None) -> After | None:
    """Return where a page ends: a time, or what ``next`` said."""
    if text is None:
        return None
    at, *place = text.split("/")
    refusal = Rejected("bad_time", next_step=_TIME)
    if not place:
        return After(instant(at, refusal))
    with suppress(ValueError):
        chain, seq = place
        return After(instant(at, refusal), canonical_id(chain), int(seq[:15]))
    raise refusal


def _entry(one: TimelineEntry) -> dict[str, Any]:
    said = one.said
    return TimelineEntryReply.fields(one, event=said["event"], outcome=said["outcome"], said=said["fields"])


def _waiting(state: IncidentState, waits: RunStatus | None) -> dict[str, Any]:
    if waits is None:
        return shown(state)
    return shown(state) | {"next_step": f"Next, by another approver: `byokeep procedure approve {waits.run.id}`."}


def shown(state: IncidentState) -> dict[str, Any]:
    """Return an incident as a reply."""
    one, run = state.incident, state.run
    playbook = PLAYBOOKS.get(one.playbook)
    missing = run.missing if run else tuple(step.name for step in playbook.steps) if playbook else ()
    begun = None if run is None else run.run.facts.get("rotation")
    return IncidentShownReply.fields(
        one, waits_for="" if run is None else run.waits_for, steps=() if run is None else run.steps, missing=missing,
        rotation=begun, ticket_state=state.ticket, next_step=next_step(state, missing),
    )  # fmt: skip


def next_step(state: IncidentState, missing: Sequence[str]) -> str:
    """Return what to do about an incident now."""
    one = state.incident
    if one.closed_at is not None:
        return "Nothing to do: it is closed."
    if one.object_kind == "vault" and (missing or state.run is None):
        return f"Use its own commands: `byokeep incident vault status {one.id}`."
    if missing:
        return f"Continue its playbook: `byokeep incident step {one.id} {missing[0]}`."
    if state.undecided:
        return f"Choose its playbook, or say why none applies: `byokeep incident playbook {one.id} none --reason CODE`."
    if one.severity in MUST_TELL and not one.told:
        return f"Record its postmortem: `byokeep incident postmortem {one.id} --file FILE`."
    return f"When it is dealt with: `byokeep incident close {one.id}`."


class RevocationBody(Strict):
    """What to revoke: of a provider or platform, of what a runner was given, or of what was given in a span."""

    reason: str
    provider: str = ""
    runner_id: Id | None = None
    since: Annotated[str, Field(max_length=40)] = ""
    until: Annotated[str, Field(max_length=40)] = ""
    client_id: Id | None = None
    incident_id: Id | None = None


class RevocationTargetReply(Reply, of=RevocationTarget, shows="client_id client_name object_id kind provider version"):
    """A key or account that would be revoked."""


class RevocationPreviewReply(Reply, of=RevocationPreview, shows="jobs others_end"):
    """What would be cut off, how many open jobs would end, and at which platforms others may end with it."""

    targets: list[RevocationTargetReply]


class RevocationItemReply(
    Reply, of=RevocationItem,
    shows="client_id client_name object_id kind provider account version state cause seq settled_by settled_at"
    " changed_at",
):  # fmt: skip
    """A key or account: how its end at the provider is, and the number of the record that proves it."""


class RevocationReply(Reply):
    """A mass revocation: its run, everything that it revokes, how many are left, and where others may end with it."""

    run: ProcedureReply
    left: int
    others_end: list[str]
    items: list[RevocationItemReply]


def revocations_router(app: WebApp, auth: Authenticator) -> APIRouter:
    """Return the routes."""
    routes = Routes("incidents", auth, 403, prefix="/v1/mass-revocations")

    @routes.post("", status_code=202, response_model=RevocationReply, responses=refusals(404, 409))
    async def revoke(actor: Actor, body: RevocationBody) -> dict[str, Any]:
        """Cut off everything that fits, at once; workers end it at the providers."""
        return _out(await mass_revoke.begin(app, actor, _asked(body)))

    @routes.post("/preview", response_model=RevocationPreviewReply, responses=refusals(404, 409))
    async def preview(actor: Actor, body: RevocationBody) -> RevocationPreview:
        """Name what would be cut off; nothing is changed."""
        return await mass_revoke.preview(app, actor, _asked(body))

    @routes.get("/{run_id}", response_model=RevocationReply)
    async def show(run_id: PathId, actor: Actor) -> dict[str, Any]:
        """Tell how far each end at a provider is, what is left first."""
        return _out(await mass_revoke.status(app, actor, run_id))

    @routes.post("/{run_id}/items/{object_id}/settle", response_model=RevocationReply, responses=refusals(409))
    async def settle(run_id: PathId, object_id: PathId, actor: Actor) -> dict[str, Any]:
        """Say that a person ended one at its provider; a key is asked again."""
        return _out(await mass_revoke.settle(app, actor, run_id, object_id))

    return routes


def _asked(body: RevocationBody) -> RevocationRequest:
    span = {name: time_of(name, at) if at else None for name, at in (("since", body.since), ("until", body.until))}
    return RevocationRequest(**body.model_dump() | span)


def _out(found: Revocation) -> dict[str, Any]:
    told = {"left": found.left, "others_end": found.others_end}
    return {"run": run_out(found.status), "items": list(found.items)} | told
