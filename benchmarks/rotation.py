"""Rotate a key of each provider, in the way that its provider has, while its jobs make 200 calls a second with it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from benchmarks.load import Run
from benchmarks.report import Row
from benchmarks.stage import Stage
from byokeep.adapters.providers.descriptor import DESCRIPTORS, place_names
from byokeep.adapters.providers.identify import resolve
from byokeep.client.lease import HeldLease
from byokeep.core.errors import ByokeepError, Denied
from byokeep.core.model import Provider
from byokeep.core.secret import Secret
from byokeep.demo import make_key
from byokeep_sim import SimKeyState

RATE: Final = 200  # calls a second
SLOTS: Final = 16  # jobs at a time
JOB_S: Final = 2.0  # after which a slot's job ends and another one begins
BASE_S: Final = 6.0  # of the same load without a rotation
WITHIN_S: Final = 90.0
ADMINISTERED: Final = ("openai", "google", "openrouter", "anthropic")
MINTED: Final = ("openrouter", "openai", "google")


@dataclass(slots=True)
class Seen:
    """What the callers of one client saw."""

    run: Run = field(default_factory=lambda: Run(SLOTS))
    paused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    gap: tuple[float, float] | None = None  # first and last refusal of a paused key

    def refused(self) -> None:
        now = time.perf_counter()
        self.paused, self.gap = self.paused + 1, (self.gap[0] if self.gap else now, now)


@dataclass(slots=True)
class Load:
    """The callers of one client's key, at a fixed rate."""

    ready: Stage
    client: str
    provider: str
    seen: Seen = field(default_factory=Seen)
    _held: list[tuple[float, str, HeldLease] | None] = field(default_factory=lambda: [None] * SLOTS)

    async def _lease(self, slot: int) -> HeldLease:
        held = self._held[slot]
        if held is not None and time.perf_counter() < held[0]:
            return held[2]
        await self._end(slot)
        body = {"client_id": self.client, "runner_id": self.ready.runner_id, "secrets": [self.provider], "ttl_s": 60}
        job = str((await self.ready.broker.call("POST", "/v1/jobs", self.ready.dispatcher, body))["id"])
        lease = HeldLease(self.ready.broker, self.ready.runner, UUID(job))
        self._held[slot] = (time.perf_counter() + JOB_S, job, lease)
        return lease

    async def _end(self, slot: int) -> None:
        held, self._held[slot] = self._held[slot], None
        if held is not None:
            await held[2].close()
            with suppress(ByokeepError):
                await self.ready.broker.call("POST", f"/v1/jobs/{held[1]}/close", self.ready.dispatcher)

    async def _call(self, slot: int, due: float) -> None:
        try:
            value = await (await self._lease(slot)).secret(self.provider)
            known = DESCRIPTORS[Provider(self.provider)]
            url, _ = resolve(known, self.ready.scene.sim.base_url(self.provider), allow_loopback=True)
            headers = {**known.extra_headers, known.auth_header: known.auth_prefix + value.reveal().decode()}
            async with self.ready.scene.http.get(url, headers=headers) as reply:
                await reply.read()
        except Denied as error:
            if error.code == "credential_not_usable":
                self.seen.refused()
                await self._end(slot)
                await asyncio.sleep(0.2)
            else:
                self.seen.failed[error.code] += 1
        except ByokeepError as error:
            self.seen.failed[error.code] += 1
        else:
            if reply.status == 200:
                self.seen.run.took.append(time.perf_counter() - due)
            else:
                self.seen.failed[str(reply.status)] += 1

    async def _slot(self, slot: int, over: asyncio.Event, began: float) -> None:
        due = began + slot / RATE
        while not over.is_set():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await self._call(slot, due)
            # What could not be begun in time is made up for, a second's worth at most.
            due = max(due + SLOTS / RATE, time.perf_counter() - 1.0)
        await self._end(slot)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[Seen]:
        """Call until the block ends; yields what is seen."""
        self.seen, over, began = Seen(), asyncio.Event(), time.perf_counter()
        tasks = [asyncio.create_task(self._slot(slot, over, began)) for slot in range(SLOTS)]
        try:
            yield self.seen
        finally:
            over.set()
            await asyncio.gather(*tasks)
            self.seen.run.seconds = time.perf_counter() - began


