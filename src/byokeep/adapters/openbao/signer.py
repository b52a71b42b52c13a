"""Port Signer: what ``broker`` may sign with. The private keys stay in OpenBao's Transit.

A lease's login token must come out the same when the reconciler signs its claims again, also after the key was
rotated. So the key version is a function of the claims: the newest version that was at least ``SETTLE_S`` old at
``iat``, else the oldest. A new version is thus also known to every verifier before it is used.

Rules
- Signing again is only ever asked for by the reconciliation, within a minute or two. So the signature of a login token
  is remembered for that long, by the digest of what was signed: a function of the claims alone, whoever computes it.
  The token is worthless by then, and the claims it would take to put it together again stand elsewhere.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.core.errors import Rejected, Unavailable
from byokeep.core.secret import Secret

SETTLE_S: Final = 120  # seconds
MAX_JWT_LIFE_S: Final = 30  # seconds
_KEEP_S: Final = 60.0  # seconds for which a list of versions is believed; less than SETTLE_S
_REMEMBER_S: Final = 120.0  # seconds; in its usual rounds a reconciliation looks back no further
_REMEMBERED: Final = 50_000  # signatures at most
_PURPOSES: Final = frozenset({"leases", "checkpoints", "evidence"})


@dataclass(frozen=True, slots=True)
class _Version:
    number: int
    created: float
    public_key: bytes


class TransitSigner:
    """Signs as the identity ``broker`` with the Ed25519 keys ``leases``, ``checkpoints`` and ``evidence``."""

    def __init__(self, login: AppRoleLogin) -> None:
        self._login = login
        self._known: dict[str, tuple[float, list[_Version]]] = {}
        self._lock = asyncio.Lock()
        self._made: dict[bytes, tuple[float, Secret]] = {}  # oldest first

    async def sign_jwt(self, claims: Mapping[str, object]) -> str:
        """Return a compact EdDSA JWT, typ ``byokeep-lease+jwt``, kid = key version; the same for the same claims.

        Raises:
            Rejected: ``bad_claims``: no integer ``iat`` and ``exp``, or more than 30 s between them. The store itself
                sets no bound to a token's life.
            Unavailable: Not signed.
        """
        issued, expires = claims.get("iat"), claims.get("exp")
        if type(issued) is not int or type(expires) is not int or not 0 < expires - issued <= MAX_JWT_LIFE_S:
            raise Rejected("bad_claims")
        versions = await self._versions("leases")
        settled = [v for v in versions if v.created + SETTLE_S <= issued] or versions[:1]
        number = settled[-1].number
        header = {"alg": "EdDSA", "kid": str(number), "typ": "byokeep-lease+jwt"}
        signed = f"{_b64url(_canonical(header))}.{_b64url(_canonical(claims))}"
        signature = await self._sign_once(signed.encode(), number)
        return f"{signed}.{_b64url(signature)}"

    async def sign(self, purpose: str, message: bytes) -> tuple[bytes, str]:
        """Sign with the newest version of key ``checkpoints`` or ``evidence``; returns (64-byte signature, key id).

        Raises:
            Rejected: ``unknown_key_purpose``.
            Unavailable: Not signed.
        """
        if purpose == "leases":
            raise Rejected("unknown_key_purpose")  # only claims are signed with it, by sign_jwt
        number = (await self._versions(purpose))[-1].number
        return await self._sign(purpose, message, number), str(number)

    async def public_keys(self, purpose: str) -> dict[str, bytes]:
        """Return key id -> raw 32-byte Ed25519 public key, all versions. Raises as :meth:`sign`."""
        return {str(v.number): v.public_key for v in await self._versions(purpose)}

    async def _sign_once(self, message: bytes, number: int) -> bytes:
        digest, now = sha256(message).digest(), time.monotonic()
        if (made := self._made.get(digest)) is not None:
            return made[1].reveal()
        signature = await self._sign("leases", message, number)
        self._made[digest] = now, Secret(signature)
        while len(self._made) > _REMEMBERED or next(iter(self._made.values()))[0] < now - _REMEMBER_S:
            self._made.pop(next(iter(self._made)))[1].wipe()
        return signature

    async def _sign(self, purpose: str, message: bytes, number: int) -> bytes:
        body = {"input": base64.b64encode(message).decode(), "key_version": number}
        reply = await self._login.request("POST", f"transit/sign/{purpose}", body=body)
        prefix, _, text = str(reply.data.get("signature")).rpartition(":")
        signature = _unb64(text)
        if prefix != f"vault:v{number}" or len(signature) != 64:
            raise Unavailable("store_garbage")
        return signature

    async def _versions(self, purpose: str) -> list[_Version]:
        if purpose not in _PURPOSES:
            raise Rejected("unknown_key_purpose")
        async with self._lock:
            read_at, versions = self._known.get(purpose, (0.0, []))
            now = time.monotonic()
            if not versions or now - read_at > _KEEP_S:
                reply = await self._login.request("GET", f"transit/keys/{purpose}")
                versions = _parse_versions(reply.data.get("keys"))
                self._known[purpose] = (now, versions)
            return versions


def _parse_versions(keys: object) -> list[_Version]:
    versions = []
    try:
        if isinstance(keys, dict):
            for number, key in keys.items():
                created = datetime.fromisoformat(key["creation_time"]).timestamp()
                versions.append(_Version(int(number), created, _unb64(key["public_key"])))
    except (KeyError, TypeError, ValueError):
        versions = []
    if not versions or any(len(v.public_key) != 32 for v in versions):
        raise Unavailable("store_garbage")
    return sorted(versions, key=lambda v: v.number)


def _canonical(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
