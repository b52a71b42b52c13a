"""A running stack with enough clients, each with a verified key and an identified account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from byokeep.cli.intake import read_token_file
from byokeep.cli.terminal import TerminalSession, current
from byokeep.client.http import Broker
from byokeep.client.lease import HeldLease
from byokeep.client.settings import ClientSettings
from byokeep.core.secret import Secret
from byokeep.demo import Scene, make_key, people, scene
from byokeep.settings import Settings

CLIENTS: Final = 8
PROVIDER: Final = "openai"
PLATFORM: Final = "x"
_ONBOARDED_WITHIN_S: Final = 60.0


@dataclass(slots=True)
class Stage:
    """What a benchmark works on. ``jobs`` holds one open job for each of 16 callers, spread over the clients."""

    scene: Scene
    broker: Broker
    runner: Secret
    dispatcher: Secret
    runner_id: str
    clients: list[str]

    @property
    def pids(self) -> dict[str, int]:
        """Processes whose CPU time is of interest."""
        return self.scene.stack.pids

    async def open_job(self, client: str, *, acts: bool = False) -> str:
        """Open a job as the dispatcher; returns its id."""
        body: dict[str, Any] = {
            "client_id": client, "runner_id": self.runner_id, "secrets": [PROVIDER], "ttl_s": 3600,
            "platforms": [PLATFORM] if acts else [], "effects": ["publish"] if acts else [],
            "lanes": ["api"] if acts else [],
        }  # fmt: skip
        return str((await self.broker.call("POST", "/v1/jobs", self.dispatcher, body, timeout_s=30))["id"])

    async def jobs(self, count: int, *, acts: bool = False) -> list[str]:
        """Open ``count`` jobs, spread over the clients."""
        return [await self.open_job(self.clients[n % CLIENTS], acts=acts) for n in range(count)]

    def lease(self, job: str) -> HeldLease:
        """A lease as the SDK holds it, not yet taken."""
        return HeldLease(self.broker, self.runner, UUID(job))


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Start a stack and onboard the clients."""
    current.set(
        TerminalSession(settings=Settings(), as_json=True)
    )  # what a command would have set; the scene sets its own
    async with scene(None, say=lambda _: None) as found:
        await found.stack.start()
        await people(found)
        clients = [await _client(found, f"Bench {number}") for number in range(CLIENTS)]
        await _onboarded(found)
        place = found.home / "credentials"
        settings = ClientSettings(
            broker_url=found.stack.broker_url, runner_token_file=place / "runner.token",
            dispatcher_token_file=place / "dispatcher.token", timeout_s=10.0, attempts=1,
        )  # fmt: skip
        broker = Broker(settings)
        runner, dispatcher = (read_token_file(place / f"{name}.token") for name in ("runner", "dispatcher"))
        try:
            who = str((await broker.call("GET", "/v1/self", runner))["id"])
            ready = Stage(found, broker, runner, dispatcher, who, clients)
            for client in clients:
                await identify(ready, client)
            yield ready
        finally:
            await broker.close()


async def _client(found: Scene, name: str) -> str:
    made = await found.api("admin", "POST", "/v1/clients", body={"name": name, "risk": "standard"})
    client = found.clients[name] = str(made["id"])
    await found.api("admin", "POST", f"/v1/clients/{client}/enroll")
    key = await make_key(found, name, PROVIDER)
    path = f"/v1/clients/{client}/providers/{PROVIDER}/value"
    found.sops.append((await found.api("operator", "PUT", path, raw=key))["sop"])
    key.wipe()
    body = {"platform": PLATFORM, "account": "acme", "username": "acme", "display_name": "Acme"}
    await found.api("operator", "POST", f"/v1/clients/{client}/accounts", body=body)
    await found.api("operator", "POST", f"/v1/clients/{client}/accounts/x/acme/lane", body={"policy": "api"})
    return client


async def _onboarded(found: Scene) -> None:
    deadline = time.monotonic() + _ONBOARDED_WITHIN_S
    while time.monotonic() < deadline:
        states = [(await found.api("operator", "GET", f"/v1/sops/{sop}"))["state"] for sop in found.sops]
        if all(state == "complete" for state in states):
            return
        await asyncio.sleep(0.2)
    raise SystemExit(f"the clients were not onboarded within {_ONBOARDED_WITHIN_S:.0f} s")


async def identify(ready: Stage, client: str) -> None:
    """Have the client's account looked at, so that the gate lets its effects pass for ten minutes."""
    lease = ready.lease(await ready.open_job(client, acts=True))
    try:
        body = {"lease_id": await lease.held(), "id": "acme", "username": "acme", "display_name": "Acme"}
        path = f"/v1/accounts/{client}/{PLATFORM}/acme/identity"
        reply = await ready.broker.call("POST", path, ready.runner, body)
        assert reply["identity"] == "match", reply
    finally:
        await lease.close()
