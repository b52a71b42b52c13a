"""Full disks under a real stack: nothing unrecorded happens, and what stops things still works."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from byokeep.core.errors import Pending, Unavailable
from tests.support.disk import filled, small_disk
from tests.support.stack import Work, World, environment, new_home, running_stack, until

BACK_WITHIN_S = 40.0


@dataclass(frozen=True)
class Site:
    """A stack with a client at work."""

    world: World
    client: str
    value: bytes

    def work(self) -> Work:
        """Jobs of that client, on and on."""
        return Work(self.world, self.client, "acme", self.value)


async def settle(world: World, disks: list[Path]) -> Site:
    client = await world.client()
    value = await world.onboard(client)
    await world.account(client, "acme")
    await until(lambda: all((disk / "reserve.bin").exists() for disk in disks), 20, "the reserves")
    return Site(world, client, value)


@pytest_asyncio.fixture(scope="module")
async def apart() -> AsyncIterator[Site]:
    """Database and store's logs each on a small disk of their own."""
    home = new_home()
    with ExitStack() as mounts:
        database = mounts.enter_context(small_disk(home / "postgres", 200))
        logs = mounts.enter_context(small_disk(home / "store-audit", 24, mode="0700"))
        async with running_stack(home, revive=True) as world:
            yield await settle(world, [home, database, logs])
    shutil.rmtree(home)


@pytest_asyncio.fixture(scope="module")
async def together() -> AsyncIterator[Site]:
    """Everything on one small disk, as ``byokeep up`` has it."""
    home = new_home()
    with small_disk(home, 400):
        async with running_stack(home, revive=True) as world:
            yield await settle(world, [home])
    shutil.rmtree(home)


async def stopped(site: Site, work: Work) -> None:
    """Nothing is served and nothing acts; whoever asks is told in time."""
    world = site.world
    await world.settled()
    since = time.monotonic()
    before, done, refused = await world.effects(), len(work.done), len(work.refused)
    code, took = await world.job_run(site.client)
    assert code == Unavailable.exit_code
    assert took < 15
    await until(lambda: len(work.refused) > refused, 15, "a job that was tried")
    assert not await world.reads(site.client, "openai", site.value)
    assert await world.effects() == before
    assert all(began < since for began in work.done[done:])  # one that had acted before may end meanwhile


async def killed(site: Site, client: str) -> None:
    """``byokeep kill on`` says done, and it is."""
    code, took, said = await site.world.cli("kill", "on", "--client", client)
    assert code == 0, said
    assert took < 12
    found = (await site.world.must("operator", "GET", "/v1/switches"))["switches"]
    assert [(one["closed"], one["store_cut_off"]) for one in found if one["client_id"] == client] == [(True, True)]


async def on_record(world: World, client: str, *events: str) -> None:
    """The client's log holds these events, each with success."""
    found = await world.must("auditor", "GET", f"/v1/audit?client_id={client}")
    seen = {(record["event"], record["outcome"]) for record in found["records"]}
    assert {(event, "ok") for event in events} <= seen


@pytest.mark.req("R8.2-3")
async def test_without_room_for_the_stores_log_nothing_is_served(apart: Site) -> None:
    """The store's logs can not grow: all is refused in time, kill works from the reserve, and it goes on when freed."""
    world, victim = apart.world, await apart.world.client()
    value = await world.onboard(victim, "kie")
    async with apart.work() as work:
        with filled(world.home / "store-audit"):
            await stopped(apart, work)
            health = await world.must("auditor", "GET", "/v1/audit/health")
            assert health["healthy"] is False
            await killed(apart, victim)
            await stopped(apart, work)
            assert {code for _, code in work.refused[-3:]} == {"disk_full"}
        await work.goes_on(BACK_WITHIN_S)
    assert not await world.reads(victim, "kie", value)
    await on_record(world, victim, "switch.closed", "switch.store_cut_off")
    await until((world.home / "store-audit" / "reserve.bin").exists, 20, "the reserve again")
    await world.sound(finding="device_torn")  # the gap is visible


