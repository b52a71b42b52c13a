"""Sources and sinks that remember what was done with them, and a profile's manifest and record."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from byokeep.core.manifest import ExpectedAccount, Manifest, Packing, RecordPlace
from byokeep.core.model import ClientId, Environment, ProfileId, Provider
from byokeep.core.ref import KeyRef
from byokeep.core.sealed_record import SealedRecord
from byokeep.core.secret import Secret
from byokeep.sealing.generation import SealedBlob
from byokeep.sealing.sealer import new_dek, open_into, seal

WRAPPED = "vault:v1:" + "made-up-wrapped-key-" * 3


class Sink:
    """Keeps what is written apart until it is told to commit; ``came`` is all that ever did."""

    def __init__(self) -> None:
        self._pending, self.came = bytearray(), bytearray()
        self.visible: bytes | None = None
        self.ends: list[str] = []

    def write(self, data: memoryview) -> None:
        assert not self.ends, "written to after its end"
        self._pending += data
        self.came += data

    def commit(self) -> None:
        self.ends.append("commit")
        self.visible = bytes(self._pending)

    def abort(self) -> None:
        self.ends.append("abort")
        self._pending.clear()


def account(**changes: Any) -> ExpectedAccount:
    fields: dict[str, Any] = {
        "platform": Provider.X, "account": "acme", "account_id": "4711", "username": "acme",
        "display_name": "Acme Büro",
    }  # fmt: skip
    return ExpectedAccount(**{**fields, **changes})


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "environment": Environment.PRODUCTION, "client_id": ClientId(UUID(int=1)), "profile_id": ProfileId(UUID(int=2)),
        "generation": 1, "platforms": (Provider.X,), "accounts": (account(),), "created_by": UUID(int=3),
        "created_at": datetime(2026, 3, 1, 12, tzinfo=UTC), "packing": Packing.PORTABLE,
        "browser_version": "156.0.8078.79",
    }  # fmt: skip
    return Manifest(**{**fields, **changes})


def record(blob: bytes, *, packed_size: int, of: Manifest, dek_id: UUID) -> SealedRecord:
    """A record that agrees with the blob in all that needs no key."""
    return SealedRecord(
        manifest=of, dek_id=dek_id, wrapped_dek=WRAPPED, kek=KeyRef("transit", "profiles"), kek_version=1,
        blob_sha256=hashlib.sha256(blob).digest(), blob_size=max(1, len(blob)), packed_size=packed_size,
    )  # fmt: skip


class Profile:
    """A sealed profile, with everything that opening it needs."""

    def __init__(self, blob: bytes, dek: Secret, about: SealedRecord) -> None:
        self.blob, self.dek, self.record = blob, dek, about

    @classmethod
    async def sealed(cls, packed: bytes, *, of: Manifest | None = None) -> Profile:
        of, dek, dek_id, target = of or manifest(), new_dek(), uuid4(), io.BytesIO()
        said: SealedBlob = await seal(io.BytesIO(packed), target, dek=dek, dek_id=dek_id, manifest=of, place=of.place)
        blob = target.getvalue()
        made = record(blob, packed_size=len(packed), of=of, dek_id=dek_id)
        assert (said.sha256, said.size, said.packed_size) == (made.blob_sha256, made.blob_size, made.packed_size)
        return cls(blob, dek, made)

    async def open(self, blob: bytes | None = None, *, place: RecordPlace | None = None) -> Sink:
        """Open another blob in place of this one, under a record that agrees with it. Raises what opening raises."""
        blob, sink = self.blob if blob is None else blob, Sink()
        about = replace(self.record, blob_sha256=hashlib.sha256(blob).digest(), blob_size=max(1, len(blob)))
        await open_into(io.BytesIO(blob), sink, dek=self.dek, record=about, place=place or about.manifest.place)
        return sink
