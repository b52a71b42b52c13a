"""A task beside others is ended: what it failed with is told, and one's own cancellation is not taken for its."""

from __future__ import annotations

import asyncio

import pytest

from byokeep.client.http import end
from byokeep.core.errors import Unavailable


async def failing() -> None:
    """Fails at once."""
    raise Unavailable("browser_not_ended")


async def hanging() -> None:
    """Takes a moment to end."""
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)


async def test_what_a_task_failed_with_is_raised() -> None:
    """A task that failed by itself says so where it ends; one that is cancelled, or was, ends in silence."""
    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="browser_not_ended"):
        await end(task)
    task = asyncio.create_task(hanging())
    await asyncio.sleep(0)
    await end(task)
    await end(task)
    assert task.cancelled()


async def test_ones_own_cancellation_is_kept() -> None:
    """Who is cancelled while a task ends is cancelled."""
    task = asyncio.create_task(hanging())
    await asyncio.sleep(0)
    waiting = asyncio.create_task(end(task))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
