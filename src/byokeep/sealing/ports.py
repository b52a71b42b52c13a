"""What sealing and opening need of the outside, and what they come to, without the library that does it.

Rules
- A key in clear is a Secret that its user wipes.
- What a stream gives or takes is read and written in another thread.

It may not know a library: who has none of them imports this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from byokeep.core.manifest import Manifest, RecordPlace
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.ports import ArtifactStore

if TYPE_CHECKING:
    from byokeep.sealing.transit import TransitKeys


class Source(Protocol):
    """Where bytes come from; called in another thread."""

    def read(self, size: int, /) -> bytes:
        """Return 1 to ``size`` bytes, none at the end."""


class Target(Protocol):
    """Where a blob goes; called in another thread. Who seals into it drops it when sealing fails."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


class Sink(Protocol):
    """Where opened bytes go; called in another thread. Nothing of it may be visible before ``commit``."""

    def write(self, data: memoryview, /) -> object:
        """Take all of ``data``, which is overwritten after the call."""

    def commit(self) -> object:
        """Make it visible: everything was verified. Called once, last."""

    def abort(self) -> object:
        """Drop everything. Called once, last, instead of ``commit``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBlob:
    """What the record of a blob says of it: SHA-256 (32 bytes), its bytes, and the bytes that it was made of."""

    sha256: bytes
    size: int
    packed_size: int


class Sealer(Protocol):
    """Makes blobs and opens them."""

    def new_dek(self) -> Secret:
        """Return a fresh key. Raises Unavailable when the system gives no randomness."""

    async def seal(
        self, source: Source, target: Target, *, dek: Secret, dek_id: UUID, manifest: Manifest, place: RecordPlace
    ) -> SealedBlob:
        """Seal all that a source gives. Raises Rejected, Unavailable, and what source or target raised."""

    async def open_into(
        self, source: Source, sink: Sink, *, dek: Secret, record: SealedRecord, place: RecordPlace
    ) -> None:
        """Open a blob into a sink, which is committed or aborted. Raises Integrity, and what source or sink raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """What makes a blob and opens one, for who has the record: all that a runner gets."""

    sealer: Sealer
    artifacts: ArtifactStore
    keys: TransitKeys
