"""How long a key-encryption key lives, what its holder must show, and the order of runbook 7.3."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from byokeep.core.errors import Conflict, Rejected
from byokeep.core.kek import (
    KekFault,
    KekFinding,
    KekStatus,
    KekVersion,
    default_periods,
    differences,
    follows,
    rotation_due,
    urgency,
)
from byokeep.core.keystate import TRANSITIONS, KeyState
from byokeep.core.vault_incident import ORDER, IncidentStep, check_order, window

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def status(*numbers: int, fault: KekFault | None = None, protects: int = 0) -> KekStatus:
    return KekStatus(
        kek_id="development-x", min_encryption=protects or max(numbers, default=0),
        versions=tuple(KekVersion(number=one, created_at=NOW, fault=fault) for one in numbers),
    )  # fmt: skip


def rows(*states: KeyState) -> dict[int, KeyState]:
    return dict(enumerate(states, 1))


@pytest.mark.parametrize(
    ("shown", "ours", "found"),
    [
        (status(1), rows(KeyState.ACTIVE), []),
        (status(1, 2), rows(KeyState.DEACTIVATED, KeyState.ACTIVE), []),
        (status(2), rows(KeyState.DESTROYED, KeyState.ACTIVE), []),
        (status(), rows(), []),
        (status(), rows(KeyState.PRE_ACTIVATION), []),
        (status(), rows(KeyState.ACTIVE), [(1, KekFinding.MISSING)]),
        (status(2), rows(KeyState.COMPROMISED, KeyState.ACTIVE), [(1, KekFinding.MISSING)]),
        (status(1), rows(), [(1, KekFinding.UNKNOWN)]),
        (status(1, fault=KekFault.FOREIGN), rows(), [(1, KekFinding.UNKNOWN)]),
        (status(1, 2), rows(KeyState.ACTIVE), [(2, KekFinding.UNKNOWN)]),
        (status(1, 2), rows(KeyState.DESTROYED, KeyState.ACTIVE), [(1, KekFinding.BACK)]),
        (status(1, fault=KekFault.DISABLED), rows(KeyState.ACTIVE), [(1, KekFinding.DISABLED)]),
        (status(1, fault=KekFault.MISSING), rows(KeyState.ACTIVE), [(1, KekFinding.MISSING)]),
        (status(1, fault=KekFault.FOREIGN), rows(KeyState.ACTIVE), [(1, KekFinding.ALTERED)]),
        (status(1, 2, protects=1), rows(KeyState.DEACTIVATED, KeyState.ACTIVE), [(1, KekFinding.PROTECTS)]),
    ],
)
def test_each_difference_is_a_finding(
    shown: KekStatus, ours: dict[int, KeyState], found: list[tuple[int, KekFinding]]
) -> None:
    """What a holder shows and what our rows say: the same is nothing, each difference is named at its version."""
    assert [(one.version, one.finding) for one in differences(shown, ours)] == found


def test_a_history_leads_to_the_state_or_is_broken() -> None:
    """Legal moves, one after the other, to the state of the row; a gap, a jump, a word or an edit breaks it."""
    good = [("pre_activation", "active"), ("active", "suspended"), ("suspended", "active"), ("active", "deactivated")]
    assert follows(KeyState.PRE_ACTIVATION, good, "deactivated")
    assert follows(KeyState.PRE_ACTIVATION, [], "pre_activation")
    for steps, now in (
        (good, "active"), (good[1:], "deactivated"), (good[:1] + good[2:], "deactivated"), ([], "active"),
        ([("pre_activation", "deactivated")], "deactivated"), ([("pre_activation", "gone")], "gone"),
        ([*good, ("deactivated", "active")], "active"),
    ):  # fmt: skip
        assert not follows(KeyState.PRE_ACTIVATION, steps, now), steps
    for old in KeyState:
        for new in KeyState:
            assert follows(old, [(old.value, new.value)], new.value) == (new in TRANSITIONS[old])


def test_a_rotation_is_due_by_the_policy_and_before_the_period_ends() -> None:
    """The earlier of the two; due on the day, overdue a week later, and at once when nothing may be protected."""
    until = NOW + timedelta(days=365)
    assert rotation_due(NOW, 90, until) == NOW + timedelta(days=90)
    assert rotation_due(NOW, 366, until) == until
    due = NOW + timedelta(days=90)
    for after, said in ((-1, ""), (0, "due"), (6, "due"), (7, "overdue")):
        assert urgency(due + timedelta(days=after), due, until) == said
    assert urgency(until, until, until) == "overdue"
    for days in (0, 367):
        with pytest.raises(Rejected, match="kek_rotation_days_out_of_range"):
            rotation_due(NOW, days, until)


def test_a_key_protects_for_a_year_and_opens_for_four() -> None:
    """By default."""
    made = default_periods(NOW)
    assert (made.protects_until - NOW, made.processes_until - NOW) == (timedelta(days=365), timedelta(days=4 * 365))


def test_the_steps_of_7_3_stand_in_one_order() -> None:
    """The next step may be taken, an earlier one was done, any other is refused."""
    for at, now in enumerate(ORDER):
        for place, wanted in enumerate(ORDER):
            if place <= at:
                assert check_order(now, wanted) is False
            elif place == at + 1:
                assert check_order(now, wanted) is True
            else:
                with pytest.raises(Conflict, match="vault_out_of_order"):
                    check_order(now, wanted)
    assert ORDER[0] is IncidentStep.OPENED
    assert ORDER[-1] is IncidentStep.CLOSED


def test_since_when_is_72_hours_where_nobody_knows() -> None:
    """A time that was given counts; none is 72 hours and marked; one in the future is refused."""
    assert window(None, NOW) == (NOW - timedelta(hours=72), True)
    assert window(NOW - timedelta(days=9), NOW) == (NOW - timedelta(days=9), False)
    with pytest.raises(Rejected, match="bad_since"):
        window(NOW + timedelta(seconds=1), NOW)
