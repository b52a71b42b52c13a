"""What an audit record is: its canonical bytes, its place in a chain, its line in an export.

Rules
- The payload's bytes are stored and exported verbatim; a verifier hashes stored bytes, never a re-encoding (S-TLOG-7).
- A chain starts at sequence number 1 after 32 zero bytes; one chain per client and one for the platform.
- docs/spec/audit-record.md is the format; tests/vectors/audit holds it to the letter.

It may not decide what is recorded: that is :mod:`byokeep.core.events`.
"""

from __future__ import annotations

from byokeep.core.canonical import canonical_json
from byokeep.core.events import Event


def canonical_payload(event: Event) -> bytes:
    """Return the canonical JSON of an event: what the chain hashes and the database stores.

    Raises:
        ValueError: The event holds something canonical JSON can not carry.
    """
    return canonical_json(
        {
            "v": 1,
            "event": event.name.value,
            "outcome": event.outcome.value,
            "actor": str(event.actor.id),
            "roles": sorted(role.value for role in event.actor.roles),
            "client": None if event.client_id is None else str(event.client_id),
            "object": None if event.object_id is None else str(event.object_id),
            "request": str(event.actor.request_id),
            "fields": dict(event.fields),
        }
    )
