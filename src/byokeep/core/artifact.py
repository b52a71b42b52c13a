"""How a sealed browser profile is named in the artifact store, and how it begins.

Rules
- A key holds ids, a number and randomness, nothing that a person wrote; what is not exactly a key is none (S-ASVS-40).
- The client comes first: a client's artifacts are one prefix, and whoever acts for another client is refused.
- What does not begin as a sealed profile is not stored (R2.1-10).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from byokeep.core.errors import Denied, Rejected

LARGEST_GENERATION: Final = 2**31 - 1
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_KEY: Final = re.compile(rf"({_UUID})/({_UUID})/([1-9][0-9]{{0,9}})-([0-9a-f]{{32}})\.sealed\Z")
_RANDOM: Final = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactKey:
    """Where one generation of a profile lies.

    Attributes:
        client_id: Whose it is.
        profile_id: Which profile.
        generation: From 1; each sealing of the profile is one more.
        random: 128 random bits in hex: two writers of one generation never meet.

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
        """Let pass what is this client's. Raises Denied(``artifact_of_another_client``)."""
        if self.client_id != client_id:
            raise Denied("artifact_of_another_client", client=client_id)


def blob_key(client_id: UUID, profile_id: UUID, generation: int, dek_id: UUID) -> ArtifactKey:
    """Return where the blob of a generation lies: its name is the id of its key, random and used once."""
    return ArtifactKey(client_id=client_id, profile_id=profile_id, generation=generation, random=dek_id.hex)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArtifact:
    """What was stored: its length in bytes and its SHA-256 in hex. Reading compares both."""

    size: int
    sha256_hex: str


def parse_artifact_key(text: str) -> ArtifactKey:
    """Return the key of a text. Raises Rejected(``bad_artifact_key``) for what is not exactly one."""
    found = _KEY.match(text)
    if found is None:
        raise Rejected("bad_artifact_key")
    return ArtifactKey(
        client_id=UUID(found[1]), profile_id=UUID(found[2]), generation=int(found[3]), random=found[4]
    )  # fmt: skip
