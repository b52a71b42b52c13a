"""An audit record: appended in a transaction, or as parameters of a statement that also writes its row.

Rules
- The second form is for leases and permits, where every round trip counts. The statement appends through the same
  database function as :meth:`byokeep.kernel.ports.Tx.append`, in the same transaction, and accepts only what the event
  allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from byokeep.core import canonical
from byokeep.core.audit import canonical_payload
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import Actor
from byokeep.kernel.ports import Receipt, Tx

Said: TypeAlias = FieldValue | UUID | datetime | bytes | None
stamp = canonical.stamp  # a time as a record carries it


def record_params(event: Event) -> dict[str, object]:
    """Return the parameters ``event, actor, object, request, outcome, payload``; the chain is the row's client."""
    who = {"actor": event.actor.id, "request": event.actor.request_id, "object": event.object_id}
    return {**who, "event": event.name.value, "outcome": event.outcome.value, "payload": canonical_payload(event)}


def plain(fields: Mapping[str, Said]) -> dict[str, FieldValue]:
    """Return fields as a record carries them: ids and times as text, digests in hex; what is None is left out."""
    return {name: _plain(value) for name, value in fields.items() if value is not None}


def _plain(value: FieldValue | UUID | datetime | bytes) -> FieldValue:
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, UUID) else value


async def record(
    tx: Tx, actor: Actor, name: EventName, said: Mapping[str, Said] = {}, *, outcome: Outcome = Outcome.OK,
    client_id: UUID | None = None, object_id: UUID | None = None, commit: bool = False, **fields: Said,
) -> Receipt:  # fmt: skip
    """Append a record to the chain of ``client_id``, or to the platform's.

    Args:
        said: Fields of the event's vocabulary, as :func:`plain` takes them; ``fields`` are more of them.
        object_id: What it is about.
        commit: As :meth:`byokeep.kernel.ports.Tx.last`.
    """
    told = plain({**said, **fields})
    event = Event(name=name, actor=actor, outcome=outcome, client_id=client_id, object_id=object_id, fields=told)
    return await tx.append(event, commit=commit)


async def hold_chain(tx: Tx, client_id: UUID | None) -> None:
    """Hold a chain as whoever appends to it does, before a row that others touch after their record of it."""
    await tx.all(None, "audit_hold", client_id=client_id)
