"""What a key may do in each state and each period, as SP 800-57 Part 1 says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core.errors import ByokeepError, Denied, Rejected
from byokeep.core.kek import (
    MOST_BEYOND,
    MOST_OUP,
    YEAR,
    Periods,
    Suspension,
    default_periods,
    may_process,
    may_protect,
    may_resume,
)
from byokeep.core.keystate import TRANSITIONS, KeyState, check_transition

T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
WRAP = default_periods(T0)
SPANS = st.integers(-3 * 365, 12 * 365).map(lambda days: timedelta(days=days))


def code(act: object, *given: object, **named: object) -> str:
    """The code of a refusal; empty when it passed."""
    try:
        act(*given, **named)  # type: ignore[operator]
    except ByokeepError as refused:
        return refused.code
    return ""


def test_before_activation_a_key_does_nothing() -> None:
    """A key that is not active yet protects nothing and opens nothing, and activation is a step."""
    now = T0 + DAY
    assert code(may_protect, KeyState.PRE_ACTIVATION, now, WRAP) == "key_state"
    assert code(may_process, KeyState.PRE_ACTIVATION, now, WRAP, protected_at=T0) == "key_state"
    check_transition(KeyState.PRE_ACTIVATION, KeyState.ACTIVE)
    may_protect(KeyState.ACTIVE, now, WRAP)
    assert code(may_protect, KeyState.ACTIVE, T0 - TICK, WRAP) == "key_not_yet_valid"


@pytest.mark.req("S-NIST-3")
def test_a_suspension_covers_what_was_made_in_it() -> None:
    """A suspended key opens what is older than the suspension and nothing stamped inside, not even once it is over."""
    since, until, now = T0 + 10 * DAY, T0 + 20 * DAY, T0 + 15 * DAY
    on, over = (Suspension(since),), (Suspension(since, until),)
    assert code(may_protect, KeyState.SUSPENDED, now, WRAP) == "key_state"
    may_process(KeyState.SUSPENDED, now, WRAP, protected_at=since - TICK, suspensions=on)
    for inside in (since, since + DAY):
        found = code(may_process, KeyState.SUSPENDED, now, WRAP, protected_at=inside, suspensions=on)
        assert found == "protected_in_suspension"
    # Without the span, nothing can be told apart, so nothing passes.
    assert code(may_process, KeyState.SUSPENDED, now, WRAP, protected_at=T0) == "suspension_unknown"
    assert code(may_process, KeyState.SUSPENDED, now, WRAP, protected_at=T0, suspensions=over) == "suspension_unknown"
    later = T0 + 30 * DAY
    may_process(KeyState.ACTIVE, later, WRAP, protected_at=until, suspensions=over)
    for state in (KeyState.ACTIVE, KeyState.DEACTIVATED):
        found = code(may_process, state, later, WRAP, protected_at=until - TICK, suspensions=over)
        assert found == "protected_in_suspension"
    may_resume(KeyState.SUSPENDED, WRAP.protects_until - TICK, WRAP)
    assert code(may_resume, KeyState.SUSPENDED, WRAP.protects_until, WRAP) == "key_period_over"
    for state in set(KeyState) - {KeyState.SUSPENDED}:
        assert code(may_resume, state, now, WRAP) == "key_state"


@pytest.mark.req("S-NIST-4")
def test_a_deactivated_key_only_opens() -> None:
    """It protects nothing, opens what it protected, and no step leads back to active."""
    now = T0 + 2 * YEAR
    assert code(may_protect, KeyState.DEACTIVATED, T0 + DAY, WRAP) == "key_state"
    may_process(KeyState.DEACTIVATED, now, WRAP, protected_at=T0 + DAY)
    with pytest.raises(Rejected, match="key_state"):
        check_transition(KeyState.DEACTIVATED, KeyState.ACTIVE)


def test_a_compromised_key_opens_nothing() -> None:
    """What it protected before is denied, and it protects nothing."""
    now = T0 + DAY
    with pytest.raises(Denied, match="key_compromised"):
        may_process(KeyState.COMPROMISED, now, WRAP, protected_at=T0)
    assert code(may_protect, KeyState.COMPROMISED, now, WRAP) == "key_state"


def test_what_is_destroyed_stays_so() -> None:
    """No period opens anything with a destroyed key."""
    assert code(may_process, KeyState.DESTROYED, T0 + DAY, WRAP, protected_at=T0) == "key_state"
    assert code(may_protect, KeyState.DESTROYED, T0 + DAY, WRAP) == "key_state"


@pytest.mark.req("S-NIST-7")
def test_no_way_leads_to_an_earlier_phase() -> None:
    """From each state, every other step than the table's is refused; along the table the phases never fall."""
    phase = {
        KeyState.PRE_ACTIVATION: 1, KeyState.ACTIVE: 2, KeyState.SUSPENDED: 2, KeyState.DEACTIVATED: 3,
        KeyState.COMPROMISED: 3, KeyState.DESTROYED: 4,
    }  # fmt: skip
    for old in KeyState:
        for new in KeyState:
            if new in TRANSITIONS[old]:
                check_transition(old, new)
                assert phase[new] >= phase[old]
            else:
                with pytest.raises(Rejected, match="key_state"):
                    check_transition(old, new)


@pytest.mark.req("S-NIST-8")
def test_the_two_periods_end_one_after_the_other() -> None:
    """Past the first a key only opens; past the second it opens nothing; both are checked when set."""
    may_protect(KeyState.ACTIVE, WRAP.protects_until - TICK, WRAP)
    assert code(may_protect, KeyState.ACTIVE, WRAP.protects_until, WRAP) == "key_period_over"
    last = WRAP.processes_until - TICK
    may_process(KeyState.ACTIVE, last, WRAP, protected_at=T0)
    for state in (KeyState.ACTIVE, KeyState.DEACTIVATED):
        assert code(may_process, state, last + TICK, WRAP, protected_at=T0) == "key_period_over"
    bad = [
        (timedelta(0), DAY), (-DAY, DAY), (MOST_OUP + TICK, MOST_OUP + TICK), (2 * DAY, DAY), (DAY, DAY - TICK),
        (DAY, DAY + MOST_BEYOND + TICK),
    ]  # fmt: skip
    for oup, rup in bad:
        with pytest.raises(Rejected, match="bad_key_period"):
            Periods(starts_at=T0, oup=oup, rup=rup)
    Periods(starts_at=T0, oup=MOST_OUP, rup=MOST_OUP + MOST_BEYOND)
    assert (MOST_OUP, MOST_BEYOND) == (2 * YEAR, 3 * YEAR)


@given(state=st.sampled_from(KeyState), at=SPANS, made=SPANS)
def test_who_may_protect_may_open_it_and_nothing_grows_back(state: KeyState, at: timedelta, made: timedelta) -> None:
    """At any time: what a key may protect it may open at once; what it may not open it may not open later either."""
    now, protected_at = T0 + at, T0 + made
    if not code(may_protect, state, now, WRAP):
        assert state is KeyState.ACTIVE
        assert T0 <= now < WRAP.protects_until
        may_process(state, now, WRAP, protected_at=now)
    refused = code(may_process, state, now, WRAP, protected_at=protected_at)
    if refused and now >= T0 and protected_at <= now:
        assert code(may_process, state, now + YEAR, WRAP, protected_at=protected_at)
    if not refused:
        assert state in (KeyState.ACTIVE, KeyState.DEACTIVATED)
        assert T0 <= protected_at < WRAP.protects_until
        assert protected_at <= now < WRAP.processes_until
