"""A lease and its first secret, and the same three steps at the bare store; then the secret again."""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import Iterator
from contextlib import suppress

from benchmarks.load import Act, Run, in_turns
from benchmarks.report import Row, row_of
from benchmarks.stage import CLIENTS, PROVIDER, Stage
from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp, lease_login, read_secret

TURN_S = 2.0
TURNS = 3


class Bare:
    """Transit sign, JWT login, KV read with the broker's own identity and no broker.

    What is signed are the claims of a real lease, taken anew each second: the store's log stays explicable, so that
    the broker's own reconciliation finds nothing to do because of this.
    """

    def __init__(self, ready: Stage, address: str, job: str) -> None:
        self.http = BaoHttp(address)
        self._login = AppRoleLogin(self.http, ready.scene.home / "credentials" / "broker.approle")
        self._ready, self._job = ready, job

    async def renew(self) -> None:
        reply = await self._ready.broker.call("POST", f"/v1/jobs/{self._job}/leases", self._ready.runner)
        self._claims = reply["jwt"].rpartition(".")[0]
        self._lease, self._role = reply["lease_id"], reply["store"]["roles"][PROVIDER]
        self._path, self._version = (reply["secrets"][PROVIDER][name] for name in ("path", "version"))

    async def keep_new(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await self.renew()

    async def act(self, _: int) -> None:
        claims, lease = self._claims, self._lease
        body = {"input": base64.b64encode(claims.encode()).decode(), "key_version": 1}
        signed = (await self._login.request("POST", "transit/sign/leases", body=body)).data["signature"]
        signature = base64.b64decode(signed.rpartition(":")[2])
        jwt = Secret(f"{claims}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}")
        token = await lease_login(self.http, jwt, self._role, lease_id=lease)
        await read_secret(self.http, token, self._path, self._version, lease)


async def lease(ready: Stage) -> list[Row]:
    rows = []
    for callers in (1, 16):
        jobs = await ready.jobs(max(callers, CLIENTS))
        turns = itertools.cycle(range(len(jobs)))  # one caller alone would pass the limit of one client's leases
        reply = await ready.broker.call("POST", f"/v1/jobs/{jobs[0]}/leases", ready.runner)
        bare = Bare(ready, reply["store"]["address"], jobs[0])
        await bare.renew()
        renewing = asyncio.create_task(bare.keep_new())

        async def broker_only(_: int, jobs: list[str] = jobs, turns: Iterator[int] = turns) -> None:
            await ready.broker.call("POST", f"/v1/jobs/{jobs[next(turns)]}/leases", ready.runner)

        async def ours(_: int, jobs: list[str] = jobs, turns: Iterator[int] = turns) -> None:
            held = ready.lease(jobs[next(turns)])
            try:
                await held.secret(PROVIDER)
            finally:
                await held.close()

        try:
            acts: dict[str, Act] = {"raw": bare.act, "ours": ours, "broker": broker_only}
            runs = await in_turns(acts, callers=callers, seconds=TURN_S, turns=TURNS, pids=ready.pids)
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing
            await bare.http.close()
        rows += _rows(runs)
    return rows


def _rows(runs: dict[str, Run]) -> list[Row]:
    raw, ours = runs["raw"], runs["ours"]
    rate, median = ours.per_second / raw.per_second, ours.ms(50) / raw.ms(50)
    return [
        row_of("OpenBao alone: sign, login, read", raw),
        row_of(
            "lease and first secret through the SDK", ours, ratio=f"{rate:.2f}x rate, {median:.2f}x p50",
            aim=">= 0.7x rate, <= 2x p50", held=rate >= 0.7 and median <= 2,
        ),
        row_of("of which the broker's answer", runs["broker"]),
    ]  # fmt: skip


async def repeat(ready: Stage) -> list[Row]:
    job = (await ready.jobs(1))[0]
    best = float("inf")
    async with ready.scene.keep() as keep, keep.attach(job) as work:
        await work.secret(PROVIDER)
        for _ in range(10):
            began = time.perf_counter()
            for _ in range(20_000):
                await work.secret(PROVIDER)
            best = min(best, (time.perf_counter() - began) / 20_000)
            await asyncio.sleep(0.02)
    micro = best * 1e6
    return [Row(what="the same secret again, inside the lease", callers=1, p50=f"{micro:.2f} us",
                rate=f"{1 / best:,.0f}/s", aim="<= 5 us", held=micro <= 5)]  # fmt: skip
