"""When a token is renewed, what a refusal leads to, and a journal that no crash makes silent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core.fault import Fault, FaultCause
from byokeep.core.refresh import (
    LONGEST_ASKED_S,
    Do,
    GaveUp,
    Journal,
    Landed,
    LandingEvent,
    LandingStep,
    Phase,
    PlacedResponse,
    RefreshRules,
    RefusedResponse,
    RenewalAct,
    Resumed,
    Sent,
    TokenModel,
    UnreadableResponse,
    after_fault,
    alarm_at,
    due_at,
    next_step,
    reauth_at,
    renewable,
    too_short,
)
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS

T0 = datetime(2026, 1, 1, tzinfo=UTC)
STRICT = RefreshRules(model=TokenModel.ROTATING_STRICT)
GRACE = RefreshRules(model=TokenModel.ROTATING_GRACE, grace_s=30)
FIXED = RefreshRules(model=TokenModel.FIXED)
EXTEND = RefreshRules(model=TokenModel.EXTEND, due_from=12, due_to=20, min_age_s=86_400, alarm_days=20)


def tokens(life_s: float | None = 7200, *, refresh: bool = True, refresh_life_s: float | None = None) -> TokenSet:
    def end(seconds: float | None) -> datetime | None:
        return None if seconds is None else T0 + timedelta(seconds=seconds)

    return TokenSet(
        platform="x", issuer="https://x.com", app_id="app", access=Secret("a" * 20),
        refresh=Secret("b" * 20) if refresh else None, scopes=None, account_id=None, obtained_at=T0,
        obtained_by=UUID(int=1), access_expires_at=end(life_s), refresh_expires_at=end(refresh_life_s),
    )  # fmt: skip


@given(life=st.integers(200, 400 * 86_400), seed=st.binary(max_size=16))
def test_due_late_in_the_life_and_before_its_end(life: int, seed: bytes) -> None:
    """In the last 10 to 20 percent, five minutes or half the life before the end, the same for the same seed."""
    due = due_at(STRICT, tokens(life), seed=seed)
    assert due is not None
    after = (due - T0).total_seconds()
    assert after <= max(life - 300, life / 2)
    assert after >= min(life * 0.8, max(life - 300, life / 2)) - 1e-3
    assert due == due_at(STRICT, tokens(life), seed=seed)


def test_accounts_connected_together_are_not_renewed_together() -> None:
    """Five hundred seeds spread over the whole window."""
    dues = [due_at(STRICT, tokens(7200), seed=bytes([n % 256, n // 256])) for n in range(500)]
    found = sorted((due - T0).total_seconds() for due in dues if due is not None)
    assert found[0] < 7200 * 0.81
    assert found[-1] > 7200 * 0.89
    assert max(second - first for first, second in pairwise(found)) < 20


def test_unknown_lives_are_tried_daily_and_nothing_is_due_without_means() -> None:
    """A reply without a life is no life without end; without refresh token or model there is no renewal."""
    unknown = due_at(STRICT, tokens(None), seed=b"")
    assert unknown is not None
    assert T0 < unknown < T0 + timedelta(days=1)
    assert due_at(STRICT, tokens(refresh=False), seed=b"") is None
    assert due_at(RefreshRules(model=TokenModel.NONE), tokens(), seed=b"") is None
    assert renewable(EXTEND, tokens(refresh=False))


def test_a_token_too_young_to_extend_is_left_alone_and_an_ending_refresh_token_is_used_in_time() -> None:
    """Instagram's day of age holds; a refresh token's end pulls the renewal forward."""
    young = due_at(EXTEND, tokens(3600, refresh=False), seed=b"")
    assert young == T0 + timedelta(days=1)
    ending = due_at(STRICT, tokens(86_400, refresh_life_s=3600), seed=b"")
    assert ending == T0 + timedelta(seconds=3300)
    assert due_at(STRICT, tokens(86_400, refresh_life_s=60), seed=b"") == T0 + timedelta(seconds=30)


@pytest.mark.parametrize("life_s", [1, 2, 30, 60])
def test_a_life_of_seconds_makes_no_storm(life_s: int) -> None:
    """A platform that gives tokens of a second is asked once a minute, and people hear of it."""
    for rules, refresh in ((STRICT, True), (FIXED, True), (EXTEND, False)):
        due = due_at(replace(rules, min_age_s=0), tokens(life_s, refresh=refresh), seed=b"")
        assert due == T0 + timedelta(seconds=60), rules.model
    assert too_short(tokens(life_s))
    assert not too_short(tokens(61))
    assert not too_short(tokens(None))
    for ending_s in (0, 1, 9):
        assert due_at(STRICT, tokens(life_s, refresh_life_s=ending_s), seed=b"") == T0 + timedelta(seconds=5)


def test_the_end_of_the_grant_is_what_people_are_told_of() -> None:
    """A fixed refresh token ends, an extending access token ends, a set without refresh token ends with its access."""
    assert reauth_at(FIXED, tokens(refresh_life_s=365 * 86_400)) == T0 + timedelta(days=365)
    assert reauth_at(EXTEND, tokens(60 * 86_400, refresh=False)) == T0 + timedelta(days=60)
    assert reauth_at(FIXED, tokens(60 * 86_400, refresh=False)) == T0 + timedelta(days=60)
    assert reauth_at(STRICT, tokens()) is None
    soon = replace(tokens(60 * 86_400, refresh=False), consent_expires_at=T0 + timedelta(days=9))
    assert reauth_at(EXTEND, soon) == T0 + timedelta(days=9)
    assert alarm_at(EXTEND, tokens(60 * 86_400, refresh=False)) == T0 + timedelta(days=40)
    assert alarm_at(EXTEND, tokens(86_400, refresh=False)) == T0
    assert alarm_at(STRICT, tokens()) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"due_from": 90, "due_to": 80}, {"due_from": 0}, {"due_to": 100}, {"grace_s": 30}, {"min_age_s": -1},
        {"model": TokenModel.ROTATING_GRACE},
    ],
)  # fmt: skip
def test_rules_that_contradict_themselves_are_refused(wrong: dict[str, Any]) -> None:
    """A grace without its model, a model without its grace, shares out of order."""
    with pytest.raises(ValueError, match=r"."):
        RefreshRules(**{"model": TokenModel.ROTATING_STRICT, **wrong})


def decide(rules: RefreshRules, cause: FaultCause, *, retry_after_s: float | None = None, **known: Any) -> Any:
    fault = Fault(cause=cause, http_status=400, retry_after_s=retry_after_s)
    return after_fault(rules, fault, **{"tries": 1, "seed": b"s", **known})


@pytest.mark.req("R6.1-3")
def test_a_dead_grant_is_believed_after_the_store_was_read_again() -> None:
    """First re-read, then adopt a sibling's tokens; only then a new login, with an alert and the suspicion of theft."""
    assert decide(STRICT, FaultCause.REVOKED).act is RenewalAct.REREAD
    assert decide(STRICT, FaultCause.REVOKED, reread=True, newer=True).act is RenewalAct.ADOPT
    dead = decide(STRICT, FaultCause.REVOKED, reread=True)
    assert (dead.act, dead.alert, dead.suspect_reuse) == (RenewalAct.REAUTH, True, True)
    assert decide(FIXED, FaultCause.REVOKED, reread=True).suspect_reuse is False
    assert decide(STRICT, FaultCause.MISSING_SCOPE, reread=True).act is RenewalAct.REAUTH
    assert decide(EXTEND, FaultCause.EXPIRED, reread=True).act is RenewalAct.REAUTH


