"""Effect permits over HTTP: issued with a new idempotency key each, then closed."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from benchmarks.load import Run, closed_loop
from benchmarks.report import Row, row_of
from benchmarks.stage import CLIENTS, PLATFORM, Stage

CALLERS = 16
TURN_S = 2.0
TURNS = 3
AIM = 400


async def permit(ready: Stage) -> list[Row]:
    rows = []
    jobs = await ready.jobs(CALLERS, acts=True)
    for clients in (CLIENTS, 1):
        if clients == 1:
            jobs = [await ready.open_job(ready.clients[0], acts=True) for _ in range(CALLERS)]
        issued, closed = await _measure(ready, jobs)
        over = f"{clients} clients" if clients > 1 else "one client"
        held = issued.per_second >= AIM if clients > 1 else None
        rows.append(row_of(f"permit issued, {over}", issued, aim=f">= {AIM}/s" if clients > 1 else "", held=held))
        rows.append(row_of(f"permit closed, {over}", closed))
    return rows


async def _measure(ready: Stage, jobs: list[str]) -> tuple[Run, Run]:
    held = [ready.lease(job) for job in jobs]
    leases = [await one.held() for one in held]
    open_permits: list[list[str]] = [[] for _ in jobs]

    async def issue(number: int) -> None:
        body = {"version": 1, "effect": "publish", "platform": PLATFORM, "account": "acme", "lane": "api",
                "idempotency_key": uuid4().hex}  # fmt: skip
        path = f"/v1/leases/{leases[number]}/permits"
        reply = await ready.broker.call("POST", path, ready.runner, body)
        open_permits[number].append(reply["permit_id"])

    issued, closed = Run(len(jobs)), Run(len(jobs))
    await closed_loop(issue, callers=len(jobs), seconds=0.5)
    for _ in range(TURNS):
        issued.add(await closed_loop(issue, callers=len(jobs), seconds=TURN_S, pids=ready.pids))
        closed.add(await _close_all(ready, open_permits))
    await asyncio.gather(*(one.close() for one in held))
    return issued, closed


async def _close_all(ready: Stage, open_permits: list[list[str]]) -> Run:
    """Close every permit, so that none becomes unknown and makes work for the sweep in the next turn."""
    run = Run(len(open_permits))
    began = time.perf_counter()

    async def caller(mine: list[str]) -> None:
        while mine:
            start = time.perf_counter()
            await ready.broker.call("POST", f"/v1/permits/{mine.pop()}/close", ready.runner, {"outcome": "done"})
            run.took.append(time.perf_counter() - start)

    await asyncio.gather(*(caller(mine) for mine in open_permits))
    run.seconds = time.perf_counter() - began
    return run
