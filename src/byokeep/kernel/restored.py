"""Since when this database may know less than the store holds: when it last became an older one.

Rules
- What was written before that may have had a row, which the older database lacks: a sweep keeps it and tells people.

It may not destroy anything.
"""

from __future__ import annotations

from datetime import datetime

from byokeep.kernel.app import App


async def is_older(app: App, written_at: datetime | None = None) -> bool:
    """Whether the database became an older one after something was written; None: nobody knows when it was.

    Raises:
        Unavailable: The database is away.
    """
    found = await app.db.read(datetime, "restored_at", {}, every_client=True)
    return bool(found) and (written_at is None or written_at <= found[0])
