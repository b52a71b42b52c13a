"""One key's history in one question: who had access, when it was used, when it was last changed (S-OWASP-10).

Rules
- The audit log answers, not the tables: what is told is what was put on record, with its place in the chain.
- A lease is access: whoever held one could read the value. Refused attempts are told apart from it.
- Never a value; asking is on record before anything is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from byokeep.audit.audit_read import MAX_RECORDS, RecordWindow
from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import Integrity
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, CredentialRef
from byokeep.core.policy import Verb
from byokeep.kernel.app import App
from byokeep.kernel.rows import Row
from byokeep.keys.refs import get_ref


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """A record about the key: its place in the client's chain, what it says, and the name of who acted."""

    seq: int
    at: datetime
    actor_name: str | None
    said: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseHolder:
    """Somebody who held leases that could read the key."""

    actor: UUID
    name: str | None
    leases: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHistory:
    """The answer. The summary covers the whole window; ``entries`` are its newest records, newest first."""

    ref: CredentialRef
    holders: tuple[LeaseHolder, ...]
    last_used_at: datetime | None
    last_rotated_at: datetime | None
    refused: int
    entries: tuple[HistoryEntry, ...]


def _entry(row: Row) -> HistoryEntry:
    try:
        said: Any = parse_canonical(bytes(row["payload"]))
    except ValueError:
        raise Integrity("audit_record_unreadable", seq=row["seq"]) from None
    return HistoryEntry(seq=row["seq"], at=row["at"], actor_name=row["name"], said=said)


def _holder(row: Row) -> LeaseHolder:
    return LeaseHolder(actor=row["actor_id"], name=row["name"], leases=row["leases"], first_at=row["first_at"],
                  last_at=row["last_at"])  # fmt: skip


async def key_history(app: App, actor: Actor, ref_id: UUID, window: RecordWindow) -> KeyHistory:
    """Answer for one reference.

    Args:
        window: Which records; ``before`` pages through ``entries`` only.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``, also for another client's.
        Integrity: ``audit_record_unreadable``.
    """
    ref = await get_ref(app, actor, ref_id, Verb.AUDIT_READ)
    limit = max(1, min(window.limit, MAX_RECORDS))
    async with app.db.begin(client_id=ref.client_id) as tx:
        await tx.append(
            Event(name=EventName.AUDIT_READ, actor=actor, outcome=Outcome.OK, client_id=ref.client_id,
                  object_id=ref_id, fields={"chain": str(ref.client_id), "count": limit})
        )  # fmt: skip
    about = {"chain": ref.client_id, "ref_id": ref_id, "provider": ref.provider.value, "since": window.since,
             "until": window.until}  # fmt: skip
    async with app.db.begin(client_id=ref.client_id) as tx:
        marks = await tx.one(dict, "history_marks", **about)
        return KeyHistory(
            ref=ref,
            holders=tuple(await tx.all(_holder, "history_holders", **about)),
            last_used_at=marks["last_used_at"],
            last_rotated_at=marks["last_rotated_at"],
            refused=marks["refused"],
            entries=tuple(await tx.all(_entry, "history_records", **about, before=window.before, limit=limit)),
        )
