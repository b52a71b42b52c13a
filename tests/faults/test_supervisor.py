"""The supervisor itself: one stack a home, and several homes side by side."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator

import pytest

from byokeep.core.errors import Conflict
from byokeep.processes.supervisor import Stack
from tests.support.cli import Shell
from tests.support.stack import World, lives, running_stack


@pytest.fixture(scope="module")
async def one() -> AsyncIterator[World]:
    before = os.umask(0o002)  # as most systems give it to ordinary users
    try:
        async with running_stack() as made:
            os.umask(before)
            yield made
    finally:
        os.umask(before)


async def test_nobody_else_may_write_what_the_parts_and_people_are_led_by(one: World) -> None:
    """Whatever the umask: a file that a group may write would lead elsewhere; the parts themselves refuse it."""
    for name in ("run-settings.toml", "stack.json"):
        assert (one.home / name).stat().st_mode & 0o022 == 0, name


async def test_a_second_start_on_a_home_is_refused_and_changes_nothing(one: World) -> None:
    """The second ``up`` names the pid of the first and touches nothing; the first goes on."""
    before, files = dict(one.stack.pids), sorted(one.home.iterdir())
    told = (one.home / "stack.json").read_bytes()
    ran = await Shell(one.home, loaded=True).run("up")
    assert ran.code == Conflict.exit_code
    assert "already_running" in ran.said
    assert str(os.getpid()) in ran.said
    again = Stack(one.stack.settings)
    with contextlib.suppress(Conflict):
        await again.start()
        raise AssertionError("a second stack started")
    assert one.stack.pids == before
    assert all(lives(pid) for pid in before.values())
    assert (sorted(one.home.iterdir()), (one.home / "stack.json").read_bytes()) == (files, told)
    assert (await one.ask("operator", "GET", "/v1/switches")).status == 200


async def test_two_homes_work_side_by_side(one: World) -> None:
    """Two stacks at once: each serves its own, knows nothing of the other, and outlives the other's end."""
    client = await one.client()
    value = await one.onboard(client)
    async with running_stack() as two:
        assert not set(one.stack.pids.values()) & set(two.stack.pids.values())
        other = await two.client()
        theirs = await two.onboard(other)
        mine, yours = await asyncio.gather(
            one.reads(client, "openai", value), two.reads(other, "openai", theirs)
        )  # fmt: skip
        assert mine
        assert yours
        assert not await two.reads(client, "openai", value)
        stranger = two.tokens | {"operator": one.tokens["operator"]}
        two.tokens, kept = stranger, two.tokens
        assert (await two.ask("operator", "GET", "/v1/switches")).status == 401
        two.tokens = kept
    began = time.monotonic()
    assert await one.reads(client, "openai", value)
    assert time.monotonic() - began < 10  # less than one that has to try again
