"""Readiness: what a process needs answers now, within the time that whoever asks has."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from byokeep.core.errors import Unavailable

READY_WITHIN_S: Final = 2.0  # a load balancer or `byokeep doctor` waits three


async def ready(*checks: Coroutine[Any, Any, object]) -> dict[str, str]:
    """Run the checks side by side; return the reply of a process that is ready.

    Raises:
        Unavailable: ``not_ready``: a check did not end in time; and what the checks raise.
    """
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            await asyncio.gather(*checks)
    except TimeoutError:
        raise Unavailable("not_ready", next_step="Database or store does not answer; see `byokeep doctor`.") from None
    return {"status": "ready"}
