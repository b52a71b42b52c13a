"""Which of database and store knows less than the other, because an older one was put back.

Rules
- What was written to the store before an older database replaced this one may have had a row that it lacks. A sweep
  keeps it and notifies people.
- A store that lacks the secret of a kind or the profile's record that was stored last, or does not know a client that
  was enrolled, was set back. A row is written after what it names, never before.

It may not destroy anything.
"""

from __future__ import annotations

from datetime import datetime
from typing import cast

from byokeep.core.errors import Unavailable
from byokeep.core.model import ClientId
from byokeep.core.ref import ProfileRef, SecretRef, parse
from byokeep.kernel.app import App, BrokerApp
from byokeep.kernel.command import raise_alert


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


async def watch_store_age(app: BrokerApp) -> None:
    """Tell people that the store's data is older than the database; they close the alert. Raises Unavailable."""
    for row in await app.db.read(dict, "switch_entities", {"client_id": None, "opening": ""}, every_client=True):
        try:
            if row["state"] == "active":
                await app.cutoff.disabled(row["entity_id"])
        except Unavailable as error:
            if error.code != "entity_unknown":
                raise
            await _behind(app, row["client_id"], "entity")
    for row in await app.db.read(dict, "newest_stored", {}, every_client=True):  # last: an older policy may refuse it
        place = cast("ProfileRef | SecretRef", parse(row["secret_ref"]))
        if await app.records.newest(place) < row["version"]:  # a newer key of another place would not mend it
            await _behind(app, place.client_id, place.path.split("/", 4)[-1])


async def _behind(app: BrokerApp, client_id: ClientId, about: object) -> None:
    key = f"store_behind/{client_id}/{about}"
    await raise_alert(app, reason="store_behind", key=key, severity="critical", client_id=client_id)