async def test_a_full_database_disk_serves_only_what_it_can_record(apart: Site) -> None:
    """The database can not grow: whatever still acts is on record, kill works, and work goes on when freed."""
    world, victim = apart.world, await apart.world.client()
    value, before = await world.onboard(victim, "kie"), await world.effects()
    permits = await recorded_permits(world)
    async with apart.work() as work:
        with filled(world.home / "postgres"):
            await until(lambda: len(work.refused) > 10, 60, "a database without room")
            assert (await world.job_run(apart.client))[1] < 15
            await killed(apart, victim)
        await work.goes_on(BACK_WITHIN_S)
    effects = await world.effects() - before
    assert len(work.done) <= effects <= await recorded_permits(world) - permits
    assert not await world.reads(victim, "kie", value)
    await on_record(world, victim, "switch.closed", "switch.store_cut_off")
    await until((world.home / "postgres" / "reserve.bin").exists, 20, "the reserve again")
    await world.sound()


async def recorded_permits(world: World) -> int:
    """How many permits stand in the log."""
    return int(await world.sql("SELECT count(*) FROM byokeep.audit_record WHERE event = 'permit.issued'"))


async def test_on_a_full_disk_kill_and_revoke_work_and_are_recorded(together: Site) -> None:
    """Not a byte free anywhere: kill and revoke are done and recorded from the reserve, and no lease is given."""
    world = together.world
    victim, leaked = await world.client(), await world.client()
    value, bad = await world.onboard(victim, "kie"), await world.onboard(leaked, "kie")
    ref = (await world.must("operator", "GET", f"/v1/clients/{leaked}/refs"))["refs"][0]["id"]
    async with together.work() as work:
        with filled(world.home):
            await stopped(together, work)
            await killed(together, victim)
            words = ("key", "state", ref, "compromised", "--reason", "seen_in_chat")
            code, took, said = await world.cli(*words, token="operator")
            assert code == 0, said
            assert took < 12
            await stopped(together, work)
            assert not (world.home / "reserve.bin").exists()
            code, took, said = await world.cli("kill", "on", "--everything")
            assert code == 0, said
            assert took < 12
        found = (await world.must("operator", "GET", "/v1/switches"))["switches"]
        assert [(one["closed"], one["store_cut_off"]) for one in found if one["scope"] == "global"] == [(True, True)]
        request = await world.must("operator", "POST", "/v1/switches/open-requests", {"reason": "drill_over"})
        await world.must("approver", "POST", f"/v1/switches/open-requests/{request['id']}/approve")
        await work.goes_on(BACK_WITHIN_S)
    assert not await world.reads(victim, "kie", value)
    assert not await world.reads(leaked, "kie", bad)
    await on_record(world, victim, "switch.closed", "switch.store_cut_off")
    assert (await world.must("operator", "GET", f"/v1/refs/{ref}"))["state"] == "compromised"
    await until((world.home / "reserve.bin").exists, 20, "the reserve again")
    await world.sound()


async def down(world: World) -> None:
    """Use up the room that the database has set aside for itself, until it falls over and takes all sessions along."""
    with contextlib.suppress(Unavailable):
        while True:
            await world.sql("SELECT pg_logical_emit_message(true, 'filler', repeat('x', 1000000))")

    async def gone() -> bool:
        return (await world.ask("operator", "GET", "/v1/clients")).status == 503

    await until(gone, 20, "the end of the other sessions")


