"""Kill one client with 200 open leases whose holders read all the time, while the broker is idle, saturated, stopped or
dead: until acknowledged, what still passed, and what the engines take for the same steps alone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from benchmarks.load import Run
from benchmarks.report import Row
from benchmarks.stage import PLATFORM, PROVIDER, Stage, identify
from byokeep.client.lease import HeldLease
from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, RateLimited, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, read_secret

HOLDERS = 200
JOBS = 8  # that they do
ASKING = 8  # of them ask for permits as well
CALLERS = 64  # that saturate the broker
KILLS = 21
LEAST = 6  # kills without which a state shows nothing
EVERY_S = 0.25  # between two reads of one holder
READS = 20  # of which each holder tells: more than its store token, which lives two seconds, is let make
AFTER_S = 0.5  # how long they go on trying after the acknowledgement; their store tokens live two seconds
LIFTED_WITHIN_S = 30.0
WITHIN_S = 40.0  # of all kills in one state of the broker; what is not done by then is left out
YIELDS = 5  # niceness of those who read and ask: they stand for other machines
STATES: Final = ("idle", "saturated", "stopped", "dead")
IDLE: Final = ("idle", "browsed")  # the second: people look at the console meanwhile, which its benchmark sees to


@dataclass(slots=True)
class Watched:
    """One kill as its victims saw it; moments of ``time.perf_counter``."""

    began: float = 0.0
    acknowledged: float = float("inf")
    bare: float = 0.0  # seconds that the engines take for the same steps, right after it
    passed: list[tuple[float, float]] = field(default_factory=list)  # begun, ended
    refused: int = 0
    reading: int = 0  # holders that had read within the last moments before it
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


async def kill(ready: Stage, states: Sequence[str] = STATES) -> list[Row]:
    client = ready.clients[-1]
    rows: list[Row] = []
    async with _killer(ready, client) as killer:
        for state in states:
            seen: list[Watched] = []
            began = time.perf_counter()
            try:
                while len(seen) < KILLS and time.perf_counter() - began < WITHIN_S:
                    seen.append(await _once(ready, client, state, killer))
                    await _lift(ready, client)
                rows += _rows(state, seen[1:] or seen)  # the first one warms up; alone it shows nothing (LEAST)
            except ByokeepError as error:  # not acknowledged in time, say: the other states may still be worth having
                rows.append(Row(what=f"kill, broker {state}", held=False, note=f"VOID: {error.code}"))
                await _lift(ready, client)
    await identify(ready, client)
    return rows


@asynccontextmanager
async def _broker(ready: Stage, state: str, saturating: Sequence[str]) -> AsyncIterator[None]:
    """Bring the broker into a state, and back; ``saturating``: jobs that ask for leases all the time."""
    stack, load = ready.scene.stack, list[asyncio.Task[None]]()
    pid = stack.pid("broker")
    if state == "saturated":
        load = [asyncio.create_task(_ask_leases(ready, job)) for job in saturating]
        await asyncio.sleep(EVERY_S)
    elif state not in IDLE:
        os.kill(pid, signal.SIGSTOP if state == "stopped" else signal.SIGKILL)
    try:
        yield
    finally:
        for one in load:
            one.cancel()
        await asyncio.gather(*load, return_exceptions=True)
        if state == "stopped":
            os.kill(pid, signal.SIGCONT)
        if state == "dead":
            await asyncio.sleep(0.3)
            stack._children["broker"].deaths = 0  # noqa: SLF001 - no pause grows: it was our doing
            stack._revive()  # noqa: SLF001 - as the supervisor's loop does, which does not run here
        await stack.ready()


async def _ask_leases(ready: Stage, job: str) -> None:
    while True:
        try:
            await ready.broker.call("POST", f"/v1/jobs/{job}/leases", ready.runner)
        except ByokeepError:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def _killer(ready: Stage, client: str) -> AsyncIterator[Any]:
    """Yield what kills a client in a process of its own, or takes the bare steps: when that began, and ended."""
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.killer", str(ready.scene.home), client, stdin=PIPE, stdout=PIPE
    )
    assert made.stdin is not None
    assert made.stdout is not None
    asking, said = made.stdin, made.stdout

    async def kills(what: str) -> tuple[float, float]:
        asking.write(f"{what}\n".encode())
        found = json.loads(await said.readline())
        if found["code"]:
            raise Unavailable(found["code"])
        return found["began"], found["ended"]

    try:
        yield kills
    finally:
        asking.close()
        await made.wait()


@contextmanager
def _yielding() -> Iterator[None]:
    """Let this process's loop come after those of the stack, where it may come back."""
    _niceness(YIELDS)
    try:
        yield
    finally:
        _niceness(0)


def _niceness(number: int) -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, number)
    with suppress(OSError):  # among sessions, between which the kernel shares time out first
        Path("/proc/self/autogroup").write_text(str(number))


