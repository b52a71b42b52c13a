"""The playbooks of runbook 7.1 (a provider's key leaked) and 7.2 (a platform's token was lost) as procedures.

Rules
- A step is asked for by name: one that is not next is refused, on record. None is left out, and none passes on
  somebody's word alone.
- A step passes by what is there: the engaged switch, the rotation in progress, the report on record, the platform as it
  is closed or comes back. If the step itself can begin that, it does.
- 7.1 stops every effect of the client with the switches of its lanes, because the whole client's switch would also stop
  our own workers, which verify and revoke. Two people release them, once every earlier step is proved and the rotation
  is complete. Whoever engaged one, rotated the key or performed the steps cannot approve
  (:mod:`byokeep.kernel.incidents`).
- A report with gaps passes if a person accepts them by name, on record.
- Lowering a severity takes a second person; raising one does not.
- An incident of kind `other` is given one of these playbooks, or a reason on record why none applies; at P0 and P1 a
  second person approves that. It cannot be closed before.

It may not stop or release anything on its own, and gives the ticket only ids and codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from byokeep.core import incident as rules
from byokeep.core.errors import Conflict, Denied, Rejected, Unavailable
from byokeep.core.events import EventName
from byokeep.core.incident import LEAKED_KEY, LOST_TOKEN, IncidentKind, look_at
from byokeep.core.model import Actor
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb
from byokeep.core.procedure import Fields, Procedure, Run, Step
from byokeep.core.reenable import Stage
from byokeep.incidents.incidents import IncidentState, changing, find_incident, look, noted, over, severity_of, state_of
from byokeep.kernel import incidents, procedures
from byokeep.kernel.app import App, WebApp
from byokeep.kernel.command import hold_chain, recorded
from byokeep.kernel.incidents import UNPROVED, Incident
from byokeep.kernel.ports import Tx
from byokeep.kernel.procedures import RunStatus
from byokeep.keys import rotation, unused_key
from byokeep.keys.rotation import RotationRequest

KILL, ROTATE, REPORT, TICKET, POSTMORTEM, RELEASE = "kill", "rotate", "report", "ticket", "postmortem", "release"
CLOSE, REAUTH, VALIDATE, CANARY, REOPEN = "close", "reauth", "validate", "canary", "reopen"
NONE: Final = "none"
GAPS: Final = "report_gaps"  # what a person accepts in a report that is not complete
_ACCEPTED: Final = {REPORT: GAPS, ROTATE: UNPROVED, RELEASE: UNPROVED}
_STAGES: Final = tuple(Stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAnswer:
    """What happened to a key: the emergency rotation of this incident, or the key that replaced it.

    Attributes:
        rotation_id: The rotation.
        successor_id: A verified key in its place, if it was marked compromised.
        provable: A call can tell whether it is dead; for a keyless credential or a key of another kind none can.
    """

    live: bool
    over: bool
    provable: bool
    rotation_id: UUID | None
    successor_id: UUID | None
    provider: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformAnswer:
    """How far a platform has come on its way back."""

    stage: Stage
    cause: str
    way: int
    closed_at: datetime


async def _about(app: App, run: Run, *, only_open: bool = False) -> Incident:
    async with app.db.begin(client_id=run.client_id) as tx:
        found = await tx.one(Incident, "incident_get", id=run.object_id)
    if only_open and found.closed_at is not None:
        raise over(found)
    return found


def _not_yet(code: str, step: str, run: Run, **more: str) -> Conflict:
    return Conflict(code, next_step=step, incident=run.object_id, **more)


async def _engaged(app: App, run: Run) -> dict[str, int]:
    """Return the client's engaged switches, with their epochs."""
    rows = await app.db.read(dict, "incident_switches", {"client_id": run.client_id}, client_id=run.client_id)
    return {row["scope"]: row["epoch"] for row in rows}


async def _kill(app: App, _actor: Actor, run: Run) -> Fields:
    engaged = await _engaged(app, run)
    if run.client_id is None or not incidents.stopped(engaged, run.client_id):
        step = f"Engage it: `byokeep incident step {run.object_id} kill`."
        raise _not_yet("kill_not_engaged", step, run)
    return {"epoch": max(engaged.values())}


async def _answer(tx: Tx, run: Run) -> KeyAnswer:
    return await tx.one(KeyAnswer, "incident_key", client_id=run.client_id, id=run.object_id)


