"""How a platform comes back for a client after its grant was revoked or seized (runbook 7.2).

``closed -> reauthorised -> identified -> permitted -> canary 1, 2, ... -> open``. Nothing is skipped.

Rules
- Only a person's own login at the platform leaves *closed*; a renewal in the background never does.
- Identity and permissions are checked again. "Could not be checked" is a failure, and leads back to *closed*.
- Each stage of the canary allows a fixed number of acts: ``taken`` counts permits given, not acts finished. The state
  has a revision, which whoever stores the next state compares, so that parallel jobs cannot share a slot.
- A stage ends automatically when all its acts have succeeded. An act that failed, or whose outcome is unknown, closes
  the platform again.

It may not store, count in parallel, or know the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from byokeep.core.errors import Conflict, Denied

DEFAULT_STAGES: Final = (1, 5, 20)
MAX_STAGES: Final = 10
MAX_ACTS: Final = 10_000


class Stage(StrEnum):
    """How far the way back has come."""

    CLOSED = "closed"
    REAUTHORISED = "reauthorised"
    IDENTIFIED = "identified"
    PERMITTED = "permitted"
    CANARY = "canary"
    OPEN = "open"


class RecoveryCause(StrEnum):
    """Why a platform is closed."""

    REVOKED = "revoked"
    LOCKOUT = "lockout"
    MISSING_SCOPE = "missing_scope"
    CHAIN_BROKEN = "chain_broken"
    COMPROMISED = "compromised"
    IDENTITY_MISMATCH = "identity_mismatch"
    IDENTITY_UNCHECKED = "identity_unchecked"
    SCOPES_UNCHECKED = "scopes_unchecked"
    CANARY_FAILED = "canary_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reenable:
    """The way back of one platform of one client.

    Args:
        cause: Why it is closed, or was last closed.
        stages: How many acts each stage of the canary allows.
        number: Stage of the canary, from 0.
        taken, done: Acts of this stage that were permitted, and that succeeded.
        way: Which attempt at coming back this is, from 1. An act of an earlier attempt proves nothing about this one.
        revision: Goes up with every change; compare-and-set compares it.

    Raises:
        ValueError: Counters or stages that contradict each other.
    """

    cause: RecoveryCause
    stage: Stage = Stage.CLOSED
    stages: tuple[int, ...] = DEFAULT_STAGES
    number: int = 0
    taken: int = 0
    done: int = 0
    way: int = 1
    revision: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.stages) <= MAX_STAGES or not all(1 <= acts <= MAX_ACTS for acts in self.stages):
            raise ValueError("one to ten stages of 1 to 10000 acts")
        if not 0 <= self.number < len(self.stages) or self.revision < 0:
            raise ValueError("no such stage")
        if not 0 <= self.done <= self.taken <= self.stages[self.number]:
            raise ValueError("more acts than the stage allows")

    @property
    def acts(self) -> int:
        """How many acts the canary's current stage allows."""
        return self.stages[self.number]


@dataclass(frozen=True, slots=True)
class Lost:
    """The grant is gone, seized, or no longer to be trusted."""

    cause: RecoveryCause


@dataclass(frozen=True, slots=True)
class Reauthorised:
    """A consent ended with new tokens. ``by_person`` is False for anything but a person's login."""

    by_person: bool


@dataclass(frozen=True, slots=True)
class IdentityChecked:
    """The account was compared with its fingerprint. ``matches`` is None if it could not be checked."""

    matches: bool | None


@dataclass(frozen=True, slots=True)
class ScopesChecked:
    """The grant was compared with what is needed. ``missing`` is None if it could not be checked."""

    missing: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class CanaryStarted:
    """People decided to try. The switches are released elsewhere, by two of them."""


@dataclass(frozen=True, slots=True)
class Take:
    """A job asks to do one act."""


@dataclass(frozen=True, slots=True)
class EffectResult:
    """An act ended. ``ok`` is None if nobody knows how; ``way`` and ``number`` say where it was taken."""

    ok: bool | None
    way: int
    number: int


