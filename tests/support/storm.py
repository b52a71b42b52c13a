"""kill -9 of random parts at random moments, under work whose acknowledged results are written down.

``Storm`` starts the work on a supervised stack, kills, and in the end holds the ledger against the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import web

from byokeep.core.errors import ByokeepError
from tests.support.stack import World, environment, lives, until

PARTS = ("store", "database", "broker", "web", "worker", "client")
PROVIDERS = ("openai", "anthropic", "kie", "heygen")
ACCOUNT = "acme"
# A runner of its own: it says what it tries and what was acknowledged, and takes up the same key after a kill.
RUNNER = """
import asyncio, sys
from pathlib import Path
import aiohttp
from byokeep.client import ClientSettings, Keep
from byokeep.core.errors import ByokeepError, Conflict

async def act(http, broker, place, client, identity, effects, key):
    settings = ClientSettings(broker_url=broker, runner_token_file=place / "runner.token",
                              dispatcher_token_file=place / "dispatcher.token", timeout_s=5, attempts=2)
    async with Keep(settings) as keep, keep.job(
        client=client, secrets=["openai"], platforms=["x"], effects=["publish"]
    ) as job:
        await job.secret("openai")
        async with http.get(identity) as reply:
            await job.identify("x", "acme", await reply.json())
        async with job.effect("publish", platform="x", account="acme", key=key):
            (await http.post(effects + key)).raise_for_status()

async def main(broker, place, client, identity, effects, prefix, number):
    number = int(number)
    async with aiohttp.ClientSession() as http:
        while True:
            print("TRY", number, flush=True)
            try:
                await act(http, broker, Path(place), client, identity, effects, f"{prefix}-{number}")
                print("ACK", number, flush=True)
                number += 1
            except Conflict:
                number += 1
            except ByokeepError:
                await asyncio.sleep(0.2)

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass
class Ledger:
    """What was acknowledged, and what was begun and never acknowledged."""

    values: dict[tuple[str, str], bytes] = field(default_factory=dict, repr=False)
    refs: dict[tuple[str, str], str] = field(default_factory=dict)
    open: set[tuple[str, str]] = field(default_factory=set)
    abandoned: set[tuple[str, str]] = field(default_factory=set)
    effects: set[str] = field(default_factory=set)