async def _rotate(app: App, actor: Actor, run: Run) -> Fields | None:
    if not isinstance(app, WebApp):
        return None
    found = await _about(app, run)
    ending: Run | None = None
    async with app.db.begin(client_id=run.client_id) as tx:
        await incidents.held(tx, run.client_id, run.object_id)
        answer = await _answer(tx, run)
        word = await incidents.accepted(tx, run.client_id, run.object_id, UNPROVED)
        if answer.over and answer.provable and answer.rotation_id is None and found.object_id is not None:
            ending = await unused_key.end_leaked(tx, app, actor, run.object_id, found.object_id)
    if ending is not None:
        await procedures.wake(app, ending)
    if answer.rotation_id is None and answer.live and answer.provable and found.object_id is not None:
        begun = await rotation.start(app, actor, found.object_id, RotationRequest(leaked=True))
        return {"rotation": str(begun.run.id)}
    if answer.rotation_id is not None:
        await _without_value(app, actor, run, answer.rotation_id)
        return {"rotation": str(answer.rotation_id)}
    if not answer.live and not answer.over:
        step = f"It serves nobody. Mark it: `byokeep key state {found.object_id} compromised --reason CODE`."
    elif answer.live and not answer.provable:
        step = (
            "No call can revoke it. End it where it was made, then "
            f"`byokeep key state {found.object_id} compromised --reason CODE`."
        )
    elif answer.successor_id is None:
        step = f"Add another key: `byokeep key add {run.client_id} {answer.provider}`. It serves once it is verified."
    elif ending is None and not word:
        step = (
            "No call can tell whether it is dead. End it where it was made, then confirm that in your name, on record: "
            f"`byokeep incident step {run.object_id} rotate --accept-gaps`."
        )
    else:
        return {"rotation": str(answer.successor_id if ending is None else ending.id)}
    raise _not_yet("key_not_replaced", step, run)


async def _without_value(app: App, actor: Actor, run: Run, rotation_id: UUID) -> None:
    """Resume an emergency rotation whose reference has ended, because the new value that it waits for will never come.
    """
    async with app.db.begin(client_id=run.client_id) as tx:
        live = (await _answer(tx, run)).live
        found = await tx.maybe(Run, "procedure_get", id=rotation_id)
    if found is not None and not live and found.procedure == rotation.LEAKED and "create" not in found.evidence:
        await procedures.resume(app, actor, rotation_id)


async def _report(app: App, _actor: Actor, run: Run) -> Fields:
    about = (await _about(app, run)).object_id or "KEY"
    async with app.db.begin(client_id=run.client_id) as tx:
        found = await _newest_report(tx, run)
        digest = "" if found is None else str(found["digest"])
        accepted = await incidents.accepted(tx, run.client_id, run.object_id, GAPS, digest)
    make = f"`byokeep incident report --key {about} --incident {run.object_id}`"
    if found is None:
        raise _not_yet("report_missing", f"Make it: {make}.", run)
    if not found["whole"] and not accepted:
        step = "Close its gaps and make it again, from when it may have begun until the kill:"
        step = f"{step} {make}; or accept them: `byokeep incident step {run.object_id} report"
        raise _not_yet("report_incomplete", f"{step} --accept-gaps`.", run)
    return {"version": int(found["seq"]), "cause": "complete" if found["whole"] else "gaps_accepted"}


async def _newest_report(tx: Tx, run: Run) -> dict[str, Any] | None:
    asked = {"client_id": run.client_id, "id": run.object_id, "kill": run.evidence.get(KILL, 0)}
    return await tx.maybe(dict, "incident_report", **asked)


async def _ticket(_app: App, _actor: Actor, _run: Run) -> Fields:
    return {}


async def _tell_ticket(tx: Tx, _actor: Actor, run: Run) -> Fields:
    await hold_chain(tx, run.client_id)
    await tx.one(UUID, "incident_ticket", id=run.object_id, ticket=None)
    return {}


async def _postmortem(app: App, _actor: Actor, run: Run) -> Fields:
    found = await _about(app, run)
    if found.told:
        return {"cause": "written"}
    if found.severity in rules.MUST_TELL:
        step = f"Write it, then: `byokeep incident postmortem {found.id} --file FILE`, or --link ADDRESS."
        raise _not_yet("postmortem_missing", step, run)
    return {"cause": "not_required"}


async def _release(app: App, actor: Actor, run: Run) -> Fields:
    await _without_value(app, actor, run, UUID(str(run.facts["rotation"])))
    async with app.db.begin(client_id=run.client_id) as tx:
        await incidents.require_rotated(tx, app, run)
    engaged = await _engaged(app, run)
    held = [scope for scope in incidents.stopping(run.client_id) if scope in engaged]
    if held:
        words = " --".join(held[0].removeprefix("client:").split(":", 1)).replace("lane:", "lane ")
        step = f"An operator runs `byokeep kill off --client {words} --reason CODE`; another person approves it."
        raise _not_yet("kill_not_released", step, run)
    return {"cause": "released"}


