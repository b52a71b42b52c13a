"""Sweeps rooms for as long as a process has some: what a killed owner and its killed guard left is gone in a minute.

Rules
- At least once a minute, by every process that has rooms; a sweep that failed is told, and the next one comes.
- It works in a thread: wiping may take seconds, and a kill switch waits for nobody.

It may not decide whose a room is: locks do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from byokeep.browser.ephemeral.rooms import Rooms
from byokeep.core.errors import Unavailable

EVERY_S: Final = 20.0  # the promise is 60, the wiping included


@asynccontextmanager
async def swept(rooms: Rooms, told: Callable[[int, str], object] | None = None) -> AsyncIterator[None]:
    """Sweep again and again while the block runs. The first sweep was made by ``rooms`` itself.

    Args:
        rooms: Of this process.
        told: Called with how many rooms were wiped and a code of what went wrong, when there is either.
    """
    sweeping = asyncio.create_task(_sweep(rooms, told))
    try:
        yield
    finally:
        sweeping.cancel()
        await asyncio.wait({sweeping})


async def _sweep(rooms: Rooms, told: Callable[[int, str], object] | None) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        wiped, code = 0, ""
        try:
            wiped = await asyncio.to_thread(rooms.sweep)
        except Unavailable as error:
            code = error.code
        if told is not None and (wiped or code):
            told(wiped, code)
