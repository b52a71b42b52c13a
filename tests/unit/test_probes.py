"""What nobody could look at is unknown, in time, and never passes for well."""

from __future__ import annotations

import asyncio
import threading

import pytest

from byokeep.core.errors import Unavailable
from byokeep.http import request
from byokeep.kernel.probes import ProbeOutcome, ProbeState, all_ok, ask, failed, ok, passes, unknown


async def found() -> ProbeOutcome:
    return failed("disk", "full", "Free space.", free_mib=3)


async def refused() -> ProbeOutcome:
    raise Unavailable("store_unreachable", next_step="Start it.")


async def broken() -> ProbeOutcome:
    raise ValueError("hunter2 stands here")


async def deaf() -> ProbeOutcome:
    """Neither answers nor lets itself be cancelled, as a driver that waits for its server does."""
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if DEAF.is_set():
                raise


DEAF = threading.Event()


async def test_a_look_that_fails_is_unknown() -> None:
    """What a probe says stands; an error is unknown with its code, a foreign one with its type alone."""
    assert (await ask("disk", found)) == await found()
    seen = await ask("store", refused)
    assert (seen.name, seen.state, seen.code, seen.next_step) == ("store", "unknown", "store_unreachable", "Start it.")
    seen = await ask("store", broken)
    assert (seen.state, seen.code) == (ProbeState.UNKNOWN, "probe_failed")
    assert "hunter2" not in str(seen)


async def test_a_probe_that_hangs_is_left_behind() -> None:
    """One that cannot even be cancelled keeps nobody waiting, and is unknown."""
    DEAF.clear()
    seen = await ask("store", deaf, within=0.05)
    DEAF.set()
    assert (seen.state, seen.code, seen.figures["within_s"]) == ("unknown", "timed_out", 0.05)


async def test_a_check_that_raises_nothing_passes() -> None:
    """Law 2: a decision is no return value."""
    assert await ask("database", lambda: passes("database", asyncio.sleep(0, result=False))) == ok("database")


def test_unknown_is_not_well() -> None:
    """One unknown or failed outcome spoils the lot, and so does an empty one."""
    good = ok("disk", free_mib=9000)
    assert all_ok([good])
    assert not all_ok([])
    for bad in (unknown("store", "timed_out", "Wait."), failed("disk", "full", "Free space.")):
        assert not bad.ok
        assert not all_ok([good, bad])


async def test_ready_names_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever hangs is named within the deadline of readiness, beside one that answers; all well is ready."""
    monkeypatch.setattr(request, "READY_WITHIN_S", 0.05)
    DEAF.clear()
    try:
        with pytest.raises(Unavailable, match="not_ready") as caught:
            await request.ready(database=asyncio.sleep(0), store=deaf())
    finally:
        DEAF.set()
    assert (caught.value.fields["part"], caught.value.fields["reason"]) == ("store", "timed_out")
    with pytest.raises(Unavailable, match="not_ready") as caught:
        await request.ready(database=refused(), store=asyncio.sleep(0))
    assert (caught.value.fields["part"], caught.value.fields["reason"]) == ("database", "store_unreachable")
    assert await request.ready(database=asyncio.sleep(0), store=asyncio.sleep(0)) == {"status": "ready"}
