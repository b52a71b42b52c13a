"""kill -9, again and again: what was acknowledged is there, what was not is explained, nothing happened twice."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from byokeep.adapters.openbao.login import log_in
from byokeep.adapters.openbao.provisioning import generate_root
from byokeep.core.errors import ByokeepError, Pending, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import BaoHttp
from tests.support.cli import Shell
from tests.support.stack import World, running_stack, until
from tests.support.storm import Storm

CI_KILLS, CAMPAIGN_KILLS = 6, 200  # each part once
CI_SWITCHES, CAMPAIGN_SWITCHES = 4, 200
CI_SEED = 20261125
CI_PAUSE_S = 0.15


@pytest_asyncio.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with running_stack(revive=True) as made:
        yield made


def seed_of_campaign() -> int:
    """A new one each time, unless a run is to be repeated."""
    return int(os.environ.get("FAULT_SEED", "0")) or secrets.randbits(32)


async def settled(world: World, storm: Storm) -> None:
    """Every acknowledged key gets verified and serves: where its worker was killed a person asks again."""
    left = list(storm.ledger.refs.values())
    deadline, asked = time.monotonic() + 120 + len(left), 0.0
    while left:
        found = [(ref, await world.must("operator", "GET", f"/v1/refs/{ref}")) for ref in left]
        left = [ref for ref, shown in found if shown["verification"] != "verified" or shown["candidate"]]
        assert time.monotonic() < deadline, await stuck(world, left)
        if time.monotonic() - asked > 30:
            for ref in left:
                answer = await world.ask("operator", "POST", f"/v1/refs/{ref}/verify")
                assert answer.status in (202, 503), (ref, answer.status, answer.code)  # 503: and later once more
            asked = time.monotonic()
        await asyncio.sleep(1)


async def stuck(world: World, refs: list[str]) -> str:
    """What is known of keys that do not get verified."""
    names = ", ".join(f"'{ref}'" for ref in refs)
    columns = "object_id, facts, state, reason, evidence, started_at"
    where = f"object_id IN ({names}) ORDER BY started_at"
    rows = await world.sql(f"SELECT {columns} FROM byokeep.procedure_run WHERE {where}")  # noqa: S608
    tasks = await world.sql("SELECT task_name, status, attempts, args FROM procrastinate.procrastinate_jobs")
    return f"{rows}\n{tasks}"


async def nothing_lost(world: World, storm: Storm) -> None:
    """Every acknowledged value is read byte for byte, and every acknowledged effect happened."""
    assert storm.ledger.values
    for (client, provider), value in storm.ledger.values.items():
        if (client, provider) not in storm.ledger.open:  # a newer value, not acknowledged, may stand there
            assert await world.reads(client, provider, value), (client, provider)
    assert storm.ledger.effects
    assert [key for key in storm.ledger.effects if storm.acted[key] != 1] == []


async def nothing_unexplained(world: World, storm: Storm) -> None:
    """No effect twice; no version in the store that neither a reference nor an announced write explains."""
    assert [key for key, count in storm.acted.items() if count > 1] == []
    inventory = await world.must("operator", "GET", "/v1/inventory")
    assert inventory["result"] != "unknown"
    assert {item["store"] for item in inventory["items"]} <= {"present"}
    for orphan in inventory["orphans"]:
        place = (orphan["client_id"], orphan["provider"])
        assert place in storm.ledger.abandoned | storm.ledger.open, "a version out of nothing"
        announced = await world.sql(
            f"SELECT count(*) FROM byokeep.procedure_run WHERE client_id = '{place[0]}'"  # noqa: S608
            f" AND facts ->> 'provider' = '{place[1]}' AND (state = 'running' OR reason LIKE 'cut_off%')"
        )
        assert int(announced) > 0, "the sweep would not find it"
    await world.sound()


async def storm_over(world: World, kills: int, seed: int, pause_s: float = 0.0) -> Storm:
    storm = Storm(world, seed, pause_s=pause_s)
    async with storm.work():
        await storm.kill(kills)
    acknowledged = f"{len(storm.ledger.values)} keys, {len(storm.ledger.effects)} effects"
    sys.stdout.write(f"kills {storm.kills.total()} {dict(storm.kills)}; acknowledged: {acknowledged}\n")
    assert storm.kills.total() >= kills
    assert set(storm.kills) == {"store", "database", "broker", "web", "worker", "client"}
    await settled(world, storm)
    await nothing_lost(world, storm)
    await nothing_unexplained(world, storm)
    return storm


@pytest.mark.timeout(300)
@pytest.mark.req("S-ASVS-5", "R1.4-3")
async def test_kills_lose_nothing_that_was_acknowledged(world: World) -> None:
    """Random kills of every part under work: no key lost, no effect twice, no version or login unexplained."""
    await storm_over(world, CI_KILLS, CI_SEED, CI_PAUSE_S)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
async def test_two_hundred_kills_lose_nothing(world: World) -> None:
    """The same with 200 kills, and afterwards the sweep has destroyed what nobody came back for."""
    await storm_over(world, CAMPAIGN_KILLS, seed_of_campaign())

    async def swept() -> bool:
        return not (await world.must("operator", "GET", "/v1/inventory"))["orphans"]

    await until(swept, 300, "orphans destroyed")


EVERYTHING_EACH = 20  # kills, of which one, the third, is of everything; two people release that again
STRUCK = ("killswitch", "broker", "database", "store")


async def closed_after_kills(world: World, count: int, seed: int) -> None:
    """Close a client's switch, or that of everything, kill right after the acknowledgement, look after the restart."""
    chance = random.Random(seed)
    sys.stdout.write(f"seed {seed}, {count} kills\n")
    clients = [await world.client() for _ in range(count)]
    assert await refusal(world, clients[0]) == "missing_credential", "nothing would be shown"
    for number, client in enumerate(clients):
        everything = number % EVERYTHING_EACH == 2
        scope = {} if everything else {"client_id": client}
        killed = await acknowledged(world, scope)
        part = chance.choice(STRUCK) if number >= len(STRUCK) else STRUCK[number]
        struck = world.stack.pid(part)
        with suppress(ProcessLookupError):  # the death of another has just ended it
            os.kill(struck, signal.SIGKILL)
        assert killed.status == 200, killed.code
        assert killed.document["store_cut_off"] is True
        for child in world.stack._children.values():
            child.deaths = 0
        # What it left behind on a busy machine may answer once more.
        await until(partial(again, world, part, struck), 60, f"another {part}")
        await until(lambda: answers(world), 60, "everything back")
        assert await refusal(world, client) == "switch_closed"
        if everything:
            assert await disabled(world, clients) == count
            await until(lambda: released(world), 60, "the release of everything")
            assert await refusal(world, client) == "missing_credential"
            assert (await acknowledged(world, {"client_id": client})).status == 200
    found = (await world.must("operator", "GET", "/v1/switches"))["switches"]
    closed = {one["client_id"] for one in found if one["closed"] and one["store_cut_off"]}
    assert set(clients) <= closed
    assert await disabled(world, clients) == count