async def _platform(app: App, run: Run) -> tuple[Incident, PlatformAnswer | None]:
    found = await _about(app, run)
    async with app.db.begin(client_id=run.client_id) as tx:
        asked = {"client_id": run.client_id, "platform": found.platform}
        return found, await tx.maybe(PlatformAnswer, "incident_platform", **asked)


async def _close(app: App, _actor: Actor, run: Run) -> Fields:
    found, now = await _platform(app, run)
    if now is None or now.closed_at < found.opened_at:  # a way back from an earlier loss proves nothing about this one
        step = f"Close it: `byokeep incident platform close {run.client_id} {found.platform} --reason compromised`."
        raise _not_yet("platform_not_closed", step, run)
    return {"way": now.way, "cause": now.cause}


def _comes_back(least: Stage, next_step: str) -> Any:
    """Return the act of a step that passes once the platform has come this far on its way back."""

    async def act(app: App, _actor: Actor, run: Run) -> Fields:
        found, now = await _platform(app, run)
        if now is None or _STAGES.index(now.stage) < _STAGES.index(least):
            step = next_step.format(where=f"{run.client_id} {found.platform}")
            raise _not_yet("platform_not_so_far", step, run, stage="none" if now is None else now.stage.value)
        return {"way": now.way, "cause": now.stage.value}

    return act


def _step(name: str, act: Any, **more: Any) -> Step:
    return Step(name=name, act=act, verb=Verb.INCIDENT_STEP, evidence=EventName.INCIDENT_STEPPED, **more)


PROVIDER_KEY_LEAKED: Final = Procedure(
    name=LEAKED_KEY, verb=Verb.INCIDENT_STEP, run_field="incident", look=look_at, named=True,
    steps=(
        _step(KILL, _kill, proves=lambda _, said: said["epoch"] > 0),
        _step(ROTATE, _rotate, proves=lambda run, said: said["rotation"] == run.facts["rotation"]),
        _step(REPORT, _report, proves=lambda _, said: said["version"] > 0),
        _step(TICKET, _ticket, apply=_tell_ticket),
        _step(POSTMORTEM, _postmortem, proves=lambda _, said: said["cause"] in ("written", "not_required")),
        _step(RELEASE, _release, proves=lambda _, said: said["cause"] == "released"),
    ),
)  # fmt: skip
SOCIAL_TOKEN_LOST: Final = Procedure(
    name=LOST_TOKEN, verb=Verb.INCIDENT_STEP, run_field="incident", look=look_at, named=True,
    steps=(
        _step(CLOSE, _close),
        _step(REAUTH, _comes_back(Stage.REAUTHORISED, "A person logs in: `byokeep account connect {where} ACCOUNT`.")),
        _step(VALIDATE, _comes_back(Stage.PERMITTED, "Identity and permissions are checked after the login: "
                                    "`byokeep incident platform status` says what is missing.")),
        _step(CANARY, _comes_back(Stage.CANARY, "Ask for it: `byokeep incident platform canary {where}`.")),
        _step(REOPEN, _comes_back(Stage.OPEN, "The canary lets a few acts through at a time. Wait for its stages.")),
    ),
)  # fmt: skip
PLAYBOOKS: Final[Mapping[str, Procedure]] = {one.name: one for one in (PROVIDER_KEY_LEAKED, SOCIAL_TOKEN_LOST)}


