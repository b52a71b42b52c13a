"""An audit record: appended in a transaction, or as parameters of a statement that writes its row too.

Rules
- The second form is for where a round trip counts: leases and permits. The statement appends through the same function
  of the database as :meth:`byokeep.kernel.ports.Tx.append`, in the same transaction, and takes nothing but what the
  event says.
"""

from __future__ import annotations

from uuid import UUID

from byokeep.core.audit import canonical_payload
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import Actor
from byokeep.kernel.ports import Receipt, Tx


def record_params(event: Event) -> dict[str, object]:
    """Return the parameters ``event, actor, object, request, outcome, payload``; the chain is the row's client."""
    return {
        "event": event.name.value,
        "actor": event.actor.id,
        "object": event.object_id,
        "request": event.actor.request_id,
        "outcome": event.outcome.value,
        "payload": canonical_payload(event),
    }


async def record(
    tx: Tx, actor: Actor, name: EventName, *, outcome: Outcome = Outcome.OK, client_id: UUID | None = None,
    object_id: UUID | None = None, commit: bool = False, **fields: FieldValue,
) -> Receipt:  # fmt: skip
    """Append a record to the chain of ``client_id``, or to the platform's.

    Args:
        object_id: What it is about.
        commit: As :meth:`byokeep.kernel.ports.Tx.last`.
        fields: Of the event's vocabulary.
    """
    event = Event(name=name, actor=actor, outcome=outcome, client_id=client_id, object_id=object_id, fields=fields)
    return await tx.append(event, commit=commit)
