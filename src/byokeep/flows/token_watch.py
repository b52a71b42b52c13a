"""Tells in time that a machine is about to lose its credential.

Rules
- The broker looks every hour. A machine whose last token ends within 14 days, or ended since, is an alert; one open
  alert for each machine.

It may not issue anything: an admin does, or the embedded stack for its own.
"""

from __future__ import annotations

from typing import Final

from byokeep.flows.alarm import alert_in
from byokeep.flows.app import BrokerApp
from byokeep.ports import Query

_ENDING: Final = Query("machines_ending", lambda row: row["id"])


async def watch_tokens(app: BrokerApp) -> int:
    """Raise ``machine_token_ends`` where it is due; returns for how many machines.

    Raises:
        Unavailable: The database could not be asked.
    """
    async with app.db.begin(every_client=True) as tx:
        ending = await tx.all(_ENDING)
        for machine in ending:
            await alert_in(tx, app, reason="machine_token_ends", key=f"machine_token_ends/{machine}",
                           severity="warning", client_id=None, object_id=machine)  # fmt: skip
    return len(ending)
