"""Kill one client with 200 open leases whose holders read all the time: until acknowledged, and what still passed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

from benchmarks.load import Run
from benchmarks.report import Row
from benchmarks.stage import PLATFORM, PROVIDER, Stage, identify
from byokeep.client.lease import HeldLease
from byokeep.core.errors import ByokeepError, Denied, NotFound, RateLimited, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, read_secret

HOLDERS = 200
ASKING = 8  # of them ask for permits as well
KILLS = 21
EVERY_S = 0.25  # between two reads of one holder
AFTER_S = 0.5  # how long they go on trying after the acknowledgement; their store tokens live two seconds
WITHIN_S = 100.0  # of all kills; what is not done by then is left out


@dataclass(slots=True)
class Watched:
    """One kill as its victims saw it; moments of ``time.perf_counter``."""

    began: float = 0.0
    acknowledged: float = float("inf")
    passed: list[tuple[float, float]] = field(default_factory=list)  # begun, ended
    refused: int = 0
    permits: list[tuple[float, float]] = field(default_factory=list)
    permits_refused: int = 0
    odd: Counter[str] = field(default_factory=Counter)  # neither passed nor refused: could not be done

    def after(self, acts: list[tuple[float, float]]) -> int:
        """How many of ``acts`` began after the acknowledgement and succeeded."""
        return sum(begun >= self.acknowledged for begun, _ in acts)


@dataclass(slots=True)
class _Holder:
    lease: HeldLease
    store: BaoHttp
    token: Secret
    path: str
    version: int


async def kill(ready: Stage) -> list[Row]:
    client = ready.clients[-1]
    seen: list[Watched] = []
    began = time.perf_counter()
    while len(seen) < KILLS and time.perf_counter() - began < WITHIN_S:
        seen.append(await _once(ready, client))
        await _lift(ready, client)
    await identify(ready, client)
    return _rows(seen[1:])  # the first one warms up


async def _once(ready: Stage, client: str) -> Watched:
    watched = Watched()
    gate = asyncio.Semaphore(16)

    async def job(_: int) -> str:
        async with gate:
            while True:
                with suppress(Unavailable):  # a busy machine; a job too many does no harm
                    return await ready.open_job(client, acts=True)

    async def hold(job_id: str) -> _Holder:
        async with gate:
            return await _hold(ready, job_id)

    jobs = await asyncio.gather(*(job(number) for number in range(HOLDERS)))
    holders = await asyncio.gather(*(hold(job_id) for job_id in jobs))
    pollers = [asyncio.create_task(_poll(one, watched, number)) for number, one in enumerate(holders)]
    pollers += [asyncio.create_task(_ask(ready, one.lease.id, watched)) for one in holders[:ASKING]]
    await asyncio.sleep(EVERY_S)  # everybody has read at least once
    watched.began = time.perf_counter()
    await ready.scene.api("operator", "POST", "/v1/switches/close", body={"client_id": client, "reason": "bench"})
    watched.acknowledged = time.perf_counter()
    await asyncio.sleep(AFTER_S)
    for one in pollers:
        one.cancel()
    await asyncio.gather(*pollers, return_exceptions=True)
    await asyncio.gather(*(one.lease.close() for one in holders))
    return watched


async def _hold(ready: Stage, job: str) -> _Holder:
    while True:
        lease = ready.lease(job)
        try:
            await lease.open()
            return _Holder(lease, *await lease.login(PROVIDER))
        except (RateLimited, Unavailable):
            await lease.close()
            await asyncio.sleep(0.3)


async def _poll(one: _Holder, watched: Watched, number: int) -> None:
    lease_id = one.lease.id
    await asyncio.sleep(EVERY_S * number / HOLDERS)
    while True:
        begun = time.perf_counter()
        try:
            await read_secret(one.store, one.token, one.path, one.version, lease_id)
            watched.passed.append((begun, time.perf_counter()))
        except Denied:
            watched.refused += 1
        except ByokeepError as error:
            watched.odd[error.code] += 1
        await asyncio.sleep(EVERY_S)


async def _ask(ready: Stage, lease_id: str, watched: Watched) -> None:
    while True:
        body = {"version": 1, "effect": "publish", "platform": PLATFORM, "account": "acme", "lane": "api",
                "idempotency_key": uuid4().hex}  # fmt: skip
        begun = time.perf_counter()
        try:
            await ready.broker.call("POST", f"/v1/leases/{lease_id}/permits", ready.runner, body)
            watched.permits.append((begun, time.perf_counter()))
        except (Denied, NotFound):
            watched.permits_refused += 1
        except ByokeepError as error:
            watched.odd[error.code] += 1
        await asyncio.sleep(EVERY_S)


async def _lift(ready: Stage, client: str) -> None:
    body = {"client_id": client, "reason": "bench"}
    asked = await ready.scene.api("operator", "POST", "/v1/switches/open-requests", body=body)
    await ready.scene.api("approver", "POST", f"/v1/switches/open-requests/{asked['id']}/approve")


def _rows(seen: list[Watched]) -> list[Row]:
    ack = Run(1, took=[one.acknowledged - one.began for one in seen])
    last = Run(1, took=[max((end for _, end in one.passed), default=one.began) - one.began for one in seen])
    reads, permits = sum(one.after(one.passed) for one in seen), sum(one.after(one.permits) for one in seen)
    passed, refused = sum(len(one.passed) for one in seen), sum(one.refused for one in seen)
    allowed, denied = sum(len(one.permits) for one in seen), sum(one.permits_refused for one in seen)
    odd = sum((one.odd for one in seen), Counter[str]())
    enough = len(seen) >= 20 and min(passed, refused, allowed, denied) > 0  # nobody tried: nothing is shown
    counted = f"{len(seen)} kills, worst {max(ack.took) * 1000:.0f} ms"
    return [
        Row(what=f"kill of a client with {HOLDERS} open leases, until acknowledged ({counted})", callers=1,
            p50=f"{ack.ms(50):.0f} ms", p99=f"{ack.ms(99):.0f} ms", aim="p99 <= 100 ms",
            held=enough and ack.ms(99) <= 100, note=f"could not be done: {dict(odd)}" if odd else ""),
        Row(what="from the command to the last read that still passed", p50=f"{last.ms(50):.0f} ms",
            p99=f"{last.ms(99):.0f} ms"),
        Row(what=f"reads passed after the acknowledgement ({passed:,} before, {refused:,} refused)", rate=str(reads),
            aim="0", held=enough and reads == 0),
        Row(what=f"permits given after the acknowledgement ({allowed:,} before, {denied:,} refused)", rate=str(permits),
            aim="0", held=enough and permits == 0),
    ]  # fmt: skip
