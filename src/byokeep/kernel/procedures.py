"""Procedures: ordered steps, kept in one table. A step is done when its record says so.

Rules
- A procedure is data (:mod:`byokeep.core.procedure`). The process gives its App every procedure that it knows.
- A step is done in the transaction that appends its record and advances the run, with a compare-and-set on the run's
  revision: of two callers that do the same step, one is told that the run has moved. Work outside the database comes
  first and may be repeated after a crash, so it must be idempotent.
- A person's step is done by anybody who holds its verb and calls for it. Workers do all other steps, on any number of
  machines, but only one at a time works on a run: an abort undoes nothing while a worker is still acting.
- What is unavailable is retried. A refusal stops the run with its code until somebody resumes or aborts it.
- An approval covers one step at one revision (:mod:`byokeep.kernel.approvals`): the person who started or last resumed
  the run asks, and somebody else approves.
- Aborting a run undoes what was done, last step first. What cannot be undone waits, with an alert, until somebody
  resumes it.
- The progress of a run is read from the records each time. A step is not done if its record is missing, is another's,
  or says less than it must, whatever the row says.

It may not know what a step does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, TypeVar
from uuid import UUID

from byokeep.core.canonical import canonical_json
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, NotFound, Rejected, Unavailable, refusing
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.model import Actor, ClientId, Role
from byokeep.core.policy import Verb
from byokeep.core.procedure import Fields, Procedure, Proof, Run, Step
from byokeep.kernel import approvals
from byokeep.kernel.app import App
from byokeep.kernel.command import command, open_alert, permit, record
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import reader

R = TypeVar("R", bound=Run)
MOST_RUNS: Final = 500  # that one look returns
_AT_ONCE: Final = 200  # runs that one round hands on
STEP_LIMIT_S: Final = 900.0  # of one step's work outside of a transaction
LOOK_AGAIN_S: Final = 30.0  # seconds until a worker looks again at a step of which something is left
_TASK: Final = "procedure"
_RUNNING, _COMPLETE, _FAILED, _UNDOING, _ABORTED = "running", "complete", "failed", "undoing", "aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """The record that proves a step."""

    name: str
    event: str
    chain: UUID
    seq: int
    at: datetime
    by: UUID
    hash_hex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """A run with its proved steps in order, those that are missing, and what the next one waits for.

    ``waits_for`` is ``person``, ``approval``, ``time``, ``worker``, or ``""`` when the run is over or stopped. ``led``:
    its steps are done by the kernel, not by flows of its domain; ``look``: the command that shows it; ``may_end``:
    :meth:`byokeep.core.procedure.Procedure.may_end`.
    """

    run: Run
    steps: tuple[StepRecord, ...]
    missing: tuple[str, ...]
    waits_for: str
    led: bool
    look: str
    may_end: bool


async def begin_named(app: App, actor: Actor, name: str, *, client_id: ClientId | None, object_id: UUID) -> RunStatus:
    """Start a run and do what can be done at once.

    Raises:
        Rejected: ``unknown_procedure``: there is none of that name that people start this way.
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        ByokeepError: As :func:`resume`.
    """
    await permit(app, actor, Verb.PROCEDURE_READ)
    named = [one for one, procedure in app.procedures.items() if procedure.startable]
    if name not in named:
        own = "Each one has its own command to start it, such as `byokeep key add` or `byokeep incident vault open`."
        raise Rejected("unknown_procedure", next_step=f"Use one of: {', '.join(named)}." if named else own)
    procedure = app.procedures[name]
    async with command(app, actor, procedure.verb, client_id=client_id, object_id=object_id) as tx:
        if client_id is None and actor.clients is not None:
            raise NotFound("not_found")
        may_ask(actor, procedure)
        run: Run = await start_on_record(tx, app, actor, procedure, client_id=client_id, object_id=object_id)
    return await resume(app, actor, run.id)


async def insert_run(
    tx: Tx, app: App, actor: Actor, procedure: Procedure, *, client_id: ClientId | None, object_id: UUID,
    run_id: UUID | None = None, facts: Mapping[str, Any] | None = None, evidence: Mapping[str, int] | None = None,
    shape: type[R] = Run,  # type: ignore[assignment]
) -> R:  # fmt: skip
    """Insert a run at its beginning; whoever calls puts the start on record. :func:`start_on_record` does it here."""
    return await tx.one(
        shape, "procedure_start", id=run_id or app.ids.uuid(), client_id=client_id, procedure=procedure.name,
        object_id=object_id, facts=as_json(facts or {}), evidence=as_json(evidence or {}), by=actor.id,
        wait_s=0 if callable(first := procedure.steps[0].wait) else first.total_seconds(),
    )  # fmt: skip


async def start_on_record(
    tx: Tx, app: App, actor: Actor, procedure: Procedure, *, client_id: ClientId | None, object_id: UUID,
    run_id: UUID | None = None, facts: Mapping[str, Any] | None = None, shape: type[R] = Run,  # type: ignore[assignment]
) -> R:  # fmt: skip
    """Insert a run at its beginning, on record."""
    run = await insert_run(
        tx, app, actor, procedure, client_id=client_id, object_id=object_id, run_id=run_id, facts=facts, shape=shape
    )
    await _say(tx, EventName.PROCEDURE_STARTED, actor, run, procedure=procedure.name)
    return run


async def asked_for(
    tx: Tx, app: App, actor: Actor, procedure: Procedure, client_id: ClientId | None, object_id: UUID,
    facts: Mapping[str, Any],
) -> Run:  # fmt: skip
    """Begin what a second person must approve, or return the run for the same that waits. Raises as :func:`may_ask`."""
    may_ask(actor, procedure)
    same = {"procedure": procedure.name, "object_id": object_id, "facts": as_json(facts)}
    if (waits := await tx.maybe(Run, "procedure_asked", **same)) is not None:
        return waits
    return await start_on_record(tx, app, actor, procedure, client_id=client_id, object_id=object_id, facts=facts)


async def passed(
    tx: Tx, actor: Actor, procedure: Procedure, run: Run, step: Step, fields: Fields, *, facts: Fields | None = None
) -> Run:
    """Put on record that a step is done and move the run on; the last step completes it.

    What the record says is handed on to the later steps, as facts, unless others are given.

    Raises:
        Conflict: ``procedure_moved``: somebody else was first.
    """
    said = {procedure.run_field: str(run.id), **fields}
    if "stage" in step.evidence.fields:
        said["stage"] = step.name
    receipt = await record(tx, actor, step.evidence, said, client_id=run.client_id, object_id=run.object_id)
    done = {**run.evidence, step.name: receipt.seq}
    handed = fields if facts is None else facts
    return await _move(tx, procedure, run, actor, evidence=done, state=_RUNNING, said=handed)


async def resume(app: App, actor: Actor, run_id: UUID, *, seen: Run | None = None) -> RunStatus:
    """Do every step that can be done now, by this actor in this process; what workers do is handed to them.

    Args:
        seen: The run as its caller saw it; a step that is done of another state is none that they asked for.

    Raises:
        Rejected: ``unknown_step``: its steps are asked for by their names, by a command of their own.
        Denied: ``not_permitted``: a person who may not do the next step.
        NotFound: ``not_found``, also for another client's run.
        Conflict: ``procedure_over``: it failed for good or was aborted; ``procedure_moved``.
        ByokeepError: What the step raises; a refusal stops the run and is on record.
    """
    run = await _find(app, actor, run_id)
    procedure = app.procedures[run.procedure]
    by_person = Role.SYSTEM not in actor.roles
    if seen is not None and seen.revision != run.revision:
        raise Conflict("procedure_moved", next_step=f"Look again: {procedure.look(run.id)}.", run=run.id)
    if by_person and procedure.named and seen is None:
        async with command(app, actor, procedure.verb, client_id=run.client_id, object_id=run_id):
            raise Rejected("unknown_step", next_step=f"Give the step: {procedure.look(run_id)}.")
    if by_person:
        due = procedure.next(run)
        await permit(app, actor, (due.verb if due else None) or procedure.verb, client_id=run.client_id)
        may_ask(actor, procedure)
        if run.closed_at is not None and run.state != _COMPLETE:
            async with command(app, actor, procedure.verb, client_id=run.client_id, object_id=run_id):
                raise _over(procedure, run)
    if by_person and run.state == _FAILED:
        async with _of(app, run) as tx:
            run = await revive(tx, actor, procedure, run)
    if by_person and run.state == _UNDOING and run.reason:
        async with _of(app, run) as tx:
            run = await _move(tx, procedure, run, actor, evidence=run.evidence, state=_UNDOING, asked_by=actor.id)
    while run.state in (_RUNNING, _UNDOING):
        moved = await (_undo_last if run.state == _UNDOING else _do_next)(app, actor, procedure, run)
        if moved is None:
            break
        run = moved
        if by_person and run.state == _RUNNING:  # a person does one step at a time
            await _hand_on_next(app, procedure, run)
            break
    return await status(app, actor, run_id)


async def revive(tx: Tx, actor: Actor, procedure: Procedure, run: Run, **facts: int) -> Run:
    """Let a run that stopped go on, with more facts for the steps to come; what it waits is counted anew by them.

    Raises:
        Conflict: ``procedure_moved``.
    """
    run = replace(run, facts={**run.facts, **facts})
    return await _move(
        tx, procedure, run, actor, evidence=run.evidence, state=_RUNNING, asked_by=actor.id, said=facts or None
    )


async def note(tx: Tx, actor: Actor, procedure: Procedure, run: Run, **facts: FieldValue) -> Run:
    """Put down what was seen of a run that stays where it is; of two who do, one is told that it moved.

    Raises:
        Conflict: ``procedure_moved``.
    """
    run = replace(run, facts={**run.facts, **facts})
    return await _move(tx, procedure, run, actor, evidence=run.evidence, state=run.state, reason=run.reason)


async def end(tx: Tx, actor: Actor, procedure: Procedure, run: Run, *, reason: str) -> Run:
    """End a run as it stands, on record, without undoing anything; another one takes its place.

    Raises:
        Conflict: ``procedure_moved``.
    """
    await _say(tx, EventName.PROCEDURE_ENDED, actor, run, reason=reason)
    return await _move(tx, procedure, run, actor, evidence=run.evidence, state=_ABORTED, reason=reason)


async def wake(app: App, run: Run) -> None:
    """Give a run to the workers now: what its next step waited for has happened."""
    await _hand_on(app, run, 0.0)


async def _do_next(app: App, actor: Actor, procedure: Procedure, run: Run) -> Run | None:
    """Do the next step; None: not by this actor, or not now."""
    step = procedure.next(run)
    if step is None or step.act is None:
        return None
    if (step.verb is None) is not (Role.SYSTEM in actor.roles):
        await _hand_on_next(app, procedure, run)
        return None
    try:
        done = await _require_proof(app, actor, procedure, run)
        now = app.clock.now()  # which may have been set back since: what waits for nothing waits for no time either
        since = min(max((one.at for one in done), default=run.started_at), now)
        if (left := (since + step.waits(run) - now).total_seconds()) > 0:
            await _hand_on(app, run, left if step.verb is None else None)
            return None
        if step.approval is not None and not await _approved(app, actor, run, step):
            return None
        if step.alone:
            async with _of(app, run) as tx:
                run = await note(tx, actor, procedure, run)
        fields = await _in_time(step.act(app, actor, procedure.shaped(run)), run)
    except Unavailable:
        raise
    except ByokeepError as error:
        if step.verb is None:  # a person is told, and the run stays where it is
            await _stop(app, actor, procedure, run, step, error)
        raise
    if fields is None:
        await _hand_on(app, run, LOOK_AGAIN_S if step.verb is None else None)
        return None
    async with _of(app, run) as tx:
        more = {} if step.apply is None else await step.apply(tx, actor, procedure.shaped(run))
        return await passed(tx, actor, procedure, run, step, {**fields, **more})


async def _require_proof(app: App, actor: Actor, procedure: Procedure, run: Run) -> tuple[StepRecord, ...]:
    """See that what the row says is done is proved, before anything follows from it; else an alert is raised."""
    async with _of(app, run) as tx:
        done = await proved_steps(tx, run.client_id or app.installation_id, procedure, run)
    if unproved := sorted(run.evidence.keys() - {one.name for one in done}):
        why, client_id = "procedure_unproved", run.client_id
        async with _of(app, run) as tx:
            await open_alert(tx, app, actor, reason=why, client_id=client_id, object_id=run.object_id)
        step = "Somebody changed the run's row without byokeep. See the alerts, and find out who could write there."
        raise Integrity("procedure_unproved", missing=", ".join(unproved), run=run.id, next_step=step)
    return done


async def _in_time(work: Awaitable[Fields | None], run: Run) -> Fields | None:
    """Do a step's work, which nobody else can take up while it hangs."""
    with refusing("step_timed_out", Unavailable, on=TimeoutError, next_step="It is retried automatically.", run=run.id):
        async with asyncio.timeout(STEP_LIMIT_S):
            return await work


