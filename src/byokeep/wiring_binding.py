"""What the home of an embedded database is bound to, and what a start does that finds it elsewhere.

Rules
- Bound are the database's and the store's own files and the refresher's slots: a copy, a restored backup and another
  machine have others (docs/adr/0032). None of them is ever replaced while its server lives.
- Closed first, bound to the new place after it: whoever is killed in between finds the same at the next start.

It may not decide who opens it again: that takes two people.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final
from uuid import UUID

from byokeep.adapters.files import slots
from byokeep.adapters.files.binding import read_bound, write_bound
from byokeep.jobs.gatekeep import close_copy
from byokeep.kernel.app import BrokerApp
from byokeep.settings import Settings

_FILE: Final = "bound"


async def settle(settings: Settings, app: BrokerApp) -> bool:
    """Make sure that the home is where it was made; one that is not comes up closed.

    Returns:
        Whether it was a copy, and is closed now.

    Raises:
        Unavailable: The database or the disk; nothing may be started then.
    """
    if not settings.embedded_database or await asyncio.to_thread(_holds, settings, app.installation_id):
        return False
    copied = await close_copy(app, own_store=settings.embedded_store)
    await asyncio.to_thread(_bind, settings, app.installation_id)
    return copied


def _holds(settings: Settings, installation: UUID) -> bool:
    text, bound = read_bound(settings.home / _FILE, beside=_beside(settings))
    return bound and text == _text(installation) and not slots.is_copy(settings.path("slots_dir"))


def _bind(settings: Settings, installation: UUID) -> None:
    slots.adopt(settings.path("slots_dir"))
    write_bound(settings.home / _FILE, _text(installation), beside=_beside(settings))


def _text(installation: UUID) -> str:
    return f"byokeep-home/1\n{installation}\n"


def _beside(settings: Settings) -> list[Path]:
    """Files that their servers write in place from the first start to the last."""
    found = [settings.home / "postgres" / "data" / "global" / "pg_control"]
    return [*found, settings.home / "openbao" / "data" / "vault.db"] if settings.embedded_store else found
