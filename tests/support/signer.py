"""A simulator of the Signer port: real Ed25519 keys made from a seed, so that every run signs the same bytes."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from byokeep.core.errors import Unavailable


class SeededSigner:
    """Keys ``leases``, ``checkpoints`` and ``evidence``, each with versions from "1" on."""

    def __init__(self, seed: str = "a log") -> None:
        self._seed = seed
        self._versions = {"leases": 1, "checkpoints": 1, "evidence": 1}
        self.down = False

    def rotate(self, purpose: str) -> None:
        """Make a new version; the old ones stay readable."""
        self._versions[purpose] += 1

    async def sign_jwt(self, claims: Mapping[str, object]) -> str:
        """Sign claims as the store does: canonical JSON, EdDSA."""
        version = self._versions["leases"]
        header = {"alg": "EdDSA", "typ": "byokeep-lease+jwt", "kid": str(version)}
        text = ".".join(
            urlsafe_b64encode(json.dumps(part, sort_keys=True, separators=(",", ":")).encode()).decode().rstrip("=")
            for part in (header, dict(claims))
        )
        signature = self.private("leases", version).sign(text.encode())
        return f"{text}.{urlsafe_b64encode(signature).decode().rstrip('=')}"

    async def sign(self, purpose: str, message: bytes) -> tuple[bytes, str]:
        """Sign with the newest version."""
        return self.sign_now(purpose, message)

    async def public_keys(self, purpose: str) -> dict[str, bytes]:
        """Return all versions."""
        return self.public_now(purpose)

    def sign_now(self, purpose: str, message: bytes) -> tuple[bytes, str]:
        """The same without waiting."""
        if self.down:
            raise Unavailable("store_unavailable")
        version = self._versions[purpose]
        return self.private(purpose, version).sign(message), str(version)

    def public_now(self, purpose: str) -> dict[str, bytes]:
        """The same without waiting."""
        return {
            str(version): self.private(purpose, version).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            for version in range(1, self._versions[purpose] + 1)
        }

    def private(self, purpose: str, version: int) -> Ed25519PrivateKey:
        """The key itself."""
        return Ed25519PrivateKey.from_private_bytes(sha256(f"{self._seed}/{purpose}/{version}".encode()).digest())