async def _undo_last(app: App, actor: Actor, procedure: Procedure, run: Run) -> Run | None:
    """Undo the last step that is done; the run is aborted when none is left."""
    done = [step for step in procedure.steps if step.name in run.evidence]
    if not done:
        async with _of(app, run) as tx:
            await _say(tx, EventName.PROCEDURE_ENDED, actor, run, reason=_ABORTED)
            return await _move(tx, procedure, run, actor, evidence={}, state=_ABORTED)
    step = done[-1]
    if step.undo is not None and Role.SYSTEM not in actor.roles:
        await _hand_on(app, run, 0.0)
        return None
    if run.reason:
        return None
    try:
        undone = None if step.undo is None else step.undo(app, actor, procedure.shaped(run))
        fields = None if undone is None else await _in_time(undone, run)
    except Unavailable:
        raise
    except ByokeepError as error:
        await _stop(app, actor, procedure, run, step, error)
        raise
    if step.undo is not None and fields is None:
        await _hand_on(app, run, LOOK_AGAIN_S)
        return None
    async with _of(app, run) as tx:
        if fields is not None:
            said = {name: str(value) for name, value in fields.items()}
            await _say(tx, EventName.PROCEDURE_UNDONE, actor, run, stage=step.name, **said)
            run = replace(run, facts={**run.facts, f"undone_{step.name}": said.get("cause", "")})
        left = {name: seq for name, seq in run.evidence.items() if name != step.name}
        return await _move(tx, procedure, run, actor, evidence=left, state=_UNDOING)


