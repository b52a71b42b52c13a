"""The record of a generation, between the store and whoever opens it: the one that its row was written with, or none.

Rules
- The row says which version, which manifest, which blob; the store is believed in nothing, and neither is who read it.
- What is missing is named: record or key. Whatever else is wrong is one and the same error, and the caller learns
  beside it whose things were found there (R5.3-15).
- A record that is older than the row was put back by somebody: ``superseded`` (R5.3-24).

It may not unwrap a key, nor decide what follows from a refusal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from byokeep.core.errors import ByokeepError, Integrity
from byokeep.core.manifest import Place
from byokeep.core.model import Environment, ProfileId
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import SealedRecord, parse_record
from byokeep.flows.profiles import Generation

ALTERED: Final = "sealed_profile_altered"
_GONE: Final = frozenset({"record_missing", "store_not_found", "secret_version_gone"})


class ReadRecords(Protocol):
    """Records of profiles, to be read alone."""

    async def newest(self, ref: ProfileRef) -> int:
        """Return the newest version's number, 0 when nothing was ever written."""

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version. Raises NotFound(``record_missing``), Unavailable, Denied."""


@dataclass(slots=True, kw_only=True)
class Found:
    """What was found in a profile's place, for whoever has to find out whose it is. Filled as far as it came."""

    dek_id: UUID | None = None
    profile_id: UUID | None = None
    digest: bytes | None = None


async def stored(
    records: ReadRecords, generation: Generation, environment: Environment, *, found: Found,
    others: Sequence[Generation] = (),
) -> bytes:  # fmt: skip
    """Return the text of a generation's record, as the store has it.

    Args:
        generation: The row: what there must be.
        environment: Of this installation.
        found: Is filled with what was found.
        others: Every row of the profile: a newer version that one of them stands for is no stranger.

    Raises:
        Integrity: ``manifest_missing``, ``dek_missing``, ``superseded``, ``sealed_profile_altered``.
        Unavailable: The store could not be asked; nothing is known.
    """
    ref = ProfileRef(generation.client_id, generation.profile_id)
    newest = await records.newest(ref)
    if not newest:
        raise missing("manifest_missing")
    known = {one.record_version for one in (generation, *others)}
    if newest > generation.record_version and newest not in known:
        await _refuse_replay(records, ref, (generation, *others), newest)
    text = await _read(records, ref, generation.record_version)
    agreed(text, generation, environment, found=found)
    return text


def agreed(text: bytes, generation: Generation, environment: Environment, *, found: Found) -> SealedRecord:
    """Parse the record of a generation, whoever it came from.

    Raises:
        Integrity: ``dek_missing``; ``sealed_profile_altered``: it is not the one that the row was written with.
    """
    record = _parsed(text, found)
    if not _same(record, generation, place_of(generation, environment)):
        raise altered()
    return record


def place_of(generation: Generation, environment: Environment) -> Place:
    """Return what a generation's manifest and key must be bound to."""
    return Place(
        environment=environment, client_id=generation.client_id, profile_id=ProfileId(generation.profile_id),
        generation=generation.generation,
    )  # fmt: skip


def missing(code: str) -> Integrity:
    """Return the error for a part that is not there."""
    return Integrity(code, next_step="Restore an older generation, or log in afresh; find out who took it away.")


def altered() -> Integrity:
    """Return the one error for a part that is not what was sealed."""
    return Integrity(ALTERED, next_step="The profile is quarantined; look who can write to its stores.")


async def _refuse_replay(records: ReadRecords, ref: ProfileRef, rows: Sequence[Generation], newest: int) -> None:
    """A newer version that no row stands for and that is no newer generation was put back by somebody.

    Two may be there that nobody put back: what a seal left that was cut, and a key that was wrapped anew and whose row
    has not followed yet.
    """
    try:
        later = _parsed(await _read(records, ref, newest), Found())
    except Integrity as error:
        if error.code == "manifest_missing":  # deleted, or destroyed by the sweep
            return
        raise
    rewrapped = any(
        later.manifest.hash == row.manifest_hash and later.dek_id == row.dek_id and later.kek_version > row.kek_version
        for row in rows
    )
    opened = max(row.generation for row in rows)
    if later.manifest.generation <= opened and not rewrapped:
        raise Integrity("superseded", next_step="Somebody put an older record back; look who can write to the store.",
                        generation=opened, put_back=later.manifest.generation)  # fmt: skip


async def _read(records: ReadRecords, ref: ProfileRef, version: int) -> bytes:
    try:
        return await records.read(ref, version)
    except ByokeepError as error:
        if error.code not in _GONE:
            raise
    raise missing("manifest_missing")


def _parsed(text: bytes, found: Found) -> SealedRecord:
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
        said = json.loads(text)
    except ValueError:
        return False
    return isinstance(said, dict) and "manifest" in said and not said.get("wrapped_dek")


def _same(record: SealedRecord, generation: Generation, place: Place) -> bool:
    """Whether a record is the one that the row was written with."""
    return (
        record.manifest.place == place
        and record.manifest.hash == generation.manifest_hash
        and record.dek_id == generation.dek_id
        and record.blob_sha256 == generation.blob_sha256
        and record.blob_size == generation.blob_size
        and record.kek.holder == generation.holder
        and record.kek.key_id == generation.kek_id
    )
