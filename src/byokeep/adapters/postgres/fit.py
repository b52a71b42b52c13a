"""Whether this release runs on the schema that a database has (docs/adr/0079).

Rules
- A database says its newest revision, and from which revision on a release's code runs on it.
- No process starts on a schema that is older than its release, nor on a newer one that does not take its code.

It may not change anything.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Final

from byokeep.core.errors import Conflict
from byokeep.kernel.ports import Database

# The oldest revision whose release runs on the schema of this one. A revision that takes away what code before it uses
# raises this to its own number, a release after the one that stopped using it.
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
    """Whether a later release migrated a database, on whose schema this one runs.

    Args:
        stands: Its newest revision; empty = none was run.
        runs_from: The oldest revision whose code runs on it; empty = it does not say.

    Raises:
        Conflict: ``schema_newer``: this release does not run on it.
    """
    known = max(revisions())
    if stands > known and not "" < runs_from <= known:
        raise Conflict("schema_newer", next_step=_NEWER_STEP, stands=stands, known=known)
    return stands > known


async def must_fit(db: Database) -> None:
    """Let pass a database on whose schema this release runs.

    Raises:
        Conflict: ``schema_older``: it waits for this release's migrations; ``schema_newer``, as :func:`is_later`.
        Unavailable: The database; nothing was installed in it.
    """
    found = await db.read(lambda row: (str(row["stands"]), str(row["runs_from"] or "")), "schema_fit", {})
    stands, runs_from = found[0] if found else ("", "")
    if not is_later(stands, runs_from) and stands != max(revisions()):
        raise Conflict("schema_older", next_step=_OLDER_STEP, stands=stands, known=max(revisions()))