@pytest.mark.parametrize("first", ["revoke", "kill"])
async def test_what_stops_things_brings_back_a_database_that_fell_over(together: Site, first: str) -> None:
    """No room and the database down: the first act, whichever it is, is done and recorded, and nothing new starts."""
    world = together.world
    client = await world.client()
    value = await world.onboard(client, "kie")
    ref = (await world.must("operator", "GET", f"/v1/clients/{client}/refs"))["refs"][0]["id"]
    await until((world.home / "reserve.bin").exists, 20, "the reserve")
    with filled(world.home):
        await down(world)
        assert (await world.ask("operator", "GET", f"/v1/refs/{ref}")).status == 503
        if first == "kill":
            await killed(together, client)
        else:
            words = ("key", "state", ref, "compromised", "--reason", "seen_in_chat")
            code, took, said = await world.cli(*words, token="operator")
            assert code == 0, said
            assert took < 12
        assert not (world.home / "reserve.bin").exists()
        assert (await world.job_run(together.client))[0] == Unavailable.exit_code
    async with together.work() as work:
        await work.goes_on(BACK_WITHIN_S)
    assert not await world.reads(client, "kie", value)
    await on_record(world, client, "switch.closed" if first == "kill" else "key.state_changed")
    await until((world.home / "reserve.bin").exists, 20, "the reserve again")
    await world.sound()


async def test_a_panic_needs_neither_a_free_byte_nor_a_database(together: Site) -> None:
    """Not a byte free and the database out of reach: the store itself refuses the client, and another goes on. The
    switch follows when the database is back, and two people release it."""
    world = together.world
    client, other = await world.client(), await world.client()
    value, others = await world.onboard(client, "kie"), await world.onboard(other, "kie")
    assert await world.reads(client, "kie", value)
    await until((world.home / "reserve.bin").exists, 20, "the reserve")
    with filled(world.home), world.frozen("database"):
        code, _, said = await world.cli("kill", "panic", "--client", client)
        assert (code, b"The database was not told" in said) == (Pending.exit_code, True), said
    async with together.work() as work:
        await work.goes_on(BACK_WITHIN_S)

    async def engaged() -> bool:
        found = (await world.must("operator", "GET", "/v1/switches"))["switches"]
        return [(one["closed"], one["reason"]) for one in found if one["client_id"] == client] == [
            (True, "cut_off_unexplained")
        ]

    await until(engaged, 90, "the switch that follows the store")
    assert not await world.reads(client, "kie", value)
    assert await world.reads(other, "kie", others)
    asked = {"client_id": client, "reason": "panic_over"}
    request = await world.must("operator", "POST", "/v1/switches/open-requests", asked)
    await world.must("approver", "POST", f"/v1/switches/open-requests/{request['id']}/approve")
    assert await world.reads(client, "kie", value)
    await until((world.home / "reserve.bin").exists, 20, "the reserve again")


LOGGER = """
import sys
import time
from pathlib import Path
from byokeep.telemetry import log
place = Path(sys.argv[1])
log.configure("test", path=place / "test.log")
def write(count):
    for number in range(count):
        log.get_log().info("orphans_destroyed", count=number)
write(5)
with (place / "filler").open("ab", buffering=0) as file:
    for size in (4096, 1):
        try:
            while True:
                file.write(bytes(size))
        except OSError:
            pass
write(200)
lost = log.dropped_records
(place / "filler").unlink()
write(5)
print(lost)
"""


async def test_a_log_on_a_full_disk_loses_lines_and_not_the_work() -> None:
    """Who logs while the disk is full goes on; lost lines are counted, and later lines are whole again (G-17)."""
    home = new_home()
    with small_disk(home, 1):
        done = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LOGGER, str(home), stdout=asyncio.subprocess.PIPE, env=environment()
        )
        said, _ = await done.communicate()
        assert done.returncode == 0
        lines = (home / "test.log").read_bytes().splitlines()
    home.rmdir()
    assert 0 < int(said) <= 200
    torn = [line for line in lines if not line.endswith(b"}")]
    assert len(torn) <= 1
    assert len(lines) - len(torn) == 210 - int(said)
    assert [json.loads(line)["count"] for line in lines[-5:]] == [0, 1, 2, 3, 4]
