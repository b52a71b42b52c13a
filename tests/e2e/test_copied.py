"""A stack that was copied: it comes up closed, renews nothing and hands out nothing until two people open it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from byokeep.core.errors import Conflict, Denied
from byokeep.settings import load
from byokeep_sim import start
from tests.support.cli import Shell
from tests.support.owner import Owner
from tests.support.ports import free_port
from tests.support.stack import ForkedStack, World, configure, new_home, until

pytestmark = pytest.mark.timeout(600)
TOKEN_CALL = "/2/oauth2/token"


def post() -> str:
    """An idempotency key."""
    return f"post-{uuid4()}"


def copy(home: Path, to: Path) -> None:
    """What a backup and its restoration do."""
    subprocess.run(["cp", "-a", str(home), str(to)], check=True, timeout=120)


@asynccontextmanager
async def up(world: World, home: Path) -> AsyncIterator[World]:
    """A stack of this home, stopped in the end, with the people and vendors of another."""
    stack = ForkedStack(load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0"))
    try:
        await stack.start()
        yield replace(world, home=home, stack=stack)
    finally:
        await stack.stop()


@asynccontextmanager
async def vendors(home: Path) -> AsyncIterator[World]:
    """A home that nothing runs in yet, and everything around it."""
    sim = await start()
    configure(home, sim)
    try:
        async with aiohttp.ClientSession() as http:
            yield World(home, None, sim, http)  # type: ignore[arg-type]  # each stack is started by the test
    finally:
        await sim.stop()


async def token_calls(world: World) -> int:
    """How often the simulated platform was asked for tokens."""
    async with world.http.get(f"{world.sim.url}/_sim/requests") as reply:
        seen: Any = await reply.json()
    return sum(1 for one in seen["requests"] if one["path"].endswith(TOKEN_CALL))


async def due(world: World) -> None:
    await world.sql("UPDATE byokeep.account_grant SET due_at = clock_timestamp() - interval '1 minute', tries = 0")


async def renewed(world: World, before: int) -> None:
    """A grant that is due is renewed."""
    await due(world)

    async def asked() -> bool:
        return await token_calls(world) > before

    await until(asked, 30, "a renewal")


async def everything_open(world: World, *, closed: bool) -> dict[str, Any]:
    """What the global switch says, which must be this."""
    switches = (await world.must("admin", "GET", "/v1/switches"))["switches"]
    found: dict[str, Any] = next(one for one in switches if one["scope"] == "global")
    assert found["closed"] is closed, found
    return found


async def comes_up_closed(world: World, client: str, value: bytes) -> None:
    """No lease, no permit, no renewal; an alert; the record says why."""
    found = await everything_open(world, closed=True)
    assert found["reason"] == "installation_copied"
    assert "installation_copied" in await world.alerts()
    before, effects = await token_calls(world), await world.effects()
    await due(world)
    with pytest.raises(Denied, match="switch_closed"):
        await world.act(client, "shop", post(), expected=value)
    await asyncio.sleep(8)  # the refresher looks each second
    assert (await token_calls(world), await world.effects()) == (before, effects)

    async def cut_off() -> bool:
        return bool((await everything_open(world, closed=True))["store_cut_off"])

    await until(cut_off, 20, "the store's own refusal")


async def opened_by_two(world: World) -> None:
    """One person asks, the same may not approve, another does."""
    asked = await world.must("operator", "POST", "/v1/switches/open-requests", {"reason": "original_is_gone"})
    place = f"/v1/switches/open-requests/{asked['id']}/approve"
    assert (await world.ask("operator", "POST", place)).status == 403
    await everything_open(world, closed=True)
    await world.must("approver", "POST", place)
    await everything_open(world, closed=False)


async def test_a_copy_comes_up_closed_and_its_original_does_not() -> None:
    """Restarts, also after kill -9 of database and store, are no copies. At another path nothing
    starts, and it is said why; at the same one a copy is closed, also at its second start, until two people open it;
    then it works."""
    home = new_home()
    elsewhere, away = home.with_name(f"{home.name}-copy"), home.with_name(f"{home.name}-away")
    try:
        async with vendors(home) as around:
            async with up(around, home) as world:
                await world.people()
                client = await world.client()
                value = await world.onboard(client)
                await world.account(client, "shop")
                owner = Owner(world, Shell(home), world.http, free_port())
                await owner.prepare("x")
                ran, _ = await owner.connect(client, "x")
                assert ran.code == 0, ran.said
                await everything_open(world, closed=False)
                for part in ("database", "store"):
                    os.kill(world.stack.pid(part), signal.SIGKILL)
            async with up(world, home) as world:
                await everything_open(world, closed=False)
                await world.act(client, "shop", post(), expected=value)
                await renewed(world, await token_calls(world))
                await until(lambda: settled(world), 30, "the end of the renewal")
                assert "installation_copied" not in await world.alerts()
            before = await token_calls(around)
            copy(home, elsewhere)
            for _ in range(2):  # the store's audit devices name their path; the refusal itself changes nothing
                with pytest.raises(Conflict, match="home_was_elsewhere"):
                    async with up(around, elsewhere):
                        pass
            free = {f"BYOKEEP_{name}_LISTEN": "127.0.0.1:0" for name in ("WEB", "BROKER")}
            ran = await Shell(elsewhere, loaded=True).run("up", **free)
            assert (ran.code, "home_was_elsewhere" in ran.said) == (Conflict.exit_code, True), ran.said
            assert "Move it there" in ran.said
            assert not list(elsewhere.glob("*/data/postmaster.pid"))
            assert (elsewhere / "openbao" / "config.hcl").read_text() == (home / "openbao" / "config.hcl").read_text()
            assert await token_calls(around) == before
            home.rename(away)
            copy(away, home)
            for _ in range(2):  # the second start is of a home that was bound to its new place, and is as closed
                async with up(world, home) as world:
                    await comes_up_closed(world, client, value)
            async with up(world, home) as world:
                await everything_open(world, closed=True)
                await opened_by_two(world)
                await world.act(client, "shop", post(), expected=value)
                await renewed(world, await token_calls(world))
            async with up(world, home) as world:
                await everything_open(world, closed=False)
                await world.act(client, "shop", post(), expected=value)
            shutil.rmtree(home)
            away.rename(home)  # the original itself, moved within its disk and back
            async with up(world, home) as world:
                await everything_open(world, closed=False)
    finally:
        for place in (home, elsewhere, away):
            shutil.rmtree(place, ignore_errors=True)


async def settled(world: World) -> bool:
    """Whether no renewal is under way."""
    return await world.sql("SELECT count(*) FROM byokeep.account_grant WHERE due_at < clock_timestamp()") == "0"
