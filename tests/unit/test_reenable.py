"""The way back after a revoked grant: no step skipped, and never one act more than a stage allows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core.errors import Conflict, Denied
from byokeep.core.reenable import (
    CanaryStarted,
    EffectResult,
    Event,
    IdentityChecked,
    Jump,
    Lost,
    Reauthorised,
    RecoveryCause,
    Reenable,
    ScopesChecked,
    Stage,
    Take,
    next_state,
)
from tests.support.advice import assert_advice

CLOSED = Reenable(cause=RecoveryCause.REVOKED)
BACK: list[Event] = [Reauthorised(by_person=True), IdentityChecked(True), ScopesChecked(frozenset()), CanaryStarted()]


def walk(*events: Event, start: Reenable = CLOSED) -> Reenable:
    state = start
    for event in events:
        state = next_state(state, event)
    return state


def act(state: Reenable, ok: bool | None = True) -> Reenable:
    taken = next_state(state, Take())
    return next_state(taken, EffectResult(ok, state.way, state.number))


def test_the_whole_way_opens_after_every_stage_has_succeeded() -> None:
    """One act, five, twenty; then open, without anybody asking for it."""
    state, acts = walk(*BACK), 0
    while state.stage is Stage.CANARY:
        state, acts = act(state), acts + 1
    assert (state.stage, acts) == (Stage.OPEN, 26)
    assert next_state(state, Take()) == state


@pytest.mark.parametrize("stop", range(4))
def test_no_act_before_the_canary_and_no_step_out_of_order(stop: int) -> None:
    """At every point of the way only the next step is taken; all else is refused and changes nothing."""
    state = walk(*BACK[:stop])
    with pytest.raises(Denied) as closed:
        next_state(state, Take())
    assert closed.value.code == "platform_closed"
    for number, event in enumerate(BACK[1:], 1):
        if number != stop:
            with pytest.raises(Conflict) as early:
                next_state(state, event)
            assert early.value.code == "reenable_out_of_order"


def test_only_a_person_s_login_leaves_closed() -> None:
    """A renewal in the background, a runner, an agent: refused (runbook 7.2, step 2)."""
    with pytest.raises(Denied) as refused:
        next_state(CLOSED, Reauthorised(by_person=False))
    assert refused.value.code == "reauth_needs_a_person"


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        ([IdentityChecked(False)], RecoveryCause.IDENTITY_MISMATCH),
        ([IdentityChecked(None)], RecoveryCause.IDENTITY_UNCHECKED),
        ([IdentityChecked(True), ScopesChecked(frozenset({"tweet.write"}))], RecoveryCause.MISSING_SCOPE),
        ([IdentityChecked(True), ScopesChecked(None)], RecoveryCause.SCOPES_UNCHECKED),
    ],
)
def test_a_check_that_fails_or_can_not_be_made_closes_again(events: list[Event], cause: RecoveryCause) -> None:
    """Another account, a silent endpoint, a missing permission, an absent list: closed, with the reason."""
    state = walk(BACK[0], *events)
    assert (state.stage, state.cause) == (Stage.CLOSED, cause)


@pytest.mark.parametrize("ok", [False, None])
def test_a_failed_or_unknown_act_closes_again(ok: bool | None) -> None:
    """Nobody knows how it ended counts as failed; the way starts anew, with a login."""
    state = act(act(walk(*BACK)), ok)
    assert (state.stage, state.cause, state.taken, state.number) == (Stage.CLOSED, RecoveryCause.CANARY_FAILED, 0, 0)


def test_a_stage_can_not_be_jumped() -> None:
    """To 100 percent, or to the next stage, from anywhere: a conflict."""
    for stop in range(5):
        with pytest.raises(Conflict):
            next_state(walk(*BACK[:stop]), Jump())


def test_an_act_of_an_earlier_way_proves_nothing() -> None:
    """Its success is not counted in the new canary; its failure still closes."""
    old = next_state(walk(*BACK), Take())
    state = walk(Lost(RecoveryCause.COMPROMISED), *BACK, start=old)
    state = next_state(state, Take())
    late = next_state(state, EffectResult(True, old.way, old.number))
    assert (late.done, late.taken) == (0, 1)
    assert next_state(state, EffectResult(False, old.way, old.number)).stage is Stage.CLOSED
    with pytest.raises(Conflict):
        next_state(walk(*BACK), EffectResult(True, walk(*BACK).way, 0))


def test_losing_the_grant_closes_from_everywhere() -> None:
    """Also from open, and with the counters at nothing."""
    for stop in range(5):
        state = next_state(walk(*BACK[:stop]), Lost(RecoveryCause.LOCKOUT))
        assert (state.stage, state.cause, state.taken, state.done) == (Stage.CLOSED, RecoveryCause.LOCKOUT, 0, 0)


@pytest.mark.parametrize(
    "wrong", [{"stages": ()}, {"stages": (0,)}, {"number": 3}, {"taken": 2}, {"taken": 1, "done": 2}, {"revision": -1}]
)
def test_counters_that_contradict_themselves_are_refused(wrong: dict[str, object]) -> None:
    """A row that says more acts than the stage allows is not read as a state."""
    with pytest.raises(ValueError, match=r"stage"):
        replace(CLOSED, **wrong)  # type: ignore[arg-type]


@given(
    stages=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    order=st.lists(st.integers(0, 3), min_size=10, max_size=100),
)
def test_parallel_jobs_never_exceed_a_stage(stages: tuple[int, ...], order: list[int]) -> None:
    """Four jobs read, then write, in any order; compare-and-set on the revision keeps every stage to its number."""
    row = walk(*BACK, start=Reenable(cause=RecoveryCause.REVOKED, stages=stages))
    read: dict[int, Reenable] = {}
    holding: dict[int, tuple[int, int]] = {}
    granted: dict[tuple[int, int], int] = {}
    for job in order:
        seen = read.pop(job, None)
        if seen is None:
            read[job] = row
            continue
        if seen.stage is not Stage.CANARY:
            continue
        event: Event = EffectResult(True, *holding[job]) if job in holding else Take()
        try:
            made = next_state(seen, event)
        except Denied:
            continue
        if row.revision != seen.revision:
            continue  # the compare-and-set fails; the job reads again
        row = made
        if isinstance(event, Take):
            place = (seen.way, seen.number)
            holding[job] = place
            granted[place] = granted.get(place, 0) + 1
        else:
            del holding[job]
    assert all(count <= stages[number] for (_, number), count in granted.items())


def test_each_refusal_says_what_to_do() -> None:
    """Code, stage or number, and a sentence of advice; the most that a row may say is taken, one more is not."""
    full = walk(*BACK, Take())
    for state, event, code, fields, words in (
        (CLOSED, Reauthorised(by_person=False), "reauth_needs_a_person", {}, "`byokeep account connect`"),
        (walk(BACK[0]), Take(), "platform_closed", {"stage": "reauthorised"}, "closed for this client"),
        (full, Take(), "canary_stage_full", {"acts": 1}, "until the acts of this stage have ended"),
        (walk(*BACK), EffectResult(True, 2, 0), "reenable_out_of_order", {"stage": "canary"}, "before you end it"),
        (CLOSED, Jump(), "reenable_out_of_order", {"stage": "closed"}, "No step can be skipped"),
    ):  # fmt: skip
        with pytest.raises((Denied, Conflict), match=rf"^{code}\b") as caught:
            next_state(state, event)
        assert caught.value.fields == fields
        assert_advice(caught.value, words)
    assert replace(CLOSED, stages=(10_000,) * 10).acts == 10_000
    for wrong, words in (
        ({"stages": (1,) * 11}, "^one to ten stages of 1 to 10000 acts$"),
        ({"stages": (10_001,)}, "^one to ten stages of 1 to 10000 acts$"), ({"number": -1}, "^no such stage$"),
        ({"taken": -1, "done": -1}, "^more acts than the stage allows$"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            replace(CLOSED, **wrong)


def test_every_change_counts_the_revision_up_by_one_and_every_way_is_another() -> None:
    """What compare-and-set compares moves with each change; a loss and a login begin a way, with nothing counted."""
    state = CLOSED
    for number, event in enumerate([*BACK, Take(), EffectResult(True, 2, 0), Take(), EffectResult(False, 2, 1)], 1):
        state = next_state(state, event)
        assert state.revision == number, event
    assert (state.stage, state.way, state.number, state.taken, state.done) == (Stage.CLOSED, 3, 0, 0, 0)
    # A row of another stage that still has counters is emptied by a login, too.
    begun = next_state(replace(CLOSED, number=1, taken=3, done=2, way=4, revision=9), Reauthorised(by_person=True))
    assert begun == Reenable(cause=RecoveryCause.REVOKED, stage=Stage.REAUTHORISED, way=5, revision=10)
    counted = act(act(walk(*BACK)))
    assert (counted.number, counted.done) == (1, 1)
    lost = next_state(counted, Lost(RecoveryCause.LOCKOUT))
    assert lost == Reenable(cause=RecoveryCause.LOCKOUT, way=counted.way + 1, revision=counted.revision + 1)
