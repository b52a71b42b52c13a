"""The life of a browser profile, as a table: every pair of state and act, and what may be opened for what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from byokeep.core import profile as life
from byokeep.core.errors import Conflict, Rejected
from byokeep.core.keystate import KeyState
from byokeep.core.model import Risk
from byokeep.core.profile import ProfileAct, ProfileState, ProfileTask, Purpose

AT = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.mark.parametrize("state", list(ProfileState))
@pytest.mark.parametrize("act", list(ProfileAct))
def test_only_what_the_table_names_moves_a_profile(state: ProfileState, act: ProfileAct) -> None:
    """Every pair leads where the table says, or is refused with both names."""
    to = life.TRANSITIONS[state].get(act)
    if to is not None:
        assert life.after(state, act) is to
        return
    with pytest.raises(Conflict) as refused:
        life.after(state, act)
    assert refused.value.code == "profile_state"
    assert refused.value.fields == {"state": state.value, "act": act.value}


def test_nothing_is_sealed_that_nobody_confirmed() -> None:
    """From *created* no way leads to *sealed* but over *confirmed*; a quarantine is left by a person or a restore."""
    with pytest.raises(Conflict):
        life.after(ProfileState.CREATED, ProfileAct.SEAL)
    with pytest.raises(Conflict):
        life.after(ProfileState.QUARANTINED, ProfileAct.SEAL)
    with pytest.raises(Conflict):
        life.after(ProfileState.QUARANTINED, ProfileAct.VALIDATE)
    assert life.after(life.after(ProfileState.QUARANTINED, ProfileAct.CONFIRM), ProfileAct.SEAL) is ProfileState.SEALED


def test_a_shredded_profile_goes_nowhere() -> None:
    """No act and no opening leads out of *shredded*; of *retired* only what ends it."""
    assert not life.TRANSITIONS[ProfileState.SHREDDED]
    assert set(life.TRANSITIONS[ProfileState.RETIRED]) == {ProfileAct.SHRED}
    for purpose in Purpose:
        with pytest.raises(Conflict):
            life.check_openable(ProfileState.SHREDDED, purpose)


@pytest.mark.parametrize("state", [state for state in ProfileState if state is not ProfileState.VALID])
def test_only_a_validated_profile_is_used(state: ProfileState) -> None:
    """A job opens what is valid, nothing else."""
    life.check_openable(ProfileState.VALID, Purpose.USE)
    with pytest.raises(Conflict):
        life.check_openable(state, Purpose.USE)


def test_work_needs_something_sealed() -> None:
    """A proof or a new key of nothing is refused, a login is not; a quarantined profile gets no new key."""
    life.check_kind(ProfileState.CREATED, ProfileTask.LOGIN, generation=0)
    for kind in (ProfileTask.VALIDATE, ProfileTask.REKEY, ProfileTask.RESTORE):
        with pytest.raises(Conflict):
            life.check_kind(ProfileState.CONFIRMED, kind, generation=0)
    with pytest.raises(Conflict):
        life.check_kind(ProfileState.QUARANTINED, ProfileTask.REKEY, generation=1)
    life.check_kind(ProfileState.QUARANTINED, ProfileTask.RESTORE, generation=2)


@pytest.mark.parametrize(
    ("wanted", "state", "gone", "code"),
    [
        (0, KeyState.ACTIVE, False, "no_such_generation"),
        (1, None, False, "no_such_generation"),
        (3, KeyState.ACTIVE, False, "already_newest"),
        (1, KeyState.COMPROMISED, False, "key_not_usable"),
        (1, KeyState.DESTROYED, True, "key_not_usable"),
        (1, KeyState.SUSPENDED, False, "key_not_usable"),
        (1, KeyState.DEACTIVATED, True, "generation_gone"),
    ],
)
def test_what_may_not_come_back(wanted: int, state: KeyState | None, gone: bool, code: str) -> None:
    """A generation that is not there, is the newest, or whose key was in doubt does not come back."""
    with pytest.raises((Conflict, Rejected)) as refused:
        life.check_restorable(wanted=wanted, newest=3, key_state=state, gone=gone)
    assert refused.value.code == code
    life.check_restorable(wanted=1, newest=3, key_state=KeyState.DEACTIVATED, gone=False)


@pytest.mark.parametrize("days", [29, 61, -1, 1])
def test_an_interval_outside_the_range_is_refused(days: int) -> None:
    """Thirty to sixty days, as the runbook has it."""
    with pytest.raises(Rejected) as refused:
        life.next_due(sealed_at=AT, risk=Risk.STANDARD, days=days)
    assert refused.value.code == "rekey_days_out_of_range"


def test_when_a_generation_is_due() -> None:
    """After thirty days by default and for high risk, after the own interval otherwise; never past 60."""
    assert life.next_due(sealed_at=AT, risk=Risk.STANDARD) == AT + timedelta(days=30)
    assert life.next_due(sealed_at=AT, risk=Risk.STANDARD, days=45) == AT + timedelta(days=45)
    assert life.next_due(sealed_at=AT, risk=Risk.HIGH, days=45) == AT + timedelta(days=30)
    assert life.next_due(sealed_at=AT, risk=Risk.STANDARD, days=60) == AT + timedelta(days=60)
    assert life.MAX_REKEY_DAYS == 60


def test_saved_cookies_do_not_take_off_the_mark_of_an_incident() -> None:
    """A job's own seal clears the mark of the clock; an incident's is cleared by work that a person asked for."""
    assert life.clears_due("interval", Purpose.USE)
    assert not life.clears_due("incident", Purpose.USE)
    assert life.clears_due("incident", Purpose.REKEY)
