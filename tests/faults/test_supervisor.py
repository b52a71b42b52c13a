"""The supervisor itself: one stack a home, several homes side by side, and nothing left behind when it is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from byokeep.core.errors import Conflict
from byokeep.processes.supervisor import Stack
from tests.support.cli import Shell
from tests.support.stack import environment, family, lives, new_home, running_stack, until

PARTS = {"store", "database", "broker", "killswitch", "web", "worker", "refresher"}


@asynccontextmanager
async def empty_home() -> AsyncIterator[Path]:
    home = new_home()
    (home / "config.toml").write_text('web_listen = "127.0.0.1:0"\nbroker_listen = "127.0.0.1:0"\n')
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def up(home: Path) -> subprocess.Popen[bytes]:
    """``byokeep up`` as an operator starts it."""
    command = [sys.executable, "-m", "byokeep.cli", "up", "--home", str(home), "--json"]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


async def ready(home: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait until the stack answers; returns what it says of itself."""
    place = home / "stack.json"

    def there() -> bool:
        assert process.poll() is None, "it ended by itself"
        return place.exists() and json.loads(place.read_text())["supervisor_pid"] == process.pid

    await until(there, 40, "byokeep up")
    found: dict[str, Any] = json.loads(place.read_text())
    return found


async def ended(process: subprocess.Popen[bytes], number: int, below: list[int]) -> int:
    """Send a signal; wait until the process and everything below it is gone; returns its exit code."""
    process.send_signal(number)
    await until(lambda: process.poll() is not None, 30, "the supervisor's end")
    await until(lambda: not [pid for pid in below if lives(pid)], 60, "the end of its children")
    if process.stderr is not None:
        process.stderr.close()
    return process.returncode


async def test_a_killed_supervisor_takes_all_with_it_and_starts_cleanly_again() -> None:
    """kill -9 of ``byokeep up``: every process of the home ends by itself, and the next start needs no help."""
    async with empty_home() as home:
        first = up(home)
        stack = await ready(home, first)
        assert set(stack["pids"]) == PARTS
        below = [pid for part in stack["pids"].values() for pid in family(part)]
        assert len(below) > len(PARTS)
        assert await ended(first, signal.SIGKILL, below) == -signal.SIGKILL
        second = up(home)
        again = await ready(home, second)
        assert not set(again["pids"].values()) & set(below)
        below = [pid for part in again["pids"].values() for pid in family(part)]
        assert await ended(second, signal.SIGTERM, below) == 0
        assert not (home / "stack.json").exists()


async def test_a_second_start_on_a_home_is_refused_and_changes_nothing() -> None:
    """The second ``up`` names the pid of the first and touches nothing; the first goes on."""
    async with running_stack() as world:
        before, files = dict(world.stack.pids), sorted(world.home.iterdir())
        told = (world.home / "stack.json").read_bytes()
        ran = await Shell(world.home).run("up")
        assert ran.code == Conflict.exit_code
        assert "already_running" in ran.said
        assert str(os.getpid()) in ran.said
        again = Stack(world.stack.settings)
        with contextlib.suppress(Conflict):
            await again.start()
            raise AssertionError("a second stack started")
        assert world.stack.pids == before
        assert all(lives(pid) for pid in before.values())
        assert (sorted(world.home.iterdir()), (world.home / "stack.json").read_bytes()) == (files, told)
        assert (await world.ask("operator", "GET", "/v1/switches")).status == 200


async def test_two_homes_work_side_by_side() -> None:
    """Two stacks at once: each serves its own, knows nothing of the other, and outlives the other's end."""
    async with running_stack() as one:
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
