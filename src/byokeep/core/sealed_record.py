"""The record of a sealed profile: what lies in the vault, apart from the blob (docs/spec/manifest.md).

Rules
- Manifest, wrapped key and blob are all needed, and the record is where the first two meet the third: it names the one
  blob that its key was made for, by place, digest and sizes.
- A blob's place follows from the manifest and the key's id; a record can not point at another client's.
- Every value is text: the vault's own audit shows numbers in clear.

It may not hold the key in clear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from byokeep.core.canonical import canonical_json, parse_canonical
from byokeep.core.errors import ByokeepError, Integrity, Rejected
from byokeep.core.manifest import MAX_SIZE, Manifest, parse_manifest
from byokeep.core.ref import KeyRef, parse

FORMAT: Final = "byokeep-sealed-profile/1"
MAX_BLOB: Final = 2**46  # bytes
MAX_RECORD: Final = 2 * MAX_SIZE + 8192  # bytes of the text
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,15}\Z")
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
_WRAPPED: Final = re.compile(r"[A-Za-z0-9+/=_:.-]{44,2048}\Z")
_FIELDS: Final = frozenset(
    {
        "format", "manifest", "dek_id", "wrapped_dek", "kek_holder", "kek_id", "kek_version", "blob_key",
        "blob_sha256", "blob_size", "packed_size",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRecord:
    """What the vault keeps of one generation of a profile.

    Args:
        manifest: What the profile is.
        dek_id: Random id of the key that the blob is sealed with; a key seals one blob.
        wrapped_dek: That key, as its holder wrapped it; text.
        kek, kek_version: Which key of which holder wrapped it.
        blob_sha256: 32 bytes.
        blob_size: Bytes of the blob.
        packed_size: Bytes of what was sealed, before compression.

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
        """Where the blob lies in the artifact store: below its client, under a name that is used once."""
        return blob_key(self.manifest, self.dek_id)

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


def blob_key(manifest: Manifest, dek_id: UUID) -> str:
    """Return where the blob of a manifest and a key lies, relative to the artifact store."""
    return f"clients/{manifest.client_id}/profiles/{manifest.profile_id}/{manifest.generation}-{dek_id}"


def parse_record(data: bytes) -> SealedRecord:
    """Parse a stored record.

    Raises:
        Integrity: ``manifest_unreadable``; ``sealed_record_unreadable`` for anything else that no writer wrote.
    """
    try:
        if len(data) > MAX_RECORD:
            raise ValueError("too long")
        value = parse_canonical(data)
        if not isinstance(value, dict) or set(value) != _FIELDS or value["format"] != FORMAT:
            raise ValueError("fields")
        fields = {str(name): field for name, field in value.items() if isinstance(field, str)}
        if set(fields) != _FIELDS:
            raise ValueError("a field that is no text")
        found = _record_of(fields)
        if found.canonical != data:
            raise ValueError("another spelling")
    except (ValueError, Rejected):
        raise Integrity("sealed_record_unreadable", next_step="Look who can write to the vault of profiles.") from None
    return found


def _record_of(fields: dict[str, str]) -> SealedRecord:
    for name in ("kek_version", "blob_size", "packed_size"):
        if not _NUMBER.match(fields[name]):
            raise ValueError(name)
    if not _UUID.match(fields["dek_id"]) or not _SHA256.match(fields["blob_sha256"]):
        raise ValueError("dek_id or blob_sha256")
    return SealedRecord(
        manifest=parse_manifest(fields["manifest"].encode()),
        dek_id=UUID(fields["dek_id"]),
        wrapped_dek=fields["wrapped_dek"],
        kek=KeyRef(fields["kek_holder"], fields["kek_id"]),
        kek_version=int(fields["kek_version"]),
        blob_sha256=bytes.fromhex(fields["blob_sha256"]),
        blob_size=int(fields["blob_size"]),
        packed_size=int(fields["packed_size"]),
    )


def _is_kek(kek: KeyRef) -> bool:
    try:
        return parse(str(kek)) == kek
    except ByokeepError:
        return False
