"""The life of a browser profile: its one transition table, when it is due for a new key, what it may be opened for.

Rules
- Nothing is sealed unless a person confirmed it (R5.3-6). Nothing acts with a generation that was not validated
  (R5.3-20).
- A quarantined profile continues only after a new login and confirmation, or a restore of an older generation. Retired
  and shredded are final.
- A new seal is a new key. Only the newest generation is opened; an older one comes back as a new one (R5.3-24).
- A due mark that an incident set is cleared by a new key, never by the end of the incident (R6.1-6).

It may not look anything up, or know the time: the caller passes it in.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Final

from byokeep.core.data_file import shipped
from byokeep.core.errors import Conflict, Rejected
from byokeep.core.keystate import KeyState
from byokeep.core.model import Risk

MIN_REKEY_DAYS: Final = 30
MAX_REKEY_DAYS: Final = 60
LOGIN_DONE: Final = "login_done"  # result of a login that waits: the person has pressed Done
RETAINED: Final = 3  # generations that stay restorable beside the newest


class ProfileState(StrEnum):
    """Where a profile stands. Only ``valid`` may be acted with."""

    CREATED = "created"
    CONFIRMED = "confirmed"
    SEALED = "sealed"
    VALID = "valid"
    QUARANTINED = "quarantined"
    RETIRED = "retired"
    SHREDDED = "shredded"


class ProfileAct(StrEnum):
    """What moves a profile. ``save``: a job seals what changed while it used it as the right account (ADR 0029)."""

    CONFIRM = "confirm"
    SEAL = "seal"
    SAVE = "save"
    VALIDATE = "validate"
    RESTORE = "restore"
    QUARANTINE = "quarantine"
    RETIRE = "retire"
    SHRED = "shred"


class Purpose(StrEnum):
    """What a profile is opened for."""

    LOGIN = "login"
    USE = "use"
    VALIDATE = "validate"
    REKEY = "rekey"
    LOGOUT = "logout"


class ProfileTask(StrEnum):
    """What a person can ask a worker to do with a profile."""

    LOGIN = "login"
    VALIDATE = "validate"
    REKEY = "rekey"
    RESTORE = "restore"
    SHRED = "shred"
    LOGOUT = "logout"


class DueCause(StrEnum):
    """Why a profile is due for a new key."""

    INTERVAL = "interval"
    INCIDENT = "incident"


_S, _A = ProfileState, ProfileAct
_LIVING: Final = {_A.QUARANTINE: _S.QUARANTINED, _A.RETIRE: _S.RETIRED, _A.SHRED: _S.SHREDDED}
TRANSITIONS: Final[Mapping[ProfileState, Mapping[ProfileAct, ProfileState]]] = MappingProxyType(
    {
        _S.CREATED: {_A.CONFIRM: _S.CONFIRMED, **_LIVING},
        _S.CONFIRMED: {_A.CONFIRM: _S.CONFIRMED, _A.SEAL: _S.SEALED, **_LIVING},
        # A second login confirms again, and what exists is kept until that is sealed.
        _S.SEALED: {
            _A.CONFIRM: _S.SEALED, _A.SEAL: _S.SEALED, _A.VALIDATE: _S.VALID, _A.RESTORE: _S.SEALED, **_LIVING,
        },
        _S.VALID: {
            _A.CONFIRM: _S.VALID, _A.SEAL: _S.SEALED, _A.SAVE: _S.VALID, _A.VALIDATE: _S.VALID, _A.RESTORE: _S.SEALED,
            **_LIVING,
        },
        _S.QUARANTINED: {_A.CONFIRM: _S.CONFIRMED, _A.RESTORE: _S.SEALED, **_LIVING},
        _S.RETIRED: {_A.SHRED: _S.SHREDDED},
        _S.SHREDDED: {},
    }
)  # fmt: skip
# A login opens a clean browser, so it needs nothing sealed. Anything sealed may be opened to end its session.
_OPENS: Final[Mapping[Purpose, frozenset[ProfileState]]] = MappingProxyType(
    {
        Purpose.LOGIN: frozenset({_S.CREATED, _S.CONFIRMED, _S.SEALED, _S.VALID, _S.QUARANTINED}),
        Purpose.USE: frozenset({_S.VALID}),
        Purpose.VALIDATE: frozenset({_S.SEALED, _S.VALID}),
        Purpose.REKEY: frozenset({_S.SEALED, _S.VALID, _S.QUARANTINED}),
        Purpose.LOGOUT: frozenset({_S.CONFIRMED, _S.SEALED, _S.VALID, _S.QUARANTINED, _S.RETIRED}),
    }
)
_ENDED: Final = frozenset({ProfileState.RETIRED, ProfileState.SHREDDED})
# A key in one of these states opens what it sealed; a compromised or destroyed one no longer opens anything.
_RESTORABLE: Final = frozenset({KeyState.ACTIVE, KeyState.DEACTIVATED})


@cache
def _words() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(shipped("profile.toml"))


def after(state: ProfileState, act: ProfileAct) -> ProfileState:
    """Return the state after an act.

    Raises:
        Conflict: ``profile_state`` for every pair that is not in the table.
    """
    to = TRANSITIONS[state].get(act)
    if to is None:
        raise Conflict("profile_state", next_step=next_step(state), state=state.value, act=act.value)
    return to


def purpose_of(kind: ProfileTask) -> Purpose:
    """Return the purpose for which a piece of work opens the profile."""
    return Purpose.REKEY if kind in (ProfileTask.RESTORE, ProfileTask.SHRED) else Purpose(kind.value)


def check_openable(state: ProfileState, purpose: Purpose) -> None:
    """Check that a profile may be opened for a purpose.

    Raises:
        Conflict: ``profile_state``.
    """
    if state not in _OPENS[purpose]:
        raise Conflict("profile_state", next_step=next_step(state), state=state.value, act=purpose.value)


def check_kind(state: ProfileState, kind: ProfileTask, *, generation: int) -> None:
    """Check that a piece of work may be asked for.

    Raises:
        Conflict: ``profile_state``; ``nothing_sealed``.
    """
    if kind is ProfileTask.SHRED:
        after(state, ProfileAct.SHRED)
        return
    if kind is ProfileTask.REKEY and state is ProfileState.QUARANTINED:
        raise Conflict("profile_state", next_step=next_step(state), state=state.value, act=kind.value)
    check_openable(state, purpose_of(kind))
    if kind is not ProfileTask.LOGIN and generation < 1:
        raise Conflict("nothing_sealed", next_step="Log in and confirm first: `byokeep profile login`.")


def check_restorable(*, wanted: int, newest: int, key_state: KeyState | None, gone: bool) -> None:
    """Check that an older generation can come back as a new one.

    Args:
        wanted: The generation that is asked for.
        newest: The newest one.
        key_state: State of its key; None if there is no such generation.
        gone: Whether its blob and record were removed.

    Raises:
        Rejected: ``no_such_generation``, ``already_newest``.
        Conflict: ``generation_gone``, ``key_not_usable``.
    """
    if key_state is None or wanted < 1:
        raise Rejected("no_such_generation", next_step="See `byokeep profile history`.", generation=wanted)
    if wanted >= newest:
        raise Rejected("already_newest", next_step="Nothing to do: it is already the newest.", generation=wanted)
    if key_state not in _RESTORABLE:
        raise Conflict("key_not_usable", next_step="Choose a generation whose key was never in doubt.",
                       generation=wanted, key_state=key_state.value)  # fmt: skip
    if gone:
        raise Conflict("generation_gone", next_step="Choose one that `byokeep profile history` still lists.",
                       generation=wanted)  # fmt: skip


def next_due(*, sealed_at: datetime, risk: Risk, days: int = 0) -> datetime:
    """Return when a generation is due for a new key (runbook 6.1).

    Args:
        sealed_at: Aware UTC time from which the days count.
        risk: The client's; high means the shortest interval.
        days: The installation's own interval; 0 = the default, 30 days, whatever the risk.

    Raises:
        Rejected: ``rekey_days_out_of_range``.
    """
    if days and not MIN_REKEY_DAYS <= days <= MAX_REKEY_DAYS:
        raise Rejected("rekey_days_out_of_range", next_step=f"Give {MIN_REKEY_DAYS} to {MAX_REKEY_DAYS} days.",
                       minimum=MIN_REKEY_DAYS, maximum=MAX_REKEY_DAYS)  # fmt: skip
    chosen = MIN_REKEY_DAYS if risk is Risk.HIGH or not days else days
    return sealed_at + timedelta(days=chosen)


def clears_due(cause: str, purpose: Purpose) -> bool:
    """Whether a new generation clears a due mark. An incident's stays if a job only saved changed cookies."""
    return cause != DueCause.INCIDENT or purpose is not Purpose.USE


