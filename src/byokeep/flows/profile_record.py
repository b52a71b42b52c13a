"""The record of a generation, between the store and whoever opens it: the one that its row was written with, or none.

Rules
- The row says which version, which manifest, which blob; the store is believed in nothing, and neither is who read it.
- What is missing is named: record or key. Whatever else is wrong is one and the same error, and the caller learns
  beside it whose things were found there (R5.3-15).
- A record that is older than the row was put back by somebody: ``superseded`` (R5.3-24).

It may not unwrap a key, nor decide what follows from a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from byokeep.core.errors import ByokeepError, Integrity
from byokeep.core.model import Environment
from byokeep.core.ref import ProfileRef
from byokeep.sealing.generation import Generation, StoredGeneration, agreed, missing, parsed

_GONE: Final = frozenset({"record_missing", "store_not_found", "secret_version_gone"})


class ReadRecords(Protocol):
    """Records of profiles, to be read alone."""

    async def newest(self, ref: ProfileRef) -> int:
        """Return the newest version's number, 0 when nothing was ever written."""

    async def read(self, ref: ProfileRef, version: int) -> bytes:
        """Return exactly this version. Raises NotFound(``record_missing``), Unavailable, Denied."""


async def stored(
    records: ReadRecords, generation: Generation, environment: Environment, *, found: StoredGeneration,
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


async def _refuse_replay(records: ReadRecords, ref: ProfileRef, rows: Sequence[Generation], newest: int) -> None:
    """A newer version that no row stands for and that is no newer generation was put back by somebody.

    Two may be there that nobody put back: what a seal left that was cut, and a key that was wrapped anew and whose row
    has not followed yet.
    """
    try:
        later = parsed(await _read(records, ref, newest), StoredGeneration())
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
