"""An audit record as parameters of a statement that writes its row too.

Rules
- Used where a round trip counts: leases and permits. The statement appends through the same function of the database
  as :meth:`byokeep.kernel.ports.Tx.append`, in the same transaction, and takes nothing but what the event says.
"""

from __future__ import annotations

from byokeep.core.audit import canonical_payload
from byokeep.core.events import Event


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
