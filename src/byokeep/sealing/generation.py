"""One sealed generation: its row, and the record that must be the one that the row was written with.

Rules
- The row says which manifest, which key, which blob; who read the record is believed in nothing.
- What is missing is named: record or key. Whatever else is wrong is one and the same error, and the caller learns
  beside it whose things were found there (R5.3-15).

It may not unwrap a key, nor decide what follows from a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.artifact import ArtifactKey, blob_key
from byokeep.core.errors import Integrity
from byokeep.core.keystate import KeyState
from byokeep.core.manifest import RecordPlace
from byokeep.core.model import ClientId, Environment, ProfileId
from byokeep.core.sealed_record import SealedRecord, parse_record
from byokeep.core.strict_json import read_json

ALTERED: Final = "sealed_profile_altered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One sealed state: which blob, which key, where its record lies. ``gone_at``: blob and record are destroyed."""

    client_id: ClientId
    profile_id: UUID
    generation: int
    dek_id: UUID
    holder: str
    kek_id: str
    kek_version: int
    blob_key: str
    blob_sha256: bytes
    blob_size: int
    packed_size: int
    manifest_hash: bytes
    record_version: int
    browser_version: str
    key_state: KeyState
    sealed_at: datetime
    sealed_by: UUID
    job_id: UUID
    store_request: str
    gone_at: datetime | None


@dataclass(slots=True, kw_only=True)
class StoredGeneration:
    """What was found in a profile's place, for whoever has to find out whose it is. Filled as far as it came."""

    dek_id: UUID | None = None
    profile_id: UUID | None = None
    digest: bytes | None = None


def key_of(generation: Generation) -> ArtifactKey:
    """Return where the blob of a generation lies: a name that is random, and used once, the key's own id."""
    return blob_key(generation.client_id, generation.profile_id, generation.generation, generation.dek_id)


def agreed(text: bytes, generation: Generation, environment: Environment, *, found: StoredGeneration) -> SealedRecord:
    """Parse the record of a generation, whoever it came from.

    Raises:
        Integrity: ``dek_missing``; ``sealed_profile_altered``: it is not the one that the row was written with.
    """
    record = parsed(text, found)
    check_same(record, generation, environment)
    return record


def check_same(record: SealedRecord, generation: Generation, environment: Environment) -> None:
    """Let the record pass that the row was written with. Raises Integrity(``sealed_profile_altered``)."""
    same = (
        record.manifest.place == place_of(generation, environment)
        and record.manifest.hash == generation.manifest_hash
        and record.dek_id == generation.dek_id
        and record.blob_sha256 == generation.blob_sha256
        and record.blob_size == generation.blob_size
        and record.kek.holder == generation.holder
        and record.kek.key_id == generation.kek_id
    )
    if not same:
        raise altered()


def place_of(generation: Generation, environment: Environment) -> RecordPlace:
    """Return what a generation's manifest and key must be bound to."""
    return RecordPlace(
        environment=environment, client_id=generation.client_id, profile_id=ProfileId(generation.profile_id),
        generation=generation.generation,
    )  # fmt: skip


def missing(code: str) -> Integrity:
    """Return the error for a part that is not there."""
    return Integrity(code, next_step="Restore an older generation, or log in afresh; find out who took it away.")


def altered() -> Integrity:
    """Return the one error for a part that is not what was sealed."""
    return Integrity(ALTERED, next_step="The profile is quarantined; look who can write to its stores.")


def parsed(text: bytes, found: StoredGeneration) -> SealedRecord:
    """Parse a record and note whose it is. Raises Integrity: ``dek_missing``, ``sealed_profile_altered``."""
    if _keyless(text):
        raise missing("dek_missing")
    try:
        record = parse_record(text)
    except Integrity:
        raise altered() from None
    found.dek_id, found.profile_id = record.dek_id, record.manifest.profile_id
    return record


def _keyless(text: bytes) -> bool:
    """Whether a record lacks its wrapped key and nothing else can be said of it."""
    try:
        said = read_json(text)
    except ValueError:
        return False
    return isinstance(said, dict) and "manifest" in said and not said.get("wrapped_dek")