async def abort(app: App, actor: Actor, run_id: UUID) -> RunStatus:
    """End a run and undo what it did.

    Raises:
        Denied, NotFound: As :func:`resume`.
        Conflict: ``procedure_goes_on``: it is none that can be aborted; ``procedure_over``: it is complete or aborted
            already; ``procedure_moved``; what the procedure's ``ends`` raises.
    """
    run = await _find(app, actor, run_id)
    procedure = app.procedures[run.procedure]
    async with command(app, actor, procedure.verb, client_id=run.client_id, object_id=run_id) as tx:
        if run.closed_at is not None or run.state == _UNDOING:
            raise _over(procedure, run)
        if not procedure.may_end(run):
            raise Conflict("procedure_goes_on", next_step=f"Finish it with its last step: {procedure.look(run_id)}.")
        if procedure.ends is not None:
            await procedure.ends(tx, procedure.shaped(run))
        await undo(tx, actor, procedure, run)
    return await resume(app, actor, run_id)


async def undo(tx: Tx, actor: Actor, procedure: Procedure, run: Run) -> Run:
    """Begin to undo a run that may end; whoever calls wakes it. Raises Conflict(``procedure_moved``)."""
    # The next step may have been begun, and cut off before its record: it is undone as well.
    begun = procedure.next(run)
    evidence = run.evidence if begun is None else {**run.evidence, begun.name: 0}
    return await _move(tx, procedure, run, actor, evidence=evidence, state=_UNDOING, asked_by=actor.id)