def again(world: World, part: str, struck: int) -> bool:
    """Whether a part runs as another process than the one that was struck."""
    return world.stack.pid(part) not in (0, struck)


async def acknowledged(world: World, scope: dict[str, str]) -> Any:
    """Kill; of everything once more where a busy store did not confirm hundreds of clients in time."""
    for _ in range(20):
        killed = await world.ask("operator", "POST", "/v1/switches/close", scope | {"reason": "drill"})
        if scope or killed.code != "store_cut_off_pending":
            break
    return killed


async def released(world: World) -> bool:
    """Let two people release everything; False while the store has not confirmed the kill, or a part comes back."""
    asked = await world.ask("operator", "POST", "/v1/switches/open-requests", {"reason": "drill_over"})
    if asked.status != 201:
        return False
    path = f"/v1/switches/open-requests/{asked.document['id']}/approve"
    return (await world.ask("approver", "POST", path)).status == 200


async def refusal(world: World, client: str) -> str:
    """The code with which a job for this client is refused; empty when it is not.

    Asked until something answers: a database that was killed may still serve one caller, and then nobody.
    """
    for _ in range(60):
        try:
            async with world.keep() as keep, keep.job(client=client, secrets=["openai"]):
                return ""
        except Unavailable:
            await asyncio.sleep(0.5)
        except ByokeepError as error:
            return error.code
    return "unavailable"


async def answers(world: World) -> bool:
    reply = await world.ask("auditor", "POST", "/v1/audit/checkpoint", within_s=3)
    return reply.status == 200


async def disabled(world: World, clients: list[str]) -> int:
    """How many of the clients' entities the store itself has disabled; asked as root, from the recovery key."""
    home = world.home
    key = (home / "keys" / "recovery.key").read_bytes().strip()
    count = 0
    async with BaoHttp(f"unix://{home}/openbao/bao.sock") as http:
        provisioner, _ = await log_in(http, home / "credentials" / "provisioner.approle")
        root = await generate_root(http, provisioner, [Secret(key)])
        for client in clients:
            entity = await world.sql(f"SELECT entity_id FROM byokeep.client WHERE id = '{client}'")  # noqa: S608
            reply = await http.request("GET", f"identity/entity/id/{entity}", token=root)
            count += reply.data["disabled"] is True
        await http.request("POST", "auth/token/revoke-self", token=root)
    return count


