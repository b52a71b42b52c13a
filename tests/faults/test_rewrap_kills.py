"""kill -9 in the middle of a rewrap, again and again: nothing is unreadable, nothing is lost, it ends by itself."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import sys
import time
from collections.abc import AsyncIterator

import pytest

from byokeep.core.ref import ProfileRef
from byokeep.profiles import kek, kek_tasks
from tests.support.broker import Stand
from tests.support.forks import stopped
from tests.support.keks import Keys, keys_on

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
CI_KILLS, CAMPAIGN_KILLS = 6, 100
CI_SEED = 20261125
GENERATIONS = 2


@pytest.fixture
async def keys(stand: Stand) -> AsyncIterator[Keys]:
    async with keys_on(stand) as made:
        yield made


def _killed(said: dict[str, str], after: int, then_s: float) -> bool:
    """Start a worker and kill it ``then_s`` after it moved ``after`` profiles; whether it was still at it. Blocking."""
    with stopped("tests.support.rewrap_worker", json.dumps(said).encode()) as printed:
        assert printed.readline().strip() == b"go"
        for _ in range(after):
            printed.readline()
        time.sleep(then_s)
        os.set_blocking(printed.fileno(), False)
        printed.read()  # perhaps something was said meanwhile
        return printed.read() is None  # nothing yet, and not the end


async def _storm(keys: Keys, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    client = await keys.client()
    async with keys.custody(client) as custody:
        profiles = await keys.profiles(custody, client, max(12, kills), generations=GENERATIONS)
    blobs = keys.sql("SELECT blob_key, blob_sha256, dek_id FROM byokeep.profile_generation ORDER BY 1")
    rotation = await kek_tasks.rotate(keys.app, keys.person(), client, expected=1, reason="scheduled")
    assert rotation is not None
    said = {
        "database": keys.stand.db.url("byokeep_worker"), "broker": keys.stand.url, "client": str(client),
        "token": str(keys.stand.home / "custodian.token"), "installation": str(keys.app.installation_id),
        "artifacts": str(keys.stand.home / "artifacts"), "rotation": str(rotation.id),
    }  # fmt: skip
    sys.stdout.write(f"seed {seed}\n")
    hits = 0
    for _ in range(kills):
        moved, then_s = chance.randint(0, 1), chance.uniform(0.0, 0.05)
        hits += await asyncio.to_thread(_killed, said, moved, then_s)
        async with keys.custody(client) as custody:
            for profile in chance.sample(profiles, 6):
                for generation in range(1, GENERATIONS + 1):
                    assert await keys.opens(custody, client, profile, generation), (seed, profile)
        if keys.sql("SELECT state FROM byokeep.kek_rotation") == "done":
            break
    sys.stdout.write(f"{hits} kills found a worker at work\n")
    assert hits >= min(kills, 3), f"seed {seed}: {hits} kills found a worker at work"
    for _ in range(len(profiles)):
        await kek_tasks.rewrap(keys.app, keys.system, rotation.id, client)
    total = len(profiles) * GENERATIONS
    assert keys.sql("SELECT state, moved FROM byokeep.kek_rotation") == f"done|{total}", seed
    assert keys.sql("SELECT count(*) FROM byokeep.profile_generation WHERE kek_version = 2") == str(total)
    assert len(keys.stand.events("kek.rewrapped", "ok")) == total
    assert blobs == keys.sql("SELECT blob_key, blob_sha256, dek_id FROM byokeep.profile_generation ORDER BY 1")
    assert keys.stand.alerts() == []
    keys.sql("UPDATE byokeep.kek_rotation SET ended_at = now() - interval '16 minutes'")
    found = await kek_tasks.check_places(keys.app, keys.system, client)
    assert {one.finding for one in found} == {kek.BLOB_MISSING}, "these profiles have no blobs"
    async with keys.custody(client) as custody:
        for profile in profiles:
            assert len(await custody.live_versions(ProfileRef(client, profile))) == GENERATIONS, (seed, profile)
            for generation in range(1, GENERATIONS + 1):
                assert await keys.opens(custody, client, profile, generation), (seed, profile)
    assert await kek_tasks.check(keys.app, keys.system, client) == ()


@pytest.mark.req("R6.1-8")
async def test_kills_in_the_middle_of_a_rewrap(keys: Keys) -> None:
    """Six kills: every profile opens after each, every key moves exactly once on record, and blobs are untouched."""
    await _storm(keys, CI_KILLS, int(os.environ.get("FAULT_SEED", "0")) or CI_SEED)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
async def test_campaign_of_kills_in_the_middle_of_a_rewrap(keys: Keys) -> None:
    """A hundred kills at moments of a new seed, which a failure names."""
    await _storm(keys, CAMPAIGN_KILLS, int(os.environ.get("FAULT_SEED", "0")) or secrets.randbits(32))
