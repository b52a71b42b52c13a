"""Passwords of people, as Argon2id strings.

Rules
- Argon2id with the parameters of RFC 9106's second recommendation; the PHC string carries them (S-ASVS-3).
- Checking a name that does not exist costs the same as checking one that does (S-ASVS-24).
- At most two checks run at once, each in a thread, so that logins cannot starve the loop or the memory.

It may not know whose password it is.
"""

from __future__ import annotations

import asyncio
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from byokeep.core.secret import Secret

TIME_COST: Final = 3
MEMORY_KIB: Final = 65_536
LANES: Final = 4
_AT_ONCE: Final = 2


class Passwords:
    """Makes and checks Argon2id strings.

    Args:
        memory_kib, time_cost: Work factors; only tests lower them.
    """

    def __init__(self, *, memory_kib: int = MEMORY_KIB, time_cost: int = TIME_COST) -> None:
        self._hasher = PasswordHasher(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=LANES, hash_len=32, salt_len=16, type=Type.ID
        )
        # Checked when there is no such person: same parameters, a password that nobody has.
        self._nobody = self._hasher.hash(Secret(b"no such person").reveal())
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def hash(self, password: Secret) -> str:
        """Return the PHC string, beginning with ``$argon2id$``."""
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password.reveal())

    async def matches(self, phc: str | None, password: Secret) -> bool:
        """Compare; ``None`` does the same work and is never a match."""
        async with self._slots:
            same = await asyncio.to_thread(self._check, phc or self._nobody, password)
        return same and phc is not None

    def _check(self, phc: str, password: Secret) -> bool:
        try:
            return self._hasher.verify(phc, password.reveal())
        except (VerificationError, InvalidHashError):
            return False