async def step(app: App, actor: Actor, incident_id: UUID, name: str, *, accept_gaps: bool = False, ticket: str = ""
) -> IncidentState:  # fmt: skip
    """Pass a step of an incident's playbook, which must be the next one; the first one begins the playbook.

    Args:
        accept_gaps: Accept, on record: for the report, what it does not know; for the rotation, that no call can tell
            whether such a key is dead.
        ticket: Where people keep the ticket, a number or an address.

    Raises:
        Denied, NotFound: As :func:`byokeep.incidents.incidents.find_incident`.
        Rejected: ``unknown_step``; ``secret_like_content``, ``bad_reference``.
        Conflict: ``incident_closed``; ``no_playbook``; ``step_out_of_order``; ``procedure_moved``; and why the step
            does not pass: ``kill_not_engaged``, ``key_not_replaced``, ``report_missing``, ``report_incomplete``,
            ``postmortem_missing``, ``rotation_not_complete``, ``kill_not_released``, ``platform_not_closed``,
            ``platform_not_so_far``.
    """
    found = await find_incident(app, actor, incident_id, Verb.INCIDENT_STEP)
    async with recorded(
        app, actor, Verb.INCIDENT_STEP, client_id=found.client_id, object_id=found.id, on_client=True,
        refused_as=EventName.INCIDENT_STEPPED, fields={"incident": str(found.id), "stage": name},
    ):  # fmt: skip
        if found.closed_at is not None:
            raise over(found)
        procedure = PLAYBOOKS.get(found.playbook)
        if procedure is None:
            advice = "Use its own commands: `byokeep incident vault status`." if found.object_kind == "vault" else (
                "It has no playbook. Deal with it, then `byokeep incident close`.")  # fmt: skip
            raise Conflict("no_playbook", next_step=advice, incident=found.id)
        names = [one.name for one in procedure.steps]
        if name not in names:
            raise Rejected("unknown_step", next_step="Its steps are: " + ", ".join(names) + ".")
        if ticket:
            rules.check_reference("ticket", ticket)
        async with app.db.begin(client_id=found.client_id) as tx:
            run = await _begun(tx, app, actor, procedure, found)
            due = procedure.next(run)
            if ticket and name == TICKET and await _ticket_added(tx, actor, found, run, ticket):
                return await state_of(tx, app, await tx.one(Incident, "incident_get", id=found.id))
            if due is None or due.name != name:
                advice = f"Nothing to do: it is complete. {look_at(found.id)}."
                if due is not None:
                    advice = f"Next: `byokeep incident step {found.id} {due.name}`."
                raise Conflict("step_out_of_order", next_step=advice, incident=found.id)
            if ticket:
                await tx.one(UUID, "incident_ticket", id=found.id, ticket=ticket)
            if accept_gaps and name in _ACCEPTED:
                report = await _newest_report(tx, run) if name == REPORT else None
                await noted(tx, actor, found, _ACCEPTED[name], digest=report["digest"] if report else None)
        await procedures.resume(app, actor, found.id, seen=run)
    return await look(app, actor, incident_id)


async def _ticket_added(tx: Tx, actor: Actor, found: Incident, run: Run, ticket: str) -> bool:
    """Record where the ticket is, if its step passed without saying so."""
    if TICKET not in run.evidence or (await incidents.held(tx, found.client_id, found.id)).ticket:
        return False
    await tx.one(UUID, "incident_ticket", id=found.id, ticket=ticket)
    await noted(tx, actor, found, TICKET)
    return True


async def _begun(tx: Tx, app: App, actor: Actor, procedure: Procedure, found: Incident) -> Run:
    """Return the run of an incident's playbook, and begin it if necessary."""
    await incidents.held(tx, found.client_id, found.id)
    run = await tx.maybe(Run, "procedure_get", id=found.id)
    if run is not None:
        return run
    return await procedures.start_on_record(
        tx, app, actor, procedure, client_id=found.client_id, object_id=found.id, run_id=found.id
    )


async def _lower(app: App, _actor: Actor, run: Run) -> Fields:
    found = await _about(app, run, only_open=True)
    if found.severity.lower() != run.facts.get("severity_from"):
        raise Denied("approval_changed", next_step="It has changed since it was asked for. Look, then ask again.")
    return {"incident": str(run.object_id), "severity": str(run.facts["severity"])}


async def _no_playbook(app: App, _actor: Actor, run: Run) -> Fields:
    if (await _about(app, run, only_open=True)).kind is not IncidentKind.OTHER:
        raise Denied("approval_changed", next_step="It has a playbook now. Look at it.")
    return {"incident": str(run.object_id), "reason": str(run.facts["reason"])}


async def _lowered(tx: Tx, _actor: Actor, run: Run) -> Fields:
    await hold_chain(tx, run.client_id)
    wanted, was = (str(run.facts[name]).upper() for name in ("severity", "severity_from"))
    if await tx.maybe(UUID, "incident_severity", id=run.object_id, severity=wanted, was=was) is None:
        raise Unavailable("severity_moved", next_step="It is checked again automatically.")
    return {}


LOWER_SEVERITY: Final = Procedure(
    name="lower_severity", verb=Verb.INCIDENT_STEP, abortable=True,
    steps=(Step(name="lower", act=_lower, apply=_lowered, approval=Verb.INCIDENT_LOWER,
                evidence=EventName.INCIDENT_CHANGED),),
)  # fmt: skip


NO_PLAYBOOK: Final = Procedure(
    name=rules.NO_PLAYBOOK, verb=Verb.INCIDENT_STEP, abortable=True,
    steps=(Step(name=rules.NO_PLAYBOOK, act=_no_playbook, approval=Verb.INCIDENT_LOWER,
                evidence=EventName.INCIDENT_CHANGED),),
)  # fmt: skip


