"""What a procedure is: ordered steps, each proved by a record.

Rules
- A domain declares its procedures as data; :mod:`byokeep.kernel.procedures` carries them out.
- One step after the other, and each once.
- A step is proved by its record alone: of the run, of what the run is about, with everything that it must say; a
  worker's step by a record that a worker wrote.

It may not do a step, nor know what one does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from byokeep.core.canonical import parse_canonical
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.model import ClientId
from byokeep.core.policy import APPROVING, Verb

Fields: TypeAlias = Mapping[str, FieldValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    Attributes:
        act: ``(app, actor, run)``: does it, or takes up what a crash left of it, outside of a transaction; returns what
            its record says, or ``None`` while something is left, or if a flow that it calls has passed the step itself.
            Without one, flows of the domain do the step and say so; nobody else leads such a run.
        apply: ``(tx, actor, run)``: what changes together with the record; returns more that it says.
        verb: Of the person who does it; ``None`` = a worker does.
        approval: Of the second person who approves it before it is done.
        wait: How long after the step before it; of a run whose facts say it, a function of the run.
        undo: As ``act``: takes it back when the run is aborted.
        evidence: The event that proves it.
        proves: Whether the fields of that event prove it; besides the run and the step, which are always compared.
        own: False: another run's record about the same object proves it too.
        after: The step than whose record this one must be younger.
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

    def waits(self, run: Run) -> timedelta:
        """Return how long after the step before it this step is done."""
        return self.wait if isinstance(self.wait, timedelta) else self.wait(run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """Steps in order.

    Attributes:
        verb: Of who resumes it; of who starts and aborts it, where that is open to people.
        startable: Any holder starts it; else a command of its domain does, which knows what belongs to it.
        abortable: Any holder ends it and has it undone; else it goes on until its last step. A run may decide.
        no_return: Once this step is done, nobody ends the run any more.
        named: Its steps are asked for by their names alone, by a command of its domain.
        run_field: The field in which its events name the run.
        look: The command that shows a run of it.
        stands: ``(tx, run)``: whether what was proved is still of the newest state of the object.

    Raises:
        ValueError: An approval by a verb whose holders may be held (:data:`byokeep.core.policy.APPROVING`).
    """

    name: str
    steps: tuple[Step, ...]
    verb: Verb
    startable: bool = False
    abortable: bool | Callable[[Run], bool] = False
    no_return: str = ""
    named: bool = False
    run_field: str = "run"
    look: Callable[[UUID], str] = lambda run_id: f"`byokeep procedure show {run_id}`"
    stands: Callable[..., Awaitable[bool]] | None = None

    def __post_init__(self) -> None:
        if any(step.approval not in {None, *APPROVING} for step in self.steps):
            raise ValueError("a step is approved by a verb that people hold whose approvals are held")

    @property
    def led(self) -> bool:
        """Whether its steps are done here; else by flows of its domain."""
        return all(step.act is not None for step in self.steps)

    @property
    def approved(self) -> bool:
        """Whether any step takes a second person."""
        return any(step.approval is not None for step in self.steps)

    def may_end(self, run: Run) -> bool:
        """Whether somebody may still end a run and have it undone."""
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
class Run:
    """A run.

    Attributes:
        object_id: What it is about.
        revision: Goes up with each move.
        state: ``running``, ``complete``, ``failed`` (stopped), ``undoing``, ``aborted``.
        reason: Why it stopped, a code.
        evidence: Step -> number of its record in the run's chain.
        facts: What the steps hand on: ids and codes, never a value.
        due_at: Not before.
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