@dataclass(frozen=True, slots=True)
class Jump:
    """Somebody asks for a stage, or for ``open``, before its time."""


Event = Lost | Reauthorised | IdentityChecked | ScopesChecked | CanaryStarted | Take | EffectResult | Jump


def next_state(state: Reenable, event: Event) -> Reenable:
    """Return the state after an event. The caller stores it only if the stored revision is still ``state.revision``.

    Raises:
        Denied: ``platform_closed`` (not yet open for acts), ``canary_stage_full``, ``reauth_needs_a_person``.
        Conflict: ``reenable_out_of_order``: the step before it is not done, or it is a jump.
    """
    match event:
        case Lost(cause):
            return _closed(state, cause)
        case Reauthorised(by_person):
            return _reauthorised(state, by_person)
        case IdentityChecked(matches):
            _follows(state, Stage.REAUTHORISED)
            if matches is not True:
                unknown, other = RecoveryCause.IDENTITY_UNCHECKED, RecoveryCause.IDENTITY_MISMATCH
                return _closed(state, unknown if matches is None else other)
            return _moved(state, Stage.IDENTIFIED)
        case ScopesChecked(missing):
            _follows(state, Stage.IDENTIFIED)
            if missing is None or missing:
                unknown, other = RecoveryCause.SCOPES_UNCHECKED, RecoveryCause.MISSING_SCOPE
                return _closed(state, unknown if missing is None else other)
            return _moved(state, Stage.PERMITTED)
        case CanaryStarted():
            _follows(state, Stage.PERMITTED)
            return _moved(state, Stage.CANARY)
        case Take():
            return _taken(state)
        case EffectResult(ok, way, number):
            return _ended(state, ok, current=(way, number) == (state.way, state.number))
        case Jump():
            raise _out_of_order(state)


def _reauthorised(state: Reenable, by_person: bool) -> Reenable:
    if not by_person:
        raise Denied(
            "reauth_needs_a_person", next_step="An operator must connect the account again: `byokeep account connect`."
        )
    # Another login on the way back starts it again.
    return replace(_moved(state, Stage.REAUTHORISED), number=0, taken=0, done=0, way=state.way + 1)


def _taken(state: Reenable) -> Reenable:
    if state.stage is Stage.OPEN:
        return state
    if state.stage is not Stage.CANARY:
        raise Denied(
            "platform_closed",
            next_step="The platform is closed for this client. See `byokeep incident platform status`.",
            stage=state.stage.value,
        )
    if state.taken >= state.acts:
        raise Denied("canary_stage_full", next_step="Wait until the acts of this stage have ended.", acts=state.acts)
    return replace(state, taken=state.taken + 1, revision=state.revision + 1)


def _ended(state: Reenable, ok: bool | None, *, current: bool) -> Reenable:
    if state.stage is not Stage.CANARY:
        return state
    if ok is not True:
        # This includes acts of an earlier stage or way: a failure is never too old to count.
        return _closed(state, RecoveryCause.CANARY_FAILED)
    if not current:
        return state
    if state.done >= state.taken:
        raise Conflict("reenable_out_of_order", next_step="Take the act before you end it.", stage=state.stage.value)
    state = replace(state, done=state.done + 1, revision=state.revision + 1)
    if state.done < state.acts:
        return state
    if state.number + 1 == len(state.stages):
        return replace(state, stage=Stage.OPEN)
    return replace(state, number=state.number + 1, taken=0, done=0)


def _closed(state: Reenable, cause: RecoveryCause) -> Reenable:
    return replace(_moved(state, Stage.CLOSED), cause=cause, number=0, taken=0, done=0, way=state.way + 1)


def _moved(state: Reenable, stage: Stage) -> Reenable:
    return replace(state, stage=stage, revision=state.revision + 1)


def _follows(state: Reenable, stage: Stage) -> None:
    if state.stage is not stage:
        raise _out_of_order(state)


def _out_of_order(state: Reenable) -> Conflict:
    return Conflict(
        "reenable_out_of_order",
        next_step="Log in again, check identity, check permissions, then run the canary. No step can be skipped.",
        stage=state.stage.value,
    )
