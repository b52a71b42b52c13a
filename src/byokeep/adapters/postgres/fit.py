"""Whether this release runs on the schema that a database has (docs/adr/0079).

Rules
- A database says its newest revision, and the oldest revision whose code runs on it.
- No process starts on a schema older than its release, or on a newer one that does not accept its code.

It may not change anything.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Final

from byokeep.core.errors import Conflict
from byokeep.kernel.ports import Database

# The oldest revision whose release runs on this one's schema. A revision that removes what earlier code uses
# raises this to its own number, one release after the one that stopped using it.
RUNS_FROM: Final = "0047"
_NEWER_STEP: Final = (
    "A later release migrated this database, and this one does not run on its schema. Run that release, or restore"
    " the backup from before the upgrade (docs/runbook.md, upgrade). Nothing was changed."
)
_OLDER_STEP: Final = "This database needs this release's migrations: `byokeep up`, or `byokeep init` for your servers."
_REVISION: Final = re.compile(r"r(\d{4})_\w+\.sql\Z")


@cache
def revisions() -> dict[str, str]:
    """Return this release's revisions: number -> name of the file."""
    folder = resources.files("byokeep.adapters.postgres") / "migrations" / "versions"
    return {found[1]: found[0] for entry in folder.iterdir() if (found := _REVISION.match(entry.name))}


def is_later(stands: str, runs_from: str) -> bool:
    """Whether a later release migrated a database whose schema this one runs on.

    Args:
        stands: Its newest revision; empty = none was run.
        runs_from: The oldest revision whose code runs on it; empty = not stated.

    Raises:
        Conflict: ``schema_newer``: this release does not run on it.
    """
    known = max(revisions())
    if stands > known and not "" < runs_from <= known:
        raise Conflict("schema_newer", next_step=_NEWER_STEP, stands=stands, known=known)
    return stands > known


async def must_fit(db: Database) -> None:
    """Check that this release runs on a database's schema.

    Raises:
        Conflict: ``schema_older``: it waits for this release's migrations; ``schema_newer``, as :func:`is_later`.
        Unavailable: The database is down, or nothing was installed in it.
    """
    found = await db.read(lambda row: (str(row["stands"]), str(row["runs_from"] or "")), "schema_fit", {})
    stands, runs_from = found[0] if found else ("", "")
    if not is_later(stands, runs_from) and stands != max(revisions()):
        raise Conflict("schema_older", next_step=_OLDER_STEP, stands=stands, known=max(revisions()))
