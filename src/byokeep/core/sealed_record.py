"""A sealed profile as it is stored: its record (docs/spec/manifest.md), its blob's name, and the room for its history.

Rules
- Manifest, wrapped key and blob are all needed. The record binds the first two to the third: it names the one blob that
  its key was made for, by place, digest and sizes. A blob's place follows from the manifest and the key's id, so a
  record cannot point at another client's blob. Every value is text, because OpenBao's own audit log shows numbers in
  clear.
- An artifact's key holds ids, a number and randomness, and nothing that a person wrote. Text that is not exactly a key
  is refused (S-ASVS-40). The client's id comes first: a client's artifacts share one prefix, and a caller that acts for
  another client is refused. What does not begin like a sealed profile is not stored (R2.1-10).
- The store keeps a fixed number of versions of a record, including destroyed ones, so what interrupted seals wrote
  pushes good records out. Whoever writes a version first checks that every record that must stay will still be there;
  otherwise the write is refused. A seal leaves room for a rotation of the client's key, which writes the records that
  must stay again. People are told when half of a seal's room is used up.

It may not hold the key in clear, or ask a store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from byokeep.core.canonical import canonical_json, parse_canonical
from byokeep.core.errors import ByokeepError, Conflict, Denied, Rejected, refusing
from byokeep.core.manifest import MAX_SIZE, Manifest, parse_manifest
from byokeep.core.ref import KeyRef, parse

LARGEST_GENERATION: Final = 2**31 - 1
_UUID_TEXT: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_KEY: Final = re.compile(rf"({_UUID_TEXT})/({_UUID_TEXT})/([1-9][0-9]{{0,9}})-([0-9a-f]{{32}})\.sealed\Z")
_RANDOM: Final = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactKey:
    """Where the blob of one generation of a profile is stored.

    Attributes:
        client_id: Whose it is.
        profile_id: Which profile.
        generation: From 1; each seal of the profile adds one.
        random: 128 random bits in hex, so that two writers of one generation never collide.

    Raises:
        Rejected: ``bad_artifact_key``.
    """

    client_id: UUID
    profile_id: UUID
    generation: int
    random: str

    def __post_init__(self) -> None:
        if not 1 <= self.generation <= LARGEST_GENERATION or not _RANDOM.match(self.random):
            raise Rejected("bad_artifact_key")

    @property
    def text(self) -> str:
        """``{client}/{profile}/{generation}-{random}.sealed``."""
        return f"{self.client_id}/{self.profile_id}/{self.generation}-{self.random}.sealed"

    def must_be_of(self, client_id: UUID) -> None:
        """Check that this is the client's. Raises Denied(``artifact_of_another_client``)."""
        if self.client_id != client_id:
            raise Denied("artifact_of_another_client", client=client_id)


def blob_key(client_id: UUID, profile_id: UUID, generation: int, dek_id: UUID) -> ArtifactKey:
    """Return where the blob of a generation is stored. Its name is the id of its key, which is random and used once."""
    return ArtifactKey(client_id=client_id, profile_id=profile_id, generation=generation, random=dek_id.hex)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArtifact:
    """What was stored: its length in bytes and its SHA-256 in hex. Whoever reads it compares both."""

    size: int
    sha256_hex: str


def parse_artifact_key(text: str) -> ArtifactKey:
    """Parse an artifact's key. Raises Rejected(``bad_artifact_key``) if the text is not exactly one."""
    found = _KEY.match(text)
    if found is None:
        raise Rejected("bad_artifact_key")
    return ArtifactKey(client_id=UUID(found[1]), profile_id=UUID(found[2]), generation=int(found[3]), random=found[4])


KEPT: Final = 20  # versions of a record that the store keeps
MOST_KEPT: Final = 1000  # of a provider's key, where an older version is still needed
FOR_ROTATION: Final = 6  # of these, left for a key rotation: the newest generation, those kept beside it, and some more

LOW: Final = (KEPT - FOR_ROTATION) // 2  # this many versions after the oldest that must stay, people are told
FULL: Final = "record_history_full"


def check_seal(*, newest: int, stays: int, rotates: bool = False) -> None:
    """Check that a seal, or a key rotation, may write the version after ``newest``.

    Args:
        newest: The newest version in the store.
        stays: The oldest version that must stay; 0 = none.
        rotates: It may use what is left for a rotation.

    Raises:
        Conflict: ``record_history_full``.
    """
    if stays and newest + 1 - stays >= (KEPT if rotates else KEPT - FOR_ROTATION):
        step = "Too many seals were cut off. Find out why. `byokeep kek rotate CLIENT` rewrites the records."
        raise Conflict(FULL, next_step=step)


