"""One part of a real stack taken away at a time, under work: nothing acts, nothing hangs, work goes on by itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from uuid import uuid4

import pytest
import pytest_asyncio

from byokeep.client.job import Job
from byokeep.core.errors import Unavailable
from byokeep.http.request import READY_WITHIN_S
from byokeep.wire.address import parse_address
from byokeep.wire.transport import MOST_TOLD, Transport
from tests.support.stack import Answer, Work, World, running_stack, supervised, until

JOB_WITHIN_S = 15.0
API_WITHIN_S = 8.0
NAMES = ("broker", "web", "killswitch")
WAITED_S = 3.0  # by a load balancer, or the doctor
# What a person may try meanwhile, and what surely needs the part.
CALLS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "store": (
        ("auditor", "POST", "/v1/audit/verify"),
        ("auditor", "POST", "/v1/audit/checkpoint"),
        ("auditor", "GET", "/v1/leaks/fingerprints"),
    ),
    "database": (
        ("operator", "GET", "/v1/inventory"),
        ("operator", "GET", "/v1/switches"),
        ("auditor", "GET", "/v1/leaks/fingerprints"),
    ),
    "broker": (("operator", "POST", "/v1/switches/open-requests"), ("auditor", "GET", "/v1/audit/health")),
}


class Site:
    """A stack with one client at work."""

    def __init__(self, world: World, client: str, value: bytes) -> None:
        self.world, self.client, self.value = world, client, value

    def work(self) -> Work:
        """Jobs of that client, on and on."""
        return Work(self.world, self.client, "acme", self.value)


@pytest_asyncio.fixture(scope="module")
async def site() -> AsyncIterator[Site]:
    async with running_stack() as world:
        client = await world.client()
        value = await world.onboard(client)
        await world.account(client, "acme")
        yield Site(world, client, value)


@asynccontextmanager
async def outage(world: World, part: str, how: str) -> AsyncIterator[None]:
    """Take a part away, and bring it back the way it comes back by itself."""
    if how == "hung":
        with world.frozen(part):
            yield
        return
    if part == "broker":
        pid = world.stack.pid("broker")
        os.kill(pid, signal.SIGTERM)
        await until(lambda: world.stack._children["broker"].process.poll() is not None, 15, "the broker's end")
    else:
        await world.stack.stop_part(part)
    try:
        yield
    finally:
        async with supervised(world):
            await until(lambda: answers(world), 30, f"{part} back")


async def answers(world: World) -> bool:
    """Whether web, broker, database and store all answer."""
    for call in (*CALLS["store"][1:], *CALLS["database"]):
        if (await world.ask(*call)).status not in (200, 201):
            return False
    return True


@pytest.mark.req("R1.5-3")
@pytest.mark.parametrize("how", ["stopped", "hung"])
@pytest.mark.parametrize("part", ["store", "database", "broker"])
async def test_without_a_part_nothing_acts_and_nothing_hangs(site: Site, part: str, how: str) -> None:
    """Stopped or hung, under work: no effect, exit code 4, 503 in time, and afterwards work goes on by itself."""
    world, first = site.world, await site.world.effects()
    other, stopped = await world.client(), await world.client()
    await world.must("operator", "POST", "/v1/switches/close", {"client_id": stopped, "reason": "drill"})
    value = await world.new_key("kie")
    async with site.work() as work, held(site) if part == "store" else nullcontext() as job:
        async with outage(world, part, how):
            if job is not None:
                await serves_nothing(job)
            if part != "broker":
                await each_says_so(world, part)
            await world.settled()
            since = time.monotonic()
            before, done, refused = await world.effects(), len(work.done), len(work.refused)
            (code, took), *answered = await asyncio.gather(
                world.job_run(site.client), *(world.ask(*call) for call in CALLS[part]),
                *([world.put(other, "kie", value)] if part != "broker" else []),
            )  # fmt: skip
            assert code == Unavailable.exit_code
            assert took < JOB_WITHIN_S
            assert [answer.status for answer in answered] == [503] * len(answered)
            assert max(answer.took_s for answer in answered) < API_WITHIN_S
            if part == "broker":  # the kill process tells
                told = await world.ask("operator", "GET", "/v1/switches")
                assert (told.status, told.took_s < API_WITHIN_S) == (200, True)
                assert stopped in [one["client_id"] for one in told.document["switches"] if one["closed"]]
            await until(lambda: len(work.refused) > refused, JOB_WITHIN_S, "a job that was tried")
            assert await world.effects() == before, "an effect without the part"
            # One that had acted before may end meanwhile; none that began without the part did anything.
            assert all(began < since for began in work.done[done:])
        if job is not None:
            await until(lambda: serves(job, site.value), 15, "the job goes on by itself")
        await work.goes_on()
    assert len(work.done) <= await world.effects() - first <= len(work.done) + len(work.refused) + 2
    assert (await world.job_run(site.client))[0] == 0
    async with supervised(world):  # a worker that lost its queue ends, and is started again
        again = await taken(world, other)
        assert again.document["version"] == 1, "what failed left something behind"
        await until(lambda: world.complete(again.document["sop"]), 40, "the worker goes on")
        await until(lambda: all_ready(world), 30, "each is ready again by itself")
    await until(lambda: told_over(world), 15, "who sees the end closes the alerts of the outage")
    await world.sound()


async def taken(world: World, client: str) -> Answer:
    """Hand in a key, again and again while the store is not proved to record yet: the next probe opens the intake."""
    value, answers = await world.new_key("kie"), []

    async def no_longer_closed() -> bool:
        answers.append(await world.put(client, "kie", value))
        return answers[-1].code != "store_not_recording"

    await until(no_longer_closed, 15, "the intake opens by itself")
    assert answers[-1].status == 202, answers[-1].code
    return answers[-1]


@asynccontextmanager
async def held(site: Site) -> AsyncIterator[Job]:
    """A job that has its secret and knows whose account it acts for."""
    keep = site.world.keep()
    async with keep, keep.job(client=site.client, secrets=["openai"], platforms=["x"], effects=["publish"]) as job:
        assert (await job.secret("openai")).matches(site.value)
        async with site.world.http.get(f"{site.world.sim.platform_url}/x/acme/identity") as reply:
            assert await job.identify("x", "acme", await reply.json()) == "match"
        yield job


async def serves_nothing(job: Job) -> None:
    """Fetched before the store went: seconds later the value is not served, and no permit is given."""
    await until(lambda: not job.lease.holds, 15, "the end of the lease's life")
    with pytest.raises(Unavailable):
        await job.secret("openai")
    with pytest.raises(Unavailable, match="store_unreachable"):
        async with job.effect("publish", platform="x", account="acme", key=f"post-{uuid4()}"):
            pytest.fail("a permit without the store")


async def told_over(world: World) -> bool:
    """Whether no alert says any longer that the store is away."""
    return not {"store_unreachable", "store_not_recording"} & await world.alerts()


async def serves(job: Job, value: bytes) -> bool:
    """Whether the job gets its secret."""
    try:
        return (await job.secret("openai")).matches(value)
    except Unavailable:
        return False


async def said_of_itself(world: World, name: str) -> tuple[int, str, float]:
    """Status, the part that is to blame, and the seconds that the answer took; nothing but its own deadline ends it."""
    url = {"broker": world.stack.broker_url, "web": world.stack.web_url, "killswitch": world.stack.killswitch_url}[name]
    socket, url = parse_address(url, f"http://{name}", "bad_address", "insecure_address")
    began = time.monotonic()
    async with Transport(socket) as http:
        status, body, _ = await http.exchange("GET", f"{url}/readyz", headers={}, within=30.0, most=MOST_TOLD)
    return status, json.loads(body).get("part", ""), time.monotonic() - began


async def each_says_so(world: World, part: str) -> None:
    """Each process names what is dead or deaf, within the 3 s that its callers wait."""
    assert WAITED_S > READY_WITHIN_S
    for name in NAMES:
        looks = [await said_of_itself(world, name) for _ in range(3)]
        assert {(status, blamed) for status, blamed, _ in looks} == {(503, part)}
        assert min(took for *_, took in looks) < WAITED_S, "the fastest of three: this machine may be busy"


async def all_ready(world: World) -> bool:
    """Whether each process says that it is ready."""
    return {(await said_of_itself(world, name))[0] for name in NAMES} == {200}


@pytest.mark.req("S-VAULT-2")
async def test_a_hung_audit_device_is_counted_as_failed(site: Site) -> None:
    """With a store that accepts and never answers, health says hung within its deadline and a kill still holds."""
    world = site.world
    client = await world.client()
    value = await world.onboard(client)
    with world.frozen("store"):
        health = await world.ask("auditor", "GET", "/v1/audit/health")
        assert health.status == 200
        assert health.took_s < API_WITHIN_S
        assert health.document["healthy"] is False
        assert [device["reason"] for device in health.document["devices"]] == ["hung", "hung"]
        killed = await world.ask("operator", "POST", "/v1/switches/close", {"client_id": client, "reason": "drill"})
        assert (killed.status, killed.code) == (503, "store_cut_off_pending")
        assert killed.document["type"] == "urn:byokeep:problem:pending", "told apart from a kill that does not hold"
        assert killed.took_s < 5
    assert not await world.reads(client, "openai", value)

    async def cut_off() -> bool:
        found = (await world.must("operator", "GET", "/v1/switches"))["switches"]
        return any(switch["client_id"] == client and switch["store_cut_off"] for switch in found)

    await until(cut_off, 10, "the cut-off, by itself")
    assert (await world.must("auditor", "GET", "/v1/audit/health"))["healthy"] is True
    # Leases stay shut until the store's next probe, a second later: only then is a refusal the kill's own.
    await until(lambda: world.reads(site.client, "openai", site.value), 10, "leases again, by themselves")
    assert not await world.reads(client, "openai", value)


APPEND = "FUNCTION byokeep.audit_append(uuid, text, uuid, uuid, uuid, text, bytea)"
WRITERS = "byokeep_web, byokeep_broker, byokeep_worker, byokeep_killswitch"
REFUSALS = {
    "not_allowed": (f"REVOKE EXECUTE ON {APPEND} FROM {WRITERS}", f"GRANT EXECUTE ON {APPEND} TO {WRITERS}"),
    "broken": (
        "ALTER TABLE byokeep.audit_head ADD CONSTRAINT drill CHECK (false) NOT VALID",
        "ALTER TABLE byokeep.audit_head DROP CONSTRAINT drill",
    ),
}


@pytest.mark.req("R1.4-3")
@pytest.mark.parametrize("why", sorted(REFUSALS))
async def test_what_can_not_be_recorded_does_not_happen(site: Site, why: str) -> None:
    """While the audit takes nothing: no value is read, no version written, no effect, no switch, no success."""
    world = site.world
    client = await world.client()
    refuse, allow = REFUSALS[why]
    async with site.work() as work:
        await world.sql(refuse)
        try:
            await world.settled()
            since = time.monotonic()
            before, done = await world.effects(), len(work.done)
            put = await world.put(client, "kie", await world.new_key("kie"))
            made = await world.ask("admin", "POST", "/v1/clients", {"name": "Nobody", "risk": "standard"})
            killed = await world.ask("operator", "POST", "/v1/switches/close", {"client_id": client, "reason": "drill"})
            code, _ = await world.job_run(site.client)
            assert [answer.status >= 400 for answer in (put, made, killed)] == [True] * 3
            assert code in (2, 3, 4)
            assert not await world.reads(site.client, "openai", site.value)
            assert await world.effects() == before
            assert all(began < since for began in work.done[done:])  # one that had acted before may end meanwhile
        finally:
            await world.sql(allow)
        await work.goes_on()
    again = await world.put(client, "kie", await world.new_key("kie"))
    assert (again.status, again.document["version"]) == (202, 1), "a version was written without a record"
    names = [one["name"] for one in (await world.must("operator", "GET", "/v1/clients"))["clients"]]
    assert "Nobody" not in names
    await world.sound()


@pytest.mark.req("R8.2-2")
async def test_a_log_replaced_under_the_store_is_an_alert_within_a_minute(site: Site) -> None:
    """One of two device files swapped for an empty one: health says so at once, people are told, service goes on."""
    world = site.world
    log = world.home / "store-audit" / "store-audit-b" / "audit-b.jsonl"
    aside = log.with_suffix(".aside")
    healthy = await world.must("auditor", "GET", "/v1/audit/health")
    assert healthy["healthy"] is True
    assert all(device["last_write_at"] and device["size_bytes"] for device in healthy["devices"])
    log.rename(aside)
    log.touch(mode=0o600)
    try:
        health = await world.must("auditor", "GET", "/v1/audit/health")
        assert health["healthy"] is False
        assert {one["name"]: one["reason"] for one in health["devices"]} == {"a": "", "b": "inode_changed"}

        async def told() -> bool:
            return "audit_device_unhealthy" in await world.alerts()

        await until(told, 60, "an alert")
        assert await world.reads(site.client, "openai", site.value)
        log.unlink()
        gone = await world.must("auditor", "GET", "/v1/audit/health")
        assert {one["name"]: one["reason"] for one in gone["devices"]} == {"a": "", "b": "missing"}
        assert await world.reads(site.client, "openai", site.value)
    finally:
        aside.rename(log)
    assert (await world.must("auditor", "GET", "/v1/audit/health"))["healthy"] is True
