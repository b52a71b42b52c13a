"""An opening of a profile as its holder sees it: the broker's routes, and with them an artifact store of one profile.

Rules
- Every call names the epoch; ``opening_lost`` means that somebody else may have it by now.
- Blobs come and go by the broker: a runner has no right at the store of artifacts. So do records (ADR 0033).

It may not decide whether to go on: :mod:`.watch` does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from byokeep.client.http import Broker
from byokeep.core.artifact import ArtifactKey, StoredArtifact
from byokeep.core.errors import ByokeepError, Conflict, Denied, Integrity, Unavailable
from byokeep.core.keystate import KeyState
from byokeep.core.manifest import Packing
from byokeep.core.model import ClientId, Environment
from byokeep.core.sealed_record import MAX_RECORD, SealedRecord
from byokeep.core.secret import Secret
from byokeep.sealing.generation import Generation

ENDED_WITHIN_S = 5.0  # for the word that it is over; the opening runs out by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class SealPlan:
    """Where a seal goes, and who made it when, in the broker's words."""

    generation: int
    created_by: UUID
    created_at: datetime


class ProfileOpening:
    """One profile that this job has open.

    Attributes:
        row: What is opened: the generation's row, with which record, key and blob are compared.
        packing: How it was packed.
        environment: Of the installation.
        life_s: Seconds that may pass without an answer.
        beat_s: Seconds between two questions.
    """

    def __init__(
        self, broker: Broker, token: Secret, job_id: UUID, client_id: UUID, profile_id: UUID, reply: Mapping[str, Any]
    ) -> None:
        self._broker, self._token = broker, token
        self._place = f"/v1/jobs/{job_id}/profiles/{profile_id}/openings"
        self._receipt = ""
        try:
            self.epoch = int(reply["epoch"])
            self.row = _row(reply["generation"], client_id, profile_id)
            self.packing, self.environment = Packing(reply["packing"]), Environment(reply["environment"])
            self.life_s, self.beat_s = float(reply["life_s"]), float(reply["beat_s"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Unavailable("broker_garbage") from None
        if not 0 < self.beat_s < self.life_s <= 60:
            raise Unavailable("broker_garbage")

    @classmethod
    async def begin(
        cls, broker: Broker, token: Secret, *, job_id: UUID, client_id: UUID, profile_id: UUID, lease_id: str
    ) -> Self:
        """Open the profile.

        Raises:
            Conflict: ``profile_in_use``, with ``since``.
            Denied: ``profile_not_usable``, ``switch_closed``, ...
            Unavailable: The broker could not be asked.
        """
        place = f"/v1/jobs/{job_id}/profiles/{profile_id}/openings"
        # Not tried again: an answer that was lost has opened it, and it would be in use by ourselves.
        reply = await broker.call("POST", place, token, {"lease_id": lease_id})
        return cls(broker, token, job_id, client_id, profile_id, reply)

    async def beat(self) -> float:
        """Return for how many seconds the browser may stay open. Raises Denied, Conflict, Unavailable."""
        path = f"{self._place}/{self.epoch}/beat"
        reply = await self._broker.call("POST", path, self._token, timeout_s=self.life_s / 5)
        life_s = reply.get("valid_for_s")
        if not isinstance(life_s, int) or not 0 < life_s <= 60:
            raise Unavailable("broker_garbage")
        return float(life_s)

    async def sealed_record(self) -> bytes:
        """Take the record of what was opened, as the broker says it is; who opens it compares it with the row.

        Raises:
            Integrity: It is not what was sealed, and the profile is out of use now.
            Denied, Conflict, Unavailable: As :meth:`beat`; ``opening_not_fresh``.
        """
        return await self._broker.persist(self._taken)

    async def end(self, cause: str) -> None:
        """Say that it is over. What can not be said is not waited for: the opening runs out."""
        with suppress(ByokeepError):
            await self._call("end", {"cause": cause}, timeout_s=ENDED_WITHIN_S)

    async def begin_sealing(self) -> None:
        """Say that the browser is closed and has moved. Raises Conflict(``permits_open``), Denied, Unavailable."""
        await self._broker.persist(lambda: self._call("sealing"))

    async def announce(self, dek_id: UUID) -> SealPlan:
        """Announce a seal of what was opened. Raises Conflict, Denied, Unavailable."""
        body = {"base": self.row.generation, "dek_id": str(dek_id)}
        reply = await self._call("seals", body)
        try:
            return SealPlan(
                generation=int(reply["generation"]), created_by=UUID(reply["created_by"]),
                created_at=datetime.fromisoformat(reply["created_at"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Unavailable("broker_garbage") from None

    async def record(self, record: SealedRecord) -> None:
        """Make what was sealed the newest generation; the broker writes the record. The opening ends with it.

        Raises as :meth:`announce`.
        """
        body = {"base": self.row.generation, "record": record.canonical.decode(), "receipt": self._receipt}
        await self._broker.persist(lambda: self._call(f"seals/{record.dek_id}/record", body))

    async def put(self, client_id: UUID, key: ArtifactKey, chunks: AsyncIterator[bytes]) -> StoredArtifact:
        """Write a blob by the broker. Raises as the port says."""
        path = f"{self._place}/{self.epoch}/seals/{UUID(hex=key.random)}/blob"
        reply = await self._broker.upload(path, self._token, chunks)
        try:
            self._receipt = str(reply["receipt"])
            return StoredArtifact(size=int(reply["blob_size"]), sha256_hex=str(reply["blob_sha256"]))
        except (KeyError, TypeError, ValueError):
            raise Unavailable("broker_garbage") from None

    async def get(self, client_id: UUID, key: ArtifactKey, expected: StoredArtifact) -> AsyncIterator[bytes]:
        """Yield the blob; who opens it compares length and digest.

        Raises:
            Integrity: ``artifact_altered``: it broke off, for the broker saw that it is not what was stored.
        """
        try:
            async for piece in self._broker.download(f"{self._place}/{self.epoch}/blob", self._token):
                yield piece
        except Unavailable as error:
            broke_off = error
        else:
            return
        try:
            await self.beat()
        except Conflict:  # taken out of use meanwhile
            raise Integrity("artifact_altered") from None
        except ByokeepError:
            pass
        raise broke_off

    async def delete(self, client_id: UUID, key: ArtifactKey) -> None:
        """Refuse."""
        raise Denied("may_not_remove")

    async def list_keys(self, client_id: UUID) -> Sequence[ArtifactKey]:
        """Refuse."""
        raise Denied("may_not_list")

    async def probe(self) -> None:
        """Nothing to look at: the broker answered."""

    async def _taken(self) -> bytes:
        text = bytearray()
        async with aclosing(self._broker.download(f"{self._place}/{self.epoch}/record", self._token)) as pieces:
            async for piece in pieces:
                text += piece
                if len(text) > MAX_RECORD:
                    raise Unavailable("broker_garbage")
        return bytes(text)

    async def _call(
        self, below: str, body: Mapping[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        path = f"{self._place}/{self.epoch}/{below}"
        return await self._broker.call("POST", path, self._token, body, timeout_s=timeout_s)


def _row(said: Mapping[str, Any], client_id: UUID, profile_id: UUID) -> Generation:
    plain = {
        name: said[name]
        for name in ("generation", "holder", "kek_id", "kek_version", "blob_key", "blob_size", "packed_size",
                     "record_version", "browser_version")
    }  # fmt: skip
    return Generation(
        **plain, client_id=ClientId(client_id), profile_id=profile_id, dek_id=UUID(said["dek_id"]),
        blob_sha256=bytes.fromhex(said["blob_sha256"]), manifest_hash=bytes.fromhex(said["manifest_hash"]),
        key_state=KeyState(said["key_state"]), sealed_at=datetime.fromisoformat(said["sealed_at"]),
        sealed_by=UUID(said["sealed_by"]), job_id=UUID(said["job_id"]), store_request="", gone_at=None,
    )  # fmt: skip