def test_linkedin_s_false_refusals_are_asked_for_twice() -> None:
    """Where a fresh token may be called revoked falsely, one more try after seconds comes before the end."""
    oauth = PLATFORM_DESCRIPTORS["linkedin"].oauth
    assert oauth is not None
    again = decide(oauth.refresh_rules, FaultCause.REVOKED, reread=True)
    assert (again.act, again.wait_s) == (RenewalAct.CONFIRM, 10.0)
    assert decide(oauth.refresh_rules, FaultCause.REVOKED, reread=True, confirmed=True).act is RenewalAct.REAUTH


def test_an_outage_changes_nothing_but_the_next_try() -> None:
    """Waits grow, obey the platform, stay within a day, and never end the grant."""
    for cause in (FaultCause.TRANSIENT, FaultCause.UNKNOWN, FaultCause.RATE_LIMITED):
        waits = [decide(STRICT, cause, tries=tries, reread=True) for tries in range(1, 40)]
        assert {one.act for one in waits} == {RenewalAct.RETRY}
        assert waits[0].wait_s < waits[3].wait_s <= 4500
        assert max(one.wait_s for one in waits) <= 4500
    assert decide(STRICT, FaultCause.RATE_LIMITED, retry_after_s=900.0).wait_s == 900
    assert decide(STRICT, FaultCause.RATE_LIMITED, retry_after_s=1e9).wait_s == LONGEST_ASKED_S
    assert decide(STRICT, FaultCause.TRANSIENT, retry_after_s=-5.0).wait_s > 0
    assert decide(EXTEND, FaultCause.TOO_EARLY).wait_s == 86_400


