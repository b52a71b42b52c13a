"""A sealed generation becomes a room's content, or nothing: record, blob and key are compared with the row first.

Rules
- The row says which record, which blob, which generation; the store and the artifact store are believed in nothing.
- What is missing is named: record, key or blob. Whatever else is wrong is one and the same error, and the caller
  learns beside it whose things were found there (R5.3-15); of records: :mod:`.profile_record`.
- A record that came by other hands than the store's is compared all the same (ADR 0033).
- Nothing of a blob is visible before all of it was verified (R5.3-22).

It may not touch the database, nor decide what follows from a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from byokeep.core.model import Environment
from byokeep.core.sealed_record import SealedRecord
from byokeep.flows.profile_ports import Vault
from byokeep.flows.profile_record import stored
from byokeep.sealing.from_store import require_readable, unseal_as
from byokeep.sealing.generation import Generation, StoredGeneration
from byokeep.sealing.ports import Sink

MISSING: Final = frozenset({"manifest_missing", "dek_missing", "blob_missing"})


async def unseal(
    vault: Vault, generation: Generation, environment: Environment, sink: Sink, *, found: StoredGeneration,
    others: Sequence[Generation] = (),
) -> SealedRecord:  # fmt: skip
    """Open a generation into a sink, with the record that lies in the store.

    Args:
        vault: Under a custody lease of the client.
        generation: The row: what there must be.
        environment: Of this installation.
        sink: The room's.
        found: Is filled with what was found.
        others: Every row of the profile: a newer version that one of them stands for is no stranger.

    Raises:
        Rejected: ``key_state``: its key opens nothing any more.
        Integrity: ``manifest_missing``, ``dek_missing``, ``blob_missing``, ``superseded``, ``sealed_profile_altered``.
        Unavailable: Something could not be asked; nothing is known.
    """
    require_readable(generation)
    text = await stored(vault.custody, generation, environment, found=found, others=others)
    return await unseal_as(vault.sealing, text, generation, environment, sink, found=found)
