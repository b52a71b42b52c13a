"""The kill for the day on which neither the database nor a process of ours answers: the store itself refuses clients.

Rules
- The store first: it asks nobody, and on a full disk gets the reserve back. Then the database, if it answers.
- Whoever can read the kill process's credentials on its host may do this; nobody is asked who they are.
- People are told by the alert `kill_panic`, which a database that answers gets at once.
- What the database was not told, the broker's reconciliation later finds in the store's own log. It raises
  `kill_panic`, and `cut_off_unexplained` for each client whose switch it then engages
  (:mod:`byokeep.reconciliation.reconcile`).

It may not let anybody back in: that takes two people, a database and the broker.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Any, Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, NotFound, Pending, Unavailable
from byokeep.jobs.switches import engage, tell_panic
from byokeep.processes import wiring
from byokeep.settings import Settings
from byokeep.tenancy.scopes import parse_scope

REASON: Final = "panic"
_DATABASE_S: Final = 6.0  # seconds for the database
_ALERT_S: Final = 1.0  # seconds for an alert about ended sessions


async def panic(settings: Settings, client_id: UUID | None) -> dict[str, Any]:
    """Make the store refuse a client, or all, and engage the switch if the database answers.

    Returns:
        ``entities``: how many the store now refuses; ``database``: ``engaged``, or the code why it was not told.

    Raises:
        NotFound: The store knows no such client.
        Unavailable: ``nobody_cut_off``: the store names no client and the switch was not engaged. Or the store does not
            answer; a lease that was given before expires within seconds.
    """
    emergency = wiring.emergency_of(settings)

    async def at_store() -> int:
        async with AsyncExitStack() as stack:
            cutoff = await wiring.panic_cutoff(stack, settings)
            entities = await cutoff.entities(client_id)
            await cutoff.disable(*entities)
            return len(entities)

    count = await emergency.stopping(at_store)
    if client_id is not None and not count:
        step = "The store has no client with this id. `byokeep client list` shows ids; `--everything` stops all."
        raise NotFound("unknown_client", next_step=step)
    told = ""
    try:
        async with asyncio.timeout(_DATABASE_S), wiring.kill_app(settings) as app:
            with suppress(Pending):
                await engage(app, app.system(), parse_scope(client_id, None, None), REASON)
            told = "engaged"
            with suppress(ByokeepError):
                await tell_panic(app, client_id)
            if app.telling:
                await asyncio.wait(app.telling, timeout=_ALERT_S)
    except TimeoutError:
        told = told or Unavailable("database_unavailable").code
    except ByokeepError as error:
        told = told or error.code
    if not count and told != "engaged":
        step = "The store lists no client, and the database was not told. Nothing was stopped. Try again."
        raise Unavailable("nobody_cut_off", next_step=step, reason=told)
    return {"entities": count, "database": told}