def test_lockout_and_our_own_app_are_told_apart_from_a_dead_grant() -> None:
    """The person must act at the platform; or the operators must mend the app, and no client is closed for it."""
    assert (decide(STRICT, FaultCause.LOCKOUT).act, decide(STRICT, FaultCause.LOCKOUT).alert) == (
        RenewalAct.LOCKED,
        True,
    )
    words = partial(decide, STRICT, FaultCause.LOCK_UNKNOWN)  # by words alone: a newer token that is stored is used
    assert (words().act, words(reread=True, newer=True).act) == (RenewalAct.REREAD, RenewalAct.ADOPT)
    assert (words(reread=True).act, words(reread=True).alert) == (RenewalAct.LOCKED, True)
    broken = decide(STRICT, FaultCause.APP)
    assert (broken.act, broken.alert, broken.wait_s) == (RenewalAct.FIX_APP, True, 3600.0)


def test_a_fault_can_not_be_an_answer_to_nothing() -> None:
    """What was not sent was not answered; what was sent and not answered is lost."""
    with pytest.raises(ValueError, match="not sent"):
        Fault(cause=FaultCause.TRANSIENT, sent=False)
    assert Fault(cause=FaultCause.TRANSIENT, answered=False).lost
    assert not Fault(cause=FaultCause.TRANSIENT, sent=False, answered=False).lost


LOST = Fault(cause=FaultCause.TRANSIENT, answered=False)
UNSENT = Fault(cause=FaultCause.TRANSIENT, sent=False, answered=False)
REVOKED = Fault(cause=FaultCause.REVOKED, http_status=400)
DOWN = Fault(cause=FaultCause.TRANSIENT, http_status=503)


def walk(rules: RefreshRules, *events: LandingEvent, base: int = 1) -> LandingStep:
    step = LandingStep(Journal(base=base), Do.MARK)
    for event in events:
        step = next_step(rules, step.journal, event)
    return step


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_the_plain_way_ends_placed() -> None:
    """Marked, sent, landed, placed; a lost race adopts the winner's version."""
    assert walk(STRICT, Sent(T0)).do is Do.SEND
    assert walk(STRICT, Sent(T0), Landed()).do is Do.PLACE
    done = walk(STRICT, Sent(T0), Landed(), PlacedResponse(won=True))
    assert (done.journal.phase, done.do) == (Phase.PLACED, Do.FINISH)
    beaten = walk(STRICT, Sent(T0), Landed(), PlacedResponse(won=False))
    assert (beaten.journal.phase, beaten.do) == (Phase.CLOSED, Do.ADOPT)


def test_after_a_crash_before_sending_it_is_simply_sent() -> None:
    """Started without the mark is always safe; the try does not count as lost."""
    again = walk(STRICT, Resumed(newest=1, landed=False, at=T0))
    assert (again.do, again.journal.lost) == (Do.MARK, 0)


