"""kill -9 of the worker in the middle of rotations: real OpenBao and PostgreSQL, keys at the simulated provider.

After each death a job gets a key that works, what byokeep says of the rotation is so, and in the end the provider's
list holds one live key.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from byokeep.adapters.postgres.database import build_app
from byokeep.adapters.providers.descriptor import DESCRIPTORS
from byokeep.core.model import ClientId, Provider
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.kernel import procedures
from byokeep.keys.onboard import sweep_orphans
from byokeep.wire.bao_http import BaoHttp, lease_login, read_secret
from byokeep.worker.tasks import take_up_again
from byokeep_sim import SimKeyState
from tests.support.web import Desk

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]
ROOT = Path(__file__).parents[2]
CI_SEED, CI_KILLS, CAMPAIGN_KILLS = 20_261_128, 5, 500
PROVIDER = "openrouter"
STEPS = ("create", "verify", "rehearse", "cutover", "soak", "revoke", "prove_dead", "destroy")
LEAKED = ("revoke", "verify", "cutover", "serve", "prove_dead", "destroy")


@dataclass
class Storm:
    """One client's key at a provider that issues keys, and a worker that dies."""

    desk: Desk
    client: UUID
    ref: str
    serves: bytes
    worker: asyncio.subprocess.Process
    dice: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    whole_s: float = 1.0

    @property
    def place(self) -> SecretRef:
        return SecretRef(ClientId(self.client), Provider(PROVIDER))

    def state(self, value: bytes) -> str:
        found = self.desk.sim.book.keys.find(PROVIDER, value.decode())
        return "unknown" if found is None else str(found.state)

    def alive(self) -> int:
        return sum(one.state == "valid" for one in self.desk.sim.book.keys.of_account(PROVIDER, "acme"))

    async def work(self, **asked: Any) -> bool:
        """Let a worker live; returns whether it was killed. Its tasks are given to the next one, as after a minute."""
        assert self.worker.stdin is not None
        assert self.worker.stdout is not None
        self.worker.stdin.write(json.dumps(asked).encode() + b"\n")
        said = json.loads(await self.worker.stdout.readline())
        assert said["end"] in ("ended", "killed"), said
        queue = build_app(self.desk.stand.db.url("byokeep_worker"))
        async with queue.open_async():
            self.desk.sql("UPDATE procrastinate.procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")
            await take_up_again(queue)
        await sweep_orphans(self.desk.worker, older_than_s=0)
        # The round of each minute looks at runs that are as old: whoever died before it woke the run is made up for.
        self.desk.sql(
            "UPDATE byokeep.procedure_run SET started_at = started_at - interval '1 minute' WHERE procedure ~ '^rotate'"
        )
        await procedures.go_on(self.desk.worker)
        self.desk.sql("UPDATE procrastinate.procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo'")
        if said["end"] == "ended" and not asked:
            self.whole_s = max(self.whole_s, said["took_s"])
        return bool(said["end"] == "killed")

    async def job_reads(self) -> tuple[int, bytes] | None:
        """The version and value that a new job reads; None: it is refused the key."""
        job = await self.desk.stand.job(self.client, secrets=[PROVIDER])
        status, lease = await self.desk.stand.call("POST", f"/v1/jobs/{job}/leases", "runner")
        found = None
        if status == 201:
            pin, role = lease["secrets"][PROVIDER], lease["store"]["roles"][PROVIDER]
            async with BaoHttp(lease["store"]["address"]) as store:
                token = await lease_login(store, Secret(lease["jwt"]), role, lease_id=lease["lease_id"])
                value = await read_secret(store, token, pin["path"], pin["version"], lease["lease_id"])
            found = pin["version"], value.reveal()
        else:
            assert lease["code"] == "credential_not_usable", lease
        assert (await self.desk.stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher"))[0] == 200
        # A revocation waits for the jobs that were given the old one, with five seconds for the difference of clocks.
        self.desk.sql("UPDATE byokeep.lease SET issued_at = issued_at - interval '1 hour'")
        return found

    async def look(self, run: str) -> dict[str, Any]:
        """Hold what is said of a rotation against the store, the provider and a job; returns what is said."""
        status, found = await self.desk.call("GET", f"/v1/rotations/{run}", "operator")
        assert status == 200, found
        done, read = [one["step"] for one in found["steps"]], await self.job_reads()
        leaked = "stop" in done + found["missing"]
        if "cutover" not in done and not leaked:
            assert read == (found["from_version"], self.serves), done
            assert self.state(self.serves) == "valid", done
        elif leaked and "cutover" not in done:
            assert read is None, done
        elif leaked and "serve" not in done and read is None:  # or it died before that was on record
            pass
        else:
            assert read is not None, done
            assert read[0] == found["version"], done
            assert self.state(read[1]) == "valid", done
        if "revoke" in done:
            assert self.state(self.serves) == "revoked", done
        if found["state"] == "complete":
            assert found["missing"] == []
            assert read is not None
            assert self.alive() == 1
            assert await self.desk.web.intake.live_versions(self.place) == [read[0]]
        return dict(found)

    async def begin(self, kind: str) -> str:
        """Begin a rotation; returns its id."""
        body = {"mint": kind == "minted", "skip_rehearsal": True, "old_ends": "now", "leaked": kind == "leaked"}
        status, begun = await self.desk.call("POST", f"/v1/refs/{self.ref}/rotations", "operator", body)
        assert status == 201, begun
        if kind == "pasted":
            await self.paste()
        return str(begun["id"])

    async def paste(self) -> None:
        status, reply = await self.desk.put(self.client, self.desk.canary(PROVIDER), PROVIDER)
        assert status == 202, reply

    async def rotate(self, kind: str, deaths: list[dict[str, Any]]) -> None:
        """One whole rotation in which workers die, each at its moment."""
        run, left = await self.begin(kind), list(deaths)
        for _ in range(len(deaths) + 20):
            asked = left.pop(0) if left else {}
            if await self.work(**asked):
                self.kills[asked.get("stage", "chance")] += 1
            found = await self.look(run)
            if found["state"] == "complete":
                break
            if kind == "leaked" and found["missing"][0] == "create" and found["waits_for"] == "person":
                await self.paste()
            elif found["waits_for"] == "person":
                raise AssertionError(found)
        assert found["state"] == "complete", found
        read = await self.job_reads()
        assert read is not None
        self.serves = read[1]


@asynccontextmanager
async def storm(desk: Desk, seed: int) -> AsyncIterator[Storm]:
    client, value = await desk.stand.client(), desk.canary(PROVIDER)
    first = await desk.onboard(client, value, PROVIDER)
    admin = f"admin-{PROVIDER}-{client.hex}"
    desk.sim.book.keys.put(PROVIDER, admin, SimKeyState.MANAGEMENT, "acme")
    path = f"/v1/clients/{client}/providers/{PROVIDER}/admin?at="
    assert (await desk.call("PUT", path, "operator", raw=admin.encode()))[0] == 201
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.rotation_worker", stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip
    assert worker.stdin is not None
    assert worker.stdout is not None
    said = {
        "installation": str(desk.web.installation_id), "home": str(desk.stand.home), "broker": desk.stand.url,
        "token": desk.people["custodian"].token, "database": desk.stand.db.url("byokeep_worker"),
        "vendors": {name: desk.sim.base_url(name) for name in DESCRIPTORS},
    }  # fmt: skip
    worker.stdin.write(json.dumps(said).encode() + b"\n")
    assert await worker.stdout.readline() == b"go\n"
    try:
        yield Storm(desk, client, first["ref"], value, worker, random.Random(seed))
    finally:
        worker.stdin.close()
        await worker.wait()


@pytest.mark.req("R6.2-9", "R11.3-3")
async def test_a_worker_that_dies_in_the_middle_of_a_rotation(desk: Desk) -> None:
    """At a few moments of chance, and around the records of the steps that change something outside."""
    async with storm(desk, CI_SEED) as made:
        around = [{"when": when, "stage": stage} for stage in ("create", "cutover") for when in ("before", "after")]
        await made.rotate("minted", around)
        await made.rotate("pasted", [{"life_s": made.dice.uniform(0.05, 0.8)} for _ in range(CI_KILLS)])
        assert made.kills["create"] == made.kills["cutover"] == 2


@pytest.mark.campaign
@pytest.mark.timeout(14_400)
async def test_five_hundred_deaths_lose_no_key(desk: Desk) -> None:
    """Before and after the record of every step of every kind, and at five hundred moments of chance."""
    seed = int(os.environ.get("BYOKEEP_TEST_SEED", "0")) or random.SystemRandom().randrange(2**32)
    wanted, began = int(os.environ.get("BYOKEEP_TEST_KILLS", CAMPAIGN_KILLS)), time.monotonic()
    sys.stdout.write(f"seed {seed}\n")
    async with storm(desk, seed) as made:
        rotations = 0
        for kind, names in (("minted", STEPS), ("pasted", STEPS[1:]), ("leaked", LEAKED)):
            await made.rotate(kind, [])  # how long a whole one takes
            await made.rotate(kind, [{"when": when, "stage": name} for name in names for when in ("before", "after")])
            rotations += 2
        assert all(made.kills[name] >= 2 for name in {*STEPS, *LEAKED}), made.kills
        while made.kills["chance"] < wanted:
            lives = [{"life_s": made.dice.uniform(0.0, made.whole_s / 4)} for _ in range(10)]
            await made.rotate(made.dice.choice(["minted", "pasted", "leaked"]), lives)
            rotations += 1
            sys.stdout.write(f"{dict(made.kills)} in {rotations} rotations, {time.monotonic() - began:.0f} s\n")
            sys.stdout.flush()