async def _paste(ready: Stage, name: str, provider: str, query: str = "") -> dict[str, Any]:
    key = await make_key(ready.scene, name, provider)
    path = f"/v1/clients/{ready.scene.clients[name]}/providers/{provider}/value{query}"
    try:
        return dict(await ready.scene.api("operator", "PUT", path, raw=key))
    finally:
        key.wipe()


async def _client(ready: Stage, provider: str) -> tuple[str, str]:
    """Make a client with a verified key; returns its name and the reference."""
    name = f"Rotated {provider}"
    made = await ready.scene.api("admin", "POST", "/v1/clients", body={"name": name, "risk": "standard"})
    ready.scene.clients[name] = client = str(made["id"])
    await ready.scene.api("admin", "POST", f"/v1/clients/{client}/enroll")
    first = await _paste(ready, name, provider)
    for _ in range(300):
        if (await ready.scene.api("operator", "GET", f"/v1/sops/{first['sop']}"))["state"] == "complete":
            break
        await asyncio.sleep(0.2)
    if provider in ADMINISTERED:
        admin = f"admin-{provider}-{client}"
        _known(ready, name, provider, admin, SimKeyState.MANAGEMENT)
        at = ",".join(f"{one}=byokeep" for one in place_names(DESCRIPTORS[provider]))
        path = f"/v1/clients/{client}/providers/{provider}/admin?at={at}"
        await ready.scene.api("operator", "PUT", path, raw=Secret(admin.encode()))
    return name, str(first["ref"])


def _known(ready: Stage, name: str, provider: str, key: str, state: SimKeyState) -> None:
    ready.scene.sim.book.keys.put(provider, key, state, f"{name}-{provider}")


async def _rotate(ready: Stage, name: str, provider: str, ref: str) -> None:
    """Rotate a key to its end, with what a person does where a provider has no call."""
    old = ready.scene.keys[name, provider].decode()
    body = {"mint": provider in MINTED, "skip_rehearsal": True, "old_ends": "now"}
    begun = await ready.scene.api("operator", "POST", f"/v1/refs/{ref}/rotations", body=body)
    if provider not in MINTED:
        if provider == "heygen":  # no job holds the old one any more, and the client's click makes the new one
            await asyncio.sleep(JOB_S + 1.5)
            _known(ready, name, provider, old, SimKeyState.REVOKED)
        await _paste(ready, name, provider)
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        found = await ready.scene.api("operator", "GET", f"/v1/rotations/{begun['id']}")
        if found["state"] == "complete":
            return
        if found["reason"] == "revoke_by_hand":
            _known(ready, name, provider, old, SimKeyState.REVOKED)
            path = f"/v1/rotations/{begun['id']}/resume"
            await ready.scene.api("operator", "POST", path, body={"accept": "revoke_by_hand"})
        await asyncio.sleep(0.3)
    raise SystemExit(f"the rotation at {provider} did not end: {found['state']} {found['reason']} {found['missing']}")


async def rotation(ready: Stage) -> list[Row]:
    """Return a row for each provider."""
    rows = []
    for provider in (*MINTED, "anthropic", "heygen", "kie"):
        name, ref = await _client(ready, provider)
        load = Load(ready, ready.scene.clients[name], provider)
        async with load.calling() as base:
            await asyncio.sleep(BASE_S)
        async with load.calling() as seen:
            await asyncio.sleep(1.0)
            await _rotate(ready, name, provider, ref)
            await asyncio.sleep(1.0)
        run, mode = seen.run, DESCRIPTORS[Provider(provider)].rotation.mode
        note = f"{len(run.took)} calls in {run.seconds:.0f} s, failed {sum(seen.failed.values())} {dict(seen.failed)}"
        if seen.gap is not None:
            note += f"; paused for {seen.gap[1] - seen.gap[0]:.1f} s, in which {seen.paused} jobs waited"
        if base.failed:
            note += f"; without a rotation {dict(base.failed)}"
        rows.append(
            Row(
                what=f"rotation under load, {provider} ({mode})",
                callers=SLOTS,
                p50=f"{run.ms(50):.1f} ms",
                p99=f"{run.ms(99):.1f} ms",
                rate=f"{run.per_second:,.0f}/s",
                aim="failed calls 0",
                ratio=f"{run.ms(50) / base.run.ms(50):.2f}, p99 {run.ms(99) / base.run.ms(99):.2f}",
                held=not seen.failed,
                note=note,
            )
        )  # fmt: skip
    return rows