def _over(procedure: Procedure, run: Run) -> Conflict:
    is_over = "It is being undone already" if run.state == _UNDOING else "It is over"
    return Conflict(
        "procedure_over", state=run.state, next_step=f"{is_over}, and nothing was done: {procedure.look(run.id)}."
    )


async def approve(app: App, actor: Actor, run_id: UUID) -> RunStatus:
    """Approve the next step of a run as the second person; workers do it.

    Raises:
        Denied, NotFound: As :func:`resume`; ``same_person``, ``approval_expired``, ``approval_changed``.
        Conflict: ``nothing_to_approve``.
    """
    run = await _find(app, actor, run_id)
    procedure = app.procedures[run.procedure]
    step = procedure.next(run)
    nothing = Conflict("nothing_to_approve", next_step=f"See {procedure.look(run_id)}.", run=run_id)
    if step is None or step.approval is None or run.state != _RUNNING:
        raise nothing
    async with command(app, actor, step.approval, client_id=run.client_id, object_id=run_id) as tx:
        scope = _scope(run, step)
        if await _approved_by(tx, run, step) is not None:
            raise nothing
        waiting = await approvals.waiting(tx, approvals.PROCEDURE_STEP, scope=scope)
        wish = next((one for one in waiting if one.epoch == run.revision), None)
        if wish is None:
            raise Denied(
                "approval_expired", next_step=f"Only whoever started it can resume it: {procedure.look(run_id)}."
            )
        if actor.id in (run.started_by, run.asked_by):
            raise Denied("same_person", next_step="Another person must approve.")
        await approvals.use(tx, actor, wish, scope=scope, epoch=run.revision)
        await _say(tx, EventName.PROCEDURE_APPROVED, actor, run, stage=step.name)
    if step.verb is None:
        await _hand_on(app, run, 0.0)
    return await status(app, actor, run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs; what is left out fits every one. ``state`` is one of :class:`byokeep.core.procedure.Run`."""

    client_id: ClientId | None = None
    names: Collection[str] | None = None
    state: str = ""
    is_open: bool = False


async def found_runs(
    app: App, actor: Actor, wanted: RunFilter = RunFilter(), *, limit: int = MOST_RUNS
) -> tuple[list[Run], int]:  # fmt: skip
    """Return the runs of the actor's clients that fit, open ones first, and how many more there are.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    async with command(app, actor, Verb.PROCEDURE_READ, client_id=wanted.client_id) as tx:
        ids = [wanted.client_id] if wanted.client_id else None if actor.clients is None else list(actor.clients)
        names = sorted(set(app.procedures) & set(app.procedures if wanted.names is None else wanted.names))
        found = await tx.all(
            lambda row: (reader(Run)(row), int(row["total"])), "procedures_list", ids=ids, names=names,
            state=wanted.state, is_open=wanted.is_open, limit=limit,
        )  # fmt: skip
    return [run for run, _ in found], found[0][1] - len(found) if found else 0


async def statuses(app: App, found: Iterable[Run]) -> list[RunStatus]:
    """Return how far runs are, from their records, in the order given."""
    async with app.db.begin(every_client=True) as tx:
        return [await status_of(tx, app, app.procedures[run.procedure], run) for run in found]


async def to_approve(app: App, actor: Actor, *, client_id: ClientId | None = None) -> tuple[list[RunStatus], int]:
    """Return the runs whose next step waits for a second person, and how many runs were not looked at."""
    names = [name for name, procedure in app.procedures.items() if procedure.approved]
    wanted = RunFilter(client_id=client_id, names=names, state=_RUNNING, is_open=True)
    found, more = await found_runs(app, actor, wanted)
    return [one for one in await statuses(app, found) if one.waits_for == "approval"], more


async def status(app: App, actor: Actor, run_id: UUID) -> RunStatus:
    """Return how far a run is, from its records. Raises as :func:`resume`, for its reading."""
    run = await _find(app, actor, run_id)
    async with _of(app, run) as tx:
        return await status_of(tx, app, app.procedures[run.procedure], run)


async def status_of(tx: Tx, app: App, procedure: Procedure, run: Run) -> RunStatus:
    """Return how far a run is, from its records."""
    proved = await proved_steps(tx, run.client_id or app.installation_id, procedure, run)
    names = {one.name for one in proved}
    missing = tuple(step.name for step in procedure.steps if step.name not in names)
    return RunStatus(
        run=run, steps=proved, missing=missing,
        waits_for=await _waits_for(tx, app, procedure, run), led=procedure.led, look=procedure.look(run.id),
        may_end=procedure.may_end(run),
    )  # fmt: skip


async def proved_steps(tx: Tx, chain: UUID, procedure: Procedure, run: Run) -> tuple[StepRecord, ...]:
    """Return the steps of a run that are proved, with their records, in order.

    Of a procedure that is done here each record is younger than that of the step before; a step that a second person
    approves is proved together with the broker's record of that, before it.
    """
    rows = await tx.all(Proof, "evidence_records", chain=chain, seqs=list(run.evidence.values()))
    by_seq = {row.seq: row for row in rows}
    approved: dict[str, int] = {}
    if procedure.approved:
        found = await tx.all(dict, "procedure_approvals", chain=chain, object_id=run.object_id, run=str(run.id))
        approved = {row["stage"]: row["seq"] for row in found}
    proved: list[StepRecord] = []
    for step in procedure.steps:
        row = by_seq.get(run.evidence.get(step.name, 0))
        if row is None or not procedure.proves(run, step, row):
            continue
        early = procedure.led and proved and row.seq <= proved[-1].seq
        if early or (step.approval is not None and not approved.get(step.name, row.seq) < row.seq):
            continue
        proved.append(
            StepRecord(
                name=step.name, event=row.event, chain=chain, seq=row.seq, at=row.at, by=row.actor_id,
                hash_hex=bytes(row.hash).hex(),
            )
        )  # fmt: skip
    return tuple(proved) if procedure.stands is None or await procedure.stands(tx, run) else ()


async def _waits_for(tx: Tx, app: App, procedure: Procedure, run: Run) -> str:
    step = procedure.next(run)
    if run.state == _UNDOING:
        return "person" if run.reason else "worker"
    if run.state != _RUNNING or step is None:
        return ""
    if run.due_at is not None and run.due_at > app.clock.now():
        return "time"
    if step.approval is not None and await _approved_by(tx, run, step) is None:
        return "approval"
    return "worker" if step.verb is None else "person"


async def _find(app: App, actor: Actor, run_id: UUID) -> Run:
    if Role.SYSTEM in actor.roles:
        async with app.db.begin(every_client=True) as tx:
            return await tx.one(Run, "procedure_get", id=run_id)
    async with command(app, actor, Verb.PROCEDURE_READ, object_id=run_id) as tx:
        run = await tx.one(Run, "procedure_get", id=run_id)
        if (run.client_id is None and actor.clients is not None) or run.procedure not in app.procedures:
            raise NotFound("not_found")
    await permit(app, actor, Verb.PROCEDURE_READ, client_id=run.client_id)
    return run


async def _move(
    tx: Tx, procedure: Procedure, run: Run, actor: Actor, *, evidence: Mapping[str, int], state: str, reason: str = "",
    asked_by: UUID | None = None, said: Fields | None = None,
) -> Run:  # fmt: skip
    """Move a run on if nobody else did. A step that was passed begins the wait of the next one."""
    after = procedure.next(replace(run, evidence=evidence))
    done = state == _RUNNING and after is None
    run = replace(run, facts={**run.facts, **(said or {})})
    wait = None if said is None else timedelta() if after is None else after.waits(run)
    moved = await tx.maybe(
        Run, "procedure_move", id=run.id, revision=run.revision, evidence=as_json(evidence), reason=reason,
        facts=as_json(run.facts), asked_by=asked_by or run.asked_by, by=actor.id,
        state=_COMPLETE if done else state, over=done or state == _ABORTED,
        wait_s=None if wait is None else wait.total_seconds(),
    )  # fmt: skip
    if moved is None:
        raise Conflict("procedure_moved", next_step=f"Look again: {procedure.look(run.id)}.", run=run.id)
    return moved


async def _stop(app: App, actor: Actor, procedure: Procedure, run: Run, step: Step, error: ByokeepError) -> None:
    """Stop a run because of a refusal, on record; it goes on when somebody resumes it."""
    undoing, client_id = run.state == _UNDOING, run.client_id
    async with _of(app, run) as tx:
        said = {"stage": step.name, "reason": error.code}
        await _say(tx, EventName.PROCEDURE_STEPPED, actor, run, Outcome.FAILED, **said)
        state = _UNDOING if undoing else _FAILED
        # Which one it is about, and why it is so: the reason is a code.
        told = {f"refused_{name}": error.fields[name] for name in ("version", "cause") if name in error.fields}
        run = replace(run, facts={**run.facts, **told})
        await _move(tx, procedure, run, actor, evidence=run.evidence, state=state, reason=error.code)
        if undoing:
            await open_alert(tx, app, actor, reason="undo_refused", client_id=client_id, object_id=run.object_id)
    error.on_record = True


async def _approved(app: App, actor: Actor, run: Run, step: Step) -> bool:
    """Whether a second person has approved a step as it stands; if not, it is asked for.

    Raises:
        Denied: ``same_person``: who approved it is about to do it.
    """
    async with app.db.begin(every_client=True) as tx:
        if (by := await _approved_by(tx, run, step)) is not None:
            if by == actor.id:
                raise Denied("same_person", next_step="You approved it, so another person must do it.")
            return True
        if await tx.maybe(UUID, "procedure_hold", id=run.id, revision=run.revision) is None:
            return False  # somebody else moved it meanwhile
        await approvals.ask(
            tx, app, run.asked_by, action=approvals.PROCEDURE_STEP, scope=_scope(run, step), epoch=run.revision,
            reason=step.name,
        )  # fmt: skip
        return False


async def _approved_by(tx: Tx, run: Run, step: Step) -> UUID | None:
    """What the broker alone can have written: a row of the run cannot say it."""
    asked = {"action": approvals.PROCEDURE_STEP, "scope": _scope(run, step), "epoch": run.revision}
    return await tx.maybe(UUID, "approval_used", **asked)


def may_ask(actor: Actor, procedure: Procedure) -> None:
    """Whoever issued the credentials of somebody who is held may be the one who asks, and would approve."""
    if actor.held and procedure.approved:
        raise Denied(
            "approval_held", next_step="Your approvals are held, so you cannot ask for this. Another must ask."
        )


async def _hand_on_next(app: App, procedure: Procedure, run: Run) -> None:
    """Give a run to the workers if the next step is theirs."""
    step = procedure.next(run)
    if step is not None and step.verb is None and step.act is not None:
        await _hand_on(app, run, 0.0)


async def _hand_on(app: App, run: Run, delay_s: float | None) -> None:
    """Give a run to the workers, once for now and once for later; ``None`` = it waits for a person."""
    if delay_s is not None:
        key = f"{_TASK}:{run.id}" if delay_s <= 0 else f"{_TASK}-later:{run.id}"
        async with _of(app, run) as tx:
            await tx.defer(_TASK, delay_s=delay_s, key=key, lock=f"{_TASK}:{run.id}", run_id=str(run.id))


async def go_on(app: App) -> int:
    """Give every run that waits for a worker to one, whatever became of its task; returns how many."""
    handed, names = 0, [name for name, procedure in app.procedures.items() if procedure.led]
    after: UUID | None = None
    while True:
        wanted = {"names": names, "limit": _AT_ONCE, "after": after}
        runs = await app.db.read(Run, "procedures_due", wanted, every_client=True)
        for run in runs:  # of which most may wait for people
            step = app.procedures[run.procedure].next(run)
            if run.state == _UNDOING or (step is not None and step.verb is None):
                await _hand_on(app, run, 0.0)
                handed += 1
        if len(runs) < _AT_ONCE:
            return handed
        after = runs[-1].id


def _of(app: App, run: Run) -> AbstractAsyncContextManager[Tx]:
    """A transaction that sees the rows of the run's client, or of all where it is nobody's."""
    return app.db.begin(client_id=run.client_id, every_client=run.client_id is None)


def as_json(said: Mapping[str, Any]) -> str:
    """Return what a statement takes for a JSON column."""
    return canonical_json(dict(said)).decode()


def _scope(run: Run, step: Step) -> str:
    """What is approved: this step, with these facts."""
    return f"{run.id}/{step.name}/{sha256(as_json(run.facts).encode()).hexdigest()[:16]}"


async def _say(tx: Tx, name: EventName, actor: Actor, run: Run, outcome: Outcome = Outcome.OK, /, **said: str) -> None:
    said |= {"run": str(run.id)}
    await record(tx, actor, name, said, outcome=outcome, client_id=run.client_id, object_id=run.object_id)