async def set_severity(
    app: App, actor: Actor, incident_id: UUID, severity: str
) -> tuple[IncidentState, RunStatus | None]:
    """Change the severity of an incident: at once if it is worse; a lower one waits for a second person.

    Returns:
        The incident, and the run that waits for the second person, if one does.

    Raises:
        Denied, NotFound: As :func:`byokeep.incidents.incidents.find_incident`; ``approval_held``.
        Rejected: ``unknown_severity``.
        Conflict: ``incident_closed``; ``severity_same``.
    """
    async with changing(app, actor, incident_id) as (tx, found):
        wanted = severity_of(severity)
        if wanted == found.severity:
            raise Conflict("severity_same", next_step=f"Nothing to do: {look_at(found.id)}.", incident=found.id)
        if wanted < found.severity:
            await tx.one(UUID, "incident_severity", id=found.id, severity=wanted.value, was=found.severity.value)
            await noted(tx, actor, found, "severity", severity=wanted.lower())
            return await state_of(tx, app, await tx.one(Incident, "incident_get", id=found.id)), None
        facts = {"severity": wanted.lower(), "severity_from": found.severity.lower()}
        asked = await procedures.asked_for(tx, app, actor, LOWER_SEVERITY, found.client_id, found.id, facts)
    await procedures.wake(app, asked)
    return await look(app, actor, incident_id), await procedures.status(app, actor, asked.id)


async def choose_playbook(
    app: App, actor: Actor, incident_id: UUID, name: str, *, reason: str = ""
) -> tuple[IncidentState, RunStatus | None]:
    """Give an incident of kind `other` its playbook, or say why none applies.

    Args:
        name: One of :data:`PLAYBOOKS`; ``none``: none applies, for ``reason``, a code. At P0 and P1 that waits for a
            second person.

    Returns:
        The incident, and the run that waits for the second person, if one does.

    Raises:
        Denied, NotFound: As :func:`byokeep.incidents.incidents.find_incident`; ``approval_held``.
        Rejected: ``unknown_playbook``; ``bad_reason``; ``object_missing``: it is not about an object that the playbook
            handles.
        Conflict: ``incident_closed``; ``playbook_chosen``; ``incident_open``: one of its new kind about the same object
            is open.
    """
    asked: Run | None = None
    async with changing(app, actor, incident_id) as (tx, found):
        if name not in (NONE, *PLAYBOOKS):
            raise Rejected("unknown_playbook", next_step="Use one of: " + ", ".join((*PLAYBOOKS, NONE)) + ".")
        if found.kind is not IncidentKind.OTHER:
            raise Conflict("playbook_chosen", next_step=f"Continue with it: {look_at(found.id)}.", incident=found.id)
        if name != NONE:
            now = await _reclassified(tx, found, name)
            await noted(tx, actor, now, "playbook", severity=now.severity.lower(), reason=now.kind.value)
        else:
            check_reason(reason, example="no_credential_involved")
            if found.severity in rules.MUST_TELL:
                said = {"reason": reason}
                asked = await procedures.asked_for(tx, app, actor, NO_PLAYBOOK, found.client_id, found.id, said)
            else:
                await noted(tx, actor, found, rules.ALONE, reason=reason)
    if asked is not None:
        await procedures.wake(app, asked)
    state = await look(app, actor, incident_id)
    return state, None if asked is None else await procedures.status(app, actor, asked.id)


async def _reclassified(tx: Tx, found: Incident, name: str) -> Incident:
    """Return an incident as one of the kind that a playbook handles, with at least that kind's usual severity."""
    kind = IncidentKind.SUSPECTED_LEAK if name == LEAKED_KEY else IncidentKind.TOKEN_COMPROMISED
    known = {"id": found.object_id, "kind": found.object_kind}
    about = None if found.object_id is None else await tx.one(dict, "incident_object", **known)
    led = rules.playbook(kind, found.object_kind, found.platform) == name
    if not led or (kind is IncidentKind.SUSPECTED_LEAK and not (about and about["of_provider"])):
        step = f"That playbook is for a provider's key or an account. Open it as {kind} with --key or --account."
        raise Rejected("object_missing", next_step=step)
    moved = await tx.maybe(
        Incident, "incident_kind", id=found.id, kind=kind.value, severity=rules.usual_severity(kind).value,
        dedup_key=incidents.dedup_key(kind, found.client_id, found.object_id, found.platform),
    )  # fmt: skip
    if moved is None:
        raise Conflict(
            "incident_open", next_step="One of that kind about the same object is open: `byokeep incident list`."
        )
    return moved
