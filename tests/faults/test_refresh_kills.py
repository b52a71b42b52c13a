"""kill -9 while one-time tokens are renewed: no chain breaks by another process's death, and none in silence."""

from __future__ import annotations

import random
import sys
import time

import pytest

from tests.support.reaper import OTHERS, Chains, chains, naive

CI_SEED = 20_261_125
ACCOUNTS = 8


async def others(seed: int, kills: int) -> None:
    async with chains(seed, ACCOUNTS) as made:
        await strike(made, kills, OTHERS)
        assert made.kills.total() == kills
        assert max(made.kills.values()) - min(made.kills.values()) <= 1  # strictly in turn
        assert (made.broken, made.silent) == (0, [])
        assert made.bench.stand.db.sql("SELECT count(*) FROM byokeep.refresh_journal WHERE phase = 'placed'") != "0"


async def its_own(seed: int, kills: int) -> None:
    # One account, as the naive client has: how many are under way at once must not differ.
    async with chains(seed, 1) as made:
        await strike(made, kills, ("refresher",))
        beside = await naive(made, kills)
        sys.stdout.write(f"naive client: {beside} broken of {kills}\n")
        assert made.kills.total() == kills
        assert made.silent == []


async def with_grace(seed: int, kills: int) -> None:
    async with chains(seed, 4, graceful=True) as made:
        await strike(made, kills, ("refresher",))
        assert made.kills.total() == kills
        assert (made.broken, made.silent) == (0, [])


async def strike(made: Chains, kills: int, parts: tuple[str, ...]) -> None:
    began = time.monotonic()
    await made.kill(kills, parts)
    each_s = (time.monotonic() - began) / kills
    sys.stdout.write(
        f"kills {dict(made.kills)}, {each_s:.2f} s each, slowest {made.slowest_s:.1f} s; renewals under way"
        f" {made.struck}: {made.broken} broken and reported, silent {made.silent}\n"
    )


@pytest.mark.timeout(300)
async def test_no_other_process_breaks_a_chain_by_its_death() -> None:
    """Store, database, broker, web and worker die at the moment of a renewal: every chain goes on."""
    await others(CI_SEED, 5)


@pytest.mark.timeout(300)
@pytest.mark.req("R6.1-2")
async def test_no_chain_breaks_in_silence_when_the_refresher_dies() -> None:
    """The refresher dies at the moment of a renewal: each chain goes on, or is reported at the next start."""
    await its_own(CI_SEED, 3)


@pytest.mark.timeout(300)
async def test_no_chain_breaks_where_a_platform_gives_grace() -> None:
    """The refresher dies, and the platform takes the spent token for a minute: every chain goes on."""
    await with_grace(CI_SEED, 3)


@pytest.mark.campaign
@pytest.mark.timeout(14_400)
async def test_a_thousand_kills_of_the_others_break_nothing() -> None:
    """The same a thousand times."""
    await others(random.SystemRandom().randrange(2**32), 1000)


@pytest.mark.campaign
@pytest.mark.timeout(14_400)
async def test_hundreds_of_kills_of_the_refresher_are_all_reported() -> None:
    """The same three hundred times, and a naive client beside it."""
    await its_own(random.SystemRandom().randrange(2**32), 300)


@pytest.mark.campaign
@pytest.mark.timeout(14_400)
async def test_hundreds_of_kills_break_nothing_where_a_platform_gives_grace() -> None:
    """The same three hundred times."""
    await with_grace(random.SystemRandom().randrange(2**32), 300)
