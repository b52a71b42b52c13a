"""Destroyed keys stay destroyed, whatever is restored: their ids are kept apart, and the database is held against them.

Rules
- What the database calls destroyed is added to the tombstones, and a profile's own id as soon as it is being shredded;
  nothing is ever taken out.
- A key with a tombstone that the database calls anything else came back with a restore. It is destroyed again, on
  record and with an alert, and no profile that hangs on it is opened. Of a profile that was shredded no key comes back,
  whether that one key had a tombstone or not.
- Tombstones that can not be read are an alert of their own: the round fails, and says so.

It may not touch a record or a blob: without its key's row nothing opens them, and whoever restored them shreds again.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import open_alert
from byokeep.profiles import profile_book
from byokeep.sealing.generation import Generation

REASON: Final = "tombstone"


async def keep(app: BrokerApp) -> int:
    """Keep the tombstones, and destroy again what came back; returns how many that were.

    Raises:
        Integrity, Unavailable: As the port says; or the database.
    """
    async with app.db.begin(every_client=True) as tx:
        await app.tombstones.add(await tx.all(UUID, "tombstones_destroyed"))
        ids = await app.tombstones.all()
        back = await tx.all(Generation, "tombstones_back", ids=sorted(ids))
    for row in back:
        await _again(app, row)
    return len(back)


async def _again(app: BrokerApp, row: Generation) -> None:
    actor = app.system()
    async with app.db.begin(client_id=row.client_id) as tx:
        await tx.all(None, "profile_lock", profile_id=row.profile_id)
        await profile_book.destroy_key(tx, app, actor, row, reason=REASON)
        await open_alert(tx, app, actor, reason="destroyed_key_back", client_id=row.client_id,
                          object_id=row.profile_id, key=f"destroyed_key_back:{row.dek_id}")  # fmt: skip
