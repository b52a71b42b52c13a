"""Guessing a password: what one name, one address and both together may try, with a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from byokeep.core.errors import RateLimited, Rejected
from byokeep.tenancy.attempt_brake import (
    LOGINS_PER_MINUTE,
    MAX_FAILURES,
    MAX_WAIT_S,
    NAME_FAILURES,
    NAME_MAX_WAIT_S,
    AttemptBrake,
)
from byokeep.tenancy.contacts import checked_address, mailbox

DAY_S = 86_400


class HandClock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return self.at


def tried(brake: AttemptBrake, name: str, sources: Iterable[str]) -> int:
    """How many of these attempts got as far as a password."""
    passed = 0
    for source in sources:
        with suppress(RateLimited):
            brake.attempt(name, source)
            passed += 1
    return passed


@pytest.mark.req("S-ASVS-8")
def test_many_addresses_share_one_names_attempts() -> None:
    """From ten thousand addresses a name is tried ten times at once, and 100 times before it is once an hour."""
    clock = HandClock()
    brake = AttemptBrake(clock)
    crowd = [f"198.51.{number >> 8}.{number & 255}" for number in range(10_000)]
    assert tried(brake, "ann", crowd) == NAME_FAILURES == 10
    assert tried(brake, "ANN", crowd[:100]) == tried(brake, "ann\0", crowd[:100]) == 0
    for look in range(100 * DAY_S // 60):
        clock.at += 60
        passed = tried(brake, "Ann", [crowd[look % 10_000]])
        if brake.failures("ann") == MAX_FAILURES:
            break
    assert clock.at > 0.8 * DAY_S
    before = brake.failures("ann")
    for _ in range(DAY_S // 60):
        clock.at += 60
        passed += tried(brake, "ann", crowd[:1])
    assert brake.failures("ann") - before <= DAY_S // NAME_MAX_WAIT_S == 24


def test_who_logged_in_from_an_address_before_is_not_kept_out() -> None:
    """While others guess, the person comes in from where it came in before, and others' names are as free as ever."""
    clock = HandClock()
    brake = AttemptBrake(clock)
    brake.attempt("ann", "home")
    brake.succeeded("ann", "home")
    assert tried(brake, "ann", [f"far {number}" for number in range(50)]) == 10
    assert tried(brake, "bob", ["far 1"]) == 1
    for _ in range(20):
        clock.at += 60
        tried(brake, "ann", [f"far {number}" for number in range(50)])
        brake.attempt("ann", "home")
        brake.succeeded("ann", "home")
    clock.at += MAX_WAIT_S
    assert tried(brake, "ann", ["elsewhere"]) == 1  # nobody is kept out for ever


def test_an_attempt_counts_before_its_password_is_worked_on() -> None:
    """Attempts side by side from one address: five reach a password, not as many as fit before the first has failed."""
    brake = AttemptBrake(HandClock())
    assert tried(brake, "ann", ["one"] * 60) == 5
    assert tried(brake, "never heard of", ["one"] * 60) == 5  # the same for a name that nobody has


@pytest.mark.req("S-ASVS-8")
def test_one_address_stands_for_many_people() -> None:
    """Behind one proxy a storm on a name takes nothing from the others; a storm on many is bounded, and who came in
    from there before comes in."""
    clock = HandClock()
    brake = AttemptBrake(clock)
    brake.attempt("bob", "proxy")
    brake.succeeded("bob", "proxy")
    assert tried(brake, "ann", ["proxy"] * 10_000) == 5
    assert tried(brake, "cem", ["proxy"]) == 1
    passed = sum(tried(brake, f"name {number}", ["proxy"]) for number in range(3 * LOGINS_PER_MINUTE))
    assert passed == LOGINS_PER_MINUTE - 7  # bob, ann's five and cem have been counted
    assert tried(brake, "dan", ["proxy"]) == 0
    assert tried(brake, "dan", ["elsewhere"]) == 1
    brake.attempt("bob", "proxy")
    clock.at += 60
    assert tried(brake, "dan", ["proxy"]) == 1


@pytest.mark.parametrize("mark", [*",;<>\"()[]:\\@'", " ", "\n", "\xa0", "\u0435"])
def test_an_address_is_one_mailbox(mark: str) -> None:
    """What could end an address, or hide another one in it, is refused wherever it stands before the host."""
    for address in (f"1{mark}b@x.example", f"1{mark}@x.example"):
        with pytest.raises(Rejected):
            checked_address(address)
    assert checked_address(" O_brien+tag@X.example ") == "o_brien+tag@x.example"


def test_tags_of_an_address_share_its_brake() -> None:
    """`name+1@` and `name+2@` reach the same person."""
    assert {mailbox(one) for one in ("b@x.example", "b+1@x.example", "b+1+2@x.example")} == {"b@x.example"}
    assert mailbox("+b@x.example") != mailbox("+c@x.example")


def test_an_address_that_was_once_taken_in_signs_in() -> None:
    """Also with a sign that is refused now; what never was an address is still told to be none."""
    assert checked_address("O'Brien@x.example", stored=True) == "o'brien@x.example"
    with pytest.raises(Rejected):
        checked_address("o brien@x.example", stored=True)
