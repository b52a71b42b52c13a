"""The form of a sealed blob: its header, and the bytes that bind it to one profile (docs/spec/sealed-blob.md).

Rules
- The header has one length and one version. Another version, an unknown suite, or a bit that should be zero is refused:
  there is no older mode to fall back to.
- The header commits to the key; that is compared, in constant time, before anything is decrypted.
- Whatever is wrong, the answer is one and the same: who alters blobs learns nothing from what we say (S-GCM-10).

It may not draw the salt, derive keys, or read a byte after the header.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from byokeep.core.errors import Integrity
from byokeep.core.manifest import Manifest

FORMAT: Final = "byokeep-sealed-blob/1"
MAGIC: Final = b"BYOKSEAL"
VERSION: Final = 1
# zstd, then Tink's AES-GCM-HKDF streaming: SHA-256, AES-256, segments of 1 MiB.
SUITE: Final = 1
SALT: Final = 32  # bytes
COMMITMENT: Final = 32  # bytes
HEADER: Final = 80  # bytes
_SALT_AT: Final = 16
_COMMITMENT_AT: Final = _SALT_AT + SALT


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What stands in clear before the sealed stream.

    Args:
        salt: Random, of this blob alone.
        commitment: Derived from key and salt; tells which key the blob was sealed with, and not the key.

    Raises:
        ValueError: Of another length.
    """

    salt: bytes
    commitment: bytes

    def __post_init__(self) -> None:
        if len(self.salt) != SALT or len(self.commitment) != COMMITMENT:
            raise ValueError("salt and commitment have 32 bytes each")

    def __bytes__(self) -> bytes:
        numbers = VERSION.to_bytes(2, "big") + SUITE.to_bytes(2, "big") + bytes(4)
        return MAGIC + numbers + self.salt + self.commitment


def refusal() -> Integrity:
    """The one error for a blob that can not be opened as what it should be."""
    return Integrity("sealed_blob_unreadable", next_step="The blob is quarantined; look who can write to its store.")


def parse_header(data: bytes) -> Header:
    """Parse the first :data:`HEADER` bytes of a blob.

    Raises:
        Integrity: The one refusal, for another length, magic, version, suite, or bits that are not zero.
    """
    if len(data) != HEADER:
        raise refusal()
    header = Header(salt=data[_SALT_AT:_COMMITMENT_AT], commitment=data[_COMMITMENT_AT:])
    if bytes(header) != data:
        raise refusal()
    return header


def require_commitment(header: Header, derived: bytes) -> None:
    """Check that a header commits to a key, in constant time.

    Args:
        derived: The commitment of the key at hand under the header's salt.

    Raises:
        Integrity: The one refusal.
    """
    if not hmac.compare_digest(header.commitment, derived):
        raise refusal()


def binding(manifest: Manifest, dek_id: UUID, header: Header) -> bytes:
    """Return the associated data: a blob opens as this profile, at this generation, with this manifest, or not at all.

    Every field has one spelling and ends with a line end, which none can hold, so two different sets of fields never
    give the same bytes.
    """
    place = manifest.place
    fields = (
        FORMAT, place.environment.value, str(place.client_id), str(place.profile_id), str(place.generation),
        str(dek_id), manifest.hash.hex(), bytes(header).hex(),
    )  # fmt: skip
    return "".join(field + "\n" for field in fields).encode("ascii")
