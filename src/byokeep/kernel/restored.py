"""Since when this database may know less than the store holds: the time at which an older database last replaced it.

Rules
- What was written to the store before that may have had a row that the older database lacks. A sweep keeps it and
  notifies people.

It may not destroy anything.
"""

from __future__ import annotations

from datetime import datetime

from byokeep.kernel.app import App


async def restored_at(app: App) -> datetime | None:
    """Return when the database last became an older one; None: never. A sweep looks once, before it begins.

    Raises:
        Unavailable: The database is away.
    """
    found = await app.db.read(datetime, "restored_at", {}, every_client=True)
    return found[0] if found else None


def was_before(restored: datetime | None, written_at: datetime | None) -> bool:
    """Whether something was written before a restore; ``written_at`` None: nobody knows when it was."""
    return restored is not None and (written_at is None or written_at <= restored)