def living(state: ProfileState) -> bool:
    """Whether the profile is neither retired nor shredded."""
    return state not in _ENDED


def next_step(
    state: ProfileState, *, profile: str = "", due: str = "", incident: str = "", proved: bool = True,
    sealed: bool = True,
) -> str:  # fmt: skip
    """Return what comes next for a profile in this state, in one or two sentences.

    Args:
        profile: Its id, for the commands; empty if the reader knows it.
        due: Why it is due for a new key; empty if it is not.
        incident: The open incident that it belongs to.
        proved: Whether its newest generation was validated.
        sealed: Whether it has a sealed generation that could come back.
    """
    named = f" {profile}" if profile else ""
    step = _words()["profile"][state].format(profile=named)
    if incident and living(state):
        told = f"An incident is open: `byokeep incident vault status {incident}`."
        return told if state is ProfileState.VALID else f"{step} {told}"
    if due == DueCause.INCIDENT and state is ProfileState.VALID:
        return "Its key may be known to others: `byokeep incident vault open --client CLIENT` leads to a new login."
    if due and state is ProfileState.VALID:
        return f"It is due for a new key: `byokeep profile rekey{named}`."
    if state is ProfileState.VALID and not proved:
        return f"It can be used. To prove what was sealed since its last proof: `byokeep profile validate{named}`."
    return step.removesuffix(", or restore.") + "." if not sealed and step.endswith(", or restore.") else step


