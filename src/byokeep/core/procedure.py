"""What a procedure is: ordered steps, each proved by a record.

Rules
- A domain declares its procedures as data; :mod:`byokeep.kernel.procedures` carries them out.
- Steps are done one after the other, each once.
- Only its record proves a step: of the run, about the run's object, with everything that it must say. A worker's step
  is proved by a record that a worker wrote.

It may not do a step, or know what one does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from byokeep.core.canonical import parse_canonical
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.model import ClientId, Role
from byokeep.core.policy import Verb

Fields: TypeAlias = Mapping[str, FieldValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a procedure.

    Attributes:
        object_id: What it is about.
        revision: Goes up with each move.
        state: ``running``, ``complete``, ``failed`` (stopped), ``undoing``, ``aborted``.
        reason: Why it stopped, as a code.
        evidence: Step -> sequence number of its record in the run's chain.
        facts: What steps pass on to later ones: ids and codes, never a value.
        due_at: The earliest time of the next step.
        asked_by: Who started or last resumed it.
    """

    id: UUID
    client_id: ClientId | None
    procedure: str
    object_id: UUID
    revision: int
    state: str
    reason: str
    evidence: Mapping[str, int]
    facts: Mapping[str, Any]
    due_at: datetime | None
    asked_by: UUID
    started_by: UUID
    started_at: datetime
    closed_at: datetime | None
    closed_by: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    Attributes:
        act: ``(app, actor, run)``: does the step, or finishes what a crash left of it, outside of a transaction.
            Returns what its record says; ``None`` while something is left, or if a flow that it calls has passed the
            step itself. Without it, flows of the domain do and report the step, and nothing else can.
        apply: ``(tx, actor, run)``: makes the changes that belong in the record's transaction; returns more fields for
            the record.
        verb: What the person who does it must hold; ``None`` = a worker does it.
        approval: What the second person, who approves it before it is done, must hold.
        wait: How long after the step before it; a function of the run if that depends on the run's facts.
        undo: Like ``act``: takes the step back when the run is aborted.
        evidence: The event that proves it.
        proves: Whether the fields of that event prove it. The run and the step are always compared, too.
        own: False: another run's record about the same object proves it, too.
        after: The step whose record must be older than this one's.
        alone: Whoever begins it moves the run, so that whoever began it before can neither pass it nor hold the run.
            Each try of it would need another ``approval``, which is given for one revision.
    """

    name: str
    act: Callable[..., Awaitable[Fields | None]] | None = None
    apply: Callable[..., Awaitable[Fields]] | None = None
    verb: Verb | None = None
    approval: Verb | None = None
    wait: timedelta | Callable[[Run], timedelta] = timedelta()
    undo: Callable[..., Awaitable[Fields | None]] | None = None
    evidence: EventName = EventName.PROCEDURE_STEPPED
    proves: Callable[[Run, Mapping[str, Any]], bool] = lambda *_: True
    own: bool = True
    after: str = ""
    alone: bool = False

    def waits(self, run: Run) -> timedelta:
        """Return how long after the step before it this step may be done."""
        return self.wait if isinstance(self.wait, timedelta) else self.wait(run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """Steps in order.

    Attributes:
        verb: What whoever resumes it must hold, and whoever starts or aborts it if people may.
        startable: Any holder can start it; otherwise only a command of its domain, which knows what belongs to it.
        abortable: Any holder can end it and have it undone; otherwise it runs to its last step. A function of the run
            may decide.
        no_return: Once this step is done, nobody can end the run.
        ends: ``(tx, run)``: raises why nobody can end the run now, by what is on record.
        named: Its steps are asked for only by name, by a command of its domain.
        shape: How the acts of its steps are given a run.
        run_field: The field in which its events name the run.
        look: The command that shows a run of it.
        stands: ``(tx, run)``: whether what was proved is still true of the newest state of the object.

    Raises:
        ValueError: A step's ``approval`` is not a verb of approvers alone: the database counts no other's.
    """

    name: str
    steps: tuple[Step, ...]
    verb: Verb
    startable: bool = False
    abortable: bool | Callable[[Run], bool] = False
    no_return: str = ""
    ends: Callable[..., Awaitable[None]] | None = None
    named: bool = False
    shape: type[Run] = Run
    run_field: str = "run"
    look: Callable[[UUID], str] = lambda run_id: f"`byokeep procedure show {run_id}`"
    stands: Callable[..., Awaitable[bool]] | None = None

    def __post_init__(self) -> None:
        if any(step.approval is not None and step.approval.roles != {Role.APPROVER} for step in self.steps):
            raise ValueError("a step is approved by a verb that others than approvers hold")

    @property
    def led(self) -> bool:
        """Whether the kernel does its steps; otherwise flows of its domain do."""
        return all(step.act is not None for step in self.steps)

    @property
    def approved(self) -> bool:
        """Whether any step needs a second person."""
        return any(step.approval is not None for step in self.steps)

    def shaped(self, run: Run) -> Run:
        """Return a run as the acts of its steps are given it."""
        return self.shape(**{name: getattr(run, name) for name in Run.__slots__})

    def may_end(self, run: Run) -> bool:
        """Whether somebody may still end this run and have it undone."""
        able = self.abortable if isinstance(self.abortable, bool) else self.abortable(run)
        return able and self.no_return not in run.evidence

    def step(self, name: str) -> Step:
        """Return a step by its name."""
        return next(step for step in self.steps if step.name == name)

    def next(self, run: Run) -> Step | None:
        """Return the first step that is not done."""
        return next((step for step in self.steps if step.name not in run.evidence), None)

    def proves(self, run: Run, step: Step, record: Proof) -> bool:
        """Whether a record proves a step of a run."""
        try:
            said: Any = parse_canonical(record.payload)
            fields: Mapping[str, Any] = said["fields"]
            same = (
                said["event"] == record.event == step.evidence.value
                and said["outcome"] == record.outcome == Outcome.OK.value
                and said["object"] == str(record.object_id) == str(run.object_id)
                and said["client"] == (None if run.client_id is None else str(run.client_id))
                and fields.get("stage", step.name) == step.name
                and (not step.own or fields[self.run_field] == str(run.id))
                and (not step.after or record.seq > run.evidence[step.after])
                and (record.by_worker or step.verb is not None or step.act is None)
            )
            return bool(same and step.proves(run, fields))
        except (ValueError, KeyError, TypeError):
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """An audit record, as proof of a step."""

    seq: int
    at: datetime
    actor_id: UUID
    hash: bytes
    by_worker: bool = False
    event: str
    outcome: str
    object_id: UUID | None
    payload: bytes