@pytest.mark.timeout(300)
async def test_a_kill_right_after_the_kill_switch_leaves_it_closed(world: World) -> None:
    """Each part once: acknowledged, then kill -9; after the restart it is closed, here and in the store."""
    await closed_after_kills(world, CI_SWITCHES, CI_SEED)


@pytest.mark.timeout(300)
async def test_a_kill_needs_no_broker_and_no_web(world: World) -> None:
    """Acknowledged, and refused by the store, while broker and `web` are stopped, and when the broker is dead; of other
    clients nothing is stopped."""
    shell, token = Shell(world.home), world.token_file("operator")
    clients = [await world.client() for _ in range(3)]
    broker = world.stack.pid("broker")
    os.kill(broker, signal.SIGSTOP)
    try:
        killed = await world.ask("operator", "POST", "/v1/switches/close", {"client_id": clients[0], "reason": "drill"})
        assert (killed.status, killed.document["store_cut_off"]) == (200, True), killed.code
        os.kill(world.stack.pid("web"), signal.SIGSTOP)
        try:
            words = ("kill", "on", "--client", clients[1], "--reason", "drill", "--json")
            ran = await shell.run(*words, token=token)
            assert (ran.code, ran.document["store_cut_off"]) == (0, True), ran.said
            assert await disabled(world, clients) == 2
        finally:
            os.kill(world.stack.pid("web"), signal.SIGCONT)
    finally:
        os.kill(broker, signal.SIGCONT)
    os.kill(broker, signal.SIGKILL)
    killed = await world.ask("operator", "POST", "/v1/switches/close", {"client_id": clients[1], "reason": "drill"})
    assert (killed.status, killed.document["epoch"]) == (200, 2), killed.code  # idempotent
    await until(lambda: answers(world), 60, "everything back")
    assert [await refusal(world, client) for client in clients] == ["switch_closed"] * 2 + ["missing_credential"]


CLOSED_FOR_ALL = (
    "SELECT count(*) FROM byokeep.audit_record WHERE event = 'switch.closed'"
    """ AND convert_from(payload, 'UTF8') LIKE '%"scope":"global"%'"""
)


@pytest.mark.timeout(300)
async def test_a_panic_of_everything_needs_no_database(world: World) -> None:
    """With the database out of reach no name is known, which is said; the store refuses everybody. When it is back the
    switch of everything is engaged, on record and with an alert, and two people release it."""
    client, _ = await world.client("Panic Ltd"), await world.client()
    value = await world.onboard(client, "kie")
    assert await world.reads(client, "kie", value)
    before = int(await world.sql(CLOSED_FOR_ALL))
    with world.frozen("database"):
        code, _, said = await world.cli("kill", "panic", "--client", "Panic Ltd")
        assert (code, b"give the client's id" in b" ".join(said.split())) == (Unavailable.exit_code, True), said
        code, _, said = await world.cli("kill", "panic", "--everything")
        assert (code, b"The database was not told" in said) == (Pending.exit_code, True), said
    await until(lambda: answers(world), 60, "everything back")

    async def engaged() -> bool:
        told = await world.ask("operator", "GET", "/v1/switches")  # a session from before may first be found dead
        found = told.document["switches"] if told.status == 200 else []
        return [one["closed"] for one in found if one["scope"] == "global"] == [True]

    await until(engaged, 90, "the switch that follows the store")
    assert not await world.reads(client, "kie", value)
    await until(lambda: told_of(world, "kill_panic"), 30, "the alert")
    assert int(await world.sql(CLOSED_FOR_ALL)) == before + 1
    asked = {"reason": "panic_over"}
    request = await world.must("operator", "POST", "/v1/switches/open-requests", asked)
    await world.must("approver", "POST", f"/v1/switches/open-requests/{request['id']}/approve")
    assert await world.reads(client, "kie", value)


async def told_of(world: World, reason: str) -> bool:
    return reason in await world.alerts()


@pytest.mark.campaign
@pytest.mark.timeout(3600)
async def test_two_hundred_kills_right_after_the_kill_switch(world: World) -> None:
    """The same two hundred times."""
    await closed_after_kills(world, CAMPAIGN_SWITCHES, seed_of_campaign())