def test_after_a_crash_in_flight_a_strict_token_is_shown_once_more_and_never_again() -> None:
    """One retry at once; a second loss, or a refusal, is a broken chain, reported until the store moves on."""
    crash = Resumed(newest=1, landed=False, at=at(5))
    once = walk(STRICT, Sent(T0), crash)
    assert (once.do, once.journal.lost) == (Do.MARK, 1)
    twice = walk(STRICT, Sent(T0), crash, Sent(at(6)), crash)
    assert (twice.journal.phase, twice.do) == (Phase.BROKEN, Do.REPORT_BROKEN)
    refused = walk(STRICT, Sent(T0), crash, Sent(at(6)), RefusedResponse(REVOKED, at(7)))
    assert (refused.journal.phase, refused.do) == (Phase.BROKEN, Do.REPORT_BROKEN)
    assert next_step(STRICT, refused.journal, crash).do is Do.REPORT_BROKEN
    assert next_step(STRICT, refused.journal, Resumed(newest=2, landed=False, at=at(9))).do is Do.ADOPT


def test_a_landed_reply_survives_any_crash() -> None:
    """Whatever phase the journal shows, a reply in the landing place is placed."""
    for events in ((Sent(T0),), (Sent(T0), Landed())):
        assert walk(STRICT, *events, Resumed(newest=1, landed=True, at=at(1))).do is Do.PLACE


def test_a_newer_version_wins_and_an_older_store_stops_everything() -> None:
    """A sibling's tokens are adopted from any phase; a store behind the journal was rolled back."""
    ways: list[tuple[LandingEvent, ...]] = [
        (),
        (Sent(T0),),
        (Sent(T0), Landed()),
        (Sent(T0), Landed(), PlacedResponse(won=True)),
    ]
    for events in ways:
        step = walk(STRICT, *events, Resumed(newest=4, landed=True, at=T0), base=3)
        assert (step.journal.phase, step.do) == (Phase.CLOSED, Do.ADOPT)
        assert walk(STRICT, *events, Resumed(newest=2, landed=True, at=T0), base=3).do is Do.HALT
    assert (
        walk(STRICT, Sent(T0), Landed(), PlacedResponse(won=True), Resumed(newest=1, landed=False, at=T0)).do is Do.HALT
    )


def test_a_grace_allows_retries_while_it_lasts() -> None:
    """Counted from the first sending that may have spent the token, not from the last."""
    crash = Resumed(newest=1, landed=False, at=at(10))
    late = Resumed(newest=1, landed=False, at=at(31))
    assert walk(GRACE, Sent(T0), crash, Sent(at(11)), crash).do is Do.MARK
    assert walk(GRACE, Sent(T0), crash, Sent(at(29)), late).do is Do.REPORT_BROKEN
    assert walk(GRACE, Sent(T0), late).do is Do.MARK
    before = Resumed(newest=1, landed=False, at=at(-10))
    assert walk(GRACE, Sent(T0), crash, Sent(at(11)), before).do is Do.REPORT_BROKEN


@pytest.mark.parametrize("rules", [FIXED, EXTEND, RefreshRules(model=TokenModel.EXCHANGE)])
def test_where_the_token_stays_a_loss_costs_a_retry_only(rules: RefreshRules) -> None:
    """Any number of crashes in flight: never broken."""
    step = LandingStep(Journal(base=1), Do.MARK)
    for seconds in range(20):
        step = next_step(rules, step.journal, Sent(at(seconds)))
        step = next_step(rules, step.journal, Resumed(newest=1, landed=False, at=at(seconds)))
        assert step.do in (Do.MARK, Do.DECIDE)
        assert step.journal.phase is Phase.STARTED


def test_refusals_are_decided_elsewhere_and_do_not_count_as_losses() -> None:
    """An outage, a request that never left, a dead grant at the first showing: the journal stays ready."""
    for fault in (DOWN, UNSENT, REVOKED):
        step = walk(STRICT, Sent(T0), RefusedResponse(fault, T0))
        assert (step.do, step.journal.phase, step.journal.lost) == (Do.DECIDE, Phase.STARTED, 0)
    lost = walk(STRICT, Sent(T0), RefusedResponse(LOST, T0))
    assert (lost.do, lost.journal.lost) == (Do.MARK, 1)
    unreadable = walk(STRICT, Sent(T0), Landed(), UnreadableResponse(T0))
    assert (unreadable.do, unreadable.journal.lost) == (Do.MARK, 1)
    landed_refusal = walk(STRICT, Sent(T0), Landed(), RefusedResponse(REVOKED, T0))
    assert landed_refusal.do is Do.DECIDE
    assert walk(STRICT, Sent(T0), RefusedResponse(REVOKED, T0), GaveUp()).journal.phase is Phase.CLOSED


