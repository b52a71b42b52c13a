"""A month compressed into minutes, with faults of chance: nothing lost, nothing done while killed, the disk bounded."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from pathlib import Path

import pytest

from tests.support.soak import KEEPS, KINDS, Soak, soak

CI_SEED, CI_ACCOUNTS, CI_FAULTS = 20_261_130, 4, ("engaged", "kill", "provider", "clock", "full")
# Taken out of the environment: what begins with BYOKEEP_ there is a setting of the stack.
USUAL = {"ACCOUNTS": 500, "DAYS": 30, "FAULTS": 200}
ACCOUNTS, DAYS, FAULTS = (int(os.environ.pop(f"BYOKEEP_TEST_{name}", usual)) for name, usual in USUAL.items())


async def month(place: Path, seed: int, accounts: int, days: int, faults: int = 0) -> None:
    async with soak(seed, accounts, place) as made:
        kinds = [made.dice.choice(KINDS) for _ in range(faults)] or CI_FAULTS
        await made.month(days, kinds)
        assert made.faults.total() == len(kinds)
        assert made.renewals >= accounts * days
        await made.nothing_lost()
        await made.world.sound()
        read = await asyncio.to_thread(made.swept, whole=faults > 0)
        assert read > 10
        bounded(made)
        what = (
            f"{made.renewals} renewals, {made.backups} backups, {len(made.work.done)} jobs done, {made.tried} refused"
        )
        faults_of = f"{dict(made.faults)} (killed {dict(made.made.kills)})"
        sys.stdout.write(
            f"seed {seed}: {accounts} accounts, {days} days, {faults_of}: {what} under kills, {read} swept\n"
        )


def bounded(made: Soak) -> None:
    """What is there for a while goes again; what stays for ever grows with what was done and no faster."""
    now, half = made.sizes[-1], made.sizes[len(made.sizes) // 2]
    assert len([*made.settings.path("backup_dir").glob("*.age")]) <= KEEPS + 1
    assert now.get("slots", 0) < 6 << 20  # sixteen replies of renewals at once
    assert now.get("slots", 0) + now.get("copies", 0) < made.room_mb << 20
    for name, size in now.items():
        assert size < 2 * half.get(name, 0) + (32 << 20), (name, half.get(name, 0), size)


@pytest.mark.timeout(300)
async def test_a_few_days_with_faults_lose_nothing(tmp_path: Path) -> None:
    """Two days of four accounts with five faults: every secret is there, no effect while killed, the chains verify."""
    await month(tmp_path, CI_SEED, CI_ACCOUNTS, 2)


@pytest.mark.campaign
@pytest.mark.timeout(7200)
async def test_a_month_with_two_hundred_faults_loses_nothing(tmp_path: Path) -> None:
    """The same of 500 accounts and 30 days; BYOKEEP_TEST_ACCOUNTS, _DAYS and _FAULTS make it smaller."""
    await month(tmp_path, int(os.environ.get("FAULT_SEED", "0")) or secrets.randbits(32), ACCOUNTS, DAYS, FAULTS)
