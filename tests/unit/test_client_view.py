"""The view of the kill switches that a process follows, and the calls it keeps to tell of: what they do over a life."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.client import calls, view
from byokeep.core.errors import Denied, Unavailable
from byokeep.core.secret import Secret
from byokeep.core.usage import CallResult

pytestmark = pytest.mark.usefixtures("no_pause")


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams are opened anew at once."""
    monkeypatch.setattr(view, "_PAUSES_S", (0.001, 0.001))


class Lease:
    """Whatever is held."""

    def __init__(self) -> None:
        self.client_id, self.stopped = uuid4(), list[Denied]()

    def stop(self, reason: Denied) -> None:
        """Keep why."""
        self.stopped.append(reason)


class Server:
    """Answers each connection with what it is given: a status, and lines as they come."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended: set[str] = set()
        self.form = "application/problem+json"

    @asynccontextmanager
    async def request(self, _method: str, _url: str, *, headers: dict[str, str], within: Any) -> AsyncIterator[Any]:
        """One stream."""
        token = headers["Authorization"].removeprefix("Bearer ")
        self.shown.append(token)
        status = 401 if token in self.ended else 200
        yield SimpleNamespace(status=status, content_type=self.form, content=self._content(token))

    async def _content(self, token: str) -> AsyncIterator[bytes]:
        while token not in self.ended:
            if not (line := await self.lines.get()):
                return
            yield line

    async def close(self) -> None:
        """Nothing to do."""


def engaged(*scopes: str) -> bytes:
    """A view as it is sent."""
    return b"data: " + json.dumps({"engaged": [{"scope": one, "reason": "drill"} for one in scopes]}).encode()


async def settle() -> None:
    """Let everything go on that can."""
    for _ in range(20):
        await asyncio.sleep(0.001)


def following() -> tuple[view.SwitchView, Server]:
    """A view and whom it follows."""
    found, server = view.SwitchView("http://127.0.0.1:1", ca_file=None), Server()
    found._transport = server  # type: ignore[assignment]
    return found, server


async def test_the_next_lease_is_followed_when_the_last_was_given_back_in_the_same_moment() -> None:
    """The stream that is ending is not taken for one that lasts: the new lease hears of a kill."""
    seen, server = following()
    first, second = Lease(), Lease()
    seen.hold(first, Secret("first"))  # type: ignore[arg-type]
    await settle()
    seen.release(first)  # type: ignore[arg-type]
    seen.hold(second, Secret("second"))  # type: ignore[arg-type]
    server.lines.put_nowait(engaged("global"))
    await settle()
    assert server.shown == ["first", "second"]
    assert [one.code for one in second.stopped] == ["switch_closed"]
    await seen.close()


async def test_an_ended_token_is_shown_once() -> None:
    """After a rotation the stream goes on with a later lease's token; with none left nothing is shown."""
    seen, server = following()
    old, new = Lease(), Lease()
    seen.hold(old, Secret("old"))  # type: ignore[arg-type]
    await settle()
    server.ended.add("old")
    server.lines.put_nowait(b"")
    await settle()
    assert server.shown == ["old", "old"]
    seen.hold(new, Secret("new"))  # type: ignore[arg-type]
    await settle()
    assert server.shown == ["old", "old", "new"]
    server.lines.put_nowait(engaged(f"client:{old.client_id}"))
    await settle()
    assert old.stopped
    await seen.close()


async def test_a_proxys_401_ends_no_token() -> None:
    """Only a kill process's or broker's own refusal does; the stream of a token that lives is opened again."""
    seen, server = following()
    server.ended.add("live")
    server.form = "text/html"
    seen.hold(lease := Lease(), Secret("live"))  # type: ignore[arg-type]
    await settle()
    server.ended.clear()
    server.lines.put_nowait(engaged("global"))
    await settle()
    assert lease.stopped
    await seen.close()


async def test_what_lay_unread_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause of this process the first view may be as old as the pause: it takes away and gives nothing."""
    seen, server = following()
    real, moved = view.now, 0.0
    monkeypatch.setattr(view, "now", lambda: real() + moved)
    lease = Lease()
    seen.hold(lease, Secret("token"))  # type: ignore[arg-type]
    server.lines.put_nowait(engaged())
    await settle()
    assert seen.allows(frozenset({"platform:x"}), since=-100)
    moved = view.FRESH_S + 0.1
    server.lines.put_nowait(engaged(f"client:{lease.client_id}"))
    await settle()
    assert not seen.allows(frozenset({"platform:x"}), since=-100)
    assert lease.stopped
    assert len(server.shown) == 2
    server.lines.put_nowait(engaged())
    await settle()
    assert seen.allows(frozenset({"platform:x"}), since=-100)
    await seen.close()


async def test_of_calls_that_wait_only_digests_are_kept_and_no_more_than_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broker that is away costs a bounded memory, however many leases there are; what is beyond it is counted."""
    monkeypatch.setattr(calls, "MOST_KEPT", 3)
    monkeypatch.setattr(calls, "SAY_EVERY_S", 0.0)
    told: list[tuple[str, dict[str, Any]]] = []
    away = True

    async def call(_method: str, path: str, _token: Secret, body: dict[str, Any]) -> dict[str, Any]:
        if away:
            raise Unavailable("broker_unreachable")
        told.append((path, body))
        return {}

    log = calls.CallLog(SimpleNamespace(call=call, persist=lambda act: act()))  # type: ignore[arg-type]
    leases = [str(UUID(int=number)) for number in range(4)]
    for lease in leases:
        for _ in range(2):
            log.note(lease, Secret("token"), calls.ToldCall("openai", "chat", CallResult.OK, b"a long prompt"))
    assert b"prompt" not in repr(log._leases).encode()
    assert sum(len(of.waiting) for of in log._leases.values()) == 3
    away = False
    await log.close()
    assert [body["total"] for _, body in told] == [2, 2, 2, 2]
    assert sum(len(body["calls"]) for _, body in told) == 3
    log.note(leases[0], Secret("token"), calls.ToldCall("openai", "chat", CallResult.OK, b"a long prompt"))
    assert len(log._leases[leases[0]].waiting) == 1  # there is room again
    await log.close()
    assert len(told[-1][1]["calls"][0]["args"]) == 64
