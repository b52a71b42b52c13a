"""The store's health as the last probe says, on a clock of the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from byokeep.adapters.openbao.ports import ProbedStoreHealth
from byokeep.core.errors import Unavailable
from byokeep.wire.bao_http import BaoReply

LEADS = {"ha_enabled": True, "is_self": True, "leader_address": "https://bao"}


class Store:
    """Answers ``sys/leader`` with a document, or not at all; counts what it was asked."""

    def __init__(self) -> None:
        self.now, self.asked = 100.0, 0
        self.says: dict[str, Any] | None = LEADS

    async def request(self, method: str, path: str, *, timeout_s: float) -> BaoReply:
        assert (method, path, timeout_s) == ("GET", "sys/leader", 1.0)
        self.asked += 1
        if self.says is None:
            raise Unavailable("store_timeout")
        return BaoReply(200, self.says, "")


def health(store: Store) -> ProbedStoreHealth:
    return ProbedStoreHealth(store, clock=lambda: store.now)  # type: ignore[arg-type]


async def test_a_good_answer_is_believed_for_seconds_and_costs_nothing() -> None:
    """Never probed is no; then yes without asking again; too old is no; a new answer is yes again."""
    store = Store()
    found = health(store)
    with pytest.raises(Unavailable, match="store_unreachable"):
        found.require()
    await found.probe()
    store.now += 3.0
    found.require()
    store.now += 0.1
    with pytest.raises(Unavailable, match="store_unreachable"):
        found.require()
    assert store.asked == 1
    await found.probe()
    found.require()


@pytest.mark.parametrize("says", [None, {"ha_enabled": True, "leader_address": ""}, {"ha_enabled": True}])
async def test_no_answer_and_no_leader_are_no_health(says: dict[str, Any] | None) -> None:
    """A store that is silent, and a cluster that nobody leads, fail the probe and renew no belief."""
    store = Store()
    found = health(store)
    await found.probe()
    store.says, store.now = says, store.now + 2.5
    with pytest.raises(Unavailable):
        await found.probe()
    found.require()
    store.now += 1.0
    with pytest.raises(Unavailable):
        found.require()


async def test_a_store_without_high_availability_serves() -> None:
    """One node alone names no leader."""
    store = Store()
    store.says = {"ha_enabled": False, "is_self": False, "leader_address": ""}
    found = health(store)
    await found.probe()
    found.require()