def is_low(*, newest: int, stays: int) -> bool:
    """Whether so many seals were interrupted that people must be told. Arguments as for :func:`check_seal`."""
    return bool(stays) and newest + 1 - stays >= LOW


MAGIC: Final = b"BYOKSEAL"  # how a sealed profile begins
FORMAT: Final = "byokeep-sealed-profile/1"
MAX_BLOB: Final = 2**46  # bytes
MAX_RECORD: Final = 2 * MAX_SIZE + 8192  # bytes of the text
_WRAPPED: Final = re.compile(r"[A-Za-z0-9+/=_:.-]{44,2048}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRecord:
    """What the vault keeps of one generation of a profile.

    Args:
        manifest: What the profile is.
        dek_id: Random id of the key that sealed the blob; a key seals one blob.
        wrapped_dek: That key as its holder wrapped it, as text.
        kek, kek_version: The key that wrapped it, with its holder, and its version.
        blob_sha256: SHA-256 of the blob, 32 bytes.
        blob_size: Size of the blob in bytes.
        packed_size: Size in bytes of what was sealed, before compression.

    Raises:
        Rejected: ``bad_sealed_record``; ``field`` names what is wrong.
    """

    manifest: Manifest
    dek_id: UUID
    wrapped_dek: str
    kek: KeyRef
    kek_version: int
    blob_sha256: bytes
    blob_size: int
    packed_size: int

    def __post_init__(self) -> None:
        holds = {
            "wrapped_dek": bool(_WRAPPED.match(self.wrapped_dek)),
            "kek": _is_kek(self.kek),
            "kek_version": 1 <= self.kek_version < 2**31,
            "blob_sha256": len(self.blob_sha256) == 32,
            "blob_size": 1 <= self.blob_size <= MAX_BLOB,
            "packed_size": 1 <= self.packed_size <= MAX_BLOB,
        }
        for field, held in holds.items():
            if not held:
                raise Rejected("bad_sealed_record", next_step="See docs/spec/manifest.md.", field=field)

    @property
    def blob_key(self) -> str:
        """Where the blob is in the artifact store: below its client, under a name that is used once."""
        at = self.manifest
        return f"clients/{at.client_id}/profiles/{at.profile_id}/{at.generation}-{self.dek_id}"

    @property
    def canonical(self) -> bytes:
        """The text that the vault stores, as bytes."""
        return canonical_json(
            {
                "format": FORMAT, "manifest": self.manifest.canonical.decode(), "dek_id": str(self.dek_id),
                "wrapped_dek": self.wrapped_dek, "kek_holder": self.kek.holder, "kek_id": self.kek.key_id,
                "kek_version": str(self.kek_version), "blob_key": self.blob_key,
                "blob_sha256": self.blob_sha256.hex(), "blob_size": str(self.blob_size),
                "packed_size": str(self.packed_size),
            }
        )  # fmt: skip


def parse_record(data: bytes) -> SealedRecord:
    """Parse a stored record.

    Raises:
        Integrity: ``manifest_unreadable``; ``sealed_record_unreadable`` for anything else that no writer would write.
    """
    step = "Find out who can write to the vault of profiles."
    unreadable = (ValueError, TypeError, KeyError, AttributeError, Rejected)
    with refusing("sealed_record_unreadable", on=unreadable, next_step=step):
        if len(data) > MAX_RECORD:
            raise ValueError("too long")
        said: Any = parse_canonical(data)
        found = SealedRecord(
            manifest=parse_manifest(said["manifest"].encode()), dek_id=UUID(said["dek_id"]),
            wrapped_dek=said["wrapped_dek"], kek=KeyRef(said["kek_holder"], said["kek_id"]),
            kek_version=int(said["kek_version"]), blob_sha256=bytes.fromhex(said["blob_sha256"]),
            blob_size=int(said["blob_size"]), packed_size=int(said["packed_size"]),
        )  # fmt: skip
        if found.canonical != data:  # another format or place, an extra field, another spelling of a number
            raise ValueError("another spelling")
    return found


def _is_kek(kek: KeyRef) -> bool:
    try:
        return parse(str(kek)) == kek
    except ByokeepError:
        return False