@pytest.mark.parametrize(
    "events",
    [
        (Landed(),), (UnreadableResponse(T0),), (PlacedResponse(won=True),), (RefusedResponse(DOWN, T0),),
        (Sent(T0), Sent(T0)),
        (Sent(T0), PlacedResponse(won=True)), (Sent(T0), GaveUp()),
        (Sent(T0), Landed(), PlacedResponse(won=True), Sent(T0)),
    ],
)  # fmt: skip
def test_events_out_of_order_are_refused(events: tuple[LandingEvent, ...]) -> None:
    """A defect of the caller is not papered over."""
    with pytest.raises(ValueError, match=r"follow|ended"):
        walk(STRICT, *events)


@dataclass
class Provider:
    """A platform with one-time refresh tokens, named by the version that was made of them."""

    grace_s: float | None
    strict_family: bool = False
    live: int = 1
    spent_at: dict[int, float] = field(default_factory=dict)
    shown_spent: int = 0
    dead: bool = False

    def refresh(self, version: int, now: float) -> int | None:
        """Return the next token's number, None for a refusal."""
        if self.dead:
            self.shown_spent += 1
            return None
        if version in self.spent_at:
            self.shown_spent += 1
            if self.grace_s is not None and now < self.spent_at[version] + self.grace_s and self.live == version + 1:
                return self.live
            self.dead = self.strict_family
            return None
        self.spent_at[version] = now
        self.live = version + 1
        return self.live


class Owner:
    """The process that owns the socket, with a durable journal, landing place and store, and crashes on demand."""

    def __init__(self, rules: RefreshRules, provider: Provider, chance: list[str]) -> None:
        self.rules, self.provider, self.chance = rules, provider, chance
        self.store = {1: 1}
        self.journal = Journal(base=1)
        self.landed: int | None = None
        self.now = 0.0
        self.reported = False
        self.sent = 0

    def next(self) -> str:
        self.now += 1
        return self.chance.pop(0) if self.chance else "ok"

    def run(self) -> str:
        """Drive the machine to its end through whatever happens; returns how it ended."""
        do = Do.MARK
        for _ in range(200):
            if self.next() == "crash":
                step = next_step(
                    self.rules, self.journal,
                    Resumed(newest=max(self.store), landed=self.landed is not None, at=at(self.now)),
                )  # fmt: skip
                self.journal, do = step.journal, step.do
                continue
            match do:
                case Do.FINISH | Do.ADOPT:
                    return "placed"
                case Do.REPORT_BROKEN:
                    self.reported = True
                    return "broken"
                case Do.MARK:
                    do = self.take(Sent(at(self.now)))
                case Do.SEND:
                    do = self.send()
                case Do.DECIDE:
                    if self.journal.phase is Phase.STARTED and self.last is REVOKED:
                        self.take(GaveUp())
                        self.reported = True
                        return "reauth"
                    do = Do.MARK
                case Do.PLACE:
                    do = self.place()
                case Do.HALT:
                    return "halt"
        return "endless"

    def take(self, event: LandingEvent) -> Do:
        step = next_step(self.rules, self.journal, event)
        self.journal = step.journal
        return step.do

    def send(self) -> Do:
        weather = self.next()
        self.last = DOWN if weather == "down" else UNSENT if weather == "unsent" else LOST
        if weather in ("down", "unsent", "lost_before"):
            return self.take(RefusedResponse(self.last, at(self.now)))
        self.sent += 1
        made = self.provider.refresh(self.journal.base, self.now)
        if weather == "crash":
            return self.take(Resumed(newest=max(self.store), landed=False, at=at(self.now)))
        if weather == "lost_after":
            return self.take(RefusedResponse(LOST, at(self.now)))
        if made is None:
            self.last = REVOKED
            return self.take(RefusedResponse(REVOKED, at(self.now)))
        self.landed = made
        return self.take(Landed())

    def place(self) -> Do:
        assert self.landed is not None
        self.store[self.journal.base + 1] = self.landed
        if self.next() == "crash":
            return self.take(Resumed(newest=max(self.store), landed=True, at=at(self.now)))
        return self.take(PlacedResponse(won=True))


