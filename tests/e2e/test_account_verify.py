"""`byokeep account verify` and what follows a loss, on a real stack: what each exit code says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.cli import Shell
from tests.support.owner import Owner
from tests.support.ports import free_port
from tests.support.stack import World, running_stack

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with running_stack() as made:
        yield made


@pytest.fixture
async def owner(world: World) -> AsyncIterator[Owner]:
    async with aiohttp.ClientSession() as http:
        yield Owner(world, Shell(world.home), http, free_port())


async def test_a_look_that_found_nothing_out_is_a_failure(owner: Owner) -> None:
    """0 for a match, also of a token that had to be renewed first; 4 when nobody could tell, with the reason; 6 when
    the grant is lost, whatever was true before. Each says what comes next."""
    client = await owner.world.client()
    await owner.prepare("x")
    ran, _ = await owner.connect(client, "x")
    assert ran.code == 0, ran.said
    assert f"Waiting at 127.0.0.1:{owner.port} until " in ran.err
    assert f"account lane {client} x acme api" in ran.err
    assert "canary" not in ran.err
    words = ("account", "verify", client, "x", "acme")
    assert (await owner.run(*words)).code == 0
    await owner.tell("faults", provider="x", kind="status", match={"call": "identity"}, status=503)
    down = await owner.run(*words)
    assert (down.code, "transient" in down.out, "counts as failed" in down.err) == (4, True, True), down.said
    await owner.tell("grants", platform="x", event="access_expired", account="acme")
    renewed = await owner.run(*words)
    assert (renewed.code, "match" in renewed.out) == (0, True), renewed.said
    await owner.tell("grants", platform="x", event="revoked", account="acme")
    lost = await owner.run(*words)
    assert (lost.code, "needs_reauth" in lost.out) == (6, True), lost.said
    assert "log in again" in lost.err
    assert f"account connect {client} x acme" in lost.err
