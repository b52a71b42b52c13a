"""Asks ``byokeep web`` for the fingerprints of the values that are live, for a scan that looks for them.

Rules
- What comes back tells nobody a value, but whoever holds it can test guesses of weak ones: it stays in memory, is
  never printed and never written down.
- A live value without fingerprints is counted, so that a scan can say what it did not look for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from byokeep.cli.api import call
from byokeep.core.errors import Unavailable
from byokeep.core.secret import Secret

PATH: Final = "/v1/leaks/fingerprints"


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What the server knows of the live values.

    Attributes:
        document: JSON of docs/spec/leak-fingerprints.md; its list is empty when no live value has fingerprints.
        values: Live values that are in the document.
        unknown: Live values that are not: stored by an earlier release, or too weak to be watched. When this is not 0,
            a scan that finds nothing has not shown that nothing is there.
        replaced_unknown: Replaced values that the store still holds and that are not in the document.
        all_clients: False when the caller is assigned to some clients only, and the document holds only theirs.
    """

    document: bytes = field(repr=False)
    values: int
    unknown: int
    replaced_unknown: int
    all_clients: bool


async def fetch_fingerprints(*, token: Secret | None = None) -> Live:
    """Return the fingerprints of every live value that the caller may look for. The fetch is on record.

    Args:
        token: An auditor's token; default the caller's own.

    Raises:
        Denied: ``not_permitted`` - not an auditor.
        RateLimited: ``too_many_requests``.
        Unavailable: Server, database or store; ``server_garbage``. Then nothing can be said about leaks.
    """
    reply = await call("GET", PATH, token=token)
    try:
        return Live(
            document=json.dumps(reply["fingerprints"]).encode(),
            values=int(reply["values"]),
            unknown=len(reply["unknown"]),
            replaced_unknown=int(reply["replaced_unknown"]),
            all_clients=reply["all_clients"] is True,
        )
    except (KeyError, TypeError, ValueError):
        raise Unavailable("server_garbage", next_step="This is not a byokeep server of this release.") from None
