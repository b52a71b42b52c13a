"""The audit log as an auditor reads it: by chain and window, newest first.

Rules
- Reading is on record before anything is read (R8.1).
- A record is shown as it was written; nothing is joined into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import Integrity, NotFound
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb
from byokeep.kernel.app import App
from byokeep.kernel.command import command
from byokeep.kernel.rows import Row

MAX_RECORDS: Final = 500
DEFAULT_RECORDS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordWindow:
    """What to show: ``None`` = no bound. ``before`` is a sequence number, for paging."""

    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    limit: int = DEFAULT_RECORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRecord:
    """A record: its place, and what it says."""

    seq: int
    at: datetime
    hash_hex: str
    said: dict[str, Any]


def _shown(row: Row) -> ShownRecord:
    try:
        said: Any = parse_canonical(bytes(row["payload"]))
    except ValueError:
        raise Integrity("audit_record_unreadable", seq=row["seq"]) from None
    return ShownRecord(seq=row["seq"], at=row["at"], hash_hex=bytes(row["hash"]).hex(), said=said)


async def read_audit(app: App, actor: Actor, client_id: ClientId | None, window: RecordWindow) -> list[ShownRecord]:
    """Return records of a client's chain, or of the platform's.

    Raises:
        Denied: ``not_permitted``.
        NotFound: The chain is not the actor's to read.
        Integrity: ``audit_record_unreadable``.
    """
    chain = client_id or app.installation_id
    async with command(app, actor, Verb.AUDIT_READ, client_id=client_id, object_id=chain) as tx:
        if client_id is None and actor.clients is not None:
            raise NotFound("not_found")
        await tx.append(
            Event(
                name=EventName.AUDIT_READ,
                actor=actor,
                outcome=Outcome.OK,
                object_id=chain,
                fields={"chain": str(chain), "count": min(window.limit, MAX_RECORDS)},
            )
        )
    door = app.db.begin(every_client=True) if client_id is None else app.db.begin(client_id=client_id)
    async with door as tx:
        return await tx.all(
            _shown,
            "audit_browse",
            chain=chain,
            before=window.before,
            since=window.since,
            until=window.until,
            limit=max(1, min(window.limit, MAX_RECORDS)),
        )
