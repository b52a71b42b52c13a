"""More jobs at once than the broker serves: a bounded number waits, the rest is refused with the limit named."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from byokeep.broker.app import STARTING
from byokeep.client import http
from byokeep.client.http import BUSY_ATTEMPTS, Broker
from byokeep.client.settings import ClientSettings
from byokeep.core.errors import Unavailable
from byokeep.core.secret import Secret
from byokeep.http.guard import Door


class Served:
    """An application that lets nobody go before it is told to; counts who is inside."""

    def __init__(self) -> None:
        self.inside = self.most = self.done = 0
        self.go = asyncio.Event()

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.go.wait()
        self.inside -= 1
        self.done += 1
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


async def ask(door: Door, method: str, path: str) -> tuple[int, dict[str, str], Any]:
    """One request; returns status, headers and document."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"", "state": {}}
    await door(scope, None, send)  # type: ignore[arg-type]
    headers = {name.decode().lower(): text.decode() for name, text in sent[0]["headers"]}
    return sent[0]["status"], headers, json.loads(sent[1]["body"])


async def test_two_hundred_at_once() -> None:
    """32 inside, 96 wait, 72 are refused at once with limit and Retry-After; all that waited are served; room again."""
    served = Served()
    door = Door(served, STARTING)
    asked = [asyncio.create_task(ask(door, "POST", "/v1/jobs")) for _ in range(200)]
    for _ in range(20):
        await asyncio.sleep(0)
    refused = [task.result() for task in asked if task.done()]
    assert (served.inside, len(refused)) == (32, 72)
    for status, headers, document in refused:
        assert (status, headers["retry-after"]) == (503, "1")
        assert (document["code"], document["limit"], document["retry_after_s"]) == ("broker_busy", 128, 1)
        assert "32 of these at once and queues 96" in document["next_step"]
    served.go.set()
    assert [status for status, *_ in await asyncio.gather(*asked)].count(201) == 128
    assert (served.most, served.done, served.inside) == (32, 128, 0)
    assert (await ask(door, "POST", "/v1/jobs"))[0] == 201


ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


@pytest.mark.parametrize(
    ("asked", "counts"),
    [
        ("POST /v1/jobs", True), (f"POST /v1/jobs/{ID}/leases", True), ("POST /v1/switches/close", False),
        ("GET /v1/jobs", False), (f"GET /v1/leases/{ID}", False), ("POST /v1/incident/platforms", False),
        (f"POST /v1/leases/{ID}/permits", False), (f"POST /v1/jobs/{ID}/close", False),
        ("GET /readyz", False),
    ],
)  # fmt: skip
async def test_a_kill_passes_by_a_full_door(asked: str, counts: bool) -> None:
    """Only what starts work waits at the door; a kill, a heartbeat and a job's end do not."""
    served = Served()
    served.go.set()
    door = Door(served, STARTING, at_once=0, waiting=0)
    assert (await ask(door, *asked.split()))[0] == (503 if counts else 201)
    assert any(re.fullmatch(pattern, asked) for pattern in STARTING) is counts


async def test_the_sdk_tries_again_while_the_broker_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was refused at the door is made again, for a bounded number of times; nothing else is repeated."""
    broker = Broker(ClientSettings(broker_url="http://127.0.0.1:1", runner_token_file=Path("none")))
    calls, code, busy = 0, "broker_busy", 5

    async def call(*_: Any, **__: Any) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls <= busy:
            raise Unavailable(code)
        return {"id": "1"}

    monkeypatch.setattr(broker, "_call", call)
    monkeypatch.setattr(http, "LAST_PAUSE_S", 0.0)
    assert await broker.call("POST", "/v1/jobs", Secret(b"t")) == {"id": "1"}
    assert calls == 6
    calls, busy = 0, 10**6
    with pytest.raises(Unavailable, match="broker_busy"):
        await broker.call("POST", "/v1/jobs", Secret(b"t"))
    assert calls == BUSY_ATTEMPTS
    calls, code = 0, "broker_timeout"
    with pytest.raises(Unavailable, match="broker_timeout"):
        await broker.call("POST", "/v1/jobs", Secret(b"t"))
    assert calls == 1
