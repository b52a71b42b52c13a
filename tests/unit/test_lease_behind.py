"""A store's node that is behind the broker's word: the SDK asks once more, for a bounded number of times."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from byokeep.client import lease
from byokeep.client.http import Broker
from byokeep.client.lease import HeldLease
from byokeep.client.settings import ClientSettings
from byokeep.core.errors import Denied
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp


class Asked:
    """A broker that grants, and a store that refuses ``behind`` logins before it knows better."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, behind: int, may_be_behind: bool = True) -> None:
        self.leases, self.logins, self.behind, self.killed = 0, 0, behind, False
        self.broker = Broker(ClientSettings(broker_url="http://127.0.0.1:1", runner_token_file=Path("none")))
        monkeypatch.setattr(self.broker, "call", self._call)
        monkeypatch.setattr(self.broker, "store", lambda _: SimpleNamespace(may_be_behind=may_be_behind))
        monkeypatch.setattr(lease, "lease_login", self._login)
        monkeypatch.setattr(lease, "read_secret", AsyncMock(side_effect=lambda *_: Secret(b"the-value-of-it")))
        monkeypatch.setattr(lease, "BEHIND_S", (0.0, 0.0, 0.0))

    async def _call(self, method: str, path: str, token: Secret, *_: Any, **__: Any) -> dict[str, Any]:
        self.leases += 1
        if self.killed:
            raise Denied("switch_closed")
        pin = {"path": "kv/clients/c/providers/openai", "version": 1}
        store = {"address": "unix:///s", "roles": {"openai": "use-openai"}}
        return {"lease_id": str(uuid.uuid4()), "jwt": "a.b.c", "life_s": 5, "store": store, "secrets": {"openai": pin}}

    async def _login(self, *_: Any, **__: Any) -> Secret:
        self.logins += 1
        if self.logins <= self.behind:
            raise Denied("lease_refused")
        return Secret(b"b.token")


@pytest.mark.parametrize("behind", [0, 1, 3])
async def test_the_first_read_after_a_release_is_tried_again(monkeypatch: pytest.MonkeyPatch, behind: int) -> None:
    """A node that still refuses what the broker grants is asked again under a new lease; the value comes."""
    asked = Asked(monkeypatch, behind=behind)
    held = HeldLease(asked.broker, Secret(b"t"), uuid.uuid4())
    assert (await held.secret("openai")).matches(b"the-value-of-it")
    assert (asked.logins, asked.leases) == (behind + 1, behind + 1)
    await held.close()


async def test_a_store_that_goes_on_refusing_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After three more attempts the refusal stands; and the broker's no ends it at once."""
    asked = Asked(monkeypatch, behind=99)
    held = HeldLease(asked.broker, Secret(b"t"), uuid.uuid4())
    with pytest.raises(Denied, match="lease_refused"):
        await held.secret("openai")
    assert asked.logins == 4
    asked.killed = True
    with pytest.raises(Denied, match="switch_closed"):
        await held.secret("openai")
    assert asked.logins == 5
    await held.close()


async def test_the_refusal_of_a_node_that_cannot_be_behind_is_believed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt under one lease, as no other node knows better."""
    asked = Asked(monkeypatch, behind=99, may_be_behind=False)
    held = HeldLease(asked.broker, Secret(b"t"), uuid.uuid4())
    with pytest.raises(Denied, match="lease_refused"):
        await held.secret("openai")
    assert (asked.logins, asked.leases) == (1, 1)
    await held.close()


ACTIVE, STANDBY = "http://127.0.0.1:1", "http://127.0.0.1:2"
LEADS = {"ha_enabled": True, "is_self": True, "leader_address": ACTIVE}
FOLLOWS = {"ha_enabled": True, "is_self": False, "leader_address": ACTIVE}


@pytest.mark.parametrize(
    ("told", "says", "asks", "behind"),
    [
        ("unix:///s", {}, "http://openbao", False),  # one node, and nobody is asked who leads
        (STANDBY, {STANDBY: {"ha_enabled": False, "leader_address": ""}}, STANDBY, False),
        (ACTIVE, {ACTIVE: LEADS}, ACTIVE, False),
        (STANDBY, {STANDBY: FOLLOWS, ACTIVE: LEADS}, ACTIVE, False),
        (STANDBY, {STANDBY: FOLLOWS, ACTIVE: FOLLOWS}, STANDBY, True),  # nobody leads just now
        (STANDBY, {STANDBY: LEADS}, STANDBY, True),  # a balancer: the next request may go to another node
        (STANDBY, {STANDBY: {"ha_enabled": True, "leader_address": ""}}, STANDBY, True),
        (STANDBY, {STANDBY: {}}, STANDBY, True),
    ],
)
async def test_who_may_be_behind(
    monkeypatch: pytest.MonkeyPatch, told: str, says: dict[str, dict[str, Any]], asks: str, behind: bool
) -> None:
    """The active node cannot be, nor a store of one node; whoever else answers may."""
    async with BaoHttp(told) as http:
        monkeypatch.setattr(http, "_of_leader", AsyncMock(side_effect=lambda base: says[base]))
        assert (await http._find_active(), http.may_be_behind) == (asks, behind)
    async with BaoHttp(ACTIVE, this_node=True) as http:
        assert http.may_be_behind