class Storm:
    """Work and kills on one stack.

    Args:
        world: A supervised stack.
        seed: Of every choice; printed.
        pause_s: Between two pieces of work of each kind: how long one takes depends on the machine, so that without
            a pause a quick one only does more of the same.
    """

    def __init__(self, world: World, seed: int, *, pause_s: float = 0.0) -> None:
        self.world, self.ledger, self._pause_s = world, Ledger(), pause_s
        self.kills: Counter[str] = Counter()
        self.acted: Counter[str] = Counter()  # by idempotency key, as the platform saw it
        self._random = random.Random(seed)
        self._kill_random = random.Random(seed + 1)  # of its own: the order of kills does not depend on the work
        self._over = False
        self._url = self._client = ""
        self._value = b""
        self._runner: asyncio.subprocess.Process | None = None
        self._prefix, self._number = f"runner-{uuid4()}", 0
        sys.stdout.write(f"seed {seed}\n")

    @asynccontextmanager
    async def work(self) -> AsyncIterator[None]:
        """Run all work until the end of the block; then let what is under way come to its end."""
        async with self._platform():
            world = self.world
            self._client = await world.client()
            self._value = await world.onboard(self._client)
            await world.account(self._client, ACCOUNT)
            loops: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (
                self._onboards, self._onboards, self._onboards, self._abandons, self._acts, self._acts, self._runs,
            )  # fmt: skip
            tasks = [asyncio.create_task(loop()) for loop in loops]
            try:
                yield
            finally:
                self._over = True
                _, late = await asyncio.wait(tasks, timeout=90)
                for task in late:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert not late, f"never came to its end: {[str(task.get_coro()) for task in late]}"
            assert ended == [None] * len(tasks), ended

    async def kill(self, count: int) -> None:
        """Kill that many times, each time with everything up and at work, or with the last one still coming back; of
        as many kills as there are parts each part is struck once."""
        turns = list[str]()
        while self.kills.total() < count:
            if self._kill_random.random() < 0.8:
                await until(self._answers, 60, "everything back")
            await asyncio.sleep(self._kill_random.random() * 0.8)
            turns = turns or self._kill_random.sample(PARTS, len(PARTS))
            part = turns.pop()
            pid = (self._runner.pid if self._runner else 0) if part == "client" else self.world.stack.pid(part)
            for child in self.world.stack._children.values():
                child.deaths = 0  # the growing pause of a crash loop is not what is looked at here
            if pid and lives(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.kills[part] += 1
                    continue
            turns.insert(0, part)  # it was still coming back: the others first
        await until(self._answers, 60, "everything back")

    async def _answers(self) -> bool:
        asked = (("operator", "GET", "/v1/switches"), ("auditor", "POST", "/v1/audit/checkpoint"))
        replies = [await self.world.ask(*call, within_s=3) for call in asked]
        return all(reply.status == 200 for reply in replies)

    @asynccontextmanager
    async def _platform(self) -> AsyncIterator[None]:
        async def post(request: web.Request) -> web.Response:
            self.acted[request.match_info["key"]] += 1
            return web.Response()

        app = web.Application()
        app.router.add_post("/{key}", post)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _new_client(self) -> str:
        """A client brought to life, however often that takes; half made ones stay behind."""
        while True:
            made = await self.world.ask("admin", "POST", "/v1/clients", {"name": f"C {secrets.token_hex(4)}"})
            assert made.status in (0, 201, 503), made.code
            if made.status != 201:
                await asyncio.sleep(0.2)
                continue
            client = str(made.document["id"])
            for _ in range(100):
                if (await self.world.ask("admin", "POST", f"/v1/clients/{client}/enroll")).status == 200:
                    return client
                await asyncio.sleep(0.2)

    async def _onboards(self) -> None:
        """Hand keys in, again and again the same one until it is acknowledged; some places are filled twice."""
        while not self._over:
            client = await self._new_client()
            for provider in self._random.sample(PROVIDERS, 2):
                for _ in range(self._random.choice((1, 1, 1, 2))):
                    await self._hand_in(client, provider)
                    await asyncio.sleep(self._pause_s)

    async def _hand_in(self, client: str, provider: str) -> None:
        value, place = await self.world.new_key(provider), (client, provider)
        self.ledger.open.add(place)
        while not self._over:
            answer = await self.world.put(client, provider, value, within_s=10)
            if answer.status == 202:
                self.ledger.values[place], self.ledger.refs[place] = value, answer.document["ref"]
                self.ledger.open.discard(place)
                return
            await asyncio.sleep(0.2)

    async def _abandons(self) -> None:
        """Hand keys in and go away in the middle, never to come back."""
        client = await self._new_client()
        while not self._over:
            client = await self._new_client()
            self.ledger.abandoned.add((client, "kie"))
            value = await self.world.new_key("kie")
            await self.world.put(client, "kie", value, within_s=self._random.random() * 0.03 + 0.001)
            await asyncio.sleep(0.3)

    async def _acts(self) -> None:
        """Two at once with one key, tried a few times: at most one may ever act."""
        while not self._over:
            key = f"post-{uuid4()}"
            for _ in range(3):
                await asyncio.gather(self._act(key), self._act(key))
                await asyncio.sleep(self._pause_s)

    async def _act(self, key: str) -> None:
        world = self.world
        with contextlib.suppress(ByokeepError):
            async with (
                world.keep() as keep,
                keep.job(client=self._client, secrets=["openai"], platforms=["x"], effects=["publish"]) as job,
            ):
                assert (await job.secret("openai")).matches(self._value), "another value was read"
                async with world.http.get(f"{world.sim.platform_url}/x/{ACCOUNT}/identity") as reply:
                    await job.identify("x", ACCOUNT, await reply.json())
                async with job.effect("publish", platform="x", account=ACCOUNT, key=key):
                    (await world.http.post(self._url + key)).raise_for_status()
                self.ledger.effects.add(key)

    async def _runs(self) -> None:
        """Keep a runner process alive; it is killed like everything else and starts again with the same key."""
        place = self.world.home / "credentials"
        identity = f"{self.world.sim.platform_url}/x/{ACCOUNT}/identity"
        while not self._over:
            words = (self.world.stack.broker_url, place, self._client, identity, self._url, self._prefix, self._number)
            runner = await asyncio.create_subprocess_exec(
                sys.executable, "-c", RUNNER, *map(str, words), stdout=asyncio.subprocess.PIPE, env=environment()
            )
            self._runner, said = runner, runner.stdout
            assert said is not None
            while not self._over:
                with contextlib.suppress(TimeoutError):
                    line = await asyncio.wait_for(said.readline(), 0.5)
                    if not line:
                        break
                    self._note(line.decode())
            with contextlib.suppress(ProcessLookupError):
                os.kill(runner.pid, signal.SIGKILL)  # runner.kill() would reap a process that was killed just now
            self._note((await said.read()).decode())
            assert await runner.wait() == -signal.SIGKILL, "the runner ended by itself"

    def _note(self, said: str) -> None:
        for line in said.splitlines():
            word, number = line.split()
            self._number = int(number)
            if word == "ACK":
                self.ledger.effects.add(f"{self._prefix}-{number}")