async def _once(ready: Stage, client: str, state: str, killer: Any) -> Watched:
    watched = Watched()
    # Before anybody reads: a store token lives two seconds, and who reads no more shows nothing.
    saturating = await ready.jobs(CALLERS) if state == "saturated" else []
    gate = asyncio.Semaphore(8)

    async def job(_: int) -> str:
        async with gate:
            while True:
                with suppress(Unavailable):  # a busy machine; a job too many does no harm
                    return await ready.open_job(client, acts=True)

    async def hold(job_id: str) -> tuple[HeldLease, _Holder | None]:
        async with gate:
            return await _hold(ready, job_id)

    jobs = await asyncio.gather(*(job(number) for number in range(JOBS)))
    held = await asyncio.gather(*(hold(jobs[number % JOBS]) for number in range(HOLDERS)))
    holders = [one for _, one in held if one is not None]
    pollers = [asyncio.create_task(_poll(one, watched, number)) for number, one in enumerate(holders)]
    pollers += [asyncio.create_task(_ask(ready, one.lease.id, watched)) for one in holders[:ASKING]]
    await asyncio.sleep(EVERY_S)  # everybody has read at least once
    try:
        async with _broker(ready, state, saturating):
            with _yielding():
                watched.began, watched.acknowledged = await killer("kill")
                await asyncio.sleep(AFTER_S)
                began, ended = await killer("bare")
                watched.bare = ended - began
            await _stopped(pollers)
    finally:
        await _stopped(pollers)
        await asyncio.gather(*(lease.close() for lease, _ in held))
    watched.reading = sum(watched.began - 2 * EVERY_S < begun < watched.began for begun, _ in watched.passed) // 2
    return watched


async def _stopped(tasks: list[asyncio.Task[None]]) -> None:
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _hold(ready: Stage, job: str) -> tuple[HeldLease, _Holder | None]:
    """An open lease, and its holder with a token at the store; None where that took longer than a login may."""
    while True:
        lease = ready.lease(job)
        try:
            await lease.open()
        except (RateLimited, Unavailable):
            await lease.close()
            await asyncio.sleep(0.3)
            continue
        try:
            holder = _Holder(lease, *await lease.login(PROVIDER))
        except (RateLimited, Unavailable, Denied):
            return lease, None
        # Told at once, with the login: a lease's use is told once, and a second count of it looks like a stolen signer.
        for _ in range(READS):
            ready.broker.tally.attempt(lease.id, ready.runner, PROVIDER, 0.0)
        return lease, holder


async def _poll(one: _Holder, watched: Watched, number: int) -> None:
    lease_id = one.lease.id
    await asyncio.sleep(EVERY_S * number / HOLDERS)
    while True:
        begun = time.perf_counter()
        try:
            await read_secret(one.store, one.token, one.path, one.version, lease_id)
            watched.passed.append((begun, time.perf_counter()))
        except Denied:
            watched.refused += begun >= watched.acknowledged
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
    body, until = {"client_id": client, "reason": "bench"}, time.perf_counter() + LIFTED_WITHIN_S
    while True:
        # A busy machine: the store did not let them in within its time, or has not confirmed the cut yet.
        try:
            asked = await ready.scene.api("operator", "POST", "/v1/switches/open-requests", body=body)
            await ready.scene.api("approver", "POST", f"/v1/switches/open-requests/{asked['id']}/approve")
            return
        except (Unavailable, Conflict):
            if time.perf_counter() > until:
                raise
            await asyncio.sleep(0.2)


def _rows(state: str, seen: list[Watched]) -> list[Row]:
    ack = Run(1, took=[one.acknowledged - one.began for one in seen])
    bare = Run(1, took=[one.bare for one in seen])
    last = Run(1, took=[max((end for _, end in one.passed), default=one.began) - one.began for one in seen])
    reads, permits = sum(one.after(one.passed) for one in seen), sum(one.after(one.permits) for one in seen)
    passed, refused = sum(len(one.passed) for one in seen), sum(one.refused for one in seen)
    allowed, denied = sum(len(one.permits) for one in seen), sum(one.permits_refused for one in seen)
    odd = sum((one.odd for one in seen), Counter[str]())
    answers = state in (*IDLE, "saturated")  # a broker that does not answer denies no permit
    reading = sorted(one.reading for one in seen)[len(seen) // 2]
    enough = len(seen) >= LEAST and min(passed, refused, allowed, reading) > 0 and (denied > 0 or not answers)
    counted = f"{len(seen)} kills, {reading} of them reading, worst {max(ack.took) * 1000:.0f} ms"
    return [
        Row(what=f"kill of a client with {HOLDERS} open leases, broker {state}, until acknowledged ({counted})",
            callers=CALLERS if state == "saturated" else 1, p50=f"{ack.ms(50):.0f} ms", p99=f"{ack.ms(99):.0f} ms",
            ratio=f"{ack.ms(50) / bare.ms(50):.1f} of the engines' own steps", aim="p50 <= 50 ms, p99 <= 100 ms",
            held=enough and ack.ms(50) <= 50 and ack.ms(99) <= 100,
            note=f"could not be done: {dict(odd)}" if odd else ""),
        Row(what="the engines' own steps alone: commit, disable one entity, commit", p50=f"{bare.ms(50):.0f} ms",
            p99=f"{bare.ms(99):.0f} ms"),
        Row(what="from the command to the last read that still passed", p50=f"{last.ms(50):.0f} ms",
            p99=f"{last.ms(99):.0f} ms"),
        Row(what=f"reads passed after the acknowledgement ({passed:,} before, {refused:,} refused)", rate=str(reads),
            aim="0", held=enough and reads == 0),
        Row(what=f"permits given after the acknowledgement ({allowed:,} before, {denied:,} refused)", rate=str(permits),
            aim="0", held=enough and permits == 0),
    ]  # fmt: skip
