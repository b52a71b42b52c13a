"""A client's proof: one file, checkable with the log's public key and nothing else (docs/spec/checkpoint.md).

Rules
- It holds every record of one chain from the first on, and shows that their head stands in a signed checkpoint.
- Of other chains it holds hashes only, from which nothing can be read or guessed.

It may not leave a gap: a proof of some records is :mod:`byokeep.core.evidence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from byokeep.core.audit import parse_line, verify_chain
from byokeep.core.canonical import canonical_json, parse_canonical
from byokeep.core.epoch import Inclusion, parse_inclusion
from byokeep.core.errors import Integrity
from byokeep.core.note import NoteKey

TYPE: Final = "byokeep/client-proof/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProof:
    """What a verified proof says: whose chain, how many records, up to which moment nothing can be missing."""

    origin: str
    chain: UUID
    records: int
    last_hash_hex: str
    epoch: int
    log_size: int


def client_proof_data(origin: str, lines: Sequence[bytes], inclusion: Inclusion) -> bytes:
    """Return the file's bytes."""
    return canonical_json(
        {
            "v": 1,
            "type": TYPE,
            "origin": origin,
            "records": [line.decode() for line in lines],
            "inclusion": inclusion.members(),
        }
    )


def verify_client_proof(data: bytes, keys: Sequence[NoteKey]) -> ClientProof:
    """Check a proof against the log's public keys, whose name is the log's.

    Raises:
        Integrity: ``bad_client_proof`` (malformed) or what does not hold.
    """
    try:
        found = parse_canonical(data)
        if not isinstance(found, dict) or sorted(found) != ["inclusion", "origin", "records", "type", "v"]:
            raise ValueError("members")
        if found["v"] != 1 or found["type"] != TYPE:
            raise ValueError("version")
        origin, lines = str(found["origin"]), [str(line).encode() for line in found["records"]]
        inclusion = parse_inclusion(found["inclusion"])
    except (ValueError, TypeError):
        raise Integrity("bad_client_proof") from None
    named = [key for key in keys if key.name == origin]
    checkpoint = inclusion.verify(named, origin=origin)
    head = inclusion.head
    reached = verify_chain(map(parse_line, lines), chain=head.chain, through={head.seq: head.hash})
    if reached != head:
        raise Integrity("bad_client_proof", chain=head.chain, seq=reached.seq)
    return ClientProof(
        origin=origin, chain=head.chain, records=reached.seq, last_hash_hex=reached.hash.hex(),
        epoch=inclusion.epoch, log_size=checkpoint.size,
    )  # fmt: skip