def next_for_lane(state: ProfileState, *, proved: bool, usable: bool) -> str:
    """Return the command that the browser lane waits for; empty if jobs can act with the profile.

    Args:
        state: Of the account's living profile.
        proved: Whether the newest generation was validated.
        usable: Whether a job may open it now: it is proved, and its key is neither too old nor in doubt.
    """
    if usable:
        return ""
    if state in (ProfileState.CREATED, ProfileState.CONFIRMED, ProfileState.QUARANTINED):
        return "profile login"
    return "profile rekey" if state is ProfileState.VALID and proved else "profile validate"


def next_step_of_work(state: str, reason: str, *, result: str = "", profile: str = "") -> str:
    """Return what to do about a piece of work, in one sentence; empty if nothing needs to be done.

    Args:
        state: Its current state, or how it ended.
        reason: Why it did not succeed.
        result: Its result so far; ``login_done``: the person has pressed Done.
        profile: Its id, for the commands.
    """
    named = f" {profile}" if profile else ""
    if state in ("asked", "running", "confirmed"):
        return "A worker is working on it. Look again later; if nothing changes, check that a worker is running."
    if state == "waiting":
        confirm = f"`byokeep profile confirm{named} ACCOUNT`"
        if result == LOGIN_DONE:
            return f"Done was pressed. Now the person must confirm: {confirm}, with the name that was seen there."
        return f"It waits for a person: `byokeep profile handoff{named}` on the worker's host, then {confirm}."
    if not reason:
        return ""
    return _words()["work"].get(reason, "See `byokeep alert list`, remove the cause, then ask again.")
