"""kill -9 while one-time tokens are renewed: no chain breaks by another process's death, and none in silence."""

from __future__ import annotations

import random
import sys

import pytest

from tests.support.reaper import OTHERS, chains, naive

CI_SEED = 20_261_125


async def others(seed: int, kills: int) -> None:
    async with chains(seed, 4) as made:
        await made.kill(kills, OTHERS)
        sys.stdout.write(f"kills {dict(made.kills)}: {made.broken} broken, silent {made.silent}\n")
        assert made.kills.total() >= kills * 0.9  # one that is down already is not killed
        assert (made.broken, made.silent) == (0, [])
        assert made.bench.stand.db.sql("SELECT count(*) FROM byokeep.refresh_journal WHERE phase = 'placed'") != "0"


async def its_own(seed: int, kills: int) -> None:
    # One account, as the naive client has: how many are under way at once must not differ.
    async with chains(seed, 1) as made:
        await made.kill(kills, ("refresher",))
        beside = await naive(made, kills)
        sys.stdout.write(f"kills {made.kills.total()}: {made.broken} broken and reported, silent {made.silent};"
                         f" naive client: {beside} broken\n")  # fmt: skip
        assert made.kills.total() == kills
        assert made.silent == []


@pytest.mark.timeout(300)
async def test_no_other_process_breaks_a_chain_by_its_death() -> None:
    """Store, database, broker, web and worker die at the moment of a renewal: every chain goes on."""
    await others(CI_SEED, 8)


@pytest.mark.timeout(300)
@pytest.mark.req("R6.1-2")
async def test_no_chain_breaks_in_silence_when_the_refresher_dies() -> None:
    """The refresher dies at the moment of a renewal: each chain goes on, or is reported at the next start."""
    await its_own(CI_SEED, 5)


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
