"""What a process seals and opens with: nobody gets it before the known answers were asked.

Rules
- Making one asks them, every time: a library that answers otherwise seals and opens nothing (S-GCM-13).

It may not be passed on to another process.
"""

from __future__ import annotations

from uuid import UUID

from byokeep.core.errors import Unavailable
from byokeep.core.manifest import Manifest, RecordPlace
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.sealing.keys import new_dek
from byokeep.sealing.known_answers import self_test
from byokeep.sealing.opening import open_into
from byokeep.sealing.ports import SealedBlob, Sink, Source, Target
from byokeep.sealing.sealing import seal


class TinkSealer:
    """:class:`byokeep.flows.profile_ports.Sealer` by Tink. Blocks for a few milliseconds when it is made.

    Raises:
        Unavailable: ``sealing_self_test_failed``.
    """

    def __init__(self) -> None:
        self_test()

    def new_dek(self) -> Secret:
        """Return a fresh key."""
        try:
            return new_dek()
        except (OSError, NotImplementedError):
            raise Unavailable("no_randomness", next_step="See to the system's source of randomness.") from None

    async def seal(
        self, source: Source, target: Target, *, dek: Secret, dek_id: UUID, manifest: Manifest, place: RecordPlace
    ) -> SealedBlob:
        """Seal all that a source gives."""
        return await seal(source, target, dek=dek, dek_id=dek_id, manifest=manifest, place=place)

    async def open_into(
        self, source: Source, sink: Sink, *, dek: Secret, record: SealedRecord, place: RecordPlace
    ) -> None:
        """Open a blob into a sink."""
        await open_into(source, sink, dek=dek, record=record, place=place)
