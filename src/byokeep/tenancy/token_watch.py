"""Tells in time that a machine, or a person's programs, are about to lose their credential.

Rules
- The broker looks every hour. A machine whose last token ends within 14 days, or ended since, is an alert; one open
  alert for each machine. The same for people's API tokens, but for those given for 14 days or less.

It may not issue anything: an admin does, or the embedded stack for its own.
"""

from __future__ import annotations

from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import open_alert


async def watch_tokens(app: BrokerApp) -> int:
    """Raise ``machine_token_ends`` and ``person_token_ends`` where they are due; returns for how many.

    Raises:
        Unavailable: The database could not be asked.
    """
    async with app.db.begin(every_client=True) as tx:
        machines = [("machine_token_ends", one) for one in await tx.all(lambda row: row["id"], "machines_ending")]
        ending = machines + [("person_token_ends", one) for one in await tx.all(lambda row: row["id"], "people_ending")]
        for reason, subject in ending:
            await open_alert(tx, app, None, reason=reason, key=f"{reason}/{subject}", severity="warning",
                           object_id=subject)  # fmt: skip
    return len(ending)