weather = st.lists(
    st.sampled_from(["ok", "ok", "ok", "crash", "lost_before", "lost_after", "down", "unsent"]), max_size=40
)


@given(weather, st.booleans())
def test_no_crash_makes_a_strict_chain_silent(chance: list[str], strict_family: bool) -> None:
    """Whatever happens: the store holds the live token or somebody is told; a spent token is shown once at most."""
    provider = Provider(grace_s=None, strict_family=strict_family)
    owner = Owner(STRICT, provider, list(chance))
    end = owner.run()
    assert end in ("placed", "broken", "reauth")
    assert provider.shown_spent <= 1
    if end == "placed":
        assert owner.store[max(owner.store)] == provider.live
    else:
        assert owner.reported
    if not {"crash", "lost_after", "lost_before"} & set(chance):
        assert end == "placed"


@given(weather)
def test_with_a_grace_as_long_as_the_trouble_no_chain_breaks_by_crashes(chance: list[str]) -> None:
    """A platform that takes the previous token again loses nothing to a crash of any moment."""
    rules = RefreshRules(model=TokenModel.ROTATING_GRACE, grace_s=1000)
    provider = Provider(grace_s=1000)
    owner = Owner(rules, provider, list(chance))
    assert owner.run() == "placed"
    assert owner.store[max(owner.store)] == provider.live


@given(st.lists(st.sampled_from(["ok", "crash"]), max_size=12))
def test_a_crash_after_landing_never_costs_a_token(chance: list[str]) -> None:
    """Once the reply is landed, crashes only delay its placing, and nothing is sent again."""
    provider = Provider(grace_s=None)
    owner = Owner(STRICT, provider, ["ok", "ok", "ok", *chance])
    assert owner.run() == "placed"
    assert owner.sent == 1


def test_the_numbers_of_a_rule_have_limits() -> None:
    """The widest that is allowed is taken; one more in any direction is refused by what it contradicts."""
    strict = TokenModel.ROTATING_STRICT
    RefreshRules(model=strict, due_from=10, due_to=95)
    RefreshRules(model=strict, due_from=50, due_to=50)
    RefreshRules(model=TokenModel.ROTATING_GRACE, grace_s=1)
    for wrong, words in (
        ({"due_from": 9}, "^due_from and due_to are percent, 10 to 95$"),
        ({"due_to": 96}, "^due_from and due_to are percent, 10 to 95$"),
        ({"due_from": 90, "due_to": 89}, "^due_from and due_to are percent, 10 to 95$"),
        ({"grace_s": 1}, "^a grace belongs to rotating_grace$"),
        ({"grace_s": -1}, "^seconds and days are not negative$"),
        ({"min_age_s": -1}, "^seconds and days are not negative$"),
        ({"confirm_s": -1}, "^seconds and days are not negative$"),
        ({"alarm_days": -1}, "^seconds and days are not negative$"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            RefreshRules(**{"model": strict, **wrong})


def test_waits_double_up_to_an_hour_with_a_jitter_that_follows_from_the_seed() -> None:
    """Half a minute, one, two, ... an hour, each times 0.75 to 1.25; what a platform asks for counts when longer."""
    for tries in range(12):
        share = int.from_bytes(hashlib.sha256(b"s" + tries.to_bytes(8, "big")).digest()[:8], "big") / 2**64
        own = min(30 * 2 ** max(tries - 1, 0), 3600) * (0.75 + 0.5 * share)
        assert decide(STRICT, FaultCause.TRANSIENT, tries=tries).wait_s == pytest.approx(own)
        for asked in (-5.0, 0.0, 0.5):
            assert decide(STRICT, FaultCause.TRANSIENT, tries=tries, retry_after_s=asked).wait_s == pytest.approx(own)
        assert decide(STRICT, FaultCause.RATE_LIMITED, tries=tries, retry_after_s=7_000).wait_s == 7_000
        assert decide(STRICT, FaultCause.RATE_LIMITED, tries=tries, retry_after_s=1e9).wait_s == LONGEST_ASKED_S
